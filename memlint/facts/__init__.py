"""What one file means. `FileFacts` is what a rule asks; everything in it comes from one walk over the tree."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from memlint.facts import knowledge as k
from memlint.facts import nodes as n
from memlint.facts.annotations import meaning
from memlint.facts.demands import Demand
from memlint.facts.flow import Flow
from memlint.facts.reads import reads
from memlint.facts.scopes import Class_, Names, Scope, collect, learn_hints, module_name
from memlint.facts.values import Value
from memlint.rule import Evidence, Place, Spot
from memlint.source import Source

_DEEPEST = 20
"""How many calls deep functions are read before their callers."""


class FileFacts:
    """The interpreted file: its scopes with their events, its classes, its names."""

    def __init__(
        self, source: Source, packages: frozenset[str] = frozenset(), demands: tuple[Demand, ...] = ()
    ) -> None:
        """demands: the limits that the user has declared for settings."""
        self.source = source
        self.demands = demands
        self.path = source.path
        from memlint.facts.lower import (
            lower,  # here: it needs LibCST, for which a run with a warm cache should not wait
        )

        body = lower(source.tree)
        self.names = Names(*module_name(source.path, packages))
        self.attributes: set[str] = set()  # all that is read of any object, by name
        self.of_classes: set[str] = set()  # what is read of classes, not of their objects: `Entry.weight`
        self.top, self.scopes, self.classes = collect(body, self.names)
        if any(path.startswith(k.OTHER_FRAMEWORKS) for path in self.names.imports.values()):
            # Modules and graphs of another kind, unless torch's are there as well: not just a package's backend for it.
            self.uses_torch = any("torch" in path.partition(".")[0] for path in self.names.imports.values())
        else:
            self.uses_torch = any(text in source.text for text in ("torch", ".eval()", ".detach()"))
        self.functions = {s.name: s for s in self.scopes if s.owner is None and s.parent is self.top}
        self.grad_off_names = frozenset(self._grad_off_helpers())
        learn_hints((self.top, *self.scopes), self.names)
        set_up = {cls.name: cls.set_up_by() for cls in self.classes.values()}
        for scope in (self.top, *self.scopes):
            if scope.node is not None and scope.node.returns is not None:
                scope.returns = Value(**meaning(scope.node.returns, self))  # until it is read
        self._mentions: dict[tuple[str, ...], bool] = {}
        self._read: set[int] = set()
        self._depth = 0
        for scope in sorted((self.top, *self.scopes), key=lambda scope: _reading_order(scope, set_up)):
            self.interpret(scope)
        self.own_reads, self.other_reads = reads(self)

    def interpret(self, scope: Scope) -> None:
        """Read a function, unless that was done: a caller that wants to know what it hands back reads it first."""
        if id(scope) not in self._read and self._depth < _DEEPEST:
            self._read.add(id(scope))
            self._depth += 1
            Flow(self, scope).run()
            self._depth -= 1

    def all_scopes(self) -> Iterator[Scope]:
        """The module's body and every function."""
        yield self.top
        yield from self.scopes

    def place(self, node: Any) -> Place:
        """Where a node of the model stands."""
        ref = node.ref if isinstance(node, n.Node) else node
        number = self._functions_around.get(id(ref))
        if number is None:
            return self.source.place(ref)
        function = self.scopes[number].node
        assert function is not None
        return self.source.place(ref, function.ref, self._defs[number])

    @functools.cached_property
    def _defs(self) -> list[tuple[int, int]]:
        """Line and column of the `def` of each scope; empty where they are not known."""
        defs = self.source.defs()
        same = [name for name, _, _ in defs] == [scope.name for scope in self.scopes]
        return [(line, column) for _, line, column in defs] if same else []

    @functools.cached_property
    def _functions_around(self) -> dict[int, int]:
        """The number of the scope that a LibCST node is in, for the nodes of statements and expressions."""
        around: dict[int, int] = {}
        for number, scope in enumerate(self.scopes if self._defs else ()):
            around.update((id(part.ref), number) for part in (*scope.statements(), *scope.every()))
        return around

    def span(self, node: Any) -> tuple[int, int, int, int]:
        """Where a node of the model stands, as fixers want it."""
        place = self.place(node)
        return (place.line, place.column, place.end_line, place.end_column)

    def spot(self, spot: Spot) -> Place:
        """Where an event stands that a summary has named."""
        scope = list(self.all_scopes())[spot.scope]
        node = scope.node if spot.events == "function" else getattr(scope.events, spot.events)[spot.index].node
        return self.place(node)

    def evidence(self, node: Any, message: str) -> Evidence:
        """One step of reasoning at a node."""
        return Evidence(self.place(node), message)

    def text(self, node: n.Node) -> str:
        """The source of a node."""
        return self.source.tree.code_for_node(node.ref)

    def mentions(self, *texts: str) -> bool:
        """Whether one of these stands anywhere in the file."""
        if texts not in self._mentions:
            self._mentions[texts] = any(text in self.source.text for text in texts)
        return self._mentions[texts]

    def of_annotation(self, note: n.Expr) -> dict[str, Any]:
        """What an annotation says of a value."""
        return meaning(note, self)

    def close(self) -> None:
        """Cut the reference cycles between scopes and classes, so that the tree goes at once, not at a collection."""
        for scope in (self.top, *self.scopes):
            scope.parent = scope.owner = None
            scope.inner.clear()
        for cls in self.classes.values():
            cls.methods.clear()
        self.functions.clear()

    def _grad_off_helpers(self) -> Iterator[str]:
        """Functions and classes of this file that switch gradients off around what they are used on."""
        for scope in self.scopes:
            for stmt in scope.statements():
                if isinstance(stmt, n.With) and self._switches_off(stmt):
                    inner = list(n.every(stmt.body))
                    if any(isinstance(e, n.Yield) for e in inner):
                        yield scope.name
                    elif scope.parent is not None and scope.parent.node is not None and _returns(scope):
                        yield scope.parent.name  # a decorator: its inner function calls under no_grad

    def _switches_off(self, stmt: n.With) -> bool:
        for item, _ in stmt.items:
            if isinstance(item, n.Call) and self.names.path(n.dotted(item.func)) in k.GRAD_OFF:
                return True
        return False


def _returns(scope: Scope) -> bool:
    """Whether the function around hands this inner function back."""
    assert scope.parent is not None
    return any(
        isinstance(stmt, n.Return) and isinstance(stmt.value, n.Name) and stmt.value.id == scope.name
        for stmt in scope.parent.statements()
    )


_SETTING_UP = frozenset({"setup", "build", "configure", "configure_model"})


def _reading_order(scope: Scope, set_up: dict[str, dict[str, bool]]) -> tuple[int, int]:
    """Module body, then what says what attributes are, then the rest; outer before inner.

    What a constructor takes from a method is read before it, and what it leaves to one after it.
    """
    depth = len(list(scope.around()))
    if scope.name in ("__init__", "__post_init__"):
        return (depth, 1)
    called = set_up.get(scope.owner.name, {}) if scope.owner is not None else {}
    if called.get(scope.name):
        return (depth, 0)
    return (depth, 2 if scope.name in called or scope.name in _SETTING_UP else 3)


__all__ = ["Class_", "FileFacts", "Scope"]
