"""The largest mistakes of the operator: missed events, long false alarms, wrong outcomes."""

from __future__ import annotations

import numpy as np

from pro_ros.evaluation import alarmrates
from pro_ros.evaluation.part import Part
from pro_ros.evaluation.results import Mistake, ShownThreshold
from pro_ros.evaluation.table import ANY, OPERATOR, FloatVector, main_target
from pro_ros.runtime.alarms import alarm_onsets

MOST = 10
"""Most mistakes of each kind and target."""


def mistakes(part: Part, shown: tuple[ShownThreshold, ...]) -> tuple[Mistake, ...]:
    """The largest mistakes of each kind, the worst first."""
    found: list[Mistake] = []
    for threshold in shown:
        if threshold.target != ANY:
            found += _missed(part, threshold)[:MOST]
    for threshold in shown:
        if threshold.target == main_target(part.table.modes):
            found += _false_alarms(part, threshold)[:MOST]
    return (*found, *_wrong_outcomes(part)[:MOST])


def _missed(part: Part, shown: ShownThreshold) -> list[Mistake]:
    """Events without an alarm in their lead window, lowest risk first."""
    table = part.table
    horizon = table.horizons.index(shown.horizon)
    monitored = part.monitored(shown.target, horizon)
    peaks = alarmrates.event_peaks(monitored, table.risk(OPERATOR, shown.target, horizon))
    missed = np.flatnonzero(monitored.counted & ~(peaks >= shown.threshold))
    # Judged but low before not judged at all, which is no mistake of the model's.
    order = missed[np.argsort(peaks[missed], kind="stable")]
    rows = table.row_before(monitored.onset_ns)
    found = []
    for event in order:
        peak = None if np.isnan(peaks[event]) else round(float(peaks[event]), 6)
        said = "no risk was given" if peak is None else f"the risk reached {peak:.3g} at most"
        found.append(
            Mistake(
                kind="missed",
                target=shown.target,
                **_place(part, int(rows[event]), int(monitored.onset_ns[event])),
                duration_s=0.0,
                score=peak,
                text=f"{said} in the {shown.horizon:g} s before; the threshold is "
                f"{shown.threshold:.3g}",
            )
        )
    return found


def _false_alarms(part: Part, shown: ShownThreshold) -> list[Mistake]:
    """Alarms during which no event came within the horizon, longest first."""
    table = part.table
    horizon = table.horizons.index(shown.horizon)
    monitored = part.monitored(shown.target, horizon)
    score = table.risk(OPERATOR, shown.target, horizon)
    score = np.where(monitored.at_risk, score, np.nan)
    onsets = alarm_onsets(monitored.t_ns, score, shown.threshold, shown.refractory_s)
    above = np.flatnonzero(score >= shown.threshold)
    alarm = np.searchsorted(onsets, above, side="right") - 1
    false = np.bincount(alarm, monitored.positive[above], minlength=len(onsets)) == 0
    last = np.zeros(len(onsets), dtype=np.int64)
    np.maximum.at(last, alarm, above)
    peak = np.zeros(len(onsets))
    np.maximum.at(peak, alarm, score[above])
    length = (monitored.t_ns[last] - monitored.t_ns[onsets]) / 1e9
    order = np.lexsort((onsets, -peak, -length))
    return [
        Mistake(
            kind="false_alarm",
            target=shown.target,
            **_place(part, int(onsets[k]), int(monitored.t_ns[onsets[k]])),
            duration_s=round(float(length[k]), 3),
            score=round(float(peak[k]), 6),
            text=f"on for {f'{length[k]:.3g} s' if length[k] else 'one step'}, the risk reached "
            f"{peak[k]:.3g}, no event within {shown.horizon:g} s",
        )
        for k in order
        if false[k]
    ]


def _wrong_outcomes(part: Part) -> list[Mistake]:
    """Episodes at whose end P(success) was farthest from the outcome, beyond one half."""
    table = part.table
    said: FloatVector = table.says(OPERATOR, "success")
    final = table.label("final").astype(bool) & table.label("success_known").astype(bool)
    found = []
    for row in part.episodes:
        steps = np.flatnonzero(final[row.rows]) + row.rows.start
        steps = steps[np.isfinite(said[steps])]
        if row.episode.outcome == "unknown" or not len(steps):
            continue
        last = int(steps[-1])
        outcome = 1.0 if row.episode.outcome == "success" else 0.0
        if abs(said[last] - outcome) <= 0.5:
            continue
        found.append(
            Mistake(
                kind="outcome",
                target="",
                **_place(part, last, int(table.clock_ns[last])),
                duration_s=0.0,
                score=round(float(said[last]), 6),
                text=f"ended in {row.episode.outcome}, P(success) was {said[last]:.3g} at the end",
            )
        )
    return sorted(found, key=lambda m: (-abs((m.score or 0.0) - 0.5), m.sequence, m.at_s))


def _place(part: Part, row: int, clock_ns: int) -> dict[str, str | float]:
    """Where a row is, and when ``clock_ns`` is, in the terms of a :class:`Mistake`."""
    table = part.table
    item = int(table.sequence[row])
    owner = int(table.owner[row])
    start = int(table.clock_ns[table.starts[item]])
    return {
        "sequence": table.items[item].sequence.id,
        "episode": table.episodes[owner].episode.id if owner >= 0 else "",
        "at_s": round((clock_ns - start) / 1e9, 3),
    }
