"""Metrics of all models on one part of the data, each beside its interval and its rivals'."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pro_ros.evaluation import alarmrates, metrics
from pro_ros.evaluation.intervals import Bootstrap, Replicates
from pro_ros.evaluation.metrics import Measured
from pro_ros.evaluation.part import Part
from pro_ros.evaluation.results import Metric, Number, Score, Settings
from pro_ros.evaluation.table import OPERATOR, BoolVector, FloatVector
from pro_ros.model.calibration import AlarmThreshold

DIGITS = 6
"""Decimals kept in results, so that a sum in another order gives the same file."""

RATES = (1, 6)
"""False alarms per hour at which recall is reported (operator.md, "The metrics")."""


@dataclass(frozen=True)
class Drawn:
    """A metric of one model: its value and its values under the draws."""

    value: Measured
    replicates: Replicates | None = None


def metric(bootstrap: Bootstrap, key: str, drawn: dict[str, Drawn], **about: Any) -> Metric:
    """Put the models' numbers, intervals and paired differences together."""
    mine = drawn.get(OPERATOR)
    scores = []
    for model, one in drawn.items():
        difference = None
        if mine is not None and model != OPERATOR:
            difference = _difference(bootstrap, mine, one)
        scores.append(Score(model=model, number=_number(bootstrap, one), difference=difference))
    positives, count = about.get("positives"), about["count"]
    share = positives / count if positives is not None and count else None
    return Metric(key=key, scores=tuple(scores), prevalence=_round(share), **about)


def risk_metrics(part: Part, target: str, horizon: int, settings: Settings) -> Iterator[Metric]:
    """Ranking and calibration of one risk."""
    label, known = part.table.risk_label(target, horizon)
    scores = {m: part.table.risk(m, target, horizon) for m in part.table.models}
    yield from _probability_metrics(
        part, "risk", label, known, scores, settings,
        target=target, horizon=part.table.horizons[horizon],
    )  # fmt: skip


def termination_metrics(part: Part, settings: Settings) -> Iterator[Metric]:
    """P(about to end), at every step whose label is known."""
    known = part.table.label("termination_known").astype(bool)
    scores = {m: part.table.says(m, "termination") for m in part.table.models}
    label = part.table.label("termination") > 0.5
    yield from _probability_metrics(part, "termination", label, known, scores, settings)


def success_metrics(part: Part, settings: Settings) -> Iterator[Metric]:
    """P(success | the episode is about to end), at the steps where it is."""
    known = part.table.label("success_known").astype(bool)
    known = known & part.table.label("final").astype(bool)
    scores = {m: part.table.says(m, "success") for m in part.table.models}
    label = part.table.label("success") > 0.5
    yield from _probability_metrics(part, "success", label, known, scores, settings)


def _probability_metrics(
    part: Part,
    family: str,
    label: BoolVector,
    known: BoolVector,
    scores: dict[str, FloatVector],
    settings: Settings,
    **about: Any,
) -> Iterator[Metric]:
    rows = known & part.mask
    boot = part.bootstrap
    drawn: dict[str, dict[str, Drawn]] = {}
    for model, everywhere in scores.items():
        usable = rows & np.isfinite(everywhere)
        p, y, unit = everywhere[usable], label[usable], part.unit[usable]
        area = precision = None
        if not metrics.missing_class(y):
            area, precision = boot.ranking(p, y, unit)
        drawn.setdefault("auroc", {})[model] = Drawn(metrics.auroc(p, y), area)
        if family == "risk":
            drawn.setdefault("auprc", {})[model] = Drawn(metrics.auprc(p, y), precision)
        brier = boot.mean(metrics.brier_loss(p, y), unit)
        drawn.setdefault("brier", {})[model] = Drawn(metrics.brier(p, y), brier)
        if family == "risk":
            loss = boot.mean(metrics.log_loss(p, y), unit)
            drawn.setdefault("nll", {})[model] = Drawn(metrics.nll(p, y), loss)
            which = metrics.equal_mass_bins(p, settings.reliability_bins)
            error = boot.calibration_error(p, y, which, unit)
            measured = metrics.ece(p, y, settings.reliability_bins)
            drawn.setdefault("ece", {})[model] = Drawn(measured, error)
    for name, models in drawn.items():
        yield metric(
            boot, f"{family}_{name}", models, counted="steps",
            count=int(rows.sum()), positives=int((label & rows).sum()), **about,
        )  # fmt: skip


def alarm_metrics(
    part: Part,
    target: str,
    horizon: int,
    settings: Settings,
    thresholds: tuple[AlarmThreshold, ...] = (),
    rates: tuple[int, ...] = RATES,
) -> Iterator[Metric]:
    """Event recall and lead time, at false-alarm rates and at the checkpoint's thresholds."""
    monitored = part.monitored(target, horizon)
    boot = part.bootstrap
    why_not = alarmrates.undefined(monitored)
    counted = int(monitored.counted.sum())
    about: dict[str, Any] = {
        "target": target,
        "horizon": part.table.horizons[horizon],
        "counted": "events",
        "count": counted,
    }
    drawn: dict[str, dict[str, Drawn]] = {}
    for model in part.table.models:
        score = part.table.risk(model, target, horizon)
        judged = np.isfinite(score[monitored.at_risk]).any()
        reason = why_not or ("" if judged else "no judged steps")
        swept = None if reason else alarmrates.sweep(monitored, score, settings.refractory_s)
        for rate in rates:
            if swept is None:
                nothing = Drawn(Measured(None, reason))
                for key in (f"event_recall_{rate}", f"lead_median_{rate}", f"lead_p10_{rate}"):
                    drawn.setdefault(key, {})[model] = nothing
                continue
            point = alarmrates.operating_point(swept, rate)
            drawn.setdefault(f"event_recall_{rate}", {})[model] = Drawn(
                Measured(point.recall), alarmrates.recall_replicates(swept, rate, boot)
            )
            leads = alarmrates.lead_times(monitored, score, point.threshold)
            for name, q in (("median", 0.5), ("p10", 0.1)):
                drawn.setdefault(f"lead_{name}_{rate}", {})[model] = _lead(
                    leads, q, monitored, boot
                )
    for key, models in drawn.items():
        yield metric(boot, key, models, **about)
    for threshold in thresholds:
        if not why_not:
            yield from _calibrated(part, monitored, threshold, about)


def _calibrated(
    part: Part,
    monitored: alarmrates.Monitored,
    threshold: AlarmThreshold,
    about: dict[str, Any],
) -> Iterator[Metric]:
    """The operator at one stored threshold."""
    boot = part.bootstrap
    horizon = part.table.horizons.index(threshold.horizon)
    score = part.table.risk(OPERATOR, threshold.target, horizon)
    point, false_alarms, recalled = alarmrates.point_at(
        monitored, score, threshold.threshold, threshold.refractory_s
    )
    counted = monitored.counted
    events = np.bincount(monitored.event_unit[counted], minlength=boot.units).astype(float)
    hours = np.bincount(monitored.unit, monitored.hours, minlength=boot.units)
    leads = alarmrates.lead_times(monitored, score, threshold.threshold)
    note = f"threshold {threshold.threshold:.4g}, {promise(threshold)}"
    for key, one in {
        "calibrated_recall": Drawn(Measured(point.recall), boot.ratio(recalled, events)),
        "calibrated_false_alarms": Drawn(
            Measured(point.false_alarms_per_hour), boot.ratio(false_alarms, hours)
        ),
        "calibrated_lead_median": _lead(leads, 0.5, monitored, boot),
        "calibrated_lead_p10": _lead(leads, 0.1, monitored, boot),
    }.items():
        yield metric(boot, key, {OPERATOR: one}, note=note, **about)


def promise(threshold: AlarmThreshold) -> str:
    """What calibration promises of a threshold, in words."""
    rests = f"{threshold.episodes} episodes, {threshold.events} events, {threshold.hours:.2g} h"
    if threshold.criterion == "miss_rate":
        return f"for at most {threshold.requested:.0%} missed events, from {rests}"
    return f"for at most {threshold.requested:g} false alarms per hour, from {rests}"


def _lead(
    leads: FloatVector, quantile: float, monitored: alarmrates.Monitored, boot: Bootstrap
) -> Drawn:
    return Drawn(
        alarmrates.lead_quantile(leads, quantile),
        alarmrates.lead_quantile_replicates(leads, monitored.event_unit, quantile, boot),
    )


def _number(bootstrap: Bootstrap, one: Drawn) -> Number:
    if one.value.value is None:
        return Number(value=None, reason=one.value.reason)
    interval = bootstrap.interval(one.replicates)
    return Number(
        value=_round(one.value.value),
        low=_round(interval.low),
        high=_round(interval.high),
        reason=interval.reason,
    )


def _difference(bootstrap: Bootstrap, mine: Drawn, other: Drawn) -> Number | None:
    if mine.value.value is None or other.value.value is None:
        return None
    both = None
    if mine.replicates is not None and other.replicates is not None:
        both = mine.replicates - other.replicates
    return _number(bootstrap, Drawn(Measured(mine.value.value - other.value.value), both))


def _round(value: float | None) -> float | None:
    # Adding 0.0 turns a negative zero into a plain one.
    return None if value is None else round(float(value), DIGITS) + 0.0
