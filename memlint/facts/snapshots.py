"""Values that are kept on the accelerator beyond their step: the question behind snapshots-to-cpu."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from memlint.facts import FileFacts, Scope
from memlint.facts import knowledge as k
from memlint.facts import values as v
from memlint.facts.events import CONSTANT, EPOCH, REPEATING, STRUCTURE, Growth, Read

_ON_CPU = frozenset({"moved", "length", "gathered"})


@dataclass(slots=True, eq=False)
class Snapshot:
    """A growth that keeps something on the accelerator.

    only_read_on_cpu: all known consumers move the values. repeats: a loop here repeats it.
    """

    scope: Scope
    growth: Growth
    form: str
    only_read_on_cpu: bool
    repeats: bool
    reasons: list[tuple[object, str]]
    question: str = ""


def snapshots(facts: FileFacts) -> Iterator[Snapshot]:
    """Every such growth of a file."""
    reads = _reads(facts)
    made = {init.holder for scope in facts.all_scopes() for init in scope.events.inits}
    for scope in facts.all_scopes():
        for growth in scope.events.growths:
            if growth.how == "moved" and growth.holder.removesuffix("[]") not in made:
                continue  # entries of something that this file did not make are not its cache
            found = _judge(scope, growth, reads.get(growth.holder.removesuffix("[]"), []))
            if found is not None:
                yield found


def _judge(scope: Scope, growth: Growth, reads: list[Read]) -> Snapshot | None:
    value, holder = growth.value, growth.holder
    outer = [loop for loop in growth.loops if loop.kind not in (CONSTANT, STRUCTURE)]
    if growth.how == "moved":
        if holder.startswith(("class:", "module:")) and holder.endswith("[]"):
            return Snapshot(scope, growth, "cache-moved", False, True, [(growth.node, "the entry itself is changed")])
        return None
    if growth.how not in ("append", "appendleft", "setitem") or value.device == v.CPU or value.zero_d:
        return None
    if value.path == "state_dict" and outer and outer[-1].kind in REPEATING | {EPOCH, "range", "items"}:
        copied = value.const == "copied"
        return Snapshot(scope, growth, "state-dict" if copied else "state-dict-alias", False, True,
                        [(growth.node, "one more for each pass of the loop")])  # fmt: skip
    if value.kind in (v.NUMBER, v.STRING, v.ARRAY, v.DICT, v.OBJECT, v.MODULE, v.LIST):
        return None
    moved = [read for read in reads if read.how == "moved"]
    local_moved = bool(moved) and not growth.loops or any(_after(read, growth) for read in moved)
    if growth.how == "setitem" or any(read.how == "numpy" for read in reads):
        return None
    if local_moved or holder.startswith("param:") and growth.loops and not reads_on_device(reads):
        only = all(read.how in _ON_CPU for read in reads) and holder.startswith("local:")
        if not outer and holder.startswith("local:"):
            return None
        reasons: list[tuple[object, str]] = [(growth.node, "appended on the device where it was computed")]
        return Snapshot(scope, growth, "gathered", only, bool(growth.loops) or not holder.startswith("class:"), reasons)
    if holder.startswith("class:") and value.device == v.ACCELERATOR and value.kind in v.TENSOR_LIKE:
        if value.grad == v.ATTACHED or v.graph_of(value):
            return None
        in_hook = scope.name in k.GRAD_OFF_HOOKS
        if reads_on_device(reads) and not in_hook:
            return None
        reasons = [(growth.node, "this value is on the accelerator")]
        repeats = any(loop.kind in REPEATING for loop in growth.loops)
        question = "whether the whole of it is needed on the accelerator" if reads_on_device(reads) else ""
        return Snapshot(scope, growth, "stored", False, repeats, reasons, question)
    return None


def reads_on_device(reads: list[Read]) -> bool:
    """Whether something uses the gathered values where they are: concatenated, iterated or passed on, not moved."""
    return any(read.how in ("gathered", "passed", "returned", "iterated") for read in reads) and not any(
        read.how == "moved" for read in reads
    )


def _after(read: Read, growth: Growth) -> bool:
    """Whether a read stands outside the loop that fills the list."""
    if not growth.loops:
        return False
    inner = growth.loops[-1]
    return inner not in read.loops


def _reads(facts: FileFacts) -> dict[str, list[Read]]:
    reads: dict[str, list[Read]] = {}
    for scope in facts.all_scopes():
        for read in scope.events.reads:
            reads.setdefault(read.holder.removesuffix("[]"), []).append(read)
    return reads
