"""A few tasks at a held-out site, three ways: what ``pro-ros demo --cell`` shows."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from pro_ros.cell.catalogue import Catalogue
from pro_ros.cell.cell import DivergedError
from pro_ros.cell.film import film
from pro_ros.cell.loop import TaskResult, TaskRun
from pro_ros.cell.messages import FORMS
from pro_ros.cell.picks import GATE, OUTCOME, PLAIN, Pick
from pro_ros.cell.request import FleetRequest, Watch, gate_of, items_of
from pro_ros.cell.results import ClosedLoop, Comparison, Setup, Variant
from pro_ros.cell.rows import Film, task_rows
from pro_ros.cell.samples import Sampler
from pro_ros.cell.tasks import Task, draw_task
from pro_ros.cell.world import require_mujoco
from pro_ros.errors import CheckpointError, DataError, SpecError
from pro_ros.gate.config import GateConfig
from pro_ros.model.checkpoint import Checkpoint, load_checkpoint
from pro_ros.workers import cores, work_on

FIRST_SEED: Final = 700_000
"""Of the tasks; neither the shipped checkpoint nor its thresholds come from these."""

NAMES: Final = {
    PLAIN: ("a", "plain policy", "One attempt, and nobody watches."),
    OUTCOME: (
        "b", "outcome only",
        "A failure is noticed at the end of the attempt. The policy recovers and tries again.",
    ),
    GATE: (
        "d", "PRO gate",
        "The gate stops the arm at PRO's risk threshold. The policy is told which failure it was "
        "stopped for, recovers and tries again.",
    ),
}  # fmt: skip
"""Letter, name and description of each way; letters as in the benchmark."""

FEW: Final = (
    "This is a demonstration on a handful of tasks, of which some were chosen to be looked at. "
    "It says nothing about how often: docs/benchmarks/closed_loop.md does, on hundreds of tasks."
)


@dataclass(frozen=True)
class Demonstration:
    """What is run.

    ``catalogue``, ``gate``: the cell file and the gate file. ``checkpoint``: PRO's folder.
    ``site``: where. ``tasks``: how many, with seeds ``first_seed`` and on.
    """

    catalogue: Catalogue
    gate: GateConfig
    checkpoint: Path
    site: str
    tasks: int = 20
    first_seed: int = FIRST_SEED

    def request(self, way: str) -> FleetRequest:
        """How the tasks are run this way."""
        watch = Watch(checkpoint=self.checkpoint) if way == GATE else Watch()
        return FleetRequest(
            self.catalogue, self.gate, Path(), (self.site,), self.tasks, self.first_seed,
            held_out=True, attempts=1 if way == PLAIN else None, watch=watch, record=False,
        )  # fmt: skip

    def task(self, seed: int) -> Task:
        """A task, the same one every way."""
        items = items_of(self.request(PLAIN), self.site)
        return draw_task(self.catalogue, self.site, seed, items)


@dataclass(frozen=True)
class Run:
    """A task and the way to run it."""

    way: str
    seed: int
    title: str = ""

    def __str__(self) -> str:
        return f"seed {self.seed}, {NAMES[self.way][1]}"


def check_checkpoint(path: Path) -> Checkpoint:
    """A checkpoint that reads what the cell publishes.

    Raises
    ------
    SpecError
        MuJoCo is missing.
    CheckpointError
        It is missing or damaged, or made for another robot.
    """
    require_mujoco()
    checkpoint = _checkpoint(path)
    robot = checkpoint.spec.robot
    topics = {form.topic for form in FORMS.values()}
    for name, stream in checkpoint.spec.streams.items():
        topic = "/" + (stream.topic or "").strip("/")
        if stream.modality != "label" and topic not in topics:
            raise CheckpointError(
                f"{path}: made for the robot '{robot}', whose stream '{name}' reads '{topic}', "
                "which the cell does not publish: give one that was trained on the cell "
                "(config/cell/streams.yaml)"
            )
    try:
        Sampler(checkpoint.spec)
    except SpecError as error:
        raise CheckpointError(f"{path}: made for the robot '{robot}': {error}") from error
    return checkpoint


def run_tasks(
    asked: Demonstration,
) -> Generator[tuple[Run, TaskResult | None], None, None]:
    """All tasks all ways, side by side, each as soon as it is done; None: it diverged.

    Raises
    ------
    DataError
        A process was killed.
    """
    seeds = range(asked.first_seed, asked.first_seed + asked.tasks)
    # What takes longest first.
    runs = [Run(way, seed) for way in (GATE, OUTCOME, PLAIN) for seed in seeds]
    with closing(work_on(runs, _Running(asked), cores())) as working:
        yield from working


def collect(
    asked: Demonstration, found: Sequence[tuple[Run, TaskResult | None]], model_id: str
) -> ClosedLoop:
    """The results as the closed-loop report reads them.

    Raises
    ------
    DataError
        Every task diverged some way.
    """
    diverged = {run.seed for run, result in found if result is None}
    kept = {
        way: [r for run, r in found if run.way == way and r and run.seed not in diverged]
        for way in NAMES
    }
    if not kept[PLAIN]:
        raise DataError(f"site '{asked.site}': every task diverged")
    variants = tuple(
        Variant(
            key=way, letter=letter, name=name, about=about, ours=way == GATE,
            tasks=task_rows(kept[way]),
        )
        for way, (letter, name, about) in NAMES.items()
    )  # fmt: skip
    return ClosedLoop(
        setup=Setup(
            sites=(asked.site,),
            held_out_items=asked.catalogue.held_out.items,
            seeds=(asked.first_seed, asked.first_seed + asked.tasks - 1),
            model_id=model_id,
            command="pro-ros demo --cell",
            notes=(FEW,),
        ),
        plain=PLAIN,
        variants=variants,
        comparisons=(Comparison(new=GATE, old=OUTCOME),),
    )


def films(asked: Demonstration, picks: Sequence[Pick]) -> Generator[Film, None, None]:
    """Films of the picks, side by side, each as soon as it is done.

    The first one that was caught is shown with nobody watching, too.
    """
    shown = [p for p in picks if p.caught] or list(picks)
    runs = []
    for k, pick in enumerate(shown):
        title = pick.why[:1].upper() + pick.why[1:]
        ways = (OUTCOME, GATE) if pick.caught and k == 0 else (GATE,)
        runs += [Run(way, pick.seed, title) for way in ways]
    with closing(work_on(runs, _Filming(asked), cores())) as working:
        yield from (found for _, found in working)


def film_count(picks: Sequence[Pick]) -> int:
    """How many films there will be."""
    caught = sum(p.caught for p in picks)
    return caught + 1 if caught else len(picks)


def finished(
    results: ClosedLoop, found: Sequence[Film], picks: Sequence[Pick], wall_s: float
) -> ClosedLoop:
    """The results with their films, in the order of the picks, and the time that all took [s]."""
    place = {pick.seed: k for k, pick in enumerate(picks)}
    ways = tuple(NAMES)
    ordered = sorted(found, key=lambda f: (place[f.task.seed], ways.index(f.variant)))
    setup = results.setup.model_copy(update={"wall_s": round(wall_s), "cores": cores()})
    return results.model_copy(update={"films": tuple(ordered), "setup": setup})


# In the processes


@dataclass(frozen=True)
class _Running:
    """Runs a task; goes to the processes as it is."""

    asked: Demonstration

    def __call__(self, run: Run) -> TaskResult | None:
        request = self.asked.request(run.way)
        task = self.asked.task(run.seed)
        try:
            return TaskRun(request.catalogue, task, gate_of(request), request.watch.make()).run()
        except DivergedError:
            return None


@dataclass(frozen=True)
class _Filming:
    """Films a task."""

    asked: Demonstration

    def __call__(self, run: Run) -> Film:
        request = self.asked.request(run.way)
        task = self.asked.task(run.seed)
        return film(
            request.catalogue, task, gate_of(request), request.watch.make(), run.way,
            title=run.title,
        )  # fmt: skip


@lru_cache(maxsize=1)
def _checkpoint(path: Path) -> Checkpoint:
    return load_checkpoint(path)
