"""The questions to files, asked in processes of their own where there are enough of them that it pays."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from memlint import codec, registry
from memlint.cache import Cache
from memlint.proposals import DIED, FileError, FileResult, Question, answer

if TYPE_CHECKING:
    from concurrent.futures import Future, ProcessPoolExecutor

# What processes need is imported where they are started: a run of a few files does without them.

_METHOD = "fork" if sys.platform == "linux" else "spawn"  # elsewhere a forked process may not use all of the system
WORTH = 50_000 if _METHOD == "fork" else 250_000
"""Bytes of source for each worker below which it saves less than it costs: some 0.1 and 0.6 seconds of asking."""

Answer = FileResult | FileError | None


class Task(Struct, frozen=True):
    """A file to ask. number: which one of all that are checked. size: in bytes, as far as it is known."""

    number: int
    path: str
    size: int
    question: Question


class Asked(Struct, frozen=True):
    """Where and with whom tasks are worked on. packages: see `memlint.engine`. cache: None for no cache."""

    packages: frozenset[str]
    cache: Cache | None


class Done(Struct, frozen=True):
    """A task with the bytes of its file and the answer."""

    task: Task
    data: bytes
    answer: Answer


Read = Callable[[Task], "tuple[bytes, str] | FileError"]
"""Gives a file's bytes and the key that its answer is to be cached under, "" for none."""


def available() -> int:
    """How many processes can run at once."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def answers(tasks: Sequence[Task], read: Read, asked: Asked, jobs: int) -> Iterator[Done]:
    """The answers to all tasks, in any order. jobs: how many processes may work at once."""
    jobs = min(jobs, len(tasks), sum(task.size for task in tasks) // WORTH)
    if jobs < 2:
        yield from _here(tasks, read, asked)
        return
    # The largest first, so that none of them is begun when all others are done.
    waiting = sorted(tasks, key=lambda task: (task.size, -task.number))
    while waiting:
        suspects = yield from _round(waiting, read, asked, jobs, ahead=jobs)
        # Which file a worker died of is not known: those that were under way are tried again, one by one.
        while suspects:
            for task in (yield from _round(suspects, read, asked, 1, ahead=0)):
                yield Done(task, b"", FileError(task.path, None, None, DIED))


def _here(tasks: Sequence[Task], read: Read, asked: Asked) -> Iterator[Done]:
    for task in tasks:
        found = read(task)
        if isinstance(found, FileError):
            yield Done(task, b"", found)
            continue
        given = answer(task.path, found[0], task.question, asked.packages)
        if found[1] and not isinstance(given, FileError):
            _keep(asked.cache, found[1], given)
        yield Done(task, found[0], given)


def _keep(cache: Cache | None, key: str, given: FileResult | None) -> bytes | None:
    """Cache an answer. Its bytes, None where it can't be brought into the format: then it is not cached."""
    try:
        packed = codec.encode(given)
    except codec.Unfit:
        return None
    if key and cache is not None:
        cache.put(key, packed)
    return packed


def _round(waiting: list[Task], read: Read, asked: Asked, jobs: int, ahead: int) -> Generator[Done, None, list[Task]]:
    """Work on the waiting tasks, the last first, until none is left or a worker has died: then on which ones.

    ahead: how many more tasks than workers are handed out, so that no worker waits for its next one.
    """
    with _own_modules_only():
        return (yield from _worked_on(waiting, read, asked, jobs, ahead))


def _worked_on(
    waiting: list[Task], read: Read, asked: Asked, jobs: int, ahead: int
) -> Generator[Done, None, list[Task]]:
    import multiprocessing
    from concurrent.futures import FIRST_COMPLETED, wait
    from concurrent.futures.process import BrokenProcessPool

    others = set(multiprocessing.active_children())
    running: dict[Future[Answer | bytes], tuple[Task, bytes]] = {}
    crashed: list[Task] = []
    pool = _pool(jobs, asked)
    if pool is None:
        tasks, waiting[:] = list(waiting), []
        yield from _here(tasks, read, asked)
        return []
    try:
        while running or waiting and not crashed:
            while waiting and not crashed and len(running) < jobs + ahead:
                task = waiting.pop()
                found = read(task)
                if isinstance(found, FileError):
                    yield Done(task, b"", found)
                    continue
                try:
                    running[pool.submit(_work, task.path, *found, task.question)] = (task, found[0])
                except BrokenProcessPool:
                    crashed.append(task)
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                task, data = running.pop(future)
                try:
                    given = future.result()
                except BrokenProcessPool:
                    crashed.append(task)
                    continue
                yield Done(task, data, codec.decode(given) if isinstance(given, bytes) else given)
        pool.shutdown()
    except BaseException:
        # Interrupted: whatever the workers are at, nobody waits for it.
        for process in multiprocessing.active_children():
            if process not in others:
                process.terminate()
        pool.shutdown(cancel_futures=True)
        raise
    return crashed


@contextlib.contextmanager
def _own_modules_only() -> Iterator[None]:
    """Keep Python's modules from being looked for in the current folder first, which may be the checked project's.

    A process that is started anew would do so.
    """
    before = os.environ.get(_SAFE_PATH)
    os.environ[_SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SAFE_PATH]
        else:
            os.environ[_SAFE_PATH] = before


_SAFE_PATH = "PYTHONSAFEPATH"


def _may_start_anew() -> bool:
    """Whether that works; else whether nothing in the current folder goes by the name of one of Python's modules."""
    if sys.flags.isolated or sys.version_info >= (3, 11) and not sys.flags.ignore_environment:
        return True
    return not any(name.partition(".")[0] in sys.stdlib_module_names for name in os.listdir())


def _pool(jobs: int, asked: Asked) -> ProcessPoolExecutor | None:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    method = _METHOD if threading.active_count() == 1 else "spawn"
    if method == "spawn" and not _may_start_anew():
        return None
    context = multiprocessing.get_context(method)
    if method == "fork":
        # What the workers begin with is read once for all of them, instead of once in each.
        registry.rules()
        importlib.import_module("memlint.facts.lower")
    try:
        return ProcessPoolExecutor(jobs, context, _begin, (asked,))
    except (OSError, ImportError, NotImplementedError):
        return None  # a system without semaphores


_asked = Asked(frozenset(), None)


def _begin(asked: Asked) -> None:
    """Set up a worker."""
    global _asked
    _asked = asked
    gc.disable()  # as in the engine
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is the parent that is interrupted, and ends the workers
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(path: str, data: bytes, key: str, question: Question) -> Answer | bytes:
    given = answer(path, data, question, _asked.packages)
    if isinstance(given, FileError):
        return given
    packed = _keep(_asked.cache, key, given)
    return given if packed is None else packed
