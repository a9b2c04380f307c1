"""A made-up cell: what the vacuum and the joints of a robot with a suction gripper would read.

No robot was measured for this. It serves the demo of the retry gate, and nothing else: a model
trained on it says nothing about a real gripper.

    python cell.py recording.csv        # 240 made-up attempts, half of them with a slip
"""

from __future__ import annotations

import csv
import math
import random
import sys

RATE = 20.0
"""Rows and messages per second [Hz]."""

AMBIENT, HELD, LOST = 101_325.0, 45_000.0, 85_000.0
"""Absolute pressure with an open cup, with an item, and from which an item has come off [Pa]."""

COLUMNS = ("time", "pressure", "lift", "turn", "lost", "attempt")


class Cell:
    """One gripper. Call :meth:`step` once per period with what the item does.

    Attributes
    ----------
    pressure
        Absolute [Pa].
    lift, turn
        Joints [rad].
    lost
        The item came off while it was to be held.
    """

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self.pressure, self.lift, self.turn = AMBIENT, 0.0, 0.0
        self.lost = False
        self._phase = "idle"
        self._held_for = 0.0
        self._leak = 0.0

    def step(self, phase: str) -> None:
        """A period of ``idle``, ``holding`` or ``slipping`` goes by."""
        period, chance = 1.0 / RATE, self._chance
        if phase != self._phase:
            self._phase = phase
            # From a held item to a lost one in 1 to 2 s.
            self._leak = (LOST - HELD) / chance.uniform(1.0, 2.0)
        if phase == "idle":
            self.lost, self._held_for = False, 0.0
        else:
            self._held_for += period
        if phase == "slipping" and not self.lost:
            self.pressure += self._leak * period * chance.uniform(0.4, 1.6)
            self.lost = self.pressure >= LOST
        else:
            target = HELD if phase == "holding" and not self.lost else AMBIENT
            self.pressure += (target - self.pressure) * (1 - math.exp(-period / 0.12))
        goal = 0.8 * math.sin(0.8 * self._held_for)
        self.lift += (abs(goal) - self.lift) * 0.2
        self.turn += (goal - self.turn) * 0.2

    def read(self) -> tuple[float, float, float]:
        """Pressure [Pa] and joints [rad], with the noise of their sensors."""
        noise = self._chance.gauss
        return (
            self.pressure + noise(0, 400), self.lift + noise(0, 0.003), self.turn + noise(0, 0.003)
        )  # fmt: skip


def attempts(count: int, seed: int) -> list[tuple[float, ...]]:
    """Rows of :data:`COLUMNS`: attempts one after the other, a pause before each."""
    cell, chance = Cell(seed), random.Random(seed + 1)
    rows: list[tuple[float, ...]] = []
    for attempt in range(count):
        slips = chance.random() < 0.5
        phases = [("idle", chance.uniform(0.5, 3.0)), ("holding", chance.uniform(1.0, 4.0))]
        if slips:
            # Now and then it is stopped on the way, as the gate would.
            phases.append(("slipping", chance.choice([0.3, 0.5, 2.5, 2.5, 2.5])))
        phases.append(("idle", chance.uniform(0.5, 1.5)))
        for phase, seconds in phases:
            for _ in range(round(seconds * RATE)):
                cell.step(phase)
                values = [round(value, 4) for value in cell.read()]
                rows.append((len(rows) / RATE, *values, float(cell.lost), float(attempt)))
    return rows


def main() -> None:
    """Write the table."""
    with open(sys.argv[1], "w", newline="", encoding="utf-8") as file:  # noqa: PTH123
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(attempts(240, seed=0))


if __name__ == "__main__":
    main()
