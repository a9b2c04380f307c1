"""Kinematics of the cell's five-axis arm, whose tool always points down.

Base turn, shoulder, elbow, wrist pitch, tool turn. Positive shoulder and elbow angles lower the
links. The tool point is the plane of the suction cup's lip.
"""

from __future__ import annotations

import math
from typing import NamedTuple

JOINTS = ("base_joint", "shoulder_joint", "elbow_joint", "wrist_joint", "tool_joint")

SHOULDER_HEIGHT = 0.45
UPPER, FORE = 0.48, 0.45
"""Lengths of the links [m]."""

FLANGE_DROP, SENSOR_DROP, CUP_DROP = 0.05, 0.03, 0.11
LIP_RADIUS = 0.003
TOOL = FLANGE_DROP + SENSOR_DROP + CUP_DROP + LIP_RADIUS
"""From the wrist's axis down to the lip [m]."""

Joints = tuple[float, float, float, float, float]


class Pose(NamedTuple):
    """Position of the tool point [m] in the base frame and its turn about the vertical [rad]."""

    x: float
    y: float
    z: float
    yaw: float


def forward(q: tuple[float, ...] | list[float]) -> Pose:
    """Pose of the tool from joint positions, as long as the tool points down."""
    first, both = q[1], q[1] + q[2]
    reach = UPPER * math.cos(first) + FORE * math.cos(both)
    height = SHOULDER_HEIGHT - UPPER * math.sin(first) - FORE * math.sin(both)
    return Pose(reach * math.cos(q[0]), reach * math.sin(q[0]), height - TOOL, q[0] - q[4])


def inverse(x: float, y: float, z: float, yaw: float) -> Joints:
    """Joint positions of a pose, elbow up.

    A pose out of reach gives the joints of the nearest one on the same line from the shoulder.
    """
    reach, below = math.hypot(x, y), SHOULDER_HEIGHT - z - TOOL
    far = min(max(math.hypot(reach, below), 0.12), 0.999 * (UPPER + FORE))
    inner = (UPPER * UPPER + far * far - FORE * FORE) / (2.0 * UPPER * far)
    bend = (UPPER * UPPER + FORE * FORE - far * far) / (2.0 * UPPER * FORE)
    shoulder = math.atan2(below, reach) - math.acos(min(max(inner, -1.0), 1.0))
    elbow = math.pi - math.acos(min(max(bend, -1.0), 1.0))
    turn = math.atan2(y, x)
    return turn, shoulder, elbow, -shoulder - elbow, turn - yaw
