"""Table columns to source values, with the column and the first bad value named in errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from pro_ros.errors import DataError, SpecError, suggest
from pro_ros.streams.convert import LevelCodes
from pro_ros.streams.spec import StreamSpec


def read_columns(
    stream: str, spec: StreamSpec, columns: Mapping[str, Any]
) -> npt.NDArray[np.float64]:
    """Source values float64 ``[N, F_source]`` of a stream, NaN where the table has none.

    Raises
    ------
    DataError
        A column is missing, or a value is neither a number nor a known level.
    SpecError
        A feature of the stream names no columns.
    """
    read: list[npt.NDArray[np.float64]] = []
    for feature in spec.features:
        where = f"stream '{stream}', feature '{feature.name}'"
        if not feature.columns:
            raise SpecError(f"{where} names no 'columns': add them to read it from a table")
        for column in feature.columns:
            if column not in columns:
                known = [str(c) for c in columns]
                raise DataError(
                    f"{where}: the table has no column '{column}'{suggest(column, known)}"
                )
            cells = np.asarray(columns[column])
            place = f"{where}, column '{column}'"
            if feature.levels:
                read.append(_codes(cells, LevelCodes(feature.levels), place))
            else:
                read.append(_numbers(cells, place))
    return np.stack(read, axis=1)


def _codes(cells: npt.NDArray[Any], levels: LevelCodes, where: str) -> npt.NDArray[np.float64]:
    if cells.dtype.kind in "biuf":
        known = np.unique(cells[~np.isnan(cells)] if cells.dtype.kind == "f" else cells)
        table = {value: levels.code(value, where) for value in known.tolist()}
        return np.array([table.get(v, np.nan) for v in cells.tolist()], dtype=np.float64)
    table = {}
    codes = np.empty(len(cells))
    for row, value in enumerate(cells.tolist()):
        if value is not None and value == value and value not in table:
            table[value] = levels.code(value, f"{where}, row {row}")
        codes[row] = table.get(value, np.nan)
    return codes


def _numbers(cells: npt.NDArray[Any], where: str) -> npt.NDArray[np.float64]:
    if cells.dtype.kind in "biuf":
        return cells.astype(np.float64)
    if cells.dtype.kind not in "OUST":
        raise DataError(f"{where}: expected numbers, got {cells.dtype}")
    numbers = np.empty(len(cells))
    for row, value in enumerate(cells.tolist()):
        try:
            numbers[row] = np.nan if value is None else float(value)
        except (TypeError, ValueError):
            raise DataError(f"{where}, row {row}: expected a number, got {value!r}") from None
    return numbers
