"""What a function does with one value, read off its code: followed through names, items, wrappers and branches.

The interpretation knows what values are; this knows where one of them goes, whatever it is. Built for one scope when a
question needs it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from memlint.facts import nodes as n

_READERS = frozenset({"items", "keys", "values"})
_HAND_ON = frozenset({
    "to", "cuda", "cpu", "eval", "train", "half", "float", "double", "bfloat16", "copy", "state_dict",
    "requires_grad_", "share_memory", "share_memory_",
})  # fmt: skip
_REBUILDERS = frozenset({"dict", "OrderedDict", "list", "tuple", "sorted", "iter", "enumerate", "copy", "deepcopy"})
_CARRIERS = (n.Choice, n.Logic, n.Sequence, n.Mapping, n.Comprehension, n.Star, n.Await, n.Walrus)


class Usage(Struct, eq=False):
    """One thing that is done with a value.

    how: method, attribute, key, tested, passed, iterated, returned, stored, unpacked, computed.
    name: the method, attribute, callee, or the key where it is a literal.
    through: an unknown call lies between the value and this.
    entry: not the value itself but something that was taken out of it.
    """

    how: str
    name: str
    node: Any
    through: bool = False
    entry: bool = False


class Uses:
    """Where values go in one body of statements."""

    def __init__(self, body: list[n.Stmt]) -> None:
        self.parents: dict[int, n.Expr] = {}
        self.owners: dict[int, n.Stmt] = {}
        self.order: dict[int, int] = {}
        self.named: dict[str, list[n.Expr]] = defaultdict(list)
        self.statements = list(n.statements(body))
        for stmt in self.statements:
            self.order[id(stmt)] = len(self.order)
            for expr in n.expressions(stmt):
                self.owners[id(expr)] = stmt
                for part in n.walk(expr):
                    self.order[id(part)] = len(self.order)
                    for child in n.children(part):
                        self.parents[id(child)] = part
                    if isinstance(part, (n.Name, n.Attr)) and (text := n.dotted(part)):
                        self.named[text].append(part)

    def statement(self, node: n.Expr) -> n.Stmt | None:
        """The statement that an expression stands in."""
        while id(node) in self.parents:
            node = self.parents[id(node)]
        return self.owners.get(id(node))

    def reads(self, text: str, after: n.Expr | n.Stmt | None = None) -> Iterator[n.Expr]:
        """The places that read a name, in source order; those that bind or delete it are none."""
        first = self.order.get(id(after), -1)
        for node in self.named.get(text, ()):
            if self.order[id(node)] > first and not self._is_target(node):
                yield node

    def _is_target(self, node: n.Expr) -> bool:
        while isinstance(self.parents.get(id(node)), (n.Sequence, n.Star)):
            node = self.parents[id(node)]
        stmt = self.owners.get(id(node))
        if isinstance(stmt, n.Assign):
            return any(node is target for target in stmt.targets)
        return isinstance(stmt, (n.For, n.Delete)) and node is stmt.target

    def of(self, node: n.Expr, depth: int = 3, through: bool = False, entry: bool = False) -> Iterator[Usage]:
        """What becomes of the value of an expression, also under the names that it is bound to."""
        while (up := self.parents.get(id(node))) is not None:
            how, name, at = self._use(node, up)
            if how:
                yield Usage(how, name, at, through, entry)
            if isinstance(up, n.Walrus):
                yield from self._under_name(up.target, depth, through, entry, up)
            if how in ("computed", "attribute", "tested"):
                return
            if how == "method" and name not in _READERS | _HAND_ON:
                return
            through, entry = through or how == "passed", entry or how == "key"
            node = at if isinstance(up, n.Attr) else up
        yield from self._in_statement(node, depth, through, entry)

    def _use(self, node: n.Expr, up: n.Expr) -> tuple[str, str, Any]:
        """What the expression around a value does with it, "" where it only hands it on."""
        if isinstance(up, n.Attr):
            call = self.parents.get(id(up))
            if not (isinstance(call, n.Call) and call.func is up):
                return "attribute", up.attr, up
            key = _text(call.args[0]) if call.args and up.attr in ("get", "pop") else None
            return ("method", up.attr, call) if key is None else ("key", key, call)
        if isinstance(up, n.Item) and up.value is node:
            return "key", _text(up.index) or "", up
        if isinstance(up, n.Compare) and (key := _text(up.left)) is not None:
            return "tested", key, up
        if isinstance(up, n.Call):
            callee = up.func.attr if isinstance(up.func, n.Attr) else n.dotted(up.func)
            return ("", "", up) if callee in _REBUILDERS else ("passed", callee, up)
        return ("", "", up) if isinstance(up, _CARRIERS) else ("computed", "", up)

    def _in_statement(self, node: n.Expr, depth: int, through: bool, entry: bool) -> Iterator[Usage]:
        stmt = self.owners.get(id(node))
        if isinstance(stmt, n.Return):
            yield Usage("returned", "", stmt, through, entry)
        elif isinstance(stmt, n.For) and stmt.iter is node:
            yield Usage("iterated", "", stmt, through, entry)
        elif isinstance(stmt, n.Assign) and stmt.value is node:
            for target in stmt.targets:
                if isinstance(target, n.Sequence):
                    yield Usage("unpacked", "", stmt, through, entry)
                else:
                    yield from self._under_name(target, depth, through, entry, stmt)

    def _under_name(
        self, target: n.Expr, depth: int, through: bool, entry: bool, after: n.Expr | n.Stmt
    ) -> Iterator[Usage]:
        text = n.dotted(target)
        if "." in text or not text:
            yield Usage("stored", text, target, through, entry)
        if text and depth:
            for read in self.reads(text, after):
                yield from self.of(read, depth - 1, through, entry)


def is_bound(body: list[n.Stmt], name: str) -> bool:
    """Whether an assignment in a body binds this name itself, not an attribute or an entry of it."""
    targets = (target for s in n.statements(body) if isinstance(s, n.Assign) for target in s.targets)
    flat = (e for target in targets for e in (target.elements if isinstance(target, n.Sequence) else [target]))
    return any(isinstance(e, n.Name) and e.id == name for e in flat)


def _text(expr: n.Expr) -> str | None:
    return expr.value if isinstance(expr, n.Const) and isinstance(expr.value, str) else None
