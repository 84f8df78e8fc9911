"""Thousands of small records are kept, each with a dict of its own: give their class slots.

What it finds
-------------
A class without bases and without `__slots__`, a dataclass or one whose constructor only fills attributes, of which each
step makes an object that a container keeps, where nothing trims the container.

Why it costs
------------
Beside its attributes each object carries a `__dict__`. An object of five attributes took 72 bytes with slots, and 104
to 152 without, by the version of Python (3.10 to 3.13).

When it stays silent
--------------------
For classes with a base, other decorators or attributes of the class itself, classes that few objects are made of,
containers that are trimmed or have a limit, records that live for one call, and in tests and benchmarks.

Fix safety
----------
Safe where it is proved that nothing needs the `__dict__`: the class sets nothing but its fields, calls no `super()` and
has no `cached_property`; nobody in the project derives from it, reads a field of the class itself, sets other
attributes from outside, pickles, or looks into `__dict__`, `vars`, `setattr` or `weakref`; and Python is 3.10 or later,
by the option `python = "3.10"` or by the file's own syntax. Unsafe where one of the last is open. A class that sets
other attributes is left alone, and one that is no dataclass is left to you.

Example
-------
    import time
    from dataclasses import dataclass


    @dataclass
    class Entry:
        kind: str
        weight: float = 1.0


    class Agent:
        def __init__(self) -> None:
            self.memory: list[Entry] = []

        def tick(self, kind: str) -> None:
            self.memory.append(Entry(kind))


    def run(agent: Agent, stop) -> None:
        while not stop.is_set():
            agent.tick("noise")
            time.sleep(0.01)

Use instead
-----------
    import time
    from dataclasses import dataclass


    @dataclass(slots=True)
    class Entry:
        kind: str
        weight: float = 1.0


    class Agent:
        def __init__(self) -> None:
            self.memory: list[Entry] = []

        def tick(self, kind: str) -> None:
            self.memory.append(Entry(kind))


    def run(agent: Agent, stop) -> None:
        while not stop.is_set():
            agent.tick("noise")
            time.sleep(0.01)

From
----
Life's plan (its memory holds more than a thousand entries, and it meant to pool them).
"""

from __future__ import annotations

from collections.abc import Iterator

from memlint.conditions import EachTick, FitsSlots, NothingTrims
from memlint.facts import FileFacts
from memlint.facts.defects import RecordClass
from memlint.facts.records import Record, records
from memlint.rule import Condition, Proposal, Severity, rule


@rule(needs=("append", "] =", ".add("), default=False, options={"python": ""})
def slot_records(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each class of records."""
    for found in records(facts):
        container = facts.text(found.history.growth.container)
        yield Proposal(
            message=f"each `{found.cls.name}` carries a dict of its own, and `{container}` keeps one per step",
            place=facts.place(found.decorator or found.history.growth.node),
            fact=RecordClass(
                "dataclass" if found.decorator is not None else "plain",
                facts.span(found.decorator) if found.decorator is not None else None,
                found.fields,
                tuple(found.obstacles),
            ),
            evidence=tuple(facts.evidence(*reason) for reason in found.history.reasons),
            conditions=tuple(_conditions(facts, found)),
            severity=Severity.NOTE,
        )


def _conditions(facts: FileFacts, found: Record) -> Iterator[Condition]:
    function = (facts.names.module, found.history.scope.qualname)
    yield NothingTrims(found.history.growth.holder, function)
    if not found.history.repeats:
        yield EachTick(function, now_and_then=True)
    yield FitsSlots(found.cls.name, found.fields)
