"""The instruments of the fixture tests, held against programs whose cost is known."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from tests.support.device import Accelerator
from tests.support.held import held
from tests.support.meter import Meter
from tests.support.running import difference, run

FLOATS = 1000
BYTES = 4 * FLOATS


class Owner:
    """Something that keeps a tensor as programs do."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor

    def method(self) -> None:
        """A bound method keeps its object."""


class Slots:
    __slots__ = ("tensor",)

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor


def in_a_closure(tensor: torch.Tensor) -> Callable[[], torch.Tensor]:
    return lambda: tensor


def in_a_generator(tensor: torch.Tensor) -> Iterator[int]:
    def rows() -> Iterator[int]:
        yield 0
        yield len(tensor)

    generator = rows()
    next(generator)
    return generator


def in_a_cache(tensor: torch.Tensor) -> Any:
    @functools.lru_cache
    def cached() -> torch.Tensor:
        return tensor

    cached()
    return cached


KEEPERS: list[Callable[[torch.Tensor], Any]] = [
    lambda tensor: [tensor],
    lambda tensor: {"deep": ({"er": tensor},)},
    lambda tensor: [tensor, tensor, tensor[0]],  # one storage, however often it is referred to
    lambda tensor: tensor[:1],  # a view pins all of its base
    lambda tensor: tensor.numpy(),
    Owner,
    lambda tensor: Owner(tensor).method,
    Slots,
    in_a_closure,
    in_a_generator,
    in_a_cache,
    lambda tensor: functools.partial(print, tensor),
]


@pytest.mark.parametrize("keep", KEEPERS)
def test_held_finds_the_tensor(keep: Callable[[torch.Tensor], Any]) -> None:
    assert held(keep(torch.zeros(FLOATS))).host == BYTES


def test_held_sees_a_copied_row_as_small() -> None:
    assert held(torch.zeros(FLOATS)[:1].clone()).host == 4


def test_held_counts_what_a_graph_saved_until_backward_frees_it() -> None:
    weight = torch.zeros(FLOATS, requires_grad=True)
    loss = (weight * 2).exp().sum()
    with_graph = held(loss).host
    loss.backward()
    weight.grad = None
    freed = BYTES + 8  # what exp gave, and the 2 as a double
    assert with_graph - held(loss).host == freed
    assert held(loss.detach()).host == 4


def test_held_sees_what_a_custom_function_keeps() -> None:
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
            ctx.kept = torch.zeros(FLOATS)
            return value * 2

        @staticmethod
        def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
            return gradients[0] * 2

    small = torch.zeros(1, requires_grad=True)
    assert held(Double.apply(small)).host == BYTES + 2 * 4  # type: ignore[no-untyped-call]


def test_held_counts_python_records_too() -> None:
    records = [{"loss": float(i)} for i in range(100)]
    assert held(records[:50]).objects < held(records).objects / 1.5


def test_held_does_not_follow_a_function_into_its_module() -> None:
    assert held(in_a_closure).objects < 10_000


def test_the_accelerator_computes_on_the_cpu() -> None:
    with Accelerator("cpu") as device:
        layer = nn.Linear(3, 2).to("cuda")
        out = layer(torch.ones(4, 3, device=torch.device("cuda", 0)))
        total = out.sum().cuda().item()
    assert device.used
    assert out.device.type == "cpu"
    assert total == pytest.approx(out.sum().item())


def test_the_accelerator_is_told_from_the_host() -> None:
    with Accelerator("meta"):
        layer = nn.Linear(3, 2).cuda()
        out = layer(torch.ones(4, 3, device="cuda"))
        out.sum().backward()
        moved = out.detach().to("cpu", copy=True)
        row = torch.ones(4, 2)
        row[0] = out[0].detach()
        number = out.sum().item()
    assert held(out.detach()).accelerator == 4 * 2 * 4
    assert held(moved).accelerator == 0
    assert held(moved).host == 4 * 2 * 4
    assert row.tolist() == [[0.0, 0.0], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]
    assert number == 0.0


def test_the_accelerator_is_not_used_by_a_program_for_the_cpu() -> None:
    with Accelerator("meta") as device:
        total = torch.ones(3, device="cpu").sum().item()
    assert not device.used
    assert total == 3.0


def chain(grad: bool) -> Meter:
    weight = torch.zeros(FLOATS, requires_grad=True)
    meter = Meter()
    with meter, torch.set_grad_enabled(grad):
        value = weight
        for _ in range(10):
            value = value.exp()
    return meter


def test_the_meter_sees_what_a_graph_keeps_alive() -> None:
    assert chain(grad=True).peak == 10 * BYTES
    assert chain(grad=False).peak == 2 * BYTES  # a result and what it is computed from


def test_the_meter_counts_operations_not_python_loops() -> None:
    points = torch.rand(50, 3)
    with Meter() as each:
        for index in range(50):
            points[index] = points[index].round()
    with Meter() as batch:
        points.round()
    assert batch.operations == 1
    assert each.operations >= 3 * 50


@pytest.mark.parametrize(
    ("left", "right", "where"),
    [
        (1.0, 1.0, ""),
        (float("nan"), float("nan"), ""),
        (1.0, 1.5, "results: 1.0 became 1.5"),
        (1, True, "results: int became bool"),
        ([1, 2], (1, 2), "results: list became tuple"),
        ([1, 2], [1], "results: 2 items became 1"),
        ({"a": [0, "x"]}, {"a": [0, "y"]}, "results['a'][1]: 'x' became 'y'"),
        ({"a": 1}, {"b": 1}, "results: keys ['a'] became ['b']"),
        (torch.tensor([1.0, float("nan")]), torch.tensor([1.0, float("nan")]), ""),
        (torch.tensor([True]), torch.tensor([True]), ""),
    ],
)
def test_difference_names_the_first_one(left: object, right: object, where: str) -> None:
    assert difference(left, right) == where


@pytest.mark.parametrize(
    "other", [torch.tensor([1.0, 2.5]), torch.tensor([1, 2]), torch.tensor([[1.0, 2.0]]), torch.tensor([1.0])]
)
def test_difference_tells_tensors_apart(other: torch.Tensor) -> None:
    assert difference([torch.tensor([1.0, 2.0])], [other]).startswith("results[0]: ")


def test_difference_allows_what_the_tolerance_allows() -> None:
    assert difference(torch.tensor([1.0]), torch.tensor([1.1]), tolerance=0.2) == ""
    assert difference(1.0, 1.1, tolerance=0.2) == ""
    assert difference(1.0, 1.3, tolerance=0.2) != ""


def test_a_case_runs_with_its_own_project(tmp_path: Path) -> None:
    for name, value in [("one", 1), ("two", 2)]:
        (tmp_path / name / "project").mkdir(parents=True)
        (tmp_path / name / "project" / "numbers.py").write_text(f"VALUE = {value}\n")
        (tmp_path / name / "before.py").write_text(
            "from project.numbers import VALUE\n\n\ndef run():\n    return VALUE, [VALUE]\n"
        )
    assert [run(tmp_path / name / "before.py", accelerator="cpu").results for name in ("one", "two")] == [1, 2]
