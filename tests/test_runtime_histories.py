"""The shim's `append_bounded` and `subsample` against the plain code that they replace."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from memlint import runtime
from tests.support.numbers import quick

pytestmark = pytest.mark.usefixtures("one_thread")


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
