"""What the cache and worker processes save.

Usage: python -m benchmarks.warm_check PATH [--repeat N]

The `*.py` files below PATH are copied to a folder of their own. Timed on the copy, each run in a process of its own: a
check that fills the cache, one that finds all files in it, one after an edit of one file, and checks without the cache
by one process and by two. CPU time is user and system, start of Python and imports included, of all processes
together; of N runs the smallest counts. The edit adds a line to the file of median size.

Of the run by two processes it is also printed what falls on the one that asks them and joins their answers: what it
does cannot be shared, so it limits what more of them save, however busy the machine is.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
MEASURED = """
import resource, sys
from memlint.__main__ import main
main()
for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
    used = resource.getrusage(whose)
    print(used.ru_utime + used.ru_stime, used.ru_maxrss, file=sys.stderr)
"""
CHECK = [sys.executable, "-c", MEASURED, "check", "--isolated", "--exit-zero", "--quiet"]


class Run(NamedTuple):
    """What a check took: CPU seconds and largest memory in MB of the process and of its workers, and what it found."""

    cpu: float
    wall: float
    own: float
    own_peak: float
    workers_peak: float
    found: bytes


def timed(folder: Path, *options: str) -> Run:
    """Check a folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    start = time.perf_counter()
    done = subprocess.run([*CHECK, *options], cwd=folder, env=environment, check=True, capture_output=True)
    wall = time.perf_counter() - start
    own, own_peak, workers, workers_peak = map(float, done.stderr.split()[-4:])
    return Run(own + workers, wall, own, own_peak / 1024, workers_peak / 1024, done.stdout)


def copied(source: Path, folder: Path) -> list[Path]:
    """The copies of all files, the largest last."""
    for file in sorted(source.rglob("*.py")):
        copy = folder / file.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    return sorted(folder.rglob("*.py"), key=lambda file: file.stat().st_size)


def main() -> None:
    """Measure and print."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("path", type=Path)
    ask.add_argument("--repeat", type=int, default=3)
    arg = ask.parse_args()
    cold, warm, edited, one, two = [], [], [], [], []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        files = copied(arg.path, folder)
        median = files[len(files) // 2]
        found = set()
        for _ in range(arg.repeat):
            shutil.rmtree(folder / ".memlint_cache", ignore_errors=True)
            cold.append(timed(folder, "-j1"))
            warm.append(timed(folder, "-j1"))
            size = sum(entry.stat().st_size for entry in (folder / ".memlint_cache").glob("*/*"))
            with open(median, "a", encoding="utf-8") as stream:
                stream.write("\n# edited\n")
            edited.append(timed(folder, "-j1"))
            one.append(timed(folder, "--no-cache", "-j1"))
            two.append(timed(folder, "--no-cache", "-j2"))
            found |= {run[-1].found for run in (cold, warm, edited, one, two)}
    if len(found) != 1:
        sys.exit("the runs differ in what they found")
    full, unchanged, edit = (min(run.cpu for run in runs) for runs in (cold, warm, edited))
    walls = [min(run.wall for run in runs) for runs in (one, two)]
    print(
        f"{len(files)} files, cache {size / 1e6:.1f} MB, at most {max(run.own_peak for run in one):.0f} MB in one process"
    )
    print(f"CPU: cold {full:.2f} s, warm {unchanged:.2f} s ({unchanged / full:.3f} of cold)")
    print(f"CPU: after an edit of one file {edit:.2f} s ({edit / full:.3f} of cold)")
    cpus = [min(run.cpu for run in runs) for runs in (one, two)]
    print(f"CPU: one process {cpus[0]:.2f} s, two together {cpus[1]:.2f} s ({cpus[1] / cpus[0]:.2f} of one)")
    print(
        f"of two: {min(run.own for run in two):.2f} s CPU in the process that asks them, at most "
        f"{max(run.own_peak for run in two):.0f} MB there and {max(run.workers_peak for run in two):.0f} MB in a worker"
    )
    print(f"elapsed: one process {walls[0]:.2f} s, two {walls[1]:.2f} s (one takes {walls[0] / walls[1]:.2f} of two)")


if __name__ == "__main__":
    main()
