from __future__ import annotations

import itertools
import math
import struct
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from runtime_toy import MS, T0, alarm, changed, random_checkpoint, robot

from pro_ros.errors import SpecError
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


FAULTS = {
    "never": ({"ages": {"joints": 0.0, "vacuum": math.inf}, "stale": ("vacuum",)},
              {"STALE_INPUT", "NO_INPUT"}),
    "stale": ({"ages": {"joints": 0.0, "vacuum": 9.0}, "stale": ("vacuum",)}, {"STALE_INPUT"}),
    "frozen": ({"frozen": ("vacuum",)}, {"FROZEN_INPUT"}),
    "incomplete": ({"incomplete": ("vacuum",)}, {"INCOMPLETE_INPUT"}),
    "dropped": ({}, {"OVERLOAD"}),
}  # fmt: skip
"""What may be wrong with the pressure: keys of the step, and the bits that say so."""


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("needed", ["required", "not required", "optional"])
def test_a_fault_of_a_required_stream_takes_validity_away(made, grid, fault, needed):
    spec = grid if needed != "not required" else changed(grid, vacuum={"required": False})
    monitor = Monitor(made(spec), optional=("vacuum",) if needed == "optional" else ())
    for n in range(4):
        monitor.state(step(n))
    keys, bits = FAULTS[fault]
    said = monitor.state(step(4, **keys), ("vacuum",) if fault == "dropped" else ())
    valid = {"VALID"} if needed != "required" else set()
    assert set(said.info.validity) == bits | valid
    assert (said.reward is not None) == bool(valid)
    assert said.info.faulty == (() if fault in ("never", "stale") else ("vacuum",))
    assert said.info.stale == (("vacuum",) if fault in ("never", "stale") else ())
    assert monitor.state(step(5)).info.validity == ("VALID",)


def test_a_stream_with_two_faults_is_named_once(monitor):
    said = monitor.state(step(0, frozen=("joints",), incomplete=("vacuum",)), ("vacuum", "joints"))
    assert said.info.faulty == ("joints", "vacuum")


def test_a_clock_fault_takes_validity_away_whatever_is_required(made, grid):
    monitor = Monitor(made(grid), optional=("joints", "vacuum"))
    for n in range(4):
        monitor.state(step(n))
    assert monitor.state(step(4, clock_fault=True)).info.validity == ("CLOCK_FAULT",)
    assert monitor.state(step(5)).info.validity == ("VALID",)


def test_an_optional_stream_that_is_none_is_named(made, grid):
    with pytest.raises(SpecError, match="unknown optional stream 'vacum', did you mean 'vacuum'"):
        Monitor(made(grid), optional=("vacum",))


def test_silence_is_said_without_a_new_number_and_without_validity(monitor):
    ages = {"joints": 0.1, "vacuum": math.inf}
    first = monitor.silence(T0, ages)
    assert (first.info.sequence, first.info.window_start_ns) == (0, T0)
    assert first.info.validity == ("STALE_INPUT", "NO_INPUT")
    for n in range(5):
        monitor.state(step(n))
    monitor.episode_id = "e7"
    said = monitor.silence(step(9).t_ns, {"joints": 9.0, "vacuum": 0.5})
    assert said.info.sequence == 4
    assert said.info.validity == ("STALE_INPUT",)
    assert said.info.stale == ("joints",)
    assert said.info.episode_id == "e7"
    assert said.info.window_start_ns == step(1).t_ns
    assert said.reward is None
    assert monitor.silence(T0, ages, failed=True).info.validity[0] == "INTERNAL_ERROR"
    messages = dict(Encoder(monitor.source).messages(said))
    assert "reward" not in messages
    message = typestore().deserialize_cdr(messages["assessment"], ASSESSMENT)
    assert [getattr(message, name) for name in NUMBERS] == pytest.approx(
        [math.nan] * 4, nan_ok=True
    )
    assert (message.sequence, message.risk.sequence) == (4, 4)
    assert math.isnan(struct.unpack_from("<f", messages["value"], 4)[0])
    again = monitor.state(step(5))
    assert again.info.sequence == 5
    assert again.info.validity == ("VALID",)


def test_an_alarm_does_not_last_through_silence(tmp_path, grid, monkeypatch):
    one = Monitor(random_checkpoint(tmp_path / "m", grid, Calibration(alarms=(alarm(0.5),))))
    assert scored(one, monkeypatch, [0.6]) == [(True, True)]
    ages = {"joints": 0.1, "vacuum": 0.1}
    assert one.silence(step(4).t_ns, ages).alarm.on, "within the refractory time"
    assert not one.silence(step(5).t_ns, ages).alarm.on


def test_a_skipped_step_leaves_a_gap_in_the_numbers_and_hands_on_what_it_showed(monitor):
    for n in range(4):
        monitor.state(step(n))
    monitor.skip(step(4))
    late = monitor.state(step(5))
    assert (late.info.sequence, late.info.validity) == (5, ("VALID",))
    assert late.reward is not None
    assert (late.reward.t_ns, late.reward.next_ns) == (step(3).t_ns, step(5).t_ns)
    monitor.skip(step(6, restart=True))
    monitor.skip(step(7, clock_fault=True))
    said = monitor.state(step(8))
    assert said.info.sequence == 8
    assert set(said.info.validity) == {"RESTARTED", "WARMING_UP", "CLOCK_FAULT"}
    assert said.info.window_start_ns == step(8).t_ns
    assert monitor.state(step(9)).info.validity == ("VALID", "WARMING_UP")


def test_a_memory_that_may_be_damaged_is_emptied_before_the_next_step(monitor):
    for n in range(4):
        monitor.state(step(n))
    monitor.forget()
    said = monitor.state(step(4))
    assert "RESTARTED" in said.info.validity
    assert said.assessment.progress == 0.0
    assert said.reward is None


def test_a_threshold_set_by_hand_holds_until_it_is_taken_back(tmp_path, grid, monkeypatch):
    one = Monitor(random_checkpoint(tmp_path / "m", grid, Calibration(alarms=(alarm(0.5),))))
    one.set_alarm(0.3)
    assert scored(one, monkeypatch, [0.4]) == [(True, True)]
    state = one.silence(step(1).t_ns, {}).alarm
    assert (state.basis, state.threshold, state.horizon) == ("MANUAL", 0.3, 2.0)
    assert math.isnan(state.level), "nothing is promised"
    one.set_alarm(None)
    assert scored(one, monkeypatch, [0.4, 0.6]) == [(False, False), (True, True)]
    state = one.silence(step(1).t_ns, {}).alarm
    assert (state.basis, state.threshold, state.level) == ("MISS_RATE", 0.5, 0.2)


def test_without_calibration_a_threshold_by_hand_is_for_the_longest_horizon(
    tmp_path, grid, monkeypatch
):
    plain = Monitor(random_checkpoint(tmp_path / "m", grid, Calibration()))
    plain.set_alarm(0.9)
    assert scored(plain, monkeypatch, [0.0]) == [(True, True)], "the risk there is 1"
    assert plain.silence(T0, {}).alarm.horizon == plain.source.horizons[-1]
    plain.set_alarm(None)
    assert plain.state(step(1)).alarm.basis == "NOT_SET"


def test_weights_of_the_reward_hold_from_the_next_step_on(monitor):
    monitor.state(step(0))
    before = monitor.state(step(1)).reward
    monitor.set_reward(2.0, 0.7)
    after = monitor.state(step(2)).reward
    assert (before.kappa, before.risk_weight) == (1.0, 0.1)
    assert (after.kappa, after.risk_weight) == (2.0, 0.7)
    assert after.reward == pytest.approx(
        2.0 * (after.gamma * after.next_value - after.value) - 0.7 * after.risk
    )


def test_the_bits_are_constants_of_the_messages(monitor):
    said = monitor.state(
        step(0, frozen=("joints",), incomplete=("joints",), clock_fault=True), ("joints",)
    )
    raw, _ = Encoder(monitor.source).assessment(said)
    message = typestore().deserialize_cdr(raw, ASSESSMENT)
    for name in said.info.validity:
        assert message.validity & getattr(message, f"VALIDITY_{name}"), name
    assert message.validity == sum(
        getattr(message, f"VALIDITY_{name}") for name in said.info.validity
    )
    assert message.faulty_streams == ["joints"]


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
    good = partial(type(monitor.assessor).assess, monitor.assessor)
    waiting = itertools.chain(scores, itertools.repeat(scores[-1]))

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
