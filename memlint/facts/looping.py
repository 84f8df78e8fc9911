"""What kind of loop a loop is, by what it runs over and how it ends."""

from __future__ import annotations

from memlint.facts import knowledge as k
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.events import CONSTANT, DATA, ENDLESS, ITEMS, RANGE, STRUCTURE, WHILE
from memlint.facts.values import Value

SHORT_RANGE = 64
_STRUCTURE = frozenset({
    "items", "keys", "values", "parameters", "named_parameters", "modules", "named_modules", "children", "buffers",
    "named_children", "named_buffers", "split", "splitlines", "groups", "fields",
})  # fmt: skip


def without_wrappers(expr: n.Expr) -> n.Expr:
    """`loader` for `enumerate(tqdm(loader))`."""
    while isinstance(expr, n.Call) and expr.args and n.dotted(expr.func).rpartition(".")[2] in k.THROUGH:
        expr = expr.args[0]
    return expr


def kind_of_for(stmt: n.For, iterable: Value, innermost: Value) -> str:
    """The kind of a for loop. innermost: the value of the iterable without its wrappers."""
    expr = without_wrappers(stmt.iter)
    if v.LOADER in (iterable.kind, innermost.kind):
        return DATA
    if isinstance(expr, n.Sequence) or isinstance(expr, n.Name) and innermost.const == "literal":
        return CONSTANT
    if isinstance(expr, n.Call):
        name = n.dotted(expr.func).rpartition(".")[2] or getattr(expr.func, "attr", "")
        if name in ("range", "trange"):
            ends = [a.value for a in expr.args if isinstance(a, n.Const) and isinstance(a.value, int)]
            short = bool(ends) and len(ends) == len(expr.args) and abs(ends[-1]) <= SHORT_RANGE
            return CONSTANT if short else RANGE
        if name in ("count", "cycle", "repeat"):
            return ITEMS if leaves(stmt.body) else ENDLESS
        if name in _STRUCTURE:
            return STRUCTURE
    return ITEMS


def kind_of_while(stmt: n.While) -> str:
    """`while True` that no break or return leaves is endless: what it gathers is never handed on."""
    forever = isinstance(stmt.test, n.Const) and bool(stmt.test.value)
    return ENDLESS if forever and not leaves(stmt.body) else WHILE


def leaves(body: list[n.Stmt], inner: bool = False) -> bool:
    """Whether a loop's body breaks out of it or returns. inner: the body is that of a loop inside it."""
    for stmt in body:
        if isinstance(stmt, n.Return) or isinstance(stmt, n.Jump) and stmt.kind == "break" and not inner:
            return True
        if any(leaves(block, inner or isinstance(stmt, (n.For, n.While))) for block in n.blocks(stmt)):
            return True
    return False
