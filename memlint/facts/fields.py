"""What class bodies and annotations without a value say of attributes: fields of dataclasses, types of modules."""

from __future__ import annotations

from memlint.facts import knowledge as k
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.evaluate import Evaluator
from memlint.facts.values import Value

_FIELDS = frozenset({"dataclasses.field", "attr.ib", "attrs.field", "attr.field"})


class Fields(Evaluator):
    """Interprets the statements that declare attributes."""

    def declare(self, stmt: n.Declare) -> None:
        """`name: annotation` in a function."""
        value = Value(**self.file.of_annotation(stmt.annotation))
        first, _, rest = n.dotted(stmt.target).partition(".")
        if rest and first == self.scope.self_name and self.scope.owner is not None:
            self.scope.owner.attributes.setdefault(rest, value)
        elif first and not rest and value.kind not in v.CONTAINERS:
            self.env.setdefault(first, value)

    def class_body(self, stmt: n.Class) -> None:
        """The attributes that a class body gives all its objects."""
        cls = self.file.classes.get(stmt.name)
        for inner in n.statements(stmt.body):
            if isinstance(inner, n.Declare) and isinstance(inner.target, n.Name) and cls is not None:
                cls.attributes.setdefault(inner.target.id, Value(**self.file.of_annotation(inner.annotation)))
            if isinstance(inner, n.Assign):
                value = self._field(inner)
                for target in inner.targets:
                    if isinstance(target, n.Name) and cls is not None and cls.node is stmt:
                        holder = f"class:{cls.name}.{target.id}" if value.kind in v.CONTAINERS else ""
                        if holder:
                            self.init(holder, inner, value.kind, value.const == "bounded")
                        cls.attributes.setdefault(target.id, v.without_ids(value).but(holder=holder))

    def _field(self, stmt: n.Assign) -> Value:
        """The value of an assignment in a class body; of a dataclass's field, what its factory makes."""
        value, made = self.eval(stmt.value), stmt.value
        if isinstance(made, n.Call) and self.file.names.path(n.dotted(made.func)) in _FIELDS:
            factory = next((given for name, given in made.keywords if name in ("default_factory", "factory")), None)
            path = self.file.names.path(n.dotted(factory)) or n.dotted(factory) if factory is not None else ""
            if isinstance(factory, n.Lambda):
                value = self.eval(factory.body)
            elif path in k.CONTAINER_PATHS:
                value = Value(k.CONTAINER_PATHS[path])
        if stmt.annotation is not None and value.kind in (v.UNKNOWN, v.NONE):
            value = value.but(**self.file.of_annotation(stmt.annotation))
        return value


def is_attribute(target: n.Expr) -> bool:
    """Whether a target is an attribute of something."""
    return isinstance(target, n.Attr)
