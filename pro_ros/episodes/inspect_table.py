"""What is in the columns of a table, whatever a stream file says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from pro_ros.episodes.cells import clean
from pro_ros.episodes.inspect_report import ColumnReport, Report
from pro_ros.episodes.table_files import NpzFile, TableFile
from pro_ros.episodes.tables import open_tables
from pro_ros.errors import DataError
from pro_ros.streams.spec import RobotSpec, TableSpec

MANY_COLUMNS = 500
"""Above so many columns (an archive of many runs) only their names are reported."""


def inspect_table(
    path: Path, spec: RobotSpec | None, progress: Callable[[int], None] | None
) -> Report:
    """Report on all columns of a table or a folder of tables."""
    table_spec = spec.table if spec is not None and spec.table is not None else None
    table_spec = table_spec or TableSpec(time="")
    columns: list[ColumnReport] = []
    problems: list[str] = []
    rows = 0
    for table in open_tables(path, table_spec):
        try:
            found = list(_columns(table, frozenset(table_spec.missing)))
        except DataError as exc:
            problems.append(str(exc))
            found = [ColumnReport(name=c, kind="unread") for c in table.columns]
        columns.extend(found)
        rows += max((c.rows for c in found), default=0)
        if progress is not None:
            progress(rows)
    return Report(
        path=str(path), kind="table", messages=rows, columns=tuple(columns),
        problems=tuple(problems),
    )  # fmt: skip


def _columns(table: TableFile, missing: frozenset[str]) -> Iterator[ColumnReport]:
    """Reports of all columns of a file; those of an archive are of different lengths."""
    if len(table.columns) > MANY_COLUMNS:
        lengths = table.lengths() if isinstance(table, NpzFile) else {}
        for name in table.columns:
            yield ColumnReport(name=name, kind="unread", rows=lengths.get(name, 0))
        return
    names = [c for c in table.columns if c]
    single = [c for c in names if names.count(c) == 1]
    for name in dict.fromkeys(c for c in names if c not in single):
        yield ColumnReport(name=name, kind="ambiguous")
    for group in [[c] for c in single] if isinstance(table, NpzFile) else [single]:
        summaries = {c: _ColumnSummary() for c in group}
        for _, cells in table.blocks(group):
            for name, values in cells.items():
                summaries[name].add(values.tolist(), missing)
        for name, summary in summaries.items():
            yield summary.report(name)


class _ColumnSummary:
    """Kind, extent and missing share of a column, block by block."""

    def __init__(self) -> None:
        self.rows = 0
        self.kinds: set[Literal["number", "text", "date"]] = set()
        self.missing = 0
        self.low, self.high = np.inf, -np.inf

    def add(self, cells: list[object], missing: frozenset[str]) -> None:
        self.rows += len(cells)
        for cell in cells:
            value = clean(cell, missing)
            if value is None:
                self.missing += 1
            elif isinstance(value, str) and not _is_number(value):
                self.kinds.add("text")
            elif isinstance(value, str | int | float):
                self.kinds.add("number")
                number = float(value)
                if np.isfinite(number):
                    self.low, self.high = min(self.low, number), max(self.high, number)
            else:
                self.kinds.add("date")

    def report(self, name: str) -> ColumnReport:
        numeric = self.low <= self.high
        kind = next(iter(self.kinds)) if len(self.kinds) == 1 else None
        return ColumnReport(
            name=name,
            kind=kind or ("mixed" if self.kinds else "empty"),
            rows=self.rows,
            missing=self.missing / self.rows if self.rows else None,
            minimum=float(self.low) if numeric else None,
            maximum=float(self.high) if numeric else None,
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
