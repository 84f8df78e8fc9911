"""Putting files on the disk: whole or not at all, and never over somebody else's changes.

A file's new bytes are written elsewhere and moved over it, so that a run that is killed leaves the old or the new ones.
scratch: the folder to write them in, which git ignores; beside the file where there is none on its file system.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from pathlib import Path

from memlint.engine import FileError

# How the runtime's own text begins, in every version of it: so a copy that memlint made is told from a user's file.
RUNTIME_MARK = '"""Helpers that code repaired by memlint calls'

_NO_COPY = "the runtime can't be copied here"


def replace(path: str, old: bytes, new: bytes, scratch: Path | None = None) -> FileError | None:
    """Give a file its new bytes, or say why not. It keeps mode and owner; a link stays a link to the changed file."""
    target = Path(os.path.realpath(path))
    try:
        now = target.read_bytes()
        if now == new:  # by another name of the same file
            return None
        if now != old:
            return FileError(path, None, None, "not written: it was changed meanwhile")
        if not os.access(target, os.W_OK):
            return FileError(path, None, None, "not written: it is read-only")
        _put(target, new, os.stat(target), scratch)
    except OSError as error:
        return FileError(path, None, None, f"not written: {error.strerror or error}")
    return None


def vendor(path: str, scratch: Path | None = None) -> FileError | None:
    """Copy the runtime to `path`, over an earlier copy of it but over nothing else."""
    change = vendoring(path)
    if isinstance(change, FileError):
        return change
    old, new = change
    return create(path, new, scratch) if old is None else replace(path, old, new, scratch)


def vendoring(path: str) -> tuple[bytes | None, bytes] | FileError:
    """What copying the runtime to `path` would make of it: the old bytes, None for no file, and the new ones."""
    target = Path(os.path.realpath(path))
    try:
        old = target.read_bytes() if target.exists() else None
        if old is None and not target.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    except OSError as error:
        return FileError(path, None, None, f"{_NO_COPY}: {error.strerror or error}")
    if old is not None and not old.startswith(RUNTIME_MARK.encode()):
        return FileError(path, None, None, f"{_NO_COPY}: the file is not a copy of it")
    return old, Path(__file__).with_name("runtime.py").read_bytes()


def create(path: str, new: bytes, scratch: Path | None = None) -> FileError | None:
    """Make a new file, or say why not."""
    target = Path(os.path.realpath(path))
    try:
        if target.exists():
            return FileError(path, None, None, "not written: it was made meanwhile")
        _put(target, new, None, scratch)
    except OSError as error:
        return FileError(path, None, None, f"not written: {error.strerror or error}")
    return None


def remove(path: str, old: bytes) -> FileError | None:
    """Take a file away, or say why not."""
    target = Path(os.path.realpath(path))
    try:
        if target.read_bytes() != old:
            return FileError(path, None, None, "not removed: it was changed meanwhile")
        target.unlink()
    except OSError as error:
        return FileError(path, None, None, f"not removed: {error.strerror or error}")
    return None


def _put(target: Path, data: bytes, like: os.stat_result | None, scratch: Path | None) -> None:
    """like: whose mode and owner the file gets, None for those of a new file."""
    if scratch is not None:
        with contextlib.suppress(OSError):  # not there, full, or on another file system
            _move(target, data, like, scratch)
            return
    _move(target, data, like, target.parent)


def _move(target: Path, data: bytes, like: os.stat_result | None, folder: Path) -> None:
    """Write in a folder, then move over the target."""
    number, beside = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=folder)
    try:
        with os.fdopen(number, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        if like is None:
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(beside, 0o666 & ~mask)
        else:
            made = os.stat(beside)
            if (made.st_uid, made.st_gid) != (like.st_uid, like.st_gid):
                with contextlib.suppress(OSError):  # only the superuser may give files away
                    os.chown(beside, like.st_uid, like.st_gid)
            os.chmod(beside, stat.S_IMODE(like.st_mode))
        os.replace(beside, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise
