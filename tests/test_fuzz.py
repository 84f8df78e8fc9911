"""Whatever stands in a file: a line for what can't be read, and repairs that leave a program a program.

A run tries the same inputs each time. `MEMLINT_FUZZ_SECONDS=900 pytest tests/test_fuzz.py --no-cov` goes on with others
for so long in each test; a failure names the number of its input, with which `MEMLINT_FUZZ_FIRST` begins.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import hypothesmith
import pytest
from hypothesis import HealthCheck, given, settings

from memlint import codec, registry
from memlint.cli import main
from memlint.proposals import DEFECT, FileError, Question, answer
from memlint.report.lines import split
from memlint.source import Unreadable, read
from memlint.tree import compiles
from tests.support import mutants

SECONDS = float(os.environ.get("MEMLINT_FUZZ_SECONDS", "0"))
FIRST = int(os.environ.get("MEMLINT_FUZZ_FIRST", "0"))
"""The number of the first input."""


def run(*arguments: str) -> tuple[int, str, str]:
    """A run of memlint in this process, with all rules: its exit status, output and errors."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([*arguments, "--isolated", "--no-cache", "-j1", "--select", "all"])
    return status, out.getvalue(), err.getvalue()


def told_well(status: int, err: str, path: Path) -> None:
    """Each line is about the file or the last one, and none about a defect of memlint."""
    assert status in (0, 1), err
    assert "Traceback" not in err
    assert DEFECT not in err
    *errors, last = err.splitlines()
    assert all(line.startswith(f"memlint: error: {path.name}:") for line in errors), err
    assert last.endswith(".")


def holds(data: bytes, path: Path) -> None:
    """All that must hold for a file of these bytes. The folder of the path is the current one."""
    path.write_bytes(data)
    status, out, err = run("check", "--output-format", "json", path.name)
    told_well(status, err, path)
    within(json.loads(out), data, path)
    status, _, err = run("fix", "--unsafe-fixes", path.name)
    told_well(status, err, path)
    new = path.read_bytes()
    if new == data:
        return
    before, after = (read(path.name, version)[0] for version in (data, new))
    assert compiles(after) or not compiles(before), "the repaired file does not compile"
    status, _, err = run("fix", "--unsafe-fixes", path.name)
    told_well(status, err, path)
    assert path.read_bytes() == new, "a second repair changes the file"


def within(found: list[dict[str, object]], data: bytes, path: Path) -> None:
    """What is found lies within the file."""
    if not found or path.suffix == ".ipynb":
        return
    try:
        lines = split(read(path.name, data)[0])
    except Unreadable:
        raise AssertionError("found something in a file that can't be read") from None
    for finding in found:
        line, column = int(str(finding["line"])), int(str(finding["column"]))
        assert 1 <= line <= len(lines), finding
        assert 1 <= column <= len(lines[line - 1]) + 1, finding
        assert (line, column) <= (finding["end_line"], finding["end_column"]), finding


def inputs(count: int) -> Iterator[Random]:
    """A source of chance for each input: so many, or as many as there is time for."""
    end = time.monotonic() + SECONDS
    number = FIRST
    while number < FIRST + count or time.monotonic() < end:
        print("input", number)
        yield Random(number)
        number += 1


@pytest.mark.parametrize(
    ("make", "name", "count"),
    [
        (mutants.mutant, "a.py", 60),
        (mutants.rewritten, "a.py", 40),
        (mutants.notebook, "a.ipynb", 30),
    ],
)
def test_accidents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Random], bytes], name: str, count: int
) -> None:
    monkeypatch.chdir(tmp_path)
    for random in inputs(count):
        holds(make(random), tmp_path / name)


def test_many_accidents() -> None:
    """What a file contributes, without the command line around it."""
    question = Question(tuple(registry.rules()))
    for random in inputs(1_500):
        data = mutants.mutant(random)
        given = answer("a.py", data, question, frozenset())
        if isinstance(given, FileError):
            assert given.message.isprintable()
            assert not given.message.startswith(DEFECT), given.message
            assert given.line is None or 1 <= given.line <= len(split(data.decode("latin-1"))) + 1
        elif given is not None:
            assert codec.decode(codec.encode(given)) == given
            lines = split(read("a.py", data)[0])
            for place in (proposal.place for proposal in given.proposals):
                assert place.line <= place.end_line <= len(lines)
                assert place.column <= len(lines[place.line - 1]) + 1


@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
@settings(
    max_examples=25,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
@given(hypothesmith.from_grammar(auto_target=False) | hypothesmith.from_node(auto_target=False))
def test_generated_modules(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder, here = tmp_path_factory.getbasetemp(), Path.cwd()
    os.chdir(folder)
    try:
        holds(text.encode("utf-8", "surrogatepass"), folder / "generated.py")
    finally:
        os.chdir(here)
