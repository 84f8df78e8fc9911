"""Writing down events while a function is interpreted, each place once although loop bodies are read twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.events import (
    DATA,
    ITEMS,
    RANGE,
    WHILE,
    CallSite,
    Contract,
    Forward,
    Growth,
    Init,
    Loop,
    Read,
    Shrink,
    Sum,
    SumPassed,
    Use,
)
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
        self.stmt: Any = None
        self._seen: dict[Any, Any] = {}

    def eval(self, expr: n.Expr) -> Value:
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
        if certain:
            for loop in self.loops:
                loop.forwards += 1
                if loop is self.loops[-1] and loop.kind in (ITEMS, WHILE):
                    loop.kind = DATA
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
        guarded = any(_measures(test, text) or _at_intervals(test) for test in self.guards)
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

    # -- calls and coordinates -----------------------------------------------------------------------------------

    def site(self, node: n.Call, name: str, path: str, receiver: str, on_self: bool, args: list[Value],
             keywords: list[tuple[str, Value]], module: bool) -> None:  # fmt: skip
        """A call, for the project's call graph. module: what is called is one."""
        event: CallSite = self._once(
            ("call", id(node)),
            lambda: CallSite(name, path, receiver, node, self.loops, self.mode, self.helpers, (), (), on_self),
            self.events.calls,
        )
        event.args, event.keywords = tuple(args), tuple(keywords)
        if module:
            return  # a layer demands no range
        for argument, value in (*enumerate(args), *keywords):
            if value.sums and not path.startswith("torch."):
                passed: SumPassed = self._once(
                    ("passed", id(node), argument),
                    lambda argument=argument: SumPassed(v.NO_IDS, name, path, receiver, argument, node),
                    self.events.sums_passed,
                )
                passed.sums |= value.sums

    def open_sum(self, node: Any, left: n.Expr, right: n.Expr, augmented: bool, tensor: bool) -> int:
        """An addition whose result nothing limits yet."""
        sums = self.events.sums
        event: Sum = self._once(("sum", id(node)), lambda: Sum(len(sums), node, left, right, augmented), sums)
        event.tensor |= tensor
        return event.id

    def contract(self, value: Value, node: Any, low: n.Expr | None, high: n.Expr | None, how: str) -> None:
        """A range test of a tensor, or an index, that a value has to meet."""
        parameter = value.source if value.source in self.scope.params else ""
        if value.sums or parameter or how == "index":
            sums = value.sums if how != "index" else value.scaled
            key = ("contract", id(node), parameter)
            event: Contract = self._once(
                key, lambda: Contract(sums, parameter, node, low, high, how), self.events.contracts
            )
            event.sums |= sums
            event.low, event.high = event.low or low, event.high or high

    def meet_index(self, index: Value, node: Any) -> None:
        """A coordinate made whole becomes an index."""
        self.contract(index, node, None, None, "index")

    def note_step(self) -> None:
        """A training step was seen: the innermost loop repeats it, those around are epochs."""
        if self.loops and self.loops[-1].kind in (ITEMS, RANGE, WHILE, DATA):
            self.loops[-1].kind = "step"


def _at_intervals(test: n.Expr) -> bool:
    """`step % 100 == 0`: not once per step."""
    return any(isinstance(part, n.Binary) and part.op == "Modulo" for part in n.walk(test))


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
