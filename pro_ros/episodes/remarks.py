"""What a person should know about a recording that can be read all the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from pro_ros.episodes.lerobot import LeRobotEpisode
from pro_ros.episodes.reading import Recording
from pro_ros.episodes.segment import timing_streams
from pro_ros.streams.sample import Sample
from pro_ros.streams.spec import RobotSpec

_REPORT_EVERY = 1000

Progress = Callable[[float], None]


class Watch:
    """Counts gaps and odd stamps while the samples of a recording go by.

    Attributes
    ----------
    gaps
        Silences of all inputs longer than the stream file's ``gap``.
    heard
        Samples per stream.
    older, same
        Samples per stream whose stamp is older than, or equal to, that of an earlier one: the
        operator does not see them (:class:`pro_ros.streams.ring.RingBuffer`).
    ahead, late
        Samples per stream stamped more than a period after their receipt, and stale on arrival:
        clocks disagree.
    jumps
        Samples per stream stamped more than ``gap`` after their receipt, which the operator does
        not see, or before the newest one, with which the stream begins anew.
    """

    def __init__(self, spec: RobotSpec) -> None:
        self._timing = timing_streams(spec)
        self._gap_ns = round(spec.gap * 1e9)
        self._newest: dict[str, int] = {}
        # The time from stamp to receipt that makes sense, per stream.
        self._delay_ns = {
            name: (-round(1e9 / stream.rate), round(stream.stale_s * 1e9))
            for name, stream in spec.streams.items()
        }
        self.gaps = 0
        self.heard: Counter[str] = Counter()
        self.older: Counter[str] = Counter()
        self.same: Counter[str] = Counter()
        self.ahead: Counter[str] = Counter()
        self.late: Counter[str] = Counter()
        self.jumps: Counter[str] = Counter()

    def over(
        self,
        samples: Iterable[Sample],
        span: tuple[int, int] | None = None,
        progress: Progress | None = None,
    ) -> Iterator[Sample]:
        """Pass samples on; ``span`` [ns] is what ``progress`` gets shares of."""
        last: int | None = None
        for count, sample in enumerate(samples):
            name, now = sample.stream, sample.receipt_ns
            if name in self._timing:
                if last is not None and now - last > self._gap_ns:
                    self.gaps += 1
                    # Memory begins anew after a gap, and with it the order of stamps.
                    self._newest.clear()
                last = now
            self.heard[name] += 1
            self._compare(sample)
            if progress is not None and span is not None and count % _REPORT_EVERY == 0:
                progress((now - span[0]) / max(1, span[1] - span[0]))
            yield sample

    def _compare(self, sample: Sample) -> None:
        """Count what is odd about a stamp, as the operator's window does."""
        name, delay = sample.stream, sample.receipt_ns - sample.stamp_ns
        if delay < -self._gap_ns:
            self.jumps[name] += 1
            return
        newest = self._newest.get(name)
        if newest is None or sample.stamp_ns > newest:
            self._newest[name] = sample.stamp_ns
        elif sample.stamp_ns == newest:
            self.same[name] += 1
        elif newest - sample.stamp_ns <= self._gap_ns:
            self.older[name] += 1
        else:
            self.jumps[name] += 1
            self._newest[name] = sample.stamp_ns
        if delay:
            least, most = self._delay_ns[name]
            self.ahead[name] += delay < least
            self.late[name] += delay > most

    def lines(self, recording: Recording, name: str) -> list[str]:
        """One line for each kind of oddity; ``name`` stands for the recording."""
        unread = recording.unread_videos if isinstance(recording, LeRobotEpisode) else ()
        silent = [s for s in recording.streams if not self.heard[s] and s not in unread]
        return [
            *(f"{name}: stream '{s}' is there but has no value" for s in silent),
            *remarks(name, recording, self.gaps, self.older, self.same, self.ahead, self.jumps),
            *_counted(name, self.late, "sample", "stale on arrival: clocks disagree"),
        ]


def remarks(
    name: str,
    recording: Recording,
    gaps: int,
    older: Mapping[str, int],
    same: Mapping[str, int],
    ahead: Mapping[str, int],
    jumps: Mapping[str, int],
) -> list[str]:
    """The lines for what was counted (see :class:`Watch`) and for what the recording lacks."""
    lines = [f"{name}: stream '{s}' is not in the recording" for s in recording.absent]
    limit = recording.spec.gap
    if gaps:
        lines.append(f"{name}: {_count(gaps, 'gap')} longer than {limit:g} s: memory restarts")
    lines += _counted(name, older, "sample", "stamped earlier than the one before: not used")
    lines += _counted(name, same, "sample", "with the stamp of the one before: not used")
    lines += _counted(name, ahead, "sample", "stamped after the receipt: clocks disagree")
    lines += _counted(
        name,
        jumps,
        "sample",
        f"whose stamp jumps by more than {limit:g} s: synchronise the clocks, or set "
        "'clock: receipt'",
    )
    lines += _counted(name, recording.infinite, "infinite value", "taken as missing")
    return lines


def _counted(name: str, counts: Mapping[str, int], unit: str, what: str) -> list[str]:
    """A line for each stream that was counted at least once."""
    return [f"{name}: stream '{s}': {_count(n, unit)} {what}" for s, n in counts.items() if n]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
