"""Nobody measures memory in a training step: log it where the step begins and where it ends.

What it finds
-------------
A function that is one training step, or a loop whose body is one, where neither the step, nor what it calls, nor what
calls it measures memory; and a function that measures memory and writes it down, which other modules import and nothing
calls. An import alone is no use.

Why it costs
------------
A run that dies after ten hours says in which line, not since when it grew. Two lines in each step that are formatted
only when somebody wants to read them tell which step and which part of it began to keep memory.

When it stays silent
--------------------
Where a probe of torch, MLX, psutil or the runtime is called in the step or around it, with a profiler or a callback
that records memory, in unit tests, and for helpers that nobody imports: they may be there for others.

Fix safety
----------
Unsafe only because a call is added: `log_memory_state` writes one line at the level DEBUG and asks nothing while that
is off. A function gets it at its entry and in a `finally`, so that a step that raises is logged as well; a loop gets it
at the top of each pass. A probe that nothing calls has no fix: call it where a step begins and ends.

Example
-------
    import torch
    import torch.nn.functional as F


    def train(model: torch.nn.Module, optimizer: torch.optim.Optimizer, batches: list) -> None:
        for inputs, targets in batches:
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()

Use instead
-----------
    import torch
    import torch.nn.functional as F

    from memlint.runtime import log_memory_state


    def train(model: torch.nn.Module, optimizer: torch.optim.Optimizer, batches: list) -> None:
        for inputs, targets in batches:
            log_memory_state("train")
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()

From
----
energy_flow's memory plan (step 2): the logger was imported by three modules and called in none.
"""

from __future__ import annotations

from collections.abc import Iterator

from memlint.conditions import ImportedNeverCalled, NobodyMeasures
from memlint.facts import FileFacts
from memlint.facts.defects import UnwatchedStep
from memlint.facts.unwatched import LOOP, STEP, UNUSED, unwatched
from memlint.rule import Proposal, Severity, rule

_MESSAGE = {
    STEP: "nobody measures memory in `{name}`, which is a training step",
    LOOP: "nobody measures memory in this training loop",
    UNUSED: "`{name}` measures memory, is imported, and nothing calls it",
}


@rule(needs=("backward", "mem"), default=False)
def log_memory_state(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each training step and each probe."""
    for found in unwatched(facts):
        function = (facts.names.module, found.scope.qualname)
        place = found.loop if found.loop is not None else found.scope.node
        assert place is not None
        yield Proposal(
            message=_MESSAGE[found.form].format(name=found.scope.name),
            place=facts.place(found.node),
            fact=UnwatchedStep(found.form, found.scope.name, facts.span(place)),
            evidence=tuple(facts.evidence(node, reason) for node, reason in found.reasons),
            conditions=(ImportedNeverCalled(function) if found.form == UNUSED else NobodyMeasures(function),),
            severity=Severity.NOTE,
        )
