"""From a stream of samples to episodes and timed events, in one pass.

Rules, for every way of cutting (``episodes.by``):

- Times are on the receipt clock. An episode spans ``[start, end)``; one that ends with the
  recording or with a silence includes the last sample, its end being 1 ns later.
- A silence of all input streams longer than ``gap`` ends the episode with the last sample of any
  stream: nothing is known of what happened then. What follows under the same file, counter value
  or EpisodeEvent is a further *part* of the same attempt: an episode of its own with the
  attributes ``part`` and ``part_of``, the same attempt number and the same outcome.
- The outcome is the attempt's. Without a failure event it counts as a success only if all of it
  was seen: an attempt with a gap in it, or whose end is missing, stays unknown.
- An event lasts from the first to the last sample that meets its condition. NaN keeps the state.
  A silence of its stream longer than ``gap`` (and than the stream's ``stale``) ends it.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pro_ros.episodes.attempts import build_episodes
from pro_ros.episodes.cutting import Cutter
from pro_ros.episodes.event_log import EventLog
from pro_ros.episodes.manifest import Episode, Event
from pro_ros.episodes.marks import BEGIN, END, EventMark, Mark, TaskMark
from pro_ros.errors import DataError
from pro_ros.streams.sample import Sample
from pro_ros.streams.spec import RobotSpec


@dataclass(frozen=True)
class Segmentation:
    """Episodes and events of one recording, in order of time.

    ``start_ns``, ``end_ns``: of the first sample, and 1 ns after the last [ns]. ``outside``: one
    line per name of events that lie outside any episode (kept, with ``episode`` None).
    ``skipped``: one line per episode that was left out and per mark that fits no episode.
    """

    recording: str
    episodes: tuple[Episode, ...]
    events: tuple[Event, ...]
    start_ns: int
    end_ns: int
    outside: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()


def segment(
    recording_id: str, samples: Iterable[Sample], spec: RobotSpec, marks: Sequence[Mark] = ()
) -> Segmentation:
    """Cut one recording into episodes, in one pass that holds no samples.

    Parameters
    ----------
    recording_id
        Goes into the ids of its episodes, ``<recording>/<number>``.
    samples
        In order of receipt.
    marks
        EpisodeEvent and TaskContext messages of the recording, in any order. EpisodeEvents count
        with ``by: events`` only.

    Raises
    ------
    DataError
        There is no sample at all, or the samples are out of order.
    """
    segmenter = Segmenter(recording_id, spec, marks)
    for sample in samples:
        segmenter.feed(sample)
    return segmenter.finish()


class Segmenter:
    """Streaming form of :func:`segment`: feed samples in order of receipt, then finish."""

    def __init__(self, recording_id: str, spec: RobotSpec, marks: Sequence[Mark] = ()) -> None:
        self.recording = recording_id
        self.spec = spec
        self._gap_ns = round(spec.gap * 1e9)
        self._log = EventLog(recording_id, spec)
        self._cutter = Cutter(recording_id, spec)
        self._tasks = sorted((m for m in marks if isinstance(m, TaskMark)), key=lambda m: m.t_ns)
        by_events = spec.episodes.by == "events"
        events = [m for m in marks if by_events and isinstance(m, EventMark)]
        self._marks = sorted(events, key=lambda m: m.t_ns)
        self._next = 0
        self._timing = timing_streams(spec)
        self._start_ns: int | None = None
        self._last_ns = 0
        self._heard_ns: int | None = None
        self._silent = False

    @property
    def episode_start_ns(self) -> int | None:
        """When the running episode began [ns], or None outside any episode."""
        return self._cutter.running

    def feed(self, sample: Sample) -> None:
        """Take one sample."""
        now = sample.receipt_ns
        timing = sample.stream in self._timing
        if self._start_ns is None:
            self._start_ns = now
        elif now < self._last_ns:
            raise DataError(
                f"{self.recording}: time goes backwards by {(self._last_ns - now) / 1e9:g} s "
                f"at {now} ns: expected samples in order of receipt"
            )
        self._take_marks(now)
        self._notice(now)
        if timing:
            self._heard_ns = now
            self._silent = False
        self._last_ns = now
        self._log.feed(sample)
        self._cutter.feed(sample, timing)

    def finish(self) -> Segmentation:
        """Close what is open and put everything together."""
        if self._start_ns is None or self._heard_ns is None:
            raise DataError(f"{self.recording}: empty: no sample of the streams in the spec")
        last = self._last_ns
        # A mark may be stamped a little after the last sample.
        self._take_marks(last + self._gap_ns)
        self._log.finish(last)
        self._cutter.finish(last)
        episodes, skipped = build_episodes(
            self.recording, self.spec, self._cutter.spans, self._log.found, self._tasks
        )
        events, outside = assign(self._log.found, episodes)
        return Segmentation(
            recording=self.recording,
            episodes=tuple(episodes),
            events=tuple(events),
            start_ns=self._start_ns,
            end_ns=last + 1,
            outside=tuple(outside),
            skipped=(*self._cutter.complaints, *self._log.complaints, *skipped),
        )

    def _notice(self, now_ns: int) -> None:
        """Cut where the inputs have been silent for too long by now."""
        if self._silent or self._heard_ns is None or now_ns - self._heard_ns <= self._gap_ns:
            return
        self._silent = True
        self._cutter.silence(self._last_ns, now_ns)

    def _take_marks(self, until_ns: int) -> None:
        """Take the marks that are due."""
        while self._next < len(self._marks) and self._marks[self._next].t_ns <= until_ns:
            mark = self._marks[self._next]
            self._next += 1
            self._notice(mark.t_ns)
            if mark.kind in (BEGIN, END):
                self._cutter.mark(mark)
            else:
                self._log.mark(mark)


def timing_streams(spec: RobotSpec) -> frozenset[str]:
    """The streams whose silence is a gap: all inputs, and the one that makes the steps."""
    return frozenset({*spec.input_streams, *([spec.step.on] if spec.step.on else ())})


def assign(events: Iterable[Event], episodes: Sequence[Episode]) -> tuple[list[Event], list[str]]:
    """Give each event the episode in which it begins; order by start.

    Returns the events, and one line per name of those that lie outside any episode.
    """
    starts = [e.start_ns for e in episodes]
    found: list[Event] = []
    lost: Counter[tuple[str, str]] = Counter()
    for event in sorted(events, key=lambda e: (e.start_ns, e.end_ns, e.name)):
        index = bisect.bisect_right(starts, event.start_ns) - 1
        inside = index >= 0 and event.start_ns < episodes[index].end_ns
        if not inside:
            lost[event.recording, event.name] += 1
        found.append(event.model_copy(update={"episode": episodes[index].id if inside else None}))
    lines = [
        f"{recording}: {count} '{name}' event{'s' if count > 1 else ''} outside any episode"
        for (recording, name), count in lost.items()
    ]
    return found, lines
