"""Vacuum readings to absolute pressure [Pa], whatever the sensor reports (FluidPressure)."""

from __future__ import annotations

from pro_ros.errors import SpecError
from pro_ros.streams.spec import VacuumSpec
from pro_ros.streams.units import Affine, affine


def to_absolute(spec: VacuumSpec, unit: str, where: str) -> Affine:
    """Return the map from a reading to absolute pressure in Pa.

    Parameters
    ----------
    unit
        Unit of the reading; not used for kind ``analog``, whose points carry it.
    where
        What carries the reading, for the error message.

    Raises
    ------
    SpecError
        The unit is unknown or is not one of pressure.
    """
    if spec.points is not None:
        (x0, p0), (x1, p1) = spec.points
        scale = (p1 - p0) / (x1 - x0)
        return Affine(scale, p0 - scale * x0, "Pa")
    scale, offset, si = affine(unit, where)
    if si != "Pa":
        raise SpecError(f"{where}: vacuum needs a unit of pressure (Pa, hPa, kPa), got '{unit}'")
    if spec.kind == "absolute":
        return Affine(scale, offset, "Pa")
    return Affine(-scale if spec.positive_is_vacuum else scale, spec.ambient, "Pa")


def describe(spec: VacuumSpec, unit: str) -> str:
    """Say in one phrase how a reading becomes absolute Pa, for ``pro-ros inspect``."""
    if spec.points is not None:
        (x0, p0), (x1, p1) = spec.points
        return f"analog, {x0:g} is {p0:g} Pa and {x1:g} is {p1:g} Pa absolute, linear between"
    if spec.kind == "absolute":
        return f"absolute pressure in {unit}, given in Pa"
    sign = "positive is vacuum" if spec.positive_is_vacuum else "negative is vacuum"
    return f"gauge pressure in {unit} ({sign}) against {spec.ambient:g} Pa ambient, given in Pa"
