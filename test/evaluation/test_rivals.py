"""The rivals learn what they can from the windows they are given, and nothing across starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from pro_ros.evaluation import metrics, rivals
from pro_ros.evaluation.rivals import BOOSTING, CLOCK, LAST_VALUE, LOGISTIC, fit_rivals

MODES = ("drop", "jam")
HORIZONS = (1.0, 3.0)


@pytest.fixture(scope="module")
def train(make_case: Callable) -> list:  # type: ignore[type-arg]
    cases = [make_case(seed, 30, f"train#{seed}") for seed in range(2)]
    return [(c.sequence, c.labels) for c in cases]


@pytest.fixture(scope="module")
def fitted(train: list) -> dict[str, rivals.Rival]:  # type: ignore[type-arg]
    return fit_rivals(train, MODES, HORIZONS, 4, seed=0)


def test_a_window_is_empty_before_the_start() -> None:
    windows = rivals.Windows(np.arange(6.0).reshape(3, 2), (0, 1, 2))
    rows = windows.rows(np.array([0, 2]))
    assert rows[0, :2].tolist() == [0.0, 1.0]
    assert np.isnan(rows[0, 2:]).all()
    assert rows[1].tolist() == [4.0, 5.0, 2.0, 3.0, 0.0, 1.0]


def test_a_stretch_without_a_label_gives_no_row() -> None:
    windows = rivals.Windows(np.arange(6.0).reshape(3, 2), (0, 1, 2))
    assert windows.rows(np.array([], dtype=np.int64)).shape == (0, 6)


def test_missing_values_are_nan_in_the_order_of_the_layout(make_case: Callable) -> None:
    sequence = make_case().sequence
    mask = sequence.mask["telemetry"].copy()
    mask[3, 1] = False
    found = rivals.features(replace(sequence, mask={"telemetry": mask}))
    assert np.isnan(found[3, 1])
    assert np.isfinite(np.delete(found.ravel(), 3 * 2 + 1)).all()


def test_a_foreseeable_failure_is_foreseen(fitted: dict, make_case: Callable) -> None:  # type: ignore[type-arg]
    case = make_case(9, 30, "test#0")
    areas = {}
    for name, rival in fitted.items():
        said = rival.judge(case.sequence)
        assert said.mode_risk.shape == (len(case.sequence), 2, 2)
        assert (np.diff(said.mode_risk, axis=2) >= 0).all()
        assert ((said.mode_risk >= 0) & (said.mode_risk <= 1)).all()
        known = case.labels.any_within_known[:, 1]
        label = case.labels.any_within[:, 1] > 0.5
        areas[name] = metrics.auroc(said.risk[known, 1], label[known]).value
    assert areas[BOOSTING] > 0.95
    assert areas[LOGISTIC] > 0.95
    assert areas[LAST_VALUE] > 0.95
    # Failures come after 12 s of an episode: the clock knows when, not in which.
    assert areas[CLOCK] > 0.8


def test_predictions_depend_on_the_window_alone(fitted: dict, make_case: Callable) -> None:  # type: ignore[type-arg]
    sequence = make_case(5, 4).sequence
    values = sequence.values["telemetry"].copy()
    values[:20] += 5.0
    changed = replace(sequence, values={"telemetry": values})
    for name in (LAST_VALUE, LOGISTIC, BOOSTING):
        before, after = fitted[name].predict(sequence), fitted[name].predict(changed)
        assert np.array_equal(before[24:], after[24:])
        assert not np.array_equal(before[:20], after[:20])


def test_the_same_seed_gives_the_same_rivals(make_case: Callable) -> None:
    case = make_case(5, 9, modes=("drop",))
    one, other = (
        fit_rivals([(case.sequence, case.labels)], ("drop",), HORIZONS, 3, 3, (BOOSTING, CLOCK))
        for _ in range(2)
    )
    for name in one:
        assert np.array_equal(one[name].predict(case.sequence), other[name].predict(case.sequence))


def test_one_class_gives_its_share(make_case: Callable) -> None:
    calm = make_case(0, 4, fail_every=0)
    fitted = fit_rivals([(calm.sequence, calm.labels)], MODES, HORIZONS, 2, 0)
    for rival in fitted.values():
        said = rival.judge(calm.sequence)
        assert (said.mode_risk == 0).all()
        assert (said.success == 1).all()


def test_without_modes_or_training_data_nothing_is_claimed(make_case: Callable) -> None:
    case = make_case(0, 6, modes=())
    said = fit_rivals([(case.sequence, case.labels)], (), HORIZONS, 2, 0)[LOGISTIC].judge(
        case.sequence
    )
    assert said.mode_risk.shape == (len(case.sequence), 0, 2)
    assert (said.risk == 0).all()
    empty = fit_rivals([], MODES, HORIZONS, 2, 0)[BOOSTING].judge(case.sequence)
    assert np.isnan(empty.mode_risk).all()


def test_drawn_rows_keep_all_rare_ones_and_the_shares() -> None:
    label = np.zeros(10_000, dtype=bool)
    label[::100] = True
    keep, weight = rivals._draw(label, 1000, seed=0)
    assert keep.sum() == 1000
    assert keep[label].all()
    share = (weight * label)[keep].sum() / weight[keep].sum()
    assert share == pytest.approx(0.01)


def test_long_windows_are_thinned_but_keep_both_ends() -> None:
    assert rivals._lags(4) == (0, 1, 2, 3)
    long = rivals._lags(200)
    assert len(long) == rivals.MOST_LAGS
    assert (long[0], long[-1]) == (0, 199)
