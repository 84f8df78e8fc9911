"""Limits of values: what a clamp leaves, what is left of it where branches meet, and which tests can never be true."""

from __future__ import annotations

from typing import NamedTuple

CLAMPING = ("clamp", "clip", "min(max(", "max(min(", "max(0, min(", "max(0.0, min(")
"""A file without any of these limits nothing that is of interest here."""

Number = int | float  # named both, because what is read back from a cache must be what it was
Bound = float | str | None
"""A number, the source of an expression, or None for no bound."""


class Limits(NamedTuple):
    """A value lies within `low` and `high`. clamps: the numbers of the clamps, in this function, that see to it."""

    low: Bound
    high: Bound
    clamps: frozenset[int] = frozenset()


def hull(a: Limits | None, b: Limits | None) -> Limits | None:
    """The limits of a value that is either: the wider bound of the two, none where they can't be compared."""
    if a is None or b is None:
        return None
    if a is b:
        return a
    low = a.low if a.low == b.low else _wider(a.low, b.low, low=True)
    high = a.high if a.high == b.high else _wider(a.high, b.high, low=False)
    return None if low is None and high is None else Limits(low, high, a.clamps | b.clamps)


def _wider(a: Bound, b: Bound, low: bool) -> Bound:
    if isinstance(a, str) or isinstance(b, str) or a is None or b is None:
        return None
    return min(a, b) if low else max(a, b)


def narrowed(known: Limits | None, low: Bound, high: Bound, clamp: int) -> Limits:
    """The limits after one more clamp."""
    before = known or Limits(None, None)
    return Limits(before.low if low is None else low, before.high if high is None else high, before.clamps | {clamp})


def of_magnitude(limits: Limits) -> Limits | None:
    """The limits of the absolute value, where they are the same on both sides."""
    low, high = limits.low, limits.high
    if isinstance(low, (int, float)) and isinstance(high, (int, float)):
        same = low == -high
    else:
        same = high is not None and low in (f"-{high}", f"-({high})")
    return Limits(0.0, high, limits.clamps) if same else None


def never(limits: Limits, op: str, bound: Bound) -> bool:
    """Whether `value op bound` is false for every value within the limits. op: LibCST's name of the comparison."""
    if op.startswith("LessThan"):
        return _beyond(limits.low, bound, strict=op == "LessThan", sign=1.0)
    if op.startswith("GreaterThan"):
        return _beyond(limits.high, bound, strict=op == "GreaterThan", sign=-1.0)
    return False


def _beyond(limit: Bound, bound: Bound, strict: bool, sign: float) -> bool:
    """Whether a bound lies at the limit (a strict test) or outside of it. sign: 1 for the lower one."""
    if limit is None or bound is None:
        return False
    if isinstance(limit, str) or isinstance(bound, str):
        inside = f"{bound} {'+' if sign > 0 else '-'} 1"  # `clamp(max=size - 1)`, then `>= size`
        return strict and limit == bound or limit == inside
    return sign * bound < sign * limit or strict and bound == limit


def in_numbers(limits: Limits | None) -> tuple[Number | None, Number | None] | None:
    """The bounds that are numbers: what a name means, another function does not know."""
    if limits is None:
        return None
    low, high = (None if isinstance(bound, str) else bound for bound in limits[:2])
    return None if low is None and high is None else (low, high)
