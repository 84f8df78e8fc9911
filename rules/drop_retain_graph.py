"""A backward keeps its graph although nothing uses it again: leave `retain_graph` out.

What it finds
-------------
`loss.backward(retain_graph=True)` after which the function runs no second backward, `autograd.grad` or unknown call on
anything that the loss was computed from, and whose graph is made anew in each pass of the loop.

Why it costs
------------
The buffers of the whole forward pass stay until the loss is gone: up to the next step, so that two steps' activations
are alive at once, or longer where somebody keeps the loss.

When it stays silent
--------------------
Where a later backward or an unknown call shares any part of the graph (two losses of one output, a generator and a
discriminator, gradient penalties), where the loop reuses what was computed before it, where a state is carried from
step to step, where the loss is returned or stored, and with `create_graph`.

Fix safety
----------
Unsafe: values and gradients stay the same, but a backward that memlint does not see would fail.

Example
-------
    import torch.nn.functional as F
    from torch import nn


    def train(optimizer, batches: list) -> None:
        model = nn.Linear(8, 2)
        for inputs, targets in batches:
            loss = F.mse_loss(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward(retain_graph=True)
            optimizer.step()

Use instead
-----------
    import torch.nn.functional as F
    from torch import nn


    def train(optimizer, batches: list) -> None:
        model = nn.Linear(8, 2)
        for inputs, targets in batches:
            loss = F.mse_loss(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

From
----
A translation toolkit's sharded loss, and training loops in public repositories where it was added against an error that
is long gone.
"""

from __future__ import annotations

from collections.abc import Iterator

from memlint.conditions import CutsGraphs, Open
from memlint.facts import FileFacts
from memlint.facts.defects import GraphKept
from memlint.facts.retained import Retained, retained_graphs
from memlint.rule import Condition, Proposal, rule


@rule(needs=("retain_graph",), default=False)
def drop_retain_graph(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each backward that is the last one on its graph."""
    for retained in retained_graphs(facts):
        yield Proposal(
            message="`retain_graph=True` keeps a graph that nothing uses again",
            place=facts.place(retained.call),
            fact=GraphKept(facts.span(retained.call)),
            evidence=tuple(facts.evidence(node, message) for node, message in retained.reasons),
            conditions=tuple(_conditions(facts, retained)),
        )


def _conditions(facts: FileFacts, retained: Retained) -> Iterator[Condition]:
    if retained.source:
        yield CutsGraphs((facts.names.module, retained.source))
    for question in retained.questions[:1]:
        yield Open(question)
