"""Metrics against definitions written out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pro_ros.evaluation import metrics

SCORES = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0]), st.booleans()),
    min_size=1, max_size=40,
)  # fmt: skip


def split(pairs: list[tuple[float, bool]]) -> tuple[np.ndarray, np.ndarray]:
    score, label = zip(*pairs, strict=True)
    return np.asarray(score), np.asarray(label, dtype=bool)


@given(SCORES)
def test_auroc_is_the_share_of_pairs_in_order(pairs: list[tuple[float, bool]]) -> None:
    score, label = split(pairs)
    measured = metrics.auroc(score, label)
    if label.all() or not label.any():
        assert measured.value is None
        assert measured.reason
        return
    above = score[label][:, None] > score[~label][None, :]
    equal = score[label][:, None] == score[~label][None, :]
    assert measured.value == pytest.approx(np.mean(above + 0.5 * equal))


def test_average_precision_of_a_known_ranking() -> None:
    # Positives at ranks 1 and 3: (1/1 + 2/3) / 2.
    measured = metrics.auprc(np.array([0.9, 0.8, 0.7, 0.1]), np.array([1, 0, 1, 0], dtype=bool))
    assert measured.value == pytest.approx((1.0 + 2.0 / 3.0) / 2.0)


@pytest.mark.parametrize(
    ("label", "reason"),
    [([], "no rows"), ([False, False], "no positive rows"), ([True], "no negative rows")],
)
def test_one_class_gives_a_reason_and_no_number(label: list[bool], reason: str) -> None:
    y = np.asarray(label, dtype=bool)
    score = np.linspace(0, 1, len(y))
    assert metrics.auroc(score, y) == (None, reason)
    assert metrics.auprc(score, y) == (None, reason)


def test_rows_without_a_score_are_left_out() -> None:
    score = np.array([0.9, np.nan, 0.1])
    label = np.array([True, False, False])
    assert metrics.auroc(score, label).value == 1.0
    assert metrics.brier(score, label).value == pytest.approx((0.01 + 0.01) / 2)


def test_certain_and_wrong_has_a_finite_likelihood() -> None:
    measured = metrics.nll(np.array([0.0]), np.array([True]))
    assert measured.value == pytest.approx(-np.log(metrics.PROBABILITY_FLOOR))


def test_calibration_error_by_hand() -> None:
    # Two bins of two: |0.1 - 0.5| and |0.9 - 0.5|.
    p = np.array([0.1, 0.1, 0.9, 0.9])
    y = np.array([True, False, True, False])
    assert metrics.ece(p, y, bins=2).value == pytest.approx(0.4)
    assert metrics.ece(np.array([0.5, 0.5]), np.array([True, False])).value == 0.0


@given(SCORES, st.integers(2, 12))
def test_bins_keep_equal_scores_together_and_lose_no_row(
    pairs: list[tuple[float, bool]], bins: int
) -> None:
    score, label = split(pairs)
    which = metrics.equal_mass_bins(score, bins)
    assert len(set(which)) <= bins
    for value in np.unique(score):
        assert len(set(which[score == value])) == 1
    found = metrics.reliability(score, label, bins)
    assert sum(b.count for b in found) == len(score)
    assert sum(b.positives for b in found) == label.sum()
    assert [b.predicted for b in found] == sorted(b.predicted for b in found)
