"""What the gate is told. Times are not part of it: :meth:`Gate.handle` takes the time of receipt.

``run`` is the number that the order to start came with. It is never used twice, so that a late
word about something that is over is known as such and ignored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class GoalAccepted:
    """A client orders a task. Limits of 0 mean the gate's own; larger ones are cut to them.

    ``max_duration`` and ``attempt_timeout`` in seconds.
    """

    goal_id: str
    max_attempts: int = 0
    max_duration: float = 0.0
    attempt_timeout: float = 0.0


@dataclass(frozen=True)
class AssessmentSeen:
    """An assessment was received (``Assessment.msg``).

    ``sequence``, ``validity`` (bits), ``value``, ``progress``, ``termination``, ``success``,
    ``model_id`` and ``latency`` [s] as in the message; ``stamp_ns`` its header's stamp.
    ``score``: ``risk.alarm_score``. ``threshold``: ``risk.alarm_threshold`` where
    ``risk.alarm_basis`` says that it was calibrated, else NaN. ``mode``: see
    :func:`likeliest_mode`.
    """

    sequence: int
    stamp_ns: int
    validity: int
    score: float
    threshold: float = math.nan
    termination: float = 0.0
    success: float = 0.0
    value: float = 0.0
    progress: float = 0.0
    mode: str = ""
    model_id: str = ""
    latency: float = 0.0


@dataclass(frozen=True)
class MonitorPeriod:
    """The monitor's heartbeat says how far apart its assessments are [s].

    It counts where the gate file does not state ``freshness.period``.
    """

    seconds: float


@dataclass(frozen=True)
class PolicyAccepted:
    """The policy accepted the run."""

    run: int


@dataclass(frozen=True)
class PolicyRejected:
    """The policy did not accept the run: nothing moves."""

    run: int


@dataclass(frozen=True)
class PolicyFeedback:
    """The policy gave a sign of life."""

    run: int


@dataclass(frozen=True)
class PolicyFinished:
    """The run is over and the policy no longer moves the robot.

    ``success`` is None where the policy does not judge itself. ``mode``: the failure mode that
    it reports, if any.
    """

    run: int
    success: bool | None = None
    mode: str = ""


@dataclass(frozen=True)
class PolicyStopConfirmed:
    """The policy no longer moves the robot: its goal is cancelled, not merely the cancel heard."""

    run: int


@dataclass(frozen=True)
class PolicyLost:
    """The policy's server is gone. That is no confirmation that the robot stopped."""

    run: int


@dataclass(frozen=True)
class RecoveryFinished:
    """The recovery is over and no longer moves the robot; also after a stop, or if rejected."""

    run: int
    success: bool


@dataclass(frozen=True)
class SafeActionFinished:
    """The safe action is over and no longer moves the robot; also after a stop, or if rejected."""

    run: int
    success: bool


@dataclass(frozen=True)
class CancelRequested:
    """The client wants its goal cancelled."""

    goal_id: str


@dataclass(frozen=True)
class Superseded:
    """A newer goal is to take this one's place; it is given once this one is finished."""

    goal_id: str


@dataclass(frozen=True)
class ClientLost:
    """The client of this goal is gone."""

    goal_id: str


@dataclass(frozen=True)
class Tick:
    """Time went by. Due at :meth:`Gate.next_deadline`; more do no harm."""


@dataclass(frozen=True)
class Rearm:
    """A person opens the latch.

    ``robot_stopped``: the person has seen that nothing moves, where a stop was not confirmed.
    """

    robot_stopped: bool = False


@dataclass(frozen=True)
class InternalError:
    """What surrounds the gate failed and cannot carry on."""


PolicyWord = (
    PolicyAccepted
    | PolicyRejected
    | PolicyFeedback
    | PolicyFinished
    | PolicyStopConfirmed
    | PolicyLost
)

Input = (
    GoalAccepted
    | AssessmentSeen
    | MonitorPeriod
    | PolicyWord
    | RecoveryFinished
    | SafeActionFinished
    | CancelRequested
    | Superseded
    | ClientLost
    | Tick
    | Rearm
    | InternalError
)


def likeliest_mode(alarm_mode: str, modes: Sequence[str], distribution: Sequence[float]) -> str:
    """Failure mode that a risk stands for; empty where none is known.

    Parameters
    ----------
    alarm_mode
        ``Risk.alarm_mode``: where the alarm watches one mode, it is that.
    modes
        ``[M]``, ``Risk.modes``.
    distribution
        ``[M + 1]``, ``Risk.mode_distribution``; its last element, none, is not compared.
    """
    if alarm_mode:
        return alarm_mode
    known = [(share, -m) for m, share in enumerate(distribution[: len(modes)]) if share > 0]
    return modes[-max(known)[1]] if known else ""
