"""Monitors of memory that measure nothing, and large allocations that nobody asks for: behind monitor-leaks."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from memlint.facts import FileFacts, Scope
from memlint.facts import nodes as n
from memlint.facts.events import REPEATING, WHILE, Loop
from memlint.facts.probes import Measured, may_measure, probes
from memlint.facts.tracing import Uses
from memlint.facts.trials import is_unit_test

_HARMLESS = frozenset({
    "print", "info", "debug", "warning", "log", "float", "int", "round", "max", "min", "len", "format", "time",
    "perf_counter", "synchronize", "is_available", "str", "abs", "isEnabledFor", "Process", "getpid",
})  # fmt: skip
# The divisions that make MB out of bytes, and what the others are in MB.
_BYTES = {1: "bytes", 1024: "kb", 1000: "kb", 1024**2: "mb", 10**6: "mb", 1024**3: "gb", 10**9: "gb"}

SIDE_BY_SIDE = "side-by-side"
UNGUARDED = "unguarded"


class Blind(Struct, eq=False):
    """A monitor that sees nothing, or a large allocation without a look at what is free.

    form: side-by-side (nothing happens between two probes) or unguarded. node: the difference, or what allocates.
    first: the statement of the earlier probe where its name is used for nothing else; after: source of the later one.
    unit: of the difference; scale: by how much the samples are divided. loop: the loop around. needed: bytes.
    """

    scope: Scope
    form: str
    node: n.Expr
    reasons: list[tuple[object, str]]
    first: n.Stmt | None = None
    after: str = ""
    unit: str = ""
    scale: int = 1
    loop: Loop | None = None
    needed: int = 0


class _Sample(Struct, eq=False):
    """A probe's answer under a name. text: the probe."""

    text: str
    stmt: n.Stmt


def blind(facts: FileFacts, large: int) -> Iterator[Blind]:
    """Every such place of a file. large: from how many bytes on an allocation is worth a question."""
    if is_unit_test(facts.path):
        return
    for scope in facts.all_scopes():
        if may_measure(facts):
            measured = Measured(facts, scope)
            if any(measured.is_measuring(call) for call in scope.of_type(n.Call)):
                yield from _side_by_side(facts, scope, measured)
        yield from _unguarded(facts, scope, large)


# -- two probes and nothing in between -------------------------------------------------------------------------------


def _side_by_side(facts: FileFacts, scope: Scope, measured: Measured) -> Iterator[Blind]:
    for block in _blocks(scope.body):
        fresh: dict[str, _Sample] = {}
        for stmt in block:
            found = _difference(facts, measured, stmt, fresh)
            if found is not None:
                difference, older, newer = found
                yield _blind(facts, scope, stmt, difference, older, newer, fresh, measured)
            value = stmt.value if isinstance(stmt, n.Assign) else None
            text = _probe_text(facts, measured, value) if value is not None else ""
            if text and isinstance(stmt, n.Assign):
                for target in stmt.targets:
                    fresh[n.dotted(target)] = _Sample(text, stmt)
            elif not _does_nothing(measured, stmt, fresh):
                fresh = {}


def _blocks(body: list[n.Stmt]) -> Iterator[list[n.Stmt]]:
    yield body
    for stmt in body:
        for block in n.blocks(stmt):
            yield from _blocks(block)


def _probe_text(facts: FileFacts, measured: Measured, expr: n.Expr) -> str:
    """The source of an expression that is one measurement, scaled perhaps, and nothing else; "" for others."""
    inner = expr
    while isinstance(inner, n.Binary) and inner.op in ("Divide", "FloorDivide", "Multiply"):
        inner = inner.left
    while isinstance(inner, (n.Item, n.Attr)):
        inner = inner.value
    if (
        isinstance(inner, n.Call)
        and measured.is_measuring(inner)
        and not any(
            isinstance(part, n.Call) and not measured.is_measuring(part) for arg in inner.args for part in n.walk(arg)
        )
    ):
        return facts.text(expr)
    return ""


def _difference(
    facts: FileFacts, measured: Measured, stmt: n.Stmt, fresh: dict[str, _Sample]
) -> tuple[n.Binary, str, str] | None:
    """A subtraction of two samples of the same probe. Both are as good as one moment."""
    for expr in n.expressions(stmt):
        for part in n.walk(expr):
            if not (isinstance(part, n.Binary) and part.op == "Subtract"):
                continue
            names = [n.dotted(part.left), n.dotted(part.right)]
            texts = [fresh[name].text if name in fresh else _probe_text(facts, measured, side)
                     for name, side in zip(names, (part.left, part.right), strict=True)]  # fmt: skip
            if texts[0] and texts[0] == texts[1] and any(name in fresh for name in names):
                return part, names[1], names[0]
    return None


def _does_nothing(measured: Measured, stmt: n.Stmt, fresh: dict[str, _Sample]) -> bool:
    """Whether a statement allocates nothing worth measuring: log lines and arithmetic on samples."""
    if not isinstance(stmt, (n.Assign, n.Do, n.If, n.Import, n.Assert)):
        return False
    known = fresh.keys() | {text.partition(".")[0] for text in fresh}
    inner = [s for block in n.blocks(stmt) for s in n.statements(block)]
    for part in (part for s in (stmt, *inner) for expr in n.expressions(s) for part in n.walk(expr)):
        if isinstance(part, n.Call) and not measured.is_measuring(part):
            name = part.func.attr if isinstance(part.func, n.Attr) else n.dotted(part.func)
            if name not in _HARMLESS:
                return False
        if isinstance(part, (n.Yield, n.Await, n.Comprehension)):
            return False
        # Each of these makes a new tensor where its operands are tensors.
        if isinstance(part, (n.Binary, n.Compare, n.Unary, n.Item)) and not n.mentioned(part) <= known:
            return False
    return all(isinstance(s, (n.Assign, n.Do, n.If)) for s in inner)


def _blind(
    facts: FileFacts, scope: Scope, stmt: n.Stmt, difference: n.Binary, older: str, newer: str,
    fresh: dict[str, _Sample], measured: Measured,
) -> Blind:  # fmt: skip
    uses = Uses(scope.body)
    sample = fresh.get(older)
    reasons: list[tuple[object, str]] = []
    if sample is not None:
        reasons.append((sample.stmt, "the first sample"))
    if newer in fresh:
        reasons.append((fresh[newer].stmt, "the second one, and nothing happens between them"))
    outer, scale = _scaled(uses, difference)
    text = sample.text if sample is not None else ""
    own = _scale_of(text) if sample is not None and _is_direct(measured, sample.stmt) else 0
    alone = sample is not None and "." not in older and len(list(uses.reads(older))) == 1
    loop = next((one for one in reversed(scope.events.loops) if any(s is stmt for s in n.statements([one.node]))), None)
    return Blind(
        scope, SIDE_BY_SIDE, outer, reasons, sample.stmt if alone and sample is not None else None,
        newer or facts.text(difference.left),
        _BYTES.get(own * scale, ""), own, loop,
    )  # fmt: skip


def _scaled(uses: Uses, expr: n.Expr) -> tuple[n.Expr, int]:
    """The divisions by constants around a difference, and by how much they divide in all."""
    scale = 1
    while isinstance(up := uses.parents.get(id(expr)), n.Binary) and up.op == "Divide" and up.left is expr:
        by = constant(up.right)
        if by is None:
            break
        expr, scale = up, scale * by
    return expr, scale


def _is_direct(measured: Measured, stmt: n.Stmt) -> bool:
    """Whether a sample comes from a probe that counts bytes, and not from a helper of unknown units."""
    calls = [part for expr in n.expressions(stmt) for part in n.walk(expr) if isinstance(part, n.Call)]
    return any(measured.is_probe(call) for call in calls)


def _scale_of(text: str) -> int:
    """By how much a sample is divided, 0 where that is not plain."""
    tail = text.rpartition(")")[2].replace(" ", "").split("/")[1:]
    scale = 1
    for part in tail:
        number = {"1e9": 10**9, "1e6": 10**6, "1024**3": 1024**3, "1024**2": 1024**2, "1024": 1024}.get(part)
        if number is None:
            return 0
        scale *= number
    return scale


def constant(expr: n.Expr) -> int | None:
    """The whole number that constants make: `1024 ** 2`, `1024 * 1024`, `1e6`."""
    if isinstance(expr, n.Const) and isinstance(expr.value, (int, float)) and expr.value == int(expr.value):
        return int(expr.value)
    if isinstance(expr, n.Binary) and expr.op in ("Multiply", "Power"):
        left, right = constant(expr.left), constant(expr.right)
        if (
            left is not None
            and right is not None
            and 0 < left < 10**10
            and 0 <= right < (64 if expr.op == "Power" else 10**10)
        ):
            return left * right if expr.op == "Multiply" else left**right
    return None


# -- large allocations -----------------------------------------------------------------------------------------------


def _unguarded(facts: FileFacts, scope: Scope, large: int) -> Iterator[Blind]:
    """A tensor of known, large size that each pass of a loop makes anew, where nobody looks at the memory."""
    loops = [loop for loop in scope.events.loops if loop.kind in REPEATING | {WHILE}]
    if not loops or probes(facts, scope):
        return
    for loop in loops:
        for stmt in n.statements(getattr(loop.node, "body", [])):
            if not (isinstance(stmt, n.Assign) and isinstance(stmt.value, n.Call) and len(stmt.targets) == 1):
                continue
            value = scope.env.get(n.dotted(stmt.targets[0]))
            if value is None or value.size is None or value.size.bytes < large:
                continue
            reasons: list[tuple[object, str]] = [(n.head(loop.node), "in each pass of this loop")]
            yield Blind(scope, UNGUARDED, stmt.value, reasons, loop=loop, needed=value.size.bytes)
            return
