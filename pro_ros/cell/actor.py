"""Carries the policy's chunks out, stops when told to, and says when it is over.

What a policy server does on a real robot; the ROS node and the loop without ROS both run this one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Final, Protocol

import numpy as np

from pro_ros.cell.cell import REST, Command
from pro_ros.cell.observer import Observation
from pro_ros.cell.policy import EXECUTED, PERIOD, WIDTH, Chunks, Policy
from pro_ros.cell.sensors import NS
from pro_ros.cell.vacuum import HOLD

PERIOD_NS: Final = round(PERIOD * NS)

STOPPING: Final = 3.0
"""How hard a stop brakes [m/s2]."""

TURN_STOPPING: Final = 8.0

Choose = Callable[[Chunks], int]
"""Which of the candidates ``[N, T, D]`` is carried out."""


class Doing(Enum):
    """What the actor is at."""

    NOTHING = auto()
    POLICY = auto()
    RECOVERY = auto()
    STOPPING = auto()


class Moved(Protocol):
    """What the actor moves."""

    def command(self, velocity: Command, valve: int) -> None:
        """Velocity of the tool [m/s, rad/s] and the valve, until the next command."""

    def look(self, anew: bool = False) -> bool:
        """Ask for an estimate of the item's pose, ``anew`` from another view; false: none."""

    def release_stop(self) -> None:
        """Leave a protective stop."""


class Actor:
    """Runs a policy on a cell.

    Parameters
    ----------
    cell
        What is moved.
    policy
        What proposes.
    candidates
        How many chunks it is asked for.
    choose
        Which one is carried out; None: the first.

    Attributes
    ----------
    seen
        What is known of the cell: give it every reading.
    doing
        What it is at.
    """

    def __init__(
        self, cell: Moved, policy: Policy, candidates: int = 1, choose: Choose | None = None
    ) -> None:
        self.seen = Observation()
        self.doing = Doing.NOTHING
        self._cell, self._policy = cell, policy
        self._candidates, self._choose = candidates, choose
        self._due_ns: int | None = None
        self._queue: list[Sequence[float]] = []
        self._chosen: int | None = None
        self._last: Sequence[float] = (0.0,) * WIDTH
        self._looked_ns: int | None = None
        self._lesson = ""
        self._part, self._done = False, 0
        self.steps = 0

    @property
    def missed(self) -> bool:
        """The policy gave up for want of an item."""
        return self._policy.missed

    def start(self, lesson: str = "") -> bool:
        """Begin an attempt; ``lesson``: the failure mode recovered from before, if known.

        False: the vision system does not see the item, so that there is nothing to pick.
        """
        looked_ns = self.seen.now_ns
        if not self._cell.look(anew=bool(lesson)):
            return False
        self.resume(looked_ns, lesson)
        return True

    def resume(self, looked_ns: int, lesson: str = "") -> None:
        """Begin an attempt for which the vision system was asked at ``looked_ns``."""
        self._lesson, self._looked_ns = lesson, looked_ns
        self._begin(Doing.POLICY)

    def recover(self) -> None:
        """Begin the recovery."""
        self._cell.release_stop()
        self._looked_ns = None
        self._begin(Doing.RECOVERY)
        self._policy.recover(self.seen)

    def stop(self) -> None:
        """Brake; over when :attr:`doing` is ``NOTHING``."""
        if self.doing is not Doing.NOTHING:
            self._queue, self._chosen = [], None
            self.doing = Doing.STOPPING

    def tick(self, now_ns: int) -> bool:
        """Give the command that is due by ``now_ns``; true: what it was at is over."""
        if self.doing is Doing.NOTHING:
            return False
        if self._due_ns is not None and now_ns < self._due_ns:
            return False
        self._due_ns = PERIOD_NS + (now_ns if self._due_ns is None else self._due_ns)
        self.seen.settle()
        if self.doing is Doing.STOPPING:
            return self._brake()
        if self.doing is Doing.POLICY and self.seen.stopped:
            return self._over()
        if self._looked_ns is not None:
            if self.seen.item is None or self.seen.item_ns < self._looked_ns:
                return False
            self._looked_ns = None
            self._policy.begin(self.seen, self._lesson)
        if self._outdated:
            self._queue = []
        if not self._queue and not self._plan():
            return self._over()
        self._give(self._queue.pop(0))
        return False

    def _begin(self, what: Doing) -> None:
        self.doing, self.steps = what, 0
        self._queue, self._chosen, self._due_ns = [], None, None

    @property
    def _outdated(self) -> bool:
        """Whether the actions in hand were planned without a part, and there is one now."""
        return self.doing is Doing.POLICY and self.seen.part and not self._part

    def _plan(self) -> bool:
        """Ask the policy for the next actions; false: it has finished."""
        if self._chosen is not None:
            self._policy.executed(self._chosen, self._done)
            self._chosen = None
        self._part, self._done = self.seen.part, 0
        count = self._candidates if self.doing is Doing.POLICY else 1
        chunks = self._policy.propose(self.seen, count)
        if self._policy.done:
            return False
        best = self._choose(chunks) if self._choose is not None and count > 1 else 0
        self._queue = chunks[best, :EXECUTED].tolist()
        self._chosen = best
        return True

    def _give(self, action: Sequence[float]) -> None:
        vx, vy, vz, wz, valve = action
        self._cell.command((vx, vy, vz, wz), round(valve))
        self._last = action
        self._done += 1
        self.steps += 1

    def _brake(self) -> bool:
        vx, vy, vz, wz, valve = self._last
        size = float(np.linalg.norm(self._last[:3]))
        scale = max(0.0, 1.0 - STOPPING * PERIOD / size) if size > 0.0 else 0.0
        turn = max(0.0, abs(wz) - TURN_STOPPING * PERIOD) * (1.0 if wz > 0.0 else -1.0)
        stopped = size * scale < 1e-6 and turn == 0.0
        # What hangs on the cup stays there: the valve is left as it is.
        self._last = (vx * scale, vy * scale, vz * scale, turn, max(valve, float(HOLD)))
        self._cell.command((vx * scale, vy * scale, vz * scale, turn), round(self._last[4]))
        return self._over() if stopped else False

    def _over(self) -> bool:
        vx, vy, vz, wz, valve = (*REST, self._last[4])
        self._last = (vx, vy, vz, wz, valve)
        self._cell.command(REST, round(valve))
        self.doing, self._due_ns = Doing.NOTHING, None
        return True
