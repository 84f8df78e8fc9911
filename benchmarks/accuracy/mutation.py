"""What memlint says to programs whose one protection was taken out, and to the programs as they were."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.accuracy import check
from benchmarks.accuracy.check import Said
from benchmarks.accuracy.measure import Weight, weigh_all
from benchmarks.accuracy.mutate import ANYWHERE, BY_DEFINITION, Mutant, mutants

PROGRAMS = Path(__file__).parent / "programs"
NEAR = 3
"""How many lines from the place a finding may stand."""

DEFECT, HARMLESS, BROKEN, UNRUN = "defect", "harmless", "broken", "not run"


@dataclass(frozen=True, slots=True)
class Judged:
    """A mutant, what it turned out to be, and what memlint says to it that it didn't say to the original.

    fitting: by one of the operator's rules, at the place. other: by another rule or elsewhere.
    """

    program: str
    operator: str
    line: int
    verdict: str
    why: str
    fitting: tuple[Said, ...] = ()
    other: tuple[Said, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that was measured. lines: of the originals, by program or package; alarms: what was said to them."""

    lines: Mapping[str, int]
    alarms: tuple[Said, ...]
    judged: tuple[Judged, ...]


def verdict(operator: str, mutant: Weight, original: Weight) -> tuple[str, str]:
    """What a mutant is, and how that was seen."""
    if mutant.error:
        return BROKEN, mutant.error
    if operator in BY_DEFINITION:
        return DEFECT, "by definition"
    excess = mutant.excess(original)
    return (DEFECT, excess) if excess else (HARMLESS, "")


def split(mutant: Mutant, path: str, before: Iterable[Said], after: Iterable[Said]) -> tuple[list[Said], list[Said]]:
    """The findings that are new in a mutant: those that fit what was taken out, and the others."""
    known = {(said.path, said.rule, said.line) for said in before}
    fitting: list[Said] = []
    other: list[Said] = []
    for said in after:
        if (said.path, said.rule, said.line) in known:
            continue
        first, last = mutant.function
        near = first <= said.line <= last or abs(said.line - mutant.line) <= NEAR
        at_the_place = mutant.operator in ANYWHERE or (said.path == path and near)
        (fitting if said.rule in mutant.rules and at_the_place else other).append(said)
    return fitting, other


def programs(folder: Path = PROGRAMS, processes: int | None = None, told: Callable[[str], None] = print) -> Outcome:
    """Our own programs: every mutant of every one is run, and only then shown to memlint."""
    texts = {file.name: file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.py"))}
    made = [(name, mutant) for name, text in texts.items() for mutant in mutants(text)]
    told(f"{len(texts)} programs, {len(made)} mutants: running them")
    runs = [(text, True) for text in texts.values()]
    runs += [(mutant.text, mutant.operator == "no-grad") for _, mutant in made]
    weights = weigh_all(runs, processes)
    originals = dict(zip(texts, weights, strict=False))
    failed = {name: weight.error for name, weight in originals.items() if weight.error}
    if failed:
        raise RuntimeError(f"these programs fail as they are: {failed}")
    said = {name: check.check({name: text.encode()}) for name, text in texts.items()}
    judged = []
    for (name, mutant), weight in zip(made, weights[len(texts) :], strict=True):
        kind, why = verdict(mutant.operator, weight, originals[name])
        now = [] if kind == BROKEN else check.check({name: mutant.text.encode()})
        fitting, other = split(mutant, name, said[name], now) if now else ([], [])
        judged.append(Judged(name, mutant.operator, mutant.line, kind, why, tuple(fitting), tuple(other)))
    lines = {name: _lines(text) for name, text in texts.items()}
    return Outcome(lines, tuple(alarm for found in said.values() for alarm in found), tuple(judged))


def packages(sources: Mapping[str, Mapping[str, bytes]], sample: int, processes: int | None = None) -> Outcome:
    """Public packages, each by its name and version: they can't be run here, so nothing tells a harmless mutant."""
    parts = check.spread(_package, [(name, files, sample) for name, files in sources.items()], processes)
    lines = {name: number for part in parts for name, number in part.lines.items()}
    alarms = tuple(alarm for part in parts for alarm in part.alarms)
    return Outcome(lines, alarms, tuple(mutant for part in parts for mutant in part.judged))


def _package(name: str, files: Mapping[str, bytes], sample: int) -> Outcome:
    folders = check.packages(files)
    results = {path: result for path, data in files.items() if (result := check.read(path, data, folders)) is not None}
    before = check.settle(results.values())
    made = [(path, m) for path in results for m in mutants(files[path].decode("utf-8"), losses_only=True)]
    judged = []
    for path, mutant in random.Random(0).sample(made, min(sample, len(made))):
        changed = check.read(path, mutant.text.encode(), folders)
        if changed is None:
            continue
        wanted = None if mutant.operator in ANYWHERE else frozenset({path})
        after = check.settle({**results, path: changed}.values(), wanted)
        fitting, other = split(mutant, path, before, after)
        judged.append(Judged(f"{name}: {path}", mutant.operator, mutant.line, UNRUN, "", tuple(fitting), tuple(other)))
    lines = sum(_lines(data.decode("utf-8")) for data in files.values())
    renamed = tuple(dataclasses.replace(said, path=f"{name}: {said.path}") for said in before)
    return Outcome({name: lines}, renamed, tuple(judged))


def of_kind(judged: Sequence[Judged], *kinds: str) -> list[Judged]:
    """The mutants of these verdicts."""
    return [mutant for mutant in judged if mutant.verdict in kinds]


def _lines(text: str) -> int:
    """Lines that are neither empty nor a comment."""
    return sum(1 for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
