"""Value against time, outcome and return."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pro_ros.evaluation import value_metrics


@pytest.mark.parametrize("metric", [value_metrics.voc, value_metrics.kendall])
def test_a_rising_value_has_order_one_and_a_falling_one_minus_one(metric) -> None:  # type: ignore[no-untyped-def]
    rising = np.array([0.1, 0.2, 0.4, 0.9])
    assert metric(rising) == pytest.approx(1.0)
    assert metric(-rising) == pytest.approx(-1.0)
    assert metric(np.zeros(5)) == 0.0
    assert np.isnan(metric(np.array([0.1, 0.2])))
    assert metric(np.array([0.1, np.nan, 0.2, 0.3])) == pytest.approx(1.0)


def test_ranks_are_those_of_scipy_with_ties() -> None:
    value = np.array([0.1, 0.3, 0.3, 0.2, 0.5, 0.5, 0.1])
    time = np.arange(7)
    assert value_metrics.voc(value) == pytest.approx(stats.spearmanr(time, value)[0])
    assert value_metrics.kendall(value) == pytest.approx(stats.kendalltau(time, value)[0])


def test_pearson_is_of_the_return_and_needs_one_that_moves() -> None:
    target = np.array([0.0, 1.0, 2.0, np.nan])
    assert value_metrics.pearson(np.array([1.0, 2.0, 3.0, -9.0]), target) == pytest.approx(1.0)
    assert value_metrics.pearson(np.zeros(4), target) == 0.0
    assert np.isnan(value_metrics.pearson(np.arange(4.0), np.ones(4)))


def test_pairs_are_of_one_task_and_ties_count_half() -> None:
    measured = value_metrics.pairwise_accuracy(
        np.array([0.9, 0.5]), np.array([0.5, 0.95]), ["pick", "pick"], ["pick", "place"]
    )
    # 0.9 > 0.5 wins, 0.5 against 0.5 ties; the failure of another task is not compared.
    assert measured.value == pytest.approx(0.75)
    none = value_metrics.pairwise_accuracy(np.array([0.9]), np.array([0.1]), ["a"], ["b"])
    assert none == (None, "no success and failure of the same task")


def test_the_mean_is_over_the_episodes_that_have_a_number() -> None:
    assert value_metrics.mean_over_episodes(np.array([1.0, np.nan, 0.0])).value == 0.5
    assert value_metrics.mean_over_episodes(np.array([np.nan])).value is None
