"""What all commands share on the terminal: progress bars, tables, notes, errors, JSON."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from pro_ros.errors import ProError, SpecError

err = Console(stderr=True, emoji=False)
out = Console(emoji=False)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs to read.")]

MOST_NOTES = 20
"""Notes that are printed; a data set of hundreds of recordings may have one for each."""

UNLIMITED = 10_000
"""Width of an output that is no terminal: nothing is left out of a pipe or a file."""


class Bar:
    """A running progress bar."""

    def __init__(self, bar: Progress, title: str, total: float | None) -> None:
        self._bar = bar
        self._title = title
        self._task = bar.add_task(title, total=total, note="")

    def __call__(self, completed: float, note: str = "") -> None:
        """Show how far the work has come, out of the bar's total, and a note beside it."""
        self._bar.update(self._task, completed=completed, note=note)

    def stage(self, title: str, total: float | None = 1.0) -> None:
        """Begin another piece of work, unless it is the one that is running."""
        if title != self._title:
            self._title = title
            self._bar.reset(self._task, total=total, description=title, note="")


class _Amount(ProgressColumn):
    """A share in per cent, or a count where there is one."""

    def render(self, task: Task) -> Text:
        """See ``rich``."""
        if task.total == 1.0:
            return Text(f"{100 * task.completed:3.0f} %")
        count = f"{task.completed:.0f}"
        return Text(count if task.total is None else f"{count}/{task.total:.0f}")


@contextmanager
def progress(title: str, total: float | None = 1.0, shown: bool = True) -> Iterator[Bar]:
    """A progress bar on stderr while it is a terminal; it leaves nothing behind.

    ``total``: what counts as done; 1 shows a share, None a count whose end is not known.
    ``shown``: false in all but one of several processes.
    """
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        _Amount(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    hidden = not (shown and err.is_terminal)
    with Progress(*columns, console=err, transient=True, disable=hidden) as bar:
        yield Bar(bar, title, total)


def say(text: str, **style: Any) -> None:
    """Print one line of result, unwrapped, so that it can be searched and cut."""
    out.print(text, markup=False, highlight=False, soft_wrap=True, **style)


def note(text: str) -> None:
    """Print one line that a person should read, on stderr."""
    err.print(f"note: {text}", markup=False, highlight=False, soft_wrap=True, style="yellow")


def notes(texts: Sequence[str]) -> None:
    """Print notes, the first :data:`MOST_NOTES` of them."""
    for text in texts[:MOST_NOTES]:
        note(text)
    if len(texts) > MOST_NOTES:
        note(f"and {len(texts) - MOST_NOTES} more like these: --json gives them all")


def fail(error: ProError) -> None:
    """Print the one line of an error, on stderr."""
    err.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True, style="red")


class Column(NamedTuple):
    """A column of :func:`table`; ``optional`` ones are left out where the terminal is narrow."""

    title: str
    right: bool = False
    optional: bool = False


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], indent: int = 0) -> None:
    """Print aligned columns. No cell is ever wrapped or cut: a line may be longer than asked.

    ``indent``: blanks before each line.
    """
    widths = [
        max([len(column.title), *(len(row[i]) for row in rows)])
        for i, column in enumerate(columns)
    ]
    shown = list(range(len(columns)))
    for i in reversed(range(len(columns))):
        if indent + sum(widths[k] + 2 for k in shown) - 2 <= terminal_width():
            break
        if columns[i].optional:
            shown.remove(i)

    def line(cells: Sequence[str]) -> str:
        padded = (
            cells[i].rjust(widths[i]) if columns[i].right else cells[i].ljust(widths[i])
            for i in shown
        )
        return " " * indent + "  ".join(padded).rstrip()

    say(line([column.title for column in columns]), style="bold")
    for row in rows:
        say(line(row))


def terminal_width() -> int:
    """Columns of the terminal (or of the variable COLUMNS); :data:`UNLIMITED` for a pipe."""
    return shutil.get_terminal_size((UNLIMITED, 24)).columns


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the stream file's name before an error about its contents that lacks it."""
    try:
        yield
    except SpecError as error:
        raise error if str(path) in str(error) else SpecError(f"{path}: {error}") from error


def pairs(texts: list[str], option: str) -> dict[str, str]:
    """``["sku=A7"]`` becomes ``{"sku": "A7"}``.

    Raises
    ------
    ProError
        A text is not of the form key=value.
    """
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ProError(f"{option} {text!r}: expected key=value")
        found[key] = value
    return found


def print_json(document: Any) -> None:
    """Print a JSON document to stdout."""
    json.dump(document, sys.stdout, indent=2, sort_keys=True, allow_nan=False)
    sys.stdout.write("\n")
