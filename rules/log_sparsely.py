"""A message in each step or for each item makes the device wait: write it at intervals, or behind a test of the level.

What it finds
-------------
Log calls and prints that format tensors, which reads them back from the device: for each item of a loop inside the
training step; in a function that runs in every step, or directly in its loop, where a number is computed for the
message (`x.min()`, `x.norm()`) or the message is for debugging; and tensors that are made for messages only. An
f-string is formatted before the logger looks at its level.

Why it costs
------------
Each number that is read back waits until the device has done all it was given, once per item or step, whether or not
anybody sees the message.

When it stays silent
--------------------
Behind any test: a level, an interval, a flag, the first few; in handlers; in epochs, evaluation, constructors; warnings
and errors; arguments that the logger formats itself (`logger.debug("%s", x)`); progress bars; a loss that is printed in
the loop over batches; functions of which no unguarded way from a step is seen.

Fix safety
----------
Unsafe: fewer messages are written. Those of the debug level of one logger go behind `isEnabledFor`, with what is
computed for them; all others are written every hundredth time, by `every(100)` of memlint's runtime. The number is the
setting `every` under `[tool.memlint.rules.log-sparsely]`.

Example
-------
    import logging

    import torch
    import torch.nn.functional as F

    logger = logging.getLogger(__name__)


    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 4)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            hidden = F.relu(self.layer(inputs))
            logger.debug(f"active: {(hidden > 0).float().mean():.2f}")
            return hidden

Use instead
-----------
    import logging

    import torch
    import torch.nn.functional as F

    logger = logging.getLogger(__name__)


    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 4)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            hidden = F.relu(self.layer(inputs))
            if logger.isEnabledFor(logging.DEBUG):
                logger.debug(f"active: {(hidden > 0).float().mean():.2f}")
            return hidden

From
----
energy_flow's report: diagnostics and a message for each flow in every step.
"""

from __future__ import annotations

from collections.abc import Iterator

from memlint.conditions import RunsInEveryStep
from memlint.facts import FileFacts
from memlint.facts import nodes as n
from memlint.facts.defects import FrequentMessage
from memlint.facts.messages import EACH_STEP, IN_A_STEP, ONLY_FOR_IT, PER_ITEM, messages
from memlint.rule import Proposal, rule

_MESSAGE = {
    PER_ITEM: "a message for each item in every step reads `{tensor}` back from its device",
    EACH_STEP: "a message in every step reads `{tensor}` back from its device",
    IN_A_STEP: "a message in every step reads `{tensor}` back from its device",
    ONLY_FOR_IT: "`{tensor}` is computed in every step, for messages only",
}


@rule(needs=("print(", "log"), options={"every": 100})
def log_sparsely(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each block of statements."""
    for found in messages(facts):
        reasons = [facts.evidence(node, message) for node, message in found.reasons]
        if found.loop is not None:
            reasons.append(facts.evidence(n.head(found.loop), "in each pass of this loop"))
        function = (facts.names.module, found.scope.qualname)
        yield Proposal(
            message=_MESSAGE[found.form].format(tensor=facts.text(found.tensor)),
            place=facts.place(found.call),
            fact=FrequentMessage(
                tuple(facts.span(line) for line in found.run),
                facts.span(found.loop) if found.loop is not None else None,
                _debugger(found.run),
            ),
            evidence=tuple(reasons),
            conditions=(RunsInEveryStep(function),) if found.loop is None else (),
        )


def _debugger(lines: list[n.Do | n.Assign]) -> str:
    """The logger, where all messages are of its debug level."""
    calls = [line.value.func for line in lines if isinstance(line, n.Do) and isinstance(line.value, n.Call)]
    owners = {n.dotted(func.value) if isinstance(func, n.Attr) and func.attr == "debug" else "" for func in calls}
    return owners.pop() if len(owners) == 1 else ""
