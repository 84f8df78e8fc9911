"""What paths are put together from, as far as the code shows it."""

from __future__ import annotations

import libcst as cst

from memlint.facts import FileFacts, Scope
from memlint.facts import nodes as n

Template = tuple[tuple[bool, str], ...]
"""A path in parts: (True, literal text) or (False, source of what is put in)."""


def differ(one: Template, other: Template) -> bool:
    """Whether two paths can't be the same: their last parts hold other literals."""
    return literals(one) != literals(other)


def literals(one: Template) -> tuple[str, ...]:
    """The literal text in the file's own name."""
    return tuple(text for literal, text in last_part(one) if literal)


def last_part(one: Template) -> Template:
    """The file's own name."""
    out: list[tuple[bool, str]] = []
    for literal, text in one:
        if literal and "/" in text:
            out = []
            text = text.rpartition("/")[2]
        if literal and out and out[-1][0]:
            out[-1] = (True, out[-1][1] + text)
        elif text:
            out.append((literal, text))
    return tuple(out)


def template(facts: FileFacts, scope: Scope, expr: n.Expr, depth: int = 4) -> Template | None:
    """What a path is put together from; None where that can't be told."""
    if isinstance(expr, n.Const) and isinstance(expr.value, str):
        return ((True, expr.value),)
    if isinstance(expr, n.Text) and isinstance(expr.ref, cst.FormattedString):
        return _formatted(facts, expr.ref)
    if isinstance(expr, n.Binary) and expr.op in ("Add", "Divide"):
        sides = [template(facts, scope, side, depth) for side in (expr.left, expr.right)]
        return _joined(sides, "/" if expr.op == "Divide" else "")
    if isinstance(expr, n.Call):
        name = n.dotted(expr.func).rpartition(".")[2]
        if name in ("Path", "str", "fspath") and len(expr.args) == 1:
            return template(facts, scope, expr.args[0], depth)
        if name in ("join", "joinpath", "Path") and expr.args and not expr.keywords:
            start = [expr.func.value] if name == "joinpath" and isinstance(expr.func, n.Attr) else []
            return _joined([template(facts, scope, part, depth) for part in (*start, *expr.args)], "/")
        return None
    text = n.dotted(expr)
    if isinstance(expr, n.Name) and depth and text in scope.local_names and text not in scope.params:
        values = [s.value for s in scope.statements() if isinstance(s, n.Assign)
                  and text in [n.dotted(t) for t in s.targets]]  # fmt: skip
        return template(facts, scope, values[0], depth - 1) if len(values) == 1 else None
    return ((False, text),) if text else None


def _formatted(facts: FileFacts, node: cst.FormattedString) -> Template:
    parts: list[tuple[bool, str]] = []
    for part in node.parts:
        if isinstance(part, cst.FormattedStringText):
            parts.append((True, part.value))
        elif isinstance(part, cst.FormattedStringExpression):
            parts.append((False, facts.source.tree.code_for_node(part.expression)))
    return tuple(parts)


def _joined(sides: list[Template | None], between: str) -> Template | None:
    out: list[tuple[bool, str]] = []
    for side in sides:
        if side is None:
            return None
        if out and between:
            out.append((True, between))
        out += side
    return tuple(out)
