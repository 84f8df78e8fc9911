"""Tensors are kept beyond their step on the accelerator: move each one to the CPU when it is stored.

What it finds
-------------
A list that gathers tensors in a loop and is moved as a whole afterwards (`torch.cat(parts).cpu()`: the move belongs
inside the loop); tensors known to be on the accelerator that are stored on an object step after step; lists of
`state_dict()`, whose entries are moreover all the same live weights; entries of a cache that are moved to the device in
place, so that the whole cache ends up there.

Why it costs
------------
The accelerator holds the whole history at once, and concatenating needs the same amount again, while the program only
wants it on the host.

When it stays silent
--------------------
For values without dimensions, values that are already on the CPU, lists that are used on the device (concatenated or
stacked and not moved), lists that feed a loss, and values whose device nothing shows.

Fix safety
----------
Safe where every consumer moves the values to the CPU anyway: values are the same, only earlier. Otherwise
unsafe: later code sees CPU tensors. `to_cpu` copies: on a CPU tensor `.cpu()` alone would share the storage.

Example
-------
    import torch
    from torch import nn


    def predict(model: nn.Module, loader) -> torch.Tensor:
        parts = []
        with torch.no_grad():
            for batch in loader:
                parts.append(model(batch.to("cuda")))
        return torch.cat(parts).cpu()

Use instead
-----------
    import torch
    from torch import nn

    from memlint.runtime import to_cpu


    def predict(model: nn.Module, loader) -> torch.Tensor:
        parts = []
        with torch.no_grad():
            for batch in loader:
                parts.append(to_cpu(model(batch.to("cuda"))))
        return torch.cat(parts).cpu()

From
----
Atheria's snapshots ("move to the CPU before storing"), and evaluation loops in public repositories.
"""

from __future__ import annotations

from collections.abc import Iterator

from memlint.conditions import MovedLater, Open, PerStep
from memlint.facts import FileFacts
from memlint.facts.defects import KeptOnDevice
from memlint.facts.snapshots import Snapshot, snapshots
from memlint.rule import Condition, Proposal, Severity, rule

_MESSAGE = {
    "gathered": "`{name}` gathers tensors on the accelerator and is moved to the CPU only as a whole",
    "stored": "`{name}` keeps a tensor of each step on the accelerator",
    "state-dict": "`{name}` keeps a state_dict of each step on the accelerator",
    "state-dict-alias": "`{name}` keeps bare state_dict()s: all entries are the same live weights",
    "cache-moved": "an entry of `{name}` is moved to the accelerator in place and stays there",
}


@rule(needs=("torch", ".cpu()", ".cuda("))
def snapshots_to_cpu(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each place that stores a value on the accelerator."""
    for snapshot in snapshots(facts):
        growth = snapshot.growth
        form = "state-dict" if snapshot.form.startswith("state-dict") else snapshot.form
        yield Proposal(
            message=_MESSAGE[snapshot.form].format(name=facts.text(growth.container)),
            place=facts.place(growth.node),
            fact=KeptOnDevice(facts.span(growth.item or growth.node), form, snapshot.only_read_on_cpu),
            evidence=tuple(facts.evidence(node, message) for node, message in snapshot.reasons),
            conditions=tuple(_conditions(facts, snapshot)),
            severity=Severity.WARNING,
        )


def _conditions(facts: FileFacts, snapshot: Snapshot) -> Iterator[Condition]:
    function = (facts.names.module, snapshot.scope.qualname)
    if snapshot.form == "gathered":
        yield MovedLater(snapshot.growth.holder)
    if not snapshot.repeats:
        yield PerStep(function)
    if snapshot.question:
        yield Open(snapshot.question)
