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

err = Console(stderr=True)
out = Console()

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs to read.")]


class Advance(Protocol):
    """Called with how far the work has come, out of the bar's total."""

    def __call__(self, completed: float, note: str = "") -> None: ...


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


def print_json(document: Any) -> None:
    """Print a JSON document to stdout."""
    json.dump(document, sys.stdout, indent=2, sort_keys=True, allow_nan=False)
    sys.stdout.write("\n")
