"""Summary statistics of a stream: over a trailing window, or since the episode began."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from pro_ros.streams.spec import Stat

Rows = npt.NDArray[np.float64]


def window_stats(rows: Rows, stats: tuple[Stat, ...], has_nan: bool) -> dict[Stat, Rows]:
    """Statistics over time of ``rows`` ``[N, F]``, N > 0: each ``[F]``.

    NaN where a channel has no finite value. ``std`` is the population's, 0 for one value;
    ``delta`` is the last minus the first value, ``above_min`` the last minus the lowest,
    ``below_max`` the highest minus the last. ``since_change`` is not computed here
    (:class:`Changes`).
    """
    return _per_channel(rows, stats) if has_nan else _whole(rows, stats)


def _whole(rows: Rows, stats: tuple[Stat, ...]) -> dict[Stat, Rows]:
    result: dict[Stat, Rows] = {}
    mean = rows[:0]
    if "mean" in stats or "std" in stats:
        mean = np.add.reduce(rows, axis=0) / len(rows)
    for stat in stats:
        if stat == "mean":
            result[stat] = mean
        elif stat == "std":
            centred = rows - mean
            centred *= centred
            result[stat] = np.sqrt(np.add.reduce(centred, axis=0) / len(rows))
        elif stat == "min":
            result[stat] = np.minimum.reduce(rows, axis=0)
        elif stat == "max":
            result[stat] = np.maximum.reduce(rows, axis=0)
        elif stat == "last":
            result[stat] = rows[-1]
        elif stat == "delta":
            result[stat] = rows[-1] - rows[0]
        elif stat == "above_min":
            result[stat] = rows[-1] - np.minimum.reduce(rows, axis=0)
        elif stat == "below_max":
            result[stat] = np.maximum.reduce(rows, axis=0) - rows[-1]
    return result


def _per_channel(rows: Rows, stats: tuple[Stat, ...]) -> dict[Stat, Rows]:
    """The same over each channel's finite values: slower, and only while values are missing."""
    result = {stat: np.full(rows.shape[1], np.nan) for stat in stats}
    for channel in range(rows.shape[1]):
        column = rows[:, channel]
        finite = column[~np.isnan(column)]
        if len(finite):
            for stat, value in _whole(finite[:, None], stats).items():
                result[stat][channel] = value[0]
    return result


class RunningStats:
    """Statistics since the last :meth:`clear`, updated with each row in constant time.

    Per channel over its finite values; mean and variance by Welford's method.

    Parameters
    ----------
    width
        Values per row.
    stats
        The statistics that will be asked for; what the others need is left out.
    """

    def __init__(self, width: int, stats: Collection[Stat]) -> None:
        self._width = width
        self._moments = "mean" in stats or "std" in stats
        self._extremes = not {"min", "max", "above_min", "below_max"}.isdisjoint(stats)
        self._ends = not {"last", "delta", "above_min", "below_max"}.isdisjoint(stats)
        self.clear()

    def clear(self) -> None:
        """Forget all rows."""
        self.count = np.zeros(self._width)
        self._mean = np.zeros(self._width)
        self._squares = np.zeros(self._width)
        self._min = np.full(self._width, np.nan)
        self._max = np.full(self._width, np.nan)
        self._first = np.full(self._width, np.nan)
        self._last = np.full(self._width, np.nan)

    def push(self, row: Rows) -> None:
        """Add one row ``[F]``; NaN values are left out."""
        finite = row == row
        self.count += finite
        if self._moments:
            delta = np.where(finite, row - self._mean, 0.0)
            self._mean += delta / np.maximum(self.count, 1.0)
            self._squares += delta * np.where(finite, row - self._mean, 0.0)
        if self._extremes:
            self._min = np.fmin(self._min, row)
            self._max = np.fmax(self._max, row)
        if self._ends:
            self._first = np.where(self._first == self._first, self._first, row)
            self._last = np.where(finite, row, self._last)

    def stat(self, stat: Stat) -> Rows:
        """One statistic ``[F]``, NaN where there was no finite value."""
        if stat == "mean":
            return np.where(self.count > 0, self._mean, np.nan)
        if stat == "std":
            deviation = np.sqrt(self._squares / np.maximum(self.count, 1.0))
            return np.where(self.count > 0, deviation, np.nan)
        if stat == "min":
            return self._min
        if stat == "max":
            return self._max
        if stat == "last":
            return self._last
        if stat == "delta":
            return self._last - self._first
        if stat == "above_min":
            return self._last - self._min
        if stat == "below_max":
            return self._max - self._last
        raise ValueError(f"'{stat}' is not a running statistic")


class Changes:
    """For how long each channel's value has been seen unchanged."""

    def __init__(self, width: int) -> None:
        self._width = width
        self.clear()

    def clear(self) -> None:
        """Forget all values."""
        self._value = np.full(self._width, np.nan)
        self._changed_ns = np.zeros(self._width, dtype=np.int64)
        self._finite_ns = np.full(self._width, np.iinfo(np.int64).min, dtype=np.int64)

    def push(self, stamp_ns: int, row: Rows) -> None:
        """Add one row ``[F]``; a missing value is no change."""
        finite = row == row
        self._changed_ns[finite & (row != self._value)] = stamp_ns
        np.copyto(self._value, row, where=finite)
        self._finite_ns[finite] = stamp_ns

    def unchanged_s(self, t_ns: int, floor_ns: int | None, fresh_ns: int | None) -> Rows:
        """Seconds ``[F]`` since the last change, counted at most from ``floor_ns`` on.

        NaN where no finite value was seen, or none after ``fresh_ns``.
        """
        changed = self._changed_ns
        if floor_ns is not None:
            changed = np.maximum(changed, floor_ns)
        seconds = np.maximum(t_ns - changed, 0) / 1e9
        oldest = np.iinfo(np.int64).min if fresh_ns is None else fresh_ns
        return np.where(self._finite_ns > oldest, seconds, np.nan)
