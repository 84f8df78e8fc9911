"""x"""
from __future__ import annotations
from collections.abc import Iterator
from memlint.conditions import EachTick, NothingTrims
from memlint.facts import FileFacts
from memlint.facts.defects import LinearSearch
from memlint.facts.lookups import lookups
from memlint.rule import Condition, Proposal, rule


@rule(needs=("append", "extend", "+="), default=False)
def index_lookups(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each search."""
    for found in lookups(facts):
        function = (facts.names.module, found.scope.qualname)
        growing = (facts.names.module, found.history.scope.qualname)
        conditions: list[Condition] = [NothingTrims(found.history.growth.holder, growing)]
        if not found.history.repeats:
            conditions.append(EachTick(growing, now_and_then=True))
        if found.loop is None:
            conditions.append(EachTick(function))
        yield Proposal(
            message=f"each step searches all of `{found.container}`, which grows with every step",
            place=facts.place(found.node),
            fact=LinearSearch(facts.span(found.node), found.container),
            evidence=tuple(facts.evidence(node, message) for node, message in found.reasons),
            conditions=tuple(conditions),
        )
