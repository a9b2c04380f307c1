"""What the gate reads and says, between its messages and the classes of its core."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from rclpy.time import Time

from pro_ros.action import ExecuteTask
from pro_ros.gate.inputs import AssessmentSeen, likeliest_mode
from pro_ros.gate.outputs import AttemptRecord as Record
from pro_ros.gate.outputs import Finish, Snapshot
from pro_ros.msg import Assessment, AttemptRecord, GateState, Risk

NS = 1_000_000_000

CALIBRATED = (Risk.ALARM_MISS_RATE, Risk.ALARM_FALSE_ALARM_RATE)
"""Bases of a threshold that was calibrated; another one was set by hand."""


def assessment_seen(message: Assessment) -> AssessmentSeen:
    """What the gate reads of an assessment."""
    risk = message.risk
    return AssessmentSeen(
        sequence=message.sequence,
        stamp_ns=Time.from_msg(message.header.stamp).nanoseconds,
        validity=message.validity,
        score=risk.alarm_score,
        threshold=risk.alarm_threshold if risk.alarm_basis in CALIBRATED else math.nan,
        termination=message.termination,
        success=message.success,
        value=message.value,
        progress=message.progress,
        mode=likeliest_mode(risk.alarm_mode, risk.modes, risk.mode_distribution),
        model_id=message.model_id,
        latency=message.latency,
    )


def state_message(now: Snapshot, stamp: Any) -> GateState:
    """The state for ``~/state``."""
    state = GateState()
    state.header.stamp = stamp
    state.open = now.open
    state.state = int(now.state)
    state.goal_id = now.goal_id
    state.attempt, state.max_attempts = now.attempt, now.max_attempts
    state.reason, state.mode = int(now.reason), now.mode
    state.latch_reason = int(now.latch)
    state.stop_awaited = now.unconfirmed is not None
    state.monitor, state.fault = int(now.monitor), int(now.fault)
    state.alarm, state.score, state.threshold = now.alarm, now.score, now.threshold
    return state


def feedback_message(now: Snapshot) -> ExecuteTask.Feedback:
    """The same for the goal's client."""
    feedback = ExecuteTask.Feedback()
    feedback.attempt, feedback.max_attempts = now.attempt, now.max_attempts
    feedback.state, feedback.reason, feedback.mode = int(now.state), int(now.reason), now.mode
    feedback.value, feedback.progress = now.value, now.progress
    feedback.risk, feedback.threshold = now.score, now.threshold
    return feedback


def result_message(finish: Finish, time_of: Callable[[int], Any]) -> ExecuteTask.Result:
    """The result of a goal. ``time_of``: the robot's clock at a time of the steady clock."""
    result = ExecuteTask.Result()
    result.outcome = int(finish.outcome)
    result.termination_reason = int(finish.reason)
    result.mode = finish.mode
    result.stopped = finish.stopped
    result.message = sentence(finish)
    result.attempts = [_record(record, time_of) for record in finish.attempts]
    return result


def _record(record: Record, time_of: Callable[[int], Any]) -> AttemptRecord:
    message = AttemptRecord()
    message.number = record.number
    message.begin = time_of(record.begin_ns)
    message.end = time_of(record.end_ns)
    message.outcome = int(record.outcome)
    message.cause = int(record.cause)
    message.mode = record.mode
    message.peak_risk = record.peak_risk
    alarm = record.alarm_ns
    message.alarm_after = math.nan if alarm is None else (alarm - record.begin_ns) / NS
    stop = record.stop_latency
    message.stop_latency = math.nan if stop is None else stop
    return message


def sentence(finish: Finish) -> str:
    """What became of a goal, for people."""
    attempts = len(finish.attempts)
    parts = [
        f"{finish.status}: {finish.outcome.name.lower()}, {finish.reason.name.lower()}",
        f"mode {finish.mode}" if finish.mode else "",
        f"{attempts} attempt{'' if attempts == 1 else 's'}",
        "" if finish.stopped else "NOT CONFIRMED THAT IT STOPPED",
    ]
    return ", ".join(part for part in parts if part)
