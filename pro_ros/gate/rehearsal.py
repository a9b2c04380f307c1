"""What the gate would have done over recorded attempts.

The gate itself runs, with the times of the recording as its steady clock and a pretended policy:
it accepts at once, confirms its stop after a fixed time, and ends when and how the recorded
attempt ended. After a stop the recording goes on as it did. What would have followed the stop is
not known: a rehearsal says when the gate would have stopped, not what that would have saved.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from pro_ros.gate.config import CausesConfig, GateConfig, LimitsConfig, nanoseconds
from pro_ros.gate.goal import ALARMS
from pro_ros.gate.inputs import (
    AssessmentSeen,
    CancelRequested,
    GoalAccepted,
    Input,
    PolicyAccepted,
    PolicyFinished,
    PolicyStopConfirmed,
    Tick,
)
from pro_ros.gate.machine import Gate
from pro_ros.gate.outputs import AttemptRecord, Finish, StartPolicy, StopPolicy
from pro_ros.gate.reasons import Outcome, TerminationReason

LONG: Final = 1e6
"""A limit that no recorded attempt reaches [s]."""

MANY: Final = 1_000_000_000
"""A count that no rehearsal reaches."""

END, BEGIN, SEE = range(3)
"""What comes first at equal times: the end of an attempt before the begin of the next one, and
that before the assessment of its first step."""


@dataclass(frozen=True)
class RecordedAttempt:
    """An attempt as it was recorded; times on the clock of the assessments' stamps [ns].

    ``event_ns``: when its first failure event began, ``begin_ns`` where one was on already; None
    where none was recorded. ``mode``: that event's mode.
    """

    id: str
    begin_ns: int
    end_ns: int
    success: bool
    event_ns: int | None = None
    mode: str = ""

    @property
    def failure_ns(self) -> int:
        """Before what a stop is in time: the first failure event, else the end."""
        return self.end_ns if self.event_ns is None else self.event_ns


Cue = tuple[int, int, AssessmentSeen | RecordedAttempt]
"""Time [ns], rank, and whose."""


@dataclass(frozen=True)
class Rehearsal:
    """What the gate made of one attempt.

    ``record``: None where the gate did not let it begin before it was over.
    """

    attempt: RecordedAttempt
    record: AttemptRecord | None

    @property
    def stopped(self) -> bool:
        """An alarm or a predicted failure stopped it before its end."""
        return (
            self.record is not None
            and self.record.cause in ALARMS
            and self.record.outcome is Outcome.INTERRUPTED
            and self.record.end_ns < self.attempt.end_ns
        )

    @property
    def interrupted(self) -> bool:
        """It was stopped, and was a success."""
        return self.stopped and self.attempt.success

    @property
    def in_time(self) -> bool:
        """It was stopped, and the stop confirmed before the failure that was recorded."""
        return (
            self.record is not None
            and self.stopped
            and not self.attempt.success
            and self.record.end_ns < self.attempt.failure_ns
        )

    @property
    def monitor_died(self) -> bool:
        """It was stopped because no assessment counted any longer."""
        return self.record is not None and self.record.cause is TerminationReason.MONITOR_DEAD

    @property
    def lead(self) -> float:
        """From the order to stop to the failure [s]; NaN where it was not stopped in time."""
        if not self.in_time or self.record is None or self.record.stop_ns is None:
            return math.nan
        return (self.attempt.failure_ns - self.record.stop_ns) / 1e9


def independent(config: GateConfig, stop: float) -> GateConfig:
    """A gate file under which no attempt bears on another, and only the monitor stops one.

    One attempt per goal, no limit of time, nothing that latches, and no wait for a low risk: each
    attempt begins when its recording did, and an alarm that is on by then stops it at its first
    assessment. ``stop``: time that the policy takes to confirm its stop [s].
    """
    return config.model_copy(
        update={
            "limits": LimitsConfig(
                max_attempts=1,
                max_duration=LONG,
                attempt_timeout=LONG,
                stop_timeout=2.0 * stop + 1.0,
            ),
            "alarm": config.alarm.model_copy(update={"max_alarms": MANY, "in_attempts": MANY}),
            "verification": config.verification.model_copy(
                update={"low_risk": False, "timeout": LONG}
            ),
            "causes": CausesConfig(modes={}, other="abort", policy_failure="abort"),
            "on_monitor_death": "cancel",
            "safe_action_after_stop": False,
            "latch_on": (),
        }
    )


def rehearse(
    seen: Sequence[AssessmentSeen],
    attempts: Sequence[RecordedAttempt],
    config: GateConfig,
    stop: float,
) -> list[Rehearsal]:
    """Run the gate over one stretch of a recording.

    Parameters
    ----------
    seen
        Assessments in order of ``stamp_ns``, which is also when they are received. Those before
        the first attempt show the gate that the monitor is alive.
    attempts
        In order; an attempt begins at or after the end of the one before.
    config
        The gate file; of it only what :func:`independent` leaves matters.
    stop
        Time from an order to stop to its confirmation [s].

    Raises
    ------
    ValueError
        Assessments or attempts out of order, two attempts of one id, or ``stop`` below 0.
    """
    if stop < 0:
        raise ValueError("the time to confirm a stop is below 0")
    if any(b.stamp_ns <= a.stamp_ns for a, b in pairwise(seen)):
        raise ValueError("the assessments are not in order of their stamps")
    if len({a.id for a in attempts}) != len(attempts):
        raise ValueError("two attempts have the same id")
    if any(a.end_ns <= a.begin_ns for a in attempts) or any(
        b.begin_ns < a.end_ns for a, b in pairwise(attempts)
    ):
        raise ValueError("the attempts overlap or are not in order")
    stage = _Stage(independent(config, stop), nanoseconds(stop))
    return stage.play(seen, attempts)


class _Stage:
    """The gate, and the pretended policy that obeys it."""

    def __init__(self, config: GateConfig, stop_ns: int) -> None:
        self._gate = Gate(config)
        self._stop_ns = stop_ns
        self._run: int | None = None
        self._confirm_ns: int | None = None
        self._records: dict[str, AttemptRecord] = {}

    def play(
        self, seen: Sequence[AssessmentSeen], attempts: Sequence[RecordedAttempt]
    ) -> list[Rehearsal]:
        """Everything in order of time."""
        heard: Iterator[Cue] = ((s.stamp_ns, SEE, s) for s in seen)
        for now_ns, rank, what in heapq.merge(heard, _borders(attempts), key=lambda cue: cue[:2]):
            self._pass_time(now_ns)
            if isinstance(what, AssessmentSeen):
                self._give(what, now_ns)
            elif rank == BEGIN:
                self._give(GoalAccepted(what.id), now_ns)
            else:
                self._end(what, now_ns)
        return [Rehearsal(a, self._records.get(a.id)) for a in attempts]

    def _pass_time(self, until_ns: int) -> None:
        """What is due before the next cue: the gate's deadlines, and the policy's stop."""
        while True:
            due, confirm = self._gate.next_deadline(), self._confirm_ns
            first = min([until_ns, *(t for t in (due, confirm) if t is not None)])
            if first == until_ns:
                return
            if first == confirm and self._run is not None:
                run, self._run, self._confirm_ns = self._run, None, None
                self._give(PolicyStopConfirmed(run), first)
            else:
                self._give(Tick(), first)

    def _end(self, attempt: RecordedAttempt, now_ns: int) -> None:
        """The recorded attempt is over, whatever the gate made of it."""
        if self._run is not None:
            run, self._run, self._confirm_ns = self._run, None, None
            mode = "" if attempt.success else attempt.mode
            self._give(PolicyFinished(run, attempt.success, mode), now_ns)
        # What the gate did not let begin must not begin now.
        self._give(CancelRequested(attempt.id), now_ns)

    def _give(self, given: Input, now_ns: int) -> None:
        for order in self._gate.handle(given, now_ns):
            if isinstance(order, StartPolicy):
                self._run = order.run
                self._give(PolicyAccepted(order.run), now_ns)
            elif isinstance(order, StopPolicy):
                self._confirm_ns = now_ns + self._stop_ns
            elif isinstance(order, Finish) and order.attempts:
                self._records[order.goal_id] = order.attempts[0]


def _borders(attempts: Iterable[RecordedAttempt]) -> Iterator[Cue]:
    """Begin and end of each attempt, in order."""
    for attempt in attempts:
        yield attempt.begin_ns, BEGIN, attempt
        yield attempt.end_ns, END, attempt
