"""The stream file: what a robot publishes, what of it the operator reads, where episodes are.

One YAML file per kind of robot. It names *streams* (a topic or table columns, turned into named
features with SI units), the *step* (when an assessment is made), *events* (failures, retries,
recoveries, recognised on features), and *episodes* (how a recording is cut and what the outcome
was). Live node, bag, table and data set go through the same file. docs/streams.md has a section
per key.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pro_ros.config import StrictModel, load_model, parse_model
from pro_ros.errors import suggest

FORMAT = "pro_ros/streams/1"

Modality = Literal["visual", "state", "telemetry", "action", "label"]
"""Spec names of operator.md; ``label`` streams carry events and outcomes, never model input."""

Stat = Literal[
    "last", "mean", "std", "min", "max", "delta", "above_min", "below_max", "since_change"
]
"""What a summary says of a feature over a trailing window (:mod:`pro_ros.streams.stats`)."""

LEAST_HOLD, LEAST_STALE = 0.05, 0.25
"""Defaults of ``hold`` and ``stale`` are not shorter: a busy machine is late by so much [s]."""

Seconds = Annotated[float, Field(gt=0)]


class VacuumSpec(StrictModel):
    """How a vacuum reading becomes an absolute pressure in Pa.

    ``absolute`` and ``gauge`` use the feature's unit; gauge readings are relative to ``ambient``
    (negative below it unless ``positive_is_vacuum``). ``analog`` maps volts (or counts) linearly
    through two points. A reading that only has states is a feature with ``levels``.
    """

    kind: Literal["absolute", "gauge", "analog"]
    ambient: float = Field(101325.0, gt=0, description="Ambient pressure [Pa]")
    positive_is_vacuum: bool = False
    points: tuple[tuple[float, float], tuple[float, float]] | None = Field(
        None, description="Two (reading, absolute pressure in Pa) pairs of an analog sensor"
    )

    @model_validator(mode="after")
    def _points_for_analog(self) -> VacuumSpec:
        if (self.kind == "analog") != (self.points is not None):
            raise ValueError("'points' is needed for kind 'analog' and for no other")
        if self.points is not None and self.points[0][0] == self.points[1][0]:
            raise ValueError("the two points of an analog sensor have the same reading")
        return self


class FeatureSpec(StrictModel):
    """One entry under ``features``: one number, or several of the same kind and unit.

    ``field`` is the path in the message (``wrench.force``, ``position``, ``data``). With
    ``names``, the entry gives one feature per name: for a JointState the joints, looked up by
    name and not by position; for other messages the sub-fields (``x``, ``y``, ``z``). With
    ``index`` it takes elements of an array. ``columns`` are the table's, in the same order.
    """

    name: str = Field(..., description="Feature name, or the prefix where there are several")
    field: str | None = None
    names: tuple[str, ...] = ()
    index: tuple[int, ...] = ()
    columns: tuple[str, ...] = ()
    unit: str = Field("1", description="Unit of the source, turned into SI (pint's spelling)")
    levels: tuple[str | int | float, ...] = Field(
        (), description="Values of an enumeration; each becomes a 0/1 feature"
    )
    vacuum: VacuumSpec | None = None

    @model_validator(mode="after")
    def _consistent(self) -> FeatureSpec:
        if self.names and self.index and len(self.names) != len(self.index):
            raise ValueError("'names' and 'index' differ in length")
        count = self.count
        if self.columns and len(self.columns) != count:
            raise ValueError(
                f"feature '{self.name}' has {count} values but {len(self.columns)} columns"
            )
        if self.levels and count > 1:
            raise ValueError(f"feature '{self.name}': 'levels' goes with a single value")
        if self.levels and self.vacuum:
            raise ValueError(f"feature '{self.name}': 'levels' and 'vacuum' exclude each other")
        if self.field is None and not self.columns:
            raise ValueError(f"feature '{self.name}' needs a 'field', 'columns', or both")
        return self

    @property
    def count(self) -> int:
        """How many values are read from one message or row."""
        return len(self.names) or len(self.index) or max(1, len(self.columns))

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the resulting features, in order."""
        if self.levels:
            return tuple(f"{self.name}={level}" for level in self.levels)
        if self.names:
            return tuple(f"{self.name}.{n}" for n in self.names)
        if self.count > 1:
            keys = self.index or range(self.count)
            return tuple(f"{self.name}.{i}" for i in keys)
        return (self.name,)


class SummarySpec(StrictModel):
    """Trailing statistics of features over ``over`` seconds, or since the episode began."""

    over: Seconds | Literal["episode"]
    stats: tuple[Stat, ...] = ("mean", "std", "min", "max", "delta")
    features: tuple[str, ...] = Field((), description="Names or prefixes; empty means all")


class ImageSpec(StrictModel):
    """Size to which a camera's frames are resized before the operator sees them [pixel]."""

    height: int = Field(64, ge=8, le=1024)
    width: int = Field(64, ge=8, le=1024)


class StreamSpec(StrictModel):
    """One stream: where it comes from, its features, its clock, and when it is stale."""

    modality: Modality
    topic: str | None = None
    type: str | None = Field(None, description="Message type, e.g. sensor_msgs/msg/JointState")
    clock: Literal["header", "receipt"] = "header"
    rate: float = Field(..., gt=0, description="Expected rate [Hz]")
    hold: Seconds | None = Field(
        None, description="How long a value counts as present [s]; default 3 periods, 0.05 s"
    )
    stale: Seconds | None = Field(
        None,
        description="Age at which the stream is reported stale [s]; default 10 periods, 0.25 s",
    )
    required: bool = Field(
        True, description="Without a fresh and complete sample of it no assessment is valid"
    )
    frozen: Seconds | None = Field(
        None, description="Values that do not change at all for so long are a fault [s]"
    )
    features: tuple[FeatureSpec, ...] = ()
    norms: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="Derived features: Euclidean norm of the listed ones"
    )
    summaries: tuple[SummarySpec, ...] = ()
    last: bool = Field(True, description="Give the operator the latest value itself")
    image: ImageSpec | None = None

    @model_validator(mode="after")
    def _consistent(self) -> StreamSpec:
        if (self.topic is None) != (self.type is None):
            raise ValueError("'topic' and 'type' go together")
        if (self.modality == "visual") != (self.image is not None):
            raise ValueError("'image' is needed for modality 'visual' and for no other")
        if (self.modality == "visual") == bool(self.features):
            raise ValueError("'features' is needed for every modality but 'visual'")
        if self.hold_s > self.stale_s:
            raise ValueError("'hold' is longer than 'stale'")
        names = self.raw_channels
        twice = next((n for n in names if names.count(n) > 1), None)
        if twice:
            raise ValueError(f"feature '{twice}' is named twice")
        for norm, parts in self.norms.items():
            for part in parts:
                if part not in names:
                    raise ValueError(
                        f"norms.{norm} names unknown feature '{part}'{suggest(part, names)}"
                    )
        for summary in self.summaries:
            for feature in summary.features:
                if not _select(self.channels, feature):
                    raise ValueError(
                        f"summaries name unknown feature '{feature}'"
                        f"{suggest(feature, self.channels)}"
                    )
        return self

    @property
    def hold_s(self) -> float:
        """Hold time [s]: after it a value is absent."""
        if self.hold is not None:
            return self.hold
        return min(max(3.0 / self.rate, LEAST_HOLD), self.stale_s)

    @property
    def stale_s(self) -> float:
        """Age [s] from which the stream is reported stale."""
        if self.stale is not None:
            return self.stale
        return max(10.0 / self.rate, LEAST_STALE, self.hold or 0.0)

    @property
    def raw_channels(self) -> tuple[str, ...]:
        """Names of the values one sample carries, in order (the decoder's output)."""
        return tuple(c for f in self.features for c in f.channels)

    @property
    def channels(self) -> tuple[str, ...]:
        """Raw channels and the norms derived from them, in order (what the ring holds)."""
        return self.raw_channels + tuple(self.norms)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the features that a step gives to the operator, in order.

        Last values first, then the summaries as ``<feature>:<stat>@<over>``, then ``age``.
        """
        names = list(self.channels) if self.last else []
        for summary in self.summaries:
            over = "episode" if summary.over == "episode" else f"{summary.over:g}s"
            for channel in self.summary_channels(summary):
                names.extend(f"{channel}:{stat}@{over}" for stat in summary.stats)
        return (*names, "age")

    def summary_channels(self, summary: SummarySpec) -> tuple[str, ...]:
        """The channels that a summary covers, in order."""
        if not summary.features:
            return self.channels
        wanted = {c for f in summary.features for c in _select(self.channels, f)}
        return tuple(c for c in self.channels if c in wanted)


def _select(channels: tuple[str, ...], name: str) -> tuple[str, ...]:
    """Channels equal to ``name`` or below it (``force`` selects ``force.x``, ``force.y``)."""
    return tuple(c for c in channels if c == name or c.startswith((f"{name}.", f"{name}=")))


class StepSpec(StrictModel):
    """When an assessment is made: on each sample of a stream, or at a fixed rate."""

    on: str | None = Field(None, description="Stream whose every sample makes a step")
    rate: float | None = Field(
        None,
        gt=0,
        le=1000,
        description="Steps per second [Hz]; default 30 where 'on' is not given",
    )

    @model_validator(mode="before")
    @classmethod
    def _thirty_hertz(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and raw.get("on") is None and raw.get("rate") is None:
            return {**raw, "rate": 30.0}
        return raw

    @model_validator(mode="after")
    def _one_of_both(self) -> StepSpec:
        if self.on is not None and self.rate is not None:
            raise ValueError("give either 'on' (a stream) or 'rate' (Hz)")
        return self


EventKind = Literal[
    "failure", "retry", "recovery", "drop", "jam", "grip_lost", "protective_stop",
    "intervention", "abort", "timeout",
]  # fmt: skip
"""What a robot logs anyway (operator.md). All but ``retry`` and ``recovery`` can be failures."""


class EventSpec(StrictModel):
    """A timed event, recognised on a feature: it lasts while the condition holds."""

    signal: str = Field(..., description="'<stream>.<feature>'")
    kind: EventKind = "failure"
    above: float | None = None
    below: float | None = None
    min_duration: float = Field(0.0, ge=0, description="Shorter ones do not count [s]")

    @model_validator(mode="after")
    def _one_bound(self) -> EventSpec:
        if (self.above is None) == (self.below is None):
            raise ValueError("give either 'above' or 'below'")
        return self


class OutcomeSpec(StrictModel):
    """How an episode's outcome is known.

    ``signal``: its last value in the episode, compared with ``success`` and ``failure``.
    Otherwise an episode failed if one of the ``failure_events`` happened in it and succeeded if
    none did. ``unknown`` leaves the outcome open (no label).
    """

    signal: str | None = None
    success: float | None = None
    failure: float | None = None
    failure_events: tuple[str, ...] = ()
    unknown: bool = False


class EpisodesSpec(StrictModel):
    """How recordings are cut into episodes and what is said about each.

    ``by``: ``file`` (one per recording), ``signal`` (a feature's value changes, e.g. a cycle
    counter), ``gap`` (silence longer than ``gap``), or ``events`` (an EpisodeEvent topic).
    """

    by: Literal["file", "signal", "gap", "events"] = "file"
    signal: str | None = None
    topic: str = Field("/pro/episode_event", description="EpisodeEvent topic for by: events")
    task: str = Field("", description="The goal text, where no TaskContext is recorded")
    context: dict[str, str] = Field(default_factory=dict, description="sku, site, robot, ...")
    outcome: OutcomeSpec = OutcomeSpec()
    retry_within: float | None = Field(
        None, gt=0,
        description="An episode that begins within so many seconds after a failed one of the "
        "same task is its retry [s]",
    )  # fmt: skip
    min_duration: float = Field(0.0, ge=0, description="Shorter episodes are left out [s]")
    reset: bool = Field(
        False, description="Begin each episode with an empty memory (default: memory is kept)"
    )

    @model_validator(mode="after")
    def _signal_for_signal(self) -> EpisodesSpec:
        if (self.by == "signal") != (self.signal is not None):
            raise ValueError("'signal' is needed with by: signal and with no other")
        return self


class TableSpec(StrictModel):
    """How a table's rows get their time. Columns are named in the streams."""

    time: str = Field(..., description="Column with the time")
    time_unit: Literal["s", "ms", "us", "ns", "iso8601"] = "s"
    start: str | None = Field(
        None, description="ISO time added to relative times; default 1970-01-01T00:00:00Z"
    )
    sheet: str | int = 0
    missing: tuple[str, ...] = Field((), description="Texts that mean 'no value'")


class RobotSpec(StrictModel):
    """The whole stream file. Read it with :func:`load_spec`."""

    format: Literal["pro_ros/streams/1"]
    robot: str
    description: str = ""
    attribution: str = Field("", description="Source and licence, kept with every data set")
    step: StepSpec = Field(default_factory=lambda: StepSpec.model_validate({}))
    gap: Seconds = Field(..., description="Silence after which memory is reset [s]")
    streams: dict[str, StreamSpec] = Field(..., min_length=1)
    events: dict[str, EventSpec] = Field(default_factory=dict)
    failure_modes: tuple[str, ...] = Field((), description="Events whose risk is predicted")
    episodes: EpisodesSpec = EpisodesSpec()
    table: TableSpec | None = None

    @model_validator(mode="after")
    def _references_exist(self) -> RobotSpec:
        if self.step.on is not None and self.step.on not in self.streams:
            raise ValueError(
                f"step.on names unknown stream '{self.step.on}'"
                f"{suggest(self.step.on, self.streams)}"
            )
        for name, event in self.events.items():
            self._check_signal(f"events.{name}.signal", event.signal)
        if self.episodes.signal is not None:
            self._check_signal("episodes.signal", self.episodes.signal)
        if self.episodes.outcome.signal is not None:
            self._check_signal("episodes.outcome.signal", self.episodes.outcome.signal)
        for key, names in (
            ("failure_modes", self.failure_modes),
            ("episodes.outcome.failure_events", self.episodes.outcome.failure_events),
        ):
            for name in names:
                # Events of an EpisodeEvent topic need no entry under 'events'.
                if name not in self.events and self.episodes.by != "events":
                    raise ValueError(
                        f"{key} names unknown event '{name}'{suggest(name, self.events)}"
                    )
        if not self.input_streams:
            raise ValueError("every stream is a label: the operator has nothing to read")
        return self

    def _check_signal(self, key: str, signal: str) -> None:
        stream, _, feature = signal.partition(".")
        if stream not in self.streams:
            raise ValueError(
                f"{key} names unknown stream '{stream}'{suggest(stream, self.streams)}"
            )
        channels = self.streams[stream].channels
        if feature not in channels:
            raise ValueError(
                f"{key} names unknown feature '{feature}' of stream '{stream}'"
                f"{suggest(feature, channels)}"
            )

    @property
    def input_streams(self) -> dict[str, StreamSpec]:
        """The streams that the operator reads, in file order."""
        return {n: s for n, s in self.streams.items() if s.modality != "label"}

    @property
    def layout(self) -> dict[str, tuple[str, ...]]:
        """Feature names per numeric modality, in the order of the operator's input.

        ``{"state": ("joints.position.elbow", ..., "joints.age"), "telemetry": (...)}``;
        cameras are listed by :attr:`cameras`.
        """
        names: dict[str, tuple[str, ...]] = {}
        for stream, spec in self.input_streams.items():
            if spec.modality != "visual":
                outputs = tuple(f"{stream}.{o}" for o in spec.outputs)
                names[spec.modality] = names.get(spec.modality, ()) + outputs
        return names

    @property
    def cameras(self) -> dict[str, ImageSpec]:
        """Image size per visual stream."""
        return {n: s.image for n, s in self.streams.items() if s.image is not None}


def load_spec(path: Path | str) -> RobotSpec:
    """Read and check a stream file; a fault is a one-line :class:`~pro_ros.errors.SpecError`."""
    return load_model(path, RobotSpec)


def parse_spec(raw: dict[str, Any], where: str) -> RobotSpec:
    """Check a stream file that is already parsed (from a checkpoint or a manifest)."""
    return parse_model(raw, RobotSpec, where)
