"""A file is opened, written or flushed in every pass of a loop: gather the lines and write many at once.

What it finds
-------------
In loops that step something (training, batches, an environment's `step`, a loop without end, one that sleeps between
two passes), or in functions that such a loop calls in each pass:

- `open(path, "a")` of the same file in each pass.
- A file that each pass writes anew from its start: `open(path, "w")`, `torch.save`, `numpy.save`.
- `flush()` of a file or of TensorBoard's writer, and `os.fsync`.
- `flush()`, `stop()` or `close()` in a `finally` that stands inside the loop, on what was made before it.

Why it costs
------------
Opening, writing and closing a file took 40 to 50 microseconds on a local disk, hundreds of times what it takes to add a
line to a list, and the step waits for it; on a network share it takes far longer. Written anew in each step, all but
the last file were for nothing. In a `finally` inside the loop, what was meant for the end happens in every pass.

When it stays silent
--------------------
Where a test on the way decides (an interval, the best result so far, an error), where each pass writes a file of its
own, in loops over files or items that train and step nothing, in loops that rest a fifth of a second or longer, for
files that are opened before the loop, once an epoch or episode, and in tests and benchmarks.

Fix safety
----------
Unsafe: the file is opened around the loop as a `BufferedWriter`, so that lines reach it later, and in UTF-8. None is
lost when the loop raises. That is done where the loop is in the same function and each text plainly ends its line;
the other forms are left to you.

Example
-------
    import torch
    import torch.nn.functional as F


    def train(model: torch.nn.Module, optimizer, batches: list, path: str) -> None:
        for inputs, targets in batches:
            optimizer.zero_grad()
            loss = F.mse_loss(model(inputs), targets)
            loss.backward()
            optimizer.step()
            with open(path, "a") as log:
                log.write(f"{loss.item()}\\n")

Use instead
-----------
    import torch
    import torch.nn.functional as F

    from memlint.runtime import BufferedWriter


    def train(model: torch.nn.Module, optimizer, batches: list, path: str) -> None:
        with BufferedWriter(path) as log:
            for inputs, targets in batches:
                optimizer.zero_grad()
                loss = F.mse_loss(model(inputs), targets)
                loss.backward()
                optimizer.step()
                log.write(f"{loss.item()}\\n")

From
----
Life's plan (snapshots and the log off the tick; its loop flushed in a `finally` of each tick), and training scripts.
"""

from __future__ import annotations

from collections.abc import Iterator

from memlint.conditions import EachTick
from memlint.facts import FileFacts
from memlint.facts.defects import StepWrite
from memlint.facts.stepio import step_io
from memlint.rule import Proposal, Severity, rule

_MESSAGE = {
    "appended": "`{target}` is opened, written and closed in each pass of the loop",
    "rewritten": "`{target}` is written anew in each pass of the loop",
    "flushed": "`{target}` is flushed to the disk in each pass of the loop",
    "finally": "`{call}` stands in a `finally` inside the loop: it runs in every pass, not at the end",
}


@rule(needs=("open(", "save", "dump", "flush", "fsync", "finally"), default=False)
def buffer_step_io(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each call that touches the disk in each pass."""
    for found in step_io(facts):
        loop = found.loop
        yield Proposal(
            message=_MESSAGE[found.form].format(target=found.target, call=facts.text(found.node)),
            place=facts.place(found.node),
            fact=StepWrite(
                found.form,
                facts.span(found.node),
                facts.span(loop.node) if loop is not None else None,
                facts.span(found.path) if found.path is not None else None,
            ),
            evidence=tuple(facts.evidence(node, message) for node, message in found.reasons),
            conditions=() if loop is not None else (EachTick((facts.names.module, found.scope.qualname)),),
            severity=Severity.NOTE if found.form == "flushed" else Severity.WARNING,
        )
