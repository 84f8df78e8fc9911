"""Ask, link, report: rules propose for each file that the cache does not know, the project settles what is open."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from memlint import notebook, registry, suppress
from memlint.cache import Cache
from memlint.config import Settings, all_rules, nearest
from memlint.facts.scopes import module_name
from memlint.known import Known
from memlint.project import Project
from memlint.proposals import FileError, FileResult, Question, propose
from memlint.rule import Cell, Evidence, Finding, Place, Proposal, Reason, Severity, Spot, Tier, Verdict
from memlint.source import Unreadable, opened
from memlint.source import read as text_of
from memlint.taught import BOUNDED, Unknown
from memlint.workers import Asked, Done, answers

if TYPE_CHECKING:
    from memlint.cluster import Cluster

__all__ = ["FileError", "FileResult", "Report", "check", "judge", "propose"]


@dataclass(slots=True)
class Report:
    """What a check found.

    texts: the decoded text of each file that has findings.
    unknown_names: one line for each name in the configuration that means nothing in the checked files.
    notebooks: those that findings name a place in.
    """

    findings: list[Finding] = field(default_factory=list)
    errors: list[FileError] = field(default_factory=list)
    checked: int = 0
    texts: dict[str, str] = field(default_factory=dict)
    unknown_names: list[str] = field(default_factory=list)
    notebooks: dict[str, notebook.Notebook] = field(default_factory=dict)


def check(
    files: Sequence[tuple[str, Settings]],
    *,
    overlay: Mapping[str, bytes] | None = None,
    progress: Callable[[int, int], None] | None = None,
    cache: Cache | None = None,
    jobs: int = 1,
    cluster: Cluster | None = None,
) -> Report:
    """Check files together, as one project.

    files: display paths with their settings. overlay: contents that replace the disk's, by display path.
    progress: called with (files done, files in all). cache: where answers are kept from run to run.
    jobs: how many processes may work at once. cluster: does it in their stead.
    """
    # The trees are freed by reference counting; the collector would only walk them, and all summaries, again and again.
    gc_was_on = gc.isenabled()
    gc.disable()
    try:
        return _check(files, overlay or {}, progress or _silent, cache, jobs, cluster)
    finally:
        if gc_was_on:
            gc.enable()


def _silent(done: int, total: int) -> None:
    """No progress is shown."""


def _check(
    files: Sequence[tuple[str, Settings]],
    overlay: Mapping[str, bytes],
    progress: Callable[[int, int], None],
    cache: Cache | None,
    jobs: int,
    cluster: Cluster | None,
) -> Report:
    packages = _packages([path for path, _ in files])
    known = Known(cache, packages, overlay)
    answered: dict[int, tuple[FileResult | FileError | None, str | None]] = {}
    tasks = []

    def take(done: Done) -> None:
        shown = isinstance(done.answer, FileResult) and (done.answer.proposals or b"memlint:" in done.data)
        answered[done.task.number] = (done.answer, text_of(done.task.path, done.data)[0] if shown else None)
        progress(len(answered), len(files))

    for number, (path, question) in enumerate(_questions(files)):
        seen = known.look_up(number, path, question)
        if isinstance(seen, Done):
            take(seen)
        else:
            tasks.append(seen)
    if cache is not None and any(task.path not in overlay for task in tasks):
        cache.prepare()
    asking = Asked(packages, cache)
    given = answers(tasks, known.read, asking, jobs) if cluster is None else cluster.answers(tasks, known.read, asking)
    for done in given:
        take(done)
    if cache is not None and tasks:
        cache.trim()
    report = Report()
    results: list[FileResult] = []
    for number, (path, _) in enumerate(files):
        result, text = answered[number]
        if isinstance(result, FileError):
            report.errors.append(result)
            continue
        report.checked += 1
        if result is not None:
            results.append(result)
        if text is not None:
            report.texts[path] = text
    settings_of = dict(files)
    taught = {path: settings.taught for path, settings in files}
    asked = {path: settings.by_name() for path, settings in files}
    project = Project([result.summary for result in results], taught, asked)
    report.unknown_names = [_unknown(name, settings_of[name.path]) for name in project.lessons.unknown]
    judged = [judge(proposal, project) for result in results for proposal in result.proposals]
    by_path: dict[str, list[Finding]] = {path: [] for path in report.texts}
    for finding in _explained([pair for pair in judged if pair is not None], known):
        by_path[finding.place.path].append(finding)
    for path, found in by_path.items():
        enabled = settings_of[path].enabled(path)
        report.findings.extend(suppress.apply(found, report.texts[path], path, enabled, frozenset(all_rules())))
    report.findings.sort(key=lambda f: (f.place, f.rule))
    _open_notebooks(report, [path for path, _ in files], known)
    return report


def _open_notebooks(report: Report, paths: Sequence[str], known: Known) -> None:
    """Say of places in notebooks which cell they are in, and which cells were left out because they do not parse."""
    shown = {place.path for finding in report.findings for place in _places(finding)}
    books: dict[str, notebook.Notebook] = {}
    for path in paths:
        if not path.endswith(notebook.SUFFIX):
            continue
        try:
            book = opened(known.content(path))
        except (OSError, Unreadable):
            continue  # it has been said, or it is gone
        if path in shown:
            books[path] = book
        for number, error in [] if suppress.skips_file(book.text) else book.broken:
            line, column = error.line or 1, error.column or 1
            at = book.file_line(number, line)
            cell = Cell(number, line, column, line, column, at, at)
            report.errors.append(FileError(path, line, column, f"this cell {error.message}", cell))

    def placed(place: Place) -> Place:
        return dataclasses.replace(place, cell=books[place.path].cell(place)) if place.path in books else place

    report.notebooks = books
    for number, finding in enumerate(report.findings):
        if any(place.path in books for place in _places(finding)):
            steps = tuple(Evidence(placed(step.place), step.message) for step in finding.evidence)
            report.findings[number] = dataclasses.replace(finding, place=placed(finding.place), evidence=steps)


def _places(finding: Finding) -> list[Place]:
    return [finding.place, *(step.place for step in finding.evidence)]


def _questions(files: Sequence[tuple[str, Settings]]) -> Iterator[tuple[str, Question]]:
    """Each file with what it is asked."""
    same: dict[int, Question] = {}
    for path, settings in files:
        if settings.per_file_ignores or id(settings) not in same:
            enabled = settings.enabled(path)
            rules = tuple(rule for rule in registry.rules() if rule in enabled)
            same[id(settings)] = Question(rules, settings.limits)
        yield path, same[id(settings)]


_MEASURED = "measure the memory of a run: nothing in the source says it"


def judge(proposal: Proposal, project: Project) -> tuple[Finding, tuple[Reason, ...]] | None:
    """What the project makes of a proposal, and its reasons for it: None where a condition is refuted."""
    reasons: list[Reason] = []
    questions: list[tuple[str, str]] = []
    silent_if: list[str] = []
    fact = proposal.fact
    for condition in proposal.conditions:
        answer = condition.settle(project)
        if answer.verdict == Verdict.REFUTED:
            return None
        reasons.extend(answer.reasons)
        if answer.facts:
            fact = dataclasses.replace(fact, **dict(answer.facts))
        if answer.verdict == Verdict.UNKNOWN:
            questions.append((answer.open_question, answer.would_prove or _MEASURED))
        if answer.silent_if and answer.silent_if not in silent_if:
            silent_if.append(answer.silent_if)
    finding = Finding(
        rule=proposal.rule,
        message=proposal.message,
        place=proposal.place,
        tier=Tier.SUSPECTED if questions else Tier.PROVED,
        severity=proposal.severity if not questions else min(proposal.severity, Severity.WARNING, key=_weight),
        evidence=proposal.evidence,
        fact=fact,
        open_questions=tuple(question for question, _ in questions),
        would_prove=tuple(proof for _, proof in questions),
        silent_if=tuple(silent_if),
    )
    return finding, tuple(reasons)


def _explained(judged: Sequence[tuple[Finding, tuple[Reason, ...]]], known: Known) -> list[Finding]:
    """The findings with the project's reasons placed."""
    wanted: dict[str, set[Spot]] = {}
    for _, reasons in judged:
        for reason in reasons:
            wanted.setdefault(reason.spot.path, set()).add(reason.spot)
    places: dict[Spot, Place] = {}
    for path, spots in wanted.items():
        places.update(known.places(path, spots))
    return [
        dataclasses.replace(
            finding,
            evidence=(*finding.evidence, *(Evidence(places[r.spot], r.message) for r in reasons if r.spot in places)),
        )
        for finding, reasons in judged
    ]


def _unknown(found: Unknown, settings: Settings) -> str:
    what = "container" if found.key == BOUNDED else "function"
    origin = settings.origins.get(found.key, "")
    where = f"{origin}: " if origin else ""
    return f'{where}"{found.key}": no {what} "{found.name}" in the checked files{nearest(found.name, found.choices)}'


def _weight(severity: Severity) -> int:
    return [Severity.NOTE, Severity.WARNING, Severity.ERROR].index(severity)


def _packages(paths: Sequence[str]) -> frozenset[str]:
    """The folders whose names belong to their modules' names: packages, and what tells scripts of one name apart."""
    folders = _with_init(paths)
    for _ in range(_APART):
        named: dict[str, list[str]] = {}
        for path in paths:
            named.setdefault(module_name(path, folders)[0], []).append(path)
        alike = [path for same in named.values() if len(same) > 1 for path in same]
        outer = {str(_outermost(PurePosixPath(path).parent, folders)) for path in alike}
        if outer <= folders:
            break
        folders |= outer
    return folders


_APART = 8
"""How many folders may be needed to tell two scripts of the same name apart."""


def _outermost(folder: PurePosixPath, folders: frozenset[str]) -> PurePosixPath:
    """The first folder from here upwards whose name is not part of the module's name yet."""
    while str(folder) in folders and folder.name:
        folder = folder.parent
    return folder


def _with_init(paths: Iterable[str]) -> frozenset[str]:
    """The folders that hold an `__init__.py`, as far up from the checked files as they go."""
    found: set[str] = set()
    seen: set[str] = set()
    for path in paths:
        folder = PurePosixPath(path).parent
        while str(folder) not in seen:
            seen.add(str(folder))
            if not (Path(folder) / "__init__.py").is_file():
                break
            found.add(str(folder))
            folder = folder.parent
    return frozenset(found)
