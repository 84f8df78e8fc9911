"""What the interpretation of one function writes down, for rules to ask about."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct, field

from memlint.facts import nodes as n
from memlint.facts.limits import Bound, Limits
from memlint.facts.values import Value

# Loop kinds. `step`: runs a training or simulation step; `data`: over batches; `epoch`: around either of these.
ENDLESS = "endless"
STEP = "step"
DATA = "data"
EPOCH = "epoch"
CONSTANT = "constant"
STRUCTURE = "structure"
WHILE = "while"
RANGE = "range"
ITEMS = "items"

REPEATING = frozenset({ENDLESS, STEP, DATA})

ON = "on"
OFF = "off"
MAYBE = "maybe"


class Loop(Struct, eq=False):
    """A loop. `kind` is refined as its body is read. ticks: see `memlint.facts.ticking`; None until somebody asks."""

    kind: str
    node: n.Stmt
    ticks: str | None = None


class Forward(Struct, eq=False):
    """A call that runs a module (or something that may be one) and hands back its output.

    certain: the receiver is proved to be a module; else `question` says what is unknown.
    parameter: the parameter of this function that is called, for the project to say what is passed.
    indirect: a function of this file runs the module and hands back its output. ran: and runs the backward pass too.
    of: the class, in another file, of what is called.
    fed: what is called is unknown, but its input was moved to the accelerator for it.
    through: a module is handed to something that may run it.
    helpers: context managers around the call that could switch gradients off.
    inputs: the forward passes whose graph goes in.
    """

    id: int
    node: n.Call
    stmt: n.Stmt
    receiver: str
    mode: str
    loops: tuple[Loop, ...]
    certain: bool
    why: str
    parameter: str = ""
    question: str = ""
    helpers: tuple[str, ...] = ()
    through: bool = False
    fed: bool = False
    indirect: bool = False
    ran: bool = False
    of: str = ""
    inputs: frozenset[int] = frozenset()
    uses: list[Use] = field(default_factory=list)


class Use(Struct, eq=False):
    """What happened to a forward's result: consumed, returned, yielded, stored, kept, passed, trained."""

    how: str
    node: Any
    detail: str


class Growth(Struct, eq=False):
    """A container that becomes larger by one statement.

    container: the expression; `holder` its identity; `how` append, extend, ...; item: the expression that is added.
    `how` is accumulate for a running sum or average: what is added joins the value itself.
    key: the subscript of `d[key] = item`. bounded: what adds to it trims it as well.
    """

    holder: str
    how: str
    node: n.Call | n.Augment | n.Assign
    container: n.Expr
    item: n.Expr | None
    value: Value
    loops: tuple[Loop, ...]
    mode: str
    guarded: bool
    key: n.Expr | None = None
    bounded: bool = False


class Shrink(Struct, eq=False):
    """Anything that bounds a container: clear, pop, del, slice assignment, a new binding."""

    holder: str
    how: str
    node: Any
    loops: tuple[Loop, ...]


class Init(Struct, eq=False):
    """Where a container is made. bounded: a deque with maxlen, a queue with maxsize."""

    holder: str
    node: Any
    loops: tuple[Loop, ...]
    kind: str
    bounded: bool


class Read(Struct, eq=False):
    """A use of a container's content. how: gathered, moved, length, index, iterated, returned, passed, other."""

    holder: str
    how: str
    node: Any
    loops: tuple[Loop, ...]


class Draw(Struct, eq=False):
    """What was done with a value that was computed from a container, a running sum, an attribute or a parameter.

    how: trained, detached (so it carried a graph), host (item, numpy, printed), returned, passed, stored.
    detail: the callee where it is passed.
    """

    holder: str
    how: str
    node: Any
    loops: tuple[Loop, ...]
    detail: str = ""


class HostRead(Struct, eq=False):
    """A number is read out of a tensor: `x.item()`, `int(x)`, `float(x)`, `bool(x)`, `if x`.

    how: item, int, float, bool, test. operand: what is read, without `.detach()` and the like. base, indices: the
    tensor that it is an entry of, where it is one. value: of the base, or of the operand.
    """

    how: str
    node: n.Expr
    operand: n.Expr
    base: n.Expr
    indices: tuple[n.Expr, ...]
    value: Value
    loops: tuple[Loop, ...]


class Backward(Struct, eq=False):
    """A backward pass. names: what is mentioned in what it starts from; origins: the forward passes it runs back."""

    names: frozenset[str]
    node: Any
    loops: tuple[Loop, ...]
    origins: frozenset[int]
    keeps_graph: bool


class Entry(Struct, eq=False):
    """A value in a dict display or a call of `dict`."""

    mapping: n.Expr
    item: n.Expr
    value: Value
    mode: str


class Callee(Struct, frozen=True, array_like=True, gc=False):
    """All that a call says of the function that it means.

    name: the last part of what is called. path: the dotted path where known. receiver: the class of the object that it
    is called on; on_self: that is the object of the method around. given: the identity of the parameter that it is.
    """

    name: str
    path: str
    receiver: str
    on_self: bool
    given: str


class CallSite(Struct, eq=False):
    """A call, for the project's call graph.

    path, receiver, on_self, given: see `Callee`. name: as the source has it, with dots.
    made_here: this function made the object that it is called on, inside the first `made_in` of the loops.
    on: the identity of the attribute that the object is read from. dropped: nobody takes the result.
    guarded: it stands behind a test that lets it be skipped, be that a setting, and be it outside of the loop: the
    question is whether there are runs without it. rare: a test inside the loop (in the function, where there is none)
    whose answer changes, or an exception, decides whether it is reached: the question is how often a run gets there.
    """

    name: str
    path: str
    receiver: str
    node: n.Call
    loops: tuple[Loop, ...]
    mode: str
    helpers: tuple[str, ...]
    args: tuple[Value, ...]
    keywords: tuple[tuple[str, Value], ...]
    on_self: bool
    made_here: bool = False
    made_in: int = 0
    on: str = ""
    given: str = ""
    dropped: bool = False
    guarded: bool = False
    rare: bool = False

    def passed(self) -> Iterator[tuple[int | str, n.Expr, Value]]:
        """Each argument: its position or name, its expression and its value."""
        nodes = dict(self.node.keywords)
        yield from ((number, *pair) for number, pair in enumerate(zip(self.node.args, self.args, strict=False)))
        yield from ((name, nodes[name], value) for name, value in self.keywords if name in nodes)

    @property
    def callee(self) -> Callee:
        return Callee(self.name.rpartition(".")[2], self.path, self.receiver, self.on_self, self.given)


class SumPassed(Struct, eq=False):
    """An unlimited sum is passed to a function, which may demand a range."""

    sums: frozenset[int]
    site: CallSite
    argument: int | str


class Sum(Struct, eq=False):
    """`position + displacement`, unlimited so far. tensor: one side is known to be a tensor."""

    id: int
    node: Any
    left: n.Expr
    right: n.Expr
    augmented: bool
    tensor: bool = False


class Contract(Struct, eq=False):
    """A range test of an unlimited sum, or of a parameter.

    low, high: sources of the bounds, "" where one is not tested. excluded: the bound that is itself outside.
    """

    sums: frozenset[int]
    parameter: str
    node: Any
    low: str
    high: str
    excluded: str


class Clamp(Struct, eq=False):
    """A call that limits a value, with its bounds."""

    node: n.Call
    low: Bound
    high: Bound


class RangeCheck(Struct, eq=False):
    """A comparison of a value that a clamp has limited, or of a parameter as the caller gave it, with a bound.

    limits: those of the value; None where a loop's second reading has shown that it has none.
    """

    node: n.Compare
    subject: n.Expr
    op: str
    bound: float | str
    limits: Limits | None
    parameter: str
    absolute: bool
    stmt: Any


class Events(Struct, eq=False):
    """All of it, in source order.

    indexed: the parameters of which single entries are read. runs: calls that run a module, gradients on or off.
    iterables: what the heads of loops and comprehensions go over, by the id of the expression.
    """

    forwards: list[Forward] = field(default_factory=list)
    training: list[Any] = field(default_factory=list)
    evals: list[tuple[str, Any]] = field(default_factory=list)
    frozen: list[Any] = field(default_factory=list)
    growths: list[Growth] = field(default_factory=list)
    shrinks: list[Shrink] = field(default_factory=list)
    inits: list[Init] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    draws: list[Draw] = field(default_factory=list)
    backwards: list[Backward] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    calls: list[CallSite] = field(default_factory=list)
    sums: list[Sum] = field(default_factory=list)
    contracts: list[Contract] = field(default_factory=list)
    sums_passed: list[SumPassed] = field(default_factory=list)
    clamps: list[Clamp] = field(default_factory=list)
    range_checks: list[RangeCheck] = field(default_factory=list)
    hooks: list[str] = field(default_factory=list)
    loops: list[Loop] = field(default_factory=list)
    indexed: set[str] = field(default_factory=set)
    runs: list[n.Call] = field(default_factory=list)
    host_reads: list[HostRead] = field(default_factory=list)
    iterables: dict[int, Value] = field(default_factory=dict)
