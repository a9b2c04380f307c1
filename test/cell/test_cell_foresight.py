"""Recall, false alarms and lead times of onlookers, against tracks made by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pro_ros.cell.catalogue import load_catalogue
from pro_ros.cell.foresight import Bystanders, Track, VacuumLooks, risk_curve
from pro_ros.cell.loop import TaskRun
from pro_ros.cell.rows import task_row
from pro_ros.cell.sensors import NS, PART, SEA_LEVEL, VACUUM, VALVE, Reading
from pro_ros.cell.tasks import draw_task
from pro_ros.cell.vacuum import SUCK
from pro_ros.cell.watchers import Nobody
from pro_ros.gate.config import load_gate_config
from pro_ros.paths import share_file


def track(
    task: str, peaks: dict[float, float], drop: float | None = None, seconds: float = 10.0
) -> Track:
    """Ten steps per second with a score of 0, but for the given times."""
    t = np.arange(round(10 * seconds), dtype=np.int64) * NS // 10
    score = np.zeros(len(t))
    for at, value in peaks.items():
        score[round(10 * at)] = value
    return Track(
        task, t + 7 * NS, score, () if drop is None else (("drop", 7 * NS + round(drop * NS)),)
    )


def test_a_curve_is_as_worked_out_by_hand() -> None:
    tracks = [
        track("a", {5.0: 0.9}, drop=6.5),  # 1.5 s before
        track("b", {5.8: 0.6}, drop=6.0),  # 0.2 s before
        track("c", {3.0: 0.7}),  # a false alarm
        track("d", {2.0: 0.8}, drop=8.0),  # too early: false, and the drop is missed
    ]  # fmt: skip
    curve = risk_curve("PRO", tracks, "drop", 2.0, asked=(1.0, 1000.0), resamples=100)
    hours = (6.5 + 6.0 + 10.0 + 8.0) / 3600
    assert (curve.events, curve.hours) == (3, pytest.approx(hours))
    few, many = curve.points
    # No false alarm: only the highest score is above the threshold.
    assert (few.rate, few.recall.value) == (0.0, pytest.approx(1 / 3))
    assert few.lead_s == (1.5,)
    # At 0.6 both false claims and two of three drops.
    assert (many.threshold, many.recall.value) == (0.6, pytest.approx(2 / 3))
    assert many.rate == pytest.approx(2 / hours)
    assert many.lead_s == (1.5, 0.2)
    assert few.recall.low is not None
    assert few.recall.high is not None
    assert few.recall.low <= 1 / 3 <= few.recall.high
    assert list(curve.recalls) == sorted(curve.recalls)


def test_what_comes_after_the_failure_counts_for_nothing() -> None:
    late = [track("a", {7.0: 0.9}, drop=6.0), track("b", {}, drop=5.0)]
    curve = risk_curve("PRO", late, "drop", 2.0, asked=(0.0,), resamples=0)
    assert curve.points[0].recall.value == 0.0
    assert curve.hours == pytest.approx(11.0 / 3600)


def test_without_events_there_is_no_curve_but_a_reason() -> None:
    curve = risk_curve("PRO", [track("a", {1.0: 0.9})], "drop", 2.0, resamples=10)
    assert curve.points == ()
    assert "no events" in curve.note
    assert risk_curve("PRO", [], "drop", 2.0, resamples=10).note == "no monitored time"


def reading(kind: str, t: float, value: float) -> Reading:
    return Reading(kind, round(t * NS), round(t * NS), (value,))


def test_the_vacuum_is_watched_while_something_is_held_and_low_for_long_enough() -> None:
    looks = VacuumLooks(hold=0.06, settle=0.5)
    list(looks.take(reading(VALVE, 0.0, float(SUCK))))
    list(looks.take(reading(PART, 0.0, 1.0)))
    depths = {0.3: 10e3, 0.6: 50e3, 0.62: 20e3, 0.64: 18e3, 0.66: 20e3, 0.68: 19e3, 0.70: 50e3}
    said = []
    for t, depth in depths.items():
        said += [score for _, score in looks.take(reading(VACUUM, t, SEA_LEVEL - depth))]
    assert [None if math.isnan(s) else round(s) for s in said] == [
        None, None, None, None, -50_000, -20_000, -50_000,
    ]  # fmt: skip


def test_bystanders_change_nothing_and_note_every_attempt() -> None:
    pytest.importorskip("mujoco", reason="the cell needs mujoco")
    gate = load_gate_config(share_file("config/cell/gate.yaml"))
    task = draw_task(load_catalogue(), "ash", 5)
    watcher = Bystanders({"vacuum": VacuumLooks()})
    seen = task_row(TaskRun(load_catalogue(), task, gate, watcher).run())
    assert seen == task_row(TaskRun(load_catalogue(), task, gate, Nobody()).run())
    tracks = watcher.tracks["vacuum"]
    assert len(tracks) == len(seen.attempts)
    for found, attempt in zip(tracks, seen.attempts, strict=True):
        assert found.task == "ash-000005"
        length = (found.t_ns[-1] - found.t_ns[0]) / NS
        assert length == pytest.approx(attempt.end - attempt.begin, abs=0.1)
        assert [m for m, _ in found.failures] == [f.mode for f in attempt.failures]
        assert (np.diff(found.t_ns) > 0).all()
    assert np.isfinite(tracks[0].score).any()
