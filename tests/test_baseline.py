"""Baselines: what is known stays silent wherever it moves to, what is fixed is told, no file is believed blindly."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memlint import baseline
from memlint.baseline import Baseline, Entry
from memlint.config import ConfigError
from tests import test_cli
from tests.test_cli import CLEAN, LEAKY, SUSPECT, Result, Run, Write

run, write = test_cli.run, test_cli.write

FILE = "known.json"
APPEND = "        self.trace.append(self.state.clone())\n"
WRITTEN = """\
{
  "memlint-baseline": 1,
  "findings": [
    {"path": "a.py", "function": "Simulation.step", "rule": "bound-history", \
"code": "self.trace.append(self.state.clone())", "nth": 1}
  ]
}
"""


def entries(path: str = FILE) -> list[Entry]:
    return baseline.read(path).entries


def change(path: str, old: str, new: str, count: int = -1) -> None:
    file = Path(path)
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, count), encoding="utf-8")


@pytest.fixture
def known(run: Run, write: Write) -> None:
    """A project whose one problem is known."""
    write("a.py", LEAKY)
    wrote = f"Wrote {FILE}: 1 known problem (1 new, 0 dropped).\n"
    assert run("check", "--write-baseline", FILE) == Result(0, "", wrote)


# -- what is known -----------------------------------------------------------------------------------------------------


def test_what_is_known_is_neither_reported_nor_fails(run: Run, known: None) -> None:
    assert Path(FILE).read_text(encoding="utf-8") == WRITTEN
    silent = Result(0, "", f"No problems found in 1 file; 1 known from {FILE} left out.\n")
    assert run("check", "--baseline", FILE) == silent
    assert run("check", "--baseline", FILE, "--strict", "--output-format", "full") == silent
    assert run("check").status == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("import torch\n", "import os\n\n\nimport torch\n"),
        ("    def step(self)", "    def other(self) -> None:\n        pass\n\n    def step(self)"),
        ("append(self.state.clone())", "append(\n            self.state.clone(),  # a copy\n        )"),
        ("append(self.state.clone())", "append( self.state.clone() )  # a copy"),
        ("    ", "\t"),
        ("\n", "\r\n"),
    ],
)
def test_it_is_known_wherever_it_moves_and_however_it_is_set(run: Run, known: None, old: str, new: str) -> None:
    Path("a.py").write_bytes(LEAKY.replace(old, new).encode())
    assert run("check", "--baseline", FILE, "-q") == Result(0, "", "")


def test_it_stays_known_when_it_becomes_surer(run: Run, write: Write) -> None:
    write("a.py", LEAKY.replace("while True:", "for i in range(len(queue)):"))
    assert "[suspected]" in run("check").out
    run("check", "--write-baseline", FILE)
    write("a.py", LEAKY)
    assert "[suspected]" not in run("check").out
    assert run("check", "--baseline", FILE, "-q") == Result(0, "", "")


def test_another_function_or_statement_is_new(run: Run, write: Write, known: None) -> None:
    for old, new in (("step(", "advance("), (".clone()", ".clone() + 1")):
        write("a.py", LEAKY.replace(old, new))
        assert run("check", "--baseline", FILE).status == 1


def test_of_equal_ones_as_many_are_known_as_were_there(run: Run, write: Write) -> None:
    write("a.py", LEAKY.replace(APPEND, APPEND * 2))
    run("check", "--write-baseline", FILE)
    assert [entry.nth for entry in entries()] == [1, 2]
    write("a.py", LEAKY.replace(APPEND, APPEND * 3))
    [line] = run("check", "--baseline", FILE).out.splitlines()
    assert line.startswith("a.py:13:")


def test_suspected_ones_and_stale_suppressions_can_be_known(run: Run, write: Write) -> None:
    write("a.py", SUSPECT, "b.py", "# memlint: ignore[bound-history]\n" + CLEAN)
    run("check", "--write-baseline", FILE)
    assert [(entry.path, entry.code) for entry in entries()] == [
        ("a.py", "x=1"),
        ("b.py", "# memlint: ignore[bound-history]"),
    ]
    assert run("check", "--strict", "--baseline", FILE, "-q") == Result(0, "", "")


@pytest.mark.parametrize("layout", ["concise", "full", "json", "sarif", "github"])
def test_every_format_shows_the_new_ones_only(run: Run, known: None, write: Write, layout: str) -> None:
    write("b.py", LEAKY.replace("Simulation", "Other").replace("step", "advance"))
    argv = ("check", "--baseline", FILE, "--output-format", layout)
    result = run(*argv)
    assert result.status == 1
    assert "b.py" in result.out
    assert "a.py" not in result.out
    assert f"in 1 of 2 files; 1 known from {FILE} left out.\n" in result.err
    assert run(*argv, "a.py").status == 0


def test_statistics_count_the_new_ones(run: Run, known: None) -> None:
    assert run("check", "--baseline", FILE, "--statistics", "--output-format", "json").out == "[]\n"


def test_standard_input_goes_by_its_name(
    run: Run,
    known: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import io
    import sys

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n\n" + LEAKY.encode())))
    assert run("check", "--stdin-filename", "a.py", "--baseline", FILE, "-q") == Result(0, "", "")


# -- what is no longer needed ------------------------------------------------------------------------------------------


def test_what_is_fixed_is_no_longer_needed(run: Run, known: None, write: Write) -> None:
    write("a.py", CLEAN)
    remark = (
        f"memlint: warning: {FILE}: 1 entry is no longer needed; `memlint check --write-baseline {FILE}` drops it\n"
    )
    assert run("check", "--baseline", FILE) == Result(0, "", remark + "No problems found in 1 file.\n")
    assert run("check", "--baseline", FILE, "-q") == Result(0, "", "")
    wrote = f"Wrote {FILE}: 0 known problems (0 new, 1 dropped).\n"
    assert run("check", "--write-baseline", FILE) == Result(0, "", wrote)
    assert Path(FILE).read_text(encoding="utf-8") == '{\n  "memlint-baseline": 1,\n  "findings": []\n}\n'


def test_what_a_comment_hides_is_no_longer_needed(run: Run, known: None) -> None:
    change("a.py", "clone())", "clone())  # memlint: ignore[bound-history] short runs only")
    result = run("check", "--baseline", FILE)
    assert (result.status, result.out) == (0, "")
    assert "1 entry is no longer needed" in result.err


def test_a_run_judges_only_what_it_checks(run: Run, known: None, write: Write) -> None:
    write("a.py", CLEAN, "b.py", CLEAN, "c.py", "def f(:\n")
    for argv in (["b.py"], ["--ignore", "bound-history"], ["--select", "clamp-coordinates", "b.py"]):
        assert "no longer" not in run("check", "--baseline", FILE, *argv).err
        run("check", "--write-baseline", FILE, *argv)
        assert len(entries()) == 1
    write("a.py", "def f(:\n")  # what can't be read may still hold it
    assert "no longer" not in run("check", "--baseline", FILE, "a.py").err


@pytest.mark.parametrize(("path", "rule"), [("gone.py", "bound-history"), ("a.py", "no-such-rule")])
def test_files_and_rules_that_are_gone_need_no_entry(run: Run, known: None, path: str, rule: str) -> None:
    baseline.write(Baseline(FILE, [*entries(), Entry(path, "", rule, "x", 1)]))
    assert "1 entry is no longer needed" in run("check", "--baseline", FILE).err
    run("check", "--write-baseline", FILE)
    assert Path(FILE).read_text(encoding="utf-8") == WRITTEN


# -- settings and command line -----------------------------------------------------------------------------------------


def test_the_setting_starts_from_its_folder_and_the_command_line_wins(
    run: Run,
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write("lib/a.py", LEAKY, "lib/pyproject.toml", '[tool.memlint]\nbaseline = "ci/known.json"\n', "b.py", LEAKY)
    missing = "memlint: error: lib/ci/known.json: no such file; `memlint check --write-baseline lib/ci/known.json`"
    assert run("check") == Result(2, "", f"{missing} makes it\n")
    assert run("check", "lib", "--write-baseline", "lib/ci/known.json").status == 0
    assert [entry.path for entry in entries("lib/ci/known.json")] == ["../a.py"]
    assert [line.split(":")[0] for line in run("check").out.splitlines()] == ["b.py"]
    assert run("check", "--no-baseline").out.count("\n") == 2
    assert 'baseline = "lib/ci/known.json"  # lib/pyproject.toml' in run("config", "lib").out
    monkeypatch.chdir("lib/ci")
    assert run("check", "..", "-q") == Result(0, "", "")
    assert run("check", os.path.realpath(".."), "-q") == Result(0, "", "")


def test_repairs_are_made_and_only_new_findings_count_as_left(run: Run, known: None, write: Write) -> None:
    write("pyproject.toml", f'[tool.memlint]\nbaseline = "{FILE}"\n')
    assert run("fix") == Result(0, "", "Nothing to fix in 1 file.\n")
    assert "append_bounded" in run("fix", "--unsafe-fixes", "--diff").out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--baseline", FILE], "--write-baseline can't be combined with --baseline: what is known is listed again"),
        (["--diff-base", "x"], "--write-baseline can't be combined with --diff-base: all that is found is listed"),
    ],
)
def test_what_can_not_be_combined(run: Run, known: None, argv: list[str], message: str) -> None:
    assert run("check", "--write-baseline", FILE, *argv) == Result(2, "", f"memlint: error: {message}\n")


def test_nothing_else_is_overwritten(run: Run, known: None) -> None:
    result = run("check", "--write-baseline", "a.py")
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith("memlint: error: a.py: not a baseline of memlint: not valid JSON")
    assert result.err.endswith("; it is not overwritten\n")
    assert Path("a.py").read_text(encoding="utf-8") == LEAKY
    error = "memlint: error: .: not a file, so not a baseline; it is not overwritten\n"
    assert run("check", "--write-baseline", ".") == Result(2, "", error)
    error = "memlint: error: --write-baseline needs the name of a file\n"
    assert run("check", "--write-baseline", "") == Result(2, "", error)


def test_what_can_not_be_written_is_one_line(run: Run, known: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    change("a.py", APPEND, APPEND * 2)
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        error = f"memlint: error: {FILE}: not written: No space left on device\n"
        assert run("check", "--write-baseline", FILE) == Result(2, "", error)
    assert Path(FILE).read_text(encoding="utf-8") == WRITTEN
    error = "memlint: error: a.py/b.json: can't be written: File exists\n"
    assert run("check", "--write-baseline", "a.py/b.json") == Result(2, "", error)


def test_without_files_nothing_is_written(run: Run, known: None) -> None:
    os.unlink("a.py")
    assert "no Python files found" in run("check", "--write-baseline", FILE).err
    assert Path(FILE).read_text(encoding="utf-8") == WRITTEN


# -- the file ----------------------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=[]))
every_entry = st.builds(Entry, texts, texts, texts, texts, st.integers(1, 9))


@given(st.lists(every_entry))
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, found: list[Entry]) -> None:
    path = tmp_path_factory.mktemp("baseline") / FILE
    baseline.write(Baseline(str(path), found))
    assert baseline.read(str(path)).entries == sorted(set(found))
    assert len(path.read_text(encoding="utf-8").splitlines()) == len(set(found)) + (5 if found else 4)
    assert b"\r" not in path.read_bytes()


GOOD = json.loads(WRITTEN)["findings"][0]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], 'there is no "memlint-baseline" in it'),
        ({"version": 1}, 'there is no "memlint-baseline" in it'),
        ({"memlint-baseline": 2, "findings": []}, "it is of version 2, and this memlint reads version 1"),
        ({"memlint-baseline": True, "findings": []}, "it is of version true, and this memlint reads version 1"),
        ({"memlint-baseline": 1}, 'beside its version it must have a list "findings", and nothing else'),
        (
            {"memlint-baseline": 1, "findings": {}},
            'beside its version it must have a list "findings", and nothing else',
        ),
        (
            {"memlint-baseline": 1, "findings": [GOOD, {}]},
            "finding 2 must have path, function, rule, code, nth, and nothing else",
        ),
        (
            {"memlint-baseline": 1, "findings": [{**GOOD, "nth": True}]},
            '"nth" of finding 1 must be a whole number, not true',
        ),
        ({"memlint-baseline": 1, "findings": [{**GOOD, "nth": 0}]}, '"nth" of finding 1 must be at least 1'),
        (
            {"memlint-baseline": 1, "findings": [{**GOOD, "path": ["x" * 99]}]},
            f'"path" of finding 1 must be a string, not ["{"x" * 38}...',
        ),
    ],
)
def test_a_foreign_document_is_told_in_one_line(run: Run, write: Write, document: Any, message: str) -> None:
    write("a.py", LEAKY, FILE, json.dumps(document))
    error = f"memlint: error: {FILE}: not a baseline of memlint: {message}\n"
    assert run("check", "--baseline", FILE) == Result(2, "", error)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not valid JSON: Expecting value at line 1, column 1"),
        (b"{\n<<<<<<< ours\n", "not valid JSON: Expecting property name enclosed in double quotes at line 2, column 1"),
        (b'{"a": 1, "a": 2}', "a key stands twice in one object"),
        (b'"\xff"', "not UTF-8: invalid start byte at byte 1"),
        (b"[" * 200_000, "nested too deeply"),
    ],
)
def test_a_broken_file_is_told_in_one_line(run: Run, write: Write, data: bytes, message: str) -> None:
    write("a.py", LEAKY, FILE, data)
    error = f"memlint: error: {FILE}: not a baseline of memlint: {message}\n"
    assert run("check", "--baseline", FILE) == Result(2, "", error)


@settings(max_examples=300)
@given(st.data())
def test_no_bytes_do_more_than_one_line_of_harm(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Any bytes, and bytes of a good file with some of them changed or cut off, are read or refused."""
    good = WRITTEN.encode()
    at = data.draw(st.integers(0, len(good)))
    other = data.draw(st.binary(max_size=6) | st.sampled_from([b"{", b"[[", b"1e999", b"9" * 5000, b"NaN", b"\\ud800"]))
    broken = data.draw(st.sampled_from([good[:at] + other + good[at + len(other) :], good[:at] + other, other]))
    path = tmp_path_factory.mktemp("baseline") / FILE
    path.write_bytes(broken)
    refusal = ""
    try:
        assert all(isinstance(entry, Entry) for entry in baseline.read(str(path)).entries)
    except ConfigError as error:
        refusal = str(error)
    assert not refusal or refusal.startswith(f"{path.as_posix()}: not a baseline of memlint: ")
    assert len(refusal.splitlines()) <= 1


def test_merged_files_may_say_a_finding_twice(run: Run, known: None) -> None:
    entry = json.dumps(GOOD)
    change(FILE, entry, f"{entry},\n    {entry}")
    assert run("check", "--baseline", FILE) == run("check", "--baseline", FILE)
    assert len(entries()) == 1


def test_a_long_statement_is_told_by_its_beginning_and_a_mark(run: Run, write: Write) -> None:
    long = LEAKY.replace("clone()", "clone() + " + " + ".join(["self.state"] * 40))
    write("a.py", long)
    run("check", "--write-baseline", FILE)
    [entry] = entries()
    assert len(entry.code) < 120
    write("a.py", long.replace("+ self.state)", "- self.state)"))
    assert run("check", "--baseline", FILE).status == 1
    write("a.py", long)
    assert run("check", "--baseline", FILE).status == 0
