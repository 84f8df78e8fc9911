"""Which attributes a file reads: of `self`, by class, and of anything else, by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from memlint.facts import nodes as n

if TYPE_CHECKING:
    from memlint.facts import FileFacts, Scope

_SETTING_UP = ("__init__", "_init", "init", "reset_parameters", "initialize", "_reset")
_PARTS = frozenset({"weight", "bias", "data", "apply", "requires_grad_"})

_BY_NAME = frozenset({"getattr", "hasattr", "delattr"})


def reads(facts: FileFacts) -> tuple[frozenset[tuple[str, str]], frozenset[str]]:
    """(class, attribute) for what methods read of `self`, and the names that are read of other objects.

    A name that is written out in `getattr` is one that is read. What only sets a submodule's values at the start,
    `self.layer.weight` in a constructor, reads nothing for good.
    """
    own: set[tuple[str, str]] = set()
    others: set[str] = set()
    for scope in facts.all_scopes():
        passed_over = set(map(id, _targets(scope)))
        owner, me = scope.owner, scope.self_name
        sets_up = scope.name.startswith(_SETTING_UP)
        for call in scope.of_type(n.Call):
            if type(call.func) is n.Name and call.func.id in _BY_NAME:
                others.update(a.value for a in call.args[1:2] if isinstance(a, n.Const) and isinstance(a.value, str))
        for expr in scope.of_type(n.Attr):
            if id(expr) in passed_over:
                continue
            if owner is not None and isinstance(expr.value, n.Name) and expr.value.id == me:
                own.add((owner.name, expr.attr))
            else:
                others.add(expr.attr)
                if sets_up and expr.attr in _PARTS:
                    passed_over.add(id(expr.value))
        if scope.node is not None:
            others.update(_names([*scope.node.decorators, *scope.node.defaults.values()]))
    for cls in facts.classes.values():
        others.update(_names(expr for stmt in cls.node.body for expr in n.expressions(stmt)))
    return frozenset(own), frozenset(others)


def _names(exprs: Iterable[n.Expr]) -> Iterator[str]:
    return (part.attr for expr in exprs for part in n.walk(expr) if isinstance(part, n.Attr))


def _targets(scope: Scope) -> Iterator[n.Expr]:
    """What assignments bind: these are no reads."""
    for stmt in scope.statements():
        if isinstance(stmt, n.Assign):
            for target in stmt.targets:
                yield from target.elements if isinstance(target, n.Sequence) else [target]
