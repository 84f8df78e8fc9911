"""Which files are checked, in trees written for each test."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from memlint.config import Overrides, Resolver
from memlint.discover import find

Grow = Callable[..., None]
needs_links = pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")


@pytest.fixture
def grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Grow:
    """Make files, `path` or `path=content`, below an empty repository that is the current folder."""
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)

    def grow(*paths: str) -> None:
        for path in paths:
            name, _, content = path.partition("=")
            target = tmp_path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content, encoding="utf-8")

    return grow


def found(*paths: str, exclude: tuple[str, ...] = ()) -> list[str]:
    result = find(paths or (".",), Resolver(Overrides(exclude=exclude)))
    assert result.problems == []
    return [path for path, _ in result.files]


def test_python_files_below_a_folder_in_order(grow: Grow) -> None:
    grow("b.py", "a.py", "pkg/c.pyi", "pkg/deep/d.py", "notes.txt", "script", "e.ipynb")
    assert found() == ["a.py", "b.py", "e.ipynb", "pkg/c.pyi", "pkg/deep/d.py"]
    assert found("pkg") == ["pkg/c.pyi", "pkg/deep/d.py"]


def test_named_files_are_taken_whatever_they_are(grow: Grow) -> None:
    grow(
        "script", "build/a.py", ".gitignore=b.py\n", "b.py", 'pyproject.toml=[tool.memlint]\nexclude = ["c.py"]', "c.py"
    )
    assert found("script", "build/a.py", "b.py", "c.py") == ["script", "build/a.py", "b.py", "c.py"]


def test_a_file_is_taken_once(grow: Grow, tmp_path: Path) -> None:
    grow("pkg/a.py")
    assert found("pkg/a.py", "pkg", ".", str(tmp_path), "./pkg/../pkg/a.py") == ["pkg/a.py"]


def test_paths_are_shown_as_the_user_said(grow: Grow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grow("pkg/a.py", "here/b.py")
    monkeypatch.chdir(tmp_path / "here")
    assert found("../pkg") == ["../pkg/a.py"]
    assert found(str(tmp_path / "pkg")) == [(tmp_path / "pkg" / "a.py").as_posix()]
    assert found("..") == ["b.py", "../pkg/a.py"]


# -- what git leaves out -----------------------------------------------------------------------------------------------


def test_gitignore(grow: Grow) -> None:
    grow(".gitignore=gen_*.py\n/top.py\nout/\n!gen_keep.py\n", "gen_a.py", "gen_keep.py", "top.py", "a.py")
    grow("pkg/top.py", "pkg/gen_b.py", "pkg/out/c.py", "out.py")
    assert found() == ["a.py", "gen_keep.py", "out.py", "pkg/top.py"]


def test_nested_gitignore_is_nearer(grow: Grow) -> None:
    grow(".gitignore=*.pyi\n", "pkg/.gitignore=!a.pyi\n/b.py\n", "pkg/a.pyi", "pkg/c.pyi", "pkg/b.py", "pkg/sub/b.py")
    assert found() == ["pkg/a.pyi", "pkg/sub/b.py"]


def test_gitignore_above_the_folder_counts(grow: Grow) -> None:
    grow(".gitignore=/pkg/gen/\n", "pkg/gen/a.py", "pkg/b.py")
    assert found("pkg") == ["pkg/b.py"]


def test_a_named_folder_is_not_emptied_by_what_excludes_it(grow: Grow) -> None:
    grow(".gitignore=gen/\nb.py\n", "gen/a.py", "gen/b.py", "gen/deep/c.py")
    assert found("gen") == ["gen/a.py", "gen/deep/c.py"]
    assert found("gen", exclude=("gen", "c.py")) == ["gen/a.py"]


def test_an_inner_repository_has_its_own_gitignore(grow: Grow) -> None:
    grow(".gitignore=a.py\n", "sub/.git/HEAD", "sub/a.py", "a.py")
    assert found() == ["sub/a.py"]


def test_gitignore_outside_of_any_repository(grow: Grow, tmp_path: Path) -> None:
    (tmp_path / ".git").rmdir()
    grow(".gitignore=a.py\n", "a.py", "pkg/a.py", "pkg/b.py")
    assert found() == ["pkg/b.py"]
    assert found("pkg") == ["pkg/a.py", "pkg/b.py"]


def test_lines_of_gitignore_that_cannot_be_read(grow: Grow, tmp_path: Path) -> None:
    grow("a.py", "b.py")
    (tmp_path / ".gitignore").write_bytes(b"# \xff\n[z-a]\n!\n[[:alpha:]].pyc\nb.py\r\n")
    assert found() == ["a.py"]


# -- what the settings leave out ---------------------------------------------------------------------------------------


def test_folders_that_are_never_looked_into(grow: Grow) -> None:
    grow("a.py", ".venv/b.py", "node_modules/c.py", "pkg/build/d.py", ".git/hooks/e.py", "build.py", "pkg/dist.py")
    assert found() == ["a.py", "build.py", "pkg/dist.py"]


def test_exclude_adds_to_them_and_takes_back(grow: Grow) -> None:
    grow('pyproject.toml=[tool.memlint]\nexclude = ["gen_*.py", "!build", "/old"]\n')
    grow("a.py", "gen_a.py", "build/b.py", "old/c.py", "pkg/old/d.py", ".venv/e.py")
    assert found() == ["a.py", "build/b.py", "pkg/old/d.py"]


def test_nested_settings_have_their_own_exclude(grow: Grow) -> None:
    grow('pyproject.toml=[tool.memlint]\nexclude = ["a.py"]\n', "a.py", "b.py")
    grow('pkg/pyproject.toml=[tool.memlint]\nexclude = ["/b.py"]\n', "pkg/a.py", "pkg/b.py", "pkg/sub/b.py")
    assert found() == ["b.py", "pkg/a.py", "pkg/sub/b.py"]


def test_exclude_on_the_command_line(grow: Grow) -> None:
    grow('pyproject.toml=[tool.memlint]\nexclude = ["a.py"]\n', "a.py", "b.py", "tests/c.py", "d.py")
    assert found(exclude=("b.py", "tests")) == ["d.py"]


def test_exclusions_may_hold_for_named_files_too(grow: Grow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grow('pyproject.toml=[tool.memlint]\nexclude = ["b.py", "!dist"]\n', "a.py", "b.py", "build/c.py", "dist/d.py")
    names = ["a.py", "b.py", "build/c.py", "dist/d.py", "build"]
    taken = find(names, Resolver(), force_exclude=True)
    assert [path for path, _ in taken.files] == ["a.py", "dist/d.py"]
    assert taken.problems == []
    # What the folders above the current one or above the repository are called decides nothing.
    (tmp_path / "build" / ".git").mkdir()
    assert [path for path, _ in find(["build/c.py"], Resolver(), force_exclude=True).files] == ["build/c.py"]
    (tmp_path / "build" / ".git").rmdir()
    monkeypatch.chdir(tmp_path / "build")
    assert [path for path, _ in find(["c.py"], Resolver(), force_exclude=True).files] == ["c.py"]


def test_each_file_has_the_settings_of_its_folder(grow: Grow) -> None:
    grow("a.py", "pkg/pyproject.toml=[tool.memlint]\nstrict = true\n", "pkg/sub/b.py")
    result = find(["."], Resolver())
    assert [(path, settings.strict) for path, settings in result.files] == [("a.py", False), ("pkg/sub/b.py", True)]


# -- what is wrong with paths ------------------------------------------------------------------------------------------


def test_paths_that_do_not_exist(grow: Grow) -> None:
    grow("a.py")
    result = find(["nope", "a.py", "no/pe.py", ""], Resolver())
    assert [path for path, _ in result.files] == ["a.py"]
    assert result.problems == [
        ("nope", "no such file or directory"),
        ("no/pe.py", "no such file or directory"),
        ('""', "no such file or directory"),
    ]


@needs_links
def test_links_to_folders_are_not_followed(grow: Grow) -> None:
    grow("pkg/a.py")
    os.symlink("..", "pkg/up")
    os.symlink(".", "pkg/here")
    assert found() == ["pkg/a.py"]
    assert found("pkg/here") == ["pkg/here/a.py"]


@needs_links
def test_links_to_files(grow: Grow) -> None:
    grow("a.py", "pkg/b.py")
    os.symlink("../a.py", "pkg/same.py")
    os.symlink("nowhere.py", "pkg/dangling.py")
    os.symlink("loop.py", "pkg/loop.py")
    assert found() == ["a.py", "pkg/b.py"]
    assert found("pkg") == ["pkg/b.py", "pkg/same.py"]
    assert find(["pkg/loop.py"], Resolver()).problems == [("pkg/loop.py", "no such file or directory")]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_named_pipes_below_a_folder_are_not_read(grow: Grow) -> None:
    grow("a.py")
    os.mkfifo("pipe.py")
    os.mkdir("folder.py")
    assert found() == ["a.py"]


def test_folders_that_cannot_be_listed(grow: Grow, monkeypatch: pytest.MonkeyPatch) -> None:
    grow("a.py", "locked/b.py")
    scan = os.scandir

    def refuse(folder: str) -> object:
        if os.path.basename(folder) == "locked":
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    result = find(["."], Resolver())
    assert [path for path, _ in result.files] == ["a.py"]
    assert result.problems == [("locked", "can't list this folder: Permission denied")]
