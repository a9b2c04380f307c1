"""A ring buffer of timed rows whose recent past is always one contiguous view."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


class RingBuffer:
    """The last rows of one stream, in the order of their time stamps.

    Every row is written twice, ``capacity`` apart, so that any run of recent rows is one view
    and reading needs no copy. Each channel lies contiguous in memory: statistics over time of a
    few channels are four times as fast that way. Views are valid until the next :meth:`push`.

    A row older than the newest one is refused. Of rows with the same stamp the first one stays:
    what a step has already used cannot change afterwards. Both are counted.

    Parameters
    ----------
    capacity
        Rows held before the oldest is overwritten.
    width
        Values per row.
    keep_ns
        Rows younger than this are not overwritten while the buffer may still grow: it doubles,
        up to ``max_growth`` times its capacity, where a source is faster than declared [ns].

    Attributes
    ----------
    refused, duplicates
        Rows not taken because their stamp was older than, or equal to, the newest.
    overruns
        Rows within ``keep_ns`` that had to be overwritten.
    """

    max_growth = 16

    def __init__(self, capacity: int, width: int, keep_ns: int = 0) -> None:
        if capacity < 1:
            raise ValueError("capacity must be at least 1")
        self.width = width
        self.keep_ns = keep_ns
        self.refused = 0
        self.duplicates = 0
        self.overruns = 0
        self._limit = capacity * self.max_growth
        self._allocate(capacity)
        self.clear()

    def __len__(self) -> int:
        return self._count

    @property
    def capacity(self) -> int:
        """Rows held before the oldest is overwritten (or the buffer grows)."""
        return self._capacity

    def clear(self) -> None:
        """Forget all rows; counters stay."""
        self._head = 0
        self._count = 0
        self._newest: int | None = None

    def push(self, stamp_ns: int, row: npt.ArrayLike) -> bool:
        """Append a row ``[width]``; return whether it was taken."""
        newest = self._newest
        if newest is not None and stamp_ns <= newest:
            if stamp_ns == newest:
                self.duplicates += 1
            else:
                self.refused += 1
            return False
        if self._count == self._capacity and self.keep_ns:
            self._make_room(stamp_ns)
        head, capacity = self._head, self._capacity
        self._values[:, head] = row
        self._values[:, head + capacity] = row
        self._stamps[head] = stamp_ns
        self._stamps[head + capacity] = stamp_ns
        self._newest = stamp_ns
        self._head = head + 1 if head + 1 < capacity else 0
        if self._count < capacity:
            self._count += 1
        return True

    def extend(self, stamps_ns: npt.NDArray[np.int64], rows: npt.NDArray[np.float64]) -> None:
        """Append rows ``[N, width]`` at once, with the result of pushing one after another.

        ``stamps_ns``: int64 ``[N]``, increasing, the first later than the newest so far [ns].
        """
        done = 0
        while done < len(stamps_ns):
            head, capacity = self._head, self._capacity
            run = slice(done, done + min(len(stamps_ns) - done, capacity - head))
            new = stamps_ns[run]
            if self._count == capacity and self.keep_ns:
                old = self._stamps[head : head + len(new)]
                if (old > new - self.keep_ns).any():
                    # A row that is still needed: have the buffer grow.
                    self.push(int(new[0]), rows[done])
                    done += 1
                    continue
            for at in (head, head + capacity):
                self._stamps[at : at + len(new)] = new
                self._values[:, at : at + len(new)] = rows[run].T
            self._newest = int(new[-1])
            self._head = (head + len(new)) % capacity
            self._count = min(self._count + len(new), capacity)
            done = run.stop

    def latest(self) -> tuple[int, npt.NDArray[np.float64]] | None:
        """The newest stamp [ns] and its row ``[width]``, or None when empty."""
        if self._newest is None:
            return None
        return self._newest, self._values[:, self._head + self._capacity - 1]

    def since(
        self, after_ns: int, until_ns: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Rows with ``after_ns < stamp <= until_ns``: stamps ``[N]`` and values ``[N, width]``."""
        end = self._head + self._capacity
        start = end - self._count
        stamps = self._stamps[start:end]
        first = int(stamps.searchsorted(after_ns, side="right"))
        last = self._count
        if self._newest is not None and self._newest > until_ns:
            last = max(first, int(stamps.searchsorted(until_ns, side="right")))
        return stamps[first:last], self._values[:, start + first : start + last].T

    def _allocate(self, capacity: int) -> None:
        self._capacity = capacity
        self._values = np.empty((self.width, 2 * capacity), dtype=np.float64)
        self._stamps = np.empty(2 * capacity, dtype=np.int64)

    def _make_room(self, stamp_ns: int) -> None:
        """Grow before a row that is still needed would be overwritten."""
        oldest = int(self._stamps[self._head])
        if oldest <= stamp_ns - self.keep_ns:
            return
        if 2 * self._capacity > self._limit:
            self.overruns += 1
            return
        end = self._head + self._capacity
        stamps = self._stamps[end - self._count : end]
        values = self._values[:, end - self._count : end]
        count = self._count
        self._allocate(2 * self._capacity)
        for at in (0, self._capacity):
            self._stamps[at : at + count] = stamps
            self._values[:, at : at + count] = values
        self._head = count
