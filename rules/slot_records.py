"""x"""
from __future__ import annotations
from collections.abc import Iterator
from memlint.conditions import EachTick, NothingTrims
from memlint.facts import FileFacts
from memlint.facts.defects import RecordClass
from memlint.facts.records import records
from memlint.rule import Condition, Proposal, Severity, rule


@rule(needs=("class ",), default=False, options={"python": ""})
def slot_records(facts: FileFacts) -> Iterator[Proposal]:
    for found in records(facts):
        growth = found.history.growth
        function = (facts.names.module, found.history.scope.qualname)
        conditions: list[Condition] = [NothingTrims(growth.holder, function)]
        if not found.history.repeats:
            conditions.append(EachTick(function, now_and_then=True))
        yield Proposal(
            message=f"each `{found.cls.name}` carries a dict of its own, and `{facts.text(growth.container)}` keeps one per step",
            place=facts.place(found.decorator or found.cls.node),
            fact=RecordClass("dataclass" if found.decorator else "plain", facts.span(found.decorator) if found.decorator else None, found.fields, tuple(found.obstacles)),
            evidence=tuple(facts.evidence(*reason) for reason in found.history.reasons),
            conditions=tuple(conditions),
            severity=Severity.NOTE,
        )
