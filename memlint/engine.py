"""Propose, link, report: every file is parsed once, rules propose, the project settles the open conditions."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from memlint import notebook, registry, suppress
from memlint.config import Settings, all_rules, nearest
from memlint.facts import FileFacts
from memlint.facts.demands import Demand
from memlint.facts.scopes import module_name
from memlint.facts.summary import Summary, summarize
from memlint.project import Project
from memlint.rule import Cell, Evidence, Finding, Place, Proposal, Reason, Rule, Severity, Spot, Tier, Verdict
from memlint.source import Source, Unreadable, opened
from memlint.taught import BOUNDED, Unknown


@dataclass(frozen=True, slots=True)
class FileError:
    """A file that could not be checked: one line for the user."""

    path: str
    line: int | None
    column: int | None
    message: str
    cell: Cell | None = field(default=None, compare=False)


@dataclass(slots=True)
class Report:
    """What a check found.

    texts: the decoded text of each file that has findings.
    unknown_names: one line for each name in the configuration that means nothing in the checked files.
    notebooks: those that have findings.
    """

    findings: list[Finding] = field(default_factory=list)
    errors: list[FileError] = field(default_factory=list)
    checked: int = 0
    texts: dict[str, str] = field(default_factory=dict)
    unknown_names: list[str] = field(default_factory=list)
    notebooks: dict[str, notebook.Notebook] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FileResult:
    """What one file contributes: a pure function of its bytes and the rules that are asked."""

    summary: Summary
    proposals: tuple[Proposal, ...]


def check(
    files: Sequence[tuple[str, Settings]],
    *,
    overlay: Mapping[str, bytes] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Check files together, as one project.

    files: display paths with their settings. overlay: contents that replace the disk's, by display path.
    progress: called with (files done, files in all).
    """
    # The trees are freed by reference counting; the collector would only walk them, and all summaries, again and again.
    gc_was_on = gc.isenabled()
    gc.disable()
    try:
        report = _check(files, overlay or {}, progress)
        _open_notebooks(report, [path for path, _ in files], overlay or {})
        return report
    finally:
        if gc_was_on:
            gc.enable()


def _check(
    files: Sequence[tuple[str, Settings]], overlay: Mapping[str, bytes], progress: Callable[[int, int], None] | None
) -> Report:
    packages = _packages([path for path, _ in files])
    report = Report()
    results: list[FileResult] = []
    for done, (path, settings) in enumerate(files):
        try:
            source = Source(path, _read(path, overlay))
            if suppress.skips_file(source.text):
                report.checked += 1
                continue
            enabled = settings.enabled(path)
            rules = [rule for rule in registry.rules().values() if rule.name in enabled]
            results.append(propose(source, rules, packages, settings.limits))
            report.checked += 1
            if results[-1].proposals or "memlint:" in source.text:
                report.texts[path] = source.text
        except Unreadable as error:
            report.errors.append(FileError(path, error.line, error.column, error.message))
        except OSError as error:
            report.errors.append(FileError(path, None, None, f"can't be read: {error.strerror or error}"))
        except RecursionError:
            report.errors.append(FileError(path, None, None, "is nested too deeply to be analysed"))
        if progress is not None:
            progress(done + 1, len(files))
    settings_of = dict(files)
    taught = {path: settings.taught for path, settings in files}
    asked = {path: settings.by_name() for path, settings in files}
    project = Project([result.summary for result in results], taught, asked)
    report.unknown_names = [_unknown(name, settings_of[name.path]) for name in project.lessons.unknown]
    judged = [judge(proposal, project) for result in results for proposal in result.proposals]
    by_path: dict[str, list[Finding]] = {path: [] for path in report.texts}
    for finding in _explained([pair for pair in judged if pair is not None], overlay, packages):
        by_path[finding.place.path].append(finding)
    for path, found in by_path.items():
        enabled = settings_of[path].enabled(path)
        report.findings.extend(suppress.apply(found, report.texts[path], path, enabled, frozenset(all_rules())))
    report.findings.sort(key=lambda f: (f.place, f.rule))
    return report


def _open_notebooks(report: Report, paths: Sequence[str], overlay: Mapping[str, bytes]) -> None:
    """Say of places in notebooks which cell they are in, and which cells were left out because they do not parse."""
    books: dict[str, notebook.Notebook] = {}
    for path in paths:
        if not path.endswith(notebook.SUFFIX):
            continue
        try:
            books[path] = opened(_read(path, overlay))
        except (OSError, Unreadable):
            continue  # it has been said, or it is gone
        broken = [] if suppress.skips_file(books[path].text) else books[path].broken
        for number, error in broken:
            line, column = error.line or 1, error.column or 1
            at = books[path].file_line(number, line)
            cell = Cell(number, line, column, line, column, at, at)
            report.errors.append(FileError(path, line, column, f"this cell {error.message}", cell))
    if not books:
        return

    def placed(place: Place) -> Place:
        book = books.get(place.path)
        return place if book is None else dataclasses.replace(place, cell=book.cell(place))

    report.notebooks = {path: books[path] for path in report.texts if path in books}
    report.findings = [
        dataclasses.replace(
            finding,
            place=placed(finding.place),
            evidence=tuple(Evidence(placed(step.place), step.message) for step in finding.evidence),
        )
        for finding in report.findings
    ]


def propose(
    source: Source, rules: Sequence[Rule], packages: frozenset[str], limits: tuple[Demand, ...] = ()
) -> FileResult:
    """Ask the rules about one file. limits: those that the user has declared for settings."""
    facts = FileFacts(source, packages, limits)
    try:
        proposals = []
        for rule in rules:
            if rule.needs and not any(text in source.text for text in rule.needs):
                continue
            for proposal in rule.proposals(facts):
                proposals.append(_named(proposal, rule.name))
        return FileResult(summarize(facts), tuple(proposals))
    finally:
        facts.close()


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


def _explained(
    judged: Sequence[tuple[Finding, tuple[Reason, ...]]], overlay: Mapping[str, bytes], packages: frozenset[str]
) -> list[Finding]:
    """The findings with the project's reasons placed: the few files that these stand in are read once more."""
    wanted: dict[str, set[Spot]] = {}
    for _, reasons in judged:
        for reason in reasons:
            wanted.setdefault(reason.spot.path, set()).add(reason.spot)
    places: dict[Spot, Place] = {}
    for path, spots in wanted.items():
        try:
            facts = FileFacts(Source(path, _read(path, overlay)), packages)
            places.update((spot, facts.spot(spot)) for spot in spots)
            facts.close()
        except (OSError, Unreadable, IndexError):
            continue  # changed or gone since it was checked: the finding stands, without this part of its reasons
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


def _read(path: str, overlay: Mapping[str, bytes]) -> bytes:
    return overlay[path] if path in overlay else Path(path).read_bytes()


def _weight(severity: Severity) -> int:
    return [Severity.NOTE, Severity.WARNING, Severity.ERROR].index(severity)


def _named(proposal: Proposal, rule: str) -> Proposal:
    return Proposal(
        proposal.message, proposal.place, proposal.fact, proposal.evidence, proposal.conditions, proposal.severity, rule
    )


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
