"""Stand-ins for torch and mlx as memory probes see them: devices with numbers that a test sets."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest

GB = 1_000_000_000


class Gpus:
    """Stands for `torch.cuda` or `torch.xpu`: an allocator for each device. Unused, it fails when it is asked."""

    def __init__(self, *reserved_and_allocated: tuple[int, int], initialized: bool = True) -> None:
        self.reserved = [reserved for reserved, _ in reserved_and_allocated]
        self.allocated = [allocated for _, allocated in reserved_and_allocated]
        self.initialized = initialized
        self.emptied = 0
        self.waited_for: list[int] = []

    def is_initialized(self) -> bool:
        return self.initialized

    def device_count(self) -> int:
        assert self.initialized, "asking would start the device up"
        return len(self.reserved)

    def current_device(self) -> int:
        assert self.initialized, "asking would start the device up"
        return 0

    def memory_reserved(self, index: int) -> int:
        return self.reserved[index]

    def memory_allocated(self, index: int) -> int:
        return self.allocated[index]

    def max_memory_allocated(self, index: int) -> int:
        return self.allocated[index] + 1

    def synchronize(self, index: int) -> None:
        self.waited_for.append(index)

    def empty_cache(self) -> None:
        self.emptied += 1
        self.reserved = list(self.allocated)


class Mps:
    """Stands for `torch.mps`."""

    def __init__(self, reserved: int, allocated: int) -> None:
        self.reserved, self.allocated = reserved, allocated
        self.emptied = self.waited = 0

    def device_count(self) -> int:
        return 1

    def driver_allocated_memory(self) -> int:
        return self.reserved

    def current_allocated_memory(self) -> int:
        return self.allocated

    def synchronize(self) -> None:
        self.waited += 1

    def empty_cache(self) -> None:
        self.emptied += 1


class Mlx:
    """Stands for `mlx.core`."""

    def __init__(self, active: int, cached: int) -> None:
        self.active, self.cached = active, cached
        self.emptied = self.waited = 0
        self.evaluated: list[Any] = []

    def get_active_memory(self) -> int:
        return self.active

    def get_cache_memory(self) -> int:
        return self.cached

    def get_peak_memory(self) -> int:
        return self.active + 1

    def clear_cache(self) -> None:
        self.emptied += 1

    def eval(self, *values: Any) -> None:
        self.evaluated.extend(values)

    def synchronize(self) -> None:
        self.waited += 1


def install(
    monkeypatch: pytest.MonkeyPatch, *, cuda: Any = None, xpu: Any = None, mps: Any = None, mlx: Any = None
) -> None:
    """Make stand-ins the machine's torch and mlx."""
    available = types.SimpleNamespace(is_available=lambda: mps is not None)
    backends = types.SimpleNamespace(mps=available)
    torch = types.SimpleNamespace(cuda=cuda, xpu=xpu, mps=mps, backends=backends, Tensor=Tensor)
    monkeypatch.setitem(sys.modules, "torch", torch)
    if mlx is None:
        monkeypatch.delitem(sys.modules, "mlx.core", raising=False)
    else:
        monkeypatch.setitem(sys.modules, "mlx.core", mlx)


def uninstall(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine where nobody has imported torch or mlx."""
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.delitem(sys.modules, "mlx.core", raising=False)


class Tensor:
    """Stands for `torch.Tensor`: it lies on a device."""

    def __init__(self, kind: str, index: int | None) -> None:
        self.device = types.SimpleNamespace(type=kind, index=index)
