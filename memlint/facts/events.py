"""What the interpretation of one function writes down, for rules to ask about."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

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


@dataclass(slots=True, eq=False)
class Loop:
    """A loop. `kind` is refined as its body is read."""

    kind: str
    node: n.Stmt


@dataclass(slots=True, eq=False)
class Forward:
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


@dataclass(slots=True, eq=False)
class Use:
    """What happened to a forward's result: consumed, returned, yielded, stored, kept, passed, trained."""

    how: str
    node: Any
    detail: str


@dataclass(slots=True, eq=False)
class Growth:
    """A container that becomes larger by one statement.

    container: the expression; `holder` its identity; `how` append, extend, ...; item: the expression that is added.
    `how` is accumulate for a running sum or average: what is added joins the value itself.
    key: the subscript of `d[key] = item`.
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


@dataclass(slots=True, eq=False)
class Shrink:
    """Anything that bounds a container: clear, pop, del, slice assignment, a new binding."""

    holder: str
    how: str
    node: Any
    loops: tuple[Loop, ...]


@dataclass(slots=True, eq=False)
class Init:
    """Where a container is made. bounded: a deque with maxlen, a queue with maxsize."""

    holder: str
    node: Any
    loops: tuple[Loop, ...]
    kind: str
    bounded: bool


@dataclass(slots=True, eq=False)
class Read:
    """A use of a container's content. how: gathered, moved, length, index, iterated, returned, passed, other."""

    holder: str
    how: str
    node: Any
    loops: tuple[Loop, ...]


@dataclass(slots=True, eq=False)
class Draw:
    """What was done with a value that was computed from a container, a running sum, an attribute or a parameter.

    how: trained, detached (so it carried a graph), host (item, numpy, printed), returned, passed, stored.
    detail: the callee where it is passed.
    """

    holder: str
    how: str
    node: Any
    loops: tuple[Loop, ...]
    detail: str = ""


@dataclass(slots=True, eq=False)
class HostRead:
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


@dataclass(slots=True, eq=False)
class Backward:
    """A backward pass. names: what is mentioned in what it starts from; origins: the forward passes it runs back."""

    names: frozenset[str]
    node: Any
    loops: tuple[Loop, ...]
    origins: frozenset[int]
    keeps_graph: bool


@dataclass(slots=True, eq=False)
class Entry:
    """A value in a dict display or a call of `dict`."""

    mapping: n.Expr
    item: n.Expr
    value: Value
    mode: str


@dataclass(slots=True, eq=False)
class SumPassed:
    """An unlimited sum is passed to a function, which may demand a range."""

    sums: frozenset[int]
    name: str
    path: str
    receiver: str
    argument: int | str
    node: n.Call


@dataclass(slots=True, eq=False)
class CallSite:
    """A call, for the project's call graph.

    path: the dotted path where known; name: its last part; receiver: the class of the object it is called on.
    made_here: this function made that object, inside the first `made_in` of the loops.
    on: the identity of the attribute that the object is read from. given: that of the parameter that it is.
    dropped: nobody takes the result.
    guarded: it stands behind a test that lets it be skipped.
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


@dataclass(slots=True, eq=False)
class Sum:
    """`position + displacement`, unlimited so far. tensor: one side is known to be a tensor."""

    id: int
    node: Any
    left: n.Expr
    right: n.Expr
    augmented: bool
    tensor: bool = False


@dataclass(slots=True, eq=False)
class Contract:
    """A range test of an unlimited sum, or of a parameter.

    low, high: sources of the bounds, "" where one is not tested. excluded: the bound that is itself outside.
    """

    sums: frozenset[int]
    parameter: str
    node: Any
    low: str
    high: str
    excluded: str


@dataclass(slots=True, eq=False)
class Clamp:
    """A call that limits a value, with its bounds."""

    node: n.Call
    low: Bound
    high: Bound


@dataclass(slots=True, eq=False)
class RangeCheck:
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


@dataclass(slots=True, eq=False)
class Events:
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
