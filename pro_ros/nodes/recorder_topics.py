"""Topics as the recorder's bags declare them, and those that are recorded beside the streams."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.qos import (
    QoSDurabilityPolicy,
    QoSHistoryPolicy,
    QoSProfile,
    QoSReliabilityPolicy,
)

from pro_ros.recorder.journal import JournalTopic

DEPTH = 100
"""Messages of an extra topic that wait at most."""


def journal_topic(
    store: Any, name: str, msgtype: str, qos: QoSProfile | None = None
) -> JournalTopic:
    """Declare a topic of a type that the ROS installation defines (``store``)."""
    text, _ = store.generate_msgdef(msgtype, ros_version=2)
    latched = qos is not None and qos.durability == QoSDurabilityPolicy.TRANSIENT_LOCAL
    return JournalTopic(name, msgtype, text, store.hash_rihs01(msgtype), latched)


class ExtraTopics:
    """Waits for topics to be published, to learn their types and what their publishers offer."""

    def __init__(self, node: Node, names: list[str]) -> None:
        self._node = node
        self._waiting = [node.resolve_topic_name(name) for name in dict.fromkeys(names)]

    def found(self) -> list[tuple[str, str, QoSProfile]]:
        """Those that are published since the last call: name, message type, QoS that match."""
        new = []
        for name in list(self._waiting):
            publishers = self._node.get_publishers_info_by_topic(name)
            if publishers:
                self._waiting.remove(name)
                new.append((name, publishers[0].topic_type, _matching(publishers)))
        return new


def _matching(publishers: list[Any]) -> QoSProfile:
    """The most that all publishers offer."""
    offered = [p.qos_profile for p in publishers]
    reliable = all(q.reliability == QoSReliabilityPolicy.RELIABLE for q in offered)
    latched = all(q.durability == QoSDurabilityPolicy.TRANSIENT_LOCAL for q in offered)
    return QoSProfile(
        history=QoSHistoryPolicy.KEEP_LAST,
        depth=DEPTH,
        reliability=(
            QoSReliabilityPolicy.RELIABLE if reliable else QoSReliabilityPolicy.BEST_EFFORT
        ),
        durability=(
            QoSDurabilityPolicy.TRANSIENT_LOCAL if latched else QoSDurabilityPolicy.VOLATILE
        ),
    )
