"""A recurrent state carries the graph of all earlier steps along: detach it where a step begins.

What it finds
-------------
A hidden state (a tensor, a tuple or list of them, on a name or an attribute) that a module is given and hands back in
each pass of a loop that runs backward, and that nothing detaches or makes anew in between; the same for a state that an
object keeps from one call of a method to the next; and a method that detaches some entries of a state and forgets one
that the forward pass sets beside them.

Why it costs
------------
The second backward walks into the graph of the first step. Either it stops with "Trying to backward through the graph a
second time", or, where `retain_graph=True` was added against that, each step keeps and computes all the steps before
it: memory and time grow with every step.

When it stays silent
--------------------
Where the state is detached, renewed, or handed to something that may do so, in the loop; where the module detaches what
it hands back; for one sequence that is unrolled and only then goes backward; with gradients off; where backward runs
every few steps on purpose.

Fix safety
----------
Unsafe: gradients no longer flow from one step into those before it, which is what truncated backpropagation means.

Example
-------
    import torch
    from torch import nn


    def train(rnn: nn.LSTM, optimizer, batches: list) -> None:
        hidden = (torch.zeros(1, 4, 8), torch.zeros(1, 4, 8))
        for batch in batches:
            optimizer.zero_grad()
            output, hidden = rnn(batch, hidden)
            output.pow(2).mean().backward()
            optimizer.step()

Use instead
-----------
    import torch
    from torch import nn

    from memlint.runtime import detach


    def train(rnn: nn.LSTM, optimizer, batches: list) -> None:
        hidden = (torch.zeros(1, 4, 8), torch.zeros(1, 4, 8))
        for batch in batches:
            hidden = detach(hidden)
            optimizer.zero_grad()
            output, hidden = rnn(batch, hidden)
            output.pow(2).mean().backward()
            optimizer.step()

From
----
Atheria's ConvLSTM states, and language models and recurrent policies in public repositories.
"""

from __future__ import annotations

from collections.abc import Iterator

from memlint.conditions import KeepsStateGraph, NothingResets, SomeCallerWithGrad, TrainedInALoop
from memlint.facts import FileFacts
from memlint.facts.defects import StateCarried
from memlint.facts.forgotten import forgotten_entries
from memlint.facts.recurrence import Carried, carried_states
from memlint.rule import Condition, Proposal, Severity, rule


@rule(needs=("torch",))
def detach_recurrent_state(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each call that carries a state."""
    for carried in carried_states(facts):
        name = carried.states[0]
        yield Proposal(
            message=f"`{name}` carries the graph of each step into the next one, and nothing detaches it",
            place=facts.place(carried.call),
            fact=StateCarried(carried.states, facts.span(carried.before)),
            evidence=tuple(facts.evidence(node, message) for node, message in carried.reasons),
            conditions=tuple(_conditions(facts, carried)),
            severity=Severity.ERROR,
        )
    for forgotten in forgotten_entries(facts):
        name = facts.text(forgotten.target)
        yield Proposal(
            message=f"`{name}` is not detached with the rest of the state",
            place=facts.place(forgotten.last),
            fact=StateCarried((name,), facts.span(forgotten.last), after=True),
            evidence=tuple(facts.evidence(node, message) for node, message in forgotten.reasons),
            severity=Severity.ERROR,
        )


def _conditions(facts: FileFacts, carried: Carried) -> Iterator[Condition]:
    function = (facts.names.module, carried.scope.qualname)
    yield KeepsStateGraph(carried.callee)
    if carried.attribute:
        yield NothingResets(carried.attribute, function)
        yield TrainedInALoop(function)
        yield SomeCallerWithGrad(function)
