"""What a run looks at on the disk, and what it says: noted, so that a later run can tell whether all would be the same.

Whatever decides what a check finds is looked at through this module: files that are read, folders that are listed,
names that are there or are not. See `memlint.memo`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import sys
import time
from collections.abc import Iterator, Sequence

Mark = tuple[int, ...]
"""What the system says of a file without its content. It changes with the content, whatever anybody does to the times:
nobody can set the time of the last change of state."""

OWN = ".memlint_cache"  # comes and goes with the runs themselves

_SETTLED = 2_000_000_000
"""Nanoseconds after which another change is sure to show in the times: some systems count in steps of two seconds."""
_NAMES = (".py", ".pyi", ".ipynb", ".gitignore", ".git", "pyproject.toml")


class Record:
    """What one run has looked at and said.

    files: for each file its mark and size and the digest of its content. A file that can't be read has the error's
    number for a digest. folders: for each its mark and the digest of the names in it that matter. A mark is () where
    the last change was so shortly before that another one might not show in it. kinds: for names, `kind`. links: where
    paths lead to. said: what was written, and where to. doubt: the outcome may be another one next time.
    """

    def __init__(self) -> None:
        self.files: dict[str, tuple[Mark, int, str]] = {}
        self.folders: dict[str, tuple[Mark, str]] = {}
        self.kinds: dict[str, str] = {}
        self.links: dict[str, str] = {}
        self.said: list[tuple[str, str]] = []
        self.doubt = False


_record: Record | None = None


@contextlib.contextmanager
def kept() -> Iterator[Record]:
    """Note down what is looked at and said from here on."""
    global _record
    before, _record = _record, Record()
    try:
        yield _record
    finally:
        _record = before


def doubt() -> None:
    """The outcome depends on more than what is noted."""
    if _record is not None:
        _record.doubt = True


def say(where: str, text: str) -> None:
    """Note what was written. where: `out`, `err`, or `file` for the file that the result was asked to go to."""
    if _record is not None:
        _record.said.append((where, text))


# -- looking -----------------------------------------------------------------------------------------------------------


def read(path: str) -> bytes:
    """The content of a file. Raises OSError."""
    try:
        with open(path, "rb") as stream:
            if _record is None:
                return stream.read()
            now, before = _now(), os.fstat(stream.fileno())
            data = stream.read()
            after = os.fstat(stream.fileno())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        exists(path)
        raise
    except OSError as error:
        if _record is not None:
            _note_file(_record, path, ((), 0, _number(_record, error)))
        raise
    whole = stat.S_ISREG(after.st_mode) and after.st_size == len(data) and mark(before) == mark(after)
    _note_file(_record, path, (settled(after, now), len(data), digest(data)) if whole else None)
    return data


def scan(folder: str) -> list[os.DirEntry[str]]:
    """The entries of a folder. Raises OSError."""
    if _record is None:
        return _entries(folder)
    try:
        now, before = _now(), os.stat(folder)
        entries = _entries(folder)
        after = os.stat(folder)
    except OSError as error:
        _record.folders[folder] = ((), _number(_record, error))
        raise
    _record.folders[folder] = (settled(after, now) if mark(before) == mark(after) else (), names(entries))
    return entries


def exists(path: str) -> bool:
    """Whether there is anything of this name, links followed."""
    return _kind(path) != "none"


def is_file(path: str) -> bool:
    """Whether there is a file of this name, links followed."""
    return _kind(path) == "file"


def is_folder(path: str) -> bool:
    """Whether there is a folder of this name, links followed."""
    return _kind(path) == "folder"


def lexists(path: str) -> bool:
    """Whether there is anything of this name, be it a link that leads nowhere."""
    _kind(path)
    real(path)
    return os.path.lexists(path)


def nearest(folder: str, names: Sequence[str]) -> str | None:
    """The nearest folder from here upwards that holds one of these names; None where none does."""
    folder = os.path.abspath(folder)
    while not any(exists(os.path.join(folder, name)) for name in names):
        if os.path.dirname(folder) == folder:
            return None
        folder = os.path.dirname(folder)
    return folder


def real(path: str) -> str:
    """A path without links in it."""
    found = os.path.realpath(path)
    if _record is not None:
        _record.links[path] = found
    return found


# -- what is noted -----------------------------------------------------------------------------------------------------


def mark(state: os.stat_result) -> Mark:
    """The mark of a file or folder."""
    return (state.st_mtime_ns, state.st_ctime_ns, state.st_size, state.st_ino, state.st_mode, state.st_dev)


def settled(state: os.stat_result, now: int) -> Mark:
    """The same where a later change would show in it, else nothing. now: before the content was read."""
    if sys.platform == "win32":
        return ()  # the times there can all be set
    return mark(state) if max(state.st_mtime_ns, state.st_ctime_ns) < now - _SETTLED else ()


def kind(path: str) -> str:
    """What a name stands for: a file, a folder, something else, or nothing."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return "none"
    return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "other"


def digest(data: bytes) -> str:
    """A name for some content."""
    return hashlib.blake2b(data, digest_size=20).hexdigest()


def names(entries: list[os.DirEntry[str]]) -> str:
    """The digest of those names in a folder that can matter: folders, links, sources, and files with settings."""
    rows = []
    for entry in entries:
        if entry.is_symlink():
            rows.append(f"link {entry.name}")
        elif entry.is_dir(follow_symlinks=False):
            rows.append(f"folder {entry.name}")
        elif entry.name.lower().endswith(_NAMES):
            rows.append(f"file {entry.name}" if entry.is_file(follow_symlinks=False) else f"other {entry.name}")
    found = "\n".join(sorted(row for row in rows if row != f"folder {OWN}"))
    return digest(found.encode(errors="surrogatepass"))


def unusable(error: OSError) -> str:
    """What stands for the content of a file or folder that nobody may read, "" where it may be otherwise next time."""
    return f"!{error.errno}" if error.errno in (errno.EACCES, errno.EPERM) else ""


def covered(record: Record, path: str) -> bool:
    """Whether the names in a folder that was listed say as much of a path as its kind."""
    folder, name = os.path.split(path)
    state = record.folders.get(folder or os.curdir)
    return state is not None and not state[1].startswith("!") and name.endswith(_NAMES) and not os.path.islink(path)


def _now() -> int:
    return time.time_ns()


def _entries(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as found:
        return list(found)


def _kind(path: str) -> str:
    found = kind(path)
    if _record is not None:
        _record.kinds[path] = found
    return found


def _number(record: Record, error: OSError) -> str:
    number = unusable(error)
    record.doubt |= not number
    return number


def _note_file(record: Record, path: str, state: tuple[Mark, int, str] | None) -> None:
    """None: it changed while it was read, or is no plain file."""
    known = record.files.get(path)
    if state is None or known is not None and known[1:] != state[1:]:
        record.doubt = True
    else:
        record.files[path] = state
