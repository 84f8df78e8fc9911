"""What the project needs to know of a file: small, without tree nodes, so that it can be pickled and cached."""

from __future__ import annotations

import functools

from msgspec import Struct

from memlint.facts import Class_, FileFacts, Scope
from memlint.facts import knowledge as k
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.configs import config_reads, saved_configs
from memlint.facts.demands import Plain, checks_of
from memlint.facts.ends import parameter_ends
from memlint.facts.events import ENDLESS, ITEMS, OFF, RANGE, REPEATING, WHILE, Callee, CallSite, Draw, Shrink
from memlint.facts.flags import declared
from memlint.facts.kept import kept_parameters
from memlint.facts.limits import Number, in_numbers
from memlint.facts.probes import idle_imports, probes
from memlint.facts.records import layout
from memlint.facts.ticking import reached
from memlint.rule import Spot

FunctionId = tuple[str, str]
"""(module, qualified name)."""


class Argument(Struct, frozen=True):
    """What is passed: its kind, the identity of the container or parameter that it is, whether it carries a graph.

    frozen: a module none of whose parameters needs gradients. of: the class of an object, with "[]" for a container of
    such. made_here: the calling function made the object itself. limits: the range that a clamp has left, in numbers.
    """

    kind: str
    holder: str
    attached: bool = False
    frozen: bool = False
    of: str = ""
    made_here: bool = False
    limits: tuple[Number | None, Number | None] | None = None


class Call(Callee, frozen=True):
    """A call as the project sees it.

    repeats: it stands in a step, data or endless loop of its function. loops: in a loop that may be one.
    items: in a loop over items none of which is what the call is made on.
    endless: in a loop that never ends. made_here: on an object that the calling function made itself.
    again: in a step, data or endless loop around which the object that it is made on was made.
    guarded: a test may skip it.
    reached: in each pass of a loop that steps something, always when its function runs, or seldom.
    """

    mode: str
    helpers: tuple[str, ...]
    repeats: bool
    loops: bool
    items: bool
    endless: bool
    made_here: bool
    again: bool
    spot: Spot
    args: tuple[Argument, ...]
    keywords: tuple[tuple[str, Argument], ...]
    guarded: bool
    reached: str


class Bound(Struct, frozen=True):
    """Something that trims a container. how "init": it makes it, in the constructor."""

    holder: str
    how: str
    spot: Spot


class Drawn(Struct, frozen=True):
    """What is done with values from a container, attribute or parameter: trained, detached, host or returned."""

    holder: str
    how: str
    spot: Spot


class Keeping(Struct, frozen=True):
    """A function keeps what it is given for a parameter, in a container or running sum that outlives it."""

    parameter: str
    holder: str
    spot: Spot


class Made(Struct, frozen=True):
    """A container that the file makes. bounded: with a size of its own."""

    holder: str
    kind: str
    bounded: bool
    spot: Spot


class Moved(Struct, frozen=True):
    """A list of tensors is concatenated and then taken to the CPU."""

    holder: str
    spot: Spot


class Range(Struct, frozen=True):
    """A function's parameter must lie in a range: it is asserted, or the function raises."""

    parameter: str
    low: str
    high: str
    excluded: str
    spot: Spot


class ConfigSaved(Struct, frozen=True):
    """A checkpoint that the file saves with a configuration. weights: the keys of its tensors."""

    key: str
    weights: tuple[str, ...]
    spot: Spot


class FunctionSummary(Struct, frozen=True):
    """A function, or a module's body. ends: parameters of which it reads nothing but these entries.

    reads_config: the entries like `"config"` that it takes out of anything and uses. probes: it measures memory.
    """

    id: FunctionId
    name: str
    owner: str
    params: tuple[str, ...]
    spot: Spot
    calls: tuple[Call, ...]
    bounds: tuple[Bound, ...]
    moved: tuple[Moved, ...]
    drawn: tuple[Drawn, ...]
    keeps: tuple[Keeping, ...]
    ranges: tuple[Range, ...]
    hooks: tuple[str, ...]
    trains: bool
    steps: bool
    switches_grad_off: bool
    freezes: bool
    is_method: bool
    is_classmethod: bool
    detaches: bool = False
    ends: tuple[tuple[str, frozenset[int]], ...] = ()
    reads_config: tuple[str, ...] = ()
    probes: bool = False


class ClassSummary(Struct, frozen=True):
    """A class. bases: dotted paths, or plain names where unresolved. kinds: what is known of its attributes.

    frozen: a module that has no parameters, or none that need gradients. holds: `class_holds_tensors`.
    """

    module: str
    name: str
    bases: tuple[str, ...]
    is_module: bool
    kinds: tuple[tuple[str, str], ...]
    frozen: bool
    holds: bool


class Summary(Struct, frozen=True):
    """One file. attributes: the names of all attributes that it reads.

    flags: attributes that it declares as Python bools, by class. others: those under which it stores other things.
    own_reads: attributes that methods read of `self`, by class. other_reads: those that are read of other objects.
    keywords: the names of all arguments that calls pass by name.
    checks: what it demands itself of the settings for which the user has declared limits: name, sign, bound.
    idle_imports: see `probes.idle_imports`.
    layout: what matters to the layout of objects, see `memlint.facts.records.layout`.
    """

    path: str
    module: str
    functions: tuple[FunctionSummary, ...]
    classes: tuple[ClassSummary, ...]
    made: tuple[Made, ...]
    attributes: frozenset[str]
    flags: frozenset[tuple[str, str]]
    others: frozenset[str]
    own_reads: frozenset[tuple[str, str]]
    other_reads: frozenset[str]
    keywords: frozenset[str]
    checks: tuple[tuple[str, str, Plain], ...] = ()
    configs: tuple[ConfigSaved, ...] = ()
    idle_imports: tuple[str, ...] = ()
    layout: frozenset[str] = frozenset()


def summarize(facts: FileFacts) -> Summary:
    """The summary of a file."""
    rebound = frozenset(
        shrink.holder
        for scope in facts.scopes
        if scope.name != "__init__"
        for shrink in scope.events.shrinks
        if shrink.how == "rebind"
    )
    functions = tuple(_function(facts, scope, i, rebound) for i, scope in enumerate(facts.all_scopes()))
    classes = tuple(
        ClassSummary(
            facts.names.module,
            cls.name,
            tuple(cls.bases),
            cls.is_module(facts.classes),
            _kinds(cls),
            cls.freezes() or cls.without_parameters(facts.names),
            class_holds_tensors(cls),
        )
        for cls in facts.classes.values()
    )
    made = tuple(
        Made(init.holder, init.kind, init.bounded, Spot(facts.path, number, "inits", index))
        for number, scope in enumerate(facts.all_scopes())
        for index, init in enumerate(scope.events.inits)
    )
    known = declared(facts)
    read = frozenset(facts.attributes)
    flags, others = frozenset(known.flags), frozenset(known.others)
    checks = tuple(checks_of(facts))
    keywords = frozenset(name for f in functions for call in f.calls for name, _ in call.keywords)
    numbers = {id(scope): number for number, scope in enumerate(facts.all_scopes())}
    configs = tuple(
        ConfigSaved(saved.key, tuple(saved.weights), Spot(facts.path, numbers[id(saved.scope)], "calls", saved.site))
        for saved in saved_configs(facts)
    )
    return Summary(
        facts.path, facts.names.module, functions, classes, made, read, flags, others, facts.own_reads,
        facts.other_reads, keywords, checks, configs, idle_imports(facts), layout(facts),
    )  # fmt: skip


_LARGE = frozenset({v.TENSOR, v.OUTPUT, v.MODULE, v.OPTIMIZER, v.ARRAY})


def class_holds_tensors(cls: Class_) -> bool:
    """Whether objects of a class are known to hold tensors, modules or arrays, or are a data set."""
    if any(base.startswith("torch.utils.data.") for base in cls.bases):
        return True
    return any(value.kind in _LARGE or value.item and value.item.kind in _LARGE for value in cls.attributes.values())


def _function(facts: FileFacts, scope: Scope, number: int, rebound: frozenset[str]) -> FunctionSummary:
    events = scope.events

    def spot(kind: str, index: int) -> Spot:
        return Spot(facts.path, number, kind, index)

    return FunctionSummary(
        id=(facts.names.module, scope.qualname),
        name=scope.name,
        owner=scope.owner.name if scope.owner is not None else "",
        params=tuple(scope.params),
        spot=spot("function", 0),
        calls=tuple(_call(scope, s, spot("calls", i), rebound) for i, s in enumerate(events.calls) if _matters(s)),
        bounds=tuple(
            Bound(s.holder, "init" if _makes(scope, s) else s.how, spot("shrinks", i))
            for i, s in enumerate(events.shrinks)
        ),
        moved=tuple(Moved(r.holder, spot("reads", i)) for i, r in enumerate(events.reads) if r.how == "moved"),
        drawn=tuple(Drawn(d.holder, d.how, spot("draws", i)) for i, d in enumerate(events.draws) if _tells(d)),
        keeps=tuple(Keeping(p, events.growths[i].holder, spot("growths", i)) for p, i in kept_parameters(scope)),
        ranges=tuple(
            Range(c.parameter, c.low, c.high, c.excluded, spot("contracts", i))
            for i, c in enumerate(events.contracts)
            if c.parameter and (c.low or c.high)
        ),
        hooks=tuple(hook.rpartition(".")[2] for hook in events.hooks),
        trains=bool(events.training),
        steps=any(not backward.loops for backward in events.backwards),
        switches_grad_off=_switches(facts, scope),
        freezes=bool(scope.events.frozen),
        is_method=scope.owner is not None and bool(scope.self_name),
        is_classmethod=bool(scope.class_name),
        detaches=_detaches(facts, scope),
        ends=tuple(
            (name, read) for name in sorted(events.indexed) if (read := parameter_ends(scope, name)) is not None
        ),
        reads_config=tuple(sorted(config_reads(scope))),
        probes=probes(facts, scope),
    )


def _kinds(cls: Class_) -> tuple[tuple[str, str], ...]:
    """Kinds, or `of` and the class where an object's class is in another file."""
    found = []
    for name, value in cls.attributes.items():
        if value.kind and value.kind != v.NONE:
            found.append((name, value.kind))
        elif value.path.rpartition(".")[2][:1].isupper():
            found.append((name, f"of {value.path}"))
    return tuple(found)


def _makes(scope: Scope, shrink: Shrink) -> bool:
    return shrink.how == "rebind" and scope.name == "__init__" and shrink.holder.startswith("class:")


def _tells(draw: Draw) -> bool:
    """Whether others need to know of it: a function's own names and most parameters mean nothing outside."""
    if draw.how == "trained":
        return not draw.holder.startswith("local:")
    return draw.how in ("detached", "host", "returned") and draw.holder.startswith(("class:", "module:", "attr:"))


def _matters(site: CallSite) -> bool:
    return bool(site.name) and not site.path.startswith(("torch.", "numpy.", "os.", "math."))


def _call(scope: Scope, site: CallSite, spot: Spot, rebound: frozenset[str]) -> Call:
    made = f"made:{scope.qualname}:"
    kinds = {loop.kind for loop in site.loops}
    since_made = {loop.kind for loop in site.loops[site.made_in :]} if site.made_in else kinds
    return Call(
        name=site.name.rpartition(".")[2],
        path=site.path,
        receiver=site.receiver,
        on_self=site.on_self,
        mode=site.mode,
        helpers=site.helpers,
        repeats=not REPEATING.isdisjoint(kinds),
        endless=ENDLESS in since_made and site.on not in rebound,
        made_here=site.made_here or site.on in rebound,
        again=not REPEATING.isdisjoint(since_made),
        loops=RANGE in kinds or WHILE in kinds,
        items=ITEMS in kinds and any(loop.kind == ITEMS and not _is_over(loop.node, site) for loop in site.loops),
        spot=spot,
        args=tuple([_passed(a, made) for a in site.args]),
        keywords=tuple([(name, _passed(a, made)) for name, a in site.keywords]),
        given=site.given,
        guarded=site.guarded,
        reached=reached(scope, site),
    )


def _passed(value: v.Value, made: str) -> Argument:
    """made: what the holders of all objects begin with that the calling function made."""
    of = v.class_of(value)
    if not of and value.kind in v.CONTAINERS and value.item is not None:
        of = v.class_of(value.item)
        of = f"{of}[]" if of else ""
    mine, limits = value.holder.startswith(made), in_numbers(value.limits)
    return _argument(value.kind, value.holder, v.attached(value), value.frozen, of, mine, limits)


def _is_over(loop: n.Stmt, site: CallSite) -> bool:
    """`for worker in workers: worker.step()`: another object in each pass."""
    target = n.mentioned(loop.target) if isinstance(loop, n.For) else set()
    return n.root(site.node.func) in target


_SWITCHES = k.GRAD_OFF | k.GRAD_SET
_SWITCH_NAMES = frozenset(path.rpartition(".")[2] for path in _SWITCHES)


@functools.lru_cache(maxsize=4096)
def _argument(kind: str, holder: str, attached: bool, frozen: bool, of: str, made_here: bool,
              limits: tuple[Number | None, Number | None] | None) -> Argument:  # fmt: skip
    return Argument(kind, holder, attached, frozen, of, made_here, limits)  # most are the same few


def _switches(facts: FileFacts, scope: Scope) -> bool:
    """Whether gradients are off in all or part of a function."""
    if scope.name in facts.grad_off_names:
        return True
    if not facts.mentions("no_grad", "inference_mode", "set_grad_enabled"):
        return False  # most files: not worth a walk
    if any(site.mode == OFF for site in scope.events.calls):
        return True
    decorators = scope.node.decorators if scope.node is not None else []
    shown = [d.func if isinstance(d, n.Call) else d for d in decorators]
    for expr in (*scope.of_type(n.Name), *scope.of_type(n.Attr), *shown):
        if isinstance(expr, n.Name) or isinstance(expr, n.Attr) and expr.attr in _SWITCH_NAMES:
            if facts.names.path(n.dotted(expr)) in _SWITCHES:
                return True
    return any(_switches(facts, inner) for inner in scope.inner)


def _detaches(facts: FileFacts, scope: Scope) -> bool:
    """Whether a function cuts anything from its graph."""
    if not facts.mentions("detach", ".data"):
        return scope.name in facts.grad_off_names or any(site.mode == OFF for site in scope.events.calls)
    severing = ("detach", "detach_", "data")
    called = any(site.mode == OFF or "detach" in site.name for site in scope.events.calls)
    return called or any(expr.attr in severing for expr in scope.of_type(n.Attr))
