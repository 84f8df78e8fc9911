"""What one command costs."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ENOUGH = 12.0
"""Seconds after which a command is not run again."""


@dataclass(frozen=True)
class Cost:
    """cpu: user and system seconds, of children too. peak: megabytes of the largest of the processes."""

    cpu: float
    elapsed: float
    peak: float


def run(
    command: Sequence[str], folder: Path, out: IO[bytes] | int, err: IO[bytes] | int, environment: Mapping[str, str]
) -> tuple[int, Cost]:
    """The exit status of one run, and its cost. out, err: where its output goes."""
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=err, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    elapsed = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, Cost(usage.ru_utime + usage.ru_stime, elapsed, megabytes(usage.ru_maxrss))


def once(command: Sequence[str], folder: Path) -> Cost:
    """The cost of one run. Linters exit with 1 where they find something; anything else is an error."""
    with tempfile.TemporaryFile() as err:
        status, cost = run(command, folder, subprocess.DEVNULL, err, os.environ)
        if status not in (0, 1):
            err.seek(0)
            said = err.read().decode(errors="replace")
            raise SystemExit(f"{' '.join(command)} exited with {status}\n{said}")
    return cost


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
