"""Statements: interpreting one function in order, loop bodies twice, branches joined."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memlint.facts import frameworks
from memlint.facts import knowledge as k
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.binding import Binding
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


class Flow(Binding):
    """Interprets the body of one scope."""

    def __init__(self, file: FileFacts, scope: Scope) -> None:
        super().__init__(file, scope)
        self.mode = self._initial_mode()
        self._loops: dict[int, Loop] = {}

    def run(self) -> None:
        """Fill the scope's events, environment and return value."""
        for name in self.scope.params:
            self.env[name] = self._parameter(name)
        declared, self.scope.returns = self.scope.returns, ANYTHING
        self.block(self.scope.body)
        self.scope.env = self.env  # as functions inside see it
        if not self.scope.returns.kind:
            self.scope.returns = v.join(declared, self.scope.returns)

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
        holder = f"param:{self.scope.qualname}:{name}"
        value = Value(holder=holder, source=name, drawn=frozenset({holder}))
        note = node.annotations.get(name)
        if note is not None:
            value = value.but(**self.file.of_annotation(note))
        if name == self.scope.self_name and self.scope.owner is not None:
            if "forward" in self.scope.owner.methods and self.scope.owner.is_module(self.file.classes):
                return Value(v.MODULE, path=f"{self.file.names.module}.{self.scope.owner.name}", source=name)
            return Value(v.OBJECT, path=f"{self.file.names.module}.{self.scope.owner.name}", source=name)
        is_hook = self.scope.owner is not None and bool(self.scope.owner.bases)
        if is_hook and (self.scope.name, name) in frameworks.HOOK_OUTPUTS:
            return value.but(kind=v.OUTPUT, device=v.ACCELERATOR, grad=v.DETACHED)
        if self.scope.name in self.file.names.hooked and name == self.scope.params[-1] and len(self.scope.params) > 2:
            return value.but(kind=v.OUTPUT, grad=v.ATTACHED)  # what the module that carries the hook gives out
        hint = self.scope.hints.get(name)
        if hint is not None and value.kind in (v.UNKNOWN, v.FUNCTION):
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
                if isinstance(stmt.body[-1], n.Raise):
                    self.demands.add(id(stmt.test))
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
        self.draw(v.drawn_of(value), "returned", stmt, n.dotted(stmt.value))
        self._read_all(value, "returned", stmt)
        self.scope.returns = v.join(self.scope.returns, v.without_ids(self._with_graphs(value)))

    def _with_graphs(self, value: Value) -> Value:
        """A value that leaves the function: outputs of forward passes become values with a graph."""
        if any(self.events.forwards[o].certain and not self.events.forwards[o].helpers for o in value.origins):
            value = value.but(grad=v.ATTACHED)
        elif value.origins:
            value = value.but(drawn=value.drawn | {v.NETWORK})
        item = self._with_graphs(value.item) if value.item is not None else None
        parts = tuple(self._with_graphs(part) for part in value.parts) if value.parts is not None else None
        return value.but(item=item, parts=parts)

    def _read_all(self, value: Value, how: str, node: Any) -> None:
        self.read(value.holder, how, node)
        self.read(value.gathered, "gathered", node)
        for part in value.parts or ():
            self._read_all(part, how, node)
        if value.item is not None and value.item.holder:
            self.read(value.item.holder, how, node)

    def _delete(self, stmt: n.Delete) -> None:
        parts = stmt.target.elements if isinstance(stmt.target, n.Sequence) else [stmt.target]
        for part in parts:
            if isinstance(part, n.Item):
                attr = part.value.attr if isinstance(part.value, n.Attr) else ""
                self.shrink(self.eval(part.value).holder or (f"attr:{attr}" if attr else ""), "del", stmt)
            elif text := n.dotted(part):
                holder = self.eval(part).holder
                if "." in text or not holder.startswith(("class:", "attr:")):  # another name for it frees nothing
                    self.shrink(holder, "del", stmt)
                self.env.pop(text, None)

    def _if(self, stmt: n.If) -> None:
        self.use(v.graph_of(self.eval(stmt.test)), "consumed", stmt.test, "tested")
        self.tested(stmt.test)
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
            if isinstance(found.subject, n.Binary):
                continue  # a sum that is made for the test: nothing moves there
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
            iterable = self.events.iterables[id(stmt.iter)] = self.eval(stmt.iter)
            self.read(iterable.holder, "iterated", stmt.iter)
            if loop.kind == ITEMS:
                loop.kind = kind_of_for(stmt, iterable, self.eval(without_wrappers(stmt.iter)))
        else:
            self.use(v.graph_of(self.eval(stmt.test)), "consumed", stmt.test, "tested")
            iterable = ANYTHING
            if loop.kind == ITEMS:
                loop.kind = kind_of_while(stmt)
        before = dict(self.env)
        outer, outer_guards = self.loops, self.outer_guards
        self.loops = (*outer, loop)
        for _ in range(2):  # the second time sees what the first one carried over the back edge
            if isinstance(stmt, n.For):
                self.bind(stmt.target, self.items_of(iterable), None)
            if isinstance(stmt, n.While):
                self.guards.append(stmt.test)
            self.outer_guards = len(self.guards)
            self.block(stmt.body)
            if isinstance(stmt, n.While):
                self.guards.pop()
            self.env = _merge(before, self.env)
            self.stmt = stmt
        self.loops, self.outer_guards = outer, outer_guards
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
                if last in self.file.grad_off_names or text in k.GRAD_OFF:  # torch that came by `import *`
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
            self.handlers += 1
            self.block(handler)
            self.handlers -= 1
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
            if isinstance(decorator, n.Call) and isinstance(decorator.func, n.Attr) and decorator.func.attr == "on":
                self.note_handler(decorator, stmt.name)
        for default in stmt.defaults.values():
            self.eval(default)

    def _raise(self, stmt: n.Raise) -> None:
        if stmt.value is not None:
            self.eval(stmt.value)


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
    n.Declare: Flow.declare,
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
    n.Class: Flow.class_body,
    n.Raise: Flow._raise,
}
