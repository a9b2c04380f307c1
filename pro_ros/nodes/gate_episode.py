"""Attempts as episodes: the monitor begins anew with each, the recorder writes each down."""

from __future__ import annotations

from rclpy.node import Node

from pro_ros.msg import EpisodeEvent, TaskContext
from pro_ros.nodes.qos import EVENTS, LATCHED


class AttemptEpisode:
    """The attempt in hand as an episode.

    Attributes
    ----------
    context
        Of the latest attempt; empty before the first.

    Parameters
    ----------
    node
        Who publishes.
    monitor
        Name of the monitor, below which its topics are.
    publish
        If false, nothing is published.
    """

    def __init__(self, node: Node, monitor: str, publish: bool) -> None:
        self._node = node
        self._publish = publish
        self._contexts = node.create_publisher(TaskContext, f"{monitor}/task_context", LATCHED)
        self._events = node.create_publisher(EpisodeEvent, f"{monitor}/episode_event", EVENTS)
        self.context = TaskContext()
        self._run: int | None = None
        self._stopped = False

    def begin(self, run: int, task: TaskContext, goal_id: str, attempt: int) -> None:
        """Attempt ``attempt`` of a goal begins; ``task`` is filled in."""
        self.end(self._run, None)
        first = attempt <= 1
        task.header.stamp = self._node.get_clock().now().to_msg()
        task.task_id = task.task_id or goal_id
        task.retry_of = "" if first else self.context.episode_id
        task.episode_id = f"{goal_id[:12]}-{attempt}"
        task.attempt = attempt
        self.context, self._run, self._stopped = task, run, False
        if self._publish:
            self._contexts.publish(task)
            self._event(EpisodeEvent.KIND_EPISODE_BEGIN)

    def interrupt(self, run: int, why: str) -> None:
        """The gate stops the attempt: how it would have ended is not known."""
        if run == self._run and not self._stopped:
            self._stopped = True
            self._event(EpisodeEvent.KIND_INTERVENTION, detail=f"stopped by the gate: {why}")

    def end(self, run: int | None, success: bool | None) -> None:
        """The attempt is over; ``success`` None where nobody knows."""
        if run is None or run != self._run:
            return
        self._run = None
        outcome = EpisodeEvent.OUTCOME_UNKNOWN
        if success:
            outcome = EpisodeEvent.OUTCOME_SUCCESS
        elif success is not None and not self._stopped:
            # What was stopped is not known to have failed.
            outcome = EpisodeEvent.OUTCOME_FAILURE
        self._event(EpisodeEvent.KIND_EPISODE_END, outcome)

    def close(self) -> None:
        """What has not ended by now is given up."""
        self.end(self._run, None)

    def _event(
        self, kind: int, outcome: int = EpisodeEvent.OUTCOME_UNKNOWN, detail: str = ""
    ) -> None:
        if not self._publish:
            return
        event = EpisodeEvent()
        event.header.stamp = self._node.get_clock().now().to_msg()
        event.kind, event.outcome, event.detail = kind, outcome, detail
        event.episode_id, event.source = self.context.episode_id, self._node.get_name()
        self._events.publish(event)
