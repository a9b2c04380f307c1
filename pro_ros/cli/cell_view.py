"""A running pick on the terminal: a panel that moves, or a line for everything that happens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from pro_ros.cell.rows import TaskRow
from pro_ros.cell.sensors import NS
from pro_ros.cell.spectator import Doing, Line, Spectator
from pro_ros.cell.tape import BEGINS_NS
from pro_ros.cli.cell_charts import LABELS, PHASES, Charts

LEAST_WIDTH, LEAST_HEIGHT = 64, 24
"""Of a terminal with room for the panel [columns, rows]."""

HIGH: Final = 27
"""Rows from which nothing is drawn smaller."""

MOST_WIDTH: Final = 120

FRAMES: Final = 15.0
"""Pictures per second of the clock on the wall."""

STAYS: Final = 1.5
"""How long the end of a pick is looked at [s]."""

STYLES: Final = {
    "begin": "bold", "grip": "cyan", "alarm": "bold red", "alone": "yellow",
    "failure": "bold magenta", "recovery": "blue", "success": "bold green", "finish": "bold",
}  # fmt: skip


class StoppedError(Exception):
    """Nobody looks any more."""


class View(Protocol):
    """Shows picks one after another."""

    def begin(self, number: int, count: int, why: str, spectator: Spectator, row: TaskRow) -> None:
        """A pick begins; ``row``: what became of it when it was run before."""

    def show(self) -> None:
        """Time has passed."""

    def end(self) -> None:
        """The pick is over."""

    def close(self) -> None:
        """Leave the terminal as it was, whatever has happened."""


def make_view(console: Console, pace: float, over: threading.Event) -> View:
    """The panel where the terminal can show it, else lines."""
    fits = console.width >= LEAST_WIDTH and console.height >= LEAST_HEIGHT
    able = console.is_interactive and not console.is_dumb_terminal
    utf = console.encoding.startswith("utf")
    if console.is_terminal and able and fits and utf:
        return Moving(console, pace, over)
    return Lines(console, over)


class Lines:
    """A line for everything that happens, as soon as it does; no escape codes in a pipe."""

    def __init__(self, console: Console, over: threading.Event) -> None:
        self._console, self._over = console, over
        self._said = 0
        self._spectator: Spectator | None = None

    def begin(self, number: int, count: int, why: str, spectator: Spectator, row: TaskRow) -> None:
        """See :class:`View`."""
        self._spectator, self._said = spectator, 0
        head = f"pick {number} of {count}, {why}: {spectator.task.prompt} (seed {row.seed})"
        self._print(head, "bold")

    def show(self) -> None:
        """See :class:`View`."""
        if self._over.is_set():
            raise StoppedError
        assert self._spectator is not None
        for line in self._spectator.lines[self._said :]:
            self._print(f"  {line.at:5.2f} s  {line.text}", STYLES[line.kind])
        self._said = len(self._spectator.lines)

    def end(self) -> None:
        """See :class:`View`."""
        self.show()

    def close(self) -> None:
        """See :class:`View`."""

    def _print(self, text: str, style: str) -> None:
        self._console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


class Moving:
    """The panel, redrawn while simulated time passes at a pace.

    Parameters
    ----------
    pace
        Simulated seconds per second of the clock on the wall; 0: as fast as it goes.
    over
        Set: nobody looks any more.
    """

    def __init__(self, console: Console, pace: float, over: threading.Event) -> None:
        self._console, self._pace, self._over = console, pace, over
        self._live: Live | None = None
        self._draw: Callable[[], RenderableType] = Text
        self._spectator: Spectator | None = None
        self._begun = self._drawn = 0.0

    def begin(self, number: int, count: int, why: str, spectator: Spectator, row: TaskRow) -> None:
        """See :class:`View`."""
        title = f"{number} of {count} · {why}"
        height = self._console.height - 1

        def draw() -> RenderableType:
            return panel(spectator, title, row, self._console.width, height)

        self._draw, self._spectator = draw, spectator
        self._live = Live(
            draw(), console=self._console, auto_refresh=False, redirect_stderr=False,
            redirect_stdout=False,
        )  # fmt: skip
        self._live.start(refresh=True)
        self._begun = time.perf_counter() - self._ahead()

    def show(self) -> None:
        """See :class:`View`."""
        now = time.perf_counter()
        if self._pace > 0.0 and self._over.wait(max(0.0, self._begun + self._ahead() - now)):
            raise StoppedError
        if self._over.is_set():
            raise StoppedError
        if time.perf_counter() - self._drawn >= 1.0 / FRAMES:
            self._refresh()

    def end(self) -> None:
        """See :class:`View`."""
        if self._live is None:
            return
        self._refresh()
        self.close()
        if self._pace > 0.0 and self._over.wait(STAYS):
            raise StoppedError

    def close(self) -> None:
        """See :class:`View`."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _refresh(self) -> None:
        self._drawn = time.perf_counter()
        if self._live is not None:
            self._live.update(self._draw(), refresh=True)

    def _ahead(self) -> float:
        """When the present moment is to be seen, after the begin [s]."""
        if self._spectator is None or self._pace <= 0.0:
            return 0.0
        return (self._spectator.at - BEGINS_NS / NS) / self._pace


def panel(
    spectator: Spectator, title: str, row: TaskRow, width: int, height: int
) -> RenderableType:
    """The panel at this moment.

    Parameters
    ----------
    row
        What became of the pick when it was run before: the time axis is as long.
    width, height
        Of the terminal [columns, rows].
    """
    width = min(width, MOST_WIDTH)
    charts = Charts(spectator, row.duration, width - 4 - LABELS)
    high = height >= HIGH
    parts: list[RenderableType] = [
        Text(f"“{spectator.task.prompt}”", style="italic", overflow="ellipsis", no_wrap=True),
        _state(spectator),
        *charts.vacuum(3 if high else 2),
        *charts.force(2 if high else 1),
        *charts.risk(),
        *charts.share("success", "P(success)", "blue"),
        *charts.share("value", "value", "cyan"),
        charts.band(),
        charts.axis(),
    ]
    room = max(4, min(10, height - len(parts) - 3))
    parts.append(Text("─" * (width - 4), style="dim"))
    shown = spectator.lines[-room:]
    parts += [_line(line) for line in shown]
    parts += [Text("")] * (room - len(shown))
    where = f"site {row.site} · seed {row.seed}"
    return Panel(
        Group(*parts), title=f"[bold]{title}[/bold]", title_align="left", subtitle=where,
        subtitle_align="right", width=width, border_style=_border(spectator.doing),
    )  # fmt: skip


def _border(doing: Doing) -> str:
    return {"stop": "red", "recovery": "blue", "success": "green"}.get(doing, "default")


def _state(spectator: Spectator) -> Text:
    _, style, words = PHASES[spectator.doing]
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{max(0.0, spectator.at):5.2f} s  ", style="bold")
    if spectator.attempt:
        text.append(f"attempt {spectator.attempt}  ")
    text.append(f" {words} ", style=style)
    return text


def _line(line: Line) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{line.at:5.2f} s  ", style="dim")
    text.append(line.text, style=STYLES[line.kind])
    return text
