"""The same unchanged object is serialised, or the same matrix decomposed, in every tick: do it once before the loop.

What it finds
-------------
In loops that step something, or in functions that such a loop calls in each pass: `json.dumps`, `pickle.dumps`,
`yaml.dump` and the like, and inverses and decompositions (`torch.linalg`, `numpy.linalg`, `scipy.linalg`), where
nothing changes what they are given: a local that the loop neither binds nor writes to nor hands to anyone, or an
attribute that only the constructor binds and nothing in the file changes.

Why it costs
------------
The work is the same and so is its result. Serialising takes time with the size of the object, and a decomposition with
its cube.

When it stays silent
--------------------
Where the loop binds, fills or changes the value, calls a method of it that may, or hands it to a function that may;
where the same object is known under another name; for tensors that carry gradients, weights, values that differ from
pass to pass, calls that a test guards, and in tests and benchmarks.

Fix safety
----------
Not fixed: a shared result must not be changed by those who use it, and a cache has to be dropped where the object
changes at last. Both are for you to see.

Example
-------
    import torch


    def filter_states(world, stiffness: torch.Tensor, steps: int) -> list[torch.Tensor]:
        system = torch.eye(3) + stiffness.detach()
        states = []
        for _ in range(steps):
            position, velocity, done = world.step()
            inverse = torch.linalg.inv(system)
            states.append(inverse @ position)
            if done:
                break
        return states

Use instead
-----------
    import torch


    def filter_states(world, stiffness: torch.Tensor, steps: int) -> list[torch.Tensor]:
        inverse = torch.linalg.inv(torch.eye(3) + stiffness.detach())
        states = []
        for _ in range(steps):
            position, velocity, done = world.step()
            states.append(inverse @ position)
            if done:
                break
        return states

From
----
Life's plan (its state was serialised in each tick; it keeps the text now until something changes), and simulations.
"""

from __future__ import annotations

from collections.abc import Iterator

from memlint.conditions import EachTick, ReadHereOnly
from memlint.facts import FileFacts
from memlint.facts.unchanged import repeated
from memlint.rule import Condition, Proposal, rule


@rule(
    needs=("json", "pickle", "yaml", "msgpack", "linalg", "pformat", "marshal", "dill.", "cloudpickle"), default=False
)
def cache_serialization(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each call that gives the same in each pass."""
    for found in repeated(facts):
        conditions: list[Condition] = []
        if found.loop is None:
            conditions.append(EachTick((facts.names.module, found.scope.qualname)))
        if found.attribute:
            conditions.append(ReadHereOnly(found.attribute, facts.names.module))
        yield Proposal(
            message=f"`{facts.text(found.node)}` gives the same in each pass: nothing changes `{found.of}`",
            place=facts.place(found.node),
            fact=None,
            evidence=tuple(facts.evidence(node, message) for node, message in found.reasons),
            conditions=tuple(conditions),
        )
