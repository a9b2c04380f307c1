"""Fitting the affine calibration of logits on held-out episodes (Platt 1999)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit

MIN_POSITIVES = 5
"""Fewer positives (or negatives) than this leave the logits as they are."""

PRIOR_DEVIATION = 0.5
"""Standard deviation of the prior on log slope around 0, so that few events move it little."""


def fit_platt(
    logit: npt.NDArray[np.floating],
    target: npt.NDArray[np.floating],
    known: npt.NDArray[np.bool_],
) -> tuple[float, float] | None:
    """Slope > 0 and intercept that maximise the likelihood of the known targets.

    All arrays have one shape. The slope is kept near 1 by a prior on its logarithm.

    Returns
    -------
    tuple or None
        None where there are too few positives or negatives to say anything.
    """
    x = logit[known].astype(np.float64)
    y = target[known].astype(np.float64)
    if min(y.sum(), (1.0 - y).sum()) < MIN_POSITIVES:
        return None

    def objective(theta: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        slope = np.exp(theta[0])
        z = slope * x + theta[1]
        residual = expit(z) - y
        loss = np.sum(np.logaddexp(0.0, z) - y * z) + 0.5 * (theta[0] / PRIOR_DEVIATION) ** 2
        gradient = [
            np.sum(residual * x) * slope + theta[0] / PRIOR_DEVIATION**2,
            np.sum(residual),
        ]
        return float(loss), np.asarray(gradient)

    result = minimize(
        objective, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(-3, 3), (-8, 8)]
    )
    return float(np.exp(result.x[0])), float(result.x[1])
