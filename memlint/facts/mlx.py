"""Which names of a file hold MLX arrays, and which of them a piece of code evaluates."""

from __future__ import annotations

from memlint.facts import FileFacts, Scope
from memlint.facts import knowledge as k
from memlint.facts import nodes as n

CORE = "mlx.core"
# They compute what they are given. Those that write a file do so too.
EVALUATING = k.names(
    "mlx.core.eval mlx.core.async_eval mlx.core.save mlx.core.savez mlx.core.savez_compressed "
    "mlx.core.save_safetensors mlx.core.save_gguf mlx.core.export_to_dot"
)
# They make a function of a function, which is then run on arrays that stand for others.
_TRANSFORMS = k.names(
    "mlx.core.grad mlx.core.value_and_grad mlx.core.vmap mlx.core.vjp mlx.core.jvp mlx.core.compile "
    "mlx.core.checkpoint mlx.core.custom_function mlx.nn.value_and_grad mlx.nn.utils.value_and_grad "
    "mlx.nn.utils.checkpoint"
)
# Functions below mlx.core that give no array.
_PLAIN = k.names("eval async_eval synchronize seed init stream load")
_PLAIN_STARTS = ("get_", "set_", "is_", "save", "clear_", "reset_", "default_", "new_", "export", "import", "print")
# Methods and functions that hand an array's value to Python.
_READING = k.names("item tolist __array__")
_HOST = k.names("float int bool str repr print format round min max complex list tuple sorted")
_SAYING = k.names("shape size ndim dtype itemsize nbytes")
_NEUTRAL = k.names(
    "len isinstance type id hasattr getattr range zip enumerate dict sum super next callable iter reversed"
)
# Methods that compute nothing: they collect, or hand gradients on.
_COLLECTING = k.names("append extend insert update add setdefault get items keys values pop")
_ARRAY_METHODS = k.names(
    "sum mean max min reshape astype squeeze transpose flatten square sqrt abs exp log var std any all split "
    "argmax argmin swapaxes moveaxis cumsum prod round reciprocal logsumexp diagonal view conj"
)


class Arrays:
    """The names of a file that hold MLX arrays, function by function."""

    def __init__(self, facts: FileFacts) -> None:
        self.facts = facts
        self._names: dict[int, set[str]] = {}
        self._callables: set[str] = set()
        self._traced: set[str] = set()
        self.functions: dict[str, Scope] = {}
        for scope in facts.all_scopes():
            prefix = f"{scope.self_name}." if scope.owner is not None and scope.self_name else ""
            self.functions[prefix + scope.name] = scope
            for decorator in scope.node.decorators if scope.node is not None else ():
                if any(self._is_transform(part) for part in n.walk(decorator)):
                    self._traced.add(scope.name)
            for stmt in n.statements(scope.body):
                for expr in n.expressions(stmt):
                    self._note_transforms(stmt, expr)
        for _ in range(3):  # a function that hands back another one's array, and who calls that
            for scope in facts.all_scopes():
                self._read(scope)

    def path(self, call: n.Call) -> str:
        """The dotted path of what is called."""
        return self.facts.names.path(n.dotted(call.func))

    def is_traced(self, scope: Scope) -> bool:
        """Whether the function is differentiated or compiled, or is a network's own pass."""
        module = scope.owner is not None and any(base.startswith("mlx.nn.") for base in scope.owner.bases)
        return any(s.name in self._traced for s in scope.around()) or module and scope.name == "__call__"

    def of(self, scope: Scope) -> set[str]:
        """The names that hold arrays, or containers and functions' results made of them."""
        return self._names.get(id(scope), set())

    def _is_transform(self, expr: n.Expr) -> bool:
        return self.facts.names.path(n.dotted(expr)) in _TRANSFORMS

    def _note_transforms(self, stmt: n.Stmt, expr: n.Expr) -> None:
        for part in n.walk(expr):
            if isinstance(part, n.Call) and any(self._is_transform(inner) for inner in n.walk(part.func)):
                self._traced |= {n.dotted(arg).rpartition(".")[2] for arg in part.args} - {""}
                if isinstance(stmt, n.Assign) and stmt.value is part and not _is_applied(self, part):
                    self._callables |= {n.dotted(target) for target in stmt.targets} - {""}

    def _read(self, scope: Scope) -> None:
        known = self._names.setdefault(id(scope), set())
        for around in list(scope.around())[1:]:
            known |= {name for name in self.of(around) if name.partition(".")[0] not in scope.local_names}
        for name, note in (scope.node.annotations if scope.node is not None else {}).items():
            if self.facts.names.path(n.dotted(note)) == "mlx.core.array":
                known.add(name)
        loops = [stmt for stmt in n.statements(scope.body) if isinstance(stmt, (n.For, n.While))]
        inside = [stmt for loop in loops for stmt in n.statements(loop.body)]
        read = {
            n.dotted(target)
            for stmt in inside
            if isinstance(stmt, n.Assign) and _reads(stmt.value)
            for target in stmt.targets
        }
        for stmt in n.statements(scope.body):
            if isinstance(stmt, n.Assign) and self.gives(scope, stmt.value):
                for target in stmt.targets:
                    for part, value in pairs(target, stmt.value):
                        if self.gives(scope, value):
                            self._add(known, part)
            elif isinstance(stmt, (n.Augment, n.For)):
                if self.gives(scope, stmt.value if isinstance(stmt, n.Augment) else stmt.iter):
                    self._add(known, stmt.target)
            elif isinstance(stmt, n.Return) and stmt.value is not None and self.gives(scope, stmt.value):
                prefix = f"{scope.self_name}." if scope.owner is not None and scope.self_name else ""
                self._callables.add(prefix + scope.name)
            known -= read  # `loss = loss.item()`: a number from there on

    def _add(self, known: set[str], target: n.Expr) -> None:
        if isinstance(target, n.Sequence):
            for element in target.elements:
                self._add(known, element)
        elif isinstance(target, (n.Star, n.Item)):
            self._add(known, target.value)
        elif text := n.dotted(target):
            known.add(text)

    def gives(self, scope: Scope, expr: n.Expr) -> bool:
        """Whether an expression is known to give an MLX array, or something that holds one."""
        if isinstance(expr, (n.Name, n.Attr)):
            if n.dotted(expr) in self.of(scope):
                return True
            return isinstance(expr, n.Attr) and expr.attr not in _SAYING and self.gives(scope, expr.value)
        if isinstance(expr, n.Call):
            return self._call_gives(scope, expr)
        if isinstance(expr, n.Comprehension):
            loops = any(self.gives(scope, generator.iter) for generator in expr.generators)
            inside = {name for g in expr.generators for name in n.mentioned(g.target)}
            return self.gives(scope, expr.element) or loops and n.dotted(expr.element) in inside
        if isinstance(expr, (n.Item, n.Star)):
            return self.gives(scope, expr.value)
        if isinstance(expr, (n.Binary, n.Unary, n.Sequence, n.Mapping)):
            return any(self.gives(scope, part) for part in n.children(expr))
        if isinstance(expr, n.Choice):
            return self.gives(scope, expr.body) or self.gives(scope, expr.orelse)
        return False

    def _call_gives(self, scope: Scope, call: n.Call) -> bool:
        text, path = n.dotted(call.func), self.path(call)
        last = path.rpartition(".")[2]
        if path.startswith("mlx."):
            plain = last in _PLAIN or last.startswith(_PLAIN_STARTS) or last[:1].isupper() or path in _TRANSFORMS
            return not plain and path.startswith((CORE, "mlx.nn.", "mlx.utils.tree_map"))
        if text in self._callables:
            return True
        if isinstance(call.func, n.Attr):
            return call.func.attr not in _READING and self.gives(scope, call.func.value)
        if isinstance(call.func, n.Call):
            return _is_applied(self, call)
        return text in ("sum", "zip", "enumerate", "dict") and any(self.gives(scope, arg) for arg in call.args)

    def calls_in(self, expr: n.Expr) -> bool:
        """Whether something runs in an expression that is no function of MLX, no method of an array and no builtin."""
        for part in n.walk(expr):
            if isinstance(part, n.Call):
                method = part.func.attr if isinstance(part.func, n.Attr) else ""
                plain = method in _ARRAY_METHODS | _COLLECTING | _READING or n.dotted(part.func) in _HOST | _NEUTRAL
                if not plain and not self.path(part).startswith("mlx."):
                    return True
        return False

    @staticmethod
    def is_number(expr: n.Expr) -> bool:
        """Whether an expression is a length or a size, or made of such and of literals."""
        if isinstance(expr, n.Call):
            return n.dotted(expr.func) in _HOST | {"len"}
        if isinstance(expr, n.Binary):
            return Arrays.is_number(expr.left) and Arrays.is_number(expr.right)
        if isinstance(expr, n.Item):
            return Arrays.is_number(expr.value)
        return isinstance(expr, n.Const) or isinstance(expr, n.Attr) and expr.attr in _SAYING

    def runs_evaluation(self, text: str) -> bool:
        """Whether a function of this file evaluates something: what it is given, as far as can be told."""
        scope = self.functions.get(text)
        return scope is None or any(
            isinstance(part, n.Call)
            and (self.path(part) in EVALUATING or isinstance(part.func, n.Attr) and part.func.attr in _READING)
            for part in n.every(scope.body)
        )


def pairs(target: n.Expr, value: n.Expr) -> list[tuple[n.Expr, n.Expr]]:
    """What is assigned to what: `a, b = 0, x` are two assignments."""
    if isinstance(target, n.Sequence) and isinstance(value, n.Sequence):
        if len(target.elements) == len(value.elements):
            return list(zip(target.elements, value.elements, strict=True))
    return [(target, value)]


def _reads(value: n.Expr) -> bool:
    """Whether an expression takes a value out of an array."""
    return any(
        isinstance(part, n.Call) and (isinstance(part.func, n.Attr) and part.func.attr in _READING
                                      or n.dotted(part.func) in ("float", "int"))
        for part in n.walk(value)
    )  # fmt: skip


def _is_applied(arrays: Arrays, call: n.Call) -> bool:
    """`nn.value_and_grad(model, loss)(model, x)`: the new function is called at once."""
    return isinstance(call.func, n.Call) and arrays.path(call.func) in _TRANSFORMS


def evaluated(
    arrays: Arrays, scope: Scope, statements: list[n.Stmt], block: list[n.Stmt], *, surely: bool = False
) -> set[str]:
    """The names that some of the statements of a block evaluate, and those that these are computed from.

    What an unknown function is given counts as evaluated, unless `surely` is wanted.
    """
    names: set[str] = set()
    for stmt in statements:
        if isinstance(stmt, (n.If, n.While, n.Assert)):
            names |= _tested(stmt.test)
        for expr in n.expressions(stmt):
            for part in n.walk(expr):
                names |= _evaluates(arrays, part, surely)
    sources = _sources([*n.statements(block), *n.statements(scope.body)])
    waiting = list(names)
    while waiting:
        for name in sources.get(waiting.pop(), set()) - names:
            names.add(name)
            waiting.append(name)
    return names


def _read_in(expr: n.Expr) -> set[str]:
    """The names whose value an expression needs: `x.shape` and `len(x)` don't need that of x."""
    names: set[str] = set()
    stack = [expr]
    while stack:
        part = stack.pop()
        if isinstance(part, n.Attr) and part.attr in _SAYING:
            continue
        if isinstance(part, n.Call) and n.dotted(part.func) in ("len", "isinstance", "type", "id"):
            continue
        if isinstance(part, (n.Name, n.Attr)) and (text := n.dotted(part)):
            names.add(text)
        stack += n.children(part)
    return names


def _tested(test: n.Expr) -> set[str]:
    parts = [part for part in n.walk(test) if isinstance(part, n.Compare)]
    if any(op in ("Is", "IsNot", "In", "NotIn") for part in parts for op, _ in part.rest):
        return set()
    return _read_in(test)


def _evaluates(arrays: Arrays, part: n.Expr, surely: bool) -> set[str]:
    if isinstance(part, n.Text):
        return {name for inner in part.parts for name in _read_in(inner)}
    if isinstance(part, n.Yield) and part.value is not None:
        return _read_in(part.value)
    if isinstance(part, (n.Choice, n.Comprehension)):
        tests = [part.test] if isinstance(part, n.Choice) else [t for g in part.generators for t in g.tests]
        return {name for test in tests for name in _tested(test)}
    if not isinstance(part, n.Call):
        return set()
    text, path = n.dotted(part.func), arrays.path(part)
    given = {name for arg in (*part.args, *(value for _, value in part.keywords)) for name in _read_in(arg)}
    if path in EVALUATING or text in _HOST:
        return given
    if path.startswith("mlx.") or text in _NEUTRAL:
        return set()
    if isinstance(part.func, n.Attr):
        if part.func.attr in _READING:
            return _read_in(part.func.value)
        if part.func.attr in _COLLECTING | _ARRAY_METHODS:
            return set()
    if text in arrays._callables and text not in arrays.functions or isinstance(part.func, n.Call):
        return set()
    return given if not surely and arrays.runs_evaluation(text) else set()


def _sources(statements: list[n.Stmt]) -> dict[str, set[str]]:
    """What each name is computed from, in any of the statements."""
    sources: dict[str, set[str]] = {}
    for stmt in statements:
        targets: list[n.Expr] = []
        value: n.Expr | None = None
        if isinstance(stmt, n.Assign):
            targets, value = stmt.targets, stmt.value
        elif isinstance(stmt, n.Augment):
            targets, value = [stmt.target], stmt.value
        elif isinstance(stmt, n.For):
            targets, value = [stmt.target], stmt.iter
        elif isinstance(stmt, n.Do) and isinstance(stmt.value, n.Call) and isinstance(stmt.value.func, n.Attr):
            if stmt.value.func.attr in ("append", "extend") and stmt.value.args:
                targets, value = [stmt.value.func.value], stmt.value.args[0]
        if value is not None:
            for target in targets:
                for name in _bound(target):
                    sources.setdefault(name, set()).update(_read_in(value))
    return sources


def _bound(target: n.Expr) -> set[str]:
    if isinstance(target, n.Sequence):
        return {name for element in target.elements for name in _bound(element)}
    if isinstance(target, (n.Item, n.Star)):
        return _bound(target.value)
    return {n.dotted(target)} - {""}
