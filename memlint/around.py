"""The project around the files that are asked for: what is named limits what is reported, not what is known.

A file belongs to the project whose folder is the nearest one upwards with a `pyproject.toml` or `.git`. It is judged
together with all files that a check of that folder would read, under the names that they have there.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence

from msgspec import Struct, field

from memlint import record
from memlint.cache import project_folder
from memlint.config import PATHS, Resolver, Settings, display_path
from memlint.discover import Found, TooMany, Walked, below

MOST = 10_000
"""How many files a project may have that nobody has named and that does not set `link` itself."""

MOST_ENTRIES = 40 * MOST
"""The same of files and folders of any kind, which have to be looked at to know."""


class Together(Struct, frozen=True):
    """Files that are judged as one project.

    files: display path and settings of each, in the order of a check of the whole project. asked: the display paths of
    those that are reported on. root: the project's folder, "" for none. names: by display path the path from the root,
    which is what the modules' names come from; empty where it is the display path itself.
    """

    files: Sequence[tuple[str, Settings]]
    asked: Collection[str]
    root: str = ""
    names: dict[str, str] = field(default_factory=dict)


class Around(Struct):
    """together: every file that is asked for, in one of these. notes: what could not be linked, and why."""

    together: list[Together] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def roots(self) -> set[str]:
        """The folders of the projects, "" for what is in none."""
        return {group.root for group in self.together}

    @property
    def known(self) -> list[str]:
        """The display paths of the files that are only known."""
        asked = {path for group in self.together for path in group.asked}
        return sorted({path for group in self.together for path, _ in group.files} - asked)


def around(paths: Sequence[str], found: Found, resolver: Resolver) -> Around:
    """What the files that were found below the paths are to be judged with."""
    result = Around()
    by_root: dict[str, dict[str, Settings]] = {}
    roots = {os.path.abspath(path): _root(path) for path in paths}
    for path, settings in found.files:
        by_root.setdefault(_outermost(path, roots), {})[path] = settings
    alone: dict[str, Settings] = {}
    for root, asked in by_root.items():
        whole = _whole(root, found, resolver) if _linked(root, resolver) else ""
        if not isinstance(whole, str):
            result.together += _groups(root, whole, asked, found)
            continue
        alone |= asked
        if whole:
            why = f"{display_path(root)} {whole}"
            result.notes.append(f"only what was named is known, not the project around it: {why}")
    if alone:
        result.together.append(Together([file for file in found.files if file[0] in alone], alone.keys()))
    return result


def _root(path: str) -> str:
    return project_folder(path if record.is_folder(path) else os.path.dirname(path)) or ""


def _outermost(path: str, roots: dict[str, str]) -> str:
    """The project of a file: what it was named for, whatever else was named."""
    if len(set(roots.values())) == 1:
        return next(iter(roots.values()))
    folder = os.path.abspath(path)
    found = []
    while True:
        if folder in roots:
            found.append(roots[folder])
        if os.path.dirname(folder) == folder:
            return min(found, key=len)
        folder = os.path.dirname(folder)


def _linked(root: str, resolver: Resolver) -> bool:
    return root != "" and not resolver.isolated and resolver.settings(root).link != PATHS


def _whole(root: str, found: Found, resolver: Resolver) -> Sequence[Walked] | str:
    """The files of a project, or why nobody looks for them where they were not named."""
    if root in found.walks:
        return found.walks[root]
    home = os.path.join(record.real(os.path.expanduser("~")), "")
    if home.startswith(os.path.join(record.real(root), "")):
        return "is the home folder, or around it"
    said = "link" in resolver.settings(root).origins
    try:
        return below(root, resolver, *(() if said else (MOST, MOST_ENTRIES)))
    except TooMany:
        record.doubt()  # files of any kind were counted, and those without code are not noted
        return "holds too many files: `exclude` some, or set `link`"


def _groups(root: str, whole: Sequence[Walked], asked: dict[str, Settings], found: Found) -> list[Together]:
    """The project, and once more with those of the files asked for that a check of the project would leave out."""
    files: list[tuple[str, Settings]] = []
    names: dict[str, str] = {}
    here = os.path.join(os.getcwd(), "")
    seen: set[str] = set()
    for inner, real, settings in whole:
        if real in seen:
            continue  # links lead to it: it goes by the first of its names, as where all are checked
        seen.add(real)
        path = found.taken.get(real)
        if path is None or path not in asked:
            full = os.path.join(root, inner)
            path = (full[len(here) :] if full.startswith(here) else full).replace(os.sep, "/")
        files.append((path, settings))
        names[path] = inner.replace(os.sep, "/")
    mine = [path for path in asked if path in names]
    groups = [Together(files, frozenset(mine), root, names)] if mine else []
    others = {path: settings for path, settings in asked.items() if path not in names}
    if others:
        more = {path: os.path.relpath(path, root).replace(os.sep, "/") for path in others}
        both = names | more
        sorted_files = sorted([*files, *others.items()], key=lambda item: both[item[0]])
        groups.append(Together(sorted_files, frozenset(others), root, both))
    return groups
