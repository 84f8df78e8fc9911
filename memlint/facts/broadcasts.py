"""Nearest rows found by a distance from every point to every grid row at once: needs batch x grid memory.

A search counts where nothing but the index of the smallest distance is kept: then no distance has to live longer than
its comparison.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from memlint.facts import FileFacts, Scope
from memlint.facts import nodes as n
from memlint.facts.rowloops import norm_of
from memlint.facts.shapes import BYTES, Size

_BUDGET = 64 << 20
"""What `nearest_rows` takes at most: below it nothing would be gained."""


class BroadSearch(Struct, eq=False):
    """A search. node: the call of argmin. steps: the statements that only lead to it. exact: no squared distances.

    difference: where all rows meet. needed: its bytes, None where the shapes are not known.
    """

    node: n.Call
    points: n.Expr
    grid: n.Expr
    difference: n.Binary
    steps: list[n.Assign]
    exact: bool
    needed: int | None
    shape: str


def broad_searches(facts: FileFacts, scope: Scope) -> Iterator[BroadSearch]:
    """The searches of a function."""
    if not facts.mentions("argmin"):
        return
    for expr in scope.every():
        if isinstance(expr, n.Call) and (called := _argmin(facts, expr)) is not None:
            distances, axis = called
            found = _Chain(facts, scope).search(expr, distances, axis)
            if found is not None and (found.needed is None or found.needed > _BUDGET):
                yield found


def _argmin(facts: FileFacts, call: n.Call) -> tuple[n.Expr, int] | None:
    """What an `argmin` goes over, and along which axis."""
    if facts.names.path(n.dotted(call.func)) == "torch.argmin" and call.args:
        distances, position = call.args[0], 1
    elif isinstance(call.func, n.Attr) and call.func.attr == "argmin":
        distances, position = call.func.value, 0
    else:
        return None
    axis = call.argument(position, "dim") or call.argument(-1, "axis")
    number = _number(axis)
    if number not in (-1, 0, 1) or len(call.args) + len(call.keywords) > position + 1:
        return None
    return distances, number


class _Chain:
    """Follows a value back through names that are bound once and read once."""

    def __init__(self, facts: FileFacts, scope: Scope) -> None:
        self.facts, self.scope = facts, scope
        self.steps: list[n.Assign] = []
        self.bound: dict[str, list[n.Assign]] = {}
        self.others: set[str] = set(scope.params)
        self.reads: dict[str, int] = {}
        for stmt in scope.statements():
            targets = stmt.targets if isinstance(stmt, n.Assign) else [getattr(stmt, "target", None)]
            for target in targets:
                if isinstance(stmt, n.Assign) and isinstance(target, n.Name) and len(stmt.targets) == 1:
                    self.bound.setdefault(target.id, []).append(stmt)
                elif target is not None:
                    self.others |= {part.id for part in n.walk(target) if isinstance(part, n.Name)}
        for expr in scope.every():
            if isinstance(expr, n.Name):
                self.reads[expr.id] = self.reads.get(expr.id, 0) + 1

    def resolve(self, expr: n.Expr) -> n.Expr:
        """What a name stands for, where nobody else reads it."""
        while isinstance(expr, n.Name):
            made = self.bound.get(expr.id, [])
            if len(made) != 1 or expr.id in self.others or self.reads[expr.id] != 2:  # bound once, read once
                return expr
            self.steps.append(made[0])
            expr = made[0].value
        return expr

    def search(self, node: n.Call, distances: n.Expr, axis: int) -> BroadSearch | None:
        named = isinstance(distances, n.Name)
        distances = self.resolve(distances)
        if isinstance(distances, n.Name) or named and not self.steps:
            return None  # the distances are used otherwise too
        difference, exact = norm_of(self.facts, distances, self.resolve, (2, -1))
        if difference is None:
            return None
        difference = self.resolve(difference)
        if not isinstance(difference, n.Binary) or difference.op != "Subtract":
            return None
        sides = [self._axes(difference.left), self._axes(difference.right)]
        first = next((expr for expr, at in sides if at == 1), None)
        second = next((expr for expr, at in sides if at != 1), None)
        if first is None or second is None or any(at is None for _, at in sides) and not _is_plain(second):
            return None
        points, grid = (second, first) if axis == 0 else (first, second)
        sizes = self._size(points), self._size(grid)
        needed, shape = None, ""
        if sizes[0] is not None and sizes[1] is not None:
            rows, nodes = sizes[0].shape[0], sizes[1].shape[0]
            needed = rows * nodes * sizes[0].shape[-1] * BYTES[sizes[0].dtype]
            shape = f"{rows:,} x {nodes:,} x {sizes[0].shape[-1]}"
        return BroadSearch(node, points, grid, difference, self.steps, exact, needed, shape)

    def _axes(self, side: n.Expr) -> tuple[n.Expr, int | None]:
        """A side of the difference without the axis that was put into it, and where that was."""
        kept = len(self.steps)
        inner = self.resolve(side)
        if isinstance(inner, n.Call) and isinstance(inner.func, n.Attr) and inner.func.attr == "unsqueeze":
            at = _number(inner.args[0]) if len(inner.args) == 1 else None
            if at in (0, 1):
                return inner.func.value, at
            if at == -2:
                return inner.func.value, 1
        if isinstance(inner, n.Item):
            index = inner.index
            parts = index.elements if isinstance(index, n.Sequence) and index.kind == "tuple" else [index]
            places = [at for at, part in enumerate(parts) if _is_new_axis(part)]
            whole = all(
                isinstance(part, n.Slice) and _is_all(part) for at, part in enumerate(parts) if at not in places
            )
            if len(places) == 1 and whole and places[0] in (0, 1) and len(parts) <= 3:
                return inner.value, places[0]
        del self.steps[kept:]
        return side, None

    def _size(self, expr: n.Expr) -> Size | None:
        text = n.dotted(expr)
        value = self.scope.env.get(text)
        first, _, attribute = text.partition(".")
        if value is None and first == self.scope.self_name and self.scope.owner is not None:
            value = self.scope.owner.attributes.get(attribute)
        return value.size if value is not None and value.size is not None and len(value.size.shape) == 2 else None


def _is_plain(side: n.Expr) -> bool:
    return isinstance(side, (n.Name, n.Attr))


def _is_all(part: n.Slice) -> bool:
    return part.lower is None and part.upper is None and part.step is None


def _is_new_axis(part: n.Expr) -> bool:
    return isinstance(part, n.Const) and getattr(part.ref, "value", "") == "None"


def _number(expr: n.Expr | None) -> int | None:
    return expr.value if isinstance(expr, n.Const) and type(expr.value) is int else None
