"""A list gathers tensors and only its last entry is ever read: keep that one.

What it finds
-------------
A list that a loop fills with tensors and of which only `[-1]`, or another fixed few such as `[0]` and `[-1]`, is ever
read, by the function, by what it hands the list to, or, for an attribute, anywhere in the checked files. A local list
that nothing reads at all is found as well.

Why it costs
------------
Every entry stays alive until the list goes: a hundred steps hold a hundred states, and each one's graph with them,
where one would do. The peak grows with the number of steps.

When it stays silent
--------------------
Where the list is iterated, stacked, sliced, measured, returned, stored, copied or handed to a function that is not in
the checked files or reads more of it; where an attribute of that name is read by another file.

Fix safety
----------
Unsafe: a debugger, a subclass or other code outside the checked files that looks at the list sees fewer entries. The
list stays the same list.

Example
-------
    import torch


    def settle(weights: torch.Tensor, state: torch.Tensor, steps: int) -> torch.Tensor:
        states = []
        for _ in range(steps):
            state = torch.tanh(weights @ state)
            states.append(state)
        return states[-1]

Use instead
-----------
    import torch


    def settle(weights: torch.Tensor, state: torch.Tensor, steps: int) -> torch.Tensor:
        states = []
        for _ in range(steps):
            state = torch.tanh(weights @ state)
            states[:] = [state]
        return states[-1]

From
----
Atheria's `psi_history`, of which the loss reads the last state.
"""

from __future__ import annotations

from collections.abc import Iterator

from memlint.conditions import OnlyEndsRead, Open, PerStep
from memlint.facts import FileFacts
from memlint.facts.defects import OnlyEndsKept
from memlint.facts.ends import Ends, ends
from memlint.rule import Condition, Proposal, rule


@rule(needs=("append",))
def keep_only_last(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each append to such a list."""
    for found in ends(facts):
        name = facts.text(found.growth.container)
        reads = [facts.evidence(at, f"only this entry of `{name}` is read here") for at in found.mentions.reads[:3]]
        given = [facts.evidence(site.node, f"`{site.name}` is given it and reads single entries")
                 for site, _ in found.passed[:3]]  # fmt: skip
        entries = " and ".join(f"`{name}[{index}]`" for index in sorted(found.mentions.indices))
        if given:
            message = f"only single entries of `{name}` are ever read"
        elif entries:
            message = f"only {entries} {'are' if ' and ' in entries else 'is'} ever read of the list"
        else:
            message = f"nothing reads `{name}`"
        yield Proposal(
            message=f"{message}, and it keeps the tensor of every pass",
            place=facts.place(found.growth.node),
            fact=OnlyEndsKept(name, facts.span(found.growth.node)),
            evidence=(facts.evidence(found.made.node, "made here"), *reads, *given),
            conditions=tuple(_conditions(facts, found)),
        )


def _conditions(facts: FileFacts, found: Ends) -> Iterator[Condition]:
    passed = tuple((site.callee, at) for site, at in found.passed)
    holder = found.growth.holder
    seen_elsewhere = found.attribute or (holder.rpartition(":")[2] if holder.startswith("module:") else "")
    yield OnlyEndsRead(frozenset(found.mentions.indices), passed, seen_elsewhere, facts.names.module)
    if not found.certain:
        yield Open("whether tensors are stored")
    if found.attribute:
        if not found.repeats:
            yield PerStep((facts.names.module, found.scope.qualname), any_loop=True)
        if not found.attribute.startswith("_"):
            yield Open(f"whether code outside the checked files reads more of `{found.attribute}`")
