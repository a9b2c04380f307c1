"""Source units to SI: every unit a stream file may name is ``si = scale * x + offset``."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from pro_ros.errors import SpecError, suggest

COMMON = (
    "1", "percent", "m", "mm", "cm", "m/s", "m/s**2", "rad", "deg", "rad/s", "deg/s", "rpm",
    "rad/s**2", "N", "kN", "N*m", "kg", "g", "s", "ms", "Hz", "A", "mA", "V", "mV", "W",
    "K", "degC", "degF", "Pa", "hPa", "kPa", "mbar", "bar", "mmHg", "inHg", "psi", "torr", "atm",
    "g_0", "T", "ohm", "l/min",
)  # fmt: skip
"""Units that robots report, for the suggestion of the near one."""

_NAMES = {
    "kg/m/s**2": "Pa",
    "kg*m/s**2": "N",
    "kg*m**2/s**2": "N*m",
    "kg*m**2/s**3": "W",
    "kg*m**2/A/s**3": "V",
    "kg*m**2/A**2/s**3": "ohm",
    "kg/A/s**2": "T",
    "A*s": "C",
    "": "1",
}
"""Short names of derived units, by what pint calls them in base units."""


_MEANT = {"Nm": "N*m", "nm": "N*m", "rads": "rad/s", "C": "degC", "F": "degF", "c": "degC"}
"""What pint reads as something else (tex, nanometre, a dose, coulomb, farad, light)."""


class Affine(NamedTuple):
    """``si = scale * x + offset``, with ``si`` the name of the SI unit."""

    scale: float
    offset: float
    si: str


def affine(unit: str, where: str) -> Affine:
    """Return the map from ``unit`` to SI (REP 103).

    Parameters
    ----------
    unit
        In pint's spelling (``degC``, ``hPa``, ``N*m``, ``rad/s``); ``1`` or empty for a plain
        number. A factor may stand before it (``0.1*mm``).
    where
        What carries the unit, for the error message.

    Raises
    ------
    SpecError
        The unit is not known, or its map to SI is not affine (decibel).
    """
    if unit in _MEANT:
        raise SpecError(f"{where}: ambiguous unit '{unit}', did you mean '{_MEANT[unit]}'?")
    try:
        return _affine(unit.strip().replace("·", "*"))
    except ValueError as exc:
        near = suggest(unit, COMMON)
        raise SpecError(
            f"{where}: {exc} '{unit}'{near or ' (units are spelt as in pint)'}"
        ) from None


@lru_cache(maxsize=256)
def _affine(unit: str) -> Affine:
    """The map of one unit; ``ValueError`` with the first words of the error message."""
    if unit in ("", "1"):
        return Affine(1.0, 0.0, "1")
    registry = _registry()
    # pint's parser raises a dozen kinds of error on malformed text, from its own to TokenError,
    # and all of them mean the same to whoever wrote the unit.
    try:
        quantity = _parse(registry, unit)
    except Exception:
        raise ValueError("unknown unit") from None
    try:
        factor = float(quantity.magnitude)
        zero = registry.Quantity(0.0, quantity.units).to_base_units()
        offset = float(zero.magnitude)
        if offset == 0.0:
            scale = float(registry.Quantity(1.0, quantity.units).to_base_units().magnitude)
        else:
            # Differences of an offset unit, exact where f(1) - f(0) is not (degC, degF).
            delta = registry.Quantity(1.0, f"delta_{quantity.units}")
            scale = float(delta.to_base_units().magnitude)
        ten = float(registry.Quantity(10.0, quantity.units).to_base_units().magnitude)
    except Exception:
        raise ValueError("not a linear unit") from None
    if abs(10.0 * scale + offset - ten) > 1e-9 * max(abs(ten), abs(offset)):
        raise ValueError("not a linear unit")
    if not factor or factor != factor or (offset and factor != 1.0):
        raise ValueError("not a usable factor in unit")
    name = f"{zero.units:~C}"
    return Affine(factor * scale, offset, _NAMES.get(name, name))


def _parse(registry: Any, unit: str) -> Any:
    """One of ``unit`` as a pint quantity; differences for ``degC/s``, a factor for ``0.1*mm``."""
    try:
        return registry.Quantity(1.0, registry.parse_units(unit))
    except ValueError:
        return registry.Quantity(registry.parse_expression(unit))


@lru_cache(maxsize=1)
def _registry() -> Any:
    """The pint registry; importing pint takes a third of a second, so only when it is needed."""
    import pint

    return pint.UnitRegistry()
