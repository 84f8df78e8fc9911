"""Searches of a list that grows with every step: the question behind index-lookups."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from memlint.facts import FileFacts, Scope
from memlint.facts import nodes as n
from memlint.facts.events import Loop
from memlint.facts.histories import History, histories
from memlint.facts.ticking import ALWAYS, TICK, how_often, ticking
from memlint.facts.trials import is_trial

_LISTS = ("append", "extend", "augment")
_SEARCHING = frozenset({"index", "count", "remove"})
_WHOLE = frozenset({"reversed", "enumerate", "list", "tuple", "iter"})


class Lookup(Struct, eq=False):
    """A search. history: the growth of the list that is searched. loop: the one here that repeats it."""

    scope: Scope
    node: n.Expr
    container: str
    history: History
    loop: Loop | None
    reasons: list[tuple[object, str]]


def lookups(facts: FileFacts) -> Iterator[Lookup]:
    """One for each search of such a list."""
    if is_trial(facts.path):
        return
    grown: dict[str, History] = {}
    for history in histories(facts):
        growth = history.growth
        if growth.how in _LISTS and not growth.holder.endswith("[]") and not history.inherited:
            if any(i.kind == "list" for s in facts.all_scopes() for i in s.events.inits if i.holder == growth.holder):
                grown.setdefault(growth.holder, history)
    for scope in facts.all_scopes() if grown else ():
        texts = {text: holder for holder in grown if (text := _name_in(facts, scope, holder))}
        if not texts or scope.name == "__init__":
            continue
        searches = list(_searches(scope, set(texts)))
        often = how_often(scope, {id(at) for _, at, _ in searches})
        for node, at, text in searches:
            how, loop = often.get(id(at), ("", None))
            if how == TICK or how == ALWAYS and not scope.is_module_body:
                history = grown[texts[text]]
                reasons: list[tuple[object, str]] = [(history.growth.node, f"`{text}` grows here")]
                if loop is not None:
                    reasons.append((n.head(loop.node), f"this loop {ticking(scope, loop)}"))
                yield Lookup(scope, node, text, history, loop, reasons)


def _name_in(facts: FileFacts, scope: Scope, holder: str) -> str:
    """What a function calls the container, "" where it can't see it."""
    kind, _, rest = holder.partition(":")
    if kind == "class" and scope.owner is not None and scope.self_name:
        owner, _, attribute = rest.partition(".")
        return f"{scope.self_name}.{attribute}" if owner == scope.owner.name else ""
    if kind == "module":
        name = rest.rpartition(":")[2]
        return "" if name in scope.local_names and not scope.is_module_body else name
    if kind == "local":
        function, _, name = rest.rpartition(":")
        return name if function == scope.qualname else ""
    return ""


def _searches(scope: Scope, names: set[str]) -> Iterator[tuple[n.Expr, n.Expr, str]]:
    """Searches of these containers: the node to show, the expression to look for in the loops, the name."""
    for part in scope.every():
        if isinstance(part, n.Compare) and len(part.rest) == 1 and part.rest[0][0] in ("In", "NotIn"):
            if (text := n.dotted(part.rest[0][1])) in names:
                yield part, part, text
        elif isinstance(part, n.Call) and isinstance(part.func, n.Attr) and part.func.attr in _SEARCHING:
            if (text := n.dotted(part.func.value)) in names and len(part.args) == 1:
                yield part, part, text
        elif isinstance(part, n.Comprehension) and len(part.generators) == 1:
            one = part.generators[0]
            if (text := _whole(one.iter)) in names and any(_picks(test, one.target) for test in one.tests):
                yield part, part, text
    for stmt in scope.statements():
        if isinstance(stmt, n.For) and (text := _whole(stmt.iter)) in names and len(stmt.body) == 1:
            test = stmt.body[0]
            if isinstance(test, n.If) and _picks(test.test, stmt.target) and _ends(test.body):
                yield stmt.iter, stmt.iter, text


def _whole(expr: n.Expr) -> str:
    while isinstance(expr, n.Call) and n.dotted(expr.func) in _WHOLE and expr.args:
        expr = expr.args[0]
    return n.dotted(expr)


def _picks(test: n.Expr, target: n.Expr) -> bool:
    """`entry.id == wanted`: an equality that an index by this key would answer."""
    names = {part.id for part in n.walk(target) if isinstance(part, n.Name)}
    if isinstance(test, n.Logic) and test.op == "And":
        return _picks(test.left, target) or _picks(test.right, target)
    if not isinstance(test, n.Compare) or len(test.rest) != 1 or test.rest[0][0] != "Equal":
        return False
    sides = [{n.root(p) for p in n.walk(s) if isinstance(p, n.Name)} & names for s in (test.left, test.rest[0][1])]
    plain = all(isinstance(s, (n.Name, n.Attr, n.Item, n.Const)) for s in (test.left, test.rest[0][1]))
    return plain and bool(sides[0]) != bool(sides[1])


def _ends(body: list[n.Stmt]) -> bool:
    return bool(body) and isinstance(body[-1], (n.Return, n.Jump))
