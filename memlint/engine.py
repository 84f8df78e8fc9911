"""Ask, link, report: rules propose for each file that the cache does not know, the project settles what is open."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from memlint import notebook, record, registry, suppress
from memlint.around import Together
from memlint.cache import Cache
from memlint.config import Settings, all_rules, nearest
from memlint.facts.scopes import module_name
from memlint.known import Known
from memlint.project import Project
from memlint.proposals import PASSING, FileError, FileResult, Question, propose
from memlint.rule import Cell, Evidence, Finding, Place, Proposal, Reason, Severity, Spot, Tier, Verdict
from memlint.source import Unreadable, opened
from memlint.source import read as text_of
from memlint.taught import BOUNDED, Taught, Unknown
from memlint.workers import Asked, Done, answers

if TYPE_CHECKING:
    from memlint.cluster import Cluster

__all__ = ["FileError", "FileResult", "Report", "check", "judge", "propose"]


class Report(Struct):
    """What a check found.

    texts: the decoded text of each file that findings name a place in.
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
    together: Sequence[Together] = (),
    overlay: Mapping[str, bytes] | None = None,
    progress: Callable[[int, int], None] | None = None,
    cache: Cache | None = None,
    jobs: int = 1,
    cluster: Cluster | None = None,
) -> Report:
    """Check files, as one project or each together with what is known besides.

    files: display paths with their settings. together: the same files with those that they are judged with.
    overlay: contents that replace the disk's, by display path. progress: called with (files done, files in all).
    cache: where answers are kept from run to run. jobs: how many processes may work at once.
    cluster: works in their stead.
    """
    groups = together or [Together(files, {path for path, _ in files})]
    total = sum(len(group.files) for group in groups)
    report = Report()
    # The trees are freed by reference counting; the collector would only walk them, and all summaries, again and again.
    gc_was_on = gc.isenabled()
    gc.disable()
    try:
        done = 0
        for group in groups:
            note = functools.partial(_note, progress, done, total)
            _add(report, _placed(_check(group, overlay or {}, note, cache, jobs, cluster), group))
            done += len(group.files)
    finally:
        if gc_was_on:
            gc.enable()
    report.findings.sort(key=lambda f: (f.place, f.rule))
    return report


def _note(progress: Callable[[int, int], None] | None, before: int, total: int, done: int) -> None:
    if progress is not None:
        progress(before + done, total)


def _add(report: Report, more: Report) -> None:
    report.findings += more.findings
    report.errors += more.errors
    report.checked += more.checked
    report.texts.update(more.texts)
    report.unknown_names += [name for name in more.unknown_names if name not in report.unknown_names]
    report.notebooks.update(more.notebooks)


def _placed(report: Report, group: Together) -> Report:
    """A report with the display paths of the files that it is about."""
    shown = {name: path for path, name in group.names.items() if name != path}
    if not shown:
        return report

    def placed(place: Place) -> Place:
        return replace(place, path=shown.get(place.path, place.path))

    report.findings = [_moved(finding, placed) for finding in report.findings]
    report.errors = [replace(error, path=shown.get(error.path, error.path)) for error in report.errors]
    report.texts = {shown.get(name, name): text for name, text in report.texts.items()}
    report.notebooks = {shown.get(name, name): book for name, book in report.notebooks.items()}
    return report


def _moved(finding: Finding, placed: Callable[[Place], Place]) -> Finding:
    steps = tuple(Evidence(placed(step.place), step.message) for step in finding.evidence)
    return replace(finding, place=placed(finding.place), evidence=steps)


class Group:
    """The files of a group under the names of their modules, and what each is asked.

    places: their display paths. questions: number, name and question of each.
    """

    def __init__(self, group: Together, overlay: Mapping[str, bytes], cache: Cache | None) -> None:
        names = group.names or {path: path for path, _ in group.files}
        self.places = {names[path]: path for path, _ in group.files}
        self.files = [(names[path], settings) for path, settings in group.files]
        self.asked = {names[path] for path in group.asked}
        self.overlay = {names[path]: data for path, data in overlay.items() if path in names}
        self.packages = _packages([path for path, _ in self.files], group.root)
        self.known = Known(cache, self.packages, self.overlay, self.places)
        asked = enumerate(_questions(self.files, self.places))
        self.questions = [(number, path, question) for number, (path, question) in asked]


def _check(
    group: Together,
    overlay: Mapping[str, bytes],
    progress: Callable[[int], None],
    cache: Cache | None,
    jobs: int,
    cluster: Cluster | None,
) -> Report:
    """What is found in the files of a group that are asked for. In here all paths are what modules are named by."""
    these = Group(group, overlay, cache)
    places, files, asked, overlay = these.places, these.files, these.asked, these.overlay
    packages, known, questions = these.packages, these.known, these.questions
    answered: dict[int, tuple[FileResult | FileError | None, str | None]] = {}

    def take(done: Done) -> None:
        if isinstance(done.answer, FileError) and done.answer.message in PASSING:
            record.doubt()
        shown = isinstance(done.answer, FileResult) and (done.answer.proposals or b"memlint:" in done.data)
        shown = shown and done.task.path in asked
        answered[done.task.number] = (done.answer, text_of(done.task.path, done.data)[0] if shown else None)
        progress(len(answered))

    def ask(chosen: Iterable[tuple[int, str, Question]]) -> None:
        tasks = []
        for number, path, question in chosen:
            seen = known.look_up(number, path, question, whole=path in asked)
            if isinstance(seen, Done):
                take(seen)
            else:
                tasks.append(seen)
        if cache is not None and any(task.path not in overlay for task in tasks):
            cache.prepare()
        asking = Asked(packages, cache)
        given = cluster.answers(tasks, known.read, asking) if cluster else answers(tasks, known.read, asking, jobs)
        for done in given:
            take(done)
        if cache is not None and tasks:
            cache.trim()

    ask(question for question in questions if question[1] in asked)
    taught = {path: settings.taught for path, settings in files}
    lists = {taught[path] for path in asked}
    if lists != {Taught()} or _open(result for result, _ in answered.values()):
        ask(question for question in questions if question[1] not in asked)
    report = Report()
    results: list[FileResult] = []
    for number, (path, _) in enumerate(files):
        result, text = answered.get(number, (None, None))
        if isinstance(result, FileError):
            if path in asked:
                report.errors.append(result)
            continue
        report.checked += path in asked
        if result is not None:
            results.append(result)
        if text is not None:
            report.texts[path] = text
    settings_of = dict(files)
    selected = {path: settings.by_name() for path, settings in files}
    project = Project([result.summary for result in results], taught, selected)
    report.unknown_names = [
        _unknown(name, settings_of[name.path]) for name in project.lessons.unknown if taught[name.path] in lists
    ]
    wanted = [result for result in results if result.summary.path in asked]
    judged = [judge(proposal, project) for result in wanted for proposal in result.proposals]
    by_path: dict[str, list[Finding]] = {path: [] for path in report.texts}
    for finding in _explained([pair for pair in judged if pair is not None], known):
        by_path[finding.place.path].append(finding)
    for path, found in by_path.items():
        enabled = settings_of[path].enabled(places[path])
        report.findings.extend(suppress.apply(found, report.texts[path], path, enabled, frozenset(all_rules())))
    for path in {step.place.path for finding in report.findings for step in finding.evidence} - report.texts.keys():
        with contextlib.suppress(OSError, Unreadable):  # gone since: then its lines can't be shown
            report.texts[path] = text_of(path, known.content(path))[0]
    _open_notebooks(report, [path for path, _ in files], asked, known)
    return report


def _open(answers: Iterable[FileResult | FileError | None]) -> bool:
    """Whether anything is proposed that other files could settle. Most files by themselves say that all is well."""
    return any(
        proposal.conditions for given in answers if isinstance(given, FileResult) for proposal in given.proposals
    )


def _open_notebooks(report: Report, paths: Sequence[str], asked: Collection[str], known: Known) -> None:
    """Say of places in notebooks which cell they are in, and which cells were left out because they do not parse."""
    shown = {place.path for finding in report.findings for place in _places(finding)}
    books: dict[str, notebook.Notebook] = {}
    for path in paths:
        if not path.endswith(notebook.SUFFIX) or not (path in asked or path in shown):
            continue
        try:
            book = opened(known.content(path))
        except (OSError, Unreadable):
            continue  # it has been said, or it is gone
        if path in shown:
            books[path] = book
        for number, error in [] if path not in asked or suppress.skips_file(book.text) else book.broken:
            line, column = error.line or 1, error.column or 1
            at = book.file_line(number, line)
            cell = Cell(number, line, column, line, column, at, at)
            report.errors.append(FileError(path, line, column, f"this cell {error.message}", cell))

    def placed(place: Place) -> Place:
        return replace(place, cell=books[place.path].cell(place)) if place.path in books else place

    report.notebooks = books
    for number, finding in enumerate(report.findings):
        if any(place.path in books for place in _places(finding)):
            report.findings[number] = _moved(finding, placed)


def _places(finding: Finding) -> list[Place]:
    return [finding.place, *(step.place for step in finding.evidence)]


def _questions(files: Sequence[tuple[str, Settings]], places: Mapping[str, str]) -> Iterator[tuple[str, Question]]:
    """Each file with what it is asked: the same whether it is reported on or only known, so that its entry is, too."""
    same: dict[int, Question] = {}
    for path, settings in files:
        if settings.per_file_ignores or id(settings) not in same:
            enabled = settings.enabled(places[path])
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
            fact = replace(fact, **dict(answer.facts))
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
        replace(
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


def _packages(paths: Sequence[str], root: str = "") -> frozenset[str]:
    """The folders whose names belong to their modules' names: packages, and what tells scripts of one name apart.

    root: the folder that the paths start from, "" for the current one.
    """
    folders = _with_init(paths, root)
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


def _with_init(paths: Iterable[str], root: str) -> frozenset[str]:
    """The folders that hold an `__init__.py`, as far up from the checked files as they go."""
    found: set[str] = set()
    seen: set[str] = set()
    for path in paths:
        folder = PurePosixPath(path).parent
        while str(folder) not in seen:
            seen.add(str(folder))
            if not record.is_file(os.path.join(root, str(folder), "__init__.py")):
                break
            found.add(str(folder))
            folder = folder.parent
    return frozenset(found)
