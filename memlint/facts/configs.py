"""Configurations that are saved with the weights and not looked at when those are loaded: validate-checkpoint."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from msgspec import Struct, field

from memlint.facts import FileFacts, Scope
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.events import CallSite
from memlint.facts.loads import KEYS, LOADERS, loads_weights
from memlint.facts.tracing import Usage, Uses
from memlint.facts.trials import is_unit_test

# Entries of checkpoints that describe what the weights belong to.
CONFIG_KEY = re.compile(
    r"^((model|net|network|train|training|exp|experiment)_)?(config|cfg|conf|args|opts?|options|h_?params"
    r"|hyper_?parameters|settings)$"
)
_SHOWN = frozenset({"print", "info", "debug", "warning", "warn", "error", "exception", "log", "critical", "pprint"})
_ASKING = frozenset({"isinstance", "len", "type", "bool", "id", "hasattr"})
_COPIERS = frozenset({"vars", "asdict", "dict", "copy", "deepcopy", "to_dict", "as_dict", "to_container", "model_dump"})

# What is saved beside a model and was built from other entries of the configuration.
_STATES = re.compile(r"optim|sched|scaler", re.IGNORECASE)

UNCHECKED = "unchecked"
LATE = "late"
HANDED_OUT = "handed-out"


class SavedConfig(Struct, eq=False):
    """A checkpoint with a configuration. key: where it lies in it; value: what is saved there.

    weights: the keys of its tensors, with what they are taken from: `{"model": "self.net"}`.
    site: the number, in the scope's calls, of one of the `state_dict()` calls.
    """

    scope: Scope
    key: str
    value: n.Expr
    weights: dict[str, str]
    site: int


class Unvalidated(Struct, eq=False):
    """Weights that are loaded into a model without a look at what they belong to.

    form: unchecked, late (compared when the weights have been taken over), handed-out (a loader that gives the
    checkpoint to its callers). stmt, name: where the checkpoint gets its name, "" where it has none.
    """

    scope: Scope
    form: str
    node: n.Call
    saved: SavedConfig | None
    stmt: n.Stmt | None
    name: str
    weights: frozenset[str]
    reasons: list[tuple[object, str]]
    keys: tuple[str, ...] = ()
    questions: list[str] = field(default_factory=list)


def saved_configs(facts: FileFacts) -> list[SavedConfig]:
    """Every checkpoint with a configuration that a file puts together."""
    if not facts.mentions(".state_dict(") or not facts.mentions("conf", "cfg", "args", "opt", "param", "settings"):
        return []
    found = []
    for scope in facts.all_scopes():
        if not any(site.name.rpartition(".")[2] == "state_dict" for site in scope.events.calls):
            continue
        later = _entries_set_later(scope)
        for stmt in scope.statements():
            for part in (part for expr in n.expressions(stmt) for part in n.walk(expr)):
                entries = _entries(part)
                if entries and isinstance(stmt, n.Assign) and stmt.value is part:
                    entries |= later.get(n.dotted(stmt.targets[0]), {})
                saved = _saved(scope, entries)
                if saved is not None:
                    found.append(saved)
    return found


def _entries(part: n.Expr) -> dict[str, n.Expr]:
    if isinstance(part, n.Mapping):
        return {key.value: value for key, value in part.entries if isinstance(key, n.Const) and type(key.value) is str}
    if isinstance(part, n.Call) and n.dotted(part.func) == "dict":
        return dict(part.keywords)
    return {}


def _entries_set_later(scope: Scope) -> dict[str, dict[str, n.Expr]]:
    """`checkpoint["config"] = ...`, by the name of the dict."""
    later: dict[str, dict[str, n.Expr]] = {}
    for stmt in scope.statements():
        if isinstance(stmt, n.Assign) and isinstance(stmt.targets[0], n.Item):
            target = stmt.targets[0]
            if isinstance(target.index, n.Const) and isinstance(target.index.value, str):
                later.setdefault(n.dotted(target.value), {})[target.index.value] = stmt.value
    return later


def _saved(scope: Scope, entries: dict[str, n.Expr]) -> SavedConfig | None:
    weights = {key: text for key, value in entries.items() if (text := _state_of(value))}
    key = next((key for key in entries if CONFIG_KEY.match(key) and _describes(scope, entries[key])), None)
    if not weights or key is None:
        return None
    calls = scope.events.calls
    site = next(i for i, site in enumerate(calls) if site.name.rpartition(".")[2] == "state_dict")
    return SavedConfig(scope, key, entries[key], weights, site)


def _state_of(value: n.Expr) -> str:
    """`self.net` for `self.net.state_dict()`, also behind a choice, "" for anything else."""
    if isinstance(value, n.Choice):
        return _state_of(value.body) or _state_of(value.orelse)
    if isinstance(value, n.Call) and isinstance(value.func, n.Attr) and value.func.attr == "state_dict":
        return n.dotted(value.func.value)
    return ""


def _describes(scope: Scope, value: n.Expr) -> bool:
    """Whether what is saved may be a configuration, and not an optimizer or a single number."""
    if isinstance(value, n.Const) or _state_of(value):
        return False
    text = n.dotted(value)
    known = scope.env.get(text, v.ANYTHING)
    if scope.owner is not None and text.startswith(f"{scope.self_name}."):
        known = scope.owner.attributes.get(text.partition(".")[2], v.ANYTHING)
    return known.kind not in (v.OPTIMIZER, v.MODULE, v.TENSOR, v.NUMBER, v.ARRAY)


# -- loading ---------------------------------------------------------------------------------------------------------


def unvalidated(facts: FileFacts) -> Iterator[Unvalidated]:
    """Every load of weights that passes the configuration by."""
    if is_unit_test(facts.path):
        return
    saves = saved_configs(facts)
    for scope in facts.all_scopes():
        sites = [site for site in scope.events.calls if site.path in LOADERS and site.node.args]
        uses = Uses(scope.body) if sites else None
        for site in sites:
            assert uses is not None
            found = _judge(facts, scope, site, uses, saves)
            if found is not None:
                yield found


def _judge(facts: FileFacts, scope: Scope, site: CallSite, uses: Uses, saves: list[SavedConfig]) -> Unvalidated | None:
    stmt = uses.statement(site.node)
    name = n.dotted(stmt.targets[0]) if isinstance(stmt, n.Assign) and stmt.value is site.node else ""
    found = _until_bound_again(uses, name, stmt, list(uses.of(site.node)))
    read = {u.name for u in found if u.how in ("key", "tested") and not u.through}
    copied = [u for u in found if loads_weights(u) and not _takes_what_fits(u.node)]
    weights = _weights(found, copied) or frozenset(read)
    saved = next((s for s in saves if weights & set(s.weights) and _one_program(s, scope)), None)
    config = {key for key in read if CONFIG_KEY.match(key)} | ({saved.key} if saved is not None else set())
    if any(loads_weights(u) and u not in copied for u in found) or _escapes(facts, scope, name, found, config):
        return None
    looked = [u for u in found if u.how == "key" and u.name in config and not u.through]
    seen = [at for u in looked if (at := _looked_at(uses, u)) is not None]
    if seen and copied:
        compared = [at for at in seen if isinstance(at, n.Compare)]
        if len(compared) < len(seen) or any(uses.order[id(at)] < uses.order[id(copied[0].node)] for at in seen):
            return None
        reasons: list[tuple[object, str]] = [(copied[0].node, "the weights are taken over here")]
        told = [*reasons, (compared[0], "the configurations are compared only here")]
        return Unvalidated(scope, LATE, site.node, saved, stmt, name, weights, told)
    if seen:
        return None
    if not copied:
        known = _known_entries(scope)
        given = any(u.how == "returned" and not u.entry and not u.through for u in found)
        if not known or not given or _is_edited(scope, name):
            return None
        return Unvalidated(scope, HANDED_OUT, site.node, saved, stmt, name, known, [])
    reasons = [(copied[0].node, "its weights are taken over")]
    if saved is None and (not weights or _saves_them_bare(facts, weights)):
        return None  # weights and nothing else
    if saved is None:
        return Unvalidated(scope, UNCHECKED, site.node, None, stmt, name, weights, reasons)
    owners = [n.dotted(u.node.func.value) for u in copied if isinstance(u.node.func, n.Attr)]
    same = [owner for owner in owners if owner in saved.weights.values()]
    if not same and any(_root(owner) in {_root(text) for text in saved.weights.values()} for owner in owners):
        return None  # a part of the model, or what it is wrapped in
    reasons.insert(0, (saved.value, f"the configuration is saved with the weights, under `{saved.key}`"))
    out = Unvalidated(scope, UNCHECKED, site.node, saved, stmt, name, weights, reasons, _compared_keys(facts, saved))
    other = _read_elsewhere(facts, scope, saved.key)
    if not same:
        out.questions.append("whether the file is one that was saved here")
    if other:
        out.questions.append(f"whether `{other}`, which reads the saved configuration, runs before this")
    return out


def _saves_them_bare(facts: FileFacts, weights: frozenset[str]) -> bool:
    """Whether the file itself puts such a checkpoint together, without a configuration."""
    mappings = (_entries(part) for scope in facts.all_scopes() for part in scope.of_type(n.Mapping))
    return any(key in weights and _state_of(value) for entries in mappings for key, value in entries.items())


def _until_bound_again(uses: Uses, name: str, stmt: n.Stmt | None, found: list[Usage]) -> list[Usage]:
    """What is done with a name before something else gets it."""
    if not name or stmt is None:
        return found
    start = uses.order[id(stmt)]
    later = [uses.order[id(s)] for s in uses.statements if isinstance(s, n.Assign) and uses.order[id(s)] > start
             and name in [n.dotted(target) for target in s.targets]]  # fmt: skip
    return [u for u in found if not later or uses.order.get(id(u.node), start) < min(later)]


def _is_edited(scope: Scope, name: str) -> bool:
    """Whether entries of the checkpoint are replaced before it is handed out: a conversion, no loader."""
    items = (t for s in scope.statements() if isinstance(s, n.Assign) for t in s.targets if isinstance(t, n.Item))
    return any(n.dotted(item.value) == name for item in items)


def _known_entries(scope: Scope) -> frozenset[str]:
    """The entries of checkpoints that the functions of the loading class, or this function, speak of."""
    scopes = scope.owner.methods.values() if scope.owner is not None else [scope]
    texts = {part.value for s in scopes for part in s.of_type(n.Const) if type(part.value) is str}
    return frozenset(text for text in texts if KEYS.search(text))


def _weights(found: list[Usage], copied: list[Usage]) -> frozenset[str]:
    """The keys of the entries that are loaded."""
    inside = {id(part) for u in copied for part in n.walk(u.node)}
    return frozenset(u.name for u in found if u.how == "key" and not u.through and id(u.node) in inside)


def _root(text: str) -> str:
    """`self.net` for `self.net.encoder`."""
    return ".".join(text.split(".")[: 2 if text.startswith("self.") else 1])


def _takes_what_fits(call: n.Call) -> bool:
    """`strict=False`: another model's weights are welcome."""
    strict = call.argument(1, "strict")
    return strict is not None and not (isinstance(strict, n.Const) and strict.value is True)


def _one_program(saved: SavedConfig, scope: Scope) -> bool:
    """What one class saves another one's methods do not load."""
    return saved.scope.owner is scope.owner or saved.scope.owner is None or scope.owner is None


def _escapes(facts: FileFacts, scope: Scope, name: str, found: list[Usage], config: set[str], depth: int = 2) -> bool:
    """Whether the whole checkpoint, of this name, goes where nobody sees whether it is looked at."""
    for use in found:
        if use.entry or use.through:
            continue
        if use.how == "passed" and not loads_weights(use) and use.name not in _SHOWN | _ASKING:
            if not depth or not _only_shown_by(facts, scope, name, use, config, depth):
                return True
        if use.how == "method" and use.name not in ("get", "pop") or use.how in ("stored", "unpacked", "iterated"):
            return True
        if use.how == "attribute" or use.how == "computed" and not _is_harmless(use.node):
            return True
    return False


def _only_shown_by(facts: FileFacts, scope: Scope, name: str, use: Usage, config: set[str], depth: int) -> bool:
    """Whether a function of this file, to which the checkpoint is given, prints at most what it holds."""
    call = use.node
    if isinstance(call.func, n.Attr):
        own = scope.owner.methods.get(use.name) if scope.owner is not None else None
    else:
        own = facts.functions.get(use.name)
    if own is None:
        return False
    params = own.params[1:] if own.self_name and own.params[:1] == [own.self_name] else own.params
    given = [*zip(params, call.args), *call.keywords]  # noqa: B905 - a starred rest may be longer
    inner = Uses(own.body)
    for param, argument in given:
        for read in inner.reads(param) if name and n.dotted(argument) == name else ():
            found = list(inner.of(read))
            if any(u.how == "key" and u.name in config and _looked_at(inner, u) is not None for u in found):
                return False
            if _escapes(facts, own, param, found, config, depth - 1):
                return False
    return any(n.dotted(argument) == name for _, argument in given)


def _looked_at(uses: Uses, use: Usage) -> object:
    """Where the saved configuration is put to use; None where it is at most shown."""
    for u in uses.of(use.node):
        shown = u.how == "passed" and u.name in _SHOWN | _ASKING or u.how == "computed" and _is_harmless(u.node)
        if u.how in ("key", "tested") or shown or u.how == "method" and u.name in ("get", "keys", "items"):
            continue
        return u.node
    return None


def _is_harmless(node: n.Expr) -> bool:
    """A text for the user, or a test whether there is anything at all."""
    if isinstance(node, n.Compare):
        return all(isinstance(right, n.Const) and right.value is None for _, right in node.rest)
    return isinstance(node, n.Text) or isinstance(node, n.Unary) and node.op == "Not"


def _read_elsewhere(facts: FileFacts, scope: Scope, key: str) -> str:
    """The function of this file, other than the loading one, that reads the saved configuration."""
    return next((other.name for other in facts.all_scopes() if other is not scope and key in config_reads(other)), "")


def config_reads(scope: Scope) -> set[str]:
    """The entries of that kind that a function takes out of anything and does not only show."""
    read: set[str] = set()
    uses: Uses | None = None
    taken: list[tuple[n.Expr, n.Expr]] = [(part, part.index) for part in scope.of_type(n.Item)]
    for call in scope.of_type(n.Call):
        if isinstance(call.func, n.Attr) and call.func.attr == "get" and call.args:
            taken.append((call, call.args[0]))
    for part, index in taken:
        key = index.value if isinstance(index, n.Const) and isinstance(index.value, str) else ""
        if CONFIG_KEY.match(key) and key not in read:
            uses = uses or Uses(scope.body)
            if _looked_at(uses, Usage("key", key, part)) is not None:
                read.add(key)
    return read


# -- what has to agree -----------------------------------------------------------------------------------------------


def _compared_keys(facts: FileFacts, saved: SavedConfig) -> tuple[str, ...]:
    """The entries of the configuration that the model was built from, as far as this file shows it."""
    entries = _entries(saved.value)
    if entries:
        return tuple(entries)
    whole = config_object(saved.value)
    models = {text for key, text in saved.weights.items() if not _STATES.search(f"{key} {text}")}
    scopes = list(saved.scope.owner.methods.values()) if saved.scope.owner is not None else list(facts.all_scopes())
    keys: dict[str, None] = {}
    for scope in scopes:
        for stmt in scope.statements():
            if (
                isinstance(stmt, n.Assign)
                and isinstance(stmt.value, n.Call)
                and models & {n.dotted(target) for target in stmt.targets}
            ):
                keys.update(dict.fromkeys(_read_of(facts, stmt.value, {whole, whole.rpartition(".")[2]})))
    return tuple(keys)


def config_object(value: n.Expr) -> str:
    """`self.config` for `self.config.to_dict()`, `vars(self.config)` and `self.config.__dict__`."""
    while True:
        if isinstance(value, n.Call) and n.dotted(value.func).rpartition(".")[2] in _COPIERS and value.args:
            value = value.args[0]
        elif isinstance(value, n.Call) and isinstance(value.func, n.Attr) and value.func.attr in _COPIERS:
            value = value.func.value
        elif isinstance(value, n.Attr) and value.attr == "__dict__":
            value = value.value
        else:
            return n.dotted(value)


def _read_of(facts: FileFacts, call: n.Call, names: set[str]) -> Iterator[str]:
    """The entries of the configuration that are handed to a model's constructor, or that this one reads itself."""
    yield from _entries_of(names, n.walk(call))
    cls = facts.classes.get(n.dotted(call.func))
    made = cls.methods.get("__init__") if cls is not None else None
    if made is None:
        return
    for position, argument in enumerate(call.args):
        if n.dotted(argument) in names and position + 1 < len(made.params):
            yield from _entries_of({made.params[position + 1]}, made.every())


def _entries_of(names: set[str], parts: Iterable[n.Expr]) -> Iterator[str]:
    """`width` for `config.width` and `config["width"]`, methods left out."""
    parts = list(parts)
    called = {id(part.func) for part in parts if isinstance(part, n.Call)}
    for part in parts:
        if isinstance(part, n.Attr) and n.dotted(part.value) in names and id(part) not in called:
            yield part.attr
        elif isinstance(part, n.Item) and n.dotted(part.value) in names and isinstance(part.index, n.Const):
            yield str(part.index.value)
