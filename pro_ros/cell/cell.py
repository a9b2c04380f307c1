"""The cell at work: a command goes in, and what its devices say comes out.

Everything that learns, judges or decides sees :class:`~pro_ros.cell.sensors.Reading` objects and
nothing else of the simulation.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from typing import Final

import numpy as np

from pro_ros.cell import arm
from pro_ros.cell.camera import Camera
from pro_ros.cell.catalogue import Catalogue
from pro_ros.cell.robot import Robot
from pro_ros.cell.seal import Seal
from pro_ros.cell.sensors import (
    ACTION,
    ACTION_VALVE,
    CAMERA,
    JOINTS,
    NS,
    PART,
    SCALE_SOURCE,
    SCALE_TARGET,
    STEP_NS,
    STOP,
    VACUUM,
    VALVE,
    WRENCH,
    Delay,
    JointSensor,
    Reading,
    Rows,
    Scale,
    Switch,
    VacuumSensor,
    Vision,
    WrenchSensor,
)
from pro_ros.cell.tasks import Task, site_number
from pro_ros.cell.vacuum import HOLD, Pump, Vacuum
from pro_ros.cell.world import TIMESTEP, build, require_mujoco
from pro_ros.errors import DataError

EPOCH_NS: Final = 1_767_225_600 * NS
"""2026-01-01, when simulated time begins [ns]."""

BLOCK: Final = 10
"""Steps of physics between two looks at the sensors."""

BLOCK_NS: Final = BLOCK * STEP_NS

Command = tuple[float, float, float, float]
"""Velocity of the tool along x, y, z [m/s] and about z [rad/s]."""

REST: Final[Command] = (0.0, 0.0, 0.0, 0.0)

PULLS: Final = 1.0
"""The tool pulls upward with so much [N]: pressing parts nothing."""

SETTLING: Final = 400
"""Steps before simulated time begins."""

JOINTS_AT, WRENCH_AT, SCALES_AT = slice(0, 15), slice(15, 21), [23, 26]
"""Where the model's sensors stand (world.py)."""


class DivergedError(DataError):
    """The physics blew up: what was simulated so far means nothing."""


class Cell:
    """One simulated cell with the items of one task.

    Parameters
    ----------
    catalogue
        Where the site and the items come from.
    task
        What lies in the tote, and what is ordered.
    start_ns
        Simulated time of the begin [ns since the epoch].
    camera
        Renders frames; None: the cell has no camera.

    Attributes
    ----------
    now_ns
        Simulated time [ns since the epoch].
    """

    def __init__(
        self,
        catalogue: Catalogue,
        task: Task,
        start_ns: int = EPOCH_NS,
        camera: Camera | None = None,
    ) -> None:
        self._mujoco = require_mujoco()
        site = catalogue.site(task.site)
        self.task, self.site = task, site
        self.now_ns = start_ns
        self._model = build(task)
        self._data = self._mujoco.MjData(self._model)
        self._adhesion = len(arm.JOINTS)
        seeds = np.random.SeedSequence((task.seed, site_number(task.site), 1)).spawn(12)
        rngs = [np.random.default_rng(s) for s in seeds]
        self._robot = Robot(site.acceleration)
        self._data.qpos[: len(arm.JOINTS)] = self._robot.joints
        self._seal = Seal(self._model, task.things, site.cup_wear * 1e-6)
        pump = Pump(site.pump_flow * 1e-3, site.pump_depth * site.ambient / 101325.0,
                    ambient=site.ambient)  # fmt: skip
        self._vacuum = Vacuum(pump)
        self._valve = HOLD
        self._command: Command = REST
        self._tied = task.cling is not None or task.snag is not None
        self._cup = self._model.body("cup").id
        self._sensor = self._model.site("sensor").id
        self._pulled: tuple[float, ...] = (0.0,) * 6
        self._felt = 0.0
        self._lag = math.exp(-TIMESTEP / site.vacuum_lag) if site.vacuum_lag else 0.0
        self._step = 0
        self._rows = np.zeros((BLOCK, self._data.sensordata.size))
        self._depths = np.zeros(BLOCK)
        self._waiting: list[Reading] = []
        self._tare = self._settle()
        self._empty = self._tare.tolist()
        data = self._data
        self._wrench_now = data.sensordata[WRENCH_AT]
        self._sensor_turn = data.site_xmat[self._sensor].reshape(3, 3)
        self._cup_turn = data.xmat[self._cup].reshape(3, 3)
        self._cup_at, self._sensor_at = data.xpos[self._cup], data.site_xpos[self._sensor]
        self._positions, self._controls = self._data.qpos[: self._adhesion], self._data.ctrl
        self._joints = JointSensor(site, rngs[0])
        self._wrench = WrenchSensor(site, rngs[1])
        self._pressure = VacuumSensor(site, rngs[2])
        self._switch = Switch(site)
        self._scales = (Scale(rngs[3]), Scale(rngs[4]))
        self._weights = np.zeros((Scale.every, 2))
        self._vision = Vision(site, rngs[5])
        self._delays = {
            JOINTS: Delay(rngs[6], 3e-4, 2e-4), WRENCH: Delay(rngs[7], 5e-4, 4e-4),
            VACUUM: Delay(rngs[8], 2e-3, 1e-3), PART: Delay(rngs[9], 1e-3, 5e-4),
            SCALE_SOURCE: Delay(rngs[10], 5e-3, 1e-3),
        }  # fmt: skip
        self._camera = camera
        if camera is not None:
            camera.show(self._model)

    @property
    def stopped(self) -> str:
        """Why the robot stopped to protect itself; empty: it did not."""
        return self._robot.stopped

    def command(self, velocity: Command, valve: int, tell: bool = True) -> None:
        """What the tool and the valve do from now on, until the next command.

        ``tell``: the command is a reading, too; false where it came as a message already.
        """
        self._command, self._valve = velocity, valve
        if not tell:
            return
        for kind, values in ((ACTION, velocity), (ACTION_VALVE, (float(valve),))):
            stamp = self.now_ns
            self._waiting.append(Reading(kind, stamp, stamp + 200_000, tuple(values)))

    def release_stop(self) -> None:
        """Leave a protective stop, as the controller's interface allows it."""
        if self._robot.stopped:
            self._robot.reset_stop(self._positions.tolist())

    def look(self, anew: bool = False) -> bool:
        """Have the vision system estimate where the ordered item lies; ``anew``: from elsewhere.

        The estimate is published a quarter of a second later. False: it does not see the item in
        the source tote.
        """
        place = self._data.geom("thing0")
        found = self._vision.look(self.task.things[0].item, place.xpos, place.xmat, anew)
        if found is None:
            return False
        receipt = self.now_ns + Vision.TAKES_NS
        self._waiting.append(Reading(Vision.kind, self.now_ns, receipt, found))
        return True

    def advance(self) -> list[Reading]:
        """Let one block of :data:`BLOCK` steps pass; what is received within, in order.

        Raises
        ------
        DivergedError
            A number is no longer finite, or the solver warned of it.
        """
        data, rows, depths = self._data, self._rows, self._depths
        one, sensed = self._one, data.sensordata
        for i in range(BLOCK):
            one()
            rows[i] = sensed
            rows[i, WRENCH_AT] = self._pulled
            self._felt += (self._vacuum.depth - self._felt) * (1.0 - self._lag)
            depths[i] = self._felt
        if data.warning.number.any() or not np.isfinite(rows).all():
            raise DivergedError(
                f"the simulation of seed {self.task.seed} at site '{self.task.site}' diverged "
                f"after {self._step * TIMESTEP:.2f} s"
            )
        self._read()
        self._step += BLOCK
        self.now_ns += BLOCK_NS
        return self._received()

    # What happens within

    def _settle(self) -> Rows:
        """Let the items come to rest, and see what the wrist feels with an empty tool."""
        data = self._data
        data.ctrl[: self._adhesion] = self._robot.targets
        self._mujoco.mj_step(self._model, data, nstep=SETTLING)
        tare: Rows = data.sensordata[WRENCH_AT].copy()
        return tare

    def _one(self) -> None:
        """One step of physics, with the controller, the pump and the lip."""
        data, seal, vacuum, robot = self._data, self._seal, self._vacuum, self._robot
        fx, fy, fz, tx, ty, tz = self._pulled
        robot.guard(math.sqrt(fx * fx + fy * fy + fz * fz), math.sqrt(tx * tx + ty * ty + tz * tz),
                    self._positions.tolist())  # fmt: skip
        robot.step(self._command, -fz)
        vacuum.step(TIMESTEP, self._valve, seal.area, seal.porosity)
        # From the sensor down to the lip the lever adds to the torque.
        bend = (tx - arm.CUP_DROP * fy, ty + arm.CUP_DROP * fx)
        seal.wear_on(TIMESTEP, vacuum.depth, (fx, fy, fz), bend)
        pull = seal.pull(vacuum.depth)
        self._controls[:] = (*robot.targets, pull)
        self._mujoco.mj_step(self._model, data)
        seal.look(data)
        if self._tied:
            self._part()
        self._pulled = self._wrench_without(pull)

    def _part(self) -> None:
        """What sticks comes off, and what the item hangs on tears, where the force is enough."""
        data, task = self._data, self.task
        if self._pulled[2] < PULLS:
            return
        sticks = task.cling is not None and data.eq_active[0]
        # The constraints' rows begin with those of the weld: force along x, y, z.
        if sticks and np.linalg.norm(data.efc_force[:3]) > task.cling_strength:
            data.eq_active[0] = 0
        if task.snag is not None and self._model.tendon_stiffness[0] > 0.0:
            stretch = data.ten_length[0] - task.snag
            if stretch * self._model.tendon_stiffness[0] > task.snag_strength:
                self._model.tendon_stiffness[0] = self._model.tendon_damping[0] = 0.0

    def _wrench_without(self, pull: float) -> tuple[float, ...]:
        """What the tool exerts on what is below the sensor [N, N m], beyond its own weight.

        MuJoCo's force sensor counts the contacts' push and not the suction's pull between the
        same bodies, which cancels it: it is added here.
        """
        fx, fy, fz, tx, ty, tz = self._wrench_now.tolist()
        ox, oy, oz, px, py, pz = self._empty
        fx, fy, fz, tx, ty, tz = fx - ox, fy - oy, fz - oz, tx - px, ty - py, tz - pz
        if pull > 0.0 and self._seal.contacts:
            # Both frames as rows; the force is the pull along the cup's axis.
            (a, b, c), (d, e, f), (g, h, i) = self._sensor_turn.tolist()
            (ux, vx, wx), (uy, vy, wy), (uz, vz, wz) = self._cup_turn.tolist()
            wx, wy, wz = wx * pull, wy * pull, wz * pull
            gx, gy, gz = (
                a * wx + d * wy + g * wz,
                b * wx + e * wy + h * wz,
                c * wx + f * wy + i * wz,
            )
            x, y = self._seal.middle
            (cx, cy, cz), (sx, sy, sz) = self._cup_at.tolist(), self._sensor_at.tolist()
            mx = cx - sx + ux * x + vx * y
            my = cy - sy + uy * x + vy * y
            mz = cz - sz + uz * x + vz * y
            lx, ly, lz = (
                a * mx + d * my + g * mz,
                b * mx + e * my + h * mz,
                c * mx + f * my + i * mz,
            )
            fx, fy, fz = fx + gx, fy + gy, fz + gz
            tx, ty, tz = tx + ly * gz - lz * gy, ty + lz * gx - lx * gz, tz + lx * gy - ly * gx
        return fx, fy, fz, tx, ty, tz

    def _read(self) -> None:
        """Have every sensor whose turn it is say what it felt in this block."""
        rows, first = self._rows, self._step
        self._say_rows(JOINTS, self._joints.every, self._joints.read, rows[:, JOINTS_AT])
        self._say_rows(WRENCH, self._wrench.every, self._wrench.read, -rows[:, WRENCH_AT])
        absolute = (self.site.ambient - self._depths)[:, None]
        self._say_rows(VACUUM, self._pressure.every, self._pressure.read, absolute)
        receipt = self._delays[PART].receipt(self.now_ns)
        part = self._switch.read(float(self._depths[-1]))
        for kind, value in ((PART, part), (VALVE, self._valve), (STOP, bool(self.stopped))):
            self._waiting.append(Reading(kind, self.now_ns, receipt, (float(value),)))
        at = first % Scale.every
        self._weights[at : at + BLOCK] = rows[:, SCALES_AT]
        if at + BLOCK == Scale.every:
            receipt = self._delays[SCALE_SOURCE].receipt(self.now_ns)
            for kind, scale, column in zip(
                (SCALE_SOURCE, SCALE_TARGET), self._scales, self._weights.T, strict=True
            ):
                self._waiting.append(Reading(kind, self.now_ns, receipt, (scale.read(column),)))
        if self._camera is not None:
            frame = self._camera.frame(self._data, self._step, BLOCK)
            if frame is not None:
                receipt = self.now_ns + self._camera.TAKES_NS
                self._waiting.append(Reading(CAMERA, self.now_ns, receipt, frame))

    def _say_rows(self, kind: str, every: int, read: Callable[[Rows], Rows], true: Rows) -> None:
        """Readings of a device that measures every so many steps, stamped at its steps."""
        offset = -self._step % every
        chosen = true[offset::every]
        if not len(chosen):
            return
        stamps = self.now_ns + STEP_NS * np.arange(offset, BLOCK, every, dtype=np.int64)
        receipts = self._delays[kind].receipts(stamps).tolist()
        said = read(chosen).tolist()
        self._waiting.extend(
            Reading(kind, stamp, receipt, tuple(values))
            for stamp, receipt, values in zip(stamps.tolist(), receipts, said, strict=True)
        )

    def _received(self) -> list[Reading]:
        """What was received by now, in order of receipt."""
        self._waiting.sort(key=_receipt)
        last = bisect_right(self._waiting, self.now_ns, key=_receipt)
        done, self._waiting = self._waiting[:last], self._waiting[last:]
        return done


def _receipt(reading: Reading) -> int:
    return reading.receipt_ns
