"""A monitor in this process, with publishers and ears, on a real rclpy."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from pro_ros.msg import Assessment, Heartbeat, Reward, Risk
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.serialization import deserialize_message
from rosgraph_msgs.msg import Clock
from rosidl_runtime_py.utilities import get_message
from waiting import wait_for

from pro_ros.nodes.pro_node import ProNode
from pro_ros.nodes.qos import ASSESSMENTS


class Ear:
    """A node that hears the monitor, and publishes what it reads."""

    def __init__(self, other: Node) -> None:
        self.other = other
        self.heard: dict[str, list[bytes]] = {"assessment": [], "risk": [], "reward": []}
        self.beats: list[Heartbeat] = []
        self.diagnostics: list[DiagnosticArray] = []
        self.lines: list[str] = []
        self._publishers: dict[str, Any] = {}
        kinds = {"assessment": Assessment, "risk": Risk, "reward": Reward}
        self._ears = [
            other.create_subscription(
                kind, f"/pro/{name}", self.heard[name].append, ASSESSMENTS, raw=True
            )
            for name, kind in kinds.items()
        ]
        self._ears += [
            other.create_subscription(Heartbeat, "/pro/heartbeat", self.beats.append, 10),
            other.create_subscription(
                DiagnosticArray, "/diagnostics", self.diagnostics.append, 10
            ),
        ]

    def publisher(self, topic: str, msgtype: str, qos: Any = 50) -> Any:
        """A publisher that the monitor hears; made once per topic."""
        if topic not in self._publishers:
            made = self.other.create_publisher(get_message(msgtype), topic, qos)
            self._publishers[topic] = made
        return self._publishers[topic]

    def heard_by_monitor(self, topic: str, msgtype: str, qos: Any = 50) -> Any:
        """The same, once the two have found each other."""
        made = self.publisher(topic, msgtype, qos)
        wait_for(lambda: made.get_subscription_count() > 0, f"nobody subscribes to {topic}")
        return made

    def assessments(self) -> list[Assessment]:
        """All assessments heard until now."""
        return [deserialize_message(raw, Assessment) for raw in list(self.heard["assessment"])]

    def last(self) -> Assessment:
        """The newest assessment."""
        return deserialize_message(self.heard["assessment"][-1], Assessment)

    def status(self, name: str) -> DiagnosticStatus:
        """The newest status on /diagnostics whose name ends so; waits for the first."""

        def newest() -> DiagnosticStatus | None:
            newest = self.diagnostics[-1].status if self.diagnostics else []
            return next((s for s in newest if s.name.endswith(name)), None)

        return wait_for(newest, f"a status of {name}")


class Rig(Ear):
    """The node under test, and a second node that talks to it."""

    def __init__(self, monitor: ProNode, other: Node) -> None:
        super().__init__(other)
        self.monitor = monitor
        say = monitor._say

        def listen(severity: str, line: str) -> None:
            self.lines.append(line)
            say(severity, line)

        monitor._say = listen  # type: ignore[method-assign]


class SimClock:
    """Publishes /clock; the monitor must be under ``use_sim_time``."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.out = rig.other.create_publisher(Clock, "/clock", 50)
        wait_for(lambda: self.out.get_subscription_count() > 0, "nobody hears the clock")

    def set(self, t_ns: int) -> None:
        """Set the time, and wait until the monitor knows it."""
        message = Clock()
        message.clock.sec, message.clock.nanosec = divmod(t_ns, 1_000_000_000)
        self.out.publish(message)
        clock = self.rig.monitor.get_clock()
        wait_for(lambda: clock.now().nanoseconds == t_ns, "the clock is not followed")


@contextmanager
def running(
    checkpoint: Path | str,
    *,
    active: bool = True,
    options: Mapping[str, Any] | None = None,
    **parameters: Any,
) -> Iterator[Rig]:
    """A rig whose monitor runs this checkpoint; everything is taken down afterwards.

    ``options``: for rclpy's constructor of the node.
    """
    given = {"checkpoint": str(checkpoint), "diagnostics_period": 0.2, **parameters}
    overrides = [Parameter(k, value=v) for k, v in given.items()]
    monitor = ProNode(parameter_overrides=overrides, **(options or {}))
    other = rclpy.create_node("other")
    rig = Rig(monitor, other)
    executors = []
    for node in (monitor, other):
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        threading.Thread(target=_spin, args=(executor,), daemon=True).start()
        executors.append(executor)
    try:
        if active:
            assert monitor.trigger_configure().name == "SUCCESS"
            assert monitor.trigger_activate().name == "SUCCESS"
        yield rig
    finally:
        for executor in executors:
            executor.shutdown()
        monitor.destroy_node()
        other.destroy_node()


def _spin(executor: SingleThreadedExecutor) -> None:
    try:
        executor.spin()
    except Exception:
        # Taking nodes down under a spinning executor ends it this way.
        if rclpy.ok() and executor.get_nodes():
            raise
