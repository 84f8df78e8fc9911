"""The files of one run, and what earlier runs have found out about them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping

from memlint import codec, record
from memlint.cache import Cache, Keys
from memlint.facts import FileFacts
from memlint.facts.scopes import module_name
from memlint.proposals import FileError, Question
from memlint.rule import Place, Spot
from memlint.source import Source, Unreadable
from memlint.workers import Done, Task


class Known:
    """Reads files, and finds the cached answers for them by their content.

    packages: see `memlint.engine`. overlay: contents that replace the disk's; what is said of them is not cached.
    places: where files lie whose path is not from the current folder.
    """

    def __init__(
        self, cache: Cache | None, packages: frozenset[str], overlay: Mapping[str, bytes], places: Mapping[str, str]
    ) -> None:
        self._cache, self._packages, self._overlay, self._at = cache, packages, overlay, places
        self._keys = Keys()

    def look_up(self, number: int, path: str, question: Question, *, whole: bool) -> Done | Task:
        """What is known of a file, or the task to find it out. whole: with its proposals."""
        if self._cache is None:
            return Task(number, path, self.size(path), question)
        task = Task(number, path, 0, question)
        found = self.read(task)
        if isinstance(found, FileError):
            return Done(task, b"", found)
        data, _ = found
        packed = self._cache.get(self._key("answer", path, question, data))
        try:
            if packed is not None:
                known = codec.decode(packed) if whole else codec.decode_summary(packed)
                if known is None or known.is_of(path):  # else somebody has put another file's answer there
                    return Done(task, data, known)
        except codec.Unfit:
            pass  # asked again, and written anew
        return Task(number, path, len(data), question)

    def read(self, task: Task) -> tuple[bytes, str] | FileError:
        """The bytes of a file, and the key to store its answer under: "" for none."""
        try:
            data = self.content(task.path)
        except OSError as error:
            return FileError(task.path, None, None, f"can't be read: {error.strerror or error}")
        stored = self._cache is not None and task.path not in self._overlay
        return data, self._key("answer", task.path, task.question, data) if stored else ""

    def key(self, path: str, question: Question) -> str:
        """What the answer of a file is cached under: "" where it can't be read."""
        found = self.read(Task(0, path, 0, question))
        return "" if isinstance(found, FileError) else found[1]

    def places(self, path: str, spots: Iterable[Spot]) -> dict[Spot, Place]:
        """Where events of a file stand. It is read once more, unless the places were asked for in an earlier run."""
        wanted = {(spot.scope, spot.events, spot.index): spot for spot in spots}
        try:
            data = self.content(path)
        except OSError:
            return {}
        key = self._key("places", path, Question(()), data)
        known = self._places(key)
        if not wanted.keys() <= known.keys():
            try:
                facts = FileFacts(Source(path, data), self._packages)
                known = {**known, **{event: facts.spot(spot) for event, spot in wanted.items()}}
                facts.close()
            except (Unreadable, IndexError):
                return {}  # changed since it was checked: the finding stands, without this part of its reasons
            if self._cache is not None and path not in self._overlay:
                with contextlib.suppress(codec.Unfit):  # a name that is no text: looked up again in the next run
                    self._cache.put(key, codec.encode_places(known))
        return {spot: known[event] for event, spot in wanted.items()}

    def _places(self, key: str) -> dict[tuple[int, str, int], Place]:
        packed = self._cache.get(key) if self._cache is not None else None
        try:
            return codec.decode_places(packed) if packed is not None else {}
        except codec.Unfit:
            return {}

    def content(self, path: str) -> bytes:
        """The bytes of a file. Raises OSError."""
        return self._overlay[path] if path in self._overlay else record.read(self._at.get(path, path))

    def size(self, path: str) -> int:
        """The bytes of a file; 0 where it can't be read."""
        try:
            return len(self._overlay[path]) if path in self._overlay else os.stat(self._at.get(path, path)).st_size
        except OSError:
            return 0  # reading it will say why

    def _key(self, kind: str, path: str, question: Question, data: bytes) -> str:
        return self._keys.key(kind, path, module_name(path, self._packages), question, data)
