"""Lists of which only the ends are read: the question behind keep-only-last.

Where a list goes is told by its name: every place that mentions it is looked at, and one that is not understood (a
slice, a loop over it, its length, another name for it) makes it a list that is read whole.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct, field

from memlint.facts import FileFacts, Scope
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.events import CONSTANT, EPOCH, CallSite, Growth, Init
from memlint.facts.histories import stored


class Mentions(Struct, eq=False):
    """Every mention of a list. indices: those that are read; passed: calls that get it, with the argument's place.

    whole: something reads more than single entries, or it is not known what it reads.
    """

    indices: set[int] = field(default_factory=set)
    reads: list[n.Expr] = field(default_factory=list)
    passed: list[tuple[n.Call, int | str]] = field(default_factory=list)
    whole: bool = False


class Ends(Struct, eq=False):
    """A growth of a list, and all that is read of it.

    certain: tensors are stored. passed: the calls that get the list, and where. attribute: its name, for one on an
    object.
    """

    scope: Scope
    growth: Growth
    certain: bool
    mentions: Mentions
    passed: list[tuple[CallSite, int | str]]
    attribute: str
    repeats: bool
    made: Init


def ends(facts: FileFacts) -> Iterator[Ends]:
    """Growths of lists of tensors of which nobody reads more than a few fixed entries."""
    made = _lists(facts)
    seen: dict[str, Mentions] = {}
    for scope in facts.all_scopes():
        for growth in scope.events.growths:
            inits = made.get(growth.holder)
            if (
                inits is None
                or growth.how != "append"
                or growth.bounded
                or growth.value.kind == v.LIST
                or _kept_twice(scope, growth)
            ):
                continue
            what = stored(growth.value)
            loops = [loop for loop in growth.loops if all(loop not in init.loops for _, init in inits)]
            loops = [loop for loop in loops if loop.kind != CONSTANT]
            attribute = growth.holder.rpartition(".")[2] if growth.holder.startswith("class:") else ""
            if what not in ("graph", "tensor") or not (loops or attribute and scope.name != "__init__"):
                continue
            if growth.holder not in seen:
                seen[growth.holder] = _mentions(facts, inits[0][0], growth.holder, attribute)
            mentions = seen[growth.holder]
            single = mentions.indices == {0}  # the first entry: nothing says that there are more
            certain = _is_tensor(scope, growth)
            if (
                mentions.whole
                or single
                or not (certain or mentions.indices)
                or attribute
                and not (mentions.indices and _is_own(facts, attribute))
            ):
                continue
            sites = {id(site.node): site for s in facts.all_scopes() for site in s.events.calls}
            passed = [(sites[id(call)], at) for call, at in mentions.passed if id(call) in sites]
            if len(passed) == len(mentions.passed):
                repeats = any(loop.kind != EPOCH for loop in loops)
                yield Ends(scope, growth, certain, mentions, passed, attribute, repeats, inits[0][1])


def parameter_ends(scope: Scope, name: str) -> frozenset[int] | None:
    """The entries that a function reads of a list that it is given, None where it may read all of it."""
    mentions = _of_name([scope], name)
    return None if mentions.whole or mentions.passed else frozenset(mentions.indices)


def _is_tensor(scope: Scope, growth: Growth) -> bool:
    """Whether a tensor is stored for sure: what an unknown callee gives back may be one."""
    if growth.value.kind != v.UNKNOWN:
        return True
    forwards = [scope.events.forwards[id_] for id_ in v.graph_of(growth.value)]
    return any(forward.certain for forward in forwards)


def _kept_twice(scope: Scope, growth: Growth) -> bool:
    """Whether another container of the function gets the same value: letting go of it here frees nothing."""
    name = n.dotted(growth.item) if growth.item is not None else ""
    others = [
        other.item
        for other in scope.events.growths
        if other.holder != growth.holder and other.item is not None and other.how != "accumulate"
    ]
    return bool(name) and any(name in n.mentioned(item) for item in others)


def _lists(facts: FileFacts) -> dict[str, list[tuple[Scope, Init]]]:
    made: dict[str, list[tuple[Scope, Init]]] = {}
    for scope in facts.all_scopes():
        for init in scope.events.inits:
            made.setdefault(init.holder, []).append((scope, init))
    return {holder: inits for holder, inits in made.items() if all(init.kind == v.LIST for _, init in inits)}


def _is_own(facts: FileFacts, attribute: str) -> bool:
    """Whether no text names the attribute: `getattr(self, "states")` may read all of it."""
    text = facts.source.text
    return f'"{attribute}"' not in text and f"'{attribute}'" not in text


def _mentions(facts: FileFacts, scope: Scope, holder: str, attribute: str) -> Mentions:
    if attribute:
        return _of_name(list(facts.all_scopes()), attribute, attribute=True)
    name = holder.rpartition(":")[2]
    if holder.startswith("module:"):
        return _of_name(list(facts.all_scopes()), name)
    return _of_name(list(scope.within()), name)


def _of_name(scopes: list[Scope], name: str, *, attribute: bool = False) -> Mentions:
    found = Mentions()
    for scope in scopes:
        if scope.node is not None:
            for expr in (*scope.node.defaults.values(), *scope.node.decorators):
                _look(expr, name, attribute, found)
        for stmt in scope.statements():
            if isinstance(stmt, n.Assign):
                plain = all(_is(target, name, attribute) for target in stmt.targets)
                if plain and (isinstance(stmt.value, n.Sequence) or _empty(stmt.value)):
                    _look(stmt.value, name, attribute, found)
                    continue  # made, or made anew
                found.whole |= any(_touches(target, name, attribute) for target in stmt.targets)
            elif isinstance(stmt, n.Delete) and _is(stmt.target, name, attribute):
                continue
            elif isinstance(stmt, (n.Augment, n.Delete, n.For)):
                found.whole |= _touches(stmt.target, name, attribute)
            if found.whole:
                return found
            for expr in n.expressions(stmt):
                _look(expr, name, attribute, found, tested=isinstance(stmt, (n.If, n.While, n.Assert)))
    return found


def _look(expr: n.Expr, name: str, attribute: bool, found: Mentions, tested: bool = False) -> None:
    """Sort every mention inside an expression."""
    if _is(expr, name, attribute):
        found.whole |= not tested
        return
    if isinstance(expr, n.Item) and _is(expr.value, name, attribute):
        index = _end(expr.index)
        if index is None:
            found.whole = True
        else:
            found.indices.add(index)
            found.reads.append(expr)
        return
    if isinstance(expr, n.Call):
        func = expr.func
        if isinstance(func, n.Attr) and _is(func.value, name, attribute):
            found.whole |= func.attr != "append"
        else:
            _look(func, name, attribute, found)
        if (
            isinstance(func, n.Name)
            and func.id == "bool"
            and len(expr.args) == 1
            and _is(expr.args[0], name, attribute)
        ):
            return  # whether it is empty
        given: list[tuple[int | str, n.Expr]] = [*enumerate(expr.args), *expr.keywords]
        for at, argument in given:
            if _is(argument, name, attribute):
                found.passed.append((expr, at))
            else:
                _look(argument, name, attribute, found)
        return
    inner_test = tested and isinstance(expr, n.Logic) or isinstance(expr, n.Unary) and expr.op == "Not"
    for child in n.children(expr):
        _look(child, name, attribute, found, tested=inner_test or isinstance(expr, n.Choice) and child is expr.test)


def _is(expr: n.Expr, name: str, attribute: bool) -> bool:
    return isinstance(expr, n.Attr) and expr.attr == name if attribute else isinstance(expr, n.Name) and expr.id == name


def _touches(target: n.Expr, name: str, attribute: bool) -> bool:
    return any(_is(part, name, attribute) for part in n.walk(target))


def _empty(value: n.Expr) -> bool:
    return isinstance(value, n.Call) and isinstance(value.func, n.Name) and value.func.id == "list" and not value.args


def _end(index: n.Expr) -> int | None:
    """`-1`, `-2`, or `0`: entries that are counted from an end. `[0]`, `[1]`, `[2]` may well be all there are."""
    value = index.value if isinstance(index, n.Const) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value <= 0 else None
