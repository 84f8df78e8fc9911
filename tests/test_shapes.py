"""What literals say of shapes and bytes; torch itself is the judge."""

from __future__ import annotations

import pytest

from memlint.facts import FileFacts
from memlint.facts.shapes import Size, amount
from memlint.facts.values import Value
from memlint.source import Source

PREFIX = """\
import torch
from copy import deepcopy
N = 4
SIDES = 3 * N
x = torch.zeros(2, 3, 4)
h = x.half()
i = torch.arange(6)
"""


def value(expression: str) -> Value:
    return FileFacts(Source("a.py", f"{PREFIX}y = {expression}\n".encode())).top.env["y"]


KNOWN = [
    "torch.zeros(1, 64, 64, 192)", "torch.ones((2, 3))", "torch.rand([5])", "torch.randn(size=(2, N))",
    "torch.empty(N, SIDES + 1)", "torch.full((2, 2), 1.5)", "torch.full((2, 2), 7)", "torch.full((2, 2), True)",
    "torch.full((2, 2), 7, dtype=torch.float16)", "torch.arange(10)", "torch.arange(2, 10)", "torch.randperm(8)",
    "torch.randint(0, 5, (3, 3))", "torch.randint(5, size=(3, 3))", "torch.eye(3)", "torch.eye(3, 4)",
    "torch.zeros(3, dtype=torch.float64)", "torch.zeros(3, dtype=torch.long)", "torch.zeros_like(x)",
    "torch.randn_like(x, dtype=torch.float64)", "torch.ones_like(i)",
    "x.clone()", "x.detach().cpu()", "x.half()", "x.double()", "x.bfloat16()", "x.to(torch.float16)", "x.bool()",
    "x.to('cpu')", "x.to(dtype=torch.float64)", "x.unsqueeze(0)", "x.unsqueeze(-1)", "x[None]", "x[0]", "x[0][1]",
    "x.unsqueeze(0).squeeze()", "x.flatten()", "x.reshape(6, -1)", "x.view(24)", "x.permute(2, 0, 1)",
    "x.repeat(2, 1, 1)", "torch.tanh(x)", "torch.relu(x).exp()", "x.clamp(0, 1)", "x + 1", "1 - x", "x * 2.0", "x / 2",
    "x + x", "x + torch.zeros(4)", "x + torch.zeros(1, 3, 1)", "torch.zeros(4) * x", "-x", "x.add(1)", "x.mul(x)",
    "deepcopy(x)", "i.float()",
]  # fmt: skip
UNKNOWN = [
    "torch.zeros(n)", "torch.zeros(2, n)", "torch.zeros(*sides)", "torch.zeros(3, dtype=d)", "torch.tensor([1, 2])",
    "torch.full((2,), fill)", "x.sum()", "x.mean(0)", "x @ x", "x[1:]", "x[x > 0]", "x[...]", "x[n]", "x.view(n, -1)",
    "x.reshape(5, -1)", "x + h", "x + torch.zeros(7)", "i + 1", "torch.cat([x, x])", "x.T", "x.shape",
    "x.item()", "f(x)", "x.permute(0, 1)", "torch.arange(0, 1, 0.1)", "torch.arange(0.5)", "x.to(h)",
]  # fmt: skip


@pytest.mark.needs_torch
@pytest.mark.parametrize("expression", KNOWN)
def test_a_size_is_torchs_own(expression: str) -> None:
    import torch

    names: dict[str, object] = {}
    exec(f"{PREFIX}y = {expression}\n", names)
    y = names["y"]
    assert isinstance(y, torch.Tensor)
    size = value(expression).size
    assert size == Size(tuple(y.shape), str(y.dtype).removeprefix("torch."))
    assert size.bytes == y.numel() * y.element_size()


@pytest.mark.parametrize("expression", UNKNOWN)
def test_what_no_literal_tells_has_no_size(expression: str) -> None:
    assert value(expression).size is None


@pytest.mark.parametrize(
    ("count", "text"),
    [(32, "32 bytes"), (999, "999 bytes"), (1_500, "1.5 kB"), (3_145_728, "3.1 MB"), (2 * 10**9, "2.0 GB")],
)
def test_amounts_are_decimal(count: int, text: str) -> None:
    assert amount(count) == text


BRANCHES = """\
import torch

class Net:
    WIDE = 8

    def __init__(self):
        self.n = 3
        self.m = 2

    def grow(self):
        self.m = 5

    def use(self, flag):
        a = torch.zeros(self.n, self.WIDE)
        b = torch.zeros(self.m)
        c = torch.zeros(4)
        d = torch.zeros(4)
        if flag:
            c = torch.zeros(5)
            d = torch.ones(4)
        for row in a:
            pass
        return a, b, c, d, row
"""


def test_attributes_and_branches() -> None:
    use = next(scope for scope in FileFacts(Source("a.py", BRANCHES.encode())).scopes if scope.name == "use")
    assert [part.size for part in use.returns.parts or ()] == [
        Size((3, 8), "float32"), None, None, Size((4,), "float32"), Size((8,), "float32"),
    ]  # fmt: skip
