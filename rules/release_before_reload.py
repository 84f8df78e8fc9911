"""Something large stays alive while what follows it is built: release it first.

What it finds
-------------
A model that is built or loaded into a slot which still holds the old one: an attribute that the constructor has filled
already, or a global or an entry of a module's dict that a request handler fills. A loaded checkpoint that stays in a
local through the training, although its weights were copied by `load_state_dict` and nothing reads it any more. An
optimizer that has done its last step while the best model is loaded and run: suspected.

Why it costs
------------
Python drops the old object only after the new one is complete, so that both are there at once: a reload needs twice the
memory of the model. A checkpoint holds the weights and the optimizer's state a second time, for the whole run.

When it stays silent
--------------------
For first assignments and lazily built slots, where the slot is tested, read, kept under another name or emptied before,
by a function of the file or by `del`; for state that is loaded in place; in constructors, layers of modules and unit
tests; where the checkpoint is returned, stored, deleted, rebound or read again.

Fix safety
----------
Unsafe: when the new build fails, the slot is empty. `release(owner, "key")` goes before the build; it empties the slot,
collects garbage and empties the device's cache. `del` goes after the last use of a checkpoint, `zero_grad()` and `del`
of an optimizer before the load.

Example
-------
    import torch
    from torch import nn


    class Service:
        def __init__(self, width: int) -> None:
            self.model = nn.Sequential(nn.Linear(width, width))

        def reload(self, path: str) -> None:
            self.model = torch.load(path, map_location="cpu", weights_only=False)

        def answer(self, value: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                return self.model(value)

Use instead
-----------
    import torch
    from torch import nn

    from memlint.runtime import release


    class Service:
        def __init__(self, width: int) -> None:
            self.model = nn.Sequential(nn.Linear(width, width))

        def reload(self, path: str) -> None:
            release(self, "model")
            self.model = torch.load(path, map_location="cpu", weights_only=False)

        def answer(self, value: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                return self.model(value)

From
----
Atheria's memory plan (`g_state['motor']` was not released before another model was loaded), and resumed trainings of
public repositories.
"""

from __future__ import annotations

from collections.abc import Iterator

from memlint.conditions import NobodyEmpties, Open
from memlint.facts import FileFacts
from memlint.facts.defects import UnreleasedObject
from memlint.facts.reloads import DICT, IDLE, SLOT, Overlap, overlaps
from memlint.rule import Condition, Proposal, Severity, rule


@rule(needs=("load", "odel", "ngine"))
def release_before_reload(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each object that is alive longer than it is used."""
    for found in overlaps(facts):
        if found.form == DICT:
            message = f"`{found.key}` keeps a second copy of the weights through the training"
        elif found.form == IDLE:
            message = f"`{found.key}`, its state and the gradients are still there while a model is loaded"
        else:
            message = f"a new one is built while `{found.text}` still holds the old"
        yield Proposal(
            message=message,
            place=facts.place(found.node),
            fact=UnreleasedObject(found.form, facts.span(found.stmt), found.key, found.owner),
            evidence=tuple(facts.evidence(node, reason) for node, reason in found.reasons),
            conditions=tuple(_conditions(found)),
            severity=Severity.WARNING,
        )


def _conditions(found: Overlap) -> Iterator[Condition]:
    if found.question:
        yield Open(found.question)
    cls = found.scope.owner
    if found.form == SLOT and cls is not None and found.owner == found.scope.self_name:
        yield NobodyEmpties(f"class:{cls.name}.{found.text.partition('.')[2]}")
