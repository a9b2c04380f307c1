"""A scripted policy with weaknesses, seen from outside as a vision-language-action model is.

A prompt and an observation go in; N candidate chunks of actions come out, one of which is carried
out in part before the next are asked for. It reads no simulator state, and it does not watch the
vacuum: it goes on with an empty cup, moves as fast with a weak seal as with a good one, takes an
edge for the middle where the vision does, and cuts corners.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final

import numpy as np
import numpy.typing as npt

from pro_ros.cell.arm import Pose
from pro_ros.cell.observer import Estimate, Observation
from pro_ros.cell.tasks import FLOOR, SOURCE, TARGET, TOTE
from pro_ros.cell.vacuum import BLOW, HOLD, SUCK

PERIOD: Final = 0.04
"""Between actions [s]."""

CHUNK: Final = 25
"""Actions of a chunk."""

EXECUTED: Final = 10
"""Actions of a chunk that are carried out before the next one is asked for."""

WIDTH: Final = 5
"""Numbers of an action: vx, vy, vz [m/s], wz [rad/s], valve."""

RIM: Final = FLOOR + TOTE[2]
CLEARANCE: Final = 0.04
GRASP_TIMEOUT: Final = 1.6
"""Pressing for so long without a part, the policy gives up [s]."""

STRAIGHT: Final = 0.13
"""So near to where it was taken from, the recovery lowers what it holds straight back [m]."""

TURNS_BACK: Final = -0.05
"""Up to here on the way to the target tote, the recovery turns back (y of the tool) [m]."""

Chunks = npt.NDArray[np.float64]


class Phase(Enum):
    """Where the policy believes to be."""

    RISE = auto()
    OVER = auto()
    DOWN = auto()
    PRESS = auto()
    LIFT = auto()
    SHAKE = auto()
    CARRY = auto()
    LOWER = auto()
    RELEASE = auto()
    LEAVE = auto()
    DONE = auto()


@dataclass(frozen=True)
class Style:
    """How a chunk is carried out.

    ``speed`` [m/s], ``sharpness``: acceleration [m/s2], ``cut``: how far below the safe height it
    turns towards the target [m], ``dwell``: pressing on after the switch closed [s].
    """

    speed: float
    sharpness: float
    cut: float
    dwell: float


GENTLE: Final = Style(speed=0.6, sharpness=3.5, cut=0.0, dwell=0.0)
"""How a recovery moves."""


@dataclass
class Belief:
    """Where the tool is and what comes next; copied and carried forward to make a chunk."""

    phase: Phase
    x: float
    y: float
    z: float
    velocity: tuple[float, float, float]
    since: float
    """Time in the phase [s]."""
    gripped: float
    """Time since the switch closed in this phase [s]; negative: it is open."""


class Policy:
    """Picks one item and places it in the target tote.

    Parameters
    ----------
    speed, sharpness
        Habits of the site: velocity [m/s] and acceleration [m/s2] in transit.
    rng
        Everything random of it.
    """

    def __init__(self, speed: float, sharpness: float, rng: np.random.Generator) -> None:
        self._speed, self._sharpness, self._rng = speed, sharpness, rng
        self._lesson = ""
        self._item: Estimate | None = None
        self._belief = Belief(Phase.DONE, 0.0, 0.0, 0.0, (0.0, 0.0, 0.0), 0.0, -1.0)
        self._mood = self._draw_mood()
        self._habit = self._mood
        self._grasp = (0.0, 0.0)
        self._spot = TARGET
        self._recovering = False
        self._expected: list[list[Belief]] = []
        self.missed = False

    # What a caller uses

    @property
    def done(self) -> bool:
        """It believes that it has finished, or it gave up: see :attr:`missed`."""
        return self._belief.phase is Phase.DONE

    def begin(self, seen: Observation, lesson: str = "") -> None:
        """Begin an attempt at the item that vision sees.

        ``lesson``: the failure mode that it recovered from before; what it does otherwise now.
        """
        self._item = seen.item
        self._lesson = lesson
        self._habit, self._recovering = self._mood, False
        gx, gy = self._rng.normal(0.0, 0.002, 2).tolist()
        self._grasp = (gx, gy)
        dx, dy = self._rng.uniform(-1.0, 1.0, 2).tolist()
        self._spot = (TARGET[0] + 0.03 * dx, TARGET[1] + 0.04 * dy)
        self.missed = False
        self._enter(Phase.RISE, seen.pose)

    def recover(self, seen: Observation) -> None:
        """Begin the recovery: what is held is gently set back or, if on its way, taken on."""
        self._habit, self._recovering = GENTLE, True
        self._lesson = ""
        self.missed = False
        if not seen.part:
            self._enter(Phase.LEAVE, seen.pose)
            return
        pose = seen.pose
        above = pose.y > TARGET[1] - TOTE[1] / 2
        if pose.y < TURNS_BACK and self._item is not None:
            # Back to where it was taken from: that place is free.
            self._spot = (self._item[0], self._item[1])
            above = pose.y < SOURCE[1] + STRAIGHT
        else:
            room = (TOTE[0] / 2 - 0.11, TOTE[1] / 2 - 0.12)
            x, y = (
                min(max(at, middle - free), middle + free)
                for at, middle, free in zip(pose[:2], TARGET, room, strict=True)
            )
            self._spot = (x, y)
        self._enter(Phase.LOWER if above else Phase.CARRY, pose)

    def propose(self, seen: Observation, count: int = 1) -> Chunks:
        """Candidate chunks ``[count, CHUNK, WIDTH]``; the first is what it would do by itself.

        Row k is the action of the k-th period from now: velocity of the tool [m/s, rad/s] and the
        valve (1 sucks, 0 holds, -1 blows).
        """
        self._follow(seen)
        self._expected = []
        styles = [self._vary() for _ in range(count)]
        if self._recovering:
            # Drawn all the same: what is drawn later does not depend on how a recovery moves.
            styles = [self._habit] * count
        return np.stack([self._roll(style) for style in styles])

    def executed(self, candidate: int, actions: int) -> None:
        """So many of the first :data:`EXECUTED` actions of a candidate have been carried out."""
        self._belief = self._expected[candidate][actions]

    # How it behaves

    def _draw_mood(self) -> Style:
        """The style of all attempts at a task: mostly sound, at times rash."""
        rng = self._rng
        rash = rng.random() < 0.4
        speed = self._speed * rng.lognormal(0.15 if rash else -0.1, 0.12)
        sharpness = self._sharpness * rng.lognormal(0.1 if rash else -0.2, 0.2)
        cut = rng.uniform(0.0, 0.06) if rash else rng.uniform(0.0, 0.03)
        dwell = rng.uniform(0.0, 0.06) if rash else rng.uniform(0.1, 0.4)
        return Style(float(speed), float(sharpness), float(cut), float(dwell))

    def _vary(self) -> Style:
        """The style of one chunk, around that of the attempt, or what was learned from one."""
        habit, rng = self._habit, self._rng
        pace = float(np.clip(rng.lognormal(0.0, 0.3), 0.45, 1.6))
        sharp = float(np.clip(rng.lognormal(0.0, 0.35), 0.3, 1.8))
        cut = habit.cut * float(rng.uniform(0.5, 1.0))
        dwell = habit.dwell + max(0.0, float(rng.normal(0.0, 0.3)))
        style = Style(min(habit.speed * pace, 1.3), min(habit.sharpness * sharp, 9.0), cut, dwell)
        lesson = self._lesson
        if lesson in ("drop", "jam", "double_pick"):
            style = Style(min(style.speed, 0.4), min(style.sharpness, 1.1), 0.0, 0.8)
        elif lesson == "miss":
            style = replace(style, dwell=0.4)
        return style

    def _enter(self, phase: Phase, pose: Pose) -> None:
        """Begin a phase from rest."""
        self._belief = Belief(phase, pose.x, pose.y, pose.z, (0.0, 0.0, 0.0), 0.0, -1.0)

    def _follow(self, seen: Observation) -> None:
        """See where the tool really is, and what is over."""
        belief = self._belief
        belief.x, belief.y, belief.z, _ = seen.pose
        if belief.phase is Phase.PRESS:
            if not seen.part:
                belief.gripped = -1.0
            elif belief.gripped < 0.0:
                belief.gripped = 0.0
            if belief.since >= GRASP_TIMEOUT and not seen.part:
                self.missed = True
                self._enter(Phase.LEAVE, seen.pose)
                return
        self._advance(belief, self._habit)

    def _roll(self, style: Style) -> Chunks:
        """Carry the belief forward by one chunk."""
        b = replace(self._belief)
        rows = np.zeros((CHUNK, WIDTH))
        expected: list[Belief] = []
        for k, row in enumerate(rows):
            if k <= EXECUTED:
                expected.append(replace(b))
            self._advance(b, style)
            velocity = self._towards(b, self._goal(b), style)
            # Cups are round: the tool never turns.
            row[:3], row[4] = velocity, self._valve(b)
            b.x += velocity[0] * PERIOD
            b.y += velocity[1] * PERIOD
            b.z += velocity[2] * PERIOD
            b.velocity = velocity
            b.since += PERIOD
            if b.phase is Phase.PRESS:
                b.z = max(b.z, self._top() - 0.004)
            if b.gripped >= 0.0:
                b.gripped += PERIOD
        self._expected.append(expected)
        return rows

    def _towards(
        self, b: Belief, goal: tuple[float, float, float], style: Style
    ) -> tuple[float, float, float]:
        """Velocity for the next period: towards the goal, with limited acceleration."""
        if b.phase is Phase.PRESS:
            return (0.0, 0.0, -0.06 if b.gripped < 0.0 else -0.01)
        if b.phase in (Phase.RELEASE, Phase.DONE):
            return (0.0, 0.0, 0.0)
        speed, sharpness = style.speed, style.sharpness
        if b.phase in (Phase.RISE, Phase.OVER, Phase.LEAVE):
            speed, sharpness = max(speed, 0.5), max(sharpness, 3.0)
        elif b.phase is Phase.DOWN:
            speed = 0.35
        elif b.phase is Phase.LOWER and not self._recovering:
            speed = min(speed, 0.25)
        elif b.phase is Phase.LIFT:
            speed = min(speed, 0.15)
        elif b.phase is Phase.SHAKE:
            return (0.0, 0.0, 0.3 if int(b.since / 0.12) % 2 == 0 else -0.3)
        dx, dy, dz = goal[0] - b.x, goal[1] - b.y, goal[2] - b.z
        far = math.sqrt(dx * dx + dy * dy + dz * dz)
        if far < 1e-6:
            wanted = (0.0, 0.0, 0.0)
        else:
            pace = min(speed, math.sqrt(1.2 * sharpness * far), far / PERIOD) / far
            wanted = (dx * pace, dy * pace, dz * pace)
        change = [w - v for w, v in zip(wanted, b.velocity, strict=True)]
        size = math.sqrt(sum(c * c for c in change))
        scale = min(1.0, sharpness * PERIOD / size) if size > 0.0 else 1.0
        vx, vy, vz = (v + c * scale for v, c in zip(b.velocity, change, strict=True))
        return vx, vy, vz

    def _advance(self, b: Belief, style: Style) -> None:
        """Go on to the next phase where this one is over."""
        x, y, z = self._goal(b)
        beside, above = math.hypot(x - b.x, y - b.y), abs(z - b.z)
        phase, after = b.phase, None
        if phase is Phase.RISE and (above < 0.02 or b.z > z):
            after = Phase.OVER
        elif phase is Phase.OVER and beside < 0.006 and above < 0.03:
            after = Phase.DOWN
        elif phase is Phase.DOWN and b.z < z + 0.006:
            after = Phase.PRESS
        elif phase is Phase.PRESS and b.gripped >= style.dwell:
            after = Phase.LIFT
        elif phase is Phase.LIFT and b.z > z - max(style.cut, 0.015):
            after = Phase.SHAKE if self._lesson == "double_pick" else Phase.CARRY
        elif phase is Phase.SHAKE and b.since > 1.0:
            after = Phase.CARRY
        elif phase is Phase.CARRY and beside < 0.015:
            after = Phase.LOWER
        elif phase is Phase.LOWER and (above < 0.006 or b.z < z):
            after = Phase.RELEASE
        elif phase is Phase.RELEASE and b.since > 0.3:
            after = Phase.LEAVE
        elif phase is Phase.LEAVE and above < 0.02:
            after = Phase.DONE
        if after is not None:
            b.phase, b.since, b.gripped = after, 0.0, -1.0

    def _goal(self, b: Belief) -> tuple[float, float, float]:
        """Where the phase leads to."""
        top = self._top()
        height = max(top - FLOOR, 0.01)
        carry = RIM + height + CLEARANCE
        x, y = b.x, b.y
        if self._item is not None:
            x, y = self._item[0] + self._grasp[0], self._item[1] + self._grasp[1]
        if b.phase is Phase.RISE:
            return b.x, b.y, RIM + CLEARANCE
        if b.phase is Phase.OVER:
            return x, y, RIM + CLEARANCE
        if b.phase is Phase.DOWN:
            return x, y, top + 0.02
        if b.phase is Phase.PRESS:
            return b.x, b.y, top - 0.004
        if b.phase in (Phase.LIFT, Phase.SHAKE):
            return b.x, b.y, carry
        if b.phase is Phase.CARRY:
            return self._spot[0], self._spot[1], carry
        if b.phase is Phase.LOWER:
            return self._spot[0], self._spot[1], FLOOR + height + 0.004
        return b.x, b.y, RIM + CLEARANCE

    def _top(self) -> float:
        return self._item[2] if self._item is not None else RIM

    @staticmethod
    def _valve(b: Belief) -> float:
        if b.phase is Phase.RELEASE:
            return float(BLOW)
        if b.phase in (Phase.PRESS, Phase.LIFT, Phase.SHAKE, Phase.CARRY, Phase.LOWER):
            return float(SUCK)
        return float(SUCK if b.phase is Phase.DOWN else HOLD)
