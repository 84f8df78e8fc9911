"""What one file means. `FileFacts` is what a rule asks; everything in it comes from one walk over the tree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from memlint.facts import knowledge as k
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.flow import Flow
from memlint.facts.lower import lower
from memlint.facts.scopes import Class_, Names, Scope, collect, learn_hints, module_name
from memlint.rule import Evidence, Place, Spot
from memlint.source import Source

_ANNOTATIONS: dict[str, dict[str, Any]] = {
    "torch.Tensor": {"kind": v.TENSOR},
    "torch.FloatTensor": {"kind": v.TENSOR},
    "torch.LongTensor": {"kind": v.TENSOR, "integral": True, "grad": v.DETACHED},
    "torch.nn.Module": {"kind": v.MODULE},
    "torch.optim.Optimizer": {"kind": v.OPTIMIZER},
    "torch.utils.data.DataLoader": {"kind": v.LOADER},
    "torch.device": {"kind": v.DEVICE, "device": v.ACCELERATOR},
    "numpy.ndarray": {"kind": v.ARRAY},
    "int": {"kind": v.NUMBER},
    "float": {"kind": v.NUMBER},
    "bool": {"kind": v.NUMBER},
    "str": {"kind": v.STRING},
}


class FileFacts:
    """The interpreted file: its scopes with their events, its classes, its names."""

    def __init__(self, source: Source, packages: frozenset[str] = frozenset()) -> None:
        self.source = source
        self.path = source.path
        self.uses_torch = any(text in source.text for text in ("torch", ".eval()", ".detach()"))
        body = lower(source.tree)
        self.names = Names(*module_name(source.path, packages))
        self.top, self.scopes, self.classes = collect(body, self.names)
        self.functions = {s.name: s for s in self.scopes if s.owner is None and s.parent is self.top}
        self.grad_off_names = frozenset(self._grad_off_helpers())
        for scope in (self.top, *self.scopes):
            learn_hints(scope, self.names)
        for scope in sorted((self.top, *self.scopes), key=_reading_order):
            Flow(self, scope).run()

    def all_scopes(self) -> Iterator[Scope]:
        """The module's body and every function."""
        yield self.top
        yield from self.scopes

    def place(self, node: Any) -> Place:
        """Where a node of the model stands."""
        return self.source.place(node.ref if isinstance(node, n.Node) else node)

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

    def of_annotation(self, note: n.Expr) -> dict[str, Any]:
        """What an annotation says of a value."""
        if isinstance(note, n.Item) and n.dotted(note.value).rpartition(".")[2] == "Optional":
            note = note.index
        if isinstance(note, n.Binary):  # X | None
            note = note.left
        text = n.dotted(note)
        if isinstance(note, n.Const) and isinstance(note.value, str):
            text = note.value
        path = self.names.path(text) or text
        if path in _ANNOTATIONS:
            return dict(_ANNOTATIONS[path])
        cls = self.classes.get(path.rpartition(".")[2])
        if cls is not None:
            if not cls.is_module(self.classes):
                return {"kind": v.OBJECT, "path": path}
            return {"kind": v.MODULE, "path": path, "frozen": cls.freezes() or cls.without_parameters(self.names)}
        if path in k.MODULE_BASES or path.startswith("torch.nn.") and not path.startswith(k.NOT_MODULE_PATHS):
            return {"kind": v.MODULE}
        return {"path": path} if self.names.path(text) else {}

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
            for stmt in n.statements(scope.body):
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
        for stmt in n.statements(scope.parent.body)
    )


def _reading_order(scope: Scope) -> tuple[int, int]:
    """Module body, then constructors (they say what attributes are), then the rest; outer before inner."""
    depth = len(list(scope.around()))
    return (depth, 0 if scope.name in ("__init__", "__post_init__", "setup", "build") else 1)


__all__ = ["Class_", "FileFacts", "Scope"]
