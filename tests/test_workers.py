"""Worker processes: the same findings whatever their number, and one line for a file that one of them dies of."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from memlint import engine, proposals, workers
from memlint.cache import Cache
from memlint.config import Settings
from memlint.engine import FileError, Report
from tests.support import ROOT
from tests.test_cache import LOOP, TRAINER

forking = pytest.mark.skipif(sys.platform != "linux", reason="the worker is changed by what the test changes here")


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are forked, whatever threads other tests have left behind."""
    monkeypatch.setattr("threading.active_count", lambda: 1)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("trainer.py").write_text(TRAINER, encoding="utf-8")
    Path("loop.py").write_text(LOOP, encoding="utf-8")
    for number in range(10):
        Path(f"part{number}.py").write_text(
            f"from loop import train\n\nx = {number}\n" * (number + 1), encoding="utf-8"
        )
    monkeypatch.setattr(workers, "WORTH", 1)
    return tmp_path


def check(jobs: int, cache: Cache | None = None, **more: Any) -> Report:
    paths = sorted(path.name for path in Path().glob("*.py"))
    return engine.check([(path, Settings()) for path in paths], jobs=jobs, cache=cache, **more)


@pytest.mark.parametrize("jobs", [2, 3, 50])
def test_the_number_of_workers_changes_nothing(project: Path, jobs: int) -> None:
    Path("broken.py").write_text("def", encoding="utf-8")
    Path("skipped.py").write_text("# memlint: skip-file\n", encoding="utf-8")
    steps: list[tuple[int, int]] = []
    expected = check(1)
    assert [error.path for error in expected.errors] == ["broken.py"]
    assert check(jobs, progress=lambda *step: steps.append(step)) == expected
    assert steps == [(number, 14) for number in range(1, 15)]
    assert multiprocessing.active_children() == []


def test_what_workers_cache_is_read_again(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cold = check(3, Cache("cache"))
    monkeypatch.setattr(workers, "answer", None)  # whoever asks a file now fails
    assert check(1, Cache("cache")) == cold


def test_started_processes_find_the_same(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = check(1)
    monkeypatch.setattr("threading.active_count", lambda: 2)  # nobody may fork now
    assert check(2, Cache("cache")) == expected


def test_few_bytes_start_no_workers(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = check(2)
    monkeypatch.setattr(workers, "WORTH", 1_000_000)
    monkeypatch.setattr(workers, "_pool", None)
    assert check(2) == expected


def test_without_semaphores_this_process_does_it_all(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = check(1)

    def missing(*_: object) -> None:
        raise OSError("Function not implemented")

    monkeypatch.setattr("concurrent.futures.ProcessPoolExecutor", missing)
    assert check(2) == expected


def test_the_largest_files_go_first(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = workers._round

    def noted(waiting: Any, reading: Any, *rest: Any, **more: Any) -> Any:
        def note(task: workers.Task) -> Any:
            read.append(task.path)
            return reading(task)

        return real(waiting, note, *rest, **more)

    monkeypatch.setattr(workers, "_round", noted)
    check(2)
    assert read == sorted(read, key=lambda path: (-os.path.getsize(path), path))


@forking
@pytest.mark.usefixtures("alone")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("deadly", [["part3.py"], ["part0.py", "part9.py", "loop.py"]])
def test_a_dead_worker_is_a_line_for_its_file(
    project: Path, monkeypatch: pytest.MonkeyPatch, deadly: list[str]
) -> None:
    answer = proposals.answer

    def dying(path: str, *rest: Any) -> Any:
        if path in deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer(path, *rest)

    monkeypatch.setattr(workers, "answer", dying)
    report = check(3)
    said = "not checked: the process that did it died"
    assert report.errors == [FileError(path, None, None, said) for path in sorted(deadly)]
    assert report.checked == 12 - len(deadly)
    assert multiprocessing.active_children() == []


@forking
@pytest.mark.usefixtures("alone")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_defect_of_memlint_in_a_worker_is_not_swallowed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(workers, "answer", broken)
    with pytest.raises(ZeroDivisionError):
        check(2)
    assert multiprocessing.active_children() == []


@forking
@pytest.mark.usefixtures("alone")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_file_that_vanishes_is_a_line(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = workers.answers

    def late(*arguments: Any) -> Any:
        Path("part4.py").unlink(missing_ok=True)
        return real(*arguments)

    monkeypatch.setattr(engine, "answers", late)
    report = check(2)
    assert [(error.path, error.message) for error in report.errors] == [
        ("part4.py", "can't be read: No such file or directory")
    ]


# A check whose workers never come to an end, each of which writes its process id to a file first.
STUCK = """\
import os, sys, time
from memlint import cli, workers

def answer(path, *rest):
    with open(f"{path}.pid", "w") as file:
        file.write(str(os.getpid()))
    os.rename(f"{path}.pid", f"{path}.pid.done")
    time.sleep(600)

workers.answer, workers.WORTH = answer, 1
sys.exit(cli.main(["check", "--no-cache", "-j", "2", "."]))
"""


def gone(number: int) -> bool:
    """Whether a process has ended; one that nobody has asked for yet counts as ended."""
    try:
        return Path(f"/proc/{number}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def until(what: Any) -> None:
    """Wait for something that is bound to happen."""
    for _ in range(3000):
        if what():
            return
        time.sleep(0.02)
    pytest.fail("it does not happen")


@forking
@pytest.mark.usefixtures("alone")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_or_killed_check_leaves_no_worker_behind(project: Path, blow: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK], env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True
    )
    until(lambda: len(list(Path().glob("*.pid.done"))) == 2)
    pids = [int(path.read_text(encoding="utf-8")) for path in Path().glob("*.pid.done")]
    assert not any(map(gone, pids))
    process.send_signal(blow)
    _, said = process.communicate()
    if blow is signal.SIGINT:
        assert (process.returncode, said) == (130, "memlint: interrupted\n")
    until(lambda: all(map(gone, pids)))
