"""Units of the source become SI, and a wrong unit is said with the near one."""

from __future__ import annotations

import pytest

from pro_ros.errors import SpecError
from pro_ros.streams.units import affine


@pytest.mark.parametrize(
    ("unit", "x", "si", "name"),
    [
        ("degC", 25.0, 298.15, "K"),
        ("degF", 32.0, 273.15, "K"),
        ("degC/s", 2.0, 2.0, "K/s"),
        ("hPa", 1013.25, 101325.0, "Pa"),
        ("mbar", 1.0, 100.0, "Pa"),
        ("deg", 180.0, 3.141592653589793, "rad"),
        ("rad/s", 1.5, 1.5, "rad/s"),
        ("rpm", 60.0, 6.283185307179586, "rad/s"),
        ("A", 2.0, 2.0, "A"),
        ("mA", 2.0, 0.002, "A"),
        ("N", 3.0, 3.0, "N"),
        ("N*m", 3.0, 3.0, "N*m"),
        ("N·m", 3.0, 3.0, "N*m"),
        ("percent", 50.0, 0.5, "1"),
        ("1", 7.0, 7.0, "1"),
        ("", 7.0, 7.0, "1"),
        ("0.1*mm", 5.0, 0.0005, "m"),
        ("V", 3.0, 3.0, "V"),
    ],
)
def test_a_unit_becomes_si(unit: str, x: float, si: float, name: str) -> None:
    scale, offset, si_name = affine(unit, "here")
    assert scale * x + offset == pytest.approx(si, rel=1e-12)
    assert si_name == name


def test_a_unit_that_is_si_already_changes_no_bit() -> None:
    for unit in ("K", "N", "N*m", "A", "rad", "Pa", "m/s**2", "1"):
        assert affine(unit, "here")[:2] == (1.0, 0.0)


@pytest.mark.parametrize(
    ("unit", "near"),
    [
        ("degc", "'deg"),
        ("hpa", "'hPa'"),
        ("Nm", "'N*m'"),
        ("C", "'degC'"),
        ("newtn", "spelt as in pint"),
        ("m**", "m"),
        ("((", "spelt as in pint"),
    ],
)
def test_an_unknown_unit_is_named_with_the_near_one(unit: str, near: str) -> None:
    with pytest.raises(SpecError) as caught:
        affine(unit, "stream 'arm', feature 'current'")
    text = str(caught.value)
    assert text.startswith("stream 'arm', feature 'current': ")
    assert f"'{unit}'" in text
    assert near in text
    assert "\n" not in text


@pytest.mark.parametrize("unit", ["dBm", "decade", "0*m"])
def test_a_unit_that_is_no_linear_scale_is_refused(unit: str) -> None:
    with pytest.raises(SpecError, match="here: "):
        affine(unit, "here")
