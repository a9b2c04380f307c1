"""Failure detection per episode: was a failing episode flagged, and how early.

A score per step is compared with a threshold; from the first step at or above it the episode is
*flagged* and stays so. Steps without a score (NaN) do not count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pro_ros.evaluation.intervals import Bootstrap, Replicates
from pro_ros.evaluation.metrics import Measured

FloatVector = npt.NDArray[np.floating]
BoolVector = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Detection:
    """What a threshold makes of each episode; arrays over episodes ``[E]``.

    ``failed``: the outcome. ``flagged``: the threshold was reached. ``time``: share of the
    episode that had passed at the first flag, NaN where none. ``steps_right``: share of steps
    whose verdict equals the outcome.
    """

    failed: BoolVector
    flagged: BoolVector
    time: npt.NDArray[np.float64]
    steps_right: npt.NDArray[np.float64]


def detect(
    scores: list[FloatVector], times_s: list[FloatVector], failed: BoolVector, threshold: float
) -> Detection:
    """Apply a threshold to episodes.

    Parameters
    ----------
    scores, times_s
        Per episode ``[T]``: failure score, and time since its start [s].
    failed
        bool ``[E]``.
    """
    count = len(scores)
    flagged = np.zeros(count, dtype=bool)
    time = np.full(count, np.nan)
    right = np.full(count, np.nan)
    for i, (score, t) in enumerate(zip(scores, times_s, strict=True)):
        judged = np.isfinite(score)
        score, t = score[judged], t[judged]
        if not len(score):
            continue
        on = np.maximum.accumulate(score >= threshold)
        flagged[i] = on[-1]
        if flagged[i]:
            span = t[-1] - t[0]
            time[i] = (t[np.argmax(on)] - t[0]) / span if span > 0 else 0.0
        right[i] = float(np.mean(on == failed[i]))
    return Detection(np.asarray(failed, dtype=bool), flagged, time, right)


def peak_scores(scores: list[FloatVector]) -> npt.NDArray[np.float64]:
    """Highest score of each episode ``[E]``; NaN where no step was judged."""
    return np.asarray(
        [np.nanmax(s) if np.isfinite(s).any() else np.nan for s in scores], dtype=np.float64
    )


def threshold_at_fpr(peaks: FloatVector, failed: BoolVector, fpr: float) -> float:
    """The lowest threshold that flags at most the share ``fpr`` of the successes.

    Chosen on the data it is reported on, which favours whoever is measured with it.
    """
    successes = np.sort(peaks[~failed & np.isfinite(peaks)])[::-1]
    allowed = int(np.floor(fpr * len(successes) + 1e-9))
    if allowed >= len(successes):
        return float("-inf")
    return float(np.nextafter(successes[allowed], np.inf))


def tpr(detection: Detection) -> Measured:
    """Share of failures that were flagged."""
    if not detection.failed.any():
        return Measured(None, "no failed episode")
    return Measured(float(detection.flagged[detection.failed].mean()))


def fpr(detection: Detection) -> Measured:
    """Share of successes that were flagged."""
    if detection.failed.all():
        return Measured(None, "no successful episode")
    return Measured(float(detection.flagged[~detection.failed].mean()))


def balanced_accuracy(detection: Detection) -> Measured:
    """Mean of the true-positive rate and the true-negative rate."""
    hit, wrong = tpr(detection), fpr(detection)
    if hit.value is None or wrong.value is None:
        return Measured(None, hit.reason or wrong.reason)
    return Measured((hit.value + 1.0 - wrong.value) / 2.0)


def detection_time(detection: Detection) -> Measured:
    """Mean share of the episode that had passed when a failure was first flagged."""
    times = detection.time[detection.failed & np.isfinite(detection.time)]
    if not len(times):
        return Measured(None, "no failure was flagged")
    return Measured(float(times.mean()))


def timestep_accuracy(detection: Detection) -> Measured:
    """Mean over episodes of the share of steps with the right verdict.

    Before the first flag the verdict is success, from it on failure: late flags on failures and
    early flags on successes both cost.
    """
    known = np.isfinite(detection.steps_right)
    if not known.any():
        return Measured(None, "no episodes")
    return Measured(float(detection.steps_right[known].mean()))


def replicates(
    detection: Detection, unit: npt.NDArray[np.integer], bootstrap: Bootstrap
) -> dict[str, Replicates]:
    """The five metrics under each draw, by name; ``unit`` ``[E]`` is each episode's."""

    def share(value: FloatVector | BoolVector, chosen: BoolVector) -> Replicates:
        return bootstrap.mean(value[chosen].astype(np.float64), unit[chosen])

    hit = share(detection.flagged, detection.failed)
    wrong = share(detection.flagged, ~detection.failed)
    return {
        "detection_balanced_accuracy": (hit + 1.0 - wrong) / 2.0,
        "detection_tpr": hit,
        "detection_fpr": wrong,
        "detection_time": share(detection.time, detection.failed & np.isfinite(detection.time)),
        "detection_timestep_accuracy": share(
            detection.steps_right, np.isfinite(detection.steps_right)
        ),
    }
