"""Attempts at tasks and the recoveries between them, one at a time: orders in, ends out.

What :mod:`pro_ros.cell.loop` does with the cell in its own process, for a cell that is reached by
messages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from pro_ros.cell.actor import Actor, Choose, Doing, Moved
from pro_ros.cell.catalogue import Catalogue
from pro_ros.cell.judge import SETTLING_NS, Failure, Judge
from pro_ros.cell.policy import Policy
from pro_ros.cell.sensors import (
    ITEM_POSE,
    JOINTS,
    PART,
    SCALE_SOURCE,
    SCALE_TARGET,
    STOP,
    VALVE,
    Reading,
)

HEARD: Final = (JOINTS, PART, VALVE, STOP, SCALE_SOURCE, SCALE_TARGET, ITEM_POSE)
"""Kinds of readings that policy and judge know of."""

GENTLE: Final = (0.5, 2.0)
"""Speed [m/s] and acceleration [m/s2] of a recovery before any task."""


@dataclass(frozen=True)
class Ended:
    """How an attempt or a recovery ended.

    ``stopped``: it was told to. ``success``: the task is done, by the judge; of a recovery: it
    ran to its end. ``mode``: the last failure that the judge saw; empty: none.
    """

    stopped: bool
    success: bool
    mode: str = ""


class Runner:
    """Runs one attempt or recovery at a time.

    Parameters
    ----------
    catalogue
        Where the habits of sites and the masses of items come from.
    cell
        What is moved.
    seed
        Of everything random of the policy.
    candidates, choose
        How many chunks it is asked for, and which one is carried out.
    tell
        Takes a failure of the running attempt as soon as the judge sees it.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        cell: Moved,
        seed: int = 0,
        candidates: int = 1,
        choose: Choose | None = None,
        tell: Callable[[Failure], None] = lambda failure: None,
    ) -> None:
        self._catalogue, self._cell = catalogue, cell
        self._rng = np.random.default_rng(seed)
        self._candidates, self._choose, self._tell = candidates, choose, tell
        self._newest: dict[str, Reading] = {}
        self._task_id = ""
        self._lesson = ""
        self._actor: Actor | None = None
        self._judge = Judge(1.0)
        self._attempt = False
        self._judging_ns: int | None = None

    @property
    def busy(self) -> bool:
        """Whether something runs."""
        moves = self._actor is not None and self._actor.doing is not Doing.NOTHING
        return moves or self._judging_ns is not None

    @property
    def damaged(self) -> bool:
        """The item of the prepared task, a fragile one, fell: there is nothing left to pick."""
        return self._judge.damaged

    @property
    def steps(self) -> int:
        """Actions that were carried out in the latest run."""
        return 0 if self._actor is None else self._actor.steps

    def take(self, reading: Reading) -> None:
        """Take a reading of one of the kinds :data:`HEARD`."""
        self._newest[reading.kind] = reading
        if self._actor is not None:
            self._actor.seen.take(reading)
        failure = self._judge.take(reading)
        if failure is not None and self._attempt:
            self._tell(failure)

    def prepare(self, task_id: str, site: str, sku: str) -> bool:
        """An attempt at a task comes next; true: it is done already, by the scale.

        Raises
        ------
        SpecError
            The site or the item is unknown.
        """
        place, item = self._catalogue.site(site), self._catalogue.item(sku)
        if task_id != self._task_id or self._actor is None:
            self._task_id, self._lesson = task_id, ""
            self._judge = Judge(item.mass, item.fragile)
            for reading in self._newest.values():
                self._judge.take(reading)
            self._actor = self._make_actor(place.speed, place.acceleration)
        self._judge.begin()
        return self._judge.done

    def start(self, now_ns: int, looked_ns: int | None) -> None:
        """Begin the attempt that was prepared.

        Parameters
        ----------
        looked_ns
            When the vision system was asked where the item lies [ns]; None: the task is done
            already, and is only judged.
        """
        assert self._actor is not None, "prepared"
        self._attempt = True
        if looked_ns is None:
            self._judging_ns = now_ns
        else:
            self._actor.resume(looked_ns, self._lesson)

    def recover(self, mode: str) -> None:
        """Begin a recovery from a failure of this mode; the next attempt learns from it."""
        if self._actor is None:
            self._actor = self._make_actor(*GENTLE)
        # What it was stopped for once, it keeps in mind for the rest of the task.
        self._lesson = mode or self._lesson
        self._attempt = False
        self._actor.recover()

    def stop(self) -> Ended | None:
        """Brake; what ran is over at a later tick, or at once where nothing moves."""
        self._judging_ns = None
        if self._actor is not None and self._actor.doing is not Doing.NOTHING:
            self._actor.stop()
            return None
        return self._end(Ended(True, False))

    def abandon(self) -> None:
        """Forget what runs: the cell neither speaks nor obeys."""
        self._judging_ns, self._attempt, self._actor = None, False, None

    def tick(self, now_ns: int) -> Ended | None:
        """Give the command that is due by ``now_ns``; how the run ended, if it did."""
        if self._judging_ns is not None:
            return self._judged(now_ns) if now_ns >= self._judging_ns else None
        actor = self._actor
        if actor is None:
            return None
        doing = actor.doing
        if not actor.tick(now_ns):
            return None
        if doing is Doing.POLICY:
            self._judging_ns = now_ns + SETTLING_NS
            return None
        return self._end(Ended(doing is Doing.STOPPING, doing is Doing.RECOVERY))

    def _make_actor(self, speed: float, acceleration: float) -> Actor:
        policy = Policy(speed, acceleration, self._rng)
        actor = Actor(self._cell, policy, self._candidates, self._choose)
        for reading in self._newest.values():
            actor.seen.take(reading)
        return actor

    def _judged(self, now_ns: int) -> Ended:
        self._judging_ns = None
        success, failure = self._judge.end(self._actor is not None and self._actor.missed)
        if failure is not None:
            self._tell(failure)
        return self._end(Ended(False, success))

    def _end(self, ended: Ended) -> Ended:
        failures = self._judge.failures if self._attempt else []
        self._attempt = False
        mode = failures[-1].mode if failures else ""
        return Ended(ended.stopped, ended.success, mode)
