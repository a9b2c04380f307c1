"""One recording in the making."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pro_ros.recorder.journal import (
    MESSAGE,
    TOPIC,
    Framed,
    JournalHead,
    JournalTopic,
    JournalWriter,
    frame,
    frame_document,
)

Entry = tuple[int, int, bytes | Framed]
"""Handle of a topic, receipt time [ns], and a message or a record made of one."""


class Take:
    """One recording in the making.

    ``ended_ns``: when its episode ended [ns]. ``heard_after``: a message of an input stream was
    received after that.
    """

    def __init__(self, path: Path, head: JournalHead, topics: list[JournalTopic]) -> None:
        self.path = path
        self.name = head.recording
        self.key = head.key
        self.begin_ns = head.begin_ns
        self.ended_ns = 0
        self.heard_after = False
        self._topics = topics
        self._declared: set[int] = set()
        self._journal = JournalWriter(path, head)

    @property
    def size(self) -> int:
        """Bytes of the journal."""
        return self._journal.size

    def write(self, records: Sequence[Entry]) -> None:
        """Append records, their topics declared before.

        Raises
        ------
        StorageError
            The disk is full or cannot be written.
        """
        framed: list[Framed] = []
        new: list[int] = []
        for handle, now, data in records:
            if handle not in self._declared:
                framed.append(frame_document(TOPIC, handle, vars(self._topics[handle])))
                self._declared.add(handle)
                new.append(handle)
            framed.append(data if isinstance(data, tuple) else frame(MESSAGE, handle, now, data))
        try:
            self._journal.append(framed)
        except BaseException:
            self._declared.difference_update(new)
            raise

    def close(self, reason: str) -> None:
        """Close the journal; ``reason`` is for people."""
        self._journal.close(reason)
