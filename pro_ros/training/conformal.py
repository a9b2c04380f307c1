"""Alarm thresholds with a finite-sample promise, by conformal risk control.

Angelopoulos, Bates, Fisch, Lei and Schuster, "Conformal Risk Control" (ICLR 2024): for losses
L_1..L_n, L_{n+1} that are exchangeable, bounded above by B and monotone in a parameter, the
parameter chosen so that (sum_i L_i + B) / (n + 1) <= alpha keeps E[L_{n+1}] <= alpha. The unit
here is the episode, because steps of one episode are anything but exchangeable.

The promise is about episodes like the calibration's, on average over calibration sets; it does
not cover another site, robot or season.
"""

from __future__ import annotations

import math
from collections.abc import Sequence as Seq

import numpy as np
import numpy.typing as npt

from pro_ros.errors import TooFewEpisodesError

ROUNDING = 1e-9
"""Slack in comparisons of sums of floating-point numbers."""


def miss_rate_threshold(peaks: Seq[npt.NDArray[np.floating]], miss_rate: float) -> float:
    """Largest threshold whose promised share of missed events per failing episode is low enough.

    Parameters
    ----------
    peaks
        Per episode with events: the highest score while an alarm would have been in time, one
        per event. The loss of an episode is the share of its events whose peak lies below the
        threshold: within [0, 1], and falling as the threshold falls.
    miss_rate
        In (0, 1).

    Raises
    ------
    TooFewEpisodesError
        Fewer episodes than ceil(1 / miss_rate) - 1, with which no threshold can keep the
        promise, or events before which nothing was scored.
    """
    needed = math.ceil(1.0 / miss_rate - ROUNDING) - 1
    if len(peaks) < needed:
        raise TooFewEpisodesError(
            f"a miss rate of {miss_rate:g} needs at least {needed} calibration episodes with "
            f"the failure, there are {len(peaks)}: record more or ask for a higher miss rate"
        )
    for threshold in np.unique(np.concatenate(list(peaks)))[::-1]:
        missed = sum(float(np.mean(p < threshold)) for p in peaks)
        if (missed + 1.0) / (len(peaks) + 1) <= miss_rate + ROUNDING:
            return float(threshold)
    raise AssertionError("at the lowest peak nothing is missed")


def false_alarm_threshold(
    thresholds: npt.NDArray[np.floating],
    false_alarms: npt.NDArray[np.floating],
    hours: npt.NDArray[np.floating],
    per_hour: float,
    most_per_episode: int,
) -> float:
    """Smallest threshold whose promised false alarms per hour are low enough.

    The loss of an episode is (false alarms) - ``per_hour`` * (hours); its expectation is at most
    0 exactly if the expected count is at most ``per_hour`` times the expected time. Counts are
    made monotone in the threshold by taking the most at any threshold at or above it.

    Parameters
    ----------
    thresholds
        ``[G]``, falling.
    false_alarms
        ``[G, N]``: false alarms of each episode at each threshold.
    hours
        ``[N]``: monitored time of each episode [h].
    most_per_episode
        Bound of the loss: how many alarms fit into an episode, whatever the scores.

    Raises
    ------
    TooFewEpisodesError
        Even without a single false alarm the monitored time is too short for the promise.
    """
    total = float(hours.sum())
    needed = most_per_episode / per_hour
    if total < needed - ROUNDING:
        raise TooFewEpisodesError(
            f"{per_hour:g} false alarms per hour need at least {needed:.3g} h of calibration "
            f"episodes, there are {total:.2g} h: record more or allow more false alarms"
        )
    allowed = per_hour * total - most_per_episode + ROUNDING
    counts = np.maximum.accumulate(false_alarms, axis=0).sum(axis=1)
    fitting = np.flatnonzero(counts <= allowed)
    if not len(fitting):
        return float(np.nextafter(thresholds[0], np.inf))
    return float(thresholds[fitting[-1]])
