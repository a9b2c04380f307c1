"""Figures of the report as Plotly descriptions: plain data, the same for the same input.

Colours are those of Okabe and Ito (2008), told apart by people with any colour vision; lines
differ in dash as well, so that they survive a black-and-white printer.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from collections.abc import Sequence as Sequence_
from typing import Any

import numpy as np
import numpy.typing as npt

from pro_ros.evaluation.results import Curves, Evaluation, Metric
from pro_ros.evaluation.table import ANY, OPERATOR

Figure = dict[str, Any]

BLUE, SKY, GREEN, ORANGE, VERMILION, PURPLE, GREY, INK = (
    "#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00", "#CC79A7", "#6E6E6E", "#222222",
)  # fmt: skip

MODEL_COLOURS = (BLUE, GREY, PURPLE, GREEN, ORANGE, SKY)
MODEL_DASHES = ("solid", "dot", "dashdot", "dash", "longdash", "longdashdot")
TARGET_COLOURS = (VERMILION, BLUE, ORANGE, PURPLE, GREEN, SKY, GREY)
OUTCOME_COLOURS = {"success": GREEN, "failure": VERMILION, "unknown": "#BBBBBB"}

FONT = {"family": "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif", "size": 13}


def packed(values: npt.NDArray[np.floating], dtype: str = "f4") -> dict[str, str]:
    """An array as Plotly reads it from base64: small, and exact to the byte."""
    little = np.asarray(values).astype(f"<{dtype}")
    return {"dtype": dtype, "bdata": base64.b64encode(little.tobytes()).decode("ascii")}


def target_name(target: str, horizon: float | None = None) -> str:
    """How a target is called in titles."""
    name = "any failure" if target == ANY else target.replace("_", " ")
    return name if horizon is None else f"{name} within {horizon:g} s"


def heading(target: str, horizon: float | None = None) -> str:
    """The same at the beginning of a line."""
    name = target_name(target, horizon)
    return name[:1].upper() + name[1:]


def model_style(models: Sequence_[str], model: str) -> tuple[str, str, float]:
    """Colour, dash and width of a model's lines."""
    k = list(models).index(model)
    width = 3.2 if model == OPERATOR else 1.9
    return (
        MODEL_COLOURS[k % len(MODEL_COLOURS)],
        MODEL_DASHES[k % len(MODEL_DASHES)],
        width,
    )


def time_unit(longest_s: float) -> tuple[float, str]:
    """Divisor and name of the unit in which a duration reads best."""
    if longest_s <= 600:
        return 1.0, "s"
    return (60.0, "min") if longest_s <= 10800 else (3600.0, "h")


def layout(height: int, **more: Any) -> Figure:
    """Common look of all figures."""
    return {
        "height": height,
        "font": {**FONT, "color": INK},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "margin": {"l": 64, "r": 20, "t": 28, "b": 52},
        "hoverlabel": {"font": FONT},
        "legend": {
            "orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "xanchor": "left",
            "font": {"size": 12},
        },
        **more,
    }  # fmt: skip


def axis(title: str, **more: Any) -> Figure:
    """Common look of all axes."""
    return {
        "title": {"text": title, "standoff": 8},
        "gridcolor": "#E6E6E6",
        "linecolor": "#888888",
        "showline": True,
        "ticks": "outside",
        "tickcolor": "#888888",
        "zeroline": False,
        **more,
    }


def precision_recall(
    curves: Sequence_[Curves], models: Sequence_[str], share: float | None
) -> Figure:
    """Precision against recall of all models for one target; ``share`` is the prevalence."""
    data: list[Figure] = [
        {
            "type": "scatter", "mode": "lines", "name": c.model,
            "x": list(c.recall), "y": list(c.precision), "line": _style(models, c.model),
            "hovertemplate": "recall %{x:.2f}<br>precision %{y:.2f}",
        }
        for c in _rivals_first(curves)
        if c.recall
    ]  # fmt: skip
    if share is not None and data:
        data.append(_flat("guessing (prevalence)", share))
    return {
        "data": data,
        "layout": layout(
            380,
            xaxis=axis("recall: share of positive steps found", range=[0, 1.01]),
            yaxis=axis("precision", range=[0, 1.02]),
        ),
    }


def operating_curve(curves: Sequence_[Curves], models: Sequence_[str]) -> Figure:
    """Event recall against false alarms per hour."""
    data: list[Figure] = [
        {
            "type": "scatter", "mode": "lines", "name": c.model,
            "x": list(c.rate), "y": list(c.event_recall),
            "line": {**_style(models, c.model), "shape": "hv"},
            "hovertemplate": "%{x:.2f} false alarms/h<br>recall %{y:.2f}",
        }
        for c in _rivals_first(curves)
        if c.rate
    ]  # fmt: skip
    highest = max((max(c.rate) for c in curves if c.rate), default=1.0)
    marks = [_upright(r, f"{r:g}/h") for r in (1.0, 6.0) if r <= highest]
    return {
        "data": data,
        "layout": layout(
            380,
            xaxis=axis(
                "false alarms per hour of monitored time [1/h]", range=[0, min(highest, 30.0)]
            ),
            yaxis=axis("event recall", range=[0, 1.02]),
            shapes=[m[0] for m in marks],
            annotations=[m[1] for m in marks],
        ),
    }


def reliability_figure(curves: Curves, models: Sequence_[str]) -> Figure:
    """Observed against predicted share per bin, with counts below."""
    points = curves.reliability
    colour = model_style(models, curves.model)[0]
    highest = max([1e-3, *(p.predicted for p in points), *(p.high or p.observed for p in points)])
    top = min(1.0, highest * 1.08)
    predicted = [p.predicted for p in points]
    data: list[Figure] = [
        {
            "type": "scatter", "mode": "lines", "name": "perfect", "x": [0, top], "y": [0, top],
            "line": {"color": "#888888", "width": 1, "dash": "dot"}, "hoverinfo": "skip",
        },
        {
            "type": "scatter", "mode": "lines+markers", "name": curves.model,
            "x": predicted, "y": [p.observed for p in points],
            "error_y": {
                "type": "data", "symmetric": False, "thickness": 1.3, "width": 3,
                "array": [(p.high if p.high is not None else p.observed) - p.observed
                          for p in points],
                "arrayminus": [p.observed - (p.low if p.low is not None else p.observed)
                               for p in points],
            },
            "line": {"color": colour, "width": 2}, "marker": {"size": 7},
            "customdata": [[p.positives, p.count] for p in points],
            "hovertemplate": "predicted %{x:.3f}<br>observed %{y:.3f}"
            "<br>%{customdata[0]} of %{customdata[1]} steps",
        },
        {
            "type": "bar", "name": "positive steps", "x": predicted, "yaxis": "y2",
            "y": [p.positives for p in points], "marker": {"color": colour, "opacity": 0.55},
            "width": top / 60, "showlegend": False,
            "text": [f"{p.positives}/{p.count}" for p in points],
            "textposition": "none",
            "customdata": [p.count for p in points],
            "hovertemplate": "%{y} of %{customdata} steps positive",
        },
    ]  # fmt: skip
    return {
        "data": data if points else [],
        "layout": layout(
            400,
            xaxis=axis("predicted risk (mean of the bin)", range=[-0.02 * top, top], anchor="y2"),
            yaxis=axis("observed share", range=[-0.02 * top, top], domain=[0.3, 1.0]),
            yaxis2=axis("positives", domain=[0.0, 0.2], rangemode="tozero", nticks=4),
        ),
    }


def lead_figure(curves: Sequence_[Curves], models: Sequence_[str]) -> Figure:
    """Share of all events that were warned of at least so long before."""
    data = []
    longest = max((c.horizon for c in curves), default=1.0)
    for c in _rivals_first(curves):
        if not c.lead_events or c.lead_threshold is None:
            continue
        leads = np.sort(np.asarray(c.lead_s))[::-1]
        # From the longest lead down: k events had at least the k-th longest.
        x = [longest, *leads.tolist(), 0.0]
        y = [0.0, *((np.arange(len(leads)) + 1) / c.lead_events).tolist()]
        y.append(y[-1])
        data.append(
            {
                "type": "scatter", "mode": "lines", "name": c.model, "x": x, "y": y,
                "line": {**_style(models, c.model), "shape": "vh"},
                "hovertemplate": "%{y:.0%} of events warned of<br>%{x:.2f} s before or earlier",
            }
        )  # fmt: skip
    return {
        "data": data,
        "layout": layout(
            380,
            xaxis=axis("lead time at least [s]", range=[0, longest * 1.02]),
            yaxis=axis("share of all events", range=[0, 1.02], tickformat=".0%"),
        ),
    }


def forest(metrics: Iterable[Metric], models: Sequence_[str], title: str) -> Figure:
    """Numbers of all models with their intervals, one group of rows per target."""
    rows: list[tuple[str, Metric]] = [(target_name(m.target), m) for m in metrics]
    data = []
    for model in models:
        found = [(name, s.number) for name, m in rows for s in m.scores if s.model == model]
        found = [(name, n) for name, n in found if n.value is not None]
        colour, _, _ = model_style(models, model)
        value = [n.value or 0.0 for _, n in found]
        data.append(
            {
                "type": "scatter", "mode": "markers", "name": model,
                "x": value, "y": [name for name, _ in found],
                "marker": {"color": colour, "size": 11 if model == OPERATOR else 8,
                           "symbol": "diamond" if model == OPERATOR else "circle"},
                "error_x": {
                    "type": "data", "symmetric": False, "thickness": 1.6, "width": 0,
                    "color": colour,
                    "array": [(n.high if n.high is not None else n.value or 0.0)
                              - (n.value or 0.0) for _, n in found],
                    "arrayminus": [(n.value or 0.0)
                                   - (n.low if n.low is not None else n.value or 0.0)
                                   for _, n in found],
                },
                "offsetgroup": model, "orientation": "h",
                "hovertemplate": f"{model}: %{{x:.3f}}<extra></extra>",
            }
        )  # fmt: skip
    return {
        "data": data,
        "layout": layout(
            120 + 26 * len(models) * max(1, len(rows)) // 2,
            scattermode="group",
            margin={"l": 130, "r": 16, "t": 10, "b": 46},
            xaxis=axis(title, range=_forest_range(rows)),
            yaxis=axis("", autorange="reversed", ticks="", showgrid=False),
            showlegend=False,
        ),
    }


def _forest_range(rows: Sequence_[tuple[str, Metric]]) -> list[float]:
    """All intervals with a little room; a ratio's axis ends at 1."""
    ends = [
        end
        for _, metric in rows
        for score in metric.scores
        for end in (score.number.low, score.number.value, score.number.high)
        if end is not None
    ]
    if not ends:
        return [0.0, 1.0]
    room = max(0.02, 0.06 * (max(ends) - min(ends)))
    return [max(-0.02, min(ends) - room), min(1.02, max(ends) + room)]


def _style(models: Sequence_[str], model: str) -> Figure:
    colour, dash, width = model_style(models, model)
    return {"color": colour, "dash": dash, "width": width}


def _rivals_first(curves: Sequence_[Curves]) -> list[Curves]:
    """The operator last, so that its line lies on top."""
    return sorted(curves, key=lambda c: c.model == OPERATOR)


def _flat(name: str, level: float) -> Figure:
    return {
        "type": "scatter", "mode": "lines", "name": name, "x": [0, 1], "y": [level, level],
        "line": {"color": "#888888", "width": 1, "dash": "dot"}, "hoverinfo": "skip",
    }  # fmt: skip


def _upright(x: float, text: str) -> tuple[Figure, Figure]:
    line = {
        "type": "line", "xref": "x", "yref": "paper", "x0": x, "x1": x, "y0": 0, "y1": 1,
        "line": {"color": "#888888", "width": 1, "dash": "dot"},
    }  # fmt: skip
    label = {
        "x": x, "y": 1, "xref": "x", "yref": "paper", "text": text, "showarrow": False,
        "xanchor": "left", "yanchor": "top", "font": {"size": 11, "color": "#555555"},
    }  # fmt: skip
    return line, label


def curves_of(evaluation: Evaluation, target: str) -> list[Curves]:
    """The curves of all models for one target."""
    return [c for c in evaluation.curves if c.target == target]
