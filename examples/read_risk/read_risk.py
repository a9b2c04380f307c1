#!/usr/bin/env python3
"""Says whether to go on, judged by PRO's risk. Denies unless a fresh and valid Risk allows it."""

import contextlib
import time

import rclpy
from pro_ros.msg import Risk
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException

LIMIT = 0.5  # highest risk within the longest horizon at which the robot goes on
MAX_AGE = 0.5  # longest time without a new valid risk [s]: a few periods of the monitor


class RiskGate:
    """Opens only while valid risks with advancing numbers come in, and the newest one is low."""

    def __init__(self, node, topic="/pro/risk"):
        self.newest, self.heard, self.sequence = None, 0.0, None
        self.subscription = node.create_subscription(Risk, topic, self.hear, 1)

    def hear(self, risk):
        """Take a message."""
        advanced = self.sequence is not None and risk.sequence > self.sequence
        self.sequence = risk.sequence  # also after a restart of the monitor, when it goes back
        valid = bool(risk.validity & Risk.VALIDITY_VALID)
        self.newest = risk if advanced and valid else None
        self.heard = time.monotonic()  # the steady clock: nobody sets it

    def reason_to_stop(self):
        """Empty if the robot may go on."""
        if self.newest is None:
            return "no valid risk"
        if time.monotonic() - self.heard > MAX_AGE:
            return "the risk is old"
        if self.newest.alarm:
            return "alarm"
        if not self.newest.risk or not self.newest.risk[-1] < LIMIT:  # a NaN denies, too
            return "the risk is high"
        return ""


def main():
    """Say ten times a second whether to go on."""
    rclpy.init()
    node = rclpy.create_node("read_risk")
    gate = RiskGate(node)

    def act():
        reason = gate.reason_to_stop()
        print(f"stop: {reason}" if reason else f"go on: {gate.newest.risk[-1]:.2f}", flush=True)

    # By the steady clock: a timer of ROS time stands still when /clock does.
    node.create_timer(0.1, act, clock=Clock(clock_type=ClockType.STEADY_TIME))
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(node)
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
