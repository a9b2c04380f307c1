"""The recent past of one stream: its newest sample, trailing windows, episode statistics."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from pro_ros.streams.ring import RingBuffer
from pro_ros.streams.sample import ByteArray, FloatArray, Sample
from pro_ros.streams.spec import StreamSpec, SummarySpec
from pro_ros.streams.stats import Changes, RunningStats, window_stats

NS = 1_000_000_000

BATCH = 64
"""Samples that wait at most until they are put into the ring: each call of numpy costs more than
the few numbers of one sample."""

Rows = npt.NDArray[np.float64]


class _History:
    """The newest stamp of a stream, and what its age means."""

    def __init__(self, spec: StreamSpec, gap_ns: int) -> None:
        self.hold_s = spec.hold_s
        self.stale_s = spec.stale_s
        self.refused = 0
        self.duplicates = 0
        self.ahead = 0
        self.jumps = 0
        self._gap_ns = gap_ns
        self._period_ns = round(NS / spec.rate)
        self._frozen_ns = None if spec.frozen is None else round(spec.frozen * NS)
        self._stamp_ns: int | None = None
        self._changed_ns = 0
        self._latest: npt.NDArray[np.generic] | None = None
        self._jumped = False

    def age(self, t_ns: int) -> float:
        """Seconds since the newest sample, ``inf`` before the first, 0 if it is ahead of t."""
        if self._stamp_ns is None:
            return math.inf
        return (t_ns - self._stamp_ns) / NS if t_ns > self._stamp_ns else 0.0

    def frozen(self, t_ns: int) -> bool:
        """Whether samples come and their values stand still for longer than ``frozen``."""
        return (
            self._frozen_ns is not None
            and self._latest is not None
            and t_ns - self._changed_ns > self._frozen_ns
        )

    def jumped(self) -> bool:
        """Whether a stamp jumped since this was asked before."""
        jumped, self._jumped = self._jumped, False
        return jumped

    def clear(self) -> None:
        """Forget all samples; counters stay."""
        self._stamp_ns = None
        self._latest = None

    def _take(self, sample: Sample) -> bool:
        """Take the sample if it is newer; count the reason where it cannot be taken.

        Of samples with the same stamp the first one stays, as in :class:`RingBuffer`. A stamp
        that lies further than ``gap`` after its receipt is of a clock that is wrong: taken, it
        would shut out all that is right. One that lies further than ``gap`` before the newest
        says that the clock was set back: what is remembered then lies in its future.
        """
        ahead = sample.stamp_ns - sample.receipt_ns
        if ahead > self._period_ns:
            if ahead > self._gap_ns:
                self.jumps += 1
                self._jumped = True
                return False
            self.ahead += 1
        newest = self._stamp_ns
        if newest is not None and sample.stamp_ns <= newest:
            if sample.stamp_ns == newest:
                self.duplicates += 1
                return False
            if newest - sample.stamp_ns <= self._gap_ns:
                self.refused += 1
                return False
            self.jumps += 1
            self._jumped = True
            self.clear()
        self._stamp_ns = sample.stamp_ns
        if self._frozen_ns is not None and (
            self._latest is None or not np.array_equal(self._latest, sample.values)
        ):
            self._changed_ns = sample.stamp_ns
        self._latest = sample.values
        return True


class CameraHistory(_History):
    """The latest frame of a visual stream, uint8 ``[3, H, W]``."""

    def __init__(self, spec: StreamSpec, gap_ns: int) -> None:
        super().__init__(spec, gap_ns)
        self.frame: ByteArray | None = None

    def clear(self) -> None:
        """Forget the frame."""
        super().clear()
        self.frame = None

    def push(self, sample: Sample) -> bool:
        """Take a frame; false if it is not newer than the latest."""
        if not self._take(sample):
            return False
        frame = np.asarray(sample.values, dtype=np.uint8)
        self.frame = np.ascontiguousarray(frame.transpose(2, 0, 1))
        return True


class NumericHistory(_History):
    """Ring, change times and episode statistics of one numeric stream.

    Parameters
    ----------
    spec
        The stream's entry in the stream file.
    gap_ns
        ``RobotSpec.gap`` [ns].
    at
        Position of the stream's first output in its modality's row.
    """

    def __init__(self, spec: StreamSpec, gap_ns: int, at: int) -> None:
        super().__init__(spec, gap_ns)
        self.modality = spec.modality
        self._last = spec.last
        # A missing value leaves a hole in the row, which is quick to see.
        self.shows_holes = spec.last
        self._norms = Norms(spec)
        width = len(spec.channels)
        self._last_out = slice(at, at + width)
        self._age_out = at + len(spec.outputs) - 1
        self._row = np.empty(width)
        self._waiting: list[Sample] = []
        spans = [s.over for s in spec.summaries if s.over != "episode"]
        span = max(spans, default=0.0)
        # Twice the declared rate and a margin; a faster source makes the ring grow.
        capacity = math.ceil(2.0 * span * spec.rate) + 16
        self._ring = RingBuffer(capacity, width, round(span * NS))
        first = at + (width if spec.last else 0)
        self._summaries: list[_Summary] = []
        for summary in spec.summaries:
            self._summaries.append(_Summary(spec, summary, first))
            first = self._summaries[-1].out.stop
        stats = {stat for s in spec.summaries for stat in s.stats}
        self._changes = Changes(width) if "since_change" in stats else None
        by_episode = {stat for s in spec.summaries if s.over == "episode" for stat in s.stats}
        self._running = RunningStats(width, by_episode) if by_episode else None
        self._nan_ns: int | None = None
        self._floor_ns: int | None = None
        self._episode_ns: int | None = None

    @property
    def overruns(self) -> int:
        """Samples lost from a window because the source is far faster than declared."""
        self._absorb()
        return self._ring.overruns

    def clear(self) -> None:
        """Forget all samples and the episode."""
        super().clear()
        self._waiting.clear()
        self._ring.clear()
        self._nan_ns = self._floor_ns = self._episode_ns = None
        if self._changes is not None:
            self._changes.clear()
        if self._running is not None:
            self._running.clear()

    def begin_episode(self, t_ns: int, forget: bool) -> None:
        """Start the episode's statistics anew; with ``forget`` the windows too."""
        self._absorb()
        self._episode_ns = t_ns
        if forget:
            self._floor_ns = self._stamp_ns
        if self._running is not None:
            self._running.clear()

    def push(self, sample: Sample) -> bool:
        """Take a sample; false if it is not newer than the newest."""
        if not self._take(sample):
            return False
        if self._summaries:
            self._waiting.append(sample)
            if len(self._waiting) == BATCH:
                self._absorb()
        return True

    @property
    def incomplete(self) -> bool:
        """Whether the newest sample has a value that is not finite."""
        return self._latest is not None and bool(np.isnan(self._latest).any())

    def _absorb(self) -> None:
        """Take what waits into the ring and the statistics."""
        if not self._waiting:
            return
        stamps = np.array([sample.stamp_ns for sample in self._waiting], dtype=np.int64)
        rows = np.empty((len(stamps), len(self._row)))
        self._norms.expand([sample.values for sample in self._waiting], rows)
        self._waiting.clear()
        self._ring.extend(stamps, rows)
        missing = np.isnan(rows)
        if missing.any():
            self._nan_ns = int(stamps[missing.any(axis=1)][-1])
        if self._changes is not None:
            for stamp_ns, row in zip(stamps.tolist(), rows, strict=True):
                self._changes.push(stamp_ns, row)
        if self._running is not None:
            for row in rows:
                self._running.push(row)

    def fill(self, out: FloatArray, t_ns: int, age: float) -> None:
        """Write the outputs into the modality's row, leaving NaN what is absent."""
        if self._latest is None:
            return
        if self._last and age <= self.hold_s:
            self._norms.expand(self._latest, self._row)
            out[self._last_out] = self._row
        self._absorb()
        for summary in self._summaries:
            block = out[summary.out].reshape(-1, len(summary.stats))
            if summary.over_ns is None:
                self._fill_episode(summary, block, t_ns)
            else:
                self._fill_window(summary, summary.over_ns, block, t_ns)
        out[self._age_out] = min(age, self.stale_s)

    def _fill_window(self, summary: _Summary, over_ns: int, block: FloatArray, t_ns: int) -> None:
        after_ns = t_ns - over_ns
        if self._floor_ns is not None and self._floor_ns > after_ns:
            after_ns = self._floor_ns
        rows = self._ring.since(after_ns, t_ns)[1].T[summary.columns].T
        if not len(rows):
            return
        has_nan = self._nan_ns is not None and self._nan_ns > after_ns
        results = window_stats(rows, summary.stats, has_nan)
        for i, stat in enumerate(summary.stats):
            if stat == "since_change" and self._changes is not None:
                unchanged = self._changes.unchanged_s(t_ns, after_ns, after_ns)
                block[:, i] = unchanged[summary.columns]
            else:
                block[:, i] = results[stat]

    def _fill_episode(self, summary: _Summary, block: FloatArray, t_ns: int) -> None:
        if self._running is None:
            return
        for i, stat in enumerate(summary.stats):
            if stat == "since_change" and self._changes is not None:
                unchanged = self._changes.unchanged_s(t_ns, self._episode_ns, None)
                unchanged[self._running.count == 0] = np.nan
                block[:, i] = unchanged[summary.columns]
            else:
                block[:, i] = self._running.stat(stat)[summary.columns]


class Norms:
    """Adds a stream's derived features, Euclidean norms, to its values."""

    def __init__(self, spec: StreamSpec) -> None:
        self._raw = len(spec.raw_channels)
        names = spec.raw_channels
        self._parts = [
            (self._raw + i, [names.index(part) for part in parts])
            for i, parts in enumerate(spec.norms.values())
        ]

    def expand(self, values: npt.ArrayLike, rows: Rows) -> None:
        """Write raw values and norms into ``rows``, in ``StreamSpec.channels`` order.

        ``[F_raw]`` into ``[F]``, or ``[N, F_raw]`` into ``[N, F]``.
        """
        rows[..., : self._raw] = values
        for i, parts in self._parts:
            rows[..., i] = np.hypot.reduce(rows[..., parts], axis=-1)


class _Summary:
    """Where a summary's numbers come from and where they go."""

    def __init__(self, spec: StreamSpec, summary: SummarySpec, at: int) -> None:
        channels = spec.summary_channels(summary)
        columns = [spec.channels.index(c) for c in channels]
        run = columns == list(range(columns[0], columns[0] + len(columns)))
        # A slice is a view, a list of columns a copy.
        self.columns: slice | list[int] = (
            slice(columns[0], columns[0] + len(columns)) if run else columns
        )
        self.stats = summary.stats
        self.over_ns = None if summary.over == "episode" else round(summary.over * NS)
        self.out = slice(at, at + len(channels) * len(summary.stats))
