"""What the rules say to one file by itself: a pure function of its bytes, so that any process may work it out."""

from __future__ import annotations

import os
from collections.abc import Sequence

from msgspec import Struct

from memlint import registry, suppress
from memlint.facts import FileFacts
from memlint.facts.demands import Demand
from memlint.facts.summary import Summary, summarize
from memlint.rule import Cell, Proposal, Rule
from memlint.source import Source, Unreadable

DIED = "not checked: the process that did it died"
DEFECT = "not checked: a defect of memlint"
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

    def is_of(self, path: str) -> bool:
        """Whether it speaks of this file."""
        return self.summary.path == path and all(proposal.place.path == path for proposal in self.proposals)


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
    except Exception as error:  # of a rule, say: all other files are still checked
        return FileError(path, None, None, f"{DEFECT}, please report it: {_told(error)}")


def _told(error: Exception) -> str:
    """An error in one line, with the place that it comes from."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    at = "" if trace is None else f" ({os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno})"
    return f"{type(error).__name__}: {error}".replace("\n", " ") + at


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
