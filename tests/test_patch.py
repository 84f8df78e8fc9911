"""What `memlint fix --diff` prints is applied and taken back with git alone, byte for byte."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from memlint.cli import main
from memlint.report.paint import plain
from memlint.report.patch import painted, patch
from tests.test_cli import LEAKY, command

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

FIX = ("fix", "--unsafe-fixes", "--quiet")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty repository that is the current folder, whatever git's settings of whoever runs this."""
    for name, value in (("GIT_CONFIG_GLOBAL", os.devnull), ("GIT_CONFIG_NOSYSTEM", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "--quiet"], check=True)
    return tmp_path


def git_apply(diff: bytes, *options: str) -> None:
    done = subprocess.run(["git", "apply", "--whitespace=nowarn", *options, "-"], input=diff, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


Memlint = Callable[..., bytes]


@pytest.fixture
def memlint(capfdbinary: pytest.CaptureFixture[bytes]) -> Memlint:
    """Run memlint in this process; what it prints to standard output."""

    def memlint(*argv: str) -> bytes:
        assert main(argv) in (0, 1)
        return capfdbinary.readouterr().out

    return memlint


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not {".git", ".memlint_cache"} & {*path.parts}
    }


CODED = "# coding: latin-1\n" + LEAKY.replace("import torch\n", "import torch\n\nNAME = 'é'\n", 1)


@pytest.mark.parametrize(
    ("path", "data"),
    [
        pytest.param("a.py", LEAKY.encode(), id="plain"),
        pytest.param("a.py", LEAKY.rstrip("\n").encode(), id="no-last-line-end"),
        pytest.param(
            "a.py",
            LEAKY.rpartition("\n\n\n")[0].replace("            ", "  ").rstrip("\n").encode()
            + b"\n\n\nwhile True:\n    s = Simulation()\n    while input():\n        s.step()",
            id="change-near-the-end",
        ),
        pytest.param("a.py", LEAKY.replace("\n", "\r\n").encode(), id="crlf"),
        pytest.param("a.py", b"\xef\xbb\xbf" + LEAKY.encode(), id="byte-order-mark"),
        pytest.param("a.py", CODED.encode("latin-1"), id="latin-1"),
        pytest.param("a.py", LEAKY.replace("import torch\n", "import torch\n\f\n", 1).encode(), id="form-feed"),
        pytest.param("some folder/a file.py", LEAKY.encode(), id="blanks"),
        pytest.param("wörter/日本.py", LEAKY.encode(), id="non-ascii"),
        pytest.param('odd "name"\t.py', LEAKY.encode(), id="quotes-and-tab"),
    ],
)
@pytest.mark.parametrize("helpers", ["new.py", "old.py"])
def test_a_diff_is_applied_and_reverted_by_git(
    repository: Path, memlint: Memlint, path: str, data: bytes, helpers: str
) -> None:
    target = repository / path
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(data)
    (repository / "old.py").write_bytes(b'"""Helpers that code repaired by memlint calls, as it was."""')
    before = contents(repository)
    options = ("--runtime", f"vendor:{helpers}")
    diff = memlint(*FIX, *options, "--diff")
    assert contents(repository) == before
    memlint(*FIX, *options, "--allow-dirty")
    after = contents(repository)
    assert after[path] != data
    for name in set(after) - set(before):
        (repository / name).unlink()
    for name, old in before.items():
        (repository / name).write_bytes(old)
    git_apply(diff)
    assert contents(repository) == after
    git_apply(diff, "-R")
    assert contents(repository) == before


def test_a_diff_does_not_depend_on_the_locale(repository: Path, memlint: Memlint) -> None:
    (repository / "é.py").write_text(LEAKY.replace("import torch\n", "import torch\n\nNAME = '日本'\n", 1), "utf-8")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(command(*FIX, "--diff"), capture_output=True, env=environment)
    assert (done.returncode, done.stderr) == (1, b"")
    assert done.stdout == memlint(*FIX, "--diff")


def test_a_diff_made_in_a_subfolder_is_applied_there(
    repository: Path, memlint: Memlint, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "src").mkdir()
    (repository / "src" / "a.py").write_text(LEAKY, encoding="utf-8")
    monkeypatch.chdir(repository / "src")
    git_apply(memlint(*FIX, "--diff"))
    assert "limit=1000" in (repository / "src" / "a.py").read_text(encoding="utf-8")


def test_the_diff_of_a_link_is_the_diff_of_its_file(repository: Path, memlint: Memlint) -> None:
    (repository / "real.py").write_text(LEAKY, encoding="utf-8")
    (repository / "link.py").symlink_to("real.py")
    git_apply(memlint(*FIX, "--diff", "link.py"))
    assert "limit=1000" in (repository / "real.py").read_text(encoding="utf-8")
    assert (repository / "link.py").is_symlink()


def test_a_file_that_the_runtime_may_not_replace_stops_the_diff(repository: Path) -> None:
    (repository / "a.py").write_text(LEAKY, encoding="utf-8")
    (repository / "mine.py").write_text("x = 1\n", encoding="utf-8")
    done = subprocess.run(
        command(*FIX, "--diff", "--runtime", "vendor:mine.py"), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "memlint: error: mine.py: the runtime can't be copied here: the file is not a copy of it\n"


def test_nothing_changed_is_nothing_to_apply() -> None:
    headers = [b"--- a/a.py\n", b"+++ b/a.py\n"]
    assert list(patch("a.py", b"x\n", b"x\n")) == headers
    assert list(patch("a.py", b"", b"x")) == [*headers, b"@@ -0,0 +1 @@\n", b"+x", b"\n\\ No newline at end of file\n"]


LINES = st.lists(
    st.sampled_from([b"a", b"b", b"", b"\r", b"\x0c", b"\xff", b"-- a", b"++ b", b"@@ -1 +1 @@", b"\\ No"])
)
TEXTS = st.builds(lambda lines, end: b"\n".join(lines) + end, LINES, st.sampled_from([b"", b"\n"])).filter(bool)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXTS, TEXTS)
def test_any_bytes_are_applied_and_reverted(repository: Path, old: bytes, new: bytes) -> None:
    assume(old != new)
    file = repository / "a.py"
    file.write_bytes(old)
    change = b"".join(patch("a.py", old, new))
    git_apply(change)
    assert file.read_bytes() == new
    git_apply(change, "-R")
    assert file.read_bytes() == old
    os.unlink(file)
    made = b"".join(patch("a.py", None, new))
    git_apply(made)
    assert file.read_bytes() == new
    git_apply(made, "-R")
    assert not file.exists()


def test_people_see_text() -> None:
    shown = "".join(painted(patch("a.py", b"# \xe9\n-- x\n", b"# \xe9\n"), "latin-1", plain))
    assert shown == "--- a/a.py\n+++ b/a.py\n@@ -1,2 +1 @@\n # é\n--- x\n"
