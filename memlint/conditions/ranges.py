"""Ranges that callees demand."""

from __future__ import annotations

from dataclasses import dataclass

from memlint.conditions.meant import OWNER, WHICH, call_of
from memlint.project import REFUTED, Project
from memlint.rule import Answer, Reason, Verdict


@dataclass(frozen=True, slots=True)
class DemandsRange:
    """The function that is called tests the range of this argument."""

    name: str
    path: str
    receiver: str
    on_self: bool
    argument: int | str

    def settle(self, project: Project) -> Answer:
        """Refuted where no function that is meant does; the bounds are filled in for the fixer."""
        call = call_of(self.name, self.path, self.receiver, self.on_self)
        demand, sure = project.demands(call, self.argument)
        if demand is None:
            return REFUTED
        reasons = (Reason(demand.spot, f"`{demand.parameter}` must lie within these bounds"),)
        facts = (("low", demand.low), ("high", demand.high), ("excluded", demand.excluded))
        if sure:
            return Answer(Verdict.HOLDS, reasons, facts=facts)
        question = WHICH.format(name=call.name)
        return Answer(Verdict.UNKNOWN, reasons, question, facts, would_prove=OWNER)
