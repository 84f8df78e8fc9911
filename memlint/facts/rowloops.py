"""Loops over the rows of a tensor that one batched call replaces: the question behind vectorize-rounding.

A loop qualifies only when its body is a straight line of assignments that ends in one write of a row, so that nothing
is carried from one row to the next, nothing is skipped and nothing else happens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec import Struct, field

from memlint.facts import FileFacts, Scope
from memlint.facts import knowledge as k
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.events import CONSTANT
from memlint.facts.tensor_names import TENSOR_NAMES

ROUNDING = frozenset({"round", "trunc", "floor", "ceil", "clamp", "clip"})
_NORMS = frozenset({"torch.norm", "torch.linalg.norm", "torch.linalg.vector_norm"})


class RowLoop(Struct, eq=False):
    """A loop with what replaces it. Expressions are nodes of the loop; `bound` are the names that its body binds."""

    loop: n.For
    form: str
    result: n.Expr
    points: n.Expr
    grid: n.Expr | None = None
    count: n.Expr | None = None
    stores: str = "rows"
    arguments: list[n.Expr] = field(default_factory=list)
    keywords: list[tuple[str, n.Expr]] = field(default_factory=list)
    collects: bool = False
    unused_after: bool = True
    exact: bool = True


class _Rows(Struct):
    """What one pass of a loop sees: `points[index]`, directly or as `row`."""

    points: n.Expr | None
    index: str
    row: str
    count: n.Expr | None


def row_loops(facts: FileFacts, scope: Scope) -> Iterator[RowLoop]:
    """The replaceable row loops of a function."""
    kinds = {id(loop.node): loop.kind for loop in scope.events.loops}
    for stmt in scope.statements():
        if isinstance(stmt, n.For) and not stmt.orelse and kinds.get(id(stmt)) != CONSTANT:
            found = _match(facts, scope, stmt)
            if found is not None:
                yield found


def _match(facts: FileFacts, scope: Scope, loop: n.For) -> RowLoop | None:
    rows = _rows(scope, loop)
    if rows is None or not loop.body:
        return None
    *steps, last = loop.body
    meaning: dict[str, n.Expr] = {}
    read: set[str] = set()
    for step in steps:
        if not isinstance(step, n.Assign) or len(step.targets) != 1 or not isinstance(step.targets[0], n.Name):
            return None
        read |= {part.id for part in n.walk(step.value) if isinstance(part, n.Name)}
        if step.targets[0].id in meaning or step.targets[0].id in read or not _is_pure(facts, step.value):
            return None  # read before it is bound: what one row leaves behind is read by the next
        meaning[step.targets[0].id] = step.value
    write = _write(last, rows)
    if write is None:
        return None
    result, stored, collects = write
    if not _is_pure(facts, stored):
        return None
    found = _nearest(facts, stored, rows, meaning) or _rounded(facts, scope, stored, rows, meaning)
    if found is None:
        return None
    form, points, grid, stores, call, exact = found
    if not _is_tensor(scope, points) and not _counted(points, rows):
        return None  # it may be a list of tensors of different lengths
    in_place = n.dotted(result) == n.dotted(points)
    read_by = (grid,) if in_place else (stored, *meaning.values())
    if any(n.dotted(result) in n.mentioned(part) for part in read_by if part is not None):
        return None  # what earlier rows gave is read by later ones
    if _kind(scope, result) == v.DICT:
        return None  # rows of their own under their keys
    matched = RowLoop(loop, form, result, points, grid, rows.count, stores, collects=collects, exact=exact)
    if call is not None:
        matched.arguments, matched.keywords = call.args, call.keywords
    bound = {*meaning, rows.index, rows.row} - {""}
    matched.exact &= rows.count is None or _plain_count(rows.count)
    matched.unused_after = not _read_after(scope.body, loop, bound)
    return matched


def _rows(scope: Scope, loop: n.For) -> _Rows | None:
    iterable, target = loop.iter, loop.target
    if isinstance(iterable, n.Call) and isinstance(iterable.func, n.Name) and not iterable.keywords:
        if iterable.func.id == "range" and len(iterable.args) == 1 and isinstance(target, n.Name):
            return _Rows(None, target.id, "", iterable.args[0])
        if iterable.func.id == "enumerate" and len(iterable.args) == 1 and isinstance(target, n.Sequence):
            names = [e.id for e in target.elements if isinstance(e, n.Name)]
            if len(names) == 2:
                return _Rows(iterable.args[0], names[0], names[1], None)
        return None
    if isinstance(target, n.Name) and n.dotted(iterable):
        return _Rows(iterable, "", target.id, None)
    return None


def _write(stmt: n.Stmt, rows: _Rows) -> tuple[n.Expr, n.Expr, bool] | None:
    """(result, what is stored, whether by append) of the statement that ends the body."""
    if isinstance(stmt, n.Assign) and len(stmt.targets) == 1 and isinstance(stmt.targets[0], n.Item):
        target = stmt.targets[0]
        if isinstance(target.index, n.Name) and target.index.id == rows.index and n.dotted(target.value):
            return target.value, stmt.value, False
    if isinstance(stmt, n.Do) and isinstance(stmt.value, n.Call) and isinstance(stmt.value.func, n.Attr):
        call = stmt.value
        if stmt.value.func.attr == "append" and len(call.args) == 1 and n.dotted(stmt.value.func.value):
            return stmt.value.func.value, call.args[0], True
    return None


def _resolve(expr: n.Expr, meaning: dict[str, n.Expr]) -> n.Expr:
    seen = 0
    while isinstance(expr, n.Name) and expr.id in meaning and seen < 20:
        expr, seen = meaning[expr.id], seen + 1
    return expr


def _is_row(expr: n.Expr, rows: _Rows, meaning: dict[str, n.Expr]) -> n.Expr | None:
    """The tensor whose row an expression is: `points` for `points[i]`, also unsqueezed."""
    expr = _resolve(expr, meaning)
    if isinstance(expr, n.Call) and isinstance(expr.func, n.Attr) and _adds_an_axis(expr, expr.func.attr):
        return _is_row(expr.func.value, rows, meaning)
    if isinstance(expr, n.Item) and isinstance(expr.index, n.Const) and expr.index.value is None:
        return _is_row(expr.value, rows, meaning)  # row[None]
    if isinstance(expr, n.Name) and expr.id == rows.row and rows.row:
        return rows.points
    if (
        isinstance(expr, n.Item)
        and isinstance(expr.index, n.Name)
        and expr.index.id == rows.index
        and n.dotted(expr.value)
    ):
        return expr.value
    return None


def _adds_an_axis(call: n.Call, method: str) -> bool:
    """`row.unsqueeze(0)`, `row.view(1, -1)`: still one row."""
    if method == "unsqueeze":
        return len(call.args) == 1 and _is(call.args[0], 0)
    return method in ("view", "reshape") and len(call.args) == 2 and _is(call.args[0], 1) and _is(call.args[1], -1)


def _is_pure(facts: FileFacts, expr: n.Expr) -> bool:
    """Whether all calls in an expression are torch's own and depend on their arguments alone."""
    for part in n.walk(expr):
        if isinstance(part, n.Call):
            path = facts.names.path(n.dotted(part.func))
            last = n.dotted(part.func).rpartition(".")[2] or getattr(part.func, "attr", "")
            known = path.startswith("torch.") or isinstance(part.func, n.Attr) and last in TENSOR_NAMES
            if last == "int" and isinstance(part.func, n.Name):
                continue
            if not known or last in k.CREATORS or last in k.RANDOM or last.endswith("_"):
                return False
        elif isinstance(part, (n.Await, n.Yield, n.Walrus)):
            return False
    return True


def _counted(points: n.Expr, rows: _Rows) -> bool:
    """Whether the loop's bound is `points.shape[0]` or `points.size(0)`: then it is a tensor or an array."""
    count = rows.count
    if isinstance(count, n.Item) and isinstance(count.value, n.Attr) and count.value.attr == "shape":
        return n.dotted(count.value.value) == n.dotted(points)
    if isinstance(count, n.Call) and isinstance(count.func, n.Attr) and count.func.attr == "size":
        return n.dotted(count.func.value) == n.dotted(points)
    return False


def _invariant(expr: n.Expr, rows: _Rows, meaning: dict[str, n.Expr]) -> bool:
    """Whether an expression is the same in every pass."""
    for part in n.walk(expr):
        if isinstance(part, n.Name):
            if part.id in (rows.index, rows.row):
                return False
            if part.id in meaning and not _invariant(
                meaning[part.id], rows, {k: e for k, e in meaning.items() if k != part.id}
            ):
                return False
    return True


_Found = tuple[str, n.Expr, "n.Expr | None", str, "n.Call | None", bool]


def _nearest(facts: FileFacts, stored: n.Expr, rows: _Rows, meaning: dict[str, n.Expr]) -> _Found | None:
    stored = _resolve(stored, meaning)
    stores, index, taken = "index", stored, None
    if isinstance(stored, n.Item):
        stores, index, taken = "rows", _resolve(stored.index, meaning), _resolve(stored.value, meaning)
    distances = _argmin(facts, _unitemed(index, meaning), meaning)
    if distances is None:
        return None
    difference, exact = norm_of(facts, _resolve(distances, meaning), lambda expr: _resolve(expr, meaning), (1, -1))
    if difference is None:
        return None
    difference = _resolve(difference, meaning)
    if not isinstance(difference, n.Binary) or difference.op != "Subtract":
        return None
    for side, other in ((difference.left, difference.right), (difference.right, difference.left)):
        points = _is_row(side, rows, meaning)
        grid = _resolve(other, meaning)
        if points is not None and _invariant(grid, rows, meaning):
            if taken is not None and not _same(facts, taken, grid):
                return None
            return "nearest", points, grid, stores, None, exact and _shows_one_row(side, meaning)
    return None


def _shows_one_row(expr: n.Expr, meaning: dict[str, n.Expr]) -> bool:
    """`row.unsqueeze(0)`, `row[None]`, `row.view(1, -1)`: a row of a matrix, not a matrix of a stack of them."""
    expr = _resolve(expr, meaning)
    is_item = isinstance(expr, n.Item) and isinstance(expr.index, n.Const) and expr.index.value is None
    return is_item or isinstance(expr, n.Call)


def _same(facts: FileFacts, a: n.Expr, b: n.Expr) -> bool:
    return facts.text(a).strip() == facts.text(b).strip()


def _unitemed(expr: n.Expr, meaning: dict[str, n.Expr]) -> n.Expr:
    expr = _resolve(expr, meaning)
    if isinstance(expr, n.Call) and isinstance(expr.func, n.Attr) and expr.func.attr == "item":
        return _resolve(expr.func.value, meaning)
    if isinstance(expr, n.Call) and isinstance(expr.func, n.Name) and expr.func.id == "int" and len(expr.args) == 1:
        return _resolve(expr.args[0], meaning)
    return expr


def _argmin(facts: FileFacts, expr: n.Expr, meaning: dict[str, n.Expr]) -> n.Expr | None:
    if not isinstance(expr, n.Call):
        return None
    if facts.names.path(n.dotted(expr.func)) == "torch.argmin" and expr.args:
        return expr.args[0]
    if isinstance(expr.func, n.Attr) and expr.func.attr == "argmin":
        return expr.func.value
    return None


def norm_of(
    facts: FileFacts, expr: n.Expr, resolve: Callable[[n.Expr], n.Expr], axes: tuple[int, ...]
) -> tuple[n.Expr | None, bool]:
    """(the difference that a distance is the norm of, whether `nearest_rows` computes exactly this).

    resolve: what a name stands for. axes: the axes along which a distance may be taken.
    """
    if not isinstance(expr, n.Call):
        return None, False
    path = facts.names.path(n.dotted(expr.func))
    if path in _NORMS and expr.args and _along(expr, 2, axes) and _euclidean(expr, 1):
        return expr.args[0], path == "torch.norm"
    if isinstance(expr.func, n.Attr) and expr.func.attr == "norm" and _along(expr, 1, axes) and _euclidean(expr, 0):
        return expr.func.value, True
    if isinstance(expr.func, n.Attr) and expr.func.attr == "sqrt":
        return norm_of(facts, resolve(expr.func.value), resolve, axes)[0], False
    if path == "torch.sqrt" and expr.args:
        return norm_of(facts, resolve(expr.args[0]), resolve, axes)[0], False
    inner: n.Expr | None = None
    if path == "torch.sum" and expr.args and _along(expr, 1, axes):
        inner = expr.args[0]
    elif isinstance(expr.func, n.Attr) and expr.func.attr == "sum" and _along(expr, 0, axes):
        inner = expr.func.value
    if inner is not None:
        inner = resolve(inner)
        if isinstance(inner, n.Binary) and inner.op == "Power" and _is(inner.right, 2):
            return inner.left, False
        if isinstance(inner, n.Call) and isinstance(inner.func, n.Attr) and inner.func.attr in ("pow", "square"):
            if inner.func.attr == "square" or inner.args and _is(inner.args[0], 2):
                return inner.func.value, False
    return None, False


def _along(call: n.Call, position: int, axes: tuple[int, ...]) -> bool:
    axis = call.argument(position, "dim") or call.argument(-1, "axis")
    return axis is not None and any(_is(axis, number) for number in axes)


def _euclidean(call: n.Call, position: int) -> bool:
    order = call.argument(position, "p") or call.argument(-1, "ord")
    return order is None or _is(order, 2)


def _is(expr: n.Expr, number: int) -> bool:
    return isinstance(expr, n.Const) and expr.value == number and not isinstance(expr.value, bool)


def _rounded(facts: FileFacts, scope: Scope, stored: n.Expr, rows: _Rows, meaning: dict[str, n.Expr]) -> _Found | None:
    stored = _resolve(stored, meaning)
    if not isinstance(stored, n.Call):
        return None
    path = facts.names.path(n.dotted(stored.func))
    head, _, name = path.rpartition(".")
    if head == "torch" and name in ROUNDING and stored.args:
        inner, rest = stored.args[0], stored.args[1:]
    elif isinstance(stored.func, n.Attr) and stored.func.attr in ROUNDING:
        name, inner, rest = stored.func.attr, stored.func.value, stored.args
    else:
        return None
    points = _is_row(inner, rows, meaning)
    plain = [*rest, *(value for _, value in stored.keywords)]
    if points is None or not all(_invariant(part, rows, meaning) for part in plain):
        return None
    if any(part.id in meaning for value in plain for part in n.walk(value) if isinstance(part, n.Name)):
        return None
    call = n.Call(stored.ref, stored.func, list(rest), stored.keywords)
    return ("clamp" if name == "clip" else name), points, None, "rows", call, True


def _plain_count(count: n.Expr) -> bool:
    """A name, a length or a size: never negative, unlike `len(points) - 1`."""
    return not any(isinstance(part, (n.Binary, n.Unary)) for part in n.walk(count))


def _kind(scope: Scope, expr: n.Expr) -> str:
    value = scope.env.get(n.dotted(expr))
    return value.kind if value is not None else ""


def _is_tensor(scope: Scope, expr: n.Expr) -> bool:
    text = n.dotted(expr)
    value = scope.env.get(text)
    first, _, attribute = text.partition(".")
    if value is None and first == scope.self_name and scope.owner is not None:
        value = scope.owner.attributes.get(attribute)
    return value is not None and value.kind == v.TENSOR


def _read_after(body: list[n.Stmt], loop: n.For, names: set[str]) -> bool:
    """Whether a name is read after the loop before it is bound again, at the loop's level or around it."""
    passed = False
    for stmt in n.statements(body):
        if stmt is loop:
            passed = True
            inside = {id(s) for s in n.statements(loop.body)}
            continue
        if not passed or id(stmt) in inside:
            continue
        for expr in n.expressions(stmt):
            for part in n.walk(expr):
                if isinstance(part, n.Name) and part.id in names and not _is_target(stmt, part):
                    return True
        names = names - {
            e.id for e in getattr(stmt, "targets", [getattr(stmt, "target", None)]) if isinstance(e, n.Name)
        }
    return False


def _is_target(stmt: n.Stmt, part: n.Name) -> bool:
    targets = getattr(stmt, "targets", [getattr(stmt, "target", None)])
    return any(part is inner for target in targets if target is not None for inner in n.walk(target))
