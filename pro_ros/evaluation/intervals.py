"""Bootstrap intervals over episodes (or groups of them), never over rows.

Rows of one episode resemble each other, so whole episodes are drawn with replacement and bring
all their rows (operator.md, "The metrics"; Efron and Tibshirani 1993, ch. 8). A draw is a vector
of multiplicities, one per unit. Every metric of every model is computed under the same draws, so
that differences between models are paired.

Metrics under multiplicities are computed from sums per unit, or, for rankings, from counts per
unit and score bin: one sort for all draws.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pro_ros.evaluation.metrics import BoolVector, FloatVector

Replicates = npt.NDArray[np.float64]
NumberVector = npt.NDArray[np.floating] | npt.NDArray[np.integer]

MOST_RANK_BINS = 4096
"""Rankings that need no more bins than this are resampled exactly."""

LARGEST_COUNT_TABLE = 8_000_000
"""Most entries of a table of counts per unit and score bin."""


class Interval(NamedTuple):
    """A percentile interval, or None on both sides and why there is none."""

    low: float | None
    high: float | None
    reason: str = ""


class Bootstrap:
    """Draws of units with replacement.

    Parameters
    ----------
    units
        Number of units (episodes).
    resamples
        Number of draws R.
    seed
        Seed of the draws; equal seeds give equal intervals.
    level
        Coverage of the intervals, e.g. 0.95.

    Attributes
    ----------
    weights
        float64 ``[R, units]``: how often each unit is in each draw.
    """

    def __init__(
        self, units: int, resamples: int = 1000, seed: int = 0, level: float = 0.95
    ) -> None:
        self.units = units
        self.resamples = resamples
        self.level = level
        rng = np.random.default_rng(seed)
        self.weights: npt.NDArray[np.float64] = np.zeros((resamples, 0))
        if units:
            drawn = rng.multinomial(units, np.full(units, 1.0 / units), size=resamples)
            self.weights = drawn.astype(np.float64)

    def interval(self, replicates: Replicates | None) -> Interval:
        """Percentile interval of a metric's values under the draws.

        Draws in which the metric is not defined (NaN: one class only) are left out. None where
        there are fewer than two units or more than half of the draws are not defined.
        """
        if replicates is None:
            return Interval(None, None, "not defined")
        if not self.resamples:
            return Interval(None, None, "no resampling was asked for")
        if self.units < 2:
            return Interval(None, None, "an interval needs at least two units to resample")
        defined = replicates[np.isfinite(replicates)]
        if len(defined) * 2 <= len(replicates):
            return Interval(None, None, "too few events to resample")
        tail = (1.0 - self.level) / 2.0
        low, high = np.quantile(defined, [tail, 1.0 - tail])
        return Interval(float(low), float(high))

    def ratio(self, numerator: NumberVector, denominator: NumberVector) -> Replicates:
        """Sum of ``numerator`` over sum of ``denominator``, both given per unit ``[units]``."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return (self.weights @ numerator) / (self.weights @ denominator)

    def mean(self, value: FloatVector, unit: npt.NDArray[np.integer]) -> Replicates:
        """Mean of ``value`` over rows; ``unit`` ``[N]`` says which unit a row belongs to."""
        return self.ratio(
            np.bincount(unit, value, minlength=self.units),
            np.bincount(unit, minlength=self.units),
        )

    def ranking(
        self, score: FloatVector, label: BoolVector, unit: npt.NDArray[np.integer]
    ) -> tuple[Replicates, Replicates]:
        """AUROC and average precision under each draw, as two ``[R]``.

        Exact where :data:`MOST_RANK_BINS` bins are enough, which takes some two thousand distinct
        positive scores; beyond it, scores below the highest half of the bins share bins by rank,
        which changes the third decimal at most.
        """
        room = max(256, LARGEST_COUNT_TABLE // max(1, self.units))
        which, bins = _rank_bins(score, label, min(MOST_RANK_BINS, room))
        cell = unit.astype(np.int64) * bins + which
        size = self.units * bins
        positive = np.bincount(cell[label], minlength=size).reshape(self.units, bins)
        negative = np.bincount(cell[~label], minlength=size).reshape(self.units, bins)
        positive, negative = positive.astype(np.float32), negative.astype(np.float32)
        area = np.empty(self.resamples)
        precision = np.empty(self.resamples)
        weights = self.weights.astype(np.float32)
        # Chunks keep the tables of a few hundred draws in cache.
        for start in range(0, self.resamples, 128):
            part = slice(start, start + 128)
            hits = (weights[part] @ positive).astype(np.float64)
            misses = (weights[part] @ negative).astype(np.float64)
            area[part], precision[part] = _areas(hits, misses)
        return area, precision

    def calibration_error(
        self,
        probability: FloatVector,
        label: BoolVector,
        which: npt.NDArray[np.integer],
        unit: npt.NDArray[np.integer],
    ) -> Replicates:
        """Expected calibration error under each draw, with the bins of the whole sample.

        ``which`` ``[N]`` is the bin of each row (:func:`metrics.equal_mass_bins`).
        """
        bins = int(which.max()) + 1 if len(which) else 0
        cell = unit.astype(np.int64) * bins + which
        gap = np.bincount(cell, probability - label, minlength=self.units * bins)
        total = np.bincount(unit, minlength=self.units).astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            gaps = np.abs(self.weights @ gap.reshape(self.units, bins)).sum(axis=1)
            return gaps / (self.weights @ total)

    def pairs(
        self,
        wins: npt.NDArray[np.floating],
        counted: npt.NDArray[np.floating],
        first_unit: npt.NDArray[np.integer],
        second_unit: npt.NDArray[np.integer],
    ) -> Replicates:
        """Share of pairs won under each draw.

        ``wins``, ``counted`` ``[A, B]``: score and weight of each pair; a pair is drawn as often
        as the product of its members' multiplicities.
        """
        first = self.weights[:, first_unit]
        second = self.weights[:, second_unit]
        with np.errstate(invalid="ignore", divide="ignore"):
            won = ((first @ wins) * second).sum(axis=1)
            return won / ((first @ counted) * second).sum(axis=1)


def _rank_bins(
    score: FloatVector, label: BoolVector, most: int
) -> tuple[npt.NDArray[np.int64], int]:
    """Bin of each row by falling score, and how many there are.

    Equal scores share a bin, and so do neighbours without a positive row among them: neither
    area depends on the order of negatives between two positives. The top half is kept exact.
    """
    values, which = np.unique(-np.asarray(score, dtype=np.float64), return_inverse=True)
    barren = np.bincount(which[label], minlength=len(values)) == 0
    new = np.ones(len(values), dtype=bool)
    new[1:] = ~(barren[1:] & barren[:-1])
    merged = np.cumsum(new) - 1
    bins = int(new.sum())
    if bins > most:
        exact = most // 2
        below = (np.arange(bins - exact) * (most - exact)) // (bins - exact)
        merged = np.concatenate([np.arange(exact), exact + below])[merged]
        bins = most
    return merged[which].astype(np.int64), bins


def _areas(
    positive: npt.NDArray[np.float64], negative: npt.NDArray[np.float64]
) -> tuple[Replicates, Replicates]:
    """AUROC and average precision from counts per score bin ``[R, bins]``, best bin first."""
    hits = np.cumsum(positive, axis=1)
    alarms = np.cumsum(negative, axis=1)
    p, n = hits[:, -1], alarms[:, -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        below = n[:, None] - alarms
        area = (positive * (below + 0.5 * negative)).sum(axis=1) / (p * n)
        share = np.where(hits > 0, hits / (hits + alarms), 0.0)
        precision = np.where(n > 0, (positive * share).sum(axis=1) / p, np.nan)
    return area, precision
