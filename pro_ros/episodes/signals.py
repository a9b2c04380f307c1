"""Watching one feature of a stream for what the stream file says about events and episodes."""

from __future__ import annotations

import math
from collections.abc import Callable

from pro_ros.streams.sample import Sample
from pro_ros.streams.spec import RobotSpec

Reader = Callable[[Sample], float]


def signal_reader(spec: RobotSpec, signal: str) -> tuple[str, Reader]:
    """Split ``<stream>.<feature>`` into its stream and a function that reads it from a sample.

    A feature under ``norms`` is computed from its parts; it is NaN where one of them is.
    """
    stream, _, feature = signal.partition(".")
    source = spec.streams[stream]
    names = source.raw_channels
    if feature in names:
        index = names.index(feature)
        return stream, lambda sample: float(sample.values[index])
    parts = [names.index(part) for part in source.norms[feature]]
    return stream, lambda sample: math.hypot(*(float(sample.values[i]) for i in parts))
