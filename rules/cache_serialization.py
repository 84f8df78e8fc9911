"""x"""
from __future__ import annotations
from collections.abc import Iterator
from memlint.conditions import EachTick, ReadHereOnly
from memlint.facts import FileFacts
from memlint.facts.defects import SameResult
from memlint.facts.unchanged import repeated
from memlint.rule import Condition, Proposal, rule


@rule(needs=("json", "pickle", "yaml", "msgpack", "linalg", "pformat", "marshal"), default=False)
def cache_serialization(facts: FileFacts) -> Iterator[Proposal]:
    for found in repeated(facts):
        conditions: list[Condition] = []
        if found.loop is None:
            conditions.append(EachTick((facts.names.module, found.scope.qualname)))
        if found.attribute:
            conditions.append(ReadHereOnly(found.attribute, facts.names.module))
        yield Proposal(
            message=f"`{facts.text(found.node)}` gives the same result in each pass: nothing changes `{found.of}`",
            place=facts.place(found.node),
            fact=SameResult(facts.span(found.node), facts.span(found.loop.node) if found.loop is not None else None),
            evidence=tuple(facts.evidence(node, message) for node, message in found.reasons),
            conditions=tuple(conditions),
        )
