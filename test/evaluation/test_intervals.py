"""The bootstrap resamples episodes, pairs models, and computes what resampled rows would give."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from pro_ros.evaluation import intervals, metrics
from pro_ros.evaluation.intervals import Bootstrap


def sample(seed: int = 0, rows: int = 300, units: int = 12) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    unit = np.sort(rng.integers(0, units, rows))
    label = rng.random(rows) < 0.2
    score = np.round(np.clip(0.3 * label + rng.random(rows), 0, 1), 1)
    return score, label, unit


@pytest.mark.parametrize("seed", range(4))
def test_rankings_under_a_draw_equal_those_of_the_repeated_rows(seed: int) -> None:
    score, label, unit = sample(seed)
    boot = Bootstrap(12, resamples=150, seed=seed)
    area, precision = boot.ranking(score, label, unit)
    for r in (0, 7, 149):
        weight = boot.weights[r][unit]
        assert area[r] == pytest.approx(roc_auc_score(label, score, sample_weight=weight))
        expected = average_precision_score(label, score, sample_weight=weight)
        assert precision[r] == pytest.approx(expected)


def test_a_draw_with_one_class_is_not_defined() -> None:
    boot = Bootstrap(2, resamples=64, seed=1)
    area, precision = boot.ranking(np.array([0.9, 0.1]), np.array([True, False]), np.array([0, 1]))
    both = (boot.weights > 0).all(axis=1)
    assert both.any()
    assert (~both).any()
    assert np.array_equal(np.isfinite(area), both)
    assert np.array_equal(np.isfinite(precision), both)


def test_rankings_with_too_many_scores_are_close(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    label = rng.random(4000) < 0.3
    score = label + rng.normal(size=4000)
    unit = rng.integers(0, 30, 4000)
    exact = Bootstrap(30, 50).ranking(score, label, unit)
    monkeypatch.setattr(intervals, "MOST_RANK_BINS", 400)
    close = Bootstrap(30, 50).ranking(score, label, unit)
    for one, other in zip(exact, close, strict=True):
        assert not np.array_equal(one, other)
        np.testing.assert_allclose(one, other, atol=2e-3)


def test_repeating_rows_within_episodes_does_not_narrow_the_interval() -> None:
    score, label, unit = sample()
    boot = Bootstrap(12, seed=5)
    once = boot.interval(boot.ranking(score, label, unit)[0])
    often = boot.interval(
        boot.ranking(np.repeat(score, 50), np.repeat(label, 50), np.repeat(unit, 50))[0]
    )
    assert once.low == pytest.approx(often.low)
    assert once.high == pytest.approx(often.high)


def test_equal_seeds_give_equal_draws_and_others_do_not() -> None:
    assert np.array_equal(Bootstrap(20, 10, seed=3).weights, Bootstrap(20, 10, seed=3).weights)
    assert not np.array_equal(Bootstrap(20, 10, seed=3).weights, Bootstrap(20, 10, seed=4).weights)


def test_one_episode_has_no_interval() -> None:
    boot = Bootstrap(1, 100)
    found = boot.interval(boot.mean(np.array([0.1, 0.9]), np.array([0, 0])))
    assert (found.low, found.high) == (None, None)
    assert "two units" in found.reason


def test_too_few_events_to_resample_have_no_interval() -> None:
    boot = Bootstrap(10, 200)
    replicates = np.full(200, np.nan)
    replicates[:100] = 0.5
    assert boot.interval(replicates).reason == "too few events to resample"
    replicates[:101] = 0.5
    assert boot.interval(replicates).low == 0.5


def test_calibration_error_under_a_draw_equals_that_of_the_repeated_rows() -> None:
    score, label, unit = sample(2)
    which = metrics.equal_mass_bins(score, 5)
    boot = Bootstrap(12, 20, seed=2)
    found = boot.calibration_error(score, label, which, unit)
    for r in (0, 19):
        times = boot.weights[r][unit].astype(int)
        p, y, b = (np.repeat(x, times) for x in (score, label, which))
        gap = sum(abs((p[b == k] - y[b == k]).sum()) for k in range(5)) / len(p)
        assert found[r] == pytest.approx(gap)


def test_pairs_under_a_draw_equal_those_of_the_repeated_members() -> None:
    rng = np.random.default_rng(0)
    wins = rng.random((5, 4))
    counted = np.ones((5, 4))
    boot = Bootstrap(9, 30, seed=1)
    found = boot.pairs(wins, counted, np.arange(5), np.arange(5, 9))
    a, b = boot.weights[11][:5].astype(int), boot.weights[11][5:].astype(int)
    expected = np.mean(np.repeat(np.repeat(wins, a, axis=0), b, axis=1))
    assert found[11] == pytest.approx(expected)
