"""Large objects that are replaced or kept while others are built: the question behind release-before-reload."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from msgspec import Struct, field

from memlint.facts import FileFacts, Scope
from memlint.facts import knowledge as k
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.events import EPOCH, REPEATING, CallSite
from memlint.facts.loads import LOADERS
from memlint.facts.tracing import Usage, Uses, is_bound
from memlint.facts.trials import is_unit_test

_BUILDERS = (
    *(path for path in k.MODULE_FACTORIES if path != "torch.nn."), "vllm.LLM", "whisper.load_model", "mlx_lm.load",
    "sentence_transformers.SentenceTransformer", "transformers.pipeline",
)  # fmt: skip
_HAND_ON = frozenset({"to", "cuda", "eval", "train", "half", "float", "bfloat16", "requires_grad_", "cpu"})
_ROUTES = frozenset({"route", "get", "post", "put", "patch", "websocket", "on", "event", "command", "task", "callback"})
SLOT, DICT, IDLE = "slot", "dict", "idle"
_NOT_COPIED = re.compile(r"optim|sched|scaler", re.IGNORECASE)
_ROOM = "whether that moment needs the most memory"


class Overlap(Struct, eq=False):
    """Something large that is alive longer than it is used.

    form: slot (`owner`'s `key` is rebuilt by `stmt` while it holds the old one), dict (a loaded checkpoint in the local
    `key`, last used in `stmt`, lives through the training that follows) or idle (an optimizer in the local `key` lives
    on while `stmt` loads a model).
    node: what a report points at; text: the slot as the code writes it.
    """

    scope: Scope
    form: str
    node: object
    stmt: n.Stmt
    key: str
    owner: str = ""
    text: str = ""
    question: str = ""
    reasons: list[tuple[object, str]] = field(default_factory=list)


def overlaps(facts: FileFacts) -> Iterator[Overlap]:
    """Every such object of a file."""
    if is_unit_test(facts.path):
        return
    for scope in facts.all_scopes():
        if any(site.path in LOADERS for site in scope.events.calls):
            yield from _kept_checkpoints(facts, scope)
        if scope.node is not None and scope.name not in ("__init__", "__post_init__", "__new__", "setUp"):
            yield from _rebuilt(facts, scope)
        if scope.events.training:
            yield from _idle_optimizer(facts, scope)


# -- a checkpoint through the training -------------------------------------------------------------------------------


def _kept_checkpoints(facts: FileFacts, scope: Scope) -> Iterator[Overlap]:
    trained = list(_training(facts, scope))
    if not trained:
        return
    uses = Uses(scope.body)
    told: set[str] = set()
    for site in scope.events.calls:
        stmt = uses.statement(site.node)
        if site.path not in LOADERS or site.loops or not isinstance(stmt, n.Assign) or stmt.value is not site.node:
            continue
        name = n.dotted(stmt.targets[0])
        found = list(uses.of(site.node))
        copied = [u for u in found if u.how == "passed" and u.name.endswith("load_state_dict") and _copies(facts, u)]
        if "." in name or name in {"", *told, *scope.globals} or not copied or _assigned_twice(uses, name, stmt):
            continue
        if any(u.how in ("returned", "stored") and not u.through and not u.entry for u in found):
            continue
        reads = list(uses.reads(name, stmt))
        last = max(reads, key=lambda read: uses.order[id(read)])
        after = [node for node in trained if uses.order.get(id(node), -1) > uses.order[id(last)]]
        if after and not _read_inside(scope, name) and not _dropped(uses, name, stmt):
            told.add(name)
            final = _leaving_loops(scope, stmt, uses.statement(last))
            reasons: list[tuple[object, str]] = [
                (copied[0].node, f"`{copied[0].name}` copies the weights: from here on there are two"),
                (after[0], "and both stay while this trains"),
            ]
            yield Overlap(scope, DICT, site.node, final, name, reasons=reasons)


def _copies(facts: FileFacts, use: Usage) -> bool:
    """A module copies what it loads, unless it is told to take the tensors over; optimizers may take them over."""
    shares = any(name in ("assign", "**") for name, _ in use.node.keywords)
    return not shares and not _NOT_COPIED.search(facts.text(use.node.func))


def _leaving_loops(scope: Scope, first: n.Stmt, last: n.Stmt | None) -> n.Stmt:
    """The statement itself, or the outermost loop around it that does not hold the first one, too."""
    assert last is not None
    for loop in scope.events.loops:
        inside = [*n.statements([loop.node])]
        if any(s is last for s in inside) and not any(s is first for s in inside):
            return loop.node
    return last


def _training(facts: FileFacts, scope: Scope) -> Iterator[n.Stmt | n.Expr]:
    """What trains here: loops that do, and calls of functions of this file that do."""
    events = {id(event) for event in scope.events.training}
    for loop in scope.events.loops:
        if loop.kind in REPEATING | {EPOCH} and any(
            id(expr) in events for block in n.blocks(loop.node) for expr in n.every(block)
        ):
            yield loop.node
    for site in scope.events.calls:
        own = _own(facts, scope, site)
        if own is not None and own is not scope and _trains(facts, own, 2):
            yield site.node


def _own(facts: FileFacts, scope: Scope, site: CallSite) -> Scope | None:
    """The function or method of this file that a call means."""
    if site.on_self and scope.owner is not None:
        return scope.owner.methods.get(site.name)
    cls = facts.classes.get(site.receiver.rpartition(".")[2]) if site.receiver else None
    return cls.methods.get(site.name) if cls is not None else facts.functions.get(n.dotted(site.node.func))


def _trains(facts: FileFacts, scope: Scope, depth: int) -> bool:
    if scope.events.training and scope.events.loops:
        return True
    owns = (_own(facts, scope, site) for site in scope.events.calls) if depth else ()
    return any(own is not None and _trains(facts, own, depth - 1) for own in owns)


def _assigned_twice(uses: Uses, name: str, stmt: n.Stmt) -> bool:
    """Bound again after it was loaded: the second value takes its place."""
    later = (s for s in uses.statements if isinstance(s, n.Assign) and uses.order[id(s)] > uses.order[id(stmt)])
    return any(name == n.dotted(target) for s in later for target in s.targets if not isinstance(s.value, n.Call))


def _dropped(uses: Uses, name: str, stmt: n.Stmt) -> bool:
    return any(isinstance(s, n.Delete) and name in n.mentioned(s.target) for s in uses.statements)


def _read_inside(scope: Scope, name: str) -> bool:
    return any(name in n.mentioned(expr) for inner in scope.inner for expr in inner.every())


# -- an optimizer after the training ---------------------------------------------------------------------------------


def _idle_optimizer(facts: FileFacts, scope: Scope) -> Iterator[Overlap]:
    """A local optimizer that nothing reads any more, with its state and the gradients, while a model is loaded."""
    called: dict[str, set[str]] = defaultdict(set)
    for site in scope.events.calls:
        if isinstance(site.node.func, n.Attr) and isinstance(site.node.func.value, n.Name):
            called[site.node.func.value.id].add(site.node.func.attr)
    names = [name for name, methods in called.items() if {"step", "zero_grad"} <= methods]
    if not names:
        return
    uses = Uses(scope.body)
    ends = [uses.order[id(event)] for event in scope.events.training if id(event) in uses.order]
    for name in names:
        reads = list(uses.reads(name))
        if not reads or not is_bound(scope.body, name) or name in scope.globals or _read_inside(scope, name):
            continue
        if any(u.how == "returned" or u.how == "stored" and u.name for r in reads for u in uses.of(r, depth=0)):
            continue
        if _dropped(uses, name, uses.statements[0]):
            continue
        last = max(uses.order[id(read)] for read in reads)
        for site in scope.events.calls:
            order = uses.order.get(id(site.node), -1)
            if site.loops or order < max([last, *ends]) or not _loads_model(facts, scope, site):
                continue
            stmt = uses.statement(site.node)
            if stmt is not None:
                reasons: list[tuple[object, str]] = [
                    (max(reads, key=lambda read: uses.order[id(read)]), f"`{name}` is used here for the last time"),
                    (site.node, "a model is loaded and run here, beside its state and the gradients"),
                ]
                yield Overlap(scope, IDLE, site.node, stmt, name, question=_ROOM, reasons=reasons)
            break


def _loads_model(facts: FileFacts, scope: Scope, site: CallSite) -> bool:
    """Whether an own function that is called loads the weights of a model."""
    own = _own(facts, scope, site)
    names = {site.name.rpartition(".")[2] for site in own.events.calls} if own is not None else set()
    return "load_state_dict" in names and not _trains(facts, own, 1) if own is not None else False


# -- a slot that is built anew ---------------------------------------------------------------------------------------


def _rebuilt(facts: FileFacts, scope: Scope) -> Iterator[Overlap]:
    """`self.model = build()` where the attribute holds a model already; entries of a dict of the module likewise."""
    sites = {id(site.node): site for site in scope.events.calls}
    for stmt, tests in _guarded(scope.body, []):
        if not isinstance(stmt, n.Assign) or len(stmt.targets) != 1:
            continue
        slot = _slot(facts, scope, stmt.targets[0])
        if slot is None:
            continue
        owner, key, text = slot
        build = _without_moves(stmt.value)
        origin: n.Stmt = stmt
        if isinstance(build, n.Name):  # motor = Engine(); STATE["motor"] = motor
            made = [
                s for s in scope.statements()
                if isinstance(s, n.Assign) and [n.dotted(t) for t in s.targets] == [build.id]
            ]  # fmt: skip
            if len(made) != 1:
                continue
            origin, build = made[0], _without_moves(made[0].value)
        if not isinstance(build, n.Call) or id(build) not in sites:
            continue
        what = _large(facts, scope, build, sites[id(build)].path, stmt.targets[0])
        if not what or any(_speaks_of(test, text) for test in tests) or _handled(facts, scope, text, key, stmt):
            continue
        overlap = Overlap(scope, SLOT, stmt, origin, key, owner, text)
        first = _constructed(facts, scope, stmt.targets[0])
        if first is not None:
            overlap.reasons.append((first, "the constructor puts one there already"))
        elif owner != scope.self_name and handles_requests(facts, scope):
            overlap.question = "whether it is asked for more than once"
        else:
            continue
        overlap.reasons.append((build, what))
        yield overlap


def _guarded(body: list[n.Stmt], tests: list[n.Expr]) -> Iterator[tuple[n.Stmt, list[n.Expr]]]:
    """Each statement with the tests around it, and those that left the block before it."""
    tests = list(tests)
    for stmt in body:
        yield stmt, tests
        inner = [*tests, stmt.test] if isinstance(stmt, (n.If, n.While)) else tests
        for block in n.blocks(stmt):
            yield from _guarded(block, inner)
        if isinstance(stmt, n.If) and stmt.body and isinstance(stmt.body[-1], (n.Return, n.Raise, n.Jump)):
            tests.append(stmt.test)


def _slot(facts: FileFacts, scope: Scope, target: n.Expr) -> tuple[str, str, str] | None:
    """Owner, key and text of a target that outlives the call: `self.x`, `STATE["x"]`, a global."""
    text = n.dotted(target)
    first, _, attr = text.partition(".")
    if attr and "." not in attr and first == scope.self_name and scope.owner is not None:
        return None if scope.owner.is_module(facts.classes) else (first, f'"{attr}"', text)
    if text in scope.globals:
        return "globals()", f'"{text}"', text
    if isinstance(target, n.Item) and isinstance(target.index, n.Const) and isinstance(target.index.value, str):
        name = n.dotted(target.value)
        known = name in facts.top.env or bool(facts.names.path(name))
        if known and name not in scope.params and not is_bound(scope.body, name):
            return name, facts.text(target.index), facts.text(target)
    return None


def _without_moves(expr: n.Expr) -> n.Expr:
    while isinstance(expr, n.Call) and isinstance(expr.func, n.Attr) and expr.func.attr in _HAND_ON:
        expr = expr.func.value
    return expr


def _large(facts: FileFacts, scope: Scope, build: n.Call, path: str, target: n.Expr) -> str:
    """Why what is built is large, "" where nothing says so."""
    last = path.rpartition(".")[2] or (build.func.attr if isinstance(build.func, n.Attr) else "")
    if last in k.MODULE_LOADERS and not any(word in n.dotted(build.func) for word in k.NOT_MODULES):
        return "a whole model is loaded here"
    if path in LOADERS or path.startswith(_BUILDERS):
        return "a whole model or checkpoint is loaded here"
    cls = facts.classes.get(path.rpartition(".")[2]) if path.startswith(f"{facts.names.module}.") else None
    if cls is not None and cls.is_module(facts.classes):
        return f"`{cls.name}` is a module"
    if cls is not None and any(value.kind == v.MODULE for value in cls.attributes.values()):
        return f"`{cls.name}` holds a module"
    own = facts.functions.get(n.dotted(build.func))
    if own is not None and own.returns.kind == v.MODULE:
        return f"`{own.name}` hands back a module"
    text = n.dotted(target)
    if scope.owner is not None and text and path.split(".")[0] not in ("torch", "copy"):
        hint = scope.owner.hints.get(text.partition(".")[2])
        if hint is not None and hint.kind == v.MODULE:
            return "what is built here is used as a module"
    return ""


def _speaks_of(test: n.Expr, text: str) -> bool:
    """A test of the slot itself: first use, or another one than is there."""
    name = text.partition("[")[0]
    named = n.mentioned(test)
    strings = {part.value for part in n.walk(test) if isinstance(part, n.Const) and isinstance(part.value, str)}
    return text in named or name in named or text.rpartition(".")[2] in strings


def _handled(facts: FileFacts, scope: Scope, text: str, key: str, stmt: n.Assign) -> bool:
    """The old one is read, kept, handed on, emptied or moved away before."""
    name = text.partition("[")[0]
    for other in scope.statements():
        if other is stmt:
            break
        for expr in n.expressions(other):
            if any(facts.text(part) == text for part in n.walk(expr) if isinstance(part, (n.Attr, n.Name, n.Item))):
                return True
            for call in n.walk(expr):
                if isinstance(call, n.Call) and empties(facts, scope, call, name, key):
                    return True
    return any(facts.text(part) == text for part in n.walk(stmt.value) if isinstance(part, (n.Attr, n.Name, n.Item)))


def empties(facts: FileFacts, scope: Scope, call: n.Call, name: str, key: str) -> bool:
    """A call that may empty the slot: of the owner with the key, or of an own function that names the slot."""
    callee = n.dotted(call.func)
    if callee.rpartition(".")[2] in ("release", "pop", "clear", "delattr", "setattr"):
        return True
    own = facts.functions.get(callee)
    if scope.owner is not None and callee.startswith(f"{scope.self_name}."):
        own = scope.owner.methods.get(callee.partition(".")[2])
        if own is None and scope.owner.bases:
            return False
    if own is None:
        return False
    plain = key.strip("\"'")
    for stmt in own.statements():
        if isinstance(stmt, (n.Assign, n.Delete)):
            targets = stmt.targets if isinstance(stmt, n.Assign) else [stmt.target]
            for target in targets:
                for part in n.walk(target):
                    if isinstance(part, n.Attr) and part.attr == plain:
                        return True
                    if isinstance(part, n.Item) and n.dotted(part.value) == name:
                        return True
    return False


def _constructed(facts: FileFacts, scope: Scope, target: n.Expr) -> n.Stmt | None:
    """The constructor's statement that fills the slot with something as large."""
    made = scope.owner.methods.get("__init__") if scope.owner is not None else None
    text = n.dotted(target)
    if made is None or not text or made.self_name != scope.self_name:
        return None
    for stmt, tests in _guarded(made.body, []):
        if isinstance(stmt, n.Assign) and text in [n.dotted(t) for t in stmt.targets] and not tests:
            build = _without_moves(stmt.value)
            paths = [site.path for site in made.events.calls if site.node is build]
            if (
                isinstance(build, n.Call)
                and paths
                and (paths[0].startswith("torch.nn.Sequential") or _large(facts, made, build, paths[0], target))
            ):
                return stmt
    return None


def handles_requests(facts: FileFacts, scope: Scope) -> bool:
    """A route of a server or a callback of a user interface: it runs whenever somebody asks."""
    assert scope.node is not None
    for decorator in scope.node.decorators:
        func = decorator.func if isinstance(decorator, n.Call) else decorator
        if isinstance(func, n.Attr) and func.attr in _ROUTES:
            return True
    return scope.node.is_async
