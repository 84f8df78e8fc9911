"""The shim's helpers against the plain code that they replace."""

from __future__ import annotations

import ast
import inspect
import itertools
import logging
import math
import shutil
import subprocess
import sys
import threading
import types
import weakref
from collections import OrderedDict, UserDict, defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from memlint import runtime

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


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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


# ---------------------------------------------------------------------------------------------------- the file


class TestTheFile:
    SOURCE = Path(runtime.__file__)

    def run_copy(self, folder: Path, code: str, *flags: str) -> str:
        shutil.copy(self.SOURCE, folder / "borrowed_name.py")
        start = f"import sys; sys.path.insert(0, {str(folder)!r}); import borrowed_name as shim\n"
        command = [sys.executable, "-I", *flags, "-c", start + code]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def test_a_copy_works_where_torch_is_not_installed(self, tmp_path: Path) -> None:
        # -S: no site-packages, so nothing but the standard library can be imported.
        code = """
try:
    import torch
except ModuleNotFoundError:
    kept = [1, 2]
    shim.append_bounded(kept, 3, limit=2)
    print(kept, shim.subsample(range(9), limit=3), shim.to_cpu({"a": [1, (2,)]}), shim.detach((1, "x")))

    guard, monitor, policy = shim.MemoryGuard(0.001), shim.LeakMonitor(), shim.ReloadPolicy(interval_steps=2)
    due, cleanup, budget = shim.every(2), shim.Cleanup(every=1), shim.SpawnBudget(3)
    with shim.BufferedWriter("lines.txt") as writer:
        for step in range(4):
            shim.log_memory_state("step")
            shim.log_performance("step", 0.1)
            shim.synchronize()
            told = due(), policy.due(step, 0), cleanup.step(), guard.ok(), budget.allow(step, 9), monitor.step()
            writer.write(repr(told))
    print(open("lines.txt").read(), end="")
    state = shim.memory_state()
    print(state[:3], state.rss >= 0)
    slot = {"model": 1}
    shim.release(slot, "model")
    try:
        shim.check_config({"width": 1}, {"width": 2}, ["width"])
    except shim.ConfigMismatch as error:
        print(slot, error.differences)
"""
        room = sys.platform not in ("linux", "darwin", "win32")  # elsewhere the resident size is not known
        assert self.run_copy(tmp_path, code, "-S") == (
            "[2, 3] [0, 4, 8] {'a': [1, (2,)]} (1, 'x')\n"
            f"(True, False, False, {room}, 3, 0.0)\n"
            f"(False, False, False, {room}, 2, 0.0)\n"
            f"(True, True, False, {room}, 1, 0.0)\n"
            f"(False, False, False, {room}, 0, 0.0)\n"
            "(0, 0, 0) True\n"
            "{'model': None} ('width: saved 1, current 2',)\n"
        )

    def test_import_loads_neither_torch_nor_mlx_nor_memlint(self, tmp_path: Path) -> None:
        code = "print([name for name in ('torch', 'mlx', 'numpy', 'memlint') if name in sys.modules])"
        assert self.run_copy(tmp_path, code) == "[]\n"

    def test_imports_only_the_standard_library_at_the_top(self) -> None:
        tree = ast.parse(self.SOURCE.read_text(encoding="utf-8"))
        names = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
        names |= {str(node.module) for node in tree.body if isinstance(node, ast.ImportFrom)}
        assert names
        assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names | {"__future__"}

    def test_everything_public_is_exported_and_documented(self) -> None:
        public = {
            name
            for name, value in vars(runtime).items()
            if (inspect.isfunction(value) or inspect.isclass(value)) and value.__module__ == runtime.__name__
            if not name.startswith("_")
        }
        assert public == set(runtime.__all__)
        assert all(getattr(runtime, name).__doc__ for name in public)


# ---------------------------------------------------------------------------------------------------- histories


class History(list[int]):
    note = ""


class TestAppendBounded:
    @quick
    @given(
        start=st.lists(st.integers(), max_size=12),
        items=st.lists(st.integers(), max_size=12),
        limit=st.integers(1, 9),
        kind=st.sampled_from([list, deque, History]),
    )
    def test_keeps_exactly_the_last_items_in_the_same_object(
        self, start: list[int], items: list[int], limit: int, kind: type
    ) -> None:
        history = kind(start)
        for count, item in enumerate(items, 1):
            runtime.append_bounded(history, item, limit=limit)
            assert list(history) == (start + items[:count])[-limit:]
        assert type(history) is kind

    def test_aliases_and_attributes_stay(self) -> None:
        history = History([1, 2, 3])
        history.note = "loss"
        alias = history
        runtime.append_bounded(history, 4, limit=2)
        assert alias == [3, 4]
        assert alias.note == "loss"

    @pytest.mark.parametrize(("maxlen", "limit", "expected"), [(3, 5, [2, 3, 4]), (5, 2, [3, 4])])
    def test_a_deque_keeps_its_own_bound(self, maxlen: int, limit: int, expected: list[int]) -> None:
        history: deque[int] = deque(range(4), maxlen=maxlen)
        runtime.append_bounded(history, 4, limit=limit)
        assert list(history) == expected
        assert history.maxlen == maxlen

    @pytest.mark.parametrize(
        ("limit", "error"), [(0, ValueError), (-3, ValueError), (2.0, TypeError), ("2", TypeError)]
    )
    def test_a_bad_limit_leaves_the_history_alone(self, limit: Any, error: type[Exception]) -> None:
        history = [1, 2, 3]
        with pytest.raises(error):
            runtime.append_bounded(history, 4, limit=limit)
        assert history == [1, 2, 3]


class TestSubsample:
    @quick
    @given(length=st.integers(0, 200), limit=st.integers(2, 30), kind=st.sampled_from([list, tuple, deque]))
    @example(length=11, limit=10, kind=list)
    def test_evenly_spaced_with_both_ends(self, length: int, limit: int, kind: Callable[[range], Any]) -> None:
        history = kind(range(length))
        chosen = runtime.subsample(history, limit=limit)
        assert type(chosen) is list
        assert chosen is not history
        assert len(chosen) == min(length, limit)
        if length:
            assert (chosen[0], chosen[-1]) == (0, length - 1)
        gaps = {after - before for before, after in itertools.pairwise(chosen)}
        assert all(gap >= 1 for gap in gaps)
        assert not gaps or max(gaps) - min(gaps) <= 1

    def test_default_limit_is_ten(self) -> None:
        assert runtime.subsample(range(91)) == list(range(0, 91, 10))

    def test_one_keeps_the_newest(self) -> None:
        assert runtime.subsample([1, 2, 3], limit=1) == [3]
        assert runtime.subsample([1], limit=1) == [1]
        assert runtime.subsample([], limit=1) == []

    def test_items_are_the_same_objects(self) -> None:
        history = [[i] for i in range(30)]
        chosen = runtime.subsample(history, limit=4)
        assert all(item is history[item[0]] for item in chosen)

    @pytest.mark.parametrize(("limit", "error"), [(0, ValueError), (-1, ValueError), (2.5, TypeError)])
    def test_bad_limit(self, limit: Any, error: type[Exception]) -> None:
        with pytest.raises(error):
            runtime.subsample([1, 2], limit=limit)


# -------------------------------------------------------------------------------------------------- populations


class TestWatermark:
    def test_once_on_the_way_up_and_again_after_a_fall(self, caplog: pytest.LogCaptureFixture) -> None:
        mark = runtime.Watermark(100)
        counts = [89, 90, 95, 85, 91, 100, 80, 92, 79, 90, 91]
        assert [count for count in counts if mark.update(count)] == [90, 90]
        assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
        assert "90 of at most 100" in caplog.records[0].getMessage()

    @quick
    @given(counts=st.lists(st.integers(0, 30)), cap=st.integers(0, 20))
    def test_between_two_warnings_lies_a_fall(self, counts: list[int], cap: int) -> None:
        mark = runtime.Watermark(cap)
        low = True
        for count in counts:
            low = low or count == 0 or count < 0.8 * cap
            warned = mark.update(count)
            assert warned == (low and count > 0 and count >= 0.9 * cap)
            low = low and not warned

    def test_a_cap_of_zero(self) -> None:
        mark = runtime.Watermark(0)
        assert [mark.update(count) for count in (0, 1, 2, 0, 1)] == [False, True, False, False, True]

    def test_of_many_threads_one_is_told(self) -> None:
        mark = runtime.Watermark(10)
        start = threading.Barrier(8)
        told: list[bool] = []

        def cross() -> None:
            start.wait()
            told.append(mark.update(10))

        threads = [threading.Thread(target=cross) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(told) == [False] * 7 + [True]

    def test_a_handler_that_raises_leaves_it_usable(self) -> None:
        class Stop(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                raise KeyError(record.msg)

        logger, handler = logging.getLogger(runtime.__name__), Stop()
        mark = runtime.Watermark(10)
        logger.addHandler(handler)
        try:
            with pytest.raises(KeyError):
                mark.update(10)
        finally:
            logger.removeHandler(handler)
        assert [mark.update(count) for count in (10, 0, 10)] == [False, False, True]

    @pytest.mark.parametrize("arguments", [(-1,), (math.nan,), (10, 0.5, 0.8), (10, 0.9, 0.0)])
    def test_bad_arguments(self, arguments: tuple[float, ...]) -> None:
        with pytest.raises(ValueError, match=r"must not be negative|need 0 < rearm"):
            runtime.Watermark(*arguments)


class TestSpawnBudget:
    @quick
    @given(
        cap=st.integers(0, 50),
        per_step=st.none() | st.integers(0, 10),
        active=st.integers(0, 80),
        requested=st.integers(0, 80),
    )
    def test_as_many_as_the_caps_leave_room_for(
        self, cap: int, per_step: int | None, active: int, requested: int
    ) -> None:
        allowed = runtime.SpawnBudget(cap, per_step).allow(active, requested)
        assert 0 <= allowed <= requested
        if allowed:
            assert active + allowed <= cap
        if allowed < requested:
            assert active + allowed >= cap or allowed == per_step

    def test_one_where_nothing_else_is_asked(self) -> None:
        population: list[int] = []
        budget = runtime.SpawnBudget(3)
        for member in range(10):
            if budget.allow(len(population)):
                population.append(member)
        assert population == [0, 1, 2]

    def test_zero_is_a_cap(self) -> None:
        assert runtime.SpawnBudget(0).allow(0, 5) == 0
        assert runtime.SpawnBudget(10, 0).allow(0, 5) == 0
        assert runtime.SpawnBudget(10).allow(0, -3) == 0

    def test_it_warns_before_the_cap_and_once(self, caplog: pytest.LogCaptureFixture) -> None:
        budget = runtime.SpawnBudget(10)
        for active in (7, 8, 9, 10, 9, 10, 2, 8):
            budget.allow(active, 1)
        assert [record.getMessage() for record in caplog.records] == ["9 of at most 10 are in use"] * 2

    @pytest.mark.parametrize("arguments", [(-1,), (10, -1), (10, None, 0.0)])
    def test_bad_arguments(self, arguments: tuple[Any, ...]) -> None:
        with pytest.raises(ValueError, match=r"must not be negative|need 0 < rearm"):
            runtime.SpawnBudget(*arguments)


# ---------------------------------------------------------------------------------------------------- snapshots


class Pair(NamedTuple):
    left: Any
    right: Any


class Labelled(tuple[Any, ...]):
    """A tuple whose own constructor takes other arguments."""

    def __new__(cls, one: Any, two: Any) -> Labelled:
        return super().__new__(cls, (one, two))


@dataclass
class State:
    shared: ClassVar[list[int]] = []
    hidden: Any
    steps: int = 0
    cache: Any = field(init=False, default=None)
    absent: Any = field(init=False, repr=False)


@dataclass(frozen=True)
class Frozen:
    value: Any


@dataclass(frozen=True, slots=True)
class Slotted:
    value: Any


def leaves(value: Any) -> list[Tensor]:
    """Every tensor in the structures that the tests below build, found another way than the shim's."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, (dict, UserDict, types.MappingProxyType)):
        value = list(value.values())
    elif hasattr(value, "__dataclass_fields__"):
        value = [getattr(value, name) for name in value.__dataclass_fields__ if hasattr(value, name)]
    if isinstance(value, (list, tuple, deque)):
        return [tensor for item in value for tensor in leaves(item)]
    return []


def structures(tensor: Tensor) -> dict[str, Any]:
    cached = State(hidden=[tensor])
    cached.cache = (tensor * 2,)
    return {
        "tensor": tensor,
        "dict": {"a": tensor, "b": {"c": tensor * 2, 3: "text"}},
        "ordered": OrderedDict(z=tensor, a=1),
        "default": defaultdict(list, x=[tensor]),
        "user dict": UserDict(x=tensor),
        "mapping": types.MappingProxyType({"x": tensor, "y": 1}),
        "list": [tensor, [tensor * 2], 5, None],
        "deque": deque([tensor, 1], maxlen=4),
        "tuple": (tensor, (tensor * 2, "x")),
        "named tuple": Pair(tensor, Pair(1, [tensor])),
        "tuple subclass": Labelled(tensor, 2),
        "dataclass": cached,
        "frozen": Frozen(Frozen(tensor)),
        "slotted": Slotted({"x": tensor}),
        "return type": torch.max(torch.stack([tensor, tensor]), dim=0),
        "packed sequence": torch.nn.utils.rnn.pack_padded_sequence(tensor.view(1, -1, 1), [2], batch_first=True),
    }


NAMES = ["tensor", "dict", "ordered", "default", "user dict", "mapping", "list", "deque", "tuple", "named tuple"]
NAMES += ["tuple subclass", "dataclass", "frozen", "slotted", "return type", "packed sequence"]


@pytest.mark.needs_torch
class TestSnapshots:
    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("helper", [runtime.to_cpu, runtime.detach])
    def test_same_structure_and_values_without_graph(self, name: str, helper: Callable[[Any], Any]) -> None:
        source = torch.tensor([1.0, 2.0, 3.0], requires_grad=True) * 2
        original = structures(source)[name]
        result = helper(original)
        assert type(result) is type(original)
        before, after = leaves(original), leaves(result)
        assert any(tensor.requires_grad for tensor in before)
        assert len(before) == len(after) > 0
        for old, new in zip(before, after, strict=True):
            assert new is not old
            assert torch.equal(old, new)
            assert not new.requires_grad
            assert new.grad_fn is None
            assert (new.data_ptr() == old.data_ptr()) is (helper is runtime.detach)
        assert any(tensor.requires_grad for tensor in leaves(original)), "the original must be left as it was"

    def test_containers_keep_what_hangs_on_them(self) -> None:
        tensor = torch.ones(2)
        table = runtime.to_cpu(defaultdict(list, x=[tensor]))
        assert table["new"] == []
        assert runtime.to_cpu(deque([tensor], maxlen=3)).maxlen == 3
        assert list(runtime.to_cpu(OrderedDict(z=tensor, a=tensor))) == ["z", "a"]
        state = torch.nn.Linear(2, 2).state_dict()
        saved = runtime.to_cpu(state)
        assert saved._metadata == state._metadata  # type: ignore[attr-defined]
        assert list(saved) == list(state)

    def test_dataclass_fields_that_init_does_not_take(self) -> None:
        state = State(hidden=torch.ones(2, requires_grad=True) * 2, steps=3)
        state.cache = torch.ones(2, requires_grad=True) * 2
        state.extra = torch.ones(2, requires_grad=True) * 2  # type: ignore[attr-defined]
        saved = runtime.to_cpu(state)
        assert saved.steps == 3
        assert not hasattr(saved, "absent")
        assert not saved.cache.requires_grad
        assert not saved.extra.requires_grad  # type: ignore[attr-defined]
        with pytest.raises(FrozenInstanceError):
            runtime.to_cpu(Frozen(torch.ones(1))).value = 1  # type: ignore[misc]

    def test_the_rest_is_passed_on_as_it_is(self) -> None:
        model = torch.nn.Linear(1, 1)
        odd = {1, 2}
        key = torch.ones(1)
        size = torch.Size([2, 3])
        fixed = types.MappingProxyType({"a": 1})
        passed: list[Any] = [model, odd, size, {key: 1}, State, fixed]
        result = runtime.to_cpu(passed)
        assert result[0] is model
        assert model.weight.requires_grad
        assert result[1] is odd
        assert result[2] is size
        assert next(iter(result[3])) is key
        assert result[4] is State
        assert result[5] is fixed

    def test_a_shared_tensor_is_copied_once(self) -> None:
        tensor, inner = torch.ones(3), [torch.zeros(2)]
        first, second, (left, right) = runtime.to_cpu((tensor, tensor, (inner, inner)))
        assert first is second
        assert left is right

    def test_cycles(self) -> None:
        loop: list[Any] = [torch.ones(2, requires_grad=True) * 2]
        holder = (loop, {"back": loop})
        loop += [loop, holder, State(hidden=loop)]
        result = runtime.to_cpu(loop)
        assert result[1] is result
        assert result[2][0] is result
        assert result[2][1]["back"] is result
        assert result[3].hidden is result
        assert not result[0].requires_grad
        outer = runtime.detach(holder)
        assert outer[0][2] is outer

    def test_a_user_dict_keeps_its_attributes_and_cycles(self) -> None:
        class Encoding(UserDict[str, Any]):
            def __init__(self, text: str) -> None:
                super().__init__()
                self.text = text

        encoding = Encoding("hello")
        encoding["ids"] = torch.ones(2)
        encoding["self"] = encoding
        saved = runtime.to_cpu(encoding)
        assert saved.text == "hello"
        assert saved["self"] is saved
        assert saved["ids"] is not encoding["ids"]

    def test_a_module_that_is_a_dataclass_is_still_a_module(self) -> None:
        @dataclass(eq=False)
        class Scale(torch.nn.Module):
            size: int

            def __post_init__(self) -> None:
                super().__init__()
                self.weight = torch.nn.Parameter(torch.ones(self.size))

        scale = Scale(2)
        assert runtime.to_cpu([scale])[0] is scale

    def test_values_made_on_the_fly_do_not_confuse_the_memo(self) -> None:
        # Each value of such a mapping dies at once, and the next one gets its id.
        class Lazy(UserDict[int, Any]):
            def __getitem__(self, key: int) -> Any:
                return [torch.full((1,), float(key))]

        lazy = Lazy(dict.fromkeys(range(50)))
        assert [int(item[0]) for item in runtime.to_cpu(lazy).data.values()] == list(range(50))

    @pytest.mark.parametrize(
        "view",
        [
            lambda base: base[3],
            lambda base: base[:, ::2],
            lambda base: base.T,
            lambda base: base[:1].expand(50, 8),
            lambda base: base[0, 0],
            lambda base: base[:0],
            lambda base: base > 0,
            lambda base: base.view(torch.int32)[1],
            lambda base: base.unfold(0, 3, 1),
            lambda base: torch.view_as_complex(base[:, :2]).conj()[2:],
            lambda base: torch.view_as_complex(base[:, :2].contiguous()).conj().imag,
            lambda base: base.half().view(2, 5, 10, 8).to(memory_format=torch.channels_last)[:1],
            lambda base: torch.nn.Parameter(base[4]),
        ],
    )
    def test_a_copy_owns_exactly_its_bytes(self, view: Callable[[Tensor], Tensor]) -> None:
        base = torch.randn(100, 8, generator=generator(0))
        tensor = view(base)
        copied = runtime.to_cpu(tensor)
        assert type(copied) is torch.Tensor
        assert copied.untyped_storage().nbytes() == copied.numel() * copied.element_size()
        assert copied.untyped_storage()._cdata != tensor.untyped_storage()._cdata
        assert torch.equal(copied, tensor)
        assert copied.is_leaf
        shares = tensor.untyped_storage()._cdata == base.untyped_storage()._cdata
        before = copied.clone()
        base.fill_(7)
        assert torch.equal(copied, before)
        if shares and tensor.numel():
            assert not torch.equal(copied, tensor)

    @pytest.mark.filterwarnings("ignore")
    def test_sparse_quantised_and_nested(self) -> None:
        base = torch.arange(1.0, 101.0)
        coo = torch.sparse_coo_tensor(torch.tensor([[0, 1], [1, 0]]), base[:2], (2, 2), requires_grad=True)
        saved = runtime.to_cpu(coo)
        assert saved.layout is torch.sparse_coo
        assert not saved.requires_grad
        assert saved._values().untyped_storage().nbytes() == 8
        csr = torch.eye(3).to_sparse_csr()
        saved = runtime.to_cpu(csr)
        assert saved.layout is torch.sparse_csr
        assert saved.values().data_ptr() != csr.values().data_ptr()
        assert torch.equal(saved.to_dense(), torch.eye(3))
        quantised = torch.quantize_per_tensor(base, 0.5, 0, torch.qint8)[3:5]
        saved = runtime.to_cpu(quantised)
        assert saved.q_scale() == 0.5
        assert saved.untyped_storage().nbytes() == 2
        assert torch.equal(saved.int_repr(), quantised.int_repr())
        nested = torch.nested.nested_tensor([base[:2], base[:3]], layout=torch.jagged)
        assert [part.tolist() for part in runtime.to_cpu(nested).unbind()] == [[1, 2], [1, 2, 3]]

    def test_meta_has_nothing_to_copy(self) -> None:
        meta = torch.empty(3, device="meta", requires_grad=True)
        with pytest.raises(NotImplementedError, match="no data"):
            runtime.to_cpu({"x": meta})
        assert runtime.detach({"x": meta})["x"].device.type == "meta"

    def test_a_snapshot_made_in_inference_mode_can_be_trained_on_later(self) -> None:
        with torch.inference_mode():
            tensor = torch.ones(2)
        copied = runtime.to_cpu(tensor)
        weight = torch.ones(2, requires_grad=True)
        assert slopes(copied * weight, weight) == [[1, 1]]

    def test_lstm_state_stays_usable(self) -> None:
        lstm = torch.nn.LSTM(3, 4)
        _, state = lstm(torch.ones(2, 1, 3))
        state = runtime.detach(state)
        assert type(state) is tuple
        output, _ = lstm(torch.ones(2, 1, 3), state)
        assert slopes(output, *lstm.parameters())


# ---------------------------------------------------------------------------------------------------- releasing


class Cycle:
    """As a module and its hooks: only a collection of garbage lets it go."""

    def __init__(self) -> None:
        self.itself = self


class TestRelease:
    @pytest.mark.parametrize("owner", [{"model": 1, "step": 2}, UserDict(model=1, step=2)])
    def test_a_mapping_keeps_its_key(self, owner: Any) -> None:
        runtime.release(owner, "model")
        assert dict(owner) == {"model": None, "step": 2}

    def test_an_attribute_becomes_none(self) -> None:
        owner = types.SimpleNamespace(model=1, step=2)
        runtime.release(owner, "model")
        assert vars(owner) == {"model": None, "step": 2}

    def test_a_missing_slot_stays_missing(self) -> None:
        mapping: dict[str, int] = {}
        owner = types.SimpleNamespace()
        runtime.release(mapping, "model")
        runtime.release(owner, "model")
        assert mapping == {}
        assert vars(owner) == {}

    def test_an_attribute_of_the_class_is_left_to_the_others(self) -> None:
        class Service:
            model: ClassVar[Any] = "shared"

        first, second = Service(), Service()
        runtime.release(first, "model")
        assert first.model is None
        assert second.model == "shared"

    def test_what_was_held_is_gone_when_it_returns(self) -> None:
        owner = {"model": Cycle()}
        watched = weakref.ref(owner["model"])
        runtime.release(owner, "model")
        assert watched() is None

    def test_what_somebody_else_holds_stays(self) -> None:
        owner = {"model": Cycle()}
        alias = owner["model"]
        runtime.release(owner, "model")
        assert alias.itself is alias

    def test_owners_that_refuse_say_so(self) -> None:
        class ReadOnly:
            @property
            def model(self) -> int:
                return 1

        with pytest.raises(AttributeError):
            runtime.release(ReadOnly(), "model")
        with pytest.raises(TypeError):
            runtime.release(types.MappingProxyType({"model": 1}), "model")

    @pytest.mark.needs_torch
    def test_a_submodule_can_be_built_anew(self) -> None:
        owner = torch.nn.Module()
        owner.body = torch.nn.Linear(2, 2)
        watched = weakref.ref(owner.body)
        runtime.release(owner, "body")
        assert watched() is None
        owner.body = torch.nn.Linear(3, 3)
        assert [tuple(p.shape) for p in owner.parameters()] == [(3, 3), (3,)]

    def test_the_devices_caches_are_emptied_after_the_collection(self, monkeypatch: pytest.MonkeyPatch) -> None:
        owner = {"model": Cycle()}
        watched = weakref.ref(owner["model"])
        seen = []

        def device(name: str, used: bool) -> types.SimpleNamespace:
            return types.SimpleNamespace(
                is_initialized=lambda: used,
                is_available=lambda: used,
                empty_cache=lambda: seen.append((name, watched() is None)),
            )

        fake = types.ModuleType("torch")
        vars(fake).update(cuda=device("cuda", True), mps=device("mps", True), xpu=device("xpu", False))
        vars(fake).update(backends=types.SimpleNamespace(mps=device("backend", True)))
        mlx = types.ModuleType("mlx.core")
        vars(mlx).update(clear_cache=lambda: seen.append(("mlx", watched() is None)))
        monkeypatch.setitem(sys.modules, "torch", fake)
        monkeypatch.setitem(sys.modules, "mlx.core", mlx)
        runtime.release(owner, "model")
        assert seen == [("cuda", True), ("mps", True), ("mlx", True)]

    def test_mlx_before_its_cache_had_a_name_at_the_top(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen = []
        mlx = types.ModuleType("mlx.core")
        vars(mlx).update(metal=types.SimpleNamespace(clear_cache=lambda: seen.append("metal")))
        monkeypatch.setitem(sys.modules, "mlx.core", mlx)
        runtime.release({}, "model")
        assert seen == ["metal"]


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


@pytest.mark.needs_torch
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
