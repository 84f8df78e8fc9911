"""A position plus a displacement reaches a range check unlimited: clamp the step, then the sum.

What it finds
-------------
The sum of two tensors that reaches a range contract with no clamp, wrap, tanh or reflection on the way: an assert or
a raise that compares it with bounds, in the same function or in one that the sum is passed to.

Why it costs
------------
The run dies after hours at the first displacement that leads outside, or, where the contract is an index, reads the
wrong memory or fails inside a kernel, far from the line that is to blame.

When it stays silent
--------------------
Where the sum is clamped, wrapped with a modulo, or squashed before it is tested, where it is recomputed from
limited values, and where nothing tests it.

Fix safety
----------
Unsafe: values outside the bounds change, and their gradient becomes zero.

Example
-------
    import torch


    def to_cell(position: torch.Tensor, size: int) -> torch.Tensor:
        assert torch.all(position >= -1.0) and torch.all(position <= 1.0)
        return ((position + 1.0) / 2.0 * (size - 1)).long()


    def move(position: torch.Tensor, displacement: torch.Tensor) -> torch.Tensor:
        following = position + displacement
        return to_cell(following, 16)

Use instead
-----------
    import torch

    from memlint.runtime import clamp_step


    def to_cell(position: torch.Tensor, size: int) -> torch.Tensor:
        assert torch.all(position >= -1.0) and torch.all(position <= 1.0)
        return ((position + 1.0) / 2.0 * (size - 1)).long()


    def move(position: torch.Tensor, displacement: torch.Tensor) -> torch.Tensor:
        following = clamp_step(position, displacement, low=-1.0, high=1.0)
        return to_cell(following, 16)

From
----
energy_flow's optimisation report: "normalised coordinates must be in [-1, 1], got [-0.939, 1.081]".
"""

from __future__ import annotations

from collections.abc import Iterator

from memlint.conditions import DemandsRange
from memlint.facts import FileFacts, Scope
from memlint.facts import nodes as n
from memlint.facts.defects import UnclampedSum
from memlint.facts.events import Sum
from memlint.rule import Condition, Evidence, Proposal, Severity, rule


@rule(needs=("torch",))
def clamp_coordinates(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each sum and contract that it may meet."""
    for scope in facts.all_scopes():
        sums = {found.id: found for found in scope.events.sums}
        told: set[int] = set()
        for contract in scope.events.contracts:
            if contract.how in ("assert", "raise") and (contract.low is not None or contract.high is not None):
                for id_ in sorted(contract.sums - told):
                    told.add(id_)
                    evidence = facts.evidence(contract.node, "the range is tested here")
                    bounds = (_text(facts, contract.low), _text(facts, contract.high))
                    yield _proposal(facts, sums[id_], bounds, evidence, ())
        for passed in scope.events.sums_passed:
            for id_ in sorted(id_ for id_ in passed.sums - told if sums[id_].tensor):
                evidence = facts.evidence(passed.node, f"passed to `{passed.name}` with no limit on the way")
                condition = DemandsRange(passed.name, passed.path, passed.receiver, _on_self(scope, passed.node),
                                         passed.argument)  # fmt: skip
                yield _proposal(facts, sums[id_], ("", ""), evidence, (condition,))


def _proposal(facts: FileFacts, found: Sum, bounds: tuple[str, str], evidence: Evidence,
              conditions: tuple[Condition, ...]) -> Proposal:  # fmt: skip
    return Proposal(
        message=f"`{facts.text(found.left)}` plus a displacement reaches a range check without a limit",
        place=facts.place(found.node),
        fact=UnclampedSum(
            facts.span(found.node), facts.text(found.left), facts.text(found.right), *bounds, augmented=found.augmented
        ),
        evidence=(facts.evidence(found.node, "nothing limits this sum"), evidence),
        conditions=conditions,
        severity=Severity.ERROR,
    )


def _text(facts: FileFacts, expr: n.Expr | None) -> str:
    return facts.text(expr) if expr is not None else ""


def _on_self(scope: Scope, call: n.Call) -> bool:
    return isinstance(call.func, n.Attr) and n.dotted(call.func.value) == scope.self_name != ""
