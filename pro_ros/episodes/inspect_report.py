"""What an inspection says: plain data that prints as JSON."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from pro_ros.config import StrictModel


class Timing(StrictModel):
    """Intervals of a series of times. ``None`` where there are too few to say.

    ``rate``: 1 / mean interval, gaps left out [Hz]. ``p99``, ``longest``: intervals [s].
    ``gaps``: intervals longer than ``gap`` [s]. ``duplicates`` and ``backwards``: how often a
    time equals or precedes the one before it.
    """

    count: int
    rate: float | None = None
    p99: float | None = None
    longest: float | None = None
    gap: float | None = None
    gaps: int = 0
    duplicates: int = 0
    backwards: int = 0


class Clock(StrictModel):
    """Header stamps against times of receipt.

    ``unset``: messages whose stamp is 0. ``offset_*``: receipt minus stamp [s]. ``stamps``:
    their intervals in order of receipt.
    """

    unset: int
    offset_min: float | None
    offset_median: float | None
    offset_max: float | None
    stamps: Timing


class TopicReport(StrictModel):
    """One topic of a bag; ``receipt`` are times of receipt. ``clock``: None without a header."""

    name: str
    type: str
    receipt: Timing
    clock: Clock | None = None


class ColumnReport(StrictModel):
    """One column of a table.

    ``kind`` is that of its cells, ``ambiguous`` where two columns have the name, ``unread`` where
    there are too many. ``missing``: share of empty cells.
    """

    name: str
    kind: Literal["number", "text", "date", "mixed", "empty", "ambiguous", "unread"]
    rows: int = 0
    missing: float | None = None
    minimum: float | None = None
    maximum: float | None = None


class FeatureReport(StrictModel):
    """One feature in SI ``unit``. ``missing``: share of samples without a value."""

    name: str
    unit: str
    missing: float
    minimum: float | None
    mean: float | None
    maximum: float | None


class StreamReport(StrictModel):
    """One stream of the stream file as read. ``declared_rate``: as the stream file says [Hz]."""

    name: str
    modality: str
    source: str
    clock: str
    declared_rate: float
    receipt: Timing
    infinite: int
    features: tuple[FeatureReport, ...]


class Report(StrictModel):
    """What :func:`inspect_recording` found; ``model_dump(mode="json")`` is plain JSON.

    ``problems``: lines that a person should read, the first fault of each kind.
    """

    path: str
    kind: Literal["rosbag2", "ros1", "table"]
    messages: int
    start_ns: int | None = None
    end_ns: int | None = None
    duration: float | None = None
    topics: tuple[TopicReport, ...] = ()
    columns: tuple[ColumnReport, ...] = ()
    streams: tuple[StreamReport, ...] = ()
    problems: tuple[str, ...] = ()


def timing(times_ns: npt.NDArray[np.int64], gap: float | None = None) -> Timing:
    """Intervals of times in the order in which they came.

    ``gap``: what counts as a gap [s]; by default ten times the median interval, at least 1 s.
    """
    if len(times_ns) < 2:
        return Timing(count=len(times_ns), gap=gap)
    steps = np.diff(times_ns) / 1e9
    limit = gap if gap is not None else max(1.0, 10 * float(np.median(steps)))
    within = steps[steps <= limit]
    mean = float(within.mean()) if len(within) else 0.0
    return Timing(
        count=len(times_ns),
        rate=1.0 / mean if mean > 0 else None,
        p99=float(np.quantile(steps, 0.99)),
        longest=float(steps.max()),
        gap=limit,
        gaps=int((steps > limit).sum()),
        duplicates=int((steps == 0).sum()),
        backwards=int((steps < 0).sum()),
    )
