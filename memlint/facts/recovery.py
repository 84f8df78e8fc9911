"""Training steps that are run again while the exception of the failed one is handled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from memlint.facts import FileFacts, Scope
from memlint.facts import knowledge as k
from memlint.facts import nodes as n
from memlint.facts.events import OFF

_MEMORY = ("OutOfMemory", "MemoryError", "OOM")
_GENERAL = frozenset({"", "RuntimeError", "Exception", "BaseException"})
# Whoever names one of these has cut the traceback, or its frames, from the tensors.
_RELEASES = frozenset({"clear_frames", "__traceback__", "with_traceback"})


class Retry(Struct, eq=False):
    """Something in a handler that needs the memory of what failed. trains: the call is seen to train in this function.

    name: else the callee's last name, for the project to say whether it trains.
    """

    scope: Scope
    call: n.Call
    trains: bool
    name: str
    reasons: list[tuple[object, str]]


def retries(facts: FileFacts) -> Iterator[Retry]:
    """At most one for each handler of an out-of-memory error."""
    for scope in facts.all_scopes():
        for stmt in scope.statements():
            if isinstance(stmt, n.Try):
                for number, handler in enumerate(stmt.handlers):
                    if _is_for_memory(facts, stmt.ref.handlers[number], handler):
                        found = _judge(scope, stmt, handler)
                        if found is not None:
                            yield found


def _is_for_memory(facts: FileFacts, clause: Any, handler: list[n.Stmt]) -> bool:
    """Whether a handler is there for memory: by what it catches, by its test of the message, or by what it empties."""
    caught = facts.source.tree.code_for_node(clause.type) if clause.type is not None else ""
    if any(word in caught for word in _MEMORY):
        return True
    names = {name.strip().rpartition(".")[2] for name in caught.strip("() ").split(",")}
    if names.isdisjoint(_GENERAL):
        return False
    for expr in n.every(handler):
        if isinstance(expr, n.Const) and isinstance(expr.value, str) and "out of memory" in expr.value.lower():
            return True
        if isinstance(expr, n.Attr) and expr.attr == "empty_cache":
            return True
    return False


def _judge(scope: Scope, stmt: n.Try, handler: list[n.Stmt]) -> Retry | None:
    tried = list(n.every(stmt.body))
    again = list(n.every(handler))
    if any(isinstance(e, n.Attr) and e.attr in _RELEASES for e in again):
        return None
    inside, failed = {id(expr) for expr in again}, {id(expr) for expr in tried}
    forwards = [f for f in scope.events.forwards if f.mode != OFF and (f.certain or f.uses)]
    training = [node for node in scope.events.training if _needs_graph(node)]
    risky = [f.node for f in forwards if id(f.node) in failed] + [t for t in training if id(t) in failed]
    retried = [t for t in training if id(t) in inside]
    retried += [f.node for f in forwards if f.certain and id(f.node) in inside]
    if risky and retried:
        reasons = [(risky[0], "this may fail with its graph half built"), (retried[0], "and this runs in the handler")]
        return Retry(scope, retried[0], True, "", reasons)
    called = {n.dotted(expr.func): expr for expr in tried if isinstance(expr, n.Call) and n.dotted(expr.func)}
    for expr in again:
        text = n.dotted(expr.func) if isinstance(expr, n.Call) else ""
        name = text.rpartition(".")[2]
        if text in called and name not in k.PLAIN_METHODS | k.LOGGERS and isinstance(expr, n.Call):
            reasons = [(called[text], "this may fail"), (expr, "and is called again in the handler")]
            return Retry(scope, expr, False, name, reasons)
    return None


def _needs_graph(node: object) -> bool:
    names = ("backward", "manual_backward")
    return isinstance(node, n.Call) and isinstance(node.func, n.Attr) and node.func.attr in names
