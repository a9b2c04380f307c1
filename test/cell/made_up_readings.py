"""Readings of made-up numbers at the rates of a site, for tests that need no simulation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from operator import attrgetter

import numpy as np

from pro_ros.cell.sensors import Reading

T0 = 1_767_225_600_000_000_000
NS = 1_000_000_000

RATES = {
    "joints": 500, "wrench": 500, "vacuum": 50, "part_present": 50, "valve": 50,
    "protective_stop": 50, "action": 20, "action_valve": 20, "scale_source": 10,
    "scale_target": 10, "item_pose": 1,
}  # fmt: skip
SIZES = {"joints": 15, "wrench": 6, "action": 4, "item_pose": 4}
"""How many values a reading has; others have one."""


def readings(
    seconds: float, rates: Mapping[str, int] | None = None, start_ns: int = T0, seed: int = 0
) -> list[Reading]:
    """What the devices say in so many seconds, in order of receipt."""
    made = [r for kind in (rates or RATES) for r in _device(kind, seconds, rates, start_ns, seed)]
    return sorted(made, key=attrgetter("receipt_ns"))


def _device(
    kind: str, seconds: float, rates: Mapping[str, int] | None, start_ns: int, seed: int
) -> Iterator[Reading]:
    rate = (rates or RATES)[kind]
    rng = np.random.default_rng([seed, *kind.encode()])
    for i in range(round(seconds * rate)):
        stamp = start_ns + i * NS // rate
        yield Reading(kind, stamp, stamp + 400_000, values(kind, rng))


def values(kind: str, rng: np.random.Generator) -> tuple[float, ...]:
    """Values that such a device could say."""
    if kind in ("part_present", "protective_stop"):
        return (float(rng.integers(2)),)
    if kind in ("valve", "action_valve"):
        return (float(rng.integers(-1, 2)),)
    if kind == "vacuum":
        return (float(rng.uniform(2e4, 1.1e5)),)
    if kind == "item_pose":
        return (*rng.uniform(-1, 1, 3).tolist(), float(rng.uniform(-3.1, 3.1)))
    return tuple(rng.standard_normal(SIZES.get(kind, 1)).tolist())
