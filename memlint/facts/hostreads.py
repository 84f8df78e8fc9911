"""Numbers read out of tensors one item at a time: the question behind hoist-item-sync.

A read counts where a loop or comprehension goes over the entries of a tensor, by position or directly, so that one
`tolist()` before it gives the same numbers. A read in each step of a training loop is no such thing.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct, field

from memlint.facts import FileFacts, Scope
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.events import CONSTANT, DATA, ENDLESS, EPOCH, STEP, STRUCTURE, HostRead
from memlint.facts.passes import Pass, bound_in, counts, is_short, passes_around, pure, written_in
from memlint.facts.tensors import is_tensor, on_cpu
from memlint.facts.trials import is_trial
from memlint.facts.values import Value

_NOT_PER_ITEM = frozenset({CONSTANT, STRUCTURE, DATA, STEP, EPOCH, ENDLESS})


class ItemRead(Struct, eq=False):
    """One read. tensor: what it is taken from; position: the name of the index, "" where the loop gives the entry."""

    read: HostRead
    tensor: n.Expr
    selection: str
    position: str
    entry: str
    value: Value
    certain: bool


class ItemReads(Struct, eq=False):
    """The reads of one loop. hinder: why one `tolist()` can't simply take their place."""

    scope: Scope
    around: Pass
    reads: list[ItemRead]
    iterables: list[n.Expr]
    exact: bool
    hinder: str = ""

    @property
    def on_accelerator(self) -> bool:
        """Whether all that is read is known to lie there."""
        return all(read.value.device == v.ACCELERATOR for read in self.reads)


class _Group(Struct):
    around: Pass
    reads: list[ItemRead] = field(default_factory=list)


def item_reads(facts: FileFacts) -> Iterator[ItemReads]:
    """One for each loop that reads tensors entry by entry."""
    if is_trial(facts.path):
        return
    for scope in facts.all_scopes():
        events = scope.events.host_reads
        if not events:
            continue
        around = passes_around(scope, {id(read.node) for read in events})
        groups: dict[int, _Group] = {}
        for read in events:
            found = _item_read(facts, scope, read, around.get(id(read.node), ()))
            if found is not None:
                group = groups.setdefault(id(found[0].node), _Group(found[0]))
                group.reads.append(found[1])
        for group in groups.values():
            found_reads = _judged(facts, scope, group)
            if found_reads.on_accelerator or _may_use_a_device(facts, scope):
                yield found_reads


def _may_use_a_device(facts: FileFacts, scope: Scope) -> bool:
    """Whether the code around speaks of devices, or belongs to a module that others may move."""
    owner = scope.owner
    if owner is not None and owner.is_module(facts.classes):
        return True
    if not facts.mentions("device", "cuda", ".to("):
        return False
    if owner is not None:
        return any(_speaks_of_devices(method) for method in owner.methods.values())
    return any(_speaks_of_devices(around) for around in scope.around())


def _speaks_of_devices(scope: Scope) -> bool:
    for part in scope.every():
        if isinstance(part, n.Attr) and part.attr in ("device", "cuda", "to"):
            return True
        if isinstance(part, n.Name) and part.id == "device":
            return True
        if isinstance(part, n.Call) and any(name == "device" for name, _ in part.keywords):
            return True
    return False


def _item_read(
    facts: FileFacts, scope: Scope, read: HostRead, around: tuple[Pass, ...]
) -> tuple[Pass, ItemRead] | None:
    for passed in reversed(around):
        if not goes_on(scope, passed):
            return None
        if any(isinstance(index, n.Name) and index.id in passed.names for index in read.indices):
            return _by_position(facts, scope, read, passed, around)
        if not read.indices and isinstance(read.base, n.Name) and read.base.id in passed.names:
            return _by_entry(facts, scope, read, passed)
    return None


def goes_on(scope: Scope, passed: Pass) -> bool:
    """Whether a loop runs for many passes, each of them to its end, and does nothing that outweighs a read."""
    if passed.kind in _NOT_PER_ITEM or passed.leaves or is_short(passed.iter):
        return False
    inside = passed.calls
    return not any(id(node) in inside for node in (*scope.events.runs, *scope.events.training))


def _by_position(
    facts: FileFacts, scope: Scope, read: HostRead, inner: Pass, around: tuple[Pass, ...]
) -> tuple[Pass, ItemRead] | None:
    """`x[i]`, `x[i, 0]`, `x[b][i]` with a position that counts up."""
    at = [isinstance(index, n.Name) and index.id in inner.names for index in read.indices]
    if at.count(True) != 1 or not n.dotted(read.base):
        return None
    position = read.indices[at.index(True)]
    if not isinstance(position, n.Name) or not counts(inner, position.id):
        return None
    bound = bound_in(inner)
    if n.root(read.base) in bound or any(isinstance(i, n.Name) and i.id in bound - {position.id} for i in read.indices):
        return None
    if written_in(inner, n.dotted(read.base)):
        return None
    if read.how == "test" and read.value.kind != v.TENSOR:
        return None  # an entry of a list of tensors is a tensor too
    if not is_tensor(facts, scope, read.base, read.value, counted_by=inner.iter, several=len(at) > 1):
        return None
    if on_cpu(facts, scope, read.base, read.value):
        return None
    parts = [":" if here else facts.text(index) for here, index in zip(at, read.indices, strict=True)]
    while parts and parts[-1] == ":":
        parts.pop()
    selection = facts.text(read.base) + (f"[{', '.join(parts)}]" if parts else "")
    # Further out where nothing in between changes what is read: once for all, not once for each pass of the outer loop.
    home = inner
    for outer in reversed(around[: around.index(inner)]):
        names = {n.root(read.base), *(i.id for i in read.indices if isinstance(i, n.Name) and i is not position)}
        if outer.is_comprehension or names & bound_in(outer) or written_in(outer, n.dotted(read.base)):
            break
        home = outer
    certain = read.value.kind == v.TENSOR
    return home, ItemRead(read, read.base, selection, position.id, "", read.value, certain)


def _by_entry(facts: FileFacts, scope: Scope, read: HostRead, passed: Pass) -> tuple[Pass, ItemRead] | None:
    """`for x in tensor: x.item()`, also through `enumerate` and `zip`."""
    assert isinstance(read.base, n.Name)
    name = read.base.id
    found = _iterated(scope, passed.target, passed.iter, name)
    if found is None or name in bound_in(passed, head=False):
        return None
    tensor, value = found
    if read.how == "test" and value.kind != v.TENSOR:
        return None
    if not is_tensor(facts, scope, tensor, value) or on_cpu(facts, scope, tensor, value):
        return None
    if n.dotted(tensor) and written_in(passed, n.dotted(tensor)):
        return None
    return passed, ItemRead(read, tensor, "", "", name, value, value.kind == v.TENSOR)


def _iterated(scope: Scope, target: n.Expr, iterable: n.Expr, name: str) -> tuple[n.Expr, Value] | None:
    """What a name of a loop's head is an entry of, with its value."""
    if isinstance(target, n.Name) and not isinstance(iterable, n.Call):
        return (iterable, scope.events.iterables.get(id(iterable), v.ANYTHING)) if target.id == name else None
    if not isinstance(iterable, n.Call):
        return None
    called = n.dotted(iterable.func) if isinstance(iterable.func, n.Name) else ""
    given = next((site.args for site in scope.events.calls if site.node is iterable), ())
    if called in ("enumerate", "tqdm", "zip", "list", "reversed") and len(given) == len(iterable.args):
        elements: list[n.Expr] = target.elements if isinstance(target, n.Sequence) else [target]
        if called == "enumerate":
            elements = elements[1:2]
        elif called != "zip":
            elements = [target]
        for element, argument, value in zip(elements, iterable.args, given, strict=False):
            if isinstance(element, n.Name) and element.id == name and not isinstance(argument, n.Star):
                return argument, value
            if isinstance(argument, n.Call) and n.dotted(argument.func) in ("zip", "enumerate"):
                found = _iterated(scope, element, argument, name)
                if found is not None:
                    return found
        return None
    if isinstance(target, n.Name) and target.id == name:
        return iterable, scope.events.iterables.get(id(iterable), v.ANYTHING)
    return None


def _judged(facts: FileFacts, scope: Scope, group: _Group) -> ItemReads:
    entries = {read.entry: read.tensor for read in group.reads if read.entry}
    iterables = list({id(tensor): tensor for tensor in entries.values()}.values())
    hinder = ""
    hosts = {id(part) for read in group.reads for part in n.walk(read.read.node)}
    for part in group.around.inside():
        if isinstance(part, n.Name) and part.id in entries and id(part) not in hosts:
            hinder = f"`{part.id}` is used as a tensor as well: go over the tensor and its `tolist()` side by side"
    exact = all(read.certain for read in group.reads) and pure(facts, scope, group.around)
    return ItemReads(scope, group.around, group.reads, iterables, exact, hinder)
