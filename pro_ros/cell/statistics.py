"""Numbers of the closed-loop benchmark, with intervals, paired by task.

Every variant runs the same tasks: the same site and seed draw the same items, poses, noise and
weaknesses. All numbers are ratios of sums over tasks. Intervals are percentile bootstrap intervals
over whole tasks (Efron and Tibshirani 1993, ch. 8); all variants are computed under the same
draws, so that differences between them are paired.

How a first attempt would have ended is known, not guessed: in the plain variant (or the one that a
variant names as its reference) nobody stops it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from pro_ros.cell.results import ClosedLoop, Comparison, Metric
from pro_ros.cell.rows import FailureRow, Key, TaskRow
from pro_ros.cell.verdicts import Change, Compared, compare
from pro_ros.errors import DataError
from pro_ros.evaluation.intervals import Bootstrap, Replicates
from pro_ros.evaluation.results import Number

Floats = npt.NDArray[np.float64]


class Definition(NamedTuple):
    """A metric: name, unit, what it means, and whether more is better."""

    label: str
    unit: str
    meaning: str
    more_is_better: bool


DEFINITIONS: Final[dict[Metric, Definition]] = {
    "success": Definition(
        "Success", "%",
        "Tasks that ended with the item in the target tote, alone, and whole: a fragile one that "
        "fell counts as damaged.",
        True),
    "recovery": Definition(
        "Recovery after a first failure", "%",
        "Of the tasks whose first attempt fails under the plain policy, those that end in "
        "success. The same tasks for every variant: one that prevents the failure gets the "
        "credit.", True),
    "recovery_own": Definition(
        "Recovery, own failures", "%",
        "Of the tasks whose first attempt under this very variant did not end in success "
        "(it failed, or was stopped), those that end in success. The tasks differ between "
        "variants.", True),
    "retries": Definition(
        "Retries per task", "", "Attempts beyond the first, per task.", False),
    "time": Definition(
        "Time per success", "s", "Time of all tasks over the number of successes.", False),
    "drops": Definition(
        "Drops per 100 tasks", "", "Items that fell, over all attempts.", False),
    "false_stops": Definition(
        "False stops per 100 tasks", "",
        "First attempts that were stopped although they succeed when nobody stops them.", False),
    "caught": Definition(
        "First failures stopped in time", "%",
        "Of the tasks whose first attempt fails when nobody stops it, those in which it was "
        "stopped before anything had failed.", True),
}  # fmt: skip

METRICS: Final[tuple[Metric, ...]] = get_args(Metric)


@dataclass(frozen=True)
class ModeRow:
    """A failure mode under one variant.

    ``logged``: how many attempts logged it, per 100 tasks. ``caught``: of the first attempts that
    end in it when nobody stops them, those that were stopped before. ``lead``: from the alarm to
    where the failure would have come, median [s]. ``first``: how many such first attempts.
    """

    mode: str
    logged: Number
    caught: Number
    lead: Number
    first: int


class Statistics:
    """Numbers of all variants on the tasks that they have in common.

    Parameters
    ----------
    results
        What the benchmark found. The order of variants and of tasks changes nothing.
    keep
        Tasks to be counted; None: all.

    Attributes
    ----------
    keys
        The tasks that count, by site and seed.
    left_out
        How many tasks some variant lacks.

    Raises
    ------
    DataError
        The variants have no task in common.
    """

    def __init__(self, results: ClosedLoop, keep: Callable[[TaskRow], bool] | None = None) -> None:
        self.results = results
        rows = {v.key: {t.key: t for t in v.tasks} for v in results.variants}
        common = set.intersection(*(set(found) for found in rows.values()))
        everything = set.union(*(set(found) for found in rows.values()))
        self.left_out = len(everything) - len(common)
        plain = rows[results.plain]
        self.keys: list[Key] = sorted(k for k in common if keep is None or keep(plain[k]))
        if not self.keys:
            raise DataError("the variants of the benchmark have no task in common")
        self._rows = {key: [found[k] for k in self.keys] for key, found in rows.items()}
        setup = results.setup
        self.bootstrap = Bootstrap(len(self.keys), setup.resamples, setup.seed)
        self._parts: dict[tuple[str, Metric], tuple[Floats, Floats]] = {}

    def tasks(self, key: str) -> list[TaskRow]:
        """Tasks of a variant, in the order of :attr:`keys`."""
        return self._rows[key]

    def number(self, key: str, metric: Metric) -> Number:
        """A metric of a variant with its interval."""
        up, down = self._sums(key, metric)
        return self._number(_ratio(up.sum(), down.sum()), self.bootstrap.ratio(up, down),
                            "no task that it is about")  # fmt: skip

    def change(self, metric: Metric, new: str, old: str) -> Change:
        """A metric of one variant against another, paired by task."""
        (up, down), (was_up, was_down) = self._sums(new, metric), self._sums(old, metric)
        now, was = _ratio(up.sum(), down.sum()), _ratio(was_up.sum(), was_down.sum())
        draws = self.bootstrap.ratio(up, down)
        was_draws = self.bootstrap.ratio(was_up, was_down)
        # A draw without a success has no time per success; such draws are left out.
        with np.errstate(invalid="ignore", divide="ignore"):
            apart, relative = draws - was_draws, draws / was_draws - 1.0
        share = None if now is None or not was else now / was - 1.0
        difference = None if now is None or was is None else now - was
        return Change(
            metric,
            old=self.number(old, metric),
            new=self.number(new, metric),
            difference=self._number(difference, apart, "not defined"),
            relative=self._number(share, relative, "the number before is 0"),
        )

    def compared(self, comparison: Comparison) -> Compared:
        """All metrics of a comparison, and whether its bars are met."""
        changes = {m: self.change(m, comparison.new, comparison.old) for m in METRICS}
        return compare(comparison, changes)

    def modes(self) -> list[str]:
        """Failure modes that were logged, most frequent under the plain policy first."""
        counts: dict[str, int] = {}
        for variant in self.results.variants:
            plain = variant.key == self.results.plain
            for task in self.tasks(variant.key):
                for attempt in task.attempts:
                    for failure in attempt.failures:
                        counts[failure.mode] = counts.get(failure.mode, 0) + plain
        return sorted(counts, key=lambda m: (-counts[m], m))

    def mode(self, key: str, mode: str) -> ModeRow:
        """A failure mode under a variant."""
        ones = np.ones(len(self.keys))
        logged = np.array(
            [sum(_has(a.failures, mode) for a in t.attempts) for t in self.tasks(key)], float
        )
        would, caught = np.zeros(len(self.keys)), np.zeros(len(self.keys))
        leads: list[float] = []
        units: list[int] = []
        for i, (task, reference) in enumerate(
            zip(self.tasks(key), self.tasks(self._reference(key)), strict=True)
        ):
            at = _onset(reference, mode)
            if at is None:
                continue
            would[i] = 1.0
            if _stopped_in_time(task):
                caught[i] = 1.0
                alarm = _alarm(task)
                if alarm is not None:
                    leads.append(at - alarm)
                    units.append(i)
        return ModeRow(
            mode,
            logged=self._number(100.0 * logged.mean(), self.bootstrap.ratio(100.0 * logged, ones),
                                ""),
            caught=self._number(_ratio(caught.sum(), would.sum()),
                                self.bootstrap.ratio(caught, would), "no such first attempt"),
            lead=self._median(leads, units),
            first=int(would.sum()),
        )  # fmt: skip

    def leads(self, key: str) -> list[float]:
        """From the alarm that stopped a first attempt to where it would have failed [s].

        Of first attempts that fail in a known way when nobody stops them and that were stopped
        before it; both times are counted from the begin of the attempt.
        """
        found: list[float] = []
        for task, reference in zip(self.tasks(key), self.tasks(self._reference(key)), strict=True):
            at, alarm = _onset(reference), _alarm(task)
            if at is not None and alarm is not None and _stopped_in_time(task):
                found.append(at - alarm)
        return found

    def _median(self, values: list[float], units: list[int]) -> Number:
        if not values:
            return Number(value=None, reason="none stopped in time")
        order = np.argsort(values, kind="stable")
        ranked = np.asarray(values)[order]
        weights = self.bootstrap.weights[:, np.asarray(units)[order]]
        mass = np.cumsum(weights, axis=1)
        total = mass[:, -1:]
        at = np.minimum((mass < 0.5 * total).sum(axis=1), len(ranked) - 1)
        draws = np.where(total[:, 0] > 0, ranked[at], np.nan)
        return self._number(float(np.median(ranked)), draws, "")

    def false_stops(self, key: str) -> tuple[int, int, int]:
        """False stops of a variant: how many; in how many of them the item falls unstopped.

        Third, the retries of the tasks of the latter.
        """
        wrong = self._sums(key, "false_stops")[0] > 0
        free = self.tasks(self._reference(key))
        fell = [
            task for task, alone, counts in zip(self.tasks(key), free, wrong, strict=True)
            if counts and alone.first and any(f.mode == "drop" for f in alone.first.failures)
        ]  # fmt: skip
        return int(wrong.sum()), len(fell), sum(t.retries for t in fell)

    def _number(self, value: float | None, draws: Replicates, reason: str) -> Number:
        if value is None:
            return Number(value=None, reason=reason)
        interval = self.bootstrap.interval(draws)
        return Number(value=value, low=interval.low, high=interval.high, reason=interval.reason)

    def _reference(self, key: str) -> str:
        return self.results.variant(key).reference or self.results.plain

    def _sums(self, key: str, metric: Metric) -> tuple[Floats, Floats]:
        """Numerator and denominator of a metric per task, each ``[tasks]``."""
        found = self._parts.get((key, metric))
        if found is None:
            found = self._parts[key, metric] = self._count(key, metric)
        return found

    def _count(self, key: str, metric: Metric) -> tuple[Floats, Floats]:
        tasks = self.tasks(key)
        ones = np.ones(len(tasks))
        success = np.array([t.success for t in tasks], float)
        if metric == "success":
            return success, ones
        if metric == "retries":
            return np.array([t.retries for t in tasks], float), ones
        if metric == "time":
            return np.array([t.duration for t in tasks], float), success
        if metric == "drops":
            return 100.0 * np.array([t.drops for t in tasks], float), ones
        if metric == "recovery_own":
            failed = np.array([not t.first_succeeded for t in tasks], float)
            return success * failed, failed
        if metric == "recovery":
            failed = self._fails(self.results.plain)
            return success * failed, failed
        fails = self._fails(self._reference(key))
        if metric == "caught":
            return np.array([_stopped_in_time(t) for t in tasks], float) * fails, fails
        stopped = np.array([t.first is not None and t.first.stopped for t in tasks], float)
        return 100.0 * stopped * (1.0 - fails), ones

    def _fails(self, key: str) -> Floats:
        """Whether the first attempt does not end in success under a variant ``[tasks]``."""
        return np.array([not t.first_succeeded for t in self.tasks(key)], float)


def by_site(results: ClosedLoop) -> dict[str, Statistics]:
    """The same numbers on each site, in the order of the setup."""
    known: Collection[str] = dict.fromkeys(
        [*results.setup.sites, *(t.site for v in results.variants for t in v.tasks)]
    )
    return _parts(results, {site: _at_site(site) for site in known})


def by_novelty(results: ClosedLoop) -> dict[str, Statistics]:
    """The same numbers on items that training has seen, and on those that it has not."""
    new = set(results.setup.held_out_items)
    return _parts(
        results,
        {
            "items seen in training": lambda t: t.sku not in new,
            "held-out items": lambda t: t.sku in new,
        },
    )


def _at_site(site: str) -> Callable[[TaskRow], bool]:
    return lambda task: task.site == site


def _parts(
    results: ClosedLoop, rules: Mapping[str, Callable[[TaskRow], bool]]
) -> dict[str, Statistics]:
    found: dict[str, Statistics] = {}
    for name, rule in rules.items():
        try:
            found[name] = Statistics(results, rule)
        except DataError:
            # A part without tasks is no part.
            continue
    return found


def _ratio(up: float, down: float) -> float | None:
    return float(up / down) if down else None


def _has(failures: tuple[FailureRow, ...], mode: str) -> bool:
    return any(f.mode == mode for f in failures)


def _onset(reference: TaskRow, mode: str = "") -> float | None:
    """When the first attempt failed first, if so in this mode, from its begin [s]."""
    first = reference.first
    if first is None or first.outcome == "success" or not first.failures:
        return None
    failure = min(first.failures, key=lambda f: f.at)
    return failure.at - first.begin if not mode or failure.mode == mode else None


def _alarm(task: TaskRow) -> float | None:
    """When the first attempt was stopped by an alarm, from its begin [s]."""
    first = task.first
    return None if first is None or first.alarm is None else first.alarm - first.begin


def _stopped_in_time(task: TaskRow) -> bool:
    """Whether the first attempt was stopped before anything had failed."""
    first = task.first
    if first is None or not first.stopped:
        return False
    at = first.end if first.alarm is None else first.alarm
    return all(f.at > at for f in first.failures)
