"""Training steps that nobody can see the memory of: the question behind log-memory-state."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from memlint.facts import FileFacts, Scope
from memlint.facts import nodes as n
from memlint.facts.probes import probe_calls
from memlint.facts.trials import is_unit_test

_SHOWING = frozenset({"print", "info", "debug", "warning", "log", "debug_memory", "write", "log_metrics", "add_scalar"})

STEP = "step"
LOOP = "loop"
UNUSED = "unused"


class Unwatched(Struct, eq=False):
    """Something that trains without a memory probe, or a probe that nothing calls.

    form: step (a function that is one training step), loop (a loop whose body is one), unused (a helper).
    node: what a report points at; loop: the statement, for the form loop.
    """

    scope: Scope
    form: str
    node: object
    loop: n.Stmt | None
    reasons: list[tuple[object, str]]


def unwatched(facts: FileFacts) -> Iterator[Unwatched]:
    """Every such step and helper of a file."""
    if is_unit_test(facts.path):
        return
    for scope in facts.all_scopes():
        if scope.events.backwards:
            found = _step(scope)
            if found is not None:
                yield found
        if scope.node is not None and shows_memory(facts, scope):
            reasons: list[tuple[object, str]] = [(scope.node, "it measures memory and writes it down")]
            yield Unwatched(scope, UNUSED, scope.node, None, reasons)


def _step(scope: Scope) -> Unwatched | None:
    """The training step of a function: a backward pass, and an optimizer that uses what it left."""
    updates = [site.node for site in scope.events.calls if site.name.rpartition(".")[2] == "step"]
    if not updates:
        return None
    backward = scope.events.backwards[0]
    reasons: list[tuple[object, str]] = [
        (backward.node, "the backward pass of a training step"),
        (updates[0], "and the update with its gradients"),
    ]
    for loop in reversed(backward.loops):  # gradients may be gathered in an inner one
        inside = {id(part) for block in n.blocks(loop.node) for part in n.every(block)}
        if any(id(update) in inside for update in updates):
            return Unwatched(scope, LOOP, n.head(loop.node), loop.node, reasons)
    if scope.node is None or scope.parent is not None and scope.parent.node is not None:
        return None  # a script, or a closure that an optimizer calls
    return Unwatched(scope, STEP, backward.node, None, reasons)


def shows_memory(facts: FileFacts, scope: Scope) -> bool:
    """Whether a function does nothing but measure memory and write it down."""
    if not probe_calls(facts, scope) or scope.events.training or scope.events.forwards or scope.is_generator:
        return False
    if any(isinstance(stmt, n.Return) and stmt.value is not None for stmt in scope.statements()):
        return False
    return any((site.path or site.name).rpartition(".")[2] in _SHOWING for site in scope.events.calls)
