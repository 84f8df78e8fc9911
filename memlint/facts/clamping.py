"""Clamps and range tests, while a function is interpreted: which values a clamp has limited, and what tests them."""

from __future__ import annotations

from memlint.facts import nodes as n
from memlint.facts.events import Clamp, RangeCheck
from memlint.facts.limits import Bound, Limits, narrowed, of_magnitude
from memlint.facts.ranges import extreme_of
from memlint.facts.recorder import Recorder
from memlint.facts.values import Value

_CLAMPS = {
    "clamp": ("min", "max"), "clamp_": ("min", "max"), "clip": ("min", "max"), "clip_": ("min", "max"),
    "clamp_min": ("min",), "clamp_min_": ("min",), "clamp_max": ("max",), "clamp_max_": ("max",),
}  # fmt: skip
_NAMES = {"min": ("min", "a_min"), "max": ("max", "a_max")}
_PASSING = frozenset({
    "clone", "detach", "contiguous", "to", "cpu", "cuda", "float", "double", "view", "reshape", "squeeze", "unsqueeze",
    "permute", "transpose", "flatten", "expand", "expand_as", "repeat", "narrow", "select", "gather", "index_select",
    "flip", "t", "min", "max", "amin", "amax", "requires_grad_", "view_as", "reshape_as", "unflatten", "numpy",
})  # fmt: skip


class Clamping(Recorder):
    """Keeps the limits of values."""

    def limited(self, expr: n.Call, value: Value) -> Value:
        """The value of a call with the limits that it has: of a clamp, its own; of most others, none."""
        func = expr.func
        path = self.file.names.path(n.dotted(func))
        name = path.rpartition(".")[2] if path else func.attr if isinstance(func, n.Attr) else ""
        if name in _CLAMPS and (not path or path.startswith(("torch.", "numpy.", "jax.", "mlx."))):
            limits = self._clamped(expr, name, bool(path))
        elif isinstance(func, n.Name) and func.id in ("min", "max") and not path:
            limits = self._one_sided(expr, func.id)
        else:
            parts = name in ("min", "max") and (expr.args or expr.keywords)  # values with their places
            limits = value.limits if name in _PASSING and not path and not parts else None
        changed = n.dotted(func.value) if isinstance(func, n.Attr) and name.endswith("_") and not path else ""
        if changed in self.env and name != "requires_grad_":
            self.env[changed] = self.env[changed].but(limits=limits)
        return value if value.limits == limits else value.but(limits=limits)

    def _clamped(self, expr: n.Call, name: str, function: bool) -> Limits | None:
        """The limits that a clamp leaves."""
        bounds: dict[str, Bound] = {"min": None, "max": None}
        first = 1 if function else 0
        for position, side in enumerate(_CLAMPS[name]):
            given = expr.argument(first + position, side) or dict(expr.keywords).get(_NAMES[side][1])
            bounds[side] = self._bound(given) if given is not None else None
        inner = expr.args[0] if function and expr.args else expr.func.value if isinstance(expr.func, n.Attr) else None
        known = self.eval(inner).limits if inner is not None else None
        return self._noted(expr, known, bounds["min"], bounds["max"])

    def _one_sided(self, expr: n.Call, name: str) -> Limits | None:
        """`max(x, low)` and `min(x, high)` of two, one of which is a literal."""
        if len(expr.args) != 2 or expr.keywords:
            return None
        literal = [isinstance(arg, n.Const) for arg in expr.args]
        if sum(literal) != 1:
            return None
        inner, bound = (expr.args[1], expr.args[0]) if literal[0] else (expr.args[0], expr.args[1])
        given = self._bound(bound)
        known = self.eval(inner).limits
        return self._noted(expr, known, given if name == "max" else None, given if name == "min" else None)

    def _noted(self, expr: n.Call, known: Limits | None, low: Bound, high: Bound) -> Limits | None:
        if low is None and high is None:
            return known
        clamps = self.events.clamps
        number = self._seen.get(("clamp", id(expr)))
        if number is None:
            number = self._seen["clamp", id(expr)] = len(clamps)
            clamps.append(Clamp(expr, low, high))
        return narrowed(known, low, high, number)

    def _bound(self, expr: n.Expr) -> Bound:
        """A bound as a number, or as source text where that means the same wherever it stands."""
        if isinstance(expr, n.Const):
            given = expr.value
            return given if isinstance(given, (int, float)) and not isinstance(given, bool) else None
        if not all(isinstance(part, (n.Name, n.Attr, n.Binary, n.Unary, n.Const)) for part in n.walk(expr)):
            return None
        return self.file.text(expr).strip()

    def note_range_tests(self, expr: n.Compare) -> None:
        """The comparisons of what a clamp has limited, and of parameters, with a bound."""
        left = expr.left
        for op, right in expr.rest:
            if op in _FLIPPED:
                self._note_check(expr, left, op, right)
                self._note_check(expr, right, _FLIPPED[op], left)
            left = right

    def _note_check(self, node: n.Compare, side: n.Expr, op: str, other: n.Expr) -> None:
        if isinstance(side, n.Const):
            return
        subject, absolute = extreme_of(side)
        value = self.eval(subject)
        prefix = f"param:{self.scope.qualname}:"
        holder = value.holder.removesuffix("[]")
        parameter = holder.removeprefix(prefix) if holder.startswith(prefix) else ""
        if n.root(subject) != parameter:
            parameter = ""
        limits = of_magnitude(value.limits) if absolute and value.limits is not None else value.limits
        key = ("checked", id(node), id(side), op)
        if key in self._seen:
            check = self._seen[key]
            if check is not None and (limits is None or check.limits is not None and check.limits[:2] != limits[:2]):
                check.limits = None
            return
        bound = self._bound(other) if limits is not None or parameter else None
        self._seen[key] = None
        if bound is not None:
            check = RangeCheck(node, subject, op, bound, limits, parameter, absolute, self.stmt)
            self._seen[key] = check
            self.events.range_checks.append(check)


_FLIPPED = {
    "LessThan": "GreaterThan",
    "LessThanEqual": "GreaterThanEqual",
    "GreaterThan": "LessThan",
    "GreaterThanEqual": "LessThanEqual",
}
