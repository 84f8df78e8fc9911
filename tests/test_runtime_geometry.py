"""The shim's `nearest_rows`, `round_to_lattice`, `clamp_step` and `reflect` against plain code."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memlint import runtime
from tests.support.numbers import FLOATS, generator, quick, same, slopes

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    try:
        import torch
    except ModuleNotFoundError:  # what needs it is marked
        torch = None

pytestmark = pytest.mark.usefixtures("one_thread")


# ---------------------------------------------------------------------------------------------------- nearest rows


def plain_loop(points: Tensor, grid: Tensor) -> Tensor:
    """The code that `nearest_rows` replaces."""
    rows = [torch.argmin(torch.norm(grid - p.unsqueeze(0), dim=1)) for p in points]
    return torch.stack(rows) if rows else torch.empty(0, dtype=torch.int64)


def data(kind: str, count: int, total: int, width: int, seed: int) -> tuple[Tensor, Tensor]:
    """Points [count, width] and grid [total, width], float64."""
    dice = generator(seed)
    points = torch.randn(count, width, generator=dice, dtype=torch.float64)
    grid = torch.randn(total, width, generator=dice, dtype=torch.float64)
    if kind == "far":
        return points + 1000, grid + 1000
    if kind == "ties":
        return points.round(), grid.round()
    if kind == "shuffled":
        # Rows of the same numbers in other orders: mathematically all equally near, so the order in which the squares
        # are added decides.
        grid = torch.stack([grid[0, torch.randperm(width, generator=dice)] for _ in range(total)])
        return torch.zeros_like(points) + 0.1, grid
    if kind == "overflow":
        return points * 1e300, grid * 1e300
    if kind == "special":
        odd = torch.tensor([math.nan, math.inf, -math.inf, 1.0], dtype=torch.float64)
        for values in (points, grid):
            hit = torch.rand(values.shape, generator=dice) < 0.15
            values[hit] = odd[torch.randint(4, (int(hit.sum()),), generator=dice)]
    return points, grid


KINDS = ["random", "far", "ties", "shuffled", "overflow", "special"]
LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "rows": lambda x: x,
    "columns": lambda x: x.t().contiguous().t(),
    "strided": lambda x: torch.stack([x, x * 0], dim=-1).flatten(1)[:, ::2],
    "expanded": lambda x: x[:, :1].expand(x.shape),
}


@pytest.fixture(scope="class", params=[0, runtime._FEW_PAIRS], ids=["shortcut", "few pairs"])
def both_ways(request: pytest.FixtureRequest) -> Iterator[None]:
    """Small examples take the shortcut that only large ones would, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime, "_FEW_PAIRS", request.param)
        yield


@pytest.mark.needs_torch
@pytest.mark.usefixtures("both_ways")
class TestNearestRows:
    @settings(deadline=None, max_examples=250)
    @given(
        kind=st.sampled_from(KINDS),
        dtypes=st.tuples(st.sampled_from(FLOATS), st.sampled_from(FLOATS)),
        alike=st.integers(0, 3),
        layouts=st.tuples(st.sampled_from([*LAYOUTS]), st.sampled_from([*LAYOUTS])),
        count=st.integers(0, 9),
        total=st.integers(1, 40),
        width=st.one_of(st.integers(1, 5), st.integers(6, 70)),
        budget=st.sampled_from([1, 300, 2_000, 20_000, 64 << 20]),
        seed=st.integers(0, 10_000),
    )
    def test_equals_the_plain_loop(
        self,
        kind: str,
        dtypes: tuple[str, str],
        alike: int,
        layouts: tuple[str, str],
        count: int,
        total: int,
        width: int,
        budget: int,
        seed: int,
    ) -> None:
        points, grid = data(kind, count, total, width, seed)
        points = LAYOUTS[layouts[0]](points.to(getattr(torch, dtypes[0])))
        grid = LAYOUTS[layouts[1]](grid.to(getattr(torch, dtypes[0 if alike else 1])))
        expected = plain_loop(points, grid)
        result = runtime.nearest_rows(points, grid, budget_bytes=budget)
        assert result.dtype == torch.int64
        assert result.tolist() == expected.tolist()

    @pytest.mark.parametrize("layout", ["rows", "columns"])
    @pytest.mark.parametrize("total", [2, 3, 50])
    @pytest.mark.parametrize("budget", [1, 3_000, 64 << 20])
    def test_where_the_order_of_the_sum_decides(self, layout: str, total: int, budget: int) -> None:
        # Distances that only rounding tells apart, in every layout and cut: they must be the loop's bit for bit.
        for seed in range(8):
            for width in (8, 17, 64, 200):
                points, grid = (values.float() for values in data("shuffled", 5, total, width, seed))
                points = LAYOUTS["columns" if seed % 2 else "rows"](points + seed)
                grid = LAYOUTS[layout](grid)
                expected = plain_loop(points, grid)
                assert runtime.nearest_rows(points, grid, budget_bytes=budget).equal(expected)

    def test_far_from_the_origin_where_cdist_fails(self) -> None:
        axis = torch.linspace(0, 1, 8)
        grid = torch.cartesian_prod(axis, axis, axis) + 5000
        points = torch.rand(200, 3, generator=generator(1)) + 5000
        expected = plain_loop(points, grid)
        assert runtime.nearest_rows(points, grid).equal(expected)
        assert not torch.cdist(points, grid).argmin(dim=1).equal(expected), "these data would prove nothing"

    def test_the_first_nan_wins_in_any_chunk(self) -> None:
        grid = torch.arange(12.0).unsqueeze(1)
        grid[[7, 9]] = math.nan
        for budget in (1, 200, 1 << 20):
            assert runtime.nearest_rows(torch.zeros(2, 1), grid, budget_bytes=budget).tolist() == [7, 7]

    def test_no_columns_and_complex(self) -> None:
        assert runtime.nearest_rows(torch.ones(2, 0), torch.ones(3, 0)).tolist() == [0, 0]
        points = torch.tensor([[1 + 1j], [0 - 1j]])
        assert runtime.nearest_rows(points, torch.tensor([[0j - 1], [1 + 0.5j]])).tolist() == [1, 0]

    def test_no_graph_and_the_same_device(self) -> None:
        points = torch.ones(3, 2, requires_grad=True)
        assert not runtime.nearest_rows(points, points * 2).requires_grad
        meta = torch.empty(3, 2, device="meta")
        assert runtime.nearest_rows(meta, torch.empty(5, 2, device="meta"), budget_bytes=1).device.type == "meta"

    @pytest.mark.parametrize(
        ("points", "grid", "error"),
        [((2, 3), (0, 3), ValueError), ((2, 3), (4, 2), ValueError), ((3,), (4, 3), ValueError)],
    )
    def test_shapes_that_do_not_fit(
        self, points: tuple[int, ...], grid: tuple[int, ...], error: type[Exception]
    ) -> None:
        with pytest.raises(error):
            runtime.nearest_rows(torch.zeros(points), torch.zeros(grid))

    def test_integers_and_budget(self) -> None:
        whole = torch.ones(2, 2, dtype=torch.int64)
        with pytest.raises(TypeError):
            runtime.nearest_rows(whole, whole)
        assert runtime.nearest_rows(whole, whole.float()).tolist() == [0, 0]
        with pytest.raises(ValueError, match="budget_bytes"):
            runtime.nearest_rows(whole.float(), whole.float(), budget_bytes=0)


# ---------------------------------------------------------------------------------------------------- lattice


@pytest.mark.needs_torch
class TestRoundToLattice:
    @quick
    @given(
        shape=st.lists(st.integers(1, 40), min_size=1, max_size=3),
        bounds=st.sampled_from([(-1.0, 1.0), (0.0, 1.0), (-3.7, 12.1), (0.1, 0.3)]),
        dtype=st.sampled_from(["float32", "float64"]),
        seed=st.integers(0, 10_000),
    )
    def test_result_is_the_nearest_node(
        self, shape: list[int], bounds: tuple[float, float], dtype: str, seed: int
    ) -> None:
        low, high = bounds
        kind = getattr(torch, dtype)
        spread = torch.rand(30, len(shape), generator=generator(seed), dtype=kind)
        points = low + (high - low) * (spread * 1.6 - 0.3)
        result = runtime.round_to_lattice(points, shape, low=low, high=high)
        assert result.dtype == kind
        for axis, size in enumerate(shape):
            nodes = torch.linspace(low, high, size, dtype=kind)
            if size == 1:
                nodes = torch.tensor([(low + high) / 2], dtype=kind)
            assert torch.isin(result[:, axis], nodes).all(), "only exact nodes"
            best = (points[:, axis, None] - nodes).abs().min(dim=1).values
            chosen = (points[:, axis] - result[:, axis]).abs()
            assert (chosen <= best + 8 * torch.finfo(kind).eps * max(abs(low), abs(high))).all()

    @pytest.mark.parametrize("dtype", FLOATS)
    def test_equals_the_loop_over_all_nodes(self, dtype: str) -> None:
        kind = getattr(torch, dtype)
        axes = [torch.linspace(-1, 1, 5, dtype=kind), torch.zeros(1, dtype=kind), torch.linspace(-1, 1, 9, dtype=kind)]
        grid = torch.cartesian_prod(*axes)
        points = (torch.rand(300, 3, generator=generator(3)) * 3 - 1.5).to(kind)
        # On a tie the loop takes the first row; keep to points without one.
        steps = torch.tensor([0.5, 2.0, 0.25], dtype=torch.float64)
        from_node = (points.double() / steps).frac().abs()
        points = points[((from_node - 0.5).abs() > 0.05)[:, [0, 2]].all(dim=1)]
        assert len(points) > 100
        expected = grid[plain_loop(points.double(), grid.double())]
        assert runtime.round_to_lattice(points, (5, 1, 9)).equal(expected)

    def test_ties_go_to_the_even_index(self) -> None:
        halves = torch.tensor([[-0.75], [-0.25], [0.25], [0.75]])
        assert runtime.round_to_lattice(halves, [5]).flatten().tolist() == [-1.0, 0.0, 0.0, 1.0]
        assert runtime.round_to_lattice(torch.tensor([[0.5], [1.5], [2.5]]), [4], low=0, high=3).tolist() == [
            [0],
            [2],
            [2],
        ]

    @pytest.mark.parametrize(("size", "high", "value", "index"), [(8, 1, 0.5, 4), (9, 7, 5.6875, 6), (22, 3, 0.5, 4)])
    def test_ties_between_nodes_that_are_not_exact(self, size: int, high: int, value: float, index: int) -> None:
        assert Fraction(value) * (size - 1) / high % 1 == Fraction(1, 2)
        node = torch.linspace(0, high, size)[index]
        assert runtime.round_to_lattice(torch.tensor([[value]]), [size], low=0, high=high).item() == node.item()

    def test_outside_nan_infinity_and_an_axis_of_one(self) -> None:
        points = torch.tensor([[9.0, 9.0], [-9.0, math.nan], [math.inf, -math.inf], [math.nan, 0.0]])
        expected = torch.tensor([[5.0, 4.0], [3.0, math.nan], [5.0, 4.0], [math.nan, 4.0]])
        assert same(runtime.round_to_lattice(points, (7, 1), low=3, high=5), expected)

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
    def test_half_precision_finds_the_right_node_of_many(self, dtype: str) -> None:
        kind = getattr(torch, dtype)
        nodes = torch.linspace(-1, 1, 101).to(kind).unsqueeze(1)
        assert runtime.round_to_lattice(nodes, [101]).equal(nodes)

    def test_no_graph_no_change_and_empty(self) -> None:
        points = torch.tensor([[0.3, 0.4]], requires_grad=True)
        before = points.detach().clone()
        assert not runtime.round_to_lattice(points, (3, 3)).requires_grad
        assert points.equal(before)
        assert runtime.round_to_lattice(torch.empty(0, 2), (3, 3)).shape == (0, 2)
        assert runtime.round_to_lattice(torch.empty(4, 0), ()).shape == (4, 0)

    def test_straight_through_as_documented(self) -> None:
        x = torch.tensor([[0.3, 0.4]], requires_grad=True)
        assert slopes(x + (runtime.round_to_lattice(x, (3, 3)) - x).detach(), x) == [[[1, 1]]]

    @pytest.mark.parametrize(
        ("shape", "bounds", "error"),
        [
            ((3,), (-1, 1), ValueError),
            ((3, 0), (-1, 1), ValueError),
            ((3, 2.5), (-1, 1), TypeError),
            ((3, 3), (1, 1), ValueError),
            ((3, 3), (0, math.inf), ValueError),
        ],
    )
    def test_bad_arguments(self, shape: Any, bounds: tuple[float, float], error: type[Exception]) -> None:
        with pytest.raises(error):
            runtime.round_to_lattice(torch.zeros(4, 2), shape, low=bounds[0], high=bounds[1])
        with pytest.raises(TypeError):
            runtime.round_to_lattice(torch.zeros(4, 2, dtype=torch.int64), (3, 3))


# ---------------------------------------------------------------------------------------------------- clamp_step


wide_floats = st.floats(-1e5, 1e5, width=32) | st.sampled_from([math.inf, -math.inf, math.nan, 0.0, 1.0, -1.0])


@pytest.mark.needs_torch
class TestClampStep:
    @quick
    @given(
        pairs=st.lists(st.tuples(wide_floats, wide_floats), min_size=1, max_size=8),
        bounds=st.tuples(st.floats(-50, 50, width=16), st.floats(-50, 50, width=16)).map(sorted),
        max_step=st.none() | st.floats(0, 10, width=16),
        dtype=st.sampled_from(FLOATS),
        as_tensor=st.booleans(),
    )
    def test_equals_the_plain_code_and_stays_inside(
        self, pairs: list[Any], bounds: list[float], max_step: float | None, dtype: str, as_tensor: bool
    ) -> None:
        kind = getattr(torch, dtype)
        position, displacement = torch.tensor(pairs, dtype=torch.float64).to(kind).unbind(1)
        low, high = torch.tensor(bounds, dtype=torch.float64).to(kind)
        kept = position.clone(), displacement.clone()
        limits: dict[str, Any] = {"low": bounds[0], "high": bounds[1]}
        if as_tensor:
            limits["high"] = torch.tensor(bounds[1], dtype=torch.float64)
        result = runtime.clamp_step(position, displacement, **limits, max_step=max_step)

        step = displacement if max_step is None else displacement.clamp(-max_step, max_step)
        expected = torch.maximum(torch.minimum(position + step, high), low)
        assert same(result, expected)
        assert ((result >= low) & (result <= high) | (position + step).isnan()).all()
        assert same(position, kept[0])
        assert same(displacement, kept[1])

    def test_gradients(self) -> None:
        position = torch.tensor([0.0, 0.0, 0.9, 0.9], requires_grad=True)
        displacement = torch.tensor([0.1, 0.5, 0.05, 0.15], requires_grad=True)
        moved = runtime.clamp_step(position, displacement, max_step=0.2)
        assert slopes(moved, position, displacement) == [[1, 1, 1, 0], [1, 0, 1, 0]]

    def test_bounds_per_axis(self) -> None:
        low, high = torch.tensor([0.0, -2.0]), torch.tensor([1.0, 2.0])
        moved = runtime.clamp_step(torch.zeros(1, 2), torch.tensor([[-5.0, 5.0]]), low=low, high=high)
        assert moved.tolist() == [[0, 2]]
        half = torch.zeros(2, dtype=torch.float16)
        assert runtime.clamp_step(half, half + 5, low=low, high=high).dtype == torch.float16

    def test_a_double_keeps_its_number_bounds_beside_a_tensor_bound(self) -> None:
        zero = torch.zeros(1, dtype=torch.float64)
        moved = runtime.clamp_step(zero, zero + 9, low=torch.zeros(1), high=0.1)
        assert moved.item() == 0.1

    @pytest.mark.parametrize(
        "wrong", [{"low": 1, "high": 0}, {"low": math.nan}, {"max_step": -1}, {"max_step": math.nan}]
    )
    def test_bad_arguments(self, wrong: dict[str, float]) -> None:
        with pytest.raises(ValueError, match=r"low <= high|max_step"):
            runtime.clamp_step(torch.zeros(1), torch.zeros(1), **wrong)


# ---------------------------------------------------------------------------------------------------- reflect


def mirror(value: float, low: float, high: float) -> tuple[Fraction, int]:
    """Exact result and number of reflections, one reflection at a time."""
    x, a, b = Fraction(value), Fraction(low), Fraction(high)
    count = 0
    while not a <= x <= b:
        x = 2 * b - x if x > b else 2 * a - x
        count += 1
    return x, count


@pytest.mark.needs_torch
class TestReflect:
    BOUNDS: ClassVar[list[tuple[float, float]]] = [(-1.0, 1.0), (0.0, 1.0), (-0.3, 0.7), (100.0, 103.0)]

    @quick
    @given(offset=st.floats(-40, 40, width=16), bounds=st.sampled_from(BOUNDS), dtype=st.sampled_from(FLOATS))
    def test_equals_reflecting_one_at_a_time(self, offset: float, bounds: tuple[float, float], dtype: str) -> None:
        low, high = bounds
        position = torch.tensor([low + offset], dtype=torch.float64).to(getattr(torch, dtype)).requires_grad_()
        result = runtime.reflect(position, low=low, high=high)
        exact, count = mirror(position.item(), low, high)
        tolerance = 4 * torch.finfo(position.dtype).eps * max(abs(low), abs(high))
        tolerance += 64 * torch.finfo(torch.float32 if position.element_size() < 8 else torch.float64).eps
        assert abs(float(result.item() - exact)) <= tolerance
        ((slope,),) = slopes(result, position)
        assert abs(slope) <= 1
        if min(exact - Fraction(low), Fraction(high) - exact) > tolerance:
            assert slope == (-1) ** count

    @quick
    @given(values=st.lists(wide_floats, min_size=1), bounds=st.sampled_from(BOUNDS), dtype=st.sampled_from(FLOATS))
    def test_never_outside_and_inside_untouched(self, values: list[float], bounds: Any, dtype: str) -> None:
        kind = getattr(torch, dtype)
        position = torch.tensor(values + [value * 1e-5 for value in values], dtype=torch.float64).to(kind)
        low, high = bounds
        result = runtime.reflect(position, low=low, high=high)
        assert result.dtype == kind
        assert torch.equal(result.isnan(), ~position.isfinite())
        assert ((result >= low) & (result <= high) | result.isnan()).all()
        inside = (position >= low) & (position <= high)
        whole = {2: torch.int16, 4: torch.int32, 8: torch.int64}[position.element_size()]
        assert result[inside].view(whole).equal(position[inside].view(whole))  # the bits: -0.0 is not 0.0

    @pytest.mark.parametrize("dtype", FLOATS)
    def test_arbitrarily_far(self, dtype: str) -> None:
        kind = getattr(torch, dtype)
        huge = torch.tensor([1.0, -1.0, 0.37, -0.0007], dtype=kind) * torch.finfo(kind).max
        assert ((runtime.reflect(huge) >= -1) & (runtime.reflect(huge) <= 1)).all()

    def test_known_values(self) -> None:
        position = torch.tensor([1.25, -1.25, 3.25, -5.0, 4.0, -0.0, 1.0])
        assert runtime.reflect(position).tolist() == [0.75, -0.75, -0.75, -1.0, 0.0, 0.0, 1.0]
        # In half precision -1000 - 1 would already round; the fold is exact all the same.
        half = torch.tensor([-1000.5, 999.5], dtype=torch.float16)
        assert runtime.reflect(half).tolist() == [-0.5, -0.5]

    def test_rounding_cannot_leave_the_range(self) -> None:
        # Without the last clamp these land one rounding above `high`.
        assert runtime.reflect(torch.tensor([6.4]), low=-0.8, high=1.6).tolist() == torch.tensor([1.6]).tolist()
        assert runtime.reflect(torch.tensor([11.200000000000001]).double(), low=-0.8, high=1.6).item() <= 1.6

    def test_the_gradient_is_never_zero_at_a_border(self) -> None:
        position = torch.tensor([1.0, 3.0, 5.0, -1.0, -3.0, -5.0], requires_grad=True)
        assert [abs(slope) for slope in slopes(runtime.reflect(position), position)[0]] == [1] * 6

    def test_gradient_beside_infinity_and_twice(self) -> None:
        position = torch.tensor([0.5, 1.5, math.inf, math.nan], requires_grad=True)
        assert slopes(runtime.reflect(position)[:2], position)[0][:2] == [1, -1]
        inner = torch.tensor([0.3, 1.7, -2.9], dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(runtime.reflect, (inner,))

    @pytest.mark.parametrize("bounds", [(1, 1), (2, 1), (-math.inf, 0), (0, math.nan)])
    def test_bad_arguments(self, bounds: tuple[float, float]) -> None:
        with pytest.raises(ValueError, match="low < high"):
            runtime.reflect(torch.zeros(1), low=bounds[0], high=bounds[1])
        with pytest.raises(TypeError):
            runtime.reflect(torch.zeros(1, dtype=torch.int32))
