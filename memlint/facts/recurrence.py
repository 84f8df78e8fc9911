"""Recurrent states that keep their graph from step to step: the question behind detach-recurrent-state."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from memlint.facts import Class_, FileFacts, Scope
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.events import OFF, ON, Forward

# Methods and attributes of a state, or of one of its entries, that cut or renew it.
_SEVERING = frozenset({
    "detach", "detach_", "data", "zero_", "fill_", "copy_", "clear", "update", "append", "pop", "requires_grad_",
    "normal_", "uniform_", "set_", "reset", "masked_fill_",
})  # fmt: skip
_BUILDING = frozenset({"__init__", "__post_init__", "__new__", "setup", "build"})


class Carried(Struct, eq=False):
    """A state that a call takes and hands back, over and over.

    states: the names that nothing cuts. before: the statement in front of which they can be cut.
    callee: what the call runs, see `callee_of`.
    attribute: the identity of the attribute that holds the state between calls of the function.
    """

    scope: Scope
    states: tuple[str, ...]
    call: n.Call
    before: n.Stmt
    callee: str
    reasons: list[tuple[object, str]]
    attribute: str = ""


class _Carry(Struct, eq=False):
    """One statement whose call is given states and gives them back. keepers: what puts results into their place."""

    stmt: n.Assign
    call: n.Call
    states: list[str]
    keepers: list[n.Stmt]


def carried_states(facts: FileFacts) -> Iterator[Carried]:
    """States carried over a backward in a loop, and over the calls of a method."""
    for scope in facts.all_scopes():
        calls = {id(forward.node): forward for forward in scope.events.forwards if forward.mode == ON}
        if not calls:
            continue
        told: set[int] = set()
        for carried in _over_a_loop(facts, scope, calls):
            told.add(id(carried.call))
            yield carried
        if scope.owner is not None and scope.self_name and scope.name not in _BUILDING:
            yield from (c for c in _over_calls(facts, scope, scope.owner, calls) if id(c.call) not in told)


# -- in a loop -------------------------------------------------------------------------------------------------------


def _over_a_loop(facts: FileFacts, scope: Scope, calls: dict[int, Forward]) -> Iterator[Carried]:
    backwards = [node for node in scope.events.training if is_backward(node)]
    taken: set[int] = set()
    # Inner loops come behind the ones around them: a backward belongs to the innermost.
    for loop in reversed(scope.events.loops) if backwards else ():
        body = getattr(loop.node, "body", [])
        inside = {id(expr) for expr in n.every(body)}
        own = [node for node in backwards if id(node) in inside and id(node) not in taken]
        taken.update(id(node) for node in own)
        own = [node for node in own if not _at_intervals(body, node)]
        if not own or not body:
            continue
        for carry in _carries(body):
            forward = calls.get(id(carry.call))
            if forward is None or not any(use.how == "trained" for use in forward.uses):
                continue
            new = set(bare(loop.node.target)) if isinstance(loop.node, n.For) else set()
            states = tuple(state for state in _uncut(carry, body) if state not in new)
            if not states or any("." in state and not state.startswith(f"{scope.self_name}.") for state in states):
                continue
            head = getattr(loop.node, "iter", None) or getattr(loop.node, "test", loop.node)
            reasons: list[tuple[object, str]] = [
                (carry.call, f"`{states[0]}` goes into this call and comes back with its graph"),
                (own[0], "backward runs here in each pass"),
                (head, "nothing in this loop detaches it or makes it anew"),
            ]
            yield Carried(scope, states, carry.call, body[0], callee_of(facts, scope, carry.call), reasons)


def is_backward(node: object) -> bool:
    """`loss.backward()`, `accelerator.backward(loss)`, `torch.autograd.backward(loss)`."""
    names = ("backward", "manual_backward")
    return isinstance(node, n.Call) and isinstance(node.func, n.Attr) and node.func.attr in names


def _at_intervals(body: list[n.Stmt], node: n.Call) -> bool:
    """Whether a backward stands under `if step % n == 0`: the graph of several steps is wanted."""
    for stmt in n.statements(body):
        if isinstance(stmt, n.If) and n.at_interval(stmt.test):
            if any(part is node for block in n.blocks(stmt) for part in n.every(block)):
                return True
    return False


# -- on an object ----------------------------------------------------------------------------------------------------


def _over_calls(facts: FileFacts, scope: Scope, owner: Class_, calls: dict[int, Forward]) -> Iterator[Carried]:
    """`out, self.hidden = self.rnn(x, self.hidden)`: the next call of the method goes on with the graph of this one."""
    prefix = f"{scope.self_name}."
    for carry in _carries(scope.body):
        forward = calls.get(id(carry.call))
        if forward is None or forward.mode == OFF or not any(state.startswith(prefix) for state in carry.states):
            continue
        states = tuple(s for s in _uncut(carry, scope.body) if s.startswith(prefix) and "." not in s[len(prefix) :])
        if not states or any(_cut_elsewhere(facts, state[len(prefix) :]) for state in states):
            continue
        reasons: list[tuple[object, str]] = [
            (carry.call, f"`{states[0]}` goes into this call and comes back with its graph, for the next one")
        ]
        attribute = f"class:{owner.name}.{states[0][len(prefix) :]}"
        callee = callee_of(facts, scope, carry.call)
        yield Carried(scope, states, carry.call, carry.stmt, callee, reasons, attribute)


def _cut_elsewhere(facts: FileFacts, attr: str) -> bool:
    """Whether anything in the file cuts an attribute of this name in place, or goes through its entries."""
    for scope in facts.all_scopes():
        for stmt in scope.statements():
            if isinstance(stmt, n.For) and any(isinstance(p, n.Attr) and p.attr == attr for p in n.walk(stmt.iter)):
                return True
            for expr in n.expressions(stmt):
                for part in n.walk(expr):
                    if isinstance(part, n.Attr) and part.attr in _SEVERING and _named(part.value, attr):
                        return True
    return False


def _named(expr: n.Expr, attr: str) -> bool:
    while isinstance(expr, n.Item):
        expr = expr.value
    return isinstance(expr, n.Attr) and expr.attr == attr


# -- both ------------------------------------------------------------------------------------------------------------


def _carries(body: list[n.Stmt]) -> Iterator[_Carry]:
    """`out, hidden = model(x, hidden)`, also by way of a second name: `out, new = model(x, hidden); hidden = new`."""
    stmts = list(n.statements(body))
    for stmt in stmts:
        if not (isinstance(stmt, n.Assign) and isinstance(stmt.value, n.Call)):
            continue
        call = stmt.value
        given = {text for arg in (*call.args, *(a for _, a in call.keywords)) for text in bare(arg)}
        results = {text for target in stmt.targets for text in bare(target)}
        states = {text: [stmt] for text in given & results}
        for other in stmts if len(states) < len(given) else ():
            if isinstance(other, n.Assign) and other is not stmt:
                for target, value in _pairs(other):
                    if target in given and value in results - given:
                        states.setdefault(target, []).append(other)
        if states:
            keepers = [keeper for found in states.values() for keeper in found]
            yield _Carry(stmt, call, sorted(states), [stmt, *keepers])


def _pairs(stmt: n.Assign) -> Iterator[tuple[str, str]]:
    """(name, name) of `a = b` and of `a, b = c, d`."""
    for target in stmt.targets:
        left = target.elements if isinstance(target, n.Sequence) else [target]
        right = stmt.value.elements if isinstance(stmt.value, n.Sequence) else [stmt.value]
        if len(left) == 1 and len(right) > 1:  # `self.state = (h, c)`
            left = left * len(right)
        for a, b in zip(left, right, strict=False):
            if n.dotted(a) and n.dotted(b):
                yield n.dotted(a), n.dotted(b)


def bare(expr: n.Expr) -> Iterator[str]:
    """The names that stand for themselves in an expression: `h` and `c` of `(h, c)`, nothing of `h.detach()`."""
    if isinstance(expr, n.Sequence):
        for element in expr.elements:
            yield from bare(element)
    elif isinstance(expr, (n.Name, n.Attr)) and (text := n.dotted(expr)):
        yield text


def _uncut(carry: _Carry, body: list[n.Stmt]) -> tuple[str, ...]:
    """Those of the states that no other statement binds, cuts, changes in place or hands to somebody who may."""
    touched: set[str] = set()
    keepers = {id(stmt) for stmt in (*carry.keepers, *_first_times(body, carry.states))}
    for stmt in n.statements(body):
        if id(stmt) not in keepers:
            touched |= _bound(stmt)
        if isinstance(stmt, n.Do) and isinstance(stmt.value, n.Call):
            for arg in (*stmt.value.args, *(a for _, a in stmt.value.keywords)):
                touched |= set(bare(arg))
        for expr in n.expressions(stmt):
            for part in n.walk(expr):
                if isinstance(part, n.Attr) and part.attr in _SEVERING:
                    touched.add(_base(part.value))
                elif isinstance(part, n.Comprehension):
                    touched |= {_base(g.iter) for g in part.generators}
    return tuple(state for state in carry.states if state not in touched)


def _first_times(body: list[n.Stmt], states: list[str]) -> Iterator[n.Stmt]:
    """What is bound under `if hidden is None`: it makes the state once, and renews nothing."""
    for stmt in n.statements(body):
        if isinstance(stmt, n.If):
            for part in n.walk(stmt.test):
                is_none = isinstance(part, n.Compare) and part.rest[0][0] == "Is" and n.dotted(part.left) in states
                if is_none and isinstance(part, n.Compare) and isinstance(part.rest[0][1], n.Const):
                    yield from stmt.body


def _bound(stmt: n.Stmt) -> set[str]:
    """The names that a statement binds, or whose entries it sets, or that it goes through."""
    if isinstance(stmt, n.Assign):
        targets = stmt.targets
    elif isinstance(stmt, (n.Augment, n.Delete)):
        targets = [stmt.target]
    elif isinstance(stmt, n.For):
        targets = [stmt.target, *(stmt.iter.args if isinstance(stmt.iter, n.Call) else [stmt.iter])]
    elif isinstance(stmt, n.With):
        targets = [target for _, target in stmt.items if target is not None]
    else:
        return set()
    found: set[str] = set()
    for target in targets:
        elements = target.elements if isinstance(target, n.Sequence) else [target]
        for element in elements:
            found |= set(bare(element)) or {_base(element)}
    return found


def _base(expr: n.Expr) -> str:
    """`h` of `h[0]`, `self.h` of `self.h[0][1]`."""
    while isinstance(expr, (n.Item, n.Star)):
        expr = expr.value
    return n.dotted(expr)


def callee_of(facts: FileFacts, scope: Scope, call: n.Call) -> str:
    """What a call runs: the path of a module's class, `path()` of a function, "torch" for torch's own, "" unknown.

    `.method` where only the name of a method is known.
    """
    text = n.dotted(call.func)
    first, _, rest = text.partition(".")
    owner = scope.owner
    if text in facts.functions:
        return f"{facts.names.module}.{text}()"
    if owner is not None and first == scope.self_name and rest:
        if rest in owner.methods:
            return f"{facts.names.module}.{owner.methods[rest].qualname}()"
        value = owner.attributes.get(rest)
        made = [stmt for method in owner.methods.values() for stmt in method.statements()]
    else:
        values = [s.env[text] for s in scope.around() if text in s.env]
        value = values[0] if values else None
        made = [stmt for s in scope.around() for stmt in s.statements()]
    if value is not None and "." in value.path and value.kind in (v.MODULE, v.OBJECT, v.UNKNOWN):
        return value.path
    if isinstance(call.func, n.Attr) and "." not in rest and first not in (scope.self_name, ""):
        return f".{call.func.attr}" if rest else ""
    sources = [s.value for s in made if isinstance(s, n.Assign) and any(n.dotted(t) == text for t in s.targets)]
    paths = {facts.names.path(n.dotted(s.func)) if isinstance(s, n.Call) else "" for s in sources}
    return "torch" if paths and all(path.startswith("torch.nn.") for path in paths) else ""
