"""What annotations say of values: `Optional[Tensor]`, `dict[str, Tensor]`, `Float[Tensor, "b c"]`, `"nn.Module"`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from memlint.facts import knowledge as k
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.values import Value

if TYPE_CHECKING:
    from memlint.facts import FileFacts

Meaning = dict[str, Any]

_WHOLE: Meaning = {"kind": v.TENSOR, "integral": True, "grad": v.DETACHED}
_PLAIN: dict[str, Meaning] = {
    "torch.Tensor": {"kind": v.TENSOR},
    "torch.FloatTensor": {"kind": v.TENSOR},
    "torch.HalfTensor": {"kind": v.TENSOR},
    "torch.BFloat16Tensor": {"kind": v.TENSOR},
    "torch.DoubleTensor": {"kind": v.TENSOR},
    "torch.nn.Parameter": {"kind": v.TENSOR},
    "torch.nn.parameter.Parameter": {"kind": v.TENSOR},
    "torch.autograd.Variable": {"kind": v.TENSOR},
    "torch.cuda.FloatTensor": {"kind": v.TENSOR, "device": v.ACCELERATOR},
    "torch.LongTensor": _WHOLE,
    "torch.IntTensor": _WHOLE,
    "torch.BoolTensor": _WHOLE,
    "torch.ByteTensor": _WHOLE,
    "torch.cuda.LongTensor": {**_WHOLE, "device": v.ACCELERATOR},
    "torchtyping.TensorType": {"kind": v.TENSOR},
    "torch.nn.Module": {"kind": v.MODULE},
    "torch.utils.data.DataLoader": {"kind": v.LOADER},
    "torch.device": {"kind": v.DEVICE, "device": v.ACCELERATOR},
    "numpy.ndarray": {"kind": v.ARRAY},
    "numpy.typing.NDArray": {"kind": v.ARRAY},
    "int": {"kind": v.NUMBER},
    "float": {"kind": v.NUMBER},
    "bool": {"kind": v.NUMBER},
    "str": {"kind": v.STRING},
    "typing.Callable": {"kind": v.FUNCTION},
    "collections.abc.Callable": {"kind": v.FUNCTION},
}
# What holds other things; the last of its parameters is what it holds.
_HOLDING = {
    "list": v.LIST, "typing.List": v.LIST, "typing.MutableSequence": v.LIST, "collections.abc.MutableSequence": v.LIST,
    "dict": v.DICT, "typing.Dict": v.DICT, "typing.Mapping": v.DICT, "collections.abc.Mapping": v.DICT,
    "typing.MutableMapping": v.DICT, "collections.abc.MutableMapping": v.DICT, "collections.OrderedDict": v.DICT,
    "typing.OrderedDict": v.DICT, "collections.defaultdict": v.DICT, "typing.DefaultDict": v.DICT,
    "set": v.SET, "typing.Set": v.SET, "collections.deque": v.DEQUE, "typing.Deque": v.DEQUE,
    "tuple": v.TUPLE, "typing.Tuple": v.TUPLE,
    # No more is known of these than what going through them gives.
    "typing.Sequence": v.UNKNOWN, "typing.Iterable": v.UNKNOWN, "typing.Iterator": v.UNKNOWN,
    "collections.abc.Sequence": v.UNKNOWN, "collections.abc.Iterable": v.UNKNOWN, "collections.abc.Iterator": v.UNKNOWN,
}  # fmt: skip
# What only says something about the type inside: its first parameter.
_AROUND = frozenset({"Annotated", "Final", "ClassVar", "Required", "NotRequired", "Unpack", "InitVar", "Awaitable"})
_TYPING = ("typing.", "typing_extensions.", "dataclasses.", "collections.abc.")
# Types of jaxtyping: the array type comes first, then the shape; an empty shape is a number on the device.
_JAXTYPING = "jaxtyping."
_WHOLE_NUMBERS = ("Int", "UInt", "Bool", "Key")


def meaning(note: n.Expr, file: FileFacts) -> Meaning:
    """What an annotation says of a value, as fields of it."""
    if isinstance(note, n.Const) and isinstance(note.value, str):
        return _quoted(note.value, file)
    if isinstance(note, n.Binary) and note.op == "BitOr":
        return _either([note.left, note.right], file)
    if isinstance(note, n.Item):
        return _subscripted(note, file)
    return _named(n.dotted(note), file)


def _quoted(text: str, file: FileFacts) -> Meaning:
    if text.replace(".", "").isidentifier():
        return _named(text, file)
    import libcst as cst

    from memlint.facts.lower import expr

    try:
        return meaning(expr(cst.parse_expression(text)), file)
    except (cst.ParserSyntaxError, cst.CSTValidationError, RecursionError):
        return {}


def _either(notes: Sequence[n.Expr], file: FileFacts) -> Meaning:
    """Of several types, other than None, what they agree on."""
    found = [meaning(note, file) for note in notes if not (isinstance(note, n.Const) and note.value is None)]
    return found[0] if found and all(other == found[0] for other in found[1:]) else {}


def _subscripted(note: n.Item, file: FileFacts) -> Meaning:
    path = _path(n.dotted(note.value), file)
    last = path.rpartition(".")[2]
    inner = note.index.elements if isinstance(note.index, n.Sequence) else [note.index]
    if path.startswith(_TYPING):
        if last in ("Optional", "Union"):
            return _either(inner, file)
        if last in _AROUND:
            return meaning(inner[0], file)
    if path.startswith(_JAXTYPING):
        found = meaning(inner[0], file)
        if found.get("kind") == v.TENSOR:
            scalar = isinstance(inner[-1], n.Const) and inner[-1].value == ""
            whole = _WHOLE if last.startswith(_WHOLE_NUMBERS) else {}
            return {**found, **whole, **({"zero_d": True} if scalar else {})}
        return found
    if path in _HOLDING:
        return _holding(_HOLDING[path], inner, file)
    return _named(n.dotted(note.value), file)


def _holding(kind: str, inner: Sequence[n.Expr], file: FileFacts) -> Meaning:
    items = [Value(**meaning(part, file)) for part in inner]
    if kind != v.TUPLE:
        return {"kind": kind, "item": items[-1]}
    if len(inner) == 2 and isinstance(inner[1], n.Const) and inner[1].value is None:  # `tuple[X, ...]`
        return {"kind": kind, "item": items[0]}
    return {"kind": kind, "parts": tuple(items)}


def _named(text: str, file: FileFacts) -> Meaning:
    path = _path(text, file)
    if path in _PLAIN:
        return dict(_PLAIN[path])
    if _HOLDING.get(path):
        return {"kind": _HOLDING[path]}
    if path.startswith(k.OPTIMIZER_PATHS) and not path.startswith(k.NOT_OPTIMIZER_PATHS):
        return {"kind": v.OPTIMIZER}
    cls = file.classes.get(path.rpartition(".")[2])
    if cls is not None:
        if not cls.is_module(file.classes):
            return {"kind": v.OBJECT, "path": path}
        return {"kind": v.MODULE, "path": path, "frozen": cls.freezes() or cls.without_parameters(file.names)}
    if path in k.MODULE_BASES or path.startswith("torch.nn.") and not path.startswith(k.NOT_MODULE_PATHS):
        return {"kind": v.MODULE}
    return {"path": path} if file.names.path(text) else {}


def _path(text: str, file: FileFacts) -> str:
    return file.names.path(text) or text
