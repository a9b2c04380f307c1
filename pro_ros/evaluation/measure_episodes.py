"""Metrics per episode of all models: value against time and outcome, and failure detection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from pro_ros.evaluation import detection, metrics, value_metrics
from pro_ros.evaluation.detection import Detection
from pro_ros.evaluation.intervals import Replicates
from pro_ros.evaluation.measure import Drawn, metric, promise
from pro_ros.evaluation.metrics import Measured
from pro_ros.evaluation.part import Part
from pro_ros.evaluation.results import Metric, Settings
from pro_ros.evaluation.table import (
    ANY,
    OPERATOR,
    BoolVector,
    FloatVector,
    IntVector,
    main_target,
)
from pro_ros.model.calibration import AlarmThreshold


def value_metrics_of(part: Part) -> Iterator[Metric]:
    """Value against time on successes, against outcome, and against the return."""
    table, boot = part.table, part.bootstrap
    outcome = np.asarray([e.episode.outcome for e in part.episodes], dtype=str)
    success, failure = outcome == "success", outcome == "failure"
    task = [e.episode.task for e in part.episodes]
    unit = part.episode_unit if len(part.episodes) else np.zeros(0, dtype=np.int64)
    target = np.where(table.label("value_known"), table.label("value"), np.nan)
    drawn: dict[str, dict[str, Drawn]] = {}
    for model in table.models:
        value = table.says(model, "value")
        runs = [value[e.rows] for e in part.episodes]
        returns = [target[e.rows] for e in part.episodes]

        def put(key: str, one: Drawn, model: str = model) -> None:
            drawn.setdefault(key, {})[model] = one

        for key, function in (
            ("value_voc", value_metrics.voc),
            ("value_kendall", value_metrics.kendall),
        ):
            each = _each(function, runs, success)
            put(key, Drawn(value_metrics.mean_over_episodes(each), _mean(part, each, unit)))
        mean = np.asarray([np.nanmean(r) if np.isfinite(r).any() else np.nan for r in runs])
        wins, counted = value_metrics.pair_table(
            mean[success], mean[failure],
            [t for t, s in zip(task, success, strict=True) if s],
            [t for t, f in zip(task, failure, strict=True) if f],
        )  # fmt: skip
        pairs = int(counted.sum())
        share = (
            Measured(float(wins.sum() / pairs))
            if pairs
            else Measured(None, "no success and failure of the same task")
        )
        put(
            "value_pairwise", Drawn(share, boot.pairs(wins, counted, unit[success], unit[failure]))
        )
        known = success | failure
        last = np.asarray([_last(r) for r in runs])
        put("value_success_auroc", _ranked(part, last[known], success[known], unit[known])[0])
        each = np.asarray(
            [value_metrics.pearson(r, t) for r, t in zip(runs, returns, strict=True)]
        ).reshape(-1)
        put(
            "value_pearson", Drawn(value_metrics.mean_over_episodes(each), _mean(part, each, unit))
        )
    judged = int(success.sum() + failure.sum())
    for key, models in drawn.items():
        about: dict[str, Any] = {"counted": "episodes", "count": int(success.sum())}
        if key in ("value_success_auroc",):
            about = {"counted": "episodes", "count": judged, "positives": int(success.sum())}
        elif key == "value_pairwise":
            about = {"counted": "pairs", "count": int(success.sum() * failure.sum())}
        elif key == "value_pearson":
            about = {"counted": "episodes", "count": len(part.episodes)}
        yield metric(boot, key, models, **about)


def detection_metrics(
    part: Part, settings: Settings, thresholds: tuple[AlarmThreshold, ...]
) -> Iterator[Metric]:
    """Failure detection by the risk of any failure and by 1 - P(success)."""
    table = part.table
    names = {ANY, main_target(table.modes)}
    stored = next((t for t in thresholds if t.target in names), None)
    horizon = len(table.horizons) - 1 if stored is None else table.horizons.index(stored.horizon)
    if table.modes:
        _, known = table.risk_label(ANY, horizon)
        scores = {m: table.risk(m, ANY, horizon) for m in table.models}
        level = None if stored is None else stored.threshold
        note = "" if stored is None else f"threshold {stored.threshold:.4g} {promise(stored)}"
        yield from _detection(part, "risk", scores, known, level, table.horizons[horizon], note)
    known = table.label("success_known").astype(bool)
    scores = {m: 1.0 - table.says(m, "success") for m in table.models}
    level = None if settings.success_threshold is None else 1.0 - settings.success_threshold
    note = "" if level is None else f"flagged at P(success) <= {settings.success_threshold:g}"
    yield from _detection(part, "success", scores, known, level, None, note)


def _detection(
    part: Part,
    name: str,
    scores: dict[str, FloatVector],
    known: BoolVector,
    threshold: float | None,
    horizon: float | None,
    note: str,
) -> Iterator[Metric]:
    """``threshold`` is the operator's; None leaves only what needs none."""
    chosen = [
        k
        for k, e in enumerate(part.episodes)
        if e.episode.outcome != "unknown" and known[e.rows].any()
    ]
    episodes = [part.episodes[k] for k in chosen]
    unit = part.unit[[e.rows.start for e in episodes]] if episodes else np.zeros(0, np.int64)
    failed = np.asarray([e.episode.outcome == "failure" for e in episodes], dtype=bool)
    times = [(part.table.t_ns[e.rows] - part.table.t_ns[e.rows.start]) / 1e9 for e in episodes]
    drawn: dict[str, dict[str, Drawn]] = {}
    false_positives = None
    for model, score in scores.items():
        runs = [np.where(known[e.rows], score[e.rows], np.nan) for e in episodes]
        peaks = detection.peak_scores(runs)
        area, precision = _ranked(part, peaks, failed, unit)
        drawn.setdefault("detection_auroc", {})[model] = area
        drawn.setdefault("detection_auprc", {})[model] = precision
        if threshold is None:
            continue
        level = threshold
        if model != OPERATOR:
            if false_positives is None:
                continue
            level = detection.threshold_at_fpr(peaks, failed, false_positives)
        found = detection.detect(runs, times, failed, level)
        if model == OPERATOR:
            false_positives = detection.fpr(found).value
        for key, one in _at_threshold(part, found, unit).items():
            drawn.setdefault(key, {})[model] = one
    missing = "no stored threshold, so only what needs none is reported"
    for key, models in drawn.items():
        ranked = key in ("detection_auroc", "detection_auprc")
        said = missing if ranked and threshold is None else "" if ranked else note
        yield metric(
            part.bootstrap, key, models, score=name, horizon=horizon, counted="episodes",
            count=len(episodes), positives=int(failed.sum()), note=said,
        )  # fmt: skip


def _at_threshold(part: Part, found: Detection, unit: IntVector) -> dict[str, Drawn]:
    replicates = detection.replicates(found, unit, part.bootstrap)
    values = {
        "detection_balanced_accuracy": detection.balanced_accuracy(found),
        "detection_tpr": detection.tpr(found),
        "detection_fpr": detection.fpr(found),
        "detection_time": detection.detection_time(found),
        "detection_timestep_accuracy": detection.timestep_accuracy(found),
    }
    return {key: Drawn(value, replicates[key]) for key, value in values.items()}


def _ranked(
    part: Part, score: FloatVector, label: BoolVector, unit: IntVector
) -> tuple[Drawn, Drawn]:
    """AUROC and average precision of one number per episode."""
    usable = np.isfinite(score)
    score, label, unit = score[usable], label[usable], unit[usable]
    area = precision = None
    if not metrics.missing_class(label):
        area, precision = part.bootstrap.ranking(score, label, unit)
    return Drawn(metrics.auroc(score, label), area), Drawn(metrics.auprc(score, label), precision)


def _each(
    function: Callable[[FloatVector], float], runs: list[FloatVector], chosen: BoolVector
) -> FloatVector:
    """A number per episode, NaN for those not chosen."""
    return np.asarray(
        [function(r) if c else np.nan for r, c in zip(runs, chosen, strict=True)], dtype=np.float64
    )


def _mean(part: Part, each: FloatVector, unit: IntVector) -> Replicates:
    defined = np.isfinite(each)
    return part.bootstrap.mean(each[defined], unit[defined])


def _last(run: FloatVector) -> float:
    finite = run[np.isfinite(run)]
    return float(finite[-1]) if len(finite) else float("nan")
