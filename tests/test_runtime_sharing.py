"""`every`, and what all objects of the shim have in common: threads, copies, pickles, forked processes, signals."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memlint import runtime

GB = 1_000_000_000


class TestEvery:
    @given(n=st.integers(1, 20), calls=st.integers(0, 80))
    def test_true_on_the_first_and_each_nth_after_it(self, n: int, calls: int) -> None:
        due = runtime.every(n)
        assert [due() for _ in range(calls)] == [number % n == 0 for number in range(calls)]

    def test_each_counts_by_itself(self) -> None:
        one, other = runtime.every(2), runtime.every(2)
        assert [one(), one(), other()] == [True, False, True]

    def test_threads_share_one_count(self) -> None:
        due = runtime.every(10)
        told: list[bool] = []
        threads = [threading.Thread(target=lambda: told.extend(due() for _ in range(500))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(told), sum(told)) == (4000, 400)

    @pytest.mark.parametrize(("n", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("2", TypeError)])
    def test_bad_n(self, n: Any, error: type[Exception]) -> None:
        with pytest.raises(error):
            runtime.every(n)


def half_way() -> dict[str, Any]:
    """Each kind of object, in the middle of its life."""
    due = runtime.every(3)
    mark, budget, guard = runtime.Watermark(10), runtime.SpawnBudget(10), runtime.MemoryGuard(1)
    monitor = runtime.LeakMonitor(threshold_mb=1e9, window=3, warmup=0)
    policy = runtime.ReloadPolicy(interval_steps=10, threshold_gb=1, cooldown_steps=5)
    cleanup = runtime.Cleanup(every=3, above_gb=0, cooldown=1)
    due(), mark.update(9), budget.allow(8, 1), guard.ok(used_bytes=2 * GB)
    policy.done(7)
    for used in (0, 1_000_000):
        monitor.step(used)
        cleanup.step(runtime.MemoryState(0, 0, 0, 0))
    return {
        "every": due, "Watermark": mark, "SpawnBudget": budget, "MemoryGuard": guard, "LeakMonitor": monitor,
        "ReloadPolicy": policy, "Cleanup": cleanup,
    }  # fmt: skip


def future(kind: str, thing: Any) -> list[Any]:
    """What it does from here on."""
    if kind == "every":
        return [thing() for _ in range(7)]
    if kind == "Watermark":
        return [thing.update(count) for count in (9, 10, 7, 9)]
    if kind == "SpawnBudget":
        return [thing.allow(active, 4) for active in (9, 5, 10)]
    if kind == "MemoryGuard":
        return [thing.ok(used_bytes=2 * GB), thing._refused]
    if kind == "LeakMonitor":
        return [thing.step(used) for used in (3_000_000, 9_000_000)]
    if kind == "ReloadPolicy":
        return [thing.due(step, 2 * GB) for step in range(8, 16)]
    return [thing.step(runtime.MemoryState(0, 1, 0, 0)) for _ in range(7)]


KINDS = list(half_way())


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))])
@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_goes_on_by_itself(kind: str, again: Callable[[Any], Any]) -> None:
    """What repaired code hangs on a trainer must not make the trainer impossible to pickle."""
    expected = future(kind, half_way()[kind])
    thing = half_way()[kind]
    other = again(thing)
    if again is not copy.copy or kind != "LeakMonitor":  # a shallow copy shares the samples, as copies do
        assert future(kind, other) == expected
    assert future(kind, thing) == expected


def test_a_monitor_that_is_pickled_in_its_own_callback_is_not_deaf_afterwards() -> None:
    """As when the emergency is answered by saving a checkpoint of everything."""
    saved: list[runtime.LeakMonitor] = []
    monitor = runtime.LeakMonitor(window=2, warmup=0, cooldown=0)
    monitor._on_emergency = lambda slope: saved.append(copy.deepcopy(monitor)) if not saved else None
    monitor.step(0)
    monitor.step(2_000_000)
    (other,) = saved
    assert other.step(8_000_000) == 6.0


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
forks = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def in_child(work: Callable[[], bool]) -> bool:
    """Whether `work()` comes back with True in a forked process, within ten seconds."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(10)
            status = 0 if work() else 2
        finally:
            os._exit(status)
    _, waited = os.waitpid(child, 0)
    return waited == 0


@needs_fork
@forks
@pytest.mark.parametrize("kind", KINDS)
def test_a_lock_that_another_thread_held_does_not_hold_up_a_forked_process(kind: str) -> None:
    thing = half_way()[kind]
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with thing._mark._lock if kind == "SpawnBudget" else thing._lock:
            held.set()
            release.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert held.wait(30)
        assert in_child(lambda: future(kind, thing) == future(kind, half_way()[kind]))
    finally:
        release.set()
        thread.join()
    assert future(kind, thing) == future(kind, half_way()[kind])


@needs_fork
@forks
def test_a_callback_that_another_thread_runs_does_not_hold_up_a_forked_process() -> None:
    inside, release = threading.Event(), threading.Event()

    def emergency(slope: float) -> None:
        inside.set()
        release.wait(30)

    monitor = runtime.LeakMonitor(window=2, warmup=0, on_emergency=emergency)
    monitor.step(0)
    thread = threading.Thread(target=lambda: monitor.step(2_000_000))
    thread.start()
    try:
        assert inside.wait(30)
        assert monitor.step(9_000_000) == 2.0, "here it is still being answered"
        assert in_child(lambda: monitor.step(9_000_000) == 7.0)
    finally:
        release.set()
        thread.join()
    assert monitor.step(9_000_000) == 7.0


@needs_fork
@forks
def test_a_callback_that_forks() -> None:
    answers = []

    def emergency(slope: float) -> None:
        answers.append(in_child(lambda: monitor.step(9_000_000) == 7.0))

    monitor = runtime.LeakMonitor(window=2, warmup=0, on_emergency=emergency)
    monitor.step(0)
    monitor.step(2_000_000)
    assert answers == [True]
    assert monitor.step(9_000_000) == 7.0


@pytest.mark.skipif(not hasattr(signal, "raise_signal") or not hasattr(signal, "SIGALRM"), reason="no such signal")
@pytest.mark.parametrize("kind", KINDS)
def test_a_signal_handler_may_use_what_it_interrupts(kind: str) -> None:
    thing = half_way()[kind]
    seen: list[Any] = []
    before = signal.signal(signal.SIGALRM, lambda *_: seen.append(future(kind, thing)))
    try:
        with thing._mark._lock if kind == "SpawnBudget" else thing._lock:
            signal.raise_signal(signal.SIGALRM)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert seen == [future(kind, half_way()[kind])]


def test_what_is_forgotten_is_forgotten() -> None:
    """The register of what starts anew in a forked process holds nothing alive."""
    gc.collect()
    before = len(runtime._FORKED)
    kept = [half_way() for _ in range(20)]
    assert len(runtime._FORKED) == before + 20 * len(KINDS)
    del kept
    gc.collect()
    assert len(runtime._FORKED) == before
