"""Shapes and bytes of tensors, as far as literals tell: `torch.zeros(1, 64, 64, 192)` is 3.1 MB of float32."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from memlint.facts import knowledge as k
from memlint.facts import nodes as n

if TYPE_CHECKING:
    from memlint.facts.values import Value

BYTES = {
    "float32": 4, "float": 4, "float64": 8, "double": 8, "float16": 2, "half": 2, "bfloat16": 2, "int64": 8, "long": 8,
    "int32": 4, "int": 4, "int16": 2, "short": 2, "int8": 1, "uint8": 1, "bool": 1, "complex64": 8, "complex128": 16,
    "cfloat": 8, "cdouble": 16, "float8_e4m3fn": 1, "float8_e5m2": 1,
}  # fmt: skip
_FULL = {"float": "float32", "double": "float64", "half": "float16", "long": "int64", "int": "int32", "short": "int16",
         "cfloat": "complex64", "cdouble": "complex128"}  # fmt: skip
_WHOLE = k.names("int64 int32 int16 int8 uint8 bool")
_BY_SIZE = k.names("zeros ones rand randn empty")
_SAME = k.names(
    "clone detach cpu cuda to contiguous requires_grad_ pin_memory share_memory_ relu tanh sigmoid exp log abs neg "
    "sqrt square sin cos softmax log_softmax clamp clip round floor ceil trunc gelu silu nan_to_num rsqrt sign erf"
)
_TWO_SIDED = k.names("add sub mul add_ sub_ mul_ div_ maximum minimum")
_CASTS = k.names("half bfloat16 float double long int short bool byte char")
_CAST_TO = {**_FULL, "bfloat16": "bfloat16", "bool": "bool", "byte": "uint8", "char": "int8"}

Number = Callable[[n.Expr], "int | None"]


class Size(NamedTuple):
    """How large a tensor is."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def bytes(self) -> int:
        """What its elements take."""
        return math.prod(self.shape) * BYTES[self.dtype]

    def __str__(self) -> str:
        return f"{amount(self.bytes)}: [{', '.join(map(str, self.shape))}] {self.dtype}"


def amount(count: int) -> str:
    """A number of bytes, with decimal units."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} bytes"


def created(
    last: str, expr: n.Call, args: Sequence[Value], keywords: Sequence[tuple[str, Value]], number: Number
) -> Size | None:
    """The size of what a function of torch makes from nothing. last: its name."""
    dtype = _dtype_of(keywords)
    if dtype is None:
        return None
    if last.endswith("_like"):
        like = args[0].size if args else None
        return Size(like.shape, dtype or like.dtype) if like is not None else None
    sizes = list(expr.args)
    named = next((value for name, value in expr.keywords if name == "size"), None)
    if last == "full":
        fill = expr.argument(1, "fill_value")
        sizes = [named or sizes[0]] if named is not None or sizes else []
        if not dtype and not isinstance(fill, n.Const):
            return None
        kind = type(fill.value) if isinstance(fill, n.Const) else float
        dtype = dtype or {bool: "bool", int: "int64"}.get(kind, "float32")
    elif last == "randint":
        sizes = [named] if named is not None else sizes[-1:]
        dtype = dtype or "int64"
    elif last in ("arange", "randperm"):
        ends = [number(part) for part in sizes]
        if not ends or len(ends) > 2 or None in ends:
            return None
        return Size((max(ends[-1] - (ends[0] if len(ends) == 2 else 0), 0),), dtype or "int64")  # type: ignore[operator]
    elif last == "eye":
        sizes = sizes * 2 if len(sizes) == 1 else sizes
    elif last in _BY_SIZE:
        sizes = [named] if named is not None else sizes
    else:
        return None
    shape = _shape(sizes, number)
    return Size(shape, dtype or "float32") if shape is not None else None


def after_method(
    method: str,
    expr: n.Call,
    before: Size,
    args: Sequence[Value],
    keywords: Sequence[tuple[str, Value]],
    number: Number,
) -> Size | None:
    """The size of what a method of a tensor, or the function of that name, gives. args: without the tensor itself."""
    shape, dtype = before
    if method in _CASTS and not args:
        return Size(shape, _CAST_TO[method])
    if method in _SAME:
        wanted = _dtype_of(keywords)
        path = args[0].path.rpartition(".")[2] if method == "to" and args else ""
        if wanted is None or method == "to" and args and args[0].size is not None:
            return None
        return Size(shape, _FULL.get(path, path) if path in BYTES else wanted or dtype)
    if method in _TWO_SIDED and len(args) == 1:
        return combined(before, args[0], "")
    given = [number(part) for part in expr.args[len(expr.args) - len(args) :]]
    if None in given or keywords:
        return None
    numbers = [value for value in given if value is not None]
    if method == "unsqueeze" and len(numbers) == 1 and -len(shape) - 1 <= numbers[0] <= len(shape):
        at = numbers[0] % (len(shape) + 1)
        return Size((*shape[:at], 1, *shape[at:]), dtype)
    if method == "squeeze" and not numbers:
        return Size(tuple(side for side in shape if side != 1), dtype)
    if method == "flatten" and not numbers:
        return Size((math.prod(shape),), dtype)
    if method in ("view", "reshape") and numbers:
        return _reshaped(before, numbers)
    if method == "permute" and sorted(numbers) == list(range(len(shape))):
        return Size(tuple(shape[at] for at in numbers), dtype)
    if method == "repeat" and len(numbers) == len(shape):
        return Size(tuple(side * times for side, times in zip(shape, numbers, strict=True)), dtype)
    return None


def combined(left: Size, right: Value, op: str) -> Size | None:
    """The size of an elementwise operation with a number or another tensor. op: as the tree names it."""
    if op == "MatrixMultiply":
        return None
    dtype = "float32" if op == "Divide" and left.dtype in _WHOLE else left.dtype
    if right.size is None:
        return Size(left.shape, dtype) if right.kind == "number" and left.dtype not in _WHOLE else None
    if right.size.dtype != left.dtype:
        return None
    long, short = sorted((left.shape, right.size.shape), key=len, reverse=True)
    out = list(long)
    for at in range(1, len(short) + 1):
        if 1 not in (long[-at], short[-at]) and long[-at] != short[-at]:
            return None
        out[-at] = max(long[-at], short[-at])
    return Size(tuple(out), dtype)


def item_of(before: Size, index: n.Expr, number: Number) -> Size | None:
    """The size of `x[None]` and of `x[3]`."""
    if isinstance(index, n.Const) and getattr(index.ref, "value", "") == "None":
        return Size((1, *before.shape), before.dtype)
    if before.shape and number(index) is not None:
        return Size(before.shape[1:], before.dtype)
    return None


def _reshaped(before: Size, sides: list[int]) -> Size | None:
    count, known = math.prod(before.shape), math.prod(side for side in sides if side != -1)
    if sides.count(-1) == 1 and known and count % known == 0:
        sides = [count // known if side == -1 else side for side in sides]
    return Size(tuple(sides), before.dtype) if math.prod(sides) == count and min(sides) >= 0 else None


def _shape(sizes: Sequence[n.Expr], number: Number) -> tuple[int, ...] | None:
    if len(sizes) == 1 and isinstance(sizes[0], n.Sequence):
        sizes = sizes[0].elements
    sides = [number(part) for part in sizes]
    known = [side for side in sides if side is not None and side >= 0]
    return tuple(known) if len(known) == len(sides) > 0 else None


def _dtype_of(keywords: Sequence[tuple[str, Value]]) -> str | None:
    """The dtype that a call asks for: "" where it asks for none, None where it is not known."""
    for name, value in keywords:
        if name == "dtype":
            last = value.path.rpartition(".")[2]
            return _FULL.get(last, last) if last in BYTES else None
        if name == "out":
            return None
    return ""
