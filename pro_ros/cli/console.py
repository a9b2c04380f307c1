"""What all commands share on the terminal: progress bars, tables, JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Protocol

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

from pro_ros.errors import ProError

err = Console(stderr=True)
out = Console()

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs to read.")]


class Advance(Protocol):
    """Called with how far the work has come, out of the bar's total."""

    def __call__(self, completed: float, note: str = "") -> None:
        """Show how much is done, and a note beside the bar."""
        ...


@contextmanager
def progress(title: str, total: float | None = None) -> Iterator[Advance]:
    """A progress bar on stderr, so that stdout stays for results."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task(title, total=total, note="")

        def advance(completed: float, note: str = "") -> None:
            bar.update(task, completed=completed, note=note)

        yield advance


def say(text: str, **style: Any) -> None:
    """Print one line of result, unwrapped, so that it can be searched and cut."""
    out.print(text, markup=False, highlight=False, soft_wrap=True, **style)


def note(text: str) -> None:
    """Print one line that a person should read, on stderr."""
    err.print(f"note: {text}", markup=False, highlight=False, soft_wrap=True, style="yellow")


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
