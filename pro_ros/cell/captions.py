"""What happens in a film, in words: events, phases and sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pro_ros.cell.loop import INTERVENTION
from pro_ros.cell.rows import AttemptRow, FilmEvent, Phase, TaskRow
from pro_ros.cell.sensors import NS
from pro_ros.episodes.marks import BEGIN, END, EventMark, Mark

MODES: Final = {
    "drop": "the item falls",
    "jam": "the item jams",
    "miss": "nothing is gripped",
    "double_pick": "two items are gripped",
}
"""What a failure mode is, as a clause."""

NOUNS: Final = {"drop": "drop", "jam": "jam", "miss": "miss", "double_pick": "double pick"}

AT_ONCE: Final = 0.2
"""What is noticed so soon is noticed as it happens [s]."""

ORDINALS: Final = ("First", "Second", "Third", "Fourth", "Fifth", "Sixth")

REASONS: Final = {
    "attempts_exhausted": "no attempt is left",
    "time_exhausted": "the time is up",
    "not_verified": "the risk does not stay low before the next attempt",
    "policy_rejected": "the item is not to be seen in the tote",
    "policy_undecided": "nobody knows how the attempt ended",
    "too_many_alarms": "there were too many alarms",
    "monitor_dead": "the monitor is silent",
}


def ordinal(number: int) -> str:
    """``First`` for 1; beyond the sixth the number itself."""
    return ORDINALS[number - 1] if 1 <= number <= len(ORDINALS) else f"{number}th"


def noun(mode: str) -> str:
    """How a failure mode is called; unknown ones as they are."""
    return NOUNS.get(mode, mode.replace("_", " ")) or "failure"


def clause(mode: str) -> str:
    """What happens in a failure mode, as a clause."""
    return MODES.get(mode, f"a failure is logged ({noun(mode)})")


def events(task: TaskRow, marks: Sequence[Mark], ordered_ns: int) -> tuple[FilmEvent, ...]:
    """Events of a film, by time. ``marks``: as the loop told them."""
    found = []
    for attempt in task.attempts:
        found.append(FilmEvent(at=attempt.begin, kind="begin", text=f"attempt {attempt.number}"))
        if attempt.stopped and attempt.alarm is not None:
            found.append(FilmEvent(at=attempt.alarm, kind="alarm", text=_alarm(attempt)))
        for failure in attempt.failures:
            found.append(FilmEvent(at=failure.at, kind="failure", text=noun(failure.mode)))
        if attempt.outcome == "success":
            found.append(FilmEvent(at=attempt.end, kind="success", text="success"))
        elif not attempt.stopped and not _at_once(attempt):
            found.append(FilmEvent(at=attempt.end, kind="end", text="noticed"))
    alarms = [a.alarm for a in task.attempts if a.stopped and a.alarm is not None]
    for mark in marks:
        if isinstance(mark, EventMark) and mark.kind == INTERVENTION:
            at = round((mark.t_ns - ordered_ns) / NS, 3)
            if not any(abs(at - alarm) < 0.05 for alarm in alarms):
                found.append(FilmEvent(at=at, kind="stop", text="stopped"))
    if not task.success:
        found.append(FilmEvent(at=task.duration, kind="finish", text="given up"))
    return tuple(sorted(found, key=lambda e: e.at))


def phases(marks: Sequence[Mark], ordered_ns: int) -> tuple[Phase, ...]:
    """Attempts, stops, and the recoveries between attempts."""
    found: list[Phase] = []
    begin_ns: int | None = None
    stop_ns: int | None = None
    ended_ns: int | None = None
    number = 0

    def since(t_ns: int) -> float:
        return round((t_ns - ordered_ns) / NS, 3)

    for mark in marks:
        if not isinstance(mark, EventMark):
            continue
        if mark.kind == BEGIN:
            if ended_ns is not None:
                found.append(Phase(begin=since(ended_ns), end=since(mark.t_ns), kind="recovery",
                                   text="recovery"))  # fmt: skip
            number += 1
            begin_ns, stop_ns, ended_ns = mark.t_ns, None, None
        elif mark.kind == INTERVENTION and begin_ns is not None:
            stop_ns = mark.t_ns
        elif mark.kind == END and begin_ns is not None:
            found.append(Phase(begin=since(begin_ns), end=since(stop_ns or mark.t_ns),
                               kind="attempt", text=f"attempt {number}"))  # fmt: skip
            if stop_ns is not None:
                found.append(Phase(begin=since(stop_ns), end=since(mark.t_ns), kind="stopping",
                                   text="stopping"))  # fmt: skip
            begin_ns, ended_ns = None, mark.t_ns
    return tuple(found)


def caption(
    task: TaskRow, threshold: float | None, vacuum_threshold: float | None = None
) -> tuple[str, ...]:
    """The film told in sentences, one for each attempt and one for the end.

    ``vacuum_threshold``: where the watcher compares the vacuum with it [Pa].
    """
    told = []
    for attempt in task.attempts:
        head = f"{ordinal(attempt.number)} attempt: "
        if attempt.outcome == "success":
            text = f"done {attempt.end - attempt.begin:.1f} s after it began."
            if attempt.failures:
                text = f"{_first(attempt)}, yet it counts as done at {attempt.end:.1f} s."
        elif attempt.stopped:
            text = _stopped(attempt, threshold, vacuum_threshold)
        else:
            text = _failed(attempt)
        told.append(head + text)
    end = f"after {task.duration:.1f} s"
    if task.success:
        told.append(f"The task ends in success {end}.")
    else:
        reason = REASONS.get(task.reason, task.reason.replace("_", " "))
        told.append(f"The task is given up {end}: {reason}.")
    return tuple(told)


def _alarm(attempt: AttemptRow) -> str:
    if attempt.cause == "predicted_failure":
        return "bad end foreseen"
    return f"alarm: {noun(attempt.mode)}" if attempt.mode else "alarm"


def _stopped(attempt: AttemptRow, threshold: float | None, vacuum_threshold: float | None) -> str:
    at = attempt.end if attempt.alarm is None else attempt.alarm
    if attempt.cause == "predicted_failure":
        why = "PRO sees the attempt about to end without success"
    elif vacuum_threshold is not None:
        why = f"the vacuum has been below {vacuum_threshold / 1000.0:.0f} kPa for a moment"
    elif threshold is not None:
        why = f"the risk passes its alarm threshold of {threshold:.2f}"
        if attempt.mode:
            why += f", most likely a {noun(attempt.mode)},"
    else:
        why = "the alarm comes"
    text = f"at {at:.1f} s {why} and the gate stops the arm"
    before = [f for f in attempt.failures if f.at <= at]
    after = [f for f in attempt.failures if f.at > at]
    if before:
        text += f", too late: {clause(before[0].mode)} at {before[0].at:.1f} s"
    elif after:
        text += f", yet {clause(after[0].mode)} at {after[0].at:.1f} s"
    return text + "."


def _failed(attempt: AttemptRow) -> str:
    if not attempt.failures:
        return f"it ends at {attempt.end:.1f} s without success ({_cause(attempt.cause)})."
    text = _first(attempt)
    others = [clause(f.mode) for f in attempt.failures[1:]]
    if others:
        text += f", then {', '.join(others)}"
    if _at_once(attempt):
        return f"{text}, and the attempt ends."
    return f"{text}; it is noticed when the attempt ends, at {attempt.end:.1f} s."


def _first(attempt: AttemptRow) -> str:
    failure = attempt.failures[0]
    return f"{clause(failure.mode)} at {failure.at:.1f} s"


def _at_once(attempt: AttemptRow) -> bool:
    """Whether the attempt ended as soon as its failure was logged."""
    return bool(attempt.failures) and attempt.end - attempt.failures[0].at < AT_ONCE


def _cause(cause: str) -> str:
    return cause.replace("_", " ")
