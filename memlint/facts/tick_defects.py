"""The typed facts of rules about loops that tick, for their fixers. Spans as in `memlint.facts.defects`."""

from __future__ import annotations

from dataclasses import dataclass

from memlint.facts.defects import Span


@dataclass(frozen=True, slots=True)
class StepWrite:
    """A file that each pass of a loop opens, writes anew or flushes.

    form: appended | rewritten | flushed | finally. call: the one that does it. loop: the loop, where it is here.
    path: of the file that the call opens.
    """

    form: str
    call: Span
    loop: Span | None
    path: Span | None = None


@dataclass(frozen=True, slots=True)
class OneTaken:
    """A queue that each tick takes one event from.

    queue: its source. test: span of the `if` that asks whether something waits, None where there is none.
    """

    queue: str
    test: Span | None


@dataclass(frozen=True, slots=True)
class RecordClass:
    """A class without slots of which a container keeps one object per step.

    form: dataclass | plain. decorator: span of `@dataclass` without the sign. fields: its attributes.
    obstacles: why slots would change what the class does. proved: nothing in the project stands against them.
    """

    form: str
    decorator: Span | None
    fields: tuple[str, ...]
    obstacles: tuple[str, ...]
    proved: bool = False
