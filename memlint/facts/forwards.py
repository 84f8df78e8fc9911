"""Forward passes whose graph nobody uses: the question behind no-grad-inference."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct, field

from memlint.facts import FileFacts, Scope, frameworks
from memlint.facts import knowledge as k
from memlint.facts import nodes as n
from memlint.facts.events import EPOCH, OFF, ON, Forward, Loop, Use
from memlint.facts.targets import Target, target_forwards
from memlint.facts.trials import in_unit_test

# Uses that end a graph and that nobody writes on a value without one: they prove what the callee gave back.
_ENDS_A_GRAPH = frozenset({".detach()", ".data", ".detach_()"})
# Uses that take a result to the host: of a call whose input was moved to the accelerator, they speak of a module.
_TO_HOST = frozenset({".argmax()", "argmax()", ".item()", ".tolist()", ".numpy()", "multinomial()", ".multinomial()"})
_KEEPS = frozenset({"returned", "yielded", "stored"})


class Wasted(Struct, eq=False):
    """A forward pass (the first of a region) that builds a graph for nothing.

    block: the statement to wrap where the whole function cannot be decorated (None: decorate).
    sure: proved within this function. escapes: results leave otherwise than as plain numbers.
    handed: callees that were given results and whose own results are dropped.
    kept: results leave with their graph, if they have one.
    only_if_module: nothing here says that what runs is a module; another file must.
    shared: the block runs something else whose graph is needed.
    """

    forward: Forward
    block: n.Stmt | None
    sure: bool
    escapes: bool
    reasons: list[tuple[object, str]] = field(default_factory=list)
    handed: tuple[str, ...] = ()
    question: str = ""
    only_if_module: bool = False
    shared: bool = False
    kept: bool = False


def wasted_forwards(facts: FileFacts, scope: Scope) -> Iterator[Wasted]:
    """At most one per region of a function: the whole of it, or each loop in which nothing trains."""
    if not facts.uses_torch:
        return
    events = scope.events
    aware = any(f.mode == OFF for f in events.forwards) or any(call.mode == OFF for call in events.calls)
    live = [f for f in events.forwards if f.mode == ON and (f.certain and not f.indirect or not aware)]
    live = [f for f in live if not _had_no_graph(f) and not (f.through and _wraps_without_grad(facts, scope, f))]
    if not live or events.frozen or in_unit_test(facts.path, scope) or _grad_off_by_framework(facts, scope):
        return
    if not _trains(scope) and not _is_forward(scope):
        found = _judge(facts, scope, live, None)
        if found is not None:
            yield found
        return
    taken: set[int] = set()
    loops = [] if _is_forward(scope) else events.loops
    for loop in loops:
        inside = {id(e) for e in n.every(getattr(loop.node, "body", []))}
        if loop.kind == EPOCH or any(id(t) in inside for t in events.training) or id(loop.node) in taken:
            continue
        taken.update(id(other.node) for other in events.loops if id(getattr(other.node, "iter", None)) in inside)
        region = [f for f in live if id(f.node) in inside]
        if all(_ends_inside(use, inside) for f in region for use in f.uses):
            found = _judge(facts, scope, region, loop)
            if found is not None and not _inside_trained_closure(scope):
                live = [f for f in live if f not in region]
                yield found
    told: set[int] = set()
    run_back = {origin for backward in events.backwards for origin in backward.origins}
    for forward in live:
        if forward.id in run_back:
            continue  # `torch.autograd.grad(loss)`: what it gives is detached, not the loss
        detached = _only_detached(forward) and (forward.certain or _of_a_part(facts, scope, forward))
        if (detached or _only_checked(facts, scope, forward)) and id(forward.stmt) not in told:
            told.add(id(forward.stmt))
            reasons = _reasons(forward)
            yield Wasted(forward, forward.stmt, sure=True, escapes=False, reasons=reasons)
    if _inside_trained_closure(scope) or _is_forward(scope):
        return
    for target in target_forwards(facts, scope):
        if target.forward in live and id(target.forward.stmt) not in told:
            told.add(id(target.forward.stmt))
            yield _of_target(target)


def _of_target(target: Target) -> Wasted:
    """A network that only supplies targets: its graph is run backward for weights that nothing updates."""
    forward, source = target.forward, target.source
    seen = f"its weights are copied from `{source}` here" if source else "it is put into evaluation mode here"
    trained = next(use for use in forward.uses if use.how == "trained")
    reasons = [
        (forward.node, forward.why),
        (target.origin, seen),
        (trained.node, "gradients of its weights are computed here, and no optimizer takes them"),
    ]
    question = "" if target.sure else f"whether an optimizer elsewhere takes the parameters of `{forward.receiver}`"
    return Wasted(forward, forward.stmt, target.sure, True, reasons, (), question, shared=target.shared)


def set_on_another(facts: FileFacts, scope: Scope) -> str:
    """The attribute of another object that a method is stored as, `attribution.forward_func`, or ""."""
    if scope.owner is None or f"= {scope.self_name}.{scope.name}" not in facts.source.text:
        return ""
    for other in scope.owner.methods.values():
        for stmt in n.statements(other.body):
            if isinstance(stmt, n.Assign) and n.dotted(stmt.value) == f"{other.self_name}.{scope.name}":
                paths = [n.dotted(target) for target in stmt.targets]
                kept = [path for path in paths if "." in path.removeprefix(f"{other.self_name}.")]
                if kept:
                    return kept[0]
    return ""


def _judge(facts: FileFacts, scope: Scope, live: list[Forward], loop: Loop | None) -> Wasted | None:
    evals = [(receiver, node) for receiver, node in scope.events.evals if _before(facts, node, loop)]
    watched = [f for f in live if f.certain or _typed(f) and not f.through or _in_eval(f, evals, scope)]
    # Of unproved callees that feed one another the last is held to be the module: others may prepare its input.
    receivers = {f.receiver for f in watched}
    watched = [
        f for f in watched if f.certain or not _goes_into(f, receivers - {f.receiver}) or _in_eval(f, evals, scope)
    ]
    elsewhere = [] if watched else [f for f in live if _defined_elsewhere(facts, scope, f) and _goes_to_host(f)]
    if elsewhere and len({f.receiver for f in elsewhere}) == 1:
        watched = elsewhere
    if any(u.how in _KEEPS for f in live if f not in watched for u in f.uses):
        watched = [f for f in watched if f.certain or _in_eval(f, evals, scope)]
    if not watched or any(u.how == "trained" for f in watched for u in f.uses):
        return None
    kept = [u for f in watched for u in f.uses if u.how in _KEEPS]
    handed = tuple(u.detail.rpartition(".")[2] for f in watched for u in f.uses if u.how == "handed")
    passed = any(u.how == "passed" for f in watched for u in f.uses)
    first = next((f for f in watched if _in_eval(f, evals, scope)), None) or next(
        (f for f in watched if f.certain), watched[0]
    )
    block = loop.node if loop is not None else None
    reasons = _reasons(first)
    in_eval = [(receiver, node) for receiver, node in evals if _in_eval(first, [(receiver, node)], scope)]
    if in_eval:
        receiver, node = in_eval[0]
        reasons.insert(0, (node, f"`{receiver}` is put into evaluation mode here"))
        if kept and any(call.mode == OFF for call in scope.events.calls):
            return None  # both modes in one function, and results that leave it: the author has thought of gradients
        question = f"whether gradients of what is {kept[0].how} are wanted" if kept else ""
        return Wasted(first, block, not kept, True, reasons, handed, question, kept=bool(kept))
    if kept:
        return None
    if all(_consumed(f) or _feeds(f, watched) for f in watched) and any(_consumed(f) for f in watched):
        question = f"what `{handed[0]}` does with the result" if handed else ""
        return Wasted(first, block, not handed, passed or bool(handed), reasons, handed, question, bool(elsewhere))
    dropped = all(u.how == "dropped" for f in watched for u in f.uses) and first.certain and first.uses
    if loop is None and dropped and _runs_itself(first) and not scope.is_module_body and not _compiled(scope, first):
        reasons = [(first.node, "the result is dropped")]
        question = "whether only hooks or side effects of the forward pass are wanted"
        return Wasted(first, first.stmt, False, False, reasons, (), question)
    return None


def _had_no_graph(forward: Forward) -> bool:
    """`module(x).cpu().numpy()` raises where the result has a graph: as the code works, there is none."""
    hows = {use.how for use in forward.uses}
    stmt = forward.stmt
    unpacked = isinstance(stmt, n.Assign) and any(isinstance(target, n.Sequence) for target in stmt.targets)
    if unpacked or not hows <= {"consumed", "returned"}:
        return False
    return any(use.detail == ".numpy()" and not _picks(use.node.func.value) for use in forward.uses)


def _picks(expr: n.Expr) -> bool:
    """Whether an entry is taken out of a result: others of its entries may have a graph."""
    while isinstance(expr, (n.Attr, n.Call)):
        expr = expr.value if isinstance(expr, n.Attr) else expr.func
    return isinstance(expr, n.Item)


def _runs_itself(forward: Forward) -> bool:
    """`model(x)`, and not another method of the model, which is called for what it does."""
    return n.dotted(forward.node.func) in (forward.receiver, f"{forward.receiver}.forward")


def _compiled(scope: Scope, forward: Forward) -> bool:
    """The first call of what `torch.compile` made compiles it, for the grad mode of the calls that follow."""
    return any(
        isinstance(stmt, n.Assign)
        and isinstance(stmt.value, n.Call)
        and n.dotted(stmt.value.func) == "torch.compile"
        and forward.receiver in [n.dotted(target) for target in stmt.targets]
        for stmt in n.statements(scope.body)
    )


def _wraps_without_grad(facts: FileFacts, scope: Scope, forward: Forward) -> bool:
    """Inside a decorator: all that this file decorates with it has `no_grad` above it."""
    around = scope.parent
    callee = n.dotted(forward.node.func)
    if around is None or around.node is None or callee not in around.params:
        return False
    decorated = [s.node for s in facts.all_scopes() if s.node is not None]
    lists = [[n.dotted(d.func if isinstance(d, n.Call) else d) for d in node.decorators] for node in decorated]
    lists = [names[: names.index(around.name)] for names in lists if around.name in names]
    return bool(lists) and all(any(facts.names.path(name) in k.GRAD_OFF for name in names) for names in lists)


def _consumed(forward: Forward) -> bool:
    return any(u.how == "consumed" for u in forward.uses)


def _feeds(forward: Forward, others: list[Forward]) -> bool:
    """Whether a result only goes into other watched forwards."""
    receivers = {f.receiver for f in others}
    return bool(forward.uses) and all(u.how in ("passed", "typed") and u.detail in receivers for u in forward.uses)


def _is_forward(scope: Scope) -> bool:
    """A module's own forward: where a gradient stops in it is a decision of the model."""
    return scope.name == "forward" and scope.owner is not None


def _goes_into(forward: Forward, receivers: set[str]) -> bool:
    return any(u.how == "passed" and u.detail in receivers for u in forward.uses)


def _defined_elsewhere(facts: FileFacts, scope: Scope, forward: Forward) -> bool:
    """Whether a class in another file says what is called: it is an object of one, or what a base class keeps."""
    owner, _, attribute = forward.receiver.partition(".")
    if forward.through or forward.indirect or not forward.question.endswith("is a module"):
        return False
    if forward.of:
        return True
    own = scope.owner is not None and owner == scope.self_name and bool(attribute) and "." not in attribute
    return own and scope.owner is not None and scope.owner.has_base_elsewhere(facts.classes)


def _goes_to_host(forward: Forward) -> bool:
    return any(u.how == "consumed" and u.detail in _TO_HOST for u in forward.uses)


def _typed(forward: Forward) -> bool:
    return (
        forward.fed
        and _goes_to_host(forward)
        or any(u.how == "typed" or u.detail in _ENDS_A_GRAPH for u in forward.uses)
    )


def _only_detached(forward: Forward) -> bool:
    """In training code: every use ends the graph, in the statement of the forward itself or on its plain result."""
    uses = forward.uses
    return (
        bool(uses)
        and all(u.how == "consumed" for u in uses)
        and any(u.detail in _ENDS_A_GRAPH for u in uses)
        and (forward.certain or all(u.detail in _ENDS_A_GRAPH for u in uses))
    )


def _of_a_part(facts: FileFacts, scope: Scope, forward: Forward) -> bool:
    """`self.teacher(x)` in a module whose constructor was given the teacher: what has a graph came from a network."""
    if not forward.question.endswith("runs the network"):
        return False  # the class is no module: it may call any function of its own
    first, _, attribute = n.dotted(forward.node.func).partition(".")
    owner = scope.owner
    if forward.through or forward.indirect or owner is None or first != scope.self_name or not attribute:
        return False
    made = owner.methods.get("__init__")
    if made is None:
        return False
    given = f"{made.self_name}.{attribute}"
    return any(
        isinstance(stmt, n.Assign)
        and isinstance(stmt.value, n.Name)
        and stmt.value.id in made.params
        and given in map(n.dotted, stmt.targets)
        for stmt in made.statements()
    )


def _only_checked(facts: FileFacts, scope: Scope, forward: Forward) -> bool:
    """A validation inside training code: in evaluation mode, and every use takes the result to the host."""
    if not forward.uses or any(use.how not in ("consumed", "typed") for use in forward.uses):
        return False
    if forward.through or forward.indirect:
        return False
    line = facts.place(forward.node).line
    evals = [facts.place(node).line for name, node in scope.events.evals if _in_eval(forward, [(name, node)], scope)]
    latest = max((other for other in evals if other < line), default=0)
    if not latest:
        return False
    for site in scope.events.calls:
        if site.name == "train" and latest < facts.place(site.node).line < line:
            owner = n.dotted(site.node.func).removesuffix(".train")
            if f"{forward.receiver}.".startswith(f"{owner}."):
                return False
    return True


def _in_eval(forward: Forward, evals: list[tuple[str, object]], scope: Scope) -> bool:
    if not forward.certain and all(u.how in ("dropped", "stored") for u in forward.uses):
        return False  # run for what it does, not for what it gives back
    for receiver, _ in evals:
        if forward.receiver == receiver or forward.receiver.startswith(f"{receiver}.") and receiver != scope.self_name:
            return True
        if receiver == scope.self_name and forward.receiver == receiver:
            return True
    return False


def _before(facts: FileFacts, node: object, loop: Loop | None) -> bool:
    """Whether an `.eval()` comes before the region, and no later than it."""
    return loop is None or facts.place(node).line <= facts.place(loop.node).line


def _reasons(forward: Forward) -> list[tuple[object, str]]:
    reasons: list[tuple[object, str]] = [(forward.node, forward.why)]
    for use in forward.uses:
        if use.how == "consumed":
            reasons.append((use.node, f"the result ends here in `{use.detail}`, which needs no graph"))
    return reasons[:4]


def _ends_inside(use: Use, inside: set[int]) -> bool:
    return use.how != "trained" and (id(use.node) in inside or use.how in ("consumed", "stored"))


def _trains(scope: Scope) -> bool:
    """Training in the function, in a function inside it, or in one around it (a closure runs where that trains)."""
    around = [s for s in scope.around() if s.node is not None]
    return any(s.events.training for s in (*scope.within(), *around))


def _inside_trained_closure(scope: Scope) -> bool:
    return any(s.node is not None and s.events.training for s in scope.around() if s is not scope)


def _grad_off_by_framework(facts: FileFacts, scope: Scope) -> bool:
    """A hook that a training framework calls with gradients off: the class derives from something unseen."""
    return scope.owner is not None and frameworks.runs_without_grad(scope.name, scope.owner.bases)
