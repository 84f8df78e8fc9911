"""What is named limits what is reported, not what is known: a file named alone is judged as in a full run."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from memlint import around as surroundings
from memlint import discover, engine, proposals, workers
from memlint.around import around
from memlint.config import Resolver
from memlint.known import Known
from memlint.rule import Finding, Place
from tests import test_cli
from tests.support import ROOT
from tests.test_cli import LEAKY, Result, Run

run, write = test_cli.run, test_cli.write

AT = LEAKY.index("def run")
CLASS = LEAKY[:AT].rstrip() + "\n"
LOOP = LEAKY[AT:]


def loop_of(module: str, name: str = "Simulation") -> str:
    """The loop that makes the class of another file leak."""
    return f"from {module} import {name}\n\n\n{LOOP.replace('Simulation', name)}"


def named(name: str) -> str:
    return CLASS.replace("Simulation", name)


def notebook(*cells: str) -> str:
    shown = [{"cell_type": "code", "metadata": {}, "outputs": [], "source": cell} for cell in cells]
    return json.dumps({"cells": shown, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


NOTE = "  # memlint: ignore[bound-history] short runs\n"

PROJECTS: dict[str, dict[str, str]] = {
    "two files": {"simulation.py": CLASS, "loop.py": loop_of("simulation")},
    "packages": {
        "src/app/__init__.py": "from app.core.simulation import Simulation\n",
        "src/app/core/__init__.py": "",
        "src/app/core/simulation.py": CLASS,
        "src/app/loop.py": loop_of("app"),
        "src/app/other.py": named("Other").replace("step", "tick"),
    },
    "the root is a package": {"__init__.py": "", "simulation.py": CLASS, "bin/loop.py": loop_of("simulation")},
    "scripts of one name": {
        "a/train.py": CLASS, "b/train.py": named("Simulation"), "a/loop.py": loop_of("train"), "train.py": LEAKY,
    },
    "suppressions": {
        "used.py": CLASS.rstrip() + NOTE,
        "loop.py": loop_of("used"),
        "unused.py": named("Other").replace("step", "tick").rstrip() + NOTE,
        "skipped.py": "# memlint: skip-file\n" + loop_of("unused", "Other").replace("step", "tick"),
    },
    "names that the user lists": {
        "pyproject.toml": '[tool.memlint]\nstep-functions = ["Simulation.step", "gone"]\nstrict = true\n',
        "simulation.py": CLASS,
        "other.py": "x = 1\n",
        "inner/pyproject.toml": '[tool.memlint]\nstep-functions = ["nowhere"]\n',
        "inner/x.py": "x = 1\n",
    },
    "settings per file": {
        "pyproject.toml": '[tool.memlint]\nexclude = ["old/"]\n[tool.memlint.per-file-ignores]\n"b*.py" = ["all"]\n',
        "a.py": CLASS, "b.py": named("Other"), "old/loop.py": loop_of("a"), "loop.py": loop_of("b", "Other"),
        "c.py": named("Third").replace("step", "tick"), "run.py": loop_of("c", "Third").replace("step", "tick"),
    },
    "files that can't be read": {
        "simulation.py": CLASS, "loop.py": loop_of("simulation"), "broken.py": "def (\n", "two.py": "print 1\n",
        "bad.ipynb": "{", "broken_cell.ipynb": notebook("def (", "x = 1"),
    },
    "notebooks": {"simulation.py": CLASS, "run.ipynb": notebook("import torch", loop_of("simulation")),
                  "other.ipynb": notebook(LEAKY)},
}  # fmt: skip
"""Small projects, by what is particular about them: files by path."""


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], Path]:
    """Write a project; its folder, which is the current one. What lies above it looks like tests and is a package."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MEMLINT_CACHE_DIR", str(tmp_path / "cache"))

    def make(files: dict[str, str], name: str = "project") -> Path:
        root = tmp_path / "tests" / "benchmarks" / name
        for path, text in {**files, ".git/HEAD": "", "../__init__.py": ""}.items():
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        monkeypatch.chdir(root)
        return root

    return make


Make = Callable[..., Path]


def check(*paths: str) -> engine.Report:
    """What `memlint check` finds."""
    resolver = Resolver()
    found = discover.find(paths, resolver)
    return engine.check(found.files, together=around(paths, found, resolver).together)


def seen(findings: Iterable[Finding], root: Path) -> list[Finding]:
    """Findings with all that is known of them, their paths from the project's root."""

    def placed(place: Place) -> Place:
        return replace(place, path=os.path.relpath(os.path.abspath(place.path), root).replace(os.sep, "/"))

    return [
        replace(
            finding,
            place=placed(finding.place),
            evidence=tuple(replace(step, place=placed(step.place)) for step in finding.evidence),
        )
        for finding in findings
    ]


@pytest.mark.parametrize("files", [pytest.param(files, id=name) for name, files in PROJECTS.items()])
def test_a_file_named_alone_is_judged_as_in_a_full_run(
    make: Make, monkeypatch: pytest.MonkeyPatch, files: dict[str, str]
) -> None:
    root = make(files)
    whole = check(".")
    findings = seen(whole.findings, root)
    assert findings
    unknown = [message for message in whole.unknown_names if message.startswith("pyproject.toml")]
    others = ("old/", "inner/")  # excluded, and a project of its own
    for path in [path for path in files if path.endswith((".py", ".ipynb")) and not path.startswith(others)]:
        expected = [finding for finding in findings if finding.place.path == path]
        errors = [(error.line, error.message) for error in whole.errors if error.path == path]
        for folder in (root, (root / path).parent, root.parent, Path(root.anchor)):
            monkeypatch.chdir(folder)
            named = os.path.relpath(root / path)
            report = check(named)
            assert seen(report.findings, root) == expected, (path, folder)
            assert [(error.line, error.message) for error in report.errors] == errors, (path, folder)
            assert {error.path for error in report.errors} <= {named.replace(os.sep, "/")}
            assert [from_key(message) for message in report.unknown_names] == [from_key(line) for line in unknown]


def from_key(message: str) -> str:
    """A warning without the path of the file that it is about."""
    return message[message.index('"') :]


def test_without_the_others_they_would_be_judged_otherwise(make: Make) -> None:
    for number, files in enumerate(PROJECTS.values()):
        make(files, f"project{number}")
        paths = [path for path in files if path.endswith((".py", ".ipynb"))]
        alone = [engine.check([(path, Resolver().settings(os.path.dirname(path)))]) for path in paths]
        judged = [finding for report in alone for finding in [*report.findings, *report.unknown_names]]
        whole = check(".")
        assert sorted(map(repr, judged)) != sorted(map(repr, [*whole.findings, *whole.unknown_names])), files


# -- what is known -----------------------------------------------------------------------------------------------------

TWO = PROJECTS["two files"]


def leaks(result: Result) -> bool:
    """Whether something was proved that needs the loop of another file."""
    assert result.status in (0, 1), result.err
    return "[suspected]" not in result.out and "bound-history" in result.out


@pytest.mark.parametrize("link", ["project", "paths"])
def test_the_settings_say_whether_the_project_is_linked(make: Make, run: Run, link: str) -> None:
    make({**TWO, "pyproject.toml": f'[tool.memlint]\nlink = "{link}"\n'})
    assert leaks(run("check", "simulation.py")) == (link == "project")
    assert not leaks(run("check", "simulation.py", "--isolated"))
    assert leaks(run("check", "simulation.py", "loop.py", "--isolated"))
    assert f'link = "{link}"  # pyproject.toml\n' in run("config").out


def test_the_setting_is_one_of_two_words(make: Make, run: Run) -> None:
    make({"pyproject.toml": "[tool.memlint]\nlink = true\n"})
    error = 'pyproject.toml: [tool.memlint] "link" must be "project" or "paths", not true'
    assert run("check") == Result(2, "", f"memlint: error: {error}\n")


def test_files_in_no_project_are_known_by_name_alone(make: Make, run: Run) -> None:
    shutil.rmtree(make(TWO) / ".git")
    assert not leaks(run("check", "simulation.py"))
    assert leaks(run("check", "simulation.py", "loop.py"))


def test_each_project_is_judged_by_itself(make: Make, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    make({"simulation.py": CLASS}, "one")
    make(TWO, "two")
    monkeypatch.chdir("..")
    assert "one/" not in run("check", "one/simulation.py", "two/simulation.py").out
    assert run("check", "two/simulation.py", "one").out.startswith("two/simulation.py:11:9: bound-history")


def test_a_project_inside_another_one_is_one_of_its_own(make: Make, run: Run) -> None:
    make({"inner/pyproject.toml": "", "inner/simulation.py": CLASS, "loop.py": loop_of("inner.simulation"), "x.py": ""})
    assert leaks(run("check"))
    assert leaks(run("check", ".", "inner/simulation.py"))
    assert leaks(run("check", "inner/simulation.py", "."))
    assert not leaks(run("check", "inner/simulation.py"))
    assert not leaks(run("check", "x.py", "inner/simulation.py"))


def test_what_is_excluded_is_known_only_where_it_is_named(make: Make, run: Run) -> None:
    make({"simulation.py": CLASS, "build/loop.py": loop_of("simulation"), "build/late.py": named("Late")})
    assert not leaks(run("check", "simulation.py"))
    result = run("check", "simulation.py", "build/late.py", "build/loop.py")
    assert not leaks(result)
    assert result.err == "No problems found in 3 files.\n"
    assert run("check", "--force-exclude", "simulation.py", "build/loop.py").err == "No problems found in 1 file.\n"
    Path("loop.py").write_text(loop_of("build.late", "Late"), encoding="utf-8")
    assert run("check", "simulation.py", "build/late.py").out.startswith("build/late.py:11:9: bound-history")


def test_a_link_is_no_second_file(make: Make, run: Run) -> None:
    make({"simulation.py": CLASS, "x/deep.py": "x = 1\n", "b/loop.py": loop_of("simulation")})
    Path("a.py").symlink_to("b/loop.py")
    Path("z.py").symlink_to("simulation.py")
    before = known_for("simulation.py")
    assert before == {"a.py", "simulation.py", "x/deep.py"}
    for path in ("z.py", "b/loop.py", "."):
        assert known_for(path) == before
    assert run("check", "z.py").out == run("check", "simulation.py").out.replace("simulation.py", "z.py")


def known_for(path: str) -> set[str]:
    """The names under which all is known for a path."""
    resolver = Resolver()
    (group,) = around([path], discover.find([path], resolver), resolver).together
    return set(group.names.values())


def test_broken_settings_of_others_do_no_harm(make: Make, run: Run) -> None:
    make({**TWO, "deep/pyproject.toml": "[tool.memlint]\nx = 1\n", "deep/x.py": ""})
    assert run("check").status == 2
    assert leaks(run("check", "simulation.py"))


def test_standard_input_takes_the_place_of_its_file(make: Make, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    make({**TWO, "simulation.py": "x = 1\n"})

    def given(text: str, *argv: str) -> Result:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        return run("check", *argv)

    assert leaks(given(CLASS, "--stdin-filename", "simulation.py"))
    assert leaks(given(CLASS, "--stdin-filename", os.path.abspath("simulation.py")))
    assert leaks(given(CLASS, "--stdin-filename", "new.py"))
    assert not leaks(given(CLASS, "--stdin-filename", "new.py", "--isolated"))
    assert not leaks(given(CLASS, "-"))


# -- what is too much --------------------------------------------------------------------------------------------------

NOT_LINKED = "memlint: note: only what was named is known, not the project around it: "


@pytest.mark.parametrize("home", [".", "inner"])
def test_the_home_folder_is_never_looked_through(
    make: Make, run: Run, monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    root = make({**TWO, "pyproject.toml": '[tool.memlint]\nlink = "project"\n', "inner/x.py": ""})
    monkeypatch.setenv("HOME", os.path.abspath(home))
    monkeypatch.setattr(surroundings, "below", None)
    result = run("check", "simulation.py")
    assert not leaks(result)
    assert result.err == (
        f"{NOT_LINKED}{root.as_posix()} is the home folder, or around it\nNo problems found in 1 file.\n"
    )
    assert run("check", "simulation.py", "-q").err == ""
    for named in (run("check"), run("check", ".", "simulation.py")):
        assert leaks(named)
        assert "note" not in named.err


@pytest.mark.parametrize("most", [("MOST", 1), ("MOST_ENTRIES", 2)])
def test_a_project_of_very_many_files_is_linked_where_it_says_so(
    make: Make, run: Run, monkeypatch: pytest.MonkeyPatch, most: tuple[str, int]
) -> None:
    root = make({**TWO, "data/1.txt": ""})
    monkeypatch.setattr(surroundings, *most)
    result = run("check", "simulation.py")
    assert not leaks(result)
    note = f"{NOT_LINKED}{root.as_posix()} holds too many files: `exclude` some, or set `link`\n"
    assert result.err == f"{note}No problems found in 1 file.\n"
    assert leaks(run("check"))
    Path("pyproject.toml").write_text('[tool.memlint]\nlink = "project"\n', encoding="utf-8")
    assert leaks(run("check", "simulation.py"))


# -- what is done ------------------------------------------------------------------------------------------------------


def test_only_what_is_named_is_repaired_but_with_all_known(make: Make, run: Run) -> None:
    make({**TWO, "other.py": LEAKY.replace("Simulation", "Other")})
    result = run("fix", "simulation.py", "--unsafe-fixes", "--allow-dirty")
    assert (result.status, result.out.count("fixed ")) == (0, 1)
    assert "append_bounded" in Path("simulation.py").read_text(encoding="utf-8")
    assert Path("other.py").read_text(encoding="utf-8") == LEAKY.replace("Simulation", "Other")
    assert run("fix", "simulation.py", "--unsafe-fixes", "--allow-dirty").out == ""


def test_a_baseline_is_written_for_what_is_named(make: Make, run: Run) -> None:
    make({**TWO, "other.py": LEAKY.replace("Simulation", "Other").replace("step", "tick")})
    run("check", "--write-baseline", "known.json")
    before = Path("known.json").read_text(encoding="utf-8")
    assert before.count('"bound-history"') == 2
    run("check", "simulation.py", "--write-baseline", "known.json")
    assert Path("known.json").read_text(encoding="utf-8") == before
    assert run("check", "other.py", "--baseline", "known.json").status == 0


def test_a_file_is_asked_once_whoever_asks_from_wherever(make: Make, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    answer = proposals.answer

    def noted(path: str, *rest: Any) -> Any:
        asked.append(path)
        return answer(path, *rest)

    monkeypatch.setattr(workers, "answer", noted)
    root = make({"src/simulation.py": CLASS, "src/loop.py": loop_of("simulation")})
    assert leaks(run("check", "src/simulation.py"))
    assert asked == ["src/simulation.py", "src/loop.py"]
    for folder, *paths in ((".",), ("src", "simulation.py"), ("/", str(root / "src" / "simulation.py"))):
        monkeypatch.chdir(folder)
        assert leaks(run("check", *paths))
    assert len(asked) == 2
    (root / "src" / "loop.py").write_text("x = 1\n", encoding="utf-8")
    assert not leaks(run("check", str(root / "src" / "simulation.py")))
    assert asked[2:] == ["src/loop.py"]


def test_the_others_are_not_read_for_a_file_that_proposes_nothing(
    make: Make, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    make({**TWO, "pyproject.toml": ""})
    read: list[str] = []
    content = Known.content

    def noted(known: Known, path: str) -> bytes:
        read.append(path)
        return content(known, path)

    monkeypatch.setattr(Known, "content", noted)
    assert run("check", "loop.py", "-j1").status == 0
    assert {*read} == {"loop.py"}
    Path("pyproject.toml").write_text('[tool.memlint]\nstep-functions = ["gone"]\n', encoding="utf-8")
    assert '"step-functions": no function "gone"' in run("check", "loop.py", "-j1").err
    assert {*read} == {"loop.py", "simulation.py"}


def test_the_cache_lies_in_the_project_that_is_checked(make: Make, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make(TWO)
    monkeypatch.delenv("MEMLINT_CACHE_DIR")
    monkeypatch.chdir("..")
    run("check", "project/simulation.py")
    assert not Path(".memlint_cache").exists()
    assert len(list((root / ".memlint_cache").glob("??/*"))) >= 2


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_commit_is_judged_as_the_whole_repository(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hook names the files of the commit alone."""
    root = make(TWO)
    shutil.rmtree(".git")
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    memlint = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from memlint.cli import main; sys.exit(main())"

    def git(*argv: str) -> subprocess.CompletedProcess[str]:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *argv]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert git("init", "--quiet").returncode == 0
    Path("hook.py").write_text(memlint, encoding="utf-8")
    hook = Path(".git/hooks/pre-commit")
    hook.parent.mkdir(exist_ok=True)
    names = "$(git diff --cached --name-only --diff-filter=AM -- '*.py')"
    hook.write_text(f'#!/bin/sh\nexec "{sys.executable}" hook.py check --force-exclude {names}\n', encoding="utf-8")
    hook.chmod(0o755)
    git("add", "loop.py", "hook.py")
    first = git("commit", "-m", "a loop")
    assert first.returncode == 0, first.stderr
    git("add", "simulation.py")
    second = git("commit", "-m", "what it steps")
    assert second.returncode == 1
    assert "simulation.py:11:9: bound-history" in second.stdout + second.stderr
    assert "Found 1 problem (1 proved) in 1 of 1 file." in second.stderr
    assert git("status", "--porcelain").stdout == "A  simulation.py\n"
    assert (root / ".memlint_cache").exists() is False, "the tests keep their cache elsewhere"
