"""Measurements of what the fixture cases are too small for, or of a fix that helps nothing: before and after.

Each function returns effects: what was measured, in which unit, on both sides. What is timed is timed on one thread.
"""

from __future__ import annotations

import functools
import gc
import importlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch

from benchmarks.repaired import copied, repaired
from memlint import runtime
from tests.support import running
from tests.support.held import held
from tests.support.meter import Meter


@dataclass(frozen=True)
class Effect:
    """One number on both sides. unit: bytes, seconds, operations, or what is counted."""

    what: str
    unit: str
    before: float
    after: float


@functools.cache
def sides(name: str) -> tuple[ModuleType, ModuleType]:
    """An example system as it is, and as memlint repairs it."""
    folder = Path(tempfile.mkdtemp(prefix="memlint-"))
    files = [copied(name, folder / side) for side in ("before", "after")]
    if errors := repaired(files[1]).errors:
        raise RuntimeError(errors[0].message)
    modules = []
    for file in files:
        sys.path.insert(0, str(file.parent))  # for the copied helpers
        modules.append(running.load(file))
        sys.path.pop(0)
    return modules[0], modules[1]


def seconds(work: Callable[[], object], repeat: int = 3, clock: Callable[[], float] = time.process_time) -> float:
    """The processor time of the shortest of some runs, after one to warm up. clock: another clock."""
    work()
    times = []
    gc.collect()
    gc.disable()  # as timeit does: when the collector runs by itself depends on what was measured before
    for _ in range(repeat):
        start = clock()
        work()
        times.append(clock() - start)
    gc.enable()
    return min(times)


def peak(work: Callable[[], object]) -> int:
    """The most bytes of tensors that were alive at one time."""
    gc.collect()
    with Meter() as meter:
        work()
    return int(meter.peak)


# -- the systems -------------------------------------------------------------------------------------------------------


def rounding() -> list[Effect]:
    """Nearest lattice rows of 5,000 flows, in a lattice of 16 x 16 x 16."""
    times = []
    for module in sides("lattice_flows"):
        lattice = module.Lattice(module.FlowConfig(16, 16, 16), torch.device("cpu"))
        positions = torch.rand(5000, 3) * 2 - 1
        times.append(seconds(lambda: lattice.round_to_nearest(positions), 1))  # noqa: B023 - called at once
    return [Effect("5,000 flows in 4,096 nodes", "seconds", *times)]


def creation() -> list[Effect]:
    """Start positions of 100,000 flows."""
    times, operations = [], []
    for module in sides("lattice_flows"):
        lattice = module.Lattice(module.FlowConfig(), torch.device("cpu"))
        energies = torch.rand(100_000)
        times.append(seconds(lambda: lattice.place(energies), 2))  # noqa: B023 - called at once
        with Meter() as meter:
            lattice.place(energies)
        operations.append(meter.operations)
    return [Effect("100,000 flows", "seconds", *times), Effect("with", "operations", *operations)]


def training_step() -> list[Effect]:
    """One step of the lattice's trainer with 2,000 flows."""
    times = []
    for module in sides("lattice_flows"):
        torch.manual_seed(0)
        trainer = module.FlowTrainer(module.FlowConfig(9, 9, 21), torch.device("cpu"))
        energies = torch.rand(2000) - 0.5
        times.append(seconds(lambda: trainer.train_step(energies), 2))  # noqa: B023 - called at once
    return [Effect("a step with 2,000 flows", "seconds", *times)]


def episode() -> list[Effect]:
    """The automaton's free run of 100 steps, and an episode of its training."""
    free, whole = [], []
    for module in sides("automaton"):
        torch.manual_seed(0)
        trainer = module.Trainer(module.Engine(8, torch.device("cpu")), 48, 100)
        free.append(peak(trainer.settle))
        whole.append(peak(lambda: trainer.train(1)))  # noqa: B023 - called at once
    return [Effect("a free run of 100 steps", "bytes", *free), Effect("an episode", "bytes", *whole)]


def ticks() -> list[Effect]:
    """200 ticks of the agent with 1,000 records and as many in its archive."""
    times = [seconds(lambda: module.run(200, 1000), 2) / 200 for module in sides("agent")]  # noqa: B023
    return [Effect("a tick with 1,000 records", "seconds", *times)]


def population() -> list[Effect]:
    """Flows after 14 steps of spawning with nothing to stop it, and with a budget of 1,000, 2 a step."""
    alive = [1, 1]
    budget = runtime.SpawnBudget(1000, max_per_step=2)
    for _ in range(14):
        alive[0] += alive[0]
        alive[1] += budget.allow(alive[1], alive[1])
    return [Effect("alive after 14 steps", "flows", *alive)]


def coordinates() -> list[Effect]:
    """How far outside of the box a thousand flows come that drift to its border."""
    outermost = []
    for step in (torch.add, functools.partial(runtime.clamp_step, max_step=0.5)):
        torch.manual_seed(0)
        positions = torch.rand(1000, 3) * 2 - 1
        for _ in range(50):
            positions = step(positions, 0.1 * torch.randn(1000, 3))
        outermost.append(positions.abs().max().item())
    return [Effect("largest coordinate after 50 steps", "", *outermost)]


def reflection() -> list[Effect]:
    """How many of 1,000 flows that leave the box are mirrored back into it."""
    raw = torch.linspace(1.01, 1.5, 1000)
    clamped = raw.clamp(-1.0, 1.0)
    mirrored = int(((clamped > 1.0) | (clamped < -1.0)).sum()), int((runtime.reflect(raw) < 1.0).sum())
    return [Effect("mirrored of 1,000", "flows", *mirrored)]


def sampled() -> list[Effect]:
    """A history of 500 fields, whole and as the sample that a viewer needs."""
    fields = [torch.zeros(16, 16) for _ in range(500)]
    sample = runtime.subsample(fields, limit=10)
    return [Effect("500 fields, and 10 of them", "bytes", held(fields).total, held(sample).total)]


def broadcast() -> list[Effect]:
    """The memory of a search by broadcast and of `nearest_rows`: 2,000 flows in 4,096 nodes."""
    axis = torch.linspace(-1, 1, 16)
    grid, points = torch.cartesian_prod(axis, axis, axis), torch.rand(2000, 3) * 2 - 1
    whole = peak(lambda: (points.unsqueeze(1) - grid.unsqueeze(0)).norm(dim=2).argmin(dim=1))
    return [Effect("2,000 flows in 4,096 nodes", "bytes", whole, peak(lambda: runtime.nearest_rows(points, grid)))]


# -- what helps nothing ------------------------------------------------------------------------------------------------


def del_before_backward() -> list[Effect]:
    """States that a loss was computed from, deleted between loss and backward, and not deleted."""
    weight = torch.full((64, 64), 0.01, requires_grad=True)

    def train(early: bool) -> None:
        state, history = torch.ones(64, 64), []
        for _ in range(50):
            state = torch.tanh(weight @ state)
            history.append(state)
        loss = history[-1].pow(2).mean()
        if early:
            del history, state
        loss.backward()

    return [Effect("kept, and deleted before backward", "bytes", peak(lambda: train(False)), peak(lambda: train(True)))]


def del_alias() -> list[Effect]:
    """A temporary that is found by its name and deleted by another one; and released where it is held."""
    sizes = []
    for release in (False, True):
        owner = SimpleNamespace(fields=torch.zeros(256, 256))
        for name in ("fields",):
            value = getattr(owner, name)
            del value
        if release:
            runtime.release(owner, "fields")
        sizes.append(held(owner).total)
    return [Effect("after `del` of an alias, after `release`", "bytes", *sizes)]


def collect_each_step() -> list[Effect]:
    """A step that collects all garbage, beside 200,000 objects of a program, and one that does so on each tenth."""
    objects = [[number] for number in range(200_000)]
    times = []
    for every in (1, 10):
        cleanup = runtime.Cleanup(every=every, prune=gc.collect)
        times.append(seconds(lambda: [cleanup.step() for _ in range(20)], 2) / 20)  # noqa: B023 - called at once
    del objects
    return [Effect("a step", "seconds", *times)]


def _wait_ten_times(values: torch.Tensor, wait: Callable[[], object]) -> None:
    for _ in range(10):
        values @ values
        wait()


def sleep_each_step() -> list[Effect]:
    """A step that sleeps for 10 ms so that memory is free by then, and one that synchronises."""
    values = torch.rand(64, 64)
    times = []
    for wait in (lambda: time.sleep(0.01), lambda: runtime.synchronize(values)):
        times.append(seconds(functools.partial(_wait_ten_times, values, wait), clock=time.perf_counter) / 10)
    return [Effect("a step", "seconds", *times)]


def clear_each_step() -> list[Effect]:
    """Twenty steps of MLX that clear the cache before and after each gradient, and twenty that leave it alone."""
    mx: Any = importlib.import_module("mlx.core")
    gradient = mx.grad(lambda weight, rows: mx.tanh(rows @ weight).square().mean())
    weight, rows = mx.random.normal((512, 512)), mx.random.normal((512, 512))

    def step(clear: Callable[[], object]) -> None:
        for _ in range(20):
            clear()
            mx.eval(gradient(weight, rows))
            clear()

    peaks, ready = [], []
    for clear in (mx.clear_cache, lambda: None):
        mx.reset_peak_memory()
        step(clear)
        peaks.append(mx.get_peak_memory())
        ready.append(mx.get_cache_memory())
    buffers = Effect("ready for the next step without asking the system", "bytes", *ready)
    return [Effect("arrays in use at most", "bytes", *peaks), buffers]


def allocated_threshold() -> list[Effect]:
    """How often the cache is emptied in 1,000 steps of a program that uses 21 GB and caches 1 GB."""
    cleanup = runtime.Cleanup(every=10, above_gb=20.0)
    state = SimpleNamespace(allocated=int(21e9), reserved=int(22e9))
    by_allocated = sum(state.allocated > 20e9 for _ in range(1000))
    return [Effect("in 1,000 steps", "times", by_allocated, sum(cleanup.step(state) for _ in range(1000)))]


# -- what is suggested for the agent, by hand --------------------------------------------------------------------------


def lookup() -> list[Effect]:
    """An entry of an archive of 10,000 by its number: searched for, and from a dict."""
    entries = [SimpleNamespace(number=number) for number in range(10_000)]
    index = {entry.number: entry for entry in entries}
    search = seconds(lambda: next(entry for entry in entries if entry.number == 9_999))
    return [Effect("one of 10,000 entries", "seconds", search, seconds(lambda: index[9_999]))]


def decay() -> list[Effect]:
    """One tick's decay of 1,000 weights: one after the other, and as one factor for all."""
    entries, common = [SimpleNamespace(weight=1.0) for _ in range(1000)], SimpleNamespace(factor=1.0)

    def each() -> None:
        for entry in entries:
            entry.weight *= 0.99

    def all_together() -> None:
        common.factor *= 0.99

    return [Effect("1,000 weights", "seconds", seconds(each), seconds(all_together))]


def serialised_once() -> list[Effect]:
    """What never changes, as text, in each of 100 ticks and once for all of them."""
    traits = {f"trait {number}": number / 7 for number in range(50)}
    each = seconds(lambda: [json.dumps(traits, sort_keys=True) for _ in range(100)])
    return [Effect("100 ticks", "seconds", each, seconds(lambda: [json.dumps(traits, sort_keys=True)] * 100))]


def events_left() -> list[Effect]:
    """Events that wait after 100 ticks, of which three come in each."""
    waiting = []
    for module in sides("agent"):
        _, agent = module.run(100, 10)
        waiting.append(agent.events.qsize())
    return [Effect("waiting after 100 ticks", "events", *waiting)]


# -- watching ----------------------------------------------------------------------------------------------------------


def slow_leak() -> list[Effect]:
    """What is told of a leak of 2 MB a step: by two probes next to each other, and by one in each step."""
    monitor = runtime.LeakMonitor(threshold_mb=1.0, on_emergency=lambda slope: None)
    used = [int(1e9 + 2e6 * step) for step in range(100)]
    side_by_side = max((now - now) / 1e6 for now in used)
    return [Effect("of 2 MB a step", "MB seen", side_by_side, [monitor.step(bytes_) for bytes_ in used][-1])]


def emergencies() -> list[Effect]:
    """How often a leak of 2 MB a step calls for a reload in 200 steps."""
    calls: list[float] = []
    monitor = runtime.LeakMonitor(threshold_mb=1.0, on_emergency=calls.append)
    for step in range(200):
        monitor.step(int(1e9 + 2e6 * step))
    return [Effect("in 200 steps", "reloads", sum(2.0 > 1.0 for _ in range(199)), len(calls))]


def threshold_between_intervals() -> list[Effect]:
    """Memory when a reload comes: 0.1 GB more in each step, a limit of 10 GB, an interval of 500 steps."""
    policy = runtime.ReloadPolicy(interval_steps=500, threshold_gb=10.0)
    used = [int(1e8 * step) for step in range(1000)]
    hidden = next(now for step, now in enumerate(used) if step and step % 500 == 0 and now > 10e9)
    both = next(now for step, now in enumerate(used) if policy.due(step, now))
    return [Effect("in use when a reload comes", "bytes", hidden, both)]


def reload_what_was_saved() -> list[Effect]:
    """Reloads that fail in 1,000 steps where checkpoints are off, and where only what was saved is reloaded."""
    with tempfile.TemporaryDirectory() as folder:
        missing = Path(folder) / "checkpoint.pt"
        saved = None
        failures = [0, 0]
        for _ in range(10):
            for side, path in enumerate((missing, saved)):
                try:
                    if path is not None:
                        torch.load(path)
                except FileNotFoundError:
                    failures[side] += 1
    return [Effect("of 10 reloads with checkpoints off", "failures", *failures)]


def warning() -> list[Effect]:
    """How many flows may still come between the first warning and the cap of 50,000."""
    mark = runtime.Watermark(50_000)
    first = next(count for count in range(0, 50_001, 100) if mark.update(count))
    return [Effect("left when the first warning comes", "flows", 0, 50_000 - first)]


def room() -> list[Effect]:
    """Allocations of 1 GB that are tried beyond a limit of 10 GB, of 20."""
    guard = runtime.MemoryGuard(10.0)
    tried = sum(guard.ok(int(1e9 * number)) for number in range(1, 21))
    return [Effect("tried beyond the limit", "allocations", 10, max(tried - 10, 0))]
