"""From a LibCST tree to the nodes of the model, in one walk that skips whitespace and tokens."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import Any

import libcst as cst

from memlint.facts import nodes as n


def lower(module: cst.Module) -> list[n.Stmt]:
    """The statements of a module."""
    return _body(module.body)


def _body(body: Sequence[Any]) -> list[n.Stmt]:
    out: list[n.Stmt] = []
    for line in body:
        if type(line) is cst.SimpleStatementLine:
            for small in line.body:
                _small(small, out)
        else:
            out.append(_compound(line))
    return out


def _suite(suite: cst.BaseSuite) -> list[n.Stmt]:
    if isinstance(suite, cst.IndentedBlock):
        return _body(suite.body)
    out: list[n.Stmt] = []
    for small in suite.body:
        _small(small, out)
    return out


def _small(node: Any, out: list[n.Stmt]) -> None:
    make = _SMALL.get(type(node))
    if make is not None:
        out.append(make(node))


def _annotated(node: cst.AnnAssign) -> n.Stmt:
    note = expr(node.annotation.annotation)
    if node.value is None:
        return n.Declare(node, expr(node.target), note)
    return n.Assign(node, [expr(node.target)], expr(node.value), note)


def _augmented(node: cst.AugAssign) -> n.Stmt:
    op = type(node.operator).__name__.removesuffix("Assign")
    return n.Augment(node, op, expr(node.target), expr(node.value))


def _jump(node: cst.Break | cst.Continue) -> n.Stmt:
    return n.Jump(node, type(node).__name__.lower())


def _global(node: cst.Global | cst.Nonlocal) -> n.Stmt:
    return n.Global(node, [item.name.value for item in node.names])


# By type: LibCST's classes are abstract base classes, and `isinstance` of these is slow.
_SMALL: dict[type, Callable[[Any], n.Stmt]] = {
    cst.Expr: lambda node: n.Do(node, expr(node.value)),
    cst.Assign: lambda node: n.Assign(node, [expr(t.target) for t in node.targets], expr(node.value)),
    cst.AnnAssign: _annotated,
    cst.AugAssign: _augmented,
    cst.Return: lambda node: n.Return(node, _maybe(node.value)),
    cst.Import: lambda node: n.Import(node, [_import(alias) for alias in node.names]),
    cst.ImportFrom: lambda node: n.Import(node, _import_from(node)),
    cst.Assert: lambda node: n.Assert(node, expr(node.test)),
    cst.Raise: lambda node: n.Raise(node, _maybe(node.exc)),
    cst.Del: lambda node: n.Delete(node, expr(node.target)),
    cst.Break: _jump,
    cst.Continue: _jump,
    cst.Global: _global,
    cst.Nonlocal: _global,
}


def _import(alias: cst.ImportAlias) -> tuple[str, str]:
    path = _path(alias.name)
    if alias.asname is not None and isinstance(alias.asname.name, cst.Name):
        return alias.asname.name.value, path
    first = path.split(".")[0]
    return first, first


def _import_from(node: cst.ImportFrom) -> list[tuple[str, str]]:
    base = "." * len(node.relative) + (_path(node.module) if node.module is not None else "")
    if isinstance(node.names, cst.ImportStar):
        return [("*", base)]
    names = []
    for alias in node.names:
        name = _path(alias.name)
        bound = alias.asname.name.value if alias.asname and isinstance(alias.asname.name, cst.Name) else name
        names.append((bound, base + name if base.endswith(".") else f"{base}.{name}"))
    return names


def _path(node: Any) -> str:
    if isinstance(node, cst.Attribute):
        return f"{_path(node.value)}.{node.attr.value}"
    return str(node.value)


def _compound(node: Any) -> n.Stmt:
    if isinstance(node, cst.If):
        orelse: list[n.Stmt] = []
        if isinstance(node.orelse, cst.If):
            orelse = [_compound(node.orelse)]
        elif node.orelse is not None:
            orelse = _suite(node.orelse.body)
        return n.If(node, expr(node.test), _suite(node.body), orelse)
    if isinstance(node, cst.For):
        return n.For(node, expr(node.target), expr(node.iter), _suite(node.body), _else(node.orelse))
    if isinstance(node, cst.While):
        return n.While(node, expr(node.test), _suite(node.body), _else(node.orelse))
    if isinstance(node, cst.With):
        items = [(expr(i.item), expr(i.asname.name) if i.asname else None) for i in node.items]
        return n.With(node, items, _suite(node.body))
    if isinstance(node, (cst.Try, cst.TryStar)):
        final = _suite(node.finalbody.body) if node.finalbody else []
        return n.Try(node, _suite(node.body), [_suite(h.body) for h in node.handlers], _else(node.orelse), final)
    if isinstance(node, cst.FunctionDef):
        return _function(node)
    if isinstance(node, cst.ClassDef):
        decorators = [expr(d.decorator) for d in node.decorators]
        return n.Class(node, node.name.value, [expr(a.value) for a in node.bases], decorators, _suite(node.body))
    assert isinstance(node, cst.Match), f"unknown statement {type(node).__name__}"
    return n.Match(node, expr(node.subject), [_suite(case.body) for case in node.cases])


def _else(node: cst.Else | None) -> list[n.Stmt]:
    return _suite(node.body) if node is not None else []


def _function(node: cst.FunctionDef) -> n.Function:
    params = _params(node.params)
    body = _suite(node.body)
    return n.Function(
        node,
        node.name.value,
        [p.name.value for p in params],
        {p.name.value: expr(p.annotation.annotation) for p in params if p.annotation is not None and p.star == ""},
        {p.name.value: expr(p.default) for p in params if p.default is not None},
        [expr(d.decorator) for d in node.decorators],
        body,
        node.asynchronous is not None,
        expr(node.returns.annotation) if node.returns is not None else None,
    )


def _params(params: cst.Parameters) -> list[cst.Param]:
    every = [*params.posonly_params, *params.params]
    if isinstance(params.star_arg, cst.Param):
        every.append(params.star_arg)
    every.extend(params.kwonly_params)
    if params.star_kwarg is not None:
        every.append(params.star_kwarg)
    return every


def _maybe(node: Any) -> n.Expr | None:
    return expr(node) if node is not None else None


def expr(node: Any) -> n.Expr:
    """One expression."""
    return _EXPR.get(type(node), _other)(node)


def _other(node: Any) -> n.Expr:
    return n.Const(node, None)


_WORDS = {"True": True, "False": False, "None": None}


def _name(node: cst.Name) -> n.Expr:
    return n.Const(node, _WORDS[node.value]) if node.value in _WORDS else n.Name(node, node.value)


def _attribute(node: cst.Attribute) -> n.Expr:
    return n.Attr(node, expr(node.value), node.attr.value)


def _call(node: cst.Call) -> n.Expr:
    args: list[n.Expr] = []
    keywords: list[tuple[str, n.Expr]] = []
    for arg in node.args:
        if arg.keyword is not None:
            keywords.append((arg.keyword.value, expr(arg.value)))
        elif arg.star == "**":
            keywords.append(("**", expr(arg.value)))
        elif arg.star == "*":
            args.append(n.Star(arg, expr(arg.value)))
        else:
            args.append(expr(arg.value))
    return n.Call(node, expr(node.func), args, keywords)


def _subscript(node: cst.Subscript) -> n.Expr:
    parts = [_index(element.slice) for element in node.slice]
    index = parts[0] if len(parts) == 1 else n.Sequence(node, "tuple", parts)
    return n.Item(node, expr(node.value), index)


def _index(node: Any) -> n.Expr:
    if isinstance(node, cst.Slice):
        return n.Slice(node, _maybe(node.lower), _maybe(node.upper), _maybe(node.step))
    return expr(node.value)


def _literal(node: Any) -> n.Expr:
    try:
        return n.Const(node, ast.literal_eval(node.value))
    except (ValueError, SyntaxError):  # an escape that this Python reads otherwise: the text itself decides nothing
        return n.Const(node, None)


_DIGITS = 4000  # Python refuses to read many more


def _number(node: Any) -> n.Expr:
    # Not by ast.literal_eval for plain numbers and strings: each of its calls leaves a reference cycle behind.
    text = node.value
    if len(text) > _DIGITS or not text.isdecimal() or text[0] == "0" != text:
        return _literal(node)
    return n.Const(node, int(text))


def _string(node: cst.SimpleString) -> n.Expr:
    text = node.value
    if len(text) > 200:  # a docstring or a template: it decides nothing
        return n.Const(node, "")
    if text[0] in "'\"" and "\\" not in text:
        return n.Const(node, text.strip(text[0]))
    return _literal(node)


def _joined(node: cst.ConcatenatedString) -> n.Expr:
    parts = []
    rest: Any = node
    while isinstance(rest, cst.ConcatenatedString):  # each holds the next one: a page of text has a thousand
        parts.append(expr(rest.left))
        rest = rest.right
    parts.append(expr(rest))
    formatted = [p for part in parts if isinstance(part, n.Text) for p in part.parts]
    return n.Text(node, formatted) if any(isinstance(p, n.Text) for p in parts) else n.Const(node, "")


def _formatted(node: Any) -> n.Expr:
    parts = [expr(p.expression) for p in node.parts if hasattr(p, "expression")]
    return n.Text(node, parts)


def _binary(node: cst.BinaryOperation) -> n.Expr:
    return n.Binary(node, type(node.operator).__name__, expr(node.left), expr(node.right))


def _compare(node: cst.Comparison) -> n.Expr:
    rest = [(type(c.operator).__name__, expr(c.comparator)) for c in node.comparisons]
    return n.Compare(node, expr(node.left), rest)


def _logic(node: cst.BooleanOperation) -> n.Expr:
    return n.Logic(node, type(node.operator).__name__, expr(node.left), expr(node.right))


def _unary(node: cst.UnaryOperation) -> n.Expr:
    operand = expr(node.expression)
    op = type(node.operator).__name__
    if op == "Minus" and isinstance(operand, n.Const) and isinstance(operand.value, (int, float)):
        return n.Const(node, -operand.value)
    return n.Unary(node, op, operand)


def _choice(node: cst.IfExp) -> n.Expr:
    return n.Choice(node, expr(node.test), expr(node.body), expr(node.orelse))


def _display(kind: str) -> Callable[[Any], n.Expr]:
    def display(node: Any) -> n.Expr:
        elements = [
            n.Star(e, expr(e.value)) if isinstance(e, cst.StarredElement) else expr(e.value) for e in node.elements
        ]
        return n.Sequence(node, kind, elements)

    return display


def _dict(node: cst.Dict) -> n.Expr:
    entries: list[tuple[n.Expr | None, n.Expr]] = [
        (expr(e.key) if isinstance(e, cst.DictElement) else None, expr(e.value)) for e in node.elements
    ]
    return n.Mapping(node, entries)


def _generators(node: cst.CompFor | None) -> list[n.Generator]:
    out = []
    while node is not None:
        out.append(n.Generator(node, expr(node.target), expr(node.iter), [expr(i.test) for i in node.ifs]))
        node = node.inner_for_in
    return out


def _comprehension(kind: str) -> Callable[[Any], n.Expr]:
    def comprehension(node: Any) -> n.Expr:
        if kind == "dict":
            return n.Comprehension(node, kind, expr(node.key), expr(node.value), _generators(node.for_in))
        return n.Comprehension(node, kind, None, expr(node.elt), _generators(node.for_in))

    return comprehension


def _lambda(node: cst.Lambda) -> n.Expr:
    return n.Lambda(node, [p.name.value for p in _params(node.params)], expr(node.body))


def _yield(node: cst.Yield) -> n.Expr:
    value = node.value
    return n.Yield(node, expr(value.item) if isinstance(value, cst.From) else _maybe(value))


_EXPR: dict[type, Callable[[Any], n.Expr]] = {
    cst.Name: _name,
    cst.Attribute: _attribute,
    cst.Call: _call,
    cst.Subscript: _subscript,
    cst.SimpleString: _string,
    cst.Integer: _number,
    cst.Float: lambda node: n.Const(node, float(node.value)),
    cst.ConcatenatedString: _joined,
    cst.FormattedString: _formatted,
    cst.BinaryOperation: _binary,
    cst.Comparison: _compare,
    cst.BooleanOperation: _logic,
    cst.UnaryOperation: _unary,
    cst.IfExp: _choice,
    cst.Tuple: _display("tuple"),
    cst.List: _display("list"),
    cst.Set: _display("set"),
    cst.Dict: _dict,
    cst.ListComp: _comprehension("list"),
    cst.SetComp: _comprehension("set"),
    cst.GeneratorExp: _comprehension("generator"),
    cst.DictComp: _comprehension("dict"),
    cst.Lambda: _lambda,
    cst.Await: lambda node: n.Await(node, expr(node.expression)),
    cst.Yield: _yield,
    cst.NamedExpr: lambda node: n.Walrus(node, expr(node.target), expr(node.value)),
}
