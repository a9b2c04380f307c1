"""False alarms, recall and lead time on hand-made recordings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pro_ros.evaluation import alarmrates
from pro_ros.evaluation.alarmrates import Monitored
from pro_ros.evaluation.intervals import Bootstrap

SECOND = 1_000_000_000


def monitored(
    steps: int, onsets_s: list[float], horizon_s: float = 5.0, units: int = 1
) -> Monitored:
    """One step per second; momentary events."""
    t = np.arange(steps, dtype=np.int64) * SECOND
    onset = np.round(np.asarray(sorted(onsets_s)) * SECOND).astype(np.int64)
    following = np.searchsorted(onset, t, side="right")
    ahead = np.append(onset, np.iinfo(np.int64).max // 2)[following] - t
    positive = ahead <= horizon_s * SECOND
    unit = (np.arange(steps) * units // steps).astype(np.int64)
    event_unit = unit[np.clip(np.searchsorted(t, onset) - 1, 0, steps - 1)]
    return Monitored(
        t_ns=t, hours=np.full(steps, 1 / 3600), at_risk=np.ones(steps, dtype=bool),
        positive=positive, event=np.where(positive, following, -1), onset_ns=onset, unit=unit,
        event_unit=event_unit, horizon_s=horizon_s, units=units,
    )  # fmt: skip


def on(steps: int, *at: int) -> np.ndarray:
    score = np.zeros(steps)
    score[list(at)] = 1.0
    return score


def test_an_alarm_that_stays_on_claims_again_after_every_horizon() -> None:
    found = alarmrates.claims(monitored(60, []), on(60, *range(10, 30)), 0.5, 3.0)
    assert found.tolist() == [10, 15, 20, 25]


def test_a_flickering_alarm_claims_once() -> None:
    found = alarmrates.claims(monitored(60, []), on(60, 10, 12, 14), 0.5, 3.0)
    assert found.tolist() == [10]


def test_an_alarm_that_never_goes_off_is_no_free_lunch() -> None:
    recording = monitored(3600, [1000.5, 2000.5])
    point, _, _ = alarmrates.point_at(recording, np.ones(3600), 0.5, 3.0)
    assert point.recall == 1.0
    assert point.false_alarms_per_hour == pytest.approx(3600 / 5 - 2, abs=1)


def test_an_alarm_in_the_lead_window_recalls_the_event_and_is_true() -> None:
    recording = monitored(100, [50.5])
    point, false_alarms, recalled = alarmrates.point_at(recording, on(100, 47), 0.5, 3.0)
    assert (point.recall, point.false_alarms_per_hour) == (1.0, 0.0)
    assert (false_alarms.sum(), recalled.sum()) == (0, 1)
    assert alarmrates.lead_times(recording, on(100, 47), 0.5) == pytest.approx([3.5])


def test_an_alarm_too_early_is_false_and_recalls_nothing() -> None:
    recording = monitored(100, [50.5])
    point, _, _ = alarmrates.point_at(recording, on(100, 44), 0.5, 3.0)
    assert point.recall == 0.0
    assert point.false_alarms_per_hour == pytest.approx(36.0)
    assert np.isnan(alarmrates.lead_times(recording, on(100, 44), 0.5)).all()


def test_lead_time_begins_at_the_first_alarm_of_the_window() -> None:
    lead = alarmrates.lead_times(monitored(100, [50.0]), on(100, 44, 45, 49), 0.5)
    assert lead == pytest.approx([5.0])


def test_steps_inside_the_fault_raise_no_alarm() -> None:
    recording = monitored(100, [50.5])
    at_risk = recording.at_risk.copy()
    at_risk[51:60] = False
    faulty = Monitored(**{**recording.__dict__, "at_risk": at_risk})
    assert alarmrates.claims(faulty, on(100, *range(51, 60)), 0.5, 3.0).tolist() == []


def test_events_that_nobody_could_warn_of_are_not_counted() -> None:
    recording = monitored(100, [0.0, 50.5])
    assert recording.counted.tolist() == [False, True]
    point, _, _ = alarmrates.point_at(recording, on(100, 48), 0.5, 3.0)
    assert point.recall == 1.0


def test_no_events_or_no_time_is_said() -> None:
    assert "no events" in alarmrates.undefined(monitored(10, []))
    recording = monitored(10, [5.5])
    nothing = Monitored(**{**recording.__dict__, "hours": np.zeros(10)})
    assert alarmrates.undefined(nothing) == "no monitored time"


RECORDING = st.tuples(
    st.lists(st.integers(0, 20), min_size=80, max_size=80),
    st.lists(st.integers(6, 78), min_size=1, max_size=5, unique=True),
)


@given(RECORDING, st.sampled_from([20.0, 90.0, 400.0]))
def test_an_operating_point_keeps_its_rate_and_its_promise(
    made: tuple[list[int], list[int]], rate: float
) -> None:
    score = np.asarray(made[0]) / 20
    recording = monitored(80, [o + 0.5 for o in made[1]])
    swept = alarmrates.sweep(recording, score, 3.0)
    point = alarmrates.operating_point(swept, rate)
    assert point.false_alarms_per_hour <= rate
    if np.isfinite(point.threshold):
        again, _, _ = alarmrates.point_at(recording, score, point.threshold, 3.0)
        assert again.recall == pytest.approx(point.recall)
        assert again.false_alarms_per_hour == pytest.approx(point.false_alarms_per_hour)
    assert np.all(np.diff(swept.recall) >= 0)


def test_recall_of_the_whole_sample_is_the_operating_points() -> None:
    rng = np.random.default_rng(0)
    recording = monitored(3600, list(np.arange(100, 3500, 130) + 0.5), units=20)
    score = rng.random(3600) + 0.5 * recording.positive
    swept = alarmrates.sweep(recording, score, 3.0)
    boot = Bootstrap(20, 200)
    boot.weights[0] = 1.0
    replicates = alarmrates.recall_replicates(swept, 6.0, boot)
    assert replicates[0] == pytest.approx(alarmrates.operating_point(swept, 6.0).recall)
    for r in (1, 57, 199):
        weight = boot.weights[r]
        rate = swept.false_alarms @ weight / (swept.hours @ weight)
        recall = swept.recalled @ weight / (swept.events @ weight)
        assert replicates[r] == pytest.approx(recall[rate <= 6.0].max())
    assert replicates[1:].std() > 0


def test_a_rate_that_allows_nothing_recalls_nothing() -> None:
    recording = monitored(80, [40.5])
    score = on(80, 5, 15, 25)
    point = alarmrates.operating_point(alarmrates.sweep(recording, score, 3.0), 1.0)
    assert (point.threshold, point.recall) == (np.inf, 0.0)
    assert alarmrates.lead_quantile(np.array([np.nan]), 0.5) == (None, "no event recalled")


def test_quantiles_of_lead_times_under_a_draw() -> None:
    boot = Bootstrap(4, 10)
    boot.weights[0] = [1, 1, 1, 1]
    boot.weights[1] = [3, 0, 0, 1]
    boot.weights[2] = [0, 0, 4, 0]
    lead = np.array([1.0, 2.0, np.nan, 4.0])
    found = alarmrates.lead_quantile_replicates(lead, np.arange(4), 0.5, boot)
    assert found[0] == 2.0
    assert found[1] == 1.0
    assert np.isnan(found[2])
