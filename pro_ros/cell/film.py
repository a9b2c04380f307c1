"""A film of one task: pictures of the cell, and what PRO said all the while.

The camera of the film is nobody's sensor: it publishes nothing, so that who watches reads the
same with and without it.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Final

from pro_ros.cell.camera import Camera
from pro_ros.cell.captions import caption, events, phases
from pro_ros.cell.catalogue import Catalogue
from pro_ros.cell.cell import BLOCK_NS
from pro_ros.cell.loop import WARM_UP_NS, TaskRun
from pro_ros.cell.movie import Movie, as_text, open_movie
from pro_ros.cell.rows import Film, task_row
from pro_ros.cell.sensors import NS, STEP_NS
from pro_ros.cell.tape import BEGINS_NS, ROW_NS, Tape, order_ns
from pro_ros.cell.tasks import Task
from pro_ros.cell.watchers import Watcher
from pro_ros.errors import SpecError
from pro_ros.gate.config import GateConfig

PICTURE_NS: Final = 3 * BLOCK_NS
"""From one picture to the next: 16.7 per second [ns]."""

SHADOWS: Final = 1024
"""Size of the shadows' map: MuJoCo's own takes most of the time of rendering in software."""


class FilmCamera(Camera):
    """Takes the pictures of a film, and lets the cell's own camera work as before.

    Parameters
    ----------
    width, height
        Size of a picture [pixels]; both even.
    own
        The camera that the cell publishes; None: it has none.

    Raises
    ------
    SpecError
        Nothing on this machine can render.
    """

    def __init__(self, width: int = 480, height: int = 360, own: Camera | None = None) -> None:
        super().__init__(width, height)
        self._own = own
        self._movie: Movie | None = None

    def show(self, model: Any) -> None:
        """Begin the film of this model."""
        if self._own is not None:
            self._own.show(model)
        # Only this renderer's: the cell's own camera has made its own by now.
        before = int(model.vis.quality.shadowsize)
        model.vis.quality.shadowsize = min(before, SHADOWS)
        super().show(model)
        model.vis.quality.shadowsize = before
        self._movie = open_movie(Fraction(PICTURE_NS, NS), self.width, self.height)

    def frame(self, data: Any, step: int, steps: int) -> bytes | None:
        """Take a picture where one is due; what is given is the cell's own camera's."""
        since_ns = (step + steps) * STEP_NS - WARM_UP_NS - BEGINS_NS
        if self._movie is not None and since_ns >= 0 and since_ns % PICTURE_NS == 0:
            self._movie.add(self.picture(data))
        return None if self._own is None else self._own.frame(data, step, steps)

    def develop(self) -> tuple[bytes, str]:
        """The film so far and its MIME type; what comes later is not in it."""
        movie, self._movie = self._movie, None
        if movie is None:
            return b"", ""
        return movie.finish(), movie.video_type


def film(
    catalogue: Catalogue,
    task: Task,
    gate: GateConfig,
    watcher: Watcher,
    variant: str,
    *,
    candidates: int = 1,
    title: str = "",
    camera: Camera | None = None,
    pictures: bool = True,
    vacuum_threshold: float | None = None,
) -> Film:
    """Run a task, and keep what there is to be seen of it.

    Parameters
    ----------
    catalogue, task, gate, watcher, candidates, camera
        As for :class:`~pro_ros.cell.loop.TaskRun`; what happens is the same as without a film.
    variant
        Key of the variant in the results.
    title
        Why this task is worth seeing.
    pictures
        False: traces only.
    vacuum_threshold
        Vacuum below which the watcher alarms [Pa], to be drawn.

    Without a renderer the film has no video, and its ``note`` says so.

    Raises
    ------
    DivergedError
        The simulation is worth nothing.
    """
    note, lens = "", None
    if pictures:
        try:
            lens = FilmCamera(own=camera)
        except SpecError:
            note = "No video: nothing on the machine that made this page can render."
    else:
        note = "No video was asked for."
    ordered_ns = order_ns(task)
    tape = Tape(watcher, task, gate)
    run = TaskRun(catalogue, task, gate, tape, candidates, tape.listen, lens or camera)
    try:
        row = task_row(run.run())
        video, video_type = lens.develop() if lens is not None else (b"", "")
    finally:
        if lens is not None:
            lens.close()
    return Film(
        title=title,
        variant=variant,
        task=row,
        prompt=task.prompt,
        video=as_text(video),
        video_type=video_type,
        begins=BEGINS_NS / NS,
        step=ROW_NS / NS,
        traces={name: tuple(values) for name, values in tape.rows.items()},
        modes={name: tuple(values) for name, values in tape.modes.items()},
        horizon=tape.horizon,
        threshold=tape.threshold,
        vacuum_threshold=None if vacuum_threshold is None else vacuum_threshold / 1000.0,
        events=events(row, tape.marks, ordered_ns),
        phases=phases(tape.marks, ordered_ns),
        caption=caption(row, tape.threshold, vacuum_threshold),
        note=note,
    )
