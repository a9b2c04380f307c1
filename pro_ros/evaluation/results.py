"""What an evaluation says, as plain data: the contents of the JSON file behind the report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from pro_ros.config import StrictModel, load_model
from pro_ros.errors import DataError
from pro_ros.files import atomic_file
from pro_ros.model.calibration import AlarmThreshold

FORMAT: Final = "pro_ros/evaluation/1"


class ShownThreshold(StrictModel):
    """The threshold at which a target's alarms are drawn and mistakes are counted.

    ``source``: where it comes from, in words.
    """

    target: str
    horizon: float
    threshold: float
    refractory_s: float
    source: str


class Settings(StrictModel):
    """How the numbers were made.

    ``unit`` is what the bootstrap resamples. ``refractory_s``: time below the threshold after
    which an alarm is over [s]. ``success_threshold``: P(success) at or below which an episode is
    flagged as failing, None where none is set.
    """

    resamples: int = Field(1000, ge=0)
    level: float = Field(0.95, gt=0, lt=1)
    unit: Literal["episode", "group", "sequence"] = "episode"
    seed: int = Field(0, ge=0)
    refractory_s: float = Field(5.0, gt=0)
    success_threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    reliability_bins: int = Field(10, ge=2)


class Number(StrictModel):
    """A value and its interval; None with a reason where there is none."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""


class Score(StrictModel):
    """One model's number. ``difference``: the operator minus this rival, paired."""

    model: str
    number: Number
    difference: Number | None = None


class Metric(StrictModel):
    """One metric of all models. ``count`` and ``positives`` are of ``counted``.

    ``key``: of :data:`pro_ros.evaluation.definitions.DEFINITIONS`. ``target``: a failure mode,
    'any', or '' where it does not apply; ``score``: what an episode is flagged on ('risk',
    'success' or ''). ``prevalence``: positives / count.
    """

    key: str
    target: str = ""
    horizon: float | None = None
    score: str = ""
    counted: Literal["steps", "events", "episodes", "pairs"]
    count: int
    positives: int | None = None
    prevalence: float | None = None
    scores: tuple[Score, ...]
    note: str = ""

    def number(self, model: str) -> Number:
        """The number of one model; KeyError if it was not evaluated."""
        for score in self.scores:
            if score.model == model:
                return score.number
        raise KeyError(model)


class Counts(StrictModel):
    """What the numbers rest on. ``hours``: time covered by steps [h]."""

    sequences: int
    steps: int
    hours: float
    episodes: int
    successes: int
    failures: int
    unknown: int
    events: dict[str, int]
    units: int


class ReliabilityPoint(StrictModel):
    """A bin of the reliability diagram."""

    predicted: float
    observed: float
    low: float | None
    high: float | None
    count: int
    positives: int


class Curves(StrictModel):
    """Curves of one model for one target at the headline horizon.

    ``precision``/``recall``: the precision-recall curve, thinned. ``rate``/``event_recall``: false
    alarms per hour against event recall. ``reliability``: its diagram. ``lead_s``: lead times at
    ``lead_threshold`` of recalled events [s]; ``lead_events`` counts all events.
    """

    model: str
    target: str
    horizon: float
    recall: tuple[float, ...]
    precision: tuple[float, ...]
    rate: tuple[float, ...]
    event_recall: tuple[float, ...]
    reliability: tuple[ReliabilityPoint, ...]
    lead_s: tuple[float, ...]
    lead_events: int
    lead_threshold: float | None
    lead_note: str


class Breakdown(StrictModel):
    """The headline metrics on one part of the data (a site, a group, an SKU ...)."""

    dimension: str
    name: str
    counts: Counts
    metrics: tuple[Metric, ...]

    def find(self, key: str, target: str = "") -> Metric | None:
        """The metric with this key and target, or None."""
        return next((m for m in self.metrics if (m.key, m.target) == (key, target)), None)


class Mistake(StrictModel):
    """One of the largest mistakes.

    ``kind``: a missed event, a false alarm, or a wrong outcome. ``at_s``: when, since the start
    of the sequence [s]; ``duration_s``: length of a false alarm [s]; ``score``: highest risk in
    the event's lead window, highest risk in the false alarm, or P(success) at the end.
    """

    kind: Literal["missed", "false_alarm", "outcome"]
    target: str
    sequence: str
    episode: str
    at_s: float
    duration_s: float
    score: float | None
    text: str


class ScoringResults(StrictModel):
    """How the checkpoint's scorer of actions fares on executed chunks.

    ``chunks``: those that were executed in full, which are judged; ``cut``: those that an event
    or the end of an episode cut short, which are not. ``effect``: weight of the chunk's effect on
    each output, 0 where it is not used. ``models``: the scorer and what it is compared with.
    """

    scorer_id: str
    chunk_s: float
    chunks: int
    cut: int
    episodes: int
    effect: dict[str, float]
    notes: tuple[str, ...]
    models: tuple[str, ...]
    metrics: tuple[Metric, ...]

    def find(self, key: str, target: str = "", horizon: float | None = None) -> Metric | None:
        """The metric with these keys, or None."""
        wanted = (key, target, horizon)
        return next((m for m in self.metrics if (m.key, m.target, m.horizon) == wanted), None)


class Evaluation(StrictModel):
    """Everything that an evaluation found. ``to_json`` and :func:`read` are inverse."""

    format: Literal["pro_ros/evaluation/1"] = FORMAT
    model: str
    dataset: str
    attribution: str = ""
    command: str = ""
    modes: tuple[str, ...]
    horizons: tuple[float, ...]
    headline_horizon: float
    models: tuple[str, ...]
    settings: Settings
    counts: Counts
    caveats: tuple[str, ...]
    thresholds: tuple[AlarmThreshold, ...]
    shown_thresholds: tuple[ShownThreshold, ...]
    metrics: tuple[Metric, ...]
    curves: tuple[Curves, ...]
    breakdowns: tuple[Breakdown, ...]
    not_broken_down: dict[str, int] = Field(
        default_factory=dict, description="Dimensions with too many parts, and how many"
    )
    mistakes: tuple[Mistake, ...]
    scoring: ScoringResults | None = Field(
        None, description="Of the scorer of actions, where the checkpoint has one"
    )

    def find(
        self, key: str, target: str = "", horizon: float | None = None, score: str = ""
    ) -> Metric | None:
        """The metric with these keys, or None."""
        wanted = (key, target, horizon, score)
        for m in self.metrics:
            if (m.key, m.target, m.horizon, m.score) == wanted:
                return m
        return None

    def to_json(self) -> str:
        """The JSON text: strict JSON without NaN, the same for the same evaluation."""
        return self.model_dump_json(indent=1) + "\n"


def write_json(evaluation: Evaluation, path: Path | str) -> None:
    """Write the evaluation atomically.

    Raises
    ------
    StorageError
        It cannot be written; what was there before is untouched.
    """
    with atomic_file(path) as staged:
        staged.write_text(evaluation.to_json(), encoding="utf-8")


def read(path: Path | str) -> Evaluation:
    """Read what :func:`write_json` wrote; a fault is a one-line DataError."""
    return load_model(path, Evaluation, DataError)
