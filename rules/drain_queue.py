"""Each tick takes one event from a queue although more may wait: take all that wait, up to a limit.

What it finds
-------------
In a loop that steps or sleeps in each pass, or in a method that such a loop calls in each pass: `if not queue.empty():`
or `try:` around a single `get` that does not wait, on a queue without a limit. How many come in between two ticks is a
question that the code does not answer: it is never more than suspected.

Why it costs
------------
The loop takes one event per tick however many came in. Whenever more come than ticks go by, the queue grows, events are
handled later and later, and memory holds all that wait.

When it stays silent
--------------------
Where an inner loop empties the queue, where a `get` waits and so takes events as they come, where the loop goes on at
once to the next pass when it took something, where what is taken goes into the step itself (one action for each), for
queues with a limit of their own, queues that the loop itself feeds, work lists, deques and lists (a path that is
followed a step at a time), and in tests and benchmarks.

Fix safety
----------
Suggested, never written: a loop over what waits, at most `limit` (an option, 100 as it comes) in one tick. How many a
tick can bear is yours to say.

Example
-------
    import queue
    import time


    def run(world, events: queue.Queue, stop) -> None:
        while not stop.is_set():
            if not events.empty():
                event = events.get()
                world.handle(event)
            world.step()
            time.sleep(0.01)

Use instead
-----------
    import queue
    import time


    def run(world, events: queue.Queue, stop) -> None:
        while not stop.is_set():
            for _ in range(min(events.qsize(), 100)):
                event = events.get()
                world.handle(event)
            world.step()
            time.sleep(0.01)

From
----
Life's plan (events in groups, not one at a time).
"""

from __future__ import annotations

from collections.abc import Iterator

from memlint.conditions import EachTick, Open
from memlint.facts import FileFacts
from memlint.facts.defects import OneTaken
from memlint.facts.draining import Taken, taken
from memlint.rule import Condition, Proposal, rule


@rule(needs=(".get(", "get_nowait"), default=False, options={"limit": 100})
def drain_queue(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each queue that a tick takes one event from."""
    for found in taken(facts):
        reasons = [*found.reasons]
        if found.puts is not None:
            reasons.append((found.puts, "several may be put in between two passes"))
        yield Proposal(
            message=f"each pass takes one event from `{found.queue}`, however many wait",
            place=facts.place(found.node),
            fact=OneTaken(found.queue, facts.span(found.test) if found.test is not None else None),
            evidence=tuple(facts.evidence(node, message) for node, message in reasons),
            conditions=tuple(_conditions(facts, found)),
        )


def _conditions(facts: FileFacts, found: Taken) -> Iterator[Condition]:
    if found.loop is None:
        yield EachTick((facts.names.module, found.scope.qualname))
    yield Open(f"whether more than one event comes into `{found.queue}` between two passes")
