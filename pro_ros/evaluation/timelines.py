"""What the report draws of a sequence: assessments over time, events, episodes and alarms."""

from __future__ import annotations

from collections.abc import Sequence as Sequence_
from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np
import numpy.typing as npt

from pro_ros.evaluation.alarmrates import claims
from pro_ros.evaluation.results import Evaluation, Mistake, ShownThreshold
from pro_ros.evaluation.table import ANY, OPERATOR, EvaluationItem, IntVector, Table, main_target

FloatVector = npt.NDArray[np.float64]

MOST_TIMELINES = 12
"""Most sequences drawn in full; those with mistakes come first."""

MOST_STEPS = 2400
"""About so many steps are drawn of a sequence; more are thinned, peaks of risk kept."""

FIRST_PLAUSIBLE_NS = 10**17
"""Stamps before 1973 are not taken for dates (simulated time, recordings without a clock)."""


@dataclass(frozen=True)
class Span:
    """Something that lasts: a name and when, since the start of the sequence [s]."""

    name: str
    start_s: float
    end_s: float
    text: str = ""


@dataclass(frozen=True)
class Alarm:
    """A claim of an alarm. ``true``: an event followed within the horizon."""

    at_s: float
    true: bool


@dataclass(frozen=True)
class Timeline:
    """A sequence, or a stretch of one, as it is drawn. All arrays ``[T]``.

    ``t_s``: time since the start of the sequence [s]. ``risk``: by target at ``horizon``.
    ``steps``: how many there were before thinning. ``focus_s``: a time to mark, or None.
    """

    id: str
    title: str
    subtitle: str
    t_s: FloatVector
    value: FloatVector
    progress: FloatVector
    termination: FloatVector
    success: FloatVector
    risk: dict[str, FloatVector]
    horizon: float
    threshold: ShownThreshold | None
    events: tuple[Span, ...]
    episodes: tuple[Span, ...]
    alarms: tuple[Alarm, ...]
    steps: int
    focus_s: float | None = None


@dataclass(frozen=True)
class Timelines:
    """``whole``: sequences in full. ``close``: one close-up per mistake of the evaluation."""

    whole: tuple[Timeline, ...]
    close: tuple[Timeline, ...]
    sequences: int


class _Drawer:
    """Cuts timelines out of the evaluated items."""

    def __init__(self, items: Sequence_[EvaluationItem], evaluation: Evaluation) -> None:
        self.items = {i.sequence.id: i for i in items}
        self.index = {i.sequence.id: k for k, i in enumerate(items)}
        self.evaluation = evaluation
        self.horizon = evaluation.horizons.index(evaluation.headline_horizon)
        self.table = Table(items, evaluation.modes, evaluation.horizons)
        self._alarms: dict[str, tuple[IntVector, npt.NDArray[np.bool_]]] = {}

    def threshold(self, target: str) -> ShownThreshold | None:
        """The shown threshold of a target."""
        for shown in self.evaluation.shown_thresholds:
            if shown.target == target:
                return shown
        return None

    def draw(
        self,
        sequence_id: str,
        target: str,
        span_s: tuple[float, float] | None = None,
        focus_s: float | None = None,
        name: str = "",
        title: str = "",
    ) -> Timeline:
        """One timeline; ``span_s`` cuts a stretch out of the sequence."""
        item = self.items[sequence_id]
        sequence, said = item.sequence, item.assessments
        start = int(sequence.t_ns[0])
        t_s = (sequence.t_ns - start) / 1e9
        low, high = span_s or (-np.inf, np.inf)
        rows = np.flatnonzero((t_s >= low) & (t_s <= high))
        risk = {
            name: np.asarray(
                said.risk[:, self.horizon]
                if name == ANY
                else said.mode_risk[:, self.evaluation.modes.index(name), self.horizon],
                dtype=np.float64,
            )
            for name in ((ANY, *self.evaluation.modes) if self.evaluation.modes else ())
        }
        alarms = self._alarms_of(sequence_id, target)
        kept = _thin(
            rows, risk.get(target, np.asarray(said.success)), np.asarray(said.value), alarms[0]
        )
        value = np.asarray(said.value, dtype=np.float64)
        change = np.diff(value, prepend=value[:1])
        return Timeline(
            id=name or sequence_id,
            title=title or f"Sequence {sequence_id}",
            subtitle=_when(start, item),
            t_s=t_s[kept],
            value=value[kept],
            progress=change[kept],
            termination=np.asarray(said.termination, dtype=np.float64)[kept],
            success=np.asarray(said.success, dtype=np.float64)[kept],
            risk={key: values[kept] for key, values in risk.items()},
            horizon=self.evaluation.headline_horizon,
            threshold=self.threshold(target),
            events=tuple(
                _span(e.name, e.start_ns, e.end_ns, start, f"{e.name} ({e.kind})")
                for e in sequence.events
                if low <= (e.end_ns - start) / 1e9 and (e.start_ns - start) / 1e9 <= high
            ),
            episodes=tuple(
                _span(
                    e.outcome, max(e.start_ns, start), min(e.end_ns, int(sequence.t_ns[-1])),
                    start, f"episode {e.id}: {e.outcome}",
                )
                for e in sequence.episodes
                if low <= (e.end_ns - start) / 1e9 and (e.start_ns - start) / 1e9 <= high
            ),
            alarms=tuple(
                Alarm(float(t_s[k]), bool(true))
                for k, true in zip(*alarms, strict=True)
                if low <= t_s[k] <= high
            ),
            steps=len(rows),
            focus_s=focus_s,
        )  # fmt: skip

    def _alarms_of(self, sequence_id: str, target: str) -> tuple[IntVector, npt.NDArray[np.bool_]]:
        """Steps of a sequence at which a claim is made, and whether it was true."""
        if target not in self._alarms:
            shown = self.threshold(target)
            if shown is None:
                self._alarms[target] = (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=bool))
            else:
                monitored = self.table.monitored(target, self.horizon)
                score = self.table.risk(OPERATOR, target, self.horizon)
                made = claims(monitored, score, shown.threshold, shown.refractory_s)
                self._alarms[target] = (made, monitored.positive[made])
        made, true = self._alarms[target]
        k = self.index[sequence_id]
        first, last = self.table.starts[k], self.table.starts[k + 1]
        here = (made >= first) & (made < last)
        return made[here] - first, true[here]


def timelines(
    items: Sequence_[EvaluationItem], evaluation: Evaluation, most: int = MOST_TIMELINES
) -> Timelines:
    """Timelines for the report: whole sequences, and a close-up of each mistake.

    Sequences with most mistakes are drawn first, then the others in order, ``most`` at the most.
    """
    drawer = _Drawer(items, evaluation)
    ids = [i.sequence.id for i in items if len(i.sequence)]
    wrong = {i: sum(m.sequence == i for m in evaluation.mistakes) for i in ids}
    chosen = sorted(ids, key=lambda i: (-wrong[i], ids.index(i)))[:most]
    target = main_target(evaluation.modes)
    whole = tuple(drawer.draw(i, target) for i in ids if i in chosen)
    close = tuple(_close_up(drawer, m, k) for k, m in enumerate(evaluation.mistakes))
    return Timelines(whole, close, len(ids))


def _close_up(drawer: _Drawer, mistake: Mistake, number: int) -> Timeline:
    """The time around a mistake, wide enough to see what led to it."""
    margin = max(20.0, 6.0 * drawer.evaluation.headline_horizon)
    return drawer.draw(
        mistake.sequence,
        mistake.target or main_target(drawer.evaluation.modes),
        (mistake.at_s - margin, mistake.at_s + mistake.duration_s + margin / 2.0),
        focus_s=mistake.at_s,
        name=f"mistake-{number}",
        title=f"{mistake.episode or mistake.sequence} at {mistake.at_s:.1f} s",
    )


def _thin(rows: IntVector, risk: FloatVector, value: FloatVector, alarms: IntVector) -> IntVector:
    """Rows to draw: all, or per bucket the first, the extremes of risk and value, and alarms."""
    if len(rows) <= MOST_STEPS:
        return rows
    kept = [rows[[0, -1]], alarms[np.isin(alarms, rows)]]
    for bucket in np.array_split(rows, MOST_STEPS // 5):
        shown_risk = np.nan_to_num(risk[bucket], nan=-1.0)
        shown_value = np.nan_to_num(value[bucket], nan=0.0)
        picks = [
            0,
            *(int(f(x)) for x in (shown_risk, shown_value) for f in (np.argmax, np.argmin)),
        ]
        kept.append(bucket[picks])
    return np.unique(np.concatenate(kept))


def _span(name: str, begin_ns: int, end_ns: int, start_ns: int, text: str) -> Span:
    return Span(name, (begin_ns - start_ns) / 1e9, (end_ns - start_ns) / 1e9, text)


def _when(start_ns: int, item: EvaluationItem) -> str:
    """Start as a date where the stamps are dates, and what the first episode's context says."""
    parts = []
    if start_ns >= FIRST_PLAUSIBLE_NS:
        moment = datetime.fromtimestamp(start_ns / 1e9, tz=timezone.utc)
        parts.append(f"starts {moment:%Y-%m-%d %H:%M:%S} UTC")
    sites = {e.context.get("site", "") for e in item.sequence.episodes} - {""}
    if len(sites) == 1:
        parts.append(f"site {sites.pop()}")
    outcomes = [e.outcome for e in item.sequence.episodes]
    if outcomes:
        shares = ", ".join(
            f"{outcomes.count(kind)} {kind}"
            for kind in ("success", "failure", "unknown")
            if kind in outcomes
        )
        noun = "episode" if len(outcomes) == 1 else "episodes"
        parts.append(f"{len(outcomes)} {noun} ({shares})")
    return ", ".join(parts)
