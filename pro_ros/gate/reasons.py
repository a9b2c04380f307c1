"""Enumerations that the gate, its messages and its documentation share.

Numbers equal the constants of ``GateState.msg``, ``AttemptRecord.msg`` and ``ExecuteTask.action``;
0 is what a message holds that was not filled in, and is never set on purpose.
"""

from __future__ import annotations

from enum import IntEnum


class State(IntEnum):
    """Where the gate stands (``GateState.STATE_*``)."""

    UNKNOWN = 0
    IDLE = 1
    """No goal; nothing moves by order of the gate."""
    VERIFYING = 2
    """Waits for a fresh, valid assessment with a low risk before the next attempt."""
    STARTING = 3
    """The policy was asked to begin and has not answered."""
    RUNNING = 4
    """The policy moves the robot."""
    STOPPING = 5
    """What moves was told to stop and has not confirmed it."""
    SAFING = 6
    """The safe action moves the robot."""
    RECOVERING = 7
    """The recovery moves the robot."""
    WAITING = 8
    """Pause before the next attempt."""
    LATCHED = 9
    """Closed until a person rearms the gate."""


class Monitor(IntEnum):
    """What the gate thinks of the monitor (``GateState.MONITOR_*``)."""

    UNKNOWN = 0
    NEVER_SEEN = 1
    """No assessment has been received."""
    FRESH = 2
    """Assessments are fresh, valid and advancing: the only one that opens the gate."""
    STALE = 3
    """No assessment that counts within the allowed age."""
    RETURNING = 4
    """Assessments that count come again, but not yet enough in a row."""


class Fault(IntEnum):
    """Why the newest assessment does not count (``GateState.FAULT_*``)."""

    NONE = 0
    NOT_VALID = 1
    """Without VALIDITY_VALID."""
    NOT_FINITE = 2
    """A number that is needed is NaN, infinite or no probability."""
    REFUSED = 3
    """It carries a caveat that the configuration refuses."""
    REPEATED = 4
    """Sequence or stamp did not advance."""
    WENT_BACK = 5
    """Sequence or stamp went back, or the model changed: the monitor was restarted."""
    WRONG_MODEL = 6
    """It comes from another checkpoint than the configured one."""
    NO_THRESHOLD = 7
    """The checkpoint holds no calibrated threshold and the configuration sets none."""
    LATE = 8
    """It was too old when it was published."""


class TerminationReason(IntEnum):
    """Why an attempt or a goal ended (``REASON_*``): the first cause, whatever came after it."""

    NONE = 0
    """It has not ended."""
    SUCCESS = 1
    """The task was done."""
    POLICY_FAILURE = 2
    """The policy ended and reported a failure."""
    POLICY_UNDECIDED = 3
    """The policy ended without saying how, and the monitor did not see a success."""
    RISK_ALARM = 4
    """The risk reached the alarm threshold."""
    PREDICTED_FAILURE = 5
    """The monitor saw the attempt about to end without success."""
    ATTEMPT_TIMEOUT = 6
    """The attempt took longer than an attempt may."""
    ATTEMPTS_EXHAUSTED = 7
    """A retry was due and no attempt was left; the records name each attempt's cause."""
    TIME_EXHAUSTED = 8
    """The goal took longer than a goal may."""
    TOO_MANY_ALARMS = 9
    """Too many of the latest attempts, of this goal and earlier ones, were stopped by an alarm."""
    NOT_VERIFIED = 10
    """The monitor was alive, but the risk did not stay low before the next attempt."""
    MONITOR_DEAD = 11
    """No assessment that counts: monitor dead, frozen, invalid, repeating or restarted."""
    CANCELLED = 20
    """The client cancelled."""
    SUPERSEDED = 21
    """A newer goal took its place."""
    CLIENT_LOST = 22
    """The client that ordered it is gone."""
    BUSY = 23
    """It came while another goal was active."""
    LATCHED = 24
    """It came while the gate was latched."""
    POLICY_REJECTED = 30
    """The policy did not accept the attempt."""
    POLICY_LOST = 31
    """The policy's server is gone, did not answer, or fell silent."""
    STOP_NOT_CONFIRMED = 32
    """What moved did not confirm in time that it stopped."""
    RECOVERY_FAILED = 33
    """The recovery failed or took too long."""
    SAFE_ACTION_FAILED = 34
    """The safe action failed or took too long."""
    INTERNAL_ERROR = 40
    """A defect of the gate or of what surrounds it; the log says which."""


class Outcome(IntEnum):
    """Whether the task was done (``OUTCOME_*``); 0 to 2 as in ``EpisodeEvent.msg``."""

    UNKNOWN = 0
    SUCCESS = 1
    FAILURE = 2
    """The attempt ran to its end and the task was not done."""
    INTERRUPTED = 3
    """It was stopped before its end; how it would have ended is not known."""
    NOT_ATTEMPTED = 4
    """No attempt began."""
