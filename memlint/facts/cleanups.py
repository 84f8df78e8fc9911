"""Cache clearing that runs with every step: the question behind rate-limit-cleanup."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct, field

from memlint.facts import FileFacts, Scope
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.events import ENDLESS, STEP, CallSite, Loop
from memlint.facts.trials import is_trial

EMPTYING = frozenset({
    "torch.cuda.empty_cache", "torch.xpu.empty_cache", "torch.mps.empty_cache", "torch.npu.empty_cache",
    "torch.mlu.empty_cache", "torch.musa.empty_cache", "torch.hpu.empty_cache", "torch.cuda.memory.empty_cache",
    "torch.accelerator.empty_cache", "torch.accelerator.memory.empty_cache", "torch.cuda.ipc_collect",
    "mlx.core.clear_cache", "mlx.core.metal.clear_cache",
})  # fmt: skip
_PATHS = EMPTYING | {"gc.collect"}
_LIMITS = ("set_cache_limit", "clear_cache", "set_memory_limit", "set_wired_limit")
# In a test of whether there is a device at all: it does not make the call any rarer.
_AVAILABILITY = frozenset({"is_available", "is_initialized", "type", "device_count", "hasattr"})

EACH_STEP = "each-step"
IN_A_STEP = "in-a-step"
ALLOCATED = "allocated"
MLX = "mlx"


class Cleaning(Struct, eq=False):
    """Clearing that costs more than it frees.

    form: each-step (in a loop here), in-a-step (in a function that is called in one), allocated (under a threshold that
    clearing can't lower), mlx (a loop that nothing bounds). calls: all of them. loop: the outermost one around.
    owner: the constructor of the object whose method it is, where that is written out.
    """

    scope: Scope
    form: str
    calls: list[n.Call]
    loop: n.Stmt | None
    reasons: list[tuple[object, str]]
    questions: list[str] = field(default_factory=list)
    owner: Scope | None = None


class _Where(Struct, eq=False):
    """How a statement is reached inside its loop or function."""

    always: bool
    tests: list[n.Expr]


def cleanings(facts: FileFacts) -> Iterator[Cleaning]:
    """At most one for each loop or function, and one for each threshold."""
    if is_trial(facts.path):
        return
    for scope in facts.all_scopes():
        sites = [site for site in scope.events.calls if _cleans(facts, scope, site)]
        by_loop: dict[int, list[CallSite]] = {}
        for site in sites:
            by_loop.setdefault(id(site.loops[-1]) if site.loops else 0, []).append(site)
        for group in by_loop.values():
            yield from _judge(facts, scope, group)
    if "mlx" in facts.source.text and not facts.mentions(*_LIMITS) and not _steps_cleanup(facts):
        for scope in facts.all_scopes():
            yield from _unbounded_mlx(scope)


def _cleans(facts: FileFacts, scope: Scope, site: CallSite) -> bool:
    if site.node.args and site.path != "gc.collect":
        return False
    if site.path:
        return site.path in _PATHS
    func = site.node.func
    if site.name != "empty_cache" or not isinstance(func, n.Attr):
        return False
    # `module = getattr(torch, device_type)`: one of torch's own device modules.
    text = n.dotted(func.value)
    for around in scope.around():
        for stmt in n.statements(around.body):
            if isinstance(stmt, n.Assign) and any(n.dotted(t) == text for t in stmt.targets):
                value = stmt.value
                made = isinstance(value, n.Call) and n.dotted(value.func) == "getattr" and value.args
                return bool(made) and isinstance(value, n.Call) and facts.names.path(n.dotted(value.args[0])) == "torch"
    return False


def _judge(facts: FileFacts, scope: Scope, sites: list[CallSite]) -> Iterator[Cleaning]:
    loop = sites[0].loops[-1] if sites[0].loops else None
    body = getattr(loop.node, "body", []) if loop is not None else scope.body
    always, reasons = [], []
    for site in sites:
        where = _reached(body, site.node, facts)
        if where is None:
            continue
        if where.always:
            always.append(site)
        elif (loop is None or _is_hot(scope, loop)) and (test := _on_allocated(facts, scope, where)) is not None:
            told = [(test, "what tensors use is compared here; clearing the cache does not lower it")]
            yield Cleaning(scope, ALLOCATED, [site.node], None, [*told, (site.node, "so it clears in each step")])
            return
    if not always:
        return
    calls = [site.node for site in always]
    if loop is None:
        steps = any(not backward.loops for backward in scope.events.backwards)
        if scope.node is not None and (steps or not any(_may_repeat(inner) for inner in scope.events.loops)):
            yield Cleaning(scope, IN_A_STEP, calls, None, [], owner=_constructor(scope))
        return
    if _is_hot(scope, loop) and not _builds(body):
        reasons = [(calls[0], "runs in every pass"), (n.head(loop.node), f"of this {loop.kind} loop")]
        yield Cleaning(scope, EACH_STEP, calls, always[0].loops[0].node, reasons)


def _constructor(scope: Scope) -> Scope | None:
    """The constructor of the class that a function is a method of."""
    cls = scope.owner
    if cls is None or not scope.self_name or cls.methods.get(scope.name) is not scope or scope.name == "__init__":
        return None
    slots = any("__slots__" in [n.dotted(t) for t in s.targets] for s in cls.node.body if isinstance(s, n.Assign))
    return cls.methods.get("__init__") if not slots else None


def _is_hot(scope: Scope, loop: Loop) -> bool:
    """Whether a loop trains in each pass itself, or goes through a data loader."""
    inside = {id(expr) for expr in n.every(getattr(loop.node, "body", []))}
    if loop.kind in (STEP, ENDLESS):
        return any(id(node) in inside for node in scope.events.training)
    if any(site.path == "mlx.core.eval" and id(site.node) in inside for site in scope.events.calls):
        return any(_updates(site) and id(site.node) in inside for site in scope.events.calls)
    heads = [scope.env.get(name, v.ANYTHING) for name in n.mentioned(getattr(loop.node, "iter", n.Const(None, None)))]
    runs = any(id(forward.node) in inside and forward.certain for forward in scope.events.forwards)
    return runs and any(value.kind == v.LOADER for value in heads)


def _may_repeat(loop: Loop) -> bool:
    return loop.kind not in ("constant", "structure")


def _builds(body: list[n.Stmt]) -> bool:
    """Whether each pass makes or drops something large: then clearing between two of them is right."""
    for stmt in n.statements(body):
        if isinstance(stmt, n.Delete) and any(word in n.root(stmt.target) for word in ("model", "pipe", "trainer")):
            return True
    makers = ("from_pretrained", "load_state_dict", "load_model", "build_model", "create_model", "fit")
    return any(isinstance(expr, n.Call) and n.dotted(expr.func).rpartition(".")[2] in makers for expr in n.every(body))


def _reached(body: list[n.Stmt], node: n.Call, facts: FileFacts) -> _Where | None:
    """How a call is reached in a body: None in handlers, inner loops and behind a branch that leaves."""
    return _search(body, node, _Where(True, []), facts)


def _search(body: list[n.Stmt], node: n.Call, where: _Where, facts: FileFacts) -> _Where | None:
    for stmt in body:
        if any(part is node for expr in n.expressions(stmt) for part in n.walk(expr)):
            return where if isinstance(stmt, (n.Do, n.Assign)) and not _chosen(stmt, node) else None
        if isinstance(stmt, n.If):
            rare = not asks_for_device(stmt.test)
            inner = _Where(where.always and not rare, [*where.tests, stmt.test])
            found = _search(stmt.body, node, inner, facts) or _search(stmt.orelse, node, _Where(False, []), facts)
            if found is not None:
                return found
            if rare and stmt.body and isinstance(stmt.body[-1], (n.Jump, n.Return, n.Raise)):
                where = _Where(False, [])  # what follows is reached only now and then
        elif isinstance(stmt, n.With):
            if found := _search(stmt.body, node, where, facts):
                return found
        elif isinstance(stmt, n.Try):
            for block in (stmt.body, stmt.orelse, stmt.final):
                if found := _search(block, node, where, facts):
                    return found
    return None


def _chosen(stmt: n.Stmt, node: n.Call) -> bool:
    """`empty_cache() if memory_is_short else None`: reached by choice, unless it asks whether there is a device."""
    return any(
        isinstance(part, (n.Choice, n.Logic, n.Lambda)) and any(inner is node for inner in n.walk(part))
        and not (isinstance(part, n.Choice) and asks_for_device(part.test))
        for expr in n.expressions(stmt)
        for part in n.walk(expr)
    )  # fmt: skip


def asks_for_device(test: n.Expr) -> bool:
    """`torch.cuda.is_available()`, `device.type == "cuda"`, `args.cuda`: the same answer in each step."""
    for part in n.walk(test):
        if isinstance(part, n.Binary):
            return False
        if isinstance(part, n.Call) and getattr(part.func, "attr", getattr(part.func, "id", "")) not in _AVAILABILITY:
            return False
        if isinstance(part, n.Compare) and not any(
            isinstance(e, n.Const) and isinstance(e.value, str) for _, e in part.rest
        ):
            return False
    names = " ".join(n.mentioned(test)).lower()
    texts = [p.value for p in n.walk(test) if isinstance(p, n.Const) and isinstance(p.value, str)]
    return any(word in f"{names} {' '.join(texts)}" for word in ("cuda", "gpu", "mps", "xpu", "npu", "is_available"))


def _on_allocated(facts: FileFacts, scope: Scope, where: _Where) -> n.Expr | None:
    """The test, where all that guards the call is a threshold on what tensors use, or that or an interval."""
    threshold = [test for test in where.tests if not asks_for_device(test)]
    if len(threshold) != 1:
        return None
    said = _alternative(_meaning(scope, threshold[0]))
    if not isinstance(said, n.Compare):
        return None
    asked = {_question(part) for expr in (said, *_sources(scope, said)) for part in n.walk(expr)} - {""}
    return threshold[0] if asked and asked <= _ALLOCATED else None


def _meaning(scope: Scope, test: n.Expr) -> n.Expr:
    """What is tested: `due`, where it is bound once, is what it was made of."""
    found = list(_bound_to(scope, n.dotted(test))) if isinstance(test, (n.Name, n.Attr)) else []
    return found[0] if len(found) == 1 else test


def _alternative(test: n.Expr) -> n.Expr:
    """`allocated > limit` of `step % 10 == 0 or allocated > limit`: above the limit the interval counts for nothing."""
    if isinstance(test, n.Logic) and test.op == "Or":
        rest = [part for part in (test.left, test.right) if not n.at_interval(part)]
        return rest[0] if len(rest) == 1 else test
    return test


def _sources(scope: Scope, expr: n.Expr, depth: int = 2) -> Iterator[n.Expr]:
    """What the names in an expression were bound to, and the names in that."""
    for name in n.mentioned(expr) if depth else ():
        for value in _bound_to(scope, name):
            yield value
            yield from _sources(scope, value, depth - 1)


def _bound_to(scope: Scope, name: str) -> Iterator[n.Expr]:
    for stmt in scope.statements():
        if name and isinstance(stmt, n.Assign) and any(n.dotted(target) == name for target in stmt.targets):
            yield stmt.value


# What is in use, of which clearing the cache gives nothing back.
_ALLOCATED = frozenset({"memory_allocated", "current_allocated_memory", "get_active_memory"})
_QUESTIONS = ("memory_", "max_memory_", "mem_get", "virtual_memory", "current_allocated_memory", "driver_allocated",
              "get_active_memory", "get_cache_memory", "get_peak_memory")  # fmt: skip


def _question(part: n.Expr) -> str:
    name = n.dotted(part.func).rpartition(".")[2] if isinstance(part, n.Call) else ""
    return name if name.startswith(_QUESTIONS) else ""


def _updates(site: CallSite) -> bool:
    """`optimizer.update(model, gradients)`."""
    return site.name == "update" and len(site.node.args) == 2


def _steps_cleanup(facts: FileFacts) -> bool:
    """Whether a `Cleanup` of memlint's runtime, or of a copy of it, is made here and stepped."""
    if not facts.mentions("Cleanup"):
        return False
    made: set[str] = set()
    stepped: set[str] = set()
    for scope in facts.all_scopes():
        paths = {id(site.node): site.path.rpartition(".") for site in scope.events.calls if site.name != "step"}
        for stmt in scope.statements():
            if isinstance(stmt, n.Assign) and id(stmt.value) in paths:
                module, _, name = paths[id(stmt.value)]
                if name == "Cleanup" and module not in ("", facts.names.module):
                    made.update(n.dotted(target) for target in stmt.targets)
        calls = [site.node.func for site in scope.events.calls if site.name == "step"]
        stepped.update(n.dotted(func.value) for func in calls if isinstance(func, n.Attr))
    return bool(made & stepped - {""})


def _unbounded_mlx(scope: Scope) -> Iterator[Cleaning]:
    """A loop that takes gradients and evaluates them with MLX, in a file that never mentions the cache."""
    grads = {site.node for site in scope.events.calls if site.path.startswith("mlx.") and "value_and_grad" in site.name}
    evals = [site for site in scope.events.calls if site.path == "mlx.core.eval" and site.loops]
    around = [s for s in scope.around() if s is not scope]
    grads |= {
        c.node for s in around for c in s.events.calls if c.path.startswith("mlx.") and "value_and_grad" in c.name
    }
    updates = [site for site in scope.events.calls if _updates(site) and site.loops]
    if grads and evals and updates and evals[0].loops[0] in updates[0].loops:
        loop = evals[0].loops[0]
        question = "whether shapes change from step to step, so that freed buffers pile up in the cache"
        reasons = [(evals[0].node, "each pass frees buffers into MLX's cache"), (n.head(loop.node), "in this loop")]
        yield Cleaning(scope, MLX, [evals[0].node], loop.node, reasons, [question])
