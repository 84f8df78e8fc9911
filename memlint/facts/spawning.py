"""Populations that grow by spawning, and the caps that are meant to hold them: the question behind cap-spawn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct, field

from memlint.facts import FileFacts, Scope
from memlint.facts import knowledge as k
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.events import DATA, ENDLESS, STEP, Growth, Init, Loop
from memlint.facts.starting import started

_COMPARING = frozenset({"LessThan", "LessThanEqual", "GreaterThan", "GreaterThanEqual"})
_SHOWING = k.LOGGERS | {"print"}
_WARNING = frozenset({"warning", "warn", "error", "exception", "critical", "print"})


class Spawn(Struct, eq=False):
    """Something that spawns. form: unlimited | stale | new-only | abrupt | started.

    container: the population's source, or what is started; growth: where it grows; made: where it is made.
    cap: the source of the limit. public: a question that stays open, "" for none.
    """

    scope: Scope
    form: str
    node: object
    container: str
    repeats: bool
    growth: Growth | None = None
    made: Init | None = None
    cap: str = ""
    counted: str = ""
    question: str = ""
    reasons: list[tuple[object, str]] = field(default_factory=list)


class Cap(Struct, eq=False):
    """A comparison of a count with a limit. counted: the source of the container or count; length: by `len()`."""

    counted: str
    limit: str
    length: bool
    node: n.Expr


CapsOf = Callable[[Scope], list[Cap]]


def spawns(facts: FileFacts) -> Iterator[Spawn]:
    """All of a file."""
    caps: dict[int, list[Cap]] = {}

    def caps_of(scope: Scope) -> list[Cap]:
        if id(scope) not in caps:
            caps[id(scope)] = list(_caps(facts, scope.every()))
        return caps[id(scope)]

    for scope in facts.all_scopes():
        yield from _started(scope)
        if not scope.events.growths:
            continue
        stale = list(_stale(facts, scope))
        yield from stale
        if stale:
            continue
        for growth in scope.events.growths:
            if not growth.holder.startswith("class:") or scope.owner is None:
                continue
            if growth.how not in ("append", "extend", "augment", "setitem"):
                continue
            found = _unlimited(facts, scope, growth) or _new_only(facts, scope, growth, caps_of)
            if found is not None:
                yield found
                break
    for scope in facts.scopes:
        if scope.owner is not None:
            yield from _abrupt(facts, scope, caps_of)


# -- a population that spawns from itself ------------------------------------------------------------------------------


def _unlimited(facts: FileFacts, scope: Scope, growth: Growth) -> Spawn | None:
    """A loop over the population adds to it, and nothing in the class looks at how many there are."""
    assert scope.owner is not None
    name = facts.text(growth.container)
    if growth.guarded or growth.bounded or scope.name == "__init__" or not _is_population(growth, scope.events.growths):
        return None
    if not any(_over(loop, name) for loop in growth.loops) and not _newborns(scope, growth, name):
        return None
    if any(_measured(other, name) for other in facts.all_scopes()):
        return None
    made = next((i for m in _methods(scope) for i in m.events.inits if i.holder == growth.holder), None)
    if made is None or made.bounded:
        return None
    repeats = any(loop.kind in (STEP, DATA, ENDLESS) and not _over(loop, name) for loop in growth.loops)
    removed = any(s.holder == growth.holder for m in _methods(scope) for s in m.events.shrinks if m.name != "__init__")
    question = "whether as many leave it as join it" if removed else ""
    reasons: list[tuple[object, str]] = [(made.node, "made here, with no limit")]
    return Spawn(scope, "unlimited", growth.node, name, repeats, growth, made, question=question, reasons=reasons)


def _is_object(growth: Growth) -> bool:
    return growth.value.kind == v.OBJECT or growth.value.holder.startswith("made:") and bool(growth.value.path)


def _is_population(growth: Growth, others: list[Growth]) -> bool:
    """Whether objects of a class are stored: built here, or handed over by a member (`parent.child()`)."""
    if growth.how in ("extend", "augment") and isinstance(growth.item, n.Name):
        filled = [other for other in others if other.holder.endswith(f":{growth.item.id}")]
        return any(_is_population(other, []) for other in filled)
    heads = [loop.node.target for loop in growth.loops if isinstance(loop.node, n.For)]
    targets = {part.id for head in heads for part in n.walk(head) if isinstance(part, n.Name)}
    by_member = (
        isinstance(growth.item, n.Call) and isinstance(growth.item.func, n.Attr) and n.root(growth.item) in targets
    )
    return _is_object(growth) or by_member and growth.value.kind == v.UNKNOWN


def _over(loop: Loop, name: str) -> bool:
    return isinstance(loop.node, n.For) and name in n.mentioned(loop.node.iter)


def _newborns(scope: Scope, growth: Growth, name: str) -> bool:
    """`self.agents.extend(newborns)`, where a loop over the population has filled `newborns`."""
    item = growth.item
    if not isinstance(item, n.Name) or growth.how not in ("extend", "augment"):
        return False
    filled = [other for other in scope.events.growths if other.holder.endswith(f":{item.id}")]
    return any(_over(loop, name) for other in filled for loop in other.loops) and not _measured(scope, item.id)


def _measured(scope: Scope, name: str) -> bool:
    """Whether a function looks at the length of a container, other than to show it or to loop, or takes a slice of it.

    In functions of other classes it is known by the attribute's name.
    """
    attribute = name.partition(".")[2]
    shown = {id(part) for stmt in scope.statements() if isinstance(stmt, n.For) for part in n.walk(stmt.iter)}
    for expr in scope.every():
        if isinstance(expr, n.Text) or isinstance(expr, n.Call) and n.dotted(expr.func).rpartition(".")[2] in _SHOWING:
            shown |= {id(part) for part in n.walk(expr)}
        if isinstance(expr, n.Item) and isinstance(expr.index, n.Slice) and name in n.mentioned(expr.value):
            if expr.index.lower is not None or expr.index.upper is not None:
                return True
    lengths = [found for expr in scope.every() if id(expr) not in shown and (found := _length_of(expr))]
    return any(found == name or attribute and found.endswith(f".{attribute}") for found in lengths)


# -- caps that do not hold ---------------------------------------------------------------------------------------------


def _stale(facts: FileFacts, scope: Scope) -> Iterator[Spawn]:
    """A cap in a loop that is tested against something the loop does not change."""
    seen: set[int] = set()
    for growth in scope.events.growths:
        for number, loop in enumerate(growth.loops):
            if id(loop) in seen or not isinstance(loop.node, (n.For, n.While)):
                continue
            seen.add(id(loop))
            for test, stops in _tests(loop.node.body):
                for cap in _caps(facts, n.walk(test)):
                    if not stops:
                        continue
                    found = _never_changes(facts, scope, growth, loop, growth.loops[:number], cap)
                    if found is not None:
                        yield found


def _tests(body: list[n.Stmt]) -> Iterator[tuple[n.Expr, bool]]:
    for stmt in n.statements(body):
        if isinstance(stmt, n.If) and stmt.body:
            last = stmt.body[-1]
            yield stmt.test, isinstance(last, n.Return) or isinstance(last, n.Jump) and last.kind == "break"


def _never_changes(
    facts: FileFacts, scope: Scope, growth: Growth, loop: Loop, outer: tuple[Loop, ...], cap: Cap
) -> Spawn | None:
    name = cap.counted
    if not name.isidentifier() or name in scope.params or not isinstance(loop.node, (n.For, n.While)):
        return None
    inside = [part for part in n.every(loop.node.body) if isinstance(part, n.Name) and part.id == name]
    if name in n.mentioned(loop.node.iter if isinstance(loop.node, n.For) else loop.node.test):
        return None
    container = facts.text(growth.container)
    if not cap.length:
        counts = _counted_before(facts, scope, loop, name)
        if counts is None or counts[1] != container or _bound_in(loop.node.body, name):
            return None
        reasons: list[tuple[object, str]] = [(counts[0], "counted once, before the loop")]
        question = "whether one pass may add any number"
        return Spawn(scope, "stale", cap.node, container, True, growth, None, cap.limit, name, question, reasons)
    lengths = [part for part in n.every(loop.node.body) if _length_of(part) == name]
    made = [init for init in scope.events.inits if init.holder == f"local:{scope.qualname}:{name}"]
    if len(inside) != len(lengths) or len(made) != 1 or made[0].loops != outer or container == name:
        return None
    if not _is_empty(made[0].node) or not _untouched(scope, made[0], loop, name):
        return None
    reasons = [(made[0].node, f"`{name}` is made here and stays empty until the loop is over")]
    return Spawn(scope, "stale", cap.node, container, True, growth, None, cap.limit, name, "", reasons)


def _counted_before(facts: FileFacts, scope: Scope, loop: Loop, name: str) -> tuple[n.Stmt, str] | None:
    """`count = len(container)`, the only binding of the name."""
    found = [s for s in scope.statements() if isinstance(s, n.Assign) and any(n.dotted(t) == name for t in s.targets)]
    if len(found) != 1 or not (container := _length_of(found[0].value)):
        return None
    return found[0], container


def _bound_in(body: list[n.Stmt], name: str) -> bool:
    return any(name in n.mentioned(target) for stmt in n.statements(body) for target in n.targets(stmt))


def _is_empty(node: object) -> bool:
    value = node.value if isinstance(node, n.Assign) else None
    if isinstance(value, n.Call):
        return isinstance(value.func, n.Name) and not value.args and not value.keywords
    return isinstance(value, n.Sequence) and not value.elements or isinstance(value, n.Mapping) and not value.entries


def _untouched(scope: Scope, made: Init, loop: Loop, name: str) -> bool:
    """Whether nothing between the making of a container and a loop mentions it."""
    for inner in scope.inner:
        if any(part.id == name for part in inner.of_type(n.Name)):
            return False  # a function inside may fill it whenever it is called
    between = False
    for stmt in scope.statements():
        if stmt is loop.node:
            return between
        if between and any(isinstance(p, n.Name) and p.id == name for e in n.expressions(stmt) for p in n.walk(e)):
            return False
        between |= stmt is made.node
    return False


def _new_only(facts: FileFacts, scope: Scope, growth: Growth, caps_of: CapsOf) -> Spawn | None:
    """A limit that other methods hold the population to is compared with the number of the new ones alone."""
    name = facts.text(growth.container)
    if not growth.loops or not _is_population(growth, scope.events.growths) or growth.guarded:
        return None
    limits = {cap.limit for m in _methods(scope) if m is not scope for cap in caps_of(m) if cap.counted == name}
    limits = {limit for limit in limits if not limit.replace(".", "").isdigit()}
    own = [cap for cap in caps_of(scope) if cap.limit in limits]
    if not own or any(cap.counted == name for cap in own) or any(_length_of(e) == name for e in _decisions(scope)):
        return None
    cap = own[0]
    reasons: list[tuple[object, str]] = [
        (growth.node, f"what is counted goes into `{name}`, which may be full already")
    ]
    question = f"whether `{name}` is empty before"
    return Spawn(scope, "new-only", cap.node, name, True, growth, None, cap.limit, cap.counted, question, reasons)


def _decisions(scope: Scope) -> Iterator[n.Expr]:
    """What a function tests or subtracts."""
    for expr in scope.every():
        if isinstance(expr, n.Compare) or isinstance(expr, n.Binary) and expr.op == "Subtract":
            yield from n.walk(expr)


def _abrupt(facts: FileFacts, scope: Scope, caps_of: CapsOf) -> Iterator[Spawn]:
    """A population of objects that is cut at its cap: the class never looks at how near it is, and nobody is told."""
    assert scope.owner is not None
    for stmt in scope.statements():
        if not isinstance(stmt, (n.For, n.While)):
            continue
        for inner in n.statements(stmt.body):
            if not isinstance(inner, n.If) or not inner.body:
                continue
            last = inner.body[-1]
            if not (isinstance(last, n.Return) or isinstance(last, n.Jump) and last.kind == "break"):
                continue
            for cap in _caps(facts, n.walk(inner.test)):
                if cap.length and cap.counted.startswith(f"{scope.self_name}."):
                    found = _cut(facts, scope, stmt, inner, cap, caps_of)
                    if found is not None:
                        yield found
                        return


def _cut(facts: FileFacts, scope: Scope, loop: n.Stmt, test: n.If, cap: Cap, caps_of: CapsOf) -> Spawn | None:
    assert scope.owner is not None
    calls = [e for e in n.every(test.body) if isinstance(e, n.Call)]
    if any(isinstance(e.func, (n.Attr, n.Name)) and n.dotted(e.func).rpartition(".")[2] in _WARNING for e in calls):
        return None
    if "." not in cap.limit:
        return None  # a number or a local: no cap of the population, a limit of this call
    holder = f"class:{scope.owner.name}.{cap.counted.partition('.')[2]}"
    called = {e.func.attr for e in n.every(n.blocks(loop)[0]) if isinstance(e, n.Call) and isinstance(e.func, n.Attr)}
    growing = [scope, *(m for name, m in scope.owner.methods.items() if name in called)]
    growth = next((g for m in growing for g in m.events.growths if g.holder == holder and _is_object(g)), None)
    methods = _methods(scope)
    removed = any(s.holder == holder for m in methods for s in m.events.shrinks if m.name != "__init__")
    if growth is None or not removed:
        return None
    for method in methods:
        for other in caps_of(method):
            if other.counted == cap.counted and other.limit != cap.limit:
                return None  # an earlier mark
    return Spawn(scope, "abrupt", cap.node, cap.counted, True, growth, None, cap.limit, cap.counted,
                 "whether somebody watches how full it is", [(growth.node, "spawned here")])  # fmt: skip


def _started(scope: Scope) -> Iterator[Spawn]:
    for site, kind, loop in started(scope):
        head = (
            loop.node.test
            if isinstance(loop.node, n.While)
            else loop.node.iter
            if isinstance(loop.node, n.For)
            else None
        )
        reasons: list[tuple[object, str]] = [(head, "repeated by this loop")]
        question = "whether what this loop waits for comes at a limited rate"
        yield Spawn(scope, "started", site.node, kind, True, question=question, reasons=reasons)


# -- comparisons -------------------------------------------------------------------------------------------------------


def _caps(facts: FileFacts, exprs: Iterable[n.Expr]) -> Iterator[Cap]:
    """`len(x) >= limit`, `count < limit`, `min(len(x), limit)`."""
    for expr in exprs:
        if isinstance(expr, n.Compare) and len(expr.rest) == 1 and expr.rest[0][0] in _COMPARING:
            left, right = expr.left, expr.rest[0][1]
            if expr.rest[0][0].startswith("Less"):
                left, right = (left, right) if _length_of(left) else (right, left)
        elif isinstance(expr, n.Call) and n.dotted(expr.func) == "min" and len(expr.args) == 2:
            left, right = expr.args if _length_of(expr.args[0]) else reversed(expr.args)
        else:
            continue
        counted = _length_of(left)
        if counted or isinstance(left, n.Name) and isinstance(expr, n.Compare):
            yield Cap(counted or n.dotted(left), facts.text(right).strip(), bool(counted), expr)


def _length_of(expr: n.Expr) -> str:
    """`x` of `len(x)`."""
    plain = isinstance(expr, n.Call) and n.dotted(expr.func) == "len" and len(expr.args) == 1
    return n.dotted(expr.args[0]) if plain and isinstance(expr, n.Call) else ""


def _methods(scope: Scope) -> list[Scope]:
    """The function, and with it all methods of its class."""
    return list(scope.owner.methods.values()) if scope.owner is not None else [scope]
