"""Files that a loop opens, writes anew or flushes in each pass: the question behind buffer-step-io."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from memlint.facts import FileFacts, Scope
from memlint.facts import nodes as n
from memlint.facts.events import STEP, CallSite, Loop
from memlint.facts.ticking import ALWAYS, TICK, bound_in, reached, rests, ticking
from memlint.facts.trials import is_trial

APPENDED, REWRITTEN, FLUSHED, FINALLY = "appended", "rewritten", "flushed", "finally"

# What writes a whole object, and which argument says where to.
_DUMPS = {
    "torch.save": (1, "f"),
    "numpy.save": (0, "file"),
    "numpy.savez": (0, "file"),
    "numpy.savez_compressed": (0, "file"),
    "numpy.savetxt": (0, "fname"),
    "joblib.dump": (1, "filename"),
    "mlx.core.save": (0, "file"),
    "mlx.core.savez": (0, "file"),
}
_OPENING = frozenset({"open", "io.open"})
_NAMING = frozenset({"os.path.join", "os.path.expanduser", "pathlib.Path", "str", "os.fspath"})
_WRITERS = frozenset({
    "torch.utils.tensorboard.SummaryWriter", "torch.utils.tensorboard.writer.SummaryWriter",
    "tensorboardX.SummaryWriter",
})  # fmt: skip
_ENDINGS = frozenset({"flush", "stop", "close", "shutdown"})
_BEGINNINGS = frozenset({"start", "open", "resume", "begin", "reset", "restart", "connect", "acquire", "enable", "run"})


class StepIO(Struct, eq=False):
    """A call that touches the disk in each pass.

    form: appended, rewritten, flushed or finally. target: the source of the path or of the object.
    loop: the loop here that repeats it, None where a caller's does. path: of the file that is opened.
    """

    scope: Scope
    form: str
    node: n.Call
    target: str
    loop: Loop | None
    reasons: list[tuple[object, str]]
    path: n.Expr | None = None


def step_io(facts: FileFacts) -> Iterator[StepIO]:
    """At most one for each call."""
    if is_trial(facts.path):
        return
    for scope in facts.all_scopes():
        told: set[int] = set()
        for found in _in_finally(scope):
            told.add(id(found.node))
            yield found
        for site in scope.events.calls:
            if id(site.node) in told:
                continue
            how = reached(scope, site)
            if how == TICK or how == ALWAYS and scope.node is not None and scope.name != "__init__":
                found_here = _written(facts, scope, site, how) or _flushed(facts, scope, site, how)
                if found_here is not None:
                    yield found_here


def _loop(site: CallSite, how: str) -> Loop | None:
    return [x for x in site.loops if x.kind not in ("items", "constant", "structure")][-1] if how == TICK else None


def _written(facts: FileFacts, scope: Scope, site: CallSite, how: str) -> StepIO | None:
    mode, path = _opened(site)
    if path is None and site.path in _DUMPS:
        mode, path = "w", site.node.argument(*_DUMPS[site.path])
    if path is None or mode not in ("a", "w") or not _is_a_path(facts, path):
        return None
    loop = _loop(site, how)
    if loop is not None:
        bound = bound_in(loop.node) | {name for x in site.loops if x is not loop for name in _heads(x)}
        fixed = not (_roots(path) & {name.partition(".")[0] for name in bound} - _own(scope, bound))
        saves = loop.kind == STEP and site.path in _DUMPS
        if not fixed and not saves:
            return None
    elif not _outlives(facts, scope, path):
        return None
    form = APPENDED if mode == "a" else REWRITTEN
    return StepIO(scope, form, site.node, facts.text(path), loop, _why(scope, loop), path)


def _opened(site: CallSite) -> tuple[str, n.Expr | None]:
    """The mode (its first letter) and the path of a call that opens a file to write text, None for any other."""
    name = site.path or (site.name if not site.receiver else "")
    if name in _OPENING and isinstance(site.node.func, (n.Name, n.Attr)) and (site.path or _is_plain(site.node)):
        path, mode = site.node.argument(0, "file"), site.node.argument(1, "mode")
    elif isinstance(site.node.func, n.Attr) and site.node.func.attr == "open" and not site.path:
        path, mode = site.node.func.value, site.node.argument(0, "mode")
    else:
        return "", None
    if not isinstance(mode, n.Const) or not isinstance(mode.value, str) or "r" in mode.value:
        return "", None
    return mode.value[:1], path


def _is_plain(call: n.Call) -> bool:
    return isinstance(call.func, n.Name)


def _is_a_path(facts: FileFacts, path: n.Expr) -> bool:
    """A text, a name, or what plainly joins these: other calls may give another path each time."""
    for part in n.walk(path):
        if isinstance(part, n.Call) and (facts.names.path(n.dotted(part.func)) or n.dotted(part.func)) not in _NAMING:
            return False
        if isinstance(part, (n.Comprehension, n.Lambda, n.Item)):
            return False
    return True


def _roots(path: n.Expr) -> set[str]:
    return {n.dotted(part).partition(".")[0] for part in n.walk(path) if isinstance(part, (n.Name, n.Attr))} - {""}


def _own(scope: Scope, bound: set[str]) -> set[str]:
    """`self`, where the loop binds other attributes of it only."""
    return {scope.self_name} if scope.self_name and scope.self_name not in bound else set()


def _heads(loop: Loop) -> set[str]:
    return {n.dotted(part) for part in n.walk(loop.node.target)} if isinstance(loop.node, n.For) else set()


def _outlives(facts: FileFacts, scope: Scope, path: n.Expr) -> bool:
    """Whether a function writes to the same file each time: a constant, or an attribute that only a maker binds."""
    for part in n.walk(path):
        if isinstance(part, n.Name) and part.id not in (scope.self_name, scope.class_name):
            if part.id in scope.params or part.id in scope.local_names:
                return False
        if isinstance(part, n.Attr) and n.dotted(part).partition(".")[0] == scope.self_name and scope.self_name:
            for other in facts.scopes:
                if other.owner is scope.owner and other.name not in ("__init__", "__post_init__", "reset", "setup"):
                    if any(n.dotted(part) in _bound(stmt) for stmt in other.statements()):
                        return False
        elif isinstance(part, n.Attr) and n.root(part) in scope.params:
            return False
    return True


def _bound(stmt: n.Stmt) -> set[str]:
    return {n.dotted(target) for target in stmt.targets} if isinstance(stmt, n.Assign) else set()


def _flushed(facts: FileFacts, scope: Scope, site: CallSite, how: str) -> StepIO | None:
    """`file.flush()` of a file, or of TensorBoard's writer, that was opened before."""
    func = site.node.func
    if site.path == "os.fsync":
        return StepIO(scope, FLUSHED, site.node, "os.fsync", _loop(site, how), _why(scope, _loop(site, how)))
    if site.name != "flush" or not isinstance(func, n.Attr) or site.node.args:
        return None
    made = _maker(facts, scope, n.dotted(func.value))
    loop = _loop(site, how)
    if made is None or loop is not None and any(part is made for part in n.every(getattr(loop.node, "body", []))):
        return None
    reasons: list[tuple[object, str]] = [(made, "opened here"), *_why(scope, loop)]
    return StepIO(scope, FLUSHED, site.node, n.dotted(func.value), loop, reasons)


def _maker(facts: FileFacts, scope: Scope, name: str) -> n.Call | None:
    """The call that opened the file, or made the writer, which a name or an attribute of the object holds."""
    first, _, attr = name.partition(".")
    own = bool(attr) and first == scope.self_name and scope.owner is not None
    around = [s for s in facts.scopes if s.owner is scope.owner] if own else list(scope.around())
    for other in around:
        for stmt in other.statements():
            pairs = stmt.items if isinstance(stmt, n.With) else []
            if isinstance(stmt, n.Assign):
                pairs = [(stmt.value, target) for target in stmt.targets]
            for value, target in pairs:
                if target is not None and n.dotted(target) == name and isinstance(value, n.Call):
                    path = facts.names.path(n.dotted(value.func))
                    opens = n.dotted(value.func) == "open" and not path or path in _OPENING
                    mode = value.argument(1, "mode")
                    writes = isinstance(mode, n.Const) and str(mode.value)[:1] in ("a", "w", "x")
                    if path in _WRITERS or opens and writes:
                        return value
    return None


def _in_finally(scope: Scope) -> Iterator[StepIO]:
    """What was made before the loop is flushed or stopped in a `finally` of each pass."""
    for loop in scope.events.loops:
        body = getattr(loop.node, "body", [])
        for stmt in _direct(body):
            if not isinstance(stmt, n.Try) or not stmt.final or not ticking(scope, loop) or rests(scope, loop):
                continue
            if stmt.body and isinstance(stmt.body[-1], (n.Return, n.Jump, n.Raise)):
                continue
            bound = bound_in(loop.node)
            calls = [part for part in n.every(body) if isinstance(part, n.Call) and isinstance(part.func, n.Attr)]
            begun = {n.dotted(c.func.value) for c in calls if isinstance(c.func, n.Attr) and c.func.attr in _BEGINNINGS}
            for last in stmt.final:
                call = last.value if isinstance(last, n.Do) else None
                if not isinstance(call, n.Call) or not isinstance(call.func, n.Attr) or call.func.attr not in _ENDINGS:
                    continue
                owner = n.dotted(call.func.value)
                if not owner or owner in begun or owner in bound or owner.startswith(("sys.", "dist.", "cv2.", "plt.")):
                    continue
                if owner.partition(".")[0] in bound:
                    continue
                reasons = [(call, "a `finally` inside the loop runs in every pass"), *_why(scope, loop)]
                yield StepIO(scope, FINALLY, call, owner, loop, reasons)


def _direct(body: list[n.Stmt]) -> Iterator[n.Stmt]:
    """The statements of a loop's body, not those of the loops in it."""
    for stmt in body:
        yield stmt
        if not isinstance(stmt, (n.For, n.While)):
            for block in n.blocks(stmt):
                yield from _direct(block)


def _why(scope: Scope, loop: Loop | None) -> list[tuple[object, str]]:
    return [(n.head(loop.node), f"this loop {ticking(scope, loop)}")] if loop is not None else []
