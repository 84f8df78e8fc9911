"""What the loop pays for each item and each step."""

from __future__ import annotations

from msgspec import Struct

from memlint.facts.defects.spans import Span


class PerItemLoop(Struct, frozen=True):
    """A loop over rows that one batched call replaces.

    loop: span of the for statement.
    form: nearest | round | clamp | trunc | floor | ceil.
    result, points, grid: sources of the written tensor, the read rows, the grid (nearest only).
    count: source of the loop bound when it is not the length of points, else "".
    stores: rows (grid rows are written) | index (the index is written).
    arguments: source of further call arguments for clamp ("min=-1, max=1").
    collects: True where the loop appends to a list that is stacked afterwards.
    unused_after: True where no name that the loop body binds is read after the loop.
    exact: the batched call is proved to give the same values (then the fix is safe).
    """

    loop: Span
    form: str
    result: str
    points: str
    grid: str = ""
    count: str = ""
    stores: str = "rows"
    arguments: str = ""
    collects: bool = False
    unused_after: bool = True
    exact: bool = True


class ReadsPerItem(Struct, frozen=True):
    """Numbers that a loop reads out of tensors one by one.

    loop: span of the for statement or of the comprehension. iterables: spans of the tensors that it goes over.
    reads: span of each expression to replace, the source of the tensor to read at once ("" where the loop goes over
    it), and the name that stands for the position, or for the entry itself.
    exact: nothing in the loop can change what is read. hinder: why there is no mechanical cure, "" where there is one.
    """

    loop: Span
    iterables: tuple[Span, ...]
    reads: tuple[tuple[Span, str, str], ...]
    exact: bool
    hinder: str = ""


class BroadcastSearch(Struct, frozen=True):
    """A nearest-row search that compares all rows with each other at once.

    call: span of the argmin. steps: spans of the statements that only lead to it. points, grid: their sources.
    """

    call: Span
    steps: tuple[Span, ...]
    points: str
    grid: str


class MadePerItem(Struct, frozen=True):
    """A tensor that a loop fills entry by entry, or small tensors that it makes one by one.

    form: filled | numbers | empty. loop: span of the for statement or of the comprehension.
    node: span of the first write's target, or of the call that makes the tensor.
    targets: span of each write's target, with the tensor's name and the sources of the indices.
    gathered: span of the `torch.stack` or `torch.cat` around the comprehension, None where there is none.
    """

    form: str
    loop: Span
    node: Span
    targets: tuple[tuple[Span, str, tuple[str, ...]], ...] = ()
    gathered: Span | None = None


class OneByOneDecay(Struct, frozen=True):
    """A number of many objects that is multiplied one object at a time.

    form: each, or first where the loop leaves after the first object. statement: span of the multiplication.
    """

    form: str
    statement: Span


class FrequentMessage(Struct, frozen=True):
    """Messages that are written in each step, and what is computed for them.

    lines: spans of these statements, all in one block, in order. loop: span of the outermost hot loop around them, None
    where a loop elsewhere runs the function. logger: where all of them are of the debug level of one, its source.
    """

    lines: tuple[Span, ...]
    loop: Span | None
    logger: str


class CacheCleared(Struct, frozen=True):
    """Cache clearing that runs in every step.

    form: each-step | in-a-step | allocated | mlx. calls: spans of the calls. loop: the loop to make a `Cleanup` before.
    owner: the constructor of the object whose method it is. self_name: what that method calls the object.
    """

    form: str
    calls: tuple[Span, ...]
    loop: Span | None = None
    owner: Span | None = None
    self_name: str = ""


class SleptForDevice(Struct, frozen=True):
    """A pause in which the device is to finish or to free something.

    call: span of the call of `time.sleep`. clear: span of the call behind which it stands, None where it stands before.
    """

    call: Span
    clear: Span | None


class StepWrite(Struct, frozen=True):
    """A file that each pass of a loop opens, writes anew or flushes.

    form: appended | rewritten | flushed | finally. call: the one that does it. loop: the loop, where it is here.
    path: of the file that the call opens.
    """

    form: str
    call: Span
    loop: Span | None
    path: Span | None = None


class OneTaken(Struct, frozen=True):
    """A queue that each tick takes one event from.

    queue: its source. test: span of the `if` that asks whether something waits, None where there is none.
    """

    queue: str
    test: Span | None


class RecordClass(Struct, frozen=True):
    """A class without slots of which a container keeps one object per step.

    form: dataclass | plain. decorator: span of `@dataclass` without the sign. fields: its attributes.
    obstacles: why slots would change what the class does. proved: nothing in the project stands against them.
    """

    form: str
    decorator: Span | None
    fields: tuple[str, ...]
    obstacles: tuple[str, ...]
    proved: bool = False
