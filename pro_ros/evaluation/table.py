"""All evaluated sequences as one table of steps, with the units that are resampled."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Sequence_
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from pro_ros.episodes.labels import Labels
from pro_ros.episodes.manifest import Episode
from pro_ros.episodes.sequence import Sequence
from pro_ros.errors import DataError
from pro_ros.evaluation.alarmrates import Monitored

ANY = "any"
"""Target name of 'a failure of any mode'."""

OPERATOR = "PRO"
"""Name of the evaluated operator beside its rivals."""

Unit = Literal["episode", "group", "sequence"]

FloatVector = npt.NDArray[np.float64]
IntVector = npt.NDArray[np.int64]
BoolVector = npt.NDArray[np.bool_]


def main_target(modes: tuple[str, ...]) -> str:
    """The target that alarms are shown for: the only mode, or any of several."""
    return modes[0] if len(modes) == 1 else ANY


class Judgement(Protocol):
    """What a model says about a sequence of T steps; the operator and the rivals alike.

    ``value``, ``termination``, ``success`` ``[T]``; ``risk`` ``[T, H]``; ``mode_risk``
    ``[T, M, H]``. NaN where it says nothing.
    """

    @property
    def value(self) -> npt.NDArray[np.floating]: ...  # noqa: D102
    @property
    def termination(self) -> npt.NDArray[np.floating]: ...  # noqa: D102
    @property
    def success(self) -> npt.NDArray[np.floating]: ...  # noqa: D102
    @property
    def risk(self) -> npt.NDArray[np.floating]: ...  # noqa: D102
    @property
    def mode_risk(self) -> npt.NDArray[np.floating]: ...  # noqa: D102


@dataclass(frozen=True)
class EvaluationItem:
    """One sequence with its labels, the operator's assessments and the rivals' judgements."""

    sequence: Sequence
    labels: Labels
    assessments: Judgement
    rivals: Mapping[str, Judgement] = field(default_factory=dict)


@dataclass(frozen=True)
class EpisodeRow:
    """An episode and the rows of the table that are its steps."""

    episode: Episode
    sequence: int
    rows: slice


class Table:
    """Steps of all items, one after the other.

    Attributes
    ----------
    t_ns
        int64 ``[N]``: time of the step [ns].
    clock_ns
        int64 ``[N]``: the same with sequences set far apart, increasing [ns].
    hours
        ``[N]``: time that a step stands for, until the next step of its sequence [h].
    sequence
        ``[N]``: index of the item.
    episodes
        The episodes with steps here, in order.
    owner
        ``[N]``: index into ``episodes``; steps between episodes go with the one before them, -1
        before the first.
    models
        Names, the operator first.
    """

    def __init__(
        self,
        items: Sequence_[EvaluationItem],
        modes: tuple[str, ...],
        horizons: tuple[float, ...],
    ) -> None:
        _check(items, modes, horizons)
        self.items = list(items)
        self.modes = modes
        self.horizons = horizons
        self.models = (OPERATOR, *items[0].rivals)
        lengths = [len(i.sequence) for i in items]
        self.starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self.t_ns: IntVector = np.concatenate([i.sequence.t_ns for i in items]).astype(np.int64)
        self.sequence: IntVector = np.repeat(np.arange(len(items)), lengths)
        self.hours: FloatVector = np.concatenate([_hours(i.sequence.t_ns) for i in items])
        self.shift_ns = _shifts(items, horizons)
        self.clock_ns: IntVector = self.t_ns + self.shift_ns[self.sequence]
        self.episodes: tuple[EpisodeRow, ...] = tuple(self._episodes())
        self.owner: IntVector = self._owner()

    def __len__(self) -> int:
        return len(self.t_ns)

    def label(self, name: str) -> npt.NDArray[Any]:
        """A field of :class:`~pro_ros.episodes.labels.Labels`, joined over the items."""
        return np.concatenate([np.asarray(getattr(i.labels, name)) for i in self.items])

    def says(self, model: str, name: str) -> FloatVector:
        """A field of a model's judgement, joined over the items."""
        parts = [
            getattr(i.assessments if model == OPERATOR else i.rivals[model], name)
            for i in self.items
        ]
        return np.concatenate([np.asarray(p, dtype=np.float64) for p in parts])

    def risk(self, model: str, target: str, horizon: int) -> FloatVector:
        """A model's risk for a mode or 'any' at one horizon ``[N]``."""
        if target == ANY:
            return self.says(model, "risk")[:, horizon]
        return self.says(model, "mode_risk")[:, self.modes.index(target), horizon]

    def risk_label(self, target: str, horizon: int) -> tuple[BoolVector, BoolVector]:
        """Whether the target begins within the horizon, and whether that is known ``[N]``."""
        if target == ANY:
            label, known = self.label("any_within"), self.label("any_within_known")
            return label[:, horizon] > 0.5, known[:, horizon].astype(bool)
        mode = self.modes.index(target)
        label, known = self.label("within"), self.label("within_known")
        return label[:, mode, horizon] > 0.5, known[:, mode, horizon].astype(bool)

    def onsets(self, target: str) -> IntVector:
        """Distinct onsets of the target ``[E]``, on ``clock_ns``, increasing [ns]."""
        wanted = set(self.modes) if target == ANY else {target}
        found = {
            e.start_ns + int(self.shift_ns[i])
            for i, item in enumerate(self.items)
            for e in item.sequence.events
            if e.name in wanted
        }
        return np.asarray(sorted(found), dtype=np.int64)

    def row_before(self, clock_ns: IntVector) -> IntVector:
        """Last step at or before each time; the first step where there is none."""
        return np.maximum(np.searchsorted(self.clock_ns, clock_ns, side="right") - 1, 0)

    def units(
        self, unit: Unit = "episode", mask: BoolVector | None = None
    ) -> tuple[IntVector, int]:
        """Unit of resampling of each step ``[N]``, and how many there are.

        Numbered from 0 in order of appearance in ``mask``; 0 for steps outside it.
        """
        mask = np.ones(len(self), dtype=bool) if mask is None else mask
        # Steps of one owner in one sequence share a unit: name each such run once.
        run = self.sequence * (len(self.episodes) + 1) + self.owner + 1
        runs, first, inverse = np.unique(run[mask], return_index=True, return_inverse=True)
        rows = np.flatnonzero(mask)[first]
        index: dict[str, int] = {}
        number = np.zeros(len(runs), dtype=np.int64)
        for k in np.argsort(rows, kind="stable"):
            name = self._unit_name(int(rows[k]), unit)
            number[k] = index.setdefault(name, len(index))
        of_step = np.zeros(len(self), dtype=np.int64)
        of_step[mask] = number[inverse]
        return of_step, len(index)

    def monitored(
        self,
        target: str,
        horizon: int,
        mask: BoolVector | None = None,
        units: tuple[IntVector, int] | None = None,
    ) -> Monitored:
        """The steps as :mod:`pro_ros.evaluation.alarmrates` reads them.

        Parameters
        ----------
        mask
            bool ``[N]``: steps outside it are not monitored; None: all are.
        units
            What :meth:`units` gave; None: episodes.
        """
        label, known = self.risk_label(target, horizon)
        if mask is not None:
            known = known & mask
        unit, count = self.units() if units is None else units
        positive = label & known
        onset = self.onsets(target)
        following = np.searchsorted(onset, self.clock_ns, side="right")
        event = np.where(positive & (following < len(onset)), following, -1)
        # An event belongs to the unit of the last step before it that could have warned.
        last = np.zeros(len(onset), dtype=np.int64)
        np.maximum.at(last, event[event >= 0], np.flatnonzero(event >= 0))
        return Monitored(
            t_ns=self.clock_ns,
            hours=np.where(known, self.hours, 0.0),
            at_risk=known,
            positive=positive,
            event=event,
            onset_ns=onset,
            unit=unit,
            event_unit=unit[last],
            horizon_s=self.horizons[horizon],
            units=count,
        )

    def _unit_name(self, row: int, unit: Unit) -> str:
        owner = int(self.owner[row])
        if unit == "sequence" or owner < 0:
            return f"sequence {self.items[int(self.sequence[row])].sequence.id}"
        episode = self.episodes[owner].episode
        if unit == "group" and episode.group:
            return f"group {episode.group}"
        return f"episode {episode.id}"

    def _episodes(self) -> list[EpisodeRow]:
        found = []
        for i, item in enumerate(self.items):
            index = item.sequence.episode
            used, first = np.unique(index, return_index=True)
            last = len(index) - np.unique(index[::-1], return_index=True)[1]
            start = int(self.starts[i])
            for k, begin, end in zip(used, first, last, strict=True):
                if k >= 0:
                    rows = slice(start + int(begin), start + int(end))
                    found.append(EpisodeRow(item.sequence.episodes[int(k)], i, rows))
        return found

    def _owner(self) -> IntVector:
        first = np.asarray([e.rows.start for e in self.episodes], dtype=np.int64)
        owner = np.searchsorted(first, np.arange(len(self)), side="right") - 1
        home = np.asarray([e.sequence for e in self.episodes] + [-1], dtype=np.int64)
        return np.where(home[owner] == self.sequence, owner, -1)


def _hours(t_ns: IntVector) -> FloatVector:
    """Time until the next step; the last step stands for the median of the others [h]."""
    if len(t_ns) < 2:
        return np.zeros(len(t_ns))
    gaps = np.diff(t_ns) / 3.6e12
    return np.append(gaps, np.median(gaps))


def _shifts(items: Sequence_[EvaluationItem], horizons: tuple[float, ...]) -> IntVector:
    """What to add to each item's time so that items follow one another with wide gaps [ns]."""
    gap = round((max(horizons, default=0.0) + 3600.0) * 1e9)
    shifts, clock = [], 0
    for item in items:
        t = item.sequence.t_ns
        shifts.append(clock - int(t[0]) if len(t) else 0)
        # Events may lie after the last step, up to where knowledge ends.
        end = max([int(t[-1]), *(e.end_ns for e in item.sequence.events)]) if len(t) else 0
        clock = shifts[-1] + end + gap if len(t) else clock
    return np.asarray(shifts, dtype=np.int64)


def _check(
    items: Sequence_[EvaluationItem], modes: tuple[str, ...], horizons: tuple[float, ...]
) -> None:
    """Refuse arrays that do not belong together."""
    if not any(len(i.sequence) for i in items):
        raise DataError("nothing to evaluate: no sequence has any step")
    if ANY in modes:
        raise DataError(f"a failure mode cannot be named '{ANY}': that stands for all of them")
    names = list(items[0].rivals)
    for item in items:
        steps = len(item.sequence)
        where = f"sequence '{item.sequence.id}'"
        if list(item.rivals) != names:
            raise DataError(f"{where}: expected judgements of the rivals {', '.join(names)}")
        for name, judged in {OPERATOR: item.assessments, **item.rivals}.items():
            wanted = {
                "value": (steps,),
                "termination": (steps,),
                "success": (steps,),
                "risk": (steps, len(horizons)),
                "mode_risk": (steps, len(modes), len(horizons)),
            }
            for field_name, shape in wanted.items():
                given = np.shape(getattr(judged, field_name))
                if given != shape:
                    raise DataError(
                        f"{where}: {field_name} of {name} has shape {given}, expected {shape}"
                    )
        given = np.shape(item.labels.within)
        if given != (steps, len(modes), len(horizons)):
            raise DataError(
                f"{where}: labels have shape {given}, expected "
                f"{(steps, len(modes), len(horizons))}"
            )
