"""Pump, leaks and the pressure in the cup.

A small lumped model: one volume (cup and hose), a pump whose flow falls linearly to zero at its
deepest vacuum, leaks past the lip as through an orifice, and leaks through the item's material in
proportion to the vacuum (Darcy). The temperature is constant. Pressures are vacuums: depth below
ambient [Pa]; flows are volumes of ambient air [m3/s].
"""

from __future__ import annotations

import math
from dataclasses import dataclass

AIR_DENSITY = 1.2
DISCHARGE = 0.62
"""Of a sharp-edged orifice."""

SUCK, HOLD, BLOW = 1, 0, -1
"""What the valve does."""


@dataclass(frozen=True)
class Pump:
    """What makes the vacuum.

    ``flow``: at no vacuum [m3/s]. ``deepest``: vacuum at which it is zero [Pa]. ``volume``: of
    cup and hose [m3]. ``ambient``: [Pa].
    """

    flow: float
    deepest: float
    volume: float = 1.2e-4
    ambient: float = 101325.0


class Vacuum:
    """The pressure in the cup over time.

    Attributes
    ----------
    depth
        Vacuum [Pa]; slightly negative while the valve blows.
    """

    BLOW_DEPTH = -3000.0
    BLOW_TIME = 0.02
    VENT_TIME = 0.12

    def __init__(self, pump: Pump) -> None:
        self.pump = pump
        self.depth = 0.0

    @property
    def pressure(self) -> float:
        """Absolute pressure in the cup [Pa]."""
        return self.pump.ambient - self.depth

    def leak(self, area: float, porosity: float) -> float:
        """Flow into the cup [m3/s] past openings of ``area`` [m2] and through ``porosity``.

        ``porosity``: [m3/s per Pa].
        """
        if self.depth <= 0.0:
            return 0.0
        orifice = DISCHARGE * area * math.sqrt(2.0 * self.depth / AIR_DENSITY)
        return orifice + porosity * self.depth

    def step(self, dt: float, valve: int, area: float, porosity: float) -> None:
        """Advance by ``dt`` [s] with the valve at ``valve`` and the given leaks."""
        if valve == BLOW:
            self.depth += (self.BLOW_DEPTH - self.depth) * min(1.0, dt / self.BLOW_TIME)
            return
        if valve == HOLD:
            self.depth -= self.depth * min(1.0, dt / self.VENT_TIME)
            return
        pump = self.pump
        gain = pump.ambient / pump.volume
        # Implicit in the leak's slope: an open cup drains within less than a step.
        sucked = pump.flow * (1.0 - self.depth / pump.deepest)
        leaked = self.leak(area, porosity)
        slope = pump.flow / pump.deepest + porosity
        if self.depth > 1.0:
            slope += 0.5 * (leaked - porosity * self.depth) / self.depth
        else:
            slope += DISCHARGE * area * math.sqrt(2.0 / AIR_DENSITY)
        self.depth += dt * gain * (sucked - leaked) / (1.0 + dt * gain * slope)

    def steady(self, area: float, porosity: float) -> float:
        """Vacuum that the pump holds against constant leaks [Pa]."""
        low, high = 0.0, self.pump.deepest
        for _ in range(60):
            middle = 0.5 * (low + high)
            orifice = DISCHARGE * area * math.sqrt(2.0 * middle / AIR_DENSITY)
            more = self.pump.flow * (1.0 - middle / self.pump.deepest)
            if more > orifice + porosity * middle:
                low = middle
            else:
                high = middle
        return low
