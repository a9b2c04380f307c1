"""Labels per step from outcomes and timed events, with honest censoring.

What is not known has no label (operator.md, "What it learns from"): a window that reaches past
the end of the log, a gap or an intervention, a step inside an event that is already going on, an
episode whose end or outcome was not seen. Times are int64 nanoseconds throughout, so a border is
exact. Notation: T steps, M failure modes, K horizons.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pro_ros.config import StrictModel
from pro_ros.episodes.manifest import ENDS_KNOWLEDGE, Episode, Event
from pro_ros.episodes.sequence import Sequence
from pro_ros.streams.sample import BoolArray, FloatArray

NsArray = npt.NDArray[np.int64]

FAR = np.iinfo(np.int64).max // 4
"""A time that is never reached [ns]; far enough from the limits that sums do not overflow."""


class RewardConfig(StrictModel):
    """The implicit reward (operator.md): success at the end, costs on the way.

    The unit is one success. Costs are small beside it, so that a success after a retry is worth
    more than a failure without one. A safety event costs three times a retry; a failure costs
    nothing by itself, it is the success that is missing. With the default discount, a success 10 s
    ahead is worth 0.82 and one 35 s ahead half; a plan of 10 s costs about 0.09 in time.
    """

    success: float = Field(1.0, description="At the end of an episode that succeeded")
    failure: float = Field(0.0, le=0, description="At the end of an episode that failed")
    failure_event: float = Field(-0.3, le=0, description="At an event of kind failure")
    retry: float = Field(-0.1, le=0)
    recovery: float = Field(-0.1, le=0)
    drop: float = Field(-0.2, le=0)
    grip_lost: float = Field(-0.2, le=0)
    jam: float = Field(-0.3, le=0)
    protective_stop: float = Field(-0.3, le=0)
    intervention: float = Field(-0.3, le=0)
    abort: float = Field(-0.1, le=0)
    timeout: float = Field(-0.1, le=0)
    time_per_s: float = Field(-0.01, le=0, description="Cost of time [1/s]")
    discount_per_s: float = Field(0.98, gt=0, le=1, description="Discount over one second")

    def of_event(self, kind: str) -> float:
        """The reward at the onset of an event of this kind."""
        reward: float = getattr(self, "failure_event" if kind == "failure" else kind)
        return reward


@dataclass(frozen=True)
class Labels:
    """Labels of one sequence; float32 labels are 0 where their ``*_known`` is false.

    Attributes
    ----------
    hazard, hazard_known
        ``[T, M, K]``: the first onset of mode m after the step lies in bin k, the bins being
        (0, h1], (h1, h2], ... Known while mode m is at risk when the bin begins, and the bin
        ends within what is known.
    within, within_known
        ``[T, M, K]``: mode m begins within (t, t + h_k].
    any_within, any_within_known
        ``[T, K]``: the same for any of the modes.
    termination, termination_known
        ``[T]``: the episode's end lies within ``termination_within``.
    success, success_known
        ``[T]``: the outcome of the step's episode.
    final
        bool ``[T]``: within ``termination_within`` of an end that was seen; P(success | d = 1) is
        trained and judged here.
    reward
        ``[T]``: implicit reward r_t, collected in (t, next t], where the step after an episode's
        last is the episode's end. 0 where it is not known.
    value, value_known
        ``[T]``: Monte-Carlo return V_t = r_t + discount^(dt) V_next, 0 after the end.
    """

    hazard: FloatArray
    hazard_known: BoolArray
    within: FloatArray
    within_known: BoolArray
    any_within: FloatArray
    any_within_known: BoolArray
    termination: FloatArray
    termination_known: BoolArray
    success: FloatArray
    success_known: BoolArray
    final: BoolArray
    reward: FloatArray
    value: FloatArray
    value_known: BoolArray


def label(
    seq: Sequence,
    modes: tuple[str, ...],
    horizons: tuple[float, ...],
    termination_within: float,
    reward: RewardConfig,
) -> Labels:
    """Label every step of a sequence.

    Parameters
    ----------
    modes
        Names of the events whose risk is predicted (``RobotSpec.failure_modes``).
    horizons
        Increasing [s].
    termination_within
        'About to end' means within so many seconds [s].
    """
    horizons_ns = np.array([round(h * 1e9) for h in horizons], dtype=np.int64)
    runs = _Runs(seq)
    return Labels(
        **_risk(seq, modes, horizons_ns),
        **_termination(seq, runs, round(termination_within * 1e9)),
        **_success(runs),
        **_returns(seq, runs, reward),
    )


def knowledge(seq: Sequence, ignore: str | None = None) -> tuple[NsArray, BoolArray]:
    """Until when each step's future is known, and the steps of which nothing is known.

    The future of a step is known until the sequence's ``known_until_ns`` or the next event of a
    kind in ``ENDS_KNOWLEDGE`` (an intervention), whichever comes first. From such an event until
    the first episode that begins after it nothing is known: what happens there is not the
    robot's doing.

    Parameters
    ----------
    ignore
        Name of an event that does not end knowledge: where interventions are themselves a
        failure mode, their own risk is known across them.

    Returns
    -------
    known_until
        int64 ``[T]`` [ns].
    dark
        bool ``[T]``, whatever ``ignore`` says.
    """
    t = seq.t_ns
    cuts = [e for e in seq.events if e.kind in ENDS_KNOWLEDGE]
    ahead = _sorted_ns([e.start_ns for e in cuts if e.name != ignore])
    known = np.append(ahead, FAR)[np.searchsorted(ahead, t, side="right")]
    begins = _sorted_ns([e.start_ns for e in seq.episodes])
    released = [
        int(np.append(begins, FAR)[np.searchsorted(begins, e.end_ns, side="right")]) for e in cuts
    ]
    dark = _inside(t, [e.start_ns for e in cuts], [r - 1 for r in released])
    return np.minimum(known, seq.known_until_ns), dark


class _Runs:
    """The steps' episodes: when each ended, whether that was seen, and its outcome.

    ``end`` int64 ``[T]``: the end [ns]. ``seen`` bool ``[T]``: it was seen. ``open`` bool
    ``[T]``: the step lies in an episode and is not dark. ``outcome`` float64 ``[T]``: 1 success,
    0 failure, NaN unknown. ``known_until`` int64 ``[T]``, as of :func:`knowledge`.

    An intervention ends what is known of an episode. One that failed is taken to have failed
    there; one that succeeded succeeded with help, so neither its end nor its outcome is known.
    """

    def __init__(self, seq: Sequence) -> None:
        cuts = [e for e in seq.events if e.kind in ENDS_KNOWLEDGE]
        rows = [_run(episode, cuts, seq.known_until_ns) for episode in seq.episodes]
        # The last row serves steps outside any episode, whose index is -1.
        rows.append((FAR, FAR, False, np.nan))
        index = seq.episode
        self.end = np.array([r[0] for r in rows], dtype=np.int64)[index]
        self.last = np.array([r[1] for r in rows], dtype=np.int64)[index]
        self.seen = np.array([r[2] for r in rows], dtype=bool)[index]
        self.outcome = np.array([r[3] for r in rows], dtype=np.float64)[index]
        self.known_until, dark = knowledge(seq)
        self.open = (index >= 0) & ~dark


def _run(episode: Episode, cuts: list[Event], known_until_ns: int) -> tuple[int, int, bool, float]:
    """End [ns], last instant that belongs to it [ns], whether the end was seen, outcome."""
    outcome = {"success": 1.0, "failure": 0.0, "unknown": np.nan}[episode.outcome]
    helped = [e.start_ns for e in cuts if episode.start_ns <= e.start_ns < episode.end_ns]
    if helped and outcome == 0.0:
        return min(helped), min(helped), min(helped) <= known_until_ns, outcome
    if helped:
        return episode.end_ns, episode.end_ns - 1, False, np.nan
    # The end is exclusive: the last instant that has to be known is the one before it.
    seen = episode.end_seen and episode.end_ns - 1 <= known_until_ns
    return episode.end_ns, episode.end_ns - 1, seen, outcome


def _risk(seq: Sequence, modes: tuple[str, ...], horizons_ns: NsArray) -> dict[str, Any]:
    """Hazards and windows per mode, and windows for any of the modes."""
    steps, bins = len(seq), len(horizons_ns)
    window = seq.t_ns[:, None] + horizons_ns  # [T, K], its end
    begin = seq.t_ns[:, None] + np.insert(horizons_ns, 0, 0)[:-1]
    hazard, within = (np.zeros((steps, len(modes), bins), dtype=bool) for _ in range(2))
    hazard_known, within_known = (np.zeros_like(hazard) for _ in range(2))
    any_within = np.zeros((steps, bins), dtype=bool)
    all_known, dark = knowledge(seq)
    certain = np.zeros((steps, bins), dtype=bool)
    inside_any = np.zeros(steps, dtype=bool)
    for m, mode in enumerate(modes):
        events = [e for e in seq.events if e.name == mode]
        starts = _sorted_ns([e.start_ns for e in events])
        first = np.append(starts, FAR)[np.searchsorted(starts, seq.t_ns, side="right")][:, None]
        inside = _inside(seq.t_ns, [e.start_ns for e in events], [e.end_ns for e in events])
        known_until, _ = knowledge(seq, ignore=mode)
        known = (window <= known_until[:, None]) & ~(dark | inside)[:, None]
        hit = first <= window
        within[:, m], within_known[:, m] = hit & known, known
        hazard_known[:, m] = known & (first > begin)
        hazard[:, m] = hit & hazard_known[:, m]
        any_within |= hit
        # An intervention that is itself a mode is seen although it ends what is known.
        certain |= hit & known & (known_until > all_known)[:, None]
        inside_any |= inside
    any_known = ((window <= all_known[:, None]) | certain) & ~(dark | inside_any)[:, None]
    return {
        "hazard": hazard.astype(np.float32),
        "hazard_known": hazard_known,
        "within": within.astype(np.float32),
        "within_known": within_known,
        "any_within": (any_within & any_known).astype(np.float32),
        "any_within_known": any_known,
    }


def _termination(seq: Sequence, runs: _Runs, within_ns: int) -> dict[str, Any]:
    """The episode's end lies within ``within_ns``; 'no' is known before an unseen end, too."""
    limit = np.minimum(runs.known_until, runs.end - 1)
    known = runs.open & (runs.seen | (seq.t_ns + within_ns <= limit))
    near = known & runs.seen & (runs.end - seq.t_ns <= within_ns)
    return {
        "termination": near.astype(np.float32),
        "termination_known": known,
        "final": near,
    }


def _success(runs: _Runs) -> dict[str, Any]:
    known = runs.open & ~np.isnan(runs.outcome)
    return {"success": (known & (runs.outcome == 1.0)).astype(np.float32), "success_known": known}


def _returns(seq: Sequence, runs: _Runs, config: RewardConfig) -> dict[str, Any]:
    """Rewards between steps, and their discounted sum to the end of the episode."""
    t, steps = seq.t_ns, len(seq)
    follows = np.zeros(steps, dtype=bool)
    follows[:-1] = (seq.episode[1:] == seq.episode[:-1]) & runs.open[1:]
    follows &= runs.open
    known = runs.open & runs.seen & ~np.isnan(runs.outcome)
    until = np.where(follows, np.append(t[1:], 0), np.where(runs.open, runs.end, t))
    dt = (until - t) / 1e9
    reward = config.time_per_s * dt
    for event in seq.events:
        step = int(np.searchsorted(t, event.start_ns, side="left")) - 1
        if step >= 0 and runs.open[step] and event.start_ns <= runs.last[step]:
            reward[step] += config.of_event(event.kind)
    ends = known & ~follows
    reward[ends] += np.where(runs.outcome[ends] == 1.0, config.success, config.failure)
    # The end of an episode that was not seen is no step's to pay for.
    reward[~runs.open | (~follows & ~runs.seen)] = 0.0
    value = np.zeros(steps)
    discount = np.where(follows, config.discount_per_s**dt, 0.0)
    following = 0.0
    for i in range(steps - 1, -1, -1):
        following = value[i] = reward[i] + discount[i] * following
    return {
        "reward": reward.astype(np.float32),
        "value": np.where(known, value, 0.0).astype(np.float32),
        "value_known": known,
    }


def _inside(t: NsArray, starts: list[int], ends: list[int]) -> BoolArray:
    """Steps inside one of the closed spans ``[start, end]``, which may overlap."""
    order = np.argsort(np.array(starts, dtype=np.int64), kind="stable")
    begin = np.array(starts, dtype=np.int64)[order]
    latest = np.maximum.accumulate(np.array(ends, dtype=np.int64)[order])
    index = np.searchsorted(begin, t, side="right")
    inside: BoolArray = t <= np.insert(latest, 0, -FAR)[index]
    return inside


def _sorted_ns(times: list[int]) -> NsArray:
    return np.array(sorted(times), dtype=np.int64)
