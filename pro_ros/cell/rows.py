"""What became of tasks, and films of them, as plain data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pro_ros.config import StrictModel

if TYPE_CHECKING:
    from pro_ros.cell.loop import TaskResult

Key = tuple[str, int]
"""Site and seed of a task: the same under every variant."""


class FailureRow(StrictModel):
    """A failure that the judge logged: its mode, and when, from the order of the task [s]."""

    mode: str
    at: float


class AttemptRow(StrictModel):
    """What became of one attempt: see :class:`pro_ros.cell.loop.Attempt`."""

    number: int = Field(..., ge=1)
    begin: float
    end: float
    outcome: str
    cause: str
    stopped: bool
    mode: str = ""
    alarm: float | None = None
    failures: tuple[FailureRow, ...] = ()
    peak: float = 0.0


class TaskRow(StrictModel):
    """What became of a task: see :class:`pro_ros.cell.loop.TaskResult`."""

    site: str
    sku: str
    seed: int = Field(..., ge=0)
    success: bool
    reason: str
    duration: float = Field(..., ge=0)
    attempts: tuple[AttemptRow, ...]

    @property
    def key(self) -> Key:
        """What makes it the same task under another variant."""
        return self.site, self.seed

    @property
    def retries(self) -> int:
        """Attempts beyond the first."""
        return max(0, len(self.attempts) - 1)

    @property
    def drops(self) -> int:
        """Items that fell, over all attempts."""
        return sum(f.mode == "drop" for a in self.attempts for f in a.failures)

    @property
    def first(self) -> AttemptRow | None:
        """The first attempt; None where none began."""
        return self.attempts[0] if self.attempts else None

    @property
    def first_succeeded(self) -> bool:
        """Whether the first attempt ended in success."""
        return self.first is not None and self.first.outcome == "success"


class FilmEvent(StrictModel):
    """Something that happened in a film, at ``at`` seconds since the order of the task."""

    at: float
    kind: Literal["begin", "alarm", "stop", "failure", "end", "success", "finish"]
    text: str


class Phase(StrictModel):
    """A stretch of a film [s since the order]: an attempt, a stop, or a recovery."""

    begin: float
    end: float
    kind: Literal["attempt", "stopping", "recovery"]
    text: str


class Film(StrictModel):
    """One task of one variant, to be looked at.

    Attributes
    ----------
    title
        Why it was chosen; empty: not said.
    variant
        Key of the variant.
    video, video_type
        The pictures as base64 and their MIME type (``video/webm`` or ``image/webp``); empty
        without a renderer, and ``note`` says why.
    begins
        Time of the first picture and of the first row of the traces [s since the order].
    step
        From one row of the traces to the next [s].
    traces
        Rows by name, None where nothing is known: ``vacuum`` [kPa below the ambient pressure],
        ``force`` [N, along z of the sensor], ``torque`` [N m, its size], ``score``, ``value``,
        ``success``, ``termination``.
    modes
        Rows of the risk of each failure mode within ``horizon`` seconds.
    threshold
        Of the score; None where the watcher has none.
    vacuum_threshold
        Of the vacuum [kPa], where a watcher has one.
    caption
        What happens, in sentences.
    """

    title: str = ""
    variant: str
    task: TaskRow
    prompt: str
    video: str = ""
    video_type: Literal["", "video/webm", "image/webp"] = ""
    begins: float
    step: float = Field(..., gt=0)
    traces: dict[str, tuple[float | None, ...]]
    modes: dict[str, tuple[float | None, ...]] = Field(default_factory=dict)
    horizon: float | None = None
    threshold: float | None = None
    vacuum_threshold: float | None = None
    events: tuple[FilmEvent, ...] = ()
    phases: tuple[Phase, ...] = ()
    caption: tuple[str, ...] = ()
    note: str = ""


def task_row(result: TaskResult) -> TaskRow:
    """What is kept of a task; times to the millisecond."""
    attempts = tuple(
        AttemptRow(
            number=a.number, begin=round(a.begin, 3), end=round(a.end, 3), outcome=a.outcome,
            cause=a.cause, stopped=a.stopped, mode=a.mode,
            alarm=None if a.alarm is None else round(a.alarm, 3),
            failures=tuple(FailureRow(mode=m, at=round(t, 3)) for m, t in a.failures),
            peak=round(a.peak, 4),
        )
        for a in result.attempts
    )  # fmt: skip
    return TaskRow(
        site=result.site, sku=result.sku, seed=result.seed, success=result.success,
        reason=result.reason, duration=round(result.duration, 3), attempts=attempts,
    )  # fmt: skip


def task_rows(results: Iterable[TaskResult]) -> tuple[TaskRow, ...]:
    """Rows of many tasks, by site and seed."""
    return tuple(sorted((task_row(r) for r in results), key=lambda row: row.key))
