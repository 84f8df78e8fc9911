"""Limits that the user declares for settings, and the literals and checks of a file that break them."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from memlint.facts import nodes as n

if TYPE_CHECKING:
    from memlint.facts import FileFacts, Scope

Plain = bool | int | float | str | None

_OPS: dict[str, Any] = {
    "<=": operator.le, ">=": operator.ge, "==": operator.eq, "!=": operator.ne, "<": operator.lt, ">": operator.gt,
}  # fmt: skip
_PART = re.compile(r"\s*(<=|>=|==|!=|<|>)\s*(.+?)\s*")
_WORDS: dict[str, Plain] = {"true": True, "false": False, "none": None}
_SIGNS = {
    "LessThan": "<", "LessThanEqual": "<=", "GreaterThan": ">", "GreaterThanEqual": ">=", "Equal": "==",
    "NotEqual": "!=",
}  # fmt: skip
_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_NEGATED = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}
_LOOSER = {"<": "<=", ">": ">="}


class Test(Struct, frozen=True):
    """`value op bound` must hold. text: the bound as it was written."""

    op: str
    bound: Plain
    text: str

    def holds(self, value: Plain) -> bool:
        """Whether a value passes; one that can't be compared does."""
        try:
            return bool(_OPS[self.op](value, self.bound))
        except TypeError:
            return True


class Demand(Struct, frozen=True):
    """What the user demands of a setting. key: as it is listed. owner: the class that has it, "" for any."""

    key: str
    owner: str
    name: str
    tests: tuple[Test, ...]
    text: str

    def met(self, value: Plain) -> bool:
        """Whether a value is within the limits."""
        return all(test.holds(value) for test in self.tests)

    def nearest(self, value: Plain) -> str:
        """The source of the allowed value that is nearest to one that is not, "" where there is none to name."""
        for test in self.tests:
            if not test.holds(value) and test.op in ("==", "<=", ">="):
                return test.text if self.met(test.bound) else ""
            if not test.holds(value) and test.op in ("<", ">") and type(test.bound) is int and type(value) is int:
                step = test.bound - 1 if test.op == "<" else test.bound + 1
                return str(step) if self.met(step) else ""
        return ""


def demand(name: str, text: str) -> Demand | None:
    """`<= 50000`, `>= 0, < 5` or `== false` for a setting; None where it is nothing of the kind."""
    tests = []
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            return None
        word = match[2]
        if word.lower() in _WORDS:
            bound, word = _WORDS[word.lower()], str(_WORDS[word.lower()])
        else:
            try:
                bound = ast.literal_eval(word)
            except (ValueError, SyntaxError):
                return None
        if not isinstance(bound, (bool, int, float, str, type(None))):
            return None
        if match[1] not in ("==", "!=") and (isinstance(bound, (bool, str)) or bound is None):
            return None
        tests.append(Test(match[1], bound, word))
    owner, _, last = name.rpartition(".")
    return Demand(name, owner.rpartition(".")[2], last, tuple(tests), text.strip())


class Setting(Struct, eq=False):
    """A literal that is given to a setting, or a check of it. sign, bound: the check, as what must hold."""

    name: str
    owner: str
    node: Any
    value: Plain = None
    sign: str = ""
    bound: Plain = None
    compare: n.Compare | None = None
    negated: bool = False
    flipped: bool = False


class Broken(Struct, eq=False):
    """A literal outside of its limits, or a check that lets nothing within them pass.

    value: the source of the literal to write. forbidding: checks of this file that would not let it pass.
    """

    demand: Demand
    setting: Setting
    value: str = ""
    forbidding: list[Setting] = field(default_factory=list)


def broken(facts: FileFacts) -> Iterator[Broken]:
    """Everything in a file that breaks the limits that the user has declared."""
    names = {demand.name for demand in facts.demands}
    if not names or not facts.mentions(*sorted(names)):
        return
    checks = list(_checks(facts, names))
    for setting in _literals(facts, names):
        for demand in facts.demands:
            if _is_meant(demand, setting) and not demand.met(setting.value):
                value = demand.nearest(setting.value)
                forbidding = [c for c in checks if _is_meant(demand, c) and value and not passes(c, plain(value))]
                yield Broken(demand, setting, value, forbidding)
    for check in checks:
        for demand in facts.demands:
            if _is_meant(demand, check) and _excludes(demand, check):
                yield Broken(demand, check)


def checks_of(facts: FileFacts) -> Iterator[tuple[str, str, Plain]]:
    """The checks of declared settings in a file: name, sign, bound."""
    names = {demand.name for demand in facts.demands}
    if names and facts.mentions(*sorted(names)):
        for check in _checks(facts, names):
            yield check.name, check.sign, check.bound


def plain(text: str) -> Plain:
    """The value of a literal's source."""
    value: Plain = ast.literal_eval(text)
    return value


def passes(check: Setting, value: Plain) -> bool:
    """Whether a check lets a value pass."""
    return Test(check.sign, check.bound, "").holds(value)


def _excludes(demand: Demand, check: Setting) -> bool:
    """Whether no value can pass a check and be within the limits."""
    for test in demand.tests:
        if test.op == "==":
            return not passes(check, test.bound)
        if isinstance(test.bound, (int, float)) and isinstance(check.bound, (int, float)):
            upper = test.op in ("<", "<=") and check.sign in (">", ">=")
            lower = test.op in (">", ">=") and check.sign in ("<", "<=")
            beyond = check.bound > test.bound if upper else check.bound < test.bound
            touching = check.bound == test.bound and (test.op in ("<", ">") or check.sign in ("<", ">"))
            if (upper or lower) and (beyond or touching):
                return True
    return False


def _is_meant(demand: Demand, setting: Setting) -> bool:
    return demand.name == setting.name and (not demand.owner or demand.owner == setting.owner)


# -- what a file gives to settings ------------------------------------------------------------------------------------


def _literals(facts: FileFacts, names: set[str]) -> Iterator[Setting]:
    for cls in facts.classes.values():
        yield from _bound_to_names(cls.node.body, cls.name, names)
    yield from _bound_to_names(facts.top.body, "", names)
    for scope in facts.all_scopes():
        owner = scope.owner.name if scope.owner is not None else ""
        if scope.node is not None:
            for name, default in scope.node.defaults.items():
                yield from _setting(name, owner if scope.name == "__init__" else "", default, names)
        for stmt in scope.statements():
            for target in stmt.targets if isinstance(stmt, n.Assign) else ():
                if isinstance(target, n.Attr) and isinstance(stmt, n.Assign):
                    own = owner if n.dotted(target.value) == scope.self_name else ""
                    yield from _setting(target.attr, own, stmt.value, names)
        for expr in scope.every():
            if isinstance(expr, n.Call):
                yield from _of_call(expr, names)
            elif isinstance(expr, n.Mapping):
                for key, value in expr.entries:
                    if isinstance(key, n.Const) and isinstance(key.value, str):
                        yield from _setting(key.value, "", value, names)


def _bound_to_names(body: list[n.Stmt], owner: str, names: set[str]) -> Iterator[Setting]:
    for stmt in body:
        for target in stmt.targets if isinstance(stmt, n.Assign) else ():
            if isinstance(target, n.Name) and isinstance(stmt, n.Assign):
                yield from _setting(target.id, owner, stmt.value, names)


def _of_call(call: n.Call, names: set[str]) -> Iterator[Setting]:
    called = n.dotted(call.func).rpartition(".")[2]
    for name, value in call.keywords:
        yield from _setting(name, called, value, names)
    if called == "add_argument":
        default = call.argument(-1, "default")
        for arg in call.args if default is not None else ():
            if isinstance(arg, n.Const) and isinstance(arg.value, str) and default is not None:
                yield from _setting(arg.value.lstrip("-").replace("-", "_"), "", default, names)


def _setting(name: str, owner: str, value: n.Expr, names: set[str]) -> Iterator[Setting]:
    if name not in names:
        return
    if isinstance(value, n.Call) and n.dotted(value.func).rpartition(".")[2] == "field":
        value = value.argument(-1, "default") or value
    if isinstance(value, n.Const) and isinstance(value.value, (bool, int, float, str)):
        yield Setting(name, owner, value, value.value)


# -- what a file demands of settings itself ---------------------------------------------------------------------------


def _checks(facts: FileFacts, names: set[str]) -> Iterator[Setting]:
    """Asserts, and ifs that raise, which compare a declared setting with a literal."""
    for scope in facts.all_scopes():
        for stmt in scope.statements():
            if isinstance(stmt, n.Assert):
                yield from _compared(scope, stmt.test, names, negated=False)
            elif isinstance(stmt, n.If) and stmt.body and isinstance(stmt.body[-1], n.Raise):
                yield from _compared(scope, stmt.test, names, negated=True)


def _compared(scope: Scope, test: n.Expr, names: set[str], *, negated: bool) -> Iterator[Setting]:
    if isinstance(test, n.Logic) and test.op == ("Or" if negated else "And"):
        yield from _compared(scope, test.left, names, negated=negated)
        yield from _compared(scope, test.right, names, negated=negated)
    elif isinstance(test, n.Unary) and test.op == "Not":
        yield from _compared(scope, test.operand, names, negated=not negated)
    elif isinstance(test, n.Compare) and (len(test.rest) == 1 or not negated):
        left = test.left
        for op, right in test.rest:
            for subject, other, flipped in ((left, right, False), (right, left, True)):
                name = subject.attr if isinstance(subject, n.Attr) else n.dotted(subject)
                if name in names and op in _SIGNS and isinstance(other, n.Const):
                    sign = _FLIPPED[_SIGNS[op]] if flipped else _SIGNS[op]
                    sign = _NEGATED[sign] if negated else sign
                    owner = scope.owner.name if scope.owner is not None else ""
                    compare = test if len(test.rest) == 1 else None
                    yield Setting(name, owner, test, None, sign, other.value, compare, negated, flipped)
            left = right


def relaxed(facts: FileFacts, check: Setting, value: Plain) -> str:
    """The source of a check's comparison that lets one more value pass, "" where that is more than a sign."""
    compare = check.compare
    if compare is None or check.bound != value or check.sign not in _LOOSER:
        return ""
    sign = _LOOSER[check.sign]
    sign = _NEGATED[sign] if check.negated else sign
    sign = _FLIPPED[sign] if check.flipped else sign
    return f"{facts.text(compare.left).strip()} {sign} {facts.text(compare.rest[0][1]).strip()}"
