"""The command line from end to end, on small files: what it prints where, and its exit status."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from memlint import __version__, engine, proposals, record, registry, repair
from memlint.cli import main
from memlint.cli.progress import Progress
from memlint.engine import FileError
from memlint.proposals import FileResult
from memlint.report.summary import plural
from memlint.source import Source
from tests.support import ROOT

LEAKY = """\
import torch


class Simulation:
    def __init__(self) -> None:
        self.state = torch.zeros(8)
        self.trace = []

    def step(self) -> None:
        self.state = torch.tanh(self.state + 0.1)
        self.trace.append(self.state.clone())


def run(simulation: Simulation, queue) -> None:
    while True:
        queue.get()
        simulation.step()
"""
CLEAN = "x = 1\n"
SUSPECT = "x = 1  # memlint: ignore[bound-history]\n"  # a comment that hides nothing is only suspected


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str


Run = Callable[..., Result]
Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write files, given as path and content in turn, below an empty repository that is the current folder."""
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("NO_COLOR", "FORCE_COLOR", "GITHUB_ACTIONS", "GITHUB_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)

    def write(*pairs: str | bytes) -> None:
        for path, content in zip(pairs[::2], pairs[1::2], strict=True):
            target = tmp_path / os.fsdecode(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


@pytest.fixture
def run(write: Write, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run memlint in this process."""

    def run(*argv: str) -> Result:
        status = main(argv)
        out, err = capsys.readouterr()
        return Result(status, out, err)

    return run


def process(*argv: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run memlint in a process of its own."""
    return subprocess.run(command(*argv), capture_output=True, text=True, encoding="utf-8", check=False, **more)


def command(*argv: str) -> list[str]:
    """How to run memlint as it is here, installed or not, from another folder."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from memlint.cli import main; sys.exit(main())"
    return [sys.executable, "-c", code, *argv]


# -- the frame ---------------------------------------------------------------------------------------------------------


def test_version_and_help_do_not_wait_for_libraries() -> None:
    code = (
        "import sys; from memlint.cli import main\n"
        "assert main(['--version']) == 0 and main(['check', '--help']) == 0\n"
        "assert not {'libcst', 'rich', 'pathspec', 'memlint.config'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"memlint {__version__}\n")


def test_modules_of_the_checked_project_are_not_imported(tmp_path: Path) -> None:
    for name in ("argparse.py", "traceback.py"):
        (tmp_path / name).write_text("raise SystemExit('imported')\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "memlint", "check", "--isolated", "--no-cache", "."]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "No problems found in 2 files.\n"


def test_the_command_gives_its_version_without_reading_a_command_line() -> None:
    code = (
        "import sys; from memlint.__main__ import main; sys.argv[1:] = ['--version']\n"
        "assert main() == 0 and not {'argparse', 'memlint.cli'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == f"memlint {__version__}\n"


def test_a_few_files_do_not_wait_for_processes(write: Write) -> None:
    write("leaky.py", LEAKY)
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from memlint.cli import main\n"
        "assert main(['check', '--no-cache', '-j2', 'leaky.py']) == 1\n"
        "assert 'libcst' in sys.modules and not {'multiprocessing', 'concurrent.futures.process'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_python_m_memlint_is_the_same() -> None:
    command = [sys.executable, "-m", "memlint", "check", "nope.py"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("memlint: error: nope.py: no such file or directory\n")


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["chek"],
        ["check", "--selct", "all"],
        ["check", "--output-format", "xml"],
        ["check", "--sel", "all"],
        ["fix", "--output-format", "json"],
        ["rule", "a", "b"],
    ],
)
def test_usage_errors(run: Run, argv: list[str]) -> None:
    result = run(*argv)
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith("usage: memlint")


def test_options_may_stand_between_paths(run: Run, write: Write) -> None:
    write("a.py", LEAKY, "b.py", LEAKY, "c.py", LEAKY)
    result = run("check", "a.py", "-q", "b.py", "--select", "all", "c.py")
    assert [line.split(":")[0] for line in result.out.splitlines()] == ["a.py", "b.py", "c.py"]


def test_interrupted(run: Run, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object, **more: object) -> None:
        raise KeyboardInterrupt

    write("a.py", CLEAN)
    monkeypatch.setattr(engine, "check", interrupt)
    assert run("check") == Result(130, "", "memlint: interrupted\n")


def test_a_defect_of_memlint_is_not_taken_for_findings(run: Run, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("a.py", CLEAN)
    monkeypatch.setattr(engine, "check", lambda *args, **more: 1 // 0)
    result = run("check")
    assert (result.status, result.out) == (2, "")
    assert "ZeroDivisionError" in result.err
    assert result.err.endswith("memlint: error: a defect of memlint itself, please report the lines above\n")


def test_a_rule_that_fails_costs_one_file(run: Run, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("a.py", LEAKY, "b.py", LEAKY)
    propose = proposals.propose

    def fails(source: Source, *rest: Any) -> FileResult:
        if source.path == "a.py":
            raise IndexError("list index\nout of range")
        return propose(source, *rest)

    monkeypatch.setattr(proposals, "propose", fails)
    result = run("check", "--no-cache", "-j1")
    assert result.status == 1
    assert result.out.startswith("b.py:")
    line = result.err.splitlines()[0]
    assert line.startswith(f"memlint: error: a.py: {proposals.DEFECT}, please report it: IndexError: list index out of")
    assert "(test_cli.py:" in line


def test_a_reader_that_has_seen_enough(write: Write) -> None:
    write(*(item for number in range(300) for item in (f"f{number}.py", LEAKY)))
    argv = command("check", "--output-format", "full")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stderr is not None
        reader.stdout.read(10)
        reader.stdout.close()
        errors = reader.stderr.read()
    assert reader.returncode == 1
    assert errors.startswith("Found 300 problems")


# -- check: status and streams -----------------------------------------------------------------------------------------


def test_clean_files(run: Run, write: Write) -> None:
    write("a.py", CLEAN, "b.py", CLEAN)
    assert run("check") == Result(0, "", "No problems found in 2 files.\n")


def test_proved_findings_fail(run: Run, write: Write) -> None:
    write("a.py", LEAKY, "b.py", CLEAN)
    result = run("check")
    assert result.status == 1
    [line] = result.out.splitlines()
    assert line.startswith("a.py:")
    assert ": bound-history " in line
    assert result.err == "Found 1 problem (1 proved) in 1 of 2 files.\n"


def test_suspected_findings_fail_only_in_strict_runs(run: Run, write: Write) -> None:
    write("a.py", SUSPECT)
    result = run("check")
    assert result == Result(
        0,
        "a.py:1:26: unused-suppression this suppression of bound-history hides nothing [suspected]\n",
        "Found 1 problem (1 suspected) in 1 of 1 file.\n",
    )
    assert run("check", "--strict").status == 1


def test_strictness_may_depend_on_the_folder(run: Run, write: Write) -> None:
    write("a.py", SUSPECT, "core/pyproject.toml", "[tool.memlint]\nstrict = true\n", "core/b.py", CLEAN)
    assert run("check").status == 0
    write("core/b.py", SUSPECT)
    assert run("check").status == 1


def test_exit_zero(run: Run, write: Write) -> None:
    write("a.py", LEAKY, "b.py", "def f(:\n")
    assert run("check", "--exit-zero", "--strict").status == 0
    assert run("check", "--exit-zero", "nope.py").status == 2


def test_quiet_leaves_findings_and_errors(run: Run, write: Write) -> None:
    write("a.py", SUSPECT)
    result = run("check", "-q", ".", "nope.py")
    assert result.out.count("\n") == 1
    assert result.err == "memlint: error: nope.py: no such file or directory\n"
    assert run("check", "--quiet", ".git") == Result(0, "", "")


def test_nothing_to_check(run: Run) -> None:
    warning = "memlint: warning: no Python files found under the given paths\n"
    assert run("check") == Result(0, "", warning)
    assert run("check", "--output-format", "json") == Result(0, "[]\n", warning)


def test_paths_that_do_not_exist(run: Run, write: Write) -> None:
    write("a.py", CLEAN)
    error = "memlint: error: nope.py: no such file or directory\n"
    assert run("check", "nope.py") == Result(2, "", error + "1 file could not be checked.\n")
    assert run("check", "nope.py", "a.py") == Result(
        1, "", error + "No problems found in 1 file; 1 file could not be checked.\n"
    )


def test_files_that_cannot_be_read_are_one_line_each(run: Run, write: Write) -> None:
    write(
        "syntax.py", "x = 1\ndef f(:\n", "bytes.py", b"x = 1\n\xff\xfe\n", "coding.py", "# coding: nonsense\n",
        "nul.py", b"x = 1\0\n", "leaky.py", LEAKY,
    )  # fmt: skip
    result = run("check")
    assert result.status == 1
    assert [line.split(":")[0] for line in result.out.splitlines()] == ["leaky.py"]
    *errors, last = result.err.splitlines()
    places = [error.split(": ")[2].split(":")[:2] for error in errors]
    assert places == [["bytes.py", "2"], ["coding.py", "1"], ["nul.py"], ["syntax.py", "2"]]
    assert last == "Found 1 problem (1 proved) in 1 of 1 file; 4 files could not be checked."


def test_a_file_without_permission(run: Run, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    read = record.read

    def refuse(path: str) -> bytes:
        if path == "a.py":
            raise PermissionError(13, "Permission denied")
        return read(path)

    write("a.py", CLEAN)
    monkeypatch.setattr(record, "read", refuse)
    result = run("check")
    assert result.status == 1
    assert result.err.startswith("memlint: error: a.py: can't be read: Permission denied\n")


# -- check: what is chosen ---------------------------------------------------------------------------------------------


def test_rules_are_selected_on_the_command_line(run: Run, write: Write) -> None:
    write("a.py", LEAKY, "b.py", SUSPECT)
    assert run("check", "--select", "unused-suppression").out == ""  # it judges rules that are on
    assert run("check", "--select", "bound-history,clamp-coordinates").out.startswith("a.py:")
    assert run("check", "--ignore", "bound-history", "--ignore", "unused-suppression").out == ""
    assert run("check", "--ignore", "all", "--extend-select", "bound-history").out.count("\n") == 1
    assert run("check", "--select", "all").out.count("\n") == 2


@pytest.mark.parametrize("option", ["--select", "--ignore", "--extend-select"])
def test_unknown_rules_are_usage_errors(run: Run, option: str) -> None:
    assert run("check", option, "bound-histroy") == Result(
        2, "", f'memlint: error: {option}: unknown rule "bound-histroy", did you mean "bound-history"?\n'
    )


def test_settings_files(run: Run, write: Write) -> None:
    write("a.py", LEAKY, "pyproject.toml", '[tool.memlint]\nignore = ["bound-history"]\n')
    assert run("check").status == 0
    assert run("check", "--isolated").status == 1
    write("other.toml", '[tool.memlint]\nselect = ["bound-history"]\n')
    assert run("check", "--config", "other.toml").status == 1


def test_mistakes_in_settings_files(run: Run, write: Write) -> None:
    write("a.py", CLEAN, "pyproject.toml", "[tool.memlint]\nselct = []\n")
    error = 'memlint: error: pyproject.toml: [tool.memlint] unknown key "selct", did you mean "select"?\n'
    assert run("check", "--output-format", "json") == Result(2, "", error)
    assert run("fix").status == 2
    assert run("config").status == 2


def test_excluded_paths(run: Run, write: Write) -> None:
    write("a.py", LEAKY, "gen/b.py", LEAKY, "old/c.py", LEAKY, ".gitignore", "old/\n")
    assert run("check", "--exclude", "gen,x").out.count("\n") == 1
    assert run("check", "--exclude", "gen", "--exclude", "a.py").out == ""
    assert run("check", "--exclude", "[z-a]").err == 'memlint: error: --exclude: not a valid pattern: "[z-a]"\n'


def test_excluded_paths_that_are_named(run: Run, write: Write, stdin: Callable[[str], None]) -> None:
    write("gen/b.py", LEAKY, "pyproject.toml", '[tool.memlint]\nexclude = ["gen"]\n')
    assert run("check", "gen/b.py").status == 1
    assert run("check", "gen/b.py", "--force-exclude", "-q") == Result(0, "", "")
    assert run("fix", "gen/b.py", "--force-exclude", "-q") == Result(0, "", "")
    stdin(LEAKY)
    assert run("check", "--stdin-filename", "gen/b.py", "--force-exclude", "-q") == Result(0, "", "")


def test_suppressed_findings(run: Run, write: Write) -> None:
    hidden = LEAKY.replace("clone())", "clone())  # memlint: ignore[bound-history] short runs only")
    assert hidden != LEAKY
    write("a.py", hidden, "b.py", "# memlint: skip-file\n" + LEAKY)
    assert run("check", "--strict") == Result(0, "", "No problems found in 2 files.\n")


def test_misspelt_suppressions(run: Run, write: Write) -> None:
    write("a.py", "x = 1  # memlint: ignore[bound-histroy]\n")
    assert 'unknown rule "bound-histroy" in a suppression, did you mean "bound-history"?' in run("check").out


# -- check: standard input ---------------------------------------------------------------------------------------------


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def put(text: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    return put


def test_standard_input(run: Run, write: Write, stdin: Callable[[str], None]) -> None:
    stdin(LEAKY)
    assert run("check", "-").out.startswith("-:")
    stdin(LEAKY)
    assert run("check", "--stdin-filename", "src/a.py").out.startswith("src/a.py:")


def test_standard_input_has_the_settings_of_its_name(run: Run, write: Write, stdin: Callable[[str], None]) -> None:
    write("src/pyproject.toml", '[tool.memlint]\nignore = ["bound-history"]\n', "src/a.py", LEAKY)
    stdin(LEAKY)
    assert run("check", "-", "--stdin-filename", "src/a.py").status == 0
    stdin(LEAKY)
    assert run("check", "-", "--stdin-filename", "a.py").status == 1


@pytest.mark.parametrize("argv", [["-", "a.py"], ["a.py", "--stdin-filename", "b.py"]])
def test_standard_input_stands_alone(run: Run, argv: list[str]) -> None:
    result = run("check", *argv)
    assert (result.status, result.out) == (2, "")
    assert "can't be combined with" in result.err


# -- check: output formats ---------------------------------------------------------------------------------------------


def test_json_is_a_list_and_nothing_else(run: Run, write: Write) -> None:
    write("bad.py", "def f(:\n", "empty.py", "")
    argv = ("check", "--isolated", "--select", "all", "--output-format", "json")
    assert (run(*argv, "bad.py").out, run(*argv, "empty.py").out) == ("[]\n", "[]\n")
    write("a.py", LEAKY)
    [found] = json.loads(run(*argv, "a.py", "bad.py").out)
    assert (found["rule"], found["path"], found["tier"]) == ("bound-history", "a.py", "proved")
    assert found["evidence"]
    assert found["fix"]["safety"] == "unsafe"
    lines = LEAKY.splitlines(keepends=True)
    for edit in reversed(found["fix"]["edits"]):
        assert (edit["column"], edit["end_column"]) == (1, 1)
        lines[edit["line"] - 1 : edit["end_line"] - 1] = [edit["replacement"]]
    assert "append_bounded(self.trace, self.state.clone(), limit=1000)" in "".join(lines)


def test_formats_say_why_there_is_no_fix(run: Run, write: Write) -> None:
    write("a.py", LEAKY, "pyproject.toml", '[tool.memlint]\nruntime = "vendor:elsewhere/helpers.py"\n')
    [found] = json.loads(run("check", "--output-format", "json").out)
    assert found["fix"] is None
    assert "can't import elsewhere/helpers.py" in found["fix_refused"]
    assert f"= no fix: {found['fix_refused']}\n" in run("check", "--output-format", "full").out


def test_full(run: Run, write: Write) -> None:
    write("a.py", LEAKY)
    result = run("check", "--output-format", "full")
    assert result.out.startswith("bound-history: ")
    assert "   + from memlint.runtime import append_bounded\n" in result.out
    assert result.err.endswith("`memlint fix --unsafe-fixes` repairs 1.\n")


def test_sarif_and_github(run: Run, write: Write) -> None:
    write("a.py", LEAKY, "bad.py", "def f(:\n")
    [log] = json.loads(run("check", "--output-format", "sarif").out)["runs"]
    assert [item["ruleId"] for item in log["results"]] == ["bound-history"]
    assert len(log["invocations"][0]["toolExecutionNotifications"]) == 1
    lines = run("check", "--output-format", "github").out.splitlines()
    assert [line.split("file=")[1].split(",")[0] for line in lines] == ["a.py", "bad.py"]


def test_continuous_integration_does_not_change_the_format(
    run: Run, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("a.py", LEAKY)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert run("check").out.startswith("a.py:")


def test_statistics(run: Run, write: Write) -> None:
    write("a.py", LEAKY, "b.py", LEAKY)
    assert run("check", "--statistics").out == "2\tbound-history\t2 proved, 0 suspected\n"
    assert run("check", "--statistics", "--output-format", "full").out.startswith("2\tbound-history")
    [row] = json.loads(run("check", "--statistics", "--output-format", "json").out)
    assert row == {"rule": "bound-history", "count": 2, "proved": 2, "suspected": 0}
    result = run("check", "--statistics", "--output-format", "sarif")
    assert (result.status, result.err) == (2, "memlint: error: --statistics can't be shown as sarif\n")


def test_output_to_a_file(run: Run, write: Write, tmp_path: Path) -> None:
    write("a.py", LEAKY)
    result = run("check", "--output-file", "out/report.txt")
    assert (result.status, result.out) == (1, "")
    assert (tmp_path / "out" / "report.txt").read_text(encoding="utf-8").startswith("a.py:")
    result = run("check", "--output-file", "a.py/report.txt")
    assert result.status == 2
    assert result.err.startswith("memlint: error: a.py/report.txt: can't be written: ")


# -- check: terminals and colours --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "argv", "coloured"),
    [
        ({}, [], False),
        ({}, ["--color", "always"], True),
        ({"FORCE_COLOR": "1"}, [], True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, [], True),
        ({"FORCE_COLOR": "1"}, ["--color", "never"], False),
        ({"NO_COLOR": "1"}, ["--color", "always"], True),
    ],
)
def test_colours_on_a_pipe(
    run: Run,
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    argv: list[str],
    coloured: bool,
) -> None:
    write("a.py", LEAKY)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert ("\x1b[" in run("check", *argv).out) is coloured


@pytest.fixture
def terminal(write: Write) -> Callable[..., str]:
    """Run memlint on a terminal of its own and return all that it shows there."""
    pty = pytest.importorskip("pty", reason="no terminals to make on this system")

    def terminal(*argv: str, **environment: str) -> str:
        ours, theirs = pty.openpty()
        variables = {**os.environ, "TERM": "xterm", **environment}
        with subprocess.Popen(command(*argv), stdin=theirs, stdout=theirs, stderr=theirs, env=variables) as child:
            os.close(theirs)
            shown = b"".join(_chunks(ours))
            os.close(ours)
        assert child.returncode in (0, 1)
        return shown.decode().replace("\r\n", "\n")

    return terminal


def _chunks(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            chunk = os.read(terminal, 4096)
        except OSError:  # how Linux says that the other end is closed
            return
        if not chunk:
            return
        yield chunk


def test_a_terminal_gets_all_in_colour(write: Write, terminal: Callable[..., str]) -> None:
    write("a.py", LEAKY, "bad.py", "def f(:\n")
    shown = terminal("check")
    assert shown.startswith("\x1b[1;91mbound-history\x1b[0m: ")
    places = [shown.rindex(text) for text in ("-->", "memlint: error:", "Found 1 problem", "`memlint fix")]
    assert places == sorted(places)


def test_a_terminal_without_colours(write: Write, terminal: Callable[..., str]) -> None:
    write("a.py", LEAKY)
    assert "\x1b[" not in terminal("check", NO_COLOR="1")
    assert "\x1b[" not in terminal("check", TERM="dumb")
    assert json.loads(terminal("check", "--output-format", "json", "-q"))


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_shows_on_a_terminal_after_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now, stream = [0.0], _Terminal()
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(sys, "stderr", stream)
    with Progress(shown=True) as progress:
        progress(1, 40)
        assert stream.getvalue() == ""
        now[0] = 1.5
        progress(20, 40)
        shown = stream.getvalue()
        assert "checking" in shown
        assert "50%" in shown
        progress(21, 40)
        assert stream.getvalue() == shown


def test_progress_says_why_so_many_files_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    now, stream = itertools.count(0, 10), _Terminal()
    monkeypatch.setattr(time, "monotonic", lambda: float(next(now)))
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("COLUMNS", "200")
    with Progress(shown=True, known=1200) as progress:
        progress(1, 1201)
    assert f"checking, and reading the project around ({plural(1200, 'file')})" in stream.getvalue()


@pytest.mark.parametrize(("shown", "stream"), [(True, io.StringIO()), (False, _Terminal())])
def test_no_progress_on_a_pipe_or_when_quiet(monkeypatch: pytest.MonkeyPatch, shown: bool, stream: io.StringIO) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    now = itertools.count(0, 10)
    monkeypatch.setattr(time, "monotonic", lambda: float(next(now)))
    with Progress(shown=shown) as progress:
        progress(1, 40)
        progress(2, 40)
    assert stream.getvalue() == ""


def test_paths_and_sources_that_a_terminal_cannot_encode(write: Write) -> None:
    write("é.py", LEAKY.replace("import torch\n", "import torch\n\nname = '日本'\n", 1))
    done = process("check", "--output-format", "full", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 1
    assert "--> \\xe9.py:" in done.stdout


# -- fix ---------------------------------------------------------------------------------------------------------------


def text(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")


def test_fix_leaves_unsafe_fixes_to_the_user(run: Run, write: Write) -> None:
    write("a.py", LEAKY)
    result = run("fix")
    assert (result.status, text("a.py")) == (1, LEAKY)
    finding, reason = result.out.splitlines()
    assert finding.startswith("left   a.py:")
    assert reason == "       its fix is unsafe: review it and apply it with --unsafe-fixes"
    assert result.err == "Nothing to fix in 1 file, left 1 (1 proved).\n"


def test_fix_writes_and_has_nothing_left_to_do(run: Run, write: Write) -> None:
    write("a.py", LEAKY, "b.py", CLEAN)
    result = run("fix", "--unsafe-fixes")
    assert (result.status, result.err) == (0, "Fixed 1 problem in 1 of 2 files.\n")
    assert result.out.startswith("fixed  a.py:")
    fixed = text("a.py")
    assert "append_bounded(self.trace, self.state.clone(), limit=1000)" in fixed
    assert run("fix", "--unsafe-fixes") == Result(0, "", "Nothing to fix in 2 files.\n")
    assert text("a.py") == fixed


def test_fix_uses_the_options_of_the_rule(run: Run, write: Write) -> None:
    write("a.py", LEAKY, "pyproject.toml", "[tool.memlint.rules.bound-history]\nlimit = 7\n")
    run("fix", "--unsafe-fixes", "-q")
    assert "limit=7)" in text("a.py")


def test_fix_as_a_diff_writes_nothing(run: Run, write: Write) -> None:
    write("a.py", LEAKY)
    result = run("fix", "--unsafe-fixes", "--diff")
    assert (result.status, text("a.py")) == (1, LEAKY)
    assert result.out.startswith("--- a/a.py\n+++ b/a.py\n@@ ")
    assert result.err == "Would fix 1 problem in 1 of 1 file.\n"


def test_a_diff_in_colours_says_the_same(run: Run, write: Write) -> None:
    write("a.py", LEAKY)
    in_colours = run("fix", "--unsafe-fixes", "--diff", "--color", "always").out
    assert in_colours.startswith("\x1b[1m--- a/a.py\x1b[0m\n\x1b[1m+++ b/a.py\x1b[0m\n\x1b[36m@@ ")
    assert "\x1b[32m+from memlint.runtime import append_bounded\x1b[0m\n" in in_colours
    assert re.sub("\x1b\\[[0-9;]*m", "", in_colours) == run("fix", "--unsafe-fixes", "--diff").out


def test_fix_only_the_named_rules(run: Run, write: Write) -> None:
    write("a.py", LEAKY)
    assert run("fix", "--rule", "clamp-coordinates", "--unsafe-fixes").status == 0
    assert text("a.py") == LEAKY
    assert run("fix", "--rule", "clamp-coordinates,bound-history", "--unsafe-fixes").status == 0
    assert text("a.py") != LEAKY


def test_naming_a_rule_switches_it_on(run: Run, write: Write) -> None:
    write("a.py", LEAKY, "pyproject.toml", '[tool.memlint]\nignore = ["bound-history"]\n')
    assert run("fix").status == 0
    assert run("fix", "--rule", "bound-history").status == 1
    assert run("fix", "--rule", "all").status == 1


def test_fixes_are_switched_off_in_the_settings(run: Run, write: Write) -> None:
    write("a.py", LEAKY, "pyproject.toml", '[tool.memlint]\nunfixable = ["bound-history"]\n')
    reason = 'its fix is switched off by "unfixable" in pyproject.toml'
    result = run("fix", "--unsafe-fixes", "--rule", "bound-history")
    assert (result.status, text("a.py")) == (1, LEAKY)
    assert result.out.splitlines()[1] == f"       {reason}"
    assert run("fix", "--unsafe-fixes", "--diff").out == ""
    shown = run("check", "--output-format", "full")
    assert f"= no fix: {reason}\n" in shown.out
    assert "memlint fix" not in shown.out + shown.err
    [found] = json.loads(run("check", "--output-format", "json").out)
    assert (found["fix"], found["fix_refused"]) == (None, reason)
    rows = run("config").out.splitlines()
    assert 'fixable = ["all"]  # default' in rows
    assert 'unfixable = ["bound-history"]  # pyproject.toml' in rows


def test_fix_of_an_unknown_rule(run: Run) -> None:
    assert run("fix", "--rule", "snapshot-to-cpu") == Result(
        2, "", 'memlint: error: --rule: unknown rule "snapshot-to-cpu", did you mean "snapshots-to-cpu"?\n'
    )


def test_fix_with_a_runtime_of_its_own(run: Run, write: Write, tmp_path: Path) -> None:
    write("a.py", LEAKY)
    result = run("fix", "--unsafe-fixes", "--runtime", "vendor:helpers.py")
    assert result.err == "Fixed 1 problem in 1 of 1 file; the runtime was copied to helpers.py.\n"
    assert "from helpers import append_bounded\n" in text("a.py")
    assert "def append_bounded(" in text("helpers.py")
    error = 'memlint: error: --runtime must be "import" or "vendor:PATH", not "copy"\n'
    assert run("fix", "--runtime", "copy") == Result(2, "", error)


def test_fix_says_what_it_cannot_fix(run: Run, write: Write) -> None:
    write("a.py", SUSPECT, "bad.py", "def f(:\n")
    result = run("fix")
    assert result.status == 1
    assert result.out.splitlines()[1] == "       this rule has no fix"
    assert result.err.splitlines()[0].startswith("memlint: error: bad.py:1:")
    last = "Nothing to fix in 1 file, left 1 (1 suspected); 1 file could not be checked or repaired."
    assert result.err.splitlines()[1:] == [last]


def test_fix_without_files(run: Run) -> None:
    warning = "memlint: warning: no Python files found under the given paths\n"
    assert run("fix") == Result(0, "", warning)
    assert run("fix", "-q") == Result(0, "", "")
    assert run("fix", "nope").status == 2


@pytest.mark.parametrize("runtime", ["import", "vendor:helpers.py"])
def test_fix_does_not_claim_what_was_not_written(
    run: Run, write: Write, monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    path = "a.py" if runtime == "import" else "helpers.py"
    write("a.py", LEAKY)
    monkeypatch.setattr(repair, "write", lambda *_: [FileError(path, None, None, "not written: it is read-only")])
    result = run("fix", "--unsafe-fixes", "--runtime", runtime)
    assert result.status == 1
    assert "fixed" not in result.out
    assert result.out.startswith("left   a.py:")
    assert result.err.startswith(
        f"memlint: error: {path}: not written: it is read-only\nNothing to fix in 1 file, left 1"
    )


# -- rule and config ---------------------------------------------------------------------------------------------------


def test_the_table_of_rules(run: Run) -> None:
    result = run("rule")
    rows = {line.split()[0]: line for line in result.out.splitlines()}
    assert set(rows) == {*registry.rules(), "unused-suppression"}
    assert rows["bound-history"].split()[1:3] == ["on", "fix"]
    described = json.loads(run("rule", "--output-format", "json").out)
    assert [item["name"] for item in described] == sorted(rows)


def test_the_page_of_a_rule(run: Run) -> None:
    shown = run("rule", "bound-history").out
    assert shown.startswith("bound-history\n\n")
    assert "\n\nWhat it finds\n" in shown
    assert "[tool.memlint.rules.bound-history]\n    limit = 1000\n" in shown
    described = json.loads(run("rule", "bound-history", "--output-format", "json").out)
    assert described["options"] == {"limit": 1000}
    assert described["fix"] is True
    assert described["page"].startswith("# bound-history\n")


def test_an_unknown_rule(run: Run) -> None:
    error = 'memlint: error: unknown rule "bound_history", did you mean "bound-history"?\n'
    assert run("rule", "bound_history") == Result(2, "", error)


def test_settings_are_shown_with_where_they_come_from(run: Run, write: Write) -> None:
    write("pyproject.toml", '[tool.memlint]\nstrict = true\nexclude = ["gen"]\n')
    write(
        "lib/pyproject.toml",
        '[tool.memlint.rules.bound-history]\nlimit = 7\n[tool.memlint.per-file-ignores]\n"a.py" = ["all"]\n',
    )
    result = run("config", "lib/sub", "--ignore", "clamp-coordinates")
    assert result == Result(2, "", "memlint: error: lib/sub: no such file or directory\n")
    shown = run("config", "lib", "--ignore", "clamp-coordinates", "--extend-select", "all").out.splitlines()
    for row in (
        "strict = true  # pyproject.toml",
        'exclude = ["gen"]  # pyproject.toml',
        "rules.bound-history.limit = 7  # lib/pyproject.toml",
        'per-file-ignores."a.py" = ["all"]  # lib/pyproject.toml',
        'ignore = ["clamp-coordinates"]  # command line',
        'extend-select = ["all"]  # command line',
        'runtime = "import"  # default',
        "bound-history",
    ):
        assert row in shown
    assert "clamp-coordinates" not in shown


def test_settings_as_json(run: Run, write: Write) -> None:
    write(
        "pyproject.toml",
        '[tool.memlint]\nselect = ["bound-history"]\nper-file-ignores = {"a.py" = ["all"]}\n',
        "a.py",
        "",
    )
    described = json.loads(run("config", "--output-format", "json").out)
    assert described["path"] == "."
    assert described["enabled"] == ["bound-history"]
    assert {"key": "select", "value": ["bound-history"], "origin": "pyproject.toml"} in described["settings"]
    described = json.loads(run("config", "a.py", "--select", "clamp-coordinates", "--output-format", "json").out)
    assert described["enabled"] == []
    assert {"key": "select", "value": ["clamp-coordinates"], "origin": "command line"} in described["settings"]
