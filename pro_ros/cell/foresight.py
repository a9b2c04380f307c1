"""How well a watcher foresees a failure mode when nobody hears it.

:class:`Bystanders` look on while the plain policy works: every one of them sees the same attempts,
and none changes them. What they say becomes tracks, and tracks become a recall curve by the
definitions of :mod:`pro_ros.evaluation.alarmrates`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from pro_ros.cell.loop import KINDS
from pro_ros.cell.policy import Chunks
from pro_ros.cell.results import RiskCurve, RiskPoint
from pro_ros.cell.sensors import NS, VACUUM, Reading
from pro_ros.cell.watchers import Nobody, Pro, Threshold
from pro_ros.episodes.marks import BEGIN, END, Mark, TaskMark
from pro_ros.errors import SpecError, suggest
from pro_ros.evaluation.alarmrates import (
    Monitored,
    lead_quantile,
    lead_quantile_replicates,
    lead_times,
    operating_point,
    recall_replicates,
    sweep,
    undefined,
)
from pro_ros.evaluation.intervals import Bootstrap
from pro_ros.evaluation.results import Number
from pro_ros.gate.inputs import AssessmentSeen

ASKED: Final = (1.0, 6.0)
"""False alarms per hour at which recall is reported."""

REFRACTORY: Final = 1.0
"""An alarm is over when the score was below its threshold for so long [s]."""

Saying = tuple[int, float]
"""When something was said [ns], and the score; NaN: nothing to say."""


@dataclass(frozen=True)
class Track:
    """What one onlooker said of one attempt.

    ``task``: what attempts at the same task share. ``t_ns`` ``[N]`` increasing, ``score`` ``[N]``
    (NaN: nothing to say). ``failures``: modes and onsets that the judge logged [ns].
    """

    task: str
    t_ns: npt.NDArray[np.int64]
    score: npt.NDArray[np.float64]
    failures: tuple[tuple[str, int], ...]


class Onlooker(Protocol):
    """Somebody with an opinion on each moment."""

    def take(self, reading: Reading) -> Iterable[Saying]:
        """Take a reading; what is said of it."""

    def mark(self, mark: Mark) -> None:
        """Take an EpisodeEvent or a TaskContext."""


class ProLooks:
    """PRO: its risk of one mode (``any``: of any) within a horizon.

    Raises
    ------
    SpecError
        The checkpoint does not know the mode or the horizon.
    """

    def __init__(self, pro: Pro, target: str, horizon: float) -> None:
        source = pro.pipeline.monitor.source
        if target != "any" and target not in source.modes:
            raise SpecError(
                f"the checkpoint knows no failure mode '{target}'{suggest(target, source.modes)}"
            )
        if horizon not in source.horizons:
            known = ", ".join(f"{h:g}" for h in source.horizons)
            raise SpecError(f"the checkpoint has no horizon of {horizon:g} s (it has: {known})")
        self._pro = pro
        self._mode = None if target == "any" else source.modes.index(target)
        self._horizon = source.horizons.index(horizon)

    def take(self, reading: Reading) -> Iterable[Saying]:
        """See :class:`Onlooker`."""
        before = len(self._pro.statements)
        self._pro.take(reading)
        for said in self._pro.statements[before:]:
            a = said.assessment
            risk = a.risk if self._mode is None else a.mode_risk[self._mode]
            valid = "VALID" in said.info.validity
            yield a.t_ns, float(risk[self._horizon]) if valid else math.nan

    def mark(self, mark: Mark) -> None:
        """See :class:`Onlooker`."""
        self._pro.mark(mark)


class VacuumLooks:
    """A threshold on the vacuum, for every threshold at once: the less vacuum, the higher.

    The score is the negative of the deepest vacuum within the time that it must stay below [Pa].
    """

    def __init__(self, hold: float = 0.06, settle: float = 0.5) -> None:
        self._threshold = Threshold(0.0, hold, settle)
        self._hold_ns = round(hold * NS)
        self._recent: deque[Saying] = deque()

    def take(self, reading: Reading) -> Iterable[Saying]:
        """See :class:`Onlooker`."""
        self._threshold.take(reading)
        if reading.kind != VACUUM:
            return
        now_ns, depth = reading.receipt_ns, self._threshold.margin
        if math.isnan(depth):
            self._recent.clear()
            yield now_ns, math.nan
            return
        self._recent.append((now_ns, depth))
        while len(self._recent) > 1 and self._recent[1][0] <= now_ns - self._hold_ns:
            self._recent.popleft()
        long_enough = now_ns - self._recent[0][0] >= self._hold_ns
        yield now_ns, -max(d for _, d in self._recent) if long_enough else math.nan

    def mark(self, mark: Mark) -> None:
        """See :class:`Onlooker`."""


@dataclass
class _Open:
    """An attempt that is running."""

    sayings: dict[str, list[Saying]]
    failures: list[tuple[str, int]] = field(default_factory=list)


class Bystanders(Nobody):
    """A watcher that says that all is well, and notes what the onlookers would have said.

    Attributes
    ----------
    tracks
        By the onlooker's name, a track per attempt that ended.
    """

    def __init__(self, onlookers: Mapping[str, Onlooker]) -> None:
        super().__init__()
        self._onlookers = dict(onlookers)
        self.tracks: dict[str, list[Track]] = {name: [] for name in onlookers}
        self._open: _Open | None = None
        self._task = ""

    def take(self, reading: Reading) -> Iterable[AssessmentSeen]:
        """See :class:`~pro_ros.cell.watchers.Watcher`."""
        for name, onlooker in self._onlookers.items():
            said = list(onlooker.take(reading))
            if self._open is not None:
                self._open.sayings[name].extend(said)
        return super().take(reading)

    def mark(self, mark: Mark) -> None:
        """See :class:`~pro_ros.cell.watchers.Watcher`."""
        for onlooker in self._onlookers.values():
            onlooker.mark(mark)
        if isinstance(mark, TaskMark):
            self._task = mark.task_id
        elif mark.kind == BEGIN:
            self._open = _Open({name: [] for name in self._onlookers})
        elif self._open is not None and mark.kind == END:
            self._close(self._open, mark.t_ns)
            self._open = None
        elif self._open is not None and mark.name in KINDS:
            self._open.failures.append((mark.name, mark.t_ns))

    def choose(self, chunks: Chunks) -> int:
        """The policy's own."""
        return 0

    def _close(self, attempt: _Open, end_ns: int) -> None:
        for name, sayings in attempt.sayings.items():
            # What was said of the time after the end is of no attempt.
            within = [s for s in sayings if s[0] <= end_ns]
            self.tracks[name].append(
                Track(
                    self._task,
                    np.array([t for t, _ in within], dtype=np.int64),
                    np.array([score for _, score in within], dtype=np.float64),
                    tuple(attempt.failures),
                )
            )


def risk_curve(
    name: str,
    tracks: Sequence[Track],
    target: str,
    horizon: float,
    *,
    asked: Sequence[float] = ASKED,
    resamples: int = 2000,
    seed: int = 0,
    note: str = "",
) -> RiskCurve:
    """Recall over false alarms per hour of one onlooker, with intervals by task.

    Parameters
    ----------
    name
        As the page calls the onlooker.
    target
        Failure mode, or ``any``.
    horizon
        An alarm claims the failure within so long [s].
    asked
        False alarms per hour at which recall and lead times are reported.

    Thresholds are chosen on these tracks, for every onlooker alike. Until its first failure of
    the target an attempt is at risk, and after it no longer.
    """
    monitored, score = _monitored(tracks, target, horizon)
    bootstrap = Bootstrap(monitored.units, resamples, seed)
    hours, events = float(monitored.hours.sum()), int(monitored.counted.sum())
    reason = undefined(monitored)
    if reason:
        return RiskCurve(
            name=name, target=target, horizon=horizon, hours=hours, events=events,
            rates=(), recalls=(), points=(), note=f"{note} {reason}".strip(),
        )  # fmt: skip
    swept = sweep(monitored, score, REFRACTORY)
    points = []
    for rate in asked:
        at = operating_point(swept, rate)
        lead = lead_times(monitored, score, at.threshold)
        interval = bootstrap.interval(recall_replicates(swept, rate, bootstrap))
        quantiles = []
        for q in (0.5, 0.1):
            found = lead_quantile(lead, q)
            draws = lead_quantile_replicates(lead, monitored.event_unit, q, bootstrap)
            ends = bootstrap.interval(draws)
            quantiles.append(
                Number(value=found.value, low=ends.low, high=ends.high, reason=ends.reason)
            )
        points.append(
            RiskPoint(
                asked=rate,
                threshold=at.threshold if math.isfinite(at.threshold) else None,
                rate=at.false_alarms_per_hour,
                recall=Number(value=at.recall, low=interval.low, high=interval.high,
                              reason=interval.reason),
                lead_median=quantiles[0],
                lead_p10=quantiles[1],
                lead_s=tuple(np.round(lead[np.isfinite(lead)], 3).tolist()),
            )
        )  # fmt: skip
    return RiskCurve(
        name=name, target=target, horizon=horizon, hours=hours, events=events,
        rates=tuple(np.round(swept.rate, 4).tolist()),
        recalls=tuple(np.round(swept.recall, 4).tolist()), points=tuple(points), note=note,
    )  # fmt: skip


def _monitored(
    tracks: Sequence[Track], target: str, horizon: float
) -> tuple[Monitored, npt.NDArray[np.float64]]:
    """All tracks one after the other, so far apart that no alarm spans two."""
    units = {task: k for k, task in enumerate(sorted({t.task for t in tracks}))}
    window_ns, apart_ns = round(horizon * NS), 3600 * NS
    times, scores, hours, at_risk, event, unit = [], [], [], [], [], []
    onsets: list[int] = []
    event_units: list[int] = []
    begin_ns = 0
    for track in (t for t in tracks if len(t.t_ns)):
        t = track.t_ns - track.t_ns[0] + begin_ns
        first = min((at for m, at in track.failures if target in ("any", m)), default=None)
        of = np.full(len(t), -1, dtype=np.int64)
        free = np.ones(len(t), dtype=bool)
        if first is not None:
            onset = int(first - track.t_ns[0] + begin_ns)
            free = t < onset
            of[free & (t >= onset - window_ns)] = len(onsets)
            onsets.append(onset)
            event_units.append(units[track.task])
        steps = np.diff(t, append=t[-1] + (np.median(np.diff(t)) if len(t) > 1 else 0))
        times.append(t)
        scores.append(track.score)
        hours.append(np.where(free, steps / (3600 * NS), 0.0))
        at_risk.append(free)
        event.append(of)
        unit.append(np.full(len(t), units[track.task], dtype=np.int64))
        begin_ns = int(t[-1]) + apart_ns
    empty = np.zeros(0)
    joined = np.concatenate(event) if event else empty.astype(np.int64)
    monitored = Monitored(
        t_ns=np.concatenate(times) if times else empty.astype(np.int64),
        hours=np.concatenate(hours) if hours else empty,
        at_risk=np.concatenate(at_risk) if at_risk else empty.astype(bool),
        positive=joined >= 0,
        event=joined,
        onset_ns=np.asarray(onsets, dtype=np.int64),
        unit=np.concatenate(unit) if unit else empty.astype(np.int64),
        event_unit=np.asarray(event_units, dtype=np.int64),
        horizon_s=horizon,
        units=len(units),
    )
    return monitored, np.concatenate(scores) if scores else empty
