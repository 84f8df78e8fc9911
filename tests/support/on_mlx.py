"""Running a case's program that computes with MLX: its results, and what MLX's allocator handed out for it."""

from __future__ import annotations

import gc
import importlib
import runpy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

mx: Any = importlib.import_module("mlx.core")


@dataclass(frozen=True)
class Run:
    """One run. held: bytes in use at its end, with what it returned; peak: the most during it. program: its names."""

    results: Any
    held: int
    peak: int
    measure: str
    program: dict[str, Any]


def run(file: Path, **sizes: Any) -> Run:
    """Run `run(**sizes)` of a file from the beginning."""
    gc.collect()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    program = runpy.run_path(str(file), run_name="memlint_case")
    results, kept = program["run"](**sizes)
    gc.collect()
    held = mx.get_active_memory() - before
    del kept
    return Run(results, held, mx.get_peak_memory() - before, program.get("MEASURE", "held"), program)
