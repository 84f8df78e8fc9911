"""What the helpers of `memlint.runtime` cost, against the plain code that they replace or the step that they watch.

Usage: python -m benchmarks.shim [--repeat N]

Each side is run in a loop of at least a twentieth of a second, N times in turn with the other; its time is the smallest
of the N. Printed is one table of ratios, which depend on the machine much less than the times do. Rows that need torch
are left out where it is not installed. torch computes with one thread.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib.util
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from memlint import runtime

LEAST_SECONDS = 0.05


class Row(NamedTuple):
    """Two sides that are run in turn: the helper, and what it is compared with."""

    helper: str
    other: str
    run_helper: Callable[[], object]
    run_other: Callable[[], object]


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--repeat", type=int, default=5)
    repeat = ask.parse_args(arguments).repeat
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as files:
        rows = [*plain_rows(folder, files), *(torch_rows() if importlib.util.find_spec("torch") else ())]
        lines = [(row.helper, row.other, ratio(row, repeat)) for row in rows]
    lines.insert(0, ("helper", "against", "takes"))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for number, line in enumerate(lines):
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        if number == 0:
            print("  ".join("-" * width for width in widths))


def ratio(row: Row, repeat: int) -> str:
    """How much longer or shorter the helper takes, as text."""
    calls = calls_for(row.run_helper), calls_for(row.run_other)
    times = [(seconds(row.run_helper, calls[0]), seconds(row.run_other, calls[1])) for _ in range(repeat)]
    helper, other = (min(side) for side in zip(*times, strict=True))
    return f"1/{other / helper:,.0f}" if other >= 10 * helper else f"{helper / other:.2f} x"


def calls_for(work: Callable[[], object]) -> int:
    """How many calls take long enough to be timed."""
    calls = 1
    while seconds(work, calls) * calls < LEAST_SECONDS:
        calls *= 4  # never by more: the first calls may be cheap and a later one not
    return calls


def seconds(work: Callable[[], object], calls: int) -> float:
    """The time of one call."""
    start = time.perf_counter()
    for _ in range(calls):
        work()
    return (time.perf_counter() - start) / calls


def plain_rows(folder: str, files: contextlib.ExitStack) -> Iterator[Row]:
    """What needs nothing but Python. files: closes what is written to in the folder."""
    unbounded: list[int] = []
    bounded: list[int] = []

    def append() -> None:
        unbounded.append(1)
        if len(unbounded) >= 1_000_000:  # the benchmark has to end
            unbounded.clear()

    yield Row(
        "append_bounded(history, x, limit=1000)",
        "history.append(x)",
        lambda: runtime.append_bounded(bounded, 1, limit=1000),
        append,
    )

    path = os.path.join(folder, "plain.log")
    writer = files.enter_context(runtime.BufferedWriter(os.path.join(folder, "buffered.log")))
    line = '{"tick": 12345, "energy": 0.123456, "memory": 1000, "events": []}\n'

    def open_and_write() -> None:
        with open(path, "a", encoding="utf-8") as file:
            file.write(line)

    yield Row("BufferedWriter.write(line)", "open, write, close", lambda: writer.write(line), open_and_write)

    quiet = logging.getLogger("benchmarks.shim.quiet")
    quiet.setLevel(logging.INFO)
    quiet.propagate = False
    loud = logging.getLogger("benchmarks.shim.loud")
    loud.setLevel(logging.DEBUG)
    loud.propagate = False
    loud.addHandler(handler := logging.FileHandler(os.path.join(folder, "loud.log")))
    files.callback(handler.close)
    due, values = runtime.every(100), list(range(20))

    def log_each() -> None:
        loud.debug(f"values {values}")

    def log_some() -> None:
        if due():
            loud.debug(f"values {values}")

    count = 0

    def by_hand() -> bool:
        nonlocal count
        count += 1
        return count % 100 == 1

    yield Row("every(100)()", "a counter by hand, no lock", due, by_hand)
    yield Row("a log line where every(100) says so", "the log line each step", log_some, log_each)
    yield Row(
        "log_memory_state, level off",
        "log_memory_state, level on",
        lambda: runtime.log_memory_state("step", logger=quiet),
        lambda: runtime.log_memory_state("step", logger=loud),
    )

    cleanup = runtime.Cleanup(every=10, prune=gc.collect)
    yield Row("Cleanup(prune=gc.collect).step()", "gc.collect() each step", cleanup.step, gc.collect)


def torch_rows() -> Iterator[Row]:
    """What computes with tensors, and what watches a training step."""
    import torch

    torch.set_num_threads(1)
    dice = torch.Generator().manual_seed(0)
    shape = (16, 16, 8)
    axes = [torch.linspace(-1, 1, size) for size in shape]
    fine, coarse = torch.cartesian_prod(*axes), torch.cartesian_prod(*(axis[::4] for axis in axes))
    points = torch.rand(1000, 3, generator=dice) * 2 - 1

    def rows_in_a_loop(grid: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.argmin(torch.norm(grid - point.unsqueeze(0), dim=1)) for point in points])

    def nearest(grid: torch.Tensor) -> Row:
        return Row(
            f"nearest_rows, 1000 points, {len(grid)} rows",
            "argmin of the norm in a loop",
            lambda: runtime.nearest_rows(points, grid),
            lambda: rows_in_a_loop(grid),
        )

    yield from map(nearest, (coarse, fine))
    yield Row(
        "round_to_lattice, 1000 points, 16 x 16 x 8",
        "argmin of the norm in a loop",
        lambda: runtime.round_to_lattice(points, shape),
        lambda: fine[rows_in_a_loop(fine)],
    )

    model = torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.ReLU(), torch.nn.Linear(256, 256))
    optimizer = torch.optim.Adam(model.parameters())
    batch = torch.rand(64, 256, generator=dice)

    def training_step() -> None:
        optimizer.zero_grad()
        model(batch).square().mean().backward()
        optimizer.step()

    monitor = runtime.LeakMonitor(threshold_mb=1e9)
    guard = runtime.MemoryGuard(limit_gb=1e9)
    policy = runtime.ReloadPolicy(interval_steps=1000, threshold_gb=1e9)
    step = "a training step of two small layers"
    yield Row("LeakMonitor.step()", step, monitor.step, training_step)
    yield Row("MemoryGuard.ok()", step, guard.ok, training_step)
    yield Row("ReloadPolicy.due(step, used)", step, lambda: policy.due(1, 0), training_step)
    yield Row("memory_state()", step, runtime.memory_state, training_step)
    yield Row("synchronize()", step, runtime.synchronize, training_step)


if __name__ == "__main__":
    main()
