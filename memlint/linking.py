"""Who calls whom: the classes and functions of all checked files, and what each call may mean.

A name is looked up in the receiver's class first, which may be what all callers pass for a parameter; a look-up by
the bare name is capped, and never proves anything.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import TypeVar

from msgspec import Struct, field

from memlint.facts import knowledge as k
from memlint.facts.events import Callee
from memlint.facts.scopes import MODULE_BODY
from memlint.facts.summary import Argument, Call, ClassSummary, FunctionId, FunctionSummary, Summary

NAME_CAP = 3
"""How many functions of one name may be meant by a call on an unknown object before it counts as unresolved."""

MAKERS = frozenset({"__init__", "__new__", "__post_init__", "__setstate__", "setup"})
"""Methods that belong to the making of an object."""

PASSING_CAP = 4
"""Through how many parameters in turn an object is followed back to where it was made."""


class Caller(Struct, frozen=True):
    """A call of a function. sure: the receiver's class or the path says so, not only the name."""

    function: FunctionId
    call: Call
    sure: bool


class _Received(Struct, eq=False):
    """What is passed to a function, by its parameters, in the first `count` calls that are known of it."""

    count: int = 0
    passed: dict[str, list[tuple[Caller, Argument]]] = field(default_factory=lambda: defaultdict(list))


class Linked:
    """The functions and classes of a project, and the calls between them."""

    def __init__(self, summaries: Iterable[Summary]) -> None:
        self.functions: dict[FunctionId, FunctionSummary] = {}
        self.classes: dict[str, list[ClassSummary]] = defaultdict(list)
        self._by_name: dict[str, list[FunctionId]] = defaultdict(list)
        self._methods: dict[tuple[str, str], list[FunctionId]] = defaultdict(list)
        self._of_class: dict[str, list[FunctionId]] = defaultdict(list)
        self._subclasses: dict[str, set[str]] = defaultdict(set)
        self._families: dict[str, list[str]] = {}
        self._modules = set()
        for summary in summaries:
            self._modules.add(summary.module)
            for function in summary.functions:
                self.functions[function.id] = function
                self._by_name[function.name].append(function.id)
                if function.owner:
                    self._methods[function.owner, function.name].append(function.id)
                    self._of_class[function.owner].append(function.id)
            for cls in summary.classes:
                self.classes[cls.name].append(cls)
                for base in cls.bases:
                    self._subclasses[base.rpartition(".")[2]].add(cls.name)
        self.callers: dict[FunctionId, list[Caller]] = defaultdict(list)
        self.callees: dict[FunctionId, list[tuple[FunctionId, Caller]]] = defaultdict(list)
        self._passed_as: dict[str, set[str]] = defaultdict(set)
        self._passed_from: dict[str, set[str]] = defaultdict(set)
        # Most names are asked for many times over.
        self._by_bare_name = {
            name: found
            for name, found in self._by_name.items()
            if len(found) <= NAME_CAP and name not in k.COMMON_NAMES
        }
        self._by_paths: dict[tuple[str, str], list[FunctionId]] = {}
        self._of_receiver: dict[tuple[str, str], list[FunctionId]] = {}
        self._classes_of: dict[tuple[str, str], set[str] | None] = {}
        self._received: dict[FunctionId, _Received] = defaultdict(_Received)
        self._link()

    # -- look-up -------------------------------------------------------------------------------------------------

    def family(self, name: str) -> list[str]:
        """A class with all its bases and all its subclasses in the project, not its siblings."""
        if name not in self._families:
            up = closure([name], self._bases)
            down = closure([name], lambda cls: self._subclasses.get(cls, ()))
            self._families[name] = list(dict.fromkeys([*up, *down]))
        return self._families[name]

    def _bases(self, name: str) -> list[str]:
        return [base.rpartition(".")[2] for cls in self.classes.get(name, ()) for base in cls.bases]

    def is_module(self, name: str) -> bool:
        """Whether a class derives from torch's Module by way of the project."""
        above = (cls for ancestor in closure([name], self._bases) for cls in self.classes.get(ancestor, ()))
        return any(cls.is_module or not k.MODULE_BASES.isdisjoint(cls.bases) for cls in above)

    def holds_tensors(self, name: str) -> bool:
        """Whether objects of a class hold tensors: it is a module, or it or a base keeps some on itself."""
        above = (cls for ancestor in closure([name], self._bases) for cls in self.classes.get(ancestor, ()))
        return self.is_module(name) or any(cls.holds for cls in above)

    # -- calls ---------------------------------------------------------------------------------------------------

    def _link(self) -> None:
        given: list[tuple[FunctionId, Call]] = []
        for function in self.functions.values():
            for call in function.calls:
                if call.given and not call.path:
                    given.append((function.id, call))
                else:
                    targets, sure = self.resolve(call, function.id[0])
                    if targets:
                        self._connect(function.id, call, targets, sure)
        while given:
            found = [(caller, call, self._on_given(call, caller[0])) for caller, call in given]
            for caller, call, targets in found:
                if targets:
                    self._connect(caller, call, targets, True)
            self._classes_of.clear()  # each call that is connected may pass something more
            left = [(caller, call) for caller, call, targets in found if not targets]
            if len(left) == len(given):
                break
            given = left
        for caller, call in given:
            self._connect(caller, call, *self.resolve(call, caller[0]))

    def _connect(self, function: FunctionId, call: Call, targets: list[FunctionId], sure: bool) -> None:
        caller = Caller(function, call, sure)
        called = self.callees[function]
        passed = [(name, a.holder.removesuffix("[]")) for name, a in _arguments(call) if a.holder]
        for target in targets:
            self.callers[target].append(caller)
            called.append((target, caller))
            for name, holder in passed:
                parameter = self._parameter(target, call, name)
                if parameter:
                    inner = f"param:{target[1]}:{parameter}"
                    self._passed_as[holder].add(inner)
                    self._passed_from[inner].add(holder)

    def meant(self, call: Callee, module: str) -> tuple[list[FunctionId], bool]:
        """The functions that a call in this module may mean, once all calls are linked, and whether that is sure."""
        found = self._on_given(call, module) if call.given and not call.path else []
        return (found, True) if found else self.resolve(call, module)

    def _on_given(self, call: Callee, module: str) -> list[FunctionId]:
        """The methods that a call on a parameter means, where all that is passed for it has a known class."""
        key = module, call.given
        if key not in self._classes_of:
            self._classes_of[key] = self._classes_given(*key)
        classes = self._classes_of[key]
        targets = [self._method_of(cls, call.name) for cls in sorted(classes or ())]
        return [f for found in targets for f in found] if all(targets) else []

    def _method_of(self, cls: str, name: str) -> list[FunctionId]:
        key = cls, name
        if key not in self._of_receiver:
            self._of_receiver[key] = [
                f for relative in self.family(cls) for f in self._methods.get((relative, name), ())
            ]
        return self._of_receiver[key]

    def _classes_given(self, module: str, identity: str, depth: int = 0) -> set[str] | None:
        """The classes of what callers pass for a parameter, None where one of them is not known."""
        passed = self._given(module, identity)
        if not passed or depth > PASSING_CAP:
            return None
        found: set[str] = set()
        for caller, argument in passed:
            if argument.of:
                inside = argument.of.endswith("[]")
                if inside != identity.endswith("[]"):
                    return None
                found.add(argument.of.removesuffix("[]").rpartition(".")[2])
            elif argument.holder.startswith("param:") and not identity.endswith("[]"):
                further = self._classes_given(caller.function[0], argument.holder, depth + 1)
                if further is None:
                    return None
                found |= further
            else:
                return None
        return found

    def _given(self, module: str, identity: str) -> list[tuple[Caller, Argument]]:
        """What is passed for the parameter of this identity, in a function of this module."""
        _, qualname, parameter = identity.removesuffix("[]").split(":")
        return self.passed_to((module, qualname), parameter)

    def outlives(self, caller: Caller) -> bool:
        """Whether the object that a call is made on lives longer than one run of the calling function.

        What a function made for itself goes with it, unless it never ends, or is the program: called once, from a
        module's body. What it was given lives as long as where it was made.
        """
        call, function = caller.call, caller.function
        if call.given and not call.receiver:
            return self._lasts(function[0], call.given)
        if not call.made_here or call.endless or function[1] == MODULE_BODY:
            return True
        return self._runs_once(function)

    def _lasts(self, module: str, identity: str, depth: int = 0) -> bool:
        """Whether something that is passed for a parameter outlives the function that made it."""
        for caller, argument in self._given(module, identity):
            if argument.made_here:
                if caller.function[1] == MODULE_BODY or caller.call.endless or self._runs_once(caller.function):
                    return True
            elif (
                not argument.holder.startswith("param:")
                or depth > PASSING_CAP
                or self._lasts(caller.function[0], argument.holder, depth + 1)
            ):
                return True
        return False

    def _runs_once(self, function: FunctionId) -> bool:
        return _at_import(self.callers.get(function, []))

    def only_at_import(self, name: str) -> bool:
        """Whether every call of a class's constructor that is known stands in a module's body, outside of loops."""
        return _at_import([c for f in self._methods.get((name, "__init__"), ()) for c in self.callers.get(f, ())])

    def called_by(self, function: FunctionId, name: str) -> list[FunctionId]:
        """The functions of a name that a function calls."""
        return [target for target, _ in self.callees.get(function, ()) if last_name(target) == name]

    def resolve(self, call: Callee, near: str) -> tuple[list[FunctionId], bool]:
        """The functions that a call may mean, and whether that is sure. near: the module that the call stands in."""
        if call.path:
            key = near, call.path
            if key not in self._by_paths:
                self._by_paths[key] = self._by_path(self._from(near, call.path))
            return self._by_paths[key], True
        if call.receiver:
            owner = call.receiver.rpartition(".")[2]
            found = self._method_of(owner, call.name)
            if found or call.on_self:
                return found, True
        return self._by_bare_name.get(call.name, []), False

    def _from(self, near: str, path: str) -> str:
        """A path under the name that the project knows its module by: scripts import what lies beside them."""
        folder = near.rpartition(".")[0]
        head = path
        while folder and (head := head.rpartition(".")[0]):
            if head in self._modules:
                return path
            if f"{folder}.{head}" in self._modules:
                return f"{folder}.{path}"
        return path

    def _by_path(self, path: str) -> list[FunctionId]:
        if ".<locals>." in path:
            parts = path.split(".")
            splits = ((".".join(parts[:i]), ".".join(parts[i:])) for i in range(1, len(parts)))
            return [function for function in splits if function in self.functions][:1]
        head, _, last = path.rpartition(".")
        if (head, last) in self.functions:
            return [(head, last)]
        module, _, owner = head.rpartition(".")
        if (module, f"{owner}.{last}") in self.functions:
            return [(module, f"{owner}.{last}")]
        if last in self.classes:
            return list(self._methods.get((last, "__init__"), ()))
        # Re-exported by a package's __init__: the name is enough when only one function has it.
        found = [f for f in self._by_name.get(last, ()) if "." not in f[1] and f[0].startswith(head.split(".")[0])]
        return found if len(found) == 1 else []

    def passed_to(self, function: FunctionId, parameter: str) -> list[tuple[Caller, Argument]]:
        """What callers pass for a parameter."""
        callers = self.callers.get(function)
        if not callers:
            return []
        received = self._received[function]
        for caller in callers[received.count :]:
            for name, argument in _arguments(caller.call):
                received.passed[self._parameter(function, caller.call, name)].append((caller, argument))
        received.count = len(callers)
        return received.passed.get(parameter, [])

    def _parameter(self, target: FunctionId, call: Callee, name: int | str) -> str:
        summary = self.functions[target]
        params = summary.params
        if isinstance(name, str):
            return name if name in params else ""
        on_object = summary.is_method and (call.receiver or not call.path or summary.name == "__init__")
        offset = 1 if on_object or summary.is_classmethod else 0
        return params[name + offset] if name + offset < len(params) else ""


T = TypeVar("T")


def closure(start: Iterable[T], step: Callable[[T], Iterable[T]], cap: int = 10_000) -> list[T]:
    """What can be reached from `start` by `step`, the start included; no more than about `cap` of it."""
    found: dict[T, None] = {}
    todo = list(start)
    while todo and len(found) < cap:
        current = todo.pop()
        if current not in found:
            found[current] = None
            todo.extend(step(current))
    return list(found)


def _at_import(callers: list[Caller]) -> bool:
    """Whether there are callers, and all stand in a module's body, outside of loops."""
    return bool(callers) and all(c.function[1] == MODULE_BODY and not c.call.loops for c in callers)


def _arguments(call: Call) -> list[tuple[int | str, Argument]]:
    return [*enumerate(call.args), *call.keywords]


def last_name(function: FunctionId) -> str:
    """The name of a function without what it is defined in."""
    return function[1].rpartition(".")[2]
