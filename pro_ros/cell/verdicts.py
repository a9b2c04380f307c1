"""Whether what was asked of a comparison is met."""

from __future__ import annotations

from dataclasses import dataclass

from pro_ros.cell.results import Bar, Comparison, Metric
from pro_ros.evaluation.results import Number


@dataclass(frozen=True)
class Change:
    """A metric of a variant against another one. ``relative``: new / old - 1."""

    metric: Metric
    old: Number
    new: Number
    difference: Number
    relative: Number


@dataclass(frozen=True)
class Verdict:
    """A bar, and whether it was met.

    ``found``: the number that the bar bounds. ``met``: judged on the number itself; None where
    there is none. ``sure``: its whole interval is on the same side.
    """

    bar: Bar
    change: Change
    found: Number
    met: bool | None
    sure: bool


@dataclass(frozen=True)
class Compared:
    """A comparison with all its changes and verdicts. ``met``: as a whole."""

    comparison: Comparison
    changes: dict[Metric, Change]
    verdicts: tuple[Verdict, ...]
    met: bool | None


def compare(comparison: Comparison, changes: dict[Metric, Change]) -> Compared:
    """Hold all changes of a comparison against its bars."""
    verdicts = tuple(verdict(bar, changes[bar.metric]) for bar in comparison.bars)
    found = [v.met for v in verdicts]
    met: bool | None
    if comparison.need == "any":
        met = True if True in found else (None if None in found or not found else False)
    else:
        met = False if False in found else (None if None in found or not found else True)
    return Compared(comparison, changes, verdicts, met)


def verdict(bar: Bar, change: Change) -> Verdict:
    """Hold a change against a bar."""
    found = change.relative if bar.kind == "relative" else change.difference
    if found.value is None:
        return Verdict(bar, change, found, None, False)
    met = _holds(bar, found.value)
    ends = [v for v in (found.low, found.high) if v is not None]
    sure = len(ends) == 2 and all(_holds(bar, v) == met for v in ends)
    return Verdict(bar, change, found, met, sure)


def _holds(bar: Bar, value: float) -> bool:
    if bar.at_least is not None:
        return value > bar.at_least if bar.strict else value >= bar.at_least
    assert bar.at_most is not None
    return value < bar.at_most if bar.strict else value <= bar.at_most
