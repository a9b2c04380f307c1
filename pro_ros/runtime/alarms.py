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


class Alarm:
    """The same, one step at a time.

    Attributes
    ----------
    begins
        Whether an alarm began at the latest step: true at exactly the steps of
        :func:`alarm_onsets`.
    """

    def __init__(self, threshold: float, refractory_s: float) -> None:
        self.threshold = threshold
        self.begins = False
        self._refractory_ns = round(refractory_s * 1e9)
        self._above_ns: int | None = None

    def update(self, t_ns: int, score: float) -> bool:
        """Take the score of the next step; true while the alarm is on.

        It goes off at the first step at which the score has been below for longer than the
        refractory time.
        """
        if self._above_ns is not None and t_ns - self._above_ns > self._refractory_ns:
            self._above_ns = None
        above = score >= self.threshold
        self.begins = above and self._above_ns is None
        if above:
            self._above_ns = t_ns
        return self._above_ns is not None

    def reset(self) -> None:
        """Off, as before the first step."""
        self.begins = False
        self._above_ns = None
