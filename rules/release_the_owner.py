"""A release frees nothing, because something else holds the object: release it where it is held.

What it finds
-------------
A `del` that is followed by a collection (`gc.collect()`, `empty_cache()`) and frees nothing: the name is only an alias
of an attribute or an entry that still holds the object, the object was stored on `self` before, it is a parameter that
the caller holds, or it is a list between the loss that was made from it and `backward`, whose graph holds it. Also a
method that removes its hooks and leaves the tensors that they gathered, and variables that are to be deleted by their
names: `locals()` is a copy, so `del locals()["x"]` and `x = locals()["x"]; del x` leave the variable where it is.

Why it costs
------------
The author believes that the memory is free and builds the next large thing beside it. The collection costs time in
every call and finds nothing.

When it stays silent
--------------------
Without a collection after it: then `del` may only tidy up names (but `locals()` shows what was meant). Where the slot
is emptied, rebound, popped or released in the same function, where the object is moved away first (`.cpu()`,
`.to(...)`), where one of the names that go together was the last reference, for loop variables, and in unit tests.

Fix safety
----------
There is no automatic fix. `release(owner, "key")` of the runtime empties a slot and collects; what a caller holds only
the caller can let go.

Example
-------
    import gc

    import torch
    from torch import nn


    class Session:
        def __init__(self, width: int) -> None:
            self.model = nn.Linear(width, width)

        def answer(self, value: torch.Tensor) -> torch.Tensor:
            return self.model(value)

        def unload(self) -> None:
            model = self.model
            del model
            gc.collect()

Use instead
-----------
    import torch
    from torch import nn

    from memlint.runtime import release


    class Session:
        def __init__(self, width: int) -> None:
            self.model = nn.Linear(width, width)

        def answer(self, value: torch.Tensor) -> torch.Tensor:
            return self.model(value)

        def unload(self) -> None:
            release(self, "model")

From
----
Atheria's memory plan (`del psi_history` before `backward`, the motor's alias), energy_flow and Empirical Distrust.
"""

from __future__ import annotations

from collections.abc import Iterator

from memlint.conditions import Open
from memlint.facts import FileFacts
from memlint.facts.defects import FutileRelease
from memlint.facts.releases import futile_releases
from memlint.rule import Proposal, Severity, rule


@rule(needs=("collect", "_cache", ".remove()", "locals()"))
def release_the_owner(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each release without effect."""
    for found in futile_releases(facts):
        yield Proposal(
            message=f"releasing `{found.name}` here frees nothing: {found.holder} still holds it",
            place=facts.place(found.node),
            fact=FutileRelease(facts.span(found.node), found.name, found.holder),
            evidence=tuple(facts.evidence(node, reason) for node, reason in found.reasons),
            conditions=(Open(found.question),) if found.question else (),
            severity=Severity.WARNING,
        )
