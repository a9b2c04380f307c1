"""What the gate makes of the monitor: alive or not, alarm or not, low risk or not."""

from __future__ import annotations

from enum import Enum, auto

from pro_ros.gate.alarm import Alarm, Persistence
from pro_ros.gate.config import GateConfig
from pro_ros.gate.freshness import Freshness
from pro_ros.gate.inputs import AssessmentSeen


class Verdict(Enum):
    """What an assessment, or its absence, means for what moves."""

    NONE = auto()
    RISK = auto()
    """An alarm begins."""
    ENDING = auto()
    """The attempt is about to end without success."""
    CLOSED = auto()
    """The monitor was alive and no longer is."""


class Watch:
    """Follows the assessments of one robot, whether or not there is a goal.

    Attributes
    ----------
    seen
        The newest assessment that counts.
    """

    def __init__(self, config: GateConfig) -> None:
        self._config = config
        self.fresh = Freshness(config)
        self.alarm = Alarm(config)
        self.seen: AssessmentSeen | None = None
        self._ending = Persistence(config.ending.count, config.ending.of)

    def see(self, seen: AssessmentSeen, now_ns: int) -> Verdict:
        """Take an assessment; :meth:`expire` comes first where its time has come."""
        was_open = self.fresh.open
        if not self.fresh.see(seen, now_ns):
            return self._closed() if was_open and not self.fresh.open else Verdict.NONE
        self.seen = seen
        begins = self.alarm.update(seen.score, self.threshold, now_ns)
        ending = self._config.ending
        fails = self._ending.update(
            seen.termination >= ending.termination and seen.success < ending.success
        )
        if begins:
            return Verdict.RISK
        return Verdict.ENDING if fails and ending.enabled else Verdict.NONE

    def expire(self) -> Verdict:
        """The time of the newest assessment that counts is over."""
        was_open = self.fresh.open
        self.fresh.close()
        closed = self._closed()
        return closed if was_open else Verdict.NONE

    def _closed(self) -> Verdict:
        self.alarm.silence()
        self._ending.reset()
        return Verdict.CLOSED

    @property
    def threshold(self) -> float:
        """Threshold of the newest assessment that counts."""
        return self.fresh.threshold_of(self.seen) if self.seen else float("nan")

    def says_success(self) -> bool:
        """Whether an attempt that ends now is judged to be a success."""
        if self.seen is None or not self.fresh.open:
            return False
        return self.seen.success >= self._config.ending.confirmed

    def verified(self, now_ns: int) -> bool:
        """Whether an attempt may begin: alive, and the risk low for the hold time."""
        if not self.fresh.is_open(now_ns):
            return False
        return not self._config.verification.low_risk or self.alarm.is_low(now_ns)

    def begin_attempt(self) -> None:
        """What was said before the attempt is not held against it."""
        self.alarm.begin_attempt()
        self._ending.reset()
