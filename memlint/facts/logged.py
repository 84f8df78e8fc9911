"""Losses and measures that leave a function with their graph in a dict of what is to be logged."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from memlint.facts import FileFacts, Scope
from memlint.facts import knowledge as k
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.events import OFF, Forward
from memlint.facts.values import Value

_MOST = 3
"""So many detached entries say that the others are no numbers either."""
_PLAIN = frozenset({"float", "int", "round", "str"})


class Item(Struct, eq=False):
    """A value under a key of a dict."""

    expr: n.Expr
    value: Value
    detached: bool


class Logged(Struct, eq=False):
    """A dict entry that keeps a graph. beside: where the same value is handed back to train on.

    sibling: an entry of the same dict that was detached. sure: the value is known to have a graph.
    """

    scope: Scope
    item: n.Expr
    value: Value
    sure: bool
    beside: n.Return | None = None
    sibling: n.Expr | None = None


def logged(facts: FileFacts) -> Iterator[Logged]:
    """`return loss, {"loss": loss}`, and `{"a": a.detach(), "b": b}`: the second value is there to be written down."""
    for scope in facts.all_scopes():
        groups = _groups(scope)
        if not groups:
            continue
        returns = _returned_with(scope)
        for name, items in groups:
            detached = [item for item in items if item.detached]
            found = [item for item in items if not item.detached and _may_carry(scope, item, len(detached))]
            beside = next((stmt for stmt, names in returns if name in names), None)
            if found and beside is not None:
                yield from _judge(scope, items, found, beside)


def _judge(scope: Scope, items: list[Item], found: list[Item], beside: n.Return) -> Iterator[Logged]:
    assert isinstance(beside.value, n.Sequence)
    trained = {n.dotted(element) for element in beside.value.elements} - {""}
    detached = [item for item in items if item.detached]
    for item in found:
        if n.dotted(item.expr) in trained and item.value.zero_d:
            yield Logged(scope, item.expr, item.value, v.attached(item.value), beside=beside)
        elif len(detached) >= len(found) and n.dotted(item.expr) not in trained:
            sibling = detached[0].expr
            yield Logged(scope, item.expr, item.value, v.attached(item.value), beside=beside, sibling=sibling)


def _groups(scope: Scope) -> list[tuple[object, list[Item]]]:
    """The dicts of a function with what they hold: displays by their node, others by their name."""
    groups: dict[object, list[Item]] = {}
    for entry in scope.events.entries:
        if entry.mode != OFF:
            item = Item(entry.item, entry.value, _ends_graph(entry.item))
            groups.setdefault(id(entry.mapping), []).append(item)
    for growth in scope.events.growths:
        if growth.how == "setitem" and growth.holder.startswith("local:") and growth.item is not None:
            if growth.mode != OFF:
                item = Item(growth.item, growth.value, _ends_graph(growth.item))
                groups.setdefault(n.dotted(growth.container), []).append(item)
    return list(groups.items())


def _returned_with(scope: Scope) -> list[tuple[n.Return, set[object]]]:
    """The returns of several values, with the dicts among them: their names, their nodes, what they hold."""
    found = []
    displays: dict[str, set[object]] = {}
    for stmt in scope.statements():
        if isinstance(stmt, n.Assign) and isinstance(stmt.value, (n.Mapping, n.Call)):
            inside = {id(part) for part in n.walk(stmt.value) if isinstance(part, (n.Mapping, n.Call))}
            displays.setdefault(n.dotted(stmt.targets[0]), set()).update(inside)
        if isinstance(stmt, n.Return) and isinstance(stmt.value, n.Sequence) and stmt.value.kind == "tuple":
            names: set[object] = set()
            for element in stmt.value.elements:
                names.update(id(part) for part in n.walk(element))
                for part in n.walk(element):
                    if isinstance(part, n.Name):
                        names |= {part.id, *displays.get(part.id, ())}
            found.append((stmt, names))
    return found


def _may_carry(scope: Scope, item: Item, detached: int) -> bool:
    value = item.value
    if value.grad == v.DETACHED or value.integral or isinstance(item.expr, n.Item):
        return False
    if v.attached(value):
        return True
    if value.kind not in (v.OUTPUT, v.TENSOR):
        return False
    forwards = [scope.events.forwards[origin] for origin in value.origins]
    if value.zero_d and forwards or any(forward.certain for forward in forwards):
        return True
    if v.NETWORK in value.drawn or any(_detached_elsewhere(forward) for forward in forwards):
        # One of several values of a call, of which some may be counts.
        return detached >= _MOST
    # Computed from parameters alone: an author who detaches most entries of the dict holds them to have graphs.
    computed = isinstance(item.expr, n.Name) and item.expr.id not in scope.params and value.kind == v.TENSOR
    return computed and detached > 1 and any(name.startswith("param:") for name in value.drawn)


def _detached_elsewhere(forward: Forward) -> bool:
    """Whether the function detaches something else that came from the same call: so that has a graph."""
    return any(use.detail in (".detach()", ".data", ".detach_()") for use in forward.uses)


def _ends_graph(expr: n.Expr) -> bool:
    """Whether the entry itself is written as a value without a graph."""
    for part in n.walk(expr):
        if isinstance(part, n.Attr) and part.attr in k.ENDS_A_GRAPH | k.TO_HOST | {"data"}:
            return True
        if isinstance(part, n.Call) and isinstance(part.func, n.Name) and part.func.id in _PLAIN:
            return True
    return False
