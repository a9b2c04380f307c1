"""What is in a recording: topics or columns, rates, gaps, clocks, and what the streams read."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rosbags import rosbag1
from rosbags.interfaces import Connection

from pro_ros.episodes.bag_types import BagTypes
from pro_ros.episodes.bags import open_reader
from pro_ros.episodes.inspect_report import (
    Clock,
    FeatureReport,
    Report,
    StreamReport,
    Timing,
    TopicReport,
    timing,
)
from pro_ros.episodes.inspect_table import inspect_table
from pro_ros.episodes.reading import Recording, guarded
from pro_ros.episodes.recording import is_bag, open_recording
from pro_ros.errors import DataError, ProError
from pro_ros.streams.decode import Decoder
from pro_ros.streams.spec import RobotSpec, StreamSpec

__all__ = ["Report", "Timing", "inspect_recording"]


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
    report = _bag(path, spec, progress) if is_bag(path) else inspect_table(path, spec, progress)
    if spec is None or not report.messages:
        return report
    return _with_streams(report, path, spec, table_prefix, progress)


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
        problems.extend(_stamp_problems(f"{path}: topic '{c.topic}'", topic))
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


def _stamp_problems(where: str, topic: TopicReport) -> list[str]:
    clock = topic.clock
    if clock is None:
        return []
    return [
        f"{where}: {number} of {topic.receipt.count} header stamps {what}"
        for number, what in (
            (clock.unset, "are unset"),
            (clock.stamps.backwards, "are earlier than the one before"),
            (clock.stamps.duplicates, "are that of the one before"),
        )
        if number
    ]


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
