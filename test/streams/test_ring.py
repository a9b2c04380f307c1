"""The ring buffer behaves like a list that forgets its head."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pro_ros.streams.ring import RingBuffer

STEPS = st.lists(st.integers(-3, 5), max_size=60)


class ListModel:
    """The same, naively."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.rows: list[tuple[int, float]] = []
        self.refused = self.duplicates = 0

    def push(self, stamp: int, value: float) -> bool:
        if self.rows and stamp == self.rows[-1][0]:
            self.duplicates += 1
            return False
        if self.rows and stamp < self.rows[-1][0]:
            self.refused += 1
            return False
        self.rows = [*self.rows, (stamp, value)][-self.capacity :]
        return True


@given(capacity=st.integers(1, 7), steps=STEPS, after=st.integers(-5, 40), span=st.integers(0, 40))
def test_it_equals_a_list_for_any_stamps(
    capacity: int, steps: list[int], after: int, span: int
) -> None:
    ring, model = RingBuffer(capacity, 2), ListModel(capacity)
    stamp = 0
    for value, step in enumerate(steps):
        stamp += step
        assert ring.push(stamp, [value, -value]) == model.push(stamp, value)
        assert len(ring) == len(model.rows)
        latest = ring.latest()
        assert latest is not None
        assert (latest[0], latest[1][0]) == model.rows[-1]
        stamps, rows = ring.since(after, after + span)
        expected = [r for r in model.rows if after < r[0] <= after + span]
        assert list(zip(stamps.tolist(), rows[:, 0].tolist(), strict=True)) == expected
        assert (rows[:, 1] == -rows[:, 0]).all()
    assert (ring.refused, ring.duplicates) == (model.refused, model.duplicates)


@given(steps=st.lists(st.integers(1, 3), min_size=1, max_size=100), keep=st.integers(1, 20))
def test_it_grows_rather_than_lose_a_row_that_is_still_needed(steps: list[int], keep: int) -> None:
    ring = RingBuffer(2, 1, keep_ns=keep)
    everything: list[int] = []
    stamp = 0
    for step in steps:
        stamp += step
        ring.push(stamp, [float(stamp)])
        everything.append(stamp)
        stamps, rows = ring.since(stamp - keep, stamp)
        assert stamps.tolist() == [s for s in everything if s > stamp - keep]
        assert rows[:, 0].tolist() == stamps.tolist()
    assert ring.overruns == 0


@given(
    capacity=st.integers(1, 6),
    keep=st.integers(0, 12),
    batches=st.lists(st.lists(st.integers(1, 4), max_size=15), max_size=12),
)
def test_rows_appended_at_once_are_as_if_pushed(
    capacity: int, keep: int, batches: list[list[int]]
) -> None:
    one, many = RingBuffer(capacity, 2, keep), RingBuffer(capacity, 2, keep)
    stamp = 0
    for batch in batches:
        stamps = np.cumsum([stamp, *batch], dtype=np.int64)[1:]
        stamp = int(stamps[-1]) if batch else stamp
        rows = np.stack([stamps * 1.0, -stamps], axis=1)
        for s, row in zip(stamps.tolist(), rows, strict=True):
            assert one.push(s, row)
        many.extend(stamps, rows)
        assert (len(many), many.capacity) == (len(one), one.capacity)
        assert many.overruns == one.overruns
        for a, b in zip(many.since(0, stamp), one.since(0, stamp), strict=True):
            np.testing.assert_array_equal(a, b)


def test_growth_has_a_limit_and_what_is_lost_then_is_counted() -> None:
    ring = RingBuffer(2, 1, keep_ns=10**9)
    for stamp in range(100):
        ring.push(stamp, [0.0])
    assert ring.capacity == 2 * RingBuffer.max_growth
    assert ring.overruns == 100 - ring.capacity


def test_rows_are_a_view_with_contiguous_channels_wherever_the_head_is() -> None:
    ring = RingBuffer(4, 3)
    for stamp in range(11):
        ring.push(stamp, np.full(3, stamp))
        rows = ring.since(-1, stamp)[1]
        assert rows.strides[0] == rows.itemsize or len(rows) == 1
        assert rows.base is not None


def test_clearing_forgets_rows_but_not_counts() -> None:
    ring = RingBuffer(4, 1)
    ring.push(5, [1.0])
    ring.push(5, [2.0])
    ring.push(4, [3.0])
    ring.clear()
    assert len(ring) == 0
    assert ring.latest() is None
    assert len(ring.since(-100, 100)[0]) == 0
    assert (ring.refused, ring.duplicates) == (1, 1)
    assert ring.push(1, [9.0])


def test_a_capacity_below_one_is_an_error() -> None:
    with pytest.raises(ValueError, match="capacity"):
        RingBuffer(0, 1)
