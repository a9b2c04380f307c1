"""Sensors: from what is true to what is published, with noise, drift, lag and delay.

Every sensor draws from its own random numbers, row by row, so that what it says does not depend
on how many rows it is given at once.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pro_ros.cell.catalogue import Item, Site
from pro_ros.cell.tasks import SOURCE, TOTE
from pro_ros.cell.world import CUP_RADIUS, TIMESTEP

Rows = npt.NDArray[np.float64]

NS = 1_000_000_000
STEP_NS = round(TIMESTEP * NS)
BASE_RATE = round(1.0 / TIMESTEP)

SEA_LEVEL = 101325.0

JOINTS, WRENCH, VACUUM, PART, VALVE, STOP, ACTION, ACTION_VALVE = (
    "joints", "wrench", "vacuum", "part_present", "valve", "protective_stop", "action",
    "action_valve",
)  # fmt: skip
SCALE_SOURCE, SCALE_TARGET, ITEM_POSE, CAMERA = (
    "scale_source", "scale_target", "item_pose", "camera",
)  # fmt: skip


class Reading(NamedTuple):
    """One message of a device, before it is put into bytes.

    ``kind``: which device. ``stamp_ns``: when it was measured; ``receipt_ns``: when it arrived.
    ``values``: its numbers in SI units, or the bytes of a frame.
    """

    kind: str
    stamp_ns: int
    receipt_ns: int
    values: tuple[float, ...] | bytes


class Delay:
    """Time from the measurement to the receipt; never overtakes."""

    def __init__(self, rng: np.random.Generator, least: float, spread: float) -> None:
        self._rng, self._least, self._spread = rng, least, spread
        self._last = 0

    def receipt(self, stamp: int) -> int:
        """When the message of one stamp arrives [ns]."""
        late = self._least + self._spread * self._rng.standard_exponential()
        self._last = max(stamp + int(min(late, 0.02) * NS), self._last + 1000)
        return self._last

    def receipts(self, stamps: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """When messages of these stamps arrive [ns]."""
        if not len(stamps):
            return stamps
        if len(stamps) == 1:
            return np.array([self.receipt(int(stamps[0]))])
        late = self._least + self._spread * self._rng.standard_exponential(len(stamps))
        times = stamps + (np.minimum(late, 0.02) * NS).astype(np.int64)
        times[0] = max(int(times[0]), self._last + 1000)
        received = np.maximum.accumulate(times)
        self._last = int(received[-1])
        return received


class JointSensor:
    """Positions, velocities and efforts of the joints."""

    def __init__(self, site: Site, rng: np.random.Generator) -> None:
        self.every = BASE_RATE // site.joint_rate
        self._rng = rng
        self._noise = np.repeat([2e-5, 2e-3, 0.35], 5)
        # Motor currents tell torques with an error of scale and of zero.
        self._scale = 1.0 + np.repeat([0.0, 0.0, 0.02], 5) * rng.standard_normal(15)
        self._bias = np.repeat([0.0, 0.0, 0.4], 5) * rng.standard_normal(15)

    def read(self, true: Rows) -> Rows:
        """``[n, 15]`` to ``[n, 15]``."""
        noise = self._rng.standard_normal(true.shape) * self._noise
        return true * self._scale + self._bias + noise


class WrenchSensor:
    """Force and torque at the wrist, tared without an item, with noise and drift.

    It says what acts on the tool: an item that hangs gives a negative z.
    """

    TORQUE = 0.04
    """Noise, drift and bias of a torque beside those of a force [m]."""

    def __init__(self, site: Site, rng: np.random.Generator) -> None:
        self.every = BASE_RATE // site.wrench_rate
        self._rng = rng
        part = np.repeat([1.0, self.TORQUE], 3)
        self._noise = site.wrench_noise * part
        self._walk = site.wrench_drift * part * math.sqrt(self.every * TIMESTEP)
        self._scale = 1.0 + 0.015 * rng.standard_normal(6)
        self._bias = site.wrench_bias * part * rng.standard_normal(6)

    def read(self, true: Rows) -> Rows:
        """``[n, 6]`` of what acts on the tool to what is said."""
        drawn = self._rng.standard_normal((len(true), 12))
        walked = self._bias + np.cumsum(drawn[:, 6:] * self._walk, axis=0)
        if len(walked):
            self._bias = walked[-1]
        return true * self._scale + walked + drawn[:, :6] * self._noise


class VacuumSensor:
    """Pressure in the cup as FluidPressure says it: absolute, rightly or by assumption."""

    def __init__(self, site: Site, rng: np.random.Generator) -> None:
        self.every = BASE_RATE // site.vacuum_rate
        self._rng = rng
        self._noise, self._step = site.vacuum_noise, site.vacuum_step
        # A gauge sensor's driver does not know the weather nor the altitude.
        self._shift = SEA_LEVEL - site.ambient if site.gauge else 0.0
        self._shift += 150.0 * float(rng.standard_normal())

    def read(self, true: Rows) -> Rows:
        """Absolute pressures ``[n, 1]`` [Pa] to what is said."""
        said = true + self._shift + self._noise * self._rng.standard_normal(true.shape)
        return np.round(said / self._step) * self._step if self._step else said


class Switch:
    """The 'part present' output of the vacuum switch, with hysteresis."""

    every = BASE_RATE // 50

    def __init__(self, site: Site) -> None:
        self._on, self._off = site.switch_on, site.switch_off
        self.closed = False

    def read(self, depth: float) -> bool:
        """Take the vacuum [Pa] that the switch feels."""
        self.closed = depth > (self._off if self.closed else self._on)
        return self.closed


class Scale:
    """A scale under a tote: the mean over a tenth of a second, in steps of a gram."""

    every = BASE_RATE // 10

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def read(self, forces: Rows) -> float:
        """Forces ``[every]`` [N] to a mass [kg]."""
        mass = float(np.mean(forces)) / 9.81 + 0.003 * float(self._rng.standard_normal())
        return round(mass, 3)


class Vision:
    """Estimates of the ordered item's pose in the source tote: its top's middle, and its turn.

    An estimate errs by the site's ``aim``; a misjudged one takes an edge or a label for the
    middle. Seen the same way, an item is mostly misjudged in the same way again; from another
    view it is judged anew.
    """

    kind = ITEM_POSE
    TAKES_NS = 250_000_000
    AGAIN = 0.9
    """How often the same view is misjudged in the same way."""
    BOTH = 0.4
    """How much less often two views together are misjudged."""
    FAR_OFF = (0.03, 0.065)
    """How far off the middle a misjudged grasp is, from and to, while on the item [m]."""

    def __init__(self, site: Site, rng: np.random.Generator) -> None:
        self._site, self._rng = site, rng
        self._error: tuple[float, float] | None = None
        self._looked = False

    def look(
        self, item: Item, position: Rows, rotation: Rows, anew: bool
    ) -> tuple[float, float, float, float] | None:
        """x, y, z [m] and yaw [rad]; None: it is not in the source tote.

        ``position`` ``[3]``, ``rotation`` ``[9]``: of the item's middle. ``anew``: from another
        view than before.
        """
        drawn = self._rng.standard_normal(3)
        chance, again = self._rng.random(2)
        x, y, z = position.tolist()
        if not in_tote(x, y, SOURCE):
            return None
        r = rotation.reshape(3, 3)
        half = upward_extent(item, r)
        if anew or not self._looked or again >= self.AGAIN:
            rate = self._site.misjudged * (self.BOTH if anew else 1.0)
            self._error = self._misjudge(item) if chance < rate else None
        self._looked = True
        dx, dy = self._error or (0.0, 0.0)
        aim = self._site.aim
        return (
            x + r[0, 0] * dx + r[0, 1] * dy + aim * drawn[0],
            y + r[1, 0] * dx + r[1, 1] * dy + aim * drawn[1],
            z + half + 0.002 * drawn[2],
            math.atan2(r[1, 0], r[0, 0]),
        )

    def _misjudge(self, item: Item) -> tuple[float, float]:
        """How far off the middle, in the item's frame [m]."""
        angle = self._rng.uniform(0.0, 2.0 * math.pi)
        far = self._rng.uniform(*self.FAR_OFF)
        dx, dy = far * math.cos(angle), far * math.sin(angle)
        rx, ry = (max(0.0, side / 2.0 - CUP_RADIUS) for side in item.size[:2])
        if item.shape == "cylinder":
            return dx * min(1.0, rx / far), dy * min(1.0, rx / far)
        return min(max(dx, -rx), rx), min(max(dy, -ry), ry)


def in_tote(x: float, y: float, centre: tuple[float, float]) -> bool:
    """Whether a place lies above a tote's floor."""
    return abs(x - centre[0]) < TOTE[0] / 2 and abs(y - centre[1]) < TOTE[1] / 2


def upward_extent(item: Item, rotation: Rows) -> float:
    """From an item's middle to its highest point [m]; ``rotation`` ``[3, 3]``."""
    x, y, z = (side / 2.0 for side in item.size)
    ux, uy, uz = (abs(u) for u in rotation[2].tolist())
    if item.shape == "box":
        return float(ux * x + uy * y + uz * z)
    return float(uz * z + math.hypot(ux, uy) * x)
