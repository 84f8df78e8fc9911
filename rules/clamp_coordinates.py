"""A position plus a displacement reaches a range check unlimited: clamp the step, then the sum.

What it finds
-------------
The sum of two tensors that reaches a range contract with no clamp, wrap, tanh or reflection on the way: an assert or
a raise that compares it with bounds, in the same function or in one that the sum is passed to.

Why it costs
------------
The run dies after hours at the first displacement that leads outside, in a check that stands far from the line that
is to blame.

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

from collections.abc import Iterable, Iterator

from memlint.conditions import DemandsRange
from memlint.facts import FileFacts, Scope
from memlint.facts import nodes as n
from memlint.facts.defects import UnclampedSum
from memlint.facts.events import Contract, Sum
from memlint.rule import Condition, Evidence, Proposal, Severity, rule


@rule(needs=("torch",))
def clamp_coordinates(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each sum and contract that it may meet."""
    for scope in facts.all_scopes():
        sums = {found.id: found for found in scope.events.sums}
        told: set[int] = set()
        for contract in scope.events.contracts:
            for found in _outermost(sums[id_] for id_ in contract.sums - told):
                told |= contract.sums
                evidence = facts.evidence(contract.node, "the range is tested here")
                yield _proposal(facts, scope, found, evidence, (), contract)
        for passed in scope.events.sums_passed:
            for found in _outermost(sums[id_] for id_ in passed.sums - told if sums[id_].tensor):
                site = passed.site
                evidence = facts.evidence(site.node, f"passed to `{site.name}` with no limit on the way")
                demands = DemandsRange(site.callee, facts.names.module, passed.argument)
                yield _proposal(facts, scope, found, evidence, (demands,), None)


def _outermost(sums: Iterable[Sum]) -> list[Sum]:
    """Of sums that are part of one another the whole ones: `a + b + c` is one move."""
    every = sorted(sums, key=lambda found: found.id)
    inner = {id(side) for found in every for side in (found.left, found.right)}
    return [found for found in every if id(found.node) not in inner]


def _terms(expr: n.Expr) -> list[n.Expr]:
    if isinstance(expr, n.Binary) and expr.op == "Add":
        return [*_terms(expr.left), expr.right]
    return [expr]


def _changed_twice(facts: FileFacts, scope: Scope, move: n.Expr) -> Iterator[Evidence]:
    """`step = raw; step *= scale`: the raw displacement is scaled as well, and neither is limited."""
    name = n.dotted(move)
    for stmt in scope.statements():
        if isinstance(stmt, n.Assign) and name in n.target_names(stmt.targets[0]) and n.dotted(stmt.value):
            other = n.dotted(stmt.value)
            for later in scope.statements():
                if isinstance(later, n.Augment) and n.dotted(later.target) == name:
                    yield facts.evidence(later, f"changes `{other}` as well, which is the same tensor")


def _proposal(facts: FileFacts, scope: Scope, found: Sum, evidence: Evidence, conditions: tuple[Condition, ...],
              contract: Contract | None) -> Proposal:  # fmt: skip
    position, *moves = [facts.text(term) for term in (*_terms(found.left), found.right)]
    low, high, excluded = (contract.low, contract.high, contract.excluded) if contract is not None else ("", "", "")
    changed = _changed_twice(facts, scope, found.right) if isinstance(found.right, n.Name) else ()
    return Proposal(
        message=f"`{position}` plus a displacement reaches a range check without a limit",
        place=facts.place(found.node),
        fact=UnclampedSum(facts.span(found.node), position, " + ".join(moves), low, high, found.augmented, excluded),
        evidence=(*changed, facts.evidence(found.node, "nothing limits this sum"), evidence),
        conditions=conditions,
        severity=Severity.ERROR,
    )
