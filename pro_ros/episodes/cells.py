"""Table cells to numbers, levels and times; every fault names the file, the row and the column."""

from __future__ import annotations

import calendar
import re
from collections.abc import Collection
from datetime import datetime, timezone
from typing import Any

import numpy as np
import numpy.typing as npt

from pro_ros.episodes.table_files import Cells
from pro_ros.errors import DataError, SpecError
from pro_ros.streams.convert import LevelCodes
from pro_ros.streams.spec import TableSpec

Rows = npt.NDArray[np.int64]

UNIT_NS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}

_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9})\d*)?)?"
    r"\s*(?:(Z)|([+-])(\d\d):?(\d\d))?"
)
_INTEGER = re.compile(r"[+-]?\d+")
_LATEST_NS = 2**63 - 1


def to_numbers(
    cells: Cells, rows: Rows, where: str, missing: Collection[str] = ()
) -> npt.NDArray[np.float64]:
    """Cells as float64 ``[N]``: NaN where empty or one of the ``missing`` texts, 1 for true.

    Parameters
    ----------
    where
        ``"<file>: column '<column>'"``; the row is added.

    Raises
    ------
    DataError
        A cell is neither a number nor true or false.
    """
    if cells.dtype.kind in "biuf":
        return cells.astype(np.float64)
    numbers = np.empty(len(cells))
    for i, cell in enumerate(cells.tolist()):
        if type(cell) is float or type(cell) is int or type(cell) is bool:
            numbers[i] = cell
            continue
        value = clean(cell, missing)
        try:
            numbers[i] = np.nan if value is None else _BOOLEANS.get(str(value).lower(), value)
        except (TypeError, ValueError):
            shown = repr(value) if isinstance(value, str) else type(value).__name__
            raise DataError(
                f"{where}, row {rows[i]}: expected a number, got {shown}"
                " (texts that mean 'no value' belong under table.missing)"
            ) from None
    return numbers


_BOOLEANS = {"true": 1.0, "false": 0.0}


def to_levels(
    cells: Cells, rows: Rows, where: str, levels: LevelCodes, missing: Collection[str] = ()
) -> npt.NDArray[np.float64]:
    """Positions of cells in the levels of an enumeration as float64 ``[N]``, NaN where empty.

    Raises
    ------
    DataError
        A cell is none of the levels.
    """
    known: dict[Any, float] = {}
    codes = np.empty(len(cells))
    for i, cell in enumerate(cells.tolist()):
        value = clean(cell, missing)
        if value is None:
            codes[i] = np.nan
            continue
        # 1 and True are equal as keys, and as levels.
        if value not in known:
            known[value] = levels.code(value, f"{where}, row {rows[i]}")
        codes[i] = known[value]
    return codes


def clean(cell: Any, missing: Collection[str]) -> Any:
    """A cell without blanks and quotes around text; None where it holds no value."""
    if isinstance(cell, str):
        cell = cell.strip().strip("\"'").strip()
        return None if not cell or cell in missing else cell
    if cell is None or cell != cell:
        return None
    return cell


def to_times(cells: Cells, rows: Rows, where: str, table: TableSpec) -> Rows:
    """Cells as int64 ``[N]`` nanoseconds since the epoch.

    Dates without a zone are taken as UTC. Other times count from ``table.start``.

    Raises
    ------
    DataError
        A cell is empty or no time of the declared unit, or lies before 1970 or after 2262.
    SpecError
        ``table.start`` is no date.
    """
    start_ns = 0 if table.start is None else _start_ns(table.start)
    dates = cells.dtype.kind == "M"
    if dates:
        # As nanoseconds: Python's dates have only microseconds.
        empty = np.isnat(cells)
        cells = cells.astype("datetime64[ns]").astype(np.int64).astype(object)
        cells[empty] = None
    times = np.empty(len(cells), dtype=np.int64)
    for i, cell in enumerate(cells.tolist()):
        place = f"{where}, row {rows[i]}"
        value = clean(cell, table.missing)
        if value is None:
            raise DataError(f"{place}: the time is empty")
        if dates or isinstance(value, datetime):
            if table.time_unit != "iso8601":
                raise DataError(
                    f"{place}: holds a date, but table.time_unit is '{table.time_unit}':"
                    " set 'iso8601'"
                )
            time = value if dates else _datetime_ns(value)
        elif table.time_unit == "iso8601":
            time = _date_text(value, place)
        else:
            time = start_ns + _number_ns(value, table.time_unit, place)
        if not 0 <= time < _LATEST_NS:
            raise DataError(
                f"{place}: the time lies outside of 1970 to 2262:"
                " check table.time_unit and table.start"
            )
        times[i] = time
    return times


def _number_ns(value: Any, unit: str, place: str) -> int:
    """A number, or a text with one, in nanoseconds; integers exactly."""
    try:
        number = int(value) if isinstance(value, str) and _INTEGER.fullmatch(value) else value
        if not isinstance(number, int):
            number = float(number)
            return round(number * UNIT_NS[unit])
    except (TypeError, ValueError, OverflowError):
        raise DataError(f"{place}: expected a time in {unit}, got {value!r}") from None
    return number * UNIT_NS[unit]


def _date_text(value: Any, place: str) -> int:
    match = _ISO.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise DataError(f"{place}: expected a time like 2024-05-31T12:00:00.5Z, got {value!r}")
    try:
        return _iso_ns(match)
    except ValueError as exc:
        raise DataError(f"{place}: {value!r} is no date: {exc}") from None


def _start_ns(text: str) -> int:
    match = _ISO.fullmatch(text.strip())
    try:
        if match is not None:
            return _iso_ns(match)
    except ValueError:
        pass
    raise SpecError(f"table.start: expected a time like 2024-05-31T12:00:00Z, got '{text}'")


def _iso_ns(match: re.Match[str]) -> int:
    year, month, day, hour, minute, second = (int(g or 0) for g in match.groups()[:6])
    fraction, _, sign, zone_hours, zone_minutes = match.groups()[6:]
    date = datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)
    seconds = calendar.timegm(date.timetuple())
    if sign:
        shift = 3600 * int(zone_hours) + 60 * int(zone_minutes)
        seconds += shift if sign == "-" else -shift
    return seconds * 1_000_000_000 + int((fraction or "0").ljust(9, "0"))


def _datetime_ns(value: datetime) -> int:
    if value.tzinfo is not None:
        value = value.astimezone(timezone.utc)
    return calendar.timegm(value.timetuple()) * 1_000_000_000 + value.microsecond * 1000
