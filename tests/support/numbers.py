"""Tensors for tests of functions of them: where they come from, and when two are the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import settings

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    try:
        import torch
    except ModuleNotFoundError:  # what needs it is marked
        torch = None

FLOATS = ["float16", "bfloat16", "float32", "float64"]
quick = settings(deadline=None, max_examples=60)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def slopes(output: Tensor, *inputs: Tensor) -> list[Any]:
    """What the sum of `output` feels of each input."""
    return [slope.tolist() for slope in torch.autograd.grad(output.sum(), inputs)]


def same(one: Tensor, other: Tensor) -> bool:
    """Equal dtype, shape and values, NaN equal to itself."""
    return (
        one.dtype == other.dtype
        and torch.equal(one.isnan(), other.isnan())
        and one.nan_to_num().equal(other.nan_to_num())
    )
