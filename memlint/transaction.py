"""Changing files for a while, so that they can be put back, by this run or, if it is killed, by a later one.

Before a file is changed, what it holds is copied to a folder of the project's cache, and what it will hold is noted in
a journal there. The journal is removed when the changes are to stay. What it names is data from a folder of the checked
project: it is only ever used to put files of this project back, and only those that still hold what memlint wrote.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from memlint import disk
from memlint.cache import FOLDER as CACHE
from memlint.cache import Cache, default_folder
from memlint.config import display_path
from memlint.engine import FileError
from memlint.roots import is_below

FOLDER = "undo"
_JOURNAL = "journal.json"
_VERSION = "memlint-undo"

Content = bytes | None
"""What a file holds; None where there is no file."""


class TransactionError(Exception):
    """What can't be changed, or put back: one line for the user."""


class _Entry(Struct):
    """A file that is changed. number: of its copy. written: the digests of all that it was given."""

    path: str
    number: int
    old: Content
    written: list[str]
    state: os.stat_result | None
    stamp: int


class Transaction:
    """Files of the project that the current folder is in, and what they hold now, held before and will hold."""

    def __init__(self) -> None:
        self.root = project()
        self.folder = place(self.root)
        self._cache = Cache(self.folder.parent)
        self._scratch: Path | None = None
        self._entries: dict[str, _Entry] = {}
        self._now: dict[str, Content] = {}

    def require(self, paths: Iterable[str]) -> None:
        """Raise TransactionError where one of the files is not of this project: its copy would not be found again."""
        for path in paths:
            if not is_below(os.path.realpath(path), str(self.root)):
                raise TransactionError(f"{path} lies outside of this project; run memlint where it belongs")

    def begin(self) -> None:
        """Make the place for the copies. Raises TransactionError."""
        self._scratch = self._cache.scratch()
        try:
            if self._cache.problem is not None:
                raise self._cache.problem
            if self.folder.is_dir() and not self.folder.is_symlink() and not pending(self.root):
                shutil.rmtree(self.folder)  # made, and not yet used, by a run that was killed
            self.folder.mkdir(mode=0o700)
        except OSError as error:
            raise _no_place(self.folder, error) from None

    def put(self, changes: Mapping[str, tuple[Content, bytes]]) -> None:
        """Give files their new content; what else was changed goes back to what it was. Raises TransactionError.

        changes: by path, what stood there at the beginning, and what is to stand there.
        """
        self.check()
        for path, (old, _) in changes.items():
            if path not in self._entries:
                self._add(path, old)
        for path, (_, new) in changes.items():
            digest = _digest(new)
            if digest not in self._entries[path].written:
                self._entries[path].written.append(digest)
        self._note()
        wanted = {path: changes[path][1] if path in changes else entry.old for path, entry in self._entries.items()}
        # What is made comes first and what is taken away last: other files import it.
        for path in sorted(wanted, key=lambda path: (wanted[path] is None, self._entries[path].old is not None)):
            self._change(self._entries[path], wanted[path])

    def check(self) -> None:
        """Raise TransactionError where somebody else has changed a file meanwhile."""
        for path, content in self._now.items():
            if _read(path) != content:
                raise TransactionError(f"{path} was changed by somebody else while fixes were tried")

    def keep(self) -> None:
        """Let the files as they are, and forget what they were."""
        with contextlib.suppress(OSError):
            (self.folder / _JOURNAL).unlink(missing_ok=True)
            shutil.rmtree(self.folder)

    def undo(self) -> list[FileError]:
        """Put back what the files held; says of which it can't, because somebody else has changed them meanwhile."""
        errors = _put_all_back(self._entries.values(), self.folder, self._scratch)
        if not errors:
            self.keep()
        return errors

    def _add(self, path: str, old: Content) -> None:
        self.require([path])
        if _read(path) != old:
            raise TransactionError(f"{path} was changed meanwhile")
        number = len(self._entries)
        state = None if old is None else os.stat(path)
        entry = _Entry(path, number, old, [], state, 0 if state is None else int(state.st_mtime))
        if old is not None:
            try:
                _write(self.folder / str(number), old)
            except OSError as error:
                raise _no_place(self.folder, error) from None
        self._entries[path] = entry
        self._now[path] = old

    def _note(self) -> None:
        files = [
            {
                "path": os.path.relpath(os.path.realpath(entry.path), self.root).replace(os.sep, "/"),
                "copy": None if entry.old is None else str(entry.number),
                "written": entry.written,
            }
            for entry in self._entries.values()
        ]
        try:
            beside = self.folder / f"{_JOURNAL}.tmp"
            _write(beside, json.dumps({_VERSION: 1, "files": files}, indent=2).encode())
            os.replace(beside, self.folder / _JOURNAL)
        except OSError as error:
            raise _no_place(self.folder, error) from None

    def _change(self, entry: _Entry, new: Content) -> None:
        old, self._now[entry.path] = self._now[entry.path], new
        if old == new:
            return
        error = _changed(entry.path, old, new, self._scratch)
        if error is not None:
            raise TransactionError(f"{error.path}: {error.message}")
        if new is not None:
            self._stamp(entry, new)

    def _stamp(self, entry: _Entry, new: bytes) -> None:
        """Give each content a time of its own. Python takes a compiled file for current by the second and the size."""
        if entry.state is not None and new == entry.old:
            _set_time(entry.path, entry.state.st_mtime_ns)
            return
        now = int(os.stat(entry.path).st_mtime)
        if now <= entry.stamp:
            now = entry.stamp + 1
            _set_time(entry.path, now * 10**9)
        entry.stamp = now


def project() -> Path:
    """The project that the current folder is in, by its real path."""
    return default_folder(os.path.realpath(os.curdir)).parent


def place(root: Path) -> Path:
    """Where the copies of a project's files are kept."""
    return root / CACHE / FOLDER


def pending(root: Path) -> bool:
    """Whether a run that tried changes out in this project has not ended: it goes on, or it was killed."""
    return (place(root) / _JOURNAL).exists()


def left_changed(root: Path) -> list[str]:
    """What such a run has changed and not put back. Raises TransactionError."""
    return [entry.path for entry in _entries(root, place(root)) if _read(entry.path) != entry.old]


def restore(root: Path) -> tuple[list[str], list[FileError]]:
    """Put back what such a run has changed: the paths, and what can't be put back. Raises TransactionError."""
    folder = place(root)
    if any(path.is_symlink() for path in (folder.parent, folder, folder / _JOURNAL)):
        raise TransactionError(f"{display_path(str(folder))}: is a link")
    entries = _entries(root, folder)
    before = [_read(entry.path) for entry in entries]
    errors = _put_all_back(entries, folder, Cache(folder.parent).scratch())
    if not errors:
        (folder / _JOURNAL).unlink()
        shutil.rmtree(folder)
    return [entry.path for entry, content in zip(entries, before, strict=True) if _read(entry.path) != content], errors


def _entries(root: Path, folder: Path) -> list[_Entry]:
    """What a journal says, if it can be believed."""
    shown = display_path(str(folder / _JOURNAL))
    try:
        return [_entry(item, root, folder) for item in _items((folder / _JOURNAL).read_bytes())]
    except OSError as error:
        raise TransactionError(f"{shown}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise TransactionError(f"{shown}: not a journal of memlint: {error}") from None


def _items(data: bytes) -> list[Any]:
    document = json.loads(data)
    if not isinstance(document, dict) or set(document) != {_VERSION, "files"} or document[_VERSION] != 1:
        raise ValueError("unknown version")
    if not isinstance(document["files"], list):
        raise ValueError("no list of files")
    return document["files"]


def _entry(item: Any, root: Path, folder: Path) -> _Entry:
    if not isinstance(item, dict) or set(item) != {"path", "copy", "written"}:
        raise ValueError("an entry that is none")
    path, copy, written = item["path"], item["copy"], item["written"]
    if not isinstance(path, str) or not isinstance(written, list) or "\0" in path:
        raise ValueError("an entry that is none")
    real = os.path.realpath(root / path)
    # Above all git's own files: some of them say what git runs.
    if not is_below(real, str(root)) or any(part.casefold() == ".git" for part in Path(real).relative_to(root).parts):
        raise ValueError(f"{json.dumps(path)} is no file of this project")
    if copy is not None and not (isinstance(copy, str) and copy.isascii() and copy.isdigit() and len(copy) < 10):
        raise ValueError("a copy that is none")
    old = None if copy is None else _copy(folder / copy)
    return _Entry(display_path(real), int(copy or 0), old, [text for text in written if isinstance(text, str)], None, 0)


def _copy(path: Path) -> bytes:
    if path.is_symlink():
        raise ValueError(f"{path.name} is a link")
    return path.read_bytes()


def _put_all_back(entries: Iterable[_Entry], folder: Path, scratch: Path | None) -> list[FileError]:
    """What is only taken away goes last: other files import it."""
    ordered = sorted(entries, key=lambda entry: entry.old is None)
    return [error for entry in ordered if (error := _put_back(entry, folder, scratch)) is not None]


def _put_back(entry: _Entry, folder: Path, scratch: Path | None) -> FileError | None:
    now = _read(entry.path)
    if now == entry.old:
        return None
    kept = "there was no such file before" if entry.old is None else f"what it was is in {_shown(folder, entry)}"
    if now is None or _digest(now) not in entry.written:
        return FileError(entry.path, None, None, f"not put back: somebody else has changed it; {kept}")
    error = _changed(entry.path, now, entry.old, scratch)
    if error is not None:
        return FileError(entry.path, None, None, f"{error.message}; {kept}")
    if entry.state is not None:
        _set_time(entry.path, entry.state.st_mtime_ns)
    return None


def _changed(path: str, old: Content, new: Content, scratch: Path | None) -> FileError | None:
    if new is None:
        return None if old is None else disk.remove(path, old)
    return disk.create(path, new, scratch) if old is None else disk.replace(path, old, new, scratch)


def _set_time(path: str, nanoseconds: int) -> None:
    with contextlib.suppress(OSError):  # a file of somebody else's
        os.utime(path, ns=(nanoseconds, nanoseconds))


def _shown(folder: Path, entry: _Entry) -> str:
    return display_path(str(folder / str(entry.number)))


def _read(path: str) -> Content:
    """What stands in a file; None where there is none, or none that can be read."""
    try:
        return Path(path).read_bytes()
    except OSError:
        return None


def _write(path: Path, data: bytes) -> None:
    with open(path, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _no_place(folder: Path, error: OSError) -> TransactionError:
    reason = error.strerror or str(error)
    return TransactionError(f"no copies of the files can be kept in {display_path(str(folder))}: {reason}")
