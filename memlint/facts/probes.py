"""Where a program measures its memory, and what it does with the numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from memlint.facts import FileFacts, Scope
from memlint.facts import nodes as n
from memlint.facts.events import CallSite

_MEASURES = frozenset({
    "memory_allocated", "memory_reserved", "memory_cached", "max_memory_allocated", "max_memory_reserved",
    "max_memory_cached", "memory_stats", "memory_summary", "mem_get_info", "memory_snapshot", "memory_usage",
    "current_allocated_memory", "driver_allocated_memory", "get_active_memory", "get_peak_memory", "get_cache_memory",
    "virtual_memory", "getrusage", "get_traced_memory", "memory_state",
    "log_memory_state", "LeakMonitor", "MemoryGuard", "nvmlDeviceGetMemoryInfo",
})  # fmt: skip
_PACKAGES = ("torch.", "mlx.", "psutil.", "resource.", "tracemalloc.", "memlint.", "pynvml.")
_OF_PROCESS = frozenset({"memory_info", "memory_full_info", "memory_percent", "used_memory"})
# Tools that record memory for a whole run.
_TOOLS = re.compile(
    r"torch\.profiler|DeviceStatsMonitor|_record_memory_history|memory_profiler|tracemalloc|memory_summary"
    r"|GPUStatsMonitor|gpu_tracker|MemTracker"
)
PROBES = re.compile(r"mem|getrusage|rss", re.IGNORECASE)
"""What a file that measures memory must contain."""


def is_probe(site: CallSite) -> bool:
    """Whether a call measures memory."""
    last = (site.path or site.name).rpartition(".")[2]
    return site.path.startswith(_PACKAGES) and last in _MEASURES or not site.path and last in _OF_PROCESS


def probe_calls(scope: Scope) -> set[int]:
    """The identities of the calls in a function that measure memory."""
    return {id(site.node) for site in scope.events.calls if is_probe(site)}


def probes(facts: FileFacts, scope: Scope) -> bool:
    """Whether a function measures memory itself, or its file has a tool that does."""
    if not PROBES.search(facts.source.text) and "profiler" not in facts.source.text:
        return False
    return any(is_probe(site) for site in scope.events.calls) or _TOOLS.search(facts.source.text) is not None


def idle_imports(facts: FileFacts) -> tuple[str, ...]:
    """What a file imports for measuring memory, by its name, and never mentions again. A package passes names on."""
    wanted = {name: path for name, path in facts.names.imports.items() if PROBES.search(name)}
    if not wanted or facts.names.is_package:
        return ()
    read = {part.id for scope in facts.all_scopes() for part in scope.every() if isinstance(part, n.Name)}
    return tuple(sorted(path for name, path in wanted.items() if name not in read))


class Measured:
    """Which expressions of one function are amounts of memory: probes, helpers that return one, names of either."""

    def __init__(self, facts: FileFacts, scope: Scope) -> None:
        self.facts, self.scope = facts, scope
        self._calls = probe_calls(scope)
        self._sites = {id(site.node): site for site in scope.events.calls}
        self._helpers: dict[int, bool] = {}

    def __call__(self, expr: n.Expr, depth: int = 3) -> bool:
        """Whether an amount of memory goes into an expression."""
        return any(True for _ in self.sources(expr, depth))

    def sources(self, expr: n.Expr, depth: int = 3) -> Iterator[n.Call]:
        """The calls that measure what goes into it."""
        for part in n.walk(expr):
            if isinstance(part, n.Call) and self.is_measuring(part):
                yield part
            elif isinstance(part, (n.Name, n.Attr)) and depth and (text := n.dotted(part)):
                for stmt in self.scope.statements():
                    if isinstance(stmt, n.Assign) and text in [n.dotted(target) for target in stmt.targets]:
                        yield from self.sources(stmt.value, depth - 1)

    def is_probe(self, call: n.Call) -> bool:
        """A probe itself."""
        return id(call) in self._calls

    def is_measuring(self, call: n.Call) -> bool:
        """A probe, or a function of this file that hands one's answer back."""
        if id(call) in self._calls:
            return True
        own = self._own(call)
        if own is None or own is self.scope:
            return False
        if id(own) not in self._helpers:
            inner = probe_calls(own)
            self._helpers[id(own)] = bool(inner) and any(
                isinstance(stmt, n.Return) and stmt.value is not None and Measured(self.facts, own)(stmt.value, 2)
                for stmt in own.statements()
            )
        return self._helpers[id(own)]

    def _own(self, call: n.Call) -> Scope | None:
        site = self._sites.get(id(call))
        if site is None:
            return None
        if site.on_self and self.scope.owner is not None:
            return self.scope.owner.methods.get(site.name)
        return self.facts.functions.get(call.func.id) if isinstance(call.func, n.Name) else None
