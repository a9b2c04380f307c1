"""Whether the monitor is alive, by the steady clock (house rule: deny by default).

Open only while the newest assessment that counts was received less than the allowed age ago, and
enough of them came in a row, one after the other and not in one burst. What does not count
(invalid, not finite, repeated, of another model, without a threshold, too late) is as good as
nothing: it closes the gate by not keeping it open. What goes back closes it at once, because the
monitor behind it is another one.
"""

from __future__ import annotations

import math

from pro_ros.gate.config import GateConfig, nanoseconds
from pro_ros.gate.inputs import AssessmentSeen
from pro_ros.gate.reasons import Fault, Monitor

VALID = 1
"""``Assessment.VALIDITY_VALID``."""

CAVEATS = {
    "stale_input": 2,
    "no_input": 4,
    "warming_up": 8,
    "not_calibrated": 16,
    "out_of_range": 32,
    "clock_fault": 64,
    "restarted": 128,
    "internal_error": 256,
    "frozen_input": 512,
    "incomplete_input": 1024,
    "overload": 2048,
}
"""The other ``Assessment.VALIDITY_*`` bits."""


class Freshness:
    """Follows one monitor.

    Attributes
    ----------
    period
        Of assessments [s].
    open
        The newest assessment that counts is fresh, and there were enough in a row.
    fault
        Why the newest assessment does not count.
    expires_ns
        When ``open``, or the row so far, ends without another one that counts; else None.
    """

    def __init__(self, config: GateConfig) -> None:
        settings = config.freshness
        self._periods = settings.periods
        self._needed = settings.needed
        self._stated = "period" in settings.model_fields_set
        self._set_period(settings.period)
        self._model_id = settings.model_id
        self._refused = sum(CAVEATS[name] for name in set(settings.refuse))
        self._set_threshold = (
            None if config.alarm.threshold == "calibrated" else float(config.alarm.threshold)
        )
        self.open = False
        self.fault = Fault.NONE
        self.expires_ns: int | None = None
        self._row = 0
        self._row_ns = 0
        self._newest: AssessmentSeen | None = None

    def hear_period(self, seconds: float) -> None:
        """The monitor says how far apart its assessments are; the gate file may state another."""
        if not self._stated and math.isfinite(seconds) and seconds > 0.0:
            self._set_period(seconds)

    def _set_period(self, seconds: float) -> None:
        self.period = seconds
        self._limit = seconds * self._periods
        self._limit_ns = nanoseconds(self._limit)
        self._span_ns = nanoseconds(seconds * (self._needed - 1) / 4)

    @property
    def monitor(self) -> Monitor:
        """In one word."""
        if self.open:
            return Monitor.FRESH
        if self._newest is None:
            return Monitor.NEVER_SEEN
        return Monitor.RETURNING if self._row else Monitor.STALE

    def threshold_of(self, seen: AssessmentSeen) -> float:
        """Threshold that an assessment is compared with; NaN where there is none."""
        return seen.threshold if self._set_threshold is None else self._set_threshold

    def see(self, seen: AssessmentSeen, now_ns: int) -> bool:
        """Take an assessment; true where it counts.

        :meth:`close` comes first where ``expires_ns`` has come.
        """
        if self._newest is None and not self._wrong_model(seen):
            # Nothing says yet that it advances: it may be the last word of a dead monitor.
            self._newest = seen
            return False
        self.fault = self._order(seen)
        if self.fault in (Fault.WRONG_MODEL, Fault.REPEATED):
            return False
        self._newest = seen
        if self.fault is Fault.WENT_BACK:
            self.close()
            return False
        self.fault = self._content(seen)
        if self.fault is not Fault.NONE:
            return False
        self._row += 1
        self.expires_ns = now_ns + self._limit_ns
        if not self.open:
            if self._row == 1:
                self._row_ns = now_ns
            # Old ones that were held up come all at once: enough of them say nothing of now.
            self.open = self._row >= self._needed and now_ns >= self._row_ns + self._span_ns
        if self.open:
            self._row_ns = 0
        return True

    def is_open(self, now_ns: int) -> bool:
        """Whether it is open at a time; what expired need not have been told yet."""
        return self.open and self.expires_ns is not None and now_ns < self.expires_ns

    def close(self) -> None:
        """Begin anew: enough in a row are needed again."""
        self.open = False
        self.expires_ns = None
        self._row = self._row_ns = 0

    def _wrong_model(self, seen: AssessmentSeen) -> bool:
        return self._model_id is not None and seen.model_id != self._model_id

    def _order(self, seen: AssessmentSeen) -> Fault:
        before = self._newest
        if before is None or self._wrong_model(seen):
            return Fault.WRONG_MODEL
        if (
            seen.model_id != before.model_id
            or seen.sequence < before.sequence
            or seen.stamp_ns < before.stamp_ns
        ):
            return Fault.WENT_BACK
        if seen.sequence == before.sequence or seen.stamp_ns == before.stamp_ns:
            return Fault.REPEATED
        return Fault.NONE

    def _content(self, seen: AssessmentSeen) -> Fault:
        if not seen.validity & VALID:
            return Fault.NOT_VALID
        if seen.validity & self._refused:
            return Fault.REFUSED
        probabilities = (seen.score, seen.termination, seen.success)
        if not all(0.0 <= p <= 1.0 for p in probabilities) or not all(
            map(math.isfinite, (seen.value, seen.progress, seen.latency))
        ):
            return Fault.NOT_FINITE
        if not math.isfinite(self.threshold_of(seen)):
            return Fault.NO_THRESHOLD
        return Fault.LATE if seen.latency >= self._limit else Fault.NONE
