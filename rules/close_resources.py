"""A figure, a pool or a writer is opened and never closed: close it where its work is done.

What it finds
-------------
A figure of pyplot that was saved or logged and is not closed; a pool of processes or threads of which only the results
are kept, or that is neither closed nor terminated; an event writer that is a function's own and is never closed.
Where no loop and no caller is seen to repeat a figure or a writer, the finding is suspected.

Why it costs
------------
These live on without a reference: pyplot keeps every figure until it is closed, tens of megabytes each where images are
drawn; the workers of a pool wait for more, each with a copy of what it was given; a writer has a thread and a queue.

When it stays silent
--------------------
In a with-block, where it is closed, terminated or shown, returned, stored on an object or handed to somebody else; for
figures with a number of their own, which are made once; where a caller closes figures; in a script's own body, outside
of loops; in unit tests. Files, memory maps and executors end with their last reference and are not looked at.

Fix safety
----------
There is no automatic fix: where the work is done only the author knows. `plt.close(figure)` after saving, and
`with ThreadPool(n) as pool:` around all that reads the results, are the usual forms.

Example
-------
    import torch
    from multiprocessing.pool import ThreadPool


    def norms(rows: list) -> list:
        results = ThreadPool(2).imap(torch.linalg.norm, rows)
        return [float(result) for result in results]

Use instead
-----------
    import torch
    from multiprocessing.pool import ThreadPool


    def norms(rows: list) -> list:
        with ThreadPool(2) as pool:
            return [float(result) for result in pool.imap(torch.linalg.norm, rows)]

From
----
Common practice; pools for caching images, figures per validation and forgotten writers in public repositories.
"""

from __future__ import annotations

from collections.abc import Iterator

from memlint.conditions import Open, RunsAgain
from memlint.facts import FileFacts
from memlint.facts.defects import UnclosedResource
from memlint.facts.resources import FIGURE, POOL, WRITER, Unclosed, unclosed
from memlint.rule import Condition, Proposal, Severity, rule

_MESSAGES = {
    FIGURE: "pyplot keeps this figure until it is closed, and nothing closes it",
    POOL: "the workers of this pool are never stopped",
    WRITER: "this writer is never closed",
}


@rule(needs=("pyplot", "Pool", "SummaryWriter", "summary."), default=False)
def close_resources(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each resource that stays open."""
    for found in unclosed(facts):
        yield Proposal(
            message=_MESSAGES[found.kind],
            place=facts.place(found.node),
            fact=UnclosedResource(facts.span(found.node), found.kind),
            evidence=tuple(facts.evidence(node, reason) for node, reason in found.reasons),
            conditions=tuple(_conditions(facts, found)),
            severity=Severity.WARNING,
        )


def _conditions(facts: FileFacts, found: Unclosed) -> Iterator[Condition]:
    if not found.repeats and found.kind != POOL:
        yield RunsAgain((facts.names.module, found.scope.qualname))
    if found.question:
        yield Open(found.question)
