"""Faults are said once, and once that they are over."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from pro_ros.runtime.health import CALM_S, ERROR_S, FaultLog, Latencies

STEP = 0.1
"""Between two updates [s]."""


class Log:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, stale_s: float = 1.0) -> None:
        self.now = 50.0
        self.lines: list[tuple[str, str]] = []
        clock = SimpleNamespace(monotonic=lambda: self.now)
        monkeypatch.setattr("pro_ros.runtime.health.time", clock)
        self.log = FaultLog(
            {"wrench": "/ft"}, {"wrench": stale_s}, lambda *line: self.lines.append(line)
        )

    def update(self, *faults: str, seconds: float = STEP, age: float = 0.0, heard=True) -> None:
        """Take the same faults at every step for so long."""
        for _ in range(round(seconds / STEP)):
            self.now += STEP
            self.log.update("wrench", faults, age, heard)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    return Log(monkeypatch)


WELL = ("info", "stream 'wrench' (topic /ft): well again")


def test_a_well_stream_says_nothing(log: Log) -> None:
    log.update(seconds=5.0)
    assert log.lines == []
    assert log.log.faults("wrench") == frozenset()
    assert log.log.last_error("wrench") == ""


@pytest.mark.parametrize(
    ("fault", "words"),
    [("frozen", "stand still"), ("incomplete", "not finite"), ("dropped", "too fast"),
     ("clock", "synchronise the clocks")],
)  # fmt: skip
def test_a_fault_is_said_once_and_once_that_it_is_over(log: Log, fault: str, words: str) -> None:
    log.update(fault, seconds=5.0)
    ((severity, line),) = log.lines
    assert severity == "warn"
    assert line.startswith("stream 'wrench' (topic /ft): ")
    assert words in line
    assert log.log.faults("wrench") == {fault}
    log.update(seconds=CALM_S - STEP)
    assert len(log.lines) == 1
    log.update(seconds=5.0)
    assert log.lines[1:] == [WELL]
    assert log.log.faults("wrench") == frozenset()
    log.update(fault)
    assert len(log.lines) == 3


def test_a_fault_that_comes_and_goes_is_one(log: Log) -> None:
    for _ in range(20):
        log.update("frozen")
        log.update(seconds=0.5)
    assert len(log.lines) == 1


def test_a_second_fault_is_said_beside_the_first(log: Log) -> None:
    log.update("frozen")
    log.update("frozen", "dropped", seconds=2.0)
    assert [severity for severity, _ in log.lines] == ["warn", "warn"]
    log.update("dropped", seconds=5.0)
    assert log.log.faults("wrench") == {"dropped"}
    assert WELL not in log.lines
    log.update(seconds=5.0)
    assert log.lines[2:] == [WELL]


@pytest.mark.parametrize(
    ("age", "heard", "words"),
    [(math.inf, False, "no sample yet: is it published"), (2.5, False, "no sample for 2.5 s"),
     (math.inf, True, "their stamps lie in the future"), (3600.0, True, "3.6e+03 s old")],
)  # fmt: skip
def test_a_stale_stream_is_told_why(log: Log, age: float, heard: bool, words: str) -> None:
    log.update("stale", seconds=1.0, age=age, heard=heard)
    ((_, line),) = log.lines
    assert words in line


def test_an_error_is_said_once_and_forgotten_when_messages_can_be_read(log: Log) -> None:
    for _ in range(30):
        log.log.error("wrench", "stream 'wrench': no joint 'x'")
        log.update()
    assert log.lines == [("error", "stream 'wrench': no joint 'x'")]
    assert log.log.last_error("wrench") == "stream 'wrench': no joint 'x'"
    assert log.log.faults("wrench") == {"unreadable"}
    log.update(seconds=5.0)
    assert log.lines[1:] == [WELL]
    assert log.log.last_error("wrench") == ""
    log.log.error("wrench", "stream 'wrench': no joint 'x'")
    assert len(log.lines) == 3


def test_of_ever_new_errors_a_few_are_said(log: Log) -> None:
    for n in range(round(3.5 * ERROR_S / STEP)):
        log.log.error("wrench", f"damaged at byte {n}")
        log.update()
    assert len(log.lines) == 4
    assert log.log.last_error("wrench") == f"damaged at byte {n}"


def test_a_slow_stream_is_not_well_again_between_two_bad_messages(monkeypatch) -> None:
    log = Log(monkeypatch, stale_s=30.0)
    for _ in range(5):
        log.log.error("wrench", "damaged")
        log.update(seconds=10.0)
    assert len(log.lines) == 1


def test_what_cannot_be_read_is_not_called_missing(log: Log) -> None:
    log.log.error("wrench", "damaged")
    log.update("stale", age=math.inf, heard=False)
    assert log.lines[1][1].endswith("no sample that can be read")


def test_percentiles_are_those_of_the_newest() -> None:
    latencies = Latencies()
    assert all(math.isnan(p) for p in latencies.percentiles())
    for n in range(10_000):
        latencies.push(1.0 if n < 7_000 else (n - 7_000) / 3_000)
    p50, p99 = latencies.percentiles()
    assert p50 == pytest.approx(0.5, abs=0.001)
    assert p99 == pytest.approx(0.99, abs=0.001)
