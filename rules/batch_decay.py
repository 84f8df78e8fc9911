"""A number of every entry is multiplied one by one in each step: keep them in one array, or one factor for all.

What it finds
-------------
A loop over a growing container of objects whose body does nothing but multiply an attribute of each by the same factor,
in a function that runs again and again; and such a loop that leaves after its first entry, so that the others never
fade.

Why it costs
------------
Thousands of attribute look-ups per step for what is one multiplication: of an array, or of a single factor by which
each number is multiplied when it is read. A `return` one level too deep is worse: all but one keep their old number.

When it stays silent
--------------------
Entries that do more than fade (calls, tests of their own, other loops), factors of each entry's own, containers that
nothing adds to, properties, tensors and layers, functions that nothing repeats.

Fix safety
----------
There is no fix: where the numbers are to live is the program's own design.

Example
-------
    class Entry:
        def __init__(self, text: str) -> None:
            self.text = text
            self.weight = 1.0


    class Memory:
        def __init__(self) -> None:
            self.entries: list[Entry] = []

        def add(self, text: str) -> None:
            self.entries.append(Entry(text))

        def tick(self) -> None:
            for entry in self.entries:
                entry.weight *= 0.99


    def live(memory: Memory, texts) -> None:
        while True:
            memory.add(next(texts))
            memory.tick()

Use instead
-----------
    class Memory:
        def __init__(self) -> None:
            self.texts: list[str] = []
            self.scaled: list[float] = []
            self.scale = 1.0

        def add(self, text: str) -> None:
            self.texts.append(text)
            self.scaled.append(1.0 / self.scale)

        def tick(self) -> None:
            self.scale *= 0.99

        def weight(self, index: int) -> float:
            return self.scaled[index] * self.scale


    def live(memory: Memory, texts) -> None:
        while True:
            memory.add(next(texts))
            memory.tick()

From
----
Life's plan for its runtime: the weights of all memories fade with every tick.
"""

from __future__ import annotations

from collections.abc import Iterator

from memlint.conditions import PerStep
from memlint.facts import FileFacts
from memlint.facts import nodes as n
from memlint.facts.decays import FIRST, decays
from memlint.facts.defects import OneByOneDecay
from memlint.rule import Proposal, rule


@rule(needs=("*", "/="), default=False)
def batch_decay(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each loop."""
    for decay in decays(facts):
        function = (facts.names.module, decay.scope.qualname)
        reasons = [(n.head(decay.loop), "one entry after the other"), *decay.reasons]
        first = decay.form == FIRST
        yield Proposal(
            message=f"only the first of `{decay.entries}` fades: the loop leaves after it"
            if first
            else f"`{decay.attribute}` of each of `{decay.entries}` fades by itself: one factor for all does the same",
            place=facts.place(decay.node),
            fact=OneByOneDecay(decay.form, facts.span(decay.node)),
            evidence=tuple(facts.evidence(node, message) for node, message in reasons),
            conditions=() if first else (PerStep(function, any_loop=True, uncalled=True),),
        )
