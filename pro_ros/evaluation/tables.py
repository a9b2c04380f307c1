"""Tables of the report: numbers as text, beside their intervals and the rivals'."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from pro_ros.evaluation.definitions import DEFINITIONS, FAMILIES
from pro_ros.evaluation.plots import heading, target_name
from pro_ros.evaluation.results import Breakdown, Evaluation, Metric, Number, Score
from pro_ros.evaluation.table import OPERATOR

PART_METRICS = ("risk_auroc", "risk_auprc", "risk_ece", "event_recall_6")
"""Metrics of the tables per site, group and so on."""

CALIBRATED = (
    "calibrated_recall",
    "calibrated_false_alarms",
    "calibrated_lead_median",
    "calibrated_lead_p10",
)
CALIBRATED_TITLES = (
    "event recall ↑",
    "false alarms per hour ↓",
    "median lead time",
    "10th percentile of lead time",
)

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


def best_rival(metric: Metric) -> Score | None:
    """The rival with the best number; None where no rival has one."""
    rivals = [s for s in metric.scores if s.model != OPERATOR and s.number.value is not None]
    sign = -1.0 if DEFINITIONS[metric.key].better == "lower" else 1.0
    return max(rivals, key=lambda s: sign * (s.number.value or 0.0), default=None)


def mark(key: str, rival: Score) -> str:
    """Whether the paired interval of the difference lies on one side of 0, and on which."""
    d = rival.difference
    if d is None or d.low is None or d.high is None or (d.low <= 0.0 <= d.high):
        return ""
    better = DEFINITIONS[key].better
    if better == "neither":
        return ""
    return "▲" if (d.low > 0) == (better == "higher") else "▼"


def number_text(number: Number, unit: str = "") -> str:
    """A number with its unit, or a dash."""
    if number.value is None:
        return "—"
    digits = 3 if abs(number.value) < 10 else 1
    return f"{number.value:.{digits}f}{' ' + unit if unit else ''}".replace("-", "−")


def interval_text(number: Number) -> str:
    """An interval in brackets; empty where there is none."""
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
            title = f"{OPERATOR} minus {model}: {d.value:+.3f} {interval_text(d)}"
        cells.append(
            Cell(
                number_text(score.number, unit),
                interval_text(score.number),
                mark(metric.key, score),
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


def risk_table(e: Evaluation, target: str, horizon: float) -> TableView:
    """All metrics of one risk, a column per model."""
    rows = [
        _row(m, e.models)
        for m in e.metrics
        if m.target == target
        and m.horizon == horizon
        and not m.key.startswith(("calibrated", "detection"))
    ]
    return TableView(heading(target, horizon), e.models, tuple(rows))


def episode_tables(e: Evaluation) -> list[TableView]:
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


def scoring_table(e: Evaluation) -> TableView | None:
    """What the scorer of actions says beside what it says without them; None without one."""
    if e.scoring is None:
        return None
    rows = []
    for m in e.scoring.metrics:
        row = _row(m, e.scoring.models)
        if m.target:
            row = replace(row, label=f"{row.label}: {heading(m.target, m.horizon)}")
        rows.append(row)
    return TableView(FAMILIES["scoring"], e.scoring.models, tuple(rows))


def calibrated_table(e: Evaluation) -> TableView:
    """A line per threshold of the checkpoint, a column per metric."""
    found: dict[tuple[str, float | None, str], list[Metric]] = {}
    for m in e.metrics:
        if m.key in CALIBRATED:
            found.setdefault((m.target, m.horizon, m.note), []).append(m)
    rows = []
    for (target, horizon, note), metrics in found.items():
        cells = tuple(_cells(m, (OPERATOR,))[0] for m in metrics)
        label = heading(target, horizon)
        rows.append(Row(label, note, f"{metrics[0].count:,} events; {note}", cells))
    return TableView("At the thresholds stored in the checkpoint", CALIBRATED_TITLES, tuple(rows))


def breakdown_tables(e: Evaluation, targets: tuple[str, ...]) -> list[tuple[str, list[PartRows]]]:
    """(dimension, its parts) for every dimension that was broken down."""
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
    rival = best_rival(metric)
    other = f"best rival: {rival.model} {number_text(rival.number)}" if rival is not None else ""
    sign = mark(key, rival) if rival is not None else ""
    return Cell(number_text(mine), interval_text(mine), sign, mine.reason or other)
