"""What the gate would have done over recorded attempts."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pro_ros.gate.config import AlarmConfig, EndingConfig, FreshnessConfig, GateConfig
from pro_ros.gate.inputs import AssessmentSeen
from pro_ros.gate.reasons import Outcome, TerminationReason
from pro_ros.gate.rehearsal import RecordedAttempt, Rehearsal, independent, rehearse

STEP = 100_000_000
"""Steps are 0.1 s apart [ns]."""

STOP = 0.05
GATE = GateConfig(
    freshness=FreshnessConfig(period=0.1, needed=2),
    alarm=AlarmConfig(threshold=0.5),
    ending=EndingConfig(count=1, of=1),
)


def at(step: int) -> int:
    return step * STEP


def said(
    steps: int, risky: dict[int, float] | None = None, silent: range = range(0)
) -> list[AssessmentSeen]:
    """An assessment for every step but the silent ones."""
    return [
        AssessmentSeen(n, at(n), 1, (risky or {}).get(n, 0.1), mode="grip_lost")
        for n in range(steps)
        if n not in silent
    ]


def good(begin: int, end: int, name: str = "good") -> RecordedAttempt:
    return RecordedAttempt(name, at(begin), at(end), True)


def bad(begin: int, end: int, event: int | None, name: str = "bad") -> RecordedAttempt:
    moment = None if event is None else at(event)
    return RecordedAttempt(name, at(begin), at(end), False, moment, "grip_lost" if event else "")


def only(
    seen: list[AssessmentSeen],
    attempt: RecordedAttempt,
    gate: GateConfig = GATE,
    stop: float = STOP,
) -> Rehearsal:
    (found,) = rehearse(seen, [attempt], gate, stop)
    return found


def test_an_alarm_before_the_event_stops_a_failure_in_time():
    found = only(said(30, {12: 0.7}), bad(5, 25, 15))
    assert found.in_time
    assert found.stopped
    assert not found.interrupted
    assert found.lead == pytest.approx(0.3)
    assert found.record is not None
    assert found.record.cause is TerminationReason.RISK_ALARM
    assert found.record.mode == "grip_lost"
    assert found.record.stop_ns == at(12)
    assert found.record.stop_latency == pytest.approx(STOP)


@pytest.mark.parametrize("step", [15, 16, 24])
def test_an_alarm_at_the_event_or_after_it_is_too_late(step):
    found = only(said(30, {step: 0.7}), bad(5, 25, 15))
    assert found.stopped
    assert not found.in_time
    assert math.isnan(found.lead)


def test_a_stop_that_is_confirmed_after_the_event_is_too_late():
    seen = said(30, {14: 0.7})
    assert only(seen, bad(5, 25, 15), stop=0.09).in_time
    late = only(seen, bad(5, 25, 15), stop=0.1)
    assert late.stopped
    assert not late.in_time


def test_without_an_event_a_failure_is_stopped_in_time_before_its_end():
    assert only(said(30, {24: 0.7}), bad(5, 25, None)).lead == pytest.approx(0.1)
    unstopped = only(said(30, {24: 0.7}), bad(5, 25, None), stop=0.2)
    assert not unstopped.stopped
    assert not unstopped.in_time


def test_a_failure_that_was_on_at_its_begin_cannot_be_stopped_in_time():
    found = only(said(30, {5: 0.7}), bad(5, 25, 5))
    assert found.stopped
    assert not found.in_time


def test_a_good_attempt_is_interrupted_by_an_alarm():
    found = only(said(30, {12: 0.7}), good(5, 25))
    assert found.interrupted
    assert not found.in_time
    assert found.record is not None
    assert found.record.outcome is Outcome.INTERRUPTED


def test_a_good_attempt_that_is_done_before_the_stop_is_not_interrupted():
    found = only(said(30, {24: 0.7}), good(5, 25), stop=0.2)
    assert not found.interrupted
    assert found.record is not None
    assert found.record.outcome is Outcome.SUCCESS


def test_what_ends_as_it_did_keeps_its_outcome():
    attempts = [good(5, 10), bad(10, 20, 15)]
    one, other = rehearse(said(30), attempts, GATE, STOP)
    assert one.record is not None
    assert (one.record.begin_ns, one.record.end_ns) == (at(5), at(10))
    assert one.record.cause is TerminationReason.SUCCESS
    assert other.record is not None
    assert other.record.begin_ns == at(10)
    assert other.record.cause is TerminationReason.POLICY_FAILURE
    assert other.record.mode == "grip_lost"
    assert not one.stopped
    assert not other.stopped


def test_a_predicted_failure_stops_too_and_is_named():
    seen = said(30)
    seen[12] = AssessmentSeen(12, at(12), 1, 0.1, termination=0.9, success=0.1, mode="drop")
    found = only(seen, bad(5, 25, 15))
    assert found.in_time
    assert found.record is not None
    assert found.record.cause is TerminationReason.PREDICTED_FAILURE
    assert found.record.mode == "drop"


def test_a_monitor_that_dies_is_no_stopped_failure():
    found = only(said(30, silent=range(10, 30)), bad(5, 25, 15))
    assert found.monitor_died
    assert not found.stopped
    assert not found.in_time
    assert found.record is not None
    # Two periods after the last assessment, not at the next word.
    assert found.record.stop_ns == at(9) + 2 * STEP


def test_after_a_silence_the_next_attempt_begins_late():
    attempts = [good(5, 15, "a"), good(15, 25, "b")]
    dead, late = rehearse(said(30, silent=range(10, 20)), attempts, GATE, STOP)
    assert dead.monitor_died
    assert not dead.interrupted
    assert late.record is not None
    assert late.record.begin_ns == at(21)
    assert late.record.outcome is Outcome.SUCCESS


def test_an_attempt_that_nobody_watched_did_not_begin():
    found, later = rehearse(
        said(40, silent=range(20)), [good(5, 15), good(30, 35, "later")], GATE, STOP
    )
    assert found.record is None
    assert not found.stopped
    assert not found.monitor_died
    assert later.record is not None
    assert later.record.begin_ns == at(30)


def test_an_alarm_that_is_on_at_the_begin_stops_at_the_first_assessment():
    found = only(said(30, dict.fromkeys(range(3, 9), 0.7)), good(5, 25))
    assert found.record is not None
    assert found.record.begin_ns == at(5)
    assert found.record.stop_ns == at(5)


def test_attempts_bear_nothing_on_each_other_however_many_are_stopped():
    attempts = [bad(10 * n, 10 * n + 10, 10 * n + 8, f"attempt {n}") for n in range(1, 40)]
    seen = said(400, {10 * n + 5: 0.9 for n in range(40)})
    found = rehearse(seen, attempts, GateConfig(freshness=GATE.freshness, alarm=GATE.alarm), STOP)
    assert all(r.in_time for r in found)
    assert [r.lead for r in found] == pytest.approx([0.3] * len(found))


def test_limits_of_the_file_stop_nothing():
    short = GATE.model_copy(
        update={"limits": GATE.limits.model_copy(update={"max_duration": 1.0})}
    )
    found = only(said(200), good(5, 195), short)
    assert found.record is not None
    assert found.record.cause is TerminationReason.SUCCESS
    assert independent(short, STOP).limits.stop_timeout > STOP


@pytest.mark.parametrize(
    ("seen", "attempts", "stop", "said_of_it"),
    [
        (said(5)[::-1], [good(1, 4)], STOP, "assessments are not in order"),
        (said(5), [good(1, 3), good(2, 4, "b")], STOP, "attempts overlap"),
        (said(5), [good(3, 3)], STOP, "attempts overlap"),
        (said(5), [good(1, 3), good(3, 4)], STOP, "same id"),
        (said(5), [good(1, 3)], -1.0, "below 0"),
    ],
)
def test_what_is_not_a_recording_is_refused(seen, attempts, stop, said_of_it):
    with pytest.raises(ValueError, match=said_of_it):
        rehearse(seen, attempts, GATE, stop)


@settings(deadline=None)
@given(
    risks=st.lists(st.floats(0, 1), min_size=40, max_size=40),
    lengths=st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=6),
    threshold=st.floats(0.05, 1.0),
)
def test_every_attempt_is_stopped_at_its_first_risky_step_and_a_lower_threshold_stops_more(
    risks, lengths, threshold
):
    attempts, begin = [], 4
    for n, (length, success) in enumerate(lengths):
        end = min(begin + length, 40)
        if end > begin:
            event = None if success else begin + length // 2
            attempts.append(
                good(begin, end, str(n)) if success else bad(begin, end, event, str(n))
            )
        begin = end
    seen = said(40, dict(enumerate(risks)))

    def run(level: float) -> list[Rehearsal]:
        gate = GateConfig(freshness=GATE.freshness, alarm=AlarmConfig(threshold=level))
        return rehearse(seen, attempts, gate, STOP)

    found, lower = run(threshold), run(threshold / 2)
    for rehearsal, laxer in zip(found, lower, strict=True):
        attempt = rehearsal.attempt
        steps = range(attempt.begin_ns // STEP, attempt.end_ns // STEP)
        first = next((s for s in steps if risks[s] >= threshold), None)
        assert rehearsal.stopped == (first is not None)
        if first is not None:
            assert rehearsal.record is not None
            assert rehearsal.record.stop_ns == at(first)
            assert laxer.stopped
        assert rehearsal.in_time <= laxer.in_time
        assert rehearsal.interrupted == (rehearsal.stopped and attempt.success)
