"""A cell that runs by itself: its time, its pace, its thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="mujoco is not installed: the cell is not tested")

from pro_ros.cell import live as live_module
from pro_ros.cell.catalogue import load_catalogue
from pro_ros.cell.cell import Cell, DivergedError
from pro_ros.cell.live import COMMAND_NS, LiveCell
from pro_ros.cell.loop import WARM_UP_NS
from pro_ros.cell.sensors import ACTION, ACTION_VALVE, ITEM_POSE, JOINTS, NS, Reading
from pro_ros.cell.tasks import Task, draw_task

SOON = 20.0


class Heard:
    """Everything that a cell says."""

    def __init__(self, factor: float = 0.0) -> None:
        self.readings: list[Reading] = []
        self.ticks: list[int] = []
        self.lines: list[str] = []
        self.live = LiveCell(
            load_catalogue(), self.readings.append, self.ticks.append, self.lines.append, factor
        )

    def wait(self, what: Callable[[], Any], why: str) -> Any:
        end = time.monotonic() + SOON
        while time.monotonic() < end:
            found = what()
            if found:
                return found
            time.sleep(0.002)
        raise AssertionError(f"not in time: {why}")

    def asked(self, ask: Callable[[Callable[[str], None]], None]) -> str:
        answers: list[str] = []
        done = threading.Event()

        def answer(why: str) -> None:
            answers.append(why)
            done.set()

        ask(answer)
        assert done.wait(SOON), "no answer"
        return answers[0]

    def order(self, task: Task) -> str:
        return self.asked(lambda answer: self.live.order(task, answer))


def task(seed: int = 1, site: str = "cedar") -> Task:
    return draw_task(load_catalogue(), site, seed, ("tea_box",))


@pytest.fixture
def heard() -> Iterator[Heard]:
    made = Heard()
    made.live.start()
    yield made
    made.live.close()


def test_time_never_goes_back_over_tasks_and_every_task_is_warm_when_it_lies_ready(
    heard: Heard,
) -> None:
    for seed in (1, 2, 3):
        before_ns = heard.live.now_ns
        assert heard.order(task(seed)) == ""
        assert heard.live.now_ns >= before_ns + WARM_UP_NS
    heard.live.close()
    assert heard.ticks == sorted(heard.ticks)
    for kind in {reading.kind for reading in heard.readings}:
        stamps = [r.stamp_ns for r in heard.readings if r.kind == kind]
        receipts = [r.receipt_ns for r in heard.readings if r.kind == kind]
        assert stamps == sorted(stamps), kind
        assert receipts == sorted(receipts), kind
    joints = [r.stamp_ns for r in heard.readings if r.kind == JOINTS]
    # 125 Hz at this site; tasks follow each other without a hole.
    assert set(np.diff(joints).tolist()) <= {8_000_000, 4_000_000}


def test_what_others_command_is_not_said_by_the_cell(heard: Heard) -> None:
    heard.order(task())
    heard.live.command((0.0, 0.0, -0.1, 0.0), 1)
    now_ns = heard.live.now_ns
    heard.wait(lambda: heard.live.now_ns > now_ns + NS, "a second")
    assert not {ACTION, ACTION_VALVE} & {r.kind for r in heard.readings}


def test_an_arm_that_is_not_commanded_any_more_stands_still(
    heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, Any, int]] = []
    command = Cell.command

    def listen(cell: Cell, velocity: Any, valve: int, tell: bool = True) -> None:
        told.append((cell.now_ns, velocity, valve))
        command(cell, velocity, valve, tell)

    monkeypatch.setattr(Cell, "command", listen)
    heard.order(task())
    heard.live.command((0.1, 0.0, 0.0, 0.0), 1)
    heard.wait(lambda: len(told) == 2, "a stop")
    (first_ns, _, _), (second_ns, velocity, valve) = told
    assert velocity == (0.0, 0.0, 0.0, 0.0)
    assert valve == 1
    assert COMMAND_NS < second_ns - first_ns <= COMMAND_NS + 100_000_000


def test_vision_is_asked_on_the_cells_thread(heard: Heard) -> None:
    assert heard.asked(heard.live.look) == "there is no task"
    heard.order(task())
    asked_ns = heard.live.now_ns
    assert heard.asked(heard.live.look) == ""
    pose = heard.wait(
        lambda: next((r for r in list(heard.readings) if r.kind == ITEM_POSE), None), "a pose"
    )
    assert pose.stamp_ns >= asked_ns
    assert heard.asked(heard.live.release_stop) == ""


def test_a_diverging_simulation_falls_silent_with_one_line_until_the_next_task(
    heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard.order(task())
    advance = Cell.advance

    def diverge(cell: Cell) -> list[Reading]:
        raise DivergedError("the simulation of seed 1 at site 'cedar' diverged after 0.60 s")

    monkeypatch.setattr(Cell, "advance", diverge)
    heard.wait(lambda: heard.live.fault, "a fault")
    count, ticks = len(heard.readings), len(heard.ticks)
    heard.wait(lambda: len(heard.ticks) > ticks + 20, "time that goes on")
    assert len(heard.readings) == count
    assert len(heard.lines) == 1
    assert "diverged after 0.60 s: no device says anything until the next task" in heard.lines[0]
    assert "diverged" in heard.asked(heard.live.look)
    assert "diverged" in heard.order(task(2))
    monkeypatch.setattr(Cell, "advance", advance)
    assert heard.order(task(3)) == ""
    assert heard.live.fault == ""
    assert len(heard.readings) > count


def test_a_newer_task_takes_the_place_of_one_that_is_not_ready_yet(heard: Heard) -> None:
    first: list[str] = []
    heard.live.order(task(1), first.append)
    assert heard.order(task(2)) == ""
    assert first == ["a newer task took its place"]
    assert heard.live.task == task(2)


def test_a_defect_is_said_and_time_goes_on(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "Cell", None)
    assert heard.order(task()) == "a defect of the cell"
    ticks = len(heard.ticks)
    heard.wait(lambda: len(heard.ticks) > ticks + 5, "time that goes on")
    assert any("TypeError" in line for line in heard.lines)


def test_simulated_time_keeps_the_pace_that_was_asked_for() -> None:
    heard = Heard(factor=2.0)
    heard.live.start()
    try:
        # Without a cell there is nothing to compute, so that a busy machine keeps the pace too.
        begun, first_ns = time.monotonic(), heard.live.now_ns
        time.sleep(0.5)
        seconds = time.monotonic() - begun
        passed = (heard.live.now_ns - first_ns) / NS
        assert passed == pytest.approx(2.0 * seconds, abs=0.5)
        assert passed > 0.3
    finally:
        heard.live.close()
