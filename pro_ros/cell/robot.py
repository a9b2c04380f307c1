"""The robot's controller: velocities become joint targets; it stops to protect itself."""

from __future__ import annotations

import math

from pro_ros.cell import arm
from pro_ros.cell.tasks import SOURCE, TARGET, TOTE
from pro_ros.cell.world import GAINS, TIMESTEP

FORCE_LIMIT = 24.0
"""At the wrist, beyond the tool's weight [N]: above it for a while, and the robot stops."""

TORQUE_LIMIT = 2.5
FOLLOWING_LIMIT = 0.035
"""Distance of a joint from its target [rad]."""

PATIENCE = 0.016
"""How long a limit may be exceeded [s]."""

GRACE = 0.3
"""After a stop was left, limits may be exceeded for so much longer [s]."""

PRESS_LIMIT = 9.0
"""A guarded move goes no further down than with this force [N]."""

HOME = arm.Pose(0.42, 0.0, 0.34, 0.0)

_LOW = (0.25, SOURCE[1] - TOTE[1] / 2, 0.021)
_HIGH = (0.72, TARGET[1] + TOTE[1] / 2, 0.55)
_LEADS = tuple(kv / kp for kp, kv, _ in GAINS)


class Robot:
    """Follows velocities of the tool, with limited acceleration.

    Attributes
    ----------
    targets
        What the servos are given, per joint [rad].
    stopped
        Why it stopped to protect itself; empty: it did not.
    """

    def __init__(self, acceleration: float) -> None:
        self._most = acceleration * TIMESTEP
        self._turn_most = 25.0 * TIMESTEP
        self._at = [HOME.x, HOME.y, HOME.z, HOME.yaw]
        self._velocity = [0.0, 0.0, 0.0, 0.0]
        self.joints = arm.inverse(*HOME)
        self.targets: tuple[float, ...] = self.joints
        self.stopped = ""
        self._exceeded = 0.0

    def reset_stop(self, positions: list[float]) -> None:
        """Leave the protective stop, as a person at the panel would.

        ``positions``: of the joints [rad]. What pressed is no longer pressed on, and the limits
        bide their time until the arm has moved away.
        """
        self.stopped = ""
        self._at = list(arm.forward(positions))
        self._velocity = [0.0, 0.0, 0.0, 0.0]
        self.joints = arm.inverse(*self._at)
        self._exceeded = -GRACE

    def step(self, command: tuple[float, ...], pressing: float) -> None:
        """Advance the targets by one time step.

        Parameters
        ----------
        command
            Velocity of the tool along x, y, z [m/s] and about z [rad/s].
        pressing
            Force with which the tool presses downward [N].
        """
        at, now = self._at, self._velocity
        if self.stopped:
            wanted = (0.0, 0.0, 0.0, 0.0)
        else:
            wanted = (command[0], command[1], command[2], command[3])
            if pressing > PRESS_LIMIT and wanted[2] < 0.0:
                wanted = (wanted[0], wanted[1], 0.0, wanted[3])
                now[2] = max(now[2], -0.01)
        dx, dy, dz = wanted[0] - now[0], wanted[1] - now[1], wanted[2] - now[2]
        size = math.sqrt(dx * dx + dy * dy + dz * dz)
        scale = self._most / size if size > self._most else 1.0
        now[0] += dx * scale
        now[1] += dy * scale
        now[2] += dz * scale
        turn = wanted[3] - now[3]
        now[3] += min(max(turn, -self._turn_most), self._turn_most)
        for i in range(3):
            moved = at[i] + now[i] * TIMESTEP
            if moved < _LOW[i] or moved > _HIGH[i]:
                moved = min(max(moved, _LOW[i]), _HIGH[i])
                now[i] = 0.0
            at[i] = moved
        at[3] += now[3] * TIMESTEP
        before = self.joints
        joints = arm.inverse(at[0], at[1], at[2], at[3])
        self.joints = joints
        # The servos lag behind a moving target by their damping: lead by as much.
        q0, q1, q2, q3, q4 = joints
        p0, p1, p2, p3, p4 = before
        l0, l1, l2, l3, l4 = _LEADS
        self.targets = (
            q0 + l0 * (q0 - p0) / TIMESTEP,
            q1 + l1 * (q1 - p1) / TIMESTEP,
            q2 + l2 * (q2 - p2) / TIMESTEP,
            q3 + l3 * (q3 - p3) / TIMESTEP,
            q4 + l4 * (q4 - p4) / TIMESTEP,
        )

    def guard(self, force: float, torque: float, positions: list[float]) -> None:
        """Judge one time step: stop where a limit has been exceeded for long enough.

        Parameters
        ----------
        force, torque
            Beyond the tool's weight [N, N m].
        positions
            Of the joints [rad].
        """
        q0, q1, q2, q3, q4 = self.joints
        p0, p1, p2, p3, p4 = positions
        off = max(abs(q0 - p0), abs(q1 - p1), abs(q2 - p2), abs(q3 - p3), abs(q4 - p4))
        if force > FORCE_LIMIT or torque > TORQUE_LIMIT or off > FOLLOWING_LIMIT:
            self._exceeded += TIMESTEP
            if self._exceeded > PATIENCE and not self.stopped:
                self.stopped = "following error" if off > FOLLOWING_LIMIT else "force limit"
        else:
            self._exceeded = min(self._exceeded + TIMESTEP, 0.0)
