"""The typed facts that rules hand to fixers. A span is (line, column, end_line, end_column), all counted from 1."""

from __future__ import annotations

from dataclasses import dataclass

Span = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class UnboundedGrowth:
    """A container that outlives the step and grows in it.

    container: the source of the container expression, `self.stats["loss"]`.
    growth: span of the growing expression (a call) or statement.
    how: append | extend | augment | setitem | concat | appendleft | put | add.
    stored: graph | tensor | record | number | unknown: what one step adds.
    """

    container: str
    growth: Span
    how: str
    stored: str


@dataclass(frozen=True, slots=True)
class KeptOnDevice:
    """A value that is stored beyond its step while it stays on the accelerator.

    value: span of the stored expression.
    form: gathered (appended, then concatenated and moved) | stored | state-dict | cache-moved.
    only_read_on_cpu: every consumer moves it to the CPU, saves, plots or counts it, so moving early changes nothing.
    """

    value: Span
    form: str
    only_read_on_cpu: bool


@dataclass(frozen=True, slots=True)
class ForwardWithGrad:
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


@dataclass(frozen=True, slots=True)
class PerItemLoop:
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


@dataclass(frozen=True, slots=True)
class UnclampedSum:
    """A position plus a displacement that reaches a range contract unclamped.

    total: span of the sum (or of the whole augmented assignment).
    position, displacement: sources of its two sides.
    low, high: sources of the contract's bounds, "" where one is not tested. excluded: the bound that is outside itself.
    augmented: True for `position += displacement`.
    """

    total: Span
    position: str
    displacement: str
    low: str
    high: str
    augmented: bool = False
    excluded: str = ""


@dataclass(frozen=True, slots=True)
class KeptGraph:
    """A value that is stored, added up or passed on together with its graph.

    value: span of the expression to detach.
    structure: it is, or may be, no plain tensor: a dict or a tuple of tensors, or a number now and then.
    ran: its backward pass has run, so that nobody can train on it any more.
    """

    value: Span
    structure: bool
    ran: bool


@dataclass(frozen=True, slots=True)
class PinningCache:
    """A cache that keeps objects alive.

    function: span of the decorated function. decorator: position among its decorators, -1 for a dict that is a cache.
    method: it is a method, whose cache holds every object. uses_self: its body reads the object.
    """

    function: Span
    decorator: int
    method: bool
    uses_self: bool


@dataclass(frozen=True, slots=True)
class UnmappedLoad:
    """A checkpoint that is read back onto the device it was saved from.

    call: span of the `torch.load` call.
    stays: a whole module that is used where it lands: loading it elsewhere would move it.
    """

    call: Span
    stays: bool


@dataclass(frozen=True, slots=True)
class UnclosedResource:
    """Something that lives on until it is closed, and is not.

    call: span of the call that opens it. kind: figure | pool | writer.
    """

    call: Span
    kind: str


@dataclass(frozen=True, slots=True)
class UnreleasedObject:
    """Something large that is alive while what replaces it, or what follows it, is built.

    form: slot (owner and key name it: `release(owner, key)` before the statement), dict (the name `key` is not used
        after the statement) or idle (an optimizer, the name `key`, is not used in the statement or after it).
    statement: span of that statement.
    """

    form: str
    statement: Span
    key: str
    owner: str = ""


@dataclass(frozen=True, slots=True)
class FutileRelease:
    """A release that frees nothing.

    statement: span of the `del`, or of the loop that removes hooks. name: what should have gone.
    holder: what holds it still, as reports say it.
    """

    statement: Span
    name: str
    holder: str


@dataclass(frozen=True, slots=True)
class StateCarried:
    """A recurrent state that takes its graph along into the next step.

    states: sources of what is to be detached: `hidden`, `self.hidden`, `self.state["coverage"]`.
    statement: span of the statement beside which that belongs. after: behind it, not before it.
    """

    states: tuple[str, ...]
    statement: Span
    after: bool = False


@dataclass(frozen=True, slots=True)
class GraphKept:
    """A backward with `retain_graph=True` that is the last one on its graph. call: span of the call."""

    call: Span


@dataclass(frozen=True, slots=True)
class RetriedInHandler:
    """A training step in the handler of the error that stopped the first attempt. call: span of the call."""

    call: Span


@dataclass(frozen=True, slots=True)
class CacheCleared:
    """Cache clearing that runs in every step.

    form: each-step | in-a-step | allocated | mlx. calls: spans of the calls. loop: the loop to make a `Cleanup` before.
    """

    form: str
    calls: tuple[Span, ...]
    loop: Span | None = None


@dataclass(frozen=True, slots=True)
class OnlyEndsKept:
    """An append to a list of which only a few fixed entries are ever read.

    container: the source of the list. growth: span of the append call. indices: the entries that are read, sorted.
    """

    container: str
    growth: Span
    indices: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class KeptView:
    """A part of a tensor that is stored and pins the storage of all of it.

    value: span of the stored expression. whole: the source of the tensor that it is a part of.
    """

    value: Span
    whole: str


@dataclass(frozen=True, slots=True)
class UncappedSpawn:
    """A population that spawns with no cap that holds.

    form: unlimited | stale | new-only | abrupt | started. container: the source of the population.
    how: append | extend | augment | setitem, "" where nothing is stored. growth: span of the growing code.
    made: span of the statement that makes the container, None where it is not known.
    """

    form: str
    container: str
    how: str = ""
    growth: Span | None = None
    made: Span | None = None


@dataclass(frozen=True, slots=True)
class Unevaluated:
    """MLX arrays that pile up uncomputed in a loop.

    after: span of the statement behind which they can be evaluated. values: sources of what to evaluate.
    module: how the file calls `mlx.core`.
    """

    after: Span
    values: tuple[str, ...]
    module: str


@dataclass(frozen=True, slots=True)
class SleptForDevice:
    """A pause in which the device is to finish or to free something.

    call: span of the call of `time.sleep`. clear: span of the call behind which it stands, None where it stands before.
    """

    call: Span
    clear: Span | None


@dataclass(frozen=True, slots=True)
class FrequentMessage:
    """Messages that are written in each step, and what is computed for them.

    lines: spans of these statements, all in one block, in order. loop: span of the outermost hot loop around them, None
    where a loop elsewhere runs the function. logger: where all of them are of the debug level of one, its source.
    """

    lines: tuple[Span, ...]
    loop: Span | None
    logger: str


@dataclass(frozen=True, slots=True)
class InvertedFlag:
    """`~flag` of a Python bool. expression: span of the whole."""

    expression: Span


@dataclass(frozen=True, slots=True)
class TestAfterClamp:
    """A range test that a clamp before it has made pointless. clamp: span of the call. test: that of the comparison."""

    clamp: Span
    test: Span


@dataclass(frozen=True, slots=True)
class BrokenLimit:
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


@dataclass(frozen=True, slots=True)
class UnvalidatedWeights:
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


@dataclass(frozen=True, slots=True)
class UnsavedReload:
    """A reload of a file that the save before it may not have written.

    form: nothing (it returns without writing) | elsewhere (it writes under another name).
    save, load: spans of the two calls. path: source of what is reloaded.
    """

    form: str
    save: Span
    load: Span
    path: str


@dataclass(frozen=True, slots=True)
class HiddenLimit:
    """A limit on memory that an interval hides.

    form: absorbed (it can never decide anything) | nested (it is asked only when the interval is due).
    test: span of the comparison.
    """

    form: str
    test: Span


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


@dataclass(frozen=True, slots=True)
class UnwatchedStep:
    """A training step whose memory nobody measures, or a probe that nobody calls.

    form: step | loop | unused. name: of the function. place: span of the function or of the loop.
    """

    form: str
    name: str
    place: Span


@dataclass(frozen=True, slots=True)
class BlindMonitor:
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


@dataclass(frozen=True, slots=True)
class DeadState:
    """State that nothing uses. what: submodule, history or argument. statement: span of where it is made or tested."""

    what: str
    statement: Span
