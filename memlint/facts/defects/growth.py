"""What outlives the step and grows with it."""

from __future__ import annotations

from msgspec import Struct

from memlint.facts.defects.spans import Span


class UnboundedGrowth(Struct, frozen=True):
    """A container that outlives the step and grows in it.

    container: the source of the container expression, `self.stats["loss"]`.
    growth: span of the growing expression (a call) or statement.
    how: append | extend | augment | setitem | concat | appendleft | put | add.
    stored: graph | tensor | record | number | unknown: what one step adds.
    spawns: its entries are members that add to it themselves; the oldest of them may be alive.
    """

    container: str
    growth: Span
    how: str
    stored: str
    spawns: bool = False


class OnlyEndsKept(Struct, frozen=True):
    """An append to a list of which only a few fixed entries are ever read.

    container: the source of the list. growth: span of the append call. indices: the entries that are read, sorted.
    """

    container: str
    growth: Span
    indices: tuple[int, ...] = ()


class PinningCache(Struct, frozen=True):
    """A cache that keeps objects alive.

    function: span of the decorated function. decorator: position among its decorators, -1 for a dict that is a cache.
    method: it is a method, whose cache holds every object. uses_self: its body reads the object.
    """

    function: Span
    decorator: int
    method: bool
    uses_self: bool


class UncappedSpawn(Struct, frozen=True):
    """A population that spawns with no cap that holds.

    form: unlimited | stale | new-only | abrupt | started. container: the source of the population.
    how: append | extend | augment | setitem, "" where nothing is stored. growth: span of the growing code.
    made: span of the statement that makes the container, None where it is not known.
    """

    form: str
    container: str
    how: str = ""
    growth: Span | None = None
    made: Span | None = None
