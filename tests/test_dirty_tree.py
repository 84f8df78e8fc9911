"""`memlint fix` writes over nothing that git could not bring back, unless told; and git runs nothing for it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from memlint import uncommitted
from tests import test_cli, test_diff_base
from tests.test_cli import CLEAN, LEAKY, Result, Run, Write
from tests.test_diff_base import NAMES, Commit, Git

run, write, git, commit = test_cli.run, test_cli.write, test_diff_base.git, test_diff_base.commit

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

FIX = ("fix", "--unsafe-fixes")
CHANGED = "has changes that are neither committed nor staged"
UNKNOWN = "is not under version control"


def refused(path: str, reason: str, more: str = "") -> Result:
    end = "commit or stage first, or use --allow-dirty; nothing was changed"
    return Result(2, "", f"memlint: error: {path} {reason}{more}: {end}\n")


def test_what_is_committed_or_staged_is_repaired(run: Run, write: Write, git: Git, commit: Commit) -> None:
    write("a.py", LEAKY, "other.py", CLEAN)
    commit()
    write("staged.py", LEAKY, "other.py", CLEAN * 2, "new.py", CLEAN)  # the others have nothing to repair
    git("add", "staged.py")
    assert run(*FIX).status == 0
    assert git("status", "--porcelain").split("\n") == ["M a.py", " M other.py", "AM staged.py", "?? new.py"]


def test_what_git_could_not_bring_back_is_not(run: Run, write: Write, git: Git, commit: Commit) -> None:
    write("a.py", LEAKY, "b.py", LEAKY)
    commit()
    write("a.py", LEAKY + "# mine\n")
    assert run(*FIX) == refused("a.py", CHANGED)
    assert Path("b.py").read_text(encoding="utf-8") == LEAKY
    assert run(*FIX, "b.py").status == 0
    write("b.py", LEAKY + "# mine\n")
    assert run(*FIX) == refused("a.py", CHANGED, " (and 1 more)")
    assert run(*FIX, "--diff").status == 1
    assert run(*FIX, "--verify", "exit 1") == refused("a.py", CHANGED, " (and 1 more)")
    assert run(*FIX, "--allow-dirty").status == 0
    assert Path("a.py").read_text(encoding="utf-8").endswith("# mine\n")


def test_new_files_have_nothing_to_go_back_to(run: Run, write: Write, commit: Commit) -> None:
    write("a.py", CLEAN, ".gitignore", "ignored.py\n")
    commit()
    write("new.py", LEAKY, "ignored.py", LEAKY)
    assert run(*FIX) == refused("new.py", UNKNOWN)
    assert run(*FIX, "ignored.py").status == 0


def test_a_copy_of_the_runtime_counts(run: Run, write: Write, commit: Commit) -> None:
    runtime = (Path(uncommitted.__file__).parent / "runtime.py").read_text(encoding="utf-8")
    write("a.py", LEAKY, "helpers.py", runtime + "# old\n", ".gitattributes", "")
    commit()
    write("helpers.py", runtime + "# older\n")
    vendor = (*FIX, "--runtime", "vendor:helpers.py", "a.py")
    assert run(*vendor) == refused("helpers.py", CHANGED)
    write("helpers.py", runtime)  # as it is to be
    assert run(*vendor).status == 0


def test_a_merge_that_is_not_done(run: Run, write: Write, git: Git, commit: Commit) -> None:
    write("a.py", LEAKY)
    commit()
    git("checkout", "--quiet", "-b", "topic")
    write("a.py", LEAKY + "# theirs\n")
    commit()
    git("checkout", "--quiet", "main")
    write("a.py", LEAKY + "# mine\n")
    commit()
    with pytest.raises(subprocess.CalledProcessError):
        git("merge", "--quiet", "topic")
    write("a.py", LEAKY)
    assert run(*FIX) == refused("a.py", CHANGED)


@pytest.mark.skipif(os.name == "nt", reason="these are no names there")
def test_names_of_any_kind(write: Write, commit: Commit) -> None:
    for name in [*NAMES, os.fsdecode(b"\xff.py")]:
        write(name, LEAKY)
    commit()
    old = {f"./{name}": LEAKY.encode() for name in NAMES}
    assert uncommitted.find(old) == []
    assert uncommitted.find(dict.fromkeys(old, b"")) == [(path, CHANGED) for path in sorted(old)]
    write("[ab].py", LEAKY, "a", LEAKY)
    assert uncommitted.find({"[ab].py": LEAKY.encode()}) == [("[ab].py", UNKNOWN)]


def test_more_files_than_fit_a_command(write: Write, commit: Commit) -> None:
    for number in range(450):
        write(f"pkg/{number}.py", str(number))
    commit()
    old = {f"pkg/{number}.py": b"%d" % number for number in range(450)}
    assert uncommitted.find(old) == []
    assert uncommitted.find({**old, "pkg/7.py": b"8", "pkg/449.py": b""}) == [
        ("pkg/449.py", CHANGED),
        ("pkg/7.py", CHANGED),
    ]


@pytest.mark.parametrize("kind", ["sha1", "sha256"])
def test_line_ends_and_names_of_objects(
    write: Write, git: Git, commit: Commit, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    shutil.rmtree(".git")
    git("init", "--quiet", f"--object-format={kind}")
    write("a.py", b"x = 1\r\ny = 2\r\n", ".gitattributes", "* text=auto\n")
    commit()
    assert uncommitted.find({"a.py": b"x = 1\r\ny = 2\r\n"}) == []
    assert uncommitted.find({"a.py": b"x = 1\r\ny = 3\r\n"}) == [("a.py", CHANGED)]


def test_each_file_is_looked_up_in_its_own_repository(
    run: Run, write: Write, git: Git, commit: Commit, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "a.py"
    outside.write_text(LEAKY, encoding="utf-8")
    git("init", "--quiet", "inner")
    write("inner/a.py", LEAKY, "b.py", LEAKY)
    git("add", "b.py")
    assert run(*FIX, "inner/a.py") == refused("inner/a.py", UNKNOWN)
    git("add", "a.py", folder="inner")
    assert run(*FIX, "inner", "b.py", str(outside)).status == 0
    assert "append_bounded" in outside.read_text(encoding="utf-8")


def test_a_worktree(run: Run, write: Write, git: Git, commit: Commit, monkeypatch: pytest.MonkeyPatch) -> None:
    write("a.py", LEAKY)
    commit()
    git("worktree", "add", "--quiet", "-b", "other", "tree")
    monkeypatch.chdir("tree")
    Path("a.py").write_text(LEAKY + "# mine\n", encoding="utf-8")
    assert run(*FIX) == refused("a.py", CHANGED)
    git("checkout", "--quiet", "a.py")
    assert run(*FIX).status == 0


def test_without_git_there_is_nothing_to_ask(
    run: Run, write: Write, git: Git, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write("a.py", LEAKY)
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert run(*FIX).status == 0


def test_a_repository_that_git_does_not_take(run: Run, write: Write, git: Git) -> None:
    write("a.py", LEAKY, ".git/config", "[core]\nrepositoryformatversion = 99\n")
    result = run(*FIX)
    assert result.status == 2
    assert result.err.startswith("memlint: error: a.py can't be looked up: git: ")
    assert result.err.count("\n") == 1
    assert Path("a.py").read_text(encoding="utf-8") == LEAKY
