"""The shim's `release`."""

from __future__ import annotations

import sys
import types
import weakref
from collections import UserDict
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from memlint import runtime

if TYPE_CHECKING:
    import torch
else:
    try:
        import torch
    except ModuleNotFoundError:  # what needs it is marked
        torch = None


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
