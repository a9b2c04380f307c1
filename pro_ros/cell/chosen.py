"""Which tasks of a benchmark are worth a film."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pro_ros.cell.captions import noun
from pro_ros.cell.results import ClosedLoop
from pro_ros.cell.rows import TaskRow


@dataclass(frozen=True)
class Choice:
    """A task to be filmed under some variants, and why."""

    site: str
    seed: int
    variants: tuple[str, ...]
    why: str


@dataclass(frozen=True)
class _Three:
    """The same task left alone, under the other variant, and under the one that is shown."""

    alone: TaskRow
    other: TaskRow
    shown: TaskRow


_Rule = Callable[[_Three], bool]


def choose(results: ClosedLoop, shown: str, other: str, most: int = 8) -> list[Choice]:
    """Choose tasks that differ in what happens, the same ones for the same results.

    For each failure mode a task in which it is stopped in time; then a false stop, a failure that
    was not foreseen, a task that is not done in the end, one without trouble, and one whose
    failure was prevented. Good and bad alike: the page is to show both.

    Parameters
    ----------
    shown
        Key of the variant that is looked at.
    other
        Key of the variant beside it; the tasks without trouble are shown without it.
    most
        Number of tasks.
    """
    alone = results.variant(shown).reference or results.plain
    rows = {key: {t.key: t for t in results.variant(key).tasks} for key in (alone, other, shown)}
    common = sorted(set.intersection(*(set(found) for found in rows.values())))
    threes = [_Three(rows[alone][k], rows[other][k], rows[shown][k]) for k in common]
    modes = list(
        dict.fromkeys(f.mode for t in threes if t.alone.first for f in t.alone.first.failures)
    )
    rules: list[tuple[str, _Rule, bool]] = [
        (f"A {noun(mode)}, caught in time", _caught(mode), True) for mode in modes
    ]
    rules += [
        ("A false stop", _false_stop, True),
        ("A failure that was not foreseen", _missed, True),
        ("Not done in the end", lambda t: not t.shown.success, True),
        ("A task without trouble", _smooth, False),
        ("A failure prevented", lambda t: _fails(t.alone) and t.shown.first_succeeded, True),
        *((f"Another {noun(mode)}, caught in time", _caught(mode), True) for mode in modes),
    ]
    found: list[Choice] = []
    taken: set[tuple[str, int]] = set()
    for why, rule, both in rules:
        fit = [t for t in threes if t.shown.key not in taken and rule(t)]
        if not fit or len(found) == most:
            continue
        # The shortest is the quickest to watch.
        best = min(fit, key=lambda t: (t.shown.duration, t.shown.key))
        taken.add(best.shown.key)
        variants = (other, shown) if both else (shown,)
        found.append(Choice(best.shown.site, best.shown.seed, variants, why))
    return found


def _fails(task: TaskRow) -> bool:
    return not task.first_succeeded


def _in_time(task: TaskRow) -> bool:
    first = task.first
    return first is not None and first.stopped and not first.failures


def _caught(mode: str) -> _Rule:
    def rule(t: _Three) -> bool:
        first = t.alone.first
        return (
            first is not None
            and any(f.mode == mode for f in first.failures)
            and _in_time(t.shown)
            and t.shown.success
        )

    return rule


def _false_stop(t: _Three) -> bool:
    return not _fails(t.alone) and _in_time(t.shown)


def _missed(t: _Three) -> bool:
    first = t.shown.first
    return _fails(t.alone) and first is not None and bool(first.failures) and not first.stopped


def _smooth(t: _Three) -> bool:
    return not _fails(t.alone) and t.shown.first_succeeded
