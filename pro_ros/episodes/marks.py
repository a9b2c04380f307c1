"""Marks: what a robot says about its own episodes, beside the streams.

A mark is one message of type ``pro_ros/msg/EpisodeEvent`` or ``pro_ros/msg/TaskContext``, as
plain data. Marks are few and are held in memory, whatever the length of the recording.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from pro_ros.streams.spec import EventKind

EVENT_TYPE = "pro_ros/msg/EpisodeEvent"
TASK_TYPE = "pro_ros/msg/TaskContext"

BEGIN, END = 1, 2
"""``kind`` of an EpisodeEvent that begins or ends an episode."""

EVENT_KINDS: dict[int, EventKind] = {
    10: "failure", 11: "retry", 12: "recovery", 13: "drop", 14: "jam", 15: "grip_lost",
    16: "protective_stop", 17: "intervention", 18: "abort", 19: "timeout",
}  # fmt: skip
"""``kind`` of an EpisodeEvent that reports an event, and its name in the stream file."""

MOMENT, ONSET, CLEARED = 0, 1, 2
"""``phase`` of an EpisodeEvent."""

OUTCOMES: dict[int, Literal["success", "failure"]] = {1: "success", 2: "failure"}
"""``outcome`` of an EpisodeEvent of kind END; anything else is unknown."""


@dataclass(frozen=True)
class EventMark:
    """An EpisodeEvent: see the comments of the message for each field.

    ``t_ns``: when it happened. ``receipt_ns``: when it was received; 0: at ``t_ns``.
    """

    t_ns: int
    kind: int
    phase: int = MOMENT
    outcome: int = 0
    episode_id: str = ""
    name: str = ""
    receipt_ns: int = 0


@dataclass(frozen=True)
class TaskMark:
    """A TaskContext: holds from ``t_ns`` until the next one. ``receipt_ns``: when it was received.

    ``task``: the goal in words. ``task_id``: the same for all attempts at one task. ``attempt`` 0
    is 'not known'.
    """

    t_ns: int
    task: str = ""
    task_id: str = ""
    context: dict[str, str] = field(default_factory=dict)
    episode_id: str = ""
    attempt: int = 0
    retry_of: str = ""
    receipt_ns: int = 0


Mark = EventMark | TaskMark


def event_mark(message: Any, t_ns: int, receipt_ns: int) -> EventMark:
    """From a ``pro_ros/EpisodeEvent``, of ``rosbags`` or rclpy."""
    return EventMark(
        t_ns=t_ns,
        kind=int(message.kind),
        phase=int(message.phase),
        outcome=int(message.outcome),
        episode_id=message.episode_id,
        name=message.name,
        receipt_ns=receipt_ns,
    )


def task_mark(message: Any, t_ns: int, receipt_ns: int) -> TaskMark:
    """From a ``pro_ros/TaskContext``, of ``rosbags`` or rclpy."""
    told = {"sku": message.sku, "site": message.site, "robot": message.robot}
    told |= dict(zip(message.keys, message.values, strict=False))
    return TaskMark(
        t_ns=t_ns,
        task=message.prompt,
        task_id=message.task_id,
        context={k: v for k, v in told.items() if v},
        episode_id=message.episode_id,
        attempt=int(message.attempt),
        retry_of=message.retry_of,
        receipt_ns=receipt_ns,
    )


def mark_time(message: Any, receipt_ns: int, tolerance_ns: int) -> tuple[int, bool]:
    """Time of such a message [ns], and whether it is that of its stamp.

    It is the receipt where the stamp is unset, or further from it than the tolerance.
    """
    stamp = message.header.stamp
    stamp_ns = int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
    if stamp_ns and abs(stamp_ns - receipt_ns) <= tolerance_ns:
        return stamp_ns, True
    return receipt_ns, False


def episode_begins(marks: Iterable[Mark]) -> list[int]:
    """When EpisodeEvents that begin an episode were received [ns], in order: for ``Stepper``.

    A live node knows of it no earlier.
    """
    begins = (m for m in marks if isinstance(m, EventMark) and m.kind == BEGIN)
    return sorted(m.receipt_ns or m.t_ns for m in begins)
