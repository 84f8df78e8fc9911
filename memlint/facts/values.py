"""What the model knows of a value: what it is, where it lives, whether it carries a graph, who holds it."""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from memlint.facts.limits import Limits, hull
from memlint.facts.shapes import Size

# What a value is. A module's raw output is no tensor until an operation proves it: it may be a dict or a dataclass.
UNKNOWN = ""
TENSOR = "tensor"
OUTPUT = "output"
MODULE = "module"
OPTIMIZER = "optimizer"
LOADER = "loader"
ARRAY = "array"
NUMBER = "number"
STRING = "string"
LIST = "list"
DEQUE = "deque"
DICT = "dict"
SET = "set"
QUEUE = "queue"
TUPLE = "tuple"
OBJECT = "object"
FUNCTION = "function"
CLASS = "class"
PACKAGE = "package"
DEVICE = "device"
GRAD_MODE = "grad mode"
NONE = "none"

CONTAINERS = frozenset({LIST, DEQUE, DICT, SET, QUEUE})
TENSOR_LIKE = frozenset({TENSOR, OUTPUT})

CPU = "cpu"
ACCELERATOR = "accelerator"

ATTACHED = "attached"
DETACHED = "detached"

NO_IDS: frozenset[int] = frozenset()
NO_NAMES: frozenset[str] = frozenset()
# Drawn from a call that may have run a network, in a function that handed it back.
NETWORK = "network:"


class Value(Struct, frozen=True):
    """An abstract value; empty fields are unknown.

    path: the dotted path where it is a known function, class or module; for objects that of their class.
    origins: ids of the forward passes (in this function) whose graph it carries.
    sums: ids of the additions (in this function) of which it is the raw, unlimited result.
    gathered: the identity of the list that it was concatenated from.
    holder: the identity of a container, see `memlint.facts.containers`.
    item: what a container holds; for a tensor, unused. parts: the values of a tuple by position, or of a dict whose
    keys are all known: `const` then names them, see `keyed`.
    zero_d: a tensor without dimensions. view: the source of the larger tensor whose storage it shares.
    integral: a tensor of whole numbers. frozen: a module whose parameters need no gradients.
    drawn: the identities of the containers, running sums, attributes and parameters that it was computed from.
    size: shape and dtype of a tensor, where literals tell. limits: the range that a clamp has left.
    const: the value of a literal. source: the dotted name in the code that it was last read from.
    """

    kind: str = UNKNOWN
    device: str = ""
    grad: str = ""
    zero_d: bool = False
    path: str = ""
    origins: frozenset[int] = NO_IDS
    sums: frozenset[int] = NO_IDS
    gathered: str = ""
    holder: str = ""
    item: Value | None = None
    parts: tuple[Value, ...] | None = None
    const: Any = None
    source: str = ""
    frozen: bool = False
    integral: bool = False
    drawn: frozenset[str] = NO_NAMES
    view: str = ""
    size: Size | None = None
    limits: Limits | None = None

    def but(self, **changes: Any) -> Value:
        """The same value with some fields changed."""
        return replace(self, **changes)

    def read_as(self, source: str) -> Value:
        """The same value, as read from this name."""
        return self if self.source == source else self.but(source=source)

    def detached(self) -> Value:
        """The same value without a graph."""
        return self.but(grad=DETACHED, origins=NO_IDS, drawn=NO_NAMES)


ANYTHING = Value()
A_NUMBER = Value(NUMBER)
A_STRING = Value(STRING)


def join(a: Value, b: Value) -> Value:
    """What is known when a value may be either: graphs, accelerators and open sums are kept, the rest must agree."""
    if a is b or a == b:
        return a
    if a.kind == NONE or a == ANYTHING:
        limits = b.limits if a.kind == NONE else None
        return b.but(origins=a.origins | b.origins, holder=b.holder or a.holder, drawn=a.drawn | b.drawn, limits=limits)
    if b.kind == NONE or b == ANYTHING:
        limits = a.limits if b.kind == NONE else None
        return a.but(origins=a.origins | b.origins, holder=a.holder or b.holder, drawn=a.drawn | b.drawn, limits=limits)
    kind = a.kind if a.kind == b.kind else _joined_kind(a.kind, b.kind)
    parts = None
    if a.parts is not None and b.parts is not None and len(a.parts) == len(b.parts):
        parts = tuple(join(x, y) for x, y in zip(a.parts, b.parts, strict=True))
    return Value(
        kind=kind,
        device=ACCELERATOR if ACCELERATOR in (a.device, b.device) else a.device if a.device == b.device else "",
        grad=ATTACHED if ATTACHED in (a.grad, b.grad) else a.grad if a.grad == b.grad else "",
        zero_d=a.zero_d and b.zero_d,
        path=a.path if a.path == b.path else "",
        origins=a.origins | b.origins,
        sums=a.sums | b.sums,
        gathered=a.gathered or b.gathered,
        holder=a.holder or b.holder,
        item=joined(a.item, b.item),
        parts=parts,
        const="bounded" if "bounded" in (a.const, b.const) else a.const if a.const == b.const else None,
        source=a.source if a.source == b.source else "",
        frozen=a.frozen and b.frozen,
        integral=a.integral and b.integral,
        drawn=a.drawn | b.drawn,
        view=a.view and b.view,
        size=a.size if a.size == b.size else None,
        limits=hull(a.limits, b.limits),
    )


def joined(a: Value | None, b: Value | None) -> Value | None:
    """`join` where either may be absent."""
    if a is None or b is None:
        return a or b
    return join(a, b)


def _joined_kind(a: str, b: str) -> str:
    if {a, b} <= TENSOR_LIKE:
        return OUTPUT
    if not a or not b:
        return a or b
    if NUMBER in (a, b) and TENSOR in (a, b):
        return TENSOR  # `total = 0; total += loss`
    return UNKNOWN


def widest(values: list[Value]) -> Value:
    """The join of several values."""
    out = ANYTHING
    for value in values:
        out = join(out, value)
    return out


def graph_of(value: Value) -> frozenset[int]:
    """The forward passes whose graph a value or anything inside it carries."""
    ids = value.origins
    if value.item is not None:
        ids |= graph_of(value.item)
    for part in value.parts or ():
        ids |= graph_of(part)
    return ids


def sums_of(value: Value) -> frozenset[int]:
    """The open sums in a value or anything inside it."""
    ids = value.sums
    if value.item is not None:
        ids |= sums_of(value.item)
    for part in value.parts or ():
        ids |= sums_of(part)
    return ids


def keyed(entries: dict[str, Value]) -> Value:
    """A dict whose entries are known one by one."""
    values = tuple(entries.values())
    return Value(DICT, item=widest(list(values)) if values else None, parts=values, const=("keys", *entries))


def entries_of(value: Value) -> dict[str, Value] | None:
    """The entries of such a dict, None for any other value."""
    if value.kind != DICT or value.parts is None or not isinstance(value.const, tuple):
        return None
    return dict(zip(value.const[1:], value.parts, strict=True))


def drawn_of(value: Value) -> frozenset[str]:
    """What a value or anything inside it was computed from, and the container that it is."""
    names = value.drawn | {value.holder} if value.holder else value.drawn
    if value.item is not None:
        names |= drawn_of(value.item)
    for part in value.parts or ():
        names |= drawn_of(part)
    return names


def class_of(value: Value) -> str:
    """The dotted path of an object's class, "" where it is not known."""
    return value.path if value.kind in (OBJECT, MODULE, UNKNOWN) and "." in value.path else ""


def attached(value: Value) -> bool:
    """Whether a value, or something inside it, is known to carry a graph."""
    if value.grad == ATTACHED and not value.integral and value.kind not in (MODULE, NUMBER, STRING, ARRAY, NONE):
        return True
    if value.item is None and value.parts is None:
        return False
    inside = (*(value.parts or ()), *((value.item,) if value.item is not None else ()))
    return any(attached(part) for part in inside)


def without_ids(value: Value) -> Value:
    """A value as other functions may see it: ids of events are one function's own."""
    item = without_ids(value.item) if value.item is not None else None
    parts = tuple(without_ids(part) for part in value.parts) if value.parts is not None else None
    drawn = frozenset(name for name in value.drawn if name.startswith(_LASTING)) if value.drawn else NO_NAMES
    return value.but(origins=NO_IDS, sums=NO_IDS, source="", view="", item=item, parts=parts, drawn=drawn, limits=None)


# Identities that mean the same in every function.
_LASTING = ("class:", "module:", "attr:", "network:")
