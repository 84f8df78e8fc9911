"""What the rules say to one file by itself: a pure function of its bytes, so that any process may work it out."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from memlint import registry, suppress
from memlint.facts import FileFacts
from memlint.facts.demands import Demand
from memlint.facts.summary import Summary, summarize
from memlint.rule import Cell, Proposal, Rule
from memlint.source import Source, Unreadable

DIED = "not checked: the process that did it died"
TOO_DEEP = "is nested too deeply to be analysed"
PASSING = frozenset({DIED, TOO_DEEP})
"""What the next run may not say again of the same file: it depends on what else the process was at."""


class FileError(Struct, frozen=True):
    """A file that could not be checked: one line for the user."""

    path: str
    line: int | None
    column: int | None
    message: str
    cell: Cell | None = None


class FileResult(Struct, frozen=True):
    """What one file contributes: a pure function of its bytes and the rules that are asked."""

    summary: Summary
    proposals: tuple[Proposal, ...]


class Question(Struct, frozen=True):
    """What a file is asked. rules: their names. limits: those that the user has declared for settings."""

    rules: tuple[str, ...]
    limits: tuple[Demand, ...] = ()


def answer(path: str, data: bytes, question: Question, packages: frozenset[str]) -> FileResult | FileError | None:
    """What a file contributes: nothing where it asks to be skipped."""
    try:
        source = Source(path, data)
        if suppress.skips_file(source.text):
            return None
        known = registry.rules()
        return propose(source, [known[name] for name in question.rules], packages, question.limits)
    except Unreadable as error:
        return FileError(path, error.line, error.column, error.message)
    except RecursionError:
        return FileError(path, None, None, TOO_DEEP)


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


def _named(proposal: Proposal, rule: str) -> Proposal:
    return Proposal(
        proposal.message, proposal.place, proposal.fact, proposal.evidence, proposal.conditions, proposal.severity, rule
    )
