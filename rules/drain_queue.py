"""x"""
from __future__ import annotations
from collections.abc import Iterator
from memlint.conditions import EachTick, Open
from memlint.facts import FileFacts
from memlint.facts.defects import OneTaken
from memlint.facts.draining import Taken, taken
from memlint.rule import Condition, Proposal, rule


@rule(needs=(".get(", "get_nowait"), default=False, options={"limit": 100})
def drain_queue(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each queue that a tick takes one event from."""
    for found in taken(facts):
        reasons = [*found.reasons, *([(found.puts, "several may be put in between two passes")] if found.puts else [])]
        yield Proposal(
            message=f"each pass takes one event from `{found.queue}`, however many wait",
            place=facts.place(found.node),
            fact=OneTaken(found.queue, facts.span(found.test) if found.test is not None else None),
            evidence=tuple(facts.evidence(node, message) for node, message in reasons),
            conditions=tuple(_conditions(facts, found)),
        )


def _conditions(facts: FileFacts, found: Taken) -> Iterator[Condition]:
    if found.loop is None:
        yield EachTick((facts.names.module, found.scope.qualname))
    if found.puts is None:
        yield Open(f"whether more than one event comes into `{found.queue}` between two passes")
