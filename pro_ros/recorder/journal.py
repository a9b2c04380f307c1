"""The journal of a recording in the making: append-only, with nothing left in this process.

Every record goes to the operating system with the call that brings it, so that a killed process
loses nothing that it had received. (A power cut is another matter: what the system had not yet
written to the disk is lost with it.)

Layout, little-endian: records one after another, each ``size`` (uint32, of what follows the
checksum), ``crc`` (uint32, CRC-32 of the same), then ``kind`` (uint8), ``topic`` (uint16),
``receipt_ns`` (int64) and the body. The first record is the head; a topic is declared before its
first message. What follows the first damaged or incomplete record was never written in full and
is left out.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple
from zlib import crc32

from pro_ros.errors import DataError, StorageError
from pro_ros.files import storage_error

FORMAT: Final = "pro_ros/journal/1"
SUFFIX: Final = ".journal"

HEAD, TOPIC, MESSAGE, CLOSED = 0, 1, 2, 3
"""Kinds of records. ``CLOSED`` is the last one of a journal that was closed in order."""

_FRAME = struct.Struct("<IIBHq")
_INNER = struct.Struct("<BHq")
_BATCH = 256
"""Records per system call, two buffers each: the limit is 1024 (IOV_MAX)."""

Framed = tuple[bytes, bytes]
"""A record ready to be written: its frame and its body."""


@dataclass(frozen=True)
class JournalTopic:
    """A topic as the bag will declare it.

    ``definition``, ``digest``: as in :class:`pro_ros.episodes.bags.BagTopic`. ``latched``: its
    publishers offer transient_local, and a player of the bag should, too.
    """

    name: str
    msgtype: str
    definition: str
    digest: str
    latched: bool = False


@dataclass(frozen=True)
class JournalHead:
    """What a journal is of.

    ``recording``: id that the recording gets. ``key``: ``episode_id`` as the robot says it, for
    people. ``begin_ns``: when the episode, or the part, began [ns].
    """

    recording: str
    key: str
    begin_ns: int
    format: str = FORMAT


class Record(NamedTuple):
    """One record as read back."""

    kind: int
    topic: int
    receipt_ns: int
    body: bytes


def frame(kind: int, topic: int, receipt_ns: int, body: bytes) -> Framed:
    """Make a record; done once, however many journals it goes to."""
    inner = _INNER.pack(kind, topic, receipt_ns)
    crc = crc32(body, crc32(inner))
    return _FRAME.pack(len(inner) + len(body), crc, kind, topic, receipt_ns), body


def frame_document(kind: int, topic: int, document: Any) -> Framed:
    """A record that holds a JSON document."""
    return frame(kind, topic, 0, json.dumps(document).encode())


class JournalWriter:
    """Appends records to a new file.

    Raises
    ------
    StorageError
        The file exists, the disk is full or cannot be written. A record that did not fit is cut
        off again; those before it stay.
    """

    def __init__(self, path: Path, head: JournalHead) -> None:
        self.path = path
        self.head = head
        self.size = 0
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        except OSError as exc:
            raise storage_error(path, exc) from exc
        try:
            self.append([frame_document(HEAD, 0, asdict(head))])
        except BaseException:
            os.close(self._file)
            path.unlink(missing_ok=True)
            raise

    def append(self, records: Sequence[Framed]) -> None:
        """Give records to the operating system."""
        for first in range(0, len(records), _BATCH):
            self._append([part for record in records[first : first + _BATCH] for part in record])

    def _append(self, parts: list[bytes]) -> None:
        size = sum(map(len, parts))
        try:
            written = os.writev(self._file, parts)
            if written < size:
                # A disk that is nearly full takes a part of it; the next call says why.
                rest = memoryview(b"".join(parts))[written:]
                while rest:
                    rest = rest[os.write(self._file, rest) :]
        except OSError as exc:
            with suppress(OSError):
                os.ftruncate(self._file, self.size)
            raise storage_error(self.path, exc) from exc
        self.size += size

    def close(self, reason: str = "") -> None:
        """Close the file; ``reason`` says why, for people. A full disk is no matter here."""
        with suppress(StorageError):
            self.append([frame_document(CLOSED, 0, {"reason": reason})])
        os.close(self._file)


class Journal:
    """A journal read back, up to the first record that is damaged or incomplete.

    Attributes
    ----------
    head
        What it is of.
    closed
        It was closed in order: the process that wrote it was not killed. Known once
        :meth:`records` was read through, as is ``torn``, the bytes that were left out.
    """

    def __init__(self, path: Path) -> None:
        """Read the head.

        Raises
        ------
        DataError
            The file cannot be read or is no journal.
        """
        self.path = path
        self.closed = False
        self.torn = 0
        first = next(self.records(), None)
        if first is None or first.kind != HEAD:
            raise DataError(f"{path}: not a journal of a recording")
        try:
            self.head = JournalHead(**json.loads(first.body))
        except (TypeError, ValueError) as exc:
            raise DataError(f"{path}: not a journal of a recording: {exc}") from exc
        if self.head.format != FORMAT:
            raise DataError(f"{path}: format '{self.head.format}', expected '{FORMAT}'")

    def records(self) -> Iterator[Record]:
        """All records in order, the head first."""
        try:
            with self.path.open("rb") as file:
                left = os.fstat(file.fileno()).st_size
                while left:
                    record, size = _read(file, left)
                    if record is None:
                        self.torn = left
                        return
                    left -= size
                    self.closed = record.kind == CLOSED
                    yield record
        except OSError as exc:
            raise DataError(f"{self.path}: cannot be read: {exc.strerror}") from exc

    def messages(self) -> Iterator[tuple[JournalTopic, int, bytes]]:
        """Topic, receipt time [ns] and bytes of every message, in order."""
        topics: dict[int, JournalTopic] = {}
        for record in self.records():
            if record.kind == TOPIC:
                topics[record.topic] = JournalTopic(**json.loads(record.body))
            elif record.kind == MESSAGE:
                yield topics[record.topic], record.receipt_ns, record.body


def _read(file: Any, left: int) -> tuple[Record | None, int]:
    """The next record and its size; None where ``left`` bytes do not hold a whole one."""
    if left < _FRAME.size:
        return None, 0
    size, crc, kind, topic, receipt_ns = _FRAME.unpack(file.read(_FRAME.size))
    length = size - _INNER.size
    if length < 0 or _FRAME.size + length > left:
        return None, 0
    body = file.read(length)
    if crc != crc32(body, crc32(_INNER.pack(kind, topic, receipt_ns))):
        return None, 0
    return Record(kind, topic, receipt_ns, body), _FRAME.size + length
