"""A population spawns and no cap holds it: count the living before each spawn, and warn before the cap is reached.

What it finds
-------------
- A container of objects, on an object, to which a loop over that same container adds, while nothing in the class looks
  at how many there are.
- A cap that can't hold: inside the loop that spawns, it is tested against a list that is still empty there, or against
  a count that was taken before the loop; or the limit that holds the population elsewhere is compared with the new ones
  only.
- A population that is cut at its cap without a word: no earlier mark, no warning.
- A process, a thread or a task for each pass of a loop that has no end, and nothing that joins or counts them.

Why it costs
------------
Where each member can spawn, the population grows by a factor in each step, and memory with it: the program that was
fine for an hour is out of memory ten steps later. A cap that is never reached looks like protection and is none.

When it stays silent
--------------------
Where the length of the live container is looked at, where what is started is joined, pooled or counted, for lists that
are built once, work lists of a function, containers with a limit of their own, and tensors, numbers and records.

Fix safety
----------
Unsafe: members above the cap are not added any more. The cap is an option, 10000 as it comes; a `SpawnBudget` beside
the container warns at 90 % of it. Caps that count the wrong thing are left to you.

Example
-------
    import torch


    class Cell:
        def __init__(self, energy: float) -> None:
            self.energy = energy


    class Colony:
        def __init__(self) -> None:
            self.cells = [Cell(4.0)]

        def step(self) -> None:
            for cell in list(self.cells):
                if cell.energy > 1.0:
                    cell.energy /= 2
                    self.cells.append(Cell(cell.energy))


    def run(colony: Colony, queue) -> None:
        while True:
            queue.get()
            colony.step()

Use instead
-----------
    import torch

    from memlint.runtime import SpawnBudget


    class Cell:
        def __init__(self, energy: float) -> None:
            self.energy = energy


    class Colony:
        def __init__(self) -> None:
            self.cells = [Cell(4.0)]
            self.cells_budget = SpawnBudget(10000)

        def step(self) -> None:
            for cell in list(self.cells):
                if cell.energy > 1.0:
                    cell.energy /= 2
                    if self.cells_budget.allow(len(self.cells)):
                        self.cells.append(Cell(cell.energy))


    def run(colony: Colony, queue) -> None:
        while True:
            queue.get()
            colony.step()

From
----
energy_flow's spawning flows, whose cap was once tested against a list that was still empty; Life's agents.
"""

from __future__ import annotations

from collections.abc import Iterator

from memlint.conditions import Open, PerStep, ReadHereOnly
from memlint.facts import FileFacts
from memlint.facts.defects import UncappedSpawn
from memlint.facts.spawning import Spawn, spawns
from memlint.rule import Condition, Proposal, Severity, rule


@rule(
    needs=("append", "extend", "+=", "] =", "Process", "Thread", "Popen", "_task", "_future"), options={"limit": 10000}
)
def cap_spawn(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each place that spawns without a cap that holds."""
    for found in spawns(facts):
        growth = found.growth
        yield Proposal(
            message=_message(found),
            place=facts.place(found.node),
            fact=UncappedSpawn(
                found.form,
                found.container,
                growth.how if growth is not None else "",
                facts.span(growth.node) if growth is not None else None,
                facts.span(found.made.node) if found.made is not None else None,
            ),
            evidence=tuple(facts.evidence(at, reason) for at, reason in found.reasons),
            conditions=tuple(_conditions(facts, found)),
            severity=Severity.NOTE if found.form == "abrupt" else Severity.WARNING,
        )


def _message(found: Spawn) -> str:
    name, cap = found.container, found.cap
    if found.form == "unlimited":
        return f"the members of `{name}` add to it in each step and nothing limits how many there are"
    if found.form == "stale":
        return f"`{cap}` is no cap: the loop adds to `{name}`, but `{found.counted}` does not change in it"
    if found.form == "new-only":
        return f"the cap `{cap}` is compared with the new ones only, not with those that are in `{name}` already"
    if found.form == "abrupt":
        return f"`{name}` is cut at `{cap}` and nothing warns before"
    return f"each pass starts a {name} and nothing joins or counts them"


def _conditions(facts: FileFacts, found: Spawn) -> Iterator[Condition]:
    if not found.repeats:
        yield PerStep((facts.names.module, found.scope.qualname), any_loop=True)
    if found.form == "unlimited":
        yield ReadHereOnly(found.container.rpartition(".")[2], facts.names.module)
    if found.question:
        yield Open(found.question)
