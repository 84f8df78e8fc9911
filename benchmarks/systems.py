"""What the repair of the example systems is worth: steps per second, held bytes and peak, before and after.

Usage: python -m benchmarks.systems [NAME ...] [--python PATH] [--repeat N]

Each system of examples/systems is copied into a temporary folder and repaired there by memlint: all rules, unsafe
fixes and suggested diffs, with the helpers copied beside it. Both sides then run, in turn, N times in processes of
their own in which memlint can't be imported; of the times the smallest counts. PATH is the Python that runs the
programs, for instance one with MLX: pip install "mlx[cpu]". What this Python can't import is left out, and said.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.repaired import ROOT, copied, repaired


@dataclass(frozen=True)
class System:
    """An example, and how large it is made here. steps: how many of `unit` such a run takes."""

    name: str
    unit: str
    steps: int
    sizes: dict[str, Any] = field(default_factory=dict)


SYSTEMS = [
    System("lattice_flows", "training steps", 6, {"steps": 6, "batch": 2000, "width": 9}),
    System(
        "automaton",
        "episodes",
        6,
        {"episodes": 6, "steps": 100, "size": 48, "channels": 8, "frames": 60, "device": "cuda"},
    ),
    System("agent", "ticks", 400, {"ticks": 400, "records": 1500}),
    System("mlx_trainer", "training steps", 200, {"steps": 200, "width": 64, "batch": 256}),
]


class CannotRun(Exception):
    """The program failed; the text is the last line that it wrote."""


def measured(file: Path, sizes: dict[str, Any], python: str = sys.executable) -> dict[str, float]:
    """Run a program in a process of its own: seconds, held and peak bytes. Raises CannotRun."""
    command = [python, "-m", "benchmarks.program", str(file), json.dumps(sizes)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        raise CannotRun(done.stderr.strip().rpartition("\n")[2])
    result: dict[str, float] = json.loads(done.stdout)
    return result


def both(system: System, python: str = sys.executable, repeat: int = 3) -> tuple[dict[str, float], dict[str, float]]:
    """The costs of a system before and after its repair. Raises CannotRun."""
    with tempfile.TemporaryDirectory() as folder:
        sides = [copied(system.name, Path(folder, side)) for side in ("before", "after")]
        if errors := repaired(sides[1]).errors:
            raise CannotRun(errors[0].message)
        runs = [[measured(side, system.sizes, python) for side in sides] for _ in range(repeat)]
    before, after = (min(runs, key=lambda run: run[side]["seconds"])[side] for side in (0, 1))
    return before, after


def amount(count: float) -> str:
    """A number of bytes, as one reads it."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} B"


def ratio(before: float, after: float) -> str:
    """How many times less, or what part of it where it became more."""
    return f"{before / after:.3g}x" if after else "all of it"


def rows(system: System, before: dict[str, float], after: dict[str, float]) -> list[str]:
    """The lines of the table for one system."""
    speed = [system.steps / side["seconds"] for side in (before, after)]
    lines = [
        f"| {system.name} | {system.unit} a second | {speed[0]:.3g} | {speed[1]:.3g} | {ratio(speed[1], speed[0])} |"
    ]
    for key, title in (("held", "bytes held at the end"), ("peak", "most bytes at one time")):
        old, new = before[key], after[key]
        lines.append(f"| {system.name} | {title} | {amount(old)} | {amount(new)} | {ratio(old, new)} |")
    return lines


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("name", nargs="*", help=f"which of them (default: all): {', '.join(s.name for s in SYSTEMS)}")
    ask.add_argument("--python", default=sys.executable, help="the Python that runs the programs (default: this one)")
    ask.add_argument("--repeat", type=int, default=3)
    arg = ask.parse_args(arguments)
    print("| System | What | Before | After | Ratio |\n|---|---|---:|---:|---:|")
    for system in SYSTEMS:
        if not arg.name or system.name in arg.name:
            try:
                print("\n".join(rows(system, *both(system, arg.python, arg.repeat))), flush=True)
            except CannotRun as error:
                print(f"{system.name} was left out: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
