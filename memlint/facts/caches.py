"""Caches of `functools` that keep objects alive: the question behind bound-cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from memlint.facts import FileFacts, Scope
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.lower import expr as lowered

CACHES = frozenset({"functools.lru_cache", "functools.cache"})
UNBOUNDED = "unbounded"
DEFAULT = "default"
BOUNDED = "bounded"

_LASTING_BASES = ("enum.", "type", "typing.NamedTuple", "NamedTuple", "typing.Protocol", "Protocol", "torch.autograd.")
_STATIC = frozenset({"staticmethod", "classmethod", "abc.abstractclassmethod"})
# What the author was told by another linter, and decided.
_ACCEPTED = ("B019", "W1518", "method-cache-max-size-none")


@dataclass(slots=True, eq=False)
class Cache:
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
    if isinstance(size, n.Const) and (size.value is None or size.value == 0):
        return UNBOUNDED if size.value is None else ""
    return BOUNDED


def _cache(
    facts: FileFacts, scope: Scope, node: n.Function, decorator: n.Expr, position: int, size: str
) -> Cache | None:
    kinds = {facts.names.path(text) or text for d in node.decorators if (text := n.dotted(d))}
    owner = scope.owner
    if owner is not None and scope.qualname != f"{owner.qualname}.{scope.name}":
        owner = None  # a function inside a method
    local = "<locals>" in scope.qualname and (owner is None or "<locals>" in owner.qualname)
    accepted = facts.source.text.splitlines()[facts.place(decorator).line - 1]
    if local or any(mark in accepted for mark in _ACCEPTED):
        return None  # a cache that a function makes goes with it
    is_method = owner is not None and not kinds & _STATIC
    if owner is not None and is_method and (lasting(owner.bases) or "__new__" in owner.methods):
        return None
    params = node.params[1:] if is_method or "classmethod" in kinds else node.params
    notes = {name: facts.of_annotation(node.annotations[name]) for name in params if name in node.annotations}
    tensor = next((name for name in params if notes.get(name, {}).get("kind") == v.TENSOR), "")
    unknown = tuple(name for name in params if name not in node.annotations and name not in node.defaults)
    returned = getattr(node.ref, "returns", None)
    result = facts.of_annotation(lowered(returned.annotation)) if returned is not None else {}
    gives = result.get("kind") == v.TENSOR or scope.returns.kind == v.TENSOR
    name = n.dotted(decorator.func if isinstance(decorator, n.Call) else decorator).rpartition(".")[2]
    is_property = bool(kinds & {"property"})
    return Cache(scope, decorator, position, name, size, is_method, is_property, tensor, gives, unknown)


def lasting(bases: list[str]) -> bool:
    """Whether the objects of a class with these bases last as long as the program anyway, or are plain values."""
    return any(base.startswith(_LASTING_BASES) for base in bases)


def uses_object(scope: Scope) -> bool:
    """Whether a method reads the object that it is called on."""
    todo = [scope]
    while todo:
        current = todo.pop()
        todo.extend(current.inner)
        for part in n.every(current.body):
            if isinstance(part, n.Name) and part.id in (scope.self_name, "super", "__class__"):
                return True
    return False
