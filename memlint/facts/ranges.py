"""Range tests: which expression must lie between which bounds, when an assert holds or an if does not raise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from memlint.facts import nodes as n

_EXTREMES = frozenset({"min", "max", "amin", "amax", "item", "detach", "all"})
_REDUCING = frozenset({"all", "any", "min", "max", "amin", "amax", "aminmax"})
_FLIPPED = {
    "LessThan": "GreaterThan",
    "LessThanEqual": "GreaterThanEqual",
    "GreaterThan": "LessThan",
    "GreaterThanEqual": "LessThanEqual",
}
_NEGATED = {
    "LessThan": "GreaterThanEqual",
    "LessThanEqual": "GreaterThan",
    "GreaterThan": "LessThanEqual",
    "GreaterThanEqual": "LessThan",
}


class RangeTest(NamedTuple):
    """`subject op bound` must hold. is_low: the bound is the lower one. strict: the bound itself is outside.

    symmetric: it is the subject's absolute value that is tested. whole: the test is about all elements of a tensor.
    """

    subject: n.Expr
    bound: n.Expr
    is_low: bool
    strict: bool
    symmetric: bool
    whole: bool


def range_tests(test: n.Expr, holds: bool) -> Iterator[RangeTest]:
    """The range tests in an expression. holds: the code goes on where the expression is true, or where it is false."""
    reduces: bool | None = None
    for comparison, positive in _comparisons(test, holds):
        left = comparison.left
        for op, right in comparison.rest:
            if op in _FLIPPED and _is_bound(right) != _is_bound(left):
                subject, bound = (left, right) if _is_bound(right) else (right, left)
                op = op if _is_bound(right) else _FLIPPED[op]
                op = op if positive else _NEGATED[op]
                if reduces is None:
                    reduces = any(_is_reduction(part) for part in n.walk(test))
                whole = reduces and (comparison is not test or subject is not extreme_of(subject)[0])
                tested, absolute = extreme_of(subject)
                yield RangeTest(tested, bound, op.startswith("Greater"), not op.endswith("Equal"), absolute, whole)
            left = right


def _comparisons(test: n.Expr, positive: bool) -> Iterator[tuple[n.Compare, bool]]:
    if isinstance(test, n.Compare):
        yield test, positive
    elif isinstance(test, n.Unary) and test.op in ("Not", "BitInvert"):
        yield from _comparisons(test.operand, not positive)
    else:
        for part in n.children(test):
            yield from _comparisons(part, positive)


def _is_bound(expr: n.Expr) -> bool:
    return isinstance(expr, n.Const) and isinstance(expr.value, (int, float)) and not isinstance(expr.value, bool)


def _is_reduction(expr: n.Expr) -> bool:
    return isinstance(expr, n.Call) and isinstance(expr.func, n.Attr) and expr.func.attr in _REDUCING


def extreme_of(expr: n.Expr) -> tuple[n.Expr, bool]:
    """(`x`, whether its absolute value is meant) for `x.min()`, `torch.max(x)`, `x.abs().max()`."""
    if isinstance(expr, n.Call) and isinstance(expr.func, n.Attr) and expr.func.attr in _EXTREMES | {"abs"}:
        is_torch = n.dotted(expr.func.value) == "torch" and expr.args
        inner, absolute = extreme_of(expr.args[0] if is_torch else expr.func.value)
        return inner, absolute or expr.func.attr == "abs"
    return expr, False
