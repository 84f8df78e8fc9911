"""Processes, threads and tasks that a loop starts and nothing waits for: a part of the question behind cap-spawn."""

from __future__ import annotations

from collections.abc import Iterator

from memlint.facts import Scope
from memlint.facts import nodes as n
from memlint.facts.events import DATA, ENDLESS, STEP, CallSite, Loop

_STARTING = {
    "multiprocessing.Process": "process",
    "torch.multiprocessing.Process": "process",
    "subprocess.Popen": "process",
    "threading.Thread": "thread",
    "asyncio.create_task": "task",
    "asyncio.ensure_future": "task",
}
# What waits for such a thing, counts them or limits them: methods and functions of these libraries, locks and pools.
_WAITING = frozenset({
    "join", "wait", "communicate", "poll", "is_alive", "acquire", "gather", "result", "done", "as_completed",
    "Semaphore", "BoundedSemaphore", "active_children", "active_count", "TaskGroup", "returncode", "add_done_callback",
})  # fmt: skip


def started(scope: Scope) -> Iterator[tuple[CallSite, str, Loop]]:
    """What is started in each pass of a loop that goes on, what kind of thing it is, and the loop."""
    for site in scope.events.calls:
        kind = _STARTING.get(site.path, "")
        if kind and site.loops and _goes_on(site.loops[-1]) and not _waits(scope):
            yield site, kind, site.loops[-1]


def _goes_on(loop: Loop) -> bool:
    """A step loop, or `while True` that does not leave as soon as one start has worked."""
    if loop.kind in (STEP, DATA, ENDLESS):
        return True
    node = loop.node
    if not isinstance(node, n.While) or not isinstance(node.test, n.Const) or not node.test.value:
        return False
    tries = [stmt for stmt in node.body if isinstance(stmt, n.Try)]
    ends = [block[-1] for block in (node.body, *(b for stmt in tries for b in (stmt.body, stmt.orelse))) if block]
    return not any(isinstance(stmt, n.Return) or isinstance(stmt, n.Jump) and stmt.kind == "break" for stmt in ends)


def _waits(scope: Scope) -> bool:
    """Whether this function, or another one of its class, waits for what is started or counts it."""
    for method in scope.owner.methods.values() if scope.owner is not None else [scope]:
        for expr in method.every():
            if isinstance(expr, n.Attr) and expr.attr in _WAITING and not _joins_text(expr):
                return True
            if isinstance(expr, n.Name) and expr.id in _WAITING:
                return True
            if isinstance(expr, n.Compare) and any(_counts(method, part) for part in n.walk(expr)):
                return True
    return False


def _counts(scope: Scope, expr: n.Expr) -> bool:
    """`len(workers)`, of something that the function adds to."""
    if not isinstance(expr, n.Call) or n.dotted(expr.func) != "len" or len(expr.args) != 1:
        return False
    return n.dotted(expr.args[0]) in {n.dotted(growth.container) for growth in scope.events.growths}


def _joins_text(attr: n.Attr) -> bool:
    """`", ".join(names)` and `os.path.join(a, b)`."""
    return attr.attr == "join" and (isinstance(attr.value, (n.Const, n.Text)) or n.dotted(attr).startswith("os."))
