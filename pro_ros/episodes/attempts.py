"""From spans to episodes: what each attempt was asked to do, how it ended, what it repeats."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Mapping, Sequence

from pro_ros.episodes.cutting import Span
from pro_ros.episodes.manifest import Episode, Event, Outcome
from pro_ros.episodes.marks import TaskMark
from pro_ros.streams.spec import OutcomeSpec, RobotSpec

PART, PART_OF = "part", "part_of"
"""Attributes of an episode that is a later part of an attempt with gaps in it: its number, from
2, and the id of the first part."""

TASK_ID = "task_id"
"""Attribute with the TaskContext's ``task_id``, where there is one."""


def build_episodes(
    recording: str,
    spec: RobotSpec,
    spans: Sequence[Span],
    events: Iterable[Event],
    tasks: Sequence[TaskMark] = (),
) -> tuple[list[Episode], list[str]]:
    """Make episodes of the spans of one recording.

    Parameters
    ----------
    spans, tasks
        In order of time.

    Returns
    -------
    episodes
        In order of time, retries linked.
    skipped
        One line per kind of span that was left out.
    """
    kept, skipped = _worth_keeping(recording, spec, spans)
    outcomes = _outcomes(spec, spans, events)
    keys: dict[str, str] = {}
    episodes: list[Episode] = []
    parts: dict[int, list[str]] = {}
    for number, span in enumerate(kept):
        name = f"{recording}/{number:04d}"
        parts.setdefault(span.attempt, []).append(name)
        attributes = {_KEY_NAMES[spec.episodes.by]: span.key} if span.key else {}
        if len(parts[span.attempt]) > 1:
            attributes[PART] = str(len(parts[span.attempt]))
            attributes[PART_OF] = parts[span.attempt][0]
        keys.setdefault(span.key, name)
        told = _told(span, tasks)
        own = told is not None and told.episode_id in ("", span.key)
        if told is not None and told.task_id:
            attributes[TASK_ID] = told.task_id
        episodes.append(
            Episode(
                id=name,
                recording=recording,
                start_ns=span.start_ns,
                end_ns=span.end_ns,
                outcome=outcomes[span.attempt],
                task=told.task if told is not None and told.task else spec.episodes.task,
                context={**spec.episodes.context, **(told.context if told is not None else {})},
                attempt=max(1, told.attempt) if told is not None and own else 1,
                retry_of=_named(keys, told) if own else None,
                end_seen=span.end_seen,
                attributes=attributes,
            )
        )
    return link_retries(episodes, spec.episodes.retry_within), skipped


_KEY_NAMES = {"signal": "counter", "events": "episode_id", "file": "file", "gap": "gap"}


def link_retries(episodes: Sequence[Episode], within_s: float | None) -> list[Episode]:
    """Link episodes, in order of time, to the failed attempt that they repeat.

    An episode repeats the latest attempt at the same task in the same context if that one failed
    and ended at most ``within_s`` before. Attempts that are linked already (by a TaskContext)
    stay as they are; further parts of an attempt follow its first.
    """
    linked: list[Episode] = []
    latest: dict[tuple[object, ...], tuple[Episode, str]] = {}
    for given in episodes:
        episode = given
        task_id = episode.attributes.get(TASK_ID, "")
        key = (task_id, episode.task, tuple(sorted(episode.context.items())))
        before, first = latest.get(key, (None, ""))
        same = before is not None and before.recording == episode.recording
        if before is not None and same and PART in episode.attributes:
            update = {"attempt": before.attempt, "retry_of": before.retry_of}
            episode = episode.model_copy(update=update)
        else:
            if before is not None and _repeats(episode, before, within_s):
                update = {"attempt": before.attempt + 1, "retry_of": first}
                episode = episode.model_copy(update=update)
            first = episode.id
        latest[key] = (episode, first)
        linked.append(episode)
    return linked


def _named(keys: Mapping[str, str], told: TaskMark | None) -> str | None:
    """The episode that a TaskContext says it repeats; an empty name is none."""
    return keys.get(told.retry_of) if told is not None and told.retry_of else None


def _repeats(episode: Episode, before: Episode, within_s: float | None) -> bool:
    if within_s is None or before.outcome != "failure":
        return False
    if episode.attempt > 1 or episode.retry_of is not None:
        return False
    return 0 <= episode.start_ns - before.end_ns <= round(within_s * 1e9)


def _worth_keeping(
    recording: str, spec: RobotSpec, spans: Sequence[Span]
) -> tuple[list[Span], list[str]]:
    """Spans that hold samples and are long enough, and lines about the others."""
    kept: list[Span] = []
    lines: list[str] = []
    short = 0
    least = spec.episodes.min_duration
    seen = {span.attempt for span in spans if span.samples}
    for span in spans:
        if span.attempt not in seen:
            lines.append(
                f"{recording}: episode '{span.key}' at {span.start_ns} ns is empty: left out"
            )
        elif span.samples and (span.end_ns - span.start_ns) / 1e9 < least:
            short += 1
        elif span.samples:
            kept.append(span)
    if short:
        lines.append(
            f"{recording}: {short} episode{'s' if short > 1 else ''} shorter than {least:g} s "
            "left out"
        )
    return kept, lines


def _outcomes(
    spec: RobotSpec, spans: Sequence[Span], events: Iterable[Event]
) -> dict[int, Outcome]:
    """The outcome of every attempt."""
    rule = spec.episodes.outcome
    starts = [s.start_ns for s in spans]
    failed: set[int] = set()
    for event in events:
        index = bisect.bisect_right(starts, event.start_ns) - 1
        inside = index >= 0 and event.start_ns < spans[index].end_ns
        if inside and event.name in rule.failure_events:
            failed.add(spans[index].attempt)
    attempts: dict[int, list[Span]] = {}
    for span in spans:
        attempts.setdefault(span.attempt, []).append(span)
    return {
        number: _outcome(rule, parts, number in failed, spec.episodes.by == "events")
        for number, parts in attempts.items()
    }


def _outcome(rule: OutcomeSpec, parts: list[Span], failed: bool, reports: bool) -> Outcome:
    """How one attempt ended, as far as that was seen."""
    end = parts[-1]
    if rule.unknown:
        return "unknown"
    if end.reported != "unknown":
        return end.reported
    if rule.signal is not None:
        results = [p.result for p in parts if not math.isnan(p.result)]
        return _judge(rule, results[-1]) if results and end.end_seen else "unknown"
    if failed:
        return "failure"
    # No failure was seen: a success only where one would have been seen, and where the robot
    # did not say itself that it does not know.
    whole = len(parts) == 1 and end.end_seen
    return "success" if rule.failure_events and whole and not reports else "unknown"


def _judge(rule: OutcomeSpec, value: float) -> Outcome:
    """Compare the outcome signal with what the stream file says; one bound implies the other."""
    if rule.success is not None and math.isclose(value, rule.success):
        return "success"
    if rule.failure is not None and math.isclose(value, rule.failure):
        return "failure"
    if rule.failure is None and rule.success is not None:
        return "failure"
    if rule.success is None and rule.failure is not None:
        return "success"
    return "unknown"


def _told(span: Span, tasks: Sequence[TaskMark]) -> TaskMark | None:
    """The TaskContext of a span: its own by id, else the one that holds when it begins."""
    own = [t for t in tasks if span.key and t.episode_id == span.key]
    if own:
        return own[-1]
    index = bisect.bisect_right([t.t_ns for t in tasks], span.start_ns) - 1
    if index >= 0:
        return tasks[index]
    inside = [t for t in tasks if t.t_ns < span.end_ns]
    return inside[0] if inside else None
