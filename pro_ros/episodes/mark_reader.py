"""Reading the marks of a recording: EpisodeEvents and TaskContexts of a bag, LeRobot's tasks."""

from __future__ import annotations

from rosbags.serde import SerdeError

from pro_ros.episodes.bags import BagRecording
from pro_ros.episodes.lerobot import LeRobotEpisode
from pro_ros.episodes.marks import (
    EVENT_TYPE,
    TASK_TYPE,
    Mark,
    event_mark,
    mark_time,
    task_mark,
)
from pro_ros.episodes.reading import Recording
from pro_ros.errors import DataError, SpecError, suggest


def read_marks(recording: Recording) -> tuple[list[Mark], list[str]]:
    """Read the marks of a recording, in order of time.

    A mark's time is its header's stamp. Where that is unset, or further from the receipt than
    ``gap`` (another clock), it is the receipt time, and a line says so.

    Returns
    -------
    marks
        EpisodeEvents of the stream file's topic, and all TaskContexts.
    lines
        What had to be said about them.

    Raises
    ------
    DataError
        The stream file cuts ``by: events`` and the bag has no such topic, or a message is damaged.
    SpecError
        It cuts ``by: events`` and the recording is no bag.
    """
    if isinstance(recording, BagRecording):
        return _from_bag(recording)
    if recording.spec.episodes.by == "events":
        raise SpecError(
            f"{recording.path}: 'episodes.by: events' needs a bag with EpisodeEvent messages"
        )
    marks: list[Mark] = [*recording.marks()] if isinstance(recording, LeRobotEpisode) else []
    return marks, []


def _from_bag(recording: BagRecording) -> tuple[list[Mark], list[str]]:
    spec, path = recording.spec, recording.path
    wanted_topic = spec.episodes.topic if spec.episodes.by == "events" else None
    if wanted_topic is not None and not _has_topic(recording, wanted_topic):
        raise DataError(
            f"{path}: no topic '{wanted_topic}', which episodes.topic names"
            f"{suggest(wanted_topic, recording.topics)}"
        )
    types = recording.types
    wanted = [
        c
        for c in recording.connections
        if c.msgtype == TASK_TYPE
        or (wanted_topic is not None and c.topic.strip("/") == wanted_topic.strip("/"))
    ]
    other = next((c for c in wanted if c.msgtype not in (TASK_TYPE, EVENT_TYPE)), None)
    if other is not None:
        raise DataError(
            f"{path}: topic '{other.topic}' is of type {other.msgtype}, expected {EVENT_TYPE}"
        )
    marks: list[Mark] = []
    unclear = 0
    for connection, receipt_ns, raw in recording.messages(wanted) if wanted else ():
        store = types.store(connection, f"{path}: topic '{connection.topic}'")
        try:
            message = types.deserialiser(connection, store)(raw, connection.msgtype)
        except (SerdeError, IndexError, MemoryError) as exc:
            raise DataError(
                f"{path}: a message on '{connection.topic}' is no {connection.msgtype}: {exc}"
            ) from exc
        t_ns, clear = mark_time(message, receipt_ns, round(spec.gap * 1e9))
        unclear += not clear
        is_task = connection.msgtype == TASK_TYPE
        make = task_mark if is_task else event_mark
        marks.append(make(message, t_ns, receipt_ns))
    lines = []
    if unclear:
        lines.append(
            f"{path}: {unclear} of {len(marks)} EpisodeEvents and TaskContexts have no stamp, or "
            f"one over {spec.gap:g} s from their receipt: the time of receipt counts"
        )
    return sorted(marks, key=lambda m: m.t_ns), lines


def _has_topic(recording: BagRecording, topic: str) -> bool:
    return any(t.strip("/") == topic.strip("/") for t in recording.topics)
