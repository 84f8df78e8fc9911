"""A value is clamped and then tested for lying outside, which is never true: test it first, clamp it last.

What it finds
-------------
A comparison, a mask or a branch that asks whether a value lies beyond a bound that a `clamp`, a `clip` or a pair of
`min` and `max` has just enforced, in the same function or in one that is handed nothing but clamped values.

Why it costs
------------
What hangs on the test never happens: walls that were to reflect swallow the speed of whatever hits them, clipped
values are counted as none, and the code looks as if it did its work.

When it stays silent
--------------------
Tests that can be true, as `>=` at the bound itself can; tests of another value or with another bound; a value that was
changed after the clamp; asserts, and branches that only raise or report.

Fix safety
----------
No repair: which of the two was meant, only the author knows. Keep the raw value, test that, `reflect` it if that was
the aim, and clamp last.

Example
-------
    import torch


    def bounce(position: torch.Tensor, velocity: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        position = (position + velocity).clamp(-1.0, 1.0)
        outside = (position < -1.0) | (position > 1.0)
        return position, torch.where(outside, -velocity, velocity)

Use instead
-----------
    import torch

    from memlint.runtime import reflect


    def bounce(position: torch.Tensor, velocity: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        moved = position + velocity
        outside = (moved < -1.0) | (moved > 1.0)
        return reflect(moved, low=-1.0, high=1.0), torch.where(outside, -velocity, velocity)

From
----
energy_flow: its reflection at the walls was never triggered. The report blamed a default; the position had been
clamped four statements before the test.
"""

from __future__ import annotations

from collections.abc import Iterator

from memlint.conditions import OnlyLimited
from memlint.facts import FileFacts
from memlint.facts.defects import TestAfterClamp
from memlint.facts.limits import Limits
from memlint.facts.outside import Futile, futile_tests
from memlint.rule import Condition, Proposal, Severity, rule


@rule(needs=("clamp", "clip", "min("))
def test_before_clamp(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each clamp with pointless tests behind it."""
    for found in futile_tests(facts):
        check = found.checks[0]
        conditions: tuple[Condition, ...] = ()
        if found.parameter:
            function = (facts.names.module, found.tested_in.qualname)
            tests = tuple((check.op, float(check.bound)) for check in found.checks)
            conditions = (OnlyLimited(function, found.parameter, tests),)
        test = facts.text(check.node).strip("()")
        line = facts.place(check.node).line
        yield Proposal(
            message=f"after this clamp {_range(found)}, `{test}` in line {line} is never true",
            place=facts.place(found.clamp.node),
            fact=TestAfterClamp(facts.span(found.clamp.node), facts.span(check.node)),
            evidence=(
                facts.evidence(found.clamp.node, "the value is clamped here"),
                facts.evidence(check.node, "tested here for lying outside"),
            ),
            conditions=conditions,
            severity=Severity.ERROR,
        )


def _range(found: Futile) -> str:
    limits = Limits(found.clamp.low, found.clamp.high) if found.checks[0].absolute else found.limits
    if limits.low is None:
        return f"to at most {limits.high}"
    return f"to at least {limits.low}" if limits.high is None else f"to {limits.low} .. {limits.high}"
