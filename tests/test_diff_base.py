"""`--diff-base`: only what a change touches is reported, whatever git is set to and however files are called."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memlint import changes
from tests import test_cli
from tests.test_cli import CLEAN, LEAKY, Result, Run, Write

run, write = test_cli.run, test_cli.write

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

Git = Callable[..., str]

LOOP = LEAKY[LEAKY.index("def run") :]
APPEND = "        self.trace.append(self.state.clone())\n"


@pytest.fixture
def git(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Git:
    """Run git, in a new repository that is the current folder."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    config = tmp_path.parent / f"{tmp_path.name}.gitconfig"
    config.write_text("[user]\nname = a\nemail = a@b\n[protocol.file]\nallow = always\n", encoding="utf-8")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")

    def git(*argv: str, folder: str = ".") -> str:
        command = ["git", "-C", folder, *argv]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    os.rmdir(".git")
    git("init", "--quiet", "--initial-branch=main")
    return git


@pytest.fixture
def commit(git: Git) -> Callable[..., str]:
    """Commit all there is; the commit's name."""

    def commit(folder: str = ".") -> str:
        git("add", "--all", folder=folder)
        git("commit", "--quiet", "--message=x", "--allow-empty", folder=folder)
        return git("rev-parse", "HEAD", folder=folder)

    return commit


Commit = Callable[..., str]


def places(result: Result) -> list[str]:
    assert result.status in (0, 1), result.err
    return [":".join(line.split(":")[:2]) for line in result.out.splitlines()]


def since(run: Run, revision: str = "HEAD", *argv: str) -> list[str]:
    return places(run("check", "--diff-base", revision, *argv))


def called(name: str) -> str:
    """The leaky program under names of its own, so that it has nothing to do with others."""
    return LEAKY.replace("imulation", name.title()).replace("step", name)


# -- what counts as changed --------------------------------------------------------------------------------------------


def test_old_findings_are_left_out_and_new_ones_reported(run: Run, write: Write, commit: Commit) -> None:
    write("a.py", LEAKY, "b.py", CLEAN)
    commit()
    left_out = "No problems found in 2 files; 1 on unchanged lines left out.\n"
    assert run("check", "--diff-base", "HEAD", "--strict") == Result(0, "", left_out)
    write("a.py", "import os\n" + LEAKY.replace(APPEND, APPEND * 2), "b.py", "x = 2\n")
    assert since(run) == ["a.py:13"]
    result = run("check", "--diff-base", "HEAD")
    assert result.status == 1
    assert result.err == "Found 1 problem (1 proved) in 1 of 2 files; 1 on unchanged lines left out.\n"


def test_committed_staged_and_new_files_count(run: Run, write: Write, git: Git, commit: Commit) -> None:
    write("old.py", called("old"))
    base = commit()
    write("committed.py", called("committed"))
    commit()
    write("staged.py", called("staged"), "new.py", called("new"))
    write("ignored.py", called("ignored"), ".gitignore", "ignored.py\n")
    git("add", "staged.py")
    assert since(run, base) == ["committed.py:11", "new.py:11", "staged.py:11"]
    assert since(run) == ["new.py:11", "staged.py:11"]
    assert since(run, "HEAD", "ignored.py") == ["ignored.py:11"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("self.state.clone()", "self.state.detach()"),  # the statement
        ("while True:\n        queue.get()\n        simulation.step()", "while True: simulation.step()"),  # its loop
        ("self.trace = []", "self.trace: list = []"),  # where its container is made
    ],
)
def test_a_finding_counts_where_its_statement_or_its_evidence_changed(
    run: Run, write: Write, commit: Commit, old: str, new: str
) -> None:
    changed = LEAKY.replace(old, new)
    assert changed != LEAKY
    write("a.py", LEAKY)
    commit()
    write("a.py", changed)
    assert since(run) == ["a.py:11"]


def test_a_new_loop_in_another_file_counts(run: Run, write: Write, commit: Commit) -> None:
    write("a.py", LEAKY.replace(LOOP, ""), "b.py", CLEAN)
    commit()
    write("b.py", "from a import Simulation\n\n\n" + LOOP)
    assert since(run) == ["a.py:11"]
    assert since(run, "HEAD", "a.py") == ["a.py:11"]  # what is not named is known all the same


def test_any_line_of_a_statement_counts_and_no_line_beside_it(run: Run, write: Write, commit: Commit) -> None:
    long = LEAKY.replace(
        "append(self.state.clone())", "append(\n            self.state\n            .clone()\n        )"
    )
    write("a.py", long)
    commit()
    write("a.py", long.replace("            .clone()", "            .detach()"))
    assert since(run) == ["a.py:11"]
    write("a.py", long.replace("        )\n", "        )\n        print()\n"))
    assert since(run) == []
    write("a.py", long.replace("        self.state = torch.tanh(self.state + 0.1)\n", ""))
    assert since(run) == []  # lines that are only taken away


def test_in_a_notebook_lines_of_the_file_count(run: Run, write: Write, commit: Commit) -> None:
    def notebook(*cells: str, said: str = "1") -> str:
        made: list[dict[str, Any]] = [
            {
                "cell_type": "code",
                "execution_count": None,
                "id": f"c{number}",
                "metadata": {},
                "outputs": [{"name": "stdout", "output_type": "stream", "text": [said]}],
                "source": cell.splitlines(keepends=True),
            }
            for number, cell in enumerate(cells)
        ]
        return json.dumps({"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, indent=1)

    write("a.ipynb", notebook("x = 1\n", LEAKY))
    commit()
    assert since(run) == []
    write("a.ipynb", notebook("x = 1\ny = 2\n", LEAKY, said="2"))
    assert since(run) == []
    write("a.ipynb", notebook("x = 1\ny = 2\n", LEAKY.replace("clone", "detach")))
    assert since(run) == ["a.ipynb:cell 2"]
    run("check", "--write-baseline", "known.json")
    write("a.ipynb", notebook("x = 1\n", "y = 3", LEAKY.replace("clone", "detach")))
    assert run("check", "--baseline", "known.json", "-q") == Result(0, "", "")


def test_the_base_is_where_the_branches_parted(run: Run, write: Write, git: Git, commit: Commit) -> None:
    write("a.py", LEAKY, "b.py", LEAKY)
    commit()
    git("checkout", "--quiet", "-b", "topic")
    write("a.py", LEAKY.replace("clone", "detach"))
    commit()
    git("checkout", "--quiet", "main")
    write("b.py", LEAKY.replace("clone", "detach"))
    commit()
    git("checkout", "--quiet", "topic")
    assert since(run, "main") == ["a.py:11"]
    assert since(run, "topic") == []
    git("checkout", "--quiet", "--orphan", "alone")
    commit()
    assert since(run, "main") == ["a.py:11", "b.py:11"]


# -- names and settings ------------------------------------------------------------------------------------------------

NAMES = [
    "a b.py",
    "ä.py",
    'q"\\.py',
    "tab\t.py",
    "new\nline.py",
    "-x.py",
    ":(top).py",
    "*.py",
    "x.pyi",
    "plain",
    "é x.py",
]


@pytest.mark.skipif(os.name == "nt", reason="these are no names there")
@pytest.mark.parametrize("said", ["", "[diff]\nnoprefix=true\n", "[core]\nquotePath=false\n[diff]\nmnemonicPrefix=1\n"])
def test_files_of_any_name(run: Run, write: Write, git: Git, commit: Commit, said: str) -> None:
    for name in NAMES:
        write(name, LEAKY)
    commit()
    with open(".git/config", "a", encoding="utf-8") as stream:
        stream.write(said)
    assert since(run, "HEAD", *(f"./{name}" for name in NAMES)) == []
    for name in NAMES:
        write(name, LEAKY.replace("clone", "detach"))
    found = run("check", "--diff-base", "HEAD", *(f"./{name}" for name in NAMES)).out
    assert found.count(": bound-history ") == len(NAMES)


@pytest.mark.skipif(os.name == "nt", reason="these are no names there")
def test_a_name_that_is_no_text(run: Run, write: Write, commit: Commit) -> None:
    name = os.fsdecode(b"\xff.py")
    try:
        write(name, LEAKY)
    except OSError:
        pytest.skip("the file system takes text only")
    commit()
    assert since(run) == []
    write(name, LEAKY.replace("clone", "detach"))
    assert len(since(run)) == 1


def test_settings_of_git_change_nothing(
    run: Run, write: Write, git: Git, commit: Commit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write("lib/a.py", LEAKY, "lib/b.py", LEAKY, ".gitattributes", "*.py binary diff=odd\n")
    commit()
    marker = tmp_path / "ran"
    for key, value in (
        ("color.ui", "always"),
        ("color.diff", "always"),
        ("diff.relative", "true"),
        ("diff.context", "9"),
        ("diff.interHunkContext", "9"),
        ("diff.submodule", "diff"),
        ("diff.external", f"touch {marker};"),
        ("diff.odd.textconv", f"touch {marker};"),
        ("core.fsmonitor", f"touch {marker};"),
        ("core.autocrlf", "false"),
    ):
        git("config", key, value)
    marker.unlink(missing_ok=True)
    monkeypatch.setenv("GIT_DIFF_OPTS", "--unified=20")
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", f"touch {marker};")
    monkeypatch.setenv("GIT_DIR", "nowhere")
    monkeypatch.setenv("GIT_LITERAL_PATHSPECS", "1")
    write("lib/a.py", LEAKY.replace("clone", "detach"))
    monkeypatch.chdir("lib")
    assert since(run) == ["a.py:11"]
    write("lib/a.py", "\n" * 3 + LEAKY)
    assert since(run) == []
    assert not marker.exists()


def test_a_renamed_file_is_not_new(run: Run, write: Write, git: Git, commit: Commit) -> None:
    write("a.py", LEAKY)
    commit()
    git("mv", "a.py", "b c.py")
    assert since(run) == []
    write("b c.py", LEAKY.replace("clone", "detach"))
    assert since(run) == ["b c.py:11"]


def test_deleted_empty_and_unfinished_files(run: Run, write: Write, commit: Commit) -> None:
    write("gone.py", LEAKY, "a.py", LEAKY.rstrip("\n"), "b.py", "")
    commit()
    os.unlink("gone.py")
    write("a.py", LEAKY.replace("    while True", "    # for ever\n    while True"), "new.py", "")
    assert since(run) == ["a.py:11"]  # the last line of its loop got its end
    write("a.py", LEAKY.replace("clone", "detach").rstrip("\n"))
    assert since(run) == ["a.py:11"]


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_lines_that_end_in_another_way(run: Run, write: Write, git: Git, commit: Commit, end: str) -> None:
    git("config", "core.autocrlf", "false")
    write("a.py", LEAKY.replace("\n", end))
    commit()
    assert since(run) == []
    write("a.py", LEAKY.replace("clone", "detach").replace("\n", end))
    assert since(run) == ["a.py:11"]


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_is_what_it_leads_to(run: Run, write: Write, commit: Commit) -> None:
    write("lib/a.py", LEAKY)
    os.symlink("lib/a.py", "link.py")
    commit()
    assert since(run, "HEAD", "link.py") == []
    write("lib/a.py", LEAKY.replace("clone", "detach"))
    assert since(run, "HEAD", "link.py") == ["link.py:11"]


# -- several repositories ----------------------------------------------------------------------------------------------


def test_a_submodule_is_compared_with_what_it_was(
    run: Run, write: Write, git: Git, commit: Commit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("a.py", CLEAN)
    before = commit()
    other = tmp_path / "other"
    git("init", "--quiet", str(other))
    (other / "b.py").write_text(LEAKY, encoding="utf-8")
    commit(str(other))
    git("submodule", "--quiet", "add", "./other", "sub dir")
    shutil.rmtree(other)
    commit()
    assert since(run, before) == ["sub dir/b.py:11"]
    assert since(run) == []
    write("sub dir/b.py", LEAKY.replace("clone", "detach"))
    assert since(run) == ["sub dir/b.py:11"]
    commit("sub dir")
    assert since(run) == ["sub dir/b.py:11"]
    commit()
    assert since(run) == []
    assert since(run, "HEAD~1") == ["sub dir/b.py:11"]
    monkeypatch.chdir("sub dir")
    assert since(run) == []
    assert since(run, "HEAD~1") == ["b.py:11"]


def test_a_repository_in_another_one_is_judged_by_itself(run: Run, write: Write, git: Git, commit: Commit) -> None:
    write("a.py", LEAKY)
    commit()
    git("init", "--quiet", "inner")
    write("inner/b.py", LEAKY)
    commit("inner")
    assert since(run) == []
    write("inner/b.py", LEAKY.replace("clone", "detach"))
    assert since(run) == ["inner/b.py:11"]


# -- what can go wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("revision", ["nope", "", "HEAD..HEAD", "HEAD~9", "HEAD^{tree}", "@{u", "a b"])
def test_an_unknown_revision(run: Run, write: Write, commit: Commit, revision: str) -> None:
    write("a.py", LEAKY)
    commit()
    error = f'memlint: error: --diff-base: unknown revision "{revision}"\n'
    assert run("check", "--diff-base", revision) == Result(2, "", error)
    assert run("check", f"--diff-base=--output={revision}").status == 2


def test_a_repository_without_commits_or_with_few(run: Run, write: Write, git: Git, commit: Commit) -> None:
    write("a.py", LEAKY)
    assert run("check", "--diff-base", "HEAD").err == 'memlint: error: --diff-base: unknown revision "HEAD"\n'
    commit()
    commit()
    git("clone", "--quiet", "--depth=1", f"file://{os.getcwd()}", "few")
    os.chdir("few")
    error = (
        'memlint: error: --diff-base: unknown revision "HEAD~1", and this clone is shallow: fetch the revision first'
    )
    assert run("check", "--diff-base", "HEAD~1").err == f"{error}\n"


def test_outside_of_a_repository(run: Run, write: Write, git: Git) -> None:
    write("a.py", LEAKY)
    shutil.rmtree(".git")
    error = "memlint: error: --diff-base: a.py is not in a git repository\n"
    assert run("check", "--diff-base", "HEAD") == Result(2, "", error)
    os.mkdir(".git")  # not a real one
    result = run("check", "--diff-base", "HEAD")
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith("memlint: error: --diff-base: git: not a git repository")
    assert result.err.count("\n") == 1


def test_without_git(run: Run, write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write("a.py", LEAKY)
    monkeypatch.setenv("PATH", str(tmp_path))
    error = "memlint: error: --diff-base needs git, and there is none on the path\n"
    assert run("check", "--diff-base", "HEAD") == Result(2, "", error)


def test_not_for_standard_input(run: Run, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(LEAKY.encode())))
    error = "memlint: error: --diff-base can't be combined with standard input: git knows files only\n"
    assert run("check", "-", "--diff-base", "HEAD") == Result(2, "", error)


# -- with the rest -----------------------------------------------------------------------------------------------------


def test_every_format_is_limited(run: Run, write: Write, commit: Commit) -> None:
    write("a.py", LEAKY, "b.py", CLEAN)
    commit()
    for layout in ("concise", "full", "json", "sarif", "github"):
        result = run("check", "--diff-base", "HEAD", "--output-format", layout)
        assert result.status == 0
        assert "bound-history: " not in result.out
        assert '"locations"' not in result.out


def test_a_baseline_is_asked_first(run: Run, write: Write, commit: Commit) -> None:
    write("a.py", LEAKY)
    commit()
    write("b.py", LEAKY)
    run("check", "b.py", "--write-baseline", "known.json")
    result = run("check", "--baseline", "known.json", "--diff-base", "HEAD")
    assert result == Result(
        0, "", "No problems found in 2 files; 1 known from known.json left out; 1 on unchanged lines left out.\n"
    )


# -- patches -----------------------------------------------------------------------------------------------------------


def test_added_lines_may_look_like_the_head_of_a_patch() -> None:
    patch = b"--- a/x.py\n+++ b/x.py\n@@ -1 +1,2 @@\n--- old\n+++ b/y.py\n+@@ -1 +1,9 @@\n"
    more = b"@@ -9,0 +11 @@ f\n+z\n\\ No newline\n"
    assert changes.parse(patch + more) == {b"x.py": [(1, 2), (11, 11)]}
    assert changes.parse(b"--- a/x.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n") == {}


LINES = ["x\n", "y\n", "++ b/z\n", "-- a\n", "\n", "\f\n", "é\r\n", "@@ -1 +1 @@\n"]
texts = st.lists(st.sampled_from(LINES), max_size=9)


@settings(max_examples=50)
@given(texts, texts, st.booleans())
def test_what_did_not_change_was_there_before(
    tmp_path_factory: pytest.TempPathFactory, old: list[str], new: list[str], unfinished: bool
) -> None:
    folder = tmp_path_factory.mktemp("patch")
    before, after = "".join(old), "".join(new)
    after = after.rstrip("\n") if unfinished else after
    for name, text in (("old", before), ("new", after)):
        (folder / name).write_bytes(text.encode())
    command = ["git", *changes._DIFF, "--no-index", "old", "new"]
    patch = subprocess.run(command, cwd=folder, capture_output=True, check=False).stdout
    stretches = changes.parse(patch).get(b"new", [])
    same = [
        line
        for number, line in enumerate(after.encode().split(b"\n"), 1)
        if line and not any(first <= number <= last for first, last in stretches)
    ]
    rest = iter(before.encode().split(b"\n"))
    assert all(line in rest for line in same)  # in this order
    assert bool(stretches) or len(after) <= len(before)
