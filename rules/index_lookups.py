"""A list that grows with every step is searched from its start in each step: keep a dict beside it.

What it finds
-------------
A list on an object, in a module or beside a loop without end, to which steps add and which nothing trims, and a search
of it that runs in each step: `in`, `index`, `count`, `remove`, a comprehension or `next(...)` that picks by an
equality, and a loop that leaves at the first entry that is equal.

Why it costs
------------
The search looks at all that was ever added, so each step takes longer than the one before: with n steps, n * n / 2
comparisons. A dict from the key to the entry, or a set, answers at once however many there are.

When it stays silent
--------------------
For lists that something trims or that have a limit, lists whose growth is guarded by a test of their length or by a
search of the same list (what is there already is not added again), for searches that run now and then, entries that
are picked by anything but an equality, lists of one call, and in tests and benchmarks.

Fix safety
----------
Not fixed: which key the entries are looked up by, and whether it can change, only you know.

Example
-------
    import time


    class Agent:
        def __init__(self) -> None:
            self.archive: list[dict] = []

        def recall(self, kind: str) -> list[dict]:
            return [entry for entry in self.archive if entry["kind"] == kind]

        def tick(self, kind: str) -> int:
            self.archive.append({"kind": kind})
            return len(self.recall(kind))


    def run(agent: Agent, stop) -> None:
        while not stop.is_set():
            agent.tick("noise")
            time.sleep(0.01)

Use instead
-----------
    import time
    from collections import defaultdict


    class Agent:
        def __init__(self) -> None:
            self.archive: list[dict] = []
            self.by_kind: defaultdict[str, list[dict]] = defaultdict(list)

        def recall(self, kind: str) -> list[dict]:
            return self.by_kind[kind]

        def tick(self, kind: str) -> int:
            entry = {"kind": kind}
            self.archive.append(entry)
            self.by_kind[kind].append(entry)
            return len(self.recall(kind))


    def run(agent: Agent, stop) -> None:
        while not stop.is_set():
            agent.tick("noise")
            time.sleep(0.01)

From
----
Life's plan (indexes for the search of its archive).
"""

from __future__ import annotations

from collections.abc import Iterator

from memlint.conditions import EachTick, NothingTrims
from memlint.facts import FileFacts
from memlint.facts.lookups import lookups
from memlint.rule import Condition, Proposal, rule


@rule(needs=("append", "extend", "+="), default=False)
def index_lookups(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each search."""
    for found in lookups(facts):
        growing = (facts.names.module, found.history.scope.qualname)
        conditions: list[Condition] = [NothingTrims(found.history.growth.holder, growing)]
        if not found.history.repeats:
            conditions.append(EachTick(growing, now_and_then=True))
        if found.loop is None:
            conditions.append(EachTick((facts.names.module, found.scope.qualname)))
        yield Proposal(
            message=f"each step searches all of `{found.container}`, which grows with every step",
            place=facts.place(found.node),
            fact=None,
            evidence=tuple(facts.evidence(node, message) for node, message in found.reasons),
            conditions=tuple(conditions),
        )
