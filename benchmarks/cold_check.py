"""What a cold check costs against bare `libcst.parse_module` on the same files.

Usage: python -m benchmarks.cold_check PATH [--repeat N] [--file]

Each side runs N times in a process of its own, in turn, on all `*.py` files below PATH; its CPU time (user and system,
start of Python and imports included) is the smallest of the N. Bytecode is there, as in an installed package. Printed:
both times and their ratio.

With --file the same for one file, that of PATH which comes closest to 500 lines, and beside it what Python alone costs,
the import of LibCST, and `memlint --version`.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINES = 500

PARSE = str(ROOT / "benchmarks" / "speed" / "parse.py")


def cpu_seconds(command: list[str], bytecode: str) -> float:
    """The CPU time of a child process, in seconds. bytecode: the folder that Python keeps it in."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": bytecode}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def typical(folder: Path) -> Path:
    """The file whose number of lines comes closest to `LINES`."""
    return min(sorted(folder.rglob("*.py")), key=lambda file: abs(file.read_bytes().count(b"\n") - LINES))


def main() -> None:
    """Measure and print."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("path", type=Path)
    ask.add_argument("--repeat", type=int, default=3)
    ask.add_argument("--file", action="store_true")
    arg = ask.parse_args()
    path = str(typical(arg.path) if arg.file else arg.path)
    memlint = [sys.executable, "-m", "memlint"]
    sides = {
        "bare parse": [sys.executable, PARSE, path],
        "cold check": [*memlint, "check", "--isolated", "--no-cache", "-j1", "--exit-zero", path],
    }
    if arg.file:
        sides["python"] = [sys.executable, "-c", "pass"]
        sides["memlint --version"] = [*memlint, "--version"]
        sides["import libcst"] = [sys.executable, "-c", "import libcst"]
    with tempfile.TemporaryDirectory() as bytecode:
        for command in sides.values():
            cpu_seconds(command, bytecode)
        runs = [[cpu_seconds(command, bytecode) for command in sides.values()] for _ in range(arg.repeat)]
    times = dict(zip(sides, map(min, zip(*runs, strict=True)), strict=True))
    bare, cold = times.pop("bare parse"), times.pop("cold check")
    print(f"bare parse {bare:.3f} s, cold check {cold:.3f} s, ratio {cold / bare:.2f}")
    if times:
        print(", ".join(f"{name} {seconds:.3f} s" for name, seconds in times.items()))


if __name__ == "__main__":
    main()
