"""Checkpoints, settings, and the watch over memory."""

from __future__ import annotations

from msgspec import Struct

from memlint.facts.defects.spans import Span


class UnmappedLoad(Struct, frozen=True):
    """A checkpoint that is read back onto the device it was saved from.

    call: span of the `torch.load` call.
    stays: a whole module that is used where it lands: loading it elsewhere would move it.
    """

    call: Span
    stays: bool


class UnvalidatedWeights(Struct, frozen=True):
    """Weights that are loaded without a look at the configuration that was saved with them.

    form: unchecked | late | handed-out. loaded: span of the statement that names the checkpoint, None where nothing
    does; name: that name. entry: the key of the saved configuration. current: source of the one in use, as it is saved.
    keys: the entries that the model was built from.
    """

    form: str
    loaded: Span | None
    name: str
    entry: str
    current: str
    keys: tuple[str, ...] = ()


class UnsavedReload(Struct, frozen=True):
    """A reload of a file that the save before it may not have written.

    form: nothing (it returns without writing) | elsewhere (it writes under another name).
    save, load: spans of the two calls. path: source of what is reloaded.
    """

    form: str
    save: Span
    load: Span
    path: str


class HiddenLimit(Struct, frozen=True):
    """A limit on memory that an interval hides.

    form: absorbed (it can never decide anything) | nested (it is asked only when the interval is due).
    test: span of the comparison.
    """

    form: str
    test: Span


class UnwatchedStep(Struct, frozen=True):
    """A training step whose memory nobody measures, or a probe that nobody calls.

    form: step | loop | unused. name: of the function. place: span of the function or of the loop.
    """

    form: str
    name: str
    place: Span


class BlindMonitor(Struct, frozen=True):
    """A monitor of memory that sees nothing, or a large allocation without a look at what is free.

    form: side-by-side | unguarded. value: span of the difference, or of what allocates. loop: span of the loop around.
    first: span of the statement of the first sample where nothing else reads it. after: source of the second sample.
    unit: of the difference, bytes | kb | mb | gb, "" where it is not known; scale: by how much samples are divided.
    needed: bytes.
    """

    form: str
    value: Span
    loop: Span | None = None
    first: Span | None = None
    after: str = ""
    unit: str = ""
    scale: int = 1
    needed: int = 0


class DeadState(Struct, frozen=True):
    """State that nothing uses. what: submodule, history or argument. statement: span of where it is made or tested."""

    what: str
    statement: Span


class BrokenLimit(Struct, frozen=True):
    """A setting outside of the limits that the user declares, or a check that lets nothing within them pass.

    literal: span of the value, None for a check. value: the source of the value to write, "" where none can be named.
    relaxed: comparisons of checks that forbid the new value, with the source that lets it pass, "" where there is none.
    elsewhere: a file whose check forbids it. together: a check that values of this file break; they go together.
    """

    literal: Span | None
    value: str = ""
    relaxed: tuple[tuple[Span, str], ...] = ()
    elsewhere: str = ""
    together: bool = False
