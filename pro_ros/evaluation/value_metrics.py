"""Metrics of the value V against time, outcome and return.

Episodes are lists of arrays, one array of values per episode in the order of time. Scores are
per episode so that intervals can resample episodes.
"""

from __future__ import annotations

from collections.abc import Sequence as Sequence_

import numpy as np
import numpy.typing as npt
from scipy import stats

from pro_ros.evaluation.metrics import Measured

FloatVector = npt.NDArray[np.floating]

FEWEST_STEPS = 3
"""Episodes with fewer judged steps have no order worth measuring and are left out."""


def voc(value: FloatVector) -> float:
    """Value-order correlation of one episode: Spearman rank of value against time.

    1 where the value rises all the way (Ma et al. 2024, "Vision language models are in-context
    value learners"). A constant value has no order and counts as 0. NaN for an episode with
    fewer than :data:`FEWEST_STEPS` steps.
    """
    value = value[np.isfinite(value)]
    if len(value) < FEWEST_STEPS:
        return float("nan")
    if np.ptp(value) == 0:
        return 0.0
    # Spearman's rank correlation is Pearson's of the ranks; scipy's own call takes ten times as
    # long on short episodes because it computes a p-value too.
    return _correlation(np.arange(len(value)), stats.rankdata(value))


def kendall(value: FloatVector) -> float:
    """Kendall tau-b of value against time in one episode; same conventions as :func:`voc`."""
    value = value[np.isfinite(value)]
    if len(value) < FEWEST_STEPS:
        return float("nan")
    if np.ptp(value) == 0:
        return 0.0
    return float(stats.kendalltau(np.arange(len(value)), value).statistic)


def pearson(value: FloatVector, target: FloatVector) -> float:
    """Pearson correlation of value and return within one episode.

    A constant value counts as 0; NaN where the return is constant or there are fewer than
    :data:`FEWEST_STEPS` steps with both.
    """
    both = np.isfinite(value) & np.isfinite(target)
    value, target = value[both].astype(np.float64), target[both].astype(np.float64)
    if len(value) < FEWEST_STEPS or np.ptp(target) == 0:
        return float("nan")
    if np.ptp(value) == 0:
        return 0.0
    return _correlation(value, target)


def _correlation(one: npt.NDArray[np.number], other: npt.NDArray[np.number]) -> float:
    """Pearson correlation of two arrays that both vary."""
    return float(np.corrcoef(one, other)[0, 1])


def mean_over_episodes(per_episode: FloatVector) -> Measured:
    """Mean of the episodes for which the score is defined."""
    defined = per_episode[np.isfinite(per_episode)]
    if not len(defined):
        return Measured(None, f"no episode with at least {FEWEST_STEPS} steps to order")
    return Measured(float(defined.mean()))


def pair_table(
    success: FloatVector,
    failure: FloatVector,
    success_task: Sequence_[str],
    failure_task: Sequence_[str],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Which pairs of a success and a failure of the same task rank the success higher.

    Returns
    -------
    wins, counted
        float32 ``[S, F]``: 1, ½ (tie) or 0, and 1 where the pair is compared at all.
    """
    same = np.asarray(success_task)[:, None] == np.asarray(failure_task)[None, :]
    known = np.isfinite(success)[:, None] & np.isfinite(failure)[None, :]
    counted = (same & known).astype(np.float32)
    with np.errstate(invalid="ignore"):
        higher = (success[:, None] > failure[None, :]) + 0.5 * (
            success[:, None] == failure[None, :]
        )
    return (higher * counted).astype(np.float32), counted


def pairwise_accuracy(
    success: FloatVector,
    failure: FloatVector,
    success_task: Sequence_[str],
    failure_task: Sequence_[str],
) -> Measured:
    """Share of (success, failure) pairs of one task in which the success has the higher value.

    ``success``, ``failure``: one number per episode, its mean value. Ties count half.
    """
    wins, counted = pair_table(success, failure, success_task, failure_task)
    if not counted.sum():
        return Measured(None, "no success and failure of the same task")
    return Measured(float(wins.sum() / counted.sum()))
