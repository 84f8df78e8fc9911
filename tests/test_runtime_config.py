"""The shim's `check_config`: what counts as the same configuration, what it says of a difference, and what was read."""

from __future__ import annotations

import argparse
import array
import enum
import math
import pickle
import sys
import types
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memlint.runtime import ConfigMismatch, check_config


@dataclass
class Model:
    width: int = 8
    dropout: float = 0.1


@dataclass
class Config:
    model: Model = field(default_factory=Model)
    lattice: tuple[int, ...] = (20, 20, 10)
    name: str = "flow"


class Plain:
    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


def differences(saved: object, current: object, *keys: str) -> tuple[str, ...]:
    try:
        check_config(saved, current, keys)
    except ConfigMismatch as error:
        return error.differences
    return ()


SAVED = {"model": {"width": 8, "dropout": 0.1}, "lattice": [20, 20, 10], "name": "flow"}
SHAPES = [
    pytest.param(SAVED, id="mapping"),
    pytest.param(OrderedDict(SAVED), id="OrderedDict"),
    pytest.param(types.MappingProxyType(SAVED), id="read-only"),
    pytest.param(Config(), id="dataclass"),
    pytest.param(argparse.Namespace(**{**SAVED, "model": Model()}), id="Namespace"),
    pytest.param(types.SimpleNamespace(**{**SAVED, "model": types.SimpleNamespace(width=8, dropout=0.1)}), id="simple"),
    pytest.param(Plain(**{**SAVED, "model": Plain(width=8, dropout=0.1, _cache=object())}), id="object"),
    pytest.param({"model.width": 8, "model.dropout": 0.1, "model": Model(), **SAVED}, id="keys with dots"),
]


class TestWhatIsTheSame:
    @pytest.mark.parametrize("current", SHAPES)
    @pytest.mark.parametrize("saved", SHAPES)
    def test_of_any_kind(self, saved: object, current: object) -> None:
        assert differences(saved, current, "model", "model.width", "lattice", "lattice.2", "name") == ()

    @pytest.mark.parametrize("current", SHAPES)
    def test_a_difference_is_found_in_any_kind(self, current: object) -> None:
        saved = {"model": {"width": 16, "dropout": 0.1}, "lattice": [20, 20, 12], "name": "flow"}
        expected = {"model.width: saved 16, current 8", "lattice.2: saved 12, current 10"}
        assert set(differences(saved, current, "model.width", "lattice.2", "name")) == expected
        whole = differences(saved, current, "model", "lattice")
        assert whole[0] == "model.width: saved 16, current 8"
        assert whole[1].startswith("lattice: saved [20, 20, 12], current ")

    @pytest.mark.parametrize(
        ("saved", "current"),
        [
            (math.nan, math.nan),
            (1, 1.0),
            ((64, 64), [64, 64]),
            ([math.nan, (1, [2])], (math.nan, [1, (2,)])),
            ({1, 2}, frozenset({2, 1})),
            (Colour.RED, Colour.RED),
            (int, int),
            (None, None),
            (array.array("i", [1, 2]), [1, 2]),
            ({"a": {"b": math.nan}}, {"a": {"b": math.nan}}),
        ],
    )
    def test_values(self, saved: object, current: object) -> None:
        assert differences({"x": saved}, {"x": current}, "x") == ()

    @pytest.mark.parametrize(
        ("saved", "current"),
        [
            (math.nan, 1.0), (1, "1"), ([1, 2], [1, 2, 3]), ([1, 2], {1, 2}), ("ab", ["a", "b"]), (None, 0),
            (Colour.RED, Colour.BLUE), (int, float), (len, max), (Colour.RED, object()), ([[1]], [1]), ({}, []),
            ({"a": 1}, 1), (Path("a"), Path("b")), (b"a", "a"),
        ],
    )  # fmt: skip
    def test_other_values(self, saved: object, current: object) -> None:
        assert len(differences({"x": saved}, {"x": current}, "x")) == 1
        assert len(differences({"x": current}, {"x": saved}, "x")) == 1

    def test_values_that_cannot_be_compared_are_not_the_same(self) -> None:
        class Odd:
            __hash__ = None  # type: ignore[assignment]

            def __eq__(self, other: object) -> bool:
                raise RuntimeError("the truth of an array is ambiguous")

        assert differences({"x": Odd()}, {"x": Odd()}, "x")[0].startswith("x: saved <")

    @pytest.mark.needs_torch
    def test_tensors(self) -> None:
        import torch

        one = {"x": torch.tensor([1.0, math.nan]), "n": torch.tensor(3), "inner": {"y": [torch.ones(2)]}}
        two = {"x": [1.0, math.nan], "n": 3, "inner": {"y": [torch.ones(2, dtype=torch.float64)]}}
        assert differences(one, two, "x", "n", "inner") == ()
        assert differences(one, {"x": torch.ones(3), "n": torch.tensor(3)}, "x", "n") == (
            "x: saved [1.0, nan], current [1.0, 1.0, 1.0]",
        )
        assert differences({"d": torch.float16, "act": torch.nn.ReLU}, {"d": torch.float32, "act": torch.nn.ReLU},
                           "d", "act") == ("d: saved torch.float16, current torch.float32",)  # fmt: skip

    @pytest.mark.needs_torch
    def test_numpy(self) -> None:
        numpy = pytest.importorskip("numpy")
        saved, current = {"x": numpy.arange(4), "lr": numpy.float64(0.1)}, {"x": (0, 1, 2, 3), "lr": 0.1}
        assert differences(saved, current, "x", "lr") == ()
        assert len(differences(saved, {"x": numpy.arange(5), "lr": numpy.float64(0.2)}, "x", "lr")) == 2

    def test_with_the_real_mlx(self) -> None:
        mx = pytest.importorskip("mlx.core")
        assert differences({"x": mx.array([1, 2])}, {"x": [1, 2]}, "x") == ()
        assert differences({"x": mx.array([1, 2])}, {"x": mx.array([1, 3])}, "x") != ()

    @given(
        st.recursive(
            st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=3)),
            lambda inner: st.one_of(
                st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)
            ),
            max_leaves=12,
        )
    )
    def test_each_is_the_same_as_its_own_copy(self, config: Any) -> None:
        again = pickle.loads(pickle.dumps(config))
        assert differences({"x": config}, {"x": again}, "x") == ()
        assert differences({"x": config}, {"x": [config]}, "x") != ()


class TestWhatItSays:
    def test_all_of_it_and_each_once(self) -> None:
        saved = {"model": {"width": 8, "depth": 2}, "lattice": (1, 2), "seed": 1}
        current = {"model": {"width": 16, "heads": 4}, "lattice": (1, 2), "seed": 1}
        with pytest.raises(ConfigMismatch) as caught:
            check_config(saved, current, ["model", "model.width", "lattice", "seed"])
        assert str(caught.value) == (
            "the saved configuration does not fit:\n"
            "  model.width: saved 8, current 16\n"
            "  model.depth: saved 2, current missing\n"
            "  model.heads: saved missing, current 4"
        )

    def test_a_key_that_one_side_lacks(self) -> None:
        assert differences({}, {"a": {"b": 1}}, "a.b", "a") == (
            "a.b: saved missing, current 1", "a: saved missing, current {'b': 1}",
        )  # fmt: skip
        assert differences({"a": None}, {}, "a") == ("a: saved None, current missing",)
        assert differences({"a": 1}, {"a": {"b": 1}}, "a.b") == ("a.b: saved missing, current 1",)

    def test_a_key_that_both_lack_is_misspelt(self) -> None:
        assert differences({"width": 8}, {"width": 8}, "widht") == ("widht: neither side has it",)

    def test_long_values_are_cut(self) -> None:
        (line,) = differences({"x": "a" * 500}, {"x": "b"}, "x")
        assert len(line) < 120
        assert line.endswith("aaa..., current 'b'")

    def test_it_is_a_value_error_that_can_be_pickled(self) -> None:
        error = pickle.loads(pickle.dumps(ConfigMismatch(["a: saved 1, current 2"])))
        assert issubclass(ConfigMismatch, ValueError)
        assert error.differences == ("a: saved 1, current 2",)
        assert str(error) == "the saved configuration does not fit:\n  a: saved 1, current 2"

    def test_one_string_is_not_a_collection_of_keys(self) -> None:
        with pytest.raises(TypeError, match="not one string"):
            check_config({"a": 1}, {"a": 1}, "a")

    def test_no_keys_no_difference(self) -> None:
        check_config({"a": 1}, {"a": 2}, [])

    def test_lookups_do_not_fill_a_default_dict(self) -> None:
        from collections import defaultdict

        saved: defaultdict[str, int] = defaultdict(int)
        assert len(differences(saved, {"a": 0}, "a")) == 1
        assert not saved


@pytest.mark.needs_torch
class TestBeforeTheWeights:
    """What the docstring says of `torch.load`."""

    @pytest.mark.skipif(sys.platform != "linux", reason="counted by Linux")
    def test_mmap_reads_the_configuration_and_no_weights(self, tmp_path: Path) -> None:
        import torch

        from memlint.runtime import memory_state

        path = tmp_path / "checkpoint.pt"
        size = 100_000_000
        torch.save({"config": {"model": {"width": 8}}, "model": {"weight": torch.ones(size // 4)}}, path)
        before = memory_state().rss
        checkpoint = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        with pytest.raises(ConfigMismatch):
            check_config(checkpoint["config"], Config(model=Model(width=16)), ["model.width"])
        assert memory_state().rss - before < size / 10
        assert float(checkpoint["model"]["weight"].sum()) == size // 4
        assert memory_state().rss - before > size / 2, "used, they are read"
        del checkpoint
        kept = torch.load(path, map_location="cpu", weights_only=True)
        assert memory_state().rss - before > size / 2, "without mmap they are read at once"
        del kept

    def test_weights_only_takes_a_dict_and_no_namespace(self, tmp_path: Path) -> None:
        import torch

        torch.save({"config": {"width": 8, "lattice": (1, 2)}}, tmp_path / "plain.pt")
        saved = torch.load(tmp_path / "plain.pt", weights_only=True)["config"]
        check_config(saved, argparse.Namespace(width=8, lattice=[1, 2]), ["width", "lattice"])
        for odd in (argparse.Namespace(width=8), Model()):
            torch.save({"config": odd}, tmp_path / "odd.pt")
            with pytest.raises(pickle.UnpicklingError):
                torch.load(tmp_path / "odd.pt", weights_only=True)
