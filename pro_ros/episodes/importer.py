"""Tables to bags: the same samples as standard messages that any ROS 2 tool opens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pro_ros.episodes.bags import full_type
from pro_ros.episodes.bagwriter import BagWriter
from pro_ros.episodes.messages import MessageBuilder
from pro_ros.episodes.reading import AllowMissing
from pro_ros.episodes.tables import Entry, TableRecording
from pro_ros.errors import DataError, SpecError
from pro_ros.interfaces import typestore
from pro_ros.streams.spec import RobotSpec

_REPORT_EVERY = 1000


@dataclass(frozen=True)
class Imported:
    """A bag that was made; ``[start_ns, end_ns)`` is the time from its first row past its last.

    ``rows`` and ``messages``: how many were read and written. ``infinite``: per stream, how many
    infinite values stand in the bag as they did in the table; readers take them as missing.
    ``repeated``: rows that were left out because they repeat the one before them, time included.
    """

    path: Path
    start_ns: int
    end_ns: int
    rows: int
    messages: int
    infinite: dict[str, int]
    repeated: int


def import_table(
    source: Path | str,
    spec: RobotSpec,
    out: Path | str,
    *,
    table_prefix: str = "",
    allow_missing: AllowMissing = False,
    compress: bool = True,
    overwrite: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Imported:
    """Write a table, or a folder of tables, as the rosbag2 (MCAP) folder ``out``.

    Every stream's values go to its ``topic`` as messages of its ``type``, at the fields that its
    features name, stamped with the time of the row. They are written unchanged, in the unit that
    the stream file declares: reading the bag through the same file gives exactly the samples of
    the table (to the precision of the field, where it is a float32). Where a message fixes the
    unit (FluidPressure is in Pa), another one is refused.

    Parameters
    ----------
    table_prefix
        Stands before every column name, as in :func:`pro_ros.episodes.recording.open_recording`.
    progress
        Called now and then with the number of messages written so far.

    Raises
    ------
    SpecError
        The stream file lacks topics, types, fields or columns, or a message cannot hold them.
    DataError
        The table is damaged or not what the stream file says.
    StorageError
        ``out`` exists already (and ``overwrite`` is false), or writing failed.
    """
    source = Path(source)
    recording = TableRecording(source, spec, prefix=table_prefix, allow_missing=allow_missing)
    topics = _topics(recording)
    of_stream = {stream: topic for topic in topics for stream in topic.streams}
    written = 0
    with BagWriter(out, compress=compress, overwrite=overwrite) as writer:
        about = {"source": source.name, "robot": spec.robot, "attribution": spec.attribution}
        for key, value in about.items():
            if value:
                writer.annotate(key, value)
        handles = {t.name: writer.add_topic(t.name, t.builder.msgtype) for t in topics}
        for instant in _instants(recording.entries()):
            for topic, entries in _by_topic(instant, of_stream):
                t_ns, data = topic.message(entries, source)
                writer.raw(handles[topic.name], t_ns, data)
                written += 1
                if progress is not None and written % _REPORT_EVERY == 0:
                    progress(written)
        if not written:
            raise DataError(f"{source}: no row has a value of any stream: nothing to import")
    if progress is not None:
        progress(written)
    return Imported(
        Path(out),
        recording.start_ns,
        recording.end_ns,
        recording.message_count,
        written,
        recording.infinite,
        recording.repeated,
    )


@dataclass(frozen=True)
class _Topic:
    """A topic, the streams that read it (in order), and what builds its messages."""

    name: str
    streams: tuple[str, ...]
    builder: MessageBuilder

    def message(self, entries: list[Entry], path: Path) -> tuple[int, memoryview]:
        """Time and bytes of the message of one instant."""
        entry = entries[-1]
        place = f"{path}: row {entry.block.rows[entry.i]}"
        if len(entries) < len(self.streams):
            there = {e.block.stream for e in entries}
            lacking = next(s for s in self.streams if s not in there)
            raise DataError(
                f"{place}: stream '{lacking}' has no value but '{entry.block.stream}' of the same"
                f" topic '{self.name}' has: give them topics of their own"
            )
        source = [v for e in entries for v in e.block.source[e.i].tolist()]
        return entry.t_ns, self.builder.serialise(entry.t_ns, source, place)


def _topics(recording: TableRecording) -> list[_Topic]:
    """The topics of a recording's streams, the one of the ``step.on`` stream last."""
    spec = recording.spec
    groups: dict[str, list[str]] = {}
    for name in recording.streams:
        topic = spec.streams[name].topic
        if topic is None:
            raise SpecError(f"stream '{name}' has no 'topic': an import needs 'topic' and 'type'")
        groups.setdefault("/" + topic.strip("/"), []).append(name)
    topics = []
    for topic, names in groups.items():
        types = [full_type(spec.streams[n].type or "") for n in names]
        if len(set(types)) > 1:
            raise SpecError(f"topic '{topic}' has two types: {', '.join(sorted(set(types)))}")
        streams = {n: spec.streams[n] for n in names}
        builder = MessageBuilder(typestore(), types[0], streams)
        topics.append(_Topic(topic, tuple(names), builder))
    return topics


def _instants(entries: Iterator[Entry]) -> Iterator[list[Entry]]:
    """Entries of the same time together."""
    instant: list[Entry] = []
    for entry in entries:
        if instant and entry.t_ns != instant[0].t_ns:
            yield instant
            instant = []
        instant.append(entry)
    if instant:
        yield instant


def _by_topic(
    instant: list[Entry], of_stream: dict[str, _Topic]
) -> list[tuple[_Topic, list[Entry]]]:
    """Entries of one instant per topic, in the order in which topics are complete."""
    groups: dict[str, list[Entry]] = {}
    for entry in instant:
        name = of_stream[entry.block.stream].name
        # Moved to the end: a message is written when the last of its streams would be.
        groups[name] = [*groups.pop(name, []), entry]
    return [(of_stream[g[0].block.stream], g) for g in groups.values()]
