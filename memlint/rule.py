"""What a rule says: proposals with evidence and open conditions, and what the project makes of them: findings."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from memlint.facts import FileFacts


class Cell(Struct, frozen=True):
    """Where a stretch of a notebook's code stands: in which of its cells, counted from 1 over all of them, where in
    that one, and in which lines of the file."""

    number: int
    line: int
    column: int
    end_line: int
    end_column: int
    file_line: int
    file_end_line: int


class Place(Struct, frozen=True, order=True):
    """A stretch of source. Lines and columns count from 1; the end column is the first one after the stretch.

    cell: in a notebook, whose cells make one source.
    """

    path: str
    line: int
    column: int
    end_line: int
    end_column: int
    cell: Cell | None = None


class Spot(Struct, frozen=True):
    """An event of a file's facts whose place nobody has asked for yet: scope by number, list of events, index.

    Finding out where every call of a project stands would cost half as much as parsing it; few are ever shown.
    """

    path: str
    scope: int
    events: str
    index: int


class Evidence(Struct, frozen=True):
    """One step of the reasoning, with the place in the source that shows it."""

    place: Place
    message: str


class Reason(Struct, frozen=True):
    """Evidence from a summary: its place is looked up when a finding shows it."""

    spot: Spot
    message: str


class Tier(str, enum.Enum):
    """How sure a finding is. Refuted proposals never become findings, so they need no tier."""

    PROVED = "proved"
    SUSPECTED = "suspected"


class Severity(str, enum.Enum):
    """How much a finding costs the one who ignores it."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Verdict(str, enum.Enum):
    """What the project says to a condition."""

    HOLDS = "holds"
    UNKNOWN = "unknown"
    REFUTED = "refuted"


class Answer(Struct, frozen=True):
    """A verdict with its reasons.

    open_question: what is unknown. would_prove: what the user can write or do to settle it.
    silent_if: what would have refuted the condition. facts: completes the fix's fact.
    """

    verdict: Verdict
    reasons: tuple[Reason, ...] = ()
    open_question: str = ""
    facts: tuple[tuple[str, Any], ...] = ()
    would_prove: str = ""
    silent_if: str = ""


class Condition(Protocol):
    """A question that only the project can settle. Implementations: `memlint.conditions`."""

    def settle(self, project: Any) -> Answer: ...


class Proposal(Struct, frozen=True):
    """What a rule found in one file, before the project has spoken. Holds no tree nodes, so it can be pickled."""

    message: str
    place: Place
    fact: Any
    evidence: tuple[Evidence, ...] = ()
    conditions: tuple[Condition, ...] = ()
    severity: Severity = Severity.WARNING
    rule: str = ""


class Finding(Struct, frozen=True):
    """A proposal that the project did not refute.

    would_prove: for each of the open questions, what would settle it. silent_if: what would have refuted it.
    """

    rule: str
    message: str
    place: Place
    tier: Tier
    severity: Severity
    evidence: tuple[Evidence, ...]
    fact: Any
    open_questions: tuple[str, ...] = ()
    would_prove: tuple[str, ...] = ()
    silent_if: tuple[str, ...] = ()

    @property
    def unknowns(self) -> list[tuple[str, str]]:
        """Each open question with what would settle it."""
        return list(zip_longest(self.open_questions, self.would_prove, fillvalue=""))


Find = Callable[["FileFacts"], Iterable[Proposal]]


class Rule(Struct, frozen=True):
    """A rule: its name, its page (the module's docstring), what it needs to see, and its question to the facts."""

    name: str
    doc: str
    find: Find
    needs: tuple[str, ...]
    default: bool
    options: dict[str, Any]

    @property
    def summary(self) -> str:
        """The first line of the page."""
        return self.doc.strip().splitlines()[0]

    def proposals(self, facts: FileFacts) -> Iterator[Proposal]:
        """Ask the facts of one file."""
        return iter(self.find(facts))


def rule(
    *, needs: tuple[str, ...] = (), default: bool = True, options: dict[str, Any] | None = None
) -> Callable[[Find], Find]:
    """Mark the one function of a rule file that finds.

    needs: substrings of which a file must contain at least one, or the rule is not asked (empty: always asked).
    default: whether the rule is on without being selected.
    options: the rule's settings with their defaults.
    """

    def mark(find: Find) -> Find:
        find.memlint = {"needs": needs, "default": default, "options": options or {}}  # type: ignore[attr-defined]
        return find

    return mark
