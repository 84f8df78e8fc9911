"""Tests for values outside of a range that a clamp has just enforced: the question behind test-before-clamp."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from memlint.facts import FileFacts, Scope
from memlint.facts import nodes as n
from memlint.facts.events import CallSite, Clamp, RangeCheck
from memlint.facts.limits import CLAMPING, Limits, hull, in_numbers, never, of_magnitude
from memlint.facts.values import Value

_SAYING = frozenset({"print", "debug", "info", "warning", "warn", "error", "critical", "exception", "log", "write"})
_CHECKING = ("assert", "_assert", "check", "_check")


class Futile(Struct, eq=False):
    """A clamp, and the first tests after it that can never be true.

    parameter: the tests are in another function, on this parameter of it.
    """

    clamp: Clamp
    limits: Limits
    checks: list[RangeCheck]
    tested_in: Scope
    parameter: str = ""


def futile_tests(facts: FileFacts) -> Iterator[Futile]:
    """One for each clamp after which a test is pointless."""
    if not facts.mentions(*CLAMPING):
        return
    told: set[int] = set()
    for scope in facts.all_scopes():
        for checks in _together(scope):
            found = _in_one_function(scope, checks) or _across_functions(facts, scope, checks)
            if found is not None and id(found.clamp) not in told:
                told.add(id(found.clamp))
                yield found


def _together(scope: Scope) -> Iterator[list[RangeCheck]]:
    """The tests of one value in one statement, except those that only watch over what the clamp has promised."""
    groups: dict[tuple[int, str], list[RangeCheck]] = {}
    for check in scope.events.range_checks:
        groups.setdefault((id(check.stmt), n.root(check.subject)), []).append(check)
    for checks in groups.values():
        if not _only_watches(checks[0]):
            yield checks


def _only_watches(check: RangeCheck) -> bool:
    """An assert, an if that only raises or reports, or an argument of such a call."""
    stmt = check.stmt
    if isinstance(stmt, n.Assert):
        return True
    if isinstance(stmt, n.If) and any(part is check.node for part in n.walk(stmt.test)):
        return all(isinstance(inner, n.Raise) or _says(inner) for inner in stmt.body)
    return _says(stmt)


def _says(stmt: n.Stmt) -> bool:
    if not (isinstance(stmt, n.Do) and isinstance(stmt.value, n.Call)):
        return False
    func = stmt.value.func
    name = func.attr if isinstance(func, n.Attr) else n.dotted(func)
    return name in _SAYING or name.startswith(_CHECKING)


def _in_one_function(scope: Scope, checks: list[RangeCheck]) -> Futile | None:
    limits = checks[0].limits
    for check in checks:
        if check.limits is None or not never(check.limits, check.op, check.bound):
            return None
    if limits is None or not _lasts(scope, checks, limits):
        return None
    return Futile(_responsible(scope, limits, checks), limits, checks, scope)


def _responsible(scope: Scope, limits: Limits, checks: list[RangeCheck]) -> Clamp:
    """The first of the clamps that has just these bounds; of clamps that only have them together, the last."""
    clamps = [scope.events.clamps[number] for number in sorted(limits.clamps)]
    needed = [1 if check.op.startswith("Greater") else 0 for check in checks]
    for clamp in clamps:
        own = (clamp.low, clamp.high)
        if all(own[side] == limits[side] for side in needed):
            return clamp
    return clamps[-1]


def _lasts(scope: Scope, checks: list[RangeCheck], limits: Limits) -> bool:
    """Whether bounds that are names mean the same at both places, and no method changes the object's own value."""
    used = {bound for bound in (*limits[:2], *(check.bound for check in checks)) if isinstance(bound, str)}
    for stmt in scope.statements():
        targets = stmt.targets if isinstance(stmt, n.Assign) else [stmt.target] if isinstance(stmt, n.Augment) else []
        names = {name for target in targets for name in n.target_names(target) if name}
        if isinstance(stmt, n.For):
            names |= n.mentioned(stmt.target)
        if any(name in bound for name in names for bound in used) and not _single(scope, names):
            return False
    if n.root(checks[0].subject) != scope.self_name or not scope.self_name:
        return True
    first = min(limits.clamps)
    order = {id(expr): number for number, expr in enumerate(scope.every())}
    start, end = order.get(id(scope.events.clamps[first].node), 0), order.get(id(checks[0].node), 0)
    between = (e for e in scope.every()[start:end] if isinstance(e, n.Call) and isinstance(e.func, n.Attr))
    return all(n.dotted(call.func.value) != scope.self_name for call in between if isinstance(call.func, n.Attr))


def _single(scope: Scope, names: set[str]) -> bool:
    """Whether these names are bound once in the function, outside of loops."""
    count = 0
    for stmt in scope.statements():
        if isinstance(stmt, (n.For, n.While)):
            inner = [s for s in n.statements(stmt.body) if isinstance(s, (n.Assign, n.Augment))]
            bound = {
                t
                for s in inner
                for x in (s.targets if isinstance(s, n.Assign) else [s.target])
                for t in n.target_names(x)
            }
            if names & bound or isinstance(stmt, n.For) and names & n.mentioned(stmt.target):
                return False
        if isinstance(stmt, (n.Assign, n.Augment)):
            targets = stmt.targets if isinstance(stmt, n.Assign) else [stmt.target]
            count += any(names & n.target_names(target) for target in targets)
    return count == 1


def _across_functions(facts: FileFacts, scope: Scope, checks: list[RangeCheck]) -> Futile | None:
    """Callers in this file hand in nothing but what they have clamped; of those in others, the project knows."""
    parameter = checks[0].parameter
    numbers = all(isinstance(check.bound, (int, float)) for check in checks)
    if not parameter or not numbers or any(check.parameter != parameter for check in checks):
        return None
    if parameter in scope.local_names - set(scope.params) or _rebinds(scope, parameter):
        return None
    limits: Limits | None = None
    first: tuple[Scope, Limits] | None = None
    for caller, given in _given(facts, scope, parameter):
        if given is None or given.limits is None:
            return None
        limits = given.limits if first is None else hull(limits, given.limits)
        first = first or (caller, given.limits)
    if first is None or limits is None:
        return None
    for check in checks:
        tested = of_magnitude(limits) if check.absolute else limits
        if tested is None or not never(tested, check.op, check.bound):
            return None
    return Futile(_responsible(*first, checks), limits, checks, scope, parameter) if in_numbers(limits) else None


def _rebinds(scope: Scope, name: str) -> bool:
    return any(name in n.target_names(target) for stmt in scope.statements() for target in n.targets(stmt))


def _given(facts: FileFacts, scope: Scope, parameter: str) -> Iterator[tuple[Scope, Value | None]]:
    """What the callers in this file pass for a parameter; None for a call that leaves it out."""
    for caller in facts.all_scopes():
        for site in caller.events.calls:
            if site.name.rpartition(".")[2] == scope.name and _means(site, caller, scope):
                yield caller, _argument(site, scope, parameter)


def _means(site: CallSite, caller: Scope, scope: Scope) -> bool:
    if scope.owner is None:
        return not isinstance(site.node.func, n.Attr)
    return site.on_self and caller.owner is scope.owner


def _argument(site: CallSite, scope: Scope, parameter: str) -> Value | None:
    named = dict(site.keywords)
    if parameter in named:
        return named[parameter]
    position = scope.params.index(parameter) - (1 if scope.self_name else 0)
    return site.args[position] if 0 <= position < len(site.args) else None
