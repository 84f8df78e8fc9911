"""A Dask cluster: the same findings as here, workers that die are survived, and one line where it can't be used.

The cluster and the checks on it run in processes of their own, so that none of Dask's threads is left among the tests.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from memlint import cli
from tests.support import ROOT
from tests.test_cache import LOOP, TRAINER

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")

# A cluster of four workers. Whoever is asked about poison.py dies; so does the first who is asked about once.py.
CLUSTER = """\
import os, signal, sys, dask
from distributed import LocalCluster

if __name__ == "__main__":
    dask.config.set({"distributed.scheduler.allowed-failures": 0})
    options = {"dashboard_address": None, "preload": [sys.argv[1]], "worker_dashboard_address": None}
    with LocalCluster(n_workers=4, threads_per_worker=1, processes=True, memory_limit=0, **options) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""
PRELOAD = """\
import os, signal, time
from memlint import cluster, proposals

def answer(path, *rest):
    if path == "poison.py":
        os.kill(os.getpid(), signal.SIGKILL)
    if path == "once.py" and not os.path.exists(os.environ["MEMLINT_TEST"]):
        open(os.environ["MEMLINT_TEST"], "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    if path.startswith("slow"):
        open(os.environ["MEMLINT_TEST"] + path, "w").close()
        time.sleep(1)
    return proposals.answer(path, *rest)

cluster.answer = answer
"""
# A check whose files go to the cluster one by one.
CHECK = """\
import sys
from memlint import cli, cluster

cluster.BATCH = cluster.LEAST = 1
if "--other" in sys.argv:
    sys.argv.remove("--other")
    cluster.versions = lambda: "another"
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a scheduler, and what the workers' own files begin with."""
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "run.py").write_text(CLUSTER, encoding="utf-8")
    (folder / "preload.py").write_text(PRELOAD, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MEMLINT_TEST": str(folder / "seen")}
    command = [sys.executable, "run.py", str(folder / "preload.py")]
    with (folder / "log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address, (folder / "log").read_text(encoding="utf-8")
        yield address, folder / "seen"
        process.communicate()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("trainer.py").write_text(TRAINER, encoding="utf-8")
    Path("loop.py").write_text(LOOP, encoding="utf-8")
    Path("broken.py").write_text("def", encoding="utf-8")
    Path("skipped.py").write_text("# memlint: skip-file\n", encoding="utf-8")
    for number in range(4):
        Path(f"part{number}.py").write_text(f"from loop import train\n\nx = {number}\n", encoding="utf-8")
    return tmp_path


def started(*argv: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHECK, *argv]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(*argv: str) -> tuple[int, str, str]:
    process = started(*argv)
    out, err = process.communicate()
    return process.returncode, out, err


def test_a_cluster_finds_the_same_and_its_answers_are_cached(
    project: Path, cluster: tuple[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = run("check", "--executor", f"dask:{cluster[0]}")
    assert "trainer.py" in found[1]
    status = cli.main(["check", "--no-cache", "-j1"])
    assert (status, *capsys.readouterr()) == found
    Path("broken.py").unlink()
    monkeypatch.setattr("memlint.workers.answer", None)  # whoever asks a file now fails
    cli.main(["check", "-j1"])
    assert capsys.readouterr().out == found[1]


def test_workers_that_die_are_survived_and_a_file_they_die_of_is_a_line(
    project: Path, cluster: tuple[str, Path]
) -> None:
    expected = run("check", "--no-cache", "-j1")
    Path("once.py").write_text("x = 1\n", encoding="utf-8")
    Path("poison.py").write_text("x = 1\n", encoding="utf-8")
    status, out, err = run("check", "--no-cache", "--executor", f"dask:{cluster[0]}")
    assert cluster[1].exists()
    assert (status, out) == expected[:2]
    errors = [line for line in err.splitlines() if line.startswith("memlint:")]
    assert sorted(errors) == [
        "memlint: error: broken.py:1:4: does not parse: invalid syntax",
        "memlint: error: poison.py: not checked: the process that did it died",
    ]
    assert "in 1 of 8 files; 2 files could not be checked" in err


def test_an_interrupted_check_leaves_nothing_to_do(project: Path, cluster: tuple[str, Path]) -> None:
    for number in range(30):
        Path(f"slow{number}.py").write_text("x = 1\n", encoding="utf-8")
    process = started("check", "--no-cache", "--executor", f"dask:{cluster[0]}")
    seen = list[Path]()
    while not seen:
        time.sleep(0.05)
        seen = list(cluster[1].parent.glob("seenslow*"))
    process.send_signal(signal.SIGINT)
    assert process.communicate() == ("", "memlint: interrupted\n")
    assert process.returncode == 130
    left = "import sys, distributed as d; c = d.Client(sys.argv[1]); print(len(c.run_on_scheduler(tasks)))"
    count = f"def tasks(dask_scheduler):\n    return list(dask_scheduler.tasks)\n\n{left}"
    said = subprocess.run([sys.executable, "-c", count, cluster[0]], stdout=subprocess.PIPE, text=True, check=True)
    assert said.stdout == "0\n"
    assert len(list(cluster[1].parent.glob("seenslow*"))) < 30


def test_a_worker_with_another_memlint_is_one_line(project: Path, cluster: tuple[str, Path]) -> None:
    status, out, err = run("check", "--other", "--no-cache", "--executor", f"dask:{cluster[0]}")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "here it is the same with other source code" in err


def test_where_no_scheduler_is_one_line_says_so(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("list.json").write_text("[]", encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        for address, said in [
            ("dask:nowhere", "dask:nowhere: no scheduler: missing port number in address 'nowhere'"),
            ("dask:none.json", "dask:none.json: can't be read: No such file or directory"),
            ("dask:list.json", "dask:list.json: not the file of a scheduler"),
            (f"dask:127.0.0.1:{port}", f"dask:127.0.0.1:{port}: no scheduler: no answer in 5 seconds"),
        ]:
            assert run("check", "--executor", address) == (2, "", f"memlint: error: --executor {said}\n")
    for address in ("dask:", "ray:x"):
        assert cli.main(["check", "--executor", address]) == 2
        assert capsys.readouterr().err == f"memlint: error: --executor must be dask:ADDRESS, not {address}\n"


def test_without_dask_one_line_says_what_to_install(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert cli.main(["check", "--executor", "dask:localhost:8786"]) == 2
    assert capsys.readouterr().err == (
        "memlint: error: --executor dask:localhost:8786 needs Dask: pip install 'torch-memlint[scale]'\n"
    )
