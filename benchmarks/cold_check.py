"""What a cold check costs against bare `libcst.parse_module` on the same files.

Usage: python -m benchmarks.cold_check PATH [--repeat N]

Each side runs N times in a process of its own, in turn, on all `*.py` files below PATH; its CPU time (user and system,
start of Python and imports included) is the smallest of the N. Printed: both times and their ratio.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

_PARSE = """
import sys, pathlib, libcst
for path in sorted(pathlib.Path(sys.argv[1]).rglob("*.py")):
    try:
        libcst.parse_module(path.read_bytes())
    except libcst.ParserSyntaxError:
        pass
"""


def cpu_seconds(command: list[str]) -> float:
    """The CPU time of a child process, in seconds."""
    before = os.times()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    """Measure and print."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("path")
    ask.add_argument("--repeat", type=int, default=3)
    arg = ask.parse_args()
    parse = [sys.executable, "-c", _PARSE, arg.path]
    check = [sys.executable, "-m", "memlint", "check", "--isolated", "--no-cache", "-j1", "--exit-zero", arg.path]
    times = [(cpu_seconds(parse), cpu_seconds(check)) for _ in range(arg.repeat)]
    bare, cold = (min(side) for side in zip(*times, strict=True))
    print(f"bare parse {bare:.2f} s, cold check {cold:.2f} s, ratio {cold / bare:.2f}")


if __name__ == "__main__":
    main()
