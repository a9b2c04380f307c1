"""Timelines of the report: what the operator said, over what happened."""

from __future__ import annotations

import base64
from collections.abc import Sequence as Sequence_

import numpy as np
import numpy.typing as npt

from pro_ros.evaluation.plots import (
    BLUE,
    GREEN,
    GREY,
    INK,
    OUTCOME_COLOURS,
    PURPLE,
    TARGET_COLOURS,
    Figure,
    axis,
    layout,
    packed,
    target_name,
    time_unit,
)
from pro_ros.evaluation.table import ANY
from pro_ros.evaluation.timelines import Span, Timeline

MOST_SHADED = 400
"""Most events that are shaded through all panels; the lane on top shows all of them."""


def timeline_figure(timeline: Timeline, height: int = 620) -> Figure:
    """Lanes of alarms, events and episodes over panels of risk, probabilities, value, progress."""
    end = float(timeline.t_s[-1]) if len(timeline.t_s) else 1.0
    divisor, unit = time_unit(end - float(timeline.t_s[0]) if len(timeline.t_s) else 1.0)
    data = [
        *_lanes(timeline, divisor),
        *_risk_traces(timeline),
        _line("P(success | end)", timeline.success, GREEN, "y3", "solid"),
        _line("P(about to end)", timeline.termination, GREY, "y3", "dot"),
        _line("value V", timeline.value, BLUE, "y4", "solid"),
        _line("progress ΔV", timeline.progress, PURPLE, "y5", "solid", 1.2),
    ]
    title = f"risk within {timeline.horizon:g} s" if timeline.risk else "no failure modes"
    look = layout(
        height,
        margin={"l": 78, "r": 16, "t": 44, "b": 46},
        hovermode="x unified",
        xaxis=axis(
            f"time since the start of the sequence [{unit}]",
            anchor="y5",
            range=[float(timeline.t_s[0]) / divisor, end / divisor] if len(timeline.t_s) else None,
        ),
        yaxis=axis(
            "", domain=[0.865, 1.0], range=[-0.6, 2.6], tickvals=[0, 1, 2], fixedrange=True,
            ticktext=["episode", "event", "alarm"], showgrid=False, ticks="",
        ),
        yaxis2=axis(title, domain=[0.52, 0.84], rangemode="tozero", range=_risk_range(timeline)),
        yaxis3=axis("prob.", domain=[0.34, 0.485], range=[-0.03, 1.03]),
        yaxis4=axis("value", domain=[0.165, 0.305]),
        yaxis5=axis("ΔV", domain=[0.0, 0.13], zeroline=True, zerolinecolor="#BBBBBB"),
        shapes=_shades(timeline, divisor),
    )  # fmt: skip
    return {
        "data": data,
        "layout": look,
        "shared": {"t": packed(timeline.t_s / divisor, "f8")},
    }


def _lanes(timeline: Timeline, divisor: float) -> list[Figure]:
    """Traces of the lanes on top: alarms, events, episodes."""
    data: list[Figure] = []
    for true, name, symbol in (
        (True, "alarm, event follows", "triangle-down"),
        (False, "false alarm", "triangle-down-open"),
    ):
        at = [a.at_s / divisor for a in timeline.alarms if a.true is true]
        if at:
            data.append(
                {
                    "type": "scatter", "mode": "markers", "name": name, "x": at,
                    "y": [2] * len(at), "marker": {"symbol": symbol, "size": 10, "color": INK},
                    "hovertemplate": "%{x:.2f}",
                }
            )  # fmt: skip
    names = sorted({s.name for s in timeline.events})
    order = list(timeline.risk)
    for name in names:
        spans = [s for s in timeline.events if s.name == name]
        colour = _target_colour(order, name)
        data.append(
            _segments(f"event: {target_name(name)}", spans, 1, colour, divisor, 9, "markers")
        )
    for outcome, colour in OUTCOME_COLOURS.items():
        spans = [s for s in timeline.episodes if s.name == outcome]
        if spans:
            data.append(_segments(f"episode: {outcome}", spans, 0, colour, divisor, 9, ""))
    return data


def _segments(
    name: str, spans: Sequence_[Span], lane: int, colour: str, divisor: float, width: int,
    marks: str,
) -> Figure:  # fmt: skip
    """Spans as pieces of one thick line, parted by gaps; momentary ones need a mark as well."""
    x: list[float | None] = []
    text: list[str] = []
    for span in spans:
        x += [span.start_s / divisor, span.end_s / divisor, None]
        text += [span.text, span.text, ""]
    return {
        "type": "scatter", "mode": f"lines+{marks}" if marks else "lines", "name": name,
        "x": x, "y": [lane if v is not None else None for v in x], "text": text,
        "line": {"color": colour, "width": width},
        "marker": {"color": colour, "size": 7, "symbol": "square"},
        "hovertemplate": "%{text}<extra></extra>",
    }  # fmt: skip


def _risk_traces(timeline: Timeline) -> list[Figure]:
    data = []
    order = list(timeline.risk)
    # With one mode, 'any' says the same.
    shown = [t for t in order if not (t == ANY and len(order) == 2)]
    for target in shown:
        width = 2.2 if target == ANY or len(shown) == 1 else 1.4
        dash = "solid" if target == ANY or len(shown) == 1 else "dot"
        colour = _target_colour(order, target)
        data.append(
            _line(f"risk: {target_name(target)}", timeline.risk[target], colour, "y2", dash, width)
        )
    if timeline.threshold is not None and len(timeline.t_s):
        ends = [0, len(timeline.t_s) - 1]
        level = timeline.threshold.threshold
        data.append(
            {
                "type": "scatter", "mode": "lines", "yaxis": "y2",
                "name": f"alarm threshold, {target_name(timeline.threshold.target)}: {level:.3g}",
                "x": {"ref": "t", "at": ends}, "y": [level, level], "hoverinfo": "skip",
                "line": {"color": INK, "width": 1, "dash": "dash"},
            }
        )  # fmt: skip
    return data


def _line(
    name: str, values: npt.NDArray[np.floating], colour: str, y: str, dash: str,
    width: float = 1.8,
) -> Figure:  # fmt: skip
    return {
        "type": "scatter", "mode": "lines", "name": name, "x": {"ref": "t"},
        "y": packed(values), "yaxis": y, "line": {"color": colour, "width": width, "dash": dash},
        "hovertemplate": "%{y:.3f}",
    }  # fmt: skip


def _shades(timeline: Timeline, divisor: float) -> list[Figure]:
    """Events through all panels, and the marked time of a close-up."""
    order = list(timeline.risk)
    shapes: list[Figure] = [
        {
            "type": "rect", "xref": "x", "yref": "paper", "layer": "below",
            "x0": e.start_s / divisor, "x1": max(e.end_s, e.start_s) / divisor,
            "y0": 0, "y1": 1, "fillcolor": _target_colour(order, e.name), "opacity": 0.16,
            "line": {"color": _target_colour(order, e.name), "width": 1},
        }
        for e in timeline.events[:MOST_SHADED]
    ]  # fmt: skip
    if timeline.focus_s is not None:
        at = timeline.focus_s / divisor
        shapes.append(
            {
                "type": "line", "xref": "x", "yref": "paper", "x0": at, "x1": at, "y0": 0, "y1": 1,
                "line": {"color": INK, "width": 1, "dash": "dot"},
            }
        )  # fmt: skip
    return shapes


def _risk_range(timeline: Timeline) -> list[float]:
    """From 0 to a little above the highest risk or the threshold: risks are often small."""
    peaks = [float(np.nanmax(v)) for v in timeline.risk.values() if np.isfinite(v).any()]
    if timeline.threshold is not None:
        peaks.append(timeline.threshold.threshold)
    top = max([0.02, *(p for p in peaks if np.isfinite(p))])
    return [0.0, min(1.03, 1.12 * top)]


def _target_colour(order: Sequence_[str], target: str) -> str:
    known = [t for t in order if t != ANY]
    if target == ANY:
        return TARGET_COLOURS[0]
    if target not in known:
        return GREY
    return TARGET_COLOURS[1 + known.index(target) % (len(TARGET_COLOURS) - 1)]


def shared_axis(figure: Figure) -> Figure:
    """The figure with references to shared arrays filled in, as the report's script does it."""
    shared = figure.get("shared", {})
    data = []
    for trace in figure["data"]:
        trace = dict(trace)
        reference = trace.get("x")
        if isinstance(reference, dict) and "ref" in reference:
            stored = shared[reference["ref"]]
            values = np.frombuffer(base64.b64decode(stored["bdata"]), dtype=f"<{stored['dtype']}")
            at = reference.get("at")
            trace["x"] = values[at].tolist() if at is not None else stored
        data.append(trace)
    return {"data": data, "layout": figure["layout"]}
