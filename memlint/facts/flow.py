"""Statements: interpreting one function in order, loop bodies twice, branches joined."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memlint.facts import knowledge as k
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.evaluate import Evaluator
from memlint.facts.events import (
    DATA,
    EPOCH,
    ITEMS,
    MAYBE,
    OFF,
    ON,
    RANGE,
    STEP,
    WHILE,
    Loop,
)
from memlint.facts.looping import kind_of_for, kind_of_while, without_wrappers
from memlint.facts.ranges import range_tests
from memlint.facts.scopes import Scope
from memlint.facts.values import ANYTHING, Value

if TYPE_CHECKING:
    from memlint.facts import FileFacts


class Flow(Evaluator):
    """Interprets the body of one scope."""

    def __init__(self, file: FileFacts, scope: Scope) -> None:
        super().__init__(file, scope)
        self.mode = self._initial_mode()
        self._loops: dict[int, Loop] = {}

    def run(self) -> None:
        """Fill the scope's events, environment and return value."""
        for name in self.scope.params:
            self.env[name] = self._parameter(name)
        self.block(self.scope.body)

    def _initial_mode(self) -> str:
        node = self.scope.node
        if node is None:
            return ON
        for decorator in node.decorators:
            call = decorator if isinstance(decorator, n.Call) else None
            text = n.dotted(call.func if call else decorator)
            path = self.file.names.path(text) or text
            if path in k.GRAD_OFF:
                return OFF
            if path in k.GRAD_SET and call and call.args:
                value = call.args[0]
                return (ON if value.value else OFF) if isinstance(value, n.Const) else MAYBE
            if path.rpartition(".")[2] in self.file.grad_off_names:
                return OFF
            if text and path not in k.NEUTRAL_DECORATORS and not path.startswith(k.NEUTRAL_PACKAGES):
                self.helpers = (*self.helpers, path.rpartition(".")[2])
        return ON

    def _parameter(self, name: str) -> Value:
        node = self.scope.node
        assert node is not None
        value = Value(holder=f"param:{self.scope.qualname}:{name}", source=name)
        note = node.annotations.get(name)
        if note is not None:
            value = value.but(**self.file.of_annotation(note))
        if name == self.scope.self_name and self.scope.owner is not None:
            if "forward" in self.scope.owner.methods and self.scope.owner.is_module(self.file.classes):
                return Value(v.MODULE, path=f"{self.file.names.module}.{self.scope.owner.name}", source=name)
            return Value(v.OBJECT, path=f"{self.file.names.module}.{self.scope.owner.name}", source=name)
        if self.scope.owner is not None and self.scope.owner.bases and (self.scope.name, name) in k.HOOK_OUTPUTS:
            return value.but(kind=v.OUTPUT, device=v.ACCELERATOR, grad=v.DETACHED)
        hint = self.scope.hints.get(name)
        if hint is not None and not value.kind:
            value = value.but(kind=hint.kind, grad=hint.grad, zero_d=hint.zero_d)
        return value

    # -- statements ----------------------------------------------------------------------------------------------

    def block(self, body: list[n.Stmt]) -> None:
        guards = len(self.guards)
        for stmt in body:
            self.stmt = stmt
            handler = _STATEMENTS.get(type(stmt))
            if handler is not None:
                handler(self, stmt)
            if isinstance(stmt, n.If) and _ends(stmt.body):
                self.guards.append(stmt.test)  # `if step % 100: return` guards the rest of the block
        del self.guards[guards:]

    def _do(self, stmt: n.Do) -> None:
        value = self.eval(stmt.value)
        if isinstance(stmt.value, n.Call):
            for origin in value.origins:
                forward = self.events.forwards[origin]
                if forward.node is stmt.value:
                    self.use(frozenset({origin}), "dropped", stmt.value, "")

    def _return(self, stmt: n.Return) -> None:
        if stmt.value is None:
            return
        value = self.eval(stmt.value)
        graph = v.graph_of(value)
        self.use(graph, "returned", stmt, n.dotted(stmt.value))
        self._read_all(value, "returned", stmt)
        summary = v.without_ids(value)
        if any(self.events.forwards[o].certain and not self.events.forwards[o].helpers for o in graph):
            summary = summary.but(grad=v.ATTACHED)
        self.scope.returns = v.join(self.scope.returns, summary)

    def _read_all(self, value: Value, how: str, node: Any) -> None:
        self.read(value.holder, how, node)
        self.read(value.gathered, "gathered", node)
        for part in value.parts or ():
            self._read_all(part, how, node)
        if value.item is not None and value.item.holder:
            self.read(value.item.holder, how, node)

    def _assign(self, stmt: n.Assign) -> None:
        value = self.eval(stmt.value)
        if stmt.annotation is not None and not value.kind:
            value = value.but(**self.file.of_annotation(stmt.annotation))
        for target in stmt.targets:
            if not self._concatenates(target, stmt, value):
                self.bind(target, value, stmt.value)

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
        old = self.env.get(text)
        holder = (old.holder if old is not None else "") or self._holder_of(text)
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
        self.keep(target.value, base, value, self.stmt)

    def _augment(self, stmt: n.Augment) -> None:
        old = self.eval(stmt.target)
        value = self.eval(stmt.value)
        text = n.dotted(stmt.target)
        if stmt.op == "Add" and old.holder and (old.kind == v.LIST or value.kind == v.LIST and old.kind == v.UNKNOWN):
            self.grow(old.holder, "augment", stmt, stmt.target, stmt.value, self.items_of(value))
            self.keep(stmt.target, old, self.items_of(value), stmt)
            return
        result = self.arithmetic(stmt, stmt.op, stmt.target, old, stmt.value, value, augmented=True)
        if text:
            self.env[text] = result.but(source=text)
            if "." in text:
                self.use(v.graph_of(value), "stored", stmt, text)
        else:
            self.keep(stmt.target.value if isinstance(stmt.target, n.Item) else stmt.target, old, value, stmt)

    def _delete(self, stmt: n.Delete) -> None:
        parts = stmt.target.elements if isinstance(stmt.target, n.Sequence) else [stmt.target]
        for part in parts:
            if isinstance(part, n.Item):
                attr = part.value.attr if isinstance(part.value, n.Attr) else ""
                self.shrink(self.eval(part.value).holder or (f"attr:{attr}" if attr else ""), "del", stmt)
            elif text := n.dotted(part):
                self.shrink(self.eval(part).holder, "del", stmt)
                self.env.pop(text, None)

    def _if(self, stmt: n.If) -> None:
        self.use(v.graph_of(self.eval(stmt.test)), "consumed", stmt.test, "tested")
        if stmt.body and isinstance(stmt.body[-1], n.Raise):
            self._range_test(stmt.test, stmt, holds=False)
        before, mode = dict(self.env), self.mode
        self.guards.append(stmt.test)
        self.block(stmt.body)
        after, after_mode = self.env, self.mode
        self.env, self.mode = before, mode
        self.block(stmt.orelse)
        self.guards.pop()
        if _ends(stmt.body):
            after = self.env
        if _ends(stmt.orelse):
            self.env = after
        merged = _merge(after, self.env)
        for name in n.mentioned(stmt.test):
            if name in merged and name in after and not after[name].sums:
                merged[name] = merged[name].but(sums=v.NO_IDS)  # tested, and limited where the test says so
        self.env = merged
        if after_mode != self.mode:
            self.mode = MAYBE

    def _assert(self, stmt: n.Assert) -> None:
        self.use(v.graph_of(self.eval(stmt.test)), "consumed", stmt.test, "tested")
        self._range_test(stmt.test, stmt, holds=True)
        self._narrow(stmt.test)

    def _narrow(self, test: n.Expr) -> None:
        """`assert isinstance(x, T)` says what x is from here on."""
        if isinstance(test, n.Call) and isinstance(test.func, n.Name) and test.func.id == "isinstance":
            if len(test.args) == 2 and isinstance(test.args[0], n.Name):
                name = test.args[0].id
                self.env[name] = self.lookup(name).but(**self.file.of_annotation(test.args[1]))

    def _range_test(self, test: n.Expr, node: n.Assert | n.If, holds: bool) -> None:
        """Asserts, and ifs that raise, which compare a value (or its extremes, or all of it) with constants."""
        for found in range_tests(test, holds):
            value = self.eval(found.subject)
            if value.zero_d or not (value.kind == v.TENSOR or found.whole):
                continue  # a loss that is watched, or a plain number's own test
            bound = self.file.text(found.bound).strip()
            low, high = (bound, "") if found.is_low else ("", bound)
            if found.symmetric:
                if found.is_low:
                    continue
                low = f"-{bound}"
            self.contract(value, node, low, high, bound if found.strict else "")

    def _loop(self, stmt: n.For | n.While) -> None:
        loop = self._loops.get(id(stmt))
        if loop is None:
            loop = self._loops[id(stmt)] = Loop(ITEMS, stmt)
            self.events.loops.append(loop)
        if isinstance(stmt, n.For):
            iterable = self.eval(stmt.iter)
            self.read(iterable.holder, "iterated", stmt.iter)
            if loop.kind == ITEMS:
                loop.kind = kind_of_for(stmt, iterable, self.eval(without_wrappers(stmt.iter)))
        else:
            self.use(v.graph_of(self.eval(stmt.test)), "consumed", stmt.test, "tested")
            iterable = ANYTHING
            if loop.kind == ITEMS:
                loop.kind = kind_of_while(stmt)
        before = dict(self.env)
        outer = self.loops
        self.loops = (*outer, loop)
        for _ in range(2):  # the second time sees what the first one carried over the back edge
            if isinstance(stmt, n.For):
                self.bind(stmt.target, self.items_of(iterable), None)
            if isinstance(stmt, n.While):
                self.guards.append(stmt.test)
            self.block(stmt.body)
            if isinstance(stmt, n.While):
                self.guards.pop()
            self.env = _merge(before, self.env)
            self.stmt = stmt
        self.loops = outer
        if loop.kind in (STEP, DATA) and outer and outer[-1].kind in (ITEMS, RANGE, WHILE):
            outer[-1].kind = EPOCH if outer[-1].kind != WHILE else outer[-1].kind
        self.block(stmt.orelse)

    def _with(self, stmt: n.With) -> None:
        mode, helpers = self.mode, self.helpers
        for item, target in stmt.items:
            value = self.eval(item)
            if value.kind == v.GRAD_MODE:
                self.mode = value.const or MAYBE
            elif isinstance(item, n.Call):
                text = n.dotted(item.func)
                last = text.rpartition(".")[2]
                if last in self.file.grad_off_names:
                    self.mode = OFF
                elif last and not self.file.names.path(text).startswith(("torch.", "contextlib.")):
                    self.helpers = (*self.helpers, last)
            elif value.kind == v.UNKNOWN and n.dotted(item) and not value.path.startswith(k.LOCKS):
                self.mode = MAYBE if self.mode == ON else self.mode  # a context that was chosen elsewhere
            if target is not None:
                self.bind(target, value if value.kind != v.GRAD_MODE else ANYTHING, None)
        self.block(stmt.body)
        self.mode, self.helpers = mode, helpers

    def _try(self, stmt: n.Try) -> None:
        self.block(stmt.body)
        after = self.env
        for handler in stmt.handlers:
            self.env = dict(after)
            self.block(handler)
            if not _ends(handler):
                after = _merge(after, self.env)
        self.env = after
        self.block(stmt.orelse)
        self.block(stmt.final)

    def _match(self, stmt: n.Match) -> None:
        self.eval(stmt.subject)
        before = dict(self.env)
        for case in stmt.cases:
            self.env, after = dict(before), self.env
            self.block(case)
            self.env = _merge(after, self.env)

    def _define(self, stmt: n.Function) -> None:
        for decorator in stmt.decorators:
            self.eval(decorator)
        for default in stmt.defaults.values():
            self.eval(default)

    def _raise(self, stmt: n.Raise) -> None:
        if stmt.value is not None:
            self.eval(stmt.value)

    def _class(self, stmt: n.Class) -> None:
        for inner in n.statements(stmt.body):
            if isinstance(inner, n.Assign):
                value = self.eval(inner.value)
                cls = self.file.classes.get(stmt.name)
                for target in inner.targets:
                    if isinstance(target, n.Name) and cls is not None and cls.node is stmt:
                        holder = f"class:{cls.name}.{target.id}" if value.kind in v.CONTAINERS else ""
                        if holder:
                            self.init(holder, inner, value.kind, value.const == "bounded")
                        cls.attributes.setdefault(target.id, v.without_ids(value).but(holder=holder))


def _moves_own_entry(source: n.Expr | None, target: n.Item, loops: tuple[Loop, ...]) -> bool:
    """`entry[key] = entry[key].to(device)`, or the value of the same key in a loop over `entry.items()`."""
    if not (isinstance(source, n.Call) and isinstance(source.func, n.Attr) and source.func.attr in ("to", "cuda")):
        return False
    moved, entry = source.func.value, n.dotted(target.value) or n.root(target.value)
    if isinstance(moved, n.Item):
        return (n.dotted(moved.value) or n.root(moved.value)) == entry != ""
    heads = [loop.node for loop in loops if isinstance(loop.node, n.For)]
    return any(n.dotted(moved) in n.mentioned(head.target) and entry in n.mentioned(head.iter) for head in heads)


def _ends(body: list[n.Stmt]) -> bool:
    """Whether a block leaves: what follows it runs only where it was not entered."""
    return bool(body) and isinstance(body[-1], (n.Return, n.Raise, n.Jump))


def _merge(a: dict[str, Value], b: dict[str, Value]) -> dict[str, Value]:
    if a is b:
        return a
    out = dict(a)
    for name, value in b.items():
        old = out.get(name)
        out[name] = value if old is None or old is value else v.join(old, value)
    return out


_STATEMENTS: dict[type, Any] = {
    n.Do: Flow._do,
    n.Return: Flow._return,
    n.Assign: Flow._assign,
    n.Augment: Flow._augment,
    n.Delete: Flow._delete,
    n.If: Flow._if,
    n.Assert: Flow._assert,
    n.For: Flow._loop,
    n.While: Flow._loop,
    n.With: Flow._with,
    n.Try: Flow._try,
    n.Match: Flow._match,
    n.Function: Flow._define,
    n.Class: Flow._class,
    n.Raise: Flow._raise,
}
