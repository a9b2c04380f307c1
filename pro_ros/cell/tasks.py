"""Drawing of tasks: which item, where it lies, among what, and how this very one behaves.

What is drawn here is the truth of the simulated world. None of it is published.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from pro_ros.cell.catalogue import Catalogue, Item
from pro_ros.errors import SpecError, suggest

SOURCE, TARGET = (0.50, -0.26), (0.50, 0.26)
"""Centres of the two totes [m]."""

TOTE = (0.34, 0.42, 0.16)
"""Inner extent of a tote along x, y, and the height of its rim above its floor [m]."""

FLOOR = 0.02
"""Height of a tote's floor [m]."""


@dataclass(frozen=True)
class Thing:
    """One item as it lies in the tote.

    ``mass`` [kg]; ``friction``, ``leak`` [m2], ``porosity`` [m3/s/Pa] and ``creep`` of this one;
    ``offset``: its centre of mass from its middle [m]; pose: where it is let go.
    """

    sku: str
    item: Item
    mass: float
    friction: float
    leak: float
    porosity: float
    creep: float
    offset: tuple[float, float]
    x: float
    y: float
    z: float
    yaw: float


@dataclass(frozen=True)
class Task:
    """One order: this item from the source tote to the target tote.

    ``things``: the first is the one that is ordered. ``cling``: index of one that sticks to it,
    and ``cling_strength`` the force that parts them [N]. ``snag``: length of what it hangs on by
    [m], ``snag_strength`` the force at which that tears [N]. None: nothing.
    """

    site: str
    sku: str
    prompt: str
    seed: int
    things: tuple[Thing, ...]
    cling: int | None = None
    cling_strength: float = 0.0
    snag: float | None = None
    snag_strength: float = 0.0


def draw_task(
    catalogue: Catalogue, site: str, seed: int, items: tuple[str, ...] | None = None
) -> Task:
    """Draw a task; the same one for the same arguments.

    Parameters
    ----------
    items
        SKUs to choose from; None: those of the site that are not held out.

    Raises
    ------
    SpecError
        The site or an item is unknown, or the site does not have the item.
    """
    place = catalogue.site(site)
    choice = catalogue.training_items(site) if items is None else items
    for sku in choice:
        catalogue.item(sku)
        if sku not in place.items:
            raise SpecError(
                f"site '{site}' has no item '{sku}'{suggest(sku, place.items)} "
                f"(it has: {', '.join(place.items)})"
            )
    if not choice:
        raise SpecError(f"site '{site}' has no items that are not held out: name some")
    rng = np.random.default_rng((seed, site_number(site)))
    sku = str(rng.choice(choice))
    item = catalogue.item(sku)
    others = [s for s in choice if catalogue.item(s).size[2] <= 0.1]
    first = _spot(rng, item, [])
    assert first is not None, "an empty tote has room"
    things = [_thing(rng, sku, item, *first)]
    cling = None
    if rng.random() < item.cling:
        top = things[0]
        cling = 1
        shift = rng.uniform(-0.02, 0.02, 2)
        # It lies below: the ordered one is on top of it.
        things.append(_thing(rng, sku, item, top.x + shift[0], top.y + shift[1], top.z, top.yaw))
        things[0] = replace(top, z=top.z + item.size[2] + 0.002)
    for _ in range(int(rng.integers(place.clutter[0], place.clutter[1] + 1))):
        other = str(rng.choice(others or choice))
        found = _spot(rng, catalogue.item(other), things)
        if found is not None:
            things.append(_thing(rng, other, catalogue.item(other), *found))
    snag = float(rng.uniform(0.09, 0.2)) if rng.random() < item.snag else None
    parting, tearing = rng.uniform(3.0, 6.5), rng.uniform(8.0, 40.0)
    return Task(
        site,
        sku,
        prompt=f"pick the {item.words} and place it in the other tote",
        seed=seed,
        things=tuple(things),
        cling=cling,
        cling_strength=0.0 if cling is None else float(parting * 9.81 * things[cling].mass),
        snag=snag,
        snag_strength=float(tearing),
    )


def site_number(name: str) -> int:
    """A number of a site's name, the same in every run of Python."""
    return int.from_bytes(name.encode(), "little") % (2**63)


def _thing(
    rng: np.random.Generator, sku: str, item: Item, x: float, y: float, z: float, yaw: float
) -> Thing:
    """One copy of an item: no two are alike."""
    wide = np.array(item.size[:2]) / 2.0 * item.uneven
    offset = rng.uniform(-1.0, 1.0, 2) * wide
    return Thing(
        sku,
        item,
        mass=float(item.mass * np.clip(rng.normal(1.0, 0.04), 0.85, 1.15)),
        friction=float(item.friction * rng.lognormal(0.0, 0.12)),
        leak=float(item.leak * 1e-6 * rng.lognormal(0.0, 0.45)),
        porosity=float(item.porosity * 1e-8 * rng.lognormal(0.0, 0.35)),
        creep=float(item.creep * rng.lognormal(0.0, 0.45)),
        offset=(float(offset[0]), float(offset[1])),
        x=x,
        y=y,
        z=z,
        yaw=yaw,
    )


def _spot(
    rng: np.random.Generator, item: Item, things: list[Thing]
) -> tuple[float, float, float, float] | None:
    """A free place in the source tote: x, y, z and yaw. Where none is found, None.

    The first item always finds one. Items stand apart by a few millimetres or touch walls.
    """
    radius = _radius(item)
    for _ in range(40):
        yaw = float(rng.uniform(-math.pi / 2, math.pi / 2))
        room = [
            max(0.0, side / 2.0 - reach - 0.008)
            for side, reach in zip(TOTE[:2], _half_extent(item, yaw), strict=True)
        ]
        x = SOURCE[0] + float(rng.uniform(-1.0, 1.0)) * room[0]
        y = SOURCE[1] + float(rng.uniform(-1.0, 1.0)) * room[1]
        near = (math.hypot(x - o.x, y - o.y) < 0.9 * (radius + _radius(o.item)) for o in things)
        if not any(near):
            return x, y, FLOOR + item.size[2] / 2.0 + 0.004, yaw
    return None


def _radius(item: Item) -> float:
    if item.shape == "box":
        return 0.5 * math.hypot(item.size[0], item.size[1])
    return 0.5 * item.size[0]


def _half_extent(item: Item, yaw: float) -> tuple[float, float]:
    """Half of what a turned item covers along x and y [m]."""
    if item.shape != "box":
        return item.size[0] / 2.0, item.size[0] / 2.0
    c, s = abs(math.cos(yaw)), abs(math.sin(yaw))
    a, b = item.size[0] / 2.0, item.size[1] / 2.0
    return a * c + b * s, a * s + b * c
