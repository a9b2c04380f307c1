"""Attempts and recoveries at a cell that is reached by orders and readings alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("mujoco", reason="mujoco is not installed: the cell is not tested")

from pro_ros.cell.catalogue import load_catalogue
from pro_ros.cell.cell import Cell, Command
from pro_ros.cell.judge import Failure
from pro_ros.cell.policy import Policy
from pro_ros.cell.runner import HEARD, Ended, Runner
from pro_ros.cell.sensors import PART, SCALE_TARGET, STOP, Reading
from pro_ros.cell.tasks import draw_task
from pro_ros.errors import SpecError

SITE, SKU, TASK = "cedar", "tea_box", "cedar-1"


class Reached:
    """A cell as a runner on another machine meets it: readings in, commands out."""

    def __init__(self, seed: int = 1, candidates: int = 1, sku: str = SKU) -> None:
        catalogue = load_catalogue()
        task = draw_task(catalogue, SITE, seed, (sku,))
        self.cell = Cell(catalogue, task)
        self.commands: list[tuple[Command, int]] = []
        self.chunks: list[int] = []
        self.failures: list[Failure] = []
        self.newest: dict[str, Reading] = {}
        self.released = 0
        self.runner = Runner(
            catalogue, self, 0, candidates, self.choose, self.failures.append
        )  # fmt: skip
        self.go_on(0.6)

    def command(self, velocity: Command, valve: int) -> None:
        self.commands.append((velocity, valve))
        self.cell.command(velocity, valve, tell=False)

    def look(self) -> bool:
        raise AssertionError("the runner is told when the vision system was asked")

    def release_stop(self) -> None:
        self.released += 1

    def choose(self, chunks: object) -> int:
        self.chunks.append(len(chunks))  # type: ignore[arg-type]
        return 0

    def block(self) -> Ended | None:
        ended = self.runner.tick(self.cell.now_ns)
        for reading in self.cell.advance():
            self.newest[reading.kind] = reading
            if reading.kind in HEARD:
                self.runner.take(reading)
        return ended

    def go_on(self, seconds: float, until: Callable[[], bool] = lambda: False) -> Ended | None:
        for _ in range(round(seconds / 0.02)):
            ended = self.block()
            if ended is not None or until():
                return ended
        return None

    def start(self) -> None:
        assert not self.runner.prepare(TASK, SITE, SKU)
        looked_ns = self.cell.now_ns
        assert self.cell.look()
        self.runner.start(self.cell.now_ns, looked_ns)

    def moving(self) -> bool:
        return bool(self.commands) and any(abs(v) > 0.1 for v in self.commands[-1][0])


def test_an_attempt_runs_to_its_end_and_is_judged_by_the_scale() -> None:
    at = Reached()
    empty = float(at.newest[SCALE_TARGET].values[0])
    at.start()
    ended = at.go_on(25.0)
    assert ended is not None
    assert not ended.stopped
    assert ended.success
    placed = float(at.newest[SCALE_TARGET].values[0]) - empty
    assert placed == pytest.approx(load_catalogue().item(SKU).mass, rel=0.3)
    assert not at.runner.busy
    assert at.runner.steps > 50
    # A further attempt at the same task finds it done, moves nothing and says so.
    count = len(at.commands)
    assert at.runner.prepare(TASK, SITE, SKU)
    at.runner.start(at.cell.now_ns, None)
    again = at.go_on(1.0)
    assert again == Ended(False, True)
    assert len(at.commands) == count


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_part_ends_the_actions_that_were_planned_without_one(seed: int) -> None:
    at = Reached(seed, candidates=2)
    at.start()
    at.go_on(10.0, lambda: at.newest[PART].values[0] > 0.5)
    asked = len(at.chunks)
    # Three periods: without this, the chunk in hand goes on for up to ten.
    at.go_on(0.06)
    assert len(at.chunks) == asked + 1


def test_a_stop_brakes_keeps_the_valve_and_ends() -> None:
    at = Reached()
    at.start()
    at.go_on(5.0, at.moving)
    valve = at.commands[-1][1]
    assert at.runner.stop() is None
    ended = at.go_on(2.0)
    assert ended == Ended(True, False)
    assert at.commands[-1] == ((0.0, 0.0, 0.0, 0.0), valve)
    assert not at.runner.busy
    assert at.go_on(0.5) is None


def test_a_stop_where_nothing_moves_ends_at_once() -> None:
    at = Reached()
    at.runner.prepare(TASK, SITE, SKU)
    at.runner.start(at.cell.now_ns, None)
    assert at.runner.stop() == Ended(True, False)


def test_the_mode_that_was_recovered_from_is_the_next_attempts_lesson(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lessons: list[str] = []
    begin = Policy.begin

    def listen(policy: Policy, seen: object, lesson: str = "") -> None:
        lessons.append(lesson)
        begin(policy, seen, lesson)  # type: ignore[arg-type]

    monkeypatch.setattr(Policy, "begin", listen)
    at = Reached()
    at.start()
    at.go_on(5.0, at.moving)
    at.runner.stop()
    at.go_on(2.0)
    at.runner.recover("drop")
    assert at.released == 1
    recovered = at.go_on(12.0)
    assert recovered == Ended(False, True)
    at.start()
    at.go_on(1.0)
    assert lessons == ["", "drop"]
    at.runner.stop()
    at.go_on(2.0)
    # Another task is no retry.
    at.runner.prepare("cedar-2", SITE, SKU)
    looked_ns = at.cell.now_ns
    assert at.cell.look()
    at.runner.start(at.cell.now_ns, looked_ns)
    at.go_on(1.0)
    assert lessons[-1] == ""


def test_a_failure_is_told_while_an_attempt_runs_and_not_otherwise() -> None:
    at = Reached()
    stop = Reading(STOP, at.cell.now_ns, at.cell.now_ns, (1.0,))
    released = stop._replace(values=(0.0,))
    at.runner.prepare(TASK, SITE, SKU)
    at.runner.take(stop)
    at.runner.take(released)
    assert at.failures == []
    at.start()
    at.runner.take(stop)
    assert [failure.mode for failure in at.failures] == ["jam"]
    at.runner.stop()
    assert at.go_on(2.0) == Ended(True, False, "jam")


def test_what_is_abandoned_moves_nothing_more() -> None:
    at = Reached()
    at.start()
    at.go_on(5.0, at.moving)
    at.runner.abandon()
    count = len(at.commands)
    assert not at.runner.busy
    assert at.go_on(1.0) is None
    assert len(at.commands) == count


def test_candidates_are_asked_for_and_chosen_from() -> None:
    at = Reached(candidates=3)
    at.start()
    at.go_on(2.0)
    assert at.chunks
    assert set(at.chunks) == {3}


def test_an_unknown_site_or_item_is_one_line() -> None:
    at = Reached()
    with pytest.raises(SpecError, match="unknown site 'cedr', did you mean 'cedar'"):
        at.runner.prepare(TASK, "cedr", SKU)
    with pytest.raises(SpecError, match="unknown item 'teabox'"):
        at.runner.prepare(TASK, SITE, "teabox")
