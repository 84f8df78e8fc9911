"""A small part of a tensor is kept and the whole stays in memory: clone the part.

What it finds
-------------
`x[0]`, `x[:, -1]`, `x[:4]`, `x.select(...)` or `x.narrow(...)` put into a list or dict that outlives `x`: one on an
object or in a module, or a list outside the loop in which each `x` is made. In lists of the function itself the finding
is only suspected: how much larger the whole is, is not known.

Why it costs
------------
A part shares the storage of the whole. As long as one row of a batch is kept, so is the batch: a list of a thousand
first tokens can hold a thousand sequences.

When it stays silent
--------------------
Where the part is copied (`clone`, arithmetic, a mask or a list as the index, `.cpu()`); where the whole is kept anyway:
row by row, by another container, by the function's result, on the object; for parts with a graph, which holds more than
the storage.

Fix safety
----------
Unsafe: the kept part is a copy, so a later change in place of the whole no longer shows in it.

Example
-------
    import torch


    class Memory:
        def __init__(self) -> None:
            self.tokens = []

        def step(self, batch: torch.Tensor) -> None:
            hidden = torch.softmax(batch.detach(), dim=-1)
            self.tokens.append(hidden[:, 0])


    def run(memory: Memory, batches) -> None:
        while True:
            memory.step(next(batches))

Use instead
-----------
    import torch


    class Memory:
        def __init__(self) -> None:
            self.tokens = []

        def step(self, batch: torch.Tensor) -> None:
            hidden = torch.softmax(batch.detach(), dim=-1)
            self.tokens.append(hidden[:, 0].clone())


    def run(memory: Memory, batches) -> None:
        while True:
            memory.step(next(batches))

From
----
energy_flow's flows, each of which kept a row of the tensor that all of them were made from.
"""

from __future__ import annotations

from collections.abc import Iterator

from memlint.conditions import Open, PerStep
from memlint.facts import FileFacts
from memlint.facts.defects import KeptView
from memlint.facts.parts import parts
from memlint.rule import Proposal, rule


@rule(needs=("append", "] =", "put(", "insert("), default=False)
def clone_kept_views(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each part that is stored."""
    for part in parts(facts):
        growth = part.growth
        function = (facts.names.module, part.scope.qualname)
        yield Proposal(
            message=f"a part of `{part.whole}` is kept in `{facts.text(growth.container)}` and keeps all of it alive",
            place=facts.place(growth.item),
            fact=KeptView(facts.span(growth.item), part.whole),
            evidence=(facts.evidence(growth.node, "stored here, beyond the pass that made it"),),
            conditions=(
                *(() if part.repeats else (PerStep(function, any_loop=True),)),
                *(() if part.lasting else (Open(f"how much larger `{part.whole}` is than the part"),)),
            ),
        )
