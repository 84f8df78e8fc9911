"""Runs one program in a process of its own, where memlint can't be imported, and prints what it cost as JSON.

    python -m benchmarks.program FILE SIZES

FILE defines `run(**sizes)` as a fixture case does; SIZES is a JSON object. The first run is for the clock, after a
small one to warm up. The second is for the memory, with the instruments of the tests: bytes held at the end and the
most alive at one time, of tensors on the accelerator where the program asks for one, of MLX where it computes with
that, of all Python objects where it computes with neither.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import json
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any


def main(file: Path, sizes: dict[str, Any]) -> dict[str, float]:
    """Seconds of a run, bytes held at its end, and the most during it."""
    sys.modules["memlint"] = None  # type: ignore[assignment]
    sys.path.insert(0, str(file.parent))
    program: Any = importlib.import_module(file.stem)
    with contextlib.redirect_stdout(io.StringIO()):
        on_cpu = {name: "cpu" if value == "cuda" else value for name, value in sizes.items()}
        program.run(**({"device": "cpu"} if "device" in sizes else {}))
        gc.collect()
        start = time.perf_counter()
        program.run(**on_cpu)
        seconds = time.perf_counter() - start
        held, peak = memory(file, program, sizes)
    return {"seconds": seconds, "held": held, "peak": peak}


def memory(file: Path, program: Any, sizes: dict[str, Any]) -> tuple[int, int]:
    """Bytes that a run holds at its end, and the most at one time."""
    text = file.read_text(encoding="utf-8")
    if "import mlx" in text:
        from tests.support import on_mlx

        done = on_mlx.run(file, **sizes)
        return done.held, done.peak
    if "import torch" in text:
        from tests.support import running

        cost = running.run(file, accelerator="meta", **sizes)
        if cost.used_accelerator:
            return cost.held.accelerator, cost.peak_on_accelerator
        return cost.held.total, cost.peak
    gc.collect()
    tracemalloc.start()
    _, kept = program.run(**sizes)
    gc.collect()
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del kept
    return held, peak


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]).resolve(), json.loads(sys.argv[2]))))
