"""Limits on memory that are only looked at when an interval is due: the question behind independent-thresholds."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from memlint.facts import FileFacts, Scope
from memlint.facts import nodes as n
from memlint.facts.probes import Measured, may_measure
from memlint.facts.trials import is_unit_test

_LEAVING = frozenset({"exit", "_exit", "abort", "execv", "execve", "kill"})
_TAKING = frozenset({"load_state_dict", "load_weights", "from_pretrained"})

ABSORBED = "absorbed"
NESTED = "nested"


class Coupled(Struct, eq=False):
    """A limit that decides nothing by itself.

    form: absorbed (`due or due and over`: the limit adds nothing) or nested (asked only when the interval is due).
    node: the test of the limit; interval: the one that hides it.
    """

    scope: Scope
    form: str
    node: n.Expr
    interval: n.Expr
    reasons: list[tuple[object, str]]
    question: str = ""


def coupled(facts: FileFacts) -> Iterator[Coupled]:
    """Every such limit of a file."""
    if is_unit_test(facts.path) or not may_measure(facts):
        return
    for scope in facts.all_scopes():
        if not scope.of_type(n.Compare):
            continue
        measured = Measured(facts, scope)
        seen: set[int] = set()
        nested = [*_nested(facts, scope, measured, scope.body, None)]
        hidden = {id(found.node) for found in nested}
        free = {facts.text(limit) for test in _tests(scope) for limit in _limits(measured, test)
                if id(limit) not in hidden} if nested else set()  # fmt: skip
        for found in (*_absorbed(facts, scope, measured), *nested):
            if id(found.node) not in seen and (found.form == ABSORBED or facts.text(found.node) not in free):
                seen.add(id(found.node))
                yield found


def _tests(scope: Scope) -> Iterator[n.Expr]:
    return (stmt.test for stmt in scope.statements() if isinstance(stmt, (n.If, n.While)))


def _limits(measured: Measured, expr: n.Expr) -> Iterator[n.Compare]:
    """The comparisons of an amount of memory with something that is none."""
    for part in n.walk(expr):
        if isinstance(part, n.Compare) and len(part.rest) == 1 and part.rest[0][0].startswith(("Greater", "Less")):
            left, right = part.left, part.rest[0][1]
            if measured(left) != measured(right) and not any(_is_zero(side) for side in (left, right)):
                yield part


def _is_zero(expr: n.Expr) -> bool:
    return isinstance(expr, n.Const) and expr.value == 0


# -- due or (due and over) -------------------------------------------------------------------------------------------


def _absorbed(facts: FileFacts, scope: Scope, measured: Measured) -> Iterator[Coupled]:
    for part in scope.every():
        if isinstance(part, n.Logic) and part.op == "Or":
            for due, over in ((part.left, part.right), (part.right, part.left)):
                limit = _limit_behind(facts, scope, measured, due, over)
                if limit is not None:
                    reasons: list[tuple[object, str]] = [
                        (limit, "the limit is only asked where the interval is due"),
                        (part, "and where it is due, this is true already"),
                    ]
                    yield Coupled(scope, ABSORBED, limit, due, reasons)


def _limit_behind(facts: FileFacts, scope: Scope, measured: Measured, due: n.Expr, over: n.Expr) -> n.Expr | None:
    """The limit in `over`, where that can only be true when `due` is."""
    text = facts.text(due)
    if measured(due):
        return None
    for value, tests in _values(scope, over):
        if isinstance(value, n.Const) and value.value is False:
            continue
        both = [*tests, *_conjuncts(value)]
        limit = next(_limits(measured, value), None)
        if limit is None or not any(_asks_for(facts, test, text) for test in both if test is not limit):
            return None
        return limit
    return None


def _asks_for(facts: FileFacts, test: n.Expr, text: str) -> bool:
    """Whether a test is this one, or this one among other ways in."""
    if facts.text(test) == text:
        return True
    return isinstance(test, n.Logic) and any(_asks_for(facts, side, text) for side in (test.left, test.right))


def _conjuncts(expr: n.Expr) -> list[n.Expr]:
    if isinstance(expr, n.Logic) and expr.op == "And":
        return [*_conjuncts(expr.left), *_conjuncts(expr.right)]
    return [expr]


def _values(scope: Scope, expr: n.Expr) -> list[tuple[n.Expr, list[n.Expr]]]:
    """What an expression may be, each with the tests that it takes: a name's assignments, the sides of a choice."""
    if isinstance(expr, n.Name):
        found = list(_assigned(scope.body, expr.id, []))
        return [pair for value, tests in found for pair in _sides(value, tests)]
    return _sides(expr, [])


def _sides(value: n.Expr, tests: list[n.Expr]) -> list[tuple[n.Expr, list[n.Expr]]]:
    if isinstance(value, n.Choice):
        return [(value.body, [*tests, value.test]), (value.orelse, tests)]
    return [(value, tests)]


def _assigned(body: list[n.Stmt], name: str, tests: list[n.Expr]) -> Iterator[tuple[n.Expr, list[n.Expr]]]:
    for stmt in body:
        if isinstance(stmt, n.Assign) and name in [n.dotted(target) for target in stmt.targets]:
            yield stmt.value, tests
        for number, block in enumerate(n.blocks(stmt)):
            inner = [*tests, stmt.test] if isinstance(stmt, n.If) and not number else tests
            yield from _assigned(block, name, inner)


# -- if due: if over -------------------------------------------------------------------------------------------------


def _nested(
    facts: FileFacts, scope: Scope, measured: Measured, body: list[n.Stmt], interval: n.Expr | None
) -> Iterator[Coupled]:
    for stmt in body:
        if isinstance(stmt, n.If):
            due = next((part for part in _conjuncts(stmt.test) if n.at_interval(part)), interval)
            limit = next(_limits(measured, stmt.test), None)
            if due is not None and limit is not None and not n.at_interval(limit) and _acts(facts, scope, stmt.body):
                if not any(isinstance(part, n.Logic) and part.op == "Or" for part in n.walk(stmt.test)):
                    reasons: list[tuple[object, str]] = [
                        (due, "only when this interval is due"),
                        (limit, "is the limit looked at"),
                    ]
                    question = "whether memory can pass the limit between two intervals"
                    yield Coupled(scope, NESTED, limit, due, reasons, question)
            yield from _nested(facts, scope, measured, stmt.body, due if n.at_interval(stmt.test) else interval)
            yield from _nested(facts, scope, measured, stmt.orelse, interval)
        else:
            inside = interval if isinstance(stmt, (n.With, n.Try)) else None
            for block in n.blocks(stmt):
                yield from _nested(facts, scope, measured, block, inside)


def _acts(facts: FileFacts, scope: Scope, body: list[n.Stmt]) -> bool:
    """Whether it stops or reloads: a cache that is emptied now and then may well wait for its interval."""
    if any(isinstance(stmt, n.Raise) for stmt in n.statements(body)):
        return True
    inside = {id(part) for part in n.every(body)}
    for site in scope.events.calls:
        if id(site.node) not in inside:
            continue
        last = (site.path or site.name).rpartition(".")[2]
        own = scope.owner.methods.get(site.name) if site.on_self and scope.owner is not None else None
        own = own or (facts.functions.get(site.name) if isinstance(site.node.func, n.Name) else None)
        inner = {s.name.rpartition(".")[2] for s in own.events.calls} if own is not None else set()
        if last in _TAKING or site.path.startswith(("sys.", "os.")) and last in _LEAVING or inner & _TAKING:
            return True
    return False
