"""Small objects that are made with every step and kept: the question behind slot-records."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct, field

from memlint.facts import Class_, FileFacts
from memlint.facts import nodes as n
from memlint.facts.histories import History, histories
from memlint.facts.trials import is_trial

_DATACLASS = "dataclasses.dataclass"
_FEW_METHODS = 3

# What looks at the `__dict__` of objects or refers to them weakly, and what reads them from older files.
_LOOKING = (
    "__dict__", "vars(", "setattr(", "weakref", "__weakref__", "pickle", "joblib", "shelve", "dill", "copyreg",
    "torch.save", "jsonpickle",
)  # fmt: skip
LOOKS = "looks"
SETS = "sets:"


class Record(Struct, eq=False):
    """A class whose objects a container keeps.

    decorator: `@dataclass`, None for a class with a constructor of its own. fields: its attributes.
    obstacles: why slots would change what the class does, as far as this file tells.
    """

    cls: Class_
    decorator: n.Expr | None
    fields: tuple[str, ...]
    history: History
    obstacles: list[str] = field(default_factory=list)


def records(facts: FileFacts) -> Iterator[Record]:
    """At most one for each class of the file."""
    if is_trial(facts.path):
        return
    seen: set[str] = set()
    for history in histories(facts):
        growth = history.growth
        if growth.how not in ("append", "setitem", "appendleft", "add") or growth.holder.endswith("[]"):
            continue
        name = growth.value.path.rpartition(".")[2]
        cls = facts.classes.get(name) if growth.value.path.startswith(f"{facts.names.module}.") else None
        if cls is None or name in seen or cls.qualname != name:
            continue
        seen.add(name)
        found = _record(facts, cls, history)
        if found is not None:
            yield found


def _record(facts: FileFacts, cls: Class_, history: History) -> Record | None:
    if cls.bases or cls.node.bases or cls.node.ref.keywords or len(cls.node.decorators) > 1:
        return None
    names = [
        stmt.target.id for stmt in cls.node.body if isinstance(stmt, n.Declare) and isinstance(stmt.target, n.Name)
    ]
    for stmt in cls.node.body:
        if isinstance(stmt, n.Assign) and isinstance(stmt.targets[0], n.Name):
            if stmt.targets[0].id == "__slots__":
                return None
            if stmt.annotation is not None:
                names.append(stmt.targets[0].id)
            elif not cls.node.decorators:
                return None  # an attribute of the class that slots would be in conflict with
    if not cls.node.decorators:
        return _plain(cls, history)
    decorator = cls.node.decorators[0]
    call = decorator if isinstance(decorator, n.Call) else None
    if facts.names.path(n.dotted(call.func if call is not None else decorator)) != _DATACLASS:
        return None
    if call is not None and (call.args or any(key in ("slots", "weakref_slot", "**") for key, _ in call.keywords)):
        return None
    obstacles = list(_obstacles(facts, cls, frozenset(names)))
    return Record(cls, decorator, tuple(names), history, obstacles)


def _plain(cls: Class_, history: History) -> Record | None:
    """A class that only keeps what its constructor is given."""
    made = cls.methods.get("__init__")
    if made is None or len([m for m in cls.methods if not m.startswith("__")]) > _FEW_METHODS:
        return None
    names: dict[str, None] = {}
    for stmt in made.statements():
        targets = stmt.targets if isinstance(stmt, n.Assign) else [stmt.target] if isinstance(stmt, n.Declare) else []
        for target in targets:
            first, _, attribute = n.dotted(target).partition(".")
            if first == made.self_name and attribute and "." not in attribute:
                names[attribute] = None
    return Record(cls, None, tuple(names), history, ["it is no dataclass"]) if names else None


def _obstacles(facts: FileFacts, cls: Class_, fields: frozenset[str]) -> Iterator[str]:
    for method in cls.methods.values():
        assert method.node is not None
        for decorator in method.node.decorators:
            if n.dotted(decorator).endswith("cached_property"):
                yield "it has a `cached_property`, which needs a `__dict__`"
        for part in method.every():
            if isinstance(part, n.Name) and part.id in ("super", "__class__"):
                yield "it calls `super()`: with slots, the class is made a second time"
        for stmt in method.statements():
            targets = (
                stmt.targets if isinstance(stmt, n.Assign) else [stmt.target] if isinstance(stmt, n.Augment) else []
            )
            for target in targets:
                first, _, attribute = n.dotted(target).partition(".")
                if attribute and first == method.self_name and attribute.partition(".")[0] not in fields:
                    yield f"`{attribute}` is set on it and is no field"
    for stmt in cls.node.body:
        note = getattr(stmt, "annotation", None)
        if note is not None and "InitVar" in facts.text(note):
            yield "it has an `InitVar`"


def layout(facts: FileFacts) -> frozenset[str]:
    """What in a file may need an object's `__dict__`.

    `looks`: it looks at objects' dicts, or reads them from files. `sets:name`: it sets this attribute of an object that
    is not the method's own. `Class.name`: it reads this of a class, where slots have a descriptor, not the default.
    """
    found = set(facts.of_classes)
    if facts.mentions(*_LOOKING):
        found.add(LOOKS)
    for scope in facts.all_scopes():
        for stmt in scope.statements():
            if not isinstance(stmt, (n.Assign, n.Augment)):
                continue
            for target in stmt.targets if isinstance(stmt, n.Assign) else [stmt.target]:
                if isinstance(target, n.Attr) and n.dotted(target.value) != scope.self_name:
                    found.add(f"{SETS}{target.attr}")
    return frozenset(found)
