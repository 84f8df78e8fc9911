"""Sleeping until the device may have finished: the question behind synchronize-not-sleep."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from memlint.facts import FileFacts, Scope
from memlint.facts import knowledge as k
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.cleanups import EMPTYING, asks_for_device
from memlint.facts.events import CallSite
from memlint.facts.trials import is_trial

LONGEST = 10
"""So many seconds are slept for the device at most. Who sleeps longer lets it cool down, or waits for somebody else."""

_PROBES = k.names(
    "memory_allocated memory_reserved max_memory_allocated max_memory_reserved mem_get_info memory_stats "
    "memory_summary current_allocated_memory driver_allocated_memory get_active_memory get_cache_memory "
    "get_peak_memory"
)
_PACKAGES = ("torch.", "mlx.core.")
_CLOCKS = k.names("time.time time.perf_counter time.monotonic time.perf_counter_ns")
# What a pause may be meant for instead: another process, a file, a service.
_OTHERS = ("subprocess.", "multiprocessing.", "torch.multiprocessing.", "ray.", "signal.", "requests.", "socket.")
_OTHERS_EXACT = k.names("os.kill os.system os.killpg os.popen os.remove os.unlink shutil.rmtree")
_OTHER_METHODS = k.names("terminate kill shutdown communicate poll Popen recv")

BEFORE_CLEAR = "before-clear"
BEFORE_PROBE = "before-probe"
BEFORE_CLOCK = "before-clock"
AFTER_CLEAR = "after-clear"


class Pause(Struct, eq=False):
    """A sleep that stands where the device should be waited for. beside: the clearing, probe or clock next to it."""

    scope: Scope
    form: str
    call: n.Call
    beside: n.Call
    reasons: list[tuple[object, str]]


def pauses(facts: FileFacts) -> Iterator[Pause]:
    """All of a file, in source order."""
    if is_trial(facts.path):
        return
    for scope in facts.all_scopes():
        sleeps = [site for site in scope.events.calls if site.path == "time.sleep" and _is_short(site)]
        if not sleeps or any(_is_for_others(site) for around in scope.around() for site in around.events.calls):
            continue
        reader = _Reader(facts, scope)
        for line, start in _lines(scope.body, [], repeats=False):
            for position, stmt in enumerate(line[start:], start):
                site = next((s for s in sleeps if isinstance(stmt, n.Do) and stmt.value is s.node), None)
                if site is not None and (found := reader.judge(site.node, line, position)) is not None:
                    yield found


def _is_short(site: CallSite) -> bool:
    """A literal number of seconds; what is configured is meant as it is."""
    seconds = site.args[0].const if len(site.args) == 1 else None
    return isinstance(seconds, (int, float)) and 0 < seconds <= LONGEST


def _is_for_others(site: CallSite) -> bool:
    if site.path.startswith(_OTHERS) or site.path in _OTHERS_EXACT:
        return True
    method = site.node.func.attr if isinstance(site.node.func, n.Attr) else ""
    joins = method == "join" and not site.node.args
    return method in _OTHER_METHODS or joins


def _lines(body: list[n.Stmt], above: list[n.Stmt], repeats: bool) -> Iterator[tuple[list[n.Stmt], int]]:
    """The plain statements of each block, one always following the other, and where those of the block itself begin.

    above: what has run before. repeats: the body is that of a `while` loop, where pauses set the pace; nor is anything
    in a handler told: there somebody waits until others have freed memory.
    """
    line = list(above)
    _flatten(body, line)
    if not repeats:
        yield line, len(above)
    for number, stmt in enumerate(line[len(above) :], len(above)):
        if isinstance(stmt, n.Try):
            yield from _lines(stmt.final, line[:number], repeats)
        else:
            for block in n.blocks(stmt):
                before = line[:number] if isinstance(stmt, n.If) else []
                yield from _lines(block, before, isinstance(stmt, n.While))


def _flatten(body: list[n.Stmt], into: list[n.Stmt]) -> None:
    """A body without the lines that only ask for a device, open a context or guard against errors."""
    for stmt in body:
        if isinstance(stmt, n.If) and not stmt.orelse and asks_for_device(stmt.test) or isinstance(stmt, n.With):
            _flatten(stmt.body, into)
        elif isinstance(stmt, n.Try):
            _flatten(stmt.body, into)
            into.append(stmt)
        else:
            into.append(stmt)


class _Reader:
    """What the statements around a sleep do."""

    def __init__(self, facts: FileFacts, scope: Scope) -> None:
        self.facts, self.scope = facts, scope
        self.calls = {id(site.node): site for site in scope.events.calls}
        self.runs = {id(forward.node) for forward in scope.events.forwards if forward.certain}
        self.runs |= {id(node) for node in scope.events.training}

    def judge(self, call: n.Call, line: list[n.Stmt], position: int) -> Pause | None:
        after = next((stmt for stmt in line[position + 1 :] if not self.is_neutral(stmt)), None)
        before = next((stmt for stmt in reversed(line[:position]) if not self.is_neutral(stmt)), None)
        freed = next((stmt for stmt in reversed(line[:position]) if self.frees(stmt)), None)
        device = next((part for part in self.parts(before) if self.is_device_work(part)), None)
        cause = freed or device
        if cause is not None and after is not None:
            for form, wanted, said in (
                (BEFORE_CLEAR, self.clears, "and the cache is emptied here"),
                (BEFORE_PROBE, self.probes, "and the memory is read here"),
            ):
                if (beside := next((part for part in self.parts(after) if wanted(part)), None)) is not None:
                    return Pause(self.scope, form, call, beside, [(cause, "what it waits for"), (beside, said)])
        if device is not None and after is not None and (clock := self.clock(after)) is not None:
            told: list[tuple[object, str]] = [(device, "what it waits for"), (clock, "and the time is taken here")]
            return Pause(self.scope, BEFORE_CLOCK, call, clock, told)
        cleared = next((part for part in self.parts(before) if self.clears(part)), None)
        # Before a measurement a pause lets the machine settle.
        if cleared is None or any(self.path(part) in _CLOCKS for part in self.parts(after)):
            return None
        return Pause(self.scope, AFTER_CLEAR, call, cleared, [(cleared, "has emptied the cache before it returns")])

    @staticmethod
    def parts(stmt: n.Stmt | None) -> Iterator[n.Call]:
        """The calls in a plain statement."""
        for expr in n.expressions(stmt) if stmt is not None and not n.blocks(stmt) else ():
            yield from (part for part in n.walk(expr) if isinstance(part, n.Call))

    def path(self, call: n.Call) -> str:
        site = self.calls.get(id(call))
        return site.path if site is not None else ""

    def is_torch(self, call: n.Call) -> bool:
        return self.path(call).startswith(_PACKAGES)

    def clears(self, call: n.Call) -> bool:
        return self.path(call) in EMPTYING

    def probes(self, call: n.Call) -> bool:
        path = self.path(call)
        return path.startswith(_PACKAGES) and path.rpartition(".")[2] in _PROBES

    def clock(self, stmt: n.Stmt) -> n.Call | None:
        """`time.time() - start`: the end of a measurement."""
        for expr in n.expressions(stmt):
            for part in n.walk(expr):
                if isinstance(part, n.Binary) and part.op == "Subtract" and isinstance(part.left, n.Call):
                    if self.path(part.left) in _CLOCKS:
                        return part.left
        return None

    def frees(self, stmt: n.Stmt) -> bool:
        """`del model`, `self.model = None`, `gc.collect()`."""
        if isinstance(stmt, n.Delete):
            return True
        if isinstance(stmt, n.Assign):
            return isinstance(stmt.value, n.Const) and stmt.value.value is None and "None" in self.facts.text(stmt)
        return isinstance(stmt, n.Do) and isinstance(stmt.value, n.Call) and self.path(stmt.value) == "gc.collect"

    def is_neutral(self, stmt: n.Stmt) -> bool:
        """Whether a statement stands between two others without being a reason to wait: it frees, or it tells."""
        if self.frees(stmt):
            return True
        if not isinstance(stmt, n.Do):
            return False
        if isinstance(stmt.value, n.Const):
            return True
        name = n.dotted(stmt.value.func).rpartition(".")[2] if isinstance(stmt.value, n.Call) else ""
        if name == "synchronize" or name.startswith("reset_") and any(map(self.is_torch, self.parts(stmt))):
            return True
        told = any(self.clears(part) or self.probes(part) for part in self.parts(stmt))
        return name in k.LOGGERS and not told

    def is_device_work(self, call: n.Call) -> bool:
        if id(call) in self.runs or self.clears(call):
            return True
        text, owner = n.dotted(call.func), self.scope.owner
        if self.scope.env.get(text, v.ANYTHING).kind == v.MODULE:
            return True  # a pass without gradients is no event
        if owner is not None and owner.attributes.get(text.partition(".")[2], v.ANYTHING).kind == v.MODULE:
            return True
        path, site = self.path(call), self.calls.get(id(call))
        if path.startswith("mlx.core.") and path.rpartition(".")[2] in ("eval", "async_eval", "matmul"):
            return True
        return site is not None and any(value.device == v.ACCELERATOR for value in site.args)
