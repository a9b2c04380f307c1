"""Metrics of probabilities against outcomes: ranking, sharpness, calibration.

Small pure functions on arrays. Each returns a :class:`Measured`: a number, or None with the
reason why there is none (no rows, one class only). NaN scores are rows that a model did not
judge; they are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, roc_auc_score

FloatVector = npt.NDArray[np.floating]
BoolVector = npt.NDArray[np.bool_]

PROBABILITY_FLOOR = 1e-7
"""Probabilities are clipped to [floor, 1 - floor] before a logarithm is taken."""


class Measured(NamedTuple):
    """A number, or None and why there is none."""

    value: float | None
    reason: str = ""


@dataclass(frozen=True)
class ReliabilityBin:
    """One bin of a reliability diagram."""

    predicted: float
    """Mean predicted probability of the rows in the bin."""
    observed: float
    """Share of positive rows in the bin."""
    count: int
    positives: int


def judged(score: FloatVector, label: BoolVector) -> tuple[FloatVector, BoolVector]:
    """Rows with a finite score, as (score, label)."""
    finite = np.isfinite(score)
    return score[finite], np.asarray(label, dtype=bool)[finite]


def missing_class(label: BoolVector) -> str:
    """Why a ranking of these labels is not defined; empty where it is."""
    if not len(label):
        return "no rows"
    positives = int(np.count_nonzero(label))
    if positives == 0:
        return "no positive rows"
    if positives == len(label):
        return "no negative rows"
    return ""


def prevalence(label: BoolVector) -> Measured:
    """Share of positives."""
    if not len(label):
        return Measured(None, "no rows")
    return Measured(float(np.mean(label)))


def auroc(score: FloatVector, label: BoolVector) -> Measured:
    """Area under the receiver operating characteristic; ties count half."""
    score, label = judged(score, label)
    if reason := missing_class(label):
        return Measured(None, reason)
    return Measured(float(roc_auc_score(label, score)))


def auprc(score: FloatVector, label: BoolVector) -> Measured:
    """Average precision, the step-wise area under the precision-recall curve."""
    score, label = judged(score, label)
    if reason := missing_class(label):
        return Measured(None, reason)
    return Measured(float(average_precision_score(label, score)))


def brier_loss(probability: FloatVector, label: BoolVector) -> FloatVector:
    """Squared error of each row."""
    return (np.asarray(probability, dtype=np.float64) - label) ** 2


def log_loss(probability: FloatVector, label: BoolVector) -> FloatVector:
    """Negative log-likelihood of each row [nat], clipped at :data:`PROBABILITY_FLOOR`."""
    p = np.clip(
        np.asarray(probability, dtype=np.float64), PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR
    )
    return -np.where(label, np.log(p), np.log1p(-p))


def brier(probability: FloatVector, label: BoolVector) -> Measured:
    """Brier score: mean squared error of the probability."""
    probability, label = judged(probability, label)
    if not len(label):
        return Measured(None, "no rows")
    return Measured(float(np.mean(brier_loss(probability, label))))


def nll(probability: FloatVector, label: BoolVector) -> Measured:
    """Mean negative log-likelihood [nat]."""
    probability, label = judged(probability, label)
    if not len(label):
        return Measured(None, "no rows")
    return Measured(float(np.mean(log_loss(probability, label))))


def equal_mass_bins(probability: FloatVector, bins: int = 10) -> npt.NDArray[np.int64]:
    """Bin of each row, such that bins hold about the same number of rows.

    Equal probabilities always share a bin, so there may be fewer bins than asked for. Equal mass
    is used because rare events leave bins of equal width empty but for the first (Nixon et al.
    2019, "Measuring calibration in deep learning").
    """
    if not len(probability):
        return np.zeros(0, dtype=np.int64)
    edges = np.unique(np.quantile(probability, np.arange(1, bins) / bins))
    inner = np.searchsorted(edges, probability, side="right")
    return np.unique(inner, return_inverse=True)[1].astype(np.int64)


def ece(probability: FloatVector, label: BoolVector, bins: int = 10) -> Measured:
    """Expected calibration error over bins of equal mass.

    Mean over rows of |mean probability - share of positives| of the row's bin.
    """
    probability, label = judged(probability, label)
    if not len(label):
        return Measured(None, "no rows")
    which = equal_mass_bins(probability, bins)
    gap = np.abs(np.bincount(which, probability) - np.bincount(which, label))
    return Measured(float(gap.sum() / len(label)))


def reliability(
    probability: FloatVector, label: BoolVector, bins: int = 10
) -> tuple[ReliabilityBin, ...]:
    """The bins of :func:`ece`, by rising probability, with their counts."""
    probability, label = judged(probability, label)
    which = equal_mass_bins(probability, bins)
    count = np.bincount(which)
    predicted = np.bincount(which, probability) / np.maximum(count, 1)
    positives = np.bincount(which, label)
    return tuple(
        ReliabilityBin(float(p), float(k / n), int(n), int(k))
        for p, n, k in zip(predicted, count, positives, strict=True)
        if n
    )
