"""Numbers that leave the device only to go back to it, and tensors that are made to read one number out of them."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from memlint.facts import FileFacts, Scope
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.events import HostRead
from memlint.facts.hostreads import goes_on
from memlint.facts.passes import Pass, passes_around
from memlint.facts.trials import is_trial

_MAKERS = frozenset({"torch.tensor", "torch.as_tensor"})


class RoundTrip(Struct, eq=False):
    """A read, and the call that makes a tensor: of what the loop `around` has read, or to read it, in each call."""

    scope: Scope
    read: HostRead
    made: n.Call
    around: Pass | None


def round_trips(facts: FileFacts) -> Iterator[RoundTrip]:
    """The round trips of a file."""
    if is_trial(facts.path) or not facts.mentions("tensor("):
        return
    for scope in facts.all_scopes():
        reads = [read for read in scope.events.host_reads if read.how == "item" and read.value.device != v.CPU]
        if reads:
            yield from _sent_back(facts, scope, reads)
            yield from _constants(facts, scope, reads)


def _sent_back(facts: FileFacts, scope: Scope, reads: list[HostRead]) -> Iterator[RoundTrip]:
    """`weights.append(torch.norm(flow.energy).item())`, and later `torch.tensor(weights, device=device)`."""
    made = {
        n.dotted(site.node.args[0]): site.node
        for site in scope.events.calls
        if site.path in _MAKERS
        and site.node.args
        and n.dotted(site.node.args[0])
        and _on_a_device(dict(site.keywords).get("device"))
    }
    if not made:
        return
    around = passes_around(scope, {id(read.node) for read in reads})
    for growth in scope.events.growths:
        call = made.get(n.dotted(growth.container))
        if call is None or growth.how != "append" or growth.bounded or growth.item is None or not growth.loops:
            continue
        loop = growth.loops[-1].node
        for read in reads:
            passes = around.get(id(read.node), ())
            if not passes or passes[-1].node is not loop or not goes_on(scope, passes[-1]):
                continue
            if read.indices or isinstance(read.base, n.Name) and read.base.id in passes[-1].names:
                continue  # entries of a tensor, or tensors of a list: nothing is computed for each
            if _reaches(passes[-1], read, growth.item):
                yield RoundTrip(scope, read, call, passes[-1])
                break


def _on_a_device(device: v.Value | None) -> bool:
    return device is not None and device.device != v.CPU and not str(device.const or "").startswith("cpu")


def _reaches(passed: Pass, read: HostRead, item: n.Expr) -> bool:
    """Whether what is read becomes part of what is appended, by way of names that the loop binds."""
    carried: set[str] = set()
    body = passed.node.body if isinstance(passed.node, n.For) else []
    for stmt in n.statements(body):
        if isinstance(stmt, n.Assign) and _holds(stmt.value, read, carried):
            carried |= {target.id for target in stmt.targets if isinstance(target, n.Name)}
    return _holds(item, read, carried)


def _holds(expr: n.Expr, read: HostRead, carried: set[str]) -> bool:
    return any(part is read.node or isinstance(part, n.Name) and part.id in carried for part in n.walk(expr))


def _constants(facts: FileFacts, scope: Scope, reads: list[HostRead]) -> Iterator[RoundTrip]:
    """`scale(torch.tensor([0.0]), low, high)[0].item()`: nothing in it changes from call to call."""
    if scope.node is None or scope.name == "__init__":
        return
    for read in reads:
        names = {part.id for part in n.walk(read.operand) if isinstance(part, n.Name)}
        if names & scope.local_names - {scope.self_name}:
            continue
        for part in n.walk(read.operand):
            if isinstance(part, n.Call) and facts.names.path(n.dotted(part.func)) in _MAKERS and part.args:
                yield RoundTrip(scope, read, part, None)
                break
