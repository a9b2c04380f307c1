"""One HTML file with everything that the closed-loop benchmark found, films included.

It needs no network and no other file.
"""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from pro_ros.cell import charts, views
from pro_ros.cell.captions import noun
from pro_ros.cell.results import ClosedLoop
from pro_ros.cell.rows import Film
from pro_ros.cell.statistics import (
    DEFINITIONS,
    METRICS,
    Statistics,
    by_novelty,
    by_site,
)
from pro_ros.cell.verdicts import Compared
from pro_ros.evaluation.plots import BLUE, GREY
from pro_ros.files import atomic_file

PARTS: Final = ("success", "recovery", "retries", "time", "drops", "false_stops")
"""Metrics that are broken down by site and by item."""


def write_report(results: ClosedLoop, path: Path | str) -> None:
    """Write the report atomically.

    Raises
    ------
    DataError
        The variants have no task in common.
    StorageError
        It cannot be written; what was there before is untouched.
    """
    text = render(results)
    with atomic_file(path) as staged:
        staged.write_text(text, encoding="utf-8")


def render(results: ClosedLoop) -> str:
    """The report as HTML text, the same for the same results.

    Raises
    ------
    DataError
        The variants have no task in common.
    """
    environment = Environment(
        # Style and figures are those of the evaluation's report.
        loader=PackageLoader("pro_ros.evaluation", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    statistics = Statistics(results)
    compared = [statistics.compared(c) for c in results.comparisons]
    context: dict[str, Any] = {
        "r": results,
        "s": statistics,
        "name": views.name,
        "noun": noun,
        "metrics": [(m, DEFINITIONS[m], views.better(m)) for m in METRICS],
        "parts_metrics": [(m, DEFINITIONS[m], views.better(m)) for m in PARTS],
        "verdicts": _verdicts(results, compared),
        "rows": [
            (v, [views.cell(m, statistics.number(v.key, m)) for m in METRICS])
            for v in results.variants
        ],
        "panels": views.panels(statistics),
        "compared": [_comparison(results, c) for c in compared],
        "risk": [_risk(results, *about) for about in views.targets(results.risk)],
        "modes": _modes(statistics),
        "leads": _leads(statistics),
        "parts": _parts(results),
        "films": _films(results),
    }
    return environment.get_template("closed_loop.html.j2").render(context)


def _verdicts(results: ClosedLoop, compared: list[Compared]) -> list[tuple[str, str]]:
    """What was asked and what became of it, a line each, with its state."""
    lines = [
        views.verdict_line(c, results.variant(c.comparison.new), results.variant(c.comparison.old))
        for c in compared
        if c.verdicts
    ]
    return lines + [views.risk_verdict(results, bar) for bar in results.risk_bars]


def _comparison(results: ClosedLoop, found: Compared) -> dict[str, Any]:
    return {
        "new": results.variant(found.comparison.new),
        "old": results.variant(found.comparison.old),
        "need": found.comparison.need,
        "bars": views.verdict_rows(found),
        "changes": [
            (
                DEFINITIONS[m],
                views.better(m),
                views.cell(m, c.old),
                views.cell(m, c.new),
                views.difference_cell(c),
                views.relative_cell(c),
            )
            for m, c in found.changes.items()
        ],
    }


def _risk(results: ClosedLoop, target: str, horizon: float) -> dict[str, Any]:
    curves = [c for c in results.risk if (c.target, c.horizon) == (target, horizon)]
    asked = sorted({p.asked for c in curves for p in c.points})
    rows = []
    for curve in curves:
        for point in curve.points:
            rows.append(
                (
                    curve.name,
                    f"{point.asked:g}",
                    f"{point.rate:.2f}",
                    views.plain_cell(point.recall, 2),
                    views.plain_cell(point.lead_median, 2, " s"),
                    views.plain_cell(point.lead_p10, 2, " s"),
                )
            )
    longest = max([1.0, *(lead for c in curves for p in c.points for lead in p.lead_s)])
    leads = []
    for k, curve in enumerate(curves):
        if not curve.points:
            continue
        point = max(curve.points, key=lambda p: p.asked)
        words = f"lead time at {point.asked:g} false alarms per hour [s]"
        drawn = charts.histogram(point.lead_s, longest, charts.style(k)[0], words)
        leads.append((curve.name, len(point.lead_s), curve.events, drawn))
    return {
        "target": target,
        "horizon": horizon,
        "hours": curves[0].hours,
        "events": curves[0].events,
        "chart": charts.risk_chart(curves, asked),
        "legend": [(c.name, *charts.style(k)) for k, c in enumerate(curves)],
        "rows": rows,
        "leads": leads,
        "notes": [f"{c.name}: {c.note}" for c in curves if c.note],
    }


def _modes(statistics: Statistics) -> list[dict[str, Any]]:
    """Failure modes with a row per variant."""
    found = []
    for mode in statistics.modes():
        rows = []
        for variant in statistics.results.variants:
            row = statistics.mode(variant.key, mode)
            rows.append(
                (
                    variant,
                    views.plain_cell(row.logged, 1),
                    views.share_cell(row.caught),
                    views.plain_cell(row.lead, 2, " s"),
                )
            )
        first = statistics.mode(statistics.results.plain, mode).first
        found.append({"mode": noun(mode), "first": first, "rows": rows})
    return found


def _leads(statistics: Statistics) -> list[tuple[str, int, str]]:
    """How long before the failure first attempts were stopped, a histogram per variant."""
    found = [(v, statistics.leads(v.key)) for v in statistics.results.variants]
    longest = max([1.0, *(x for _, leads in found for x in leads)])
    words = "from the alarm to where it would have failed [s]"
    return [
        (
            views.name(v),
            len(leads),
            charts.histogram(leads, longest, BLUE if v.ours else GREY, words),
        )
        for v, leads in found
        if leads
    ]


def _parts(results: ClosedLoop) -> list[tuple[str, int, list[tuple[Any, list[views.Cell]]]]]:
    """Sites, then seen and held-out items, with a row per variant."""
    found = []
    for part, statistics in (*by_site(results).items(), *by_novelty(results).items()):
        rows = [
            (v, [views.cell(m, statistics.number(v.key, m)) for m in PARTS])
            for v in results.variants
        ]
        found.append((part, len(statistics.keys), rows))
    return found


def _films(results: ClosedLoop) -> list[dict[str, Any]]:
    """Films, those of one task that follow each other together."""
    found: list[dict[str, Any]] = []
    number = 0
    for _, group in groupby(results.films, key=lambda f: f.task.key):
        films = list(group)
        cards = []
        for film in films:
            cards.append(
                {
                    "id": f"film-{number}",
                    "film": film,
                    "variant": results.variant(film.variant),
                    "aside": views.aside(results, film),
                    "data": _script_data(film),
                }
            )
            number += 1
        first = films[0]
        title = next((f.title for f in films if f.title), "")
        found.append({"title": title, "film": first, "cards": cards})
    return found


def _script_data(film: Film) -> str:
    """What the script draws, as JSON that no text in it can end early."""
    data = film.model_dump(
        include={
            "begins", "step", "traces", "modes", "horizon", "threshold", "vacuum_threshold",
            "events", "phases",
        }
    )  # fmt: skip
    data["names"] = {mode: noun(mode) for mode in film.modes}
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")
