"""Drawings of the closed-loop report as inline SVG: foresight curves and histograms.

Colours are those of Okabe and Ito (2008); lines differ in dash as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final
from xml.sax.saxutils import escape

from pro_ros.cell.results import RiskCurve
from pro_ros.evaluation.plots import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, VERMILION

COLOURS: Final = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, GREY)
DASHES: Final = ("", "7 4", "2 3", "10 3 2 3", "5 2", "1 2")

WIDTH, HEIGHT = 520, 300
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 10, 44

MOST_RATE: Final = 30.0
"""A curve is drawn up to so many false alarms per hour."""


def style(index: int) -> tuple[str, str]:
    """Colour and dash of the curve of this number."""
    return COLOURS[index % len(COLOURS)], DASHES[index % len(DASHES)]


def risk_chart(curves: Sequence[RiskCurve], marks: Sequence[float]) -> str:
    """Recall over false alarms per hour, with upright lines at ``marks``."""
    highest = max((max(c.rates) for c in curves if c.rates), default=0.0)
    most = min(MOST_RATE, max(highest, *marks, 1.0))
    plot = _Plot(most, 1.0, "false alarms per hour", "recall")
    plot.grid(_steps(most), [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    for at in marks:
        if at <= most:
            plot.upright(at, f"{at:g}/h")
    for k, curve in enumerate(curves):
        points = _stairs(curve.rates, curve.recalls, most)
        plot.line(points, *style(k), f"{curve.name}: {curve.target}")
    return plot.svg("Recall over false alarms per hour")


def histogram(values: Sequence[float], longest: float, colour: str, words: str) -> str:
    """Counts of times, in bins of a quarter of a second or coarser; later ones in the last."""
    width = 0.25 if longest <= 5.0 else 0.5
    count = max(1, math.ceil(longest / width))
    bins = [0] * count
    for value in values:
        bins[min(count - 1, max(0, int(value / width)))] += 1
    top = max(1, *bins)
    plot = _Plot(count * width, float(top), words, "count", height=190)
    plot.grid(_steps(count * width), [float(t) for t in _steps(float(top)) if t == int(t)])
    for k, height in enumerate(bins):
        if height:
            plot.block(k * width, (k + 1) * width, float(height), colour)
    return plot.svg(words)


class _Plot:
    """Axes from 0 to the given ends, and what is drawn between them."""

    def __init__(self, x: float, y: float, x_title: str, y_title: str, height: int = HEIGHT):
        self._x, self._y, self._height = x, y, height
        middle = (LEFT + WIDTH - RIGHT) / 2
        self._parts = [
            f'<text class="axis" x="{middle:.0f}" y="{height - 6}" text-anchor="middle">'
            f"{escape(x_title)}</text>",
            f'<text class="axis" transform="translate(13 {(TOP + height - BOTTOM) / 2:.0f}) '
            f'rotate(-90)" text-anchor="middle">{escape(y_title)}</text>',
        ]

    def grid(self, xs: Sequence[float], ys: Sequence[float]) -> None:
        bottom = self._height - BOTTOM
        for x in xs:
            at = self._at(x, 0.0)[0]
            self._parts.append(
                f'<text class="tick" x="{at:.1f}" y="{bottom + 16}" text-anchor="middle">'
                f"{x:g}</text>"
            )
        for y in ys:
            at = self._at(0.0, y)[1]
            self._parts.append(
                f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" '
                f'y2="{at:.1f}"/><text class="tick" x="{LEFT - 6}" y="{at + 4:.1f}" '
                f'text-anchor="end">{y:g}</text>'
            )

    def upright(self, x: float, words: str) -> None:
        at = self._at(x, 0.0)[0]
        self._parts.append(
            f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" '
            f'y2="{self._height - BOTTOM}"/><text class="tick" x="{at + 4:.1f}" '
            f'y="{self._height - BOTTOM - 6}">{escape(words)}</text>'
        )

    def line(
        self, points: Sequence[tuple[float, float]], colour: str, dash: str, words: str
    ) -> None:
        if not points:
            return
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (self._at(*p) for p in points))
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self._parts.append(
            f'<polyline fill="none" stroke="{colour}" stroke-width="2.4"{dashed} '
            f'points="{path}"><title>{escape(words)}</title></polyline>'
        )

    def block(self, begin: float, end: float, height: float, colour: str) -> None:
        (left, top), (right, bottom) = self._at(begin, height), self._at(end, 0.0)
        self._parts.append(
            f'<rect x="{left + 0.8:.1f}" y="{top:.1f}" width="{right - left - 1.6:.1f}" '
            f'height="{bottom - top:.1f}" fill="{colour}"><title>{height:g} between {begin:g} '
            f"and {end:g} s</title></rect>"
        )

    def svg(self, words: str) -> str:
        bottom = self._height - BOTTOM
        axis = (
            f'<line stroke="{INK}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>'
        )
        return (
            f'<svg class="chart" viewBox="0 0 {WIDTH} {self._height}" role="img" '
            f'aria-label="{escape(words)}">{"".join(self._parts)}{axis}</svg>'
        )

    def _at(self, x: float, y: float) -> tuple[float, float]:
        across = LEFT + (WIDTH - RIGHT - LEFT) * x / self._x
        bottom = self._height - BOTTOM
        return across, bottom - (bottom - TOP) * y / self._y


def _steps(most: float) -> list[float]:
    raw = most / 6.0
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * k for k in (1.0, 2.0, 5.0, 10.0) if size * k >= raw * 0.999)
    return [round(k * step, 6) for k in range(int(most / step + 1e-9) + 1)]


def _stairs(
    rates: Sequence[float], recalls: Sequence[float], most: float
) -> list[tuple[float, float]]:
    """A falling threshold adds false alarms first: between two points the lower recall holds."""
    points: list[tuple[float, float]] = []
    best = 0.0
    for rate, recall in sorted(zip(rates, recalls, strict=True)):
        if rate > most:
            break
        points += [(rate, best)] if points else []
        best = max(best, recall)
        points.append((rate, best))
    return [*points, (most, best)] if points else []
