"""Tensors that are made or filled one item at a time: the question behind batch-tensor-creation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from msgspec import Struct

from memlint.facts import FileFacts, Scope
from memlint.facts import knowledge as k
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.events import CONSTANT, DATA, ENDLESS, EPOCH, STEP, STRUCTURE, CallSite
from memlint.facts.passes import Pass, bound_in, counts, is_short, passes_around
from memlint.facts.tensor_names import TENSOR_NAMES
from memlint.facts.trials import is_trial

FILLED = "filled"
NUMBERS = "numbers"
EMPTY = "empty"

_NOT_PER_ITEM = frozenset({CONSTANT, STRUCTURE, DATA, STEP, EPOCH, ENDLESS})
_BLANK = k.names("zeros ones full empty new_zeros new_ones new_full new_empty")
_FROM_NUMBERS = frozenset({"torch.tensor", "torch.as_tensor"})
_READS = k.names("item tolist size dim numel")


class Creation(Struct, eq=False):
    """Tensors made or filled in a loop.

    form: filled (`mask[i] = True`), numbers (`torch.tensor([x, y], device=...)`), empty (`torch.zeros(8, device=...)`).
    node: the first write, or the call. made: the call that makes it. certain: it is known to lie on the accelerator.
    tensors, writes: what is filled, by name, and where. gathered: the call that joins what a comprehension makes.
    grown: the container that keeps each of them.
    """

    form: str
    scope: Scope
    around: Pass
    node: n.Expr
    made: n.Expr
    certain: bool
    tensors: tuple[str, ...] = ()
    writes: tuple[n.Assign, ...] = ()
    gathered: n.Call | None = None
    grown: str = ""


class _Blank(NamedTuple):
    made: n.Call
    dimensions: int


def creations(facts: FileFacts) -> Iterator[Creation]:
    """What is made or filled item by item."""
    if is_trial(facts.path):
        return
    for scope in facts.all_scopes():
        yield from _filled(facts, scope)
        made = {id(site.node): site for site in scope.events.calls if _on_a_device(site)}
        if made:
            around = passes_around(scope, set(made))
            for key, site in made.items():
                yield from _made(facts, scope, site, around.get(key, ()))


# -- filled element by element -----------------------------------------------------------------------------------------


def _filled(facts: FileFacts, scope: Scope) -> Iterator[Creation]:
    writes = [stmt for stmt in scope.statements() if isinstance(stmt, n.Assign) and _writes_entry(stmt)]
    if not writes:
        return
    blank = _blank(facts, scope)
    writes = [stmt for stmt in writes if n.dotted(_base(stmt)) in blank]
    around = passes_around(scope, {id(stmt.targets[0]) for stmt in writes})
    groups: dict[int, list[n.Assign]] = {}
    passes: dict[int, Pass] = {}
    for stmt in writes:
        text = n.dotted(_base(stmt))
        home = _home(scope, stmt, around.get(id(stmt.targets[0]), ()), text, blank[text].dimensions)
        if home is not None:
            passes[id(home)] = home
            groups.setdefault(id(home), []).append(stmt)
    for key, found in groups.items():
        names = [n.dotted(_base(stmt)) for stmt in found]
        if not _only_fills(facts, scope, passes[key], names):
            continue
        tensors = tuple(dict.fromkeys(names))
        devices = {_device_of(scope, text) for text in tensors}
        if v.CPU not in devices:
            first, made = found[0].targets[0], blank[names[0]].made
            certain = devices == {v.ACCELERATOR}
            yield Creation(FILLED, scope, passes[key], first, made, certain, tensors, tuple(found))


def _writes_entry(stmt: n.Assign) -> bool:
    return len(stmt.targets) == 1 and isinstance(stmt.targets[0], n.Item) and isinstance(_base(stmt), n.Name)


def _base(stmt: n.Assign) -> n.Expr:
    target = stmt.targets[0]
    while isinstance(target, n.Item):
        target = target.value
    return target


def indices_of(stmt: n.Assign) -> list[n.Expr]:
    """The indices of the entry that an assignment writes, outermost first."""
    found: list[n.Expr] = []
    target = stmt.targets[0]
    while isinstance(target, n.Item):
        index = target.index
        found[:0] = index.elements if isinstance(index, n.Sequence) and index.kind == "tuple" else [index]
        target = target.value
    return found


def _blank(facts: FileFacts, scope: Scope) -> dict[str, _Blank]:
    """Names that are bound once, to a new tensor on a device that is named, with its number of dimensions."""
    found: dict[str, _Blank] = {}
    again: set[str] = set(scope.params)
    for stmt in scope.statements():
        targets = stmt.targets if isinstance(stmt, n.Assign) else [getattr(stmt, "target", None)]
        for target in targets:
            if not isinstance(target, n.Name):
                continue
            made = _new(facts, stmt.value) if isinstance(stmt, n.Assign) else None
            if made is None or target.id in found:
                again.add(target.id)
            else:
                found[target.id] = made
    return {name: made for name, made in found.items() if name not in again}


def _new(facts: FileFacts, expr: n.Expr) -> _Blank | None:
    """`torch.zeros(n, dtype=torch.bool, device=device)` with its number of dimensions."""
    moved = False
    while isinstance(expr, n.Call) and isinstance(expr.func, n.Attr) and isinstance(expr.func.value, n.Call):
        if expr.func.attr not in ("to", "cuda", "long", "float", "bool", "fill_", "double", "int"):
            break
        moved |= expr.func.attr in ("to", "cuda")
        expr = expr.func.value
    if not isinstance(expr, n.Call):
        return None
    path = facts.names.path(n.dotted(expr.func))
    last = path.rpartition(".")[2] or (expr.func.attr if isinstance(expr.func, n.Attr) else "")
    anew = last.startswith("new_") and isinstance(expr.func, n.Attr)
    if last not in _BLANK or not (path.startswith("torch.") or anew):
        return None
    if not (moved or anew or any(name == "device" for name, _ in expr.keywords)):
        return None  # on the CPU, where nobody waits
    sizes = expr.args[:1] if last in ("full", "new_full") else expr.args
    if len(sizes) == 1 and isinstance(sizes[0], n.Sequence):
        sizes = sizes[0].elements
    elif last in ("full", "new_full"):
        return None
    if not sizes or any(isinstance(size, (n.Star, n.Attr)) for size in sizes):
        return None  # `x.shape` may be of any length
    return _Blank(expr, len(sizes))


def _device_of(scope: Scope, name: str) -> str:
    return scope.env.get(name, v.ANYTHING).device


def _home(scope: Scope, stmt: n.Assign, around: tuple[Pass, ...], text: str, dimensions: int) -> Pass | None:
    """The outermost loop around an entry's write that goes on filling the same tensor."""
    indices = indices_of(stmt)
    if not around or len(indices) != dimensions or not _is_number(scope, stmt.value, around):
        return None
    if any(not isinstance(i, n.Name) and not (isinstance(i, n.Const) and type(i.value) is int) for i in indices):
        return None
    names = {i.id for i in indices if isinstance(i, n.Name)}
    if not names & around[-1].names or around[-1].kind in _NOT_PER_ITEM or is_short(around[-1].iter):
        return None
    if not all(any(counts(passed, name) for passed in around) for name in names):
        return None  # it may be a mask or a list of positions
    home = around[-1]
    for outer in reversed(around[:-1]):
        if not names & outer.names or outer.kind in _NOT_PER_ITEM or text in bound_in(outer):
            break
        home = outer
    return home


def _is_number(scope: Scope, expr: n.Expr, around: tuple[Pass, ...] = ()) -> bool:
    """A literal, a length, a count, a position, or a sum of such."""
    if isinstance(expr, n.Const):
        return isinstance(expr.value, (bool, int, float))
    if isinstance(expr, n.Binary):
        return _is_number(scope, expr.left, around) and _is_number(scope, expr.right, around)
    if isinstance(expr, n.Call) and isinstance(expr.func, n.Name) and expr.func.id in ("len", "int", "float", "bool"):
        return True
    if isinstance(expr, n.Call) and isinstance(expr.func, n.Attr) and expr.func.attr == "item":
        return True
    if not isinstance(expr, n.Name):
        return False
    return scope.env.get(expr.id, v.ANYTHING).kind == v.NUMBER or any(counts(passed, expr.id) for passed in around)


def _only_fills(facts: FileFacts, scope: Scope, passed: Pass, names: list[str]) -> bool:
    """Whether a loop only fills the tensors, and does no other work on tensors for each item.

    names: the tensor of each write.
    """
    if passed.leaves or not isinstance(passed.node, n.For):
        return False
    heavy = {id(node) for node in (*scope.events.runs, *scope.events.training)}
    mentions = 0
    for part in passed.inside():
        mentions += isinstance(part, n.Name) and part.id in names
        if isinstance(part, n.Call):
            path = facts.names.path(n.dotted(part.func))
            method = part.func.attr if isinstance(part.func, n.Attr) else ""
            if path.startswith("torch.") or not path and method in TENSOR_NAMES - _READS - _OF_OTHERS:
                return False
            if id(part) in heavy:
                return False
    if mentions != len(names):
        return False  # one of them is read as well
    for stmt in n.statements(passed.node.body):
        if isinstance(stmt, n.Assign) and isinstance(stmt.targets[0], n.Item) and n.dotted(_base(stmt)) not in names:
            written = scope.env.get(n.dotted(_base(stmt)), v.ANYTHING)
            if written.kind == v.TENSOR and not _is_number(scope, stmt.value):
                return False  # rows are written beside them
    return True


# Methods that a list, a dict or a text has as well.
_OF_OTHERS = k.names("index values sort copy_ put split round min max sum any all numpy type")


# -- made anew for each item -------------------------------------------------------------------------------------------


def _on_a_device(site: CallSite) -> bool:
    last = site.path.rpartition(".")[2]
    if site.path not in _FROM_NUMBERS and not (site.path.startswith("torch.") and last in _BLANK):
        return False
    device = dict(site.keywords).get("device")
    return device is not None and device.device != v.CPU and not str(device.const or "").startswith("cpu")


def _made(facts: FileFacts, scope: Scope, site: CallSite, around: tuple[Pass, ...]) -> Iterator[Creation]:
    if not around or around[-1].kind in _NOT_PER_ITEM or is_short(around[-1].iter):
        return
    inner = around[-1]
    heavy = (*scope.events.runs, *scope.events.training)
    if any(id(node) in inner.calls for node in heavy):
        return
    changing = bound_in(inner)
    read = {part.id for arg in site.node.args for part in n.walk(arg) if isinstance(part, n.Name)}
    if site.path in _FROM_NUMBERS:
        if not site.args or not read & changing or _in_a_choice(inner, site.node):
            return
        listed = isinstance(site.node.args[0], n.Sequence)
        if _of_numbers(scope, inner, site) and (listed or _is_kept(scope, inner, site.node)):
            device = dict(site.keywords)["device"].device
            gathered = _gathering(facts, scope, inner, site.node)
            yield Creation(NUMBERS, scope, inner, site.node, site.node, device == v.ACCELERATOR, gathered=gathered)
    elif not read & changing and isinstance(inner.node, n.For) and _is_long(facts, scope, inner):
        grown = _handed_out(scope, inner, site.node)
        if grown:
            yield Creation(EMPTY, scope, inner, site.node, site.node, False, grown=grown)


def _of_numbers(scope: Scope, inner: Pass, site: CallSite) -> bool:
    """`[x, y, 0.0]`, all of it numbers as far as one can see: of the loop's head, or computed from it as numbers."""
    first = site.node.args[0]
    if isinstance(first, n.Sequence):
        return bool(first.elements) and all(_plain(scope, inner, element) for element in first.elements)
    return site.args[0].kind == v.NUMBER and _plain(scope, inner, first)


def _plain(scope: Scope, inner: Pass, element: n.Expr) -> bool:
    if isinstance(element, n.Binary):
        return _plain(scope, inner, element.left) and _plain(scope, inner, element.right)
    if isinstance(element, n.Name) and scope.env.get(element.id, v.ANYTHING).kind == v.UNKNOWN:
        return element.id not in bound_in(inner, head=False)
    if isinstance(element, (n.Item, n.Attr)):
        return n.root(element) in inner.names
    return _is_number(scope, element)


def _is_kept(scope: Scope, inner: Pass, node: n.Call) -> bool:
    """Whether what is made for each item is put into a container, or is the element of a comprehension."""
    if isinstance(inner.node, n.Comprehension):
        return inner.node.element is node
    growths = [growth for growth in scope.events.growths if any(loop.node is inner.node for loop in growth.loops)]
    return any(growth.item is node for growth in growths)


def _in_a_choice(inner: Pass, node: n.Call) -> bool:
    return any(
        isinstance(part, n.Choice)
        and any(inside is node for side in (part.body, part.orelse) for inside in n.walk(side))
        for part in inner.inside()
    )


def _gathering(facts: FileFacts, scope: Scope, inner: Pass, node: n.Call) -> n.Call | None:
    """`torch.stack([...])` around a comprehension of which the tensor is the element."""
    if not isinstance(inner.node, n.Comprehension) or inner.node.element is not node or inner.node.kind != "list":
        return None
    for part in scope.every():
        if isinstance(part, n.Call) and len(part.args) == 1 and part.args[0] is inner.node and not part.keywords:
            return part if facts.names.path(n.dotted(part.func)) in ("torch.stack", "torch.cat") else None
    return None


def _is_long(facts: FileFacts, scope: Scope, passed: Pass) -> bool:
    """Whether a loop goes over the rows of a tensor, or over a list that another loop of the function filled."""
    growths = scope.events.growths
    grown = {growth.holder for growth in growths if any(loop.kind not in _NOT_PER_ITEM for loop in growth.loops)}
    for part in n.walk(passed.iter):
        value = scope.env.get(n.dotted(part)) if isinstance(part, n.Name) else None
        if value is not None and (value.kind == v.TENSOR or value.kind == v.LIST and value.holder in grown):
            return True
    return False


def _handed_out(scope: Scope, passed: Pass, node: n.Call) -> str:
    """The container that the loop puts each tensor into, itself or within an object, where it does so in each pass."""
    assert isinstance(passed.node, n.For)
    stmt = next((s for s in passed.node.body if any(p is node for e in n.expressions(s) for p in n.walk(e))), None)
    if stmt is None:
        return ""  # in a branch of its own: for few of the items
    names = {t.id for t in stmt.targets if isinstance(t, n.Name)} if isinstance(stmt, n.Assign) else set()
    growths = [growth for growth in scope.events.growths if any(loop.node is passed.node for loop in growth.loops)]
    for inner in passed.node.body:  # `flow = Flow(hidden=hidden)`: what is put away holds it
        if isinstance(inner, n.Assign) and isinstance(inner.value, n.Call) and names & n.mentioned(inner.value):
            names |= {t.id for t in inner.targets if isinstance(t, n.Name)}
    for growth in growths:
        if growth.item is not None and (
            names & n.mentioned(growth.item) or any(p is node for p in n.walk(growth.item))
        ):
            return n.dotted(growth.container) or n.root(growth.container)
    return ""
