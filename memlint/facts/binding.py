"""What statements do to names: assignments, running sums, and what goes into attributes and containers."""

from __future__ import annotations

from typing import Any

from memlint.facts import knowledge as k
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.events import Loop
from memlint.facts.fields import Fields, is_attribute
from memlint.facts.values import Value


class Binding(Fields):
    """Assigns values to names, attributes and items."""

    def _assign(self, stmt: n.Assign) -> None:
        value = self.eval(stmt.value)
        if stmt.annotation is not None and (not value.kind or value.kind == v.NONE and is_attribute(stmt.targets[0])):
            value = value.but(**self.file.of_annotation(stmt.annotation))
        total = _sum_in(stmt.value) if len(stmt.targets) == 1 else None
        if total is not None and value.kind not in v.CONTAINERS:
            text = n.dotted(stmt.targets[0])
            added = _added(total, text) if text and self._known(text) else None
            if added is not None and (total is stmt.value or value.kind == v.TENSOR and v.attached(value)):
                added = added if total is stmt.value else stmt.value
                value = self._accumulate(stmt, stmt.targets[0], added, self.eval(added), value)
        for target in stmt.targets:
            if not self._concatenates(target, stmt, value):
                self.bind(target, value, stmt.value)

    def _known(self, text: str) -> bool:
        return text in self.env or "." in text

    def _concatenates(self, target: n.Expr, stmt: n.Assign, value: Value) -> bool:
        """`x = x + [item]`, `x = np.append(x, item)`, `x = torch.cat([x, item])`: the container grows."""
        text = n.dotted(target)
        parts: list[n.Expr] = []
        if not text:
            return False
        if isinstance(stmt.value, n.Binary) and stmt.value.op == "Add" and value.kind == v.LIST:
            parts = [stmt.value.left, stmt.value.right]
        elif isinstance(stmt.value, n.Call) and isinstance(stmt.value.func, n.Attr) and stmt.value.args:
            if stmt.value.func.attr in k.GATHERING | {"append"} and value.kind in (v.ARRAY, v.TENSOR):
                first = stmt.value.args[0]
                parts = first.elements if isinstance(first, n.Sequence) else stmt.value.args
        added = next((part for part in parts if n.dotted(part) != text), None)
        if added is None or text not in [n.dotted(part) for part in parts]:
            return False
        holder = self._holder_of(text)
        if holder:
            self.grow(holder, "concat", stmt, target, added, self.eval(added))
            self.env[text] = value.but(holder=holder)
        return bool(holder)

    def _holder_of(self, text: str) -> str:
        first, _, rest = text.partition(".")
        owner = self.scope.owner
        if rest and first == self.scope.self_name and owner is not None and "." not in rest:
            return f"class:{owner.name}.{rest}"
        if not rest and (self.scope.is_module_body or first in self.scope.globals):
            return f"module:{self.file.names.module}:{first}"
        return "" if rest else f"local:{self.scope.qualname}:{first}"

    def bind(self, target: n.Expr, value: Value, source: n.Expr | None) -> None:
        """An assignment to a name, attribute, item or a tuple of these."""
        if isinstance(target, n.Sequence):
            self._unpack(target, value, source)
        elif isinstance(target, n.Star):
            self.bind(target.value, Value(v.LIST, item=value), None)
        elif isinstance(target, n.Item):
            self._store_item(target, value, source)
        else:
            text = n.dotted(target)
            if text:
                self._store_name(text, value, target, source)
            elif isinstance(target, n.Attr):
                self._store_attribute(target, value)

    def _unpack(self, target: n.Sequence, value: Value, source: n.Expr | None) -> None:
        sources = (
            source.elements if isinstance(source, n.Sequence) and len(source.elements) == len(target.elements) else None
        )
        for position, element in enumerate(target.elements):
            if value.parts is not None and len(value.parts) == len(target.elements):
                part = value.parts[position]
            else:
                part = self.items_of(value)
            self.bind(element, part, sources[position] if sources else None)

    def _store_name(self, text: str, value: Value, target: n.Expr, source: n.Expr | None) -> None:
        first, _, rest = text.partition(".")
        hint = self.scope.hints.get(text)
        if hint is not None and hint.kind == v.MODULE and value.origins:
            value = self._built(value)
        owner = self.scope.owner
        holder = self._holder_of(text)
        if value.kind in v.CONTAINERS and not value.holder and holder:
            old = text in self.env or self.scope.name != "__init__" and holder.startswith("class:")
            if old:
                self.shrink(holder, "rebind", self.stmt)
            self.init(holder, self.stmt, value.kind, value.const == "bounded")
            value = value.but(holder=holder)
        elif value.kind in (v.ARRAY, v.TENSOR) and holder.startswith("class:") and self.scope.name == "__init__":
            self.init(holder, self.stmt, value.kind, bounded=False)  # it may grow by being joined onto itself
        elif holder and (text in self.env or holder.startswith("class:") and self.scope.name != "__init__"):
            old_value = self.env.get(text)
            if old_value is None or old_value.kind in v.CONTAINERS or holder.startswith("class:"):
                self.shrink(holder, "rebind", self.stmt)
        self.env[text] = value
        if rest or first in self.scope.globals:
            self.use(v.graph_of(value), "stored", self.stmt, text)
        if rest and (first != self.scope.self_name or "." in rest):
            self.shrink(f"attr:{rest.rpartition('.')[2]}", "rebind", self.stmt)
        if rest and first == self.scope.self_name and owner is not None and "." not in rest:
            stored = v.without_ids(value).but(holder=value.holder if value.holder.startswith("class:") else "")
            parameter = value.holder if value.holder.startswith("param:") and self.scope.name == "__init__" else ""
            if owner.given.setdefault(rest, parameter) != parameter:
                owner.given[rest] = ""
            old_attr = owner.attributes.get(rest)
            owner.attributes[rest] = stored if old_attr is None else v.join(old_attr, stored)
        if rest.endswith("requires_grad") and value.const is not True:
            self._once(("frozen", id(self.stmt)), lambda: self.stmt, self.events.frozen)

    def _built(self, value: Value) -> Value:
        """What is used as a module was built by the call, not computed by it: the callee is a factory."""
        for origin in value.origins:
            self.events.forwards[origin].mode = ""
        return Value(v.MODULE, device=value.device)

    def _store_attribute(self, target: n.Attr, value: Value) -> None:
        self.eval(target.value)
        if target.attr == "requires_grad" and value.const is not True:
            self._once(("frozen", id(self.stmt)), lambda: self.stmt, self.events.frozen)
        elif target.attr != "data":
            self.shrink(f"attr:{target.attr}", "rebind", self.stmt)
            self.use(v.graph_of(value), "stored", self.stmt, target.attr)

    def _store_item(self, target: n.Item, value: Value, source: n.Expr | None) -> None:
        base = self.eval(target.value)
        self.eval(target.index)
        name = n.dotted(target.value)
        if name in self.env and self.env[name].limits is not None:
            self.env[name] = self.env[name].but(limits=None)
        if isinstance(target.index, n.Compare) and name in self.env and name in n.mentioned(target.index):
            self.env[name] = self.env[name].but(sums=v.NO_IDS)  # `x[x > high] = high` is a limit
        if isinstance(target.index, n.Slice):
            self.shrink(base.holder, "slice", self.stmt)
        elif value.device == v.ACCELERATOR and _moves_own_entry(source, target, self.loops):
            self.grow(base.holder, "moved", self.stmt, target.value, source, value)
        elif base.kind == v.DICT and value.kind in v.CONTAINERS:
            self.shrink(f"{base.holder}[]" if base.holder else "", "rebind", self.stmt)
        elif base.kind == v.DICT and base.holder:
            self.grow(base.holder, "setitem", self.stmt, target.value, source, value, target.index)
        entries = v.entries_of(base)
        self.keep(target.value, base, value, self.stmt)
        if entries is not None and isinstance(target.index, n.Const) and isinstance(target.index.value, str):
            grown = v.keyed({**entries, target.index.value: value.but(source="")})
            if name in self.env and self.env[name].kind == v.DICT and "." not in name:
                self.env[name] = grown.but(holder=self.env[name].holder, source=base.source)

    def _augment(self, stmt: n.Augment) -> None:
        old = self.eval(stmt.target)
        value = self.eval(stmt.value)
        text = n.dotted(stmt.target)
        if stmt.op == "Add" and old.holder and (old.kind == v.LIST or value.kind == v.LIST and old.kind == v.UNKNOWN):
            self.grow(old.holder, "augment", stmt, stmt.target, stmt.value, self.items_of(value))
            self.keep(stmt.target, old, self.items_of(value), stmt)
            return
        result = self.arithmetic(stmt, stmt.op, stmt.target, old, stmt.value, value, augmented=True)
        result = self._accumulate(stmt, stmt.target, stmt.value, value, result)
        if text:
            self.env[text] = result.but(source=text)
            if "." in text:
                self.use(v.graph_of(value), "stored", stmt, text)
        else:
            self.keep(stmt.target.value if isinstance(stmt.target, n.Item) else stmt.target, old, value, stmt)

    def _accumulate(self, stmt: Any, target: n.Expr, added: n.Expr, value: Value, result: Value) -> Value:
        """A running sum takes in a value that may carry a graph: from here on it is drawn from itself."""
        holder = self._holder_of(n.dotted(target)) if n.dotted(target) else ""
        if isinstance(target, n.Item):
            holder = self.eval(target.value).holder.removesuffix("[]")
        may_carry = v.attached(value) or value.origins or value.drawn
        if not holder or not may_carry or value.integral or value.kind in (v.NUMBER, v.STRING, v.ARRAY):
            return result
        self.grow(holder, "accumulate", stmt, target, added, value)
        return result.but(drawn=result.drawn | {holder})


def _sum_in(value: n.Expr) -> n.Binary | None:
    """The sum that is assigned, be it only for the later steps: `loss if mean is None else 0.9 * mean + 0.1 * loss`."""
    branches = [value.body, value.orelse] if isinstance(value, n.Choice) else [value]
    return next((b for b in branches if isinstance(b, n.Binary) and b.op in ("Add", "Subtract")), None)


def _added(total: n.Binary, text: str) -> n.Expr | None:
    """What `total = total + item` adds; the whole right side of a running average `a * average + (1 - a) * item`."""
    for side, other in ((total.left, total.right), (total.right, total.left)):
        if n.dotted(side) == text:
            return other
    return total if text in n.mentioned(total) else None


def _moves_own_entry(source: n.Expr | None, target: n.Item, loops: tuple[Loop, ...]) -> bool:
    """`entry[key] = entry[key].to(device)`, or the value of the same key in a loop over `entry.items()`."""
    if not (isinstance(source, n.Call) and isinstance(source.func, n.Attr) and source.func.attr in ("to", "cuda")):
        return False
    moved, entry = source.func.value, n.dotted(target.value) or n.root(target.value)
    if isinstance(moved, n.Item):
        return (n.dotted(moved.value) or n.root(moved.value)) == entry != ""
    heads = [loop.node for loop in loops if isinstance(loop.node, n.For)]
    return any(n.dotted(moved) in n.mentioned(head.target) and entry in n.mentioned(head.iter) for head in heads)
