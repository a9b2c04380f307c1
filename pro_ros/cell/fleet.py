"""Many tasks at many sites, side by side on all cores, and the same bytes whatever their number.

The folder of a fleet::

    fleet.json            settings; a later run with others is refused
    tasks.jsonl           a line per task: what became of it (journal.py)
    groups.csv            for 'pro-ros import --outcomes': all attempts at a task are one group
    <site>/<site>-<seed>/ a bag per task

The same call goes on where an earlier one ended, for whatever reason it did.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from pro_ros.cell.bags import EpisodeBag
from pro_ros.cell.camera import Camera
from pro_ros.cell.cell import DivergedError
from pro_ros.cell.fleet_folder import TASKS, conclude, held_folder
from pro_ros.cell.journal import Journal
from pro_ros.cell.loop import TaskResult, TaskRun
from pro_ros.cell.request import (
    FleetRequest,
    Job,
    Order,
    Watch,
    gate_of,
    items_of,
    jobs_of,
    lesson_of,
    mujoco_version,
    settings_of,
)
from pro_ros.cell.tasks import draw_task
from pro_ros.errors import DataError, StorageError
from pro_ros.workers import cores, work_on

__all__ = ["Fleet", "FleetRequest", "Job", "Watch", "run_fleet"]

MOST_DIVERGED: Final = 0.05
"""Share of the tasks that may diverge; one always may."""


@dataclass(frozen=True)
class Fleet:
    """What became of it.

    ``results``: of all tasks asked for, in order, those of earlier calls too. ``diverged``: a
    line per task that was left out. ``resumed``: tasks that an earlier call had done.
    ``seconds``: what this call's tasks took in their processes, by site; ``simulated``: how long
    they were, from the order to the end; ``elapsed``: by the clock [s].
    """

    results: tuple[TaskResult, ...]
    diverged: tuple[str, ...] = ()
    resumed: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    simulated: Mapping[str, float] = field(default_factory=dict)
    elapsed: float = 0.0

    def speed(self, site: str | None = None) -> float:
        """Simulated seconds per second of one process; NaN where this call ran no task."""
        sites = self.seconds if site is None else (site,)
        taken = sum(self.seconds.get(name, 0.0) for name in sites)
        return sum(self.simulated[s] for s in sites) / taken if taken > 0.0 else math.nan


def run_fleet(
    request: FleetRequest,
    progress: Callable[[int, str], None] | None = None,
    tell: Callable[[str], None] | None = None,
) -> Fleet:
    """Run all tasks that the folder does not hold yet.

    Parameters
    ----------
    progress
        Is told how many tasks are done, and which was the last.
    tell
        Is told of every task that diverged and is left out.

    Raises
    ------
    SpecError
        Unknown site or item, MuJoCo missing, no renderer, or the folder is of other settings.
    DataError
        More than :data:`MOST_DIVERGED` of the tasks diverged, a process was killed, or
        ``tasks.jsonl`` is damaged.
    StorageError
        The disk is full, the folder is something else or in use. Whatever ended it, the tasks
        done so far are kept.
    """
    jobs = jobs_of(request)
    settings = settings_of(request)
    if request.camera:
        Camera()
    with held_folder(request.out, settings) as out:
        journal = Journal(out / TASKS)
        order = Order(request.catalogue)
        if request.record:
            for key in [k for k in journal.found if not (out / k[0] / str(Job(*k))).is_dir()]:
                del journal.found[key]
        journal.arrange(order)
        try:
            fleet = _run(request, jobs, journal, progress, tell)
        except BaseException:
            # The cause counts, and a full disk may well be the cause.
            with suppress(StorageError):
                conclude(out, journal, order, request.record)
            raise
        conclude(out, journal, order, request.record)
    return fleet


def _run(
    request: FleetRequest,
    jobs: list[Job],
    journal: Journal,
    progress: Callable[[int, str], None] | None,
    tell: Callable[[str], None] | None,
) -> Fleet:
    begun = time.perf_counter()
    todo = [job for job in jobs if job.key not in journal.found]
    resumed = len(jobs) - len(todo)
    diverged: list[str] = []
    seconds: dict[str, float] = {}
    simulated: dict[str, float] = {}
    processes = request.jobs or cores()
    work = _Work(request)
    with closing(work_on(todo, work, processes)) as working:
        for count, (job, done) in enumerate(working, start=resumed + 1):
            if done.result is None:
                diverged.append(done.diverged)
                if tell is not None:
                    tell(f"{done.diverged}: left out")
                if len(diverged) > max(1.0, MOST_DIVERGED * len(jobs)):
                    raise DataError(
                        f"{request.out}: {len(diverged)} of {len(jobs)} tasks diverged, more "
                        f"than {100 * MOST_DIVERGED:g} %: the cell file asks for what cannot be "
                        "simulated"
                    )
            else:
                journal.add(done.result)
                seconds[job.site] = seconds.get(job.site, 0.0) + done.seconds
                simulated[job.site] = simulated.get(job.site, 0.0) + done.result.duration
            if progress is not None:
                progress(count, str(job))
    found = tuple(journal.found[job.key] for job in jobs if job.key in journal.found)
    elapsed = time.perf_counter() - begun
    return Fleet(found, tuple(diverged), resumed, seconds, simulated, elapsed)


# One task


@dataclass(frozen=True)
class _Done:
    result: TaskResult | None
    diverged: str
    seconds: float


@dataclass(frozen=True)
class _Work:
    """Runs a task; goes to the processes as it is."""

    request: FleetRequest

    def __call__(self, job: Job) -> _Done:
        begun = time.perf_counter()
        try:
            result: TaskResult | None = self._run(job)
            line = ""
        except DivergedError as error:
            result, line = None, str(error)
        return _Done(result, line, time.perf_counter() - begun)

    def _run(self, job: Job) -> TaskResult:
        asked = self.request
        task = draw_task(asked.catalogue, job.site, job.seed, items_of(asked, job.site))
        with ExitStack() as stack:
            listener = None
            if asked.record:
                about = {"robot": f"{job.site}-1", "task": str(job), "mujoco": mujoco_version()}
                path = asked.out / job.site / str(job)
                bag = stack.enter_context(EpisodeBag(path, about, overwrite=True))
                listener = bag.take
            camera = _camera() if asked.camera else None
            if camera is not None:
                stack.callback(camera.close)
            watch = asked.watch
            gate = gate_of(asked)
            return TaskRun(
                asked.catalogue, task, gate, watch.make(), watch.candidates, listener, camera,
                lesson_of(asked, job),
            ).run()  # fmt: skip


@lru_cache(maxsize=1)
def _camera() -> Camera:
    return Camera()
