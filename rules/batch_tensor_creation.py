"""Tensors on the device are made or filled one item at a time: make or fill them in one call.

What it finds
-------------
A tensor on a device that a loop fills entry by entry, such as `mask[i] = True`; numbers that are copied there for each
item, such as `torch.tensor([x, y, z], device=device)`; and the same `torch.zeros(8, 64, device=device)` for each of the
many items that are kept.

Why it costs
------------
Each of these is an operation of its own on the device, and numbers have to be copied there before it: the loop is spent
on launching, whatever the size of the tensor. Thousands of small tensors also take a block of the allocator each.

When it stays silent
--------------------
For tensors on the CPU, such as those of a collate function; rows and slices of different lengths; loops that do other
work on tensors for each item, run a network, read what they have filled, or may end early while they fill; short
constant loops, one tensor per step, batch or layer; shapes that differ from item to item; tests and benchmarks.

Fix safety
----------
Unsafe. A mask is filled as a list and copied once, with the same values. A `torch.stack` of small tensors becomes one
`torch.tensor`. In other cases there is no edit: a guard on a container that the loop grows has to stay where it
is, and a row of a batched tensor keeps all of it alive as long as it is kept.

Example
-------
    import torch


    def finished(reasons: list, device: torch.device) -> torch.Tensor:
        mask = torch.zeros(len(reasons), dtype=torch.bool, device=device)
        for i, reason in enumerate(reasons):
            if reason == "left the box":
                mask[i] = True
        return mask

Use instead
-----------
    import torch


    def finished(reasons: list, device: torch.device) -> torch.Tensor:
        return torch.tensor([reason == "left the box" for reason in reasons], dtype=torch.bool, device=device)

From
----
energy_flow's optimisation report: creating 100,000 flows took seconds, with a position, a hidden state and a distance
of its own for each.
"""

from __future__ import annotations

from collections.abc import Iterator

from memlint.conditions import Open
from memlint.facts import FileFacts
from memlint.facts import nodes as n
from memlint.facts.creations import EMPTY, FILLED, Creation, creations, indices_of
from memlint.facts.defects import MadePerItem, Span
from memlint.rule import Condition, Evidence, Proposal, Severity, rule

_MESSAGE = {
    "filled": "this loop fills {tensors} one entry at a time: each write is an operation of its own on the device",
    "numbers": "this loop copies a few numbers to the device for each item: `{call}`",
    "empty": "this loop makes the same tensor anew for each item: `{call}`",
}
_LONGEST = 60


@rule(needs=("torch",))
def batch_tensor_creation(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each tensor that is filled, and for each call."""
    for found in creations(facts):
        call = " ".join(facts.text(found.made).split())
        call = call if len(call) <= _LONGEST else f"{call[:_LONGEST]}..."
        yield Proposal(
            message=_MESSAGE[found.form].format(tensors=", ".join(f"`{name}`" for name in found.tensors), call=call),
            place=facts.place(found.node),
            fact=_fact(facts, found),
            evidence=tuple(_evidence(facts, found)),
            conditions=tuple(_conditions(found)),
            severity=Severity.WARNING,
        )


def _evidence(facts: FileFacts, found: Creation) -> Iterator[Evidence]:
    if found.form == FILLED:
        yield facts.evidence(found.made, f"`{found.tensors[0]}` is made here, on a device")
    yield facts.evidence(found.around.iter, "in each pass of this")
    if found.form == EMPTY:
        yield facts.evidence(found.node, f"and kept in `{found.grown}`")


def _conditions(found: Creation) -> Iterator[Condition]:
    if not found.certain:
        yield Open("whether the tensor is on the accelerator: on the CPU only Python's own time is lost")
    elif found.form != FILLED and found.gathered is None:
        yield Open("how many items there are")


def _fact(facts: FileFacts, found: Creation) -> MadePerItem:
    return MadePerItem(
        form=found.form,
        loop=facts.span(found.around.node),
        node=facts.span(found.node),
        targets=tuple(_target(facts, stmt) for stmt in found.writes),
        gathered=facts.span(found.gathered) if found.gathered is not None else None,
    )


def _target(facts: FileFacts, stmt: n.Assign) -> tuple[Span, str, tuple[str, ...]]:
    return facts.span(stmt.targets[0]), n.root(stmt.targets[0]), tuple(facts.text(index) for index in indices_of(stmt))
