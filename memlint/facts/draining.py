"""Queues from which each tick takes one event although more may wait: the question behind drain-queue."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from memlint.facts import FileFacts, Scope
from memlint.facts import nodes as n
from memlint.facts.events import Loop
from memlint.facts.ticking import SLEEPS, STEPPING, ticking
from memlint.facts.trials import is_trial

_EMPTY = frozenset({"empty", "is_empty", "qsize"})


class Taken(Struct, eq=False):
    """A take. queue: its source. test: the `if` around it that asks whether something waits, None for a `try`.

    loop: the loop that ticks, None where a caller's does. puts: where several are put in one go, or in a loop.
    """

    scope: Scope
    node: n.Call
    queue: str
    test: n.If | None
    loop: Loop | None
    reasons: list[tuple[object, str]]
    puts: object | None = None


def taken(facts: FileFacts) -> Iterator[Taken]:
    """One for each queue that a tick takes one event from."""
    if is_trial(facts.path):
        return
    for scope in facts.all_scopes():
        for loop in scope.events.loops:
            work = _work(scope, loop) if ticking(scope, loop) else None
            if work is not None and not isinstance(getattr(loop.node, "test", None), n.Call):
                for stmt, queue, call in _takes(getattr(loop.node, "body", []), facts, scope):
                    if (
                        not _mentions(loop, queue)
                        and not _fed_here(loop, queue)
                        and not _leaves(stmt)
                        and not _paces(loop, stmt, call)
                    ):
                        reasons = [
                            (n.head(loop.node), f"this loop {ticking(scope, loop)}"),
                            (work, "and does this too"),
                        ]
                        test = stmt if isinstance(stmt, n.If) else None
                        yield Taken(scope, call, queue, test, loop, reasons, _puts(facts, scope, queue))
        if scope.owner is not None and scope.name != "__init__" and not scope.events.loops:
            for stmt, queue, call in _takes(scope.body, facts, scope):
                if queue.startswith(f"{scope.self_name}.") and not _returns(scope, call) and not _leaves(stmt):
                    test = stmt if isinstance(stmt, n.If) else None
                    yield Taken(scope, call, queue, test, None, [], _puts(facts, scope, queue))


def _work(scope: Scope, loop: Loop) -> n.Call | None:
    """What a loop does in each pass, whether something waits or not: it sleeps, or takes a step."""
    for site in scope.events.calls:
        if site.loops and site.loops[-1] is loop and not site.rare:
            if site.path in SLEEPS or site.name.rpartition(".")[2] in STEPPING and isinstance(site.node.func, n.Attr):
                return site.node
    return None


def _takes(body: list[n.Stmt], facts: FileFacts, scope: Scope) -> Iterator[tuple[n.If | n.Try, str, n.Call]]:
    """`if not queue.empty(): event = queue.get()` and `try: event = queue.get_nowait()`, not in an inner loop."""
    for stmt in body:
        if isinstance(stmt, n.If) and (queue := _waits(stmt.test)) and not stmt.orelse:
            calls = list(_calls(stmt.body, queue))
            if len(calls) == 1 and _is_queue(facts, scope, queue, calls[0]):
                yield stmt, queue, calls[0]
                continue
        if isinstance(stmt, n.Try) and stmt.handlers:
            for call in n.every([s for s in stmt.body if isinstance(s, (n.Assign, n.Do))]):
                if isinstance(call, n.Call) and isinstance(call.func, n.Attr) and _does_not_wait(call):
                    queue = n.dotted(call.func.value)
                    if queue and _is_queue(facts, scope, queue, call) and len(list(_calls(body, queue))) == 1:
                        yield stmt, queue, call
        if isinstance(stmt, (n.If, n.With, n.Try)):
            for block in n.blocks(stmt)[:1]:
                yield from _takes(block, facts, scope)


def _waits(test: n.Expr) -> str:
    """The queue that a test asks, "" for any other test: `not q.empty()`, `q.qsize() > 0`, also among others."""
    if isinstance(test, n.Logic) and test.op == "And":
        return _waits(test.left) or _waits(test.right)
    if isinstance(test, n.Unary) and test.op == "Not":
        test = test.operand
    if isinstance(test, n.Compare) and test.rest[0][0] in ("GreaterThan", "NotEqual"):
        test = test.left
    if isinstance(test, n.Call) and isinstance(test.func, n.Attr) and test.func.attr in _EMPTY and not test.args:
        return n.dotted(test.func.value)
    return ""


def _calls(body: list[n.Stmt], queue: str) -> Iterator[n.Call]:
    for part in n.every(body):
        if isinstance(part, n.Call) and isinstance(part.func, n.Attr) and n.dotted(part.func.value) == queue:
            if part.func.attr in ("get", "get_nowait", "pop", "popleft"):
                yield part


def _does_not_wait(call: n.Call) -> bool:
    assert isinstance(call.func, n.Attr)
    if call.func.attr == "get_nowait":
        return True
    block = call.argument(0, "block")
    return call.func.attr == "get" and isinstance(block, n.Const) and block.value is False


def _is_queue(facts: FileFacts, scope: Scope, queue: str, call: n.Call) -> bool:
    """Whether it is a queue without a limit, as far as this file makes it."""
    assert isinstance(call.func, n.Attr)
    makers = list(_makers(facts, queue.rpartition(".")[2]))
    if any(maker.args or maker.keywords for maker in makers):
        return False
    return bool(makers) or call.func.attr in ("get", "get_nowait")


def _makers(facts: FileFacts, name: str) -> Iterator[n.Call]:
    """Calls whose result is bound to something of this name, anywhere in the file: `Queue(maxsize=8)`."""
    for scope in facts.all_scopes():
        for stmt in scope.statements():
            if isinstance(stmt, n.Assign) and isinstance(stmt.value, n.Call):
                if any(n.dotted(target).rpartition(".")[2] == name for target in stmt.targets):
                    if n.dotted(stmt.value.func).endswith("Queue"):
                        yield stmt.value


def _mentions(loop: Loop, queue: str) -> bool:
    return queue in n.mentioned(loop.node.test) if isinstance(loop.node, n.While) else False


def _fed_here(loop: Loop, queue: str) -> bool:
    """A loop that puts in itself what it takes out schedules its own work."""
    parts = n.every(getattr(loop.node, "body", []))
    puts = (p.func for p in parts if isinstance(p, n.Call) and isinstance(p.func, n.Attr))
    return any(f.attr in ("put", "put_nowait", "push", "append") and n.dotted(f.value) == queue for f in puts)


def _leaves(stmt: n.If | n.Try) -> bool:
    """With nothing waiting the loop ends or goes on to its next pass; or an event goes on at once to the next one."""
    inside = [*n.statements(stmt.handlers[0])] if isinstance(stmt, n.Try) else []
    ends = stmt.body + (stmt.orelse if isinstance(stmt, n.Try) else [])
    return any(isinstance(s, (n.Jump, n.Return, n.Raise)) for s in (*inside, *n.statements(ends)))


def _paces(loop: Loop, stmt: n.If | n.Try, call: n.Call) -> bool:
    """One action for each step: what is taken goes into the step itself."""
    taken_as = {
        n.dotted(t) for s in n.statements([stmt]) if isinstance(s, n.Assign) and s.value is call for t in s.targets
    }
    for part in n.every(getattr(loop.node, "body", [])):
        if isinstance(part, n.Call) and isinstance(part.func, n.Attr) and part.func.attr in STEPPING:
            if any(taken_as & n.mentioned(argument) or argument is call for argument in part.args):
                return True
    return False


def _returns(scope: Scope, call: n.Call) -> bool:
    return any(isinstance(s, n.Return) and s.value is not None for s in scope.statements())


def _puts(facts: FileFacts, scope: Scope, queue: str) -> object | None:
    """Where this file puts into the queue inside a loop of its own."""
    name = queue.rpartition(".")[2]
    for other in facts.all_scopes():
        for site in other.events.calls:
            func = site.node.func
            if isinstance(func, n.Attr) and func.attr in ("put", "put_nowait") and site.loops:
                if n.dotted(func.value).rpartition(".")[2] == name:
                    return site.node
    return None
