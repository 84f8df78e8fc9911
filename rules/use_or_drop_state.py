"""State that nothing uses, a submodule, a history, a setting or an argument: connect it, or drop it.

What it finds
-------------
A submodule with parameters that the constructor of a module registers and no method calls; a list or dict that a
constructor makes and nothing ever fills; a setting of a data class that no file reads, where most of the others are
read; a branch on an optional argument that no call passes, where the function is private or the branch alone runs some
of the module's submodules.

Why it costs
------------
Parameters that are never used are saved, loaded and moved to the device, get no gradient, stop distributed training
with an error, and make strict loading of older checkpoints fail. A history that stays empty, a setting
without effect and a branch that never runs look like features that work.

When it stays silent
--------------------
Attributes that another class, another file, a literal name or a walk over all submodules may reach, classes with
a base that is not among the checked files, submodules without parameters, containers that are handed to anybody,
fields of results, settings that are named like a parameter of any function, and arguments of public functions without
submodules of their own.

Fix safety
----------
No repair: to use what is there or to drop it is a decision about the model.

Example
-------
    import torch
    from torch import nn


    class Carrier(nn.Module):
        def __init__(self, hidden: int) -> None:
            super().__init__()
            self.push = nn.Linear(hidden, 3)
            self.memory = nn.Linear(15, hidden)

        def forward(self, state: torch.Tensor) -> torch.Tensor:
            return self.push(state)

Use instead
-----------
    import torch
    from torch import nn


    class Carrier(nn.Module):
        def __init__(self, hidden: int) -> None:
            super().__init__()
            self.push = nn.Linear(hidden, 3)

        def forward(self, state: torch.Tensor) -> torch.Tensor:
            return self.push(state)

From
----
energy_flow: a memory of the last five positions was announced. First its layer was registered and never called, then
called in a branch on an argument that no caller passes, to this day.
"""

from __future__ import annotations

from collections.abc import Iterator

from memlint.conditions import NobodyElseReads, NobodyPasses, NobodyReads, NobodyReadsKey, Open
from memlint.facts import FileFacts
from memlint.facts.dead import ARGUMENT, HISTORY, KEY, SUBMODULE, Dead, dead_state
from memlint.facts.defects import DeadState
from memlint.rule import Condition, Proposal, rule


@rule(default=False)
def use_or_drop_state(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each submodule, container or argument."""
    for found in dead_state(facts):
        node = found.node.test if found.what == ARGUMENT else found.node
        yield Proposal(
            message=_message(found),
            place=facts.place(node),
            fact=DeadState(found.what, facts.span(node)),
            evidence=(facts.evidence(node, "tested here" if found.what == ARGUMENT else "made here"),),
            conditions=tuple(_conditions(facts, found)),
        )


def _message(found: Dead) -> str:
    if found.what == SUBMODULE:
        return f"`self.{found.name}` is registered and never used: its parameters are saved, loaded and never trained"
    if found.what == HISTORY:
        return f"`self.{found.name}` is made here and " + ("never filled" if found.read else "never used")
    if found.what == KEY:
        return f"`{found.owner}.{found.name}` is declared and read nowhere: setting it has no effect"
    text = f"no caller passes `{found.name}`: this branch never runs"
    names = ", ".join(f"`self.{name}`" for name in found.attributes)
    return f"{text}, and only it uses {names}" if names else text


def _conditions(facts: FileFacts, found: Dead) -> Iterator[Condition]:
    if found.what == ARGUMENT:
        yield NobodyPasses((facts.names.module, found.function), found.name, found.private)
    elif found.what == KEY:
        yield NobodyReadsKey(found.owner, found.name, found.beside)
    elif found.what == HISTORY:
        yield NobodyElseReads(found.owner, found.name, found.read)
        if not found.private:
            yield Open(f"whether code outside of the checked files fills `{found.name}`")
    else:
        yield NobodyReads(found.owner, found.name, found.path)
