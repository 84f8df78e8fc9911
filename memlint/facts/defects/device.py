"""What a stored value holds on to: its device, its graph, its storage."""

from __future__ import annotations

from msgspec import Struct

from memlint.facts.defects.spans import Span


class KeptOnDevice(Struct, frozen=True):
    """A value that is stored beyond its step while it stays on the accelerator.

    value: span of the stored expression.
    form: gathered (appended, then concatenated and moved) | stored | state-dict | cache-moved.
    only_read_on_cpu: every consumer moves it to the CPU, saves, plots or counts it, so moving early changes nothing.
    """

    value: Span
    form: str
    only_read_on_cpu: bool


class KeptView(Struct, frozen=True):
    """A part of a tensor that is stored and pins the storage of all of it.

    value: span of the stored expression. whole: the source of the tensor that it is a part of.
    """

    value: Span
    whole: str


class KeptGraph(Struct, frozen=True):
    """A value that is stored, added up or passed on together with its graph.

    value: span of the expression to detach.
    structure: it is, or may be, no plain tensor: a dict or a tuple of tensors, or a number now and then.
    ran: its backward pass has run, so that nobody can train on it any more.
    """

    value: Span
    structure: bool
    ran: bool


class StateCarried(Struct, frozen=True):
    """A recurrent state that takes its graph along into the next step.

    states: sources of what is to be detached: `hidden`, `self.hidden`, `self.state["coverage"]`.
    statement: span of the statement beside which that belongs. after: behind it, not before it.
    """

    states: tuple[str, ...]
    statement: Span
    after: bool = False


class ForwardWithGrad(Struct, frozen=True):
    """A forward pass that builds a graph nobody uses.

    call: span of the forward call.
    function: span of the whole enclosing function definition with its decorators, None in a module's body.
    block: span of the statement to wrap where the function cannot be decorated.
    decorate: True to decorate the function, False to wrap the block in a with-statement.
    escapes: whether something that came from the forward leaves the function other than as plain numbers.
    shared: whether the block runs something else whose graph is needed.
    """

    call: Span
    function: Span | None
    block: Span
    decorate: bool
    escapes: bool
    shared: bool = False


class GraphKept(Struct, frozen=True):
    """A backward with `retain_graph=True` that is the last one on its graph. call: span of the call."""

    call: Span


class RetriedInHandler(Struct, frozen=True):
    """A training step in the handler of the error that stopped the first attempt. call: span of the call."""

    call: Span


class DetachedForNobody(Struct, frozen=True):
    """`x.detach()` as a statement: its result is lost.

    value: span of the whole expression. source: what it is to be bound to. trained: a later backward pass needs that.
    """

    value: Span
    source: str
    trained: bool


class Unevaluated(Struct, frozen=True):
    """MLX arrays that pile up uncomputed in a loop.

    after: span of the statement behind which they can be evaluated. values: sources of what to evaluate.
    module: how the file calls `mlx.core`.
    """

    after: Span
    values: tuple[str, ...]
    module: str
