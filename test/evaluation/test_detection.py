"""Failure detection per episode on hand-made scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pro_ros.evaluation import detection
from pro_ros.evaluation.intervals import Bootstrap

SCORES = [
    np.array([0.1, 0.8, 0.1, 0.1, 0.1]),  # failed, flagged after a quarter
    np.array([0.1, 0.1, 0.1, 0.1, 0.2]),  # failed, never flagged
    np.array([0.1, 0.1, 0.1, 0.1, 0.9]),  # succeeded, flagged at the end
    np.array([np.nan, 0.1, 0.1, 0.1, 0.1]),  # succeeded, quiet
]
TIMES = [np.arange(5.0)] * 4
FAILED = np.array([True, True, False, False])


def test_the_five_numbers_by_hand() -> None:
    found = detection.detect(SCORES, TIMES, FAILED, 0.5)
    assert found.flagged.tolist() == [True, False, True, False]
    assert detection.tpr(found).value == 0.5
    assert detection.fpr(found).value == 0.5
    assert detection.balanced_accuracy(found).value == 0.5
    assert detection.detection_time(found).value == 0.25
    # Right steps: 4 of 5 after the flag stays on, 0, 4 of 5, all.
    assert detection.timestep_accuracy(found).value == pytest.approx((0.8 + 0 + 0.8 + 1) / 4)


def test_the_whole_sample_as_a_draw_gives_the_numbers() -> None:
    found = detection.detect(SCORES, TIMES, FAILED, 0.5)
    boot = Bootstrap(4, 5)
    boot.weights[0] = 1.0
    drawn = detection.replicates(found, np.arange(4), boot)
    assert drawn["detection_tpr"][0] == 0.5
    assert drawn["detection_time"][0] == 0.25
    assert drawn["detection_timestep_accuracy"][0] == pytest.approx(0.65)
    assert drawn["detection_balanced_accuracy"][0] == 0.5


def test_one_class_says_which_is_missing() -> None:
    found = detection.detect(SCORES[2:], TIMES[2:], FAILED[2:], 0.5)
    assert detection.tpr(found) == (None, "no failed episode")
    assert detection.balanced_accuracy(found) == (None, "no failed episode")
    assert detection.detection_time(found) == (None, "no failure was flagged")
    failures = detection.detect(SCORES[:2], TIMES[:2], FAILED[:2], 0.5)
    assert detection.fpr(failures) == (None, "no successful episode")


def test_a_failure_flagged_at_once_is_flagged_at_time_zero() -> None:
    found = detection.detect([np.array([0.9])], [np.array([0.0])], np.array([True]), 0.5)
    assert detection.detection_time(found).value == 0.0


@given(
    st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=30),
    st.floats(0, 1),
)
def test_the_threshold_allows_no_more_false_positives_than_asked(
    made: list[tuple[int, bool]], allowed: float
) -> None:
    peaks = np.asarray([m[0] for m in made], dtype=float)
    failed = np.asarray([m[1] for m in made])
    threshold = detection.threshold_at_fpr(peaks, failed, allowed)
    if (~failed).any():
        assert (peaks[~failed] >= threshold).mean() <= allowed + 1e-9
        lower = peaks[~failed & (peaks < threshold)]
        if len(lower):
            assert (peaks[~failed] >= lower.max()).mean() > allowed
    else:
        assert threshold == -np.inf
