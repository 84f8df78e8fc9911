"""The shim's `Cleanup`: when it prunes, when it empties the cache, and that it holds together when things go wrong."""

from __future__ import annotations

import threading
import types
from dataclasses import dataclass
from typing import Any

import pytest

from memlint.runtime import Cleanup
from tests.support.libraries import GB, Gpus, Mlx, Mps, install, uninstall


@dataclass
class State:
    allocated: int
    reserved: int


def fired(cleanup: Cleanup, steps: int, state: State) -> list[int]:
    return [step for step in range(1, steps + 1) if cleanup.step(state)]


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Gpus:
    device = Gpus((30 * GB, 5 * GB))
    install(monkeypatch, cuda=device)
    return device


class TestWhen:
    def test_every_tenth_step_by_default_and_then_a_rest(self, cuda: Gpus) -> None:
        assert fired(Cleanup(), 60, State(allocated=0, reserved=21 * GB)) == [10, 30, 50]

    def test_not_below_the_threshold(self, cuda: Gpus) -> None:
        assert fired(Cleanup(), 40, State(allocated=0, reserved=20 * GB)) == []
        assert cuda.emptied == 0

    def test_what_tensors_use_does_not_count(self, cuda: Gpus) -> None:
        assert fired(Cleanup(), 40, State(allocated=70 * GB, reserved=79 * GB)) == []

    @pytest.mark.parametrize(("every", "cooldown", "expected"), [
        (1, 0, [1, 2, 3, 4, 5, 6]), (1, 2, [1, 4]), (2, 0, [2, 4, 6]), (3, 1, [3, 6]), (6, 100, [6]),
    ])  # fmt: skip
    def test_interval_and_rest(self, cuda: Gpus, every: int, cooldown: int, expected: list[int]) -> None:
        cleanup = Cleanup(every=every, above_gb=0, cooldown=cooldown)
        assert fired(cleanup, 6, State(allocated=0, reserved=1)) == expected

    def test_it_does_not_rest_before_it_has_worked(self, cuda: Gpus) -> None:
        cleanup = Cleanup(every=1, above_gb=1, cooldown=10)
        assert not cleanup.step(State(0, 0))
        assert cleanup.step(State(0, 2 * GB))


class TestPrune:
    def test_it_runs_on_each_due_step_also_while_the_cache_rests(self, cuda: Gpus) -> None:
        calls: list[int] = []
        cleanup = Cleanup(every=2, above_gb=0, cooldown=100, prune=lambda: calls.append(cuda.emptied))
        for _ in range(7):
            cleanup.step(State(0, 1))
        assert calls == [0, 1, 1], "before the cache is emptied, so that what it drops goes too"

    def test_its_error_is_raised_and_the_next_due_step_works(self, cuda: Gpus) -> None:
        broken = [True]

        def prune() -> None:
            if broken.pop():
                broken.append(False)
                raise RuntimeError("half done")
            broken.append(False)

        cleanup = Cleanup(every=2, above_gb=0, prune=prune)
        assert not cleanup.step(State(0, 1))
        with pytest.raises(RuntimeError, match="half done"):
            cleanup.step(State(0, 1))
        assert cuda.emptied == 0
        assert not cleanup.step(State(0, 1))
        assert cleanup.step(State(0, 1))

    def test_it_may_call_the_object_again(self, cuda: Gpus) -> None:
        cleanup = Cleanup(every=2, above_gb=0, cooldown=0, prune=lambda: cleanup.step(State(0, 0)))
        assert not cleanup.step(State(0, 1))
        assert cleanup.step(State(0, 1))


class TestDevices:
    def test_cuda_is_asked_and_emptied(self, cuda: Gpus) -> None:
        cleanup = Cleanup(every=1, cooldown=0)
        assert cleanup.step()
        assert not cleanup.step(), "now nothing is spare"
        assert cuda.emptied == 1

    def test_a_device_that_is_not_in_use_is_not_started(self, monkeypatch: pytest.MonkeyPatch) -> None:
        install(monkeypatch, cuda=Gpus((30 * GB, 0), initialized=False))
        assert not Cleanup(every=1).step()

    def test_apple_silicon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        mps = Mps(25 * GB, GB)
        install(monkeypatch, mps=mps)
        assert Cleanup(every=1).step()
        assert mps.emptied == 1

    def test_all_gpus_together(self, monkeypatch: pytest.MonkeyPatch) -> None:
        cuda, xpu = Gpus((9 * GB, 0), (9 * GB, 0)), Gpus((9 * GB, 0))
        install(monkeypatch, cuda=cuda, xpu=xpu)
        assert Cleanup(every=1).step()
        assert (cuda.emptied, xpu.emptied) == (1, 1)

    @pytest.mark.parametrize("where", ["mlx.core", "mlx.core.metal"])
    def test_mlx(self, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
        mlx = Mlx(5 * GB, 21 * GB)
        install(monkeypatch, mlx=mlx if where == "mlx.core" else types.SimpleNamespace(metal=mlx))
        assert Cleanup(every=1).step()
        assert mlx.emptied == 1

    def test_without_torch_and_mlx_nothing_happens(self, monkeypatch: pytest.MonkeyPatch) -> None:
        uninstall(monkeypatch)
        assert not Cleanup(every=1, above_gb=0).step()

    def test_an_error_of_the_device_leaves_it_usable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        device = Gpus((30 * GB, 0))
        install(monkeypatch, cuda=device)
        cleanup = Cleanup(every=1, cooldown=0)

        def fail(index: int) -> int:
            raise RuntimeError("device lost")

        with monkeypatch.context() as patch:
            patch.setattr(device, "memory_allocated", fail)
            with pytest.raises(RuntimeError, match="device lost"):
                cleanup.step()
        assert cleanup.step()

    @pytest.mark.needs_torch
    def test_with_the_real_torch(self) -> None:
        import torch

        assert Cleanup(every=1, above_gb=1e6).step() is False
        assert torch.zeros(1).item() == 0

    def test_with_the_real_mlx(self) -> None:
        pytest.importorskip("mlx.core")
        assert Cleanup(every=1, above_gb=1e6).step() is False


def test_threads_share_one_count(cuda: Gpus) -> None:
    cleanup = Cleanup(every=10, above_gb=0, cooldown=10**9)
    pruned: list[int] = []
    cleanup._prune = lambda: pruned.append(1)
    results: list[bool] = []

    def work() -> None:
        for _ in range(500):
            results.append(cleanup.step(State(0, 1)))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4000
    assert len(pruned) == 400
    assert sum(results) == cuda.emptied == 1, "one thread empties the cache, the others see that it rests"


@pytest.mark.parametrize(
    "wrong", [{"every": 0}, {"every": -1}, {"cooldown": -1}, {"above_gb": -1.0}, {"above_gb": float("nan")}]
)
def test_wrong_values(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Cleanup(**wrong)


@pytest.mark.parametrize("wrong", [{"every": 2.5}, {"cooldown": "3"}])
def test_wrong_types(wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        Cleanup(**wrong)
