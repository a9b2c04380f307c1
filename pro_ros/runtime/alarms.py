"""When a risk becomes an alarm: one definition for calibration, evaluation and the gate."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def alarm_onsets(
    t_ns: npt.NDArray[np.int64],
    score: npt.NDArray[np.floating],
    threshold: float,
    refractory_s: float,
) -> npt.NDArray[np.int64]:
    """Indices of the steps at which an alarm begins.

    An alarm begins where ``score`` reaches ``threshold`` (>=) and lasts until it has been below
    for ``refractory_s`` without a break; what crosses in between belongs to the same alarm, so
    that a score that flickers around the threshold counts once. A missing score (NaN) neither
    begins nor prolongs an alarm.

    Parameters
    ----------
    t_ns
        int64 ``[T]``, increasing [ns].
    score
        ``[T]``.
    refractory_s
        Time below the threshold after which an alarm is over [s].
    """
    above = np.flatnonzero(score >= threshold)
    if not len(above):
        return above.astype(np.int64)
    silence = np.diff(t_ns[above]) > round(refractory_s * 1e9)
    return above[np.concatenate([[True], silence])].astype(np.int64)
