"""Writing down events while a function is interpreted, each place once although loop bodies are read twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memlint.facts import frameworks
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.events import (
    DATA,
    ITEMS,
    RANGE,
    WHILE,
    Backward,
    CallSite,
    Contract,
    Draw,
    Entry,
    Forward,
    Growth,
    HostRead,
    Init,
    Loop,
    Read,
    Shrink,
    Sum,
    SumPassed,
    Use,
)
from memlint.facts.limits import CLAMPING
from memlint.facts.scopes import Scope
from memlint.facts.values import Value

if TYPE_CHECKING:
    from memlint.facts import FileFacts


class Recorder:
    """The state of one interpretation: environment, grad mode, loops around, guards around."""

    def __init__(self, file: FileFacts, scope: Scope) -> None:
        self.file, self.scope, self.events = file, scope, scope.events
        self.env: dict[str, Value] = scope.env
        self.mode = ""
        self.loops: tuple[Loop, ...] = ()
        self.helpers: tuple[str, ...] = ()
        self.guards: list[n.Expr] = []
        self.demands: set[int] = set()  # the ids of the guards behind which something is raised, nothing skipped
        self.stmt: Any = None
        self._seen: dict[Any, Any] = {}
        self.clamps = file.mentions(*CLAMPING)

    def eval(self, expr: n.Expr) -> Value:
        raise NotImplementedError

    def attribute(self, expr: n.Attr, base: Value | None = None) -> Value:
        raise NotImplementedError

    def bind(self, target: n.Expr, value: Value, source: n.Expr | None) -> None:
        raise NotImplementedError

    def _once(self, key: Any, make: Any, into: list[Any]) -> Any:
        event = self._seen.get(key)
        if event is None:
            event = self._seen[key] = make()
            into.append(event)
        return event

    # -- forwards ------------------------------------------------------------------------------------------------

    def forward(
        self, node: n.Call, receiver: str, certain: bool, why: str, *, parameter: str = "", question: str = ""
    ) -> Forward:
        """A call that runs a module."""
        forwards = self.events.forwards
        event: Forward = self._once(
            ("forward", id(node)),
            lambda: Forward(
                len(forwards), node, self.stmt, receiver, self.mode, self.loops, certain, why, parameter, question,
                self.helpers,
            ),
            forwards,
        )  # fmt: skip
        return event

    def use(self, origins: frozenset[int], how: str, node: Any, detail: str) -> None:
        """What happens to the results of these forward passes."""
        for origin in origins:
            uses = self.events.forwards[origin].uses
            self._once(("use", origin, how, id(node)), lambda: Use(how, node, detail), uses)

    # -- containers ----------------------------------------------------------------------------------------------

    def grow(self, holder: str, how: str, node: Any, container: n.Expr, item: n.Expr | None, value: Value,
             key: n.Expr | None = None) -> None:  # fmt: skip
        """A container becomes larger. A test of its own length, or of an interval, is a guard."""
        text = n.dotted(container) or n.root(container)
        heads = [loop.node.iter for loop in self.loops if isinstance(loop.node, n.For)]
        guarded = any(_measures(test, text) or n.at_interval(test) for test in self.guards)
        guarded |= any(_measures(head, text) for head in heads)  # `for _ in range(len(x), wanted)`
        event: Growth = self._once(
            ("grow", id(node)),
            lambda: Growth(holder, how, node, container, item, value, self.loops, self.mode, guarded, key),
            self.events.growths,
        )
        event.value = v.join(event.value, value)

    def shrink(self, holder: str, how: str, node: Any) -> None:
        """A container is bounded here."""
        if holder:
            self._once(("shrink", id(node), holder), lambda: Shrink(holder, how, node, self.loops), self.events.shrinks)

    def init(self, holder: str, node: Any, kind: str, bounded: bool) -> None:
        """A container is made here."""
        self._once(("init", id(node), holder), lambda: Init(holder, node, self.loops, kind, bounded), self.events.inits)

    def read(self, holder: str, how: str, node: Any) -> None:
        """A container's content is used."""
        if holder:
            self._once(("read", id(node), holder, how), lambda: Read(holder, how, node, self.loops), self.events.reads)

    def draw(self, names: frozenset[str], how: str, node: Any, detail: str = "") -> None:
        """Something happens to what was computed from these containers, sums, attributes or parameters."""
        for name in names:
            if name == v.NETWORK:
                continue
            self._once(
                ("draw", id(node), name, how),
                lambda name=name: Draw(name.removesuffix("[]"), how, node, self.loops, detail),
                self.events.draws,
            )

    def tested(self, test: n.Expr) -> None:
        """An entry of a tensor decides which way to go."""
        while isinstance(test, n.Unary):
            test = test.operand
        if isinstance(test, n.Logic):
            self.tested(test.left)
            self.tested(test.right)
        elif isinstance(test, (n.Name, n.Item)) and self.eval(test).kind == v.TENSOR:
            self.host_read("test", test, test, self.eval(test))

    def host_read(self, how: str, node: n.Expr, operand: n.Expr, value: Value) -> None:
        """A number is read out of a tensor."""
        if ("host read", id(node)) in self._seen:
            return
        operand = without_hand_ons(operand)
        base, indices = split_indices(operand)
        whole = self.eval(base) if isinstance(base, (n.Name, n.Attr, n.Item)) else value
        self._once(
            ("host read", id(node)),
            lambda: HostRead(how, node, operand, base, indices, whole, self.loops),
            self.events.host_reads,
        )

    def entry(self, mapping: n.Expr, item: n.Expr, value: Value) -> None:
        """A dict display, or a call of `dict`, holds a value."""
        if self.file.uses_torch and value.kind in (v.UNKNOWN, v.OUTPUT, v.TENSOR, v.NUMBER):
            event: Entry = self._once(
                ("entry", id(item)), lambda: Entry(mapping, item, value, self.mode), self.events.entries
            )
            event.value = value

    def backward(self, node: n.Call, values: list[Value], start: list[n.Expr]) -> None:
        """A backward pass starts from these values."""
        names = frozenset(name for expr in start for name in n.mentioned(expr))
        keeps = any(key in ("retain_graph", "create_graph") for key, _ in node.keywords)
        origins = frozenset[int]().union(*(v.graph_of(value) for value in values))
        event: Backward = self._once(
            ("backward", id(node)),
            lambda: Backward(names, node, self.loops, origins, keeps),
            self.events.backwards,
        )
        event.origins |= origins
        self.draw(frozenset[str]().union(*(v.drawn_of(value) for value in values)), "trained", node)

    def note_handler(self, call: n.Call, handler: str) -> None:
        """A function is attached to an event of an engine; `Events.ITERATION_COMPLETED(every=100)` is no step."""
        event = call.argument(0, "event_name")
        for part in n.walk(event) if event is not None and not isinstance(event, n.Call) else ():
            path = self.file.names.path(n.dotted(part))
            if path.startswith(frameworks.EVENT_PACKAGE) and path.rpartition(".")[2] in frameworks.STEP_EVENTS:
                self._once(("hook", id(call)), lambda: handler, self.events.hooks)

    # -- calls and coordinates -----------------------------------------------------------------------------------

    def site(self, node: n.Call, name: str, path: str, receiver: str, on_self: bool, args: list[Value],
             keywords: list[tuple[str, Value]], module: bool) -> CallSite:  # fmt: skip
        """A call, for the project's call graph. module: what is called is one."""
        event: CallSite = self._once(
            ("call", id(node)),
            lambda: CallSite(name, path, receiver, node, self.loops, self.mode, self.helpers, (), (), on_self),
            self.events.calls,
        )
        event.args, event.keywords = tuple(args), tuple(keywords)
        event.dropped = isinstance(self.stmt, n.Do) and self.stmt.value is node
        heads = {id(loop.node.test) for loop in self.loops if isinstance(loop.node, n.While)}
        event.guarded = any(id(test) not in heads and id(test) not in self.demands for test in self.guards)
        if not module:  # a layer demands no range
            given: list[tuple[int | str, Value]] = [*enumerate(args), *keywords]
            for argument, value in given:
                if value.sums and not path.startswith("torch."):
                    self._pass_sum(event, argument, value)
        return event

    def _pass_sum(self, site: CallSite, argument: int | str, value: Value) -> None:
        passed: SumPassed = self._once(
            ("passed", id(site.node), argument),
            lambda: SumPassed(v.NO_IDS, site.name, site.path, site.receiver, argument, site.node),
            self.events.sums_passed,
        )
        passed.sums |= value.sums

    def open_sum(self, node: Any, left: n.Expr, right: n.Expr, augmented: bool, tensor: bool) -> int:
        """An addition whose result nothing limits yet."""
        sums = self.events.sums
        event: Sum = self._once(("sum", id(node)), lambda: Sum(len(sums), node, left, right, augmented), sums)
        event.tensor |= tensor
        return event.id

    def contract(self, value: Value, node: Any, low: str, high: str, excluded: str) -> None:
        """A range test that a tensor has to meet."""
        prefix = f"param:{self.scope.qualname}:"
        parameter = value.holder.removeprefix(prefix) if value.holder.startswith(prefix) else ""
        if value.sums or parameter:
            event: Contract = self._once(
                ("contract", id(node), parameter),
                lambda: Contract(value.sums, parameter, node, low, high, excluded),
                self.events.contracts,
            )
            event.sums |= value.sums
            event.low, event.high = event.low or low, event.high or high
            event.excluded = event.excluded or excluded

    def note_forward(self, node: n.Call) -> None:
        """A module runs here: the innermost loop goes over data."""
        self._once(("run", id(node)), lambda: node, self.events.runs)
        if self.loops and self.loops[-1].kind in (ITEMS, WHILE):
            self.loops[-1].kind = DATA

    def note_step(self) -> None:
        """A training step was seen: the innermost loop repeats it, those around are epochs."""
        if self.loops and self.loops[-1].kind in (ITEMS, RANGE, WHILE, DATA):
            self.loops[-1].kind = "step"


def _measures(test: n.Expr, text: str) -> bool:
    """Whether a test looks at the length or the membership of the container of this name."""
    for part in n.walk(test):
        if isinstance(part, n.Call) and isinstance(part.func, n.Name) and part.func.id == "len" and part.args:
            if text and text in (n.dotted(part.args[0]), n.root(part.args[0])):
                return True
        if isinstance(part, n.Compare) and part.rest and part.rest[0][0] in ("NotIn", "In"):
            inside = part.rest[0][1]
            # Membership in any of the object's own containers: what is known already is not added again.
            if text and n.root(inside) == text.partition(".")[0] or isinstance(inside, n.Attr):
                return True
    return False


def without_hand_ons(expr: n.Expr) -> n.Expr:
    """`x` for `x.detach().cpu()`."""
    while isinstance(expr, n.Call) and isinstance(expr.func, n.Attr) and expr.func.attr in ("detach", "cpu"):
        expr = expr.func.value
    return expr.value if isinstance(expr, n.Attr) and expr.attr == "data" else expr


def split_indices(expr: n.Expr) -> tuple[n.Expr, tuple[n.Expr, ...]]:
    """`(x, (i, j))` for `x[i, j]` and `x[i][j]`: what is indexed, and with what, up to a key or a slice."""
    indices: list[n.Expr] = []
    while isinstance(expr, n.Item):
        index = expr.index
        parts = index.elements if isinstance(index, n.Sequence) and index.kind == "tuple" else [index]
        if not all(isinstance(part, n.Name) or _is_whole(part) for part in parts):
            break
        indices[:0] = parts
        expr = expr.value
    return expr, tuple(indices)


def _is_whole(part: n.Expr) -> bool:
    if isinstance(part, n.Unary) and part.op == "Minus":
        part = part.operand
    return isinstance(part, n.Const) and type(part.value) is int
