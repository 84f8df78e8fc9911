"""A checkpoint is loaded without `map_location`: load it to the CPU.

What it finds
-------------
A call of `torch.load` that says nothing of devices, whose result is a checkpoint: it goes into `load_state_dict`, has
an entry such as `"state_dict"` or `"optimizer"`, or is used as a module. Where the code only shows that it is a dict of
something, or that it is saved again, the finding is suspected.

Why it costs
------------
Without `map_location` every tensor goes back to the device that it was saved from. On an accelerator the checkpoint
then lies beside the live model, with the optimizer's state that nobody asked for: two to four times the model. All
processes of a distributed run load it onto the same first device. On a machine without that device the call fails.

When it stays silent
--------------------
Where `map_location` is given in any form, also as the second argument or inside `**kwargs`; with `mmap=True`; for
buffers in memory; for data sets and other files of which nothing shows that they are checkpoints; for states of
schedulers, scalers and samplers; in programs that train and save and never speak of a device; in unit tests.

Fix safety
----------
Unsafe: the loaded tensors lie on the CPU afterwards. `load_state_dict` copies them to where the parameters are; code
that calculates with them directly has to move them. A whole module that is used where it lands is left alone.

Example
-------
    import torch
    from torch import nn


    def restore(model: nn.Module, path: str) -> nn.Module:
        model.load_state_dict(torch.load(path))
        return model

Use instead
-----------
    import torch
    from torch import nn


    def restore(model: nn.Module, path: str) -> nn.Module:
        model.load_state_dict(torch.load(path, map_location="cpu"))
        return model

From
----
Common practice; conversion and averaging scripts of public repositories that needed a GPU for copying files.
"""

from __future__ import annotations

from collections.abc import Iterator

from memlint.conditions import Open
from memlint.facts import FileFacts
from memlint.facts.defects import UnmappedLoad
from memlint.facts.loads import unmapped_loads
from memlint.rule import Proposal, Severity, rule


@rule(needs=(".load(", "import load"))
def map_checkpoint(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each load of a checkpoint that says nothing of devices."""
    for loaded in unmapped_loads(facts):
        yield Proposal(
            message="the checkpoint goes to the device that it was saved from, beside the live model",
            place=facts.place(loaded.node),
            fact=UnmappedLoad(facts.span(loaded.node), loaded.stays),
            evidence=tuple(facts.evidence(node, reason) for node, reason in loaded.reasons),
            conditions=(Open(loaded.question),) if loaded.question else (),
            severity=Severity.WARNING,
        )
