"""Values that are kept on the accelerator beyond their step: the question behind snapshots-to-cpu."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from memlint.facts import FileFacts, Scope, frameworks
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.events import CONSTANT, EPOCH, ITEMS, OFF, RANGE, REPEATING, STRUCTURE, Growth, Read
from memlint.facts.values import Value
from memlint.facts.words import size_of

_ON_CPU = frozenset({"moved", "length", "gathered"})


class Snapshot(Struct, eq=False):
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
    if growth.guarded or any(growth.loops and growth.loops[-1] in read.loops for read in reads if read.how != "length"):
        return None  # it has a limit of its own, or the loop that fills it reads it
    if growth.how not in ("append", "appendleft", "setitem") or value.device == v.CPU or value.zero_d:
        return None
    repeating = REPEATING | {EPOCH, RANGE, ITEMS}
    if value.path == "state_dict" and outer and outer[-1].kind in repeating and not _of_each(growth):
        copied = value.const == "copied"
        return Snapshot(scope, growth, "state-dict" if copied else "state-dict-alias", False, True,
                        [(growth.node, "one more for each pass of the loop")])  # fmt: skip
    if value.kind in (v.NUMBER, v.STRING, v.ARRAY, v.DICT, v.OBJECT, v.MODULE, v.LIST):
        return None
    if value.kind == v.TUPLE and not _rows_on_device(value):
        return None
    moved = [read for read in reads if read.how == "moved"]
    local_moved = bool(moved) and not growth.loops or any(_after(read, growth) for read in moved)
    if growth.how == "setitem" or any(read.how in ("numpy", "computed") for read in reads):
        return None
    if any(u.how == "trained" for id_ in v.graph_of(value) for u in scope.events.forwards[id_].uses):
        return None  # the list feeds a loss
    elsewhere = not holder.startswith("local:") and not reads_on_device([r for r in reads if r.how != "passed"])
    one_by_one = bool(growth.loops) and growth.loops[-1].kind == RANGE
    if _is_buffer(growth) and any(read.how == "passed" for read in reads):
        return None  # made for a callee to write into, where it writes
    if _fed_back(scope, growth) or value.integral and one_by_one:
        return None  # decoding: what is gathered is the input of the next pass
    if local_moved:
        return _gathered(scope, growth, reads, bool(outer)) if outer or not holder.startswith("local:") else None
    if holder.startswith("class:") and value.device == v.ACCELERATOR and value.kind in v.TENSOR_LIKE:
        found = _stored(scope, growth, reads)
        if found is not None:
            return found
    if elsewhere and (growth.loops or any(r.how == "passed" for r in reads)):
        return _gathered(scope, growth, reads, bool(growth.loops))
    return None


def _rows_on_device(value: Value) -> bool:
    """A row of several tensors, of which at least one is not known to be on the CPU."""
    return any(part.kind in v.TENSOR_LIKE and part.device != v.CPU and not part.zero_d for part in value.parts or ())


def _is_buffer(growth: Growth) -> bool:
    """`buffers.append(torch.empty(size, device="cuda"))`: nothing is in it yet."""
    item = growth.item
    return isinstance(item, n.Call) and n.dotted(item.func).rpartition(".")[2] in ("empty", "empty_like", "new_empty")


def _gathered(scope: Scope, growth: Growth, reads: list[Read], repeats: bool) -> Snapshot:
    # Moving early also ends the graph: safe only where there is none.
    without_graph = growth.mode == OFF or growth.value.grad == v.DETACHED
    only = without_graph and all(read.how in _ON_CPU for read in reads) and growth.holder.startswith("local:")
    reasons: list[tuple[object, str]] = [(growth.node, f"appended on the device where it was computed{_about(growth)}")]
    repeats = repeats or not growth.holder.startswith("class:")
    return Snapshot(scope, growth, "gathered", only, repeats, reasons)


def _stored(scope: Scope, growth: Growth, reads: list[Read]) -> Snapshot | None:
    if growth.value.grad == v.ATTACHED or v.graph_of(growth.value):
        return None
    if any(s.how in ("clear", "rebind") and s.holder.removesuffix("[]") == growth.holder for s in scope.events.shrinks):
        return None
    used = reads_on_device(reads)
    if used and scope.name not in frameworks.GRAD_OFF_HOOKS:
        return None
    repeats = any(loop.kind in REPEATING for loop in growth.loops)
    question = "whether the whole of it is needed on the accelerator" if used else ""
    return Snapshot(
        scope,
        growth,
        "stored",
        False,
        repeats,
        [(growth.node, f"this value is on the accelerator{_about(growth)}")],
        question,
    )


def _about(growth: Growth) -> str:
    """How much each step adds, where it is known."""
    size = size_of(growth.value)
    return f", about {size}" if size is not None else ""


def reads_on_device(reads: list[Read]) -> bool:
    """Whether something uses the gathered values where they are: concatenated, iterated or passed on, not moved."""
    hows = {read.how for read in reads}
    return bool(hows & {"gathered", "passed", "returned", "iterated", "index", "computed"}) and "moved" not in hows


def _fed_back(scope: Scope, growth: Growth) -> bool:
    """Whether a loop computes what its next pass reads from what it appends."""
    loop = growth.loops[-1].node if growth.loops else None
    name = n.root(growth.item) if growth.item is not None else ""
    if name in ("", scope.self_name) or not isinstance(loop, (n.For, n.While)):
        return False
    carried: set[str] = set()
    bound: set[str] = set()
    computed: set[str] = set()
    for stmt in n.statements(loop.body):
        read = [stmt.value] if isinstance(stmt, n.Assign) else n.expressions(stmt)
        carried |= {text for expr in read for text in n.mentioned(expr)} - bound
        if isinstance(stmt, n.Assign):
            targets = {text for target in stmt.targets for text in n.mentioned(target)}
            bound |= targets
            if name in n.mentioned(stmt.value):
                computed |= targets
    return bool(computed & carried - {name, scope.self_name})


def _of_each(growth: Growth) -> bool:
    """`worker.state_dict()` in a loop over workers: a different one each time, and no history."""
    loop = growth.loops[-1].node if growth.loops else None
    if growth.item is None or not isinstance(loop, n.For):
        return False
    made = [t for s in n.statements(loop.body) if isinstance(s, n.Assign) for t in s.targets]
    targets = {part.id for target in (loop.target, *made) for part in n.walk(target) if isinstance(part, n.Name)}
    return any(isinstance(part, n.Name) and part.id in targets for part in n.walk(growth.item))


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
