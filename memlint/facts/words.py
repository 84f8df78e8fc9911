"""How the facts are put to the reader."""

from __future__ import annotations

from memlint.facts import values as v
from memlint.facts.shapes import Size
from memlint.facts.values import Value

_KINDS = {
    v.TENSOR: "a tensor", v.OUTPUT: "a module's output", v.MODULE: "a module", v.ARRAY: "an array",
    v.NUMBER: "a number", v.STRING: "a text", v.LIST: "a list", v.DEQUE: "a deque", v.DICT: "a dict", v.SET: "a set",
    v.TUPLE: "a tuple", v.OBJECT: "an object", v.OPTIMIZER: "an optimizer",
}  # fmt: skip


def name_of(holder: str) -> str:
    """A container as the user would list it: `Trainer.log` for `class:Trainer.log`."""
    rest = holder.partition(":")[2].removesuffix("[]")
    return rest.replace(".<locals>", "").replace(":", ".")


def size_of(value: Value) -> Size | None:
    """The size of a tensor, or of the only one that a tuple, list or dict holds."""
    if value.size is not None:
        return value.size
    inside = [*(value.parts or ()), *([value.item] if value.item is not None and not value.parts else [])]
    sizes = [size for part in inside if part.kind in v.TENSOR_LIKE and (size := size_of(part)) is not None]
    return sizes[0] if len(sizes) == 1 and value.kind in v.CONTAINERS | {v.TUPLE} else None


def words_for(value: Value) -> str:
    """What a value is, where it lies and whether it carries a graph: `a tensor on the accelerator with its graph`."""
    words = _KINDS.get(value.kind, "")
    if not words:
        return ""
    if value.kind in v.TENSOR_LIKE:
        if value.device:
            words += " on the CPU" if value.device == v.CPU else " on the accelerator"
        if value.grad == v.ATTACHED or value.origins:
            words += " with its graph"
        return words
    inside = [*(value.parts or ()), *([value.item] if value.item is not None else [])]
    held = next((part for part in inside if part.kind in v.TENSOR_LIKE), None)
    return f"{words} that holds {words_for(held)}" if held is not None else words
