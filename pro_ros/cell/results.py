"""What the closed-loop benchmark found, as plain data: the contents of ``closed_loop.json``.

Every task that every variant ran is kept, so that each number of the report can be computed
again from this file alone (:mod:`pro_ros.cell.statistics`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import Field, model_validator

from pro_ros.cell.rows import Film, Key, TaskRow
from pro_ros.config import StrictModel, load_model
from pro_ros.errors import DataError
from pro_ros.evaluation.results import Number
from pro_ros.files import atomic_file

FORMAT: Final = "pro_ros/closed_loop/1"

Metric = Literal[
    "success", "recovery", "recovery_own", "retries", "time", "drops", "false_stops", "caught"
]
"""Numbers of a variant; :data:`pro_ros.cell.statistics.DEFINITIONS` says what they mean."""


class Variant(StrictModel):
    """One way to run the same tasks.

    ``key``: a short name for comparisons, e.g. ``gate``. ``letter``: as the page calls it for
    short. ``name``: as it is called; ``about``: what it does, in a sentence. ``ours``: PRO is in
    it. ``reference``: the variant that shows how first attempts end when nobody stops them, with
    the same way to choose actions; empty: the benchmark's plain one.
    """

    key: str = Field(..., min_length=1)
    letter: str = ""
    name: str = Field(..., min_length=1)
    about: str = ""
    ours: bool = False
    reference: str = ""
    tasks: tuple[TaskRow, ...]

    @model_validator(mode="after")
    def _tasks_are_distinct(self) -> Variant:
        seen: set[Key] = set()
        for task in self.tasks:
            if task.key in seen:
                raise ValueError(
                    f"variant '{self.key}' has site '{task.site}' seed {task.seed} twice"
                )
            seen.add(task.key)
        return self


class Bar(StrictModel):
    """What is asked of a comparison, on one metric.

    ``kind``: the bound is on the relative change (new / old - 1) or on the difference (new - old).
    ``at_least``, ``at_most``: the bound; one of them. ``strict``: the bound itself is not enough.
    """

    metric: Metric
    kind: Literal["relative", "difference"] = "difference"
    at_least: float | None = None
    at_most: float | None = None
    strict: bool = False
    words: str = Field(..., min_length=1, description="What is asked, in words")

    @model_validator(mode="after")
    def _one_bound(self) -> Bar:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("state one of 'at_least' and 'at_most'")
        return self


class Comparison(StrictModel):
    """A variant against another on the same tasks.

    ``need``: whether all bars must be met, or one of them.
    """

    new: str
    old: str
    bars: tuple[Bar, ...] = ()
    need: Literal["all", "any"] = "all"


class RiskPoint(StrictModel):
    """Alarms at the threshold that gives at most ``asked`` false alarms per hour.

    ``rate``: false alarms per hour there. ``lead_s``: lead time of each recalled event [s];
    ``lead_median``, ``lead_p10``: of these.
    """

    asked: float
    threshold: float | None
    rate: float
    recall: Number
    lead_median: Number
    lead_p10: Number
    lead_s: tuple[float, ...] = ()


class RiskCurve(StrictModel):
    """How well one watcher foresees one failure mode within ``horizon`` [s] on held-out sites.

    ``rates``, ``recalls``: false alarms per hour against event recall, as the threshold falls.
    """

    name: str
    target: str
    horizon: float
    hours: float
    events: int
    rates: tuple[float, ...]
    recalls: tuple[float, ...]
    points: tuple[RiskPoint, ...]
    note: str = ""


class RiskBar(StrictModel):
    """What is asked of a curve: of ``name``, for ``target`` within ``horizon`` [s]."""

    name: str
    target: str
    horizon: float
    asked: float
    recall: float


class Setup(StrictModel):
    """How the benchmark was run.

    ``sites``: those that were judged on. ``held_out_items``: items that training has not seen.
    ``trained_on``: what the checkpoint learnt from, in words. ``seeds``: first and last of each
    site. ``wall_s``, ``cores``: how long it took, on what; None where it was not measured.
    """

    sites: tuple[str, ...]
    held_out_items: tuple[str, ...] = ()
    seeds: tuple[int, int]
    model_id: str = ""
    trained_on: str = ""
    command: str = ""
    resamples: int = Field(2000, ge=0)
    seed: int = Field(0, ge=0)
    simulated_hours: float | None = None
    wall_s: float | None = None
    cores: int | None = None
    notes: tuple[str, ...] = ()


class ClosedLoop(StrictModel):
    """Everything that the benchmark found. :meth:`to_json` and :func:`read` are inverse.

    ``plain``: key of the variant whose first attempts nobody stops and nobody retries.
    """

    format: Literal["pro_ros/closed_loop/1"] = FORMAT
    setup: Setup
    plain: str = "plain"
    variants: tuple[Variant, ...] = Field(..., min_length=1)
    comparisons: tuple[Comparison, ...] = ()
    risk: tuple[RiskCurve, ...] = ()
    risk_bars: tuple[RiskBar, ...] = ()
    films: tuple[Film, ...] = ()

    @model_validator(mode="after")
    def _keys_are_known(self) -> ClosedLoop:
        keys = [v.key for v in self.variants]
        if len(set(keys)) != len(keys):
            raise ValueError("two variants have the same key")
        named = [self.plain, *(v.reference for v in self.variants if v.reference)]
        named += [k for c in self.comparisons for k in (c.new, c.old)]
        named += [f.variant for f in self.films]
        for key in named:
            if key not in keys:
                raise ValueError(f"no variant has the key '{key}' (there are: {', '.join(keys)})")
        return self

    def variant(self, key: str) -> Variant:
        """The variant of this key; KeyError if there is none."""
        for variant in self.variants:
            if variant.key == key:
                return variant
        raise KeyError(key)

    def to_json(self) -> str:
        """The JSON text: strict JSON without NaN, the same for the same results."""
        return self.model_dump_json(indent=1, exclude_defaults=False) + "\n"


GATE_BARS: Final = (
    Bar(
        metric="retries", kind="relative", at_most=-0.30,
        words="retries per task down by 30 % or more",
    ),
    Bar(
        metric="recovery", at_least=0.15,
        words="recovery after a first failure up by 15 points or more",
    ),
    Bar(metric="success", at_least=0.0, strict=True, words="success up"),
    Bar(metric="time", at_most=0.0, words="time per success no worse"),
)  # fmt: skip
"""What is asked of the gate against noticing failures at the end only."""

SCORING_BARS: Final = (
    Bar(metric="success", at_least=0.0, strict=True, words="success up"),
    Bar(metric="retries", at_most=0.0, strict=True, words="retries per task down"),
)
"""What is asked of action scoring beside the gate: one of them."""


def write_json(results: ClosedLoop, path: Path | str) -> None:
    """Write the results atomically.

    Raises
    ------
    StorageError
        They cannot be written; what was there before is untouched.
    """
    with atomic_file(path) as staged:
        staged.write_text(results.to_json(), encoding="utf-8")


def read(path: Path | str) -> ClosedLoop:
    """Read what :func:`write_json` wrote; a fault is a one-line DataError."""
    return load_model(path, ClosedLoop, DataError)
