"""Cutting a recording into spans, one per attempt, or several where gaps interrupt it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pro_ros.episodes.manifest import Outcome
from pro_ros.episodes.marks import BEGIN, OUTCOMES, EventMark
from pro_ros.episodes.signals import Reader, signal_reader
from pro_ros.streams.sample import Sample
from pro_ros.streams.spec import RobotSpec


@dataclass
class Span:
    """A stretch of one attempt that no gap interrupts.

    It may hold no samples of inputs, and so be no episode, but tell how its attempt went on.

    ``attempt``: number of the attempt in the recording, the same for all its parts. ``key``:
    what tells it apart (the counter's value, the episode_id). ``end_seen``: false where a gap or
    the end of the log cut it short. ``result``: last value of the outcome signal in it, NaN if
    none. ``reported``: the outcome that the robot reported at its end.
    """

    attempt: int
    key: str
    start_ns: int
    end_ns: int
    end_seen: bool
    samples: int
    result: float
    reported: Outcome = "unknown"


class Cutter:
    """Finds the spans of one recording while its samples go by.

    ``spans``: the finished ones, in order. ``complaints``: one line per mark that makes no sense.
    ``running``: when the running span began [ns], or None.
    """

    def __init__(self, recording: str, spec: RobotSpec) -> None:
        self.recording = recording
        self.by = spec.episodes.by
        self.spans: list[Span] = []
        self.complaints: list[str] = []
        self.running: int | None = None
        self._attempt = -1
        self._key = ""
        self._samples = 0
        # A span goes on after a gap, as a further part of its attempt, if this is set.
        self._resume = False
        self._counter = _Signal(spec, spec.episodes.signal)
        self._counter_value: float | None = None
        self._result = _Signal(spec, spec.episodes.outcome.signal)
        self._result_now = (0, math.nan)
        self._result_before = math.nan

    def feed(self, sample: Sample, timing: bool) -> None:
        """Take a sample; :meth:`silence` and :meth:`mark` were called before where due.

        ``timing``: it belongs to a stream whose silence is a gap.
        """
        now = sample.receipt_ns
        if self.by in ("file", "gap") and self.running is None and timing:
            self._open(now, "", new=self.by == "gap" or self._attempt < 0)
        value = self._counter.read(sample)
        if self.by == "signal" and value is not None and not math.isnan(value):
            self._count(now, value)
        self._samples += int(timing)
        value = self._result.read(sample)
        if value is not None and not math.isnan(value):
            if now > self._result_now[0]:
                self._result_before = self._result_now[1]
            self._result_now = (now, value)

    def mark(self, mark: EventMark) -> None:
        """Take an EpisodeEvent that begins or ends an episode."""
        if mark.kind == BEGIN:
            if self.running is not None:
                self.complaints.append(
                    f"{self.recording}: episode '{mark.episode_id}' begins at {mark.t_ns} ns "
                    f"before episode '{self._key}' ended: the end of that one counts as not seen"
                )
                self._close(mark.t_ns, seen=False)
            self._open(mark.t_ns, mark.episode_id, new=True)
        elif self.running is None:
            self.complaints.append(
                f"{self.recording}: episode '{mark.episode_id}' ends at {mark.t_ns} ns but never "
                "began: left out"
            )
        elif mark.episode_id and mark.episode_id != self._key:
            self.complaints.append(
                f"{self.recording}: episode '{mark.episode_id}' ends at {mark.t_ns} ns while "
                f"'{self._key}' is running: not used"
            )
        else:
            self._close(mark.t_ns, seen=True, reported=OUTCOMES.get(mark.outcome, "unknown"))

    def silence(self, last_ns: int, now_ns: int) -> None:
        """The inputs have fallen silent; ``last_ns`` is the last sample before ``now_ns``."""
        # A counter is read anew: until then it is not known which attempt this is.
        self._resume = self.by == "signal"
        if self.running is None or self.running > last_ns:
            return
        self._close(last_ns + 1, seen=self.by == "gap")
        if self.by == "events":
            self._open(now_ns, self._key, new=False)

    def finish(self, last_ns: int) -> None:
        """The end of the log: the end of a file or of a silence-bound episode is an end."""
        if self.running is not None:
            self._close(last_ns + 1, seen=self.by in ("file", "gap"))

    def _count(self, now: int, value: float) -> None:
        same = value == self._counter_value
        if self.running is not None and not same:
            self._close(now, seen=True)
        if self.running is None:
            self._open(now, f"{value:g}", new=not (self._resume and same))
        self._counter_value = value
        self._resume = False

    def _open(self, start_ns: int, key: str, new: bool) -> None:
        self._attempt += int(new)
        self._key = key
        self._samples = 0
        self.running = start_ns
        # Samples of the row that opens the span may have come before the one that tells so.
        if self._result_now[0] < start_ns:
            self._result_now = (0, math.nan)
        self._result_before = math.nan

    def _close(self, end_ns: int, seen: bool, reported: Outcome = "unknown") -> None:
        start_ns, self.running = self.running, None
        at, value = self._result_now
        assert start_ns is not None
        self.spans.append(
            Span(
                attempt=self._attempt,
                key=self._key,
                start_ns=start_ns,
                end_ns=end_ns,
                end_seen=seen,
                samples=self._samples,
                result=value if at < end_ns else self._result_before,
                reported=reported,
            )
        )


class _Signal:
    """A feature to be read from samples, or none."""

    def __init__(self, spec: RobotSpec, signal: str | None) -> None:
        self._stream: str | None = None
        self._read: Reader | None = None
        if signal is not None:
            self._stream, self._read = signal_reader(spec, signal)

    def read(self, sample: Sample) -> float | None:
        if self._read is None or sample.stream != self._stream:
            return None
        return self._read(sample)
