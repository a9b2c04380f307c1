"""The intake of a live node: callbacks stamp and push, the inference thread drains."""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from collections.abc import Callable
from typing import NamedTuple

from pro_ros.episodes.marks import Mark

NS = 1_000_000_000

LEAST_LIMIT = 100.0
"""Messages per second that do no harm, however slow a stream is declared [Hz]."""

BURST_NS = NS // 10
"""Time over which the rate of a source is limited [ns]."""

BACKLOG_S = 1.0
"""Messages of a source that wait at most, as the time that its limit allows for [s]. Where they
are not drained in time, more of them would only be later, and fill the memory."""


class Source:
    """What is received on one topic.

    Parameters
    ----------
    streams
        Those that read the topic.
    limit
        Messages per second that are taken at most [Hz], but never fewer than
        :data:`LEAST_LIMIT`; what comes faster is dropped.

    Attributes
    ----------
    received, dropped, size
        Messages taken and dropped, and bytes taken, since the start.
    most_waiting
        Messages that may wait to be drained.
    """

    def __init__(self, streams: tuple[str, ...], limit: float) -> None:
        self.streams = streams
        self.received = 0
        self.dropped = 0
        self.size = 0
        limit = max(limit, LEAST_LIMIT)
        self.most_waiting = math.ceil(limit * BACKLOG_S)
        self._most = math.ceil(limit * BURST_NS / NS)
        self._window_ns = 0
        self._count = 0

    def allows(self, now_ns: int, waiting: int = 0) -> bool:
        """Whether one more message may be taken now, where so many wait; counts it either way."""
        if not 0 <= now_ns - self._window_ns < BURST_NS:
            self._window_ns, self._count = now_ns, 0
        self._count += 1
        if self._count > self._most or waiting >= self.most_waiting:
            self.dropped += 1
            return False
        self.received += 1
        return True


class Arrival(NamedTuple):
    """Something received: a message in CDR on a source, or a mark."""

    receipt_ns: int
    source: Source | None
    raw: bytes
    mark: Mark | None = None


class Intake:
    """Holds what was received until it is drained, in order of receipt.

    Receipt times are given out and counted under one lock, so that after :meth:`drain` nothing
    can follow that was received before the time which it returned.

    Parameters
    ----------
    clock
        The robot's clock [ns]: that of ROS.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._arrivals: deque[Arrival] = deque()
        self._waiting: Counter[Source] = Counter()
        self.wake = threading.Event()

    def now(self) -> int:
        """The robot's present time [ns]."""
        return self._clock()

    def push(self, source: Source, raw: bytes, wake: bool = False) -> None:
        """Take a message, or drop it; ``wake`` the thread that drains where it was taken.

        Before the first time on /clock there is no time at which it could have been received.
        """
        with self._lock:
            now = self._clock()
            if now == 0:
                return
            taken = source.allows(now, self._waiting[source])
            if taken:
                source.size += len(raw)
                self._waiting[source] += 1
                self._arrivals.append(Arrival(now, source, raw))
        if wake and taken:
            self.wake.set()

    def mark(self, make: Callable[[int], Mark]) -> None:
        """Take a mark, made from its time of receipt [ns]."""
        with self._lock:
            now = self._clock()
            self._arrivals.append(Arrival(now, None, b"", make(now)))

    def drain(self) -> tuple[int, deque[Arrival]]:
        """The present time, and all that was received until now."""
        with self._lock:
            arrivals, self._arrivals = self._arrivals, deque()
            self._waiting.clear()
            return self._clock(), arrivals
