"""Hooks that nobody can take off again: the question behind remove-hooks."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from memlint.facts import FileFacts, Scope
from memlint.facts import knowledge as k
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.events import REPEATING
from memlint.facts.looping import without_wrappers
from memlint.facts.trials import named_as_test

ONCE = "once"
OWNER = "owner"
STEP = "step"

_TENSOR_HOOKS = frozenset({"register_hook", "register_post_accumulate_grad_hook"})
_MAKING = frozenset({"__init__", "__post_init__", "__new__"})
_MODULES_OF = frozenset({"modules", "named_modules", "children", "named_children"})
_PARAMETERS_OF = frozenset({"parameters", "named_parameters"})
# Calls that hand on what they are given, or parts of it.
_HANDING = k.THROUGH | frozenset({"dict", "list", "tuple", "zip", "reversed", "sorted", "getattr", "next", "filter"})
_PLAIN = _HANDING | frozenset({"len", "isinstance", "print", "hasattr", "setattr", "type", "id", "str", "super"})
_STORING = frozenset({"append", "appendleft", "extend", "add", "insert", "update", "setdefault", "put"})
_BACKDOORS = ("_forward_hooks", "_backward_hooks", "_forward_pre_hooks")


class Hook(Struct, eq=False):
    """A registration whose handle is lost.

    form: once (put on somebody else's module for what this function does), owner (by a constructor, on somebody
    else's module), step (one more in each step). repeats: in a step loop here. same: it is the same module each time.
    """

    scope: Scope
    node: n.Call
    form: str
    method: str
    receiver: n.Expr
    repeats: bool
    reasons: list[tuple[object, str]]
    same: bool = True


def lost_hooks(facts: FileFacts) -> Iterator[Hook]:
    """Registrations in this file whose handle is dropped, where the hook outlives what it was put on for."""
    if any(text in facts.source.text for text in _BACKDOORS):
        return  # taken off by another way
    for scope in facts.all_scopes():
        if not named_as_test(facts.path, scope):
            yield from _lost(scope)


def _lost(scope: Scope) -> Iterator[Hook]:
    sites = {id(site.node): site for site in scope.events.calls if _method(site.node) in k.HOOKING | _TENSOR_HOOKS}
    if not sites:
        return
    guarded = {id(call) for call in _guarded(scope.body)}
    marked = {id(call) for call in _marked(scope.body)}
    told = False
    for call in _dropped(scope):
        site = sites.get(id(call))
        if site is None or not isinstance(call.func, n.Attr) or len(call.args) + len(call.keywords) < 1:
            continue
        method, receiver = call.func.attr, call.func.value
        roots = _Roots(scope).of(receiver)
        on_tensor = method in _TENSOR_HOOKS
        hook = call.args[0] if call.args else call.keywords[0][1]
        reasons: list[tuple[object, str]] = [(call, "the handle that this gives back is dropped")]
        repeats = any(loop.kind in REPEATING and not roots.come_from(loop.node) for loop in site.loops)
        kept_out = id(call) in guarded or id(call) in marked
        if scope.name not in _MAKING and not kept_out and _lasts(scope, roots, on_tensor):
            given = isinstance(receiver, n.Name) and receiver.id in scope.params  # another one in each call, it may be
            if repeats or not scope.is_module_body and not given:
                shared = on_tensor or all("." in name for name in roots.names)
                yield Hook(scope, call, STEP, method, receiver, repeats, reasons, shared)
        if on_tensor or scope.is_module_body or roots.made or id(call) in marked:
            continue
        records = _recording(scope, hook)
        if records is None:
            continue
        reasons.append((records, "the hook stores what it sees here"))
        if _is_making(scope):
            if not told and _foreign_to_owner(scope, roots) and _mentions_self(scope, hook):
                told = True  # one of a constructor's hooks speaks for all
                yield Hook(scope, call, OWNER, method, receiver, repeats, reasons)
        elif roots.names and not scope.events.training and not _hands_back(scope, roots):
            if _root_of(records) == scope.self_name != "":
                continue  # the object goes on reading what the hook stores
            run = _run_after(scope, call, roots)
            if run is not None:
                reasons.append((run, "the module is run here, the hook is not removed afterwards"))
                yield Hook(scope, call, ONCE, method, receiver, repeats, reasons)


# -- what becomes of the handle ------------------------------------------------------------------------------------


def _method(call: n.Call) -> str:
    return call.func.attr if isinstance(call.func, n.Attr) else ""


def _dropped(scope: Scope) -> Iterator[n.Call]:
    """Registrations whose handle goes nowhere: dropped, or bound to a name that is only ever written."""
    unread = _only_written(scope)
    for stmt in scope.statements():
        kept: n.Expr | None = None
        if isinstance(stmt, n.Do) and isinstance(stmt.value, n.Call):
            kept = stmt.value
            if _method(kept) == "append" and n.root(kept.func) in unread and kept.args:
                kept = kept.args[0]
        elif isinstance(stmt, (n.Assign, n.Augment)):
            if all(isinstance(target, n.Name) and target.id in unread for target in _targets(stmt)):
                kept = stmt.value
        if isinstance(kept, n.Sequence) and len(kept.elements) == 1:
            kept = kept.elements[0]
        if isinstance(kept, n.Comprehension):
            kept = kept.element
        if isinstance(kept, n.Call) and _method(kept) in k.HOOKING | _TENSOR_HOOKS:
            yield kept


def _targets(stmt: n.Assign | n.Augment) -> list[n.Expr]:
    return stmt.targets if isinstance(stmt, n.Assign) else [stmt.target]


def _only_written(scope: Scope) -> set[str]:
    """Local names that are bound and appended to, and never read."""
    if scope.is_module_body:
        return set()
    read: set[str] = set()
    for inner in scope.within():
        for stmt in inner.statements():
            written = _targets(stmt) if isinstance(stmt, (n.Assign, n.Augment)) else []
            for expr in n.expressions(stmt):
                parts = expr.elements if isinstance(expr, n.Sequence) else [expr]
                if expr in written and all(isinstance(part, n.Name) for part in parts):
                    continue
                for part in _without_append(stmt, expr):
                    read.update(e.id for e in n.walk(part) if isinstance(e, n.Name))
    return set(scope.local_names) - read - set(scope.params)


def _without_append(stmt: n.Stmt, expr: n.Expr) -> list[n.Expr]:
    is_append = isinstance(stmt, n.Do) and isinstance(expr, n.Call) and _method(expr) == "append"
    if is_append and isinstance(expr, n.Call) and isinstance(expr.func, n.Attr) and isinstance(expr.func.value, n.Name):
        return list(expr.args)
    return [expr]


def _guarded(body: list[n.Stmt], inside: bool = False, each: frozenset[str] = frozenset()) -> Iterator[n.Call]:
    """The calls that stand under a condition, or after one that leaves.

    each: what the loops around go over. A test of such a name picks modules, it does not say how often.
    """
    for stmt in body:
        if inside:
            yield from (e for expr in n.expressions(stmt) for e in n.walk(expr) if isinstance(e, n.Call))
        picks = isinstance(stmt, n.If) and not each.isdisjoint(n.root(e) for e in n.walk(stmt.test))
        conditional = isinstance(stmt, (n.If, n.Match, n.Try)) and not picks
        names = n.walk(stmt.target) if isinstance(stmt, n.For) else iter(())
        inner = each | {part.id for part in names if isinstance(part, n.Name)}
        for block in n.blocks(stmt):
            yield from _guarded(block, inside or conditional, inner)
        leaves = isinstance(stmt, n.If) and stmt.body and isinstance(stmt.body[-1], (n.Return, n.Raise, n.Jump))
        inside = inside or bool(leaves) and not picks


def _marked(body: list[n.Stmt]) -> Iterator[n.Call]:
    """The calls under a condition that they themselves end: `if not self.hooked: ...; self.hooked = True`."""
    for stmt in n.statements(body):
        if isinstance(stmt, n.If):
            asked = n.mentioned(stmt.test)
            written = {n.dotted(t) for s in n.statements(stmt.body) if isinstance(s, n.Assign) for t in s.targets}
            member = any(isinstance(e, n.Compare) and e.rest[0][0] == "NotIn" for e in n.walk(stmt.test))
            if asked & written or asked & {"getattr", "hasattr"} and written or member:
                yield from (e for e in n.every(stmt.body) if isinstance(e, n.Call))


# -- whose module it is --------------------------------------------------------------------------------------------


class _Roots:
    """Where a module comes from: names of parameters, `self.x`, or things that the function makes itself.

    names: parameters and attributes. made: made here, or the object itself. parameters_of: a module's parameters.
    """

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.names: set[str] = set()
        self.made = False
        self.parameters_of = False
        self._seen: set[str] = set()
        self._sources: dict[str, list[tuple[n.Expr, bool]]] = {}
        for stmt in scope.statements():
            if isinstance(stmt, n.For):
                self._learn(stmt.target, stmt.iter, iterated=True)
            elif isinstance(stmt, n.Assign):
                for target in stmt.targets:
                    self._learn(target, stmt.value, iterated=False)
            for expr in n.expressions(stmt):
                for part in n.walk(expr):
                    if isinstance(part, n.Comprehension):
                        for generator in part.generators:
                            self._learn(generator.target, generator.iter, iterated=True)

    def _learn(self, target: n.Expr, source: n.Expr, iterated: bool) -> None:
        if isinstance(target, n.Name):
            self._sources.setdefault(target.id, []).append((source, iterated))
        elif isinstance(target, (n.Sequence, n.Star)):
            for part in target.elements if isinstance(target, n.Sequence) else [target.value]:
                self._learn(part, source, iterated)

    def of(self, expr: n.Expr) -> _Roots:
        """Follow an expression to its roots."""
        self._follow(expr, iterated=False)
        return self

    def come_from(self, loop: n.Stmt) -> bool:
        """Whether a loop goes over what is hooked: each pass hooks another one."""
        targets = n.walk(loop.target) if isinstance(loop, n.For) else iter(())
        return any(isinstance(part, n.Name) and part.id in self._seen for part in targets)

    def _follow(self, expr: n.Expr, iterated: bool) -> None:
        if isinstance(expr, n.Name):
            self._name(expr.id)
        elif isinstance(expr, n.Attr):
            text = n.dotted(expr)
            first, _, rest = text.partition(".")
            if rest and first == self.scope.self_name:
                self.names.add(f"{first}.{rest.split('.')[0]}")
            else:
                self._follow(expr.value, iterated)
        elif isinstance(expr, (n.Item, n.Star)):
            self._follow(expr.value, iterated)
        elif isinstance(expr, n.Call):
            self._call(expr, iterated)
        elif isinstance(expr, (n.Choice, n.Logic)):
            for part in (expr.body, expr.orelse) if isinstance(expr, n.Choice) else (expr.left, expr.right):
                self._follow(part, iterated)
        elif isinstance(expr, n.Sequence):
            for part in expr.elements:
                self._follow(part, iterated)
        elif isinstance(expr, n.Comprehension):
            self._follow(expr.generators[0].iter, iterated=True)

    def _call(self, expr: n.Call, iterated: bool) -> None:
        if isinstance(expr.func, n.Attr):
            self.parameters_of |= expr.func.attr in _PARAMETERS_OF
            if n.root(expr.func) == self.scope.self_name and n.dotted(expr.func).count(".") == 1:
                self.made |= expr.func.attr not in _MODULES_OF | _PARAMETERS_OF
            root = n.root(expr.func)
            known = root in self.scope.params or root in self._sources or root == self.scope.self_name
            self.made |= bool(root) and not known  # `copy.deepcopy(model)`, `models.resnet18()`
            self._follow(expr.func.value, iterated)
        elif iterated or n.dotted(without_wrappers(expr)) != "" or n.dotted(expr.func) in _HANDING:
            for arg in expr.args:
                self._follow(arg, iterated)
        else:
            modules = [arg for arg in expr.args if _is_module(self.scope, n.dotted(arg))]
            self.made |= not modules  # `find_layer(model, name)` looks into the module that it is given
            for arg in modules:
                self._follow(arg, iterated)

    def _name(self, name: str) -> None:
        if name in self._seen:
            return
        self._seen.add(name)
        if name == self.scope.self_name:
            self.made = True  # the object itself: what it hooks on itself goes with it
        elif name in self.scope.params:
            self.names.add(name)
        for source, iterated in self._sources.get(name, ()):
            self._follow(source, iterated)


def _is_module(scope: Scope, text: str) -> bool:
    """Whether a name or attribute is used as a module in its function, or anywhere in its class."""
    first, _, rest = text.partition(".")
    owner = scope.owner
    if rest and first == scope.self_name and owner is not None:
        known = [owner.hints.get(rest), owner.attributes.get(rest)]
        scopes = list(owner.methods.values())
    else:
        known = [scope.hints.get(text), scope.env.get(text)]
        scopes = [scope]
    if any(value is not None and value.kind == v.MODULE for value in known):
        return True
    return bool(text) and any(f.receiver == text for s in scopes for f in s.events.forwards)


def _lasts(scope: Scope, roots: _Roots, on_tensor: bool) -> bool:
    """Whether what is hooked is there in the next step too."""
    if on_tensor and not roots.parameters_of:
        return False
    return bool(roots.names) and (on_tensor or not roots.made)


def _is_making(scope: Scope) -> bool:
    """A constructor, or a method that the constructor calls."""
    if scope.name in _MAKING:
        return True
    owner = scope.owner
    made = owner.methods.get("__init__") if owner is not None else None
    return made is not None and any(s.on_self and s.name == scope.name for s in made.events.calls)


def _foreign_to_owner(scope: Scope, roots: _Roots) -> bool:
    """Whether a constructor was given what it hooks, by someone who may have it longer."""
    owner = scope.owner
    if owner is None or any(base.startswith("torch.") for base in owner.bases) or "forward" in owner.methods:
        return False  # a module's parts go with it; an optimizer stays with its model
    made = owner.methods.get("__init__", scope)
    given: set[str] = set(made.params[1:])
    for stmt in made.statements():
        handed = isinstance(stmt, n.Assign) and isinstance(stmt.value, (n.Name, n.Attr, n.Item))
        if handed and isinstance(stmt, n.Assign) and n.root(stmt.value) in given:
            given.update(n.dotted(target) for target in stmt.targets)
    return bool(roots.names) and roots.names <= given | set(scope.params[1:])


def _hands_back(scope: Scope, roots: _Roots) -> bool:
    """A function that gives the module back prepares it: the hook is there to stay."""
    for stmt in scope.statements():
        if isinstance(stmt, n.Return) and stmt.value is not None:
            parts = stmt.value.elements if isinstance(stmt.value, n.Sequence) else [stmt.value]
            if any(n.dotted(part) in roots.names for part in parts):
                return True
    return False


# -- what the hook does --------------------------------------------------------------------------------------------


def _recording(scope: Scope, hook: n.Expr) -> n.Node | None:
    """Where a hook stores what it sees beyond its own run; None where it does not, or changes the values instead."""
    if isinstance(hook, n.Lambda):
        stored = [e for e in n.walk(hook.body) if isinstance(e, n.Call) and _stores(e, set(hook.params))]
        return stored[0] if stored else None
    for body in _bodies(scope, hook):
        returns = [s.value for s in n.statements(body.body) if isinstance(s, n.Return) and s.value is not None]
        if any(not _is_none(value) for value in returns):
            continue
        own = _bound_names(body)
        for stmt in n.statements(body.body):
            if isinstance(stmt, (n.Assign, n.Augment)):
                for target in _targets(stmt):
                    if isinstance(target, (n.Attr, n.Item)) and n.root(target) not in own:
                        return stmt
                    if isinstance(target, n.Name) and target.id in body.globals:
                        return stmt
            for expr in n.expressions(stmt):
                for part in n.walk(expr):
                    if isinstance(part, n.Call) and _stores(part, own):
                        return part
    return None


def _bound_names(body: Scope) -> set[str]:
    """The names that a function binds itself, its parameters not among them."""
    targets = [t for s in n.statements(body.body) if isinstance(s, n.Assign) for t in s.targets]
    targets += [s.target for s in n.statements(body.body) if isinstance(s, n.For)]
    parts = [p for t in targets for p in (t.elements if isinstance(t, n.Sequence) else [t])]
    return {p.id for p in parts if isinstance(p, n.Name)} - body.globals


def _root_of(stored: n.Node) -> str:
    """The name that a hook stores into."""
    if isinstance(stored, n.Call):
        return n.root(stored.func)
    targets = _targets(stored) if isinstance(stored, (n.Assign, n.Augment)) else []
    return n.root(targets[0]) if targets else ""


def _is_none(expr: n.Expr) -> bool:
    return isinstance(expr, n.Const) and expr.value is None


def _stores(call: n.Call, own: set[str]) -> bool:
    return _method(call) in _STORING and n.root(call.func) not in own | {""} and bool(call.args)


def _bodies(scope: Scope, hook: n.Expr) -> Iterator[Scope]:
    """The functions that a hook expression may mean: one of this function's, a method, or what such a one makes."""
    for part in n.walk(hook):
        if isinstance(part, n.Name):
            found = [inner for around in scope.around() for inner in around.inner if inner.name == part.id]
        elif isinstance(part, n.Attr) and n.dotted(part.value) == scope.self_name and scope.owner is not None:
            found = [scope.owner.methods[part.attr]] if part.attr in scope.owner.methods else []
        else:
            continue
        for body in found:
            yield body
            yield from body.inner


def _mentions_self(scope: Scope, hook: n.Expr) -> bool:
    """Whether a hook holds the object that it was made for."""
    if any(isinstance(part, n.Name) and part.id == scope.self_name for part in n.walk(hook)):
        return True
    return any(
        isinstance(e, n.Name) and e.id == scope.self_name for body in _bodies(scope, hook) for e in n.every(body.body)
    )


def _run_after(scope: Scope, call: n.Call, roots: _Roots) -> n.Call | None:
    """A later call in the same function that may run the module."""
    after = False
    for stmt in scope.statements():
        for expr in n.expressions(stmt):
            for part in n.walk(expr):
                after |= part is call
                if after and isinstance(part, n.Call) and part is not call and _runs(scope, part, roots):
                    return part
    return None


def _runs(scope: Scope, call: n.Call, roots: _Roots) -> bool:
    text, method = n.dotted(call.func), _method(call)
    if method in k.MODULE_PLAIN_METHODS | k.MODULE_SELF_METHODS | k.PLAIN_METHODS | _MODULES_OF | _TENSOR_HOOKS:
        return False
    if any(f.node is call for f in scope.events.forwards):
        return True
    if text in roots.names or method and text.rpartition(".")[0] in roots.names:
        return True
    if text in scope.params and "." not in text:
        return True  # a function that the caller gave to run it
    return text not in _PLAIN and any(n.dotted(arg) in roots.names for arg in call.args)
