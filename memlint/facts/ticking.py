"""Loops that step something many times: training, simulation, an environment, a server. Preparing data is none."""

from __future__ import annotations

from memlint.facts import nodes as n
from memlint.facts.events import DATA, ENDLESS, EPOCH, RANGE, STEP, WHILE, CallSite, Loop
from memlint.facts.recorder import is_setting
from memlint.facts.scopes import Scope

# What takes one step of an environment, a model or a physics engine, by the interfaces of Gym, Mesa, PyBullet, MuJoCo.
STEPPING = frozenset({"step", "tick", "stepSimulation", "mj_step"})
_SCHEDULERS = ("torch.", "transformers.", "timm.", "accelerate.", "tqdm.")
SLEEPS = frozenset({"time.sleep", "asyncio.sleep", "trio.sleep", "anyio.sleep"})
_LONG_REST = 0.2
"""Seconds: who rests as long in each pass does not wait for a small file."""
_REASONS = {STEP: "trains in each pass", ENDLESS: "never ends", DATA: "goes over batches"}

SELDOM, ALWAYS, TICK = "", "always", "tick"
GUARDED = " if"
"""Added where a test decides whether it is reached."""


def ticking(scope: Scope, loop: Loop) -> str:
    """Why a loop is one of these, "" where it is not. The loop of the epochs or episodes around one of them is none."""
    if loop.ticks is None:
        loop.ticks = _why(scope, loop)
    return loop.ticks


def _why(scope: Scope, loop: Loop) -> str:
    node = loop.node
    if not isinstance(node, (n.For, n.While)) or loop.kind == EPOCH:
        return ""
    reason = _REASONS.get(loop.kind) or (_steps(scope, loop) if loop.kind in (RANGE, WHILE) else "")
    if not reason:
        return ""
    inside = {id(stmt) for stmt in n.statements(node.body)}
    for inner in scope.events.loops:
        if id(inner.node) in inside and inner.kind not in ("items", "constant", "structure"):
            if inner.kind == EPOCH or _steps(scope, inner) or inner.kind in _REASONS:
                return ""
    return reason


def reached(scope: Scope, site: CallSite) -> str:
    """How often a call is reached: in each pass of such a loop, whenever its function runs, or seldom.

    Where a test decides, that is said behind it.
    """
    how = ALWAYS
    around = [loop for loop in site.loops if loop.kind not in ("items", "constant", "structure")] if site.loops else []
    if around:
        how = TICK if ticking(scope, around[-1]) and not rests(scope, around[-1]) else SELDOM
    return f"{how}{GUARDED}" if how and site.rare else how


def bound_in(loop: n.Stmt) -> set[str]:
    """The dotted names that a loop binds, in its head and its body."""
    names = _targets(loop.target) if isinstance(loop, n.For) else set()
    for stmt in n.statements(getattr(loop, "body", [])):
        if isinstance(stmt, n.Assign):
            names = names.union(*(_targets(target) for target in stmt.targets))
        elif isinstance(stmt, (n.For, n.Augment, n.Delete)):
            names |= _targets(stmt.target)
        elif isinstance(stmt, n.With):
            names = names.union(*(_targets(target) for _, target in stmt.items if target is not None))
        for expr in n.expressions(stmt):
            names |= {n.dotted(part.target) for part in n.walk(expr) if isinstance(part, n.Walrus)}
    return names


def _targets(target: n.Expr) -> set[str]:
    if isinstance(target, n.Sequence):
        return set().union(*(_targets(element) for element in target.elements))
    return {n.dotted(target.value if isinstance(target, n.Star) else target)}


def rests(scope: Scope, loop: Loop) -> bool:
    """It sleeps for long in each pass, or waits for a person."""
    for site in scope.events.calls:
        if loop in site.loops:
            if site.path in SLEEPS and site.node.args:
                seconds = site.node.args[0]
                if isinstance(seconds, n.Const) and isinstance(seconds.value, (int, float)):
                    if seconds.value >= _LONG_REST:
                        return True
            if site.name == "input" and not site.path and not site.receiver:
                return True
    return False


def _steps(scope: Scope, loop: Loop) -> str:
    """Whether a loop that only counts or tests takes steps of something that was made before it."""
    if isinstance(loop.node, n.While) and any(
        isinstance(part, n.Call) and n.dotted(part.func) == "len" for part in n.walk(loop.node.test)
    ):
        return ""
    for site in scope.events.calls:
        if not site.loops or site.loops[-1] is not loop:
            continue
        if site.path in SLEEPS and isinstance(loop.node, n.While):
            return "ticks: it sleeps between two passes"
        name = site.name.rpartition(".")[2]
        if name in STEPPING and isinstance(site.node.func, n.Attr) and not _made_inside(site, loop):
            if _unpacked(loop, site.node) or site.receiver and not site.receiver.startswith(_SCHEDULERS):
                return f"calls `{name}` in each pass"
    return ""


def _made_inside(site: CallSite, loop: Loop) -> bool:
    return site.made_here and loop in site.loops[: site.made_in]


def _unpacked(loop: Loop, call: n.Call) -> bool:
    """`obs, reward, done, info = env.step(action)`."""
    body = loop.node.body if isinstance(loop.node, (n.For, n.While)) else []
    return any(
        isinstance(stmt, n.Assign)
        and stmt.value is call
        and isinstance(stmt.targets[0], n.Sequence)
        and len(stmt.targets[0].elements) >= 3
        for stmt in n.statements(body)
    )


def how_often(scope: Scope, wanted: set[int]) -> dict[int, tuple[str, Loop | None]]:
    """The same for expressions of any kind, by their id, with the loop that repeats them here."""
    found: dict[int, tuple[str, Loop | None]] = {}
    kinds = {id(loop.node): loop for loop in scope.events.loops}

    def walk(body: list[n.Stmt], how: str, loop: Loop | None) -> None:
        for stmt in body:
            for expr in n.expressions(stmt):
                for part in n.walk(expr):
                    if id(part) in wanted:
                        found[id(part)] = (how, loop)
            if isinstance(stmt, (n.For, n.While)):
                inner = kinds.get(id(stmt))
                if inner is None or inner.kind in ("items", "constant", "structure"):
                    walk(stmt.body, how, loop)
                else:
                    walk(stmt.body, TICK if ticking(scope, inner) and not rests(scope, inner) else SELDOM, inner)
            elif isinstance(stmt, n.If):
                for block in (stmt.body, stmt.orelse):
                    walk(block, how if is_setting(stmt.test) else SELDOM, loop)
                if stmt.body and isinstance(stmt.body[-1], (n.Return, n.Jump, n.Raise)) and not is_setting(stmt.test):
                    how = SELDOM
            elif isinstance(stmt, n.Try):
                for block in (stmt.body, stmt.orelse, stmt.final):
                    walk(block, how, loop)
            else:
                for block in n.blocks(stmt):
                    walk(block, how, loop)

    walk(scope.body, ALWAYS, None)
    return found
