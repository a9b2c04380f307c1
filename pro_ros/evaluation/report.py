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
from pro_ros.evaluation.plots import Figure, curves_of, heading, target_name
from pro_ros.evaluation.plots_timeline import timeline_figure
from pro_ros.evaluation.results import Evaluation, Metric, Score
from pro_ros.evaluation.table import ANY, OPERATOR
from pro_ros.evaluation.tables import (
    PART_METRICS,
    best_rival,
    breakdown_tables,
    calibrated_table,
    episode_tables,
    interval_text,
    mark,
    number_text,
    risk_table,
    scoring_table,
)
from pro_ros.evaluation.timelines import Timelines
from pro_ros.files import atomic_file

FORESTS = ("risk_auroc", "risk_auprc", "event_recall_1", "event_recall_6")
"""Headline metrics, drawn with their intervals at the top."""


@dataclass
class _Figures:
    """Figures by element id, in the order in which they are drawn."""

    found: dict[str, str] = field(default_factory=dict)

    def add(self, figure: Figure) -> str | None:
        """Keep a figure; None where it has nothing to show."""
        if not figure["data"]:
            return None
        identity = f"figure-{len(self.found)}"
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
        "heading": heading,
        "verdict": _verdict(evaluation, shown),
        "forests": _forests(evaluation, shown, figures),
        "timelines": [(t, figures.add(timeline_figure(t))) for t in timelines.whole],
        "sequences": timelines.sequences,
        "headline": [risk_table(evaluation, t, evaluation.headline_horizon) for t in shown],
        "horizons": [
            risk_table(evaluation, t, h)
            for t in shown
            for h in evaluation.horizons
            if h != evaluation.headline_horizon
        ],
        "families": episode_tables(evaluation),
        "scoring": scoring_table(evaluation),
        "calibrated": calibrated_table(evaluation),
        "risk_figures": [_risk_figures(evaluation, t, figures) for t in shown],
        "breakdowns": breakdown_tables(evaluation, shown),
        "part_columns": [DEFINITIONS[k].label for k in PART_METRICS],
        "mistakes": [
            (m, t, figures.add(timeline_figure(t, 520)))
            for m, t in zip(evaluation.mistakes, timelines.close, strict=True)
        ],
        "definitions": [
            (FAMILIES[f], [d for d in DEFINITIONS.values() if d.family == f])
            for f in FAMILIES
            if f != "scoring" or evaluation.scoring is not None
        ],
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
            rival = best_rival(metric)
            label = DEFINITIONS[key].label
            if mine.value is None:
                parts.append(f"{label} is not defined ({mine.reason})")
                continue
            text = f"{label} {number_text(mine)} {interval_text(mine)}"
            if rival is not None:
                text += (
                    f", {_relation(metric, rival)} {rival.model} with {number_text(rival.number)}"
                )
            parts.append(text)
        if parts:
            lines.append(f"{heading(target, e.headline_horizon)}: {'; '.join(parts)}.")
    return lines


def _relation(metric: Metric, rival: Score) -> str:
    sign = mark(metric.key, rival)
    return {"▲": "above the best rival,", "▼": "below the best rival,"}.get(
        sign, "not clearly different from the best rival,"
    )


def _forests(
    e: Evaluation, targets: tuple[str, ...], figures: _Figures
) -> list[tuple[str, str | None]]:
    found = []
    for key in FORESTS:
        metrics = [m for t in targets if (m := e.find(key, t, e.headline_horizon)) is not None]
        title = DEFINITIONS[key].label
        if metrics:
            figure = plots.forest(metrics, e.models, title)
            found.append((title, figures.add(figure)))
    return found


def _risk_figures(e: Evaluation, target: str, figures: _Figures) -> dict[str, Any]:
    curves = curves_of(e, target)
    metric = e.find("risk_auprc", target, e.headline_horizon)
    share = None if metric is None else metric.prevalence
    mine = next(c for c in curves if c.model == OPERATOR)
    return {
        "target": target,
        "precision_recall": figures.add(plots.precision_recall(curves, e.models, share)),
        "reliability": figures.add(plots.reliability_figure(mine, e.models)),
        "operating": figures.add(plots.operating_curve(curves, e.models)),
        "lead": figures.add(plots.lead_figure(curves, e.models)),
        "lead_note": mine.lead_note,
        "events": mine.lead_events,
        "recalled": len(mine.lead_s),
    }
