"""Which fixes a command of the user's passes under: all at once, or else by halves, until each is kept or put back.

What is kept passed together, in exactly the files that stay; and none of those that were put back passes beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from memlint.repair import RepairReport, Unit

Make = Callable[[frozenset[Unit]], RepairReport]
"""Works out the repair that makes the fixes of these units and no others."""


class Failure(Struct, frozen=True):
    """How the command failed. tail: the last lines that it printed."""

    reason: str
    tail: tuple[str, ...] = ()


Try = Callable[[RepairReport], "Failure | None"]
"""Puts a repair on the disk and runs the command; None where it passes."""


class Verified(Struct, frozen=True):
    """The repair to keep, and what was put back, each with how the command failed beside what was kept by then."""

    report: RepairReport
    reverted: Mapping[Unit, Failure]


def verify(full: RepairReport, make: Make, attempt: Try) -> Verified:
    """Find a largest repair that the command passes under. It has passed under none.

    full: the repair with all fixes. Largest: no unit can be added, though another choice of units might have more.
    """
    return _Search(full, make, attempt).run()


class _Search:
    def __init__(self, full: RepairReport, make: Make, attempt: Try) -> None:
        self.full, self.make, self.attempt = full, make, attempt
        self.kept: frozenset[Unit] = frozenset()
        self.report = RepairReport()
        self.outcomes: dict[frozenset[Unit], Failure | None] = {}
        self.by_content: dict[frozenset[tuple[str, bytes]], Failure | None] = {frozenset(): None}
        self.reverted: dict[Unit, Failure] = {}

    def run(self) -> Verified:
        waiting: Sequence[Unit] = self.full.made
        if self.passes(waiting, self.full):
            return Verified(self.full, {})
        grown = False
        while waiting or grown:
            self.settle(waiting)
            # What was put back early was tried beside less than what is kept now.
            grown = any(self.passes([unit]) for unit in self.reverted)
            self.reverted = {unit: failure for unit, failure in self.reverted.items() if unit not in self.kept}
            if not self.kept:
                self.report = self.make(self.kept)
            # Of two fixes that stood in each other's way, one may not have been seen before.
            aside = dict.fromkeys(unit for unit, _ in self.report.aside)
            waiting = [unit for unit in aside if unit not in self.reverted]
        return Verified(self.report, self.reverted)

    def settle(self, waiting: Sequence[Unit]) -> None:
        """Keep what passes beside what is kept; of what does not, each half by itself."""
        if not waiting or self.passes(waiting):
            return
        if len(waiting) == 1:
            failure = self.outcomes[self.kept | set(waiting)]
            assert failure is not None
            self.reverted[waiting[0]] = failure
            return
        half = len(waiting) // 2
        self.settle(waiting[:half])
        self.settle(waiting[half:])

    def passes(self, more: Sequence[Unit], report: RepairReport | None = None) -> bool:
        """Whether the command passes with these units beside what is kept; then they are kept, too."""
        units = self.kept | set(more)
        if units not in self.outcomes:
            report = report or self.make(units)
            content = frozenset((path, new) for path, (_, new) in report.changed.items())
            if content not in self.by_content:
                self.by_content[content] = self.attempt(report)
            self.outcomes[units] = self.by_content[content]
            if self.outcomes[units] is None:
                self.kept, self.report = units, report
        return self.outcomes[units] is None
