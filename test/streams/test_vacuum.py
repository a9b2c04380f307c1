"""Vacuum readings of every kind become absolute pressure in Pa."""

from __future__ import annotations

import pytest

from pro_ros.errors import SpecError
from pro_ros.streams.spec import VacuumSpec
from pro_ros.streams.vacuum import describe, to_absolute


def absolute(spec: VacuumSpec, unit: str, reading: float) -> float:
    scale, offset, si = to_absolute(spec, unit, "here")
    assert si == "Pa"
    return scale * reading + offset


def test_an_absolute_reading_is_only_scaled() -> None:
    assert absolute(VacuumSpec(kind="absolute"), "hPa", 300.0) == pytest.approx(30000.0)


def test_a_gauge_reading_counts_from_ambient() -> None:
    spec = VacuumSpec(kind="gauge", ambient=100000.0)
    assert absolute(spec, "kPa", -60.0) == pytest.approx(40000.0)
    assert absolute(spec, "kPa", 0.0) == 100000.0


def test_a_gauge_whose_vacuum_is_positive_counts_downwards() -> None:
    spec = VacuumSpec(kind="gauge", ambient=100000.0, positive_is_vacuum=True)
    assert absolute(spec, "kPa", 60.0) == pytest.approx(40000.0)


def test_an_analog_reading_follows_its_two_points() -> None:
    spec = VacuumSpec(kind="analog", points=((1.0, 101325.0), (5.0, 1325.0)))
    assert absolute(spec, "V", 1.0) == pytest.approx(101325.0)
    assert absolute(spec, "V", 5.0) == pytest.approx(1325.0)
    assert absolute(spec, "V", 3.0) == pytest.approx(51325.0)


def test_a_unit_that_is_no_pressure_is_refused() -> None:
    with pytest.raises(SpecError, match=r"here: .*pressure.*'V'"):
        to_absolute(VacuumSpec(kind="gauge"), "V", "here")


def test_the_description_says_which_conversion_is_made() -> None:
    assert "absolute" in describe(VacuumSpec(kind="absolute"), "hPa")
    gauge = describe(VacuumSpec(kind="gauge", positive_is_vacuum=True), "kPa")
    assert "gauge" in gauge
    assert "positive is vacuum" in gauge
    assert "101325 Pa" in gauge
    points = ((1.0, 101325.0), (5.0, 1325.0))
    assert "1 is 101325 Pa" in describe(VacuumSpec(kind="analog", points=points), "V")
