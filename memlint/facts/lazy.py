"""MLX arrays that pile up uncomputed in a loop: the MLX side of detach-kept-tensors.

MLX computes nothing before it is asked to. A sum or a list that takes in a new array with each step, and that no step
evaluates, holds the graph of every step and whatever those graphs start from.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct, field

from memlint.facts import FileFacts, Scope
from memlint.facts import knowledge as k
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.events import CONSTANT, ENDLESS, RANGE, STRUCTURE
from memlint.facts.mlx import CORE, EVALUATING, Arrays, evaluated, pairs

_UNKNOWN_LENGTH = "how many passes the loop makes before what it adds up is read"
_AT_INTERVALS = "how many steps pass before what is added up is read"


class Piled(Struct, eq=False):
    """A sum or list that nothing in its loop evaluates.

    anchor: the statement behind which it can be evaluated. values: the sources of what to evaluate there.
    module: how the file calls `mlx.core`. question: what is open.
    """

    scope: Scope
    node: n.Stmt
    name: str
    anchor: n.Stmt
    values: tuple[str, ...]
    module: str
    question: str
    reasons: list[tuple[object, str]] = field(default_factory=list)


class _Growing(Struct, eq=False):
    """A statement that makes `name` depend on one step more. item: what it takes in. how: sum or list."""

    stmt: n.Stmt
    name: str
    item: n.Expr
    how: str
    value: str
    loops: list[n.For | n.While]
    anchors: list[n.Stmt]


def piled(facts: FileFacts) -> Iterator[Piled]:
    """At most one for each block of statements: what piles up there is evaluated together."""
    module = next((name for name, path in facts.names.imports.items() if path == CORE), "")
    if not module and facts.names.imports.get("mlx") == "mlx":
        module = CORE
    if not module or not any(True for scope in facts.all_scopes() for _ in _growing(scope, scope.body, [], [], None)):
        return
    arrays = Arrays(facts)
    for scope in facts.all_scopes():
        if not arrays.is_traced(scope):
            by_block: dict[int, Piled] = {}
            for found in _of_function(facts, scope, arrays, module):
                first = by_block.setdefault(id(_block_of(scope.body, found.anchor)), found)
                if first is not found:
                    first.values = tuple(dict.fromkeys((*first.values, *found.values)))
                    first.anchor = found.anchor
                    first.reasons.append((found.node, f"`{found.name}` does so too"))
            yield from by_block.values()


def _of_function(facts: FileFacts, scope: Scope, arrays: Arrays, module: str) -> Iterator[Piled]:
    kinds = {id(loop.node): loop.kind for loop in scope.events.loops}
    for growing in _growing(scope, scope.body, [], [], facts):
        position = next(
            (i for i in reversed(range(len(growing.loops))) if kinds.get(id(growing.loops[i])) not in _FEW), None
        )
        if position is None:
            continue
        loop = growing.loops[position]
        if _made_in(loop, growing.name) or not _is_lazy(arrays, scope, growing, loop):
            continue
        question = _judge(scope, arrays, growing, loop, kinds.get(id(loop), ""), nested=position > 0)
        if question is None:
            continue
        inside = growing.loops[position + 1 :]
        anchor = growing.anchors[position + 1] if inside else growing.stmt
        value = growing.name if inside else growing.value
        reasons: list[tuple[object, str]] = [(n.head(loop), "nothing in this loop evaluates it")]
        yield Piled(scope, growing.stmt, growing.name, anchor, (value,), module, question, reasons)


_FEW = frozenset({CONSTANT, STRUCTURE})


def _judge(
    scope: Scope, arrays: Arrays, growing: _Growing, loop: n.For | n.While, kind: str, *, nested: bool
) -> str | None:
    """What is open about it, "" where nothing is; None where it is no finding."""
    always = evaluated(arrays, scope, list(_always(loop.body)), loop.body)
    if _is_in(always, arrays, scope, growing):
        return None
    if _is_in(evaluated(arrays, scope, list(n.statements(loop.body)), loop.body), arrays, scope, growing):
        # Read at intervals. The rest is evaluated in each step, other sums among it: this one was forgotten.
        sums = {g.name for g in _growing(scope, loop.body, [loop], [], None)} - {growing.name}
        told = {name for call in _evaluations(arrays, _always(loop.body)) for name in n.mentioned(call)}
        return _AT_INTERVALS if sums & told else None
    if any(_evaluations(arrays, n.statements(loop.body))) or _trains(loop):
        return ""
    rest = [stmt for stmt in n.statements(scope.body) if not _inside(stmt, loop)]
    if growing.name not in evaluated(arrays, scope, rest, scope.body, surely=True):
        return None  # it may be part of what is differentiated
    if growing.how == "list" and not _is_reduced(rest, growing.name):
        return None
    if kind == RANGE:
        return None if nested else _UNKNOWN_LENGTH
    if _computed_by_call(arrays, growing.item, loop) and kind != ENDLESS:
        made = isinstance(loop, n.For) and arrays.calls_in(loop.iter)  # not a list of layers, as far as can be told
        return "" if made and not nested else _UNKNOWN_LENGTH
    return "" if kind == ENDLESS else None


def _is_in(names: set[str], arrays: Arrays, scope: Scope, growing: _Growing) -> bool:
    """Whether the container, or all that it takes in, is among the evaluated names."""
    if growing.name in names:
        return True
    item = growing.item
    mentioned = n.mentioned(item) - {growing.name}
    taken = {name for name in mentioned if name in arrays.of(scope)} or mentioned
    return bool(taken) and taken <= names and not arrays.calls_in(item)


def _growing(
    scope: Scope, block: list[n.Stmt], loops: list[n.For | n.While], anchors: list[n.Stmt], facts: FileFacts | None
) -> Iterator[_Growing]:
    for stmt in block:
        if loops:
            yield from _grows(scope, stmt, loops, anchors, facts)
        inner = [*loops, stmt] if isinstance(stmt, (n.For, n.While)) else loops
        above = [*anchors, stmt] if isinstance(stmt, (n.For, n.While)) else anchors
        for inside in n.blocks(stmt):
            yield from _growing(scope, inside, inner, above, facts)


def _grows(
    scope: Scope, stmt: n.Stmt, loops: list[n.For | n.While], anchors: list[n.Stmt], facts: FileFacts | None
) -> Iterator[_Growing]:
    def text(expr: n.Expr) -> str:
        return facts.text(expr) if facts is not None else ""

    if isinstance(stmt, n.Augment) and stmt.op in ("Add", "Subtract"):
        if name := _name(stmt.target):
            yield _Growing(stmt, name, stmt.value, "sum", text(stmt.target), loops, anchors)
    elif isinstance(stmt, n.Assign) and len(stmt.targets) == 1 and isinstance(stmt.value, n.Binary):
        name = _name(stmt.targets[0])
        if name and name in n.mentioned(stmt.value):
            yield _Growing(stmt, name, stmt.value, "sum", text(stmt.targets[0]), loops, anchors)
    elif isinstance(stmt, n.Do) and isinstance(stmt.value, n.Call) and isinstance(stmt.value.func, n.Attr):
        call, func = stmt.value, stmt.value.func
        name = n.dotted(func.value)
        known = scope.env.get(name, v.ANYTHING)
        if func.attr == "append" and len(call.args) == 1 and name and known.kind == v.LIST:
            item = call.args[0]
            shown = text(item) if isinstance(item, n.Name) else f"{text(func.value)}[-1]"
            yield _Growing(stmt, name, item, "list", shown, loops, anchors)


def _name(target: n.Expr) -> str:
    return n.dotted(target.value) if isinstance(target, n.Item) else n.dotted(target)


def _is_lazy(arrays: Arrays, scope: Scope, growing: _Growing, loop: n.Stmt) -> bool:
    """Whether an array goes in, or something unknown into a sum that is one before the loop or to MLX after it."""
    if _is_data(arrays, scope, growing.item):
        return False
    if arrays.gives(scope, growing.item):
        return True
    if growing.how != "sum" or isinstance(growing.item, n.Const):
        return False
    for stmt in n.statements(scope.body):
        if stmt is loop:
            break
        if isinstance(stmt, n.Assign):
            both = [pair for target in stmt.targets for pair in pairs(target, stmt.value)]
            if any(n.dotted(part) == growing.name and arrays.gives(scope, value) for part, value in both):
                return True
    return not arrays.is_number(growing.item) and any(
        isinstance(part, n.Call) and arrays.path(part).startswith("mlx.core.") and arrays.path(part) != "mlx.core.array"
        and growing.name in [n.dotted(arg) for arg in part.args]
        for part in n.every(scope.body)
    )  # fmt: skip


def _is_data(arrays: Arrays, scope: Scope, item: n.Expr) -> bool:
    """Whether it was made of Python's numbers, `mx.array(label)`: there is nothing left to compute."""
    if isinstance(item, n.Name):
        made = [
            value
            for stmt in n.statements(scope.body)
            if isinstance(stmt, n.Assign)
            for target in stmt.targets
            for part, value in pairs(target, stmt.value)
            if n.dotted(part) == item.id
        ]
        return bool(made) and all(isinstance(value, n.Call) and _is_data(arrays, scope, value) for value in made)
    if not isinstance(item, n.Call) or arrays.path(item) != "mlx.core.array":
        return False
    return not any(arrays.gives(scope, arg) for arg in item.args)


def _made_in(loop: n.For | n.While, name: str) -> bool:
    """Whether each pass starts with a new one."""
    if isinstance(loop, n.For) and name in n.mentioned(loop.target):
        return True
    for stmt in _always(loop.body):
        if isinstance(stmt, n.Assign) and name not in n.mentioned(stmt.value):
            if any(name in n.target_names(target) for target in stmt.targets):
                return True
    return False


def _always(block: list[n.Stmt]) -> Iterator[n.Stmt]:
    """The statements of a block that each pass reaches, inner loops included."""
    for stmt in block:
        yield stmt
        if isinstance(stmt, (n.With, n.For, n.While, n.Try)):
            for inside in n.blocks(stmt)[:1]:
                yield from _always(inside)


def _evaluations(arrays: Arrays, statements: Iterator[n.Stmt]) -> Iterator[n.Call]:
    for stmt in statements:
        for expr in n.expressions(stmt):
            for part in n.walk(expr):
                if isinstance(part, n.Call) and arrays.path(part) in EVALUATING:
                    yield part


def _trains(loop: n.For | n.While) -> bool:
    """`optimizer.update(model, grads)`: what the loop does is never differentiated."""
    return any(
        isinstance(part, n.Call) and isinstance(part.func, n.Attr) and part.func.attr == "update"
        and len(part.args) == 2 and "optim" in n.dotted(part.func.value).lower()
        for part in n.every(loop.body)
    )  # fmt: skip


def _computed_by_call(arrays: Arrays, item: n.Expr, loop: n.For | n.While) -> bool:
    """Whether a function or a network computes in each pass what is added, from data: `loss_fn(model, batch)`.

    `term.energy(x)` in a loop over terms is none: they are parts of one computation.
    """
    names = n.mentioned(item)
    values = [
        stmt.value
        for stmt in n.statements(loop.body)
        if isinstance(stmt, n.Assign) and any(names & n.target_names(target) for target in stmt.targets)
    ]
    counters = n.mentioned(loop.target) if isinstance(loop, n.For) else set()
    calls = [part for value in (item, *values) for part in n.walk(value) if isinstance(part, n.Call)]
    if any(n.root(call.func) in counters for call in calls if isinstance(call.func, n.Attr) and call.args):
        return False
    return any(arrays.calls_in(value) for value in (item, *values))


def _is_reduced(statements: list[n.Stmt], name: str) -> bool:
    """Whether all that becomes of the list is one number."""
    reads = [
        part
        for stmt in statements
        for expr in n.expressions(stmt)
        for part in n.walk(expr)
        if isinstance(part, n.Call) and name in {n.dotted(arg) for arg in part.args}
    ]
    return bool(reads) and all(n.dotted(call.func).rpartition(".")[2] in _REDUCING for call in reads)


_REDUCING = k.names("sum mean array len median average std min max")


def _inside(stmt: n.Stmt, loop: n.Stmt) -> bool:
    return stmt is loop or any(inner is stmt for block in n.blocks(loop) for inner in n.statements(block))


def _block_of(block: list[n.Stmt], wanted: n.Stmt) -> list[n.Stmt]:
    """The list of statements that one of them stands in."""
    if any(stmt is wanted for stmt in block):
        return block
    for stmt in block:
        for inside in n.blocks(stmt):
            if found := _block_of(inside, wanted):
                return found
    return []
