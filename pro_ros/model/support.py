"""Whether a chunk is like the chunks that a scorer was trained on.

Two distances. In all directions, each in its deviation among the training chunks, the distance
from their mean (Mahalanobis), which sees moves that are too large or of a kind that never was.
And along the main directions the distance to the nearest of the training chunks that were kept,
which knows several clusters and what lies between them. The larger of both, each relative to a
quantile of it in training, is compared with that quantile among held-out executed chunks.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

EXPLAINED = 0.99
"""Share of the variance that the main directions keep."""

MOST_DIRECTIONS = 16

FLOOR = 1e-3
"""Variance, in the mean one of all directions, that is added to each: what never varied in some
hundred chunks may vary a little."""

MEASURED = 4000
"""Training chunks on which both distances are measured."""

LEAST = 1e-6
"""Distances are never relative to less."""


class Support:
    """Distance of chunks from those of the training.

    F: numbers of a chunk as the scorer reads it (standardised), P: main directions, R: kept
    training chunks.

    Parameters
    ----------
    arrays
        ``mean`` ``[F]``, ``directions`` ``[F, F]`` (main ones first, scaled to unit variance),
        ``kept`` ``[R, P]``, ``typical`` ``[2]``: a quantile of both distances in training.
    threshold
        Distances above it are far.
    """

    def __init__(self, arrays: Mapping[str, npt.NDArray[np.floating]], threshold: float) -> None:
        self.arrays = {k: np.asarray(v, dtype=np.float64) for k, v in arrays.items()}
        self.threshold = threshold
        self._mean, self._directions = self.arrays["mean"], self.arrays["directions"]
        self._kept = self.arrays["kept"]
        self._columns = np.ascontiguousarray(self._kept.T, dtype=np.float32)
        self._lengths = 0.5 * np.add.reduce(self._columns**2, axis=0)
        self._typical = self.arrays["typical"]

    @classmethod
    def fit(
        cls, rows: npt.NDArray[np.floating], kept: int, share: float, rng: np.random.Generator
    ) -> Support:
        """Fit to training chunks ``[N, F]``; the threshold is infinite until it is set.

        Parameters
        ----------
        kept
            Chunks that are kept to compare with.
        share
            The quantile to which both distances are relative.
        """
        x = np.asarray(rows, dtype=np.float64)
        mean = x.mean(axis=0)
        centred = x - mean
        variance, vectors = np.linalg.eigh(centred.T @ centred / max(1, len(x) - 1))
        variance, vectors = variance[::-1].clip(min=0.0), vectors[:, ::-1]
        total = float(variance.sum()) or 1.0
        wanted = int(np.searchsorted(np.cumsum(variance) / total, EXPLAINED)) + 1
        main = max(1, min(wanted, MOST_DIRECTIONS, len(variance)))
        directions = vectors / np.sqrt(variance + FLOOR * total / len(variance))
        chosen = np.sort(rng.permutation(len(x))[:kept])
        arrays = {
            "mean": mean,
            "directions": directions,
            "kept": (centred @ directions[:, :main])[chosen],
            "typical": np.ones(2),
        }
        first = cls(arrays, np.inf)
        # Not from those that are kept, whose distance is 0, where there are others.
        others = np.setdiff1d(np.arange(len(x)), chosen)
        near, _ = first._distances(x[others[:: max(1, len(others) // MEASURED)]])
        _, off = first._distances(x[:: max(1, len(x) // MEASURED)])
        typical = [float(np.quantile(d, share)) if len(d) else 1.0 for d in (near, off)]
        return cls(arrays | {"typical": np.maximum(typical, LEAST)}, np.inf)

    def with_threshold(self, threshold: float) -> Support:
        """The same with another threshold."""
        return Support(self.arrays, threshold)

    def distance(self, rows: npt.NDArray[np.floating]) -> Array:
        """Distance of each chunk ``[N, F]``, relative to the training's: ``[N]``."""
        near, off = self._distances(np.asarray(rows, dtype=np.float64))
        return np.maximum(near / self._typical[0], off / self._typical[1])

    def _distances(self, rows: Array) -> tuple[Array, Array]:
        at = (rows - self._mean) @ self._directions
        main = at[:, : self._kept.shape[1]]
        # Which one is nearest can be found in single precision; how near it is, not.
        halves = self._lengths - main.astype(np.float32) @ self._columns
        apart = main - self._kept[np.argmin(halves, axis=1)]
        nearest = np.sqrt(np.add.reduce(apart**2, axis=1))
        return nearest, np.sqrt(np.add.reduce(at**2, axis=1))
