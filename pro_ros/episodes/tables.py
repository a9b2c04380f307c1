"""Recordings that are tables: rows become samples of the streams whose columns they fill."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pro_ros.episodes.cells import Rows, to_levels, to_numbers, to_times
from pro_ros.episodes.reading import AllowMissing, Recording, may_lack, stream_order
from pro_ros.episodes.table_files import TABLE_SUFFIXES, Cells, TableFile, clean_name, open_table
from pro_ros.errors import DataError, SpecError, suggest
from pro_ros.streams.convert import LevelCodes
from pro_ros.streams.decode import Decoder
from pro_ros.streams.sample import Sample
from pro_ros.streams.spec import FeatureSpec, RobotSpec, StreamSpec, TableSpec


@dataclass(frozen=True)
class StreamBlock:
    """Consecutive rows in which a stream has a value. N rows, S source values per row.

    ``rows`` int64 ``[N]``: as the file's user counts them. ``t_ns`` int64 ``[N]`` [ns].
    ``source`` float64 ``[N, S]``: values in the unit of the table, positions for levels; NaN
    where missing. ``cells``: per source value its ``N`` cells as they stand in the file.
    ``values`` float64 ``[N, F]``: features in SI units.
    """

    stream: str
    rows: Rows
    t_ns: Rows
    source: npt.NDArray[np.float64]
    cells: tuple[Cells, ...]
    values: npt.NDArray[np.float64]


class Entry(NamedTuple):
    """Row ``i`` of a block; entries sort by time and then by the order of streams."""

    t_ns: int
    rank: int
    block: StreamBlock
    i: int


@dataclass(frozen=True)
class _Group:
    """Streams that take their columns and their time from the same rows."""

    table: TableFile
    time: str
    streams: tuple[str, ...]


class TableRecording(Recording):
    """One table, or a folder of tables, read as a recording.

    A table is a file, or an array of an NPZ file. Column names of a folder's tables are
    ``<file stem>/<column>``. The time column is looked for beside the stream's own columns first
    (``wrench[0]`` for ``wrench[1]`` where the stream file says ``time: "[0]"``, ``wrench/t`` for
    ``wrench/fx`` where it says ``time: t``), then under its plain name.

    Every row needs its own time. A row that repeats the one before it, time included, is left
    out. A row without any value of a stream gives no sample of it: a drop-out is not made up.
    A jump forward in time is a gap and nothing else.

    Attributes
    ----------
    repeated
        How many rows the last reading left out because they repeat the one before.
    """

    def __init__(
        self,
        path: Path,
        spec: RobotSpec,
        *,
        prefix: str = "",
        allow_missing: AllowMissing = False,
    ) -> None:
        super().__init__(path, spec)
        if spec.table is None:
            raise SpecError(
                f"{path}: is a table, but the stream file has no section 'table' with its 'time'"
            )
        self._table_spec = spec.table
        self._prefix = prefix
        self._tables = open_tables(path, spec.table)
        self._extent: tuple[int, int, int] | None = None
        self.repeated = 0
        found: dict[str, tuple[TableFile, str]] = {}
        absent: list[str] = []
        for name in stream_order(spec):
            place = self._locate(name, spec.streams[name], may_lack(allow_missing, name))
            if place is None:
                absent.append(name)
            else:
                found[name] = place
                self._decoders[name] = Decoder(name, spec.streams[name])
        self.streams = tuple(found)
        self.absent = tuple(absent)
        if not found:
            raise DataError(f"{path}: the table has no column of any stream")
        self._groups = [
            _Group(table, time, tuple(n for n, p in found.items() if p == (table, time)))
            for table, time in dict.fromkeys(found.values())
        ]

    @property
    def start_ns(self) -> int:
        """Time of the first row [ns]."""
        return self._scan()[0]

    @property
    def end_ns(self) -> int:
        """One nanosecond after the last row [ns]."""
        return self._scan()[1]

    @property
    def message_count(self) -> int:
        """Rows of all tables."""
        return self._scan()[2]

    def samples(self) -> Iterator[Sample]:
        """See :meth:`Recording.samples`; receipt and stamp are both the row's time."""
        for t_ns, _, block, i in self.entries():
            yield Sample(block.stream, t_ns, t_ns, block.values[i])

    def entries(self) -> Iterator[Entry]:
        """The rows behind :meth:`samples`, with the cells as they stand in the file."""
        counts = [[0, 0, 0] for _ in self._groups]
        self.repeated = 0
        parts = [self._entries(g, c) for g, c in zip(self._groups, counts, strict=True)]
        # A single table needs no merging, and entries of one table are already in order.
        yield from parts[0] if len(parts) == 1 else heapq.merge(*parts, key=lambda e: e[:2])
        self._set_extent(counts)

    def source_columns(self, stream: str) -> tuple[str, ...]:
        """Full names of the columns that a stream reads, in the order of its source values."""
        features = self.spec.streams[stream].features
        return tuple(self._prefix + clean_name(c) for f in features for c in f.columns)

    def _locate(
        self, name: str, stream: StreamSpec, optional: bool
    ) -> tuple[TableFile, str] | None:
        """The table and the time column of a stream, or None where it may be missing."""
        where = f"{self.path}: stream '{name}'"
        bare = next((f.name for f in stream.features if not f.columns), None)
        if not stream.features or bare is not None:
            if optional:
                return None
            what = f"feature '{bare}' names no 'columns'" if bare else "a camera is in no table"
            raise SpecError(f"{where}: {what}")
        columns = self.source_columns(name)
        table = None
        for column in columns:
            holder = next((t for t in self._tables if column in t.columns), None)
            if holder is None:
                if optional:
                    return None
                known = [c for t in self._tables for c in t.columns]
                raise DataError(f"{where}: no column '{column}'{_near(column, known)}")
            if table is not None and holder is not table:
                raise SpecError(f"{where}: columns '{columns[0]}' and '{column}' are in two files")
            table = holder
        assert table is not None
        return table, self._time_column(table, columns[0], where)

    def _time_column(self, table: TableFile, column: str, where: str) -> str:
        """The time column that goes with ``column``."""
        time = clean_name(self._table_spec.time)
        array = column.partition("[")[0]
        folder = array.rpartition("/")[0]
        beside = array + time if time.startswith("[") else f"{folder}/{time}"
        for candidate in (beside, self._prefix + time, time):
            if candidate in table.columns:
                return candidate
        raise DataError(f"{where}: no time column '{time}'{_near(time, table.columns)}")

    def _scan(self) -> tuple[int, int, int]:
        """Start, end and number of rows; the first time this reads the time columns through."""
        if self._extent is None:
            counts = [[0, 0, 0] for _ in self._groups]
            for group, count in zip(self._groups, counts, strict=True):
                for rows, cells in group.table.blocks([group.time]):
                    where = f"{group.table.path}: column '{group.time}'"
                    t_ns = to_times(cells[group.time], rows, where, self._table_spec)
                    _count(count, t_ns)
            self._set_extent(counts)
        assert self._extent is not None
        return self._extent

    def _set_extent(self, counts: list[list[int]]) -> None:
        filled = [c for c in counts if c[2]]
        if not filled:
            raise DataError(f"{self.path}: the table has no rows")
        start = min(c[0] for c in filled)
        self._extent = start, max(c[1] for c in filled) + 1, sum(c[2] for c in filled)

    def _entries(self, group: _Group, count: list[int]) -> Iterator[Entry]:
        """Entries of one group in order."""
        ranks = [self.streams.index(n) for n in group.streams]
        last: tuple[int, npt.NDArray[np.float64]] | None = None
        columns = dict.fromkeys(c for n in group.streams for c in self.source_columns(n))
        wanted = [group.time, *(c for c in columns if c != group.time)]
        for rows, cells in group.table.blocks(wanted):
            where = f"{group.table.path}: column '{group.time}'"
            t_ns = to_times(cells[group.time], rows, where, self._table_spec)
            sources = [self._source(group, n, rows, cells) for n in group.streams]
            flat = np.concatenate(sources, axis=1)
            keep = _fresh_rows(t_ns, flat, last, rows, where)
            last = int(t_ns[-1]), flat[-1]
            self.repeated += int((~keep).sum())
            _count(count, t_ns)
            blocks = [
                self._block(n, rows, t_ns, source, cells, keep & ~np.isnan(source).all(axis=1))
                for n, source in zip(group.streams, sources, strict=True)
            ]
            yield from _in_order(blocks, ranks)

    def _source(
        self, group: _Group, stream: str, rows: Rows, cells: dict[str, Cells]
    ) -> npt.NDArray[np.float64]:
        features: list[FeatureSpec] = []
        for feature in self.spec.streams[stream].features:
            features.extend([feature] * feature.count)
        missing = frozenset(self._table_spec.missing)
        parts = []
        for feature, column in zip(features, self.source_columns(stream), strict=True):
            where = f"{group.table.path}: column '{column}'"
            if feature.levels:
                codes = LevelCodes(feature.levels)
                parts.append(to_levels(cells[column], rows, where, codes, missing))
            else:
                parts.append(to_numbers(cells[column], rows, where, missing))
        return np.stack(parts, axis=1)

    def _block(
        self,
        stream: str,
        rows: Rows,
        t_ns: Rows,
        source: npt.NDArray[np.float64],
        cells: dict[str, Cells],
        keep: npt.NDArray[np.bool_],
    ) -> StreamBlock:
        kept = source[keep]
        return StreamBlock(
            stream,
            rows[keep],
            t_ns[keep],
            kept,
            tuple(cells[c][keep] for c in self.source_columns(stream)),
            self._decoders[stream].convert_columns(kept),
        )


def open_tables(path: Path, spec: TableSpec) -> list[TableFile]:
    """The table of a file, or all tables of a folder."""
    if not path.is_dir():
        return [open_table(path, spec.sheet)]
    files = sorted(
        p for p in path.iterdir()
        if p.suffix.lower() in TABLE_SUFFIXES and not p.name.startswith(".")
    )  # fmt: skip
    twice = next((f for f in files if sum(f.stem == g.stem for g in files) > 1), None)
    if twice is not None:
        raise DataError(f"{path}: two tables are called '{twice.stem}'")
    if len(files) == 1:
        return [open_table(files[0], spec.sheet)]
    return [open_table(f, spec.sheet, f"{f.stem}/") for f in files]


def _near(name: str, known: list[str] | tuple[str, ...]) -> str:
    near = suggest(name, known)
    if near or not known:
        return near
    shown = ", ".join(known[:8])
    return f" (it has: {shown}{', ...' if len(known) > 8 else ''})"


def _count(count: list[int], t_ns: Rows) -> None:
    """Extend ``[first, last, rows]`` by a block."""
    if not count[2]:
        count[0] = int(t_ns[0])
    count[1] = int(t_ns[-1])
    count[2] += len(t_ns)


def _fresh_rows(
    t_ns: Rows,
    flat: npt.NDArray[np.float64],
    last: tuple[int, npt.NDArray[np.float64]] | None,
    rows: Rows,
    where: str,
) -> npt.NDArray[np.bool_]:
    """Which rows are not repetitions; time must never go back nor stand still.

    Raises
    ------
    DataError
        A row is earlier than the one before it, or has its time and other values.
    """
    before_t = np.concatenate([[t_ns[0] - 1 if last is None else last[0]], t_ns[:-1]])
    before = np.concatenate([flat[:1] if last is None else last[1][None], flat[:-1]])
    back = np.flatnonzero(t_ns < before_t)
    if len(back):
        i = back[0]
        lag = (before_t[i] - t_ns[i]) / 1e9
        raise DataError(f"{where}, row {rows[i]}: time goes back by {lag:g} s")
    same = t_ns == before_t
    changed = ((flat != before) & ~(np.isnan(flat) & np.isnan(before))).any(axis=1)
    clash = np.flatnonzero(same & changed)
    if len(clash):
        raise DataError(
            f"{where}, row {rows[clash[0]]}: same time as the row before but other values:"
            " every row needs its own time"
        )
    return ~same


def _in_order(blocks: list[StreamBlock], ranks: list[int]) -> Iterator[Entry]:
    """Entries of several blocks of the same rows by time, then by rank."""
    t_ns = np.concatenate([b.t_ns for b in blocks])
    which = np.concatenate([np.full(len(b.t_ns), k) for k, b in enumerate(blocks)])
    index = np.concatenate([np.arange(len(b.t_ns)) for b in blocks])
    order = np.lexsort((np.array(ranks)[which], t_ns))
    for t, k, i in zip(
        t_ns[order].tolist(), which[order].tolist(), index[order].tolist(), strict=True
    ):
        yield Entry(t, ranks[k], blocks[k], i)
