"""Whether an expression is a tensor, and one on the CPU, by how it is made and used around where it is read."""

from __future__ import annotations

from memlint.facts import FileFacts, Scope
from memlint.facts import knowledge as k
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.events import DATA
from memlint.facts.values import Value

# Methods that neither lists nor numpy's arrays have, and few other things.
_TELLING = k.names(
    "size dim numel detach cpu cuda unsqueeze contiguous to requires_grad_ masked_fill index_select gather"
)
_NOT_TENSORS = v.CONTAINERS | {v.ARRAY, v.NUMBER, v.STRING, v.TUPLE, v.NONE, v.MODULE, v.LOADER, v.OPTIMIZER}
_MOVING = k.names("to cuda xpu mps")


def is_tensor(
    facts: FileFacts,
    scope: Scope,
    expr: n.Expr,
    value: Value,
    *,
    counted_by: n.Expr | None = None,
    several: bool = False,
) -> bool:
    """Whether something that is read entry by entry is one tensor, not a list of them.

    counted_by: the head of the loop: `range(x.size(0))` says so. several: it is read by several indices at once.
    """
    if value.kind == v.TENSOR:
        return True
    text = n.dotted(expr)
    if value.kind in _NOT_TENSORS or not text:
        return False
    if several and value.kind == v.OUTPUT:
        return True
    if counted_by is not None and any(_sized(part, text) for part in n.walk(counted_by)):
        return True
    return any(
        isinstance(part, n.Call)
        and isinstance(part.func, n.Attr)
        and part.func.attr in _TELLING
        and n.dotted(part.func.value) == text
        for part in scope.every()
    )


def _sized(part: n.Expr, text: str) -> bool:
    return isinstance(part, n.Attr) and part.attr in ("shape", "size") and n.dotted(part.value) == text


def on_cpu(facts: FileFacts, scope: Scope, expr: n.Expr, value: Value) -> bool:
    """Whether a tensor lies on the CPU as far as anything tells: made there, taken there, or as a loader gives it."""
    if value.device:
        return value.device == v.CPU
    if facts.mentions("set_default_device", "set_default_tensor_type"):
        return False
    return _made_on_cpu(facts, scope, expr, 4)


def _made_on_cpu(facts: FileFacts, scope: Scope, expr: n.Expr, depth: int) -> bool:
    while True:
        if isinstance(expr, n.Item):
            expr = expr.value
        elif isinstance(expr, n.Binary):
            sides = [side for side in (expr.left, expr.right) if not isinstance(side, n.Const)]
            return bool(sides) and any(_made_on_cpu(facts, scope, side, depth) for side in sides)
        elif isinstance(expr, n.Attr) and n.dotted(expr) == "":
            expr = expr.value
        elif isinstance(expr, n.Call):
            path = facts.names.path(n.dotted(expr.func))
            last = path.rpartition(".")[2]
            if any(name == "device" for name, _ in expr.keywords):
                return False
            if path.startswith("torch.") and last in k.CREATORS:
                given = expr.args[0] if last.endswith("_like") and expr.args else None
                return given is None or _made_on_cpu(facts, scope, given, depth)
            if path.startswith("torch."):
                return bool(expr.args) and _made_on_cpu(facts, scope, _first(expr.args[0]), depth)
            if not isinstance(expr.func, n.Attr) or expr.func.attr in _MOVING:
                return False
            if expr.func.attr == "cpu":
                return True
            expr = expr.func.value
        else:
            break
    return depth > 0 and _bound_on_cpu(facts, scope, n.dotted(expr), depth - 1)


def _first(expr: n.Expr) -> n.Expr:
    return expr.elements[0] if isinstance(expr, n.Sequence) and expr.elements else expr


def _bound_on_cpu(facts: FileFacts, scope: Scope, text: str, depth: int) -> bool:
    """Whether every binding of a name in the function gives something on the CPU."""
    if not text:
        return False
    found = False
    loaders = {id(loop.node) for loop in scope.events.loops if loop.kind == DATA}
    for stmt in scope.statements():
        if isinstance(stmt, n.Assign):
            for target in stmt.targets:
                elements = target.elements if isinstance(target, n.Sequence) else [target]
                if any(n.dotted(element) == text for element in elements):
                    if text in n.mentioned(stmt.value) and not _moves(stmt.value):
                        continue  # `x = x.view(-1)`
                    if not _made_on_cpu(facts, scope, stmt.value, depth):
                        return False
                    found = True
        elif isinstance(stmt, n.For) and text in {n.dotted(part) for part in n.walk(stmt.target)}:
            if id(stmt) not in loaders and not _made_on_cpu(facts, scope, stmt.iter, depth):
                return False
            found = True
    return found


def _moves(expr: n.Expr) -> bool:
    return any(isinstance(p, n.Call) and isinstance(p.func, n.Attr) and p.func.attr in _MOVING for p in n.walk(expr))
