"""What earlier runs have found out about files, on the disk: by content, so that nothing in it can be out of date.

One file per entry, named by the digest of all that its content depends on, and with a digest over that content. What is
damaged, foreign or written by another version counts as not there. Writing is atomic; several runs may share a folder.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import sys
import time
import zlib
from collections.abc import Hashable, Iterator
from pathlib import Path

from memlint import __version__, record

# What only some runs need is imported where it is used: a run that says again what is known should start at once.

FOLDER = record.OWN
LIMIT = 400_000_000
"""Bytes that the entries may take together: some ten times the entries of a million lines."""

_MAGIC = b"memlint cache 1\n"
_TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# The cache of memlint. `memlint clean` removes it.\n"
_TAG_NAME = "CACHEDIR.TAG"
_BESIDE = {_TAG_NAME: _TAG, ".gitignore": "# Made by memlint.\n*\n"}
_LARGEST = 500_000_000
_DAY = 86_400


class Cache:
    """The entries in one folder. `prepare` comes before `put`."""

    def __init__(self, folder: str | os.PathLike[str], *, limit: int = LIMIT) -> None:
        self.folder = Path(folder)
        self.problem: OSError | None = None  # what keeps entries from being written
        self._limit = limit

    def get(self, key: str) -> bytes | None:
        """What is stored for a key, None where there is nothing or nothing whole."""
        path = self._path(key)
        try:
            with open(path, "rb") as stream:
                state = os.fstat(stream.fileno())
                data = stream.read(min(state.st_size, _LARGEST))  # room for the largest would be asked for each time
        except OSError:
            return None
        start = len(_MAGIC) + hashlib.blake2b().digest_size
        if not data.startswith(_MAGIC) or data[len(_MAGIC) : start] != _seal(key, data[start:]):
            return None
        self._keep(path, state.st_mtime)
        try:
            return zlib.decompressobj().decompress(data[start:], _LARGEST)
        except zlib.error:
            return None

    def put(self, key: str, content: bytes) -> None:
        """Store the content for a key. What can't be written is not: `problem` says why."""
        if self.problem is not None:
            return
        import tempfile

        packed = zlib.compress(content, 1)
        path = self._path(key)
        try:
            path.parent.mkdir(exist_ok=True)
            if path.parent.is_symlink():
                return  # it leads out of the folder
            number, beside = tempfile.mkstemp(suffix=".tmp", dir=path.parent)
            try:
                with os.fdopen(number, "wb") as stream:
                    stream.write(_MAGIC + _seal(key, packed) + packed)
                os.replace(beside, path)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(beside)
                raise
        except OSError as error:
            self.problem = error

    def trim(self) -> None:
        """Drop the entries that were not used for longest where all take more than they may. For the end of a run."""
        entries = sorted(_entries(self.folder))
        size = sum(entry[1] for entry in entries)
        for _, taken, path in entries if size > self._limit else ():
            if size <= self._limit * 3 // 4:
                break
            with contextlib.suppress(OSError):  # another run may be dropping it, too
                os.unlink(path)
            size -= taken

    def clean(self) -> bool:
        """Remove it; False where there is none. Raises OSError, also where the folder is no cache of memlint's."""
        if not self.folder.is_dir():
            return False
        if self.folder.is_symlink() or _read(self.folder / _TAG_NAME) != _TAG:
            raise OSError(errno.EINVAL, "not a cache of memlint")
        import shutil

        for shard in _shards(self.folder):
            shutil.rmtree(shard)
        for name in _BESIDE:
            (self.folder / name).unlink(missing_ok=True)
        self.folder.rmdir()
        return True

    def prepare(self) -> None:
        """Make the folder, unless it is there; `problem` says why it can't be used."""
        try:
            if self.folder.is_symlink():
                raise OSError(errno.EINVAL, "is a link")  # what is written would land outside of the project
            self._make()
            if not os.access(self.folder, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            self.problem = error

    def scratch(self) -> Path | None:
        """A folder for files that are on their way to another place, None where none can be made.

        It looks like one of those that hold entries, so that what a killed run leaves in it goes as they do.
        """
        self.prepare()
        folder = self.folder / "--"
        try:
            if self.problem is None:
                folder.mkdir(exist_ok=True)
        except OSError as error:
            self.problem = error
        return None if self.problem is not None or folder.is_symlink() else folder

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key[2:]

    def _make(self) -> None:
        try:
            self.folder.mkdir(parents=True)
        except FileExistsError:
            if not self.folder.is_dir():
                raise
            return
        for name, text in _BESIDE.items():
            with open(self.folder / name, "x", encoding="utf-8") as stream:
                stream.write(text)

    def _keep(self, path: Path, used: float) -> None:
        """Note that an entry is in use, once a day."""
        if time.time() - used > _DAY:
            with contextlib.suppress(OSError):
                os.utime(path)


class Keys:
    """Names the entries: digests of all that they depend on."""

    def __init__(self) -> None:
        self._starts: dict[Hashable, hashlib.blake2b] = {}

    def key(self, kind: str, path: str, module: tuple[str, bool], asked: Hashable, data: bytes) -> str:
        """The key of a file's entry. module: what it is called. asked: what the rules were asked and told."""
        if asked not in self._starts:
            self._starts[asked] = hashlib.blake2b(f"{versions()}\n{asked!r}\n".encode(errors="surrogatepass"))
        state = self._starts[asked].copy()
        state.update(f"{(kind, path, module)!r}\n".encode(errors="surrogatepass"))
        state.update(data)
        return state.hexdigest()[:40]


@functools.cache
def versions() -> str:
    """Everything but the file and its settings that a result depends on, memlint's own source included."""
    from importlib import metadata

    source = hashlib.blake2b()
    here = Path(__file__).parent
    rules = here / "rules" if (here / "rules").is_dir() else here.parent / "rules"
    for file in sorted({*here.rglob("*.py"), *rules.glob("*.py")}):
        source.update(file.name.encode())
        source.update(file.read_bytes())
    python = sys.implementation.cache_tag, sys.version_info[:3]
    return repr((__version__, source.hexdigest(), python, metadata.version("libcst"), metadata.version("msgspec")))


def project_folder(start: str) -> str | None:
    """The nearest folder from here upwards that holds a `pyproject.toml` or `.git`; None where none does."""
    return record.nearest(start, ("pyproject.toml", ".git"))


def default_folder(start: str) -> Path:
    """The cache of the project that a folder is in, else of that folder."""
    return Path(project_folder(start) or os.path.abspath(start), FOLDER)


def _seal(key: str, packed: bytes) -> bytes:
    return hashlib.blake2b(packed, key=key.encode()).digest()


def _shards(folder: Path) -> Iterator[str]:
    with os.scandir(folder) as found:
        for shard in found:
            if len(shard.name) == 2 and shard.is_dir(follow_symlinks=False):
                yield shard.path


def _entries(folder: Path) -> Iterator[tuple[float, int, str]]:
    """When it was last used, size and path of each entry, and of what a killed run has left behind."""
    with contextlib.suppress(OSError):
        for shard in _shards(folder):
            with os.scandir(shard) as found:
                for entry in found:
                    with contextlib.suppress(OSError):
                        state = entry.stat(follow_symlinks=False)
                        yield state.st_mtime, state.st_size, entry.path


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
