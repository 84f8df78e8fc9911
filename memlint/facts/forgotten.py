"""Entries of a state that the method which detaches it forgets: a second question behind detach-recurrent-state."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from memlint.facts import Class_, FileFacts, Scope
from memlint.facts import knowledge as k
from memlint.facts import nodes as n

_CUTTING = frozenset({"detach", "detach_", "data"})
_BUILDING = frozenset({"__init__", "__post_init__", "__new__", "setup", "build"})

Slot = tuple[str, object]
"""(attribute, key) of `self.state["hidden"]`; the key is None for `self.hidden`."""


class Forgotten(Struct, eq=False):
    """A slot that goes along with others from step to step, but is not detached with them.

    last: the last statement of the method that detaches the others.
    """

    scope: Scope
    target: n.Expr
    last: n.Stmt
    reasons: list[tuple[object, str]]


def forgotten_entries(facts: FileFacts) -> Iterator[Forgotten]:
    """One for each slot that a method which does nothing but detach leaves out."""
    if "detach" not in facts.source.text:
        return
    for cls in facts.classes.values():
        for cutter in cls.methods.values():
            cut = _only_cuts(cutter)
            if not cut:
                continue
            told: set[Slot] = set()
            family = _family(facts, cls)
            for writer in (m for c in family for m in c.methods.values()):
                if writer is cutter or writer.name in _BUILDING:
                    continue
                for slot, stmt in _left_out(writer, set(cut)):
                    reader = _read_back(slot, stmt, writer, family, cutter)
                    if slot not in told and reader is not None:
                        told.add(slot)
                        last = list(cut.values())[-1]
                        reasons: list[tuple[object, str]] = [
                            (last, f"`{cutter.name}` detaches this, and others"),
                            (stmt, f"`{writer.name}` sets this one beside them"),
                            (reader, "and it is read again here in the next call"),
                        ]
                        yield Forgotten(cutter, stmt.targets[0], last, reasons)


def _only_cuts(scope: Scope) -> dict[Slot, n.Assign]:
    """What a method detaches that does nothing else; empty where it does, or detaches nothing."""
    found: dict[Slot, n.Assign] = {}
    for stmt in scope.statements():
        if isinstance(stmt, n.If) or isinstance(stmt, n.Do) and isinstance(stmt.value, n.Const):
            continue
        slot = _slot(stmt.targets[0], scope) if isinstance(stmt, n.Assign) and len(stmt.targets) == 1 else None
        if slot is None or not isinstance(stmt, n.Assign) or not _cuts(stmt.value):
            return {}
        if not any(_slot(part, scope) == slot for part in n.walk(stmt.value)):
            return {}
        found[slot] = stmt
    return found


def _cuts(expr: n.Expr) -> bool:
    return any(
        isinstance(part, n.Attr) and part.attr in _CUTTING or isinstance(part, n.Name) and part.id in k.HELPERS
        for part in n.walk(expr)
    )


def _slot(expr: n.Expr, scope: Scope) -> Slot | None:
    key = None
    if isinstance(expr, n.Item) and isinstance(expr.index, n.Const) and isinstance(expr.index.value, str):
        key, expr = expr.index.value, expr.value
    owner, _, attr = n.dotted(expr).partition(".")
    return (attr, key) if attr and "." not in attr and owner == scope.self_name else None


def _left_out(scope: Scope, cut: set[Slot]) -> list[tuple[Slot, n.Assign]]:
    """What a method stores in slots like those that are detached, in the same pass as them."""
    stored: list[tuple[Slot, n.Assign]] = []
    for stmt in scope.statements():
        if isinstance(stmt, n.Assign) and len(stmt.targets) == 1:
            slot = _slot(stmt.targets[0], scope)
            if slot is not None and not any(_slot(part, scope) == slot for part in n.walk(stmt.value)):
                stored.append((slot, stmt))
    if not any(slot in cut for slot, _ in stored):
        return []
    containers = {attr for attr, key in cut if key is not None}
    plain = any(key is None for _, key in cut)
    return [
        (slot, stmt)
        for slot, stmt in stored
        if slot not in cut and (slot[0] in containers if slot[1] is not None else plain) and _computes(stmt.value)
    ]


def _computes(expr: n.Expr) -> bool:
    """Whether an expression is the result of an operation on tensors that keeps their graph."""
    methods = {part.func.attr for part in n.walk(expr) if isinstance(part, n.Call) and isinstance(part.func, n.Attr)}
    ends = k.DETACHING | k.CREATORS | {"new_zeros", "new_ones", "new_tensor", "new_full", "new"}
    return bool(methods & (k.TENSOR_METHODS | k.VIEWS)) and methods.isdisjoint(ends) and not _cuts(expr)


def _read_back(slot: Slot, stored: n.Assign, writer: Scope, family: list[Class_], cutter: Scope) -> n.Expr | None:
    """Where the next call reads what this one stored: above in the method itself, or in one that it calls."""
    calls = [n.dotted(part.func).split(".") for part in writer.of_type(n.Call)]
    called = {path[1] for path in calls if len(path) == 2 and path[0] == writer.self_name}
    for stmt in writer.statements():
        if stmt is stored:
            break
        found = _read_in(stmt, slot, writer)
        if found is not None:
            return found
        if isinstance(stmt, n.Assign) and any(_slot(t, writer) == slot for t in stmt.targets) and not called:
            return None
    for cls in family:
        for method in cls.methods.values():
            if method.name in called and method is not cutter:
                for stmt in method.statements():
                    found = _read_in(stmt, slot, method)
                    if found is not None:
                        return found
    return None


def _read_in(stmt: n.Stmt, slot: Slot, scope: Scope) -> n.Expr | None:
    exprs = [stmt.value] if isinstance(stmt, n.Assign) else n.expressions(stmt)
    return next((part for expr in exprs for part in n.walk(expr) if _slot(part, scope) == slot), None)


def _family(facts: FileFacts, cls: Class_) -> list[Class_]:
    """The class, and those of the file that derive from it or that it derives from."""

    def bases(start: Class_) -> set[str]:
        found: set[str] = set()
        todo = [start]
        while todo:
            current = todo.pop()
            for name in (base.rpartition(".")[2] for base in current.bases):
                if name not in found:
                    found.add(name)
                    todo.extend([facts.classes[name]] if name in facts.classes else [])
        return found

    above = bases(cls)
    return [c for c in facts.classes.values() if c is cls or c.name in above or cls.name in bases(c)]
