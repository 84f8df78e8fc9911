"""Caches of `functools` that keep objects alive: the question behind bound-cache."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from memlint.facts import Class_, FileFacts, Scope
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.events import STRUCTURE, Growth
from memlint.magics import split

CACHES = frozenset({"functools.lru_cache", "functools.cache"})
UNBOUNDED = "unbounded"
DEFAULT = "default"
BOUNDED = "bounded"
IDENTITY = "identity"
CONTENT = "content"

_BUILDING = frozenset({"__init__", "__post_init__", "__setstate__", "load_state_dict"})
# A cache for more results than this bounds nothing that holds tensors.
_MANY = 1000
_LASTING_BASES = ("enum.", "type", "typing.NamedTuple", "NamedTuple", "typing.Protocol", "Protocol", "torch.autograd.")
_STATIC = frozenset({"staticmethod", "classmethod", "abc.abstractclassmethod"})
# What the author was told by another linter, and decided.
_ACCEPTED = ("B019", "W1518", "method-cache-max-size-none")


class Cache(Struct, eq=False):
    """A cached function. size: unbounded, default or bounded. tensor: the parameter known to be one.

    result: what the function gives back is a tensor. open_parameters: those of which nothing is known.
    """

    scope: Scope
    decorator: n.Expr
    position: int
    name: str
    size: str
    is_method: bool
    is_property: bool
    tensor: str
    result: bool
    open_parameters: tuple[str, ...]


def caches(facts: FileFacts) -> Iterator[Cache]:
    """Every function of the file that `functools` caches for the life of the program."""
    for scope in facts.scopes:
        node = scope.node
        if node is None or not node.decorators:
            continue
        for position, decorator in enumerate(node.decorators):
            size = cache_size(facts, decorator)
            if size:
                found = _cache(facts, scope, node, decorator, position, size)
                if found is not None:
                    yield found


def cache_size(facts: FileFacts, decorator: n.Expr) -> str:
    """How much a decorator lets a cache hold, "" for any other decorator."""
    call = decorator if isinstance(decorator, n.Call) else None
    path = facts.names.path(n.dotted(call.func if call is not None else decorator))
    if path not in CACHES:
        return ""
    if path == "functools.cache":
        return UNBOUNDED
    size = call.argument(0, "maxsize") if call is not None else None
    if size is None:
        return DEFAULT
    if isinstance(size, n.Const) and (size.value is None or isinstance(size.value, int)):
        return UNBOUNDED if size.value is None or size.value > _MANY else BOUNDED if size.value else ""
    return BOUNDED


def _cache(
    facts: FileFacts, scope: Scope, node: n.Function, decorator: n.Expr, position: int, size: str
) -> Cache | None:
    kinds = {facts.names.path(text) or text for d in node.decorators if (text := n.dotted(d))}
    owner = scope.owner
    if owner is not None and scope.qualname != f"{owner.qualname}.{scope.name}":
        owner = None  # a function inside a method
    local = "<locals>" in scope.qualname and (owner is None or "<locals>" in owner.qualname)
    accepted = split(facts.source.text)[facts.place(decorator).line - 1]
    if local or any(mark in accepted for mark in _ACCEPTED):
        return None  # a cache that a function makes goes with it
    is_method = owner is not None and not kinds & _STATIC
    if owner is not None and is_method and lasting(owner):
        return None
    params = node.params[1:] if is_method or "classmethod" in kinds else node.params
    notes = {name: facts.of_annotation(node.annotations[name]) for name in params if name in node.annotations}
    tensor = next((name for name in params if notes.get(name, {}).get("kind") == v.TENSOR), "")
    unknown = tuple(name for name in params if name not in node.annotations and name not in node.defaults)
    from memlint.facts.lower import expr as lowered  # here: it needs LibCST

    returned = getattr(node.ref, "returns", None)
    result = facts.of_annotation(lowered(returned.annotation)) if returned is not None else {}
    gives = result.get("kind") == v.TENSOR or scope.returns.kind == v.TENSOR
    name = n.dotted(decorator.func if isinstance(decorator, n.Call) else decorator).rpartition(".")[2]
    is_property = bool(kinds & {"property"})
    return Cache(scope, decorator, position, name, size, is_method, is_property, tensor, gives, unknown)


def lasting(cls: Class_) -> bool:
    """Whether the objects of a class last as long as the program anyway, or are handed out again and again."""
    if any(base.startswith(_LASTING_BASES) for base in cls.bases) or "__new__" in cls.methods:
        return True
    from memlint.facts.lower import expr as lowered

    return any(
        argument.keyword is not None
        and argument.keyword.value == "metaclass"
        and n.dotted(lowered(argument.value)).rpartition(".")[2] != "ABCMeta"
        for argument in cls.node.ref.keywords
    )


def uses_object(scope: Scope) -> bool:
    """Whether a method reads the object that it is called on."""
    own = (scope.self_name, "super", "__class__")
    return any(part.id in own for inner in scope.within() for part in inner.of_type(n.Name))


class Keyed(Struct, eq=False):
    """A dict that outlives its function, with a key that stands for one tensor: by its identity or its content."""

    scope: Scope
    growth: Growth
    by: str
    key: n.Expr


def keyed_by_tensors(facts: FileFacts) -> Iterator[Keyed]:
    """Entries of dicts on objects and in modules whose keys are new with each tensor."""
    for scope in facts.scopes:
        for growth in scope.events.growths:
            if growth.how != "setitem" or growth.key is None or scope.name in _BUILDING:
                continue
            walks = any(loop.kind == STRUCTURE for loop in growth.loops)
            if walks or not growth.holder.startswith(("class:", "module:")) or _measured(scope, growth.container):
                continue
            for key in _meanings(scope, growth.key):
                by = _stands_for(scope, key)
                if by:
                    yield Keyed(scope, growth, by, key)
                    break


def _measured(scope: Scope, container: n.Expr) -> bool:
    """Whether the function looks at how many entries there are."""
    name = n.dotted(container)
    return any(
        isinstance(e, n.Call) and isinstance(e.func, n.Name) and e.func.id == "len" and n.dotted(e.args[0]) == name
        for e in scope.every()
        if isinstance(e, n.Call) and e.args
    )


def _meanings(scope: Scope, key: n.Expr) -> list[n.Expr]:
    """A key, or what the names in it were last bound to."""
    names = {part.id for part in n.walk(key) if isinstance(part, n.Name)}
    bound = [
        stmt.value
        for stmt in scope.statements()
        if isinstance(stmt, n.Assign) and any(isinstance(t, n.Name) and t.id in names for t in stmt.targets)
    ]
    return [key, *bound]


def _stands_for(scope: Scope, key: n.Expr) -> str:
    for part in n.walk(key):
        if not isinstance(part, n.Call):
            continue
        if isinstance(part.func, n.Attr) and part.func.attr == "data_ptr" and not part.args:
            return IDENTITY
        if isinstance(part.func, n.Attr) and part.func.attr == "tobytes":
            return CONTENT
        if isinstance(part.func, n.Name) and part.func.id == "id" and len(part.args) == 1:
            value = scope.env.get(n.dotted(part.args[0]), v.ANYTHING)
            if value.kind == v.TENSOR:
                return IDENTITY
    return ""
