"""State that nobody uses: submodules without a call, histories that stay empty, arguments that no caller passes.

The questions behind use-or-drop-state. What other files do is left to the project.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct, field

from memlint.facts import Class_, FileFacts, Scope
from memlint.facts import knowledge as k
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.tracing import Uses

SUBMODULE, HISTORY, ARGUMENT, KEY = "submodule", "history", "argument", "key"

_FRAMEWORKS = ("torch.nn.Module", "pytorch_lightning.", "lightning.")
_NEUTRAL = frozenset({"torch.nn.Module", "torch.utils.data.Dataset", "torch.utils.data.IterableDataset"})
"""Bases in torch that read no lists of their own which a subclass makes; an optimizer does."""

_WALKING = frozenset({"children", "named_children", "_modules", "__dict__"})
_EMPTY = frozenset({"list", "dict", "set", "deque", "defaultdict", "OrderedDict"})
_LOOKING = frozenset({"get", "items", "keys", "values", "copy", "index", "count"})
_TAKING = frozenset({
    "len", "sum", "max", "min", "any", "all", "sorted", "list", "tuple", "enumerate", "mean", "std", "median", "array",
    "asarray", "tensor", "stack", "cat", "print", "str", "bool", "zip", "reversed", "save", "dump",
})  # fmt: skip


class Dead(Struct, eq=False):
    """Something that is there and does nothing.

    what: submodule, history, argument or key. name: of the attribute or the parameter. owner: its class.
    beside: the other keys of a configuration. read: something looks at a history.
    path: of the class of a submodule, which only the project knows to be a module.
    function: of the argument. attributes: submodules that only run under it. private: nobody outside may use it.
    """

    what: str
    node: Any
    name: str
    owner: str = ""
    path: str = ""
    function: str = ""
    attributes: list[str] = field(default_factory=list)
    beside: tuple[str, ...] = ()
    read: bool = False
    private: bool = False


def dead_state(facts: FileFacts) -> Iterator[Dead]:
    """All of it in one file."""
    for cls in facts.classes.values():
        made = cls.methods.get("__init__")
        if made is None or made.owner is not cls or _walks(facts, cls):
            continue
        if "forward" in cls.methods and cls.is_module(facts.classes) and _bases_known(cls, facts):
            yield from _submodules(facts, cls, made)
        if all(base in _NEUTRAL or not base.startswith("torch.") for base in cls.bases):
            yield from _histories(facts, cls, made)
    for cls in facts.classes.values():
        yield from _keys(facts, cls)
    for scope in facts.scopes:
        yield from _arguments(facts, scope)


def _scopes_of(facts: FileFacts, cls: Class_) -> list[Scope]:
    return [scope for scope in facts.scopes if scope.owner is cls]


def _walks(facts: FileFacts, cls: Class_) -> bool:
    """Whether methods go over all submodules or attributes, or look one up by a name that is computed."""
    for scope in _scopes_of(facts, cls):
        for expr in scope.every():
            if isinstance(expr, n.Attr) and expr.attr in _WALKING:
                return True
            if isinstance(expr, n.Call) and isinstance(expr.func, n.Name) and expr.func.id in ("getattr", "vars"):
                if len(expr.args) < 2 or not isinstance(expr.args[1], n.Const):
                    return True
    return False


def _bases_known(cls: Class_, facts: FileFacts) -> bool:
    return all(base.startswith(_FRAMEWORKS) or base.rpartition(".")[2] in facts.classes for base in cls.bases)


def _own_stores(scope: Scope) -> Iterator[tuple[str, n.Assign]]:
    for stmt in scope.statements():
        if isinstance(stmt, n.Assign) and len(stmt.targets) == 1 and isinstance(stmt.targets[0], n.Attr):
            target = stmt.targets[0]
            if n.dotted(target.value) == scope.self_name:
                yield target.attr, stmt


def _is_named(facts: FileFacts, name: str) -> bool:
    """Whether a literal names the attribute: `getattr(model, "head")`, a key of a state dict."""
    for scope in facts.all_scopes():
        for expr in scope.every():
            if isinstance(expr, n.Const) and isinstance(expr.value, str) and " " not in expr.value:
                if name in expr.value.split("."):
                    return True
    return False


def _reads(facts: FileFacts, name: str) -> list[tuple[Scope, n.Attr]]:
    """The places of the file that read an attribute of this name, of whatever object."""
    found = []
    for scope in facts.all_scopes():
        bound = {id(t) for s in scope.statements() if isinstance(s, n.Assign) for t in s.targets}
        for expr in scope.every():
            if isinstance(expr, n.Attr) and expr.attr == name and id(expr) not in bound:
                found.append((scope, expr))
    return found


# -- submodules -------------------------------------------------------------------------------------------------------


def _submodules(facts: FileFacts, cls: Class_, made: Scope) -> Iterator[Dead]:
    read = {name for owner, name in facts.own_reads if owner in _family(facts, cls)} | facts.other_reads
    for name, stmt in _own_stores(made):
        path = _module_made(facts, stmt.value)
        if path is not None and name not in read and not _is_named(facts, name):
            yield Dead(SUBMODULE, stmt, name, cls.name, path)


def _family(facts: FileFacts, cls: Class_) -> set[str]:
    """The class, and those of this file that derive from it or that it derives from."""
    names = {cls.name, *(base.rpartition(".")[2] for base in cls.bases)}
    for _ in range(3):
        for other in facts.classes.values():
            if names & {base.rpartition(".")[2] for base in other.bases if base.rpartition(".")[2] in facts.classes}:
                names.add(other.name)
    return names


def _module_made(facts: FileFacts, value: n.Expr) -> str | None:
    """ "" for a call that makes a module with parameters, the class's path where only the project knows, else None."""
    if not isinstance(value, n.Call):
        return None
    path = facts.names.path(n.dotted(value.func))
    last = path.rpartition(".")[2]
    if path.startswith("torch.nn."):
        plain = last.startswith(k.WITHOUT_PARAMETERS) or last.endswith("Loss") or not last[:1].isupper()
        if path in k.NOT_MODULE_PATHS or plain or path.count(".") != 2 or last in _BARE:
            return None
        return ""
    cls = facts.classes.get(last)
    if cls is not None:
        return "" if cls.is_module(facts.classes) and _has_parameters(facts, cls) else None
    return path if last[:1].isupper() and not path.startswith("torch.") else None


def _has_parameters(facts: FileFacts, cls: Class_) -> bool:
    """Whether a class of the file is known to keep a parameter, or a module that has some."""
    if any(value.kind == v.MODULE and not value.frozen for value in cls.attributes.values()):
        return True
    calls = (call for method in cls.methods.values() for call in method.of_type(n.Call))
    return any(facts.names.path(n.dotted(call.func)).endswith("nn.Parameter") for call in calls)


_BARE = frozenset({"Parameter", "ModuleList", "ModuleDict", "ParameterList", "ParameterDict", "Module"})


# -- histories --------------------------------------------------------------------------------------------------------


def _histories(facts: FileFacts, cls: Class_, made: Scope) -> Iterator[Dead]:
    for name, stmt in _own_stores(made):
        if not _is_empty(stmt.value) or _stores_elsewhere(facts, name, stmt):
            continue
        reads = _reads(facts, name)
        if _is_named(facts, name) or not all(_only_looks(facts, scope, expr) for scope, expr in reads):
            continue
        yield Dead(HISTORY, stmt, name, cls.name, read=bool(reads), private=name.startswith("_"))


def _is_empty(value: n.Expr) -> bool:
    if isinstance(value, n.Sequence):
        return value.kind == "list" and not value.elements
    if isinstance(value, n.Mapping):
        return not value.entries
    if isinstance(value, n.Call):
        name = n.dotted(value.func).rpartition(".")[2]
        return (
            name in _EMPTY and not value.args or name == "deque" and all(key == "maxlen" for key, _ in value.keywords)
        )
    return False


def _stores_elsewhere(facts: FileFacts, name: str, made: n.Stmt) -> bool:
    """Whether anything else is stored under the name, or goes into it, in this file."""
    for scope in facts.all_scopes():
        for stmt in scope.statements():
            if stmt is made:
                continue
            targets = stmt.targets if isinstance(stmt, n.Assign) else []
            if isinstance(stmt, (n.Augment, n.Delete)):
                targets = [stmt.target]
            for target in targets:
                if any(isinstance(part, n.Attr) and part.attr == name for part in n.walk(target)):
                    return True
    return False


def _only_looks(facts: FileFacts, scope: Scope, node: n.Attr) -> bool:
    """Whether a read can't change the container or hand it on."""
    uses = Uses(scope.body)
    up = uses.parents.get(id(node))
    if isinstance(up, n.Attr):
        call = uses.parents.get(id(up))
        return up.attr in _LOOKING and isinstance(call, n.Call) and call.func is up
    if isinstance(up, n.Item) and up.value is node or isinstance(up, n.Compare):
        return isinstance(up, n.Compare) or _only_shown(uses, up)
    if isinstance(up, n.Call):
        called = up.func.attr if isinstance(up.func, n.Attr) else n.dotted(up.func)
        return called in _TAKING and any(arg is node for arg in up.args)
    if isinstance(up, (n.Logic, n.Unary)):
        return True
    stmt = uses.owners.get(id(node))
    if isinstance(stmt, n.For) and stmt.iter is node:
        roots = {n.root(e.func) for e in n.every(stmt.body) if isinstance(e, n.Call)}
        return roots.isdisjoint(n.mentioned(stmt.target))
    return isinstance(stmt, (n.If, n.While))


def _only_shown(uses: Uses, item: n.Item) -> bool:
    """`history[-1]` that is read, not changed: an entry of an entry may be a list that grows."""
    return not isinstance(uses.parents.get(id(item)), (n.Attr, n.Item, n.Call))


# -- keys of a configuration ------------------------------------------------------------------------------------------


def _keys(facts: FileFacts, cls: Class_) -> Iterator[Dead]:
    """The fields of a data class, none of which its own file reads."""
    marks = [d.func if isinstance(d, n.Call) else d for d in cls.node.decorators]
    if not any(facts.names.path(n.dotted(mark)) == "dataclasses.dataclass" for mark in marks):
        return
    fields: dict[str, n.Stmt] = {}
    for stmt in cls.node.body:
        if isinstance(stmt, n.Declare) or isinstance(stmt, n.Assign) and stmt.annotation is not None:
            target = stmt.target if isinstance(stmt, n.Declare) else stmt.targets[0]
            if isinstance(target, n.Name) and not target.id.startswith("_"):
                fields[target.id] = stmt
    given = [name for name, stmt in fields.items() if isinstance(stmt, n.Assign)]
    if 5 * len(given) < 4 * len(fields):
        return  # a record of results, not a configuration
    family = _family(facts, cls)
    read = facts.other_reads | {name for owner, name in facts.own_reads if owner in family} | _computed(facts, cls.name)
    for name in given:
        if name not in read and _is_setting(fields[name]) and not _is_named(facts, name):
            yield Dead(KEY, fields[name], name, cls.name, beside=tuple(field for field in fields if field != name))


def _is_setting(stmt: n.Stmt) -> bool:
    """Whether the default is a literal number, text or truth value."""
    value = stmt.value if isinstance(stmt, n.Assign) else None
    return isinstance(value, n.Const) and isinstance(value.value, (bool, int, float, str))


def _computed(facts: FileFacts, owner: str) -> set[str]:
    """The fields that calls of a class fill with what they have computed: results, not settings."""
    calls = (expr for scope in facts.all_scopes() for expr in scope.every() if isinstance(expr, n.Call))
    made = (call for call in calls if n.dotted(call.func).rpartition(".")[2] == owner)
    return {name for call in made for name, value in call.keywords if not isinstance(value, n.Const)}


# -- arguments --------------------------------------------------------------------------------------------------------


def _arguments(facts: FileFacts, scope: Scope) -> Iterator[Dead]:
    """Parameters that are None unless they are passed, with a branch that runs only then."""
    node = scope.node
    if node is None or node.decorators or scope.name.startswith("__"):
        return
    for name, default in node.defaults.items():
        if not (isinstance(default, n.Const) and default.value is None and facts.text(default).strip() == "None"):
            continue
        branches = [s for s in scope.statements() if isinstance(s, n.If) and _needs(s.test, name)]
        if not branches or _is_rebound(scope, name):
            continue
        attributes = _only_under(facts, scope, branches)
        private = scope.name.startswith("_") or ".<locals>." in scope.qualname
        if attributes or private and _only_called(facts, scope):
            owner = scope.owner.name if scope.owner is not None else ""
            yield Dead(ARGUMENT, branches[0], name, owner, "", scope.qualname, attributes, private=private)


def _needs(test: n.Expr, name: str) -> bool:
    """Whether a test can only be true where the parameter was passed."""
    if isinstance(test, n.Name):
        return test.id == name
    if isinstance(test, n.Logic) and test.op == "And":
        return _needs(test.left, name) or _needs(test.right, name)
    if isinstance(test, n.Compare) and isinstance(test.left, n.Name) and test.left.id == name:
        op, right = test.rest[0]
        return op == "IsNot" and isinstance(right, n.Const) and right.value is None
    return False


def _is_rebound(scope: Scope, name: str) -> bool:
    for stmt in scope.statements():
        if any(name in n.mentioned(target) for target in n.targets(stmt) if not isinstance(target, n.Attr)):
            return True
    return False


def _only_under(facts: FileFacts, scope: Scope, branches: list[n.If]) -> list[str]:
    """The submodules of the class that only these branches run."""
    cls = scope.owner
    made = cls.methods.get("__init__") if cls is not None else None
    if cls is None or made is None or not cls.is_module(facts.classes) or not _bases_known(cls, facts):
        return []
    inside = {id(e) for branch in branches for e in n.every(branch.body)}
    found = []
    for name, stmt in _own_stores(made):
        if _module_made(facts, stmt.value) != "":
            continue
        reads = [
            expr for where, expr in _reads(facts, name) if not where.name.startswith(("__init__", "_init", "init"))
        ]
        if reads and all(id(expr) in inside for expr in reads) and not _is_named(facts, name):
            found.append(name)
    return found


def _only_called(facts: FileFacts, scope: Scope) -> bool:
    """Whether every mention of a function in the file is a call of it."""
    mentions = calls = 0
    for other in facts.all_scopes():
        for expr in other.every():
            if (
                (
                    isinstance(expr, n.Name)
                    and expr.id == scope.name
                    or isinstance(expr, n.Attr)
                    and expr.attr == scope.name
                )
                or isinstance(expr, n.Const)
                and expr.value == scope.name
            ):
                mentions += 1
            if isinstance(expr, n.Call):
                func = expr.func
                calls += (func.attr if isinstance(func, n.Attr) else n.dotted(func)) == scope.name
                starred = any(isinstance(arg, n.Star) for arg in expr.args) or any(
                    key == "**" for key, _ in expr.keywords
                )
                if starred and (func.attr if isinstance(func, n.Attr) else n.dotted(func)) == scope.name:
                    return False
    return calls > 0 and mentions == calls
