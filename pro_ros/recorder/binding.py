"""From a journal to a bag and its entries in the manifest."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rosbags.interfaces import Connection, QosDurability

from pro_ros.episodes.bags import BagTopic
from pro_ros.episodes.bagwriter import DEFAULT_QOS, BagWriter
from pro_ros.episodes.dataset import RECORDINGS, Source, segment_recording
from pro_ros.episodes.marks import EVENT_TYPE, TASK_TYPE
from pro_ros.errors import DataError
from pro_ros.interfaces import typestore
from pro_ros.recorder.growing import GrowingDataset
from pro_ros.recorder.journal import Journal, JournalTopic
from pro_ros.recorder.rules import event_topic
from pro_ros.streams.spec import RobotSpec

_YIELD_EVERY = 64
"""Messages between two pauses: callbacks in other threads want to run, too."""

_LATCHED_QOS = DEFAULT_QOS._replace(durability=QosDurability.TRANSIENT_LOCAL)


@dataclass(frozen=True)
class Bound:
    """A recording that was taken into the data set.

    ``outcomes``: of its episodes. ``killed``: the process that recorded it was killed.
    ``lines``: what is odd about it.
    """

    recording: str
    path: Path
    messages: int
    outcomes: tuple[str, ...]
    killed: bool
    lines: tuple[str, ...]


def bind(dataset: GrowingDataset, journal: Journal, compress: bool) -> Bound | None:
    """Turn a journal into a bag of the data set, and remove it.

    It may be done again after a process was killed in between: a bag that stands there is
    replaced, and a recording that the manifest holds is not added twice.

    Returns
    -------
    What was bound, or None where the manifest holds it already or no message was received.

    Raises
    ------
    DataError
        The bag cannot be used, because it holds no sample of any stream, or messages that are
        not what the stream file says. It is put aside, and the line says where.
    StorageError
        The disk is full or cannot be written; the journal stays.
    """
    name = journal.head.recording
    if dataset.holds(name):
        journal.path.unlink()
        return None
    place = dataset.place(name)
    count, repeats = _write_bag(place, journal, dataset.spec, compress)
    if not count:
        journal.path.unlink()
        return None
    source = Source(name, place)
    try:
        entry, found = segment_recording(source, dataset.spec, True, lambda _: time.sleep(0.0005))
    except DataError as exc:
        aside = dataset.reject(place)
        journal.path.unlink()
        reason = str(exc).replace(f"{place}: ", "")
        raise DataError(f"{aside}: put aside, because it cannot be used: {reason}") from exc
    entry = entry.model_copy(update={"path": f"{RECORDINGS}/{name}"})
    dataset.add(entry, found.episodes, found.events, repeats)
    journal.path.unlink()
    return Bound(
        recording=name,
        path=place,
        messages=count,
        outcomes=tuple(e.outcome for e in found.episodes),
        killed=not journal.closed,
        lines=(*found.outside, *found.skipped),
    )


def _write_bag(place: Path, journal: Journal, spec: RobotSpec, compress: bool) -> tuple[int, str]:
    """Write the bag; how many messages it holds, and the attempt that a TaskContext repeats."""
    count, repeats = 0, ""
    declared: dict[JournalTopic, Connection] = {}
    if next(journal.messages(), None) is None:
        return 0, ""
    with BagWriter(place, compress=compress, overwrite=True) as writer:
        about = {"source": journal.head.key, "robot": spec.robot, "attribution": spec.attribution}
        for key, value in about.items():
            if value:
                writer.annotate(key, value)
        if spec.episodes.by == "events":
            # A part in which nothing was reported is a recording all the same.
            writer.add_topic(event_topic(spec), EVENT_TYPE)
        for topic, receipt_ns, data in journal.messages():
            handle = declared.get(topic)
            if handle is None:
                handle = declared[topic] = writer.copy_topic(_bag_topic(topic))
            writer.raw(handle, receipt_ns, data)
            if topic.msgtype == TASK_TYPE:
                repeats = _repeats(data, journal.head.key) or repeats
            count += 1
            if count % _YIELD_EVERY == 0:
                time.sleep(0)
    return count, repeats


def _bag_topic(topic: JournalTopic) -> BagTopic:
    qos = (_LATCHED_QOS,) if topic.latched else ()
    return BagTopic(topic.name, topic.msgtype, topic.definition, topic.digest, qos)


def _repeats(data: bytes, episode_id: str) -> str:
    """The attempt that a TaskContext of this episode says it repeats."""
    message: Any = typestore().deserialize_cdr(data, TASK_TYPE)
    own = message.episode_id in ("", episode_id)
    return str(message.retry_of) if own else ""
