"""What one command costs."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ENOUGH = 12.0
"""Seconds after which a command is not run again."""


@dataclass(frozen=True)
class Cost:
    """cpu: user and system seconds, of children too. peak: megabytes of the largest of the processes."""

    cpu: float
    elapsed: float
    peak: float


def once(command: Sequence[str], folder: Path) -> Cost:
    """The cost of one run. Linters exit with 1 where they find something; anything else is an error."""
    start = time.perf_counter()
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        elapsed = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(command)} exited with {process.returncode}\n{said.decode(errors='replace')}")
    return Cost(usage.ru_utime + usage.ru_stime, elapsed, megabytes(usage.ru_maxrss))


def own_peak() -> float:
    """The most megabytes that this process has held: what it starts is said to have held no less."""
    return megabytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def megabytes(largest: int) -> float:
    """What the system says of a process's memory: macOS in bytes, others in kilobytes."""
    return largest / 1e6 if sys.platform == "darwin" else largest * 1024 / 1e6


def least(command: Sequence[str], folder: Path, repeat: int) -> Cost:
    """The smallest of several runs; of a command that takes long only one or two."""
    costs: list[Cost] = []
    while len(costs) < repeat and sum(cost.elapsed for cost in costs) < ENOUGH:
        costs.append(once(command, folder))
    return Cost(*(min(values) for values in zip(*((c.cpu, c.elapsed, c.peak) for c in costs), strict=True)))
