"""What the cell's controller logs of an attempt: failure events and the outcome.

From the gripper's switch, the joints, the scales and the protective stop, as a real cell would.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pro_ros.cell.observer import Observation
from pro_ros.cell.sensors import NS, PART, STOP, Reading
from pro_ros.cell.vacuum import SUCK

DROP, JAM, MISS, DOUBLE = "drop", "jam", "miss", "double_pick"
MODES: Final = (DROP, JAM, MISS, DOUBLE)

FALL: Final = 0.06
"""A fragile item that falls from so far above where it was gripped counts as damaged [m]."""

LIFTED: Final = 0.005
"""So far above the place where the switch closed, an item counts as lifted [m]."""

ENOUGH, TOO_MUCH = 0.6, 1.6
"""Shares of the item's nominal mass that count as one, and from which they count as two."""

SETTLING_NS: Final = round(0.35 * NS)
"""What the scales need after the last move."""


@dataclass(frozen=True)
class Failure:
    """A failure event: its mode and when it began [ns]."""

    mode: str
    stamp_ns: int


class Judge:
    """Follows one task; knows what was ordered, as the warehouse does.

    Parameters
    ----------
    mass
        Nominal mass of the ordered item [kg].
    fragile
        It does not survive a fall.

    Attributes
    ----------
    failures
        Of the attempt in hand.
    damaged
        The item, a fragile one, fell: whatever follows, the task needs a person.
    """

    def __init__(self, mass: float, fragile: bool = False) -> None:
        self._mass, self._fragile = mass, fragile
        self._empty: float | None = None
        self._seen = Observation()
        self._gripped_z: float | None = None
        self.failures: list[Failure] = []
        self.damaged = False

    def begin(self) -> None:
        """An attempt begins."""
        self._seen.settle()
        if self._empty is None:
            self._empty = self._seen.target
        self._gripped_z = None
        self.failures = []

    def take(self, reading: Reading) -> Failure | None:
        """Take a reading; the failure that it shows, if any."""
        seen = self._seen
        part, stopped = seen.part, seen.stopped
        seen.take(reading)
        if reading.kind == PART and seen.part != part:
            seen.settle()
            if seen.part:
                self._gripped_z = seen.pose.z
            elif self._gripped_z is not None:
                height = seen.pose.z - self._gripped_z
                self._gripped_z = None
                if seen.valve == SUCK and height > LIFTED:
                    self.damaged |= self._fragile and height > FALL
                    return self._log(DROP, reading.stamp_ns)
        elif reading.kind == STOP and seen.stopped and not stopped:
            return self._log(JAM, reading.stamp_ns)
        return None

    def placed(self) -> float:
        """Items in the target tote beyond those before the task, by the scale."""
        return 0.0 if self._empty is None else (self._seen.target - self._empty) / self._mass

    @property
    def done(self) -> bool:
        """The ordered item lies in the target tote, alone, by the scale, and is whole."""
        return ENOUGH <= self.placed() < TOO_MUCH and not self.damaged

    def end(self, missed: bool) -> tuple[bool, Failure | None]:
        """The attempt ran to its end: whether the task is done, and a failure seen only now.

        ``missed``: the policy gave up for want of an item.
        """
        placed, now_ns = self.placed(), self._seen.now_ns
        if placed >= TOO_MUCH:
            return False, self._log(DOUBLE, now_ns)
        if missed and placed < ENOUGH:
            return False, self._log(MISS, now_ns)
        return self.done, None

    def _log(self, mode: str, stamp_ns: int) -> Failure:
        failure = Failure(mode, stamp_ns)
        self.failures.append(failure)
        return failure
