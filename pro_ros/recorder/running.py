"""Which episode is running: what services ask for, and what EpisodeEvents say."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Literal

from pro_ros.episodes.marks import BEGIN, END, EVENT_KINDS, OUTCOMES, EventMark

NS = 1_000_000_000

Use = Literal["begin", "end", "event", "ignore"]

_MOST_ATTEMPTS = 1000
"""Attempts whose number is remembered for their retries."""


@dataclass(frozen=True)
class Heard:
    """What an EpisodeEvent of another node means; ``line``: what is odd about it, or empty."""

    use: Use
    line: str = ""


class RunningEpisode:
    """At most one episode runs at a time.

    Attributes
    ----------
    episode_id
        Of the episode that is running; None where none is. May be empty: a robot may report
        episodes without a name.
    since_ns
        When it began [ns].
    """

    def __init__(self) -> None:
        self.episode_id: str | None = None
        self.since_ns = 0
        self._attempts: OrderedDict[str, int] = OrderedDict()

    def refuses_begin(self, supersede: bool) -> str:
        """Why no episode can begin now; empty if one can."""
        if self.episode_id is None or supersede:
            return ""
        return f"episode '{self.episode_id}' is running: end it first, or set 'supersede'"

    def refuses_end(self, episode_id: str, outcome: int) -> str:
        """Why the running episode cannot end so; empty if it can."""
        if outcome != 0 and outcome not in OUTCOMES:
            return f"outcome {outcome} is unknown: expected 0 (unknown), 1 (success), 2 (failure)"
        if self.episode_id is None:
            return "no episode is running"
        if episode_id and episode_id != self.episode_id:
            return f"episode '{episode_id}' is not running: '{self.episode_id}' is"
        return ""

    def attempt(self, episode_id: str, given: int, retry_of: str) -> int:
        """Number of an attempt, remembered for its retries; 0: not known.

        Parameters
        ----------
        given
            What was said, 0 for nothing: one more than that of the attempt it repeats, then.
        """
        number = given
        if not number and retry_of in self._attempts:
            number = self._attempts[retry_of] + 1
        if number or not retry_of:
            self._attempts[episode_id] = number or 1
            self._attempts.move_to_end(episode_id)
        while len(self._attempts) > _MOST_ATTEMPTS:
            self._attempts.popitem(last=False)
        return number

    def begin(self, episode_id: str, t_ns: int) -> None:
        """An episode begins; one that was running is over."""
        self.episode_id, self.since_ns = episode_id, t_ns

    def end(self) -> None:
        """The running episode is over."""
        self.episode_id = None

    def hear(self, mark: EventMark) -> Heard:
        """Take an EpisodeEvent that another node published."""
        if mark.kind == BEGIN:
            return self._heard_begin(mark)
        if mark.kind == END:
            return self._heard_end(mark)
        if mark.kind in EVENT_KINDS:
            return Heard("event")
        return Heard("ignore", f"an EpisodeEvent has the unknown kind {mark.kind}: not used")

    def _heard_begin(self, mark: EventMark) -> Heard:
        before = self.episode_id
        if before is not None and before == mark.episode_id:
            return Heard("ignore", f"episode '{before}' is reported to begin again: not used")
        self.begin(mark.episode_id, mark.t_ns)
        if before is None:
            return Heard("begin")
        return Heard(
            "begin",
            f"episode '{mark.episode_id}' begins before '{before}' ended: the end of that one "
            "counts as not seen",
        )

    def _heard_end(self, mark: EventMark) -> Heard:
        reason = self.refuses_end(mark.episode_id, 0)
        if reason:
            return Heard("ignore", f"an episode is reported to end, but {reason}: not used")
        self.end()
        return Heard("end")


def time_name(t_ns: int) -> str:
    """A name made of a time, in UTC to the millisecond: ``20260102-030405-678``."""
    moment = datetime.fromtimestamp(t_ns // NS, timezone.utc)
    return f"{moment:%Y%m%d-%H%M%S}-{t_ns % NS // 1_000_000:03d}"
