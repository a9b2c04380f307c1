"""Evaluate the operator and its rivals on labelled sequences (operator.md, "The metrics")."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Sequence_

import numpy as np

from pro_ros.errors import DataError
from pro_ros.evaluation import alarmrates
from pro_ros.evaluation.curves import curves
from pro_ros.evaluation.measure import (
    alarm_metrics,
    promise,
    risk_metrics,
    success_metrics,
    termination_metrics,
)
from pro_ros.evaluation.measure_episodes import detection_metrics, value_metrics_of
from pro_ros.evaluation.mistakes import mistakes
from pro_ros.evaluation.part import Part
from pro_ros.evaluation.results import (
    Breakdown,
    Counts,
    Curves,
    Evaluation,
    Metric,
    Settings,
    ShownThreshold,
)
from pro_ros.evaluation.table import ANY, OPERATOR, BoolVector, EvaluationItem, Table
from pro_ros.model.calibration import AlarmThreshold

FEW_EVENTS = 20
"""With fewer events, episodes of a class, or units than this the report warns."""

MOST_PARTS = 50
"""A dimension (sites, groups) with more parts than this is not broken down: no part has enough."""

SHOWN_RATE = 6.0
"""Where the checkpoint has no threshold: alarms are drawn at so many false alarms per hour."""

Progress = Callable[[int, int, str], None]


def evaluate(
    items: Sequence_[EvaluationItem],
    modes: tuple[str, ...],
    horizons: tuple[float, ...],
    *,
    thresholds: tuple[AlarmThreshold, ...] = (),
    settings: Settings | None = None,
    headline_horizon: float | None = None,
    model: str = "",
    dataset: str = "",
    attribution: str = "",
    command: str = "",
    progress: Progress | None = None,
) -> Evaluation:
    """Measure everything, for all models under the same draws.

    Parameters
    ----------
    items
        Held-out sequences with labels, assessments and the rivals' judgements. All items have
        the same rivals.
    modes, horizons
        Failure modes and risk horizons [s], in the order of the arrays.
    thresholds
        Alarm thresholds of the checkpoint (``Calibration.alarms``).
    settings
        Resampling, refractory time and so on.
    headline_horizon
        Horizon of curves, breakdowns and summary [s]; default the longest.
    model, dataset, attribution, command
        What the report says of its origin.
    progress
        Called with (done, all, what comes next).

    Raises
    ------
    DataError
        No steps, arrays that do not belong together, or an unknown headline horizon.
    """
    settings = settings or Settings()
    table = Table(items, modes, horizons)
    if headline_horizon is not None and headline_horizon not in horizons:
        known = ", ".join(f"{h:g}" for h in horizons)
        raise DataError(f"headline horizon {headline_horizon:g} s: the model has {known}")
    headline = len(horizons) - 1 if headline_horizon is None else horizons.index(headline_horizon)
    targets = _targets(modes)
    whole = Part(table, settings)
    parts, too_many = _parts(table)
    steps = _Steps(progress, len(targets) * (len(horizons) + 1) + 1 + len(parts))
    shown = tuple(_shown(whole, t, headline, thresholds, settings) for t in targets)

    measured: list[Metric] = []
    for target in targets:
        for h, horizon in enumerate(horizons):
            steps.next(f"{target} within {horizon:g} s")
            stored = tuple(t for t in thresholds if t.target == target and t.horizon == horizon)
            measured += risk_metrics(whole, target, h, settings)
            measured += alarm_metrics(whole, target, h, settings, stored)
    steps.next("episodes")
    measured += detection_metrics(whole, settings, thresholds)
    measured += value_metrics_of(whole)
    measured += termination_metrics(whole, settings)
    measured += success_metrics(whole, settings)

    drawn: list[Curves] = []
    for target, threshold in zip(targets, shown, strict=True):
        steps.next(f"curves of {target}")
        drawn += [
            curves(whole, name, target, headline, settings, threshold) for name in table.models
        ]
    breakdowns = []
    for dimension, name, mask in parts:
        steps.next(f"{dimension} {name}")
        breakdowns.append(_breakdown(table, settings, headline, dimension, name, mask))
    counts = whole.counts()
    usable = tuple(s for s in shown if s is not None)
    return Evaluation(
        model=model,
        dataset=dataset,
        attribution=attribution,
        command=command,
        modes=modes,
        horizons=horizons,
        headline_horizon=horizons[headline],
        models=table.models,
        settings=settings,
        counts=counts,
        caveats=_caveats(counts, table, thresholds, settings, breakdowns),
        thresholds=thresholds,
        shown_thresholds=usable,
        metrics=tuple(measured),
        curves=tuple(drawn),
        breakdowns=tuple(breakdowns),
        not_broken_down=too_many,
        mistakes=mistakes(whole, usable),
    )


class _Steps:
    """Counts work for a progress bar."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def next(self, what: str) -> None:
        if self._progress is not None:
            self._progress(self._done, self._total, what)
        self._done += 1


def _targets(modes: tuple[str, ...]) -> tuple[str, ...]:
    """With a single mode 'any' would only repeat it, but thresholds may be set on either."""
    return (ANY, *modes) if modes else ()


def _shown(
    part: Part,
    target: str,
    headline: int,
    thresholds: tuple[AlarmThreshold, ...],
    settings: Settings,
) -> ShownThreshold | None:
    """The stored threshold of the target if there is one, otherwise an operating point."""
    horizon = part.table.horizons[headline]
    # With a single mode, 'any' is the same thing under another name.
    names = {target} if len(part.table.modes) > 1 else {ANY, target}
    for stored in thresholds:
        if stored.target in names and stored.horizon == horizon:
            return ShownThreshold(
                target=target,
                horizon=horizon,
                threshold=stored.threshold,
                refractory_s=stored.refractory_s,
                source=f"stored in the checkpoint {promise(stored)}",
            )
    monitored = part.monitored(target, headline)
    score = part.table.risk(OPERATOR, target, headline)
    if alarmrates.undefined(monitored) or not np.isfinite(score[monitored.at_risk]).any():
        return None
    swept = alarmrates.sweep(monitored, score, settings.refractory_s)
    point = alarmrates.operating_point(swept, SHOWN_RATE)
    if not np.isfinite(point.threshold):
        return None
    return ShownThreshold(
        target=target,
        horizon=horizon,
        threshold=point.threshold,
        refractory_s=settings.refractory_s,
        source=f"chosen on these data for at most {SHOWN_RATE:g} false alarms per hour",
    )


def _parts(table: Table) -> tuple[list[tuple[str, str, BoolVector]], dict[str, int]]:
    """(dimension, name, steps) of every breakdown: context keys, tasks and groups that differ.

    Also the dimensions that have too many parts, with their number.
    """
    keys = sorted({k for e in table.episodes for k in e.episode.context} | {"site"})
    dimensions = {k: [e.episode.context.get(k, "") for e in table.episodes] for k in keys}
    dimensions["task"] = [e.episode.task for e in table.episodes]
    dimensions["group"] = [e.episode.group for e in table.episodes]
    found: list[tuple[str, str, BoolVector]] = []
    too_many: dict[str, int] = {}
    for dimension, values in dimensions.items():
        names = sorted(set(values) - {""})
        if len(names) > MOST_PARTS:
            too_many[dimension] = len(names)
        elif len(names) > 1:
            # The entry at the end serves steps that belong to no episode.
            of_owner = np.asarray([*values, ""], dtype=object)
            found += [(dimension, name, of_owner[table.owner] == name) for name in names]
    return found, too_many


def _breakdown(
    table: Table, settings: Settings, headline: int, dimension: str, name: str, mask: BoolVector
) -> Breakdown:
    """Headline metrics of one part."""
    part = Part(table, settings, mask)
    measured: list[Metric] = []
    for target in _targets(table.modes):
        measured += [
            m
            for m in risk_metrics(part, target, headline, settings)
            if m.key in ("risk_auroc", "risk_auprc", "risk_ece")
        ]
        measured += [
            m
            for m in alarm_metrics(part, target, headline, settings, rates=(6,))
            if m.key == "event_recall_6"
        ]
    measured += [m for m in success_metrics(part, settings) if m.key == "success_auroc"]
    return Breakdown(dimension=dimension, name=name, counts=part.counts(), metrics=tuple(measured))


def _caveats(
    counts: Counts,
    table: Table,
    thresholds: tuple[AlarmThreshold, ...],
    settings: Settings,
    breakdowns: list[Breakdown],
) -> tuple[str, ...]:
    """What a reader must know before believing the numbers."""
    said = []
    for mode, events in counts.events.items():
        if events < FEW_EVENTS:
            said.append(
                f"Only {events} event{'' if events == 1 else 's'} of '{mode}': its numbers say "
                "little."
            )
    for kind, number in (("successful", counts.successes), ("failed", counts.failures)):
        if number < FEW_EVENTS:
            said.append(
                f"Only {number} {kind} episode{'' if number == 1 else 's'}: what separates "
                "successes from failures is uncertain."
            )
    if counts.unknown:
        said.append(
            f"{counts.unknown} of {counts.episodes} episodes have no known outcome and count "
            "only where none is needed."
        )
    if counts.units < FEW_EVENTS:
        said.append(
            f"Intervals resample only {counts.units} {settings.unit}"
            f"{'' if counts.units == 1 else 's'}: they are too narrow or missing."
        )
    if not any(b.dimension == "site" for b in breakdowns):
        said.append("All data are from one site: nothing here says how another one would fare.")
    if len(table.models) == 1:
        said.append("No rivals were fitted: nothing here says that a simpler model is worse.")
    if not thresholds and table.modes:
        said.append(
            "The checkpoint stores no alarm threshold. Alarms in this report are drawn at "
            "thresholds chosen on the reported data, which flatters them."
        )
    return tuple(said)
