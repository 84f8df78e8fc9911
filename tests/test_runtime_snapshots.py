"""The shim's `to_cpu` and `detach`, over all structures that hold tensors."""

from __future__ import annotations

import types
from collections import OrderedDict, UserDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import pytest

from memlint import runtime
from tests.support.numbers import generator, slopes

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    try:
        import torch
    except ModuleNotFoundError:  # what needs it is marked
        torch = None

pytestmark = pytest.mark.usefixtures("one_thread")


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
