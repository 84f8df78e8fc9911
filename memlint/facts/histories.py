"""Containers that outlive the step and grow in it: the question behind bound-history."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from memlint.facts import FileFacts, Scope
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.events import DATA, ENDLESS, EPOCH, ITEMS, REPEATING, Growth, Init
from memlint.facts.values import Value
from memlint.facts.words import name_of, size_of, words_for

NUMBER = "number"
_BUILDING = frozenset({"__init__", "__post_init__", "__new__", "setup", "build", "__init_subclass__", "__setstate__"})


class History(Struct, eq=False):
    """A growth with its function. repeats: a step loop stands around it here, the project need not be asked.

    made_at: for a queue, where it is made: that is the place to give it a size.
    inherited: nothing in this file makes the container; a base class in another file may.
    """

    scope: Scope
    growth: Growth
    stored: str
    repeats: bool
    reasons: list[tuple[object, str]]
    made_at: object | None = None
    inherited: bool = False


def histories(facts: FileFacts) -> Iterator[History]:
    """Growths of containers that this file makes and that live longer than the step that adds to them."""
    made = _made(facts)
    for scope in facts.all_scopes():
        if scope.name in _BUILDING:
            continue
        for growth in scope.events.growths:
            holder = growth.holder.removesuffix("[]")
            inits = made.get(holder, [])
            # What the entries of a base class's dict are, nothing says: deques with a limit, as often as not.
            inherited = not inits and not growth.holder.endswith("[]") and _has_unseen_base(facts, holder)
            if growth.guarded or growth.bounded or growth.how in ("moved", "insert", "accumulate"):
                continue
            if any(i.bounded for _, i in inits):
                continue
            if not inits and not inherited:
                continue
            if growth.how == "setitem" and not key_moves_on(growth):
                continue
            if growth.how == "add" and not key_moves_on(growth, growth.item):
                continue
            if growth.how == "put":
                # A bare name of unknown kind may be a connection or a token that is handed around.
                data = stored(growth.value) != "unknown" or not isinstance(growth.item, n.Name)
                if growth.loops and data and inits[0][0] is not scope:
                    yield _unbounded_queue(scope, growth, inits[0][1])
                continue
            outer = [loop for loop in growth.loops if all(loop not in init.loops for _, init in inits)]
            kinds = {loop.kind for loop in outer}
            if holder.startswith("local:"):
                if ENDLESS not in kinds or any(s.name != scope.name for s, _ in inits) or _handed_on(scope, growth):
                    continue
                repeats = True
            elif holder.startswith(("class:", "module:")):
                if growth.loops and growth.loops[-1].kind == EPOCH:
                    continue
                repeats = bool(kinds & REPEATING)
            else:
                continue
            if scope.is_module_body and (not repeats or _result_of_one_pass(scope, growth)):
                continue
            reasons: list[tuple[object, str]] = [*_what(scope, growth)]
            if inits:
                made_here = inits[0][1]
                reasons.append((made_here.node, f"`{name_of(holder)}` is made once here, as a {made_here.kind}"))
            loops = [loop for loop in outer if loop.kind in REPEATING]
            if loops:
                reasons.append((n.head(loops[-1].node), f"repeated by this {loops[-1].kind} loop"))
            yield History(scope, growth, stored(growth.value), repeats, reasons, inherited=inherited)


def _has_unseen_base(facts: FileFacts, holder: str) -> bool:
    """Whether the class that holds it derives from one of the user's own in another file."""
    cls = facts.classes.get(holder.removeprefix("class:").partition(".")[0]) if holder.startswith("class:") else None
    return cls is not None and cls.has_base_elsewhere(facts.classes)


def _what(scope: Scope, growth: Growth) -> Iterator[tuple[object, str]]:
    """What one step adds, and the forward pass whose graph comes with it."""
    words = words_for(growth.value)
    if words:
        size = size_of(growth.value) if growth.how not in ("extend", "augment") else None
        yield growth.item or growth.node, f"each step adds {words}" + (f", about {size}" if size is not None else "")
    for origin in sorted(v.graph_of(growth.value))[:1]:
        forward = scope.events.forwards[origin]
        if forward.certain:
            yield forward.node, f"`{forward.receiver}` runs here with gradients on, which makes the graph"


def _handed_on(scope: Scope, growth: Growth) -> bool:
    """Whether the function gives the list away after all: an exception may end the loop."""
    handed = ("returned", "gathered", "passed", "iterated")
    return any(
        read.how in handed and read.holder.removesuffix("[]") == growth.holder.removesuffix("[]")
        for read in scope.events.reads
    )


def _result_of_one_pass(scope: Scope, growth: Growth) -> bool:
    """A script that goes once through its data and then uses all it has gathered: as large as its input."""
    once = all(loop.kind in (DATA, ITEMS) for loop in growth.loops) and not scope.events.training
    used = ("passed", "iterated", "gathered")
    return once and any(
        read.how in used and growth.loops[0] not in read.loops
        for read in scope.events.reads
        if read.holder.removesuffix("[]") == growth.holder
    )


def _unbounded_queue(scope: Scope, growth: Growth, init: Init) -> History:
    reasons: list[tuple[object, str]] = [(growth.node, f"`{scope.name}` puts into it in a loop, as fast as it can")]
    return History(scope, growth, "unknown", True, reasons, made_at=init.node)


def stored(value: Value) -> str:
    """What one step adds: graph, tensor, record, number or unknown."""
    if v.graph_of(value) or value.grad == v.ATTACHED and value.kind in v.TENSOR_LIKE:
        return "graph"
    if value.kind in v.TENSOR_LIKE:
        return "tensor"
    inside = [*(value.parts or ()), *([value.item] if value.item is not None else [])]
    if any(stored(part) in ("graph", "tensor") for part in inside):
        return "tensor"
    if value.kind in v.CONTAINERS | {v.TUPLE, v.OBJECT, v.ARRAY, v.MODULE}:
        return "record"
    if value.kind in (v.NUMBER, v.STRING, v.NONE):
        return NUMBER
    return "unknown"


def _made(facts: FileFacts) -> dict[str, list[tuple[Scope, Init]]]:
    made: dict[str, list[tuple[Scope, Init]]] = {}
    for scope in facts.all_scopes():
        for init in scope.events.inits:
            made.setdefault(init.holder, []).append((scope, init))
    for cls in facts.classes.values():
        for base in cls.bases:  # a container that a base class of this file makes
            prefix = f"class:{base.rpartition('.')[2]}."
            for holder in [h for h in made if h.startswith(prefix)]:
                made.setdefault(f"class:{cls.name}.{holder.removeprefix(prefix)}", made[holder])
    return made


def key_moves_on(growth: Growth, key: n.Expr | None = None) -> bool:
    """Whether a dict's key is a new one in each step: the loop's own counter, or a count that something raises."""
    key = key or growth.key
    if key is None:
        return False
    names = n.mentioned(key)
    for loop in growth.loops:
        if loop.kind in REPEATING and names & _counters(loop.node):
            return True
        if loop.kind in REPEATING and isinstance(loop.node, n.For):
            target = loop.node.target
            counter = target.elements[0] if isinstance(target, n.Sequence) and target.elements else target
            if isinstance(counter, n.Name) and counter.id in names and _counts(loop.node.iter):
                return True
    return False


def _counters(loop: n.Stmt) -> set[str]:
    """What is raised in each pass of a loop: `self.step += 1`."""
    return {
        n.dotted(stmt.target)
        for block in n.blocks(loop)
        for stmt in n.statements(block)
        if isinstance(stmt, n.Augment) and stmt.op == "Add"
    }


def _counts(iterable: n.Expr) -> bool:
    return isinstance(iterable, n.Call) and n.dotted(iterable.func) in (
        "range",
        "enumerate",
        "itertools.count",
        "count",
    )
