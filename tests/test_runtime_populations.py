"""The shim's `Watermark` and `SpawnBudget`."""

from __future__ import annotations

import logging
import math
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memlint import runtime
from tests.support.numbers import quick


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
