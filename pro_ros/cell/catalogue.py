"""The cell file: sites and items, and which of them are kept for judging.

docs/cell.md has a section per key.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

from pydantic import Field, model_validator

from pro_ros.config import StrictModel, load_model
from pro_ros.errors import SpecError, suggest
from pro_ros.paths import share_file

FORMAT: Final = "pro_ros/cell/1"

Entry = TypeVar("Entry", bound=StrictModel)

Share = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]
Length = Annotated[float, Field(ge=0.01, le=0.3)]


class Item(StrictModel):
    """One stock keeping unit: what it is called and how it behaves under a suction cup."""

    words: str = Field(..., min_length=1, description="As the prompt names it")
    shape: Literal["box", "cylinder"] = "box"
    size: tuple[Length, Length, Length] = Field(
        ..., description="Extent along x, y, z [m]; x is the diameter of what is round"
    )
    mass: float = Field(..., gt=0, le=3, description="Nominal [kg]")
    friction: float = Field(0.5, gt=0, le=2, description="Against the lip")
    leak: NotNegative = Field(
        0.3, description="Openings between lip and surface while all is well [mm2]"
    )
    porosity: NotNegative = Field(
        0.0, description="Flow through the material at 1 bar of vacuum [l/s]"
    )
    creep: NotNegative = Field(1.0, description="How fast the seal gives way under load")
    uneven: Share = Field(
        0.1, description="How far the centre of mass may lie off, as a share of half the size"
    )
    fragile: bool = Field(False, description="Does not survive a fall")
    cling: Share = Field(0.0, description="How often a second one sticks to it")
    snag: Share = Field(0.0, description="How often it hangs on to something in the tote")


class Site(StrictModel):
    """One place where such a cell stands: its air, its sensors, its habits, its items."""

    items: tuple[str, ...] = Field(..., min_length=1)
    ambient: float = Field(101325.0, ge=60000, le=110000, description="Pressure of the air [Pa]")
    pump_flow: float = Field(0.8, gt=0, description="At no vacuum [l/s]")
    pump_depth: float = Field(75000.0, gt=0, description="Deepest vacuum at sea level [Pa]")
    cup_wear: NotNegative = Field(0.0, description="Openings of a worn lip [mm2]")
    gauge: bool = Field(
        False, description="The sensor is relative; the driver adds 101325 Pa whatever the air is"
    )
    vacuum_rate: Literal[20, 25, 50, 100] = Field(50, description="[Hz]")
    vacuum_noise: NotNegative = Field(250.0, description="Standard deviation [Pa]")
    vacuum_lag: NotNegative = Field(0.02, description="Time constant of the sensor [s]")
    vacuum_step: NotNegative = Field(100.0, description="Resolution [Pa]")
    switch_on: float = Field(20000.0, gt=0, description="Vacuum of 'part present' [Pa]")
    switch_off: float = Field(14000.0, gt=0, description="Vacuum below which it ends [Pa]")
    joint_rate: Literal[125, 250, 500] = Field(500, description="[Hz]")
    wrench_rate: Literal[125, 250, 500] = Field(500, description="[Hz]")
    wrench_noise: NotNegative = Field(0.3, description="Standard deviation of the forces [N]")
    wrench_drift: NotNegative = Field(0.05, description="Random walk of the forces [N/sqrt(s)]")
    wrench_bias: NotNegative = Field(0.5, description="Error of the zero, deviation [N]")
    speed: float = Field(0.45, gt=0, le=1.5, description="Of the policy in transit [m/s]")
    acceleration: float = Field(6.0, gt=0, le=12, description="Limit of the robot [m/s2]")
    aim: NotNegative = Field(0.004, description="Error of the item's pose, deviation [m]")
    misjudged: Share = Field(0.2, description="How often that pose is far off the centre")
    clutter: tuple[int, int] = Field((2, 4), description="Other items in the tote, from and to")

    @model_validator(mode="after")
    def _consistent(self) -> Site:
        if self.switch_off >= self.switch_on:
            raise ValueError("'switch_off' is not below 'switch_on'")
        low, high = self.clutter
        if not 0 <= low <= high <= 5:
            raise ValueError("'clutter' is not a range within 0 to 5")
        return self


class HeldOut(StrictModel):
    """What training must not see."""

    sites: tuple[str, ...] = ()
    items: tuple[str, ...] = ()


class Catalogue(StrictModel):
    """The whole cell file. Read it with :func:`load_catalogue`."""

    format: Literal["pro_ros/cell/1"]
    sites: dict[str, Site] = Field(..., min_length=1)
    items: dict[str, Item] = Field(..., min_length=1)
    held_out: HeldOut = HeldOut()

    @model_validator(mode="after")
    def _names_are_known(self) -> Catalogue:
        for name, site in self.sites.items():
            _known(site.items, self.items, f"sites.{name}.items", "item")
        _known(self.held_out.sites, self.sites, "held_out.sites", "site")
        _known(self.held_out.items, self.items, "held_out.items", "item")
        return self

    def site(self, name: str) -> Site:
        """A site by its name.

        Raises
        ------
        SpecError
            There is none of this name; the line has the near one.
        """
        return _get(self.sites, name, "site")

    def item(self, name: str) -> Item:
        """An item by its SKU; errors as of :meth:`site`."""
        return _get(self.items, name, "item")

    def training_sites(self) -> tuple[str, ...]:
        """Sites that are not held out, in the file's order."""
        return tuple(s for s in self.sites if s not in self.held_out.sites)

    def training_items(self, site: str) -> tuple[str, ...]:
        """Items of a site that are not held out."""
        return tuple(i for i in self.site(site).items if i not in self.held_out.items)


def load_catalogue(path: Path | str | None = None) -> Catalogue:
    """Read a cell file; None: the one that ships.

    Raises
    ------
    SpecError
        It cannot be read or is not valid: one line with the place.
    """
    return _shipped() if path is None else load_model(path, Catalogue)


@lru_cache(maxsize=1)
def _shipped() -> Catalogue:
    return load_model(share_file("config/cell/cell.yaml"), Catalogue)


def _known(names: Iterable[str], known: Iterable[str], where: str, what: str) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{where}: unknown {what} '{name}'{suggest(name, known)}")


def _get(table: dict[str, Entry], name: str, what: str) -> Entry:
    if name not in table:
        near = suggest(name, table) or f" (known: {', '.join(table)})"
        raise SpecError(f"unknown {what} '{name}'{near}")
    return table[name]
