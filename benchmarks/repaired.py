"""Copies of the example systems, repaired as far as memlint can: what the benchmarks and the tests run as "after"."""

from __future__ import annotations

import shutil
from pathlib import Path

from memlint import engine, repair
from memlint.config import Overrides, Resolver, Selection
from memlint.repair import RepairReport

ROOT = Path(__file__).resolve().parents[1]
SYSTEMS = ROOT / "examples" / "systems"


def copied(name: str, folder: Path) -> Path:
    """An example system in a folder of its own, with its configuration."""
    folder.mkdir(parents=True)
    for file in (f"{name}.py", "pyproject.toml"):
        shutil.copy(SYSTEMS / file, folder)
    return folder / f"{name}.py"


def repaired(file: Path) -> RepairReport:
    """Repair a copy in place: with all rules, unsafe fixes and suggested diffs, and the helpers copied beside it."""
    overrides = Overrides(Selection(select=("all",)), runtime=f"vendor:{file.parent / 'memory_helpers.py'}")
    settings = Resolver(overrides).settings(str(file.parent))
    report = repair.repair([(str(file), settings)], rules=None, unsafe=True, suggested=True, check=engine.check)
    report.errors += repair.write(report)
    return report
