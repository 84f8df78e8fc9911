"""What the cache and worker processes save.

Usage: python -m benchmarks.warm_check PATH [--repeat N]

The `*.py` files below PATH are copied to a folder of their own. Timed on the copy, each run in a process of its own: a
check that fills the cache, one with nothing changed, one with new times on all files but the same contents, one with
all answers in the cache but never linked this way (another option), one after an edit of one file, and checks without
the cache by one process and by two; and Python doing nothing. CPU time is user and system, start of Python and imports
included, of all processes together; of N runs the smallest counts. The edit adds a line to the file of median size.

Of a run by two processes it is also printed what falls on the one that asks them and joins their answers: that can't
be shared, so it limits what more of them save, however busy the machine is.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHECK = [sys.executable, "-m", "memlint", "check", "--isolated", "--exit-zero", "--quiet"]
SHARES = """
import resource, sys
from memlint.__main__ import main
main()
own, workers = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
print(own.ru_utime + own.ru_stime, own.ru_maxrss, workers.ru_maxrss, file=sys.stderr)
"""


def timed(folder: Path, *options: str, command: list[str] = CHECK) -> tuple[float, float, bytes]:
    """CPU and wall seconds of a check of a folder, and what it found."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([*command, *options], cwd=folder, env=environment, check=True, capture_output=True)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, wall, done.stdout


def shares(folder: Path) -> list[float]:
    """Of a check by two processes: CPU seconds and largest memory of the one that asks, largest memory of a worker."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SHARES, *CHECK[3:], "--no-cache", "-j2"]
    done = subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    return [float(number) for number in done.stderr.split()[-3:]]


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
    names = ("cold", "unchanged", "touched", "linked", "edited", "one", "two")
    runs: dict[str, list[tuple[float, float, bytes]]] = {name: [] for name in names}
    nothing = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        files = copied(arg.path, folder)
        median = files[len(files) // 2]
        for number in range(arg.repeat):
            shutil.rmtree(folder / ".memlint_cache", ignore_errors=True)
            runs["cold"].append(timed(folder, "-j1"))
            timed(folder, "-j1")  # reads what was too new to tell by its time
            runs["unchanged"].append(timed(folder, "-j1"))
            for file in files:
                os.utime(file, (number, number))
            runs["touched"].append(timed(folder, "-j1"))
            runs["linked"].append(timed(folder, "-j1", "--exclude", f"no-such-folder-{number}"))
            size = sum(entry.stat().st_size for entry in (folder / ".memlint_cache").glob("*/*"))
            with open(median, "a", encoding="utf-8") as stream:
                stream.write("\n# edited\n")
            runs["edited"].append(timed(folder, "-j1"))
            runs["one"].append(timed(folder, "--no-cache", "-j1"))
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
            runs["two"].append(timed(folder, "--no-cache", "-j2"))
            shared = shares(folder)
            nothing.append(timed(folder, command=[sys.executable, "-c", "pass"]))
    if len({run[-1] for timings in runs.values() for run in timings}) != 1:
        sys.exit("the runs differ in what they found")
    cpu = {name: min(run[0] for run in timings) for name, timings in runs.items()}
    wall = {name: min(run[1] for run in timings) for name, timings in runs.items()}
    start = min(run[0] for run in nothing)
    print(f"{len(files)} files, cache {size / 1e6:.1f} MB, largest process with one worker {peak / 1024:.0f} MB")
    print(f"CPU: cold {cpu['cold']:.2f} s; Python doing nothing {start:.3f} s")
    for name, what in (
        ("unchanged", "nothing changed"), ("touched", "new times, same contents"), ("linked", "all answers known"),
        ("edited", "after an edit of one file"),
    ):  # fmt: skip
        of_start = f"{cpu[name] / start:.1f} starts of Python"
        print(f"CPU: {what} {cpu[name]:.3f} s ({cpu[name] / cpu['cold']:.4f} of cold, {of_start})")
    print(
        f"CPU: one process {cpu['one']:.2f} s, two together {cpu['two']:.2f} s ({cpu['two'] / cpu['one']:.2f} of one)"
    )
    own, worker = shared[1] / 1024, shared[2] / 1024
    print(f"of two: {shared[0]:.2f} s in the process that asks; that one takes {own:.0f} MB, a worker {worker:.0f} MB")
    ratio = wall["one"] / wall["two"]
    print(f"elapsed: one process {wall['one']:.2f} s, two {wall['two']:.2f} s (one takes {ratio:.2f} of two)")


if __name__ == "__main__":
    main()
