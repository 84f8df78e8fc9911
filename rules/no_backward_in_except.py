"""A step is run again inside `except`: leave the handler first, then retry.

What it finds
-------------
A forward pass, a `backward()` or a function that trains, called in the handler of an out-of-memory error whose `try`
holds such a step: `except torch.cuda.OutOfMemoryError`, or a handler that looks for "out of memory" in the message or
empties the cache.

Why it costs
------------
While a handler runs, the exception and its traceback live, and with them all frames of the failed step and every tensor
in their local names. The second attempt runs beside the memory of the first, so it fails where it need not, and
`empty_cache()` in the handler frees nothing of it.

When it stays silent
--------------------
Where the handler only notes the failure, clears, skips or raises again and the retry comes behind it; for handlers of
other errors; with gradients off; where the traceback's frames are cleared.

Fix safety
----------
There is no automatic fix: which names to set in the handler and to test behind it is a matter of the program.

Example
-------
    import torch


    def step(model: torch.nn.Module, batch: torch.Tensor) -> None:
        try:
            model(batch).sum().backward()
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
            for part in batch.chunk(2):
                model(part).sum().backward()

Use instead
-----------
    import torch


    def step(model: torch.nn.Module, batch: torch.Tensor) -> None:
        try:
            model(batch).sum().backward()
        except torch.cuda.OutOfMemoryError:
            pass
        else:
            return
        torch.cuda.empty_cache()
        for part in batch.chunk(2):
            model(part).sum().backward()

From
----
PyTorch's own advice on recovering from an out-of-memory error, which public training loops keep rediscovering.
"""

from __future__ import annotations

from collections.abc import Iterator

from memlint.conditions import CalleeTrains
from memlint.facts import FileFacts
from memlint.facts.defects import RetriedInHandler
from memlint.facts.recovery import retries
from memlint.rule import Proposal, rule


@rule(needs=("except",), default=False)
def no_backward_in_except(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each handler that runs the failed step again."""
    for retry in retries(facts):
        function = (facts.names.module, retry.scope.qualname)
        yield Proposal(
            message="the step is run again in the handler, while the traceback keeps the failed one's tensors alive",
            place=facts.place(retry.call),
            fact=RetriedInHandler(facts.span(retry.call)),
            evidence=tuple(facts.evidence(node, message) for node, message in retry.reasons),
            conditions=() if retry.trains else (CalleeTrains(function, retry.name),),
        )
