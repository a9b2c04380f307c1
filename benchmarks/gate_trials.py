"""Chooses a gate on some attempts and tries it on others: what gate_recordings.py is made of."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np

from pro_ros.evaluation.alarmrates import lead_quantile_replicates
from pro_ros.evaluation.intervals import Bootstrap, Replicates
from pro_ros.evaluation.table import OPERATOR
from pro_ros.gate.config import GateConfig
from pro_ros.gate.freshness import VALID
from pro_ros.gate.inputs import AssessmentSeen
from pro_ros.gate.reasons import TerminationReason
from pro_ros.gate.rehearsal import RecordedAttempt, Rehearsal, rehearse

SHARES = (0.02, 0.05, 0.10)
"""The three settings: share of good attempts that may be interrupted."""

STOP_S = 0.3
"""Time from an order to stop to its confirmation [s]."""

MATCHED = "matched"
"""Of a gate that was chosen on the tested block itself, all models interrupting equally many."""

Array = np.ndarray


@dataclass(frozen=True)
class Signal:
    """What a model says at each step of a stretch: arrays ``[T]``; ``mode`` likewise."""

    score: Array
    termination: Array
    success: Array
    mode: tuple[str, ...]


@dataclass(frozen=True)
class Stretch:
    """Attempts of one recording and the steps that are judged.

    ``unit``: what is drawn as a whole for intervals, per attempt. ``said``: judgements, per model.
    """

    t_ns: Array
    valid: Array
    attempts: tuple[RecordedAttempt, ...]
    unit: tuple[str, ...]
    said: Mapping[str, Signal] = field(default_factory=dict)

    def seen(self, model: str) -> list[AssessmentSeen]:
        """A model's judgements as the gate sees them; a rival's pass for an operator's."""
        signal = self.said[model]
        return [
            AssessmentSeen(
                sequence=n,
                stamp_ns=int(t),
                validity=VALID if valid else 0,
                score=float(score),
                termination=float(termination),
                success=float(success),
                mode=mode,
            )
            for n, (t, valid, score, termination, success, mode) in enumerate(
                zip(
                    self.t_ns,
                    self.valid,
                    signal.score,
                    signal.termination,
                    signal.success,
                    signal.mode,
                    strict=True,
                )
            )
        ]


@dataclass(frozen=True)
class Rule:
    """How one number makes a gate file.

    ``levels``: the numbers that are tried, from the strictest to the laxest.
    """

    gate: Callable[[float], GateConfig]
    levels: Callable[[Seq[Stretch], str], Array]


def _spoken(stretches: Seq[Stretch], of: Callable[[Stretch], Array]) -> Array:
    """What is said within good attempts, each number once and rising."""
    found = [np.zeros(0)]
    for stretch in stretches:
        inside = np.zeros(len(stretch.t_ns), dtype=bool)
        for attempt in stretch.attempts:
            if attempt.success:
                t = stretch.t_ns
                inside |= (t >= attempt.begin_ns) & (t < attempt.end_ns)
        found.append(of(stretch)[inside])
    whole = np.concatenate(found)
    return np.unique(whole[np.isfinite(whole)])


def risk_levels(stretches: Seq[Stretch], model: str) -> Array:
    """Just above each risk that was said, from none to all."""
    spoken = _spoken(stretches, lambda s: s.said[model].score)[::-1]
    return np.clip(np.nextafter(np.append(spoken, 0.0), 1.0), 0.0, 1.0)


def success_levels(stretches: Seq[Stretch], model: str) -> Array:
    """Each success that was said: the rule is strict."""
    return np.append(_spoken(stretches, lambda s: s.said[model].success), 1.0)


def play(stretches: Seq[Stretch], model: str, gate: GateConfig) -> list[Rehearsal]:
    """The gate over all stretches."""
    found = []
    for stretch in stretches:
        found += rehearse(stretch.seen(model), stretch.attempts, gate, STOP_S)
    return found


class Chooser:
    """Finds the laxest gate that interrupts no more than so many good attempts."""

    def __init__(self, stretches: Seq[Stretch], model: str, rule: Rule) -> None:
        self.good = sum(a.success for s in stretches for a in s.attempts)
        self._levels = rule.levels(stretches, model)
        heard = [
            (s.seen(model), s.attempts) for s in stretches if any(a.success for a in s.attempts)
        ]

        @cache
        def interrupted(level: int) -> int:
            gate = rule.gate(float(self._levels[level]))
            return sum(
                r.interrupted
                for seen, attempts in heard
                for r in rehearse(seen, attempts, gate, STOP_S)
            )

        self._interrupted = interrupted

    def at_most(self, count: int) -> float:
        """By bisection: more are interrupted the laxer the level."""
        low, high = 0, len(self._levels)
        while high - low > 1:
            middle = (low + high) // 2
            if self._interrupted(middle) <= count:
                low = middle
            else:
                high = middle
        return float(self._levels[low])

    def for_share(self, share: float) -> float:
        """Conformal risk control: the share that is expected of another attempt is kept."""
        return self.at_most(math.floor(share * (self.good + 1) - 1 + 1e-9))


@dataclass
class Tested:
    """All tested attempts of one model at one setting."""

    rehearsals: list[Rehearsal] = field(default_factory=list)
    units: list[str] = field(default_factory=list)
    levels: list[float] = field(default_factory=list)

    def add(self, stretches: Seq[Stretch], model: str, gate: GateConfig, level: float) -> int:
        """Run the gate over a tested block; how many good attempts it interrupts."""
        found = play(stretches, model, gate)
        self.rehearsals += found
        self.units += [u for s in stretches for u in s.unit]
        self.levels.append(level)
        return sum(r.interrupted for r in found)

    def summary(self, resamples: int) -> dict[str, Any]:
        """Counts, shares and lead times, with intervals over units."""
        names = {u: n for n, u in enumerate(dict.fromkeys(self.units))}
        unit = np.array([names[u] for u in self.units])
        bootstrap = Bootstrap(len(names), resamples, 0)
        failed = np.array([not r.attempt.success for r in self.rehearsals])
        in_time = np.array([r.in_time for r in self.rehearsals])
        stopped = np.array([r.stopped for r in self.rehearsals])
        interrupted = np.array([r.interrupted for r in self.rehearsals])
        lead = np.array([r.lead for r in self.rehearsals])
        seconds = np.array(
            [(r.attempt.end_ns - r.attempt.begin_ns) / 1e9 for r in self.rehearsals]
        )

        def share(which: Array, among: Array) -> dict[str, Any]:
            value = float(which[among].mean()) if among.any() else None
            told = bootstrap.mean(which[among].astype(float), unit[among])
            return {
                "count": int(which[among].sum()),
                "of": int(among.sum()),
                **measured(value, told, bootstrap),
            }

        def quantile(q: float) -> dict[str, Any]:
            known = lead[np.isfinite(lead)]
            value = float(np.quantile(known, q)) if len(known) else None
            return measured(value, lead_quantile_replicates(lead, unit, q, bootstrap), bootstrap)

        modes = [r.attempt.mode for r in self.rehearsals]
        return {
            "failures_in_time": share(in_time, failed),
            "failures_stopped_late": int((stopped & failed & ~in_time).sum()),
            "good_interrupted": share(interrupted, ~failed),
            "lead_median_s": quantile(0.5),
            "lead_p10_s": quantile(0.1),
            "stops_per_hour": float(stopped.sum() / seconds.sum() * 3600.0),
            "stops_per_100_attempts": float(100.0 * stopped.mean()),
            "monitor_died": sum(r.monitor_died for r in self.rehearsals),
            "did_not_begin": sum(r.record is None for r in self.rehearsals),
            "by_mode": {
                mode: share(in_time, failed & np.array([m == mode for m in modes]))
                for mode in sorted({m for m in modes if m})
            },
            "reasons": dict(
                sorted(
                    Counter(
                        f"{TerminationReason(r.record.cause).name} {r.record.mode}".strip()
                        for r in self.rehearsals
                        if r.in_time and r.record is not None
                    ).items()
                )
            ),
            "levels": self.levels,
        }


def measured(value: float | None, told: Replicates, bootstrap: Bootstrap) -> dict[str, Any]:
    """A number with its 95 % interval."""
    interval = bootstrap.interval(told)
    return {"value": value, "low": interval.low, "high": interval.high}


class Folds:
    """Runs one data set.

    Parameters
    ----------
    parts
        Stretches of each block, not yet judged.
    judge
        From the blocks to learn from and the blocks to judge: what every model says of the
        stretches of the latter, by block.
    tested
        Blocks that are tested.
    """

    def __init__(
        self,
        parts: Seq[Seq[Stretch]],
        judge: Callable[[Seq[int], Seq[int]], dict[int, list[Stretch]]],
        tested: Iterable[int],
        rule: Rule,
        resamples: int,
    ) -> None:
        self._parts, self._judge, self._rule = parts, judge, rule
        self._tested = tuple(tested)
        self._resamples = resamples
        self.results: dict[tuple[str, str], Tested] = {}

    def run(self, extra: Mapping[str, GateConfig]) -> dict[str, Any]:
        """All tested blocks; ``extra``: gates without a choice, of the operator alone."""
        count = len(self._parts)
        # [tested][other]: judged by models that saw neither. A pair serves both of its blocks.
        apart: dict[int, dict[int, list[Stretch]]] = {b: {} for b in range(count)}
        for a, b in combinations(range(count), 2):
            if {a, b} & set(self._tested):
                said = self._judge([c for c in range(count) if c not in (a, b)], [a, b])
                apart[a][b], apart[b][a] = said[b], said[a]
                print(f"learned without blocks {a + 1} and {b + 1}", flush=True)
        for block in self._tested:
            held_out = self._judge([c for c in range(count) if c != block], [block])[block]
            self._test(apart[block], held_out, extra)
            print(f"tested block {block + 1}", flush=True)
        return self._report()

    def _at(self, setting: str, model: str) -> Tested:
        return self.results.setdefault((setting, model), Tested())

    def _test(
        self,
        others: dict[int, list[Stretch]],
        tested: list[Stretch],
        extra: Mapping[str, GateConfig],
    ) -> None:
        learned = [s for part in others.values() for s in part]
        models = list(tested[0].said)
        allowed = {}
        for model in models:
            chooser = Chooser(learned, model, self._rule)
            for share in SHARES:
                level = chooser.for_share(share)
                gate = self._rule.gate(level)
                count = self._at(f"{share:g}", model).add(tested, model, gate, level)
                if model == OPERATOR:
                    allowed[share] = count
        for model in models:
            chooser = Chooser(tested, model, self._rule)
            for share in SHARES:
                level = chooser.at_most(allowed[share])
                found = self._at(f"{share:g} {MATCHED}", model)
                found.add(tested, model, self._rule.gate(level), level)
        for name, gate in extra.items():
            self._at(name, OPERATOR).add(tested, OPERATOR, gate, math.nan)

    def _report(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for (setting, model), tested in self.results.items():
            summary = tested.summary(self._resamples)
            if any(map(math.isnan, summary["levels"])):
                del summary["levels"]
            found.setdefault(setting, {})[model] = summary
        first = next(iter(self.results.values())).rehearsals
        hours = sum(r.attempt.end_ns - r.attempt.begin_ns for r in first) / 3.6e12
        return {
            "protocol": {
                "shares": list(SHARES),
                "stop_s": STOP_S,
                "blocks": len(self._parts),
                "tested_blocks": [b + 1 for b in self._tested],
                "attempts": len(first),
                "failures": sum(not r.attempt.success for r in first),
                "failures_from_the_start": sum(
                    r.attempt.event_ns == r.attempt.begin_ns for r in first
                ),
                "good": sum(r.attempt.success for r in first),
                "hours": hours,
                "good_to_choose_on": [
                    sum(
                        a.success
                        for b, part in enumerate(self._parts)
                        if b != tested
                        for s in part
                        for a in s.attempts
                    )
                    for tested in self._tested
                ],
            },
            "settings": found,
        }
