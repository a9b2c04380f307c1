"""Curves of the report: precision-recall, false alarms against recall, reliability, lead time."""

from __future__ import annotations

import numpy as np
from scipy.stats import beta
from sklearn.metrics import precision_recall_curve

from pro_ros.evaluation import alarmrates, metrics
from pro_ros.evaluation.part import Part
from pro_ros.evaluation.results import Curves, ReliabilityPoint, Settings, ShownThreshold
from pro_ros.evaluation.table import OPERATOR, BoolVector, FloatVector

MOST_POINTS = 300
"""Points kept of a precision-recall curve."""


def curves(
    part: Part,
    model: str,
    target: str,
    horizon: int,
    settings: Settings,
    shown: ShownThreshold | None,
) -> Curves:
    """All curves of one model for one target; what is not defined is empty.

    Lead times are at the shown threshold for the operator, and for a rival at the threshold with
    the same allowance of false alarms per hour as the operator makes there.
    """
    table = part.table
    label, known = table.risk_label(target, horizon)
    score = table.risk(model, target, horizon)
    usable = known & part.mask & np.isfinite(score)
    recall, precision = _precision_recall(score[usable], label[usable])
    monitored = part.monitored(target, horizon)
    rate: FloatVector = np.zeros(0)
    event_recall: FloatVector = np.zeros(0)
    leads: FloatVector = np.zeros(0)
    lead_threshold: float | None = None
    note = alarmrates.undefined(monitored)
    if not note and usable.any():
        swept = alarmrates.sweep(monitored, score, settings.refractory_s)
        rate, event_recall = swept.rate, swept.recall
        if shown is not None:
            lead_threshold, note = _lead_threshold(part, model, swept, horizon, shown)
            leads = alarmrates.lead_times(monitored, score, lead_threshold)
            if not np.isfinite(lead_threshold):
                lead_threshold = None
    return Curves(
        model=model,
        target=target,
        horizon=table.horizons[horizon],
        recall=_tuple(recall),
        precision=_tuple(precision),
        rate=_tuple(rate),
        event_recall=_tuple(event_recall),
        reliability=reliability_points(score[usable], label[usable], settings),
        lead_s=_tuple(np.sort(leads[np.isfinite(leads)])),
        lead_events=int(monitored.counted.sum()),
        lead_threshold=lead_threshold,
        lead_note=note,
    )


def reliability_points(
    probability: FloatVector, label: BoolVector, settings: Settings
) -> tuple[ReliabilityPoint, ...]:
    """Reliability bins with an exact binomial interval each (Clopper and Pearson 1934).

    The interval treats rows as independent, which they are not: it is a lower bound on the
    uncertainty, and the report says so.
    """
    tail = (1.0 - settings.level) / 2.0
    points = []
    for b in metrics.reliability(probability, label, settings.reliability_bins):
        k, n = b.positives, b.count
        low = float(beta.ppf(tail, k, n - k + 1)) if k else 0.0
        high = float(beta.ppf(1.0 - tail, k + 1, n - k)) if k < n else 1.0
        points.append(
            ReliabilityPoint(
                predicted=round(b.predicted, 6),
                observed=round(b.observed, 6),
                low=round(low, 6),
                high=round(high, 6),
                count=n,
                positives=k,
            )
        )
    return tuple(points)


def _lead_threshold(
    part: Part, model: str, swept: alarmrates.Sweep, horizon: int, shown: ShownThreshold
) -> tuple[float, str]:
    if model == OPERATOR:
        return shown.threshold, shown.source
    monitored = part.monitored(shown.target, horizon)
    mine = part.table.risk(OPERATOR, shown.target, horizon)
    point, _, _ = alarmrates.point_at(monitored, mine, shown.threshold, shown.refractory_s)
    allowed = point.false_alarms_per_hour
    theirs = alarmrates.operating_point(swept, allowed)
    return (
        theirs.threshold,
        f"chosen on these data for at most {allowed:.3g} false alarms per hour",
    )


def _precision_recall(score: FloatVector, label: BoolVector) -> tuple[FloatVector, FloatVector]:
    """The curve with at most :data:`MOST_POINTS` points, evenly spread over recall."""
    if metrics.missing_class(label):
        return np.zeros(0), np.zeros(0)
    precision, recall, _ = precision_recall_curve(label, score)
    # Where nothing is found yet, precision is 0 or made up: the curve begins with the first hit.
    found = recall > 0
    recall, precision = recall[found][::-1], precision[found][::-1]
    if len(recall) > MOST_POINTS:
        # Evenly over arc length along both axes, so that the steep start keeps its shape.
        way = np.cumsum(np.abs(np.diff(recall)) + np.abs(np.diff(precision)))
        wanted = np.linspace(0.0, way[-1], MOST_POINTS)
        keep = np.unique(np.concatenate([[0], np.searchsorted(way, wanted) + 1]))
        keep = keep[keep < len(recall)]
        recall, precision = recall[keep], precision[keep]
    return recall, precision


def _tuple(values: FloatVector) -> tuple[float, ...]:
    return tuple(round(float(v), 6) for v in values)
