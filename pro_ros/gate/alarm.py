"""When a risk becomes an alarm, and when it is low again: persistence and hysteresis."""

from __future__ import annotations

from collections import deque

from pro_ros.gate.config import GateConfig, nanoseconds


class Persistence:
    """True from the step on at which ``count`` of the latest ``of`` said so."""

    def __init__(self, count: int, of: int) -> None:
        self._count = count
        self._said: deque[bool] = deque(maxlen=of)

    def update(self, says: bool) -> bool:
        """Take the next step."""
        self._said.append(says)
        return sum(self._said) >= self._count

    def reset(self) -> None:
        """Forget what was said."""
        self._said.clear()


class Alarm:
    """The alarm of one robot, fed with the assessments that count.

    It begins at the threshold (>=) with the configured persistence, and ends when the risk has
    been below the release level for the hold time without a break. Silence of the monitor is no
    low risk.

    Attributes
    ----------
    on
        An alarm began and has not ended.
    low_ns
        From when on the risk has been low for long enough; None while it is not low.
    """

    def __init__(self, config: GateConfig) -> None:
        self._persistence = Persistence(config.alarm.count, config.alarm.of)
        self._release = config.alarm.release
        self._hold_ns = nanoseconds(config.verification.hold)
        self.on = False
        self.low_ns: int | None = None

    def update(self, score: float, threshold: float, now_ns: int) -> bool:
        """Take the score of the next assessment that counts; true where an alarm begins."""
        self.settle(now_ns)
        if score >= self._release * threshold:
            self.low_ns = None
        elif self.low_ns is None:
            self.low_ns = now_ns + self._hold_ns
        begins = self._persistence.update(score >= threshold) and not self.on
        self.on = self.on or begins
        self.settle(now_ns)
        return begins

    def settle(self, now_ns: int) -> None:
        """Let time go by."""
        if self.on and self.is_low(now_ns):
            self.on = False
            self._persistence.reset()

    def is_low(self, now_ns: int) -> bool:
        """Whether the risk has been low for the hold time."""
        return self.low_ns is not None and now_ns >= self.low_ns

    def silence(self) -> None:
        """The monitor fell silent: whether the risk is low is not known."""
        self.low_ns = None
        self._persistence.reset()

    def begin_attempt(self) -> None:
        """Off, so that it can begin in the attempt."""
        self.on = False
        self._persistence.reset()
