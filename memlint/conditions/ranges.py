"""Ranges that callees demand."""

from __future__ import annotations

from msgspec import Struct

from memlint.conditions.meant import OWNER, WHICH
from memlint.facts.events import Callee
from memlint.facts.limits import Limits, Number, never
from memlint.facts.summary import FunctionId
from memlint.project import REFUTED, Project, holds
from memlint.rule import Answer, Reason, Verdict


class DemandsRange(Struct, frozen=True):
    """The function that is called tests the range of this argument."""

    callee: Callee
    module: str
    argument: int | str

    def settle(self, project: Project) -> Answer:
        """Refuted where no function that is meant does; the bounds are filled in for the fixer."""
        demand, sure = project.demands(self.callee, self.module, self.argument)
        if demand is None:
            return REFUTED
        reasons = (Reason(demand.spot, f"`{demand.parameter}` must lie within these bounds"),)
        facts = (("low", demand.low), ("high", demand.high), ("excluded", demand.excluded))
        if sure:
            return Answer(Verdict.HOLDS, reasons, facts=facts)
        question = WHICH.format(name=self.callee.name)
        return Answer(Verdict.UNKNOWN, reasons, question, facts, would_prove=OWNER)


class OnlyLimited(Struct, frozen=True):
    """All that is passed for a parameter is limited so that none of these tests, (op, bound), can be true."""

    function: FunctionId
    parameter: str
    tests: tuple[tuple[str, Number], ...]

    def settle(self, project: Project) -> Answer:
        """Refuted by one caller that passes anything else."""
        passed = project.passed_to(self.function, self.parameter)
        for _, argument in passed:
            if argument.limits is None or not all(never(Limits(*argument.limits), *test) for test in self.tests):
                return REFUTED
        return holds(*(Reason(caller.call.spot, "passed on here") for caller, _ in passed[:1])) if passed else REFUTED
