"""Loops and comprehensions alike, as the places that repeat something: what each goes over, binds and writes."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct, field

from memlint.facts import FileFacts, Scope
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.events import ITEMS
from memlint.facts.looping import SHORT_RANGE, leaves

_HARMLESS = frozenset({
    "int", "float", "bool", "str", "len", "range", "enumerate", "zip", "min", "max", "abs", "round", "print", "sum",
    "list", "tuple", "dict", "set", "sorted", "isinstance", "format", "repr",
})  # fmt: skip
_OF_CONTAINERS = frozenset({
    "append", "extend", "add", "get", "items", "keys", "values", "join", "format", "setdefault", "update", "index",
    "count", "split", "strip", "item", "size", "dim", "detach", "cpu",
})  # fmt: skip


class Pass(Struct, eq=False):
    """One `for` of a loop or of a comprehension.

    node: the for statement or the comprehension. kind: the kind of the loop. names: what its head binds.
    leaves: a break or return ends it early.
    """

    node: n.For | n.Comprehension
    target: n.Expr
    iter: n.Expr
    kind: str = ITEMS
    names: frozenset[str] = frozenset()
    leaves: bool = False
    _calls: set[int] = field(default_factory=set)

    @property
    def is_comprehension(self) -> bool:
        return isinstance(self.node, n.Comprehension)

    def inside(self) -> Iterator[n.Expr]:
        """Every expression that is evaluated in each pass."""
        if isinstance(self.node, n.For):
            yield from n.every(self.node.body)
            return
        node = self.node
        parts = [part for part in (node.key, node.element) if part is not None]
        later = False
        for generator in node.generators:
            parts += [generator.iter] if later else []
            parts += generator.tests
            later = later or generator.iter is self.iter
        for part in parts:
            yield from n.walk(part)

    @property
    def calls(self) -> set[int]:
        """The ids of the calls in it."""
        if not self._calls:
            self._calls = {id(part) for part in self.inside() if isinstance(part, n.Call)}
        return self._calls


def passes_around(scope: Scope, wanted: set[int]) -> dict[int, tuple[Pass, ...]]:
    """The loops and comprehensions around each of these expressions, outermost first.

    What is reached seldom (an interval, the first few passes, an error) is left out.
    """
    walker = _Walker({id(loop.node): loop.kind for loop in scope.events.loops}, wanted)
    walker.statements(scope.body, ())
    return walker.found


class _Walker(Struct):
    kinds: dict[int, str]
    wanted: set[int]
    found: dict[int, tuple[Pass, ...]] = field(default_factory=dict)

    def statements(self, body: list[n.Stmt], around: tuple[Pass, ...]) -> None:
        for stmt in body:
            if isinstance(stmt, (n.Raise, n.Assert, n.Function, n.Class)):
                continue
            for expr in n.expressions(stmt):
                self.expression(expr, around)
            if isinstance(stmt, n.For):
                kind = self.kinds.get(id(stmt), ITEMS)
                made = Pass(stmt, stmt.target, stmt.iter, kind, _names(stmt.target), leaves(stmt.body))
                self.statements(stmt.body, (*around, made))
                self.statements(stmt.orelse, around)
            elif isinstance(stmt, n.If) and around and _is_rare(stmt.test, around[-1]):
                self.statements(stmt.orelse, around)
            elif isinstance(stmt, n.Try):
                self.statements([*stmt.body, *stmt.orelse, *stmt.final], around)
            else:
                for block in n.blocks(stmt):
                    self.statements(block, around)

    def expression(self, expr: n.Expr, around: tuple[Pass, ...]) -> None:
        if id(expr) in self.wanted:
            self.found[id(expr)] = around
        if isinstance(expr, n.Lambda):
            return
        if isinstance(expr, n.Comprehension):
            for generator in expr.generators:
                self.expression(generator.iter, around)
                around = (*around, Pass(expr, generator.target, generator.iter, names=_names(generator.target)))
                for test in generator.tests:
                    self.expression(test, around)
            for part in (expr.key, expr.element):
                if part is not None:
                    self.expression(part, around)
            return
        for child in n.children(expr):
            self.expression(child, around)


def _names(target: n.Expr) -> frozenset[str]:
    return frozenset(part.id for part in n.walk(target) if isinstance(part, n.Name))


def _is_rare(test: n.Expr, passed: Pass) -> bool:
    """An interval, the first few passes, or a level that is on."""
    for part in n.walk(test):
        if isinstance(part, n.Compare) and len(part.rest) == 1 and part.rest[0][0] in ("LessThan", "LessThanEqual"):
            limit = part.rest[0][1]
            if isinstance(limit, n.Const) and type(limit.value) is int and _grows(part.left, passed):
                return True
        if isinstance(part, n.Attr) and part.attr == "isEnabledFor":
            return True
    return n.at_interval(test)


def _grows(expr: n.Expr, passed: Pass) -> bool:
    """Whether something counts the passes: the position, a counter, or the length of what they fill."""
    if isinstance(expr, n.Call) and n.dotted(expr.func) == "len" and expr.args:
        return n.root(expr.args[0]) not in bound_in(passed)
    if not isinstance(expr, n.Name):
        return False
    body = n.statements(passed.node.body) if isinstance(passed.node, n.For) else ()
    added = {n.dotted(stmt.target) for stmt in body if isinstance(stmt, n.Augment)}
    return counts(passed, expr.id) or expr.id in added


def counts(passed: Pass, name: str) -> bool:
    """Whether a name of a loop's head counts up: `i` of `range(n)` and of `enumerate(x)`."""
    iterable, target = passed.iter, passed.target
    if isinstance(iterable, n.Call) and iterable.args:
        if n.dotted(iterable.func).rpartition(".")[2] in ("tqdm", "track"):
            iterable = iterable.args[0]
    if not isinstance(iterable, n.Call):
        return False
    called = n.dotted(iterable.func).rpartition(".")[2]
    if called in ("range", "trange"):
        return isinstance(target, n.Name) and target.id == name and len(iterable.args) < 3
    first = target.elements[0] if isinstance(target, n.Sequence) and target.elements else None
    return called == "enumerate" and isinstance(first, n.Name) and first.id == name


def is_short(iterable: n.Expr) -> bool:
    """`range(3)`, `range(min(5, count))`, `x[:5]`, `zip(x, ("a", "b"))`."""
    if isinstance(iterable, n.Sequence):
        return True
    if isinstance(iterable, n.Item):
        index = iterable.index
        first = index.elements[0] if isinstance(index, n.Sequence) and index.elements else index
        upper = first.upper if isinstance(first, n.Slice) else None
        return isinstance(upper, n.Const) and isinstance(upper.value, int) and 0 <= upper.value <= SHORT_RANGE
    if not isinstance(iterable, n.Call):
        return False
    name = n.dotted(iterable.func).rpartition(".")[2]
    if name in ("range", "trange"):
        ends = iterable.args[:2]
        numbers = [part.value for end in ends for part in _least(end) if isinstance(part, n.Const)]
        return any(isinstance(number, int) and 0 < number <= SHORT_RANGE for number in numbers[-1:])
    return name in ("enumerate", "zip", "tqdm", "reversed", "list") and any(is_short(arg) for arg in iterable.args)


def _least(end: n.Expr) -> list[n.Expr]:
    if isinstance(end, n.Call) and isinstance(end.func, n.Name) and end.func.id == "min":
        return end.args
    return [end]


def bound_in(passed: Pass, head: bool = True) -> set[str]:
    """The names that a pass binds, in its head and its body."""
    names = set(passed.names) if head else set()
    if isinstance(passed.node, n.Comprehension):
        return names.union(*(_names(g.target) for g in passed.node.generators if head or g.target is not passed.target))
    for stmt in n.statements(passed.node.body):
        targets: list[n.Expr] = []
        if isinstance(stmt, n.Assign):
            targets = stmt.targets
        elif isinstance(stmt, (n.For, n.Augment, n.Delete)):
            targets = [stmt.target]
        elif isinstance(stmt, n.With):
            targets = [target for _, target in stmt.items if target is not None]
        for target in targets:
            elements = target.elements if isinstance(target, n.Sequence) else [target]
            names.update(e.id for e in elements if isinstance(e, n.Name))
    names.update(p.target.id for p in passed.inside() if isinstance(p, n.Walrus) and isinstance(p.target, n.Name))
    return names


def written_in(passed: Pass, text: str) -> bool:
    """Whether a pass binds an attribute anew, writes entries of what this dotted name means, or changes it in place."""
    if isinstance(passed.node, n.For):
        for stmt in n.statements(passed.node.body):
            targets: list[n.Expr] = []
            if isinstance(stmt, n.Assign):
                targets = stmt.targets
            elif isinstance(stmt, (n.Augment, n.Delete)):
                targets = [stmt.target]
            for target in targets:
                for element in target.elements if isinstance(target, n.Sequence) else [target]:
                    while isinstance(element, n.Item):
                        element = element.value
                    if n.dotted(element) == text:
                        return True
    for part in passed.inside():
        if isinstance(part, n.Call) and isinstance(part.func, n.Attr) and part.func.attr.endswith("_"):
            owner = part.func.value
            while isinstance(owner, n.Item):
                owner = owner.value
            if n.dotted(owner) == text:
                return True
    return False


def pure(facts: FileFacts, scope: Scope, passed: Pass) -> bool:
    """Whether nothing in a pass can change a tensor that was made before it: no unknown calls, no writes into one."""
    for part in passed.inside():
        if isinstance(part, (n.Await, n.Yield)):
            return False
        if isinstance(part, n.Call):
            text = n.dotted(part.func)
            if isinstance(part.func, n.Name) and text in _HARMLESS and not facts.names.path(text):
                continue
            path = facts.names.path(text)
            if path.startswith(("torch.", "math.", "numpy.")) and not path.endswith("_"):
                continue
            if not isinstance(part.func, n.Attr) or part.func.attr not in _OF_CONTAINERS:
                return False
    if isinstance(passed.node, n.For):
        for stmt in n.statements(passed.node.body):
            targets = stmt.targets if isinstance(stmt, n.Assign) else []
            targets = [stmt.target] if isinstance(stmt, n.Augment) else targets
            for target in targets:
                if isinstance(target, n.Item) and _kind(scope, target.value) not in v.CONTAINERS:
                    return False
                if isinstance(stmt, n.Augment) and _kind(scope, target) not in (v.NUMBER, v.STRING, v.LIST):
                    return False
    return True


def _kind(scope: Scope, expr: n.Expr) -> str:
    while isinstance(expr, n.Item):
        expr = expr.value
    value = scope.env.get(n.dotted(expr))
    return value.kind if value is not None else ""
