"""A limit on memory is only looked at when an interval is due: let each of the two decide alone.

What it finds
-------------
A comparison of measured memory with a limit that is to stop or reload the program, and that is reached only when a
step interval is due (`if step % 500 == 0:` around it, or joined with `and`); and the same joined so that it can never
decide anything (`due or (due and over)`, also through names and conditional expressions).

Why it costs
------------
Memory passes the limit between two intervals and the program dies of it, with a safeguard in its code that was written
for exactly that. With the interval switched off (0), the limit is off as well.

When it stays silent
--------------------
Where the limit is also tested outside of the interval, where what hangs on it only empties a cache or writes a log line
(that may wait), where two measurements are compared with each other, and in unit tests.

Fix safety
----------
There is no automatic fix: the policy has to live as long as the training. `ReloadPolicy(interval_steps, threshold_gb)`
asks both at each step, either of them can be off, and it rests after a reload.

Example
-------
    import torch


    def watch(step: int, every: int, limit: float) -> bool:
        due = every > 0 and step % every == 0
        over = torch.cuda.memory_allocated() / 1e9 > limit if every == 0 or due else False
        return due or over

Use instead
-----------
    from memlint.runtime import ReloadPolicy, memory_state


    def watch(step: int, policy: ReloadPolicy) -> bool:
        return policy.due(step, memory_state().allocated)

From
----
Empirical Distrust's leak fixes (6): a dual strategy whose threshold was looked at only when the interval fired.
"""

from __future__ import annotations

from collections.abc import Iterator

from memlint.conditions import Open
from memlint.facts import FileFacts
from memlint.facts.defects import HiddenLimit
from memlint.facts.thresholds import ABSORBED, NESTED, coupled
from memlint.rule import Proposal, Severity, rule

_MESSAGE = {
    ABSORBED: "`{test}` changes nothing while the interval is on: it is asked only where `{interval}` is true already",
    NESTED: "`{test}` is looked at only when `{interval}`: memory may pass the limit in between",
}


@rule(needs=("mem", "getrusage"), default=False)
def independent_thresholds(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each limit that an interval hides."""
    for found in coupled(facts):
        test, interval = facts.text(found.node), facts.text(found.interval)
        yield Proposal(
            message=_MESSAGE[found.form].format(test=test, interval=interval),
            place=facts.place(found.node),
            fact=HiddenLimit(found.form, facts.span(found.node)),
            evidence=tuple(facts.evidence(node, reason) for node, reason in found.reasons),
            conditions=(Open(found.question),) if found.question else (),
            severity=Severity.WARNING,
        )
