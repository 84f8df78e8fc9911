"""x"""
from __future__ import annotations
from collections.abc import Iterator
from memlint.conditions import EachTick, Open
from memlint.facts import FileFacts
from memlint.facts.defects import StepWrite
from memlint.facts.stepio import step_io
from memlint.rule import Condition, Proposal, Severity, rule

_MESSAGE = {
    "appended": "`{target}` is opened, written and closed in each pass of the loop",
    "rewritten": "`{target}` is written anew in each pass of the loop",
    "flushed": "`{target}` is flushed to the disk in each pass of the loop",
    "finally": "`{call}` stands in a `finally` inside the loop: it runs in every pass, not at the end",
}


@rule(needs=("open(", "save", "savez", "dump", "flush", "finally"), default=False)
def buffer_step_io(facts: FileFacts) -> Iterator[Proposal]:
    for found in step_io(facts):
        yield Proposal(
            message=_MESSAGE[found.form].format(target=found.target, call=facts.text(found.node)),
            place=facts.place(found.node),
            fact=StepWrite(found.form, facts.span(found.node), facts.span(found.loop.node) if found.loop else None),
            evidence=tuple(facts.evidence(node, message) for node, message in found.reasons),
            conditions=tuple(_conditions(facts, found)),
            severity=Severity.NOTE if found.form == "flushed" else Severity.WARNING,
        )


def _conditions(facts, found) -> Iterator[Condition]:
    if found.loop is None:
        yield EachTick((facts.names.module, found.scope.qualname))
