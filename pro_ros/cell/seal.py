"""What lies between the cup's lip and the item: where it touches, what leaks, how it gives way.

The lip is a ring of points. A point that does not touch leaves an opening that grows with its gap
up to what a soft lip lets through. Under load the lip creeps: while the pull comes near what the
vacuum can hold, wrinkles open that stay. So a grip that is too weak, off the centre or too fast
loses vacuum over tenths of a second to seconds before it lets go, and then lets go quickly.
"""

from __future__ import annotations

import math
from typing import Any

from pro_ros.cell.tasks import Thing
from pro_ros.cell.world import CUP_RADIUS, PADS

AREA = math.pi * CUP_RADIUS**2
"""That the vacuum acts on [m2]."""

LIP = tuple(
    (
        CUP_RADIUS * math.cos(2.0 * math.pi * k / PADS),
        CUP_RADIUS * math.sin(2.0 * math.pi * k / PADS),
    )
    for k in range(PADS)
)
"""Places of the lip's points on the cup [m]."""

ARC = 2.0 * math.pi * CUP_RADIUS / PADS
"""Of the lip that one point stands for [m]."""

OPEN = 3.5e-4
"""Widest gap of a soft lip beside a surface that it does not reach [m]."""

TOUCHES = 1e-4
"""A gap below this is none [m]."""

CREEP_FROM = 0.2
"""Share of the strongest possible pull at which the lip begins to creep."""

CREEP_RATE = 0.35
CREEP_AREA = 7e-6
CREEP_MOST = 1.6
"""Creep per second and share above that; the opening at creep 1 [m2]; the largest creep."""

SPARE, PLENTY = 3.0, 90.0
"""Pull beyond which more makes no difference: [N], and [N/kg] of the item."""

WRINKLED = 1.0
"""Creep of a lip that just came to touch."""

PRESSED = 2.0
SEATING, SEATED = 1.2, 0.1
"""Pressing a cup on with so much [N] smooths the lip by so much [1/s], up to so much creep to come
that leaks nothing."""


class Seal:
    """The lip of one cup on the items of one task.

    Parameters
    ----------
    model
        Compiled MuJoCo model.
    things
        Items in the order of their bodies.
    wear
        Opening of a worn lip [m2].

    Attributes
    ----------
    area, porosity
        Leaks now [m2], [m3/s/Pa].
    touching
        Points of the lip that touch, 0 to :data:`PADS`.
    contacts, middle
        Contacts that the suction acts on, and their mean place on the lip [m].
    creep
        How far the lip has given way; negative: how well it is seated.
    load
        The pull as a share of what would break the grip, last computed.
    """

    def __init__(self, model: Any, things: tuple[Thing, ...], wear: float) -> None:
        self._first = model.geom("pad0").id
        self._thing_of = {model.geom(f"thing{i}").id: t for i, t in enumerate(things)}
        self._wear = wear
        self.creep = WRINKLED
        self.load = 0.0
        self.touching = 0
        self.contacts = 0
        self.middle = (0.0, 0.0)
        self._holding: Thing | None = None
        self.area = PADS * ARC * OPEN
        self.porosity = 0.0

    def look(self, data: Any) -> None:
        """Find out where the lip touches."""
        best: dict[int, float] = {}
        held: Thing | None = None
        count = 0
        x = y = 0.0
        if data.ncon:
            contact = data.contact
            pairs = contact.geom.tolist()
            gaps_of: list[float] = []
            first, last = self._first, self._first + PADS
            for row, (one, other) in enumerate(pairs):
                if first <= other < last:
                    one, other = other, one
                elif not first <= one < last:
                    continue
                count += 1
                px, py = LIP[one - first]
                x += px
                y += py
                thing = self._thing_of.get(other)
                if thing is None:
                    continue
                if not gaps_of:
                    gaps_of = contact.dist.tolist()
                gap = gaps_of[row]
                if gap < best.get(one, math.inf):
                    best[one] = gap
                    held = thing
        self.contacts = count
        self.middle = (x / count, y / count) if count else (0.0, 0.0)
        touching, openings = 0, (PADS - len(best)) * OPEN
        for gap in best.values():
            if gap < TOUCHES:
                touching += 1
            if gap > 0.0:
                openings += gap if gap < OPEN else OPEN
        self.touching = touching
        self._holding = held
        area = ARC * openings + self._wear + max(self.creep, 0.0) * CREEP_AREA
        share = touching / PADS
        if held is not None:
            area += held.leak * share
            self.porosity = held.porosity * share
        else:
            self.porosity = 0.0
        self.area = area

    def pull(self, depth: float) -> float:
        """Force between cup and item [N] at a vacuum [Pa].

        Of what would hold many times the item the rest only squeezes the lip: left out, since a
        light item between stiff contacts under a hundred times its weight makes the solver shake.
        """
        held = self._holding
        if held is None or self.touching == 0 or depth <= 0.0:
            return 0.0
        return min(depth * AREA, SPARE + PLENTY * held.mass)

    def wear_on(self, dt: float, depth: float, force: Any, torque: Any) -> None:
        """Let the lip creep for ``dt`` [s] under what the cup pulls at.

        Parameters
        ----------
        depth
            Vacuum [Pa].
        force, torque
            That the tool exerts on what it holds, at the lip's centre [N, N m], z upward.
        """
        held = self._holding
        if held is None or self.touching == 0:
            self.creep, self.load = WRINKLED, 0.0
            return
        if force[2] < -PRESSED:
            self.creep = max(-SEATED, self.creep - dt * SEATING)
            self.load = 0.0
            return
        strength = max(depth, 500.0) * AREA
        bending = math.hypot(torque[0], torque[1]) * 2.0 / (strength * CUP_RADIUS)
        shear = math.hypot(force[0], force[1]) / (strength * held.friction)
        self.load = force[2] / strength + bending + 0.5 * shear
        over = min(self.load, 2.0) - CREEP_FROM
        if over > 0.0:
            self.creep = min(CREEP_MOST, self.creep + dt * CREEP_RATE * over * held.creep)
