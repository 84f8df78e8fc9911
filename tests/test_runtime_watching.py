"""The shim's monitors: the guard, the leak monitor and the reload policy, also when things go wrong in between."""

from __future__ import annotations

import gc
import logging
import math
import threading
import weakref
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memlint import runtime
from memlint.runtime import LeakMonitor, MemoryGuard, ReloadPolicy
from tests.support.libraries import GB, Gpus, Mlx, install, uninstall

MB = 1_000_000


def together(count: int, work: Any) -> None:
    """Run `work()` in so many threads at once; their errors are errors here."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


class TestMemoryGuard:
    def test_room_up_to_the_limit(self) -> None:
        guard = MemoryGuard(2)
        assert guard.ok(used_bytes=2 * GB)
        assert guard.ok(GB, used_bytes=GB)
        assert not guard.ok(GB + 1, used_bytes=GB)

    def test_one_warning_for_each_crossing(self, caplog: pytest.LogCaptureFixture) -> None:
        guard = MemoryGuard(1)
        levels = [500, 1001, 1200, 999, 1001, 950, 1100, 900, 1001, 1300]
        answers = [guard.ok(used_bytes=level * MB) for level in levels]
        assert answers == [level <= 1000 for level in levels]
        assert len(caplog.records) == 2, "at 1001, and again after 900"

    def test_two_places_that_ask_for_different_sizes_do_not_warn_in_turn(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        guard = MemoryGuard(1)
        for _ in range(50):
            assert guard.ok(0, used_bytes=500 * MB)
            assert not guard.ok(600 * MB, used_bytes=500 * MB)
        assert len(caplog.records) == 1

    def test_what_never_fits_does_not_silence_the_rest(self, caplog: pytest.LogCaptureFixture) -> None:
        guard = MemoryGuard(1)
        assert not guard.ok(100 * GB, used_bytes=0)
        assert not guard.ok(0, used_bytes=2 * GB)
        assert len(caplog.records) == 2
        assert caplog.records[-1].getMessage() == "2.000 GB in use and 0.000 GB needed exceed the limit of 1.000 GB"

    @given(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 3000)), max_size=60))
    def test_the_answer_depends_on_nothing_that_was_asked_before(self, asked: list[tuple[int, int]]) -> None:
        guard = MemoryGuard(0.000002)
        assert [guard.ok(need, used_bytes=used) for need, used in asked] == [n + u <= 2000 for n, u in asked]

    def test_cached_blocks_of_a_device_are_room(self, monkeypatch: pytest.MonkeyPatch) -> None:
        cuda = Gpus((10 * GB, 2 * GB))
        install(monkeypatch, cuda=cuda)
        guard = MemoryGuard(4)
        assert guard.ok(2 * GB)
        assert not guard.ok(3 * GB)
        assert (cuda.emptied, cuda.waited_for) == (0, [])

    def test_without_a_device_the_process_counts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        uninstall(monkeypatch)
        monkeypatch.setattr(runtime, "_rss", lambda: 3 * GB)
        assert MemoryGuard(3).ok()
        assert not MemoryGuard(3).ok(1)

    def test_of_many_threads_one_warns(self, caplog: pytest.LogCaptureFixture) -> None:
        guard = MemoryGuard(1)
        together(8, lambda: [guard.ok(used_bytes=2 * GB) for _ in range(200)])
        assert len(caplog.records) == 1

    @pytest.mark.parametrize("limit", [-1.0, math.nan])
    def test_bad_limit(self, limit: float) -> None:
        with pytest.raises(ValueError, match="limit_gb"):
            MemoryGuard(limit)


def least_squares(samples: list[int]) -> Fraction:
    """The textbook's slope over the positions 0, 1, 2, ..."""
    count = len(samples)
    places, mean = Fraction(count - 1, 2), Fraction(sum(samples), count)
    above = sum(((place - places) * (sample - mean) for place, sample in enumerate(samples)), Fraction(0))
    return above / sum(((place - places) ** 2 for place in range(count)), Fraction(0))


class TestLeakMonitor:
    @given(
        samples=st.lists(st.integers(0, 10**12), min_size=1, max_size=40),
        window=st.integers(2, 12),
        warmup=st.integers(0, 5),
    )
    def test_the_slope_is_that_of_least_squares(self, samples: list[int], window: int, warmup: int) -> None:
        monitor = LeakMonitor(threshold_mb=1e9, window=window, warmup=warmup)
        for count, sample in enumerate(samples, 1):
            answer = monitor.step(sample)
            kept = samples[warmup:count][-window:]
            expected = float(least_squares(kept) / MB) if len(kept) > 1 else 0.0
            assert answer == pytest.approx(expected, rel=1e-12, abs=1e-15)

    def test_a_steady_leak_is_told_exactly(self) -> None:
        monitor = LeakMonitor(threshold_mb=100)
        slopes = [monitor.step(7 * GB + step * 3 * MB) for step in range(200)]
        assert slopes[:11] == [0.0] * 11
        assert slopes[11:] == [3.0] * 189

    def test_growth_of_the_warm_up_is_not_a_leak(self) -> None:
        calls: list[float] = []
        monitor = LeakMonitor(window=5, warmup=3, on_emergency=calls.append)
        for used in [0, 10, 20, *[30] * 20]:
            monitor.step(used * GB)
        assert calls == []

    def test_one_sample_too_high_moves_the_slope_as_documented(self) -> None:
        monitor = LeakMonitor(threshold_mb=1e9, window=50, warmup=0)
        for _ in range(49):
            monitor.step(0)
        assert monitor.step(100 * MB) == pytest.approx(6 * 100 / (50 * 51))

    def test_it_calls_when_the_window_is_full_then_rests(self, caplog: pytest.LogCaptureFixture) -> None:
        fired: list[int] = []
        step = 0
        monitor = LeakMonitor(window=5, warmup=2, cooldown=3, on_emergency=lambda slope: fired.append(step))
        for step in range(1, 20):
            monitor.step(step * 2 * MB)
        assert fired == [7, 11, 15, 19]
        assert len(caplog.records) == 4
        assert caplog.records[0].getMessage() == "memory grows by 2.000 MB in each step, more than 1.000 MB"

    def test_not_at_the_threshold(self) -> None:
        calls: list[float] = []
        monitor = LeakMonitor(threshold_mb=2.0, window=5, warmup=0, on_emergency=calls.append)
        for step in range(50):
            assert monitor.step(step * 2 * MB) <= 2.0
        assert calls == []

    def test_without_a_callback_it_warns(self, caplog: pytest.LogCaptureFixture) -> None:
        monitor = LeakMonitor(window=2, warmup=0, cooldown=100)
        for step in range(50):
            monitor.step(step * 2 * MB)
        assert len(caplog.records) == 1

    def test_a_reload_sets_a_new_baseline(self) -> None:
        calls: list[float] = []
        monitor = LeakMonitor(window=4, warmup=2, cooldown=0, on_emergency=calls.append)
        for step in range(5):
            monitor.step(GB - step * 100 * MB)
        monitor.reset()
        # Up again to the old level while the model is built: two samples, which warm up.
        assert [monitor.step(used * MB) for used in (0, 900, 900, 900, 900, 900)] == [0.0] * 6
        assert calls == []

    def test_a_cool_down_outlives_the_reset_in_the_callback(self) -> None:
        fired: list[float] = []

        def reload(slope: float) -> None:
            fired.append(slope)
            monitor.reset()

        monitor = LeakMonitor(window=2, warmup=0, cooldown=10, on_emergency=reload)
        for step in range(24):
            monitor.step(step * 2 * MB)
        assert fired == [2.0] * 3, "at steps 2, 13 and 24"

    def test_the_callback_may_call_step_and_it_is_not_a_second_probe(self) -> None:
        inner: list[float] = []

        def emergency(slope: float) -> None:
            assert len(inner) < 100, "it calls itself"
            inner.extend(monitor.step(10**15) for _ in range(3))

        monitor = LeakMonitor(window=3, warmup=0, cooldown=0, on_emergency=emergency)
        assert [monitor.step(step * 2 * MB) for step in range(6)] == [0.0, 2.0, 2.0, 2.0, 2.0, 2.0]
        assert inner == [2.0] * 12

    def test_an_error_of_the_callback_is_raised_and_the_monitor_goes_on(self) -> None:
        fired: list[float] = []

        def emergency(slope: float) -> None:
            fired.append(slope)
            raise OSError("no space for the checkpoint")

        monitor = LeakMonitor(window=2, warmup=0, cooldown=2, on_emergency=emergency)
        monitor.step(0)
        for step in (1, 4, 7):
            with pytest.raises(OSError, match="no space"):
                monitor.step(step * 2 * MB)
            assert monitor.step((step + 1) * 2 * MB) == 2.0
            assert monitor.step((step + 2) * 2 * MB) == 2.0
        assert fired == [2.0] * 3

    def test_a_log_handler_that_raises_leaves_it_usable(self) -> None:
        class Broken(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                raise ValueError("full")

        monitor = LeakMonitor(window=2, warmup=0, cooldown=0)
        handler = Broken()
        logging.getLogger("memlint.runtime").addHandler(handler)
        try:
            monitor.step(0)
            with pytest.raises(ValueError, match="full"):
                monitor.step(2 * MB)
        finally:
            logging.getLogger("memlint.runtime").removeHandler(handler)
        assert monitor.step(6 * MB) == 4.0

    def test_it_keeps_numbers_of_one_window_only(self) -> None:
        class Bytes:
            """Stands for a 0-d tensor that holds its graph."""

            def __int__(self) -> int:
                return 1

        monitor = LeakMonitor(threshold_mb=1e9, window=10)
        held = []
        for _ in range(1000):
            sample: Any = Bytes()
            held.append(weakref.ref(sample))
            monitor.step(sample)
        del sample
        gc.collect()
        assert not any(reference() for reference in held)
        assert len(monitor._samples) == 10

    def test_the_devices_where_they_hold_anything_else_the_process(self, monkeypatch: pytest.MonkeyPatch) -> None:
        resident = iter(range(0, 10**12, 5 * MB))
        monkeypatch.setattr(runtime, "_rss", lambda: next(resident) + 1)
        cuda = Gpus((0, 0))
        install(monkeypatch, cuda=cuda)
        monitor = LeakMonitor(threshold_mb=1e9, window=4, warmup=0)
        assert [monitor.step() for _ in range(4)] == [0.0, 5.0, 5.0, 5.0]
        cuda.reserved[0] = 30 * GB
        slopes = []
        for step in range(4):
            cuda.allocated[0] = 20 * GB + step * 2 * MB
            slopes.append(monitor.step())
        assert slopes == [0.0, 2.0, 2.0, 2.0], "the jump from one source to the other is no growth"

    def test_a_system_that_does_not_tell(self, monkeypatch: pytest.MonkeyPatch) -> None:
        uninstall(monkeypatch)
        readings = iter([MB, 0, 3 * MB, 0, 5 * MB])
        monkeypatch.setattr(runtime, "_rss", lambda: next(readings))
        monitor = LeakMonitor(threshold_mb=1e9, window=4, warmup=0)
        assert [monitor.step() for _ in range(5)] == [0.0, 0.0, 2.0, 2.0, 2.0], "0 is not a sample"

    def test_mlx(self, monkeypatch: pytest.MonkeyPatch) -> None:
        mlx = Mlx(0, GB)
        install(monkeypatch, mlx=mlx)
        monitor = LeakMonitor(threshold_mb=1e9, window=4, warmup=0)
        for step in range(4):
            mlx.active = step * 2 * MB
            slope = monitor.step()
        assert slope == 2.0

    def test_with_the_real_mlx(self) -> None:
        mx = pytest.importorskip("mlx.core")
        calls: list[float] = []
        monitor = LeakMonitor(threshold_mb=0.5, window=10, warmup=2, cooldown=100, on_emergency=calls.append)
        kept, state = [], mx.zeros((250_000,))
        for _ in range(40):
            state = state + 1
            mx.eval(state)
            monitor.step()
        assert calls == []
        for _ in range(20):
            state = state + 1
            mx.eval(state)
            kept.append(state)
            monitor.step()
        assert len(calls) == 1
        assert monitor.step() > 0.9

    def test_one_callback_at_a_time(self) -> None:
        inside, most, calls = 0, 0, 0
        guard = threading.Lock()

        def emergency(slope: float) -> None:
            nonlocal inside, most, calls
            with guard:
                inside, calls = inside + 1, calls + 1
                most = max(most, inside)
            for _ in range(200):
                pass
            with guard:
                inside -= 1

        monitor = LeakMonitor(threshold_mb=0, window=2, warmup=0, cooldown=0, on_emergency=emergency)
        used = iter(range(10**9))
        together(8, lambda: [monitor.step(next(used) * MB) for _ in range(200)])
        assert most == 1
        assert calls >= 1
        assert len(monitor._samples) == 2

    @pytest.mark.parametrize(
        "wrong",
        [
            {"threshold_mb": -1},
            {"threshold_mb": math.nan},
            {"window": 1},
            {"window": 0},
            {"warmup": -1},
            {"cooldown": -1},
        ],
    )
    def test_bad_values(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=next(iter(wrong))):
            LeakMonitor(**wrong)

    @pytest.mark.parametrize("wrong", [{"window": 2.5}, {"warmup": "3"}, {"cooldown": 1.0}])
    def test_bad_types(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(TypeError):
            LeakMonitor(**wrong)

    def test_a_sample_that_is_no_number_changes_nothing(self) -> None:
        monitor = LeakMonitor(threshold_mb=1e9, window=3, warmup=0)
        monitor.step(0)
        with pytest.raises(ValueError, match="NaN"):
            monitor.step(math.nan)
        assert monitor.step(2 * MB) == 2.0


class TestReloadPolicy:
    def test_the_interval_alone(self) -> None:
        policy = ReloadPolicy(interval_steps=100)
        assert [step for step in range(450) if policy.due(step, 10**15)] == [100, 200, 300, 400]

    def test_the_threshold_alone_at_any_step(self) -> None:
        policy = ReloadPolicy(threshold_gb=2)
        assert [step for step in range(10) if policy.due(step, (3 if step in (0, 3, 7) else 2) * GB)] == [0, 3, 7]

    def test_the_threshold_is_looked_at_between_the_intervals(self) -> None:
        policy = ReloadPolicy(interval_steps=100, threshold_gb=2)
        assert [step for step in range(1, 250) if policy.due(step, 3 * GB if step == 42 else 0)] == [42, 100, 200]

    def test_both_off(self) -> None:
        policy = ReloadPolicy()
        assert not any(policy.due(step, 10**15) for step in range(1000))

    def test_after_done_it_rests(self) -> None:
        policy = ReloadPolicy(interval_steps=10, threshold_gb=1, cooldown_steps=4)
        due = []
        for step in range(1, 31):
            if policy.due(step, 2 * GB if step < 18 else 0):
                due.append(step)
                policy.done(step)
                assert not policy.due(step, 2 * GB)
        assert due == [1, 6, 11, 16, 30], "the interval of step 20 lies in the rest"

    def test_a_save_that_wrote_nothing_is_not_reloaded(self) -> None:
        """The loop of the docstring, with checkpoints switched off."""
        policy = ReloadPolicy(interval_steps=5, cooldown_steps=2)
        reloaded: list[str] = []
        for step in range(20):
            if policy.due(step, 0):
                path: str | None = None
                if path is not None:
                    reloaded.append(path)
                policy.done(step)
        assert reloaded == []

    def test_where_not_every_step_asks_no_interval_is_missed(self) -> None:
        policy = ReloadPolicy(interval_steps=100)
        assert [step for step in range(0, 500, 7) if policy.due(step, 0)] == [105, 203, 301, 406]

    def test_a_resumed_run_is_not_due_at_once(self) -> None:
        policy = ReloadPolicy(interval_steps=100)
        assert [step for step in range(100_050, 100_250) if policy.due(step, 0)] == [100_100, 100_200]

    def test_steps_that_are_counted_anew(self) -> None:
        policy = ReloadPolicy(interval_steps=10, cooldown_steps=5)
        assert policy.due(1000, 0)
        policy.done(1000)
        assert [step for step in range(25) if policy.due(step, 0)] == [10, 20], "it does not rest until step 1005"

    @given(
        interval=st.integers(0, 6),
        threshold=st.integers(0, 3),
        cooldown=st.integers(0, 5),
        used=st.lists(st.integers(0, 5), max_size=40),
        done=st.sets(st.integers(0, 40)),
    )
    def test_equals_the_plain_model(
        self, interval: int, threshold: int, cooldown: int, used: list[int], done: set[int]
    ) -> None:
        policy = ReloadPolicy(interval, threshold, cooldown)
        last = -math.inf
        for step, level in enumerate(used, 1):
            expected = (interval and step % interval == 0) or (threshold and level > threshold)
            assert policy.due(step, level * GB) == bool(expected and step - last > cooldown)
            if step in done:
                policy.done(step)
                last = step

    @given(st.lists(st.one_of(st.integers(-5, 50), st.just(math.nan)), max_size=30))
    def test_strange_readings_are_not_above(self, used: list[float]) -> None:
        policy = ReloadPolicy(threshold_gb=1)
        assert not any(policy.due(step, level) for step, level in enumerate(used))

    def test_of_many_threads_that_ask_about_a_step_one_is_told(self) -> None:
        policy = ReloadPolicy(interval_steps=10)
        answers: list[bool] = []
        same_step = threading.Barrier(6)

        def work() -> None:
            for step in range(1, 101):
                same_step.wait()
                answers.append(policy.due(step, 0))

        together(6, work)
        assert len(answers) == 600
        assert sum(answers) == 10

    @pytest.mark.parametrize("wrong", [{"interval_steps": -1}, {"threshold_gb": -0.1}, {"cooldown_steps": -1}])
    def test_bad_values(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=next(iter(wrong))):
            ReloadPolicy(**wrong)
