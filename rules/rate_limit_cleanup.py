"""Caches are emptied in every step: do it at intervals, and only when there is something to free.

What it finds
-------------
`torch.cuda.empty_cache()`, `gc.collect()` or `mx.clear_cache()` in every pass of a training loop, or in a function that
such a loop calls in every pass; a call under a threshold on what is allocated, which emptying the cache can't lower, so
that it fires in every step once it is above, also where an interval stands beside it (`step % 10 == 0 or allocated >
limit`); and an MLX training loop where nothing limits the buffer cache.

Why it costs
------------
Freed blocks go back to the driver and have to be asked for again in the next step, and each such call waits for the
device; a full collection walks over every object of the program. Training loops became two times faster without them,
at the same peak of memory.

When it stays silent
--------------------
After an out-of-memory error, behind an interval or a counter, once per call or epoch, between models that are loaded
one after the other, under a threshold on what is reserved, in tests and benchmarks.

Fix safety
----------
Unsafe: the cache may stay larger for some steps. `Cleanup` counts the steps, looks at the memory that is reserved and
not in use, and rests after it has emptied the cache. A `gc.collect` goes with it, as often. In a method that a loop
calls, it is made in the class's constructor; a function without an object has no automatic fix.

Example
-------
    import gc

    import torch
    import torch.nn.functional as F


    def train(model: torch.nn.Module, optimizer, batches: list) -> None:
        for inputs, targets in batches:
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
            torch.cuda.empty_cache()
            gc.collect()

Use instead
-----------
    import gc

    import torch
    import torch.nn.functional as F

    from memlint.runtime import Cleanup


    def train(model: torch.nn.Module, optimizer, batches: list) -> None:
        cleanup = Cleanup(prune=gc.collect)
        for inputs, targets in batches:
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
            cleanup.step()

From
----
energy_flow's report (10-20 % of each step went into emptying the cache), Atheria's and Empirical Distrust's plans, and
training scripts in public repositories.
"""

from __future__ import annotations

from collections.abc import Iterator

from memlint.conditions import CalledEachStep, NothingBoundsCache, Open
from memlint.facts import FileFacts
from memlint.facts.cleanups import ALLOCATED, IN_A_STEP, MLX, Cleaning, cleanings
from memlint.facts.defects import CacheCleared
from memlint.rule import Condition, Proposal, Severity, rule

_MESSAGE = {
    "each-step": "`{call}` runs in every step of the loop",
    "in-a-step": "`{call}` runs in every step, because a training loop calls this function",
    "allocated": "`{call}` waits for a threshold that it can't lower: once memory is above it, it runs every time",
    "mlx": "nothing limits MLX's buffer cache in this training loop",
}


@rule(needs=("empty_cache", "gc.collect", "clear_cache", "mlx", "import collect"))
def rate_limit_cleanup(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each loop, function or threshold."""
    for cleaning in cleanings(facts):
        first = cleaning.calls[0]
        yield Proposal(
            message=_MESSAGE[cleaning.form].format(call=facts.text(first)),
            place=facts.place(first),
            fact=CacheCleared(
                cleaning.form,
                tuple(facts.span(call) for call in cleaning.calls),
                facts.span(cleaning.loop) if cleaning.loop is not None else None,
                facts.span(cleaning.owner.node) if cleaning.owner is not None and cleaning.owner.node else None,
                cleaning.scope.self_name,
            ),
            evidence=tuple(facts.evidence(node, message) for node, message in cleaning.reasons),
            conditions=tuple(_conditions(facts, cleaning)),
            severity=Severity.NOTE if cleaning.form == MLX else Severity.WARNING,
        )


def _conditions(facts: FileFacts, cleaning: Cleaning) -> Iterator[Condition]:
    function = (facts.names.module, cleaning.scope.qualname)
    if cleaning.form == IN_A_STEP or cleaning.form == ALLOCATED and not cleaning.scope.events.loops:
        yield CalledEachStep(function)
    if cleaning.form == MLX:
        yield NothingBoundsCache()
    for question in cleaning.questions:
        yield Open(question)
