"""Table files: CSV, Parquet, Excel and NPZ, read in blocks of rows with their row numbers."""

from __future__ import annotations

import csv
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pro_ros.episodes.reading import damaged, guarded
from pro_ros.errors import DataError, ProError, suggest

TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".parquet", ".xlsx", ".xlsm", ".npz"})

BLOCK_ROWS = 4096

Cells = npt.NDArray[Any]
Block = tuple[npt.NDArray[np.int64], dict[str, Cells]]
"""Row numbers as the file's user counts them ``[N]``, and ``N`` cells per column."""


class TableFile(ABC):
    """One file with named columns.

    Attributes
    ----------
    path
        The file.
    columns
        Column names without surrounding blanks and quotes, after ``prefix``, which tells the
        tables of a folder apart.
    """

    def __init__(self, path: Path, prefix: str, columns: Sequence[Any]) -> None:
        self.path = path
        self.columns = tuple(prefix + clean_name(c) for c in columns)

    @abstractmethod
    def blocks(self, columns: Sequence[str]) -> Iterator[Block]:
        """The rows of the named columns in order, some thousand at a time."""


def open_table(path: Path, sheet: str | int = 0, prefix: str = "") -> TableFile:
    """Open a table by its suffix.

    Raises
    ------
    DataError
        The file is damaged, empty, or has no such sheet.
    """
    try:
        suffix = path.suffix.lower()
        if suffix in (".csv", ".tsv"):
            return CsvFile(path, prefix)
        if suffix == ".parquet":
            return ParquetFile(path, prefix)
        if suffix == ".npz":
            return NpzFile(path, prefix)
        return ExcelFile(path, prefix, sheet)
    except ProError:
        raise
    except Exception as exc:
        raise damaged(path, exc) from exc


def clean_name(name: Any) -> str:
    """A column name without the blanks and quotes that exports leave around it."""
    return "" if name is None else str(name).strip().strip("\"'").strip()


class CsvFile(TableFile):
    """Text with one header line; separated by comma, semicolon or tab, whichever it has most."""

    def __init__(self, path: Path, prefix: str = "") -> None:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
        if not header.strip():
            raise DataError(f"{path}: the table is empty")
        self._delimiter = max(",;\t", key=header.count)
        super().__init__(path, prefix, next(self._reader([header])))

    def _reader(self, lines: Iterable[str]) -> Any:
        return csv.reader(lines, delimiter=self._delimiter, skipinitialspace=True)

    def blocks(self, columns: Sequence[str]) -> Iterator[Block]:
        """See :class:`TableFile`; rows count as lines of the file."""
        with self.path.open(encoding="utf-8-sig", newline="") as file:
            reader = self._reader(file)
            next(reader)
            rows = ((reader.line_num, row) for row in guarded(reader, self.path))
            yield from _row_blocks(self, rows, columns)


class ExcelFile(TableFile):
    """One sheet of a workbook, its first row with a cell in it being the header."""

    def __init__(self, path: Path, prefix: str = "", sheet: str | int = 0) -> None:
        self._sheet = sheet
        self.path = path
        header = next(self._rows(), None)
        if header is None:
            raise DataError(f"{path}: sheet '{sheet}' is empty")
        super().__init__(path, prefix, header[1])

    def _rows(self) -> Iterator[tuple[int, Sequence[Any]]]:
        """Row numbers as Excel shows them, and the cells; empty rows are left out."""
        import openpyxl

        book = openpyxl.load_workbook(self.path, read_only=True, data_only=True)
        try:
            sheet: Any = book[self._sheet_name(book.sheetnames)]
            # Exporters other than Excel leave a wrong size in the file, which openpyxl trusts.
            sheet.reset_dimensions()
            for number, row in enumerate(sheet.iter_rows(values_only=True), start=1):
                if any(cell is not None for cell in row):
                    yield number, row
        finally:
            book.close()

    def _sheet_name(self, names: list[str]) -> str:
        if isinstance(self._sheet, int):
            if not -len(names) <= self._sheet < len(names):
                raise DataError(f"{self.path}: no sheet {self._sheet}: it has {len(names)}")
            return names[self._sheet]
        if self._sheet not in names:
            near = suggest(self._sheet, names) or f" (it has: {', '.join(names)})"
            raise DataError(f"{self.path}: no sheet '{self._sheet}'{near}")
        return self._sheet

    def blocks(self, columns: Sequence[str]) -> Iterator[Block]:
        """See :class:`TableFile`; rows count as Excel shows them."""
        rows = guarded(self._rows(), self.path)
        next(rows)
        yield from _row_blocks(self, rows, columns, ragged=True)


class ParquetFile(TableFile):
    """A Parquet file with plain columns; rows count from 1."""

    def __init__(self, path: Path, prefix: str = "") -> None:
        import pyarrow.parquet

        with pyarrow.parquet.ParquetFile(path) as file:
            self._names = tuple(file.schema_arrow.names)
        super().__init__(path, prefix, self._names)

    def blocks(self, columns: Sequence[str]) -> Iterator[Block]:
        """See :class:`TableFile`."""
        import pyarrow.parquet

        stored = [self._names[_position(self, c)] for c in columns]
        first = 1
        with pyarrow.parquet.ParquetFile(self.path) as file:
            batches = file.iter_batches(BLOCK_ROWS, columns=list(dict.fromkeys(stored)))
            for batch in guarded(batches, self.path):
                cells = {
                    c: batch[s].to_numpy(zero_copy_only=False)
                    for c, s in zip(columns, stored, strict=True)
                }
                yield np.arange(first, first + len(batch), dtype=np.int64), cells
                first += len(batch)


class NpzFile(TableFile):
    """Arrays of a NumPy archive; rows count from 0.

    A 1-D array is a column. A 2-D array ``a`` gives the columns ``a[0]``, ``a[1]``, ...
    The arrays that are asked for are loaded whole.
    """

    def __init__(self, path: Path, prefix: str = "") -> None:
        shapes = _npz_shapes(path)
        self._shapes = {prefix + key: shape for key, shape in shapes.items()}
        self._prefix = prefix
        names: list[str] = []
        for key, shape in shapes.items():
            if len(shape) == 1:
                names.append(key)
            elif len(shape) == 2:
                names.extend(f"{key}[{i}]" for i in range(shape[1]))
        super().__init__(path, prefix, names)

    def blocks(self, columns: Sequence[str]) -> Iterator[Block]:
        """See :class:`TableFile`.

        Raises
        ------
        DataError
            The arrays differ in length, or are damaged.
        """
        lengths = {c: self._shapes[_array_name(c)][0] for c in columns}
        first, length = next(iter(lengths.items()))
        other = next((c for c, n in lengths.items() if n != length), None)
        if other is not None:
            raise DataError(
                f"{self.path}: '{first}' has {length} rows but '{other}' has {lengths[other]}"
            )
        arrays = self._load({_array_name(c) for c in columns})
        for start in range(0, length, BLOCK_ROWS):
            stop = min(start + BLOCK_ROWS, length)
            cells = {c: _npz_column(arrays, c)[start:stop] for c in columns}
            yield np.arange(start, stop, dtype=np.int64), cells

    def lengths(self) -> dict[str, int]:
        """Rows of every column, without reading them."""
        return {c: self._shapes[_array_name(c)][0] for c in self.columns}

    def _load(self, names: set[str]) -> dict[str, Cells]:
        try:
            with np.load(self.path, allow_pickle=False) as archive:
                return {name: archive[name.removeprefix(self._prefix)] for name in names}
        except Exception as exc:
            raise damaged(self.path, exc) from exc


def _array_name(column: str) -> str:
    return column.partition("[")[0]


def _npz_column(arrays: dict[str, Cells], column: str) -> Cells:
    name, bracket, index = column.partition("[")
    return arrays[name][:, int(index.rstrip("]"))] if bracket else arrays[name]


def _npz_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of all arrays of an archive, from their headers: nothing is unpacked."""
    import zipfile

    shapes: dict[str, tuple[int, ...]] = {}
    with zipfile.ZipFile(path) as archive:
        for entry in archive.namelist():
            with archive.open(entry) as member:
                version = np.lib.format.read_magic(member)
                read = (
                    np.lib.format.read_array_header_1_0
                    if version == (1, 0)
                    else np.lib.format.read_array_header_2_0
                )
                shape, _, dtype = read(member)
            # Objects would need unpickling, which may run anything.
            if not dtype.hasobject:
                shapes[entry.removesuffix(".npy")] = shape
    return shapes


def _position(table: TableFile, column: str) -> int:
    """Where a column stands; the same name twice is ambiguous."""
    if table.columns.count(column) > 1:
        raise DataError(f"{table.path}: column '{column}' is there twice")
    return table.columns.index(column)


def _row_blocks(
    table: TableFile,
    rows: Iterator[tuple[int, Sequence[Any]]],
    columns: Sequence[str],
    ragged: bool = False,
) -> Iterator[Block]:
    """Turn rows of cells into blocks of columns; rows without any cell are left out."""
    positions = [_position(table, c) for c in columns]
    width = len(table.columns)
    numbers: list[int] = []
    kept: list[list[Any]] = []
    for number, row in rows:
        if len(row) != width:
            if not row or all(cell in (None, "") for cell in row):
                continue
            if not ragged:
                raise DataError(
                    f"{table.path}: row {number} has {len(row)} cells, the header has {width}"
                )
            row = [*row, *[None] * (width - len(row))]
        numbers.append(number)
        kept.append([row[p] for p in positions])
        if len(kept) == BLOCK_ROWS:
            yield _block(columns, numbers, kept)
            numbers, kept = [], []
    if kept:
        yield _block(columns, numbers, kept)


def _block(columns: Sequence[str], numbers: list[int], kept: list[list[Any]]) -> Block:
    cells: dict[str, Cells] = {}
    for column, values in zip(columns, zip(*kept, strict=True), strict=True):
        cells[column] = np.empty(len(values), dtype=object)
        cells[column][:] = values
    return np.array(numbers, dtype=np.int64), cells
