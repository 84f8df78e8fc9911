"""Releases that free nothing, because something else still holds the object: the question behind release-the-owner."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from memlint.facts import FileFacts, Scope
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.reloads import empties
from memlint.facts.tracing import Uses, is_bound
from memlint.facts.trials import is_unit_test

_COLLECTORS = frozenset({"collect", "empty_cache", "clear_cache"})
_KEEPING = frozenset({"append", "add", "appendleft", "insert", "put", "setdefault", "__setitem__"})
_MOVING = frozenset({"to", "cpu", "to_empty", "resize_", "clear", "close", "shutdown", "unload", "release", "detach_"})
# How many statements may lie between a `del` and the collection that shows what it was meant for.
_NEAR = 4


class Futile(Struct, eq=False):
    """A release without effect. holder: what holds the object still. node: the `del`, or the method that forgets."""

    scope: Scope
    node: object
    name: str
    holder: str
    reasons: list[tuple[object, str]]
    question: str = ""


def futile_releases(facts: FileFacts) -> Iterator[Futile]:
    """Every such release of a file."""
    if is_unit_test(facts.path):
        return
    collects = any(text in facts.source.text for text in ("gc.collect", "empty_cache", "clear_cache"))
    for scope in facts.all_scopes() if collects else ():
        if scope.node is not None and any(isinstance(s, n.Delete) for s in scope.statements()):
            yield from _deletes(facts, scope)
    if "locals()" in facts.source.text:
        for scope in facts.scopes:
            yield from _by_name(scope)
    if "_hook(" in facts.source.text and ".remove()" in facts.source.text:
        for scope in facts.scopes:
            yield from _forgotten(facts, scope)


# -- del, and nothing is freed ---------------------------------------------------------------------------------------


def _deletes(facts: FileFacts, scope: Scope) -> Iterator[Futile]:
    uses = Uses(scope.body)
    for block in _blocks(scope.body):
        position = 0
        while position < len(block):
            run = position
            while run < len(block) and isinstance(block[run], n.Delete):
                run += 1
            deletes = block[position:run]
            position = max(run, position + 1)
            if not deletes:
                continue
            collected = next((s for s in block[run : run + _NEAR] if _collects(s)), None)
            if collected is None:
                continue
            found = [_futile(facts, scope, uses, stmt, part) for stmt, part in _targets(deletes)]
            if found and all(found):  # of names that go together, one that goes in earnest is reason enough
                first = found[0]
                assert first is not None
                first.reasons.append((collected, "this shows what it was meant for"))
                yield first


def _blocks(body: list[n.Stmt]) -> Iterator[list[n.Stmt]]:
    yield body
    for stmt in body:
        for block in n.blocks(stmt):
            yield from _blocks(block)


def _targets(deletes: list[n.Stmt]) -> Iterator[tuple[n.Delete, n.Expr]]:
    for stmt in deletes:
        if isinstance(stmt, n.Delete):
            parts = stmt.target.elements if isinstance(stmt.target, n.Sequence) else [stmt.target]
            for part in parts:
                yield stmt, part


def _collects(stmt: n.Stmt) -> bool:
    """A collection of garbage, or of the device's cache, also where a test guards it."""
    inner = [stmt, *(s for block in n.blocks(stmt) for s in block)] if isinstance(stmt, n.If) else [stmt]
    calls = (part for s in inner for expr in n.expressions(s) for part in n.walk(expr) if isinstance(part, n.Call))
    return any(n.dotted(call.func).rpartition(".")[2] in _COLLECTORS for call in calls)


def _futile(facts: FileFacts, scope: Scope, uses: Uses, stmt: n.Delete, part: n.Expr) -> Futile | None:
    if not isinstance(part, n.Name):
        return None
    name = part.id
    bound = [s for s in uses.statements if _binds(s, name)]
    read = list(uses.reads(name))
    if any(u.how == "method" and u.name in _MOVING for node in read for u in uses.of(node, depth=0)):
        return None
    before = [s for s in bound if uses.order[id(s)] < uses.order[id(stmt)]]
    loss = _feeds_backward(facts, scope, uses, name, stmt)
    if loss is not None:
        return loss
    if not before and name in scope.params and len(bound) == 0:
        return _parameter(facts, scope, stmt, name)
    if len(before) != 1 or len(bound) != 1:
        return None
    made = before[0]
    if isinstance(made, n.Assign) and made.value is not None and len(made.targets) == 1:
        slot = _slot(scope, made.value)
        if slot and not _emptied(facts, scope, uses, slot):
            reasons: list[tuple[object, str]] = [(made, f"`{name}` is only another name of `{slot}`")]
            return Futile(scope, stmt, name, f"`{slot}`", reasons)
        if n.dotted(made.targets[0]) == name:
            return _kept(facts, scope, uses, stmt, name)
    return None


def _binds(stmt: n.Stmt, name: str) -> bool:
    if isinstance(stmt, n.Assign):
        targets = stmt.targets
    elif isinstance(stmt, n.For):
        targets = [stmt.target]
    elif isinstance(stmt, n.With):
        targets = [target for _, target in stmt.items if target is not None]
    elif isinstance(stmt, n.Augment):
        targets = [stmt.target]
    else:
        return False
    flat = (e for target in targets for e in (target.elements if isinstance(target, n.Sequence) else [target]))
    return any(isinstance(e, n.Name) and e.id == name for e in flat)


def _slot(scope: Scope, value: n.Expr) -> str:
    """The text of an attribute or a dict's entry that a name is bound to, "" for anything else."""
    if isinstance(value, n.Attr):
        text = n.dotted(value)
        first = text.partition(".")[0]
        return text if first == scope.self_name or first in scope.params else ""
    if isinstance(value, n.Item) and isinstance(value.index, n.Const) and isinstance(value.index.value, str):
        base = n.dotted(value.value)
        first = base.partition(".")[0]
        outlives = first in {scope.self_name, *scope.params} or not is_bound(scope.body, first)
        return f'{base}["{value.index.value}"]' if base and outlives else ""
    return ""


def _emptied(facts: FileFacts, scope: Scope, uses: Uses, slot: str) -> bool:
    """The slot is bound anew, deleted or emptied somewhere in the function."""
    base, _, key = slot.partition('["')
    attr = key.removesuffix('"]') or slot.rpartition(".")[2]
    for stmt in uses.statements:
        if isinstance(stmt, (n.Assign, n.Delete)):
            targets = stmt.targets if isinstance(stmt, n.Assign) else [stmt.target]
            for target in targets:
                for part in target.elements if isinstance(target, n.Sequence) else [target]:
                    whole = n.dotted(part.value if isinstance(part, n.Item) else part)
                    if whole and whole in (slot, base):
                        return True
        for expr in n.expressions(stmt):
            for call in n.walk(expr):
                if isinstance(call, n.Call) and empties(facts, scope, call, base, attr):
                    return True
    return False


def _kept(facts: FileFacts, scope: Scope, uses: Uses, stmt: n.Delete, name: str) -> Futile | None:
    """Stored before it is deleted: `self.x = name`, `self.parts.append(name)`."""
    for read in uses.reads(name):
        if uses.order[id(read)] > uses.order[id(stmt)]:
            break
        up = uses.parents.get(id(read))
        owner = uses.statement(read)
        if up is None and isinstance(owner, n.Assign) and owner.value is read:
            slot = _slot(scope, owner.targets[0])
            if slot and not _rebound_after(uses, slot, owner):
                return Futile(scope, stmt, name, f"`{slot}`", [(owner, f"`{slot}` holds it since here")])
        if isinstance(up, n.Call) and isinstance(up.func, n.Attr) and up.func.attr in _KEEPING and read in up.args:
            holder = n.dotted(up.func.value)
            if holder.partition(".")[0] == scope.self_name and not _emptied(facts, scope, uses, holder):
                return Futile(scope, stmt, name, f"`{holder}`", [(up, f"`{holder}` holds it since here")])
    return None


def _rebound_after(uses: Uses, slot: str, stmt: n.Stmt) -> bool:
    base = slot.partition('["')[0]
    for other in uses.statements:
        if other is not stmt and isinstance(other, (n.Assign, n.Delete)):
            targets = other.targets if isinstance(other, n.Assign) else [other.target]
            for part in (p for target in targets for p in n.walk(target)):
                if n.dotted(part) in (slot, base) and not isinstance(part, n.Name):
                    return True
    return False


def _parameter(facts: FileFacts, scope: Scope, stmt: n.Delete, name: str) -> Futile | None:
    """The caller keeps what it has passed."""
    assert scope.node is not None
    if scope.owner is not None and any(base.endswith("autograd.Function") for base in scope.owner.bases):
        return None
    position = scope.params.index(name) - (1 if scope.self_name else 0)
    for other in facts.all_scopes():
        for site in other.events.calls:
            if site.name.rpartition(".")[2] == scope.name and (site.on_self or isinstance(site.node.func, n.Name)):
                argument = site.node.argument(position, name)
                if argument is not None and n.dotted(argument):
                    held = n.dotted(argument)
                    why = f"`{held}` is passed here, and the caller holds it on"
                    return Futile(scope, stmt, name, f"the caller's `{held}`", [(site.node, why)])
    if name in scope.node.defaults:
        return None
    reasons: list[tuple[object, str]] = [(scope.node, f"`{name}` is a parameter: `del` ends only this function's name")]
    return Futile(scope, stmt, name, "the caller", reasons, "whether a caller holds what it passes")


def _feeds_backward(facts: FileFacts, scope: Scope, uses: Uses, name: str, stmt: n.Delete) -> Futile | None:
    """Deleted between the loss that was made from it and the loss's backward: the graph holds it."""
    for call in scope.events.training:
        if not (isinstance(call.func, n.Attr) and call.func.attr == "backward"):
            continue
        loss = n.dotted(call.func.value)
        if not loss or uses.order.get(id(call), -1) < uses.order[id(stmt)]:
            continue
        for made in uses.statements:
            if isinstance(made, n.Assign) and loss in [n.dotted(t) for t in made.targets]:
                if name in n.mentioned(made.value) and uses.order[id(made)] < uses.order[id(stmt)]:
                    value = scope.env.get(loss)
                    if value is not None and value.grad == v.DETACHED:
                        return None
                    why = f"`{loss}` was made from it, and its graph lives until `backward`"
                    question = f"whether the graph of `{loss}` needs all of it"
                    return Futile(scope, stmt, name, f"the graph of `{loss}`", [(made, why)], question)
    return None


# -- variables that are looked up by their names ---------------------------------------------------------------------


def _by_name(scope: Scope) -> Iterator[Futile]:
    """`locals()` is a copy, so that deleting from it, or what was read from it, leaves the variable where it is."""
    uses: Uses | None = None
    for stmt in scope.statements():
        entry = stmt.target if isinstance(stmt, n.Delete) else None
        popped = stmt.value if isinstance(stmt, n.Do) and isinstance(stmt.value, n.Call) else None
        if isinstance(entry, n.Item) and _is_locals(entry.value) or popped is not None and _pops_local(popped):
            why = "`locals()` is a copy of the function's variables"
            yield Futile(scope, stmt, "locals()[...]", "the variable itself", [(stmt, why)])
        elif isinstance(entry, n.Name):
            uses = uses or Uses(scope.body)
            made = [s for s in uses.statements if _binds(s, entry.id)]
            value = made[0].value if len(made) == 1 and isinstance(made[0], n.Assign) else None
            if value is not None and _reads_local(value) and not _is_used(uses, entry.id):
                why = f"`{entry.id}` is only another name of the variable that is looked up here"
                yield Futile(scope, stmt, entry.id, "the variable itself", [(made[0], why)])


def _is_locals(expr: n.Expr) -> bool:
    return isinstance(expr, n.Call) and n.dotted(expr.func) == "locals"


def _pops_local(call: n.Call) -> bool:
    return isinstance(call.func, n.Attr) and call.func.attr == "pop" and _is_locals(call.func.value)


def _reads_local(value: n.Expr) -> bool:
    got = isinstance(value, n.Call) and isinstance(value.func, n.Attr) and value.func.attr == "get"
    return (
        isinstance(value, n.Item)
        and _is_locals(value.value)
        or (got and isinstance(value, n.Call) and isinstance(value.func, n.Attr) and _is_locals(value.func.value))
    )


def _is_used(uses: Uses, name: str) -> bool:
    """Whether a name is read for more than asking what it is."""
    for read in uses.reads(name):
        up = uses.parents.get(id(read))
        asks = isinstance(up, n.Call) and n.dotted(up.func) in ("isinstance", "type", "hasattr")
        if not asks and not isinstance(up, n.Compare):
            return True
    return False


# -- hooks removed, tensors kept -------------------------------------------------------------------------------------


def _forgotten(facts: FileFacts, scope: Scope) -> Iterator[Futile]:
    """A method that removes the handles of hooks and leaves what the hooks have gathered."""
    if scope.owner is None or scope.owner.methods.get(scope.name) is not scope:
        return
    removed = next((loop for loop in scope.events.loops if isinstance(loop.node, n.For) and _removes(loop.node)), None)
    if removed is None:
        return
    hooks = {hook.rpartition(".")[2] for other in facts.all_scopes() for hook in other.events.hooks}
    methods = [method for method in scope.owner.methods.values() if method.name != "__init__"]
    called = [scope, *(callee for method in methods for callee in _own_callees(method))]
    emptied = {shrink.holder.removesuffix("[]") for s in called for shrink in s.events.shrinks}
    for other in facts.scopes:
        if other.owner is not scope.owner or other.name not in hooks:
            continue
        for growth in other.events.growths:
            value, holder = growth.value, growth.holder
            attr = holder.removeprefix(f"class:{scope.owner.name}.")
            if (
                attr == holder
                or holder.removesuffix("[]") in emptied
                or value.device == v.CPU
                or value.kind in (v.NUMBER, v.STRING)
            ):
                continue
            reasons: list[tuple[object, str]] = [
                (growth.node, f"the hook gathers tensors in `{scope.self_name}.{attr}`"),
                (removed.node, "the hooks are removed here, the tensors stay"),
            ]
            question = f"whether the object lives on after `{scope.name}`"
            yield Futile(scope, removed.node, f"{scope.self_name}.{attr}", "the object", reasons, question)
            return


def _removes(loop: n.For) -> bool:
    target = n.dotted(loop.target)
    calls = (e for e in n.every(loop.body) if isinstance(e, n.Call) and isinstance(e.func, n.Attr))
    return any(call.func.attr == "remove" and n.dotted(call.func.value) == target and not call.args
               for call in calls if isinstance(call.func, n.Attr))  # fmt: skip


def _own_callees(scope: Scope) -> Iterator[Scope]:
    assert scope.owner is not None
    for site in scope.events.calls:
        if site.on_self and site.name in scope.owner.methods:
            yield scope.owner.methods[site.name]
