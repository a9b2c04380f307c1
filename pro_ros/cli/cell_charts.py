"""Bars of block characters on a common time axis."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from rich.text import Text

from pro_ros.cell.sensors import NS
from pro_ros.cell.spectator import Doing, Spectator
from pro_ros.cell.tape import BEGINS_NS, ROW_NS

BLOCKS: Final = " ▁▂▃▄▅▆▇█"
LABELS: Final = 22
"""Columns left of the charts."""

VACUUM_TOP: Final = 80.0
"""Deepest vacuum that is drawn [kPa]."""

PHASES: Final[dict[Doing, tuple[str, str, str]]] = {
    "waits": ("", "dim", "the order is taken"),
    "attempt": ("attempt", "black on green", "the policy moves the arm"),
    "stop": ("stop", "white on red", "STOPPED: the gate stops the arm"),
    "recovery": ("recovery", "white on blue", "the gate is closed: recovery"),
    "success": ("", "bold green", "done"),
    "failure": ("", "bold magenta", "given up"),
}
"""What the band says, its style, and what the line of state says."""


class Charts:
    """Charts on one time axis, from the begin of the rows to the end of the pick."""

    def __init__(self, spectator: Spectator, lasts: float, columns: int) -> None:
        self._spectator, self._columns = spectator, columns
        self._begins = BEGINS_NS / NS
        self._span = max(lasts, spectator.at) - self._begins + 0.1

    def vacuum(self, rows: int) -> list[Text]:
        """Vacuum in the cup."""
        cells = self._cells("vacuum", last=True)
        now = _now(self._spectator.tape.rows["vacuum"])
        label = ("vacuum", "-" if now is None else f"{now:.0f} kPa")
        return self._chart(cells, rows, 0.0, VACUUM_TOP, label, lambda _: "cyan")

    def force(self, rows: int) -> list[Text]:
        """Force along z of the wrist."""
        cells = self._cells("force", last=True)
        known = [c for c in cells if c is not None]
        low, high = min([-2.0, *known]), max([10.0, *known])
        now = _now(self._spectator.tape.rows["force"])
        label = ("wrist force z", "-" if now is None else f"{now:.1f} N")
        return self._chart(cells, rows, low, high, label, lambda _: "default")

    def risk(self) -> list[Text]:
        """PRO's risk and the threshold at which the gate stops the arm."""
        tape = self._spectator.tape
        threshold = tape.threshold
        top = 1.0 if threshold is None else min(1.0, 2.0 * threshold)
        now = _now(tape.rows["score"])
        label = ("PRO: risk", "-" if now is None else f"{now:.2f}")

        def style(value: float) -> str:
            return "green" if threshold is None or value < threshold else "bold red"

        drawn = self._chart(self._cells("score"), 4, 0.0, top, label, style, threshold)
        if threshold is not None:
            drawn[1] = _labelled("  stops at", f"{threshold:.2f}", "yellow") + drawn[1][LABELS:]
        return drawn

    def share(self, name: str, words: str, style: str) -> list[Text]:
        """Something between 0 and 1."""
        now = _now(self._spectator.tape.rows[name])
        label = (words, "-" if now is None else f"{now:.2f}")
        return self._chart(self._cells(name, last=True), 1, 0.0, 1.0, label, lambda _: style)

    def band(self) -> Text:
        """What the robot was at."""
        text = _labelled("", "")
        spectator = self._spectator
        ends = [*(at for at, _ in spectator.phases), max(spectator.at, 0.0)][1:]
        place = 0
        attempt = 0
        for (begin, doing), end in zip(spectator.phases, ends, strict=True):
            words, style, _ = PHASES[doing]
            first, last = max(place, self._place(begin)), self._place(end)
            if doing == "stop":
                last = max(last, first + 1)
            if not words or last <= first:
                continue
            attempt += doing == "attempt"
            room = last - first
            number = f" {attempt}" if doing == "attempt" else ""
            said = next((s for s in (f" {words}{number}", number) if len(s) < room), "")
            text.append(" " * (first - place))
            text.append(said.ljust(room), style=style)
            place = last
        return text

    def axis(self) -> Text:
        """Seconds since the order."""
        marks = [" "] * self._columns
        second = 0
        while (at := self._place(float(second))) < self._columns - 3:
            label = f"{second} s" if second == 0 else str(second)
            marks[at : at + len(label)] = label
            second += 1 if self._span < 8 else 2
        return _labelled("", "") + Text("".join(marks[: self._columns]), style="dim")

    def _place(self, at: float) -> int:
        share = (at - self._begins) / self._span
        return min(self._columns, max(0, round(share * self._columns)))

    def _cells(self, name: str, last: bool = False) -> list[float | None]:
        """A number per column: the last one of its time, or the largest; None: not known."""
        rows = self._spectator.tape.rows[name]
        cells: list[float | None] = [None] * self._columns
        step = ROW_NS / NS
        for k, value in enumerate(rows):
            if value is None:
                continue
            at = min(self._columns - 1, int(k * step / self._span * self._columns))
            before = cells[at]
            cells[at] = value if last or before is None else max(before, value)
        return _filled(cells, int(len(rows) * step / self._span * self._columns))

    def _chart(
        self,
        cells: Sequence[float | None],
        rows: int,
        low: float,
        high: float,
        label: tuple[str, str],
        style: Callable[[float], str],
        line: float | None = None,
    ) -> list[Text]:
        """A bar per column, ``rows`` high; ``line``: a level that is drawn through."""
        level = None if line is None else int(min(line / high, 0.999) * rows)
        stops = {self._place(at) for at, doing in self._spectator.phases if doing == "stop"}
        drawn = []
        for row in reversed(range(rows)):
            text = _labelled(*(label if row == rows - 1 else ("", "")))
            for column, value in enumerate(cells):
                part = 0
                if value is not None and math.isfinite(value):
                    filled = (min(max(value, low), high) - low) / (high - low) * rows * 8
                    part = min(8, max(0 if row else 1, round(filled) - 8 * row))
                if part <= 0 and column in stops:
                    text.append("┊", style="red")
                elif part <= 0 and row == level:
                    text.append("╌", style="dim yellow")
                else:
                    text.append(BLOCKS[max(0, part)], style="" if value is None else style(value))
            drawn.append(text)
        return drawn


def _filled(cells: list[float | None], until: int) -> list[float | None]:
    """Columns between two rows take the earlier one: there are more columns than rows."""
    known: float | None = None
    for k in range(min(until, len(cells))):
        if cells[k] is None:
            cells[k] = known
        known = cells[k]
    return cells


def _labelled(words: str, value: str, style: str = "") -> Text:
    room = LABELS - 2 - len(value)
    return Text(f"{words[:room]:<{room}}{value}  ", style=style, no_wrap=True, overflow="crop")


def _now(rows: Sequence[float | None]) -> float | None:
    return rows[-1] if rows else None
