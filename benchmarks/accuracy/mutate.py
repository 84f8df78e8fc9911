"""Takes one construct that protects memory out of a program at a time.

Every mutant has as many lines as its original, so that a finding in both stands on the same line in both.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

FINDS: dict[str, frozenset[str]] = {
    "detach": frozenset(
        {"detach-kept-tensors", "detach-recurrent-state", "clone-kept-views", "snapshots-to-cpu", "no-grad-inference"}
    ),
    "item": frozenset({"detach-kept-tensors", "snapshots-to-cpu"}),
    "cpu": frozenset({"snapshots-to-cpu"}),
    "clone": frozenset({"clone-kept-views", "snapshots-to-cpu"}),
    "no-grad": frozenset({"no-grad-inference", "detach-kept-tensors", "detach-recurrent-state"}),
    "clear": frozenset(
        {"bound-history", "bound-cache", "cap-spawn", "keep-only-last", "detach-kept-tensors", "detach-recurrent-state"}
        | {"snapshots-to-cpu", "release-the-owner"}
    ),
    "trim": frozenset(
        {"bound-history", "bound-cache", "cap-spawn", "keep-only-last", "detach-kept-tensors", "snapshots-to-cpu"}
    ),
    "limit": frozenset(
        {"bound-history", "bound-cache", "cap-spawn", "keep-only-last", "detach-kept-tensors", "snapshots-to-cpu"}
    ),
    "release": frozenset(
        {"release-before-reload", "release-the-owner", "bound-history", "bound-cache", "remove-hooks"}
    ),
    "remove": frozenset({"remove-hooks", "close-resources"}),
    "weakref": frozenset({"break-cycles"}),
    "map-location": frozenset({"map-checkpoint"}),
    "free-graph": frozenset({"drop-retain-graph", "no-backward-in-except"}),
}
"""What is taken out, and the rules of which one should then speak."""

ANYWHERE = frozenset({"clear", "trim", "limit", "release", "remove", "weakref"})
"""What bounds a container or frees an object often stands far from the place that then leaks."""

BY_DEFINITION = frozenset({"map-location"})
"""Its effect is on the accelerator that a checkpoint was saved from, which the measuring machine need not have."""

_CLEARING = ("clear", "reset", "zero")
_TRIMMING = ("pop", "popleft", "popitem")
_REMOVING = ("remove", "remove_hooks", "close", "unregister", "shutdown")
_EMPTY_MAKERS = frozenset({"list", "dict", "set", "deque", "defaultdict", "Counter"})
_NOTHING = "__import__('contextlib').nullcontext()"
_NO_GRAD = frozenset({"no_grad", "inference_mode"})


@dataclass(frozen=True, slots=True)
class Mutant:
    """A program without one construct. function: first and last line of the innermost function around it."""

    operator: str
    line: int
    text: str
    function: tuple[int, int]

    @property
    def rules(self) -> frozenset[str]:
        """The rules of which one should speak."""
        return FINDS[self.operator]


Cut = tuple[str, ast.AST, int, int, str]
"""Operator, the node it is about, the bytes to replace, and what to put there."""


class _Text:
    """A source as bytes with the offsets of its lines, as ast counts."""

    def __init__(self, text: str) -> None:
        self.data = text.encode()
        self.starts = [0]
        for line in self.data.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))

    def start(self, node: ast.expr | ast.stmt | ast.keyword) -> int:
        return self.starts[node.lineno - 1] + node.col_offset

    def end(self, node: ast.expr | ast.stmt | ast.keyword) -> int:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self.starts[node.end_lineno - 1] + node.end_col_offset

    def argument(self, keyword: ast.keyword) -> tuple[int, int]:
        """A keyword argument with the comma before it, or behind it where it is the first."""
        start, end = self.start(keyword), self.end(keyword)
        before = self.data[:start].rstrip()
        if before.endswith(b","):
            return len(before) - 1, end
        after = len(self.data) - len(self.data[end:].lstrip())
        return start, after + 1 if self.data[after : after + 1] == b"," else end

    def of(self, node: ast.expr) -> str:
        return self.data[self.start(node) : self.end(node)].decode()


def mutants(text: str, *, losses_only: bool = False) -> Iterator[Mutant]:
    """All mutants of a source, in the order of its lines.

    losses_only: `float(x)` counts as protection only where x names a loss. For code that can't be run, where nothing
    would tell the many harmless ones.
    """
    tree = ast.parse(text)
    source = _Text(text)
    functions = [
        (min([node.lineno, *(d.lineno for d in node.decorator_list)]), node.end_lineno or node.lineno)
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    seen: set[str] = set()
    cuts = sorted(_cuts(tree, source, losses_only), key=lambda cut: (cut[2], cut[3]))
    for operator, node, start, end, new in cuts:
        removed = source.data[start:end]
        padding = b"\n" * (removed.count(b"\n") - new.count("\n"))
        changed = (source.data[:start] + new.encode() + padding + source.data[end:]).decode()
        if changed in seen or not _compiles(changed):
            continue
        seen.add(changed)
        line = getattr(node, "end_lineno", 0) if operator in ("detach", "item", "cpu", "clone") else node.lineno  # type: ignore[attr-defined]
        around = [span for span in functions if span[0] <= line <= span[1]]
        function = min(around, key=lambda span: span[1] - span[0], default=(1, text.count("\n") + 1))
        yield Mutant(operator, line, changed, function)


def _compiles(text: str) -> bool:
    try:
        compile(text, "mutant", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return False
    return True


def _cuts(tree: ast.Module, source: _Text, losses_only: bool) -> Iterator[Cut]:
    for node in ast.walk(tree):
        for find in _FINDERS:
            yield from find(node, source)
        if isinstance(node, ast.Call):
            yield from _float(node, source, losses_only)
        if isinstance(node, (ast.For, ast.While, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _rebinds(node, source)


def _name(function: ast.expr) -> str:
    """The last name of what is called."""
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _calls(node: ast.AST, source: _Text) -> Iterator[Cut]:
    """`x.detach()`, `x.item()`, `x.cpu()`, `x.to("cpu")`, `x.clone()`: x."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return
    value, name = node.func.value, node.func.attr
    if isinstance(value, ast.Constant):
        return
    if name in ("detach", "item", "cpu", "clone", "tolist") and not node.args and not node.keywords:
        end = source.data.rindex(b".", source.end(value), source.end(node))
        operator = "item" if name == "tolist" else name
        yield (operator, node, end, source.end(node), "")
    elif name == "to" and node.args and _is_cpu(node.args[0]):
        end = source.data.index(b".", source.end(value), source.end(node))  # behind the brackets around it, if any
        yield ("cpu", node, end, source.end(node), "")


def _is_cpu(value: ast.expr) -> bool:
    if isinstance(value, ast.Call) and _name(value.func) == "device" and value.args:
        value = value.args[0]
    return isinstance(value, ast.Constant) and value.value == "cpu"


def _float(node: ast.Call, source: _Text, losses_only: bool) -> Iterator[Cut]:
    """`float(x)`: x."""
    if isinstance(node.func, ast.Name) and node.func.id == "float" and len(node.args) == 1 and not node.keywords:
        inner = source.of(node.args[0])
        if not isinstance(node.args[0], (ast.Constant, ast.Starred)) and (not losses_only or "loss" in inner):
            yield ("item", node, source.start(node), source.end(node), f"({inner})")


def _statements(node: ast.AST, source: _Text) -> Iterator[Cut]:
    """A statement that clears, trims, removes or releases: nothing."""
    if isinstance(node, ast.Delete):
        keyed = any(isinstance(target, ast.Subscript) for target in node.targets)
        yield ("trim" if keyed else "release", node, source.start(node), source.end(node), "pass")
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        name = _name(node.value.func)
        operator = _operator(name, bool(node.value.args))
        if operator and isinstance(node.value.func, ast.Attribute):
            yield (operator, node, source.start(node), source.end(node), "pass")


def _operator(method: str, has_arguments: bool) -> str:
    """What a method does that is called for its effect; nothing where it protects nothing."""
    if method in _TRIMMING:
        return "trim"
    if method in _REMOVING and not has_arguments:  # list.remove(x) is another thing than handle.remove()
        return "remove"
    if method.startswith(_CLEARING) and method not in ("zero_grad", "zero_"):
        return "clear"
    return "release" if method.startswith("release") else ""


def _assignments(node: ast.AST, source: _Text) -> Iterator[Cut]:
    """`x = x[-n:]` and `self.x = None`: nothing."""
    if not isinstance(node, ast.Assign) or len(node.targets) != 1:
        return
    target, value = node.targets[0], node.value
    if isinstance(value, ast.Subscript) and isinstance(value.slice, ast.Slice):
        if source.of(value.value) == source.of(target):
            yield ("trim", node, source.start(node), source.end(node), "pass")
    if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Slice):
        yield ("trim", node, source.start(node), source.end(node), "pass")


def _rebinds(node: ast.For | ast.While | ast.FunctionDef | ast.AsyncFunctionDef, source: _Text) -> Iterator[Cut]:
    """An empty container or None put in the place of a kept object, where it isn't being made: nothing."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name in ("__init__", "setup"):
        return
    for inner in ast.walk(node):
        if not isinstance(inner, ast.Assign) or len(inner.targets) != 1:
            continue
        attribute = isinstance(inner.targets[0], ast.Attribute)
        if not attribute and not isinstance(node, (ast.For, ast.While)):
            continue
        if _is_empty(inner.value):
            yield ("clear", inner, source.start(inner), source.end(inner), "pass")
        elif isinstance(inner.value, ast.Constant) and inner.value.value is None:
            yield ("release", inner, source.start(inner), source.end(inner), "pass")


def _is_empty(value: ast.expr) -> bool:
    if isinstance(value, (ast.List, ast.Tuple, ast.Set)):
        return not value.elts
    if isinstance(value, ast.Dict):
        return not value.keys
    return isinstance(value, ast.Call) and _name(value.func) in _EMPTY_MAKERS


def _no_grad(node: ast.AST, source: _Text) -> Iterator[Cut]:
    """`@torch.no_grad()` and `with torch.no_grad():`."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        for decorator in node.decorator_list:
            called = decorator.func if isinstance(decorator, ast.Call) else decorator
            if _name(called) in _NO_GRAD:
                start = source.data.rindex(b"@", 0, source.start(decorator))
                yield ("no-grad", decorator, start, source.end(decorator), "")
    elif isinstance(node, ast.With):
        for item in node.items:
            call = item.context_expr
            if isinstance(call, ast.Call) and _name(call.func) in _NO_GRAD:
                if len(node.items) == 1:
                    yield ("no-grad", node, source.start(node), source.end(call), "if True")
                else:
                    yield ("no-grad", node, source.start(call), source.end(call), _NOTHING)


def _keywords(node: ast.AST, source: _Text) -> Iterator[Cut]:
    """`deque(maxlen=n)`, `lru_cache(maxsize=n)`, `torch.load(..., map_location=d)`, and `backward()` that frees."""
    if not isinstance(node, ast.Call):
        return
    name = _name(node.func)
    for keyword in node.keywords:
        if (name, keyword.arg) == ("lru_cache", "maxsize"):  # without it, Python's own limit holds
            yield ("limit", node, source.start(keyword.value), source.end(keyword.value), "None")
        elif (name, keyword.arg) in {("deque", "maxlen"), ("load", "map_location")}:
            operator = "map-location" if keyword.arg == "map_location" else "limit"
            yield (operator, node, *source.argument(keyword), "")
    if name == "backward" and isinstance(node.func, ast.Attribute) and not node.args and not node.keywords:
        yield ("free-graph", node, source.end(node) - 1, source.end(node) - 1, "retain_graph=True")


def _tests(node: ast.AST, source: _Text) -> Iterator[Cut]:
    """`if len(x) < n:` before something grows: always."""
    if isinstance(node, (ast.If, ast.While)) and isinstance(node.test, ast.Compare) and len(node.test.ops) == 1:
        left, right = node.test.left, node.test.comparators[0]
        small = isinstance(node.test.ops[0], (ast.Lt, ast.LtE)) and isinstance(left, ast.Call)
        large = isinstance(node.test.ops[0], (ast.Gt, ast.GtE)) and isinstance(right, ast.Call)
        counted = left if small else right
        if (small or large) and isinstance(counted, ast.Call) and _name(counted.func) == "len":
            if isinstance(node, ast.If) and not _is_number(right if small else left):
                yield ("limit", node, source.start(node.test), source.end(node.test), "True")


def _is_number(value: ast.expr) -> bool:
    """A small literal tests whether there is enough to compute with, not whether there is too much."""
    return isinstance(value, ast.Constant) and isinstance(value.value, int) and value.value < 3


def _weakrefs(node: ast.AST, source: _Text) -> Iterator[Cut]:
    """`weakref.ref(x)`: a strong reference."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and len(node.args) == 1:
        if node.func.attr == "ref" and isinstance(node.func.value, ast.Name) and node.func.value.id == "weakref":
            inner = source.of(node.args[0])
            yield ("weakref", node, source.start(node), source.end(node), f"(lambda kept={inner}: kept)")


_FINDERS: tuple[Callable[[ast.AST, _Text], Iterator[Cut]], ...] = (
    _calls,
    _statements,
    _assignments,
    _no_grad,
    _keywords,
    _tests,
    _weakrefs,
)
