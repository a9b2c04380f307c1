"""Outcomes, groups and tasks from a CSV file that somebody kept beside the recordings."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pro_ros.episodes.manifest import Episode
from pro_ros.errors import DataError, suggest

CONTEXT = ("sku", "site", "robot", "warehouse")
"""Columns that go to an episode's context; so does any column named ``context.<key>``."""

FIELDS = ("outcome", "group", "task", "attempt", "retry_of")
"""Columns that are fields of an episode. All others become attributes."""

OUTCOMES = ("success", "failure", "unknown")


def apply_outcomes(
    path: Path | str, episodes: Iterable[Episode], columns: Mapping[str, str] | None = None
) -> list[Episode]:
    """Fill in episodes from a CSV file with a header line.

    Its column ``episode`` holds episode ids, or ``file`` recording ids, which then stand for all
    episodes of a recording. ``outcome`` is success, failure or unknown. An empty cell changes
    nothing. Rows may be missing for some episodes.

    Parameters
    ----------
    columns
        Meaning of columns that have other names, e.g. ``{"key": "file", "pose": "group"}``.

    Raises
    ------
    DataError
        The file cannot be read, lacks the columns, names an episode twice or one that is not
        there, or has a bad value; the line names the row.
    """
    path = Path(path)
    rows = _rows(path, columns or {})
    given = list(episodes)
    by_key: dict[str, list[int]] = {}
    key = "episode" if rows and "episode" in rows[0][1] else "file"
    for index, episode in enumerate(given):
        by_key.setdefault(episode.id if key == "episode" else episode.recording, []).append(index)
    seen: dict[str, int] = {}
    for number, row in rows:
        name = row[key]
        if name not in by_key:
            raise DataError(f"{path}: row {number}: no {key} '{name}'{suggest(name, by_key)}")
        if name in seen:
            raise DataError(f"{path}: row {number}: {key} '{name}' stands in row {seen[name]} too")
        seen[name] = number
        for index in by_key[name]:
            given[index] = _filled(given[index], row, f"{path}: row {number}", key)
    return given


def _rows(path: Path, columns: Mapping[str, str]) -> list[tuple[int, dict[str, str]]]:
    """Row numbers, as a spreadsheet counts them, and cells by the meaning of their column."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = list(csv.reader(file, strict=True))
    except OSError as exc:
        raise DataError(f"{path}: cannot be read: {exc.strerror}") from exc
    except (csv.Error, UnicodeDecodeError) as exc:
        raise DataError(f"{path}: not a CSV file: {exc}") from exc
    if not lines:
        raise DataError(f"{path}: empty: expected a header line")
    names = [name.strip() for name in lines[0]]
    for name in columns:
        if name not in names:
            raise DataError(f"{path}: no column '{name}'{suggest(name, names)}")
    header = [columns.get(name, name) for name in names]
    twice = next((n for n in header if header.count(n) > 1), None)
    if twice is not None:
        raise DataError(f"{path}: two columns mean '{twice}'")
    if ("episode" in header) == ("file" in header):
        raise DataError(
            f"{path}: expected a column 'episode' or 'file', and not both; it has "
            + ", ".join(f"'{n}'" for n in names)
        )
    rows: list[tuple[int, dict[str, str]]] = []
    for number, cells in enumerate(lines[1:], start=2):
        if not any(c.strip() for c in cells):
            continue
        if len(cells) != len(header):
            raise DataError(
                f"{path}: row {number}: {len(cells)} cells, the header has {len(header)}"
            )
        rows.append((number, dict(zip(header, (c.strip() for c in cells), strict=True))))
    return rows


def _filled(episode: Episode, row: Mapping[str, str], where: str, key: str) -> Episode:
    """The episode with the cells of its row filled in."""
    update: dict[str, Any] = {}
    context, attributes = dict(episode.context), dict(episode.attributes)
    for column, cell in row.items():
        if column == key or not cell:
            continue
        if column == "outcome":
            if cell.lower() not in OUTCOMES:
                raise DataError(
                    f"{where}, column 'outcome': expected {', '.join(OUTCOMES)}, got '{cell}'"
                )
            update[column] = cell.lower()
        elif column == "attempt":
            if not cell.isdecimal() or int(cell) < 1:
                raise DataError(
                    f"{where}, column 'attempt': expected a number from 1, got '{cell}'"
                )
            update[column] = int(cell)
        elif column in FIELDS:
            update[column] = cell
        elif column in CONTEXT or column.startswith("context."):
            context[column.removeprefix("context.")] = cell
        else:
            attributes[column] = cell
    update |= {"context": context, "attributes": attributes}
    try:
        return Episode.model_validate(episode.model_dump() | update)
    except ValidationError as exc:
        raise DataError(f"{where}: {exc.errors()[0]['msg']}") from exc
