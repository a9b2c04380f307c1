"""What the policy and the judge know of the cell: the newest readings and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from pro_ros.cell import arm
from pro_ros.cell.sensors import (
    ITEM_POSE,
    JOINTS,
    PART,
    SCALE_SOURCE,
    SCALE_TARGET,
    STOP,
    VALVE,
    WRENCH,
    Reading,
)

Estimate = tuple[float, float, float, float]
"""x, y, z [m] and yaw [rad] of an item's top."""


_UNKNOWN = arm.Pose(0.0, 0.0, 0.0, 0.0)


@dataclass
class Observation:
    """The newest readings.

    ``pose``: of the tool, as of :meth:`settle`. ``joints``: positions, velocities and efforts.
    ``part``: the gripper's switch. ``valve``: what it
    does. ``lift``: force along z that the sensor says [N]. ``stopped``: protective stop.
    ``item``: newest estimate and ``item_ns`` its stamp. ``source``, ``target``: the scales [kg].
    """

    now_ns: int = 0
    joints: tuple[float, ...] = ()
    pose: arm.Pose = _UNKNOWN
    part: bool = False
    valve: int = 0
    lift: float = 0.0
    stopped: bool = False
    item: Estimate | None = None
    item_ns: int = 0
    source: float = 0.0
    target: float = 0.0

    def take(self, reading: Reading) -> None:
        """Take a reading."""
        kind, stamp_ns, receipt_ns, values = reading
        if isinstance(values, bytes):
            return
        if receipt_ns > self.now_ns:
            self.now_ns = receipt_ns
        if kind == JOINTS:
            self.joints = values
        elif kind == WRENCH:
            self.lift = values[2]
        elif kind == PART:
            self.part = values[0] > 0.5
        elif kind == VALVE:
            self.valve = int(values[0])
        elif kind == STOP:
            self.stopped = values[0] > 0.5
        elif kind == SCALE_SOURCE:
            self.source = values[0]
        elif kind == SCALE_TARGET:
            self.target = values[0]
        elif kind == ITEM_POSE:
            self.item = (values[0], values[1], values[2], values[3])
            self.item_ns = stamp_ns

    def settle(self) -> None:
        """Work out the tool's pose, which not every joint reading is worth."""
        if self.joints:
            self.pose = arm.forward(self.joints[: len(arm.JOINTS)])
