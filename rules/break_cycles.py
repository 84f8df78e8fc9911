"""An object with tensors holds itself: store no function over it, and save tensors with `save_for_backward`.

What it finds
-------------
Objects that hold tensors or are modules, and store on themselves a lambda, a function or a partial that reads `self`,
or one of their own bound methods, also under a cache, in a table of handlers or as a hook on their own parts; and
autograd functions that put their output, or an input, on `ctx` as a plain attribute.

Why it costs
------------
Reference counting never frees a cycle. The tensors stay until Python's collector happens to run, and it counts
objects, not bytes: a few objects can hold the whole accelerator. An output on `ctx` is such a cycle too. An input on
`ctx` stays as long as the graph, where a saved one goes in backward.

When it stays silent
--------------------
For weak references, functions that take the object as an argument, static methods, attributes that another
method deletes or sets to None, objects without tensors, numbers on `ctx`, and outputs that are marked as not
differentiable.

Fix safety
----------
There is no fix: what the function needs of the object is for the author to say. Make it a method, let it take what it
needs, or let it hold `weakref.ref(self)`.

Example
-------
    import torch
    from torch import nn


    class Blend(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(8))
            self.blend = lambda x: x * self.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.blend(x)

Use instead
-----------
    import torch
    from torch import nn


    class Blend(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(8))

        def blend(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.blend(x)

From
----
Posteriors with a cached closure and autograd functions of public repositories, and torch's own notes on extending
autograd.
"""

from __future__ import annotations

from collections.abc import Iterator

from memlint.conditions import Heavy, Open
from memlint.facts import FileFacts
from memlint.facts.cycles import ALIAS, CLOSURE, HOOK, INPUT, METHOD, OUTPUT, Cycle, cycles
from memlint.rule import Condition, Proposal, rule

_MESSAGE = {
    CLOSURE: "{name} holds `self` and is stored on it, in `{attribute}`: only the collector can free the object",
    METHOD: "{name} is stored on its own object, in `{attribute}`: only the collector can free the object",
    HOOK: "{name} holds `self` and is hooked onto its own `{attribute}`: only the collector can free the object",
    OUTPUT: "the output `{name}` is put on the context, in `{attribute}`: only the collector can free it",
    ALIAS: "`{name}` of an output is put on the context, in `{attribute}`, instead of being saved for backward",
    INPUT: "the input `{name}` is put on the context, in `{attribute}`: backward does not free it",
}


@rule(needs=("self", "ctx", "autograd"), default=False)
def break_cycles(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each object that holds itself."""
    if not facts.uses_torch:
        return
    for cycle in cycles(facts):
        yield Proposal(
            message=_MESSAGE[cycle.form].format(name=cycle.name, attribute=cycle.attribute),
            place=facts.place(cycle.at),
            fact=None,
            evidence=tuple(facts.evidence(at, reason) for at, reason in cycle.reasons),
            conditions=tuple(_conditions(cycle)),
        )


def _conditions(cycle: Cycle) -> Iterator[Condition]:
    owner = cycle.scope.owner.name if cycle.scope.owner is not None else ""
    if cycle.form in (CLOSURE, METHOD, HOOK):
        yield Heavy(owner, required=not cycle.on_tensors)
    elif cycle.form == ALIAS:
        yield Open(f"whether `{cycle.name}` shares the output's memory")
    elif cycle.form == INPUT:
        yield Open("whether anybody keeps the output after backward")
