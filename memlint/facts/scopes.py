"""Who is defined where: the functions and classes of a file, what its names mean, and what usage tells of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any, TypeVar

from msgspec import Struct, field

from memlint.facts import frameworks
from memlint.facts import knowledge as k
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.events import Events
from memlint.facts.values import Value

MODULE_BODY = "<module>"

E = TypeVar("E", bound=n.Node)


class Class_(Struct, eq=False):
    """A class of the file. `attributes` joins what any method stores under `self.name`.

    given: the identity of the parameter that the constructor stores under a name; "" where others are stored as well.
    """

    node: n.Class
    name: str
    qualname: str
    bases: list[str]
    methods: dict[str, Scope] = field(default_factory=dict)
    attributes: dict[str, Value] = field(default_factory=dict)
    hints: dict[str, Value] = field(default_factory=dict)
    given: dict[str, str] = field(default_factory=dict)
    _speaks: bool | None = None

    def is_module(self, file_classes: dict[str, Class_], seen: frozenset[str] = frozenset()) -> bool:
        """Whether it derives from a module class that is known or in this file, or from an unseen one and shows it."""
        for base in self.bases:
            if base in k.MODULE_BASES or base.startswith("torch.nn.") and base not in k.NOT_MODULE_PATHS:
                return True
            other = file_classes.get(base.rpartition(".")[2])
            if other is not None and other is not self and other.name not in seen:
                if other.is_module(file_classes, seen | {self.name}):
                    return True
        if self._speaks is None:
            self._speaks = self._speaks_as_module(file_classes)
        return self._speaks

    def _speaks_as_module(self, file_classes: dict[str, Class_]) -> bool:
        """Whether it has a forward, and asks itself for what only the unseen base of a module can give."""
        if "forward" not in self.methods or not self.has_base_elsewhere(file_classes):
            return False
        asked = {
            n.dotted(e.func)
            for m in self.methods.values()
            if m.self_name == "self"
            for e in m.every()
            if isinstance(e, n.Call)
        }
        return any(f"self.{name}" in asked for name in k.MODULE_METHODS - self.methods.keys())

    def attribute(self, name: str, file_classes: dict[str, Class_], seen: frozenset[str] = frozenset()) -> Value:
        """What is stored under `self.name`, here or in a base class of this file."""
        if name in self.attributes:
            return self.attributes[name]
        for base in self.bases:
            other = file_classes.get(base.rpartition(".")[2])
            if other is not None and other is not self and other.name not in seen:
                found = other.attribute(name, file_classes, seen | {self.name})
                if found != v.ANYTHING:
                    return found.but(holder="")
        return v.ANYTHING

    def has_base_elsewhere(self, file_classes: dict[str, Class_]) -> bool:
        """Whether it derives from a class in another file that is not torch's."""
        outside = (base for base in self.bases if base.rpartition(".")[2] not in file_classes)
        return any(base != "object" and not base.startswith("torch.") for base in outside)

    def set_up_by(self) -> dict[str, bool]:
        """The methods that the constructor calls, and whether each gives something back."""
        made = self.methods.get("__init__")
        if made is None or len(self.methods) == 1:
            return {}
        calls = [expr.func for expr in made.of_type(n.Call)]
        called = {f.attr for f in calls if isinstance(f, n.Attr) and n.dotted(f.value) == made.self_name}
        return {
            name: any(isinstance(stmt, n.Return) and stmt.value is not None for stmt in method.statements())
            for name, method in self.methods.items()
            if name in called
        }

    def freezes(self) -> bool:
        """Whether its constructor switches gradients off for its own parameters."""
        made = self.methods.get("__init__")
        return made is not None and bool(made.events.frozen)

    def without_parameters(self, names: Names) -> bool:
        """Whether nothing in the class can make a parameter: a metric or a loss that is written as a module."""
        if self.bases != ["torch.nn.Module"]:
            return False
        for method in self.methods.values():
            for expr in method.every():
                if isinstance(expr, n.Call) and method.name == "__init__":
                    path = names.path(n.dotted(expr.func))
                    inner = path.rpartition(".")[2]
                    plain = path.startswith("torch.nn.") and inner.startswith(k.WITHOUT_PARAMETERS)
                    is_super = isinstance(expr.func, n.Name) and expr.func.id == "super"
                    is_init = isinstance(expr.func, n.Attr) and expr.func.attr in ("__init__", "register_buffer")
                    if not (plain or is_super or is_init or inner in k.CREATORS):
                        return False
                elif isinstance(expr, n.Attr) and expr.attr in ("register_parameter", "Parameter", "add_module"):
                    return False
        return True


class Scope(Struct, eq=False):
    """A function, or the module's body, with everything that its interpretation found.

    self_name, class_name: what its first parameter is called, in a method and in a class method.
    """

    name: str
    qualname: str
    body: list[n.Stmt]
    node: n.Function | None = None
    owner: Class_ | None = None
    parent: Scope | None = None
    params: list[str] = field(default_factory=list)
    self_name: str = ""
    class_name: str = ""
    hints: dict[str, Value] = field(default_factory=dict)
    globals: set[str] = field(default_factory=set)
    local_names: frozenset[str] = frozenset()
    env: dict[str, Value] = field(default_factory=dict)
    returns: Value = v.ANYTHING
    events: Events = field(default_factory=Events)
    inner: list[Scope] = field(default_factory=list)
    _statements: list[n.Stmt] | None = None
    _every: list[n.Expr] | None = None
    _by_type: dict[type, list[Any]] | None = None

    @property
    def is_module_body(self) -> bool:
        return self.node is None

    @property
    def is_generator(self) -> bool:
        """Whether the body itself yields."""
        return bool(self.of_type(n.Yield))

    def statements(self) -> list[n.Stmt]:
        """Every statement of the body in source order, without going into defs and classes."""
        if self._statements is None:
            self._statements = list(n.statements(self.body))
        return self._statements

    def every(self) -> list[n.Expr]:
        """Every expression of the body, without going into defs and classes."""
        if self._every is None:
            self._every = n.parts(expr for stmt in self.statements() for expr in n.expressions(stmt))
        return self._every

    def of_type(self, kind: type[E]) -> list[E]:
        """Those of one kind, in the same order. Most questions are about one: this is one walk for all of them."""
        if self._by_type is None:
            self._by_type = defaultdict(list)
            for expr in self.every():
                self._by_type[type(expr)].append(expr)
        return self._by_type.get(kind, [])

    def around(self) -> Iterator[Scope]:
        """This scope and the ones it is nested in, innermost first."""
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.parent

    def within(self) -> Iterator[Scope]:
        """This scope and all that are nested in it."""
        yield self
        for inner in self.inner:
            yield from inner.within()


class Names(Struct, eq=False):
    """What the names at the top of a file mean, as dotted paths. hooked: functions that are forward hooks.

    starred: something was imported by `import *`, which often brings torch along.
    """

    module: str
    is_package: bool
    imports: dict[str, str] = field(default_factory=dict)
    defined: set[str] = field(default_factory=set)
    hooked: set[str] = field(default_factory=set)
    starred: bool = False

    def add(self, stmt: n.Import) -> None:
        """Learn one import statement."""
        for name, path in stmt.names:
            if name == "*":
                self.starred = True
            else:
                self.imports[name] = self._absolute(path)

    def _absolute(self, path: str) -> str:
        dots = len(path) - len(path.lstrip("."))
        if not dots:
            return path
        parents = self.module.split(".")
        keep = len(parents) - dots + (1 if self.is_package else 0)
        return ".".join([*parents[: max(keep, 0)], path[dots:]]).strip(".")

    def path(self, text: str) -> str:
        """The dotted path that a dotted name means, "" for a name of unknown origin."""
        first, _, rest = text.partition(".")
        if first in self.imports:
            return f"{self.imports[first]}.{rest}" if rest else self.imports[first]
        if first in self.defined:
            return f"{self.module}.{text}"
        return text if self.starred and first == "torch" else ""


def module_name(path: str, packages: frozenset[str]) -> tuple[str, bool]:
    """The dotted name of the module in a file, and whether it is a package's own file.

    packages: the folders (posix paths) that hold an `__init__.py`.
    """
    pure = PurePosixPath(path)
    # A notebook is imported by nobody: the module of the same name is another one.
    name = pure.name if pure.suffix == ".ipynb" else pure.stem
    parts = [] if pure.stem == "__init__" else [name]
    folder = pure.parent
    while str(folder) in packages and folder.name:
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join(parts) or pure.parent.name or pure.stem, pure.stem == "__init__"


def collect(body: list[n.Stmt], names: Names) -> tuple[Scope, list[Scope], dict[str, Class_]]:
    """All scopes of a file: the module's body, every function (outer before inner), every class by its name."""
    top = Scope(MODULE_BODY, MODULE_BODY, body)
    scopes: list[Scope] = []
    classes: dict[str, Class_] = {}
    for stmt in n.statements(body):
        if isinstance(stmt, (n.Function, n.Class)):
            names.defined.add(stmt.name)
    _enter(body, top, None, "", names, scopes, classes)
    return top, scopes, classes


def _enter(
    body: list[n.Stmt],
    scope: Scope,
    owner: Class_ | None,
    prefix: str,
    names: Names,
    scopes: list[Scope],
    classes: dict[str, Class_],
) -> None:
    assigned: set[str] = set()
    for stmt in n.statements(body):
        if isinstance(stmt, n.Import):
            names.add(stmt)  # imports inside functions count for the whole file: shadowing them is rare
        elif isinstance(stmt, n.Function):
            _enter_function(stmt, scope, owner, prefix, names, scopes, classes)
        elif isinstance(stmt, n.Class):
            qualname = f"{prefix}{stmt.name}"
            bases = [names.path(text) or text for base in stmt.bases if (text := n.dotted(_unsubscripted(base)))]
            inner = Class_(stmt, stmt.name, qualname, bases)
            classes[stmt.name] = inner
            _enter(stmt.body, scope, inner, f"{qualname}.", names, scopes, classes)
        elif isinstance(stmt, n.Global):
            scope.globals.update(stmt.names)
        elif owner is None and scope.is_module_body and isinstance(stmt, n.Assign) and _renames(stmt, names):
            pass
        elif owner is None and isinstance(stmt, (n.Assign, n.For, n.With, n.Augment)):
            assigned.update(_bound(stmt))
    if owner is None:
        scope.local_names = frozenset(assigned | set(scope.params)) - scope.globals


def _renames(stmt: n.Assign, names: Names) -> bool:
    """`without_grad = torch.no_grad`: another name for something of torch."""
    path = names.path(n.dotted(stmt.value))
    if len(stmt.targets) != 1 or not isinstance(stmt.targets[0], n.Name) or not path.startswith("torch."):
        return False
    names.imports.setdefault(stmt.targets[0].id, path)
    return True


def _unsubscripted(base: n.Expr) -> n.Expr:
    return base.value if isinstance(base, n.Item) else base


def _bound(stmt: n.Assign | n.For | n.With | n.Augment) -> Iterator[str]:
    if isinstance(stmt, n.Assign):
        targets = list(stmt.targets)
    elif isinstance(stmt, n.With):
        targets = [target for _, target in stmt.items if target is not None]
    else:
        targets = [stmt.target]
    while targets:
        target = targets.pop()
        if isinstance(target, n.Name):
            yield target.id
        elif isinstance(target, n.Sequence):
            targets.extend(target.elements)
        elif isinstance(target, n.Star):
            targets.append(target.value)


def _enter_function(
    stmt: n.Function,
    parent: Scope,
    owner: Class_ | None,
    prefix: str,
    names: Names,
    scopes: list[Scope],
    classes: dict[str, Class_],
) -> None:
    qualname = f"{prefix}{stmt.name}"
    scope = Scope(stmt.name, qualname, stmt.body, stmt, owner, parent, stmt.params)
    kinds = {n.dotted(d) for d in stmt.decorators}
    if owner is not None:
        if stmt.params and "classmethod" in kinds:
            scope.class_name = stmt.params[0]
        elif stmt.params and "staticmethod" not in kinds:
            scope.self_name = stmt.params[0]
        owner.methods.setdefault(stmt.name, scope)
    elif parent.self_name and parent.self_name not in stmt.params:
        scope.self_name, scope.owner = parent.self_name, parent.owner  # a closure that sees its method's self
    scopes.append(scope)
    parent.inner.append(scope)
    _enter(stmt.body, scope, None, f"{qualname}.<locals>.", names, scopes, classes)


def learn_hints(scopes: Iterable[Scope], names: Names) -> None:
    """Type names by how they are used: only a tensor has `.backward()`, only a module `.parameters()`.

    Hints on `self.x` count for the whole class, others for the function.
    """
    others = any(path.startswith(frameworks.BACKWARD_OF_OTHERS) for path in names.imports.values())
    for scope in scopes:
        for expr in scope.of_type(n.Call):
            if isinstance(expr.func, n.Attr) and expr.func.attr in _TELLING:
                _learn(scope, expr, expr.func, names, others)


_A_LOSS = Value(v.TENSOR, grad=v.ATTACHED, zero_d=True)
_BACKWARD = frozenset({"backward", "manual_backward", "scale_loss"})
_TELLING = k.MODULE_METHODS | _BACKWARD | {"eval", "forward", "train", "grad", "register_forward_hook"}


def _learn(scope: Scope, call: n.Call, func: n.Attr, names: Names, others: bool) -> None:
    hint = _hint(func.attr, call)
    if func.attr in _BACKWARD and call.args and _starts_from_argument(scope, call, names, others):
        _note(scope, n.dotted(call.args[0]), _A_LOSS)
    elif func.attr == "backward":
        _note(scope, *_scaled(func.value))
    elif hint is not None:
        _note(scope, n.dotted(func.value), hint)
    if func.attr == "grad" and len(call.args) > 1 and names.path(n.dotted(func)) in k.BACKWARD_PATHS:
        for arg in call.args[:2]:
            _note(scope, n.dotted(arg), Value(v.TENSOR, grad=v.ATTACHED))
    if func.attr == "register_forward_hook" and call.args:
        names.hooked.add(n.dotted(call.args[0]).rpartition(".")[2])


def _starts_from_argument(scope: Scope, call: n.Call, names: Names, others: bool) -> bool:
    """Whether it is the argument that is run back, as in `accelerator.backward(loss)`, and not a gradient.

    Where no package says so: the object is handed in or lies on self, and what it takes is computed here.
    """
    assert isinstance(call.func, n.Attr)
    text = n.dotted(call.func)
    if others or call.func.attr != "backward" or names.path(text) in k.BACKWARD_PATHS:
        return True
    loss, first = n.dotted(call.args[0]), text.partition(".")[0]
    owner = n.dotted(call.func.value)
    if loss not in scope.local_names or loss in scope.params or not owner:
        return False
    return "." in owner and first == scope.self_name or first in scope.params and "." not in owner


def _scaled(start: n.Expr) -> tuple[str, Value]:
    """What a backward pass starts from at bottom: the `loss` of `loss / 4`, `loss.mean()`, `scaler.scale(loss)`."""
    hint = _A_LOSS
    while True:
        method = start.func if isinstance(start, n.Call) and isinstance(start.func, n.Attr) else None
        if isinstance(start, n.Binary) and start.op == "Divide":
            start = start.left
        elif method is not None and isinstance(start, n.Call) and method.attr in ("scale", "scale_loss") and start.args:
            start = start.args[0]
        elif method is not None and method.attr in ("mean", "sum"):
            start, hint = method.value, Value(v.TENSOR, grad=v.ATTACHED)
        else:
            return n.dotted(start), hint


def _hint(method: str, call: n.Call) -> Value | None:
    plain = not call.args and not call.keywords
    if method in k.MODULE_METHODS or method == "eval" and plain or method == "forward" and not plain:
        return Value(v.MODULE)
    if method == "train" and (plain or len(call.args) == 1 and isinstance(call.args[0], n.Const)) and not call.keywords:
        # `trainer.train()` is as usual as `model.train()`: only a flag tells them apart.
        return Value(v.MODULE) if call.args and isinstance(_const(call.args[0]), bool) else None
    return None


def _const(expr: n.Expr) -> Any:
    return expr.value if isinstance(expr, n.Const) else None


def _note(scope: Scope, text: str, hint: Value) -> None:
    if not text:
        return
    first, _, rest = text.partition(".")
    if scope.self_name and first == scope.self_name:
        if rest and scope.owner is not None:
            scope.owner.hints.setdefault(rest, hint)
        return
    # What a closure does with a name of the function around it tells of that name there too.
    for around in scope.around():
        around.hints.setdefault(text, hint)
        if first in around.local_names or around.is_module_body:
            break
