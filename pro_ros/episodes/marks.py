"""Marks: what a robot says about its own episodes, beside the streams.

A mark is one message of type ``pro_ros/msg/EpisodeEvent`` or ``pro_ros/msg/TaskContext``, as
plain data. Marks are few and are held in memory, whatever the length of the recording.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

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
    """An EpisodeEvent: see the comments of the message for each field."""

    t_ns: int
    kind: int
    phase: int = MOMENT
    outcome: int = 0
    episode_id: str = ""
    name: str = ""


@dataclass(frozen=True)
class TaskMark:
    """A TaskContext: holds from ``t_ns`` until the next one.

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


Mark = EventMark | TaskMark


def episode_begins(marks: Iterable[Mark]) -> list[int]:
    """Times at which EpisodeEvents begin an episode [ns], in order: for ``Stepper``."""
    return sorted(m.t_ns for m in marks if isinstance(m, EventMark) and m.kind == BEGIN)
