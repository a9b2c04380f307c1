"""False alarms per hour, event recall and lead time: what an operator of the robot would see.

Definitions (operator.md, "The metrics"), all on steps that are at risk, that is outside the fault
itself and where the label is known:

* An **alarm** begins and ends as :func:`pro_ros.runtime.alarms.alarm_onsets` says.
* A **claim** is what an alarm says: "an event within H". An alarm makes one when it begins, and
  one more for every H that it stays on, at the first step at or above the threshold in each such
  stretch. Without this an alarm that never goes off would catch every event for the price of one.
* A claim is **true** if the event's onset comes within H of it, otherwise it is a **false alarm**.
* An event is **recalled** if the score was at or above the threshold at a step of its lead
  window, the H seconds before its onset. Where two onsets are closer than H, a step belongs to
  the first of them that follows it.
* **Lead time** runs from the first such step to the onset, so it is at most H.
* **Hours** are the time that at-risk steps stand for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pro_ros.evaluation.intervals import Bootstrap, Replicates
from pro_ros.evaluation.metrics import Measured
from pro_ros.runtime.alarms import alarm_onsets

MOST_THRESHOLDS = 200
"""Most thresholds of a sweep; more events than that share thresholds by rank."""

HIGHEST_RATE = 60.0
"""A sweep ends at the first threshold with more false alarms per hour."""


@dataclass(frozen=True)
class Monitored:
    """Steps of all sequences under one target and horizon.

    Attributes
    ----------
    t_ns
        int64 ``[N]``, increasing; sequences are set apart so that no alarm spans two [ns].
    hours
        ``[N]``: time that a step stands for, 0 where it is not at risk [h].
    at_risk
        bool ``[N]``: the label is known and the fault is not on.
    positive
        bool ``[N]``: an onset follows within the horizon.
    event
        int ``[N]``: index of the event in whose lead window the step lies, -1 for none.
    onset_ns
        int64 ``[E]``, on the clock of ``t_ns`` [ns].
    unit, event_unit
        ``[N]``, ``[E]``: unit of resampling.
    horizon_s
        H [s].
    units
        Number of units of resampling.
    """

    t_ns: npt.NDArray[np.int64]
    hours: npt.NDArray[np.float64]
    at_risk: npt.NDArray[np.bool_]
    positive: npt.NDArray[np.bool_]
    event: npt.NDArray[np.int64]
    onset_ns: npt.NDArray[np.int64]
    unit: npt.NDArray[np.int64]
    event_unit: npt.NDArray[np.int64]
    horizon_s: float
    units: int

    @property
    def counted(self) -> npt.NDArray[np.bool_]:
        """Bool ``[E]``: events with at least one at-risk step in their lead window.

        The others come too soon after a start or a fault for anyone to warn of them; they count
        neither as recalled nor as missed.
        """
        counted = np.zeros(len(self.onset_ns), dtype=bool)
        counted[self.event[self.event >= 0]] = True
        return counted


@dataclass(frozen=True)
class Sweep:
    """Alarms at falling thresholds; the first is infinite (no alarm at all).

    ``threshold`` [G]; ``false_alarms`` [G, units]; ``recalled`` [G, units]; ``events``, ``hours``
    [units].
    """

    threshold: npt.NDArray[np.float64]
    false_alarms: npt.NDArray[np.float64]
    recalled: npt.NDArray[np.float64]
    events: npt.NDArray[np.float64]
    hours: npt.NDArray[np.float64]

    @property
    def rate(self) -> npt.NDArray[np.float64]:
        """False alarms per hour ``[G]``."""
        return self.false_alarms.sum(axis=1) / self.hours.sum()

    @property
    def recall(self) -> npt.NDArray[np.float64]:
        """Share of events recalled ``[G]``."""
        return self.recalled.sum(axis=1) / self.events.sum()


@dataclass(frozen=True)
class OperatingPoint:
    """What one threshold gives on the evaluated data."""

    threshold: float
    recall: float
    false_alarms_per_hour: float


def claims(
    monitored: Monitored,
    score: npt.NDArray[np.floating],
    threshold: float,
    refractory_s: float,
) -> npt.NDArray[np.int64]:
    """Indices of the steps at which a claim is made."""
    score = np.where(monitored.at_risk, score, np.nan)
    onsets = alarm_onsets(monitored.t_ns, score, threshold, refractory_s)
    above = np.flatnonzero(score >= threshold)
    if not len(above):
        return onsets
    alarm = np.searchsorted(onsets, above, side="right") - 1
    since = monitored.t_ns[above] - monitored.t_ns[onsets[alarm]]
    stretch = since // max(1, round(monitored.horizon_s * 1e9))
    new = (np.diff(alarm) != 0) | (np.diff(stretch) != 0)
    return above[np.concatenate([[True], new])].astype(np.int64)


def event_peaks(monitored: Monitored, score: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Highest score in each event's lead window ``[E]``; NaN where no step was judged."""
    peaks = np.full(len(monitored.onset_ns), -np.inf)
    usable = (monitored.event >= 0) & np.isfinite(score)
    np.maximum.at(peaks, monitored.event[usable], score[usable])
    return np.where(np.isinf(peaks), np.nan, peaks)


def undefined(monitored: Monitored) -> str:
    """Why event metrics have no value here; empty where they do."""
    if monitored.hours.sum() <= 0:
        return "no monitored time"
    if not monitored.counted.any():
        return "no events with monitored time before them"
    return ""


def sweep(monitored: Monitored, score: npt.NDArray[np.floating], refractory_s: float) -> Sweep:
    """False alarms and recalled events at every threshold at which recall changes.

    Recall rises only where the threshold passes an event's highest score, so those are the
    thresholds. It is an operating curve: the thresholds are chosen on the data they are reported
    on. Ends beyond :data:`HIGHEST_RATE`.
    """
    peaks = event_peaks(monitored, score)
    ranked = np.unique(peaks[np.isfinite(peaks)])[::-1]
    if len(ranked) > MOST_THRESHOLDS:
        keep = np.linspace(0, len(ranked) - 1, MOST_THRESHOLDS).round().astype(int)
        ranked = ranked[np.unique(keep)]
    counted = monitored.counted
    hours = np.bincount(monitored.unit, monitored.hours, monitored.units).astype(np.float64)
    events = _per_unit(monitored, monitored.event_unit[counted])
    total = hours.sum()
    thresholds = [np.inf]
    false_alarms, caught = [np.zeros(monitored.units)], [np.zeros(monitored.units)]
    for threshold in ranked:
        claimed = claims(monitored, score, float(threshold), refractory_s)
        wrong = claimed[~monitored.positive[claimed]]
        thresholds.append(float(threshold))
        false_alarms.append(_per_unit(monitored, monitored.unit[wrong]))
        caught.append(_per_unit(monitored, monitored.event_unit[peaks >= threshold]))
        if len(wrong) > HIGHEST_RATE * total:
            break
    return Sweep(
        np.asarray(thresholds), np.asarray(false_alarms), np.asarray(caught), events, hours
    )


def _per_unit(monitored: Monitored, unit: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """How many of the given units of things there are, per unit."""
    return np.bincount(unit, minlength=monitored.units).astype(np.float64)


def operating_point(swept: Sweep, false_alarms_per_hour: float) -> OperatingPoint:
    """The threshold with the highest recall at no more than the given false-alarm rate."""
    rate, recall = swept.rate, swept.recall
    allowed = np.flatnonzero(rate <= false_alarms_per_hour)
    # The first of equal recalls has the highest threshold.
    best = allowed[np.argmax(recall[allowed])]
    return OperatingPoint(float(swept.threshold[best]), float(recall[best]), float(rate[best]))


def point_at(
    monitored: Monitored,
    score: npt.NDArray[np.floating],
    threshold: float,
    refractory_s: float,
) -> tuple[OperatingPoint, npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Recall and false-alarm rate at a fixed threshold.

    Returns the point, and per unit the false alarms and the recalled events.
    """
    claimed = claims(monitored, score, threshold, refractory_s)
    wrong = claimed[~monitored.positive[claimed]]
    peaks = event_peaks(monitored, score)
    recalled = _per_unit(monitored, monitored.event_unit[peaks >= threshold])
    counted = int(monitored.counted.sum())
    point = OperatingPoint(
        threshold,
        float(recalled.sum() / counted),
        float(len(wrong) / monitored.hours.sum()),
    )
    return point, _per_unit(monitored, monitored.unit[wrong]), recalled


def recall_replicates(
    swept: Sweep, false_alarms_per_hour: float, bootstrap: Bootstrap
) -> Replicates:
    """Recall at a false-alarm rate under each draw; the threshold is chosen anew in each."""
    with np.errstate(invalid="ignore", divide="ignore"):
        hours = bootstrap.weights @ swept.hours
        rate = (bootstrap.weights @ swept.false_alarms.T) / hours[:, None]
        events = bootstrap.weights @ swept.events
        recall = (bootstrap.weights @ swept.recalled.T) / events[:, None]
    allowed = np.where(rate <= false_alarms_per_hour, recall, -1.0)
    best = allowed.max(axis=1)
    return np.where(np.isfinite(best) & (best >= 0), best, np.nan)


def lead_times(
    monitored: Monitored, score: npt.NDArray[np.floating], threshold: float
) -> npt.NDArray[np.float64]:
    """Lead time of each event ``[E]`` [s]; NaN where it was not recalled."""
    first = np.full(len(monitored.onset_ns), np.iinfo(np.int64).max, dtype=np.int64)
    on = (monitored.event >= 0) & (score >= threshold)
    np.minimum.at(first, monitored.event[on], monitored.t_ns[on])
    recalled = first < np.iinfo(np.int64).max
    lead = np.full(len(first), np.nan)
    lead[recalled] = (monitored.onset_ns[recalled] - first[recalled]) / 1e9
    return lead


def lead_quantile(lead_s: npt.NDArray[np.floating], quantile: float) -> Measured:
    """Quantile of the lead times of recalled events [s]."""
    recalled = lead_s[np.isfinite(lead_s)]
    if not len(recalled):
        return Measured(None, "no event recalled")
    return Measured(float(np.quantile(recalled, quantile)))


def lead_quantile_replicates(
    lead_s: npt.NDArray[np.floating],
    event_unit: npt.NDArray[np.integer],
    quantile: float,
    bootstrap: Bootstrap,
) -> Replicates:
    """Quantile of lead times under each draw, at a fixed threshold (inverted distribution)."""
    recalled = np.isfinite(lead_s)
    if not recalled.any():
        return np.full(bootstrap.resamples, np.nan)
    order = np.argsort(lead_s[recalled], kind="stable")
    values = lead_s[recalled][order]
    mass = np.cumsum(bootstrap.weights[:, event_unit[recalled][order]], axis=1)
    total = mass[:, -1:]
    position = np.minimum((mass < quantile * total).sum(axis=1), len(values) - 1)
    return np.where(total[:, 0] > 0, values[position], np.nan)
