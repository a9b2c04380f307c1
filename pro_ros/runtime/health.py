"""What a live operator knows of its own health: for diagnostics, and for lines in the log."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

Say = Callable[[str, str], None]
"""Takes a severity (``info``, ``warn``, ``error``) and a line."""

CALM_S = 2.0
"""A fault is over when it was not seen for so long: one that comes and goes is said once [s]."""

ERROR_S = 10.0
"""Time after which another error of a stream that cannot be read is said again [s]."""

UNREADABLE = "unreadable"
"""The fault of a stream whose messages cannot be read."""

LATENCIES = 3000
"""How many of the newest latencies the percentiles rest on."""


@dataclass
class StreamHealth:
    """Counters of one stream since activation; ``age`` is of the newest step [s].

    ``received``: messages decoded. ``errors``: those that could not be. ``dropped``: not taken,
    because they came too fast. ``refused``, ``duplicates``, ``jumps``: samples with an old stamp,
    with the same stamp as the one before, and off by more than ``gap``. ``last_error``: the
    newest line about it, empty where it is well.
    """

    received: int = 0
    errors: int = 0
    dropped: int = 0
    refused: int = 0
    duplicates: int = 0
    jumps: int = 0
    age: float = math.inf
    faults: frozenset[str] = frozenset()
    last_error: str = ""


@dataclass
class Health:
    """A snapshot; ``latency_p50``, ``latency_p99`` [s] are NaN before the first assessment.

    They are from the receipt of a sample to the first assessment that rests on it.
    ``steps``: made. ``assessed``: judged and published. ``valid``: those of them that were
    valid. ``late``: dropped because they would have been late. ``restarts``: how often memory was
    emptied. ``failures``: how often the operator itself failed.
    """

    streams: dict[str, StreamHealth] = field(default_factory=dict)
    steps: int = 0
    assessed: int = 0
    valid: int = 0
    late: int = 0
    restarts: int = 0
    failures: int = 0
    validity: tuple[str, ...] = ()
    sequence: int = 0
    latency_p50: float = math.nan
    latency_p99: float = math.nan


class Latencies:
    """The newest latencies; pushed by one thread, read by another."""

    def __init__(self) -> None:
        self._newest: deque[float] = deque(maxlen=LATENCIES)
        self._lock = threading.Lock()

    def push(self, seconds: float) -> None:
        """Add one [s]."""
        with self._lock:
            self._newest.append(seconds)

    def percentiles(self) -> tuple[float, float]:
        """Median and 99th percentile [s]; NaN where there is none."""
        with self._lock:
            newest = list(self._newest)
        if not newest:
            return math.nan, math.nan
        p50, p99 = np.percentile(newest, [50, 99])
        return float(p50), float(p99)


class FaultLog:
    """Says once that a stream has a fault, and once that it is well again.

    Parameters
    ----------
    topics
        Topic per stream, for the lines.
    stale_s
        Age per stream from which it is stale [s].
    say
        Where the lines go.
    """

    def __init__(self, topics: Mapping[str, str], stale_s: Mapping[str, float], say: Say) -> None:
        self._topics = topics
        self._stale_s = stale_s
        self._say = say
        self._seen: dict[str, dict[str, float]] = {}
        self._errors: dict[str, str] = {}
        self._said: dict[str, float] = {}

    def faults(self, stream: str) -> frozenset[str]:
        """What is wrong with a stream at present."""
        return frozenset(self._seen.get(stream, ()))

    def error(self, stream: str, line: str) -> None:
        """A message of the stream could not be read; of ever new lines not all are said."""
        now = time.monotonic()
        before = self._errors.get(stream)
        if before is None or (line != before and now - self._said[stream] > ERROR_S):
            self._said[stream] = now
            self._say("error", line)
        self._errors[stream] = line
        self._seen.setdefault(stream, {})[UNREADABLE] = now

    def last_error(self, stream: str) -> str:
        """The newest line of :meth:`error` since the stream was well."""
        return self._errors.get(stream, "")

    def update(
        self, stream: str, faults: Collection[str], age: float, heard: bool = False
    ) -> None:
        """Take what is wrong at a step; say what is new, and when all is well.

        ``heard``: messages of the stream are being received, whatever their stamps say.
        """
        seen = self._seen.get(stream)
        if not faults and not seen:
            return
        now = time.monotonic()
        seen = self._seen.setdefault(stream, {})
        # Where messages are rare, so are those that cannot be read.
        calm_s = {UNREADABLE: max(CALM_S, self._stale_s[stream])}
        where = f"stream '{stream}' (topic {self._topics[stream]})"
        for fault in faults:
            if fault not in seen:
                self._say("warn", f"{where}: {self._line(stream, fault, age, heard)}")
            seen[fault] = now
        for fault in [f for f, at in seen.items() if now - at > calm_s.get(f, CALM_S)]:
            del seen[fault]
        if UNREADABLE not in seen:
            self._errors.pop(stream, None)
        if not seen:
            self._say("info", f"{where}: well again")

    def _line(self, stream: str, fault: str, age: float, heard: bool) -> str:
        limit = self._stale_s[stream]
        if fault == "stale":
            if heard and math.isinf(age):
                return "samples come, but none can be used: their stamps lie in the future"
            if heard:
                return (
                    f"samples come, but their stamps are {age:.3g} s old: synchronise the clocks,"
                    " set 'use_sim_time' where a bag is played, or 'clock: receipt'"
                )
            if UNREADABLE in self._seen[stream]:
                return "no sample that can be read"
            if math.isinf(age):
                return "no sample yet: is it published, with this type and a QoS that matches?"
            return f"no sample for {age:.3g} s (stale after {limit:g} s)"
        return {
            "clock": "its stamps jumped by more than 'gap': synchronise the clocks, or set "
            "'clock: receipt'",
            "frozen": "values stand still for longer than its 'frozen' time",
            "incomplete": "the newest sample has values that are not finite",
            "dropped": "samples come too fast, some are dropped",
        }[fault]
