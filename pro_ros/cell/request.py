"""What a fleet is asked to do: sites, seeds, items, who watches; checked before anything runs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel

from pro_ros.cell.catalogue import Catalogue
from pro_ros.cell.journal import Key
from pro_ros.cell.judge import DROP
from pro_ros.cell.watchers import Nobody, Pro, Threshold, Watcher
from pro_ros.cell.world import require_mujoco
from pro_ros.errors import SpecError, suggest
from pro_ros.gate.config import GateConfig
from pro_ros.model.checkpoint import Checkpoint, load_checkpoint
from pro_ros.runtime.scoring import ScoringSettings

FORMAT: Final = "pro_ros/fleet/1"

Care = Literal["none", "half", "all"]

SEEDS: Final = 1_000_000
"""Seeds are below: their simulated times are years apart already."""


@dataclass(frozen=True)
class Watch:
    """Who watches for the gate; each task gets a fresh one, made in the process that runs it.

    ``threshold``: of the vacuum [Pa]. ``checkpoint``: PRO. Neither: nobody. ``scoring``: PRO
    chooses among ``candidates`` chunks of the policy, too.
    """

    threshold: float | None = None
    checkpoint: Path | None = None
    scoring: ScoringSettings | None = None
    candidates: int = 1

    def make(self) -> Watcher:
        """The watcher of a task."""
        if self.checkpoint is not None:
            return Pro(_checkpoint(self.checkpoint), self.scoring)
        return Nobody() if self.threshold is None else Threshold(self.threshold)

    def document(self) -> dict[str, Any]:
        """What decides how it behaves; errors are those of loading a checkpoint."""
        model = _checkpoint(self.checkpoint).model_id if self.checkpoint else None
        scoring = self.scoring.model_dump(mode="json") if self.scoring else None
        return {
            "threshold": self.threshold,
            "model": model,
            "scoring": scoring,
            "candidates": self.candidates,
        }


@dataclass(frozen=True)
class FleetRequest:
    """What a fleet is to do.

    ``sites`` and ``tasks_per_site``: seeds ``first_seed`` and on, at each site. ``items``: SKUs
    that may be ordered, of which every site takes those that it has; None: those of the site that
    are not held out, or all of them with ``held_out``. ``attempts``: most per task; None: as in
    the gate file. ``care``: in which tasks the policy takes more care after a failure whatever it
    was: none, every other one, all. ``record``: write bags. ``jobs``: processes; 0: one per core.
    """

    catalogue: Catalogue
    gate: GateConfig
    out: Path
    sites: tuple[str, ...]
    tasks_per_site: int
    first_seed: int = 0
    items: tuple[str, ...] | None = None
    held_out: bool = False
    attempts: int | None = None
    watch: Watch = Watch()
    care: Care = "none"
    record: bool = True
    camera: bool = False
    jobs: int = 0


@dataclass(frozen=True)
class Job:
    """A task to run."""

    site: str
    seed: int

    def __str__(self) -> str:
        return f"{self.site}-{self.seed:06d}"

    @property
    def key(self) -> Key:
        """As results have it."""
        return self.site, self.seed


def jobs_of(request: FleetRequest) -> list[Job]:
    """All tasks asked for, in order."""
    require_mujoco()
    if request.tasks_per_site < 1 or request.first_seed < 0:
        raise SpecError("a fleet needs at least one task per site, and seeds from 0 on")
    last = request.first_seed + request.tasks_per_site
    if last > SEEDS:
        raise SpecError(f"seeds up to {last - 1}: expected less than {SEEDS}")
    if not request.sites:
        raise SpecError("no sites: every site of the cell file is held out, name some")
    for sku in request.items or ():
        request.catalogue.item(sku)
    for site in request.sites:
        items_of(request, site)
    order = Order(request.catalogue)
    keys = {(s, n) for s in request.sites for n in range(request.first_seed, last)}
    return [Job(*key) for key in sorted(keys, key=order)]


def lesson_of(request: FleetRequest, job: Job) -> str:
    """What the policy is told after a failure of which the mode is not known."""
    careful = request.care == "all" or (request.care == "half" and job.seed % 2 == 1)
    return DROP if careful else ""


def items_of(request: FleetRequest, site: str) -> tuple[str, ...]:
    """SKUs that may be ordered at a site."""
    place = request.catalogue.site(site)
    if request.items is None:
        found = place.items if request.held_out else request.catalogue.training_items(site)
        if not found:
            raise SpecError(f"site '{site}' has no items that are not held out: name some")
        return found
    found = tuple(sku for sku in place.items if sku in request.items)
    if not found:
        asked = f"none of the items {', '.join(request.items)}"
        if len(request.items) == 1:
            asked = f"no item '{request.items[0]}'{suggest(request.items[0], place.items)}"
        raise SpecError(f"site '{site}' has {asked} (it has: {', '.join(place.items)})")
    return found


class Order:
    """Sites as in the cell file, then seeds."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._place = {site: i for i, site in enumerate(catalogue.sites)}

    def __call__(self, key: Key) -> tuple[int, str, int]:
        """What to sort a task by."""
        site, seed = key
        return self._place.get(site, len(self._place)), site, seed


def settings_of(request: FleetRequest) -> dict[str, Any]:
    """Everything that decides what a task gives, but for its site and its seed."""
    return {
        "format": FORMAT,
        "cell": _digest(request.catalogue),
        "gate": _digest(request.gate),
        "items": sorted(request.items) if request.items is not None else None,
        "held_out": request.held_out,
        "attempts": request.attempts,
        "watch": request.watch.document(),
        "care": request.care,
        "record": request.record,
        "camera": request.camera,
        "mujoco": mujoco_version(),
    }


def mujoco_version() -> str:
    """Of the physics: another version may give other bytes."""
    return str(require_mujoco().__version__)


def _digest(model: BaseModel) -> str:
    return hashlib.sha256(model.model_dump_json().encode()).hexdigest()[:16]


def gate_of(request: FleetRequest) -> GateConfig:
    """The gate file with the attempts that are asked for."""
    if request.attempts is None:
        return request.gate
    limits = request.gate.limits.model_copy(update={"max_attempts": request.attempts})
    return request.gate.model_copy(update={"limits": limits})


@lru_cache(maxsize=4)
def _checkpoint(path: Path) -> Checkpoint:
    return load_checkpoint(path)
