"""What the closed-loop report shows, worked out from the statistics: texts, cells and places."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pro_ros.cell.captions import clause, noun
from pro_ros.cell.results import Bar, ClosedLoop, Metric, RiskBar, RiskCurve, Variant
from pro_ros.cell.rows import Film
from pro_ros.cell.statistics import DEFINITIONS, Statistics
from pro_ros.cell.verdicts import Change, Compared, Verdict
from pro_ros.evaluation.results import Number

SHARES: Final[tuple[Metric, ...]] = ("success", "recovery", "recovery_own", "caught")
"""Metrics that are shown in percent."""

HEADLINE: Final[tuple[Metric, ...]] = (
    "success", "recovery", "retries", "time", "drops", "false_stops",
)  # fmt: skip
"""Metrics that are drawn."""


@dataclass(frozen=True)
class Cell:
    """A number in a table and its interval."""

    text: str
    interval: str = ""
    title: str = ""


@dataclass(frozen=True)
class Dot:
    """A variant in a plot: places are percent of the axis, None where there is no number."""

    variant: Variant
    cell: Cell
    at: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Panel:
    """One metric of all variants. ``ticks``: place in percent, and what is written there."""

    label: str
    meaning: str
    better: str
    dots: tuple[Dot, ...]
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class VerdictRow:
    """A bar of a comparison, in words. ``state``: ``met``, ``missed`` or ``unknown``."""

    asked: str
    old: Cell
    new: Cell
    found: Cell
    state: str
    said: str


def name(variant: Variant) -> str:
    """A variant with its letter."""
    return f"({variant.letter}) {variant.name}" if variant.letter else variant.name


def value_text(metric: Metric, value: float) -> str:
    """A value of a metric, with its unit."""
    if metric in SHARES:
        return f"{100.0 * value:.1f} %"
    if metric == "time":
        return f"{value:.2f} s"
    return f"{value:.2f}" if metric == "retries" else f"{value:.1f}"


def cell(metric: Metric, number: Number) -> Cell:
    """A number of a metric as a table shows it."""
    if number.value is None:
        return Cell("—", title=number.reason)
    return Cell(value_text(metric, number.value), _interval(metric, number), number.reason)


def difference_cell(change: Change) -> Cell:
    """The difference of a metric, in points where it is a share."""
    number, metric = change.difference, change.metric
    if number.value is None:
        return Cell("—", title=number.reason)
    scale, unit, digits = 1.0, "", 2
    if metric in SHARES:
        scale, unit, digits = 100.0, " points", 1
    elif metric == "time":
        unit = " s"
    return _signed(number, scale, digits, unit)


def relative_cell(change: Change) -> Cell:
    """The relative change of a metric."""
    number = change.relative
    if number.value is None:
        return Cell("—", title=number.reason)
    return _signed(number, 100.0, 0, " %")


def panels(statistics: Statistics, metrics: Sequence[Metric] = HEADLINE) -> list[Panel]:
    """One panel per metric, each on an axis of its own."""
    variants = statistics.results.variants
    found = []
    for metric in metrics:
        numbers = [(v, statistics.number(v.key, metric)) for v in variants]
        ends = [x for _, n in numbers for x in (n.value, n.low, n.high) if x is not None]
        if not ends:
            continue
        low, high, step = _axis(ends, metric)
        scale = 100.0 / (high - low)
        dots = tuple(
            Dot(v, cell(metric, n), *(_place(x, low, scale) for x in (n.value, n.low, n.high)))
            for v, n in numbers
        )
        count = round((high - low) / step)
        ticks = tuple(
            (100.0 * k / count, _tick(metric, low + k * step, step)) for k in range(count + 1)
        )
        about = DEFINITIONS[metric]
        found.append(Panel(about.label, about.meaning, better(metric), dots, ticks))
    return found


def better(metric: Metric) -> str:
    """An arrow in the direction that is better."""
    return "↑" if DEFINITIONS[metric].more_is_better else "↓"


def verdict_rows(compared: Compared) -> list[VerdictRow]:
    """The bars of a comparison and what became of them."""
    return [_verdict_row(v) for v in compared.verdicts]


def verdict_line(compared: Compared, new: Variant, old: Variant) -> tuple[str, str]:
    """State and sentence of a comparison as a whole."""
    verdicts = compared.verdicts
    met = sum(v.met is True for v in verdicts)
    names = f"{name(new)} against {name(old)}"
    if compared.met is None:
        return "unknown", f"{names}: nothing can be said yet."
    if compared.comparison.need == "any":
        text = "at least one is needed, and "
        text += f"{met} of {len(verdicts)} is met." if met else "none is met."
    elif compared.met:
        text = f"all {len(verdicts)} bars are met."
    else:
        text = f"{met} of {len(verdicts)} bars are met."
    return "met" if compared.met else "missed", f"{names}: {text}"


def risk_verdict(results: ClosedLoop, bar: RiskBar) -> tuple[str, str]:
    """State and sentence of a bar on foresight."""
    asked = (
        f"{bar.name}, recall of {noun(bar.target)}s within {bar.horizon:g} s at {bar.asked:g} "
        f"false alarms per hour: asked {bar.recall:.2f}"
    )
    for curve in results.risk:
        wanted = (bar.name, bar.target, bar.horizon)
        if (curve.name, curve.target, curve.horizon) != wanted:
            continue
        for point in curve.points:
            if point.asked == bar.asked and point.recall.value is not None:
                met = point.recall.value >= bar.recall
                found = plain_cell(point.recall, 2)
                return (
                    "met" if met else "missed",
                    f"{asked}, found {found.text} {found.interval}: {'met' if met else 'MISSED'}.",
                )
    return "unknown", f"{asked}: not measured."


def plain_cell(number: Number, digits: int, unit: str = "") -> Cell:
    """A number without a metric."""
    if number.value is None:
        return Cell("—", title=number.reason)
    interval = ""
    if number.low is not None and number.high is not None:
        interval = f"[{number.low:.{digits}f}, {number.high:.{digits}f}]"
    return Cell(f"{number.value:.{digits}f}{unit}", interval, number.reason)


def share_cell(number: Number) -> Cell:
    """A share in percent."""
    return cell("success", number)


def targets(curves: Iterable[RiskCurve]) -> list[tuple[str, float]]:
    """Failure modes and horizons that curves are about, in their order."""
    return list(dict.fromkeys((c.target, c.horizon) for c in curves))


def aside(results: ClosedLoop, film: Film) -> str:
    """What would have become of the film's first attempt if nobody had stopped it."""
    variant = results.variant(film.variant)
    key = variant.reference or results.plain
    row = next((t for t in results.variant(key).tasks if t.key == film.task.key), None)
    first = film.task.first
    alone = None if row is None else row.first
    if first is None or alone is None or not first.stopped or key == variant.key:
        return ""
    if alone.outcome == "success":
        return "A false stop: left alone, the first attempt succeeds."
    if not alone.failures or first.alarm is None:
        return "Left alone, the first attempt fails."
    failure = min(alone.failures, key=lambda f: f.at)
    lead = (failure.at - alone.begin) - (first.alarm - first.begin)
    if lead <= 0:
        return ""
    return f"Left alone, the first attempt goes wrong {lead:.1f} s after that: " + (
        f"{clause(failure.mode)}."
    )


def _verdict_row(v: Verdict) -> VerdictRow:
    change, metric = v.change, v.change.metric
    found = relative_cell(change) if v.bar.kind == "relative" else difference_cell(change)
    if v.met is None:
        state, said = "unknown", f"no number: {v.found.reason}"
    else:
        state, said = ("met", "met") if v.met else ("missed", "MISSED")
        if v.found.low is None:
            said += " (no interval)"
        elif not v.sure:
            said += " (the interval reaches across the bar)"
    return VerdictRow(
        _asked(v.bar), cell(metric, change.old), cell(metric, change.new), found, state, said
    )


def _asked(bar: Bar) -> str:
    return bar.words[:1].upper() + bar.words[1:]


def _interval(metric: Metric, number: Number) -> str:
    if number.low is None or number.high is None:
        return ""
    low, high = value_text(metric, number.low), value_text(metric, number.high)
    for unit in (" %", " s"):
        low, high = low.removesuffix(unit), high.removesuffix(unit)
    return f"[{low}, {high}]"


def _signed(number: Number, scale: float, digits: int, unit: str) -> Cell:
    assert number.value is not None

    def text(value: float) -> str:
        # A minus sign of the width of the plus; no '-0'.
        rounded = round(scale * value, digits)
        return f"{rounded + 0.0:+.{digits}f}".replace("-", "−")

    interval = ""
    if number.low is not None and number.high is not None:
        interval = f"[{text(number.low)}, {text(number.high)}]"
    return Cell(text(number.value) + unit, interval, number.reason)


def _axis(values: Sequence[float], metric: Metric) -> tuple[float, float, float]:
    """Ends and step of an axis that holds the values; shares end at 1, counts begin at 0."""
    low, high = min(values), max(values)
    if metric not in SHARES:
        low = 0.0 if metric != "time" else low
    # Where all are equal, an axis of one unit around them.
    span = high - low if high - low > 1e-9 else 1.0
    raw = span / 3.0
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * k for k in (1.0, 2.0, 2.5, 5.0, 10.0) if size * k >= raw * 0.999)
    first = math.floor(low / step + 1e-9) * step
    last = math.ceil(high / step - 1e-9) * step
    if last - first < step / 2.0:
        last = first + step
    return first, last, step


def _tick(metric: Metric, value: float, step: float) -> str:
    if metric in SHARES:
        value, step = 100.0 * value, 100.0 * step
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    if digits == 0 and abs(step - round(step)) > 1e-9:
        digits = 1
    return f"{value + 0.0:.{digits}f}"


def _place(value: float | None, low: float, scale: float) -> float | None:
    return None if value is None else min(100.0, max(0.0, round((value - low) * scale, 2)))
