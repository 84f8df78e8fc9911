"""What should be gone by now."""

from __future__ import annotations

from msgspec import Struct

from memlint.facts.defects.spans import Span


class UnreleasedObject(Struct, frozen=True):
    """Something large that is alive while what replaces it, or what follows it, is built.

    form: slot (owner and key name it: `release(owner, key)` before the statement), dict (the name `key` is not used
        after the statement) or idle (an optimizer, the name `key`, is not used in the statement or after it).
    statement: span of that statement.
    """

    form: str
    statement: Span
    key: str
    owner: str = ""


class FutileRelease(Struct, frozen=True):
    """A release that frees nothing.

    statement: span of the `del`, or of the loop that removes hooks. name: what should have gone.
    holder: what holds it still, as reports say it.
    """

    statement: Span
    name: str
    holder: str


class UnclosedResource(Struct, frozen=True):
    """Something that lives on until it is closed, and is not.

    call: span of the call that opens it. kind: figure | pool | writer.
    """

    call: Span
    kind: str
