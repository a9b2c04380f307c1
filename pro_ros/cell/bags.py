"""Bags of the cell: one folder per task, with all attempts at it, as a recorder writes them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from rosbags.interfaces import Connection, QosDurability

from pro_ros.cell.messages import TOPICS, Encoder
from pro_ros.cell.sensors import CAMERA, Reading
from pro_ros.episodes.bagwriter import DEFAULT_QOS, BagWriter
from pro_ros.episodes.marks import (
    BEGIN,
    CLEARED,
    END,
    EVENT_KINDS,
    EVENT_TYPE,
    MOMENT,
    ONSET,
    OUTCOMES,
    TASK_TYPE,
    EventMark,
    Mark,
    TaskMark,
)
from pro_ros.interfaces import context_message, event_message, typestore

EVENT_TOPIC: Final = "/pro/episode_event"
TASK_TOPIC: Final = "/pro/task_context"

_LATCHED = DEFAULT_QOS._replace(durability=QosDurability.TRANSIENT_LOCAL)
_KINDS = {BEGIN: "episode_begin", END: "episode_end", **EVENT_KINDS}
_PHASES = {MOMENT: "MOMENT", ONSET: "ONSET", CLEARED: "CLEARED"}


class EpisodeBag:
    """A bag (MCAP, zstd) of one task in the making; use it as a context manager.

    It appears under its name when the block ends without an exception, and not before. The same
    readings and marks give the same bytes.

    Parameters
    ----------
    path
        The bag folder to make.
    about
        Texts for the bag's metadata: whatever else is to be known of the recording.
    overwrite
        Replace an existing folder; without it an existing one is refused.

    Raises
    ------
    StorageError
        The disk is full, the folder exists or cannot be written.
    """

    def __init__(
        self,
        path: Path | str,
        about: Mapping[str, str] | None = None,
        *,
        overwrite: bool = False,
    ) -> None:
        self._writer = BagWriter(path, compress=True, overwrite=overwrite)
        self._about = dict(about or {})
        self._encoder = Encoder()
        self._topics: dict[str, Connection] = {}
        self._stack = ExitStack()

    def __enter__(self) -> EpisodeBag:
        with ExitStack() as stack:
            writer = stack.enter_context(self._writer)
            for key, value in self._about.items():
                writer.annotate(key, value)
            # All at once: a device that was silent is a topic without messages, not none at all.
            for kind in TOPICS:
                if kind != CAMERA:
                    self._declare(kind)
            writer.add_topic(EVENT_TOPIC, EVENT_TYPE)
            writer.add_topic(TASK_TOPIC, TASK_TYPE, (_LATCHED,))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.__exit__(exc_type, exc, traceback)

    def take(self, said: Reading | Mark) -> None:
        """Write whatever the loop tells."""
        if isinstance(said, Reading):
            self.reading(said)
        else:
            self.mark(said)

    def reading(self, reading: Reading) -> None:
        """Write what a device says, at its receipt."""
        topic = self._topics.get(reading.kind) or self._declare(reading.kind)
        self._writer.raw(topic, reading.receipt_ns, self._encoder.encode(reading))

    def mark(self, mark: Mark) -> None:
        """Write what the robot says of its episode."""
        receipt_ns = mark.receipt_ns or mark.t_ns
        if isinstance(mark, TaskMark):
            self._writer.write(TASK_TOPIC, TASK_TYPE, receipt_ns, _task(mark))
        else:
            self._writer.write(EVENT_TOPIC, EVENT_TYPE, receipt_ns, _event(mark))

    def _declare(self, kind: str) -> Connection:
        topic = self._topics[kind] = self._writer.add_topic(*TOPICS[kind])
        return topic


def _event(mark: EventMark) -> Any:
    return event_message(
        typestore(),
        mark.t_ns,
        _KINDS[mark.kind],
        name=mark.name,
        episode_id=mark.episode_id,
        phase=_PHASES[mark.phase],
        outcome=OUTCOMES.get(mark.outcome, "unknown"),
        source="cell",
    )


def _task(mark: TaskMark) -> Any:
    return context_message(
        typestore(),
        mark.t_ns,
        prompt=mark.task,
        context=mark.context,
        task_id=mark.task_id,
        episode_id=mark.episode_id,
        attempt=mark.attempt,
        retry_of=mark.retry_of,
    )
