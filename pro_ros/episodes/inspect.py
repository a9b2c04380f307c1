"""What is in a recording: topics or columns, rates, gaps, clocks, and what the streams read."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from rosbags import rosbag1
from rosbags.interfaces import Connection

from pro_ros.config import StrictModel
from pro_ros.episodes.bag_types import BagTypes
from pro_ros.episodes.bags import open_reader
from pro_ros.episodes.cells import clean
from pro_ros.episodes.reading import Recording, guarded
from pro_ros.episodes.recording import is_bag, open_recording
from pro_ros.episodes.table_files import NpzFile, TableFile
from pro_ros.episodes.tables import open_tables
from pro_ros.errors import DataError, ProError
from pro_ros.streams.decode import Decoder
from pro_ros.streams.spec import RobotSpec, StreamSpec, TableSpec

MANY_COLUMNS = 500
"""Above so many columns (an archive of many runs) only their names are reported."""


class Timing(StrictModel):
    """Intervals of a series of times. ``None`` where there are too few to say.

    ``rate``: 1 / mean interval, gaps left out [Hz]. ``p99``, ``longest``: intervals [s]. ``gaps``: intervals
    longer than ``gap`` [s]. ``duplicates`` and ``backwards``: how often a time equals or precedes
    the one before it.
    """

    count: int
    rate: float | None = None
    p99: float | None = None
    longest: float | None = None
    gap: float | None = None
    gaps: int = 0
    duplicates: int = 0
    backwards: int = 0


class Clock(StrictModel):
    """Header stamps against times of receipt.

    ``unset``: messages whose stamp is 0. ``offset_*``: receipt minus stamp [s]. ``stamps``:
    their intervals in order of receipt.
    """

    unset: int
    offset_min: float | None
    offset_median: float | None
    offset_max: float | None
    stamps: Timing


class TopicReport(StrictModel):
    """One topic of a bag; ``receipt`` are times of receipt. ``clock``: None without a header."""

    name: str
    type: str
    receipt: Timing
    clock: Clock | None = None


class ColumnReport(StrictModel):
    """One column of a table. ``kind`` is that of its cells, ``ambiguous`` where two columns
    have the name, ``unread`` where there are too many. ``missing``: share of empty cells.
    """

    name: str
    kind: Literal["number", "text", "date", "mixed", "empty", "ambiguous", "unread"]
    rows: int = 0
    missing: float | None = None
    minimum: float | None = None
    maximum: float | None = None


class FeatureReport(StrictModel):
    """One feature in SI ``unit``. ``missing``: share of samples without a value."""

    name: str
    unit: str
    missing: float
    minimum: float | None
    mean: float | None
    maximum: float | None


class StreamReport(StrictModel):
    """One stream of the stream file as read. ``declared_rate``: as the stream file says [Hz]."""

    name: str
    modality: str
    source: str
    clock: str
    declared_rate: float
    receipt: Timing
    infinite: int
    features: tuple[FeatureReport, ...]


class Report(StrictModel):
    """What :func:`inspect_recording` found; ``model_dump(mode="json")`` is plain JSON.

    ``problems``: lines that a person should read, the first fault of each kind.
    """

    path: str
    kind: Literal["rosbag2", "ros1", "table"]
    messages: int
    start_ns: int | None = None
    end_ns: int | None = None
    duration: float | None = None
    topics: tuple[TopicReport, ...] = ()
    columns: tuple[ColumnReport, ...] = ()
    streams: tuple[StreamReport, ...] = ()
    problems: tuple[str, ...] = ()


def inspect_recording(
    path: Path | str,
    spec: RobotSpec | None = None,
    *,
    table_prefix: str = "",
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Look through a recording; with a stream file also through its streams.

    Reads the recording through once, and once more with a stream file. Holds 8 to 16 bytes per
    message. What is wrong with the contents is reported, not raised.

    Parameters
    ----------
    progress
        Called now and then with the number of messages or rows read so far.

    Raises
    ------
    DataError
        The recording does not exist, or is too damaged to be opened.
    """
    path = Path(path)
    report = _bag(path, spec, progress) if is_bag(path) else _table(path, spec, progress)
    if spec is None or not report.messages:
        return report
    return _with_streams(report, path, spec, table_prefix, progress)


def timing(times_ns: npt.NDArray[np.int64], gap: float | None = None) -> Timing:
    """Intervals of times in the order in which they came.

    ``gap``: what counts as a gap [s]; by default ten times the median interval, at least 1 s.
    """
    if len(times_ns) < 2:
        return Timing(count=len(times_ns), gap=gap)
    steps = np.diff(times_ns) / 1e9
    limit = gap if gap is not None else max(1.0, 10 * float(np.median(steps)))
    within = steps[steps <= limit]
    mean = float(within.mean()) if len(within) else 0.0
    return Timing(
        count=len(times_ns),
        rate=1.0 / mean if mean > 0 else None,
        p99=float(np.quantile(steps, 0.99)),
        longest=float(steps.max()),
        gap=limit,
        gaps=int((steps > limit).sum()),
        duplicates=int((steps == 0).sum()),
        backwards=int((steps < 0).sum()),
    )


def _bag(path: Path, spec: RobotSpec | None, progress: Callable[[int], None] | None) -> Report:
    reader = open_reader(path)
    try:
        ros1 = isinstance(reader, rosbag1.Reader)
        types = BagTypes(ros1)
        connections: list[Connection] = list(reader.connections)
        receipts = {c.id: array("q") for c in connections}
        stamps = {c.id: array("q") for c in connections if _has_header(c, types)}
        problems: list[str] = []
        try:
            for n, (connection, receipt_ns, raw) in enumerate(guarded(reader.messages(), path), 1):
                receipts[connection.id].append(receipt_ns)
                if connection.id in stamps:
                    stamps[connection.id].append(_stamp_ns(raw, ros1))
                if progress is not None and n % 10_000 == 0:
                    progress(n)
        except DataError as exc:
            problems.append(str(exc))
    finally:
        reader.close()
    times = {i: np.frombuffer(a, dtype=np.int64) for i, a in receipts.items()}
    total = sum(len(t) for t in times.values())
    if not total and not problems:
        problems.append(f"{path}: the recording holds no messages")
    filled = [t for t in times.values() if len(t)]
    start = min((int(t[0]) for t in filled), default=None)
    end = max((int(t[-1]) + 1 for t in filled), default=None)
    topics = []
    for c in sorted(connections, key=lambda c: c.topic):
        topic = TopicReport(
            name=c.topic,
            type=c.msgtype,
            receipt=timing(times[c.id], spec.gap if spec else None),
            clock=_clock(times[c.id], stamps.get(c.id)),
        )
        topics.append(topic)
        if topic.clock is not None and topic.clock.unset:
            problems.append(
                f"{path}: topic '{c.topic}': {topic.clock.unset} of {topic.receipt.count} header"
                " stamps are unset"
            )
    return Report(
        path=str(path),
        kind="ros1" if ros1 else "rosbag2",
        messages=total,
        start_ns=start,
        end_ns=end,
        duration=(end - start) / 1e9 if start is not None and end is not None else None,
        topics=tuple(topics),
        problems=tuple(problems),
    )


def _has_header(connection: Connection, types: BagTypes) -> bool:
    try:
        store = types.store(connection, connection.topic)
    except DataError:
        return False
    fields = store.fielddefs[connection.msgtype][1]
    return bool(fields) and fields[0][1][1] == "std_msgs/msg/Header"


def _stamp_ns(raw: bytes | memoryview, ros1: bool) -> int:
    """Stamp of a message that begins with a header [ns]; 0 where it is too short to have one."""
    if len(raw) < 12:
        return 0
    # ROS 1: 4 bytes of sequence number. ROS 2: 4 bytes of CDR encapsulation.
    order = "<" if ros1 or raw[1] else ">"
    sec, nanosec = struct.unpack_from(f"{order}iI", raw, 4)
    return int(sec) * 1_000_000_000 + int(nanosec)


def _clock(receipts: npt.NDArray[np.int64], stamps: array[int] | None) -> Clock | None:
    if stamps is None or not len(receipts):
        return None
    stamped = np.frombuffer(stamps, dtype=np.int64)
    is_set = stamped != 0
    offsets = (receipts[is_set] - stamped[is_set]) / 1e9
    some = bool(len(offsets))
    return Clock(
        unset=int((~is_set).sum()),
        offset_min=float(offsets.min()) if some else None,
        offset_median=float(np.median(offsets)) if some else None,
        offset_max=float(offsets.max()) if some else None,
        stamps=timing(stamped[is_set]),
    )


def _table(path: Path, spec: RobotSpec | None, progress: Callable[[int], None] | None) -> Report:
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


def _with_streams(
    report: Report,
    path: Path,
    spec: RobotSpec,
    table_prefix: str,
    progress: Callable[[int], None] | None,
) -> Report:
    """The report with what the streams read, and with what kept them from reading."""
    problems = list(report.problems)
    summaries: dict[str, _StreamSummary] = {}
    infinite: dict[str, int] = {}
    start, end = report.start_ns, report.end_ns
    try:
        with open_recording(
            path, spec, table_prefix=table_prefix, allow_missing=True
        ) as recording:
            problems.extend(_absences(recording))
            summaries = {n: _StreamSummary(n, spec.streams[n]) for n in recording.streams}
            try:
                for n, sample in enumerate(recording.samples(), 1):
                    summaries[sample.stream].add(sample.receipt_ns, sample.values)
                    if progress is not None and n % 10_000 == 0:
                        progress(n)
                start, end = recording.start_ns, recording.end_ns
            finally:
                infinite = recording.infinite
    except ProError as exc:
        problems.append(str(exc))
    streams = tuple(s.report(spec.gap, infinite.get(n, 0)) for n, s in summaries.items())
    problems.extend(
        f"{path}: stream '{s.name}': {s.infinite} infinite values, taken as missing"
        for s in streams
        if s.infinite
    )
    return report.model_copy(
        update={
            "streams": streams,
            "problems": tuple(dict.fromkeys(problems)),
            "start_ns": start,
            "end_ns": end,
            "duration": (end - start) / 1e9 if start is not None and end is not None else None,
        }
    )


def _absences(recording: Recording) -> list[str]:
    return [
        f"{recording.path}: stream '{name}' is not in the recording" for name in recording.absent
    ]


class _StreamSummary:
    """Times and running statistics of one stream."""

    def __init__(self, name: str, spec: StreamSpec) -> None:
        self._name, self._spec = name, spec
        self._times = array("q")
        width = len(spec.raw_channels)
        self._count = np.zeros(width, dtype=np.int64)
        self._sum = np.zeros(width)
        self._low = np.full(width, np.inf)
        self._high = np.full(width, -np.inf)

    def add(self, receipt_ns: int, values: npt.NDArray[np.generic]) -> None:
        """Take one sample; frames only count."""
        self._times.append(receipt_ns)
        if values.ndim != 1:
            return
        numbers = values.astype(np.float64, copy=False)
        there = ~np.isnan(numbers)
        self._count += there
        self._sum += np.where(there, numbers, 0.0)
        np.fmin(self._low, numbers, out=self._low)
        np.fmax(self._high, numbers, out=self._high)

    def report(self, gap: float, infinite: int) -> StreamReport:
        spec = self._spec
        units = Decoder(self._name, spec).converter.units
        total = len(self._times)
        features = []
        for i, channel in enumerate(spec.raw_channels):
            count = int(self._count[i])
            features.append(
                FeatureReport(
                    name=channel,
                    unit=units[i],
                    missing=1.0 - count / total if total else 1.0,
                    minimum=float(self._low[i]) if count else None,
                    mean=float(self._sum[i] / count) if count else None,
                    maximum=float(self._high[i]) if count else None,
                )
            )
        return StreamReport(
            name=self._name,
            modality=spec.modality,
            source=spec.topic or ", ".join(c for f in spec.features for c in f.columns),
            clock=spec.clock,
            declared_rate=spec.rate,
            receipt=timing(np.frombuffer(self._times, dtype=np.int64), gap),
            infinite=infinite,
            features=tuple(features),
        )
