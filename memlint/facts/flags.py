"""Python booleans: which expressions are proved to be one, and where `~` is applied to such.

`~` of a Python bool is that of a whole number: -1 for False and -2 for True. Tensors, arrays and `numpy.bool_` are
negated by it as meant.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct, field

from memlint.facts import FileFacts, Scope
from memlint.facts import nodes as n
from memlint.facts import values as v

FLAG, OTHER, OPEN = "flag", "other", ""

_BUILTINS = frozenset({"isinstance", "issubclass", "callable", "hasattr", "bool", "all", "any"})
_PATHS = frozenset({
    "os.path.exists", "os.path.isfile", "os.path.isdir", "os.path.islink", "os.path.isabs", "math.isnan", "math.isinf",
    "math.isfinite", "math.isclose", "torch.is_tensor", "torch.is_grad_enabled", "torch.is_floating_point",
    "torch.is_complex", "torch.equal", "torch.allclose", "torch.cuda.is_available", "torch.cuda.is_initialized",
    "torch.backends.mps.is_available", "torch.distributed.is_available", "torch.distributed.is_initialized",
})  # fmt: skip
_TEXT = frozenset({"startswith", "endswith", "isdigit", "isalpha", "isalnum", "isupper", "islower", "isspace"})
_COUNTS = frozenset({"len", "int", "float", "ord", "round"})
_NUMBERS = frozenset({"item", "dim", "numel", "size", "nelement", "count"})
_MASKING = frozenset({"BitAnd", "BitOr", "BitXor", "Multiply"})
_DEPTH = 4


class Truth(Struct, eq=False):
    """What is known of an expression. why: node and text of the evidence.

    parameter: it is a flag if callers pass flags for this parameter. attribute: if that attribute of `owner` is one.
    own: the attribute is `self`'s.
    """

    verdict: str = OPEN
    why: tuple[Any, str] | None = None
    parameter: str = ""
    attribute: str = ""
    owner: str = ""
    own: bool = False


class Inverted(Struct, eq=False):
    """`~flag`. use: mask, condition or value."""

    node: n.Unary
    truth: Truth
    use: str


def inverted(facts: FileFacts, scope: Scope) -> Iterator[Inverted]:
    """Each `~` on what is, or may be, a Python bool."""
    if not any(type(expr) is n.Unary and expr.op == "BitInvert" for expr in scope.every()):
        return
    for stmt in scope.statements():
        for expr in n.expressions(stmt):
            for part in n.walk(expr):
                if isinstance(part, n.Unary) and part.op == "BitInvert":
                    truth = Judge(facts, scope).of(part.operand)
                    if truth.verdict == FLAG or truth.parameter or truth.attribute:
                        yield Inverted(part, truth, _use(part, stmt))


def _use(node: n.Unary, stmt: n.Stmt) -> str:
    if isinstance(stmt, (n.If, n.While, n.Assert)) and any(part is node for part in _tested(stmt.test)):
        return "condition"
    for expr in n.expressions(stmt):
        for part in n.walk(expr):
            if isinstance(part, n.Binary) and part.op in _MASKING and node in (part.left, part.right):
                return "mask"
            if isinstance(part, n.Choice) and any(inner is node for inner in _tested(part.test)):
                return "condition"
    return "value"


def _tested(test: n.Expr) -> Iterator[n.Expr]:
    """The expressions whose truth decides a test."""
    yield test
    for part in n.children(test) if isinstance(test, n.Logic) or isinstance(test, n.Unary) and test.op == "Not" else ():
        yield from _tested(part)


class Judge:
    """Says of the expressions of one scope whether they are Python bools."""

    def __init__(self, facts: FileFacts, scope: Scope) -> None:
        self.facts, self.scope = facts, scope

    def of(self, expr: n.Expr, depth: int = _DEPTH) -> Truth:
        """What is known of an expression."""
        if isinstance(expr, n.Const):
            return Truth(FLAG, (expr, "a literal")) if isinstance(expr.value, bool) else Truth(OTHER)
        if isinstance(expr, n.Unary):
            return Truth(FLAG, (expr, "`not` gives a Python bool")) if expr.op == "Not" else Truth(OTHER)
        if isinstance(expr, n.Compare):
            return self._comparison(expr)
        if isinstance(expr, (n.Logic, n.Choice)) and depth:
            sides = [expr.left, expr.right] if isinstance(expr, n.Logic) else [expr.body, expr.orelse]
            found = [self.of(side, depth - 1) for side in sides]
            return found[0] if all(side.verdict == FLAG for side in found) else Truth(_worst(found))
        if isinstance(expr, n.Call):
            return self._call(expr)
        if isinstance(expr, n.Name) and depth:
            return self._name(expr, depth)
        if isinstance(expr, n.Attr):
            return self._attribute(expr)
        return Truth()

    def _comparison(self, expr: n.Compare) -> Truth:
        ops = {op for op, _ in expr.rest}
        if ops <= {"Is", "IsNot", "In", "NotIn"}:
            return Truth(FLAG, (expr, "`is` and `in` give a Python bool"))
        sides = [expr.left, *(right for _, right in expr.rest)]
        if all(self._is_number(side) for side in sides):
            return Truth(FLAG, (expr, "a comparison of Python numbers"))
        return Truth()

    def _is_number(self, expr: n.Expr) -> bool:
        if isinstance(expr, n.Const):
            return isinstance(expr.value, (int, float))
        if isinstance(expr, n.Call):
            if isinstance(expr.func, n.Attr):
                return expr.func.attr in _NUMBERS and (expr.func.attr != "size" or bool(expr.args))
            return isinstance(expr.func, n.Name) and expr.func.id in _COUNTS and self._is_builtin(expr.func.id)
        return isinstance(expr, n.Item) and isinstance(expr.value, n.Attr) and expr.value.attr == "shape"

    def _is_builtin(self, name: str) -> bool:
        known = self.facts.names.path(name) or name in self.facts.top.local_names
        return not known and name not in self.scope.local_names and "import *" not in self.facts.source.text

    def _call(self, call: n.Call) -> Truth:
        text = n.dotted(call.func)
        if self.facts.names.path(text) in _PATHS or text in _BUILTINS and self._is_builtin(text):
            return Truth(FLAG, (call, f"`{text}` gives a Python bool"))
        if isinstance(call.func, n.Attr) and call.func.attr in _TEXT and isinstance(call.func.value, n.Const):
            return Truth(FLAG, (call, f"`{call.func.attr}` gives a Python bool"))
        inner = self.facts.functions.get(text)
        if isinstance(call.func, n.Attr) and n.dotted(call.func.value) == self.scope.self_name and self.scope.owner:
            inner = self.scope.owner.methods.get(call.func.attr)
        if inner is not None and inner.node is not None and is_bool(inner.node.returns) and not inner.is_generator:
            return Truth(FLAG, (inner.node.returns, f"`{text}` is annotated to give a `bool`"))
        return Truth()

    def _name(self, name: n.Name, depth: int) -> Truth:
        home = next((s for s in self.scope.around() if name.id in s.local_names or name.id in s.params), None)
        if home is None or any(name.id in s.globals for s in self.facts.scopes):
            return Truth()
        if _used_as_tensor(home, name.id):
            return Truth(OTHER)
        judge = self if home is self.scope else Judge(self.facts, home)
        bound = [judge.of(value, depth - 1) if value is not None else Truth() for value in _bindings(home, name.id)]
        if name.id in home.params:
            if any(found.verdict != FLAG for found in bound):
                return Truth()
            return judge.parameter(name.id)
        if bound and all(found.verdict == FLAG for found in bound):
            return bound[0]
        return Truth(_worst(bound))

    def parameter(self, name: str) -> Truth:
        """What annotation and default say of a parameter."""
        node = self.scope.node
        note = node.annotations.get(name) if node is not None else None
        if note is not None:
            return Truth(FLAG, (note, f"`{name}` is annotated as a `bool`")) if is_bool(note) else Truth(OTHER)
        default = node.defaults.get(name) if node is not None else None
        if isinstance(default, n.Const) and isinstance(default.value, bool):
            return Truth(why=(default, f"the default of `{name}`"), parameter=name)
        return Truth()

    def _attribute(self, expr: n.Attr) -> Truth:
        owner = self.scope.owner
        receiver = n.dotted(expr.value)
        if owner is not None and receiver == self.scope.self_name:
            if expr.attr == "training" and owner.is_module(self.facts.classes):
                return Truth(FLAG, (expr, "`training` of a module is a Python bool"))
            return Truth(attribute=expr.attr, owner=owner.name, own=True)
        if receiver.rpartition(".")[2][:1].isupper() and self.facts.names.path(receiver):
            return Truth()  # of a class itself: a column of a table, which `~` negates as meant
        if isinstance(expr.value, (n.Name, n.Attr)) and receiver:
            value = self._value(expr.value)
            if value.kind in (v.UNKNOWN, v.OBJECT, v.NONE):
                return Truth(attribute=expr.attr, owner=value.path.rpartition(".")[2])
        return Truth()

    def _value(self, expr: n.Expr) -> v.Value:
        """What is known of an object when the function ends: its class, where it has one."""
        if isinstance(expr, n.Name):
            return next((s.env[expr.id] for s in self.scope.around() if expr.id in s.env), v.ANYTHING)
        owner = self.scope.owner
        if isinstance(expr, n.Attr) and owner is not None and n.dotted(expr.value) == self.scope.self_name:
            return owner.attribute(expr.attr, self.facts.classes)
        return v.ANYTHING


def _worst(found: list[Truth]) -> str:
    return OTHER if any(truth.verdict == OTHER for truth in found) else OPEN


def is_bool(note: n.Expr | None) -> bool:
    """Whether an annotation says bool, or bool and None."""
    if isinstance(note, n.Const) and isinstance(note.value, str):
        return note.value in ("bool", "Optional[bool]", "bool | None")
    if isinstance(note, n.Item) and n.dotted(note.value).rpartition(".")[2] == "Optional":
        return is_bool(note.index)
    if isinstance(note, n.Binary) and note.op == "BitOr":
        return is_bool(note.left) and isinstance(note.right, n.Const) and note.right.value is None
    return isinstance(note, n.Name) and note.id == "bool"


def _bindings(scope: Scope, name: str) -> Iterator[n.Expr | None]:
    """What a scope binds a name to; None for what no expression says."""
    for stmt in scope.statements():
        if isinstance(stmt, n.Assign):
            for target in stmt.targets:
                if isinstance(target, n.Name) and target.id == name:
                    yield stmt.value
                elif isinstance(target, (n.Sequence, n.Star)) and name in n.mentioned(target):
                    yield _same_place(target, stmt.value, name)
        elif isinstance(stmt, (n.For, n.Augment)):
            if name in n.mentioned(stmt.target):
                yield None
        elif isinstance(stmt, n.With) and any(
            target is not None and name in n.mentioned(target) for _, target in stmt.items
        ):
            yield None
    for expr in scope.every():
        if isinstance(expr, n.Walrus) and isinstance(expr.target, n.Name) and expr.target.id == name:
            yield expr.value
        elif isinstance(expr, n.Comprehension) and any(name in n.mentioned(g.target) for g in expr.generators):
            yield None


def _same_place(target: n.Expr, value: n.Expr, name: str) -> n.Expr | None:
    """`False` for `b` in `a, b = 0, False`."""
    if isinstance(target, n.Sequence) and isinstance(value, n.Sequence) and len(target.elements) == len(value.elements):
        for element, given in zip(target.elements, value.elements, strict=True):
            if isinstance(element, n.Name) and element.id == name:
                return given
    return None


def _used_as_tensor(scope: Scope, name: str) -> bool:
    """Whether attributes or entries of a name are read: no bool has any that is of use."""
    return any(
        isinstance(expr, (n.Attr, n.Item)) and isinstance(expr.value, n.Name) and expr.value.id == name
        for inner in scope.within()
        for expr in inner.every()
    )


# -- what a file says of attributes, for others ----------------------------------------------------------------------


class Declared(Struct):
    """The attributes that a file declares or stores. flags: (class, name), the class "" for a command line's options.

    others: names under which something is stored that is no Python bool, or not known to be one.
    """

    flags: set[tuple[str, str]] = field(default_factory=set)
    others: set[str] = field(default_factory=set)


def declared(facts: FileFacts) -> Declared:
    """What a file says of attributes of that kind."""
    found = Declared()
    for cls in facts.classes.values():
        for stmt in cls.node.body:
            if isinstance(stmt, n.Declare) and isinstance(stmt.target, n.Name):
                _note(found, cls.name, stmt.target.id, FLAG if is_bool(stmt.annotation) else OTHER)
            elif isinstance(stmt, n.Assign) and isinstance(stmt.targets[0], n.Name):
                literal = isinstance(stmt.value, n.Const) and isinstance(stmt.value.value, bool)
                flag = is_bool(stmt.annotation) if stmt.annotation is not None else literal
                _note(found, cls.name, stmt.targets[0].id, FLAG if flag else OTHER)
    for scope in facts.scopes:
        owner = scope.owner.name if scope.owner is not None else ""
        for stmt in scope.statements():
            if isinstance(stmt, n.Assign):
                for target in stmt.targets:
                    if isinstance(target, n.Attr):
                        own = owner if n.dotted(target.value) == scope.self_name else ""
                        _note(found, own, target.attr, _stored(facts, scope, stmt.value, target.attr))
            elif isinstance(stmt, n.Augment) and isinstance(stmt.target, n.Attr):
                found.others.add(stmt.target.attr)
    for scope in facts.all_scopes():
        for site in scope.events.calls:
            if site.name in _ADDING:
                _note_option(found, site.name, site.node)
    return found


_ADDING = frozenset({"add_argument", "register_buffer", "register_parameter", "setattr"})


def _stored(facts: FileFacts, scope: Scope, value: n.Expr, attribute: str) -> str:
    """What is stored under an attribute: a flag, something else, or what only callers know."""
    if isinstance(value, n.Const):
        return FLAG if isinstance(value.value, bool) else OPEN if value.value is None else OTHER
    if isinstance(value, n.Name):
        if value.id not in scope.params:
            return OTHER
        truth = Judge(facts, scope).parameter(value.id)
        return truth.verdict or (FLAG if truth.parameter else OPEN)
    if isinstance(value, n.Attr) and value.attr == attribute or isinstance(value, (n.Logic, n.Choice)):
        return OPEN
    if isinstance(value, (n.Compare, n.Unary, n.Call)):
        return Judge(facts, scope).of(value).verdict or OTHER
    return OTHER


def _note(found: Declared, owner: str, attribute: str, kind: str) -> None:
    if kind == FLAG and owner:
        found.flags.add((owner, attribute))
    elif kind == OTHER:
        found.others.add(attribute)


def _note_option(found: Declared, name: str, call: n.Call) -> None:
    """`parser.add_argument("--dry-run", action="store_true")` makes `args.dry_run` a bool; a buffer is a tensor."""
    words = [
        arg.value.lstrip("-").replace("-", "_")
        for arg in call.args
        if isinstance(arg, n.Const) and isinstance(arg.value, str)
    ]
    given = dict(call.keywords)
    if name != "add_argument":
        found.others.update(words[:1])
        return
    dest, action, kind = given.get("dest"), given.get("action"), given.get("type")
    if isinstance(dest, n.Const) and isinstance(dest.value, str):
        words = [dest.value]
    switch = isinstance(action, n.Const) and action.value in ("store_true", "store_false")
    optional = action is not None and n.dotted(action).endswith("BooleanOptionalAction")
    if switch or optional or isinstance(kind, n.Name) and kind.id == "bool":
        found.flags.update(("", word) for word in words)
    else:
        found.others.update(words)
