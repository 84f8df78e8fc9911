"""Expressions: what each one is worth in the model, and what evaluating it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memlint.facts import knowledge as k
from memlint.facts import nodes as n
from memlint.facts import shapes
from memlint.facts import values as v
from memlint.facts.calls import Calls
from memlint.facts.shapes import Size
from memlint.facts.values import ANYTHING, Value

if TYPE_CHECKING:
    from collections.abc import Callable


class Evaluator(Calls):
    """Evaluates expressions in the environment of one scope. The statements are `memlint.facts.flow.Flow`'s."""

    def eval(self, expr: n.Expr) -> Value:
        """The value of an expression; its effects are written to the scope's events."""
        handler: Callable[[Any, Any], Value] | None = _HANDLERS.get(type(expr))
        return handler(self, expr) if handler is not None else ANYTHING

    # -- names ---------------------------------------------------------------------------------------------------

    def _name(self, expr: n.Name) -> Value:
        return self.lookup(expr.id)

    def lookup(self, name: str) -> Value:
        """What a name is bound to here, in an enclosing function, in the module or by an import."""
        hint = self.scope.hints.get(name)
        if name in self.env:
            value = self.env[name]
            return (value if hint is None else _with_hint(value, hint)).read_as(name)
        for scope in self.scope.around():
            if scope is not self.scope and name in scope.env:
                value = v.without_ids(scope.env[name])
                return _with_hint(value, hint or scope.hints.get(name)).read_as(name)
        path = self.file.names.path(name)
        if path:
            return self.of_path(path).read_as(name)
        if hint is not None:
            return hint.read_as(name)
        return Value(path=name if name in k.CONTAINER_PATHS else "", source=name)

    def of_path(self, path: str) -> Value:
        """The value of a dotted path: a class or function of this file, or something imported."""
        last = path.rpartition(".")[2]
        cls = self.file.classes.get(last)
        if cls is not None and path.startswith(self.file.names.module):
            return Value(v.CLASS, path=path)
        return Value(v.PACKAGE, path=path)

    def attribute(self, expr: n.Attr, base: Value | None = None) -> Value:
        """The value of `x.name`. base: that of `x`, where it is known already: chains of calls are long."""
        self.file.attributes.add(expr.attr)
        text = n.dotted(expr)
        if text and text in self.env:
            return self._attr_value(text, self.env[text])
        if base is None:
            base = self.eval(expr.value)
        if base.kind in (v.PACKAGE, v.CLASS) and base.path:
            return self.of_path(f"{base.path}.{expr.attr}").but(source=text)
        if isinstance(expr.value, n.Name) and expr.value.id == self.scope.self_name and self.scope.owner is not None:
            return self._own_attribute(expr.attr, text)
        if expr.attr == "data":
            self.use(v.graph_of(base), "consumed", expr, ".data")
            self.draw(base.drawn, "detached", expr)
            return base.detached()
        if expr.attr in k.METADATA:
            return Value(v.DEVICE, device=base.device) if expr.attr == "device" else ANYTHING
        if base.kind == v.MODULE and expr.attr not in ("training", "device", "dtype", "config"):
            # A module's attributes may be submodules, parameters or plain settings: only a call tells.
            return Value(device=base.device, source=text, path="submodule", frozen=base.frozen)
        if base.origins and expr.attr in k.OUTPUT_ATTRIBUTES:
            self.use(base.origins, "typed", expr, f".{expr.attr}")
        if base.kind in v.TENSOR_LIKE or base.origins:
            if expr.attr in ("T", "mT", "H", "real", "imag"):
                return base.but(size=None)
            kind = v.TENSOR if base.kind == v.TENSOR else v.OUTPUT
            return _part(base).but(kind=kind, source=text, parts=None, size=None, limits=None)
        cls = self.file.classes.get(base.path.rpartition(".")[2]) if base.kind == v.OBJECT else None
        known = cls.attribute(expr.attr, self.file.classes) if cls is not None else ANYTHING
        holder = f"attr:{expr.attr}"
        return known.but(source=text, holder=holder, device=known.device or base.device, drawn=known.drawn | {holder})

    def _own_attribute(self, attr: str, text: str) -> Value:
        owner = self.scope.owner
        assert owner is not None
        value = owner.attribute(attr, self.file.classes)
        value = _with_hint(value, owner.hints.get(attr))
        holder = value.holder or f"class:{owner.name}.{attr}"
        return value.but(source=text, holder=holder, drawn=value.drawn | {holder})

    def _attr_value(self, text: str, value: Value) -> Value:
        first, _, rest = text.partition(".")
        owner = self.scope.owner
        if first == self.scope.self_name and owner is not None:
            value = _with_hint(value, owner.hints.get(rest))
        return value.read_as(text)

    # -- operators -----------------------------------------------------------------------------------------------

    def _const(self, expr: n.Const) -> Value:
        value = expr.value
        if isinstance(value, bool) or value is None and not isinstance(value, str):
            return Value(v.NONE if value is None else v.NUMBER, const=value)
        if isinstance(value, (int, float, complex)):
            return Value(v.NUMBER, const=value)
        return Value(v.STRING, const=value) if isinstance(value, str) else ANYTHING

    def _binary(self, expr: n.Binary) -> Value:
        left, right = self.eval(expr.left), self.eval(expr.right)
        return self.arithmetic(expr, expr.op, expr.left, left, expr.right, right, augmented=False)

    def arithmetic(
        self, node: Any, op: str, left_expr: n.Expr, left: Value, right_expr: n.Expr, right: Value, *, augmented: bool
    ) -> Value:
        """The value of `left op right`; an addition of two tensors opens a sum."""
        if left.kind in v.CONTAINERS or right.kind in v.CONTAINERS:
            side = left if left.kind in v.CONTAINERS else right
            return Value(side.kind, item=v.joined(left.item, right.item))
        if left.kind == v.STRING or right.kind == v.STRING:
            return v.A_STRING
        tensors = v.TENSOR_LIKE & {left.kind, right.kind}
        if not tensors and left.kind == v.NUMBER and right.kind == v.NUMBER:
            whole = type(left.const) is int and type(right.const) is int
            if whole and op in ("Add", "Multiply"):
                return Value(v.NUMBER, const=left.const + right.const if op == "Add" else left.const * right.const)
            return v.A_NUMBER
        if not tensors and v.ARRAY in (left.kind, right.kind):
            return Value(v.ARRAY)
        self.read(left.gathered, "computed", node)
        self.read(right.gathered, "computed", node)
        origins = v.graph_of(left) | v.graph_of(right)
        both = v.sums_of(left) | v.sums_of(right)
        sums = v.NO_IDS
        whole = left.integral and right.integral
        if op == "Add" and v.NUMBER not in (left.kind, right.kind) and not whole and not _mixes(left_expr, right_expr):
            sums = both | {self.open_sum(node, left_expr, right_expr, augmented, bool(tensors))}
        if not tensors and not origins and v.UNKNOWN in (left.kind, right.kind):
            return Value(sums=sums, drawn=left.drawn | right.drawn)
        return Value(
            kind=v.TENSOR if tensors or origins else v.UNKNOWN,
            device=left.device if left.device == right.device else left.device or right.device,
            grad=_grad_of(left, right),
            zero_d=(left.zero_d or left.kind == v.NUMBER) and (right.zero_d or right.kind == v.NUMBER),
            origins=origins,
            sums=sums,
            integral=left.integral and right.integral,
            drawn=left.drawn | right.drawn,
            size=_size_of(op, left, right),
        )

    def _compare(self, expr: n.Compare) -> Value:
        parts = [self.eval(expr.left), *(self.eval(right) for _, right in expr.rest)]
        if self.clamps:
            self.note_range_tests(expr)
        if any(op in ("Is", "IsNot", "In", "NotIn") for op, _ in expr.rest):
            return v.A_NUMBER
        origins = frozenset[int]().union(*(v.graph_of(part) for part in parts))
        self.use(origins, "consumed", expr, "compared")
        self.draw(frozenset[str]().union(*(part.drawn for part in parts)), "host", expr)
        if any(part.kind in v.TENSOR_LIKE for part in parts):
            return Value(v.TENSOR, grad=v.DETACHED, integral=True, zero_d=all(p.zero_d for p in parts[:1]))
        return ANYTHING

    def _logic(self, expr: n.Logic) -> Value:
        return v.join(self.eval(expr.left), self.eval(expr.right))

    def _unary(self, expr: n.Unary) -> Value:
        value = self.eval(expr.operand)
        if expr.op == "Not":
            self.use(v.graph_of(value), "consumed", expr, "tested")
            return v.A_NUMBER
        return value.but(const=None, sums=v.NO_IDS, limits=None)

    def _choice(self, expr: n.Choice) -> Value:
        self.eval(expr.test)
        self.tested(expr.test)
        return v.join(self.eval(expr.body), self.eval(expr.orelse))

    # -- displays ------------------------------------------------------------------------------------------------

    def _sequence(self, expr: n.Sequence) -> Value:
        values = [self.eval(e) for e in expr.elements]
        if expr.kind == "tuple":
            starred = any(isinstance(e, n.Star) for e in expr.elements)
            return Value(v.TUPLE, parts=None if starred else tuple(values), item=_inside(values) if starred else None)
        kind = v.LIST if expr.kind == "list" else v.SET
        return Value(kind, item=_inside(values), const="literal" if values else None)

    def _mapping(self, expr: n.Mapping) -> Value:
        values = []
        for key, value in expr.entries:
            if key is not None:
                self.eval(key)
            values.append(self.eval(value))
            if key is not None:
                self.entry(expr, value, values[-1])
        keys = [key.value if isinstance(key, n.Const) else None for key, _ in expr.entries]
        if keys and all(isinstance(key, str) for key in keys):
            return v.keyed({str(key): value for key, value in zip(keys, values, strict=True)})
        return Value(v.DICT, item=_inside(values))

    def _comprehension(self, expr: n.Comprehension) -> Value:
        saved = dict(self.env)
        for generator in expr.generators:
            iterable = self.events.iterables[id(generator.iter)] = self.eval(generator.iter)
            self.bind(generator.target, self.items_of(iterable), generator.iter)
            for test in generator.tests:
                self.eval(test)
                self.tested(test)
        if expr.key is not None:
            self.eval(expr.key)
        item = self.eval(expr.element)
        self.env = saved
        return Value({"dict": v.DICT, "set": v.SET}.get(expr.kind, v.LIST), item=item)

    def items_of(self, value: Value) -> Value:
        """What iterating over a value gives."""
        if value.parts is not None and value.kind != v.DICT:
            return v.widest(list(value.parts))
        if value.kind in v.CONTAINERS or value.item is not None:
            item = value.item or ANYTHING
            if not value.holder:
                return item.but(drawn=item.drawn | value.drawn) if value.drawn else item
            holder = value.holder.removesuffix("[]")
            return item.but(holder=item.holder or f"{value.holder}[]", drawn=item.drawn | {holder})
        if value.kind in v.TENSOR_LIKE or value.origins:
            rows = value.size.shape[1:] if value.size is not None and value.size.shape else None
            size = value.size._replace(shape=rows) if value.size is not None and rows is not None else None
            return _part(value).but(source="", kind=value.kind or v.UNKNOWN, size=size)
        return Value(holder=f"{value.holder}[]" if value.holder else "", drawn=v.drawn_of(value))

    def _item(self, expr: n.Item) -> Value:
        base, index = self.eval(expr.value), self.eval(expr.index)
        if base.source in self.scope.params and isinstance(expr.index, n.Const):
            self.events.indexed.add(base.source)
        if (
            base.parts is not None
            and isinstance(index.const, int)
            and -len(base.parts) <= index.const < len(base.parts)
        ):
            return base.parts[index.const]
        if base.kind in v.CONTAINERS or base.kind == v.TUPLE:
            if isinstance(expr.index, n.Slice):
                item = v.widest(list(base.parts)) if base.parts else base.item
                drawn = v.drawn_of(base)
                return base.but(holder="", parts=None, item=item.but(drawn=drawn) if item else None, drawn=drawn)
            if base.item is None or base.item.kind not in v.CONTAINERS:
                self.read(base.holder, "index", expr)
            return self.entry_of(base, index)
        if base.kind in v.TENSOR_LIKE or base.origins:
            several = isinstance(expr.index, n.Sequence)
            view = self._part_of(expr) if base.kind == v.TENSOR or base.kind == v.OUTPUT and several else base.view
            size = shapes.item_of(base.size, expr.index, self.number) if base.size is not None else None
            base = base if several or isinstance(expr.index, n.Slice) else _part(base)
            return base.but(zero_d=False, source=n.dotted(expr.value), parts=None, view=view, size=size)
        holder = f"{base.holder}[]" if base.holder else ""
        return Value(holder=holder, device=base.device, sums=base.sums, drawn=base.drawn)

    def entry_of(self, container: Value, key: Value) -> Value:
        """What a container holds under a key: one entry where its keys are known, else any."""
        entries = v.entries_of(container) or {}
        item = entries.get(key.const) if isinstance(key.const, str) else None
        return self.items_of(container if item is None else container.but(item=item, parts=None, const=None))

    def _part_of(self, expr: n.Item) -> str:
        """The source of the tensor that `x[0]` or `x[:, -1]` takes a small part of and goes on sharing, else ""."""
        index = expr.index
        parts = index.elements if isinstance(index, n.Sequence) and index.kind == "tuple" else [index]
        if isinstance(expr.value, n.Call) and len(parts) == 1:
            return ""  # what a call gives back may be a tuple of tensors
        small = False
        for part in parts:
            if isinstance(part, n.Slice):
                small |= _is_short(part)
            elif isinstance(part, n.Const) and (part.value is None or isinstance(part.value, bool)):
                continue  # `...` or a new axis
            elif self.eval(part).kind == v.NUMBER:
                small = True
            else:
                return ""  # a mask or a list of indices: the result is a copy
        return self.file.text(expr.value) if small else ""

    def _slice(self, expr: n.Slice) -> Value:
        for part in (expr.lower, expr.upper, expr.step):
            if part is not None:
                self.eval(part)
        return ANYTHING

    def _lambda(self, expr: n.Lambda) -> Value:
        return Value(v.FUNCTION)

    def _star(self, expr: n.Star) -> Value:
        return self.items_of(self.eval(expr.value))

    def _await(self, expr: n.Await) -> Value:
        return self.eval(expr.value)

    def _yield(self, expr: n.Yield) -> Value:
        if expr.value is not None:
            value = self.eval(expr.value)
            self.use(v.graph_of(value), "yielded", expr, "yield")
            self.draw(v.drawn_of(value), "returned", expr)
        return ANYTHING

    def _text(self, expr: n.Text) -> Value:
        for part in expr.parts:
            value = self.eval(part)
            self.use(v.graph_of(value), "consumed", part, "formatted")
            self.draw(v.drawn_of(value), "host", part)
        return v.A_STRING

    def _walrus(self, expr: n.Walrus) -> Value:
        value = self.eval(expr.value)
        self.bind(expr.target, value, expr.value)
        return value


def _size_of(op: str, left: Value, right: Value) -> Size | None:
    if left.size is not None:
        return shapes.combined(left.size, right, op)
    return shapes.combined(right.size, left, op) if right.size is not None else None


def _mixes(left: n.Expr, right: n.Expr) -> bool:
    """`weight * a + (1 - weight) * b`: it stays between its two sides."""
    weights = [
        n.dotted(part.right)
        for side in (left, right)
        for part in n.walk(side)
        if isinstance(part, n.Binary) and part.op == "Subtract" and isinstance(part.left, n.Const)
    ]
    names = [n.dotted(part) for side in (left, right) for part in n.walk(side)]
    return any(weight and names.count(weight) > 1 for weight in weights)


def _part(whole: Value) -> Value:
    """A part of what an unknown call gave: the whole has a graph, of its parts some may be counts or labels."""
    return whole.but(grad="") if whole.kind == v.UNKNOWN and whole.grad == v.ATTACHED else whole


def _grad_of(left: Value, right: Value) -> str:
    if v.ATTACHED in (left.grad, right.grad):
        return v.ATTACHED
    for side, other in ((left, right), (right, left)):
        # A setting of the object beside a detached value: a number, as far as anybody writes such things.
        plain = other.kind == v.NUMBER or other.kind == v.UNKNOWN and other.holder.startswith("class:")
        if side.grad == v.DETACHED and (plain or other.grad == v.DETACHED):
            return v.DETACHED
    return ""


def _is_short(part: n.Slice) -> bool:
    """`:4` or `-1:`, which leaves most of a long axis out; `1:` and `:-1` do not."""
    lower = part.lower.value if isinstance(part.lower, n.Const) else None
    upper = part.upper.value if isinstance(part.upper, n.Const) else None
    return isinstance(upper, int) and upper >= 0 or isinstance(lower, int) and lower < 0 and part.upper is None


def _inside(values: list[Value]) -> Value | None:
    return v.widest(values) if values else None


def _with_hint(value: Value, hint: Value | None) -> Value:
    """Usage fills what the flow does not know."""
    if hint is not None and value.kind == v.TENSOR == hint.kind and not value.grad:
        return value.but(grad=hint.grad, zero_d=hint.zero_d or value.zero_d)
    if hint is None or value.kind not in (v.UNKNOWN, v.OUTPUT, v.NONE):
        return value
    if hint.kind == v.MODULE and value.origins:
        return value
    # The class, in another file, of what is used as a module is still that class.
    path = value.path if hint.kind == v.MODULE and value.path.rpartition(".")[2][:1].isupper() else ""
    return value.but(kind=hint.kind, grad=value.grad or hint.grad, zero_d=hint.zero_d or value.zero_d, path=path)


_HANDLERS: dict[type, Any] = {
    n.Name: Evaluator._name,
    n.Const: Evaluator._const,
    n.Attr: Evaluator.attribute,
    n.Call: Evaluator.call,
    n.Item: Evaluator._item,
    n.Slice: Evaluator._slice,
    n.Binary: Evaluator._binary,
    n.Compare: Evaluator._compare,
    n.Logic: Evaluator._logic,
    n.Unary: Evaluator._unary,
    n.Choice: Evaluator._choice,
    n.Sequence: Evaluator._sequence,
    n.Mapping: Evaluator._mapping,
    n.Comprehension: Evaluator._comprehension,
    n.Lambda: Evaluator._lambda,
    n.Star: Evaluator._star,
    n.Await: Evaluator._await,
    n.Yield: Evaluator._yield,
    n.Text: Evaluator._text,
    n.Walrus: Evaluator._walrus,
}
