"""The typed facts about work that is done item by item, or for all items at once, where a batched call would do."""

from __future__ import annotations

from dataclasses import dataclass

from memlint.facts.defects import Span


@dataclass(frozen=True, slots=True)
class ReadsPerItem:
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


@dataclass(frozen=True, slots=True)
class BroadcastSearch:
    """A nearest-row search that compares all rows with each other at once.

    call: span of the argmin. steps: spans of the statements that only lead to it. points, grid: their sources.
    """

    call: Span
    steps: tuple[Span, ...]
    points: str
    grid: str


@dataclass(frozen=True, slots=True)
class MadePerItem:
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
