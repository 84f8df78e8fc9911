"""`memlint fix --verify`: what stays passed, what does not is put back, and nobody's work is lost on the way."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memlint import transaction
from memlint.cli import verify
from memlint.repair import RepairReport, Unit
from memlint.transaction import Transaction, TransactionError
from memlint.verifying import Failure
from memlint.verifying import verify as search
from tests import test_cli, test_diff_base
from tests.support import ROOT
from tests.test_cli import LEAKY, Result, Run, Write, command
from tests.test_notebooks import LEAKY as CELLS
from tests.test_notebooks import text as notebook

run, write, git = test_cli.run, test_cli.write, test_diff_base.git

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the commands here are for a POSIX shell")

FIX = ("fix", "--unsafe-fixes", "--color", "never")
MARK = "append_bounded("


def called(name: str) -> str:
    return LEAKY.replace("imulation", name.title()).replace("step", name)


def judge(write: Write, text: str) -> str:
    """A command that runs this program."""
    write("judge", text)
    return f"{shlex.quote(sys.executable)} -S -E judge"


def without(*names: str) -> str:
    """A program that fails where one of these files was fixed, and notes each time what it saw."""
    return f"""\
import glob, json, sys
seen = {{name: open(name).read() for name in sorted(glob.glob("*.py"))}}
open("seen.txt", "a").write(json.dumps(seen) + "\\n")
bad = [name for name in {names!r} if {MARK!r} in seen[name]]
print("some output", *bad, sep="\\n")
sys.exit(len(bad))
"""


def fixed(*names: str) -> list[str]:
    return [name for name in names if MARK in Path(name).read_text(encoding="utf-8")]


def last_seen() -> dict[str, str]:
    """What the command saw when it last passed."""
    rows = [json.loads(line) for line in Path("seen.txt").read_text(encoding="utf-8").splitlines()]
    found: dict[str, str] = rows[-1]
    return found


NAMES = ["a.py", "b.py", "c.py", "d.py", "e.py"]


def write_all(write: Write) -> None:
    for name in NAMES:
        write(name, called(f"go{name[0]}"))


# -- what is kept ------------------------------------------------------------------------------------------------------

sets = st.frozensets(st.integers(0, 9), min_size=1, max_size=4)


@given(st.integers(0, 10), st.lists(sets, max_size=3), st.lists(st.tuples(sets, sets), max_size=2))
def test_the_search_ends_with_what_passed_and_nothing_can_be_added(
    count: int, forbidden: list[frozenset[int]], needs: list[tuple[frozenset[int], frozenset[int]]]
) -> None:
    units: list[Unit] = [("a.py", "x", number) for number in range(count)]
    tried: list[frozenset[int]] = []

    def passes(found: frozenset[int]) -> bool:
        if not found:
            return True
        return not any(bad <= found for bad in forbidden) and all(not a & found or b <= found for a, b in needs)

    def make(chosen: frozenset[Unit] | None) -> RepairReport:
        made = [unit for unit in units if chosen is None or unit in chosen]
        text = " ".join(str(unit[2]) for unit in made)
        return RepairReport(changed={"a.py": (b"", text.encode())} if made else {}, made=made)

    def attempt(report: RepairReport) -> Failure | None:
        tried.append(frozenset(unit[2] for unit in report.made))
        return None if passes(tried[-1]) else Failure("no")

    found = search(make(None), make, attempt)
    kept = frozenset(unit[2] for unit in found.report.made)
    assert passes(kept)
    assert kept in tried or not kept
    assert len(tried) == len(set(tried))
    rest = {unit[2] for unit in units} - kept
    assert {unit[2] for unit in found.reverted} == rest
    assert not any(passes(kept | {number}) for number in rest)
    if not rest:
        assert len(tried) <= 1


def test_all_is_kept_where_the_command_passes(run: Run, write: Write) -> None:
    write_all(write)
    result = run(*FIX, "--verify", judge(write, without()))
    assert result.status == 0
    assert fixed(*NAMES) == NAMES
    assert result.err.splitlines() == [
        "memlint: verify: run 1, nothing fixed: passed",
        "memlint: verify: run 2, 5 problems fixed: passed",
        "Fixed 5 problems in 5 of 5 files; the command ran 2 times.",
    ]


def test_what_the_command_fails_under_is_put_back(run: Run, write: Write) -> None:
    write_all(write)
    result = run(*FIX, "--verify", judge(write, without("b.py", "e.py")))
    assert result.status == 1
    assert fixed(*NAMES) == ["a.py", "c.py", "d.py"]
    assert Path("b.py").read_text(encoding="utf-8") == called("gob")
    assert [line for line in result.out.splitlines() if "bound-history" not in line] == [
        "       with its fix the command fails: exit status 1",
        "       | some output",
        "       | b.py",
        "       with its fix the command fails: exit status 1",
        "       | some output",
        "       | e.py",
    ]
    words = [line.split(":")[0] for line in result.out.splitlines() if "bound-history" in line]
    assert words == ["fixed  a.py", "fixed  c.py", "fixed  d.py", "reverted  b.py", "reverted  e.py"]
    last = result.err.splitlines()[-1]
    assert last.startswith("Fixed 3 problems in 3 of 5 files, reverted 2, left 2 (2 proved); the command ran ")
    rows = [json.loads(line) for line in Path("seen.txt").read_text(encoding="utf-8").splitlines()]
    assert last.endswith(f" ran {len(rows)} times.")
    assert {name: Path(name).read_text(encoding="utf-8") for name in NAMES} in rows
    assert not transaction.place(Path()).exists()
    quiet = run(*FIX, "--quiet", "--verify", judge(write, without("b.py", "e.py")))
    assert quiet.err == ""
    assert "|" not in quiet.out


def test_fixes_of_one_function_stand_by_themselves(run: Run, write: Write) -> None:
    two = LEAKY.replace("self.trace = []", "self.trace = []\n        self.more = []")
    two += "        simulation.more.append(simulation.state.clone())\n"
    more = "        self.more.append(self.state.clone())\n"
    both = two.replace("        simulation.more.append(simulation.state.clone())\n", "")
    both = both.replace("self.trace.append(self.state.clone())\n", "self.trace.append(self.state.clone())\n" + more)
    write("a.py", both)
    program = f"import sys; sys.exit('{MARK}self.more' in open('a.py').read())"
    result = run(*FIX, "--verify", judge(write, program))
    after = Path("a.py").read_text(encoding="utf-8")
    assert f"{MARK}self.trace" in after
    assert more in after
    assert [line.split(":")[0] for line in result.out.splitlines() if ".py:" in line] == [
        "fixed  a.py",
        "reverted  a.py",
    ]


def test_a_copy_of_the_runtime_comes_and_goes_with_what_calls_it(run: Run, write: Write) -> None:
    write("a.py", called("one"))
    no_copy = "import os, sys; sys.exit(os.path.exists('helpers.py'))"
    result = run(*FIX, "--runtime", "vendor:helpers.py", "--verify", judge(write, no_copy))
    assert result.status == 1
    assert sorted(os.listdir()) == [".git", ".memlint_cache", "a.py", "judge"]
    result = run(*FIX, "--runtime", "vendor:helpers.py", "--verify", "test -f helpers.py || test ! -f seen; touch seen")
    assert result.status == 0
    assert "def append_bounded(" in Path("helpers.py").read_text(encoding="utf-8")


def test_notebooks_take_part(run: Run, write: Write) -> None:
    write("a.ipynb", notebook(*CELLS), "b.ipynb", notebook(*CELLS))
    before = Path("b.ipynb").read_bytes()
    result = run("fix", "--select", "detach-kept-tensors", "--verify", "cp a.ipynb keep; ! grep -q detach b.ipynb")
    assert result.status == 1
    assert Path("b.ipynb").read_bytes() == before
    assert Path("a.ipynb").read_bytes() == Path("keep").read_bytes() != before
    assert "reverted  b.ipynb:cell 5:" in result.out


def test_without_anything_to_fix_the_command_is_not_run(run: Run, write: Write) -> None:
    write("a.py", "x = 1\n")
    assert run("fix", "--verify", "touch ran").status == 0
    assert not Path("ran").exists()


# -- when the command can't be trusted ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("exit 3", "exit status 3"),
        ("no-such-command-anywhere", "exit status 127, as for a command that is not there"),
        ("sleep 60", "not done after 0.2 s"),
        ("kill -9 $$", "ended by SIGKILL"),
    ],
)
def test_a_command_that_fails_without_any_fix(run: Run, write: Write, program: str, reason: str) -> None:
    write("a.py", LEAKY)
    result = run(*FIX, "--quiet", "--verify", program, "--verify-timeout", "0.2" if "sleep" in program else "60")
    said = f"memlint: error: --verify: without any fix the command fails: {reason}; nothing was changed\n"
    assert result == Result(2, "", said)
    assert Path("a.py").read_text(encoding="utf-8") == LEAKY
    assert not transaction.place(Path()).exists()


def test_a_command_that_takes_too_long_has_failed(run: Run, write: Write) -> None:
    write("a.py", LEAKY)
    program = f"if grep -q '{MARK}' a.py; then sleep 60 & wait; fi"
    result = run(*FIX, "--verify", program, "--verify-timeout", "0.5")
    assert "with its fix the command fails: not done after 0.5 s" in result.out
    assert Path("a.py").read_text(encoding="utf-8") == LEAKY


@pytest.mark.parametrize("change", ["echo '# mine' >> b.py", "rm b.py"])
def test_what_the_command_changes_is_left_to_the_user(run: Run, write: Write, change: str) -> None:
    write("a.py", called("one"), "b.py", called("two"))
    result = run(*FIX, "--quiet", "--verify", f"if grep -q '{MARK}' b.py; then {change}; fi")
    place = transaction.place(Path()).as_posix()
    assert result.status == 2
    assert result.err.splitlines() == [
        f"memlint: error: b.py: not put back: somebody else has changed it; what it was is in {place}/1",
        "memlint: error: --verify: b.py was changed by somebody else while fixes were tried",
    ]
    assert Path("a.py").read_text(encoding="utf-8") == called("one")
    assert Path(place, "1").read_text(encoding="utf-8") == called("two")
    left = Path("b.py").read_text(encoding="utf-8") if Path("b.py").exists() else None
    assert left is None or left.endswith("# mine\n")
    # Until the user has looked, nothing new is begun.
    for argv in (FIX, ("clean",)):
        again = run(*argv)
        assert again.status == 2
        assert "`memlint fix --restore`" in again.err
    restored = run("fix", "--restore")
    assert restored.status == 1
    assert (Path("b.py").read_text(encoding="utf-8") if Path("b.py").exists() else None) == left
    shutil.rmtree(place)
    assert run(*FIX).status == 0


def test_a_command_that_rewrites_a_file_before_it_is_fixed(run: Run, write: Write) -> None:
    write("a.py", LEAKY)
    result = run(*FIX, "--quiet", "--verify", "echo '# mine' >> a.py")
    assert result == Result(2, "", "memlint: error: --verify: a.py was changed meanwhile\n")
    assert Path("a.py").read_text(encoding="utf-8") == LEAKY + "# mine\n"
    assert not transaction.place(Path()).exists()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--verify", " "], "--verify needs a command"),
        (["--verify-timeout", "3"], "--verify-timeout needs --verify"),
        (["--verify", "true", "--diff"], "--verify can't be combined with --diff"),
        (["--restore", "--verify", "true"], "--restore can't be combined with --verify"),
        (["--restore", "a.py"], "--restore takes no paths: it puts back all that was left changed"),
    ],
)
def test_options_that_mean_nothing_together(run: Run, argv: list[str], said: str) -> None:
    assert run("fix", *argv) == Result(2, "", f"memlint: error: {said}\n")


def test_only_files_of_this_project(run: Run, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("here/pyproject.toml", "", "there/a.py", LEAKY)
    monkeypatch.chdir("here")
    said = "memlint: error: --verify: {} lies outside of this project; run memlint where it belongs\n"
    for path in ("../there/a.py", (tmp_path / "there" / "a.py").as_posix()):
        assert run(*FIX, path, "--verify", "true") == Result(2, "", said.format(path))
    assert Path("../there/a.py").read_text(encoding="utf-8") == LEAKY


# -- ended early -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_puts_all_back(write: Write, number: int) -> None:
    write("a.py", called("one"), "b.py", called("two"))
    program = f"if grep -q '{MARK}' a.py; then touch waits; sleep 60; fi"
    running = subprocess.Popen(command(*FIX, "--verify", program), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not Path("waits").exists():
        assert running.poll() is None
        time.sleep(0.01)
    running.send_signal(number)
    _, err = running.communicate()
    assert running.returncode == 130
    assert err.decode().splitlines()[-2:] == [
        "memlint: verify: all files are as they were",
        "memlint: interrupted",
    ]
    assert fixed("a.py", "b.py") == []
    assert not transaction.place(Path()).exists()


def test_killed_in_the_middle_and_put_back(write: Write, run: Run) -> None:
    write("a.py", called("one"), "b.py", called("two"))
    os.chmod("a.py", 0o751)
    program = f"if grep -q '{MARK}' a.py; then touch waits; exec sleep 60; fi"
    running = subprocess.Popen(command(*FIX, "--verify", program), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not Path("waits").exists():
        assert running.poll() is None
        time.sleep(0.01)
    running.kill()
    running.wait()
    assert fixed("a.py", "b.py") == ["a.py", "b.py"]
    result = run("fix")
    assert result.status == 2
    assert "still runs, or was killed and left 2 files changed" in result.err
    assert run("fix", "--diff").status != 2
    assert run("fix", "--restore") == Result(0, "restored  a.py\nrestored  b.py\n", "Put back 2 files.\n")
    assert Path("a.py").read_text(encoding="utf-8") == called("one")
    assert os.stat("a.py").st_mode & 0o777 == 0o751
    assert run("fix", "--restore") == Result(0, "", "Nothing was put back.\n")
    assert not transaction.place(Path()).exists()


@pytest.mark.skipif(shutil.which("git") is None or not hasattr(os, "fork"), reason="needs git and fork")
@pytest.mark.parametrize("verified", [False, True])
def test_killed_at_any_step_each_file_is_old_or_new(
    run: Run, write: Write, git: test_diff_base.Git, verified: bool
) -> None:
    old = {"a.py": called("one"), "b.py": called("two")}
    write(*(part for pair in old.items() for part in pair))
    git("add", ".")
    argv = [*FIX, "--runtime", "vendor:helpers.py"]
    assert run(*argv).status == 0
    new = {name: Path(name).read_text(encoding="utf-8") for name in [*old, "helpers.py"]}
    os.unlink("helpers.py")
    for name, text in old.items():
        Path(name).write_text(text, encoding="utf-8")
    more = ["--verify", f"! grep -q '{MARK}' b.py"] if verified else []
    killed = [sys.executable, "-m", "tests.support.killed", os.getcwd(), *argv, *more]
    done = subprocess.run(killed, cwd=ROOT, capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    left = [row["files"] for row in rows]
    for row in rows:
        assert all(text in (old.get(name), new[name]) for name, text in row["files"].items())
        assert set(old) <= set(row["files"])
        # Nothing half-written lies about: git sees the files, and the copy of the runtime where it is whole.
        assert {line[3:] for line in row["seen"]} <= set(new)
        calls = [name for name in old if row["files"][name] != old[name]]
        assert not calls or "helpers.py" in row["files"]
    assert left[0] == old
    assert {name: new[name] for name in ("a.py", "helpers.py")} | {"b.py": old["b.py"]} in left
    if verified:
        kept = {**new, "b.py": old["b.py"]}
        assert new in left
        assert all(row["restored"] in (old, kept) for row in rows)
        assert all(row["restored"] == old for row in rows[: left.index(new) + 1])


@pytest.mark.parametrize("argv", [FIX, (*FIX, "--verify", "sleep 0.1")])
def test_killed_at_any_moment_each_file_is_old_or_new(write: Write, run: Run, argv: tuple[str, ...]) -> None:
    names = [f"{letter}.py" for letter in "abcdefgh"]
    old = {name: called(name[0] * 3) for name in names}

    def start_again() -> None:
        for name, text in old.items():
            Path(name).write_text(text, encoding="utf-8")

    write()
    start_again()
    began = time.monotonic()
    done = subprocess.run(command(*argv), capture_output=True, check=True)
    took = time.monotonic() - began
    assert done.returncode == 0
    new = {name: Path(name).read_text(encoding="utf-8") for name in names}
    for number in range(4):
        start_again()
        running = subprocess.Popen(command(*argv), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(took * (0.5 + number / 8))
        running.kill()
        running.wait()
        assert sorted(os.listdir()) == [".git", ".memlint_cache", *names]
        left = {name: Path(name).read_text(encoding="utf-8") for name in names}
        assert all(left[name] in (old[name], new[name]) for name in names)
        ended = not transaction.pending(Path())
        assert run("fix", "--restore").status == 0
        left = {name: Path(name).read_text(encoding="utf-8") for name in names}
        assert ended or left == old


# -- files that change for a while -------------------------------------------------------------------------------------


def test_each_content_has_a_second_of_its_own(write: Write) -> None:
    write("a.py", "x = 1\n")
    before = os.stat("a.py").st_mtime_ns
    changes = Transaction()
    changes.begin()
    seconds = [before // 10**9]
    for text in (b"x = 2\n", b"x = 3\n", b"x = 4\n"):
        changes.put({"a.py": (b"x = 1\n", text)})
        seconds.append(int(os.stat("a.py").st_mtime))
    assert seconds == sorted(set(seconds))
    changes.put({})
    assert Path("a.py").read_bytes() == b"x = 1\n"
    assert os.stat("a.py").st_mtime_ns // 1000 == before // 1000
    changes.keep()


def test_a_second_run_waits_for_the_first(write: Write) -> None:
    write("a.py", "x = 1\n")
    first, second = Transaction(), Transaction()
    first.begin()
    first.put({"a.py": (b"x = 1\n", b"x = 2\n")})
    with pytest.raises(TransactionError, match=r"no copies of the files can be kept in .*: File exists"):
        second.begin()
    assert first.undo() == []
    assert Path("a.py").read_bytes() == b"x = 1\n"


GOOD: dict[str, Any] = {"path": "a.py", "copy": "0", "written": []}


@pytest.mark.parametrize(
    "journal",
    [
        b"",
        b"[" * 100_000,
        b"\xff",
        b"{}",
        b'{"memlint-undo": 2, "files": []}',
        b'{"memlint-undo": 1, "files": 3}',
        *(
            json.dumps({"memlint-undo": 1, "files": [{**GOOD, **change}]}).encode()
            for change in (
                {"path": "../outside.py"},
                {"path": "/etc/passwd"},
                {"path": ".git/config"},
                {"path": "sub/.GIT/config"},
                {"path": "link/outside.py"},
                {"path": "a\0.py"},
                {"path": 3},
                {"copy": "../0"},
                {"copy": "1"},
                {"copy": 0},
                {"copy": "2"},
                {"written": None},
                {"more": 1},
            )
        ),
    ],
)
def test_a_journal_is_only_believed_in_its_own_project(
    run: Run, write: Write, tmp_path_factory: pytest.TempPathFactory, journal: bytes
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "outside.py").write_text("mine\n", encoding="utf-8")
    place = transaction.place(Path())
    write("a.py", "x = 1\n", ".git/config", "", f"{place}/0", "evil\n", f"{place}/journal.json", journal)
    os.symlink(outside, "link")
    os.symlink(outside / "outside.py", place / "1")
    for argv in (("fix", "--restore"), ("fix",)):
        result = run(*argv)
        assert (result.status, result.out) == (2, "")
        assert result.err.startswith(f"memlint: error: {place.as_posix()}/")
        assert result.err.count("\n") == 1
    assert Path("a.py").read_text(encoding="utf-8") == "x = 1\n"
    assert (outside / "outside.py").read_text(encoding="utf-8") == "mine\n"
    assert Path(".git/config").read_text(encoding="utf-8") == ""


def test_the_end_of_the_output_is_shown_in_few_lines() -> None:
    failure = verify._run("seq 1 20000; printf '\\033[31m%0300d\\n\\n' 0; exit 1", None)
    assert failure is not None
    assert failure.tail[:-1] == ("19997", "19998", "19999", "20000")
    assert failure.tail[-1].startswith("\N{REPLACEMENT CHARACTER}[31m000")
    assert len(failure.tail[-1]) < 200
