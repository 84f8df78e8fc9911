"""Helpers that code repaired by memlint calls: bounded histories, detached snapshots, emptied slots, exact geometry.

This one file stands alone. It may be copied into any project under any name: importing it needs the standard library
only, and torch or mlx are looked up when a function that needs them is called. Functions hold no state between calls;
objects that do never grow beyond the bounds they were made with, may be shared by threads, copied, pickled and forked.
1 GB is 1e9 bytes, 1 MB 1e6 bytes. Works on Python 3.10 and later.
"""

from __future__ import annotations

import copy
import functools
import gc
import logging
import math
import operator
import os
import sys
import threading
import weakref
from collections import UserDict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, MutableSequence, Sequence
from dataclasses import fields, is_dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from torch import Tensor  # type: ignore[import-not-found,unused-ignore]

__all__ = [
    "BufferedWriter",
    "Cleanup",
    "ConfigMismatch",
    "LeakMonitor",
    "MemoryGuard",
    "MemoryState",
    "ReloadPolicy",
    "SpawnBudget",
    "Watermark",
    "append_bounded",
    "check_config",
    "clamp_step",
    "detach",
    "every",
    "log_memory_state",
    "log_performance",
    "memory_state",
    "nearest_rows",
    "reflect",
    "release",
    "round_to_lattice",
    "subsample",
    "synchronize",
    "to_cpu",
]

T = TypeVar("T")
Number = TypeVar("Number", int, float)
Writer = TypeVar("Writer", bound="BufferedWriter")


# ---------------------------------------------------------------------------------------------------- histories


def append_bounded(history: MutableSequence[T], item: T, *, limit: int) -> None:
    """Append `item` to `history`, then drop the oldest items so that exactly the last `limit` remain.

    `history` is a list or a deque (or a subclass); it is changed in place, so every alias of it stays valid and a list
    stays a list. A deque with a `maxlen` below `limit` keeps its own, tighter bound.

    Raises ValueError when `limit` < 1 and TypeError when it is not an integer; `history` is then unchanged.
    """
    limit = _at_least_one("limit", limit)
    history.append(item)
    excess = len(history) - limit
    if isinstance(history, deque):
        for _ in range(excess):
            history.popleft()
    elif excess > 0:
        # Exact, not in blocks: this moves `limit` pointers and touches no item. Measured: 0.2 us at limit 1_000, 1 us
        # at 10_000, 0.1 ms at a million. Dropping blocks would save that and lose up to a block of recent items.
        del history[:excess]


def subsample(history: Sequence[T], *, limit: int = 10) -> list[T]:
    """Return a new list of at most `limit` evenly spaced items of `history`, in order.

    The first and the last item are among them; with `limit` 1 only the last (the newest) is kept. Gaps between chosen
    positions differ by at most one. A history of at most `limit` items is returned whole. Items are not copied.

    Raises ValueError when `limit` < 1 and TypeError when it is not an integer.
    """
    limit = _at_least_one("limit", limit)
    if isinstance(history, deque):
        history = list(history)  # reaching into the middle of a deque takes linear time
    last = len(history) - 1
    if last < limit:
        return list(history)
    if limit == 1:
        return [history[last]]
    return [history[i * last // (limit - 1)] for i in range(limit)]


# ---------------------------------------------------------------------------------------------------- snapshots


def to_cpu(value: T) -> T:
    """Return `value` with every tensor replaced by a detached copy in main memory that owns its storage.

    The copy shares nothing: not the graph, not the storage of a CPU tensor, not the large storage behind a small view,
    so two views of one storage become two copies. It takes exactly the bytes of its own elements (an expanded tensor
    becomes a full one). Dtype, layout (sparse, quantised, nested) and shape stay; a Parameter becomes a plain Tensor.

    Walks, and rebuilds as the same type, nested dicts (also OrderedDict, defaultdict, a state_dict with its
    `_metadata`), other mappings that their type builds from a dict, lists, deques, tuples, named tuples and dataclass
    instances (also frozen ones). A value met twice is copied once, cycles included. Everything else is passed on as it
    is: numbers, numpy arrays, modules, mapping keys, sets and their contents.

    MLX arrays live in memory shared with the GPU: they are evaluated, cut from their graph, and a view is made compact.

    Raises NotImplementedError (torch's own) for a tensor on the `meta` device: it has no data to copy.
    """
    result: T = _Rebuild(_own_copy)(value)
    return result


def detach(value: T) -> T:
    """Return `value` with every tensor replaced by `tensor.detach()`, which shares the storage but carries no graph.

    Walks the same structures as `to_cpu`, so an LSTM's (h, c) stays a tuple. MLX arrays are evaluated first
    (`mx.eval`, else the pending computation would be kept alive), then passed through `mx.stop_gradient`.
    """
    result: T = _Rebuild(_detached)(value)
    return result


def _own_copy(leaf: Any) -> Any:
    if _is_a(leaf, "mlx.core", "array"):
        mx = sys.modules["mlx.core"]
        compact = mx.contiguous(mx.stop_gradient(leaf))
        mx.eval(compact)
        return compact
    # copy=True matters twice: on a CPU tensor `.cpu()` returns an alias, and a row view would pin its whole base.
    return leaf.detach().to("cpu", copy=True)


def _detached(leaf: Any) -> Any:
    if _is_a(leaf, "mlx.core", "array"):
        mx = sys.modules["mlx.core"]
        mx.eval(leaf)
        return mx.stop_gradient(leaf)
    return leaf.detach()


class _Rebuild:
    """One walk over a structure: containers are rebuilt, tensors go through `convert`, the rest is passed on."""

    def __init__(self, convert: Callable[[Any], Any]) -> None:
        self.convert = convert
        # id -> (original, replacement). The original is held because an id is unique only while its object lives.
        self.memo: dict[int, tuple[Any, Any]] = {}

    def __call__(self, value: Any) -> Any:
        if id(value) in self.memo:
            return self.memo[id(value)][1]
        if _is_a(value, "torch", "Tensor") or _is_a(value, "mlx.core", "array"):
            return self.remember(value, self.convert(value))
        if isinstance(value, (dict, UserDict)):
            return self.refill(value, value.items())
        if isinstance(value, (list, deque)):
            return self.refill(value, enumerate(value))
        if isinstance(value, tuple):
            return self.immutable(value, dict(enumerate(value)), lambda items: _same_tuple(value, items.values()))
        if isinstance(value, Mapping):
            return self.immutable(value, dict(value), type(value))
        if is_dataclass(value) and not isinstance(value, type) and not _is_a(value, "torch.nn", "Module"):
            return self.instance(value)
        return value

    def remember(self, value: Any, result: Any) -> Any:
        self.memo[id(value)] = (value, result)
        return result

    def refill(self, value: Any, items: Any) -> Any:
        # A shallow copy keeps the type and what hangs on it (default_factory, maxlen, state_dict's `_metadata`), and it
        # is remembered before its items are visited, so that a cycle finds it.
        result = self.remember(value, copy.copy(value))
        for key, item in items:
            new = self(item)
            if new is not item:
                result[key] = new
        return result

    def immutable(self, value: Any, items: dict[Any, Any], build: Callable[[dict[Any, Any]], Any]) -> Any:
        new = {key: self(item) for key, item in items.items()}
        if id(value) in self.memo:  # a cycle through a list inside has already built it
            return self.memo[id(value)][1]
        # Unchanged ones are kept: that settles torch.Size, os.environ and other types nobody could build anew.
        changed = any(new[key] is not item for key, item in items.items())
        return self.remember(value, build(new) if changed else value)

    def instance(self, value: Any) -> Any:
        # Set past __init__, __post_init__ and a frozen __setattr__. Attributes beyond the fields come along: a tensor
        # cached there would hold a graph as well.
        kind: Any = type(value)
        result = self.remember(value, kind.__new__(kind))
        names = dict.fromkeys(field.name for field in fields(value)) | getattr(value, "__dict__", {})
        for name in names:
            if hasattr(value, name):
                object.__setattr__(result, name, self(getattr(value, name)))
        return result


def _same_tuple(value: Any, items: Any) -> Any:
    kind = type(value)
    if hasattr(kind, "n_sequence_fields"):  # torch.max(x, dim=0) and its like: C types that only their own call builds
        return kind(items)
    return tuple.__new__(kind, items)  # also named tuples and PackedSequence, whose own __new__ takes other arguments


# ---------------------------------------------------------------------------------------------------- releasing


def release(owner: object, name: str) -> None:
    """Empty a slot, so that what it held is gone before its successor is built: `owner[name]` or `owner.name` is None.

    `owner` is a mapping (a dict, `globals()`) or any object; the slot stays, a missing one stays missing. Then garbage
    is collected, because models are full of cycles, and the devices' caches are emptied, because the successor may need
    blocks of other sizes. What somebody else still holds stays alive: an alias, an optimizer of the same parameters.

    Raises what the owner raises when it can't be changed: TypeError for a read-only mapping, AttributeError for a
    property without a setter.
    """
    if isinstance(owner, Mapping):
        if name in owner:
            slots: Any = owner
            slots[name] = None
    elif hasattr(owner, name):
        setattr(owner, name, None)
    gc.collect()
    _empty_device_caches()


# ---------------------------------------------------------------------------------------------------- geometry

# Chunks of a few MB stay in a CPU's cache: measured twice as fast as chunks of 64 MB.
_CPU_CHUNK_BYTES = 4 << 20
# Fewer pairs than these take less time than the operations that would avoid computing them.
_FEW_PAIRS = 1 << 16


def nearest_rows(points: Tensor, grid: Tensor, *, budget_bytes: int = 64 << 20) -> Tensor:
    """Return, for each row of `points` [N, D], the index of the nearest row of `grid` [M, D]: int64 [N], same device.

    The same answer as the plain loop, in the same precision, without its N steps:

        torch.stack([torch.argmin(torch.norm(grid - p.unsqueeze(0), dim=1)) for p in points])

    So the first of several equally near rows wins, and a NaN distance counts as the nearest, as it does for argmin. The
    distances are those of the loop bit for bit on a CPU; a GPU may order the sum over D by the shape of the call, which
    can matter only between rows whose distances differ by a rounding. No matrices are multiplied, as `torch.cdist` does
    above 25 rows: that picks wrong rows far from the origin.

    On a CPU the loop's own distances are only computed where rounding could decide. A grid of all combinations of its
    axes' coordinates (`torch.cartesian_prod`, `torch.meshgrid(..., indexing="ij")`) is recognised: it takes O(N) then.

    Extra memory, beyond the result, stays within `budget_bytes`: points, and the grid where it is large, are taken in
    chunks. The floor is one point against two rows. No graph is kept: an index has no gradient.

    Raises ValueError when a shape does not fit, `grid` is empty or `budget_bytes` < 1, and TypeError when both tensors
    hold integers (torch has no norm for them either). N = 0 gives an empty result.
    """
    import torch  # type: ignore[import-not-found,unused-ignore]

    budget = _at_least_one("budget_bytes", budget_bytes)
    if points.dim() != 2 or grid.dim() != 2 or points.shape[1] != grid.shape[1]:
        raise ValueError(f"need points [N, D] and grid [M, D], got {tuple(points.shape)} and {tuple(grid.shape)}")
    if grid.shape[0] == 0:
        raise ValueError("grid has no rows, so no row is the nearest")
    dtype = torch.promote_types(points.dtype, grid.dtype)
    if not (dtype.is_floating_point or dtype.is_complex):
        raise TypeError(f"need a floating point dtype, got {points.dtype} and {grid.dtype}")

    points, grid = points.detach(), grid.detach()
    if points.device.type == "cpu" and points.dtype == grid.dtype in (torch.float32, torch.float64):
        index = _clearly_nearest(points, grid, budget)
        if index is not None:
            return index
    if points.device.type == "cpu":
        budget = min(budget, _CPU_CHUNK_BYTES)
    return _nearest_by_norm(points, grid, dtype, budget)


def _clearly_nearest(points: Tensor, grid: Tensor, budget: int) -> Tensor | None:
    """Fast where the nearest row is clear; rows so near to one another that rounding may decide take the long way.

    None where that does not pay, or where a look at the whole grid would not fit into half of the budget.
    """
    import torch  # type: ignore[import-not-found,unused-ignore]

    (count, width), (total, _), size = points.shape, grid.shape, points.element_size()
    if total < 2 or count * total < _FEW_PAIRS or total * (2 * width * size + 48) > budget // 2:
        return None
    if not grid.isfinite().all():
        return None
    # What the sums of squares of both ways may be wrong by, with room.
    slack = 8 * (width + 8) * torch.finfo(points.dtype).eps
    axes = _axes(grid)
    per_point = 96 + 8 * size * (width + 1) if axes else 48 + 3 * size * total
    batch = min(budget // 2, _CPU_CHUNK_BYTES) // per_point
    if batch < 1:
        return None
    index = torch.empty(count, dtype=torch.int64)
    for start in range(0, count, batch):
        chunk = points[start : start + batch]
        found = _on_lattice(chunk, axes, slack) if axes else _by_distance(chunk, grid, slack)
        unclear = (found < 0).nonzero().squeeze(1)
        if len(unclear):
            found[unclear] = _nearest_by_norm(chunk[unclear], grid, points.dtype, min(budget // 4, _CPU_CHUNK_BYTES))
        index[start : start + batch] = found
    return index


def _by_distance(points: Tensor, grid: Tensor, slack: float) -> Tensor:
    import torch  # type: ignore[import-not-found,unused-ignore]

    # Without matrix products: these are wrong far from the origin.
    distances = torch.cdist(points, grid, compute_mode="donot_use_mm_for_euclid_dist")
    (best, second), (index, _) = (part.unbind(1) for part in distances.topk(2, largest=False))
    return index.where(second > best * (1 + slack) + torch.finfo(points.dtype).tiny ** 0.4, -1)


def _on_lattice(points: Tensor, axes: list[Tensor], slack: float) -> Tensor:
    """Axis by axis: the nearest coordinate of each makes up the nearest row."""
    import torch  # type: ignore[import-not-found,unused-ignore]

    index = torch.zeros(len(points), dtype=torch.int64)
    square = torch.zeros_like(points[:, 0])
    # How much larger the square of the distance becomes at the next best coordinate, on the axis where that is least.
    gap, scale = torch.full_like(square, math.inf), torch.zeros_like(square)
    for column, axis in zip(points.unbind(1), axes, strict=True):
        column = column.contiguous()
        last = len(axis) - 1
        place = torch.searchsorted(axis, column).clamp(max=last)
        below = (place - 1).clamp(min=0)
        place = below.where(column - axis[below] < axis[place] - column, place)
        near = (column - axis[place]).square()
        square += near
        for other in (place - 1, place + 1):
            inside = (other >= 0) & (other <= last)
            further = (column - axis[other.clamp(0, last)]).square()
            more = (further - near).where(inside, math.inf)
            scale = torch.maximum(scale, further.where(inside & (more <= gap), 0))
            gap = torch.minimum(gap, more)
        index = index * len(axis) + place
    clear = gap > slack * (square + scale) + torch.finfo(points.dtype).tiny ** 0.8
    return index.where(clear, -1)


def _axes(grid: Tensor) -> list[Tensor] | None:
    """The coordinates of each axis where the rows are all of their combinations, the last axis first; else None."""
    import torch  # type: ignore[import-not-found,unused-ignore]

    axes: list[Tensor] = []
    rows = 1
    for column in grid.unbind(1):
        axes.append(torch.unique(column))
        rows *= len(axes[-1])
        if rows > len(grid):
            return None
    shape = [len(axis) for axis in axes]
    if rows < len(grid) or not axes:
        return None
    for number, (column, axis) in enumerate(zip(grid.unbind(1), axes, strict=True)):
        view = [1] * len(axes)
        view[number] = -1
        if not torch.equal(column.reshape(shape), axis.reshape(view).expand(shape)):
            return None
    return axes


def _nearest_by_norm(points: Tensor, grid: Tensor, dtype: Any, budget: int) -> Tensor:
    """By the very distances of the loop, chunk by chunk."""
    import torch  # type: ignore[import-not-found,unused-ignore]

    (count, width), total = points.shape, grid.shape[0]
    size = torch.empty((), dtype=dtype).element_size()
    if size < 4:
        size += 4  # room for norm to widen half precision to float32, as autocast may ask of it
    pair = (width + 1) * size  # one difference and its distance
    own = width * size + 64  # per point: its contiguous copy, indices, best distance, masks
    # Used at most: (batch + 1) * (rows * pair + own); the "+ 1" is the grid chunk itself, widened where dtypes differ.
    # Two rows at least, since the norm of one single row may be summed in another order.
    rows = min(total, max(2, (budget // 2 - own) // pair))
    batch = max(1, budget // (rows * pair + own) - 1)

    result = torch.empty(count, dtype=torch.int64, device=points.device)
    for start in range(0, count, batch):
        # Contiguous, so that the difference is laid out by the grid, as in the loop: layout decides the summing order.
        chunk = points[start : start + batch].contiguous().unsqueeze(1)
        best, index = _nearest_in(grid[:rows], chunk)
        for begin in range(rows, total, rows):
            first = min(begin, total - rows)  # the last chunk overlaps the one before it rather than run short
            distance, place = _nearest_in(grid[first : first + rows], chunk)
            # Strictly nearer, or the first NaN: argmin over the whole grid would decide the same.
            better = (distance < best) | (distance.isnan() & ~best.isnan())
            best = torch.where(better, distance, best)
            index = torch.where(better, place + first, index)
        result[start : start + batch] = index
    return result


def _nearest_in(rows: Tensor, chunk: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest distance and its row, for each point of `chunk` [n, 1, D]. Returns, so that the [n, m, D] is freed."""
    distance = (rows.unsqueeze(0) - chunk).norm(dim=-1)
    index = distance.argmin(dim=1)
    return distance.gather(1, index.unsqueeze(1)).squeeze(1), index


def round_to_lattice(points: Tensor, shape: Sequence[int], *, low: float = -1.0, high: float = 1.0) -> Tensor:
    """Return the nearest node of a uniform lattice for each row of `points` [N, D]: [N, D], same dtype and device.

    Axis d has `shape[d]` nodes from `low` to `high`, both included: `torch.linspace(low, high, shape[d])`, bit for bit
    (in half precision: rounded from float32). An axis of one node has it in the middle. Half-way values go to the even
    index, as `torch.round` does; outside and infinite values go to the border, NaN stays NaN. Time and memory are O(N)
    plus the nodes of one axis at a time, never their product.

    Rounding has a zero gradient everywhere, so the result is not connected to the graph of `points`, like a row picked
    by `grid[argmin(...)]`. For a straight-through gradient write `x + (round_to_lattice(x, shape) - x).detach()`.

    Raises ValueError unless `low` < `high` are finite, `shape` has one size per column and each is at least 1, and
    TypeError when `points` are not floating point.
    """
    import torch  # type: ignore[import-not-found,unused-ignore]

    _check_range(low, high)
    sizes = [_at_least_one("each size of shape", size) for size in shape]
    if points.dim() == 0 or points.shape[-1] != len(sizes):
        raise ValueError(f"need points [N, {len(sizes)}] for {len(sizes)} sizes, got {tuple(points.shape)}")

    points = points.detach()
    wide = _widened(points)
    result = torch.empty_like(points)
    for axis, size in enumerate(sizes):
        if size == 1:
            nodes = wide.new_full((1,), (low + high) / 2)
        else:
            nodes = torch.linspace(low, high, size, dtype=wide.dtype, device=wide.device)
        column = wide[..., axis]
        # Multiplied before divided: a half-way value then stays exactly half-way more often.
        index = ((column - low) * (size - 1) / (high - low)).round().clamp(0, size - 1)
        node = nodes[index.nan_to_num(0).long()]
        result[..., axis] = node.masked_fill(column.isnan(), math.nan)
    return result


def clamp_step(
    position: Tensor,
    displacement: Tensor,
    *,
    low: float | Tensor = -1.0,
    high: float | Tensor = 1.0,
    max_step: float | None = None,
) -> Tensor:
    """Return `position + displacement` kept within [low, high], with the displacement first limited to +-`max_step`.

    Shapes broadcast as in the sum; bounds may be tensors, for instance [D] for one range per axis, and take the dtype
    and device of the sum. "Within" means in that dtype: 0.1 in float32 is 0.100000001. NaN stays NaN. Not in place.
    Differentiable: the gradient is 1 where nothing is limited and 0 where a limit holds.

    Raises ValueError when `low` > `high` (numbers only: comparing tensors would wait for the device; there `high` wins)
    or `max_step` < 0.
    """
    import torch  # type: ignore[import-not-found,unused-ignore]

    if max_step is not None:
        if not max_step >= 0:
            raise ValueError(f"max_step must not be negative, got {max_step}")
        displacement = displacement.clamp(-max_step, max_step)
    total = position + displacement
    if isinstance(low, torch.Tensor) or isinstance(high, torch.Tensor):
        # torch takes two numbers or two tensors, and would widen a half precision sum to the dtype of tensor bounds.
        low = torch.as_tensor(low, dtype=total.dtype, device=total.device)
        high = torch.as_tensor(high, dtype=total.dtype, device=total.device)
        return total.clamp(low, high)
    if not low <= high:
        raise ValueError(f"need low <= high, got {low} and {high}")
    return total.clamp(low, high)


def reflect(position: Tensor, *, low: float = -1.0, high: float = 1.0) -> Tensor:
    """Return `position` with values outside [low, high] mirrored back at the borders, however often that takes.

    Values inside are unchanged bit for bit. Outside, the result is the triangle wave of period 2 * (high - low),
    clamped last so that rounding cannot leave the range ("inside" is judged in the tensor's own dtype). Infinity has no
    mirror image and becomes NaN; NaN stays NaN. Any shape; same dtype. Differentiable: the gradient is 1 after an even
    number of reflections, -1 after an odd one.

    Raises ValueError unless `low` < `high` are finite, and TypeError when `position` is not floating point.
    """
    _check_range(low, high)
    width = high - low
    phase = (_widened(position) - low).remainder(2 * width)
    folded = low + phase.where(phase <= width, 2 * width - phase)
    inside = (position >= low) & (position <= high)
    return position.where(inside, folded.to(position.dtype).clamp(low, high))


def _check_range(low: float, high: float) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"need finite low < high, got {low} and {high}")


def _widened(values: Tensor) -> Tensor:
    """Half precision as float32: there a sum with `low` would already round to a neighbouring node."""
    if not values.is_floating_point():
        raise TypeError(f"need a floating point tensor, got {values.dtype}")
    return values.float() if values.element_size() < 4 else values


# ---------------------------------------------------------------------------------------------------- populations


class Watermark:
    """Warns once when a count comes near its cap, and again only after it has fallen well below.

    `update(count)` is True, and a warning goes to this module's logger, when `count` reaches `warn * cap` from below.
    It stays quiet until `count` was under `rearm * cap` (or 0), so a count that wavers about the mark warns once. Under
    a cap of 0 any count above 0 is at the mark. Thread-safe: of several threads that cross the mark one gets True.

    Raises ValueError unless `cap` >= 0 and 0 < `rearm` <= `warn`.
    """

    __slots__ = ("_armed", "_lock", "cap", "rearm", "warn")

    def __init__(self, cap: float, warn: float = 0.9, rearm: float = 0.8) -> None:
        if not cap >= 0:
            raise ValueError(f"cap must not be negative, got {cap}")
        if not 0 < rearm <= warn:
            raise ValueError(f"need 0 < rearm <= warn, got {rearm} and {warn}")
        self.cap, self.warn, self.rearm = cap, warn, rearm
        self._armed = True
        self._lock = _Lock()

    def update(self, count: float) -> bool:
        """Look at the count as it is now; True where it has just come near the cap."""
        with self._lock:
            if count <= 0 or count < self.rearm * self.cap:
                self._armed = True
            crossed = self._armed and count > 0 and count >= self.warn * self.cap
            if crossed:
                self._armed = False
        if crossed:
            _LOG.warning("%s of at most %s are in use", count, self.cap)
        return crossed


class SpawnBudget:
    """Says how many new members a population may get: at most `max_active` in all, `max_per_step` in one call.

    `allow(active, requested)` is between 0 and `requested`, whatever it is asked; `active` is the number of members
    that are alive now, so read it from the live container each time. A cap of 0 allows nothing, `max_per_step` None is
    no cap. A `Watermark` warns before the cap is reached, at `warn * max_active`, counting what was just allowed.

    Calls may come from several threads; two calls that are given the same `active` do not know of each other.
    Raises ValueError where a cap is negative or `warn` is not above 0.
    """

    __slots__ = ("_mark", "max_active", "max_per_step")

    def __init__(self, max_active: int, max_per_step: int | None = None, warn: float = 0.9) -> None:
        if max_per_step is not None and not max_per_step >= 0:
            raise ValueError(f"max_per_step must not be negative, got {max_per_step}")
        self.max_active, self.max_per_step = max_active, max_per_step
        self._mark = Watermark(max_active, warn, min(0.8, warn))

    def allow(self, active: int, requested: int = 1) -> int:
        """How many of the requested ones may spawn now, with `active` alive."""
        allowed = min(requested, self.max_active - active)
        if self.max_per_step is not None:
            allowed = min(allowed, self.max_per_step)
        allowed = max(allowed, 0)
        self._mark.update(active + allowed)
        return allowed


# ---------------------------------------------------------------------------------------------------- probes


class MemoryState(NamedTuple):
    """What the memory of this process looks like at one moment, in bytes, all its devices together. 0: not known."""

    allocated: int
    """What live tensors use on the devices."""
    reserved: int
    """What the devices' allocators hold: `allocated`, and blocks that are cached for reuse."""
    peak: int
    """The largest `allocated` of each device since it was started, or since the library's own reset, added up."""
    rss: int
    """What the process keeps in main memory (resident set size)."""


def memory_state() -> MemoryState:
    """Read the memory of all devices that are in use (CUDA, XPU, MPS, MLX), and of the process: bytes.

    Only counters are read: nothing is synchronised, no device and no library is started up, and what is not there
    counts 0. So on a plain CPU `rss` alone is above 0, and MPS, which records no peak, has a `peak` of 0. The resident
    size comes from Linux, macOS or Windows itself; elsewhere it is 0.

    Raises what a device raises that is lost.
    """
    allocated, reserved = _allocated_and_reserved()
    peak = sum(_ask(module, "max_memory_allocated", index) for module, index in _torch_devices() if index is not None)
    if (mx := sys.modules.get("mlx.core")) is not None:
        peak += _ask(_home_in_mlx(mx, "get_peak_memory"), "get_peak_memory")
    return MemoryState(allocated, reserved, peak, _rss())


def synchronize(*values: object) -> None:
    """Wait until the accelerators have done what they were given: CUDA, XPU, MPS, MLX. Without one: return at once.

    Use it before reading a clock or a memory probe, where a `sleep` would only guess. Waits for every device that holds
    memory of this process, for the current one of each kind, and for those of the tensors among `values`; others are
    not started up. MLX computes only what is asked for: arrays among `values`, also in nested lists, tuples and dicts,
    are evaluated (`mx.eval`), then its default stream is waited for. Other values are ignored.

    Raises what the device raises for an earlier operation that failed.
    """
    places: list[Any] = [getattr(value, "device", None) for value in values if _is_a(value, "torch", "Tensor")]
    torch: Any = sys.modules.get("torch")
    named = [(getattr(torch, place.type, None), place.index) for place in places]
    for module, index in _torch_devices():
        if index is None:
            module.synchronize()
        elif index == module.current_device() or _ask(module, "memory_reserved", index) or (module, index) in named:
            module.synchronize(index)
    if (mx := sys.modules.get("mlx.core")) is not None:
        mx.eval(values)
        if hasattr(mx, "synchronize"):
            mx.synchronize()


def log_memory_state(operation: str, *, logger: logging.Logger | None = None, level: int = logging.DEBUG) -> None:
    """Log one line with the memory as it is now, in MB (1e6 bytes), under the name of an operation.

    logger: whose line it is; None means this module's own. Where `level` is off the memory is not even read.
    A probe that fails is logged, not raised: in a `finally` it would take the place of the error that matters.
    """
    logger = logger or _LOG
    if not logger.isEnabledFor(level):
        return
    try:
        state = memory_state()
    except Exception:
        logger.log(level, "%s: the memory can't be read", operation, exc_info=True, stacklevel=2)
        return
    text = "%s: %.1f MB allocated, %.1f MB reserved, %.1f MB peak, %.1f MB resident"
    logger.log(level, text, operation, *(size / 1e6 for size in state), stacklevel=2)


def log_performance(
    operation: str,
    seconds: float,
    extra: Mapping[str, object] | None = None,
    *,
    logger: logging.Logger | None = None,
    level: int = logging.DEBUG,
) -> None:
    """Log one line with how long an operation took, in milliseconds, and `extra` as `key=value`.

    logger: whose line it is; None means this module's own. Where `level` is off nothing is formatted, so that a tensor
    in `extra` costs no wait for the device. Call `synchronize()` before the clock is read: accelerators work on.
    """
    logger = logger or _LOG
    if logger.isEnabledFor(level):
        # As text at once: a handler that keeps its records would keep a tensor of `extra`, and its graph, alive.
        more = "".join(f", {key}={value}" for key, value in (extra or {}).items())
        logger.log(level, "%s: %.3f ms%s", operation, seconds * 1e3, more, stacklevel=2)


def _allocated_and_reserved() -> tuple[int, int]:
    allocated = reserved = 0
    for module, index in _torch_devices():
        if index is None:
            allocated += _ask(module, "current_allocated_memory")
            reserved += _ask(module, "driver_allocated_memory")
        else:
            allocated += _ask(module, "memory_allocated", index)
            reserved += _ask(module, "memory_reserved", index)
    if (mx := sys.modules.get("mlx.core")) is not None:
        active = _ask(_home_in_mlx(mx, "get_active_memory"), "get_active_memory")
        allocated += active
        reserved += active + _ask(_home_in_mlx(mx, "get_cache_memory"), "get_cache_memory")
    return allocated, reserved


def _used_bytes() -> tuple[str, int]:
    """What to watch where nobody says what: the devices if they hold anything, else the process. With its kind."""
    allocated, reserved = _allocated_and_reserved()
    return ("devices", allocated) if reserved else ("process", _rss())


def _ask(module: Any, name: str, *arguments: Any) -> int:
    """A number of bytes that a library knows; 0 where this release of it has no such function."""
    function = getattr(module, name, None)
    return 0 if function is None else int(function(*arguments))


def _torch_modules() -> list[Any]:
    """The modules of torch that stand for a kind of device which this process uses; asking starts none up."""
    torch: Any = sys.modules.get("torch")
    found = []
    for kind in ("cuda", "xpu"):
        module = getattr(torch, kind, None)
        if module is not None and module.is_initialized():
            found.append(module)
    backend = getattr(getattr(torch, "backends", None), "mps", None)
    if backend is not None and backend.is_available():
        found.append(torch.mps)
    return found


def _torch_devices() -> Iterator[tuple[Any, int | None]]:
    """Each device of those modules: the module, and the index, None for MPS, which has one device."""
    for module in _torch_modules():
        if hasattr(module, "driver_allocated_memory"):
            yield module, None
        else:
            for index in range(module.device_count()):
                yield module, index


def _empty_device_caches() -> None:
    """Hand blocks that no tensor uses back to the devices. Libraries that nobody has imported hold none."""
    for module in _torch_modules():
        module.empty_cache()
    if (mx := sys.modules.get("mlx.core")) is not None:
        _home_in_mlx(mx, "clear_cache").clear_cache()


def _home_in_mlx(mx: Any, name: str) -> Any:
    """Where a function of mlx lives: older releases keep these in `mlx.core.metal`."""
    return mx if hasattr(mx, name) else getattr(mx, "metal", mx)


def _rss() -> int:
    """Resident bytes of this process; 0 where the system does not say, whatever the reason: a probe stops no run."""
    try:
        if sys.platform == "win32":
            return _rss_on_windows()
        if sys.platform == "darwin":
            return _rss_on_macos()
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except Exception:
        return 0


def _rss_on_windows() -> int:
    import ctypes
    import struct

    # PROCESS_MEMORY_COUNTERS: its own size, page faults, peak working set, working set, six more. -1 is this process.
    layout = "II8N"
    counters = ctypes.create_string_buffer(struct.calcsize(layout))
    struct.pack_into("I", counters, 0, len(counters))
    library: Any = ctypes
    known = library.windll.kernel32.K32GetProcessMemoryInfo(ctypes.c_void_p(-1), counters, len(counters))
    return int(struct.unpack_from(layout, counters)[3]) if known else 0


def _rss_on_macos() -> int:
    import ctypes

    # rusage_info_v0: a UUID of two words, six counters, then the resident size. `getrusage` knows only its peak.
    words = (ctypes.c_uint64 * 12)()
    failed = ctypes.pythonapi.proc_pid_rusage(os.getpid(), 0, words)
    return 0 if failed else words[8]


# ---------------------------------------------------------------------------------------------------- monitors


class MemoryGuard:
    """Says before a large allocation whether there is room for it below `limit_gb` (1 GB = 1e9 bytes).

    What counts as used is what tensors use on the devices, all together, and the resident size of the process where no
    device is in use. Cached blocks of a device are room: the allocator hands them out again. Only counters are read, so
    it may be asked in each step. When the answer turns to no, one warning goes to this module's logger; the next one
    comes only after what was refused would have fitted with a tenth of the limit to spare, or when less than half of
    it is refused as well. Threads may share one object.

    Raises ValueError when `limit_gb` is negative or NaN.
    """

    def __init__(self, limit_gb: float) -> None:
        self.limit_bytes = _not_negative("limit_gb", limit_gb) * 1e9
        self._lock = _Lock()
        self._refused: float | None = None  # what was needed when it last warned; None: the next refusal warns

    def ok(self, needed_bytes: float = 0, used_bytes: float | None = None) -> bool:
        """Whether `needed_bytes` more stay within the limit. used_bytes: what is in use now; None asks the machine."""
        used = _used_bytes()[1] if used_bytes is None else used_bytes
        room = used + needed_bytes <= self.limit_bytes
        with self._lock:
            if self._refused is not None and used + self._refused <= 0.9 * self.limit_bytes:
                self._refused = None
            warn = not room and (self._refused is None or needed_bytes < self._refused / 2)
            if warn:
                self._refused = needed_bytes
        if warn:
            text = "%.3f GB in use and %.3f GB needed exceed the limit of %.3f GB"
            _LOG.warning(text, used / 1e9, needed_bytes / 1e9, self.limit_bytes / 1e9)
        return room


class LeakMonitor:
    """Tells by how many MB (1e6 bytes) the memory grows in each step, and calls for help when that is too much.

    Call `step()` once per step, always at the same place: growth is what lies between two steps, so a second probe in
    the same step would only measure the step's own work. The first `warmup` steps are not looked at, because caches and
    optimizer states grow then. Of the steps after them the last `window` samples are kept, and the slope of their
    least-squares line is the answer. One sample that is H MB too high moves it by 6 H / (window * (window + 1)) at
    most, a leak of H MB a step by H.

    When the window is full and the slope is above `threshold_mb`, a warning goes to this module's logger,
    `on_emergency(slope)` is called once, and the monitor rests for `cooldown` steps: it goes on measuring but calls
    nobody. After a reload, and whenever the level of memory was changed on purpose, call `reset()`; `on_emergency` may
    do so itself. Threads may share one object; while one of them is in `on_emergency`, no other enters it.

    Raises ValueError when `window` < 2 or another number is negative or NaN, and TypeError when one that counts steps
    is not an integer.
    """

    def __init__(
        self,
        threshold_mb: float = 1.0,
        window: int = 50,
        warmup: int = 10,
        cooldown: int = 50,
        on_emergency: Callable[[float], object] | None = None,
    ) -> None:
        self.threshold_mb = _not_negative("threshold_mb", threshold_mb)
        self.window = _at_least_one("window", window)
        if self.window < 2:
            raise ValueError("window must be at least 2: one sample has no slope")
        self.warmup = _not_negative("warmup", operator.index(warmup))
        self.cooldown = _not_negative("cooldown", operator.index(cooldown))
        self._on_emergency = on_emergency
        self._lock = _Lock()
        self._resting = 0  # steps of the cool-down that are left
        self._kind = ""  # what the samples are of
        self._samples: deque[int] = deque(maxlen=self.window)
        self._warming = self.warmup  # steps of the warm-up that are left
        self._slope = 0.0

    def step(self, used_bytes: float | None = None) -> float:
        """Take one sample and return the slope in MB per step: 0.0 while warming up and from one sample alone.

        used_bytes: what is in use now; None asks the machine: what tensors use on the devices, and the resident size of
        the process where no device is in use. Where the source changes, the measurement begins anew.

        An error of `on_emergency` is raised when the monitor is ready for the next step. While `on_emergency` runs,
        `step()` takes no sample, in whatever thread, and returns the slope as it is.
        """
        kind, used = _used_bytes() if used_bytes is None else ("given", int(used_bytes))
        calls = False
        try:
            with self._lock:
                if self._lock.busy or (kind == "process" and not used):  # or the system does not tell
                    return self._slope
                slope, over = self._sample(kind, used)
                if not over:
                    return slope
                calls = self._lock.busy = True
            _LOG.warning("memory grows by %.3f MB in each step, more than %.3f MB", slope, self.threshold_mb)
            if self._on_emergency is not None:
                self._on_emergency(slope)  # outside the lock: it may take long, and may use this object
            return slope
        finally:
            if calls:
                self._lock.busy = False

    def _sample(self, kind: str, used: int) -> tuple[float, bool]:
        """The slope with one more sample, and whether it is time to call for help."""
        if kind != self._kind:
            self.reset()
            self._kind = kind
        rested = self._resting == 0
        self._resting = max(self._resting - 1, 0)
        if self._warming:
            self._warming -= 1
            return 0.0, False
        self._samples.append(used)
        self._slope = _slope(self._samples) / 1e6
        over = rested and len(self._samples) == self.window and self._slope > self.threshold_mb
        if over:
            self._resting = self.cooldown
        return self._slope, over

    def reset(self) -> None:
        """Forget the samples and warm up again: what comes now has another baseline. A cool-down goes on."""
        with self._lock:
            self._samples.clear()
            self._warming = self.warmup
            self._slope = 0.0


def _slope(samples: Collection[int]) -> float:
    """The slope of the least-squares line through evenly spaced samples. In integers, so that it is exact."""
    count = len(samples)
    if count < 2:
        return 0.0
    # Positions doubled and centred, 1-n, 3-n, ..., n-1: their sum is 0, the sum of their squares n (n² - 1) / 3.
    weighted: int = sum(map(operator.mul, range(1 - count, count, 2), samples))
    return 6 * weighted / (count * (count * count - 1))


class ReloadPolicy:
    """Says when a model is to be saved and reloaded to get rid of leaked memory: at intervals, or above a threshold.

    Each of the two decides alone, and is off when it is 0: `interval_steps` at each multiple of it (or at the first
    question after one, where not every step asks), `threshold_gb` (1 GB = 1e9 bytes) at any step at all. After
    `done(step)` both are silent for the rest of that step and `cooldown_steps` more. Reload only what was written:

        if policy.due(step, memory_state().allocated):
            path = save(step)         # None where checkpoints are switched off
            if path is not None:
                reload(path)
                monitor.reset()       # of a LeakMonitor: there is a new baseline
            policy.done(step)

    Threads may share one object. Raises ValueError when a number is negative or NaN, and TypeError when one that counts
    steps is not an integer.
    """

    def __init__(self, interval_steps: int = 0, threshold_gb: float = 0.0, cooldown_steps: int = 0) -> None:
        self.interval_steps = _not_negative("interval_steps", operator.index(interval_steps))
        self.threshold_bytes = _not_negative("threshold_gb", threshold_gb) * 1e9
        self.cooldown_steps = _not_negative("cooldown_steps", operator.index(cooldown_steps))
        self._lock = _Lock()
        self._asked: int | None = None
        self._done: int | None = None

    def due(self, step: int, used_bytes: float) -> bool:
        """Whether to save and reload now. step: counted from 0, where nothing is due by interval. Asks no device."""
        with self._lock:
            before = self._asked
            if before is None or step < before:  # the first question, or the steps are counted anew
                before = step - 1
                if self._done is not None:
                    self._done = min(self._done, step)
            self._asked = step
            if self._done is not None and step - self._done <= self.cooldown_steps:
                return False
        by_interval = (
            self.interval_steps > 0 and step > 0 and step // self.interval_steps > before // self.interval_steps
        )
        by_threshold = self.threshold_bytes > 0 and used_bytes > self.threshold_bytes
        return by_interval or by_threshold

    def done(self, step: int) -> None:
        """The reload is over, or was given up: begin the cool-down."""
        with self._lock:
            self._done = step


# ---------------------------------------------------------------------------------------------------- pacing


def every(n: int) -> Callable[[], bool]:
    """Return a function that is True on its first call, then on every `n`-th one: calls 1, n + 1, 2n + 1, ...

    Each function that is returned counts by itself, so make it outside the loop. Threads may share it: of `n` calls in
    a row exactly one gets True.

    Raises ValueError when `n` < 1 and TypeError when it is not an integer.
    """
    return _Every(_at_least_one("n", n))


class _Every:
    # A class and not a closure, so that an object that has one can still be pickled and copied.
    __slots__ = ("_lock", "_n", "_place")

    def __init__(self, n: int) -> None:
        self._lock, self._n, self._place = _Lock(), n, 0

    def __call__(self) -> bool:
        with self._lock:
            due = self._place == 0
            self._place = (self._place + 1) % self._n
        return due


class Cleanup:
    """Empties the device's cache of freed blocks now and then: at intervals, only when it is large, then with a rest.

    Call `step()` once per step. On every `every`-th call it first runs `prune()`, where one is given: that is the place
    to drop what is finished (never what is active), or to run `gc.collect`. Then, if the allocator holds more than
    `above_gb` (1 GB = 1e9 bytes) beyond what tensors use (reserved - allocated), it empties the cache and leaves it
    alone for the next `cooldown` calls.

    What tensors use is not counted, because emptying the cache would not lower it. Threads may share one object.

    Raises ValueError when `every` < 1, `cooldown` < 0 or `above_gb` is negative or NaN, and TypeError when one of the
    first two is not an integer.
    """

    def __init__(
        self,
        every: int = 10,
        above_gb: float = 20.0,
        cooldown: int = 10,
        prune: Callable[[], object] | None = None,
    ) -> None:
        self.every = _at_least_one("every", every)
        self.cooldown = _not_negative("cooldown", operator.index(cooldown))
        self.above_bytes = _not_negative("above_gb", above_gb) * 1e9
        self._prune = prune
        self._lock = _Lock()
        self._steps = 0
        self._rests_until = 0

    def step(self, state: Any = None) -> bool:
        """Count one step, and clean where that is due. True when the cache was emptied.

        state: what is known of the memory already, with `allocated` and `reserved` in bytes; None asks the device.
        An error of `prune` is raised; the step is counted, and the next due one goes on as usual.
        """
        with self._lock:
            self._steps += 1
            step = self._steps
        if step % self.every:
            return False
        if self._prune is not None:
            self._prune()  # outside the lock: it may take long, or call this object again
        with self._lock:
            if step <= self._rests_until:
                return False
            allocated, reserved = _allocated_and_reserved() if state is None else (state.allocated, state.reserved)
            if not reserved - allocated > self.above_bytes:
                return False
            self._rests_until = step + self.cooldown
        _empty_device_caches()
        return True


# ---------------------------------------------------------------------------------------------------- configurations


class ConfigMismatch(ValueError):
    """A checkpoint was made with another configuration. `differences`: one line of text for each of them."""

    def __init__(self, differences: Sequence[str]) -> None:
        super().__init__(tuple(differences))  # as the only argument, so that the exception can be pickled
        self.differences = tuple(differences)

    def __str__(self) -> str:
        return "the saved configuration does not fit:\n" + "\n".join(f"  {line}" for line in self.differences)


def check_config(saved: object, current: object, keys: Iterable[str]) -> None:
    """Compare the configuration that a checkpoint was saved with, and the current one, before the weights are loaded.

    Both sides may be mappings, dataclass instances, namespaces or other objects with attributes, also one of each.
    A key may reach into them, "model.layers.0.width"; a key that has dots of its own is found as well. Values are equal
    when `==` says so; nested configurations are compared member by member, a list equals a tuple of the same items,
    NaN equals NaN, and tensors and arrays of any device are compared by their values.

    Raises ConfigMismatch, a ValueError, which names each difference; a key that one side lacks is one, and so is a key
    that both lack, because it is misspelt. Raises TypeError when `keys` is one string.

    Nothing is read from disk here, and what counts is that the weights have not been read either. With torch 2.13
    this reads the pickled structure of the file, but no weights, until one is used:

        checkpoint = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        check_config(checkpoint["config"], config, ["model.width", "vocabulary"])
        model.load_state_dict(checkpoint["model"])

    `weights_only=True`, the default since torch 2.6, builds plain values only: save the configuration as a dict, since
    it refuses a Namespace or a dataclass. It does read all weights, so it takes `mmap=True` as well, which needs a path
    and a file in the zip format (the default of `torch.save`). Or keep the configuration in a small JSON file beside
    the weights, and compare that first.
    """
    if isinstance(keys, str):
        raise TypeError("keys must be a collection of names, not one string")
    found = (line for key in keys for line in _differences(key, _member(saved, key), _member(current, key)))
    if differences := tuple(dict.fromkeys(found)):  # each once: keys may overlap
        raise ConfigMismatch(differences)


class _Missing:
    def __repr__(self) -> str:
        return "missing"


_MISSING = _Missing()


def _member(owner: object, path: str) -> object:
    """What a dotted path leads to; the path as a whole may be a name too."""
    if isinstance(owner, Mapping):
        if path in owner:
            return owner[path]
    elif isinstance(owner, Sequence):
        if path.isdecimal() and int(path) < len(owner):
            return owner[int(path)]
    elif hasattr(owner, path):
        return getattr(owner, path)
    for place, sign in enumerate(path):
        if sign == ".":
            inner = _member(owner, path[:place])
            found = _MISSING if inner is _MISSING else _member(inner, path[place + 1 :])
            if found is not _MISSING:
                return found
    return _MISSING


def _differences(path: str, saved: object, current: object) -> Iterator[str]:
    if saved is _MISSING and current is _MISSING:
        yield f"{path}: neither side has it"
        return
    saved, current = _plain(saved), _plain(current)
    if _equal(saved, current):
        return
    inner = _members(saved), _members(current)
    if inner[0] is not None and inner[1] is not None:
        for name in dict.fromkeys([*inner[0], *inner[1]]):
            yield from _differences(f"{path}.{name}", inner[0].get(name, _MISSING), inner[1].get(name, _MISSING))
    elif isinstance(saved, (list, tuple)) and isinstance(current, (list, tuple)) and len(saved) == len(current):
        if any(line for pair in zip(saved, current, strict=True) for line in _differences(path, *pair)):
            yield f"{path}: saved {_short(saved)}, current {_short(current)}"
    else:
        yield f"{path}: saved {_short(saved)}, current {_short(current)}"


def _plain(value: object) -> object:
    """A tensor or an array, of whatever library and device, as lists and numbers."""
    to_list = None if isinstance(value, type) else getattr(value, "tolist", None)
    return to_list() if callable(to_list) else value


def _equal(saved: object, current: object) -> bool:
    try:
        if saved == current:
            return True
    except Exception:  # values that can't be compared are not the same
        return False
    return isinstance(saved, float) and isinstance(current, float) and math.isnan(saved) and math.isnan(current)


def _members(value: object) -> dict[Any, object] | None:
    """The entries of a nested configuration; None for a value that is one whole."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, type) or callable(value):
        return None
    if is_dataclass(value):
        return {field.name: getattr(value, field.name, _MISSING) for field in fields(value)}
    if isinstance(value, SimpleNamespace) or _is_a(value, "argparse", "Namespace"):
        return dict(vars(value))
    if type(value).__eq__ is not object.__eq__:
        return None
    # An object that says nothing of equality: its public attributes decide, if there are any (an Enum has none).
    return {name: item for name, item in getattr(value, "__dict__", {}).items() if not name.startswith("_")} or None


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


# ---------------------------------------------------------------------------------------------------- files

_FLUSH_BYTES = 1 << 20


class BufferedWriter:
    """Appends lines to a text file (UTF-8), many at a time, so that a step does not wait for the disk.

        with BufferedWriter("log.jsonl") as log:      # around the loop, not in it
            for step in range(steps):
                log.write(json.dumps(record(step)))

    Lines go to the file when `flush_every` of them wait, or 1 MiB; on `flush()`, on `close()`, at the end of the `with`
    block also where the loop raises; when the writer is forgotten without a close, and when the interpreter exits. What
    is lost are the waiting lines of a process that is killed, and of a `multiprocessing` worker that doesn't close.

    A line that `write` took is in the file or waits. When the disk is full, say, the error is raised, the lines
    wait, and the next flush goes on where this one stopped, in the middle of a line if need be. Between flushes the
    file is closed: it may be rotated or removed, and is made again. A flush appends whole lines, so that several
    processes may append to one file. Threads may share a writer. In a forked process it starts empty: what waits is
    the parent's to write. A copied or unpickled writer is a new one for the same file.

    Raises OSError when the file can't be opened for appending, ValueError when a number is below 1, and TypeError when
    it is not an integer.
    """

    def __init__(self, path: str | os.PathLike[str], *, flush_every: int = 100, max_pending: int = 10_000) -> None:
        self.flush_every = _at_least_one("flush_every", flush_every)
        self.max_pending = _at_least_one("max_pending", max_pending)
        self.path = os.path.abspath(path)  # now: the working directory may change
        with open(self.path, "ab"):  # an error belongs here, not into the loop
            pass
        self._lines = _Lines(self.path)
        self._closed = False
        # Of the lines, not of the writer: so it can be forgotten. Runs then, or when the interpreter exits.
        weakref.finalize(self, self._lines.flush)

    def write(self, line: str) -> None:
        """Take one line. A newline is put behind it unless it ends with one; it may hold several lines, kept together.

        Raises OSError when lines were due and could not be written. The line is then kept like all others, so it must
        not be written again; only when `max_pending` lines wait already and still can't be written, it is refused.
        Raises ValueError after `close()`, and UnicodeEncodeError for half a surrogate pair.
        """
        if not isinstance(line, str):
            raise TypeError(f"need a str, got {type(line).__name__}")
        data = (line if line.endswith("\n") else line + "\n").encode()
        lines = self._lines
        with lines.lock:
            if self._closed:
                raise ValueError(f"the writer of {self.path} is closed")
            if len(lines.waiting) >= self.max_pending:
                lines.flush()
            lines.add(data)
            if len(lines.waiting) >= min(self.flush_every, self.max_pending) or lines.size >= _FLUSH_BYTES:
                lines.flush()

    def flush(self) -> None:
        """Write the waiting lines to the file. Raises OSError when that fails; what was not written goes on waiting."""
        self._lines.flush()

    def close(self) -> None:
        """Flush, and take no more lines. Raises OSError as `flush` does: it is then still open, and may be tried again.

        Closing a closed writer does nothing.
        """
        with self._lines.lock:
            self._lines.flush()
            self._closed = True

    def __enter__(self: Writer) -> Writer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[[], object], tuple[()]]:
        again = functools.partial(type(self), self.path, flush_every=self.flush_every, max_pending=self.max_pending)
        return again, ()


class _Lines:
    """Encoded lines that wait for one file. They leave the list only when the system has taken them."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.waiting: list[bytes] = []
        self.size = 0
        self.lock = _Lock()
        _FORKED.add(self)

    def add(self, data: bytes) -> None:
        self.waiting.append(data)
        self.size += len(data)

    def flush(self) -> None:
        with self.lock:
            # Busy: a signal handler came in the middle of a flush. That one goes on when the handler returns.
            if self.lock.busy or not self.waiting:
                return
            written = 0
            self.lock.busy = True
            try:
                data = memoryview(b"".join(self.waiting))
                with open(self.path, "ab", buffering=0) as file:
                    while written < len(data):
                        written += file.write(data[written:]) or 0
            finally:
                try:
                    self.drop(written)
                finally:
                    self.lock.busy = False

    def drop(self, written: int) -> None:
        """Forget this many bytes from the front: whole lines, and the part of a line that is on the disk."""
        whole = 0
        for line in self.waiting:
            if len(line) > written:
                break
            written -= len(line)
            whole += 1
        if written:
            self.waiting[whole] = self.waiting[whole][written:]
        del self.waiting[:whole]
        self.size = sum(map(len, self.waiting))

    def after_fork(self) -> None:
        self.waiting, self.size = [], 0


# ---------------------------------------------------------------------------------------------------- common ground

_LOG = logging.getLogger(__name__)


def _at_least_one(name: str, value: int) -> int:
    number = operator.index(value)  # TypeError for 2.5 and "3"; accepts numpy integers
    if number < 1:
        raise ValueError(f"{name} must be at least 1, got {number}")
    return number


def _not_negative(name: str, value: Number) -> Number:
    if not value >= 0:  # so that NaN is refused too
        raise ValueError(f"{name} must not be negative, got {value}")
    return value


def _is_a(value: object, module: str, name: str) -> bool:
    """isinstance(value, module.name) without importing: where nobody has imported the module, no value is one."""
    return isinstance(value, getattr(sys.modules.get(module), name, ()))


class _Lock:
    """A lock for the inside of one object; `busy` is for its owner to say that it is at work outside of the lock.

    Re-entrant, so that a signal handler or a finalizer that comes in between cannot wait for itself for ever. Copied or
    pickled it is a new one, so that its owner can be; in a forked process too, where whoever held it does not live.
    """

    __slots__ = ("__weakref__", "_lock", "busy")

    def __init__(self) -> None:
        self.after_fork()
        _FORKED.add(self)

    def after_fork(self) -> None:
        self._lock = threading.RLock()
        self.busy = False

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *exception: object) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[type[_Lock], tuple[()]]:
        return _Lock, ()


# What has to start anew in a forked process; each goes when nobody else needs it.
_FORKED: weakref.WeakSet[Any] = weakref.WeakSet()


def _start_anew() -> None:
    for item in list(_FORKED):
        item.after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_start_anew)
