"""Calibration of a trained operator on held-out episodes (operator.md, "What it learns from").

Probabilities are scaled on the validation part and thresholds are set on the calibration part,
so that the scores behind a threshold's promise depend on no episode that the promise rests on.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as Seq
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import logit

from pro_ros.episodes.labels import Labels
from pro_ros.episodes.sequence import Sequence
from pro_ros.errors import TooFewEpisodesError
from pro_ros.evaluation.alarmrates import Monitored, claims, event_peaks
from pro_ros.evaluation.table import OPERATOR, EvaluationItem, Table
from pro_ros.model.calibration import Affine, AlarmThreshold, Calibration
from pro_ros.model.operator import Operator
from pro_ros.model.outputs import Assessments
from pro_ros.runtime.assessor import Assessor
from pro_ros.streams.spec import RobotSpec
from pro_ros.training.config import AlarmRequest, CalibrationConfig
from pro_ros.training.conformal import false_alarm_threshold, miss_rate_threshold
from pro_ros.training.platt import MIN_POSITIVES, fit_platt

MOST_THRESHOLDS = 400
"""Candidate thresholds for a false-alarm rate, spread over the scores by rank."""


@dataclass(frozen=True)
class Trained:
    """What an assessor needs of a checkpoint that is not saved yet."""

    operator: Operator
    spec: RobotSpec
    calibration: Calibration


def calibrate(
    trained: Trained,
    scaling: tuple[Seq[Sequence], Seq[Labels]],
    thresholds: tuple[Seq[Sequence], Seq[Labels]],
    config: CalibrationConfig,
) -> tuple[Calibration, list[str]]:
    """Scale probabilities and set alarm thresholds.

    Parameters
    ----------
    scaling
        Held-out sequences and labels that the probabilities are scaled on.
    thresholds
        Others, that the thresholds' promises rest on.

    Returns
    -------
    Calibration
        With those thresholds that can be promised.
    list of str
        One line for each thing that was asked for and could not be had, saying what is missing.
    """
    notes: list[str] = []
    spec = trained.spec
    sequences, labels = thresholds
    calibration = _scale(trained, *scaling, notes).model_copy(
        update=_counts(sequences, spec.failure_modes)
    )
    if not config.alarms:
        return calibration, notes
    if not sequences:
        notes.append("no alarm threshold: the split has no calibration episodes")
        return calibration, notes
    assessor = Assessor(replace(trained, calibration=calibration))
    items = [
        EvaluationItem(s, item, assessor.run(s)) for s, item in zip(sequences, labels, strict=True)
    ]
    table = Table(items, spec.failure_modes, trained.operator.config.horizons)
    alarms = []
    for request in config.alarms:
        try:
            alarms.append(_threshold(table, request, config))
        except TooFewEpisodesError as refusal:
            notes.append(f"alarm on '{request.target}' at {request.horizon:g} s: {refusal}")
    return calibration.model_copy(update={"alarms": tuple(alarms)}), notes


def _scale(
    trained: Trained, sequences: Seq[Sequence], labels: Seq[Labels], notes: list[str]
) -> Calibration:
    """Affine maps of the logits, fitted by maximum likelihood (Platt 1999)."""
    if not sequences:
        notes.append("probabilities are not calibrated: the split has no validation episodes")
        return Calibration()
    assessor = Assessor(trained)
    logits = [_logits(assessor.run(s)) for s in sequences]

    def fitted(name: str, mode: int | None = None) -> Affine:
        """Fit one output from its labels, or say why not."""

        def joined(arrays: Iterable[np.ndarray]) -> np.ndarray:
            whole = np.concatenate(list(arrays))
            return whole if mode is None else whole[:, mode]

        known = joined(getattr(item, f"{name}_known") for item in labels)
        if name == "success":
            known = known & joined(item.final for item in labels)
        target = joined(getattr(item, name) for item in labels)
        fit = fit_platt(joined(found[name] for found in logits), target, known)
        if fit is None:
            of = "" if mode is None else f" of '{trained.spec.failure_modes[mode]}'"
            notes.append(
                f"{name}{of} is not calibrated: fewer than {MIN_POSITIVES} positive or negative "
                "steps in the validation episodes"
            )
            return Affine()
        return Affine(slope=fit[0], intercept=fit[1])

    return Calibration(
        hazard={m: fitted("hazard", i) for i, m in enumerate(trained.spec.failure_modes)},
        termination=fitted("termination"),
        success=fitted("success"),
    )


def _logits(judged: Assessments) -> dict[str, np.ndarray]:
    """The logits behind uncalibrated assessments: ``[T]``, and hazards ``[T, M, K]``."""
    risk = judged.mode_risk
    before = np.concatenate([np.zeros_like(risk[..., :1]), risk[..., :-1]], axis=-1)
    return {
        "termination": logit(judged.termination),
        "success": logit(judged.success),
        "hazard": logit((risk - before) / (1.0 - before)),
    }


def _threshold(table: Table, request: AlarmRequest, config: CalibrationConfig) -> AlarmThreshold:
    horizon = table.horizons.index(request.horizon)
    monitored = table.monitored(request.target, horizon)
    score = table.risk(OPERATOR, request.target, horizon)
    method = "conformal risk control over episodes, on average over calibration sets"
    if request.miss_rate is not None:
        peaks = event_peaks(monitored, score)
        owner = monitored.event_unit[monitored.counted]
        peaks = peaks[monitored.counted]
        groups = [peaks[owner == unit] for unit in np.unique(owner)]
        threshold = miss_rate_threshold(groups, request.miss_rate)
        requested, criterion = request.miss_rate, "miss_rate"
    else:
        assert request.false_alarms_per_hour is not None
        requested, criterion = request.false_alarms_per_hour, "false_alarms_per_hour"
        threshold = _false_alarm_threshold(monitored, score, requested, config)
        method += f"; at most {config.most_false_alarms} false alarms of an episode count"
    return AlarmThreshold(
        target=request.target,
        horizon=request.horizon,
        criterion=criterion,
        requested=requested,
        threshold=threshold,
        episodes=len(table.episodes),
        events=int(monitored.counted.sum()),
        hours=float(monitored.hours.sum()),
        refractory_s=config.refractory,
        method=method,
    )


def _false_alarm_threshold(
    monitored: Monitored, score: np.ndarray, per_hour: float, config: CalibrationConfig
) -> float:
    judged = np.unique(score[monitored.at_risk])
    if len(judged) > MOST_THRESHOLDS:
        # Fine at the top, where false alarms are few and thresholds lie.
        share = np.linspace(0, 1, MOST_THRESHOLDS) ** 0.25
        judged = np.unique(judged[(share * (len(judged) - 1)).astype(int)])
    candidates = judged[::-1]
    rows = []
    for threshold in candidates:
        claimed = claims(monitored, score, float(threshold), config.refractory)
        wrong = claimed[~monitored.positive[claimed]]
        counted = np.bincount(monitored.unit[wrong], minlength=monitored.units)
        rows.append(np.minimum(counted, config.most_false_alarms))
    hours = np.bincount(monitored.unit, monitored.hours, minlength=monitored.units).astype(
        np.float64
    )
    return false_alarm_threshold(
        candidates, np.asarray(rows).astype(np.float64), hours, per_hour, config.most_false_alarms
    )


def _counts(sequences: Seq[Sequence], modes: tuple[str, ...]) -> dict[str, object]:
    """How much data a calibration rests on."""
    episodes = {e.id: e for s in sequences for e in s.episodes}
    return {
        "episodes": len(episodes),
        "failures": sum(e.outcome == "failure" for e in episodes.values()),
        "events": {m: sum(e.name == m for s in sequences for e in s.events) for m in modes},
        "hours": sum(float(s.t_ns[-1] - s.t_ns[0]) for s in sequences if len(s)) / 3.6e12,
    }
