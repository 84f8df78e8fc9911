"""Points are rounded, or looked up in a grid, one at a time or all at once: do it in one call, in pieces that fit.

What it finds
-------------
A loop over the rows of a tensor whose body only computes the distance of one row to all rows of a grid, takes the
`argmin` and writes the result; or only rounds or clamps one row and writes it. And the search that takes the distance
of all points to all rows of the grid at once, only to keep the `argmin`.

Why it costs
------------
Each pass launches several tiny kernels and waits for none of them to be worth it: a batch of 100,000 points costs
seconds instead of milliseconds, and every pass allocates distances to the whole grid anew. The search at once needs
points x rows x dimensions numbers: 57 GB for 100,000 points, 47,824 rows and 3 dimensions in float32.

When it stays silent
--------------------
Where the body does anything else: branches, early exit, state carried from row to row, random numbers, calls that
memlint does not know, other writes; for short constant loops; where the values are not tensors; where the distances are
used for something else as well, or are known to fit into 64 MiB.

Fix safety
----------
Safe where the batched call gives the same values: `nearest_rows` computes the same norm as the loop, in pieces that
fit a byte budget, and takes the first of equal distances as `argmin` does. Unsafe where the loop compares squared
distances, whose ties may fall differently, and for the search at once, where shapes are not proved. The whole broadcast
(rows x grid x dimensions) is never built.

Example
-------
    import torch


    def snap(points: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        snapped = torch.zeros_like(points)
        for i in range(points.shape[0]):
            distances = torch.norm(grid - points[i].unsqueeze(0), dim=1)
            snapped[i] = grid[torch.argmin(distances)]
        return snapped

Use instead
-----------
    import torch

    from memlint.runtime import nearest_rows


    def snap(points: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        snapped = torch.zeros_like(points)
        snapped[: points.shape[0]] = grid[nearest_rows(points[: points.shape[0]], grid)]
        return snapped

From
----
energy_flow's optimisation report: "the loop over the batch kills the parallelism of the GPU".
"""

from __future__ import annotations

from collections.abc import Iterator

from memlint.conditions import Open
from memlint.facts import FileFacts, shapes
from memlint.facts.broadcasts import BroadSearch, broad_searches
from memlint.facts.defects import BroadcastSearch, PerItemLoop
from memlint.facts.rowloops import RowLoop, row_loops
from memlint.rule import Proposal, Severity, rule


@rule(needs=("torch",))
def vectorize_rounding(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each replaceable row loop, and for each search at once."""
    for scope in facts.all_scopes():
        for search in broad_searches(facts, scope):
            yield _at_once(facts, search)
        for found in row_loops(facts, scope):
            what = "looks up the nearest grid row for" if found.form == "nearest" else f"{found.form}s"
            yield Proposal(
                message=f"this loop {what} one row of `{facts.text(found.points)}` at a time",
                place=facts.place(found.loop),
                fact=_fact(facts, found),
                evidence=(
                    facts.evidence(found.points, f"`{facts.text(found.points)}` is read row by row"),
                    facts.evidence(found.result, "each row's result is written here, and nothing else happens"),
                ),
                severity=Severity.WARNING,
            )


def _at_once(facts: FileFacts, search: BroadSearch) -> Proposal:
    points, grid = facts.text(search.points).strip(), facts.text(search.grid).strip()
    question = f"how many rows `{points}` and `{grid}` have: `nearest_rows` stays within 64 MiB"
    if search.needed is not None:
        cost = f"{shapes.amount(search.needed)} ({search.shape})"
    else:
        cost = f"len({points}) x len({grid}) x columns x 4 bytes"
    return Proposal(
        message=f"this search compares every row of `{points}` with every row of `{grid}` at once: {cost}",
        place=facts.place(search.node),
        fact=BroadcastSearch(facts.span(search.node), tuple(facts.span(step) for step in search.steps), points, grid),
        evidence=(
            facts.evidence(
                search.difference, "all rows meet here, and only the index of the smallest distance is kept"
            ),
        ),
        conditions=() if search.needed is not None else (Open(question),),
        severity=Severity.WARNING,
    )


def _fact(facts: FileFacts, found: RowLoop) -> PerItemLoop:
    arguments = [facts.text(a) for a in found.arguments] + [f"{k}={facts.text(a)}" for k, a in found.keywords]
    return PerItemLoop(
        loop=facts.span(found.loop),
        form=found.form,
        result=facts.text(found.result),
        points=facts.text(found.points),
        grid=facts.text(found.grid) if found.grid is not None else "",
        count=facts.text(found.count) if found.count is not None else "",
        stores=found.stores,
        arguments=", ".join(arguments),
        collects=found.collects,
        unused_after=found.unused_after,
        exact=found.exact,
    )
