"""What the gate orders and tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pro_ros.gate.reasons import Fault, Monitor, Outcome, State, TerminationReason

GoalStatus = Literal["succeeded", "aborted", "canceled"]
"""Status of a ROS action's goal; ``canceled`` only after the client's own cancel, and neither
``canceled`` nor ``succeeded`` while something has not confirmed its stop."""


@dataclass(frozen=True)
class AttemptRecord:
    """What became of one attempt. Times on the gate's steady clock [ns].

    ``number``: within the goal, from 1. ``run``: unique. ``cause``: why it ended; ``mode``: the
    failure mode behind it, empty where none is known. ``peak_risk``: highest alarm score, NaN
    where none was seen. ``alarm_ns``: when risk or a predicted end stopped it. ``stop_ns``: when
    the stop was ordered, ``stopped_ns``: when it was confirmed; None where that never happened.
    """

    number: int
    run: int
    begin_ns: int
    end_ns: int
    outcome: Outcome
    cause: TerminationReason
    mode: str
    peak_risk: float
    alarm_ns: int | None
    stop_ns: int | None
    stopped_ns: int | None

    @property
    def stop_latency(self) -> float | None:
        """From the order to stop to its confirmation [s]; None: not ordered or not confirmed."""
        if self.stop_ns is None or self.stopped_ns is None:
            return None
        return (self.stopped_ns - self.stop_ns) / 1e9


@dataclass(frozen=True)
class StartPolicy:
    """Start an attempt: number ``attempt`` of the goal."""

    run: int
    goal_id: str
    attempt: int


@dataclass(frozen=True)
class StopPolicy:
    """Stop the policy, and confirm; given again when a run is accepted after its stop."""

    run: int


@dataclass(frozen=True)
class StartRecovery:
    """Run the recovery for a failure mode; empty: not known."""

    run: int
    mode: str


@dataclass(frozen=True)
class StopRecovery:
    """Stop the recovery, and confirm with RecoveryFinished."""

    run: int


@dataclass(frozen=True)
class StartSafeAction:
    """Run the safe action."""

    run: int


@dataclass(frozen=True)
class StopSafeAction:
    """Stop the safe action, and confirm with SafeActionFinished."""

    run: int


@dataclass(frozen=True)
class Finish:
    """A goal is over. Every goal gets exactly one.

    ``stopped`` is False where something that the goal started has not confirmed its stop.
    ``mode``: the failure mode behind the reason; empty where none is known.
    """

    goal_id: str
    status: GoalStatus
    outcome: Outcome
    reason: TerminationReason
    mode: str
    attempts: tuple[AttemptRecord, ...]
    stopped: bool


@dataclass(frozen=True)
class Latch:
    """The gate is closed until a person rearms it: call one."""

    reason: TerminationReason


@dataclass(frozen=True)
class RearmRefused:
    """Something has not confirmed its stop, and the person did not say that nothing moves."""

    run: int


@dataclass(frozen=True)
class Snapshot:
    """The gate at one time (``GateState.msg``).

    ``open``: what moves now may go on, or an attempt could begin. ``reason``: why the running
    goal ends or its latest attempt ended. ``unconfirmed``: run whose stop is awaited.
    ``score``, ``threshold``, ``value``, ``progress``, ``termination``, ``success``: of the newest
    assessment that counts, NaN where there is none.
    """

    state: State
    open: bool
    goal_id: str
    attempt: int
    max_attempts: int
    reason: TerminationReason
    mode: str
    latch: TerminationReason
    unconfirmed: int | None
    monitor: Monitor
    fault: Fault
    alarm: bool
    score: float
    threshold: float
    value: float
    progress: float
    termination: float
    success: float


@dataclass(frozen=True)
class PublishState:
    """Something discrete changed. For numbers in between ask :meth:`Gate.snapshot`."""

    snapshot: Snapshot


Output = (
    StartPolicy
    | StopPolicy
    | StartRecovery
    | StopRecovery
    | StartSafeAction
    | StopSafeAction
    | Finish
    | Latch
    | RearmRefused
    | PublishState
)
