"""One HTML file with everything an evaluation found; it needs no network and no other file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from pro_ros.evaluation import plots
from pro_ros.evaluation.definitions import DEFINITIONS, FAMILIES
from pro_ros.evaluation.plots import Figure, curves_of, target_name
from pro_ros.evaluation.plots_timeline import timeline_figure
from pro_ros.evaluation.results import Breakdown, Evaluation, Metric, Number, Score
from pro_ros.evaluation.table import ANY, OPERATOR
from pro_ros.evaluation.timelines import Timelines
from pro_ros.files import atomic_file

FORESTS = ("risk_auroc", "risk_auprc", "event_recall_1", "event_recall_6")
"""Headline metrics, drawn with their intervals at the top."""

PART_METRICS = ("risk_auroc", "risk_auprc", "risk_ece", "event_recall_6")
"""Metrics of the tables per site, group and so on."""

BREAKDOWN_TITLES = {"sku": "SKU"}


@dataclass(frozen=True)
class Cell:
    """A number as text. ``mark``: '▲' or '▼' where the operator is surely better or worse."""

    text: str
    interval: str = ""
    mark: str = ""
    title: str = ""


@dataclass(frozen=True)
class Row:
    """A line of a table: what is measured, what it rests on, and a cell per model."""

    label: str
    meaning: str
    about: str
    cells: tuple[Cell, ...]
    better: str = ""


@dataclass(frozen=True)
class TableView:
    """A titled table."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class PartRows:
    """One part of a breakdown, with a line per target; the operator beside the best rival."""

    name: str
    about: str
    lines: tuple[tuple[str, str, tuple[Cell, ...]], ...]
    success: Cell


@dataclass
class _Figures:
    """Figures by element id, in the order in which they are drawn."""

    found: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, figure: Figure) -> str | None:
        """Keep a figure; None where it has nothing to show."""
        if not figure["data"]:
            return None
        identity = f"figure-{len(self.found)}-{name}"
        # '<' is escaped so that no text in the data can end the script element.
        text = json.dumps(figure, separators=(",", ":"), allow_nan=False)
        self.found[identity] = text.replace("<", "\\u003c")
        return identity


def write_report(evaluation: Evaluation, timelines: Timelines, path: Path | str) -> None:
    """Write the report atomically.

    Raises
    ------
    StorageError
        It cannot be written; what was there before is untouched.
    """
    text = render(evaluation, timelines)
    with atomic_file(path) as staged:
        staged.write_text(text, encoding="utf-8")


def render(evaluation: Evaluation, timelines: Timelines) -> str:
    """The report as HTML text, the same for the same input."""
    environment = Environment(
        loader=PackageLoader("pro_ros.evaluation", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    figures = _Figures()
    targets = (ANY, *evaluation.modes) if evaluation.modes else ()
    # With one mode, 'any' says the same twice.
    shown = targets[1:] if len(targets) == 2 else targets
    context: dict[str, Any] = {
        "e": evaluation,
        "targets": shown,
        "name": target_name,
        "verdict": _verdict(evaluation, shown),
        "forests": _forests(evaluation, shown, figures),
        "timelines": [
            (t, figures.add(f"timeline-{k}", timeline_figure(t)))
            for k, t in enumerate(timelines.whole)
        ],
        "sequences": timelines.sequences,
        "headline": [_table(evaluation, t, evaluation.headline_horizon) for t in shown],
        "horizons": [
            _table(evaluation, t, h)
            for t in shown
            for h in evaluation.horizons
            if h != evaluation.headline_horizon
        ],
        "families": _families(evaluation),
        "calibrated": _calibrated(evaluation),
        "risk_figures": [_risk_figures(evaluation, t, figures) for t in shown],
        "breakdowns": _breakdowns(evaluation, shown),
        "part_columns": [DEFINITIONS[k].label for k in PART_METRICS],
        "mistakes": [
            (m, t, figures.add(f"mistake-{k}", timeline_figure(t, 520)) if t else None)
            for k, (m, t) in enumerate(zip(evaluation.mistakes, timelines.close, strict=True))
        ],
        "definitions": [
            (FAMILIES[f], [d for d in DEFINITIONS.values() if d.family == f]) for f in FAMILIES
        ],
        "shown_thresholds": {s.target: s for s in evaluation.shown_thresholds},
        "OPERATOR": OPERATOR,
    }
    # The figures are complete only now.
    context["figures"] = figures.found
    context["plotly"] = get_plotlyjs()
    return environment.get_template("report.html.j2").render(context)


def _verdict(e: Evaluation, targets: Iterable[str]) -> list[str]:
    """The comparison with the rivals, in sentences that follow from the intervals alone."""
    lines = []
    for target in targets:
        parts = []
        for key in ("risk_auroc", "risk_auprc"):
            metric = e.find(key, target, e.headline_horizon)
            if metric is None:
                continue
            mine = metric.number(OPERATOR)
            rival = _best_rival(metric)
            label = DEFINITIONS[key].label
            if mine.value is None:
                parts.append(f"{label} is not defined ({mine.reason})")
                continue
            text = f"{label} {_text(mine)} {_interval(mine)}"
            if rival is not None:
                text += f", {_relation(metric, rival)} {rival.model} with {_text(rival.number)}"
            parts.append(text)
        if parts:
            lines.append(
                f"{target_name(target, e.headline_horizon).capitalize()}: {'; '.join(parts)}."
            )
    return lines


def _relation(metric: Metric, rival: Score) -> str:
    mark = _mark(metric.key, rival)
    return {"▲": "above the best rival,", "▼": "below the best rival,"}.get(
        mark, "not clearly different from the best rival,"
    )


def _best_rival(metric: Metric) -> Score | None:
    rivals = [s for s in metric.scores if s.model != OPERATOR and s.number.value is not None]
    sign = -1.0 if DEFINITIONS[metric.key].better == "lower" else 1.0
    return max(rivals, key=lambda s: sign * (s.number.value or 0.0), default=None)


def _mark(key: str, rival: Score) -> str:
    """Whether the paired interval of the difference lies on one side of 0, and on which."""
    d = rival.difference
    if d is None or d.low is None or d.high is None or (d.low <= 0.0 <= d.high):
        return ""
    better = DEFINITIONS[key].better
    if better == "neither":
        return ""
    return "▲" if (d.low > 0) == (better == "higher") else "▼"


def _text(number: Number, unit: str = "") -> str:
    if number.value is None:
        return "—"
    digits = 3 if abs(number.value) < 10 else 1
    return f"{number.value:.{digits}f}{' ' + unit if unit else ''}".replace("-", "−")


def _interval(number: Number) -> str:
    if number.low is None or number.high is None:
        return ""
    digits = 3 if abs(number.high) < 10 else 1
    return f"[{number.low:.{digits}f}, {number.high:.{digits}f}]".replace("-", "−")


def _cells(metric: Metric, models: Iterable[str]) -> tuple[Cell, ...]:
    unit = DEFINITIONS[metric.key].unit
    scores = {s.model: s for s in metric.scores}
    cells = []
    for model in models:
        score = scores.get(model)
        if score is None:
            cells.append(Cell(""))
            continue
        title = score.number.reason
        if score.difference is not None and score.difference.value is not None:
            d = score.difference
            title = f"{OPERATOR} minus {model}: {d.value:+.3f} {_interval(d)}"
        cells.append(
            Cell(
                _text(score.number, unit),
                _interval(score.number),
                _mark(metric.key, score),
                title,
            )
        )
    return tuple(cells)


def _row(metric: Metric, models: tuple[str, ...]) -> Row:
    definition = DEFINITIONS[metric.key]
    about = f"{metric.count:,} {metric.counted}"
    if metric.prevalence is not None:
        about += f", {metric.prevalence:.2%} positive"
    if metric.note:
        about = f"{about}; {metric.note}"
    arrow = {"higher": "↑", "lower": "↓", "neither": ""}[definition.better]
    return Row(definition.label, definition.meaning, about, _cells(metric, models), arrow)


def _table(e: Evaluation, target: str, horizon: float) -> TableView:
    rows = [
        _row(m, e.models)
        for m in e.metrics
        if m.target == target
        and m.horizon == horizon
        and not m.key.startswith(("calibrated", "detection"))
    ]
    return TableView(target_name(target, horizon).capitalize(), e.models, tuple(rows))


def _families(e: Evaluation) -> list[TableView]:
    """Tables of what is measured per episode; detection has one per score."""
    tables = []
    for family in ("detection", "value", "termination", "success"):
        found = [m for m in e.metrics if DEFINITIONS[m.key].family == family]
        for score in dict.fromkeys(m.score for m in found):
            metrics = [m for m in found if m.score == score]
            title = FAMILIES[family]
            if score == "risk":
                title += f", by the risk of any failure within {metrics[0].horizon:g} s"
            elif score == "success":
                title += ", by 1 − P(success)"
            rows = tuple(_row(m, e.models) for m in metrics)
            tables.append(TableView(title, e.models, rows))
    return tables


def _calibrated(e: Evaluation) -> TableView:
    rows = []
    for m in e.metrics:
        if m.key.startswith("calibrated"):
            row = _row(m, (OPERATOR,))
            label = f"{target_name(m.target, m.horizon)}: {row.label.lower()}"
            rows.append(Row(label, row.meaning, row.about, row.cells, row.better))
    return TableView("At the thresholds stored in the checkpoint", (OPERATOR,), tuple(rows))


def _forests(
    e: Evaluation, targets: tuple[str, ...], figures: _Figures
) -> list[tuple[str, str | None]]:
    found = []
    for key in FORESTS:
        metrics = [m for t in targets if (m := e.find(key, t, e.headline_horizon)) is not None]
        title = DEFINITIONS[key].label
        if metrics:
            figure = plots.forest(metrics, e.models, title)
            found.append((title, figures.add(f"forest-{key}", figure)))
    return found


def _risk_figures(e: Evaluation, target: str, figures: _Figures) -> dict[str, Any]:
    curves = curves_of(e, target)
    metric = e.find("risk_auprc", target, e.headline_horizon)
    share = None if metric is None else metric.prevalence
    mine = next(c for c in curves if c.model == OPERATOR)
    return {
        "target": target,
        "precision_recall": figures.add(
            f"pr-{target}", plots.precision_recall(curves, e.models, share)
        ),
        "reliability": figures.add(
            f"reliability-{target}", plots.reliability_figure(mine, e.models)
        ),
        "operating": figures.add(f"alarms-{target}", plots.operating_curve(curves, e.models)),
        "lead": figures.add(f"lead-{target}", plots.lead_figure(curves, e.models)),
        "lead_note": mine.lead_note,
        "events": mine.lead_events,
        "recalled": len(mine.lead_s),
    }


def _breakdowns(e: Evaluation, targets: tuple[str, ...]) -> list[tuple[str, list[PartRows]]]:
    found: dict[str, list[PartRows]] = {}
    for part in e.breakdowns:
        c = part.counts
        lines = []
        for target in targets:
            events = part.find("event_recall_6", target)
            counted = "" if events is None else f"{events.count} events"
            cells = tuple(_part_cell(part, key, target) for key in PART_METRICS)
            lines.append((target_name(target), counted, cells))
        title = BREAKDOWN_TITLES.get(part.dimension, part.dimension)
        about = f"{c.episodes} episodes ({c.failures} failed), {c.hours:.3g} h"
        success = _part_cell(part, "success_auroc", "")
        found.setdefault(title, []).append(PartRows(part.name, about, tuple(lines), success))
    return list(found.items())


def _part_cell(part: Breakdown, key: str, target: str) -> Cell:
    """The operator's number; the best rival's where it is pointed at."""
    metric = part.find(key, target)
    if metric is None:
        return Cell("—")
    mine = metric.number(OPERATOR)
    rival = _best_rival(metric)
    other = f"best rival: {rival.model} {_text(rival.number)}" if rival is not None else ""
    mark = _mark(key, rival) if rival is not None else ""
    return Cell(_text(mine), _interval(mine), mark, mine.reason or other)
