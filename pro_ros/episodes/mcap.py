"""MCAP without the detours: the inner loops of ``rosbags``, several times as fast.

``rosbags`` reads and writes every record through small in-memory files, which costs more than
decoding the message (benchmarks/). These subclasses keep its formats, indexes and checks, give
the same messages and the same bytes (tests hold them equal), and replace the inner loops.
"""

from __future__ import annotations

import heapq
import struct
import sys
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from io import BytesIO
from itertools import chain
from operator import itemgetter
from typing import Any

from rosbags import rosbag2
from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2.errors import ReaderError
from rosbags.rosbag2.reader import DirectoryReader
from rosbags.rosbag2.storage_mcap import (
    ChunkInfo,
    McapReader,
    McapWriter,
    PendingChunk,
    decompress,
    deserialize_uint32,
    read_exact,
)

_MESSAGE, _CHUNK, _MESSAGE_INDEX = 0x05, 0x06, 0x07
_RECORD = struct.Struct("<BQ")
_MESSAGE_RECORD = struct.Struct("<BQHIQQ")
_CHUNK_BYTES = 2**20

Message = tuple[Connection, int, bytes]


class ChunkReader(McapReader):
    """Reads chunk after chunk; those that overlap in time are merged."""

    def messages(  # type: ignore[override]
        self,
        connections: Collection[Connection],
        start: int | None = None,
        stop: int | None = None,
    ) -> Iterator[Message]:
        """See ``rosbags``; a time range goes its way."""
        if not self.chunks or start is not None or stop is not None:
            yield from super().messages(connections, start, stop)
            return
        wanted = {c.id: c for c in connections}
        chunks = sorted(
            (c for c in self.chunks if any(c.channel_count.get(i, 0) for i in wanted)),
            key=lambda c: (c.message_start_time, c.chunk_start_offset),
        )
        # Active chunks by (time of their next message, offset): the order of rosbags.
        active: list[tuple[int, int, int, list[Message]]] = []
        waiting = iter(chunks)
        following = next(waiting, None)
        while active or following is not None:
            while following is not None and (
                not active or following.message_start_time <= active[0][0]
            ):
                messages = self._chunk(following, wanted)
                if messages:
                    heapq.heappush(
                        active, (messages[0][1], following.chunk_start_offset, 0, messages)
                    )
                following = next(waiting, None)
            if not active:
                # The chunk that was opened held none of the wanted messages.
                continue
            _, offset, first, messages = heapq.heappop(active)
            limit = min(
                active[0][0] if active else sys.maxsize,
                following.message_start_time if following is not None else sys.maxsize,
            )
            stop_at = bisect_left(messages, limit, lo=first + 1, key=itemgetter(1))
            yield from messages[first:stop_at]
            if stop_at < len(messages):
                heapq.heappush(active, (messages[stop_at][1], offset, stop_at, messages))

    def _chunk(self, chunk: ChunkInfo, wanted: Mapping[int, Connection]) -> list[Message]:
        """Messages of one chunk in order of time."""
        assert self.bio is not None
        self.bio.seek(chunk.chunk_start_offset + 33)
        crc = deserialize_uint32(read_exact(self.bio, 4))[0]
        self.bio.seek(chunk.chunk_start_offset + 49 + len(chunk.compression))
        packed = read_exact(self.bio, chunk.compressed_size)
        data = decompress(packed, chunk.compression, chunk.uncompressed_size, crc)
        messages: list[Message] = []
        position, end = 0, len(data)
        sorted_so_far, newest = True, 0
        unpack, get = _MESSAGE_RECORD.unpack_from, wanted.get
        while position < end:
            code, size = _RECORD.unpack_from(data, position)
            body = position + 9
            position = body + size
            if position > end:
                raise ReaderError(f"Record of {size} bytes exceeds its chunk")
            if code != _MESSAGE:
                continue
            _, _, channel, _, log_time, _ = unpack(data, body - 9)
            connection = get(channel)
            if connection is not None:
                if log_time < newest:
                    sorted_so_far = False
                newest = log_time
                messages.append((connection, log_time, data[body + 22 : position]))
        if not sorted_so_far:
            messages.sort(key=itemgetter(1))
        return messages


class ChunkWriter(McapWriter):
    """Packs a message record in one go, and an index in another."""

    def write(self, connection: Connection, timestamp: int, data: bytes | memoryview) -> None:
        """See ``rosbags``."""
        chunk = self.chunk
        bio = chunk.bio
        chunk.msgs[connection.id].append((timestamp, bio.tell()))
        bio.write(
            _MESSAGE_RECORD.pack(_MESSAGE, 22 + len(data), connection.id, 0, timestamp, timestamp)
        )
        bio.write(data)
        if bio.tell() > _CHUNK_BYTES:
            self.close_chunk()

    def close_chunk(self) -> None:
        """See ``rosbags``."""
        chunk, bio = self.chunk, self.bio
        for channel, messages in chunk.msgs.items():
            self.channel_stats[channel] += len(messages)
            chunk.message_start_time = min(chunk.message_start_time, min(messages)[0])
            chunk.message_end_time = max(chunk.message_end_time, max(messages)[0])
        first, last = chunk.message_start_time, chunk.message_end_time
        self.message_start_time = min(self.message_start_time, first)
        self.message_end_time = max(self.message_end_time, last)
        size = chunk.bio.tell()
        packed = self.compressor(chunk.bio.getvalue())
        compression = struct.pack("<I", len(self.compression)) + self.compression.encode()
        start = bio.tell()
        head = struct.pack("<QQQI", first, last, size, 0) + compression
        bio.write(_RECORD.pack(_CHUNK, len(head) + 8 + len(packed)))
        bio.write(head + struct.pack("<Q", len(packed)))
        bio.write(packed)
        end = bio.tell()
        offsets = b""
        for channel, messages in chunk.msgs.items():
            offsets += struct.pack("<HQ", channel, bio.tell())
            index = struct.pack(f"<{2 * len(messages)}Q", *chain.from_iterable(messages))
            bio.write(_RECORD.pack(_MESSAGE_INDEX, 6 + len(index)))
            bio.write(struct.pack("<HI", channel, len(index)) + index)
        record = BytesIO()
        record.write(struct.pack("<QQQQ", first, last, start, end - start))
        record.write(struct.pack("<I", len(offsets)) + offsets)
        record.write(struct.pack("<Q", bio.tell() - end) + compression)
        record.write(struct.pack("<QQ", len(packed), size))
        self.chunks.append(record)
        self.chunk = PendingChunk(2**63 - 1, 0, BytesIO(), defaultdict(list))


class _FolderReader(DirectoryReader):
    STORAGE_PLUGINS: Mapping[str, Any] = {
        **DirectoryReader.STORAGE_PLUGINS,
        "mcap": ChunkReader,
    }


class Reader(rosbag2.Reader):
    """``rosbags`` reader of rosbag2 folders and single files, with the faster loop."""

    STORAGE_PLUGINS: Mapping[str, Any] = {
        **rosbag2.Reader.STORAGE_PLUGINS,
        "dir": _FolderReader,
        ".mcap": ChunkReader,
    }


class Writer(rosbag2.Writer):
    """``rosbags`` writer of rosbag2 folders, with the faster loop."""

    STORAGE_PLUGINS: Mapping[StoragePlugin, Any] = {
        **rosbag2.Writer.STORAGE_PLUGINS,
        StoragePlugin.MCAP: ChunkWriter,
    }

    def write(self, connection: Connection, timestamp: int, data: bytes | memoryview) -> None:
        """See ``rosbags``; the connection is one of this writer's own."""
        assert self.storage is not None
        self.storage.write(connection, timestamp, data)
        self.counts[connection.id] += 1
        if timestamp < self.min_timestamp:
            self.min_timestamp = timestamp
        if timestamp > self.max_timestamp:
            self.max_timestamp = timestamp
