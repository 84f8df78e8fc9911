"""Networks that only supply targets: copies of another one, or teachers, which no optimizer of the program knows."""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import Struct, field

from memlint.facts import FileFacts, Scope
from memlint.facts import nodes as n
from memlint.facts.events import ON, Forward

_PARAMETERS = frozenset({"parameters", "named_parameters", "buffers"})
_OPTIMIZER = re.compile(r"optim|adam|sgd|rmsprop|lbfgs|adagrad", re.IGNORECASE)
_IN_PLACE = frozenset({"copy_", "lerp_", "mul_", "add_"})
_HAND_ON = frozenset({"to", "cuda", "eval", "half", "float", "cpu", "requires_grad_"})


class Target(Struct, eq=False):
    """A forward pass that is run backward into weights which nothing updates.

    source: the network that its weights are copied from, "" for one in evaluation mode. origin: where that is seen.
    sure: that one is in an optimizer, and this one in none. shared: its statement runs something that trains, too.
    """

    forward: Forward
    source: str
    origin: object
    sure: bool
    shared: bool


class _Roles(Struct):
    """What a body of code does with the networks that it names."""

    copies: dict[str, tuple[str, object]] = field(default_factory=dict)
    evaluated: dict[str, object] = field(default_factory=dict)
    trained: set[str] = field(default_factory=set)
    optimized: set[str] = field(default_factory=set)


def target_forwards(facts: FileFacts, scope: Scope) -> Iterator[Target]:
    """Forward passes of such networks in a function that trains another one in the same backward pass."""
    forwards = [f for f in scope.events.forwards if f.mode == ON and not f.indirect and not f.through]
    ends = {f.id: {id(use.node) for use in f.uses if use.how == "trained"} for f in forwards}
    if sum(bool(e) for e in ends.values()) < 2 or len({f.receiver for f in forwards}) < 2:
        return
    roles = _roles(facts, scope)
    found: dict[int, Target] = {}
    for forward in forwards:
        copied = roles.copies.get(forward.receiver)
        origin = roles.evaluated.get(forward.receiver)
        if not ends[forward.id] or copied is None and origin is None or forward.receiver in roles.optimized:
            continue
        if any(use.how not in ("trained", "consumed", "typed") for use in forward.uses):
            continue
        if copied is None and (forward.receiver in roles.trained or not roles.optimized):
            continue
        if not forward.inputs <= found.keys():
            continue  # a graph goes in: what gave it may be trained through this one
        source = copied[0] if copied is not None else ""
        if source and source not in roles.optimized:
            continue  # the optimizer is out of sight, and may take both
        partners = [f for f in forwards if f.receiver != forward.receiver and ends[f.id] & ends[forward.id]]
        if any(f.receiver == source or f.receiver in roles.optimized for f in partners):
            seen = copied[1] if copied is not None else origin
            found[forward.id] = Target(forward, source, seen, bool(source), False)
    for target in found.values():
        target.shared = any(f.stmt is target.forward.stmt and f.id not in found for f in forwards)
        yield target


def _roles(facts: FileFacts, scope: Scope) -> _Roles:
    """What the class does, or, for functions, all functions of the file: they hand networks on under one name."""
    roles = _Roles()
    if scope.owner is not None:
        bodies = [method.body for method in scope.owner.methods.values()]
    else:
        bodies = [other.body for other in facts.all_scopes() if other.owner is None]
    benign: set[int] = set()
    for body in bodies:
        for stmt in n.statements(body):
            _read_statement(facts, stmt, roles, benign)
    for body in bodies:
        for expr in n.every(body):
            if not isinstance(expr, n.Call) or not isinstance(expr.func, n.Attr):
                continue
            name, method = _name(expr.func.value), expr.func.attr
            if method in _PARAMETERS and id(expr) not in benign and name:
                roles.optimized.add(name)
            elif method == "train" and name and not _is_false(expr):
                roles.trained.add(name)
    roles.optimized.discard("")
    if scope.self_name and scope.self_name in roles.optimized:
        return _Roles()
    return roles


def _read_statement(facts: FileFacts, stmt: n.Stmt, roles: _Roles, benign: set[int]) -> None:
    for expr in n.expressions(stmt):
        for part in n.walk(expr):
            if isinstance(part, n.Call):
                _read_call(part, roles, benign)
            elif isinstance(part, n.Sequence) and part.kind == "list":
                roles.optimized.update(_name(element) for element in part.elements)  # may be gone through later
            elif isinstance(part, n.Comprehension):
                _together(part.generators[0].iter, roles)
                benign.update(id(inner) for inner in n.walk(part) if _numbers_only(part))
    if isinstance(stmt, n.For):
        _together(stmt.iter, roles)
    if isinstance(stmt, n.For) and isinstance(stmt.iter, n.Call):
        benign.add(id(stmt.iter))
        if n.dotted(stmt.iter.func) == "zip":
            _read_pairs(stmt, roles)
    if isinstance(stmt, n.Assign):
        for target in stmt.targets:
            _read_assignment(facts, target, stmt.value, roles)


def _read_call(call: n.Call, roles: _Roles, benign: set[int]) -> None:
    callee = n.dotted(call.func)
    given = [arg for arg in call.args if _of_parameters(arg)]
    if _OPTIMIZER.search(callee):
        roles.optimized.update(_name(arg) for arg in call.args)
    elif callee == "zip" or len(given) > 1 and not callee.endswith("chain") or "clip_grad" in callee:
        benign.update(id(arg) for arg in given)
    if not isinstance(call.func, n.Attr):
        return
    name = _name(call.func.value)
    if call.func.attr == "eval" and name and not call.args:
        roles.evaluated.setdefault(name, call)
    first = call.args[0] if call.args else None
    if call.func.attr == "load_state_dict" and isinstance(first, n.Call) and isinstance(first.func, n.Attr):
        if first.func.attr == "state_dict" and name and _name(first.func.value):
            roles.copies.setdefault(name, (_name(first.func.value), call))


def _together(networks: n.Expr, roles: _Roles) -> None:
    """Networks that a loop goes through are treated alike."""
    if isinstance(networks, n.Sequence):
        roles.optimized.update(_name(element) for element in networks.elements)


def _read_pairs(loop: n.For, roles: _Roles) -> None:
    """`for p, q in zip(a.parameters(), b.parameters()): p.data.copy_(...)`: `a` follows `b`."""
    assert isinstance(loop.iter, n.Call)
    names = [_of_parameters(arg) for arg in loop.iter.args]
    targets = [n.dotted(t) for t in loop.target.elements] if isinstance(loop.target, n.Sequence) else []
    if len(names) != 2 or len(targets) != 2 or not all(names):
        return
    written: set[str] = set()
    for stmt in n.statements(loop.body):
        if isinstance(stmt, n.Assign):
            written |= {n.root(target) for target in stmt.targets if n.dotted(target).endswith(".data")}
        for expr in n.expressions(stmt):
            for part in n.walk(expr):
                if isinstance(part, n.Call) and isinstance(part.func, n.Attr) and part.func.attr in _IN_PLACE:
                    written.add(n.root(part.func.value))
    for index in (0, 1):
        if targets[index] in written and targets[1 - index] not in written:
            roles.copies.setdefault(names[index], (names[1 - index], loop.iter))


def _read_assignment(facts: FileFacts, target: n.Expr, value: n.Expr, roles: _Roles) -> None:
    if isinstance(target, n.Sequence) and isinstance(value, n.Sequence):
        for one, other in zip(target.elements, value.elements, strict=False):
            _read_assignment(facts, one, other, roles)
        return
    name = _name(target)
    while name and isinstance(value, n.Call) and isinstance(value.func, n.Attr) and value.func.attr in _HAND_ON:
        if value.func.attr == "eval":
            roles.evaluated.setdefault(name, value)
        value = value.func.value
    if name and isinstance(value, n.Call) and facts.names.path(n.dotted(value.func)) == "copy.deepcopy" and value.args:
        source = _name(value.args[0])
        if source:
            roles.copies.setdefault(name, (source, value))


def _name(expr: n.Expr) -> str:
    """The network that an expression names: a wrapper's `.module` is the network."""
    return n.dotted(expr).removesuffix(".module")


def _of_parameters(expr: n.Expr) -> str:
    """The network whose parameters an expression gives, "" for any other."""
    if isinstance(expr, n.Call) and isinstance(expr.func, n.Attr) and expr.func.attr in _PARAMETERS:
        return _name(expr.func.value)
    return ""


def _numbers_only(expr: n.Comprehension) -> bool:
    return any(isinstance(part, n.Attr) and part.attr in ("numel", "norm", "nelement") for part in n.walk(expr))


def _is_false(call: n.Call) -> bool:
    return bool(call.args) and isinstance(call.args[0], n.Const) and call.args[0].value is False
