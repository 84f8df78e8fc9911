"""Files that are reloaded although the save may not have written them: the question behind reload-saved-only."""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import Struct, field

from memlint.facts import FileFacts, Scope
from memlint.facts import nodes as n
from memlint.facts.events import CallSite
from memlint.facts.loads import LOADERS, loads_weights
from memlint.facts.paths import Template, differ, last_part, literals, template
from memlint.facts.tracing import Uses
from memlint.facts.trials import is_unit_test

# Calls that write a file, with the position of its path.
WRITERS = {
    "torch.save": 1, "safetensors.torch.save_file": 1, "safetensors.torch.save_model": 1, "mlx.core.save": 0,
    "mlx.core.savez": 0, "mlx.core.save_safetensors": 0, "numpy.savez": 0, "numpy.save": 0,
}  # fmt: skip
_READERS = LOADERS | {"safetensors.torch.load_file", "mlx.core.load"}
_WRITING = frozenset({"save_weights", "save_pretrained", "save_state", "save_checkpoint", "save_model", "save"})
_TAKING = frozenset({"load_state_dict", "load_weights", "load_pretrained"})
_EXISTS = re.compile(r"exists|is_file|isfile|is_dir|isdir|glob|listdir|stat\b")
# Other processes may be the ones that write.
_RANKS = re.compile(r"rank|main_process|master|is_main|primary|chief|world", re.IGNORECASE)

NOTHING = "nothing"
ELSEWHERE = "elsewhere"


class Reload(Struct, eq=False):
    """A reload of something that may not have been saved.

    form: nothing (the save may return without writing), elsewhere (it wrote under another name).
    save: the call before. told: what the save says, or under what it writes.
    """

    scope: Scope
    form: str
    node: n.Call
    save: n.Call
    path: n.Expr
    told: str
    reasons: list[tuple[object, str]]
    questions: list[str] = field(default_factory=list)


class _Guard(Struct, eq=False):
    """What lets a saver return without writing. names: what it tests; interval: only when a count is due."""

    test: n.Expr
    names: set[str]


def reloads(facts: FileFacts) -> Iterator[Reload]:
    """Every such reload of a file."""
    if is_unit_test(facts.path):
        return
    for scope in facts.all_scopes():
        if scope.node is None or len(scope.events.calls) < 2:
            continue
        saves = [site for site in scope.events.calls if site.dropped and _writes(facts, scope, site)]
        for save in saves:
            found = next(_after(facts, scope, save), None)
            if found is not None:
                yield found


def _own(facts: FileFacts, scope: Scope, site: CallSite) -> Scope | None:
    """The function or method of this file that a call means."""
    if site.on_self and scope.owner is not None:
        return scope.owner.methods.get(site.name)
    if isinstance(site.node.func, n.Name):
        return facts.functions.get(site.node.func.id)
    cls = facts.classes.get(site.receiver.rpartition(".")[2]) if site.receiver else None
    return cls.methods.get(site.name) if cls is not None else None


def _writes(facts: FileFacts, scope: Scope, site: CallSite) -> bool:
    if site.path in WRITERS:
        return True
    own = _own(facts, scope, site)
    return own is not None and own is not scope and any(True for _ in _write_sites(own))


def _write_sites(saver: Scope) -> Iterator[CallSite]:
    """The calls in a saver that write: known ones, and methods of other objects that are called like one."""
    own = saver.owner.methods if saver.owner is not None else {}
    for site in saver.events.calls:
        name = site.name.rpartition(".")[2]
        if site.path in WRITERS or not site.path and name in _WRITING and not (site.on_self and name in own):
            yield site


def _after(facts: FileFacts, scope: Scope, save: CallSite) -> Iterator[Reload]:
    """What is reloaded in the same block behind a save."""
    following = _following(scope.body, save.node)
    inside = {id(part): guards for stmt, guards in following for expr in n.expressions(stmt) for part in n.walk(expr)}
    for site in scope.events.calls:
        if id(site.node) in inside:
            path = _reloaded(facts, scope, site)
            if path is not None:
                found = _judge(facts, scope, save, site, path, inside[id(site.node)])
                if found is not None:
                    yield found


def _following(body: list[n.Stmt], node: n.Call) -> list[tuple[n.Stmt, list[n.Expr | None]]]:
    """The statements behind a call in its block, each with the tests around it; None stands for a `try`."""
    for position, stmt in enumerate(body):
        if any(part is node for expr in n.expressions(stmt) for part in n.walk(expr)):
            return list(_flat(body[position + 1 :], []))
        for block in n.blocks(stmt):
            found = _following(block, node)
            if found and isinstance(stmt, n.With):
                return [*found, *_flat(body[position + 1 :], [])]
            if found:
                guards = [None] if isinstance(stmt, n.Try) else [stmt.test] if isinstance(stmt, n.If) else []
                return [(inner, [*guards, *tests]) for inner, tests in found]
    return []


def _flat(body: list[n.Stmt], tests: list[n.Expr | None]) -> Iterator[tuple[n.Stmt, list[n.Expr | None]]]:
    for stmt in body:
        yield stmt, tests
        more = [*tests, stmt.test] if isinstance(stmt, n.If) else [*tests, None] if isinstance(stmt, n.Try) else tests
        for block in n.blocks(stmt):
            yield from _flat(block, more)
        if isinstance(stmt, n.If) and stmt.body and isinstance(stmt.body[-1], (n.Return, n.Raise, n.Jump)):
            tests = [*tests, stmt.test]


def _reloaded(facts: FileFacts, scope: Scope, site: CallSite) -> n.Expr | None:
    """The path of weights that a call reads back: directly, or by a function of this file."""
    if site.path in _READERS and site.node.args:
        taken = any(loads_weights(use) or use.name in _TAKING for use in Uses(scope.body).of(site.node))
        return site.node.args[0] if taken else None
    if site.name.rpartition(".")[2] in ("load_weights", "load_adapter") and len(site.node.args) > 0:
        return site.node.args[0]
    own = _own(facts, scope, site)
    if own is None or own is scope or _EXISTS.search(" ".join(s.name for s in own.events.calls)):
        return None
    takes = any(s.name.rpartition(".")[2] in _TAKING for s in own.events.calls)
    for inner in own.events.calls:
        reads = inner.path in _READERS or inner.name.rpartition(".")[2] == "load_weights"
        if reads and takes and inner.node.args and isinstance(inner.node.args[0], n.Name):
            argument = _argument(own, site.node, inner.node.args[0].id)
            if argument is not None:
                return argument
    return None


def _argument(own: Scope, call: n.Call, parameter: str) -> n.Expr | None:
    if parameter not in own.params:
        return None
    return call.argument(own.params.index(parameter) - (1 if own.self_name else 0), parameter)


def _judge(
    facts: FileFacts, scope: Scope, save: CallSite, load: CallSite, path: n.Expr, guards: list[n.Expr | None]
) -> Reload | None:
    tests = [test for test in guards if test is not None]
    if any(_EXISTS.search(facts.text(test)) for test in tests):
        return None
    saver = _own(facts, scope, save)
    wanted = template(facts, scope, path)
    written = _written(facts, scope, save, saver)
    if wanted is not None and written and all(differ(wanted, one) for one in written):
        return _elsewhere(facts, scope, save, load, path, wanted, written[0])
    if saver is None or None in guards:
        return None
    guard = _may_skip(facts, saver)
    told = {name for test in (*tests, *_tests_before(scope, save.node)) for name in n.mentioned(test)}
    if guard is None or {_last(name) for name in guard.names} & {_last(name) for name in told}:
        return None
    if not written and not _handed_on(save.node, path, wanted):
        return None
    text = facts.text(guard.test)
    reasons: list[tuple[object, str]] = [
        (save.node, "this is to write it, and what it returns is dropped"),
        (guard.test, f"but it returns without writing, depending on `{text}`"),
    ]
    found = Reload(scope, NOTHING, load.node, save.node, path, text, reasons)
    if _RANKS.search(text):
        if any("barrier" in site.name or "wait" in site.name for site in scope.events.calls):
            return None
        found.questions.append("whether the other processes wait until the file is there")
    elif (off := _switched_off(facts, saver, guard)) is not None:
        reasons.append((off, "which may be so from the start"))
    else:
        found.questions.append(f"whether `{text}` ever keeps it from writing")
    return found


def _last(name: str) -> str:
    """An attribute is the same whatever its object is called where it is asked for."""
    return name.rpartition(".")[2]


def _handed_on(call: n.Call, path: n.Expr, wanted: Template | None) -> bool:
    """Whether the path that is reloaded was given to the save, or the step that it is named after."""
    given = {n.dotted(part) for part in (*call.args, *(value for _, value in call.keywords))} - {""}
    parts = {text for literal, text in last_part(wanted) if not literal} if wanted is not None else set()
    return bool(given & {n.dotted(path), *parts})


# -- savers that may do nothing --------------------------------------------------------------------------------------


def _may_skip(facts: FileFacts, saver: Scope) -> _Guard | None:
    """What keeps a saver from writing: an early return, or an `if` around all that it writes."""
    writes = {id(site.node) for site in _write_sites(saver)}
    body = saver.body
    while len(body) == 1 and isinstance(body[0], n.With):
        body = body[0].body
    for stmt in body:
        holds = any(id(part) in writes for s in n.statements([stmt]) for e in n.expressions(s) for part in n.walk(e))
        if isinstance(stmt, n.If) and not stmt.orelse:
            leaves = bool(stmt.body) and isinstance(stmt.body[-1], n.Return)
            if leaves and not holds or holds and not leaves:
                return _guard(facts, saver, stmt.test)
        if holds:
            return None
    return None


def _guard(facts: FileFacts, saver: Scope, test: n.Expr) -> _Guard | None:
    """None where the test is about what the caller hands in, or about the file."""
    names = {name for name in n.mentioned(test) if name not in saver.params or name == saver.self_name}
    given = n.mentioned(test) & (set(saver.params) - {saver.self_name})
    names = {name for name in names if name not in (saver.self_name, "None")}
    if given or not names or _EXISTS.search(facts.text(test)):
        return None
    return _Guard(test, {name for name in names if "." in name or name not in saver.local_names})


def _switched_off(facts: FileFacts, saver: Scope, guard: _Guard) -> object:
    """Where the tested attribute is set so that nothing is written: to None, False, or a default that is."""
    attributes = {name.partition(".")[2] for name in guard.names if name.startswith(f"{saver.self_name}.")}
    made = saver.owner.methods.get("__init__") if saver.owner is not None else None
    if made is None or made.node is None or not _asks_plainly(guard.test):
        return None
    off = {name for name, default in made.node.defaults.items() if _is_off(default)} - _always_given(facts, made)
    for stmt in made.statements():
        if isinstance(stmt, n.Assign) and any(n.dotted(t).partition(".")[2] in attributes for t in stmt.targets):
            value = stmt.value
            choice = isinstance(value, n.Choice) and (_is_off(value.body) or _is_off(value.orelse))
            if _is_off(value) or choice or isinstance(value, n.Name) and value.id in off:
                return stmt
    return None


def _always_given(facts: FileFacts, made: Scope) -> set[str]:
    """The parameters of a constructor that each of its calls in this file gives something."""
    assert made.owner is not None
    calls = [site.node for scope in facts.all_scopes() for site in scope.events.calls
             if n.dotted(site.node.func) == made.owner.name]  # fmt: skip
    given = (
        {name for name in made.params if (value := _argument(made, call, name)) is not None and not _is_off(value)}
        for call in calls
    )
    return set(made.params).intersection(*given) if calls else set()


def _asks_plainly(test: n.Expr) -> bool:
    """`x`, `not x`, `x is None`, `x is not None`."""
    if isinstance(test, n.Unary):
        test = test.operand
    if isinstance(test, n.Compare):
        return len(test.rest) == 1 and isinstance(test.rest[0][1], n.Const) and test.rest[0][1].value is None
    return isinstance(test, (n.Name, n.Attr))


def _is_off(value: n.Expr) -> bool:
    return (
        isinstance(value, n.Const)
        and (value.value is None or value.value is False)
        or (isinstance(value, n.Name) and value.id in ("None", "False"))
    )


def _tests_before(scope: Scope, node: n.Call) -> Iterator[n.Expr]:
    """The tests around a call, and those before it that leave the function."""
    yield from _search(scope.body, node) or ()


def _search(body: list[n.Stmt], node: n.Call) -> list[n.Expr] | None:
    left: list[n.Expr] = []
    for stmt in body:
        if any(part is node for expr in n.expressions(stmt) for part in n.walk(expr)):
            return left
        for block in n.blocks(stmt):
            found = _search(block, node)
            if found is not None:
                return [*left, *found, *([stmt.test] if isinstance(stmt, (n.If, n.While)) else [])]
        if isinstance(stmt, n.Assert) or isinstance(stmt, n.If) and _leaves(stmt.body):
            left.append(stmt.test)
    return None


def _leaves(body: list[n.Stmt]) -> bool:
    return bool(body) and isinstance(body[-1], (n.Return, n.Raise, n.Jump))


# -- saved under another name ----------------------------------------------------------------------------------------


def _elsewhere(
    facts: FileFacts, scope: Scope, save: CallSite, load: CallSite, path: n.Expr, wanted: Template, written: Template
) -> Reload | None:
    """A file that is named after this very step can only have been written in it, and was not."""
    counts = {text for literal, text in last_part(wanted) if not literal}
    if not counts or not counts <= {text for literal, text in written if not literal}:
        return None
    if not all(_counts_up(facts, scope, text) for text in counts):
        return None
    for other in facts.all_scopes():
        for site in other.events.calls:
            if site.path in WRITERS and len(site.node.args) > WRITERS[site.path]:
                one = template(facts, other, site.node.args[WRITERS[site.path]])
                if one is None and site is not save and other is not _own(facts, scope, save):
                    return None  # nobody knows what that writes
                if one is not None and literals(one) == literals(wanted):
                    return None
    name = "".join(text if literal else f"{{{text}}}" for literal, text in last_part(written))
    reasons: list[tuple[object, str]] = [(save.node, f"this step's file is written as `{name}`")]
    return Reload(scope, ELSEWHERE, load.node, save.node, path, name, reasons)


def _counts_up(facts: FileFacts, scope: Scope, text: str) -> bool:
    """Whether a name counts something: it is added to somewhere, or runs through a loop."""
    owner = scope.owner
    inside = [s for s in facts.all_scopes() if s is scope or owner is not None and s.owner is owner]
    for stmt in (stmt for s in inside for stmt in s.statements()):
        if isinstance(stmt, n.Augment) and n.dotted(stmt.target) == text:
            return True
        if isinstance(stmt, n.For) and text in n.mentioned(stmt.target):
            return True
        if isinstance(stmt, n.Assign) and isinstance(stmt.value, n.Binary) and text in n.mentioned(stmt.value):
            if text in [n.dotted(target) for target in stmt.targets]:
                return True
    return False


def _written(facts: FileFacts, scope: Scope, save: CallSite, saver: Scope | None) -> list[Template]:
    """Under what a save writes, in the caller's words; empty where that is not known of each write."""
    if saver is None:
        one = (
            template(facts, scope, save.node.args[WRITERS[save.path]])
            if save.path in WRITERS and len(save.node.args) > WRITERS[save.path]
            else None
        )
        return [one] if one is not None else []
    found = []
    for site in _write_sites(saver):
        position = WRITERS.get(site.path, len(site.node.args))  # of other methods nobody knows where they write
        one = template(facts, saver, site.node.args[position]) if len(site.node.args) > position else None
        if one is None:
            return []
        found.append(_in_callers_words(facts, scope, save, saver, one))
    return found


def _in_callers_words(facts: FileFacts, scope: Scope, save: CallSite, saver: Scope, one: Template) -> Template:
    out: list[tuple[bool, str]] = []
    for literal, text in one:
        argument = None if literal else _argument(saver, save.node, text)
        inner = template(facts, scope, argument) if argument is not None else None
        out += inner if inner is not None else [(literal, text)]
    return tuple(out)
