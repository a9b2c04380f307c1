"""Which picks of a demonstration are worth looking at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pro_ros.cell.captions import noun
from pro_ros.cell.results import ClosedLoop
from pro_ros.cell.rows import AttemptRow, TaskRow

PLAIN, OUTCOME, GATE = "plain", "outcome", "gate"
"""Keys of the three ways."""

MOST_CAUGHT: Final = 2


@dataclass(frozen=True)
class Pick:
    """A task to be looked at with PRO's gate, and why.

    ``alone``: what its first attempt comes to when nobody stops it.
    """

    seed: int
    why: str
    caught: bool
    alone: AttemptRow | None


def choose_picks(results: ClosedLoop) -> list[Pick]:
    """What to look at: one without trouble, then failures that the gate prevents.

    Where it prevents none, one that it does not; there is always something to look at.
    """
    alone, gated = (_by_seed(results, way) for way in (PLAIN, GATE))
    picks = []
    smooth = [t for s, t in gated.items() if _went_well(t) and _went_well(alone[s])]
    if smooth:
        task = min(smooth, key=_quickest)
        picks.append(Pick(task.seed, "nothing goes wrong", False, alone[task.seed].first))
    caught = sorted(
        (t for s, t in gated.items() if is_caught(alone[s], t) and t.success), key=_quickest
    )
    # One of each mode before a second of any.
    first = {_mode(alone[t.seed]): t for t in reversed(caught)}
    chosen = [t for t in caught if t is first[_mode(alone[t.seed])]]
    chosen = (chosen + [t for t in caught if t not in chosen])[:MOST_CAUGHT]
    for task in chosen:
        why = f"a {noun(_mode(alone[task.seed]))}, caught in time"
        picks.append(Pick(task.seed, why, True, alone[task.seed].first))
    if not caught:
        wrong = [t for s, t in gated.items() if goes_wrong(alone[s])]
        for task in sorted(wrong, key=_quickest)[:1]:
            lost = is_caught(alone[task.seed], task)
            why = "stopped in time, yet not done" if lost else "a failure that is not caught"
            picks.append(Pick(task.seed, why, False, alone[task.seed].first))
    if not picks:
        task = min(gated.values(), key=_quickest)
        picks.append(Pick(task.seed, "as it comes", False, alone[task.seed].first))
    return picks


def goes_wrong(alone: TaskRow) -> bool:
    """Whether a first attempt does not end in success when it is left alone."""
    return not alone.first_succeeded


def is_caught(alone: TaskRow, gated: TaskRow) -> bool:
    """Whether a first attempt that goes wrong alone was stopped before it did."""
    first = gated.first
    return goes_wrong(alone) and first is not None and first.stopped and not first.failures


def is_false_stop(alone: TaskRow, gated: TaskRow) -> bool:
    """Whether a first attempt was stopped that goes well alone."""
    return not goes_wrong(alone) and gated.first is not None and gated.first.stopped


def rows_together(results: ClosedLoop) -> list[tuple[TaskRow, TaskRow]]:
    """Each task left alone, and with PRO's gate."""
    gated = _by_seed(results, GATE)
    return [(task, gated[seed]) for seed, task in _by_seed(results, PLAIN).items()]


def _by_seed(results: ClosedLoop, way: str) -> dict[int, TaskRow]:
    return {task.seed: task for task in results.variant(way).tasks}


def _went_well(task: TaskRow) -> bool:
    return task.first_succeeded and task.first is not None and not task.first.failures


def _quickest(task: TaskRow) -> tuple[float, int]:
    """The quickest to watch first."""
    return task.duration, task.seed


def _mode(task: TaskRow) -> str:
    failures = task.first.failures if task.first is not None else ()
    return min(failures, key=lambda f: f.at).mode if failures else ""
