"""Publishes what the made-up cell would, following the phase of the scripted policy.

Usage::

    python cell_node.py --ros-args -r __ns:=/gate_demo
"""

from __future__ import annotations

import contextlib

import rclpy
from cell import RATE, Cell
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from sensor_msgs.msg import FluidPressure, JointState
from std_msgs.msg import String


class CellNode(Node):
    """Vacuum and joints at 20 Hz."""

    def __init__(self) -> None:
        super().__init__("demo_cell")
        # Another seed than the recording's: the model has not seen these attempts.
        self._cell = Cell(seed=2025)
        self._phase = "idle"
        self._pressure = self.create_publisher(FluidPressure, "/demo_cell/pressure", 10)
        self._joints = self.create_publisher(JointState, "/demo_cell/joint_states", 10)
        latched = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(String, "scripted_policy/phase", self._hear, latched)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0 / RATE, self._step, clock=steady)

    def _hear(self, message: String) -> None:
        self._phase = message.data

    def _step(self) -> None:
        self._cell.step(self._phase)
        pressure, lift, turn = self._cell.read()
        now = self.get_clock().now().to_msg()
        reading = FluidPressure(fluid_pressure=pressure)
        state = JointState(name=["lift", "turn"], position=[lift, turn])
        reading.header.stamp = state.header.stamp = now
        self._pressure.publish(reading)
        self._joints.publish(state)


def main() -> None:
    """Run until interrupted."""
    rclpy.init()
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(CellNode())
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
