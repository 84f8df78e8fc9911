"""A monitor of memory measures twice with nothing in between and always sees 0: measure once per step, over a window.

What it finds
-------------
Two samples of the same memory probe that are taken next to each other, or with nothing but log lines between them, and
subtracted; and, in a loop where nobody looks at the memory, an allocation of 1 GB or more by the shapes in the code.

Why it costs
------------
The difference is 0 whatever leaks, so the emergency that hangs on it never comes, and the log says that all is well. A
difference over one step would not do either: it shows the step's own ups and downs. A leak is a slope over many steps.

When it stays silent
--------------------
Where anything runs between the samples (also a collection, whose effect they measure), where they are of different
probes, and in unit tests. Allocations: where the function measures memory, where shapes are not known.

Fix safety
----------
Unsafe: `LeakMonitor` is made before the loop and gives megabytes per step over a window, 0 while it warms up; what to
do in an emergency is yours to add. Refused outside of a loop, because the monitor must live longer than a step. For
allocations `limit_gb` under `[tool.memlint.rules.monitor-leaks]` says how much may be used; `MemoryGuard` then asks
before each of them and writes a warning when there is no room.

Example
-------
    import torch


    def train(model: torch.nn.Module, optimizer: torch.optim.Optimizer, batches: list) -> list:
        leaks = []
        for batch in batches:
            optimizer.zero_grad()
            model(batch).mean().backward()
            optimizer.step()
            before = torch.cuda.memory_allocated()
            after = torch.cuda.memory_allocated()
            leaks.append((after - before) / 1e6)
        return leaks[-10:]

Use instead
-----------
    import torch

    from memlint.runtime import LeakMonitor


    def train(model: torch.nn.Module, optimizer: torch.optim.Optimizer, batches: list) -> list:
        leaks = []
        leak_monitor = LeakMonitor()
        for batch in batches:
            optimizer.zero_grad()
            model(batch).mean().backward()
            optimizer.step()
            leaks.append(leak_monitor.step(torch.cuda.memory_allocated()))
        return leaks[-10:]

From
----
Empirical Distrust's leak fixes (5), whose two samples lay side by side, and energy_flow's memory plan (step 6).
"""

from __future__ import annotations

from collections.abc import Iterator

from memlint.conditions import Open
from memlint.facts import FileFacts
from memlint.facts.defects import BlindMonitor
from memlint.facts.leakprobes import SIDE_BY_SIDE, blind
from memlint.facts.shapes import amount
from memlint.rule import Proposal, Severity, rule

_LARGE = 1_000_000_000


@rule(needs=("mem", "getrusage", "torch"), default=False, options={"limit_gb": 0.0})
def monitor_leaks(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each difference that is always 0, and for each loop with a large allocation."""
    for found in blind(facts, _LARGE):
        text = facts.text(found.node)
        if found.form == SIDE_BY_SIDE:
            message = f"`{text}` is 0 whatever leaks: both samples are taken at the same moment"
        else:
            message = f"`{text}` takes {amount(found.needed)} in each pass, and nothing asks whether there is room"
        yield Proposal(
            message=message,
            place=facts.place(found.node),
            fact=BlindMonitor(
                found.form,
                facts.span(found.node),
                facts.span(found.loop.node) if found.loop is not None else None,
                facts.span(found.first) if found.first is not None else None,
                found.after,
                found.unit,
                found.scale,
                found.needed,
            ),
            evidence=tuple(facts.evidence(node, reason) for node, reason in found.reasons),
            conditions=(Open("whether it fits beside everything else"),) if found.form != SIDE_BY_SIDE else (),
            severity=Severity.WARNING if found.form == SIDE_BY_SIDE else Severity.NOTE,
        )
