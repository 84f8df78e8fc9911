"""memlint in this process, on texts instead of files: what the command line would report with every rule selected."""

from __future__ import annotations

import gc
import multiprocessing
import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from memlint import registry, suppress
from memlint.engine import FileResult, judge, propose
from memlint.project import Project
from memlint.rule import Tier
from memlint.source import Source, Unreadable

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, order=True)
class Said:
    """A finding, as far as it is counted."""

    path: str
    line: int
    rule: str
    proved: bool
    message: str = ""

    def __str__(self) -> str:
        return f"{self.rule}:{self.line}:{'proved' if self.proved else 'suspected'}"


def packages(paths: Iterable[str]) -> frozenset[str]:
    """The folders among these paths that are packages, as far up as they go: what the engine asks the disk for."""
    known = set(paths)
    found: set[str] = set()
    for path in known:
        folder = posixpath.dirname(path)
        while folder and folder not in found and f"{folder}/__init__.py" in known:
            found.add(folder)
            folder = posixpath.dirname(folder)
    return frozenset(found)


def read(path: str, data: bytes, folders: frozenset[str], rules: bool = True) -> FileResult | None:
    """What one file contributes; nothing where it can't be parsed. rules False: only what others need to know of it."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        source = Source(path, data)
        if suppress.skips_file(source.text):
            return None
        return propose(source, list(registry.rules().values()) if rules else [], folders)
    except (Unreadable, RecursionError):
        return None
    finally:
        if collecting:
            gc.enable()


def settle(results: Iterable[FileResult], only: frozenset[str] | None = None) -> list[Said]:
    """The findings of files that belong together. only: the paths whose findings are wanted."""
    results = list(results)
    project = Project(result.summary for result in results)
    said = []
    for result in results:
        for proposal in result.proposals:
            if only is not None and proposal.place.path not in only:
                continue
            judged = judge(proposal, project)
            if judged is not None:
                finding = judged[0]
                place = finding.place
                said.append(Said(place.path, place.line, finding.rule, finding.tier == Tier.PROVED, finding.message))
    return sorted(said)


def check(files: Mapping[str, bytes]) -> list[Said]:
    """The findings of a few files."""
    folders = packages(files)
    results = [read(path, data, folders) for path, data in files.items()]
    return settle([result for result in results if result is not None])


def spread(function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]], processes: int | None) -> list[Result]:
    """What a function makes of each job's arguments, several at a time; with one process in this one."""
    if processes == 1:
        return [function(*job) for job in jobs]
    with multiprocessing.Pool(processes) as pool:
        return pool.starmap(function, jobs, chunksize=1)
