"""A list outlives the step and grows in each one: keep the last N entries.

What it finds
-------------
A list, a dict of lists, a deque without `maxlen`, an array that is concatenated onto itself or a dict with a new key
for each step, which lives on an object, in a module or outside a loop that never ends, grows once per step, and is
trimmed by nothing that anybody calls. Stored tensors that carry a graph are worst, numbers mildest; where only numbers
are stored the finding is only suspected.

Why it costs
------------
Memory grows with the length of the run. A list of tensors fills the accelerator after hours; a list of records fills
the host after days. The program dies far from the line that is to blame.

When it stays silent
--------------------
Where anything that is called clears, pops, slices or rebinds the container, in this class, a base, a subclass or
through a parameter; where the growth is guarded by the container's own length or membership; for lists that a function
builds and hands on, per-epoch growth, and growth at construction.

Fix safety
----------
Unsafe: entries older than the limit are dropped, which changes what a later mean or plot sees. The list stays
the same list. The limit is an option. A list whose entries add to it themselves has no automatic fix: the oldest may
be alive, see cap-spawn.

Example
-------
    import torch


    class Simulation:
        def __init__(self) -> None:
            self.state = torch.zeros(8)
            self.trace = []

        def step(self) -> None:
            self.state = torch.tanh(self.state + 0.1)
            self.trace.append(self.state.clone())


    def run(simulation: Simulation, queue) -> None:
        while True:
            queue.get()
            simulation.step()

Use instead
-----------
    import torch

    from memlint.runtime import append_bounded


    class Simulation:
        def __init__(self) -> None:
            self.state = torch.zeros(8)
            self.trace = []

        def step(self) -> None:
            self.state = torch.tanh(self.state + 0.1)
            append_bounded(self.trace, self.state.clone(), limit=1000)


    def run(simulation: Simulation, queue) -> None:
        while True:
            queue.get()
            simulation.step()

From
----
Atheria's snapshot and log lists, energy_flow's performance statistics, Life's archive.
"""

from __future__ import annotations

from collections.abc import Iterator

from memlint.conditions import MadeSomewhere, NothingTrims, Open, PerStep
from memlint.facts import FileFacts
from memlint.facts.defects import UnboundedGrowth
from memlint.facts.histories import NUMBER, History, histories
from memlint.facts.shapes import amount
from memlint.facts.spawning import spawns
from memlint.facts.words import name_of, size_of
from memlint.rule import Condition, Proposal, Severity, rule

_SEVERITY = {"graph": Severity.ERROR, "tensor": Severity.ERROR, "record": Severity.WARNING, NUMBER: Severity.NOTE}
_LARGE = 1_000_000
_SIZE = "give it a `maxsize`, or list it under `bounded-containers`"
_WHAT = {"graph": "a tensor with its graph", "tensor": "a tensor", "record": "a record", NUMBER: "a number"}


@rule(needs=("append", "+=", "extend", "cat", "] =", "add(", "put("), options={"limit": 1000})
def bound_history(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each place where a container that outlives the step grows."""
    for history in histories(facts):
        growth = history.growth
        name = facts.text(growth.container)
        if history.made_at is not None:
            message = f"`{name}` has no size: a producer that is faster than its consumer fills the memory"
            yield _proposal(facts, history, history.made_at, message, Open("whether the consumer keeps up", _SIZE))
            continue
        what = _WHAT.get(history.stored, "an entry")
        size = size_of(growth.value) if growth.how in ("append", "appendleft", "setitem") else None
        about = f" (about {amount(size.bytes)})" if size is not None and size.bytes >= _LARGE else ""
        message = f"`{name}` grows by {what}{about} per step and nothing trims it"
        yield _proposal(facts, history, growth.node, message, *_conditions(facts, history))


def _proposal(facts: FileFacts, history: History, node: object, message: str, *conditions: Condition) -> Proposal:
    growth = history.growth
    return Proposal(
        message=message,
        place=facts.place(node),
        fact=UnboundedGrowth(
            facts.text(growth.container), facts.span(growth.node), growth.how, history.stored, _spawns(facts, history)
        ),
        evidence=tuple(facts.evidence(at, reason) for at, reason in history.reasons),
        conditions=conditions,
        severity=_SEVERITY.get(history.stored, Severity.WARNING),
    )


def _spawns(facts: FileFacts, history: History) -> bool:
    """Whether the container is a population that cap-spawn speaks of."""
    growth = history.growth
    return (
        growth.how == "append"
        and history.stored in ("record", "unknown")
        and any(found.growth is not None and found.growth.holder == growth.holder for found in spawns(facts))
    )


def _conditions(facts: FileFacts, history: History) -> Iterator[Condition]:
    function = (facts.names.module, history.scope.qualname)
    name = name_of(history.growth.holder)
    if history.inherited:
        yield MadeSomewhere(history.growth.holder)
    yield NothingTrims(history.growth.holder, function)
    if not history.repeats:
        yield PerStep(function, any_loop=history.stored in ("graph", "tensor"))
    if history.stored == NUMBER:
        yield Open("whether the run is long enough for numbers to matter", f"list `{name}` under `bounded-containers`, "
                   "or keep the last ones only")  # fmt: skip
    elif history.stored == "unknown":
        yield Open("what is stored", "annotate what is added, as a `torch.Tensor` for instance")
