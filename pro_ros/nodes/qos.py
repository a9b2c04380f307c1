"""Quality of service, by name. Subscriptions to sensors can be overridden by parameters."""

from __future__ import annotations

from rclpy.qos import (
    QoSDurabilityPolicy,
    QoSHistoryPolicy,
    QoSPolicyKind,
    QoSProfile,
    QoSReliabilityPolicy,
)
from rclpy.qos_overriding_options import QoSOverridingOptions


def sensor(depth: int) -> QoSProfile:
    """For subscriptions to sensors: best effort, so that reliable and other publishers match."""
    return QoSProfile(
        history=QoSHistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=QoSReliabilityPolicy.BEST_EFFORT,
        durability=QoSDurabilityPolicy.VOLATILE,
    )


def sensor_depth(rate: float, visual: bool) -> int:
    """Messages that wait at most: 0.2 s of the declared rate, between 5 and 200; 2 images."""
    return 2 if visual else min(200, max(5, round(0.2 * rate)))


def overridable() -> QoSOverridingOptions:
    """Lets parameters ``qos_overrides.<topic>.subscription.*`` replace what a node asks for."""
    return QoSOverridingOptions(
        [QoSPolicyKind.RELIABILITY, QoSPolicyKind.DURABILITY, QoSPolicyKind.DEPTH]
    )


ASSESSMENTS = QoSProfile(
    history=QoSHistoryPolicy.KEEP_LAST,
    depth=10,
    reliability=QoSReliabilityPolicy.RELIABLE,
    durability=QoSDurabilityPolicy.VOLATILE,
)
"""What the monitor says: reliable, so that every subscriber matches."""

LATCHED = QoSProfile(
    history=QoSHistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=QoSReliabilityPolicy.RELIABLE,
    durability=QoSDurabilityPolicy.TRANSIENT_LOCAL,
)
"""Modes, tasks, safety states: who comes late gets the last one."""

EVENTS = QoSProfile(
    history=QoSHistoryPolicy.KEEP_LAST,
    depth=50,
    reliability=QoSReliabilityPolicy.RELIABLE,
    durability=QoSDurabilityPolicy.VOLATILE,
)
"""Events: none may be lost, none is repeated to who comes late."""
