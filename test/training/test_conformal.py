from __future__ import annotations

import numpy as np
import pytest

from pro_ros.errors import TooFewEpisodesError
from pro_ros.training.conformal import false_alarm_threshold, miss_rate_threshold


@pytest.mark.parametrize(("alpha", "needed"), [(0.05, 19), (0.1, 9), (0.3, 3)])
def test_too_few_failures_are_refused_with_the_number_needed(alpha, needed):
    peaks = [np.array([0.5])] * needed
    with pytest.raises(TooFewEpisodesError, match=f"at least {needed} calibration episodes"):
        miss_rate_threshold(peaks[1:], alpha)
    assert miss_rate_threshold(peaks, alpha) == 0.5


def test_the_promised_miss_rate_holds_on_average_over_calibration_sets():
    rng = np.random.default_rng(1)
    missed = []
    for _ in range(2000):
        scores = rng.beta(2, 2, size=20)
        threshold = miss_rate_threshold([scores[i : i + 1] for i in range(19)], 0.2)
        missed.append(scores[-1] < threshold)
    # 19 exchangeable scores: at most 0.2, and not far below it.
    assert 0.15 < np.mean(missed) <= 0.2 + 3 * np.sqrt(0.16 / 2000)


def test_an_episode_counts_once_however_many_events_it_has():
    peaks = [np.array([0.9])] * 8 + [np.array([0.1] * 50)]
    assert miss_rate_threshold(peaks, 0.2) == 0.9


def test_the_promised_false_alarm_rate_holds_on_average():
    rng = np.random.default_rng(2)
    per_hour, most, hours, trials = 6.0, 3, 0.05, 600
    thresholds = np.linspace(1, 0, 101)
    alarms = 0
    for _ in range(trials):
        # Up to three false alarms in an episode, each at a threshold of its own.
        peaks = rng.random((61, most))
        peaks[rng.random((61, most)) < 0.5] = -1.0
        counts = (peaks[None, :-1] >= thresholds[:, None, None]).sum(axis=2)
        threshold = false_alarm_threshold(thresholds, counts, np.full(60, hours), per_hour, most)
        alarms += int(np.sum(peaks[-1] >= threshold))
    rate = alarms / (trials * hours)
    # The bound costs most_per_episode alarms in 3 hours; the rest is used up.
    assert 0.5 * per_hour < rate <= per_hour


def test_a_false_alarm_rate_needs_enough_hours():
    with pytest.raises(TooFewEpisodesError, match=r"need at least 2 h"):
        false_alarm_threshold(np.array([1.0]), np.zeros((1, 3)), np.full(3, 0.5), 1.0, 2)


def test_merging_of_alarms_at_low_thresholds_is_not_taken_for_fewer_alarms():
    thresholds = np.array([0.9, 0.5, 0.1])
    counts = np.array([[0.0], [5.0], [1.0]])
    assert false_alarm_threshold(thresholds, counts, np.array([2.0]), 1.5, 2) == 0.9


def test_where_nothing_fits_the_threshold_lies_above_every_score():
    threshold = false_alarm_threshold(
        np.array([0.7, 0.2]), np.array([[1.0], [2.0]]), np.array([2.0]), 1.0, 2
    )
    assert threshold > 0.7
