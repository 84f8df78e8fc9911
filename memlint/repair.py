"""Repairing files: fix, check again, keep only what helped. Nothing touches the disk before `write`."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct, field

from memlint import edit, imports, registry, suppress
from memlint.disk import replace, vendor, vendoring
from memlint.draft import Draft, drafted
from memlint.engine import FileError
from memlint.fixer import Edit, Refuse, Safety
from memlint.rule import Finding
from memlint.source import Unreadable
from memlint.tree import Tree, lines

if TYPE_CHECKING:
    from memlint.config import Settings
    from memlint.engine import Report

    Check = Callable[..., Report]

__all__ = ["RepairReport", "Unit", "copies", "repair", "vendor", "write"]

# Each round settles everything that does not overlap, so that two or three are common.
MAX_ROUNDS = 100

# How a finding is known again in the next round, when lines have moved: path, rule, function, text of its line, number
# among equals.
_Key = tuple[str, str, int, str, int]

Unit = tuple[str, str, int]
"""What is made or left as one: path, rule and line of fixes. It is the line of the file as it was at the beginning, so
that a fix is known again whichever others are made beside it."""


def _nothing(path: str) -> None:
    """No file has to be left alone."""


class RepairReport(Struct):
    """What a repair would write, and what became of each finding.

    changed: display path -> old and new bytes.
    fixed: as they stood when they were fixed.
    refused: with the reason; withheld: need `--unsafe-fixes`, or are only suggested. Both stand where they are in the
        new text. Findings of rules without a fixer are in neither.
    vendored: paths that the runtime has to be copied to.
    made: the units of all fixes that were made, in their order. aside: findings that could have been fixed, had their
        unit been among those to make; where they stand in the new text.
    """

    changed: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)
    fixed: list[Finding] = field(default_factory=list)
    refused: list[tuple[Finding, str]] = field(default_factory=list)
    withheld: list[Finding] = field(default_factory=list)
    errors: list[FileError] = field(default_factory=list)
    vendored: set[str] = field(default_factory=set)
    made: list[Unit] = field(default_factory=list)
    aside: list[tuple[Unit, Finding]] = field(default_factory=list)


def repair(
    files: Sequence[tuple[str, Settings]],
    *,
    rules: frozenset[str] | None,
    unsafe: bool,
    check: Check,
    suggested: bool = False,
    only: Collection[Unit] | None = None,
    contents: Mapping[str, bytes] | None = None,
    bar: Callable[[str], str | None] = _nothing,
) -> RepairReport:
    """Fix what can be fixed, round by round, until nothing is left to try. Writes nothing.

    rules: the rules to fix, None for all. unsafe: also apply fixes that change more than memory.
    suggested: also apply those that are only ever shown; for a copy of the code, the command line has no such switch.
    only: of all fixes those of these units. contents: what files held at the beginning, where they hold something else
    now. bar: says why a file must be left alone, or None.
    An edit is kept only if its finding is gone and nothing new was found in the function that it changed.
    """
    allowed = {Safety.SAFE: True, Safety.UNSAFE: unsafe, Safety.SUGGESTED: suggested}
    return _Repair(files, rules, allowed, check, only, contents or {}, bar).run()


def write(report: RepairReport, scratch: Path | None = None) -> list[FileError]:
    """Put a repair on the disk, each file whole or not at all; nothing where the runtime can't be put first.

    scratch: see `memlint.disk`.
    """
    errors = [error for path in sorted(report.vendored) if (error := vendor(path, scratch)) is not None]
    if not errors:
        changed = report.changed.items()
        errors = [error for path, (old, new) in changed if (error := replace(path, old, new, scratch)) is not None]
    return errors


def copies(report: RepairReport) -> tuple[dict[str, tuple[bytes | None, bytes]], list[FileError]]:
    """What `write` would copy the runtime to: old bytes, None for no file, and new ones; and where it can't."""
    planned = {path: vendoring(path) for path in sorted(report.vendored)}
    errors = [change for change in planned.values() if isinstance(change, FileError)]
    changes = {path: change for path, change in planned.items() if not isinstance(change, FileError)}
    return {path: (old, new) for path, (old, new) in changes.items() if old != new}, errors


class _Step(Struct):
    """One edit to try. regions: the functions that it touches."""

    finding: Finding
    key: _Key
    unit: Unit
    edit: Edit
    regions: frozenset[int]


class _Attempt(Struct):
    """What a round tries on one file.

    findings: all that were there before, with the function that each is in. functions: where each outermost function
    begins and ends in the new text; their number is the same as before.
    """

    draft: Draft
    text: str
    findings: list[tuple[int, Finding]] = field(default_factory=list)
    functions: list[tuple[int, int]] = field(default_factory=list)
    steps: list[_Step] = field(default_factory=list)
    refused: list[tuple[Finding, str]] = field(default_factory=list)
    withheld: list[Finding] = field(default_factory=list)
    aside: list[tuple[Unit, Finding]] = field(default_factory=list)


class _Repair:
    def __init__(
        self,
        files: Sequence[tuple[str, Settings]],
        rules: frozenset[str] | None,
        allowed: Mapping[Safety, bool],
        check: Check,
        only: Collection[Unit] | None,
        contents: Mapping[str, bytes],
        bar: Callable[[str], str | None],
    ) -> None:
        self.files = files
        self.settings = dict(files)
        self.fixers = {name: f for name, f in registry.fixers().items() if rules is None or name in rules}
        self.allowed = allowed
        self.check = check
        self.only = only
        self.contents = contents
        self.bar = bar
        self.drafts: dict[str, Draft | None] = {}
        self.failed: dict[_Key, str] = {}
        self.alone: set[_Key] = set()
        self.report = RepairReport()

    def run(self) -> RepairReport:
        seen = self.look({})
        attempts = self.plan(seen)
        for _ in range(MAX_ROUNDS):
            if not any(attempt.steps for attempt in attempts.values()):
                break
            seen = self.settle(seen, attempts)
            attempts = self.plan(seen)
        for attempt in attempts.values():
            self.report.refused += attempt.refused
            self.report.refused += [(step.finding, f"not reached in {MAX_ROUNDS} rounds") for step in attempt.steps]
            self.report.withheld += attempt.withheld
            self.report.aside += attempt.aside
        self.report.errors += seen.errors
        for path, draft in self.drafts.items():
            if draft is not None and (new := draft.encode(draft.text)) != draft.old:
                self.report.changed[path] = (draft.old, new)
        return self.report

    def look(self, attempts: Mapping[str, _Attempt]) -> Report:
        """Check all files as they would be."""
        overlay = dict(self.contents)
        for path, draft in self.drafts.items():
            if draft is not None:
                new = draft.encode(attempts[path].text if path in attempts else draft.text)
                if new != draft.old:
                    overlay[path] = new
        return self.check(self.files, overlay=overlay)

    # -- planning ------------------------------------------------------------------------------------------------------

    def plan(self, seen: Report) -> dict[str, _Attempt]:
        """For each file the edits to try next, as many as do not overlap."""
        by_path: dict[str, list[Finding]] = defaultdict(list)
        for finding in seen.findings:
            if finding.rule != suppress.NAME:
                by_path[finding.place.path].append(finding)
        attempts = {}
        for path, findings in by_path.items():
            if any(finding.rule in self.fixers for finding in findings):
                if (draft := self.draft(path, seen.texts[path])) is not None:
                    attempts[path] = self.attempt(path, draft, findings, frozenset())
        return attempts

    def draft(self, path: str, text: str) -> Draft | None:
        """The file as it was read, or None where it can't be repaired; the report says why."""
        if path not in self.drafts:
            self.drafts[path] = None
            try:
                if (barred := self.bar(path)) is not None:
                    raise Refuse(barred)
                old = self.contents[path] if path in self.contents else Path(path).read_bytes()
                draft = drafted(path, old)
                if draft.text != text or draft.encode(text) != old:
                    raise Refuse("it was changed while it was checked, or can't be written back unchanged")
                self.drafts[path] = draft
            except (OSError, Unreadable, Refuse) as error:
                reason = error.strerror if isinstance(error, OSError) else str(error)
                self.report.errors.append(FileError(path, None, None, f"not repaired: {reason}"))
        return self.drafts[path]

    def attempt(self, path: str, draft: Draft, findings: list[Finding], without: frozenset[_Key]) -> _Attempt:
        """The edits to try on one file, made. Its tree is not kept: a round may try many files.

        without: those that are set aside in this round. What overlaps them waits for them, unless they have failed.
        """
        attempt = _Attempt(draft, draft.text)
        settings = self.settings[path]
        try:
            tree = Tree(draft.text, imports.runtime_module(settings.runtime, path))
        except Refuse as reason:
            attempt.refused += [(finding, str(reason)) for finding in findings if finding.rule in self.fixers]
            return attempt
        steps = []
        origins = draft.origins()
        attempt.findings = [(_region(finding.place.line, tree.functions), finding) for finding in findings]
        for key, finding in _keyed(attempt.findings, draft.text):
            if finding.rule not in self.fixers or key in without and key in self.failed:
                continue
            try:
                if (why_not := settings.keeps_from_fixing(finding.rule) or self.failed.get(key)) is not None:
                    raise Refuse(why_not)
                change = edit.propose(tree, finding, self.fixers[finding.rule], settings.options(finding.rule))
            except Refuse as reason:
                attempt.refused.append((finding, str(reason)))
                continue
            if not self.allowed[change.safety]:
                attempt.withheld.append(finding)
                continue
            unit = (path, finding.rule, origins[min(finding.place.line, len(origins)) - 1])
            if self.only is not None and unit not in self.only:
                attempt.aside.append((unit, finding))
                continue
            touched = {_region(tree.line_of(node), tree.functions) for node in change.changes}
            steps.append(_Step(finding, key, unit, change, frozenset({key[2], *touched})))
        # Of edits that overlap, the inner one goes first: what it changes might no longer be found after the outer one.
        steps.sort(key=lambda step: -max(len(list(tree.around(node))) for node in step.edit.changes))
        earlier: list[_Step] = []
        for step in steps:
            if step.key not in without and not self.waits(step, attempt.steps, earlier, tree):
                attempt.steps.append(step)
            earlier.append(step)
        self.make(attempt, tree)
        return attempt

    def waits(self, step: _Step, taken: list[_Step], earlier: list[_Step], tree: Tree) -> bool:
        """Whether a step must wait for the next round: it overlaps one that goes first, or is to be tried alone.

        earlier: all that go first, also those that wait themselves.
        """
        if taken and (step.key in self.alone or taken[0].key in self.alone):
            return True
        for mine, other in itertools.product(step.edit.changes, earlier):
            for theirs in other.edit.changes:
                if mine is theirs or mine in tree.around(theirs) or theirs in tree.around(mine):
                    return True
        return False

    def make(self, attempt: _Attempt, tree: Tree) -> None:
        """Apply the steps together. Where that fails, those go that fail alone; else the first goes first."""
        while attempt.steps:
            with contextlib.suppress(Refuse):
                attempt.text, attempt.functions = _made(attempt.steps, tree, attempt.draft)
                return
            good = []
            for step in attempt.steps:
                try:
                    _made([step], tree, attempt.draft)
                    good.append(step)
                except Refuse as reason:
                    self.failed[step.key] = str(reason)
                    attempt.refused.append((step.finding, str(reason)))
            attempt.steps = good if len(good) < len(attempt.steps) else good[:1]

    # -- trying --------------------------------------------------------------------------------------------------------

    def settle(self, before: Report, planned: dict[str, _Attempt]) -> Report:
        """Check what was planned, take back what did not help, and keep the rest."""
        attempts = {path: attempt for path, attempt in planned.items() if attempt.steps}
        without: set[_Key] = set()
        while attempts:
            after = self.look(attempts)
            harmful = {path: _harmful(path, attempt, before, after) for path, attempt in attempts.items()}
            if not any(harmful.values()):
                self.keep(attempts, after)
                return after
            for path, bad in harmful.items():
                if bad:
                    for step, reason in bad:
                        without.add(step.key)
                        if len(attempts[path].steps) > 1:
                            self.alone.add(step.key)  # perhaps another step is to blame
                        else:
                            self.failed[step.key] = reason
                    findings = [finding for _, finding in attempts[path].findings]
                    attempts[path] = self.attempt(path, attempts[path].draft, findings, frozenset(without))
            attempts = {path: attempt for path, attempt in attempts.items() if attempt.steps}
        return before

    def keep(self, attempts: dict[str, _Attempt], after: Report) -> None:
        """Take over what held, and note each finding that went."""
        for path, attempt in attempts.items():
            attempt.draft.text = attempt.text
            fixed = [step.finding for step in attempt.steps]
            self.report.made += [step.unit for step in attempt.steps if step.unit not in self.report.made]
            left = _counts(path, attempt, after)
            for region, finding in attempt.findings:
                if finding in fixed or (finding.rule in self.fixers and not left[region, finding.rule]):
                    self.report.fixed.append(finding)
            vendored = imports.vendored_path(self.settings[path].runtime)
            if vendored is not None and any(step.edit.helpers for step in attempt.steps):
                self.report.vendored.add(vendored)


def _made(steps: Sequence[_Step], tree: Tree, draft: Draft) -> tuple[str, list[tuple[int, int]]]:
    """The text after these steps, and where its functions are. Raises Refuse."""
    text = draft.settled(edit.apply(tree, [step.edit for step in steps]))
    draft.encode(text)
    functions = Tree(text).functions
    if len(functions) != len(tree.functions):
        raise Refuse("the fix would take a function away")
    return text, functions


def _harmful(path: str, attempt: _Attempt, before: Report, after: Report) -> list[tuple[_Step, str]]:
    """The steps that did not remove their finding, or brought a new one into a function that they touch."""
    broken = [e.message for e in after.errors if e.path == path and e not in before.errors]
    if broken:
        return [(step, broken[0]) for step in attempt.steps]
    allowed = Counter((region, finding.rule) for region, finding in attempt.findings)
    allowed.subtract((step.key[2], step.finding.rule) for step in attempt.steps)
    found = _counts(path, attempt, after)
    bad = []
    for step in attempt.steps:
        new = [rule for where, rule in found if where in step.regions and found[where, rule] > allowed[where, rule]]
        if step.finding.rule in new:
            bad.append((step, "memlint would still find it after the fix"))
        elif new:
            bad.append((step, f"the fix would bring a new finding of {min(new)}"))
    return bad


def _counts(path: str, attempt: _Attempt, report: Report) -> Counter[tuple[int, str]]:
    """How often each rule found something in each function of a file as it was tried.

    A fix may make a suppression superfluous. Saying so is right, and no reason to undo the fix.
    """
    found = [f for f in report.findings if f.place.path == path and f.rule != suppress.NAME]
    return Counter((_region(finding.place.line, attempt.functions), finding.rule) for finding in found)


def _keyed(placed: Sequence[tuple[int, Finding]], text: str) -> Iterator[tuple[_Key, Finding]]:
    listed = lines(text)
    seen: Counter[tuple[str, str, int, str]] = Counter()
    for region, finding in placed:
        line = listed[finding.place.line - 1].strip() if finding.place.line <= len(listed) else ""
        part = (finding.place.path, finding.rule, region, line)
        seen[part] += 1
        yield (*part, seen[part]), finding


def _region(line: int, functions: Sequence[tuple[int, int]]) -> int:
    """The number of the function that a line lies in, -1 where it lies in none."""
    return next((number for number, (first, last) in enumerate(functions) if first <= line <= last), -1)
