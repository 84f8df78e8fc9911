"""Running a case's program: its results, and what it cost."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from tests.support.device import Accelerator
from tests.support.held import Held, held
from tests.support.meter import Meter

_numbers = itertools.count()


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of a case's program."""

    module: ModuleType
    results: Any
    held: Held
    peak: int
    peak_on_accelerator: int
    operations: int
    used_accelerator: bool


def load(file: Path) -> ModuleType:
    """Import a file under a name of its own."""
    name = f"memlint_case_{next(_numbers)}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look their module up
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[name]
    return module


def run(file: Path, *, accelerator: str, **sizes: Any) -> Run:
    """Run `run(**sizes)` of a file from the beginning, with `cuda` standing for `accelerator`: cpu or meta."""
    with forgetting_project(file.parent), Accelerator(accelerator) as device, Meter() as meter:
        torch.manual_seed(0)
        module = load(file)
        results, kept = module.run(**sizes)
    peaks = (meter.peak, meter.peak_on_accelerator)
    return Run(module, results, held(kept), *peaks, meter.operations, device.used)


@contextmanager
def forgetting_project(folder: Path) -> Iterator[None]:
    """With the case's folder on the path; `project` is another package in each case, so no case leaves it behind."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name == "project" or name.startswith("project.")]:
            del sys.modules[name]


def difference(left: Any, right: Any, tolerance: float = 0.0, path: str = "results") -> str:
    """Where two nested structures of results differ first; nothing where they are equal, NaN equal to NaN."""
    if type(left) is not type(right):
        return f"{path}: {type(left).__name__} became {type(right).__name__}"
    if isinstance(left, torch.Tensor):
        return _tensor_difference(left, right, tolerance, path)
    if isinstance(left, float):
        same = left == right or abs(left - right) <= tolerance or (math.isnan(left) and math.isnan(right))
        return "" if same else f"{path}: {left!r} became {right!r}"
    if isinstance(left, Mapping):
        if list(left) != list(right):
            return f"{path}: keys {list(left)} became {list(right)}"
        parts = [difference(left[key], right[key], tolerance, f"{path}[{key!r}]") for key in left]
        return next(filter(None, parts), "")
    if isinstance(left, (list, tuple)):
        if len(left) != len(right):
            return f"{path}: {len(left)} items became {len(right)}"
        parts = [difference(a, b, tolerance, f"{path}[{i}]") for i, (a, b) in enumerate(zip(left, right, strict=True))]
        return next(filter(None, parts), "")
    return "" if left == right else f"{path}: {left!r} became {right!r}"


def _tensor_difference(left: torch.Tensor, right: torch.Tensor, tolerance: float, path: str) -> str:
    try:
        torch.testing.assert_close(right, left, rtol=0.0, atol=tolerance, equal_nan=True)
    except AssertionError as error:
        return f"{path}: {error}"
    return ""
