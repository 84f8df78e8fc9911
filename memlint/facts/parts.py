"""Parts of tensors that are kept and pin the storage of the whole: the question behind clone-kept-views."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from memlint.facts import FileFacts, Scope
from memlint.facts import knowledge as k
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.events import CONSTANT, STRUCTURE, Growth

_KEEPING = frozenset({"append", "appendleft", "setitem", "insert", "put"})


class Part(Struct, eq=False):
    """A growth that keeps a part of a tensor. whole: the source of the tensor; lasting: the container is no local."""

    scope: Scope
    growth: Growth
    whole: str
    lasting: bool
    repeats: bool


def parts(facts: FileFacts) -> Iterator[Part]:
    """Every growth by a part of a tensor that the function makes or is given anew for each pass."""
    for scope in facts.all_scopes():
        for growth in scope.events.growths:
            value = growth.value
            if isinstance(growth.key, n.Const):
                continue  # one entry, each time the same
            loops = [loop for loop in growth.loops if loop.kind not in (CONSTANT, STRUCTURE)]
            if not value.view or growth.item is None or growth.how not in _KEEPING or value.kind not in v.TENSOR_LIKE:
                continue
            if v.graph_of(value) or value.grad == v.ATTACHED or value.zero_d or _by_row(growth):
                continue
            whole = value.view
            lasting = growth.holder.startswith(("class:", "module:")) and not scope.is_module_body
            if scope.name == "__init__" or not (lasting or loops and not growth.holder.startswith("param:")):
                continue
            if whole.partition(".")[0] == scope.self_name and scope.self_name or _stored_too(scope, growth, whole):
                continue  # it lives on anyway
            if _made_anew(scope, growth, whole, lasting):
                yield Part(scope, growth, whole, lasting, bool(loops))


def _by_row(growth: Growth) -> bool:
    """`batch[i]` in a loop over `i`: row by row all of it is kept."""
    targets = {
        part.id
        for loop in growth.loops
        if isinstance(loop.node, n.For)
        for part in n.walk(loop.node.target)
        if isinstance(part, n.Name)
    }
    return growth.item is not None and any(
        isinstance(part, n.Item) and targets & n.mentioned(part.index) for part in n.walk(growth.item)
    )


def _stored_too(scope: Scope, growth: Growth, whole: str) -> bool:
    """Whether the function stores the whole tensor, or another part of it, as well."""
    name = whole.partition(".")[0].partition("[")[0]
    others = [o for o in scope.events.growths if o is not growth and o.item is not None and o.how != "accumulate"]
    if any(_holds(other.item, name) or other.value.view == whole for other in others if other.item is not None):
        return True
    for stmt in scope.statements():
        if isinstance(stmt, n.Return) and stmt.value is not None and _hands_on(stmt.value, name):
            return True
        if isinstance(stmt, n.Assign) and any(isinstance(t, (n.Attr, n.Item)) for t in stmt.targets):
            if _hands_on(stmt.value, name):
                return True
    return False


def _holds(expr: n.Expr, name: str) -> bool:
    """Whether what is stored may hold the named value. A text does not, nor does what is only asked about it."""
    if isinstance(expr, n.Text) or isinstance(expr, n.Attr) and expr.attr in k.METADATA:
        return False
    if isinstance(expr, n.Name):
        return expr.id == name
    return any(_holds(child, name) for child in n.children(expr))


def _hands_on(expr: n.Expr, name: str) -> bool:
    """Whether an expression is the named value, or a tuple or list with it."""
    if isinstance(expr, n.Sequence):
        return any(_hands_on(element, name) for element in expr.elements)
    return isinstance(expr, n.Name) and expr.id == name


def _made_anew(scope: Scope, growth: Growth, whole: str, lasting: bool) -> bool:
    """Whether each pass has a tensor of its own: bound in the loop, or in the function that a step calls."""
    name = whole.partition(".")[0].partition("[")[0].partition("(")[0]
    body = scope.body
    if growth.loops:
        loop = next((loop for loop in reversed(growth.loops) if loop.kind not in (CONSTANT, STRUCTURE)), None)
        node = loop.node if loop is not None else None
        if isinstance(node, (n.For, n.While)):
            body = node.body
            if isinstance(node, n.For) and name in n.mentioned(node.target):
                return True
    elif lasting and name in scope.params:
        return True
    return any(
        isinstance(stmt, n.Assign) and any(name in n.mentioned(target) for target in stmt.targets)
        for stmt in n.statements(body)
    )
