"""A cache on a method keeps every object alive: cache on the object instead.

What it finds
-------------
`functools.lru_cache` or `functools.cache` on a method or below `property`, where the object is part of the key; and on
functions that are called with a tensor, which equals only itself. Dicts on objects and in modules whose keys are made
of `id(tensor)`, `data_ptr()` or the bytes of an array, and which nothing trims.

Why it costs
------------
The cache belongs to the class and lives as long as the program. It holds each object that the method was called on,
with its parameters and data, long after everybody else has let go of it: `del model` frees nothing. A cache that is
keyed by tensors holds arguments and results, and is hit only by the very same tensor object.

When it stays silent
--------------------
For functions of a module with plain arguments, static and class methods, `cached_property`, caches that a function
makes for itself, objects that are only made where a module is imported, enumerations, and lines that carry
`noqa: B019`. A cache with a size of its own, up to a thousand, is only reported on modules. Dicts whose length is
looked at, or which anything that is called trims, are left alone.

Fix safety
----------
Unsafe: a property is computed once per object, as before, but its value is now kept on the object, where copying and
pickling sees it. A method that does not use its object becomes a static method with the same cache. Other methods are
left: whether the result may be kept on the object, or computed each time, is for the author to say.

Example
-------
    import functools

    import torch


    class Posterior:
        def __init__(self, samples: torch.Tensor) -> None:
            self.samples = samples.double()

        @property
        @functools.lru_cache(maxsize=None)
        def mean(self) -> torch.Tensor:
            return self.samples.mean(dim=0)

Use instead
-----------
    import functools

    import torch


    class Posterior:
        def __init__(self, samples: torch.Tensor) -> None:
            self.samples = samples.double()

        @functools.cached_property
        def mean(self) -> torch.Tensor:
            return self.samples.mean(dim=0)

From
----
Posteriors, data sets and quantized layers of public repositories, which were mended for this.
"""

from __future__ import annotations

from collections.abc import Iterator

from memlint.conditions import GivenTensor, Heavy, MadeAnew, NothingTrims, Open
from memlint.facts import FileFacts
from memlint.facts.caches import BOUNDED, CONTENT, Cache, caches, keyed_by_tensors, uses_object
from memlint.facts.defects import PinningCache
from memlint.rule import Condition, Proposal, rule


@rule(needs=("lru_cache", "functools.cache", "import cache", "data_ptr()", "tobytes()", "[id(", "= id("))
def bound_cache(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each cache that keeps objects or tensors alive."""
    yield from _of_functions(facts)
    told: set[tuple[str, str]] = set()
    for keyed in keyed_by_tensors(facts):
        where = (keyed.scope.qualname, keyed.growth.holder)
        if where in told:
            continue  # one entry of a dict speaks for all
        told.add(where)
        name, place = facts.text(keyed.growth.container), facts.place(keyed.growth.node)
        conditions: list[Condition] = [NothingTrims(keyed.growth.holder, (facts.names.module, keyed.scope.qualname))]
        if keyed.by == CONTENT:
            conditions.append(Open("whether the same few tensors come again and again"))
        yield Proposal(
            message=f"`{name}` has a key for the {keyed.by} of each tensor, and nothing trims it",
            place=place,
            fact=PinningCache(facts.span(keyed.growth.node), -1, method=False, uses_self=True),
            evidence=(facts.evidence(keyed.key, f"the key stands for the {keyed.by} of one tensor"),),
            conditions=tuple(conditions),
        )


def _of_functions(facts: FileFacts) -> Iterator[Proposal]:
    for cache in caches(facts):
        function = cache.scope
        owner = function.owner.name if function.owner is not None and cache.is_method else ""
        if owner:
            message = f"`{cache.name}` on `{function.name}` keeps each `{owner}` alive that it was called on"
            conditions = list(_of_method(cache, owner))
            reason = "the cache belongs to the class and holds `self` as a part of each key"
        elif cache.tensor or cache.open_parameters:
            subject = f"the tensor `{cache.tensor}`, which" if cache.tensor else "tensors, each of which"
            message = f"`{cache.name}` on `{function.name}` is keyed by {subject} equals only itself"
            conditions = []
            if not cache.tensor:
                conditions = [GivenTensor((facts.names.module, function.qualname), cache.open_parameters)]
            reason = "the cache holds each tensor it was called with, and what came of it"
        else:
            continue
        yield Proposal(
            message=message,
            place=facts.place(cache.decorator),
            fact=PinningCache(facts.span(function.node), cache.position, bool(owner), uses_object(function)),
            evidence=(facts.evidence(cache.decorator, reason),),
            conditions=tuple(conditions),
        )


def _of_method(cache: Cache, owner: str) -> Iterator[Condition]:
    yield MadeAnew(owner)
    if cache.size == BOUNDED or not cache.result:
        yield Heavy(owner, only_modules=cache.size == BOUNDED)
