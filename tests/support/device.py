"""A machine without an accelerator that runs code written for one.

Fixtures say `device="cuda"` as real programs do. `Accelerator("cpu")` lets them compute real values on the CPU;
`Accelerator("meta")` gives their tensors a device of their own that has sizes and no data, so that what stays on
the accelerator can be told from what was moved away. There, whatever leaves the device reads as zeros.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

_aten = torch.ops.aten


class Accelerator(TorchFunctionMode):
    """Inside this context, `cuda` is another device. `used` tells whether anything asked for it."""

    def __init__(self, stand_in: str) -> None:
        super().__init__()
        self.stand_in = torch.device(stand_in)
        self.used = False
        self._copies = _CopiesFromMeta()

    def __enter__(self) -> Accelerator:
        super().__enter__()
        self._copies.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._copies.__exit__(*exception)
        super().__exit__(*exception)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.device:
            return self._device(torch.device(*args, **(kwargs or {})))
        args, kwargs = tree_map(self._device, (args, kwargs or {}))
        if func is torch.Tensor.cuda:
            self.used = True
            return torch.Tensor.to(args[0], self.stand_in)
        return func(*args, **kwargs)

    def _device(self, value: Any) -> Any:
        is_name = isinstance(value, str) and (value == "cuda" or value.startswith("cuda:"))
        if is_name or (isinstance(value, torch.device) and value.type == "cuda"):
            self.used = True
            return self.stand_in
        return value


class _CopiesFromMeta(TorchDispatchMode):
    """Lets values leave the meta device, which torch refuses: they become zeros."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        source = args[0] if args and isinstance(args[0], torch.Tensor) else None
        if func is _aten._to_copy.default and source is not None and source.is_meta:
            target = kwargs.get("device")
            if target is not None and torch.device(target).type != "meta":
                return torch.zeros(source.shape, dtype=kwargs.get("dtype") or source.dtype, device=target)
        if func is _aten.copy_.default and source is not None and not source.is_meta and args[1].is_meta:
            return source.zero_()
        if func is _aten._local_scalar_dense.default and source is not None and source.is_meta:
            return torch.zeros((), dtype=source.dtype).item()
        return func(*args, **kwargs)
