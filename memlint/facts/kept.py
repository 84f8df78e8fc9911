"""Values that are kept with their graph beyond their step: the question behind detach-kept-tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct, field

from memlint.facts import FileFacts, Scope
from memlint.facts import knowledge as k
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.events import CONSTANT, DATA, EPOCH, OFF, REPEATING, STRUCTURE, CallSite, Draw, Growth, Loop
from memlint.facts.histories import key_moves_on
from memlint.facts.values import Value

# Ways to grow that keep what they are given until somebody takes it out.
_KEEPING = frozenset({"append", "appendleft", "extend", "augment", "add", "insert", "put", "concat", "accumulate"})
_ESCAPES = frozenset({"returned", "passed", "stored"})


class Kept(Struct, eq=False):
    """A growth that keeps a graph alive.

    ran: the graph's backward pass has run, so that only its nodes and what they hold are left of it.
    parameter: whether the value has a graph is for the callers of this function to say.
    repeats: a loop here repeats it, the project need not be asked.
    question: what is open even when the project agrees.
    """

    scope: Scope
    growth: Growth
    ran: bool
    repeats: bool
    reasons: list[tuple[object, str]] = field(default_factory=list)
    parameter: str = ""
    question: str = ""


def kept(facts: FileFacts) -> Iterator[Kept]:
    """Every such growth of a file."""
    lasting = _draws_on_attributes(facts)
    for scope in facts.all_scopes():
        for growth in scope.events.growths:
            if growth.mode == OFF or not _keeps(growth):
                continue
            here = [draw for draw in scope.events.draws if draw.holder == _holder(growth)]
            found = _judge(scope, growth, here, lasting.get(_holder(growth), []))
            if found is not None and not _decided(scope, growth):
                if scope.name in facts.names.hooked:
                    found.question = "whether the module with this hook runs with gradients on"
                yield found


def _decided(scope: Scope, growth: Growth) -> bool:
    """Whether another branch of the function keeps the same thing detached: the author has thought of the graph."""
    others = [g for g in scope.events.growths if g.holder == growth.holder and g is not growth]
    return any(v.DETACHED in (other.value.grad, (other.value.item or v.ANYTHING).grad) for other in others)


class HandedOver(Struct, eq=False):
    """A value with a graph is given, in a step loop, to something that may keep it.

    argument: its position or name. structure: it may be something else than a tensor.
    """

    scope: Scope
    site: CallSite
    argument: int | str
    node: n.Expr
    ran: bool
    structure: bool


def handed_over(facts: FileFacts) -> Iterator[HandedOver]:
    """Calls in step loops whose result nobody takes, with a value that has a graph: `meter.update(loss)`."""
    for scope in facts.all_scopes():
        for site in scope.events.calls:
            repeats = any(loop.kind in REPEATING for loop in site.loops)
            last = site.name.rpartition(".")[2]  # a list is what `kept` looks at
            grows = last in k.GROWING and not site.receiver or last == k.BOUNDED_APPEND
            if (
                not repeats
                or site.mode == OFF
                or not site.dropped
                or grows
                or site.path.startswith(("torch.", "numpy."))
            ):
                continue
            for argument, node, value in site.passed():
                if v.attached(value) and value.kind not in (v.MODULE, v.OPTIMIZER, v.OBJECT):
                    ran = _ran(scope, n.mentioned(node), v.graph_of(value), site.loops)
                    structure = value.kind != v.TENSOR or _may_be_number(scope, node)
                    yield HandedOver(scope, site, argument, node, ran, structure)


def is_tensor(scope: Scope, growth: Growth) -> bool:
    """Whether what is kept is surely one tensor, and no dict, list or, now and then, a number."""
    value, item = growth.value, growth.item
    if value.kind != v.TENSOR or value.grad != v.ATTACHED or growth.how in ("extend", "augment") or item is None:
        return False
    return not isinstance(item, (n.Sequence, n.Mapping, n.Comprehension)) and not _may_be_number(scope, item)


def _may_be_number(scope: Scope, item: n.Expr) -> bool:
    """`loss if step else 0.0`, or a name that starts as a number and that no backward pass starts from."""
    if isinstance(item, (n.Choice, n.Logic)):
        return True
    names = n.mentioned(item)
    if any(names & backward.names and len(backward.names) == 1 for backward in scope.events.backwards):
        return False
    return any(
        isinstance(stmt.value, n.Const) and names & {n.dotted(target) for target in stmt.targets}
        for stmt in n.statements(scope.body)
        if isinstance(stmt, n.Assign)
    )


def kept_parameters(scope: Scope) -> Iterator[tuple[str, int]]:
    """The parameters that a function keeps beyond its call, with the number of the growth that does."""
    for number, growth in enumerate(scope.events.growths):
        if growth.mode != OFF and growth.holder.startswith(("class:", "module:")) and _keeps(growth):
            for parameter in _parameters(scope, growth.value):
                yield parameter, number


def _keeps(growth: Growth) -> bool:
    if growth.how == "setitem":
        return key_moves_on(growth)
    return growth.how in _KEEPING


def _judge(scope: Scope, growth: Growth, here: list[Draw], elsewhere: list[Draw]) -> Kept | None:
    if any(draw.how == "trained" for draw in here):
        return None  # it feeds a loss
    outer = _outlived(scope, growth)
    ran = _backward_ran(scope, growth)
    sure = v.attached(growth.value)
    parameter = "" if sure else next(_parameters(scope, growth.value), "")
    if not sure and not parameter:
        return None
    if growth.holder.startswith("local:"):
        return _local(scope, growth, outer, here, ran) if sure else None
    if growth.holder.startswith(("param:", "attr:")) and ran and sure and _steps(outer):
        question = f"whether `{n.dotted(growth.container) or n.root(growth.container)}` is a plain list"
        return Kept(scope, growth, True, _steps(outer)[-1].kind in REPEATING, question=question)
    if not growth.holder.startswith(("class:", "module:")):
        return None
    # Of a parameter nothing else is known: only a `.detach()` further on says that it had a graph.
    ends = ("detached",) if parameter else ("detached", "host")
    late = [draw for draw in (*here, *elsewhere) if draw.how in ends]
    reasons: list[tuple[object, str]] = []
    repeats = bool(_steps(outer)) and _steps(outer)[-1].kind in REPEATING
    question = ""
    on_cpu = growth.value.device == v.CPU
    if not ran and not late and (growth.how == "accumulate" or not on_cpu and scope.owner is None):
        return None
    if late and not ran:
        reasons.append((late[0].node, "what is kept only ends up without its graph here"))
    elif not ran:
        if growth.how == "concat" and _is_asked_for(scope, growth):
            return None
        question = f"whether something trains on `{n.dotted(growth.container) or n.root(growth.container)}`"
    if parameter and not late:
        return None  # whoever passes a value with a graph is told, see `handed_over`
    return Kept(scope, growth, ran, repeats, reasons, parameter, question)


def _is_asked_for(scope: Scope, growth: Growth) -> bool:
    """Whether it stands behind a parameter that is False unless the caller asks: what a decoder goes on from."""
    if scope.node is None:
        return False
    off = {
        name for name, default in scope.node.defaults.items() if isinstance(default, n.Const) and default.value is False
    }
    asked = (stmt for stmt in n.statements(scope.body) if isinstance(stmt, n.If) and n.dotted(stmt.test) in off)
    return any(inner is growth.node for stmt in asked for inner in n.statements(stmt.body))


def _local(scope: Scope, growth: Growth, outer: list[Loop], here: list[Draw], ran: bool) -> Kept | None:
    """A list or sum of one function: what the function does with it is all there is to know."""
    if ran and (around := _repeated_by(scope, growth)) is not None:
        reasons: list[tuple[object, str]] = [(around.node, f"each run of `{scope.name}` adds a graph")]
        return Kept(scope, growth, True, True, reasons)
    outer = _steps(outer)
    if outer and outer[-1].kind == EPOCH and _last_of_epoch(scope, growth):
        return Kept(
            scope, growth, True, True, [(n.head(outer[-1].node), "each epoch adds what is left of its last graph")]
        )
    if not outer or outer[-1].kind not in REPEATING:
        return None
    loop = outer[-1]
    after = [draw for draw in here if loop not in draw.loops]
    reasons = [(n.head(loop.node), f"this {loop.kind} loop adds a graph in each pass")]
    if ran:
        return Kept(scope, growth, True, True, reasons)
    escapes = any(draw.how in _ESCAPES for draw in here)
    ends = [draw for draw in after if draw.how in ("detached", "host")]
    if ends and not escapes:
        reasons.append((ends[0].node, "and only what is taken from it without a graph is used"))
    if not escapes and (ends or loop.kind != DATA):
        return Kept(scope, growth, False, True, reasons)
    return None


def _last_of_epoch(scope: Scope, growth: Growth) -> bool:
    """Whether the loss of the last step is kept when the loop over the steps is done."""
    names = {n.dotted(growth.item)} - {""} if growth.item is not None else set()
    return any(
        names & backward.names and backward.loops[: len(growth.loops)] == growth.loops != backward.loops
        for backward in scope.events.backwards
        if not backward.keeps_graph
    )


def _repeated_by(scope: Scope, growth: Growth) -> CallSite | None:
    """The call, in a loop of the function around it, that runs a closure: by name, or handed over to be run."""
    owner = growth.holder.removeprefix("local:").rpartition(":")[0]
    if owner == scope.qualname or scope.parent is None or scope.parent.qualname != owner:
        return None
    made = [init.loops for init in scope.parent.events.inits if init.holder == _holder(growth)]
    for site in scope.parent.events.calls:
        named = site.name == scope.name or any(n.dotted(arg) == scope.name for arg in site.node.args)
        loops = [loop for loop in site.loops if all(loop not in around for around in made)]
        if named and made and any(loop.kind in REPEATING for loop in loops):
            return site
    return None


def _outlived(scope: Scope, growth: Growth) -> list[Loop]:
    """The loops around a growth that do not make the container anew in each pass, outermost first."""
    text = n.dotted(growth.container) or n.root(growth.container)
    made = [init.loops for init in scope.events.inits if init.holder == _holder(growth)]
    if growth.holder.startswith("local:") and growth.how != "accumulate" and not made:
        return []
    loops = [loop for loop in growth.loops if all(loop not in loops for loops in made)]
    out: list[Loop] = []
    for loop in reversed(loops):
        if _set_anew(loop, text):
            break
        out.insert(0, loop)
    return out


def _set_anew(loop: Loop, text: str) -> bool:
    """Whether a pass of the loop gives the name a value that is not made from its old one."""
    if isinstance(loop.node, n.For) and text in n.mentioned(loop.node.target):
        return True
    return any(_sets_anew(stmt, text) for block in n.blocks(loop.node) for stmt in block)


def _sets_anew(stmt: n.Stmt, text: str) -> bool:
    if isinstance(stmt, n.Assign) and text not in n.mentioned(stmt.value):
        return any(text in n.target_names(target) for target in stmt.targets)
    if isinstance(stmt, n.If) and _first_time(stmt.test, text):
        return False  # `if mean is None: mean = loss` begins, it does not begin again
    return any(_sets_anew(inner, text) for block in n.blocks(stmt) for inner in block)


def _first_time(test: n.Expr, text: str) -> bool:
    """`step == 0`, `mean is None`, `not mean`."""
    if isinstance(test, n.Compare) and len(test.rest) == 1 and n.dotted(test.left):
        op, right = test.rest[0]
        return op in ("Is", "Equal") and isinstance(right, n.Const) and right.value in (0, None)
    return isinstance(test, n.Unary) and test.op == "Not" and n.dotted(test.operand) == text


def _backward_ran(scope: Scope, growth: Growth) -> bool:
    """Whether the graph of what is kept has had its backward pass, in the same pass of the loop."""
    names = n.mentioned(growth.item) if growth.item is not None else set()
    return _ran(scope, names, v.graph_of(growth.value), growth.loops)


def _steps(loops: Sequence[Loop]) -> list[Loop]:
    """The loops without the innermost ones that go through one step's own parts, its dict of losses for one."""
    steps = list(loops)
    while steps and steps[-1].kind in (STRUCTURE, CONSTANT):
        steps.pop()
    return steps


def _ran(scope: Scope, names: set[str], origins: frozenset[int], loops: tuple[Loop, ...]) -> bool:
    for backward in scope.events.backwards:
        if backward.keeps_graph or _steps(loops)[-1:] != _steps(backward.loops)[-1:]:
            continue
        if names & backward.names or origins & backward.origins:
            return True
    inner = [backward for inside in scope.inner for backward in inside.events.backwards]
    if any(names & backward.names for backward in inner if not backward.keeps_graph):
        return True
    forwards = scope.events.forwards
    return bool(origins) and all(forwards[o].indirect and forwards[o].ran for o in origins)


def _parameters(scope: Scope, value: Value) -> Iterator[str]:
    """The parameters that are kept, or that what is kept was computed from."""
    prefix = f"param:{scope.qualname}:"
    inside = [value, *(value.parts or ()), *([value.item] if value.item is not None else [])]
    for part in inside:
        for name in sorted(part.drawn):
            if name.startswith(prefix) and part.kind in (v.UNKNOWN, v.OUTPUT, v.TENSOR) and part.grad != v.DETACHED:
                yield name.removeprefix(prefix)


def _holder(growth: Growth) -> str:
    return growth.holder.removesuffix("[]")


def _draws_on_attributes(facts: FileFacts) -> dict[str, list[Draw]]:
    draws: dict[str, list[Draw]] = {}
    for scope in facts.all_scopes():
        for draw in scope.events.draws:
            if draw.holder.startswith(("class:", "module:")):
                draws.setdefault(draw.holder, []).append(draw)
    return draws
