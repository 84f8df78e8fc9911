"""Figures, pools and writers that nobody closes: the question behind close-resources.

Only what lives on without a reference is asked about. Files, memory maps and executors end with their last reference.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from memlint.facts import FileFacts, Scope
from memlint.facts import nodes as n
from memlint.facts.events import CONSTANT, CallSite
from memlint.facts.tracing import Usage, Uses
from memlint.facts.trials import is_unit_test

FIGURE, POOL, WRITER = "figure", "pool", "writer"
_MAKERS = {
    "matplotlib.pyplot.figure": FIGURE,
    "matplotlib.pyplot.subplots": FIGURE,
    "multiprocessing.Pool": POOL,
    "multiprocessing.pool.Pool": POOL,
    "multiprocessing.pool.ThreadPool": POOL,
    "multiprocessing.dummy.Pool": POOL,
    "torch.multiprocessing.Pool": POOL,
    "torch.utils.tensorboard.SummaryWriter": WRITER,
    "torch.utils.tensorboard.writer.SummaryWriter": WRITER,
    "tensorboardX.SummaryWriter": WRITER,
    "tensorflow.summary.FileWriter": WRITER,
    "tensorflow.summary.create_file_writer": WRITER,
    "tensorflow.compat.v1.summary.FileWriter": WRITER,
}
_CLOSING = frozenset({"close", "terminate", "join", "shutdown", "clf", "cla", "show", "__exit__", "pause"})
# What a figure was made for is done with it; the last ones copy it and leave it open.
_FINISHING = frozenset({"savefig", "add_figure", "print_figure", "tostring_rgb", "buffer_rgba", "Image", "log_figure"})
_TORCH_WRITERS = frozenset(path for path, kind in _MAKERS.items() if kind == WRITER and "ensorboard" in path)
_NEUTRAL = frozenset({"staticmethod", "classmethod", "property", "torch.no_grad", "abstractmethod"})


class Unclosed(Struct, eq=False):
    """A resource that stays open. repeats: a loop of the function opens one after the other."""

    scope: Scope
    node: n.Call
    kind: str
    repeats: bool
    reasons: list[tuple[object, str]]
    question: str = ""


def unclosed(facts: FileFacts) -> Iterator[Unclosed]:
    """Every such resource of a file."""
    if is_unit_test(facts.path):
        return
    for scope in facts.all_scopes():
        sites = [site for site in scope.events.calls if site.path in _MAKERS]
        if not sites or scope.node is not None and (scope.is_generator or _decorated(scope)):
            continue
        uses = Uses(scope.body)
        for site in sites:
            repeats = any(loop.kind != CONSTANT for loop in site.loops)
            if scope.is_module_body and not repeats:
                continue  # a script's end closes it
            judge = _figure if _MAKERS[site.path] == FIGURE else _worker
            found = judge(facts, scope, site, uses, repeats)
            if found is not None:
                yield found


def _decorated(scope: Scope) -> bool:
    """Decorators may close what the function opens."""
    assert scope.node is not None
    names = [n.dotted(d.func if isinstance(d, n.Call) else d) for d in scope.node.decorators]
    return any(name not in _NEUTRAL for name in names)


def _worker(facts: FileFacts, scope: Scope, site: CallSite, uses: Uses, repeats: bool) -> Unclosed | None:
    """A pool, or a writer with its thread."""
    kind = _MAKERS[site.path]
    found = list(uses.of(site.node))
    kept = {"returned", "stored", "unpacked", "computed", "attribute", "iterated"}
    if any(_closes(u) or u.how in kept and not u.through for u in found):
        return None
    if any(u.how == "passed" and not _own_plain_function(facts, u) for u in found) or _managed(site.node, uses):
        return None
    if _seen_elsewhere(scope, site.node, uses):
        return None
    if kind == WRITER and scope.name == "main":
        return None
    used = next((u for u in found if u.how == "method"), None)
    if used is None:
        return None
    what = "its workers wait for more" if kind == POOL else "its file and its thread stay open"
    question = "whether the process lives on after this" if scope.name == "main" else ""
    return Unclosed(scope, site.node, kind, repeats, [(used.node, f"used here, and never closed: {what}")], question)


def _closes(use: Usage) -> bool:
    return use.how == "method" and use.name in _CLOSING or use.how == "passed" and "close" in use.name


def _managed(node: n.Call, uses: Uses) -> bool:
    stmt = uses.statement(node)
    if isinstance(stmt, n.With):
        return True
    if not isinstance(stmt, n.Assign):
        return False
    names = {n.dotted(target) for target in stmt.targets}
    heads = [item for s in uses.statements if isinstance(s, n.With) for item, _ in s.items]
    return any(names & n.mentioned(head) for head in heads)


def _seen_elsewhere(scope: Scope, node: n.Call, uses: Uses) -> bool:
    """A function inside this one, or the module under a global name, may close it."""
    stmt = uses.statement(node)
    names = {n.dotted(target) for target in stmt.targets} if isinstance(stmt, n.Assign) else set()
    if names & scope.globals:
        return True
    return any(names & n.mentioned(expr) for inner in scope.inner for expr in inner.every())


def _own_plain_function(facts: FileFacts, use: Usage) -> bool:
    """A function of this file that is given the resource and does not close it."""
    own = facts.functions.get(use.name)
    if own is None or not isinstance(use.node.func, n.Name):
        return False
    return not any(attr.attr in _CLOSING for attr in own.of_type(n.Attr))


def _figure(facts: FileFacts, scope: Scope, site: CallSite, uses: Uses, repeats: bool) -> Unclosed | None:
    """A figure of pyplot, which keeps every figure until it is closed."""
    node = site.node
    number = node.argument(0, "num") if site.path.endswith(".figure") else node.argument(99, "num")
    if number is not None or any(name == "**" for name, _ in node.keywords):
        return None  # the same number is the same figure
    calls = [c for c in scope.events.calls if c.name.rpartition(".")[2] in _CLOSING or "close" in c.name]
    if calls or _callers_close(facts, scope) or _managed(node, uses):
        return None
    found = list(_figure_uses(node, uses))
    if any(u.how in ("returned", "stored", "computed") and not u.through for u in found):
        return None
    if any(u.how == "passed" and u.name not in _FINISHING for u in found):
        return None
    last = [c for c in scope.events.calls if c.name.rpartition(".")[2] in _FINISHING and _later(c, site, uses)]
    done = last[0] if last else None
    if done is None:
        return None
    question = ""
    if done.name == "add_figure":
        if done.receiver in _TORCH_WRITERS or any(name == "close" for name, _ in done.node.keywords):
            return None
        question = "whether this logger closes the figure that it is given, as TensorBoard's own writer does"
    reasons: list[tuple[object, str]] = [(done.node, "it has served its purpose here, and pyplot still holds it")]
    return Unclosed(scope, node, FIGURE, repeats, reasons, question)


def _later(call: CallSite, site: CallSite, uses: Uses) -> bool:
    return uses.order.get(id(call.node), -1) > uses.order.get(id(site.node), -1)


def _figure_uses(node: n.Call, uses: Uses) -> Iterator[Usage]:
    stmt = uses.statement(node)
    if isinstance(stmt, n.Assign) and stmt.value is node:
        for target in stmt.targets:
            first = target.elements[0] if isinstance(target, n.Sequence) and target.elements else target
            text = n.dotted(first)
            if "." in text or not text:
                yield Usage("stored", text, target)
            for read in uses.reads(text, stmt):
                yield from uses.of(read)
            for other in target.elements[1:] if isinstance(target, n.Sequence) else ():
                names = {n.dotted(part) for part in n.walk(other)}
                returned = [s for s in uses.statements if isinstance(s, n.Return) and s.value is not None]
                if any(names & n.mentioned(s.value) for s in returned if s.value is not None):
                    yield Usage("returned", text, stmt)
    else:
        yield from uses.of(node)


def _callers_close(facts: FileFacts, scope: Scope) -> bool:
    """Somebody who calls this function closes figures."""
    for other in facts.all_scopes():
        names = [call.name.rpartition(".")[2] for call in other.events.calls]
        if scope.name in names and "close" in names:
            return True
    return False
