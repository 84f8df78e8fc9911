"""Coordinates out of their range, and flags."""

from __future__ import annotations

from msgspec import Struct

from memlint.facts.defects.spans import Span


class UnclampedSum(Struct, frozen=True):
    """A position plus a displacement that reaches a range contract unclamped.

    total: span of the sum (or of the whole augmented assignment).
    position, displacement: sources of its two sides.
    low, high: sources of the contract's bounds, "" where one is not tested. excluded: the bound that is outside itself.
    augmented: True for `position += displacement`.
    """

    total: Span
    position: str
    displacement: str
    low: str
    high: str
    augmented: bool = False
    excluded: str = ""


class TestAfterClamp(Struct, frozen=True):
    """A range test that a clamp before it has made pointless. clamp: span of the call. test: that of the comparison."""

    clamp: Span
    test: Span


class InvertedFlag(Struct, frozen=True):
    """`~flag` of a Python bool. expression: span of the whole."""

    expression: Span
