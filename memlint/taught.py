"""What a user has told memlint in the configuration: functions by name, and containers that are bounded."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct, field

from memlint.facts.summary import FunctionId, Summary

_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*(\.?\*)?")

STEP, GRAD_OFF, BOUNDED = "step-functions", "no-grad-functions", "bounded-containers"


class Taught(Struct, frozen=True):
    """The names that are listed for one file.

    Each is `function`, `Class.method` or `NAME`, with as much of the module's dotted path before it as is wanted;
    a `*` at its end stands for any ending.
    """

    step_functions: tuple[str, ...] = ()
    no_grad_functions: tuple[str, ...] = ()
    bounded_containers: tuple[str, ...] = ()

    def lists(self) -> dict[str, tuple[str, ...]]:
        """The names by the key of the configuration that lists them."""
        return {STEP: self.step_functions, GRAD_OFF: self.no_grad_functions, BOUNDED: self.bounded_containers}


class Unknown(Struct, frozen=True):
    """A name that means nothing in the checked files. path: of a file that it was listed for. choices: those there."""

    key: str
    name: str
    path: str
    choices: frozenset[str]


class Lessons(Struct):
    """What the names mean in a project. helpers: names of what switches gradients off where it is used."""

    step: set[FunctionId] = field(default_factory=set)
    grad_off: set[FunctionId] = field(default_factory=set)
    helpers: set[str] = field(default_factory=set)
    bounded: set[str] = field(default_factory=set)
    unknown: list[Unknown] = field(default_factory=list)


def is_name(text: str) -> bool:
    """Whether a text can stand in one of the lists."""
    return _NAME.fullmatch(text) is not None


def learn(
    summaries: Sequence[Summary], taught: Mapping[str, Taught], family: Callable[[str], Iterable[str]]
) -> Lessons:
    """Look the names up. taught: by path. family: a class with its bases and subclasses, which share what they have."""
    lessons = Lessons()
    listed: dict[Taught, list[Summary]] = defaultdict(list)
    for summary in summaries:
        if any(taught.get(summary.path, _NOTHING).lists().values()):
            listed[taught[summary.path]].append(summary)
    if not listed:
        return lessons
    homes: dict[str, set[str]] = defaultdict(set)
    for summary in summaries:
        for cls in summary.classes:
            homes[cls.name].add(_dotted(summary.path))
    for lists, files in listed.items():
        functions = _functions(files, homes, family)
        containers = _containers(files, homes, family)
        calls = [call for file in files for function in file.functions for call in function.calls]
        used = {name for call in calls for name in (call.name, *call.helpers)}
        for name in lists.step_functions:
            found = _matching(name, functions)
            lessons.step.update(*(functions[full] for full in found))
            _note(lessons, STEP, name, found, files, functions)
        for name in lists.no_grad_functions:
            found = _matching(name, functions)
            lessons.grad_off.update(*(functions[full] for full in found))
            lessons.helpers.update(full[1].rpartition(".")[2] for full in found)
            last = name.rpartition(".")[2]
            if not found and last in used:
                lessons.helpers.add(last)  # a helper of a library
            else:
                _note(lessons, GRAD_OFF, name, found, files, functions)
        for name in lists.bounded_containers:
            found = _matching(name, containers)
            lessons.bounded.update(*(containers[full] for full in found))
            _note(lessons, BOUNDED, name, found, files, containers)
    return lessons


_NOTHING = Taught()

# The dotted path of a file, and what it is called within the file: `Class.method`.
_Full = tuple[str, str]


def _functions(
    files: Iterable[Summary], homes: Mapping[str, set[str]], family: Callable[[str], Iterable[str]]
) -> dict[_Full, set[FunctionId]]:
    found: dict[_Full, set[FunctionId]] = defaultdict(set)
    for file in files:
        here = _dotted(file.path)
        for function in file.functions:
            qualname = function.id[1]
            found[here, qualname.replace(".<locals>", "")].add(function.id)
            if function.owner and qualname == f"{function.owner}.{function.name}":
                for name in family(function.owner):
                    for home in homes.get(name, ()):
                        found[home, f"{name}.{function.name}"].add(function.id)
    return found


def _containers(
    files: Iterable[Summary], homes: Mapping[str, set[str]], family: Callable[[str], Iterable[str]]
) -> dict[_Full, set[str]]:
    found: dict[_Full, set[str]] = defaultdict(set)
    for file in files:
        here = _dotted(file.path)
        for made in file.made:
            kind, _, rest = made.holder.partition(":")
            if kind == "class":
                owner, _, attribute = rest.partition(".")
                holders = {f"class:{name}.{attribute}" for name in family(owner)}
                for name in family(owner):
                    for home in homes.get(name, ()):
                        found[home, f"{name}.{attribute}"] |= holders
            elif kind == "module":
                found[here, rest.rpartition(":")[2]].add(made.holder)
            else:
                found[here, rest.replace(".<locals>", "").replace(":", ".")].add(made.holder)
    return found


def _matching(name: str, choices: Iterable[_Full]) -> list[_Full]:
    """What a listed name means. It says the whole of the name within the file, and any part of the file's path."""
    stem = name.removesuffix("*")
    ending = "" if stem == name else ".*" if stem.endswith(".") else "[^.]*"
    pattern = re.compile(rf"(?:.*?\.)??({re.escape(stem)}{ending})")
    found = []
    for path, inner in choices:
        match = pattern.fullmatch(f"{path}.{inner}")
        if match is not None and match.start(1) <= len(path) + 1:
            found.append((path, inner))
    return found


def _note(
    lessons: Lessons, key: str, name: str, found: list[_Full], files: list[Summary], choices: Iterable[_Full]
) -> None:
    if not found:
        inner = frozenset(inner for _, inner in choices if not inner.startswith("<"))
        lessons.unknown.append(Unknown(key, name, files[0].path, inner))


def _dotted(path: str) -> str:
    """`pkg.mod` for `pkg/mod.py`."""
    return path.removesuffix(".py").removesuffix("/__init__").lstrip("./").replace("/", ".")
