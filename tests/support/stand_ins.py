"""Small stand-ins for packages that some fixture programs use and the tests don't need: a plot that draws nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

from torch import nn


@contextmanager
def standing_in() -> Iterator[None]:
    """Inside, matplotlib, Lightning and TensorBoard are objects that take every call."""
    pyplot = MagicMock(subplots=lambda *args, **settings: (MagicMock(), MagicMock()))
    modules: dict[str, Any] = {
        "matplotlib": MagicMock(pyplot=pyplot),
        "matplotlib.pyplot": pyplot,
        "pytorch_lightning": SimpleNamespace(LightningModule=nn.Module),
        "torch.utils.tensorboard": MagicMock(),
    }
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
