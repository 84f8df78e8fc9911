"""Checkpoints that are read back onto the device they were saved from: the question behind map-checkpoint."""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import Struct

from memlint.facts import FileFacts, Scope
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.events import CallSite
from memlint.facts.tracing import Usage, Uses
from memlint.facts.trials import is_unit_test

LOADERS = frozenset({"torch.load", "torch.serialization.load"})
_IN_MEMORY = frozenset({"io.BytesIO"})
# Entries that only checkpoints have.
KEYS = re.compile(
    r"state_?dict|optimi[sz]er|^(model|net|network|params|weights|ema|optim|generator|discriminator|encoder|decoder|actor"
    r"|critic|epoch|params_ema|hyper_?parameters|model_(state|weights|params|dict))$"
)
# What these hold are numbers and small states, not weights.
_SMALL = re.compile(r"sched|scaler|sampler|rng", re.IGNORECASE)
_FILES = re.compile(r"\.(pth|ckpt|pth\.tar|safetensors|bin)$")
_PATHS = re.compile(r"check_?point|ckpt|weight|pretrain|resume|model", re.IGNORECASE)
_MODULE_METHODS = frozenset({
    "parameters", "named_parameters", "state_dict", "load_state_dict", "eval", "modules", "named_modules", "children",
    "zero_grad", "flatten_parameters", "requires_grad_",
})  # fmt: skip
_MOVES = frozenset({"to", "cuda", "cpu"})
# Callees that put a whole saved state back, of objects that also hand it out.
_RESTORERS = frozenset({"set_state", "set_state_dict", "load_objects", "load_state", "restore_state", "set_weights"})
_DEVICES = re.compile(r"cuda|device|gpu|accelerat|\bmps\b|\bnpu\b|\bxpu\b", re.IGNORECASE)


class Loaded(Struct, eq=False):
    """A `torch.load` that says nothing of devices. question: what keeps it from being proved.

    stays: a whole module that is used where it lands, so that loading it elsewhere would move it.
    """

    scope: Scope
    node: n.Call
    stays: bool
    reasons: list[tuple[object, str]]
    question: str = ""


def unmapped_loads(facts: FileFacts) -> Iterator[Loaded]:
    """Every such load of a file."""
    if is_unit_test(facts.path) or re.search(r"\btorch\.load\s*=[^=]", facts.source.text):
        return
    for scope in facts.all_scopes():
        sites = [site for site in scope.events.calls if site.path in LOADERS]
        open_sites = [site for site in sites if site.node.args and not _says_where(site.node)]
        if not open_sites or _writes_from_cpu(facts):
            continue
        open_sites = [site for site in open_sites if not _written_before(facts, scope, site)]
        mapped = {facts.text(s.node.args[0]) for s in sites if s.node.args and _says_where(s.node)}
        uses = Uses(scope.body)
        for site in open_sites:
            found = _judge(facts, scope, site, uses, mapped)
            if found is not None:
                yield found


def _written_before(facts: FileFacts, scope: Scope, load: CallSite) -> bool:
    """Whether the function itself has saved what it loads, from where it is wanted again."""
    path = facts.text(load.node.args[0])
    for site in scope.events.calls:
        if site is load:
            return False
        if site.path == "torch.save" and len(site.node.args) > 1 and facts.text(site.node.args[1]) == path:
            return True
    return False


def _says_where(call: n.Call) -> bool:
    """map_location in either form; a mapped file; or arguments that nobody can see."""
    names = {name for name, _ in call.keywords}
    return (
        len(call.args) > 1
        or bool(names & {"map_location", "mmap", "**"})
        or any(isinstance(argument, n.Star) for argument in call.args)
    )


def _writes_from_cpu(facts: FileFacts) -> bool:
    """A program that trains and saves and never speaks of a device: its own checkpoints come from the CPU."""
    if _DEVICES.search(facts.source.text) or "torch.save" not in facts.source.text:
        return False
    return any(scope.events.training for scope in facts.all_scopes())


def _judge(facts: FileFacts, scope: Scope, site: CallSite, uses: Uses, mapped: set[str]) -> Loaded | None:
    node, path = site.node, site.node.args[0]
    if site.args and site.args[0].path in _IN_MEMORY:
        return None
    found = [u for u in uses.of(node) if not (loads_weights(u) and _SMALL.search(facts.text(u.node.func)))]
    sure = next(((u, why) for u in found if (why := _shows_checkpoint(u, uses))), None)
    moves = [u for u in found if u.how == "method" and u.name in _MOVES]
    module = any(u.how == "method" and u.name in _MODULE_METHODS for u in found) or _is_module(scope, uses, node)
    if sure is None and module:
        sure = next((u for u in found if u.how == "method"), Usage("stored", "", node)), "used as a module"
    keeps = module and not moves and not any(loads_weights(u) for u in found)
    if sure is not None:
        question = "whether it is meant to go to the accelerator: another branch says where, this one does not"
        return Loaded(scope, node, keeps, [(sure[0].node, sure[1])], question if facts.text(path) in mapped else "")
    mapping = next((u for u in found if u.how == "method" and u.name in ("items", "keys") and not u.through), None)
    named = bool(_PATHS.search(facts.text(path)) or isinstance(path, n.Const) and _FILES.search(str(path.value)))
    resaved = next((u for u in found if u.how == "passed" and u.name == "save" and not u.through), None)
    handed = _handed_on(found, named)
    hint = mapping or resaved or handed
    if hint is None and named and (note := _said_to_hold_tensors(facts, uses, node)) is not None:
        return Loaded(
            scope, node, keeps, [(note, "a dict of tensors, as its annotation says")], "whether the file holds weights"
        )
    if hint is None or not (named or hint is handed) or hint is mapping and _of_records(hint, uses):
        return None
    what = "read as a dict of tensors" if mapping else "saved again" if resaved else _HANDED[hint.how]
    return Loaded(scope, node, keeps, [(hint.node, what)], "whether the file holds weights")


_HANDED = {"returned": "handed back as it lies on the device", "passed": "put back as a whole state here"}


def _handed_on(found: list[Usage], named: bool) -> Usage | None:
    """Where a load is given back as it is, by a function whose path speaks of weights, or put back as a state."""
    plain = [use for use in found if not (use.through or use.entry)]
    restored = next((use for use in plain if use.how == "passed" and use.name in _RESTORERS), None)
    if restored is not None or not named or len(plain) != 1:
        return restored
    whole = plain[0].how == "returned" and isinstance(plain[0].node.value, (n.Call, n.Name, n.Choice))
    return plain[0] if whole else None


def _said_to_hold_tensors(facts: FileFacts, uses: Uses, node: n.Call) -> n.Expr | None:
    """The annotation of what a load is bound to, where it says `dict[str, Tensor]`."""
    stmt = uses.statement(node)
    if not (isinstance(stmt, n.Assign) and stmt.value is node and stmt.annotation is not None):
        return None
    item = facts.of_annotation(stmt.annotation).get("item")
    return stmt.annotation if isinstance(item, v.Value) and item.kind == v.TENSOR else None


def loads_weights(use: Usage) -> bool:
    """Whether a use copies tensors into a module."""
    loads = use.name.endswith("load_state_dict") or use.name in ("load_weights", "set_model_state_dict")
    return loads and use.how == "passed"


def _shows_checkpoint(use: Usage, uses: Uses) -> str:
    """Why a use proves that a checkpoint was loaded, "" where it does not."""
    if loads_weights(use):
        return f"its tensors are copied from there by `{use.name}`"
    if use.how in ("key", "tested") and not use.through and KEYS.search(use.name) and not _is_record(use, uses):
        return f"its entry `{use.name}` shows that it is a checkpoint"
    return ""


def _is_record(use: Usage, uses: Uses) -> bool:
    """`data["params"].thresholds`: an object of the user's own, no weights."""
    up = uses.parents.get(id(use.node))
    called = uses.parents.get(id(up))
    return isinstance(up, n.Attr) and up.value is use.node and not (isinstance(called, n.Call) and called.func is up)


def _of_records(use: Usage, uses: Uses) -> bool:
    """`for name, entry in loaded.items()` whose entries are read by text keys: a dict of records, not of tensors."""
    stmt = uses.statement(use.node)
    if not (isinstance(stmt, n.For) and stmt.iter is use.node and isinstance(stmt.target, n.Sequence)):
        return False
    entry = n.dotted(stmt.target.elements[-1])
    items = (part for part in n.every(stmt.body) if isinstance(part, n.Item) and n.dotted(part.value) == entry)
    return any(isinstance(item.index, n.Const) and isinstance(item.index.value, str) for item in items)


def _is_module(scope: Scope, uses: Uses, node: n.Call) -> bool:
    """Bound to a name that the function uses as a module."""
    stmt = uses.statement(node)
    if not (isinstance(stmt, n.Assign) and stmt.value is node):
        return False
    hints = [scope.hints.get(n.dotted(target)) for target in stmt.targets]
    return any(hint is not None and hint.kind == v.MODULE for hint in hints)
