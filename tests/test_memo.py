"""Runs that are said again from the cache: only where nothing has changed that they looked at."""

from __future__ import annotations

import builtins
import contextlib
import io
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memlint import cli, memo, proposals, record, workers
from memlint.cache import Cache
from memlint.proposals import FileError
from memlint.record import Record
from tests.test_cache import TRAINER

LOOP = """\
from trainer import Trainer


def train(trainer: Trainer, loader):
    for batch in loader:
        trainer.put(batch)
        loss = trainer.model(batch).sum()
        loss.backward()
"""
SKIPPED = "# memlint: skip-file\n" + TRAINER
SETTINGS = '[tool.memlint]\nselect = ["all"]\n'
BASELINE = (
    '{\n  "memlint-baseline": 1,\n  "findings": [\n    {"path": "src/gone.py", "function": "", "rule": "bound-history",'
    ' "code": "x", "nth": 1}\n  ]\n}\n'
)
NOTEBOOK = json.dumps(
    {"cells": [{"cell_type": "code", "source": TRAINER + LOOP, "metadata": {}, "outputs": [], "execution_count": None}],
     "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
)  # fmt: skip

HOUR = 3_600_000_000_000  # in nanoseconds

Said = tuple[object, str, str, str]


def check(*options: str, path: str = "src") -> Said:
    """Status, output, messages and output file of a run."""
    shutil.rmtree("out", ignore_errors=True)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = cli.main(["check", path, "-j1", "--output-file", "out/found.txt", *options])
    file = Path("out/found.txt")
    return status, out.getvalue(), err.getvalue(), file.read_text(encoding="utf-8") if file.exists() else ""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in its first state, which is the current folder."""
    monkeypatch.delenv("MEMLINT_CACHE_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    fill()
    return tmp_path


def fill() -> None:
    for entry in os.listdir():
        shutil.rmtree(entry) if os.path.isdir(entry) and not os.path.islink(entry) else os.unlink(entry)
    for name, text in {"trainer.py": TRAINER, "loop.py": LOOP, "deep/other.py": LOOP, "skipped.py": SKIPPED}.items():
        Path("src", name).parent.mkdir(parents=True, exist_ok=True)
        Path("src", name).write_text(text, encoding="utf-8")
    Path("src/book.ipynb").write_text(NOTEBOOK, encoding="utf-8")
    Path("elsewhere.py").write_text(TRAINER, encoding="utf-8")
    Path("pyproject.toml").write_text("", encoding="utf-8")


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """All changes count as old, as if the test took its time."""
    monkeypatch.setattr(record, "_now", lambda: time.time_ns() + HOUR)


@pytest.fixture
def worked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The runs that were not said again."""
    runs: list[int] = []
    work = cli._run

    def noted(arguments: Any) -> int:
        runs.append(len(runs))
        return work(arguments)

    monkeypatch.setattr(cli, "_run", noted)
    return runs


# -- said again --------------------------------------------------------------------------------------------------------

FORMS = [
    [], ["--output-format", "full"], ["--output-format", "json"], ["--output-format", "sarif"],
    ["--output-format", "github"], ["--statistics"], ["--color", "always"], ["-q"], ["--strict"], ["--exit-zero"],
]  # fmt: skip


@pytest.mark.parametrize("settle", [True, False], ids=["by its marks", "by its content"])
@pytest.mark.parametrize("form", FORMS, ids=" ".join)
def test_nothing_changed(
    project: Path, worked: list[int], request: pytest.FixtureRequest, form: list[str], settle: bool
) -> None:
    if settle:
        request.getfixturevalue("settled")
    Path("src/broken.py").write_text("def", encoding="utf-8")
    first = check(*form)
    assert first[0] == (0 if "--exit-zero" in form else 1)
    assert first[3]
    assert [check(*form), check(*form)] == [first, first]
    assert worked == [0]
    assert check(*form, "--no-cache") == first


def test_to_a_pipe_and_to_a_file_and_with_other_options_it_is_another_run(project: Path, worked: list[int]) -> None:
    forms = [["check", "src"], ["check", "src/loop.py"], ["check", "src", "--color", "always"]]
    for form in forms:
        cli.main(form)
    assert len(worked) == 3
    os.chdir("src")
    cli.main(["check", "--cache-dir", "../.memlint_cache"])
    assert len(worked) == 4


def test_what_depends_on_more_than_the_disk_is_worked_out_each_time(project: Path, worked: list[int]) -> None:
    for form in (["--no-cache"], ["--write-baseline", "known.json"]):
        for _ in range(2):
            cli.main(["check", "src", *form])
    assert len(worked) == 4


def test_touched_files_are_read_once_and_then_known_again(
    project: Path, settled: None, worked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = check()
    for path in Path("src").rglob("*.py"):
        os.utime(path, (1, 1))
    Path("src/notes.txt").touch()
    read: list[str] = []
    real = record.read

    def noted(path: str) -> bytes:
        read.append(path)
        return real(path)

    monkeypatch.setattr(record, "read", noted)
    assert check() == first
    assert len(read) == 4
    assert check() == first
    assert len(read) == 4
    assert worked == [0]


# -- whatever changes --------------------------------------------------------------------------------------------------


def _write(path: str, text: str) -> Callable[[], None]:
    def change() -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text, encoding="utf-8")

    return change


def _restore_time() -> None:
    """Other content of the same length, under the old time."""
    old = os.stat("src/loop.py")
    text = Path("src/loop.py").read_text(encoding="utf-8")
    Path("src/loop.py").write_text(text.replace("for batch in", "for other in"), encoding="utf-8")
    os.utime("src/loop.py", ns=(old.st_atime_ns, old.st_mtime_ns))


def _replace() -> None:
    """Another file moved over one, as editors do."""
    old = os.stat("src/loop.py")
    Path("new").write_text("x = 1\n" + "\n" * (old.st_size - 6), encoding="utf-8")
    os.utime("new", ns=(old.st_atime_ns, old.st_mtime_ns))
    os.replace("new", "src/loop.py")


def _file_to_folder() -> None:
    Path("src/new.py").unlink(missing_ok=True)
    Path("src/new.py").mkdir()


def _link(path: str, target: str) -> Callable[[], None]:
    def change() -> None:
        if os.path.lexists(path):
            os.unlink(path)
        os.symlink(target, path)

    return change


CHANGES: dict[str, Callable[[], object]] = {
    "edit": _write("src/loop.py", LOOP.replace("for batch in loader", "if batch := loader")),
    "mend": _write("src/loop.py", LOOP),
    "break": _write("src/trainer.py", "class"),
    "repair": _write("src/trainer.py", TRAINER),
    "bad bytes": lambda: Path("src/trainer.py").write_bytes(b"\xff\xfe\x00"),
    "new file": _write("src/new.py", TRAINER),
    "new file below": _write("src/more/new.py", TRAINER.replace("Trainer", "Other")),
    "delete": lambda: Path("src/deep/other.py").unlink(missing_ok=True),
    "delete a folder": lambda: shutil.rmtree("src/deep", ignore_errors=True),
    "rename": lambda: os.replace("src/new.py", "src/renamed.py"),
    "move": lambda: os.replace("src/loop.py", "src/deep/loop.py"),
    "file to folder": _file_to_folder,
    "package": _write("src/__init__.py", ""),
    "package above": _write("__init__.py", ""),
    "inner package": _write("src/deep/__init__.py", ""),
    "settings": _write("pyproject.toml", SETTINGS),
    "settings below": _write("src/pyproject.toml", '[tool.memlint]\nignore = ["bound-history"]\nstrict = true\n'),
    "settings gone": lambda: Path("src/pyproject.toml").unlink(missing_ok=True),
    "settings broken": _write("pyproject.toml", "[tool.memlint]\nselect = 1\n"),
    "baseline": _write("pyproject.toml", '[tool.memlint]\nbaseline = "known.json"\n'),
    "known": _write("known.json", BASELINE),
    "known gone": lambda: Path("known.json").unlink(missing_ok=True),
    "what is known": _write("src/gone.py", "x\n"),
    "ignored": _write("src/.gitignore", "deep/\nnew.py\n"),
    "ignored above": _write(".gitignore", "loop.py\n"),
    "repository": lambda: os.makedirs(".git", exist_ok=True),
    "inner repository": lambda: os.makedirs("src/.git", exist_ok=True),
    "touch": lambda: os.utime("src/trainer.py"),
    "no reading": lambda: os.chmod("src/skipped.py", 0o200),
    "reading": lambda: os.chmod("src/skipped.py", 0o600),
    "old time": _restore_time,
    "replace": _replace,
    "link": _link("src/linked.py", "../elsewhere.py"),
    "link to another": _link("src/linked.py", "loop.py"),
    "link to nothing": _link("src/linked.py", "nowhere.py"),
    "what is linked": _write("elsewhere.py", LOOP),
    "link to a folder": _link("src/folder", "deep"),
    "no matter": _write("src/notes.txt", "nothing\n"),
    "notebook": _write("src/book.ipynb", NOTEBOOK.replace("append", "extend")),
    "notebook broken": _write("src/book.ipynb", "{"),
}


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.booleans(),
    st.sampled_from(["src", "src/trainer.py"]),
    st.sampled_from([["--output-format", "full"], ["--output-format", "json", "--select", "all"], ["--statistics"]]),
    st.lists(st.lists(st.sampled_from(sorted(CHANGES)), max_size=3), min_size=1, max_size=4),
)
def test_after_any_changes_a_run_says_what_one_without_the_cache_says(
    project: Path, settle: bool, path: str, form: list[str], runs: list[list[str]]
) -> None:
    fill()
    with pytest.MonkeyPatch.context() as patch:
        if settle:
            patch.setattr(record, "_now", lambda: time.time_ns() + HOUR)
        check(*form, path=path)
        for changes in runs:
            for change in changes:
                with contextlib.suppress(OSError):  # what one change has taken away another one may need
                    CHANGES[change]()
            expected = check(*form, "--no-cache", path=path)
            assert check(*form, path=path) == expected
            assert check(*form, path=path) == expected


def test_a_file_that_changes_while_it_is_checked(
    project: Path, settled: None, worked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = record.read

    def late(path: str) -> bytes:
        data = real(path)
        if path == "src/loop.py":
            monkeypatch.setattr(record, "read", real)
            Path(path).write_text("x = 1\n", encoding="utf-8")
        return data

    monkeypatch.setattr(record, "read", late)
    check()
    assert check() == check("--no-cache")
    assert len(worked) == 3


def test_what_may_be_otherwise_next_time_is_not_said_again(
    project: Path, worked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for message in proposals.PASSING:
        with monkeypatch.context() as patch:
            patch.setattr(workers, "answer", lambda path, *_: FileError(path, None, None, message))  # noqa: B023
            assert message in check("--cache-dir", message)[2]
        assert check("--cache-dir", message) == check("--no-cache")
    assert len(worked) == 6


# -- all that matters is noted -----------------------------------------------------------------------------------------


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> tuple[set[str], list[Record]]:
    """The paths below the project that a run looks at, and what it notes."""
    paths: set[str] = set()
    records: list[Record] = []
    keep, work = memo.keep, cli._run

    def kept(cache: Cache, key: str, seen: Record, status: int) -> None:
        records.append(seen)
        keep(cache, key, seen, status)

    def spied(module: Any, name: str, patch: pytest.MonkeyPatch) -> None:
        real = getattr(module, name)

        def look(path: Any = ".", *rest: Any, **more: Any) -> Any:
            if isinstance(path, (str, os.PathLike)):
                paths.add(os.path.abspath(path))
            return real(path, *rest, **more)

        patch.setattr(module, name, look)

    def watched(arguments: Any) -> int:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("stat", "lstat", "scandir", "listdir", "readlink", "access"):
                spied(os, name, patch)
            spied(builtins, "open", patch)
            spied(io, "open", patch)
            return work(arguments)

    monkeypatch.setattr(memo, "keep", kept)
    monkeypatch.setattr(cli, "_run", watched)
    return paths, records


@pytest.mark.parametrize("form", [["full"], ["sarif"], ["github"]], ids=" ".join)
def test_whatever_a_run_looks_at_is_noted(project: Path, looks: tuple[set[str], list[Record]], form: list[str]) -> None:
    for change in ("known", "ignored above", "package above", "link", "link to a folder"):
        CHANGES[change]()
    os.mkdir("src/deep/.git")
    Path("pyproject.toml").write_text(
        '[tool.memlint]\nselect = ["all"]\nbaseline = "known.json"\nruntime = "vendor:src/deep/helpers.py"\n',
        encoding="utf-8",
    )
    check("--output-format", *form)
    seen, (noted,) = looks[0], looks[1]
    known = {os.path.abspath(path) for path in (*noted.files, *noted.folders, *noted.kinds)}
    for path in (*noted.links, *noted.links.values()):
        known |= {path, *map(str, Path(path).parents)}
    mine = {path for path in seen if path.startswith(str(project)) or str(project).startswith(path)}
    mine = {path for path in mine if record.OWN not in path and not path.startswith(str(project / "out"))}
    assert {str(project / name) for name in ("known.json", "src/gone.py", "src/deep/other.py", "src")} <= mine
    assert mine - known == set()


# -- what may happen to a memo -----------------------------------------------------------------------------------------


def memos() -> list[Path]:
    """The entries that hold runs."""
    cache = Cache(record.OWN)
    found = [path for path in Path(record.OWN).glob("??/*") if path.is_file()]
    return [path for path in found if (cache.get(path.parent.name + path.name) or b"").startswith(b'{"files"')]


def test_a_damaged_one_is_none(project: Path, worked: list[int]) -> None:
    first = check()
    (entry,) = memos()
    whole = entry.read_bytes()
    for at in range(0, len(whole), max(1, len(whole) // 10)):
        entry.write_bytes(whole[:at] + bytes([whole[at] ^ 0x11]) + whole[at + 1 :])
        assert check() == first
        entry.write_bytes(whole[:at])
        assert check() == first
    assert check() == first
    assert len(worked) == 1 + 2 * len(range(0, len(whole), max(1, len(whole) // 10)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["files", "folders", "kinds", "links", "said", "status", None]), JSON | st.binary(max_size=9))
def test_well_sealed_nonsense_is_none(project: Path, part: str | None, junk: object) -> None:
    first = check("--no-cache")
    check()
    (entry,) = memos()
    key = entry.parent.name + entry.name
    content = json.loads(Cache(record.OWN).get(key) or b"")
    if part is not None and not isinstance(junk, bytes):
        content = {**content, part: {"src": junk} if part in ("files", "folders") else junk}
    packed = junk if isinstance(junk, bytes) else json.dumps(content if part else junk).encode()
    Cache(record.OWN).put(key, packed)
    after = check()
    assert after == first or part in ("said", "status")
    Path(entry).unlink()


@pytest.mark.parametrize("text", ["\x1b]0;title\x07\n", "\x1b[2J", "\r", "a\u202eb\n"])
def test_what_could_upset_a_terminal_is_not_said_again(project: Path, text: str) -> None:
    first = check()
    (entry,) = memos()
    key = entry.parent.name + entry.name
    content = json.loads(Cache(record.OWN).get(key) or b"")
    content["said"].insert(0, ["out", text])
    Cache(record.OWN).put(key, json.dumps(content).encode())
    assert check() == first
