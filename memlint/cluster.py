"""The questions to files, asked on a Dask cluster: for trees that are too much for one machine.

Files and answers travel as bytes, so that workers need not see the files and any of them may be lost. Everything about
processes, connections and retries is Dask's own, through its futures. (Not through `Client.get_executor`: its futures
wait for ever when a worker dies while the result is fetched, which distributed 2026.8.0 still does.)
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import platform
import time
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import CancelledError
from importlib import metadata
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import msgspec

from memlint import __version__, codec
from memlint.cache import versions
from memlint.config import ConfigError
from memlint.proposals import DIED, FileError, Question, answer
from memlint.workers import Asked, Done, Read, Task

if TYPE_CHECKING:
    from distributed import Client, Future

BATCH = 250_000
"""Bytes of source that make one task of the cluster: some tenths of a second of work, far more than its scheduling."""
LEAST = 20_000
"""The same where there are few bytes for many workers."""

_CONNECTING = 5  # seconds
_ALONE = 10.0  # seconds without any worker before the user is told
_PATIENCE = 600.0  # seconds without any worker before it is given up: a new machine may take minutes


class _Batch(msgspec.Struct, array_like=True):
    """Files to ask. versions: of whoever wants to know. files: path, bytes, and which of the questions."""

    versions: str
    packages: list[str]
    questions: list[Question]
    files: list[tuple[str, bytes, int]]


class _Answers(msgspec.Struct, array_like=True):
    """What a worker says: for each file its answer; none where it can't be brought into the format.

    other: what the worker runs, where that is not the same as here.
    """

    files: list[bytes | FileError | None] = []
    other: str = ""


_Read = tuple[Task, bytes, str]


class Cluster:
    """A connection to a Dask cluster.

    address: the scheduler's, as Dask writes it, or the path of the JSON file that a scheduler writes.
    warn: shows one line to the user.
    """

    def __init__(self, address: str, warn: Callable[[str], None]) -> None:
        self._shown = f"--executor dask:{address}"
        self._warn = warn
        self._client = self._connected(address)

    def close(self) -> None:
        """Leave the cluster; it forgets what it was asked."""
        self._client.close(timeout=_CONNECTING)

    def answers(self, tasks: Sequence[Task], read: Read, asked: Asked) -> Iterator[Done]:
        """The answers to all tasks, in any order."""
        if not tasks:
            return
        threads = self._threads()
        share = sum(task.size for task in tasks) // max(4 * threads, 1)
        # The largest first, so that none of them is begun when all others are done.
        waiting = _batches(sorted(tasks, key=lambda task: (-task.size, task.number)), min(BATCH, max(LEAST, share)))
        suspects: list[Task] = []
        yield from self._round(waiting, read, asked, suspects, alone=False)
        # Which file a worker died of is not known, and another one's may have died with it: one by one they tell.
        dead: list[Task] = []
        yield from self._round(([task] for task in suspects), read, asked, dead, alone=True)
        for task in dead:
            yield Done(task, b"", FileError(task.path, None, None, DIED))

    def _connected(self, address: str) -> Client:
        try:
            import dask
            from distributed import Client
        except ImportError:
            raise ConfigError(f"{self._shown} needs Dask: pip install 'torch-memlint[scale]'") from None
        for name in ("distributed", "distributed.client", "tornado", "tornado.application"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # what goes wrong is said in one line, here
        dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 GB"})  # a file may be large
        if address.endswith(".json"):
            try:
                with open(address, encoding="utf-8") as stream:
                    address = str(json.load(stream)["address"])
            except OSError as error:
                raise ConfigError(f"{self._shown}: can't be read: {error.strerror}") from None
            except (KeyError, TypeError, ValueError):
                raise ConfigError(f"{self._shown}: not the file of a scheduler") from None
        try:
            if asyncio.run(asyncio.wait_for(_kind(address), _CONNECTING)) != "Scheduler":
                raise ValueError("another part of Dask answers")
            return Client(address, timeout=_CONNECTING, name="memlint")
        except (TimeoutError, asyncio.TimeoutError):
            reason = f"no answer in {_CONNECTING} seconds"
        except (OSError, TypeError, ValueError, NotImplementedError) as error:
            reason = " ".join(str(error).split())
        raise ConfigError(f"{self._shown}: no scheduler: {reason}")

    def _threads(self) -> int:
        """How many tasks the cluster can work on at once, now."""
        with self._connection():
            return sum(self._client.nthreads().values())

    @contextlib.contextmanager
    def _connection(self) -> Iterator[None]:
        """Around what asks the scheduler: says so where it is gone."""
        from distributed.client import ClosedClientError

        try:
            yield
        except (OSError, CancelledError, ClosedClientError):
            raise ConfigError(f"{self._shown}: the connection to the scheduler was lost") from None

    def _round(
        self, waiting: Iterator[list[Task]], read: Read, asked: Asked, killed: list[Task], *, alone: bool
    ) -> Iterator[Done]:
        """Ask the files of all batches. killed: takes those whose workers died again and again.

        alone: one batch at a time. Otherwise enough are under way that no worker waits; all would fill the scheduler.
        """
        from distributed import KilledWorker

        running: dict[Future[bytes], list[_Read]] = {}
        room, looked = 1, 0.0
        more = True
        try:
            while more or running:
                if not alone and time.monotonic() - looked > 1:
                    room, looked = 2 * self._threads() + 1, time.monotonic()
                while more and len(running) < room:
                    batch = next(waiting, None)
                    more = batch is not None
                    found = []
                    for task in batch or ():
                        content = read(task)
                        if isinstance(content, FileError):
                            yield Done(task, b"", content)
                        else:
                            found.append((task, *content))
                    packed = _packed(found, asked.packages)
                    if packed is None:
                        yield from _here(found, asked)
                    elif found:
                        with self._connection():
                            running[self._client.submit(ask, packed, pure=False)] = found
                for future in self._some(running):
                    found = running.pop(future)
                    try:
                        with self._connection():
                            said = future.result()
                    except KilledWorker:
                        killed += [task for task, _, _ in found]
                        continue
                    yield from self._taken(said, found, asked)
        finally:
            if running:  # interrupted: whatever the workers are at, nobody waits for it
                with contextlib.suppress(Exception):
                    self._client.cancel(list(running))

    def _some(self, running: Collection[Future[bytes]]) -> Collection[Future[bytes]]:
        """Those that are done, at least one. The user is told, and in the end not kept, where no worker does them."""
        from distributed import wait

        start = time.monotonic()
        told = False
        while running:
            with self._connection(), contextlib.suppress(asyncio.TimeoutError):
                done: set[Future[bytes]] = wait(list(running), timeout=_ALONE, return_when="FIRST_COMPLETED").done
                return done
            if self._threads():
                start = time.monotonic()
            elif time.monotonic() - start > _PATIENCE:
                raise ConfigError(f"{self._shown}: the cluster has no workers")
            elif not told:
                self._warn(f"{self._shown}: waiting, the cluster has no workers")
                told = True
        return ()

    def _taken(self, packed: bytes, found: list[_Read], asked: Asked) -> Iterator[Done]:
        """The answers of a worker, taken out and cached."""
        answers = msgspec.msgpack.decode(zlib.decompress(packed), type=_Answers)
        if answers.other:
            here = _stack() if answers.other != _stack() else "the same with other source code"
            raise ConfigError(f"{self._shown}: a worker has {answers.other}; here it is {here}")
        for (task, data, key), given in zip(found, answers.files, strict=True):
            if given is None:
                yield from _here([(task, data, key)], asked)
            elif isinstance(given, FileError):
                yield Done(task, data, given)
            else:
                if key and asked.cache is not None:
                    asked.cache.put(key, given)
                yield Done(task, data, codec.decode(given))


async def _kind(address: str) -> str:
    """What answers at an address. Asked first, because a client would wait for ever where something else does."""
    from distributed import Security
    from distributed.core import rpc

    async with rpc(address, connection_args=Security().get_connection_args("client")) as other:
        return str((await other.identity())["type"])


def ask(packed: bytes) -> bytes:
    """What a worker does. Its answers are three times as long as the files, but a third when they are compressed."""
    return zlib.compress(_encode(_answered(packed)), 1)


def _answered(packed: bytes) -> _Answers:
    batch = msgspec.msgpack.decode(packed, type=_Batch)
    if batch.versions != versions():
        return _Answers(other=_stack())
    packages = frozenset(batch.packages)
    return _Answers([_asked(path, data, batch.questions[number], packages) for path, data, number in batch.files])


def _asked(path: str, data: bytes, question: Question, packages: frozenset[str]) -> bytes | FileError | None:
    given = answer(path, data, question, packages)
    if isinstance(given, FileError):
        return given
    try:
        return codec.encode(given)
    except codec.Unfit:
        return None


def _here(found: Sequence[_Read], asked: Asked) -> Iterator[Done]:
    """What can't travel, such as a name that is no text, is asked in this process."""
    for task, data, _ in found:
        yield Done(task, data, answer(task.path, data, task.question, asked.packages))


def _batches(tasks: Sequence[Task], size: int) -> Iterator[list[Task]]:
    """The tasks in their order, together as many as have so many bytes."""
    batch: list[Task] = []
    for task in tasks:
        if batch and sum(other.size for other in batch) + task.size > size:
            yield batch
            batch = []
        batch.append(task)
    if batch:
        yield batch


def _packed(found: Sequence[_Read], packages: frozenset[str]) -> bytes | None:
    """The files of a batch with what they are asked; None where the format can't hold that."""
    questions = list({id(task.question): task.question for task, _, _ in found}.values())
    numbers = {id(question): number for number, question in enumerate(questions)}
    above = {str(folder) for task, _, _ in found for folder in PurePosixPath(task.path).parents}
    files = [(task.path, data, numbers[id(task.question)]) for task, data, _ in found]
    try:
        return _encode(_Batch(versions(), sorted(above & packages), questions, files))
    except (TypeError, ValueError, OverflowError):
        return None


def _encode(value: _Batch | _Answers) -> bytes:
    return msgspec.msgpack.encode(value)


def _stack() -> str:
    """What a result depends on, in words."""
    libraries = ", ".join(f"{name} {metadata.version(name)}" for name in ("libcst", "msgspec"))
    return f"memlint {__version__} with Python {platform.python_version()}, {libraries}"
