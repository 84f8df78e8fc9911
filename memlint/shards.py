"""A share of the questions to files, answered on one machine and taken to another in a file.

What is in such a file are entries of the cache, so that nothing depends on it: a check that has them asks fewer files,
and finds what it would find without them. Reading runs nothing: the file holds names, numbers and bytes.
"""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from memlint.around import Together
from memlint.cache import Cache, versions
from memlint.config import ConfigError, display_path
from memlint.engine import Group
from memlint.workers import Asked, Task, answers

if TYPE_CHECKING:
    from memlint.cluster import Cluster

_MAGIC = b"memlint shard 1\n"
_KEY = re.compile(r"[0-9a-f]{40}")
_LARGEST = 500_000_000
_SEAL = hashlib.blake2b().digest_size


class Options(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True):
    """The options of `check` that say which files are asked what; the names are those of the command line."""

    paths: list[str]
    exclude: list[str]
    force_exclude: bool
    select: list[str] | None
    extend_select: list[str]
    ignore: list[str]
    config: str | None
    isolated: bool


class Shard(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """One of `count` parts of a check. entries: of the cache, by their keys."""

    versions: str
    number: int
    count: int
    options: Options
    entries: dict[str, bytes]


def share(
    groups: Sequence[Together],
    number: int,
    count: int,
    cache: Cache,
    jobs: int,
    cluster: Cluster | None,
    progress: Callable[[int, int], None],
) -> tuple[dict[str, bytes], int, int]:
    """The entries of one share of all files, asked where the cache lacks them; how many files that is, of how many."""
    cache.prepare()
    if cache.problem is not None:
        raise ConfigError(f"{cache.folder}: {cache.problem.strerror or cache.problem}; what is found has to be kept")
    loads = [0] * count
    entries: dict[str, bytes] = {}
    opened = [Group(group, {}, cache) for group in groups]
    chosen = [list(_chosen(these, loads, number)) for these in opened]
    mine, done = sum(map(len, chosen)), 0
    for these, places in zip(opened, chosen, strict=True):
        questions = [these.questions[place] for place in places]
        seen = [these.known.look_up(*question, whole=True) for question in questions]
        tasks = [task for task in seen if isinstance(task, Task)]
        done += len(seen) - len(tasks)
        asked = Asked(these.packages, cache)
        read = these.known.read
        for _ in cluster.answers(tasks, read, asked) if cluster else answers(tasks, read, asked, jobs):
            done += 1
            progress(done, mine)
        for _, path, question in questions:
            key = these.known.key(path, question)
            packed = cache.get(key) if key else None
            if packed is not None:  # what could not be checked will be said by whoever puts the shards together
                entries[key] = packed
    return entries, mine, sum(len(these.questions) for these in opened)


def _chosen(these: Group, loads: list[int], number: int) -> Iterator[int]:
    """The files of one share: the largest first, each to whoever has least, so that all machines agree."""
    sizes = [(these.known.size(path), path, place) for place, path, _ in these.questions]
    for size, _, place in sorted(sizes, key=lambda item: (-item[0], item[1])):
        least = loads.index(min(loads))
        loads[least] += size + 1
        if least == number - 1:
            yield place


def write(path: str, shard: Shard) -> None:
    """Raises ConfigError where it can't be written."""
    packed = zlib.compress(msgspec.msgpack.encode(shard), 1)
    try:
        Path(path).write_bytes(_MAGIC + hashlib.blake2b(packed).digest() + packed)
    except OSError as error:
        raise ConfigError(f"{display_path(path)}: can't be written: {error.strerror}") from None


def read(paths: Sequence[str]) -> list[Shard]:
    """All shards of one check. Raises ConfigError where they are not that."""
    shards = {path: _read(path) for path in paths}
    first, whole = next(iter(shards.items()))
    seen: dict[int, str] = {}
    for path, shard in shards.items():
        shown = display_path(path)
        if shard.versions != versions():
            raise ConfigError(f"{shown}: written by another memlint, or another version of Python or a library")
        if (shard.count, shard.options) != (whole.count, whole.options):
            raise ConfigError(f"{shown}: not of the same check as {display_path(first)}")
        if shard.number in seen:
            raise ConfigError(
                f"{shown}: shard {shard.number} of {shard.count}, like {display_path(seen[shard.number])}"
            )
        seen[shard.number] = path
    missing = sorted({*range(1, whole.count + 1)} - seen.keys())
    if missing:
        listed = ", ".join(map(str, missing))
        raise ConfigError(f"shard {listed} of {whole.count} {'is' if len(missing) == 1 else 'are'} missing")
    return list(shards.values())


def _read(path: str) -> Shard:
    try:
        with open(path, "rb") as stream:
            data = stream.read(_LARGEST)
    except OSError as error:
        raise ConfigError(f"{display_path(path)}: can't be read: {error.strerror}") from None
    start = len(_MAGIC) + _SEAL
    packed = data[start:]
    if data[:start] == _MAGIC + hashlib.blake2b(packed).digest():
        try:
            shard = msgspec.msgpack.decode(zlib.decompressobj().decompress(packed, _LARGEST), type=Shard)
        except (zlib.error, msgspec.DecodeError):
            shard = None
        if shard is not None and 1 <= shard.number <= shard.count and all(map(_KEY.fullmatch, shard.entries)):
            return shard
    raise ConfigError(f"{display_path(path)}: damaged, or no shard of memlint")


def fill(folder: str | os.PathLike[str], shards: Sequence[Shard]) -> Cache:
    """A cache that holds what the shards hold. What came from elsewhere does not outlive the run in the user's own."""
    cache = Cache(folder, limit=100 * _LARGEST)
    cache.prepare()
    for shard in shards:
        for key, packed in shard.entries.items():
            cache.put(key, packed)
    return cache
