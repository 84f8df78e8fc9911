"""Runs that need not be made again: nothing that they looked at has changed, so they would say the same.

What a run said is stored with all that it looked at. A later run compares what the system says of these files and
folders, and only where that differs their contents. Nothing else of memlint is imported for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import memlint
from memlint import record
from memlint.cache import Cache
from memlint.record import Record

Outcome = tuple[int, list[tuple[str, str]]]
"""The exit status, and what was written where."""

_FORMAT = "memo 1"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def key(identity: Sequence[object]) -> str:
    """The key for what a run was asked, and all that it depends on beside the disk."""
    return record.digest(repr((_FORMAT, *identity)).encode(errors="surrogatepass"))


def recall(cache: Cache, key: str) -> Outcome | None:
    """What the run would come to; None where that is not known."""
    packed = cache.get(key)
    if packed is None:
        return None
    try:
        memo = json.loads(packed)
        with record.kept() as now:
            if not _unchanged(memo, now):
                return None
        said = [(str(where), str(text)) for where, text in memo["said"]]
        if memo["status"] not in (0, 1) or not all(where == "file" or _is_harmless(text) for where, text in said):
            return None
        renewed = [path for new in (now.files, now.folders) for path, state in new.items() if state[0]]
        if renewed:
            memo["files"].update(now.files)
            memo["folders"].update(now.folders)
            cache.put(key, json.dumps(memo).encode())
        return memo["status"], said
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None  # whoever wrote it, it is none


def keep(cache: Cache, key: str, seen: Record, status: int) -> None:
    """Remember what a run has come to."""
    if seen.doubt or not cache.folder.is_dir() or cache.folder.is_symlink():
        return
    memo = {
        "files": seen.files,
        "folders": seen.folders,
        "kinds": {path: kind for path, kind in seen.kinds.items() if not record.covered(seen, path)},
        "links": seen.links,
        "said": seen.said,
        "status": status,
    }
    cache.put(key, json.dumps(memo).encode())


def look_at_own_source() -> None:
    """Note the source of memlint, and which versions of other packages lie beside it and beside LibCST."""
    import libcst
    import pathspec

    for file in {*libcst.__path__, *pathspec.__path__}:
        record.scan(os.path.dirname(os.path.abspath(file)))
    here = Path(memlint.__file__).parent
    beside = [here.parent / name for name in ("rules", "fixers") if not (here / name).is_dir()]
    pending = [str(here), *map(str, beside)]
    while pending:
        for entry in record.scan(pending.pop()):
            if entry.is_dir() and entry.name != "__pycache__":
                pending.append(entry.path)
            elif entry.name.endswith(".py"):
                record.read(entry.path)


def _unchanged(memo: Any, now: Record) -> bool:
    """Whether all that a run has looked at is as it was. now: takes what had to be looked at more closely."""
    files, folders = [], []
    for path, (mark, size, content) in memo["files"].items():
        state = _state(path)
        if state is None:
            return False
        if list(record.mark(state)) != mark:
            readable = not content.startswith("!")
            if readable and (state.st_size != size or not stat.S_ISREG(state.st_mode)):
                return False
            files.append(path)
    for path, (mark, _) in memo["folders"].items():
        state = _state(path)
        if state is None:
            return False
        if list(record.mark(state)) != mark:
            folders.append(path)
    if any(record.kind(path) != kind for path, kind in memo["kinds"].items()):
        return False
    if any(os.path.realpath(path) != found for path, found in memo["links"].items()):
        return False
    for path in folders:
        with contextlib.suppress(OSError):  # it is noted
            record.scan(path)
        if now.folders[path][1] != memo["folders"][path][1]:
            return False
    for path in files:
        with contextlib.suppress(OSError):
            record.read(path)
        if path not in now.files or list(now.files[path][1:]) != memo["files"][path][1:]:
            return False
    return not now.doubt


def _is_harmless(text: str) -> bool:
    """Whether a text is nothing but printable characters, line ends and colours, as memlint itself writes."""
    return all(line.isprintable() for line in _COLOUR.sub("", text).split("\n"))


def _state(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except (OSError, ValueError):
        return None
