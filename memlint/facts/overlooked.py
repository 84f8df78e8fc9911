"""Values that keep their graph although the code beside them says that they should not: overlooked, not meant."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from memlint.facts import FileFacts, Scope
from memlint.facts import knowledge as k
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.events import OFF, Backward, CallSite

_CHAINED = frozenset({"detach", "cpu", "clone", "to", "float", "half", "double", "numpy", "squeeze", "view", "mean"})
# Callees that read numbers and keep nothing.
_READING = frozenset({
    "print", "step", "debug", "info", "warning", "error", "write", "set_postfix", "set_description", "add_scalar",
    "add_scalars", "format", "update_priorities",
})  # fmt: skip


class Dropped(Struct, eq=False):
    """`x.detach()` as a statement of its own: what it gives back is lost, `x` stays as it is. source: `x`.

    sure: it is known to have a graph. trained: a backward pass starts from it further down.
    """

    scope: Scope
    node: n.Call
    source: n.Expr
    sure: bool
    trained: bool


class Reported(Struct, eq=False):
    """A value whose backward pass has run is handed over beside one that was detached for it. sibling: that one."""

    scope: Scope
    site: CallSite
    node: n.Expr
    structure: bool
    sibling: n.Expr


def dropped(facts: FileFacts) -> Iterator[Dropped]:
    """Statements that detach a value for nobody, where gradients are on and something is done with it afterwards."""
    if not facts.mentions(".detach()"):
        return
    for scope in facts.all_scopes():
        for stmt in scope.statements():
            call = stmt.value if isinstance(stmt, n.Do) else None
            source = _detached_from(call) if isinstance(call, n.Call) else None
            if source is None or not isinstance(call, n.Call):
                continue
            mode = next((site.mode for site in scope.events.calls if site.node is call), "")
            if mode != OFF and (text := n.dotted(source)) and _goes_on(scope, stmt, text):
                value = scope.env.get(text)
                line = facts.place(call).line
                trained = any(text in b.names and facts.place(b.node).line > line for b in scope.events.backwards)
                yield Dropped(scope, call, source, value is not None and v.attached(value), trained)


def _detached_from(call: n.Call) -> n.Expr | None:
    """The `x` of `x.cpu().detach()`, and of nothing else."""
    detaches = False
    part: n.Expr = call
    while isinstance(part, n.Call) and isinstance(part.func, n.Attr) and part.func.attr in _CHAINED:
        detaches |= part.func.attr == "detach"
        part = part.func.value
    return part if detaches and isinstance(part, (n.Name, n.Attr)) else None


def _goes_on(scope: Scope, dropping: n.Stmt, text: str) -> bool:
    """Whether a later statement of the function reads the name, or the object keeps it."""
    statements = scope.statements()
    later = statements[statements.index(dropping) + 1 :]
    names = (name for stmt in later for expr in n.expressions(stmt) for name in n.mentioned(expr))
    return "." in text or any(name == text or name.startswith(f"{text}.") for name in names)


def reported(facts: FileFacts) -> Iterator[Reported]:
    """`report(loss=loss.detach(), predictions=predictions)` in a function that trains on both."""
    if not facts.mentions(".detach()", ".item()"):
        return
    for scope in facts.all_scopes():
        backwards = [backward for backward in scope.events.backwards if not backward.keeps_graph]
        for site in scope.events.calls if backwards else ():
            if site.mode == OFF or not site.dropped or site.path.startswith(("torch.", "numpy.")):
                continue
            last = site.name.rpartition(".")[2]
            if last in k.GROWING or last in k.BACKWARD_METHODS or last in _READING:
                continue
            given = [(node, value) for _, node, value in site.passed()]
            sibling = next((node for node, _ in given if _cut(scope, node, backwards)), None)
            if sibling is None:
                continue
            for node, value in given:
                if node is not sibling and _has_run(scope, node, value, backwards):
                    yield Reported(scope, site, node, value.kind != v.TENSOR, sibling)


def _cut(scope: Scope, node: n.Expr, backwards: list[Backward]) -> bool:
    """Whether an argument is what a backward pass started from, detached for the occasion."""
    text = n.dotted(node)
    made = [s.value for s in scope.statements() if isinstance(s, n.Assign) and text in map(n.dotted, s.targets)]
    cuts = [node, *made] if text else [node]
    for cut in cuts:
        if isinstance(cut, n.Call) and isinstance(cut.func, n.Attr) and cut.func.attr in ("detach", "item"):
            source = n.dotted(cut.func.value)
            if source and any(source in backward.names for backward in backwards):
                return True
    return False


def _has_run(scope: Scope, node: n.Expr, value: v.Value, backwards: list[Backward]) -> bool:
    """Whether an argument has a graph, and a backward pass of the function went through all of it."""
    if not isinstance(node, (n.Name, n.Attr)) or value.kind not in v.TENSOR_LIKE or value.grad == v.DETACHED:
        return False
    if value.integral:
        return False
    text, origins = n.dotted(node), v.graph_of(value)
    if any(len(backward.names) == 1 and text in backward.names for backward in backwards):
        return True
    certain = bool(origins) and all(scope.events.forwards[origin].certain for origin in origins)
    return certain and any(origins <= backward.origins for backward in backwards)
