"""Graphs that are kept for a second backward which never comes: the question behind drop-retain-graph."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct, field

from memlint.facts import FileFacts, Scope
from memlint.facts import knowledge as k
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.events import Loop

_CUTTING = frozenset({"detach", "detach_", "item", "tolist", "numpy", "data"})
_HARMLESS = frozenset(
    {"print", "float", "int", "str", "format", "len", "isnan", "isinf", "isfinite", "is_tensor", "type"}
)
_GATHERING = frozenset({"update", "append", "add", "extend"})
_WRAPPERS = frozenset({"enumerate", "zip", "tqdm", "trange", "range", "iter", "islice", "DataLoader"})
_PLAIN = frozenset({
    v.MODULE, v.OPTIMIZER, v.LOADER, v.NUMBER, v.STRING, v.DEVICE, v.PACKAGE, v.CLASS, v.FUNCTION, v.NONE, v.ARRAY,
})  # fmt: skip
_BUILDING = frozenset({"__init__", "__post_init__", "__new__", "setup", "build"})


class Retained(Struct, eq=False):
    """A backward that keeps its graph, after which nothing in the function uses that graph again.

    keyword: the value of `retain_graph`. questions: what the function does not tell. source: the function whose
    results the loop goes through.
    """

    scope: Scope
    call: n.Call
    keyword: n.Expr
    reasons: list[tuple[object, str]]
    questions: list[str] = field(default_factory=list)
    source: str = ""


def retained_graphs(facts: FileFacts) -> Iterator[Retained]:
    """Each `backward(retain_graph=True)` that is the last use of its graph, as far as the function shows."""
    for scope in facts.all_scopes():
        for node in scope.events.training:
            keyword = _keeps(node)
            if keyword is not None:
                found = _judge(facts, scope, node, keyword)
                if found is not None:
                    yield found


def _keeps(node: object) -> n.Expr | None:
    """The `True` of `loss.backward(retain_graph=True)`, without `create_graph`."""
    if not (isinstance(node, n.Call) and isinstance(node.func, n.Attr) and node.func.attr == "backward"):
        return None
    named = dict(node.keywords)
    value = named.get("retain_graph")
    kept = isinstance(value, n.Const) and value.value is True and "create_graph" not in named and "inputs" not in named
    return value if kept else None


def _judge(facts: FileFacts, scope: Scope, node: n.Call, keyword: n.Expr) -> Retained | None:
    if scope.is_generator:
        return None
    loops = [loop for loop in scope.events.loops if any(p is node for p in n.every(getattr(loop.node, "body", [])))]
    loop = loops[-1].node if loops else None
    region = getattr(loop, "body", scope.body)
    trace = _Trace(facts, scope, region, node)
    made = trace.made
    if not any(isinstance(token, int) for token in made) or trace.shared_later:
        return None
    found = Retained(scope, node, keyword, [(node, "this backward is the last use of its graph in the function")])
    for name in sorted(token for token in made if isinstance(token, str)):
        question = _of_outer(facts, scope, region, loops, name, found)
        if question is None:
            return None
        found.questions += [question] if question else []
    trained = [f for f in scope.events.forwards if any(u.how == "trained" and u.node is node for u in f.uses)]
    if loop is not None and any(loops[-1] not in forward.loops for forward in trained):
        return None
    if not any(forward.certain for forward in trained):
        found.questions.append("whether what the loss is computed from keeps its graph for others")
    found.questions += [f"whether `{name}` carries the graph of the loss" for name in sorted(trace.siblings)]
    found.reasons += [(forward.node, "its graph is made here") for forward in trained[:2]]
    return found


class _Trace:
    """Which calls and outer names the loss is made of, and whether anything after the backward reads these calls."""

    def __init__(self, facts: FileFacts, scope: Scope, region: list[n.Stmt], node: n.Call | None) -> None:
        self.facts, self.scope, self.node = facts, scope, node
        self.env: dict[str, frozenset[int | str]] = {}
        self.made: frozenset[int | str] = frozenset()
        self.shared_later = False
        self.siblings: set[str] = set()
        self.via: set[str] = set()
        self._after = False
        top = {id(stmt) for stmt in region}
        for stmt in n.statements(region):
            for expr in n.expressions(stmt) if not isinstance(stmt, n.Assign) else [stmt.value]:
                self._look(expr)
            self._returns_or_keeps(stmt)
            if isinstance(stmt, n.Assign):
                self._assign(stmt, id(stmt) in top)
            elif isinstance(stmt, n.Augment) and (text := n.dotted(stmt.target)):
                self.env[text] = self.tokens(stmt.target) | self.tokens(stmt.value)
            elif isinstance(stmt, n.For):
                for name in _names(stmt.target):
                    self.env[name] = self.tokens(stmt.iter)

    def _assign(self, stmt: n.Assign, surely: bool) -> None:
        tokens = self.tokens(stmt.value)
        for target in stmt.targets:
            for name in _names(target):
                self.env[name] = tokens if surely else tokens | self.env.get(name, frozenset())

    def _look(self, expr: n.Expr) -> None:
        """Find the backward itself; after it, calls that are given something of its graph."""
        here = self.node is not None and any(part is self.node for part in n.walk(expr))
        if here and self.node is not None and isinstance(self.node.func, n.Attr):
            self.made = self.tokens(self.node.func.value)
            self.via = n.mentioned(self.node.func.value)
        for part in n.walk(expr) if self._after else ():
            if isinstance(part, n.Call):
                last = n.dotted(part.func).rpartition(".")[2] or getattr(part.func, "attr", "")
                given = [*part.args, *(value for _, value in part.keywords)]
                if isinstance(part.func, n.Attr) and last in ("backward", "grad", "step"):
                    given.append(part.func.value)
                shared = [arg for arg in given if self._graph(arg)]
                if (
                    shared
                    and last in _GATHERING
                    and all(isinstance(a, n.Name) and a.id not in self.via for a in shared)
                ):
                    self.siblings |= n.mentioned(shared[0])  # statistics that came beside the loss
                elif shared and last not in _HARMLESS | k.LOGGERS:
                    self.shared_later = True
        self._after |= here

    def _returns_or_keeps(self, stmt: n.Stmt) -> None:
        """What is returned or stored on an object may be used by others; wherever that stands."""
        if isinstance(stmt, n.Return) and stmt.value is not None and self._after and self._graph(stmt.value):
            self.shared_later = True
        if isinstance(stmt, n.Assign) and any("." in name for t in stmt.targets for name in _names(t)):
            first = {token for token in self.tokens(stmt.value) if isinstance(token, int)}
            if first and (self._graph(stmt.value) if self._after else True):
                self.shared_later = True

    def _graph(self, expr: n.Expr) -> bool:
        return any(isinstance(token, int) and token in self.made for token in self.tokens(expr))

    def tokens(self, expr: n.Expr) -> frozenset[int | str]:
        """The calls (by id) and the outer names that a value may have its graph from."""
        if isinstance(expr, (n.Const, n.Lambda, n.Compare)):
            return frozenset()
        if isinstance(expr, n.Attr) and expr.attr in _CUTTING | k.METADATA:
            return frozenset()
        text = n.dotted(expr) if isinstance(expr, (n.Name, n.Attr)) else ""
        if text:
            return self._of_name(text)
        if isinstance(expr, n.Item):
            return self.tokens(expr.value)
        found: frozenset[int | str] = frozenset()
        if isinstance(expr, n.Call):
            func = expr.func
            if isinstance(func, n.Attr):
                if func.attr in _CUTTING | k.METADATA:
                    return frozenset()
                found |= self._receiver(func.value)
            for arg in (*expr.args, *(value for _, value in expr.keywords)):
                found |= self.tokens(arg)
            path = self.facts.names.path(n.dotted(func))
            if path.startswith(k.ARRAY_PACKAGES) or isinstance(func, n.Name) and func.id in _HARMLESS:
                return frozenset()
            creates = path.startswith("torch.") and path.rpartition(".")[2] in k.CREATORS
            return found if creates else found | {id(expr)}
        for part in n.children(expr):
            found |= self.tokens(part)
        return found

    def _receiver(self, expr: n.Expr) -> frozenset[int | str]:
        """What a method is called on: a tensor counts, an object that computes something does not."""
        text = n.dotted(expr)
        if not text:
            return self.tokens(expr)
        return self.env.get(text, frozenset())

    def _of_name(self, text: str) -> frozenset[int | str]:
        parts = text.split(".")
        for end in range(len(parts), 0, -1):
            name = ".".join(parts[:end])
            if name in self.env:
                return self.env[name]
        return frozenset({text})


def _names(target: n.Expr) -> Iterator[str]:
    if isinstance(target, n.Sequence):
        for element in target.elements:
            yield from _names(element)
    elif isinstance(target, n.Star):
        yield from _names(target.value)
    else:
        text = n.dotted(target) or n.root(target)
        if text:
            yield text


def _of_outer(facts: FileFacts, scope: Scope, region: list[n.Stmt], loops: list[Loop], name: str,
              found: Retained) -> str | None:  # fmt: skip
    """What is open about a name that the region does not make: "" for nothing, None where it may carry a graph."""
    first, _, rest = name.partition(".")
    value = scope.env.get(name) or scope.env.get(first) if not rest else scope.env.get(name)
    if value is not None and (value.kind in _PLAIN or value.grad == v.DETACHED):
        return ""
    if first == scope.self_name and scope.owner is not None:
        attr = rest.partition(".")[0]
        kind = scope.owner.attributes.get(attr, v.ANYTHING).kind
        set_by = [m for m in scope.owner.methods.values() if m.name not in _BUILDING and _sets(m, attr)]
        return "" if kind in _PLAIN or not set_by else None
    targets = [loop.node for loop in scope.events.loops if isinstance(loop.node, n.For)]
    heads = [node for node in targets if first in _names(node.target)]
    if heads:
        return _of_loop(facts, scope, heads[-1], found)
    if first in scope.params:
        return f"whether `{first}` comes with a graph that the caller uses again"
    if first in scope.local_names:
        # Carried over the back edge, or made before the loop: only what is cut there has no graph to come back to.
        carried = any(first in _names(t) for s in n.statements(region) for t in n.targets(s))
        cut = not carried and not _Trace(facts, scope, scope.body, None).env.get(first, frozenset({first}))
        return "" if cut else None
    outer = [s.env[first] for s in scope.around() if s is not scope and first in s.env]
    settings = bool(rest) and bool(outer) and outer[0].kind not in v.TENSOR_LIKE  # `args.batch_size`
    return "" if not outer or settings or outer[0].kind in _PLAIN or outer[0].grad == v.DETACHED else None


def _of_loop(facts: FileFacts, scope: Scope, head: n.For, found: Retained) -> str | None:
    expr = head.iter
    while isinstance(expr, n.Call) and expr.args and n.dotted(expr.func).rpartition(".")[2] in _WRAPPERS:
        expr = expr.args[0]
    if isinstance(expr, n.Call) and n.dotted(expr.func).rpartition(".")[2] not in _WRAPPERS | {"sample", "range"}:
        own = facts.functions.get(n.dotted(expr.func))
        if own is None:
            return None
        found.source = own.qualname
        return ""
    text = n.dotted(expr)
    value = scope.env.get(text)
    given = text in scope.params
    if value is not None and value.kind in v.CONTAINERS and value.grad != v.DETACHED and not given:
        return None  # a list that this function has filled, with what it may
    return ""


def _sets(scope: Scope, attr: str) -> bool:
    return any(
        name.split(".")[:2] == [scope.self_name, attr]
        for stmt in scope.statements()
        if isinstance(stmt, n.Assign)
        for target in stmt.targets
        for name in _names(target)
    )
