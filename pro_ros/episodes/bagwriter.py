"""Write rosbag2 bags: complete or not at all, and the same bytes for the same messages."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2.enums import CompressionFormat, CompressionMode

from pro_ros.episodes.bags import BagTopic
from pro_ros.episodes.mcap import Writer
from pro_ros.errors import StorageError
from pro_ros.files import atomic_dir, storage_error
from pro_ros.interfaces import definition, typestore

_FOREVER = QosTime(2147483647, 4294967295)

DEFAULT_QOS = Qos(
    QosHistory.KEEP_LAST,
    10,
    QosReliability.RELIABLE,
    QosDurability.VOLATILE,
    _FOREVER,
    _FOREVER,
    QosLiveliness.AUTOMATIC,
    _FOREVER,
    avoid_ros_namespace_conventions=False,
)
"""What a publisher offers by default, so that ``ros2 bag play`` matches usual subscribers."""


class BagWriter:
    """A rosbag2 folder in the making; use it as a context manager.

    The folder appears under its name when the block ends without an exception, and not before.
    MCAP output is chunked (1 MiB) and indexed; memory grows by the index, 16 bytes per message of
    the open chunk and about 200 bytes per finished chunk.

    Parameters
    ----------
    path
        The bag folder to make.
    storage
        Format of the storage file in it.
    compress
        Compress MCAP chunks with zstd.
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
        storage: Literal["mcap", "sqlite3"] = "mcap",
        *,
        compress: bool = False,
        overwrite: bool = False,
    ) -> None:
        self.path = Path(path)
        self._plugin = StoragePlugin[storage.upper()]
        self._compress = compress and self._plugin is StoragePlugin.MCAP
        self._overwrite = overwrite
        self._stack = ExitStack()
        self._writer: Writer | None = None
        self._topics: dict[tuple[str, str], Connection] = {}

    def __enter__(self) -> BagWriter:
        with ExitStack() as stack:
            folder = stack.enter_context(
                atomic_dir(self.path, overwrite=self._overwrite, create=False)
            )
            stack.enter_context(self._storage_errors())
            writer = Writer(folder, version=Writer.VERSION_LATEST, storage_plugin=self._plugin)
            if self._compress:
                writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
            self._writer = stack.enter_context(writer)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._writer = None
        self._stack.__exit__(exc_type, exc, traceback)

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        """Sqlite wraps the failures of the operating system in errors of its own."""
        try:
            yield
        except sqlite3.Error as exc:
            raise storage_error(self.path, exc) from exc

    def add_topic(
        self, name: str, msgtype: str, qos: Sequence[Qos] = (DEFAULT_QOS,)
    ) -> Connection:
        """Declare a topic of a ROS 2 Jazzy type or of a message of this package.

        Declaring it again gives the same handle; topics keep the order of declaration.
        """
        text, digest = definition(msgtype)
        return self.copy_topic(BagTopic(name, msgtype, text, digest, tuple(qos)))

    def copy_topic(self, topic: BagTopic) -> Connection:
        """Declare a topic as another bag does; its messages are then written with :meth:`raw`."""
        key = (topic.name, topic.msgtype)
        if key not in self._topics:
            self._topics[key] = self._open().add_connection(
                topic.name,
                topic.msgtype,
                msgdef=topic.definition,
                rihs01=topic.digest,
                offered_qos_profiles=topic.qos or (DEFAULT_QOS,),
            )
        return self._topics[key]

    def raw(self, topic: Connection, receipt_ns: int, data: bytes | memoryview) -> None:
        """Write a message that is already serialised; ``topic`` as declared [CDR]."""
        self._open().write(topic, receipt_ns, data)

    def write(self, name: str, msgtype: str, receipt_ns: int, message: Any) -> None:
        """Serialise a message of :func:`pro_ros.interfaces.typestore` and write it."""
        topic = self._topics.get((name, msgtype)) or self.add_topic(name, msgtype)
        self.raw(topic, receipt_ns, typestore().serialize_cdr(message, msgtype))

    def annotate(self, key: str, value: str) -> None:
        """Put a text into the bag's metadata (attribution, model id, stream file)."""
        self._open().set_custom_data(key, value)

    def _open(self) -> Writer:
        if self._writer is None:
            raise StorageError(f"{self.path}: the bag is not open for writing")
        return self._writer
