"""Timed events: recognised on features, or reported by the robot itself."""

from __future__ import annotations

import math

from pro_ros.episodes.manifest import Event
from pro_ros.episodes.marks import CLEARED, EVENT_KINDS, MOMENT, EventMark
from pro_ros.episodes.signals import Reader, signal_reader
from pro_ros.streams.sample import Sample
from pro_ros.streams.spec import EventSpec, RobotSpec, StreamSpec


class EventLog:
    """Collects the events of one recording while its samples go by.

    ``found``: the finished events, in order of their end. ``complaints``: one line per mark that
    makes no sense.
    """

    def __init__(self, recording: str, spec: RobotSpec) -> None:
        self.recording = recording
        self.found: list[Event] = []
        self.complaints: list[str] = []
        self._conditions: dict[str, list[_Condition]] = {}
        for name, event in spec.events.items():
            stream, read = signal_reader(spec, event.signal)
            silence = _silence_ns(spec, spec.streams[stream])
            condition = _Condition(name, event, read, silence)
            self._conditions.setdefault(stream, []).append(condition)
        self._reported: dict[tuple[str, str], int] = {}

    def feed(self, sample: Sample) -> None:
        """Watch a sample."""
        for condition in self._conditions.get(sample.stream, ()):
            self._add(condition, condition.feed(sample))

    def mark(self, mark: EventMark) -> None:
        """Take an EpisodeEvent that reports an event."""
        kind = EVENT_KINDS.get(mark.kind)
        if kind is None:
            self.complaints.append(
                f"{self.recording}: EpisodeEvent at {mark.t_ns} ns has the unknown kind "
                f"{mark.kind}: not used"
            )
            return
        key = (mark.name or kind, kind)
        if mark.phase == MOMENT:
            self._report(key, mark.t_ns, mark.t_ns)
        elif mark.phase != CLEARED:
            self._reported.setdefault(key, mark.t_ns)
        elif key in self._reported:
            self._report(key, self._reported.pop(key), mark.t_ns)
        else:
            self.complaints.append(
                f"{self.recording}: event '{key[0]}' is cleared at {mark.t_ns} ns but never "
                "began: not used"
            )

    def finish(self, last_ns: int) -> None:
        """End what is going on at the end of the log, ``last_ns``."""
        for conditions in self._conditions.values():
            for condition in conditions:
                self._add(condition, condition.finish(last_ns))
        for key, start in self._reported.items():
            self._report(key, start, max(start, last_ns))
        self._reported.clear()

    def _add(self, condition: _Condition, span: tuple[int, int] | None) -> None:
        if span is not None:
            self._report((condition.name, condition.spec.kind), *span)

    def _report(self, key: tuple[str, str], start_ns: int, end_ns: int) -> None:
        self.found.append(
            Event(
                recording=self.recording,
                name=key[0],
                kind=key[1],
                start_ns=start_ns,
                end_ns=end_ns,
            )
        )


def _silence_ns(spec: RobotSpec, stream: StreamSpec) -> int:
    """How long a stream may be silent before what it last said no longer holds [ns]."""
    return round(max(spec.gap, stream.stale_s) * 1e9)


class _Condition:
    """One ``events`` entry: the span in which its condition holds.

    Between two samples the earlier one holds: an event ends 1 ns before the sample that shows it
    over, or with the last sample before its stream fell silent.
    """

    def __init__(self, name: str, spec: EventSpec, read: Reader, silence_ns: int) -> None:
        self.name = name
        self.spec = spec
        self._read = read
        self._silence_ns = silence_ns
        self._min_ns = round(spec.min_duration * 1e9)
        self._begin: int | None = None
        self._seen = 0

    def feed(self, sample: Sample) -> tuple[int, int] | None:
        """Span of an event that ended before this sample, or None."""
        now, before = sample.receipt_ns, self._seen
        self._seen = now
        ended = None
        if now - before > self._silence_ns:
            ended = self._end(before)
        value = self._read(sample)
        if math.isnan(value):
            return ended
        if self._holds(value):
            if self._begin is None:
                self._begin = now
            return ended
        return ended or self._end(now - 1)

    def finish(self, last_ns: int) -> tuple[int, int] | None:
        """Span of an event that is still going on at the end of the log, or None."""
        return self._end(last_ns if last_ns - self._seen <= self._silence_ns else self._seen)

    def _holds(self, value: float) -> bool:
        if self.spec.above is not None:
            return value > self.spec.above
        return self.spec.below is not None and value < self.spec.below

    def _end(self, end_ns: int) -> tuple[int, int] | None:
        """End the event that is going on; its span, if it was long enough."""
        if self._begin is None:
            return None
        span = (self._begin, max(self._begin, end_ns))
        self._begin = None
        return span if span[1] + 1 - span[0] >= self._min_ns else None
