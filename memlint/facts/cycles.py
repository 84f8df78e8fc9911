"""Objects that hold themselves by way of a function, and tensors that hold their own graph: behind break-cycles."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from memlint.facts import FileFacts, Scope
from memlint.facts import knowledge as k
from memlint.facts import nodes as n
from memlint.facts import values as v

CLOSURE = "closure"
METHOD = "method"
HOOK = "hook"
OUTPUT = "output"
ALIAS = "alias"
INPUT = "input"

_FUNCTIONS = frozenset(
    {"torch.autograd.Function", "torch.autograd.function.Function", "torch.autograd.InplaceFunction"}
)
_UNBOUND = frozenset({"staticmethod", "classmethod", "property", "cached_property", "setter"})
# Functions that give back a function which holds the one that they are given.
_WRAPPERS = frozenset({
    "functools.partial", "functools.lru_cache", "functools.cache", "functools.singledispatch", "torch.compile",
    "torch.jit.script", "torch.func.vmap", "torch.func.grad", "torch.func.jacrev", "torch.vmap",
})  # fmt: skip
# Those that do so when they are called a second time.
_DECORATORS = frozenset({
    "functools.lru_cache", "functools.wraps", "torch.compile", "torch.no_grad", "torch.inference_mode",
    "torch.enable_grad",
})  # fmt: skip
_TABLES = frozenset({"append", "add", "insert", "setdefault"})


class Cycle(Struct, eq=False):
    """Something that holds itself.

    form: closure (a function over the object is stored on it), method (one of its own methods is, or is kept in its own
    table), hook (a module hooks such a one onto itself or its parts), output, alias, input (a tensor on the context of
    an autograd function). name: what is stored; at: where it is made; attribute: where it is stored. on_tensors: the
    stored function says that it is about tensors.
    """

    scope: Scope
    form: str
    at: object
    name: str
    attribute: str
    reasons: list[tuple[object, str]]
    on_tensors: bool = False


def cycles(facts: FileFacts) -> Iterator[Cycle]:
    """Every place in the file where an object is stored on itself."""
    for scope in facts.scopes:
        owner = scope.owner
        if owner is None:
            continue
        if not _FUNCTIONS.isdisjoint(owner.bases):
            if scope.name in ("forward", "setup_context") and "<locals>" not in scope.qualname[len(owner.qualname) :]:
                yield from _on_context(scope)
        elif scope.self_name and scope.node is not None and scope.node.params[:1] == [scope.self_name]:
            yield from _on_self(facts, scope)


# -- functions over the object that are stored on it ---------------------------------------------------------------


def _on_self(facts: FileFacts, scope: Scope) -> Iterator[Cycle]:
    told: set[str] = set()  # one entry speaks for a whole table
    for stmt in scope.statements():
        hooked = _hooked(facts, scope, stmt)
        if hooked is not None and "hooks" not in told:
            told.add("hooks")
            yield hooked
        for place, value in _stored(scope, stmt):
            attribute = n.dotted(place)
            found = _over_self(facts, scope, value)
            if found is not None and attribute not in told and not _let_go(scope, attribute):
                told.add(attribute)
                form, at, name = found
                reasons: list[tuple[object, str]] = [(stmt, f"`{attribute}` holds it, so that the object holds itself")]
                yield Cycle(scope, form, at, name, attribute, reasons, _on_tensors(facts, scope, value))


def _hooked(facts: FileFacts, scope: Scope, stmt: n.Stmt) -> Cycle | None:
    """A constructor that hooks a function over its object onto the object or a part of it, and drops the handle."""
    call = stmt.value if isinstance(stmt, n.Do) else None
    if scope.name != "__init__" or not isinstance(call, n.Call) or not isinstance(call.func, n.Attr) or not call.args:
        return None
    receiver = call.func.value
    if call.func.attr not in k.HOOKING or n.root(receiver) != scope.self_name:
        return None
    found = _over_self(facts, scope, call.args[0])
    if found is None:
        return None
    where = n.dotted(receiver) or scope.self_name
    return Cycle(scope, HOOK, call, found[2], where, [(stmt, f"`{where}` holds its hooks for good")])


def _on_tensors(facts: FileFacts, scope: Scope, value: n.Expr) -> bool:
    """Whether a stored function of this method is annotated with tensors."""
    inner = next((s for s in scope.inner if isinstance(value, n.Name) and s.name == value.id), None)
    if inner is None or inner.node is None:
        return False
    return any(facts.of_annotation(note).get("kind") == v.TENSOR for note in inner.node.annotations.values())


def _stored(scope: Scope, stmt: n.Stmt) -> Iterator[tuple[n.Expr, n.Expr]]:
    """(attribute of the object, what goes into it): assigned, as an entry of a table, or added to one."""
    if isinstance(stmt, n.Assign):
        for target in stmt.targets:
            place = target.value if isinstance(target, n.Item) else target
            if _own_attribute(scope, place):
                for part in _parts(stmt.value):
                    yield place, part
    elif isinstance(stmt, n.Do) and isinstance(stmt.value, n.Call) and isinstance(stmt.value.func, n.Attr):
        call, place = stmt.value, stmt.value.func.value
        if stmt.value.func.attr in _TABLES and _own_attribute(scope, place):
            attribute = scope.owner.attributes.get(n.dotted(place).partition(".")[2]) if scope.owner else None
            if attribute is not None and attribute.kind in v.CONTAINERS:
                for arg in call.args:
                    yield place, arg


def _parts(value: n.Expr) -> list[n.Expr]:
    """A value, or what a display of containers holds."""
    if isinstance(value, n.Sequence):
        return [part for element in value.elements for part in _parts(element)]
    if isinstance(value, n.Mapping):
        return [part for _, element in value.entries for part in _parts(element)]
    if isinstance(value, n.Choice):
        return [*_parts(value.body), *_parts(value.orelse)]
    return [value]


def _own_attribute(scope: Scope, place: n.Expr) -> bool:
    return isinstance(place, n.Attr) and isinstance(place.value, n.Name) and place.value.id == scope.self_name


def _over_self(facts: FileFacts, scope: Scope, value: n.Expr) -> tuple[str, object, str] | None:
    """(form, place, name) of a function that holds the object."""
    if isinstance(value, n.Lambda):
        holds = scope.self_name not in value.params and _mentions(facts, scope, value.body)
        return (CLOSURE, value, "the lambda") if holds else None
    if isinstance(value, n.Name):
        inner = next((s for s in scope.inner if s.name == value.id), None)
        if inner is None or inner.node is None or not _closes_over(facts, scope, inner):
            return None
        at = inner.node.decorators[0] if inner.node.decorators else inner.node
        return CLOSURE, at, f"`{inner.name}`"
    if isinstance(value, n.Attr):
        return (METHOD, value, f"`{n.dotted(value)}`") if _is_method(scope, value) else None
    if isinstance(value, n.Call):
        twice = isinstance(value.func, n.Call)
        path = facts.names.path(n.dotted(value.func.func if isinstance(value.func, n.Call) else value.func))
        if path not in (_DECORATORS if twice else _WRAPPERS):
            return None
        if path == "functools.partial":
            given = [*value.args, *(arg for _, arg in value.keywords)]
            if any(isinstance(a, n.Name) and a.id == scope.self_name for a in given):
                return CLOSURE, value, "the partial"
        for arg in value.args:
            found = _over_self(facts, scope, arg)
            if found is not None:
                wrapped = "the partial" if path == "functools.partial" else found[2]
                return (CLOSURE, value, wrapped)
    return None


def _is_method(scope: Scope, value: n.Attr) -> bool:
    """Whether an expression is a bound method of the object."""
    if not _own_attribute(scope, value) or scope.owner is None or value.attr in scope.owner.attributes:
        return False
    method = scope.owner.methods.get(value.attr)
    if method is None or method.node is None:
        return False
    return not any(n.dotted(d).rpartition(".")[2] in _UNBOUND for d in method.node.decorators)


def _closes_over(facts: FileFacts, scope: Scope, inner: Scope) -> bool:
    """Whether a function inside a method, or one inside it, reads the method's object."""
    if scope.self_name in inner.params or scope.self_name in inner.local_names:  # `self = weak()` is another name
        return False
    if any(_mentions(facts, scope, e) for s in inner.statements() for e in n.expressions(s)):
        return True
    return any(_closes_over(facts, scope, deeper) for deeper in inner.inner)


def _mentions(facts: FileFacts, scope: Scope, expr: n.Expr) -> bool:
    """Whether an expression reads the object, other than to make a weak reference to it."""
    if isinstance(expr, n.Call) and facts.names.path(n.dotted(expr.func)).startswith("weakref."):
        return False
    if isinstance(expr, n.Lambda) and scope.self_name in expr.params:
        return False
    if isinstance(expr, n.Name):
        return expr.id == scope.self_name
    return any(_mentions(facts, scope, child) for child in n.children(expr))


def _let_go(scope: Scope, attribute: str) -> bool:
    """Whether another method of the class sets the attribute to None, deletes or clears it."""
    assert scope.owner is not None
    for other in scope.owner.methods.values():
        if other is scope or other.name == "__init__":
            continue
        name = f"{other.self_name}.{attribute.partition('.')[2]}"
        for stmt in other.statements():
            if isinstance(stmt, n.Delete) and n.dotted(stmt.target) == name:
                return True
            if isinstance(stmt, n.Assign) and any(n.dotted(t) == name for t in stmt.targets):
                if isinstance(stmt.value, n.Const) and stmt.value.value is None:
                    return True
            if (
                isinstance(stmt, n.Do)
                and isinstance(stmt.value, n.Call)
                and n.dotted(stmt.value.func) == f"{name}.clear"
            ):
                return True
    return False


# -- tensors on the context of an autograd function ----------------------------------------------------------------


def _on_context(scope: Scope) -> Iterator[Cycle]:
    params = scope.params
    if len(params) < 2:
        return
    context, inputs = params[0], set(params[1:])
    returned, plain = _returned(scope), _marked(scope, context)
    if scope.name == "setup_context":
        returned, inputs = {params[-1]}, set()
    for stmt in scope.statements():
        if not isinstance(stmt, n.Assign):
            continue
        for target in stmt.targets:
            if not (isinstance(target, n.Attr) and isinstance(target.value, n.Name) and target.value.id == context):
                continue
            attribute = n.dotted(target)
            told: set[str] = set()
            for part in _parts(stmt.value):
                if not isinstance(part, n.Name) or part.id in plain:
                    continue
                value = scope.env.get(part.id, v.ANYTHING)
                if value.kind in (v.NUMBER, v.STRING, v.NONE) or value.integral or _bound_later(scope, stmt, part.id):
                    continue
                form = _form(scope, part.id, returned, inputs, value)
                if form and form not in told:
                    told.add(form)
                    reason = "the context belongs to the graph of the outputs"
                    yield Cycle(scope, form, stmt, part.id, attribute, [(stmt, reason)])


def _form(scope: Scope, name: str, returned: set[str], inputs: set[str], value: v.Value) -> str:
    if name in inputs:  # also one that is given back: autograd makes another tensor of it
        return INPUT if value.kind == v.TENSOR else ""
    if name in returned:
        return OUTPUT
    made = [s.value for s in scope.statements() if isinstance(s, n.Assign) and _binds(s, name)]
    if len(made) == 1 and isinstance(made[0], n.Call) and isinstance(made[0].func, n.Name) and len(made[0].args) == 1:
        source = made[0].args[0]
        if isinstance(source, n.Name) and source.id in returned - inputs and not made[0].keywords:
            return ALIAS
    return ""


def _returned(scope: Scope) -> set[str]:
    """The names that a forward gives back as they are."""
    found: set[str] = set()
    for stmt in scope.statements():
        if isinstance(stmt, n.Return) and stmt.value is not None:
            found.update(part.id for part in _parts(stmt.value) if isinstance(part, n.Name))
    return found


def _marked(scope: Scope, context: str) -> set[str]:
    """The outputs that have no graph."""
    return {
        part.id
        for expr in scope.every()
        if isinstance(expr, n.Call) and n.dotted(expr.func) == f"{context}.mark_non_differentiable"
        for part in expr.args
        if isinstance(part, n.Name)
    }


def _binds(stmt: n.Assign, name: str) -> bool:
    return any(isinstance(p, n.Name) and p.id == name for target in stmt.targets for p in _parts(target))


def _bound_later(scope: Scope, stored: n.Assign, name: str) -> bool:
    """Whether the name means something else by the time it is given back."""
    after = False
    for stmt in scope.statements():
        if after and isinstance(stmt, n.Assign) and _binds(stmt, name):
            return True
        after |= stmt is stored
    return False
