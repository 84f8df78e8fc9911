"""What a function does with one value, read off its code: followed through names, items, wrappers and branches.

The interpretation knows what values are; this knows where one of them goes, whatever it is. Built for one scope when a
question needs it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from memlint.facts import nodes as n

_READERS = frozenset({"items", "keys", "values"})
_HAND_ON = frozenset({
    "to", "cuda", "cpu", "eval", "train", "half", "float", "double", "bfloat16", "copy", "state_dict",
    "requires_grad_", "share_memory", "share_memory_",
})  # fmt: skip
_REBUILDERS = frozenset({"dict", "OrderedDict", "list", "tuple", "sorted", "iter", "enumerate", "copy", "deepcopy"})


@dataclass(slots=True, eq=False)
class Usage:
    """One thing that is done with a value.

    how: method, attribute, key, tested, passed, iterated, returned, stored, unpacked, computed, deleted.
    name: the method, attribute, key or callee. through: an unknown call lies between the value and this.
    """

    how: str
    name: str
    node: Any
    through: bool = False


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

    def of(self, node: n.Expr, depth: int = 3, through: bool = False) -> Iterator[Usage]:
        """What becomes of the value of an expression, also under the names that it is bound to."""
        while (up := self.parents.get(id(node))) is not None:
            if isinstance(up, n.Attr):
                call = self.parents.get(id(up))
                if not (isinstance(call, n.Call) and call.func is up):
                    yield Usage("attribute", up.attr, up, through)
                    return
                key = _text(call.args[0]) if call.args and up.attr in ("get", "pop") else None
                yield Usage("method", up.attr, call, through) if key is None else Usage("key", key, call, through)
                if key is None and up.attr not in _READERS | _HAND_ON:
                    return
                node = call
            elif isinstance(up, n.Item):
                if up.index is node:
                    yield Usage("computed", "", up, through)
                    return
                key = _text(up.index)
                yield Usage("key", key, up, through) if key is not None else Usage("computed", "item", up, through)
                node = up
            elif isinstance(up, n.Compare):
                key = _text(up.left)
                yield Usage("computed", "", up, through) if key is None else Usage("tested", key, up, through)
                return
            elif isinstance(up, n.Call):
                callee = up.func.attr if isinstance(up.func, n.Attr) else n.dotted(up.func)
                if callee not in _REBUILDERS:
                    yield Usage("passed", callee, up, through)
                    through = True
                node = up
            elif isinstance(up, (n.Choice, n.Logic, n.Sequence, n.Mapping, n.Comprehension, n.Star, n.Await)):
                node = up
            elif isinstance(up, n.Walrus):
                yield from self._under_name(up.target, depth, through, up)
                node = up
            else:
                yield Usage("computed", "", up, through)
                return
        yield from self._in_statement(node, depth, through)

    def _in_statement(self, node: n.Expr, depth: int, through: bool) -> Iterator[Usage]:
        stmt = self.owners.get(id(node))
        if isinstance(stmt, n.Return):
            yield Usage("returned", "", stmt, through)
        elif isinstance(stmt, n.For) and stmt.iter is node:
            yield Usage("iterated", "", stmt, through)
        elif isinstance(stmt, n.Assign) and stmt.value is node:
            for target in stmt.targets:
                if isinstance(target, n.Sequence):
                    yield Usage("unpacked", "", stmt, through)
                else:
                    yield from self._under_name(target, depth, through, stmt)

    def _under_name(self, target: n.Expr, depth: int, through: bool, after: n.Expr | n.Stmt) -> Iterator[Usage]:
        text = n.dotted(target)
        if "." in text or not text:
            yield Usage("stored", text, target, through)
        if text and depth:
            for read in self.reads(text, after):
                yield from self.of(read, depth - 1, through)


def _text(expr: n.Expr) -> str | None:
    return expr.value if isinstance(expr, n.Const) and isinstance(expr.value, str) else None
