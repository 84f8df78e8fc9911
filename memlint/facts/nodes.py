"""The few shapes of code that the model reasons about: a file's LibCST tree with whitespace and tokens left out.

Each node keeps `ref`, the LibCST node that it came from, only to ask the source for its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from msgspec import Struct


class Node(Struct, eq=False):
    """Anything with a place in the source."""

    ref: Any


class Name(Node):
    id: str


class Const(Node):
    """A literal; `value` is None for an ellipsis, bytes and strings that are not plain."""

    value: Any


class Attr(Node):
    value: Expr
    attr: str


class Call(Node):
    """`keywords` holds (name, value); the name is "**" for unpacked mappings. Starred arguments are `Star` nodes."""

    func: Expr
    args: list[Expr]
    keywords: list[tuple[str, Expr]]

    def argument(self, position: int, name: str) -> Expr | None:
        """The argument at this position or of this name."""
        for key, value in self.keywords:
            if key == name:
                return value
        return self.args[position] if 0 <= position < len(self.args) else None


class Item(Node):
    """`value[index]`."""

    value: Expr
    index: Expr


class Slice(Node):
    lower: Expr | None
    upper: Expr | None
    step: Expr | None


class Binary(Node):
    """Arithmetic; `op` is LibCST's name of the operator: Add, Subtract, MatrixMultiply, ..."""

    op: str
    left: Expr
    right: Expr


class Compare(Node):
    left: Expr
    rest: list[tuple[str, Expr]]


class Logic(Node):
    """`and` / `or`."""

    op: str
    left: Expr
    right: Expr


class Unary(Node):
    """Not, Minus, Plus, BitInvert."""

    op: str
    operand: Expr


class Choice(Node):
    """`body if test else orelse`."""

    test: Expr
    body: Expr
    orelse: Expr


class Sequence(Node):
    """A tuple, list or set display."""

    kind: str
    elements: list[Expr]


class Mapping(Node):
    """A dict display; the key is None for `**rest`."""

    entries: list[tuple[Expr | None, Expr]]


class Generator(Node):
    """One `for target in iter if tests` of a comprehension."""

    target: Expr
    iter: Expr
    tests: list[Expr]


class Comprehension(Node):
    """kind: list, set, dict or generator; `key` only for dict."""

    kind: str
    key: Expr | None
    element: Expr
    generators: list[Generator]


class Lambda(Node):
    params: list[str]
    body: Expr


class Star(Node):
    value: Expr


class Await(Node):
    value: Expr


class Yield(Node):
    value: Expr | None


class Text(Node):
    """An f-string: the expressions that it formats."""

    parts: list[Expr]


class Walrus(Node):
    target: Expr
    value: Expr


Expr = (
    Name | Const | Attr | Call | Item | Slice | Binary | Compare | Logic | Unary | Choice | Sequence | Mapping
    | Comprehension | Lambda | Star | Await | Yield | Text | Walrus
)  # fmt: skip


class Assign(Node):
    targets: list[Expr]
    value: Expr
    annotation: Expr | None = None


class Augment(Node):
    op: str
    target: Expr
    value: Expr


class Declare(Node):
    """`name: annotation` without a value."""

    target: Expr
    annotation: Expr


class Do(Node):
    """An expression as a statement."""

    value: Expr


class Return(Node):
    value: Expr | None


class Raise(Node):
    value: Expr | None


class Assert(Node):
    test: Expr


class Delete(Node):
    target: Expr


class Jump(Node):
    """`break` or `continue`."""

    kind: str


class Import(Node):
    """(name as bound here, dotted path that it means). The path starts with dots where the import is relative."""

    names: list[tuple[str, str]]


class Global(Node):
    names: list[str]


class If(Node):
    test: Expr
    body: list[Stmt]
    orelse: list[Stmt]


class For(Node):
    target: Expr
    iter: Expr
    body: list[Stmt]
    orelse: list[Stmt]


class While(Node):
    test: Expr
    body: list[Stmt]
    orelse: list[Stmt]


class With(Node):
    items: list[tuple[Expr, Expr | None]]
    body: list[Stmt]


class Try(Node):
    body: list[Stmt]
    handlers: list[list[Stmt]]
    orelse: list[Stmt]
    final: list[Stmt]


class Match(Node):
    subject: Expr
    cases: list[list[Stmt]]


class Function(Node):
    """A def. `annotations` and `defaults` by parameter name."""

    name: str
    params: list[str]
    annotations: dict[str, Expr]
    defaults: dict[str, Expr]
    decorators: list[Expr]
    body: list[Stmt]
    is_async: bool
    returns: Expr | None = None


class Class(Node):
    name: str
    bases: list[Expr]
    decorators: list[Expr]
    body: list[Stmt]


Stmt = (
    Assign | Augment | Declare | Do | Return | Raise | Assert | Delete | Jump | Import | Global | If | For
    | While | With | Try | Match | Function | Class
)  # fmt: skip


def blocks(stmt: Stmt) -> list[list[Stmt]]:
    """The statement lists inside a compound statement, except those of a def or a class."""
    inside = _BLOCKS.get(type(stmt))
    return inside(stmt) if inside is not None else []


_BLOCKS: dict[type, Callable[[Any], list[list[Stmt]]]] = {
    If: lambda stmt: [stmt.body, stmt.orelse],
    For: lambda stmt: [stmt.body, stmt.orelse],
    While: lambda stmt: [stmt.body, stmt.orelse],
    With: lambda stmt: [stmt.body],
    Try: lambda stmt: [stmt.body, *stmt.handlers, stmt.orelse, stmt.final],
    Match: lambda stmt: stmt.cases,
}


def statements(body: list[Stmt]) -> Iterator[Stmt]:
    """Every statement of a body in source order, without going into defs and classes."""
    for stmt in body:
        yield stmt
        if type(stmt) in _BLOCKS:
            for block in blocks(stmt):
                yield from statements(block)


def expressions(stmt: Stmt) -> list[Expr]:
    """The expressions that stand directly in a statement, not those of its inner blocks."""
    directly = _DIRECTLY.get(type(stmt))
    return directly(stmt) if directly is not None else []


def _of_value(stmt: Do | Return | Raise) -> list[Expr]:
    return [stmt.value] if stmt.value is not None else []


_DIRECTLY: dict[type, Callable[[Any], list[Expr]]] = {
    Assign: lambda stmt: [stmt.value, *stmt.targets],
    Augment: lambda stmt: [stmt.value, stmt.target],
    If: lambda stmt: [stmt.test],
    While: lambda stmt: [stmt.test],
    For: lambda stmt: [stmt.iter, stmt.target],
    With: lambda stmt: [part for pair in stmt.items for part in pair if part is not None],
    Do: _of_value,
    Return: _of_value,
    Raise: _of_value,
    Assert: lambda stmt: [stmt.test],
    Delete: lambda stmt: [stmt.target],
    Match: lambda stmt: [stmt.subject],
}


def targets(stmt: Stmt) -> list[Expr]:
    """What an assignment, in any form, or the head of a loop binds."""
    return stmt.targets if isinstance(stmt, Assign) else [stmt.target] if isinstance(stmt, (Augment, For)) else []


def children(expr: Expr) -> list[Expr]:
    """The expressions directly inside an expression, in source order."""
    inside = _INSIDE.get(type(expr))
    return inside(expr) if inside is not None else []


def _of_comprehension(expr: Comprehension) -> list[Expr]:
    inner = [part for g in expr.generators for part in (g.target, g.iter, *g.tests)]
    return [*([expr.key] if expr.key else []), expr.element, *inner]


_INSIDE: dict[type, Callable[[Any], list[Expr]]] = {
    Attr: lambda expr: [expr.value],
    Star: lambda expr: [expr.value],
    Await: lambda expr: [expr.value],
    Call: lambda expr: [expr.func, *expr.args, *[value for _, value in expr.keywords]],
    Item: lambda expr: [expr.value, expr.index],
    Binary: lambda expr: [expr.left, expr.right],
    Logic: lambda expr: [expr.left, expr.right],
    Compare: lambda expr: [expr.left, *[right for _, right in expr.rest]],
    Unary: lambda expr: [expr.operand],
    Choice: lambda expr: [expr.test, expr.body, expr.orelse],
    Sequence: lambda expr: expr.elements,
    Mapping: lambda expr: [part for pair in expr.entries for part in pair if part is not None],
    Comprehension: _of_comprehension,
    Lambda: lambda expr: [expr.body],
    Text: lambda expr: expr.parts,
    Walrus: lambda expr: [expr.target, expr.value],
    Slice: lambda expr: [part for part in (expr.lower, expr.upper, expr.step) if part is not None],
    Yield: lambda expr: [expr.value] if expr.value is not None else [],
}


def walk(expr: Expr) -> Iterator[Expr]:
    """An expression and everything inside it."""
    stack = [expr]
    while stack:
        node = stack.pop()
        yield node
        inside = _INSIDE.get(type(node))
        if inside is not None:
            stack.extend(reversed(inside(node)))


def parts(exprs: Iterable[Expr]) -> list[Expr]:
    """Expressions and everything inside them: `walk` for many, without a generator for each."""
    found: list[Expr] = []
    for expr in exprs:
        stack = [expr]
        while stack:
            node = stack.pop()
            found.append(node)
            inside = _INSIDE.get(type(node))
            if inside is not None:
                stack.extend(reversed(inside(node)))
    return found


def every(body: list[Stmt]) -> Iterator[Expr]:
    """Every expression of a body, without going into defs and classes."""
    for stmt in statements(body):
        for expr in expressions(stmt):
            yield from walk(expr)


def dotted(expr: Expr) -> str:
    """`self.model.encoder` for a chain of names, "" for anything else."""
    text = ""
    while isinstance(expr, Attr):
        text = f".{expr.attr}{text}"
        expr = expr.value
    return expr.id + text if isinstance(expr, Name) else ""


def head(loop: Stmt) -> object:
    """What a loop goes over or tests. A loop is long: this is enough to show it."""
    return loop.iter if isinstance(loop, For) else loop.test if isinstance(loop, While) else loop


def target_names(target: Expr) -> set[str]:
    """The dotted names that an assignment to a name, an attribute or a plain tuple of these sets."""
    elements = target.elements if isinstance(target, Sequence) else [target]
    return {dotted(element) for element in elements}


def at_interval(test: Expr) -> bool:
    """`step % 100 == 0`: not once per step."""
    return any(isinstance(part, Binary) and part.op == "Modulo" for part in walk(test))


def root(expr: Expr) -> str:
    """The first name of a chain of attributes, items and calls, "" where there is none."""
    while isinstance(expr, (Attr, Item, Call)):
        expr = expr.func if isinstance(expr, Call) else expr.value
    return expr.id if isinstance(expr, Name) else ""


def mentioned(expr: Expr) -> set[str]:
    """The dotted names that an expression reads."""
    return {text for part in walk(expr) if isinstance(part, (Name, Attr)) and (text := dotted(part))}
