"""What the shim's helpers allocate and keep, measured at the allocator, and the same helpers on MLX arrays."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from memlint import runtime

if TYPE_CHECKING:
    import torch
else:
    try:
        import torch
    except ModuleNotFoundError:  # what needs it is marked
        torch = None


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def peak_bytes(work: Callable[[], object]) -> int:
    """The most bytes alive at one time that torch's CPU allocator handed out during `work`, kernels' own included."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        kept = work()
    del kept
    assert profile.profiler is not None
    kineto: Any = profile.profiler.kineto_results
    changes = sorted((event.start_ns(), event.nbytes()) for event in kineto.events() if event.name() == "[memory]")
    alive = peak = 0
    for _, change in changes:
        alive += change
        peak = max(peak, alive)
    return peak


def broadcast(points: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    distance: torch.Tensor = torch.norm(grid - points.unsqueeze(1), dim=2)
    return distance.argmin(dim=1)


@pytest.mark.needs_torch
class TestNearestRowsBudget:
    @pytest.mark.parametrize(
        ("count", "total", "width", "budget"),
        [
            (300, 500, 3, 100_000),  # chunks of points
            (40, 20_000, 3, 50_000),  # one point alone exceeds the budget: chunks of the grid
            (2_000, 30, 8, 20_000),
            (5_000, 2, 3, 20_000),  # what is kept per point counts most
            (50, 60, 700, 30_000),
            (3_000, 300, 3, 64 << 20),
            (3_000, 300, 3, 60_000),  # large enough for the shortcut, and little room
            (9_000, 8, 3, 9_000),
        ],
    )
    @pytest.mark.parametrize(
        ("dtypes", "graph"),
        [(("float32", "float32"), True), (("float16", "float16"), False), (("float64", "float32"), False)],
    )
    def test_stays_within_it(
        self, count: int, total: int, width: int, budget: int, dtypes: tuple[str, str], graph: bool
    ) -> None:
        points = torch.rand(width, count).to(getattr(torch, dtypes[0])).t().requires_grad_(graph)
        grid = torch.rand(total, width).to(getattr(torch, dtypes[1]))
        result = runtime.nearest_rows(points, grid, budget_bytes=budget)
        assert result.equal(broadcast(points, grid))
        peak = peak_bytes(lambda: runtime.nearest_rows(points, grid, budget_bytes=budget))
        assert result.nbytes < peak <= budget + result.nbytes

    def test_the_meter_sees_what_the_broadcast_takes(self) -> None:
        points, grid = torch.rand(300, 3), torch.rand(500, 3)
        assert peak_bytes(lambda: broadcast(points, grid)) >= 300 * 500 * 4 * 4


@pytest.mark.needs_torch
def test_the_lattice_costs_the_same_for_any_number_of_nodes() -> None:
    points = torch.rand(5_000, 3, requires_grad=True)
    few = peak_bytes(lambda: runtime.round_to_lattice(points, (4, 4, 4)))
    many = peak_bytes(lambda: runtime.round_to_lattice(points, (400, 400, 400)))
    assert 0 < many <= few + 3 * 400 * 4
    assert many <= 3 * points.nbytes


@pytest.mark.needs_torch
@pytest.mark.parametrize(
    ("helper", "graph_lives"), [(lambda value: value, True), (runtime.to_cpu, False), (runtime.detach, False)]
)
def test_a_snapshot_lets_the_graph_go(helper: Callable[[Any], Any], graph_lives: bool) -> None:
    source = torch.ones(4, requires_grad=True)
    output = source * 2  # its graph holds the source
    reached = weakref.ref(source)
    kept = helper({"history": [output]})
    del source, output
    gc.collect()
    assert kept["history"][0].tolist() == [2, 2, 2, 2]
    assert (reached() is not None) is graph_lives


@pytest.mark.needs_torch
def test_detach_allocates_nothing() -> None:
    state = (torch.ones(1000, requires_grad=True) * 2, [torch.ones(1000)])
    assert peak_bytes(lambda: runtime.detach(state)) == 0
    assert peak_bytes(lambda: runtime.to_cpu(state)) >= 8000


class TestMlx:
    @pytest.fixture
    def mx(self) -> Any:
        return pytest.importorskip("mlx.core")

    def test_the_same_walk(self, mx: Any) -> None:
        for helper in (runtime.detach, runtime.to_cpu):
            state = helper((mx.array([2.0]) * 2, [mx.array([1, 2], dtype=mx.bfloat16)], "text"))
            assert type(state) is tuple
            assert state[0].tolist() == [4]
            assert state[1][0].dtype == mx.bfloat16
            assert state[2] == "text"

    def test_no_gradient_flows_through(self, mx: Any) -> None:
        def loss(weight: Any, helper: Callable[[Any], Any]) -> Any:
            (held,) = helper((weight * 2,))
            return (weight * held).sum()

        weight = mx.array([2.0, 3.0])
        assert mx.grad(loss)(weight, lambda value: value).tolist() == [8, 12]
        assert mx.grad(loss)(weight, runtime.detach).tolist() == [4, 6]
        assert mx.grad(loss)(weight, runtime.to_cpu).tolist() == [4, 6]

    @pytest.mark.parametrize(
        ("helper", "lazy", "view"), [(list, True, True), (runtime.detach, False, True), (runtime.to_cpu, False, False)]
    )
    def test_what_stays_alive(self, mx: Any, helper: Callable[[Any], Any], lazy: bool, view: bool) -> None:
        def held(made: Callable[[Any], Any]) -> int:
            mx.clear_cache()
            before = mx.get_active_memory()
            base = mx.zeros((100_000,))
            mx.eval(base)
            kept = helper([made(base)])
            del base
            size = mx.get_active_memory() - before
            del kept
            return int(size)

        # A pending computation holds its inputs; an evaluated view holds its base.
        assert (held(lambda base: base[:10] + 1) >= 400_000) is lazy
        assert (held(lambda base: base[:10]) >= 400_000) is view
