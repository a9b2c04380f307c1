"""What the gate remembers of the goal and the attempt in hand."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from pro_ros.gate.config import Action, CausesConfig, GateConfig, nanoseconds
from pro_ros.gate.inputs import GoalAccepted
from pro_ros.gate.outputs import AttemptRecord
from pro_ros.gate.reasons import Outcome, TerminationReason

ALARMS = (TerminationReason.RISK_ALARM, TerminationReason.PREDICTED_FAILURE)
"""Causes that count as an alarm of the monitor."""


@dataclass
class Attempt:
    """The attempt in hand; see :class:`AttemptRecord`.

    ``suspected``: failure mode behind the highest score above 0.
    """

    number: int
    run: int
    begin_ns: int
    cause: TerminationReason = TerminationReason.NONE
    mode: str = ""
    peak_risk: float = math.nan
    suspected: str = ""
    alarm_ns: int | None = None
    stop_ns: int | None = None

    def blame(self, cause: TerminationReason, mode: str, now_ns: int) -> None:
        """Name the cause of its end; the first one stays."""
        if self.cause is TerminationReason.NONE:
            self.cause, self.mode = cause, mode
            if cause in ALARMS:
                self.alarm_ns = now_ns

    def see(self, score: float, mode: str) -> None:
        """Keep the highest score, and what it stands for."""
        if not self.peak_risk >= score:
            self.peak_risk = score
            self.suspected = mode if score > 0.0 else ""

    def record(self, outcome: Outcome, now_ns: int, stopped: bool) -> AttemptRecord:
        """It is over, or its stop is no longer awaited."""
        return AttemptRecord(
            number=self.number,
            run=self.run,
            begin_ns=self.begin_ns,
            end_ns=now_ns,
            outcome=outcome,
            cause=self.cause,
            mode=self.mode,
            peak_risk=self.peak_risk,
            alarm_ns=self.alarm_ns,
            stop_ns=self.stop_ns,
            stopped_ns=now_ns if stopped and self.stop_ns is not None else None,
        )


@dataclass
class Goal:
    """The goal in hand and what is still due for it.

    ``end``: why it ends, once that is decided; the first reason stays. ``latch``: why the gate
    is to latch with its end. ``safe_action``, ``recovery``: due, in this order, after the stop.
    ``waits_for_monitor``: the next attempt waits for a monitor that died.
    """

    goal_id: str
    max_attempts: int
    attempt_timeout_ns: int
    deadline_ns: int
    records: list[AttemptRecord] = field(default_factory=list)
    attempt: Attempt | None = None
    end: TerminationReason = TerminationReason.NONE
    mode: str = ""
    latch: TerminationReason = TerminationReason.NONE
    safe_action: bool = False
    recovery: bool = False
    waits_for_monitor: bool = False

    @classmethod
    def accepted(cls, order: GoalAccepted, config: GateConfig, now_ns: int) -> Goal:
        """Take an order, with the stricter of its limits and the configured ones."""
        limits = config.limits

        def stricter(asked: float, own: float) -> float:
            return min(asked, own) if asked > 0 else own

        return cls(
            goal_id=order.goal_id,
            max_attempts=int(stricter(order.max_attempts, limits.max_attempts)),
            attempt_timeout_ns=nanoseconds(
                stricter(order.attempt_timeout, limits.attempt_timeout)
            ),
            deadline_ns=now_ns + nanoseconds(stricter(order.max_duration, limits.max_duration)),
        )

    @property
    def ends(self) -> bool:
        """Whether its end is decided."""
        return self.end is not TerminationReason.NONE

    def finish_with(self, reason: TerminationReason, mode: str = "") -> None:
        """Decide its end; the first reason stays."""
        if not self.ends:
            self.end, self.mode = reason, mode

    def latch_with(self, reason: TerminationReason) -> None:
        """Have the gate latch with its end; the first reason stays."""
        if self.latch is TerminationReason.NONE:
            self.latch = reason

    def outcome(self) -> Outcome:
        """Whether the task was done: what the latest attempt that began came to."""
        begun = [r.outcome for r in self.records if r.outcome is not Outcome.NOT_ATTEMPTED]
        return begun[-1] if begun else Outcome.NOT_ATTEMPTED


class AlarmHistory:
    """How many of the latest attempts, across goals, were stopped by an alarm."""

    def __init__(self, config: GateConfig) -> None:
        self._most = config.alarm.max_alarms
        self._stopped: deque[bool] = deque(maxlen=config.alarm.in_attempts)

    def add(self, cause: TerminationReason) -> bool:
        """Take an attempt that is over; true where there were too many alarms."""
        self._stopped.append(cause in ALARMS)
        return sum(self._stopped) >= self._most

    def clear(self) -> None:
        """A person has seen to it."""
        self._stopped.clear()


def action_for(record: AttemptRecord, causes: CausesConfig) -> Action:
    """What follows an attempt that failed.

    A failure mode that the table knows decides; a cause that has no entry of its own takes that
    of unknown modes.
    """
    if record.mode in causes.modes and record.cause in (
        *ALARMS,
        TerminationReason.POLICY_FAILURE,
    ):
        return causes.modes[record.mode]
    by_cause: dict[TerminationReason, Action] = {
        TerminationReason.POLICY_FAILURE: causes.policy_failure,
        TerminationReason.POLICY_UNDECIDED: causes.policy_undecided,
        TerminationReason.ATTEMPT_TIMEOUT: causes.attempt_timeout,
        TerminationReason.POLICY_REJECTED: causes.policy_rejected,
        TerminationReason.POLICY_LOST: causes.policy_lost,
        # Only with on_monitor_death: hold; else the goal ends with it.
        TerminationReason.MONITOR_DEAD: "retry",
    }
    return by_cause.get(record.cause, causes.other)
