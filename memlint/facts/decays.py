"""Numbers of many objects that fade together, one object at a time: the question behind batch-decay."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from memlint.facts import FileFacts, Scope
from memlint.facts import nodes as n
from memlint.facts import values as v

EACH = "each"
FIRST = "first"

_FADING = frozenset({"Multiply", "Divide"})
_LIMITS = frozenset({"max", "min", "round", "float"})


class Decay(Struct, eq=False):
    """A loop over objects in which a number of each is multiplied by a factor that is the same for all.

    form: each, or first where the loop leaves after the first one. entries: the source of what it goes over.
    """

    scope: Scope
    form: str
    loop: n.For
    node: n.Stmt
    entries: str
    attribute: str
    reasons: list[tuple[object, str]]


def decays(facts: FileFacts) -> Iterator[Decay]:
    """At most one for each loop."""
    for scope in facts.scopes:
        for stmt in scope.statements():
            if isinstance(stmt, n.For) and isinstance(stmt.target, n.Name) and stmt.body:
                found = _judge(facts, scope, stmt, stmt.target.id)
                if found is not None:
                    yield found


def _judge(facts: FileFacts, scope: Scope, loop: n.For, entry: str) -> Decay | None:
    entries = facts.text(loop.iter)
    faded = [(stmt, attribute) for stmt in loop.body if (attribute := _fades(stmt, entry))]
    if not faded:
        return None
    node, attribute = faded[0]
    last = loop.body[-1]
    # Between the factor and the end nothing chooses: the loop is over after the first entry.
    if isinstance(last, n.Return) or isinstance(last, n.Jump) and last.kind == "break":
        if any(isinstance(stmt, (n.If, n.Try, n.Match)) and _leaves(stmt) for stmt in loop.body):
            return None
        return Decay(scope, FIRST, loop, node, entries, attribute, [(last, "the loop ends here, with the first entry")])
    if not all(_fades(stmt, entry) or _limits(stmt, entry) for stmt in loop.body):
        return None  # the entries have more to do than to fade
    grown = _grown(scope, loop.iter)
    if grown is None or _is_watched(facts, scope, loop.iter, attribute):
        return None
    return Decay(scope, EACH, loop, node, entries, attribute, [(grown, "and there are more and more of them")])


def _fades(stmt: n.Stmt, entry: str) -> str:
    """The attribute that `entry.weight *= factor` or `entry.weight = entry.weight * factor` changes, "" for others."""
    if isinstance(stmt, n.Augment):
        target, factor, op = stmt.target, stmt.value, stmt.op
    elif isinstance(stmt, n.Assign) and len(stmt.targets) == 1 and isinstance(stmt.value, n.Binary):
        target, factor, op = stmt.targets[0], stmt.value.right, stmt.value.op
        if n.dotted(stmt.value.left) != n.dotted(target):
            return ""
    else:
        return ""
    of_entry = isinstance(target, n.Attr) and isinstance(target.value, n.Name) and target.value.id == entry
    if not of_entry or op not in _FADING or not isinstance(factor, (n.Name, n.Attr, n.Const, n.Binary)):
        return ""
    own = any(isinstance(part, n.Name) and part.id == entry for part in n.walk(factor))
    return target.attr if isinstance(target, n.Attr) and not own else ""


def _limits(stmt: n.Stmt, entry: str) -> bool:
    """`entry.weight = max(entry.weight, low)`, `if entry.weight < low: entry.weight = low`, a count of the entries."""
    if isinstance(stmt, n.Assign):
        value = stmt.value
        return n.root(stmt.targets[0]) == entry and isinstance(value, n.Call) and n.dotted(value.func) in _LIMITS
    if isinstance(stmt, n.If) and not stmt.orelse and len(stmt.body) == 1 and isinstance(stmt.test, n.Compare):
        inner = stmt.body[0]
        return isinstance(inner, n.Assign) and n.dotted(inner.targets[0]) == n.dotted(stmt.test.left)
    return isinstance(stmt, n.Augment) and isinstance(stmt.target, n.Name) and isinstance(stmt.value, n.Const)


def _leaves(stmt: n.Stmt) -> bool:
    return any(isinstance(inner, n.Jump) for block in n.blocks(stmt) for inner in n.statements(block))


def _container(head: n.Expr) -> n.Expr:
    """`self.entries` of `self.entries.values()` and `list(self.entries)`."""
    if isinstance(head, n.Call):
        if isinstance(head.func, n.Attr) and head.func.attr == "values" and not head.args:
            return head.func.value
        if n.dotted(head.func) in ("list", "tuple") and len(head.args) == 1:
            return _container(head.args[0])
    return head


def _grown(scope: Scope, head: n.Expr) -> object | None:
    """Where a container of the class grows outside of its constructor, or the class that is a list itself."""
    owner, container = scope.owner, _container(head)
    if owner is None:
        return None
    if isinstance(container, n.Name):
        return owner.node if container.id == scope.self_name and "list" in owner.bases else None
    holder = f"class:{owner.name}.{n.dotted(container).partition('.')[2]}"
    for method in owner.methods.values():
        if method.name != "__init__":
            for growth in method.events.growths:
                if growth.holder == holder and not (growth.guarded or growth.bounded):
                    return growth.node
    return None


def _is_watched(facts: FileFacts, scope: Scope, head: n.Expr, attribute: str) -> bool:
    """Whether setting the attribute does something, or the entries are tensors or layers."""
    container = _container(head)
    value = scope.owner.attributes.get(n.dotted(container).partition(".")[2]) if scope.owner is not None else None
    item = value.item if value is not None else None
    if item is not None and item.kind in (v.TENSOR, v.OUTPUT, v.MODULE):
        return True
    cls = facts.classes.get(item.path.rpartition(".")[2]) if item is not None else None
    return cls is not None and (attribute in cls.methods or "__setattr__" in cls.methods)
