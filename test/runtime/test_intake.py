"""Callbacks stamp and push; what is drained is in order of receipt, and bounded."""

from __future__ import annotations

import itertools
import threading

import pytest

from pro_ros.episodes.marks import TaskMark
from pro_ros.runtime.intake import BACKLOG_S, BURST_NS, LEAST_LIMIT, NS, Intake, Source

LIMIT = 1000.0
BURST = round(LIMIT * BURST_NS / NS)


class Clock:
    def __init__(self) -> None:
        self.now = 5 * NS

    def __call__(self) -> int:
        return self.now


def test_what_was_received_is_drained_once_in_its_order() -> None:
    clock = Clock()
    intake = Intake(clock)
    a, b = Source(("a",), LIMIT), Source(("b", "c"), LIMIT)
    intake.push(a, b"1")
    clock.now += 1
    intake.mark(lambda at: TaskMark(at - 7, task="t", receipt_ns=at))
    intake.push(b, b"22")
    clock.now += 1
    now, arrivals = intake.drain()
    assert now == clock.now
    assert [(x.receipt_ns - 5 * NS, x.source, x.raw) for x in arrivals] == [
        (0, a, b"1"), (1, None, b""), (1, b, b"22"),
    ]  # fmt: skip
    assert arrivals[1].mark == TaskMark(5 * NS - 6, task="t", receipt_ns=5 * NS + 1)
    assert (a.received, a.size, b.received, b.size) == (1, 1, 1, 2)
    assert not intake.drain()[1]


def test_only_what_shall_wake_the_thread_does_and_only_where_it_is_taken() -> None:
    intake = Intake(Clock())
    source = Source(("a",), LIMIT)
    intake.push(source, b"")
    intake.mark(lambda at: TaskMark(at))
    assert not intake.wake.is_set()
    intake.push(source, b"", wake=True)
    assert intake.wake.is_set()
    intake.wake.clear()
    for _ in range(2 * BURST):
        intake.push(source, b"")
    intake.push(source, b"", wake=True)
    assert not intake.wake.is_set(), "a flood would keep the thread busy"


def test_what_comes_faster_than_the_limit_is_dropped_and_counted() -> None:
    clock = Clock()
    intake = Intake(clock)
    flood, calm = Source(("a",), LIMIT), Source(("b",), LIMIT)
    for _ in range(3 * BURST):
        intake.push(flood, b"xx")
    intake.push(calm, b"y")
    assert (flood.received, flood.dropped, flood.size) == (BURST, 2 * BURST, 2 * BURST)
    assert (calm.received, calm.dropped) == (1, 0)
    assert len(intake.drain()[1]) == BURST + 1
    clock.now += BURST_NS
    intake.push(flood, b"xx")
    assert (flood.received, flood.dropped) == (BURST + 1, 2 * BURST)


@pytest.mark.parametrize("limit", [LEAST_LIMIT + 5, 333.0, 1001.0])
def test_a_source_at_its_limit_loses_nothing(limit: float) -> None:
    source = Source(("a",), limit)
    assert all(source.allows(5 * NS + round(n * NS / limit)) for n in range(3000))


def test_a_slow_stream_may_come_in_bursts() -> None:
    source = Source(("a",), 2.0)
    assert all(source.allows(5 * NS) for _ in range(round(LEAST_LIMIT * BURST_NS / NS)))


def test_before_the_first_time_of_the_clock_nothing_can_be_received() -> None:
    clock = Clock()
    clock.now = 0
    intake = Intake(clock)
    source = Source(("a",), LIMIT)
    intake.push(source, b"", wake=True)
    assert not intake.wake.is_set()
    assert (source.received, source.dropped) == (0, 0)
    assert not intake.drain()[1]


def test_a_clock_that_goes_back_begins_a_new_count() -> None:
    source = Source(("a",), LIMIT)
    while source.allows(9 * NS):
        pass
    assert not source.allows(9 * NS)
    assert source.allows(2 * NS)


def test_what_nobody_drains_does_not_fill_the_memory() -> None:
    clock = Clock()
    intake = Intake(clock)
    source, other = Source(("a",), 200.0), Source(("b",), 200.0)
    for _ in range(2000):
        clock.now += NS // 200
        intake.push(source, b"")
    most = round(200 * BACKLOG_S)
    assert (source.received, source.dropped) == (most, 2000 - most)
    intake.push(other, b"")
    assert other.received == 1
    assert len(intake.drain()[1]) == most + 1
    clock.now += NS
    intake.push(source, b"")
    assert source.received == most + 1


def test_nothing_follows_a_drain_that_was_received_before_it() -> None:
    """Several callbacks push at the same time as a thread drains."""
    ticks = itertools.count(NS)
    intake = Intake(lambda: next(ticks))
    sources = [Source((name,), 1e9) for name in "abc"]
    for source in sources:
        source.most_waiting = 10**9
    each = 2000
    start = threading.Barrier(4)

    def callbacks(source: Source) -> None:
        start.wait()
        for n in range(each):
            intake.push(source, n.to_bytes(4, "little"))

    threads = [threading.Thread(target=callbacks, args=(source,)) for source in sources]
    for thread in threads:
        thread.start()
    start.wait()
    drained = []
    before = 0
    while len(drained) < 3 * each:
        now, arrivals = intake.drain()
        for arrival in arrivals:
            assert before < arrival.receipt_ns < now
        drained += arrivals
        before = now
    for thread in threads:
        thread.join()
    assert [a.receipt_ns for a in drained] == sorted(a.receipt_ns for a in drained)
    for source in sources:
        order = [int.from_bytes(a.raw, "little") for a in drained if a.source is source]
        assert order == list(range(each))
