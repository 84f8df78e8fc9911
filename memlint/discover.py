"""Which files to check: the paths the user names, and below folders whatever git and the settings do not exclude."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct, field

from memlint import record
from memlint.config import ConfigError, Resolver, Settings, compiled, display_path

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

SUFFIXES = (".py", ".pyi", ".ipynb")

# Folders that hold no source of the user's own; the list of ruff. `exclude = ["!build"]` takes one back.
# fmt: off
EXCLUDED = frozenset({
    ".bzr", ".direnv", ".eggs", ".git", ".git-rewrite", ".hg", ".ipynb_checkpoints", ".memlint_cache", ".mypy_cache",
    ".nox", ".pants.d", ".pyenv", ".pytest_cache", ".pytype", ".ruff_cache", ".svn", ".tox", ".venv", ".vscode",
    "__pypackages__", "_build", "buck-out", "build", "dist", "node_modules", "site-packages", "venv",
})
# fmt: on


Walked = tuple[str, str, Settings]
"""A file below a folder: its path from there, its real path, its settings."""


class Found(Struct):
    """What lies below some paths.

    files: display path and settings of each file. problems: paths that can't be used, each with the reason.
    taken: the files' display paths by their real ones. walks: what lies below each folder that was named, by its
    absolute path.
    """

    files: list[tuple[str, Settings]] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    taken: dict[str, str] = field(default_factory=dict)
    walks: dict[str, list[Walked]] = field(default_factory=dict)


class TooMany(Exception):
    """More files than anybody wants to wait for."""


def find(paths: Sequence[str], resolver: Resolver, *, force_exclude: bool = False) -> Found:
    """The files below the paths. What is named itself is taken whatever its suffix, and even where it is excluded.

    force_exclude: settings may exclude what is named, too (for tools that name every file, such as pre-commit).
    """
    found = Found()

    def take(path: str, real: str, settings: Settings) -> None:
        if real not in found.taken:
            found.taken[real] = display_path(path)
            found.files.append((found.taken[real], settings))

    for named in paths:
        path = os.path.normpath(named)
        if not named or not record.exists(path):
            found.problems.append((display_path(path) if named else '""', "no such file or directory"))
        elif force_exclude and is_excluded(path, resolver):
            continue
        elif record.is_folder(path):
            inside = found.walks[os.path.abspath(path)] = _sorted(_walk(path, resolver, found))
            for inner, real, settings in inside:
                take(inner if path == os.curdir else os.path.join(path, inner), real, settings)
        elif not record.is_file(path):  # a pipe would wait for its writer, and a device may never end
            found.problems.append((display_path(path), "is not a regular file"))
        else:
            take(path, record.real(path), resolver.settings(os.path.dirname(path)))
    return found


def below(root: str, resolver: Resolver, most: int | None = None, most_entries: int | None = None) -> list[Walked]:
    """The files below a folder that nobody has named: what can't be listed or has broken settings is passed over.

    Raises TooMany, where there are more files, or entries of any kind, than that.
    """
    found = []
    for file in _walk(root, resolver, None, most_entries):
        found.append(file)
        if most is not None and len(found) > most:
            raise TooMany
    return _sorted(found)


def _sorted(files: Iterable[Walked]) -> list[Walked]:
    return sorted(files, key=lambda item: item[0])


def is_excluded(path: str, resolver: Resolver) -> bool:
    """Whether the settings exclude a path or a folder above it, up to the current folder or the repository's root."""
    path = os.path.abspath(path)
    while True:
        folder = os.path.dirname(path)
        excludes = [_patterns(base, lines) for base, lines in resolver.settings(folder).exclude]
        if _excluded(path, record.is_folder(path), excludes, []):
            return True
        if folder in (path, os.getcwd()) or record.exists(os.path.join(folder, ".git")):
            return False
        path = folder


class _Patterns:
    """Patterns in gitignore's syntax that start from a folder."""

    def __init__(self, folder: str, spec: GitIgnoreSpec) -> None:
        self._prefix = os.path.join(folder, "")
        self._spec = spec

    def verdict(self, path: str, is_folder: bool) -> bool | None:
        """True: excluded, False: taken back by a `!pattern`, None: not mentioned."""
        if not path.startswith(self._prefix):
            return None
        relative = path[len(self._prefix) :].replace(os.sep, "/")
        return self._spec.check_file(relative + "/" if is_folder else relative).include

    def without(self, path: str) -> _Patterns:
        """These patterns less those that exclude this folder itself: it was named, so they must not empty it."""
        if not path.startswith(self._prefix):
            return self
        relative = path[len(self._prefix) :].replace(os.sep, "/") + "/"
        kept = [item for item in self._spec.patterns if not (item.include and item.match_file(relative))]
        return _Patterns(self._prefix, type(self._spec)(kept))


def _walk(root: str, resolver: Resolver, found: Found | None, most_entries: int | None = None) -> Iterator[Walked]:
    """Files below a folder. Links to folders are not followed, so loops of them do no harm.

    found: where to say what can't be listed; None: nobody wants to know.
    """
    entered = 0
    absolute = os.path.abspath(root)
    real_root = record.real(root)
    ignores = [patterns.without(absolute) for patterns in _ignores_above(absolute)]
    pending = [("", absolute, ignores)]
    while pending:
        inner, folder, ignores = pending.pop()
        try:
            entries = record.scan(folder)
        except OSError as error:
            if found is not None:
                shown = display_path(os.path.join(root, inner) if inner else root)
                found.problems.append((shown, f"can't list this folder: {error.strerror}"))
            continue
        entered += len(entries)
        if most_entries is not None and entered > most_entries:
            record.doubt()  # of what lies there, no more than the number matters
            raise TooMany
        names = {entry.name for entry in entries}
        if ".git" in names and folder != absolute:
            ignores = []  # a repository inside another one: git does not look at the outer one's files either
        if ".gitignore" in names:
            ignores = [*ignores, *_ignore_file(folder)]
        try:
            settings = resolver.settings(folder)
        except ConfigError:
            if found is not None:
                raise
            continue
        excludes = [_patterns(base, lines).without(absolute) for base, lines in settings.exclude]
        for entry in entries:
            path = os.path.join(folder, entry.name)
            is_folder = entry.is_dir(follow_symlinks=False)
            if not is_folder and not (entry.name.endswith(SUFFIXES) and record.is_file(path)):
                continue
            if _excluded(path, is_folder, excludes, ignores):
                continue
            child = os.path.join(inner, entry.name)
            if is_folder:
                pending.append((child, path, ignores))
            else:
                real = record.real(path) if entry.is_symlink() else real_root + path[len(absolute) :]
                yield child, real, settings


def _excluded(path: str, is_folder: bool, excludes: list[_Patterns], ignores: list[_Patterns]) -> bool:
    # The nearest file that mentions a path decides, and within it the last line, as in git.
    for patterns in reversed(excludes):
        verdict = patterns.verdict(path, is_folder)
        if verdict is not None:
            return verdict
    if is_folder and os.path.basename(path) in EXCLUDED:
        return True
    for patterns in reversed(ignores):
        verdict = patterns.verdict(path, is_folder)
        if verdict is not None:
            return verdict
    return False


def _ignores_above(folder: str) -> list[_Patterns]:
    """The .gitignore files of the folders above, up to the root of the repository; none outside a repository."""
    above: list[_Patterns] = []
    while not record.exists(os.path.join(folder, ".git")):
        parent = os.path.dirname(folder)
        if parent == folder:
            return []
        folder = parent
        above[:0] = _ignore_file(folder)
    return above


def _ignore_file(folder: str) -> list[_Patterns]:
    try:
        text = record.read(os.path.join(folder, ".gitignore")).decode("utf-8", errors="replace")
    except OSError:
        return []
    return [_patterns(folder, re.split("\r\n|\r|\n", text))]


def _patterns(folder: str, lines: Sequence[str]) -> _Patterns:
    from pathspec import GitIgnoreSpec  # here, because a tree without patterns should not pay for it

    good = GitIgnoreSpec([])
    for line in lines:
        try:
            good += compiled(line)
        except ValueError:
            continue  # git steps over a pattern that it can't read
    return _Patterns(folder, good)
