"""Helpers that code repaired by memlint calls: bounded histories, detached snapshots, emptied slots, exact geometry.

This one file stands alone. It may be copied into any project under any name: importing it needs the standard library
only, and torch or mlx are looked up when a function that needs them is called. Functions hold no state between calls;
objects that do stay as small as they were made, and may be shared by threads.
Works on Python 3.10 and later.
"""

from __future__ import annotations

import copy
import gc
import logging
import math
import operator
import sys
import threading
from collections import UserDict, deque
from collections.abc import Callable, Mapping, MutableSequence, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import Tensor  # type: ignore[import-not-found,unused-ignore]

__all__ = [
    "Cleanup",
    "SpawnBudget",
    "Watermark",
    "append_bounded",
    "clamp_step",
    "detach",
    "nearest_rows",
    "reflect",
    "release",
    "round_to_lattice",
    "subsample",
    "to_cpu",
]

T = TypeVar("T")


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


def _at_least_one(name: str, value: int) -> int:
    number = operator.index(value)  # TypeError for 2.5 and "3"; accepts numpy integers
    if number < 1:
        raise ValueError(f"{name} must be at least 1, got {number}")
    return number


# -------------------------------------------------------------------------------------------------- populations


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
        self._lock = threading.Lock()

    def update(self, count: float) -> bool:
        """Look at the count as it is now; True where it has just come near the cap."""
        with self._lock:
            if count <= 0 or count < self.rearm * self.cap:
                self._armed = True
            crossed = self._armed and count > 0 and count >= self.warn * self.cap
            if crossed:
                self._armed = False
        if crossed:
            logging.getLogger(__name__).warning("%s of at most %s are in use", count, self.cap)
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


def _is_a(value: object, module: str, name: str) -> bool:
    """isinstance(value, module.name) without importing: where nobody has imported the module, no value is one."""
    return isinstance(value, getattr(sys.modules.get(module), name, ()))


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
    is collected, because models are full of cycles, and the device's cache is emptied, because the successor may need
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
    _empty_device_cache()


def _empty_device_cache() -> None:
    """Hand unused blocks back to the device. Libraries that nobody has imported hold none."""
    torch = sys.modules.get("torch")
    if torch is not None:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if torch.backends.mps.is_available():
            torch.mps.empty_cache()
        if hasattr(torch, "xpu") and torch.xpu.is_available():
            torch.xpu.empty_cache()
    mx = sys.modules.get("mlx.core")
    if mx is not None:
        clear = getattr(mx, "clear_cache", None) or mx.metal.clear_cache
        clear()


# ---------------------------------------------------------------------------------------------------- geometry

# Chunks of a few MB stay in a CPU's cache: measured twice as fast as chunks of 64 MB.
_CPU_CHUNK_BYTES = 4 << 20


def nearest_rows(points: Tensor, grid: Tensor, *, budget_bytes: int = 64 << 20) -> Tensor:
    """Return, for each row of `points` [N, D], the index of the nearest row of `grid` [M, D]: int64 [N], same device.

    The same answer as the plain loop, in the same precision, without its N steps:

        torch.stack([torch.argmin(torch.norm(grid - p.unsqueeze(0), dim=1)) for p in points])

    So the first of several equally near rows wins, and a NaN distance counts as the nearest, as it does for argmin. The
    distances are those of the loop bit for bit on a CPU; a GPU may order the sum over D by the shape of the call, which
    can matter only between rows whose distances differ by a rounding. `torch.cdist` is not used: above 25 rows it
    multiplies matrices, which picks wrong rows far from the origin.

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
    (count, width), total = points.shape, grid.shape[0]
    if points.device.type == "cpu":
        budget = min(budget, _CPU_CHUNK_BYTES)
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


# ---------------------------------------------------------------------------------------------------- device caches


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
        self.cooldown = operator.index(cooldown)
        if self.cooldown < 0:
            raise ValueError(f"cooldown must not be negative, got {cooldown}")
        if not above_gb >= 0:
            raise ValueError(f"above_gb must not be negative, got {above_gb}")
        self.above_bytes = above_gb * 1e9
        self._prune = prune
        self._lock = threading.Lock()
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
            spare = _spare_bytes() if state is None else state.reserved - state.allocated
            if not spare > self.above_bytes:
                return False
            self._rests_until = step + self.cooldown
        _empty_caches()
        return True


def _spare_bytes() -> int:
    """What the allocators of all devices hold beyond what tensors use; 0 where there is no device in use."""
    spare = 0
    torch, mx = sys.modules.get("torch"), sys.modules.get("mlx.core")
    for device in _torch_devices(torch):
        if hasattr(device, "driver_allocated_memory"):
            spare += device.driver_allocated_memory() - device.current_allocated_memory()
        else:
            for index in range(device.device_count()):
                spare += device.memory_reserved(index) - device.memory_allocated(index)
    if mx is not None:
        spare += _of_mlx(mx, "get_cache_memory")()
    return spare


def _empty_caches() -> None:
    torch, mx = sys.modules.get("torch"), sys.modules.get("mlx.core")
    for device in _torch_devices(torch):
        device.empty_cache()
    if mx is not None:
        _of_mlx(mx, "clear_cache")()


def _torch_devices(torch: Any) -> list[Any]:
    """The modules of torch that stand for a device which this process uses; asking starts none up."""
    found = []
    for name in ("cuda", "xpu"):
        device = getattr(torch, name, None)
        if device is not None and device.is_initialized():
            found.append(device)
    if torch is not None and torch.backends.mps.is_available():
        found.append(torch.mps)
    return found


def _of_mlx(mx: Any, name: str) -> Any:
    """A function of mlx, which older releases keep in `mlx.core.metal`."""
    return getattr(mx, name) if hasattr(mx, name) else getattr(mx.metal, name)
