"""What was received last, kept in memory until an episode begins."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from pro_ros.recorder.journal import Framed


class Kept(NamedTuple):
    """A record that waits: the handle of its topic, its receipt time [ns] and its bytes."""

    topic: int
    receipt_ns: int
    record: Framed


class PreRoll:
    """Records of the last seconds, bounded in time and in bytes.

    Parameters
    ----------
    span_ns
        How long a record is kept, counted from the newest [ns]; 0 keeps none.
    most_bytes
        The oldest go earlier where they take more than this.
    """

    def __init__(self, span_ns: int, most_bytes: int) -> None:
        self._span_ns = span_ns
        self._most_bytes = most_bytes
        self._kept: deque[Kept] = deque()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def push(self, topic: int, receipt_ns: int, record: Framed) -> None:
        """Take a record; receipt times do not go back."""
        if not self._span_ns:
            return
        self._kept.append(Kept(topic, receipt_ns, record))
        self.bytes += len(record[0]) + len(record[1])
        self._forget(receipt_ns)

    def take(self, now_ns: int) -> list[Kept]:
        """Everything that is not too old at ``now_ns``, in order; it is given away."""
        self._forget(now_ns)
        taken = list(self._kept)
        self.clear()
        return taken

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()
        self.bytes = 0

    def _forget(self, now_ns: int) -> None:
        kept, oldest = self._kept, now_ns - self._span_ns
        while kept and (kept[0].receipt_ns < oldest or self.bytes > self._most_bytes):
            _, _, record = kept.popleft()
            self.bytes -= len(record[0]) + len(record[1])
