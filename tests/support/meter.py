"""What a program costs while it runs: torch operations, and the most tensor bytes alive at one time."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Meter(TorchDispatchMode):
    """Counts while its context is open: `operations` run, `peak` bytes of storages made here and alive together.

    peak_on_accelerator: the same of those on any device but the CPU, `meta` among them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0
        self.peak = 0
        self.peak_on_accelerator = 0
        self._alive: dict[int, int] = {}
        self._on_accelerator: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations += 1
        before = {self._key(value) for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)}
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, torch.Tensor) and self._key(value) not in before:
                self._watch(value.untyped_storage())
        self.peak = max(self.peak, sum(self._alive.values()))
        self.peak_on_accelerator = max(self.peak_on_accelerator, sum(self._on_accelerator.values()))
        return result

    @staticmethod
    def _key(value: torch.Tensor) -> int:
        return int(value.untyped_storage()._cdata)

    def _watch(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self._alive:
            self._alive[key] = storage.nbytes()
            weakref.finalize(storage, self._alive.pop, key, None)
            if storage.device.type != "cpu":
                self._on_accelerator[key] = storage.nbytes()
                weakref.finalize(storage, self._on_accelerator.pop, key, None)
