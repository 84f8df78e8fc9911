"""Pure work that each pass of a loop does again on what nothing changes: the question behind cache-serialization."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from memlint.facts import FileFacts, Scope
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.events import CallSite, Loop
from memlint.facts.ticking import ALWAYS, TICK, bound_in, reached, ticking
from memlint.facts.trials import is_trial

_SERIALIZERS = frozenset({
    "json.dumps", "json.dump", "simplejson.dumps", "ujson.dumps", "orjson.dumps", "pickle.dumps", "pickle.dump",
    "cloudpickle.dumps", "dill.dumps", "marshal.dumps", "yaml.dump", "yaml.safe_dump", "msgpack.packb",
    "msgpack.dumps", "pprint.pformat",
})  # fmt: skip
# Decompositions and inverses: cubic in the matrix, the same result for the same matrix.
_DECOMPOSING = frozenset({
    "inv", "pinv", "eig", "eigh", "eigvals", "eigvalsh", "svd", "svdvals", "cholesky", "qr", "det", "slogdet",
    "matrix_rank", "matrix_exp", "expm", "inv_ex", "cholesky_ex", "lu_factor", "lu", "schur",
})  # fmt: skip
_ALGEBRA = ("numpy.linalg.", "torch.linalg.", "scipy.linalg.")
_VIEWS = frozenset({"vars", "dict", "list", "tuple", "sorted", "dataclasses.asdict"})
_READING = frozenset({
    "get", "keys", "values", "items", "index", "count", "copy", "to_dict", "shape", "size", "dim", "numel", "sum",
    "mean", "max", "min", "dot", "matmul", "mm", "t", "tolist", "item", "norm",
})  # fmt: skip
_HARMLESS = frozenset({
    "print", "len", "str", "repr", "isinstance", "sorted", "list", "dict", "tuple", "set", "sum", "min", "max", "any",
    "all", "enumerate", "zip", "range", "vars", "bool", "hash", "id", "type", "format",
})  # fmt: skip
_SETTING_UP = frozenset({"__init__", "__post_init__", "setup", "<module>"})


class Repeated(Struct, eq=False):
    """A call that gives the same result in each pass. of: the source of what it works on."""

    scope: Scope
    node: n.Call
    of: str
    loop: Loop | None
    attribute: str
    reasons: list[tuple[object, str]]


def repeated(facts: FileFacts) -> Iterator[Repeated]:
    """One for each such call."""
    if is_trial(facts.path):
        return
    for scope in facts.all_scopes():
        for site in scope.events.calls:
            if not _is_pure_and_slow(site) or not site.node.args or any(key == "out" for key, _ in site.node.keywords):
                continue
            how = reached(scope, site)
            if how == TICK or how == ALWAYS and scope.node is not None and scope.name not in _SETTING_UP:
                found = _judge(facts, scope, site, how)
                if found is not None:
                    yield found


def _is_pure_and_slow(site: CallSite) -> bool:
    if site.path in _SERIALIZERS:
        return True
    return site.path.startswith(_ALGEBRA) and site.path.rpartition(".")[2] in _DECOMPOSING


def _judge(facts: FileFacts, scope: Scope, site: CallSite, how: str) -> Repeated | None:
    loops = [loop for loop in site.loops if loop.kind not in ("items", "constant", "structure")]
    if len(loops) != len(site.loops):
        return None  # for each of several things
    loop = loops[-1] if how == TICK else None
    given = [*site.node.args, *(value for _, value in site.node.keywords)]
    if site.path.endswith(".dump") and not site.path.startswith("yaml."):
        given = [site.node.args[0]]
    names: dict[str, n.Expr] = {}
    for argument in given:
        if not _plain(facts, argument):
            return None
        for part in n.walk(argument):
            if isinstance(part, (n.Name, n.Attr)) and (text := n.dotted(part)) and not _is_callee(argument, part):
                names.setdefault(text, part)
    whole = [text for text in names if not any(other.startswith(f"{text}.") for other in names)]
    if not whole:
        return None
    attribute = ""
    for text in whole:
        if scope.self_name and text.startswith(f"{scope.self_name}."):
            if not _set_once(facts, scope, text.partition(".")[2]):
                return None
            attribute = text.partition(".")[2].partition(".")[0]
        elif facts.names.path(text):
            continue  # a constant of a module, or a function
        elif loop is None or not _left_alone(facts, scope, text, loop, site.node):
            return None
    reasons: list[tuple[object, str]] = []
    if loop is not None:
        reasons = [(n.head(loop.node), f"this loop {ticking(scope, loop)}, and changes none of it")]
    return Repeated(scope, site.node, ", ".join(whole), loop, attribute, reasons)


def _plain(facts: FileFacts, expr: n.Expr) -> bool:
    """Names, literals and displays of these; `vars(args)`, `asdict(config)`."""
    for part in n.walk(expr):
        if isinstance(part, n.Call):
            text = n.dotted(part.func)
            if (facts.names.path(text) or text) not in _VIEWS:
                return False
        elif isinstance(part, (n.Comprehension, n.Await, n.Yield, n.Walrus, n.Text)):
            return False
    return True


def _is_callee(expr: n.Expr, node: n.Expr) -> bool:
    return any(isinstance(part, n.Call) and part.func is node for part in n.walk(expr))


def _left_alone(facts: FileFacts, scope: Scope, text: str, loop: Loop, call: n.Call) -> bool:
    """Whether nothing in the loop binds a local name, changes what it means, or hands it to who might."""
    root = text.partition(".")[0]
    body = getattr(loop.node, "body", [])
    bound = bound_in(loop.node)
    if text in bound or root in bound or root not in scope.local_names | set(scope.params):
        return False
    if root in scope.globals or any(root in _free(inner) for inner in scope.inner):
        return False
    value = scope.env.get(root, v.ANYTHING)
    if value.kind in v.TENSOR_LIKE and value.grad != v.DETACHED or value.kind == v.MODULE:
        return False
    if not _made_of_its_own(scope, root):
        return False
    own = {id(part) for part in n.walk(call)}
    for stmt in n.statements(body):
        targets = stmt.targets if isinstance(stmt, n.Assign) else []
        targets = [stmt.target] if isinstance(stmt, (n.Augment, n.Delete, n.For)) else targets
        if any(n.root(part) == root for target in targets for part in n.walk(target)):
            return False
        if isinstance(stmt, n.Assign) and n.dotted(stmt.value).partition(".")[0] == root:
            return False  # under another name it may be changed
        if isinstance(stmt, n.Return):
            continue
        for expr in n.expressions(stmt):
            for part in n.walk(expr):
                if id(part) not in own and _may_change(facts, part, root, own):
                    return False
    return True


def _made_of_its_own(scope: Scope, root: str) -> bool:
    """Whether a local name is a parameter, or bound to something new: no second name for what others change."""
    values = [
        stmt.value
        for stmt in scope.statements()
        if isinstance(stmt, n.Assign) and any(n.dotted(target) == root for target in stmt.targets)
    ]
    if not values:
        return root in scope.params
    return all(isinstance(value, (n.Call, n.Mapping, n.Sequence, n.Binary, n.Comprehension)) for value in values)


def _may_change(facts: FileFacts, part: n.Expr, root: str, own: set[int]) -> bool:
    """Whether a call that is none of our own may change what a name means."""
    if not isinstance(part, n.Call):
        return False
    callee = n.dotted(part.func)
    if isinstance(part.func, n.Attr) and n.root(part.func.value) == root and part.func.attr not in _READING:
        return True
    if callee in _HARMLESS or facts.names.path(callee).startswith(("numpy.", "torch.", "math.", "json.", "scipy.")):
        return callee.endswith("_") or any(key == "out" for key, _ in part.keywords)
    given = [*part.args, *(value for _, value in part.keywords)]
    inside = (inner for value in given for inner in n.walk(value) if id(inner) not in own)
    return any(isinstance(inner, n.Name) and inner.id == root for inner in inside)


def _free(scope: Scope) -> set[str]:
    return {part.id for inner in scope.within() for part in inner.of_type(n.Name)}


def _set_once(facts: FileFacts, scope: Scope, path: str) -> bool:
    """Whether an attribute is bound by constructors only, and nothing in the file changes what it holds."""
    attribute = path.partition(".")[0]
    if scope.owner is None or attribute not in scope.owner.attributes:
        return False
    value = scope.owner.attributes[attribute]
    if value.kind in v.TENSOR_LIKE and value.grad != v.DETACHED or value.kind in (v.MODULE, v.OPTIMIZER, v.QUEUE):
        return False
    for other in facts.all_scopes():
        for stmt in other.statements():
            targets = stmt.targets if isinstance(stmt, n.Assign) else []
            targets = [stmt.target] if isinstance(stmt, (n.Augment, n.Delete)) else targets
            for target in targets:
                touched = any(isinstance(part, n.Attr) and part.attr == attribute for part in n.walk(target))
                if touched and not (
                    other.name in _SETTING_UP and isinstance(target, n.Attr) and target.attr == attribute
                ):
                    return False
        for part in other.every():
            if isinstance(part, n.Call) and other.name not in _SETTING_UP and _uses(part, attribute):
                return False
    return True


def _uses(call: n.Call, attribute: str) -> bool:
    """Whether a method of what an attribute holds is called, or it is handed to a function that may change it."""
    if isinstance(call.func, n.Attr):
        holder: n.Expr = call.func.value
        while isinstance(holder, (n.Item, n.Call)):
            holder = holder.value if isinstance(holder, n.Item) else holder.func
        if isinstance(holder, n.Attr) and holder.attr == attribute and call.func.attr not in _READING:
            return True
    callee = n.dotted(call.func)
    if callee in _HARMLESS or callee.rpartition(".")[2] in ("dumps", "dump", "packb", "pformat", *_DECOMPOSING):
        return False
    given = [*call.args, *(value for _, value in call.keywords)]
    return any(isinstance(part, n.Attr) and part.attr == attribute for part in given)
