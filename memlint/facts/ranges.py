"""Range tests: which expression is compared with which bounds."""

from __future__ import annotations

from memlint.facts import nodes as n

_EXTREMES = frozenset({"min", "max", "amin", "amax", "item", "detach", "all"})
_REDUCING = frozenset({"all", "any", "min", "max", "amin", "amax", "aminmax"})


def bounds(test: n.Compare) -> list[tuple[n.Expr, str, n.Expr]]:
    """(subject, operator, bound) for `x >= low`, `low <= x <= high` and the like."""
    flipped = {"LessThan": "GreaterThan", "LessThanEqual": "GreaterThanEqual", "GreaterThan": "LessThan",
               "GreaterThanEqual": "LessThanEqual"}  # fmt: skip
    found = []
    left = test.left
    for op, right in test.rest:
        if op in flipped:
            if _is_bound(right) and not _is_bound(left):
                found.append((left, op, right))
            elif _is_bound(left) and not _is_bound(right):
                found.append((right, flipped[op], left))
        left = right
    return found


def _is_bound(expr: n.Expr) -> bool:
    return isinstance(expr, n.Const) and isinstance(expr.value, (int, float)) and not isinstance(expr.value, bool)


def reduces(test: n.Expr) -> bool:
    """Whether a test looks at all elements of something: `torch.all(...)`, `.min()`, `(x >= 0).all()`."""
    return any(isinstance(p, n.Call) and isinstance(p.func, n.Attr) and p.func.attr in _REDUCING for p in n.walk(test))


def extreme_of(expr: n.Expr) -> n.Expr:
    """`x` for `x.min()`, `torch.max(x)`, `x.abs().max()`: what a range test is about."""
    if isinstance(expr, n.Call) and isinstance(expr.func, n.Attr) and expr.func.attr in _EXTREMES:
        is_torch = n.dotted(expr.func.value) == "torch" and expr.args
        return extreme_of(expr.args[0] if is_torch else expr.func.value)
    return expr
