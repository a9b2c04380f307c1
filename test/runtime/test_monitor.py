from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from runtime_toy import MS, T0, alarm, random_checkpoint, robot

from pro_ros.interfaces import ASSESSMENT, typestore
from pro_ros.model.calibration import Calibration
from pro_ros.runtime.encoder import Encoder
from pro_ros.runtime.monitor import Monitor
from pro_ros.streams.sample import Step

NUMBERS = ("value", "progress", "termination", "success")


def step(n: int, **changes) -> Step:
    """Step ``n`` at 20 Hz, with all values present and within the training data."""
    plain = Step(
        t_ns=T0 + n * 50 * MS,
        restart=n == 0,
        values={
            "state": np.array([0.1 * n, -0.1 * n, 0.01], dtype=np.float32),
            "telemetry": np.array([5e4, 4e4 + n, 6e4, 0.1], dtype=np.float32),
        },
        mask={"state": np.ones(3, dtype=bool), "telemetry": np.ones(4, dtype=bool)},
        frames={},
        ages={"joints": 0.01, "vacuum": 0.1},
        stale=(),
    )
    return replace(plain, **changes)


@pytest.fixture
def monitor(made, grid) -> Monitor:
    return Monitor(made(grid))


def test_the_window_fills_then_the_numbers_come_without_caveats(monitor):
    said = [monitor.state(step(n)).info for n in range(6)]
    assert said[0].validity == ("VALID", "WARMING_UP", "RESTARTED")
    assert [i.validity for i in said[1:3]] == [("VALID", "WARMING_UP")] * 2
    assert [i.validity for i in said[3:]] == [("VALID",)] * 3
    assert [i.sequence for i in said] == list(range(6))
    oldest = [0, 0, 0, 0, 1, 2]
    assert [i.window_start_ns for i in said] == [T0 + n * 50 * MS for n in oldest]


def test_a_restart_empties_the_window_and_ends_progress_and_reward(monitor):
    for n in range(5):
        said = monitor.state(step(n))
    assert said.reward is not None
    again = monitor.state(step(5, restart=True))
    assert again.reward is None
    assert again.assessment.progress == 0.0
    assert again.info.window_start_ns == step(5).t_ns
    assert again.info.sequence == 5
    assert {"RESTARTED", "WARMING_UP"} <= set(again.info.validity)


def test_streams_without_input_or_with_old_input_are_named(monitor):
    waiting = step(0, ages={"joints": 0.0, "vacuum": math.inf}, stale=("vacuum",))
    assert {"VALID", "NO_INPUT", "STALE_INPUT"} <= set(monitor.state(waiting).info.validity)
    late = monitor.state(step(1, ages={"joints": 9.0, "vacuum": 0.0}, stale=("joints",))).info
    assert "STALE_INPUT" in late.validity
    assert "NO_INPUT" not in late.validity
    assert late.stale == ("joints",)


def test_values_beyond_the_training_data_are_said(monitor):
    far = step(0)
    far.values["state"][0] = 1e6
    assert "OUT_OF_RANGE" in monitor.state(far).info.validity
    assert "OUT_OF_RANGE" not in monitor.state(step(1)).info.validity


def test_an_operator_that_was_not_calibrated_says_so(tmp_path, grid):
    plain = Monitor(random_checkpoint(tmp_path / "m", grid, Calibration()))
    said = plain.state(step(0))
    assert "NOT_CALIBRATED" in said.info.validity
    assert not plain.source.calibrated
    assert (said.alarm.on, said.alarm.basis) == (False, "NOT_SET")
    assert said.alarm.score == said.assessment.risk[-1]


def nothing(n: int) -> Step:
    masks = {"state": np.zeros(3, dtype=bool), "telemetry": np.zeros(4, dtype=bool)}
    return step(n, mask=masks, ages={"joints": math.inf, "vacuum": math.inf})


def test_of_no_input_at_all_nothing_is_said_as_valid(monitor):
    for n in range(4):
        monitor.state(step(n))
    said = monitor.state(nothing(4))
    assert "VALID" not in said.info.validity
    assert said.reward is None
    assert monitor.state(step(5)).reward is None, "a reward over an invalid step"
    raw, _ = Encoder(monitor.source).assessment(said)
    message = typestore().deserialize_cdr(raw, ASSESSMENT)
    for name in NUMBERS:
        assert math.isnan(getattr(message, name))
    for name in ("risk", "mode_risk", "mode_distribution"):
        assert np.isnan(getattr(message.risk, name)).all()
    assert math.isnan(message.risk.alarm_score)


@pytest.mark.parametrize("field", ["value", "success", "spread", "risk"])
def test_a_number_that_is_not_finite_is_an_error_and_not_valid(monitor, monkeypatch, field):
    good = monitor.assessor.assess
    broken = {"risk": np.full(3, math.nan)}.get(field, math.inf)
    monkeypatch.setattr(monitor.assessor, "assess", lambda s: replace(good(s), **{field: broken}))
    said = monitor.state(step(0))
    assert "INTERNAL_ERROR" in said.info.validity
    assert "VALID" not in said.info.validity
    assert not said.alarm.on


def scored(monitor: Monitor, monkeypatch, scores: list[float]) -> list[tuple[bool, bool]]:
    """Whether the alarm is on and begins, where the risk at 2 s is as given."""
    good = monitor.assessor.assess
    waiting = iter(scores)

    def assess(now: Step):
        risk = np.array([0.0, next(waiting), 1.0])
        return replace(good(now), risk=risk, mode_risk=risk[None] / 2)

    monkeypatch.setattr(monitor.assessor, "assess", assess)
    said = [monitor.state(step(n)) for n in range(len(scores))]
    return [(s.alarm.on, s.alarm_begins) for s in said]


def test_the_alarm_compares_the_risk_that_its_threshold_is_for(tmp_path, grid, monkeypatch):
    low, high = 0.4, 0.6
    any_mode = Monitor(random_checkpoint(tmp_path / "a", grid, Calibration(alarms=(alarm(0.5),))))
    # On at 0.6; below it for 0.2 s (the refractory time) it stays on, after that it is off.
    scores = [low, high, low, low, low, low, low, high]
    expected = [False, True, True, True, True, True, False, True]
    said = scored(any_mode, monkeypatch, scores)
    assert [on for on, _ in said] == expected
    assert [n for n, (_, begins) in enumerate(said) if begins] == [1, 7]
    one = Calibration(alarms=(alarm(0.5, target="leak", criterion="false_alarms_per_hour"),))
    of_mode = Monitor(random_checkpoint(tmp_path / "b", grid, one))
    said = scored(of_mode, monkeypatch, [high, 0.999, 1.0])
    assert said == [(False, False), (False, False), (True, True)]


def test_the_state_of_the_alarm_says_what_it_rests_on(tmp_path, grid):
    one = alarm(0.3, target="leak", criterion="false_alarms_per_hour", requested=6.0)
    said = Monitor(random_checkpoint(tmp_path / "m", grid, Calibration(alarms=(one,)))).state(
        step(0)
    )
    assert (said.alarm.basis, said.alarm.level) == ("FALSE_ALARM_RATE", 6.0)
    assert (said.alarm.threshold, said.alarm.horizon, said.alarm.mode) == (0.3, 2.0, "leak")
    assert said.alarm.score == said.assessment.mode_risk[0, 1]


def test_a_told_goal_keeps_what_the_stream_file_says_beside_it(made):
    checkpoint = made(robot({"rate": 20}, task="pick", context={"robot": "toy"}))
    told, untold = Monitor(checkpoint), Monitor(checkpoint)
    told.follow("fold", {})
    same = Monitor(checkpoint, task="fold", context={"robot": "toy"})
    value = told.state(step(0)).assessment.value
    assert value == same.state(step(0)).assessment.value
    assert value != untold.state(step(0)).assessment.value
