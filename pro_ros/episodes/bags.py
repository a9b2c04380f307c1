"""Recordings that are bags: rosbag2 (MCAP, sqlite3) and ROS 1, through the ``rosbags`` library."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rosbags import rosbag1
from rosbags.interfaces import Connection, Qos

from pro_ros.episodes.bag_types import BagTypes
from pro_ros.episodes.mcap import Reader
from pro_ros.episodes.reading import (
    AllowMissing,
    Recording,
    damaged,
    guarded,
    may_lack,
    stream_order,
)
from pro_ros.errors import DataError, ProError, SpecError, suggest
from pro_ros.streams.cdr import compile_reader
from pro_ros.streams.decode import Decoder
from pro_ros.streams.sample import Sample
from pro_ros.streams.spec import RobotSpec, StreamSpec

BAG_SUFFIXES = frozenset({".mcap", ".db3", ".bag"})

SampleReader = Callable[[bytes | memoryview, int], Sample]


@dataclass(frozen=True)
class BagTopic:
    """A topic as a ROS 2 bag declares it; enough to write it into another bag.

    ``definition``: text of the message type with all that it uses. ``digest``: its RIHS01 hash.
    """

    name: str
    msgtype: str
    definition: str
    digest: str
    qos: tuple[Qos, ...] = ()


class BagItem(NamedTuple):
    """One message of a bag.

    ``raw``: the message in CDR (converted, where the bag is of ROS 1). ``topic``: None where the
    message cannot be written to a ROS 2 bag because its definition is not known; ``raw`` is then
    as recorded. ``samples``: what the streams make of it, in order; several streams may read one
    topic.
    """

    topic: BagTopic | None
    receipt_ns: int
    raw: bytes | memoryview
    samples: tuple[Sample, ...]


class BagRecording(Recording):
    """A bag, read as a recording.

    Topics are compared without leading slashes (ROS 1 bags hold ``wrench``). Definitions come
    from the bag; types that the streams do not need may be unknown or even wrong. Memory stays
    within one chunk for MCAP and one row for sqlite3. A ROS 1 bag's index, which is read at
    once, costs about 150 bytes per message.

    Attributes
    ----------
    topics
        Message count per topic of the bag.
    not_copied
        Topics whose messages cannot be written to another bag, see :class:`BagItem`.
    """

    def __init__(
        self, path: Path, spec: RobotSpec, *, allow_missing: AllowMissing = False
    ) -> None:
        super().__init__(path, spec)
        self._reader = open_reader(path)
        try:
            self._prepare(allow_missing)
        except BaseException:
            self.close()
            raise

    def _prepare(self, allow_missing: AllowMissing) -> None:
        if not self._reader.message_count:
            raise DataError(f"{self.path}: the recording holds no messages")
        self._types = BagTypes(isinstance(self._reader, rosbag1.Reader))
        connections = list(self._reader.connections)
        self.topics: dict[str, int] = {}
        for connection in connections:
            self.topics[connection.topic] = (
                self.topics.get(connection.topic, 0) + connection.msgcount
            )
        self._sinks: dict[int, tuple[SampleReader, ...]] = {}
        absent: list[str] = []
        for name in stream_order(self.spec):
            stream = self.spec.streams[name]
            found = self._find(name, stream, connections, may_lack(allow_missing, name))
            if not found:
                absent.append(name)
                continue
            decoder = self._decoders[name] = Decoder(name, stream)
            for connection in found:
                reader = self._sample_reader(connection, decoder)
                self._sinks[connection.id] = (*self._sinks.get(connection.id, ()), reader)
        if len(absent) == len(self.spec.streams):
            topics = ", ".join(sorted(self.topics))
            raise DataError(f"{self.path}: has no topic of any stream (it has: {topics})")
        self.absent = tuple(absent)
        self.streams = tuple(n for n in stream_order(self.spec) if n not in absent)
        self._copies = {c.id: _bag_topic(c, self._types) for c in connections}
        self.not_copied = tuple(
            sorted({c.topic for c in connections if self._copies[c.id] is None})
        )

    @property
    def start_ns(self) -> int:
        """Receipt time of the first message [ns]."""
        return int(self._reader.start_time)

    @property
    def end_ns(self) -> int:
        """One nanosecond after the last message [ns]."""
        return int(self._reader.end_time)

    @property
    def message_count(self) -> int:
        """Messages of all topics."""
        return int(self._reader.message_count)

    def close(self) -> None:
        """Close the files."""
        if _is_open(self._reader):
            self._reader.close()

    def samples(self) -> Iterator[Sample]:
        """See :meth:`Recording.samples`."""
        wanted = [c for c in self._reader.connections if c.id in self._sinks]
        sinks = self._sinks
        for connection, receipt_ns, raw in self._messages(wanted):
            try:
                for sink in sinks[connection.id]:
                    yield sink(raw, receipt_ns)
            except DataError as exc:
                raise self._placed(exc) from exc

    def items(self) -> Iterator[BagItem]:
        """All messages in order of receipt with the samples they give, in one pass.

        Raises
        ------
        DataError
            as :meth:`samples`.
        """
        plans = {
            c.id: (
                self._copies[c.id],
                self._types.to_cdr(c) if self._copies[c.id] else None,
                self._sinks.get(c.id, ()),
            )
            for c in self._reader.connections
        }
        for connection, receipt_ns, raw in self._messages(list(self._reader.connections)):
            topic, convert, sinks = plans[connection.id]
            try:
                samples = tuple([sink(raw, receipt_ns) for sink in sinks])
                yield BagItem(topic, receipt_ns, convert(raw) if convert else raw, samples)
            except DataError as exc:
                raise self._placed(exc) from exc

    @property
    def connections(self) -> list[Connection]:
        """What the bag declares: topics with their types, a topic perhaps several times."""
        return list(self._reader.connections)

    @property
    def types(self) -> BagTypes:
        """The message types of the bag."""
        return self._types

    def messages(
        self, wanted: list[Connection] | None = None
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Messages in order of receipt as recorded: connection, receipt time [ns], bytes.

        ``wanted``: of these connections only; all by default.
        """
        return self._messages(self.connections if wanted is None else wanted)

    def _placed(self, exc: DataError) -> DataError:
        return DataError(f"{self.path}: {exc}")

    def _messages(self, wanted: list[Connection]) -> Iterator[tuple[Connection, int, bytes]]:
        counts = dict.fromkeys((c.id for c in wanted), 0)
        for item in guarded(self._reader.messages(connections=wanted), self.path):
            if not isinstance(item[2], bytes) or not isinstance(item[1], int):
                raise damaged(self.path, ValueError("a message has no time or no content"))
            counts[item[0].id] += 1
            yield item
        for connection in wanted:
            # Both happen: a storage file that lost its end, or metadata of another file.
            if counts[connection.id] < connection.msgcount:
                raise DataError(
                    f"{self.path}: damaged or truncated ({connection.msgcount} messages on"
                    f" '{connection.topic}' are announced, {counts[connection.id]} are there)"
                )

    def _find(
        self, name: str, stream: StreamSpec, connections: list[Connection], optional: bool
    ) -> list[Connection]:
        """The connections of a stream's topic; none where it may be missing."""
        where = f"{self.path}: stream '{name}'"
        if stream.topic is None or stream.type is None:
            if optional:
                return []
            raise SpecError(
                f"{where} has no 'topic': add 'topic' and 'type' to read it from a bag"
            )
        found = [c for c in connections if c.topic.strip("/") == stream.topic.strip("/")]
        if not found and not optional:
            near = suggest(stream.topic, self.topics)
            shown = near or f" (it has: {', '.join(sorted(self.topics))})"
            raise DataError(f"{where}: no topic '{stream.topic}'{shown}")
        msgtype = full_type(stream.type)
        other = next((c for c in found if c.msgtype != msgtype), None)
        if other is not None:
            raise DataError(
                f"{where}: topic '{other.topic}' is of type {other.msgtype}, expected {msgtype}"
            )
        return found

    def _sample_reader(self, connection: Connection, decoder: Decoder) -> SampleReader:
        """What turns the bytes of a connection's messages into samples of one stream."""
        where = f"{self.path}: stream '{decoder.name}'"
        store = self._types.store(connection, where)
        msgtype = connection.msgtype
        deserialise = self._types.deserialiser(connection, store)
        if not self._types.ros1:
            compiled = compile_reader(msgtype, store, decoder)
            if compiled is not None:
                return compiled

        def read(raw: bytes | memoryview, receipt_ns: int) -> Sample:
            try:
                message = deserialise(raw, msgtype)
            except Exception as exc:
                # Generated code meets damaged bytes in any way.
                raise DataError(
                    f"stream '{decoder.name}': a message on '{connection.topic}' is no {msgtype}:"
                    f" {exc}"
                ) from exc
            return decoder.decode(message, receipt_ns)

        return read


def full_type(msgtype: str) -> str:
    """``sensor_msgs/JointState`` and ``sensor_msgs/msg/JointState`` are the same type."""
    parts = msgtype.strip("/").split("/")
    return f"{parts[0]}/msg/{parts[1]}" if len(parts) == 2 else msgtype


def open_reader(path: Path) -> Any:
    """Open a bag with the reader of its kind; close it after use.

    Raises
    ------
    DataError
        The bag is missing, damaged, or of a version that is not known.
    """
    hint = ""
    try:
        if path.suffix == ".bag" and not path.is_dir():
            hint = "; try 'rosbag reindex'"
            reader: Any = rosbag1.Reader(path)
        else:
            hint = "; try 'ros2 bag reindex' or 'mcap recover'"
            reader = Reader(_storage(path))
        reader.open()
        _check_names(reader)
    except ProError:
        raise
    except Exception as exc:
        # As in 'guarded': a damaged file makes the library fail in any way.
        raise damaged(path, exc, hint) from exc
    return reader


def _check_names(reader: Any) -> None:
    """A damaged index may give a name of any type and content; say so while opening."""
    for connection in reader.connections:
        for name in (connection.topic, connection.msgtype):
            if not isinstance(name, str) or not name.isprintable():
                raise ValueError("a topic has no proper name or type")


def _is_open(reader: Any) -> bool:
    if isinstance(reader, rosbag1.Reader):
        return reader.bio is not None
    return bool(reader.is_open)


def _storage(path: Path) -> Path:
    """What to open: a folder without metadata.yaml is read if it holds one storage file."""
    if not path.is_dir() or (path / "metadata.yaml").exists():
        return path
    files = sorted(p for p in path.iterdir() if p.suffix in (".mcap", ".db3"))
    if len(files) == 1:
        return files[0]
    raise DataError(
        f"{path}: has no metadata.yaml and {len(files)} storage files: run 'ros2 bag reindex',"
        " or open one of the files"
    )


def _bag_topic(connection: Connection, types: BagTypes) -> BagTopic | None:
    declared = types.declaration(connection)
    if declared is None:
        return None
    definition, digest = declared
    name = connection.topic if not types.ros1 else "/" + connection.topic.strip("/")
    qos = tuple(getattr(connection.ext, "offered_qos_profiles", ()))
    return BagTopic(name, connection.msgtype, definition, digest, qos)


__all__ = ["BAG_SUFFIXES", "BagItem", "BagRecording", "BagTopic", "full_type", "open_reader"]
