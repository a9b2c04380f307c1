"""What the gate does, one behaviour at a time."""

from __future__ import annotations

from typing import Any

import pytest

from pro_ros.gate.body import Body
from pro_ros.gate.config import GateConfig
from pro_ros.gate.inputs import (
    AssessmentSeen,
    CancelRequested,
    ClientLost,
    GoalAccepted,
    Input,
    InternalError,
    MonitorPeriod,
    PolicyAccepted,
    PolicyFeedback,
    PolicyFinished,
    PolicyLost,
    PolicyRejected,
    PolicyStopConfirmed,
    Rearm,
    RecoveryFinished,
    SafeActionFinished,
    Superseded,
    Tick,
)
from pro_ros.gate.machine import Gate
from pro_ros.gate.outputs import (
    Finish,
    Latch,
    Output,
    PublishState,
    RearmRefused,
    StartPolicy,
    StartRecovery,
    StartSafeAction,
    StopPolicy,
    StopRecovery,
    StopSafeAction,
)
from pro_ros.gate.reasons import Monitor, Outcome, State, TerminationReason

MS = 1_000_000
PERIOD = 100


class Bench:
    """A gate, a clock in milliseconds, and all that it ordered."""

    def __init__(self, **values: Any) -> None:
        self.gate = Gate(GateConfig.model_validate(values))
        self.now = 0
        self.sequence = 0
        self.out: list[Output] = []

    def give(self, given: Input) -> list[Output]:
        outputs = self.gate.handle(given, self.now * MS)
        self.out += [o for o in outputs if not isinstance(o, PublishState)]
        return outputs

    def wait(self, ms: int, **assessment: Any) -> None:
        """Time with ticks when they are due, and with an assessment per period if one is given."""
        end = self.now + ms
        while self.now < end:
            due = self.gate.next_deadline()
            speaks = self.now - self.now % PERIOD + PERIOD
            stops = [end, *([speaks] if assessment else [])]
            self.now = min([*stops, *([due // MS] if due is not None else [])])
            if assessment and self.now == speaks:
                self.assess(**assessment)
            else:
                self.give(Tick())

    def assess(self, **values: Any) -> None:
        self.sequence += 1
        given = {
            "sequence": self.sequence, "stamp_ns": self.sequence, "validity": 1, "score": 0.1,
            "threshold": 0.5,
        }  # fmt: skip
        self.give(AssessmentSeen(**{**given, **values}))

    def ready(self) -> None:
        """The monitor has been alive for a while."""
        self.wait(1000, score=0.1)

    def running(self, **goal: Any) -> int:
        """An attempt is under way; its run."""
        self.ready()
        self.give(GoalAccepted("goal", **goal))
        return self.accept()

    def accept(self) -> int:
        run = self.last(StartPolicy).run
        self.give(PolicyAccepted(run))
        assert self.state is State.RUNNING
        return run

    @property
    def state(self) -> State:
        return self.gate.snapshot().state

    def last(self, kind: type) -> Any:
        assert self.out, "nothing was ordered"
        assert isinstance(self.out[-1], kind), self.out[-1]
        return self.out[-1]

    def kinds(self) -> list[str]:
        return [type(o).__name__ for o in self.out]


def test_a_task_without_trouble_costs_nothing_but_the_orders() -> None:
    bench = Bench()
    run = bench.running()
    assert bench.gate.snapshot().open
    begun = bench.now
    bench.wait(2000, score=0.2)
    bench.give(PolicyFinished(run, True))
    done = bench.last(Finish)
    assert bench.kinds() == ["StartPolicy", "Finish"]
    assert (done.status, done.outcome, done.reason) == (
        "succeeded", Outcome.SUCCESS, TerminationReason.SUCCESS,
    )  # fmt: skip
    record = done.attempts[0]
    assert (record.begin_ns, record.end_ns) == (begun * MS, bench.now * MS)
    assert (record.peak_risk, record.alarm_ns, record.stop_latency) == (0.2, None, None)
    assert bench.state is State.IDLE


def test_an_alarm_stops_at_once_and_the_retry_waits_for_the_confirmation_and_a_low_risk() -> None:
    bench = Bench(verification={"hold": 0.3})
    run = bench.running()
    bench.assess(score=0.6, mode="grip_lost")
    assert bench.last(StopPolicy).run == run
    alarm = bench.now
    bench.wait(150)
    assert bench.kinds()[-1] == "StopPolicy"
    bench.give(PolicyStopConfirmed(run))
    assert bench.state is State.VERIFYING
    bench.wait(150, score=0.45)
    # Above the release level (0.8 of the threshold): below the threshold is not yet low.
    bench.wait(1000, score=0.45)
    assert bench.state is State.VERIFYING
    bench.wait(300, score=0.1)
    assert bench.state is State.VERIFYING
    bench.wait(200, score=0.1)
    assert bench.last(StartPolicy).attempt == 2
    run = bench.accept()
    bench.give(PolicyFinished(run, True))
    first, second = bench.last(Finish).attempts
    assert (first.cause, first.mode) == (TerminationReason.RISK_ALARM, "grip_lost")
    assert (first.alarm_ns, first.stop_latency) == (alarm * MS, 0.15)
    assert (first.outcome, first.peak_risk) == (Outcome.INTERRUPTED, 0.6)
    assert second.cause is TerminationReason.SUCCESS


def test_what_the_monitor_suspected_stands_for_a_failure_without_a_mode_where_it_is_asked_to() -> (
    None
):
    def failed(suspect: bool, mode: str = "") -> str:
        modes = {"grip_lost": "abort", "jam": "abort"}
        bench = Bench(causes={"suspect": suspect, "policy_failure": "abort", "modes": modes})
        run = bench.running()
        bench.wait(100, score=0.0, mode="jam")
        bench.assess(score=0.3, mode="grip_lost")
        bench.wait(100, score=0.2, mode="jam")
        bench.give(PolicyFinished(run, False, mode))
        record = bench.last(Finish).attempts[0]
        assert record.cause is TerminationReason.POLICY_FAILURE
        return record.mode

    assert failed(True) == "grip_lost"
    assert failed(False) == ""
    # What the policy knows comes first.
    assert failed(True, "jam") == "jam"


def test_without_any_risk_nothing_is_suspected() -> None:
    bench = Bench(causes={"suspect": True, "policy_failure": "abort"})
    run = bench.running()
    bench.wait(200, score=0.0, mode="jam")
    bench.give(PolicyFinished(run, False))
    assert bench.last(Finish).attempts[0].mode == ""


def test_a_mode_that_needs_it_is_recovered_before_the_retry() -> None:
    bench = Bench()
    run = bench.running()
    bench.assess(score=0.9, mode="jam")
    bench.give(PolicyStopConfirmed(run))
    recovery = bench.last(StartRecovery)
    assert recovery.mode == "jam"
    bench.wait(1000, score=0.7)
    assert bench.state is State.RECOVERING
    bench.give(RecoveryFinished(recovery.run, True))
    bench.wait(500, score=0.1)
    assert bench.last(StartPolicy).attempt == 2


@pytest.mark.parametrize(
    ("mode", "latched"), [("protective_stop", True), ("abort", False), ("never heard of", False)]
)
def test_a_cause_that_no_retry_mends_ends_the_goal(mode: str, latched: bool) -> None:
    bench = Bench()
    run = bench.running()
    bench.assess(score=0.9, mode=mode)
    bench.give(PolicyStopConfirmed(run))
    done = next(o for o in bench.out if isinstance(o, Finish))
    assert (done.reason, done.mode, done.status) == (TerminationReason.RISK_ALARM, mode, "aborted")
    assert (bench.state is State.LATCHED) == latched
    bench.give(GoalAccepted("next"))
    if latched:
        assert bench.last(Finish).reason is TerminationReason.LATCHED
    else:
        assert bench.state is State.VERIFYING


def test_a_predicted_end_without_success_stops_the_attempt_before_the_drop() -> None:
    bench = Bench(causes={"modes": {"drop": "retry"}})
    run = bench.running()
    bench.assess(termination=0.9, success=0.9)
    bench.assess(termination=0.9, success=0.1)
    assert bench.state is State.RUNNING
    bench.assess(termination=0.9, success=0.1, mode="drop")
    assert bench.last(StopPolicy).run == run
    assert bench.gate.snapshot().reason is TerminationReason.PREDICTED_FAILURE


def test_attempts_are_bounded_by_the_stricter_limit() -> None:
    for asked, expected in ((0, 3), (2, 2), (99, 3)):
        bench = Bench(limits={"max_attempts": 3})
        run = bench.running(max_attempts=asked)
        for _ in range(expected - 1):
            bench.give(PolicyFinished(run, False))
            run = bench.accept()
        bench.give(PolicyFinished(run, False))
        done = bench.last(Finish)
        assert done.reason is TerminationReason.ATTEMPTS_EXHAUSTED
        assert [r.cause for r in done.attempts] == [TerminationReason.POLICY_FAILURE] * expected


def test_persistence_ignores_a_single_spike() -> None:
    bench = Bench(alarm={"count": 2, "of": 3})
    bench.running()
    for score in (0.9, 0.1, 0.1, 0.9, 0.1):
        bench.assess(score=score)
        assert bench.state is State.RUNNING
    bench.assess(score=0.9)
    assert bench.state is State.STOPPING


def test_too_many_alarms_across_goals_latch_the_gate() -> None:
    bench = Bench(alarm={"max_alarms": 2, "in_attempts": 4})
    for number in range(2):
        bench.ready()
        bench.give(GoalAccepted(f"goal {number}"))
        run = bench.accept()
        bench.assess(score=0.9, mode="grip_lost")
        bench.give(PolicyStopConfirmed(run))
        if number == 0:
            bench.give(CancelRequested("goal 0"))
            assert bench.last(Finish).status == "canceled"
    done = bench.out[-2]
    assert isinstance(done, Finish)
    assert done.reason is TerminationReason.TOO_MANY_ALARMS
    assert bench.last(Latch).reason is TerminationReason.TOO_MANY_ALARMS
    bench.give(Rearm())
    bench.ready()
    bench.give(GoalAccepted("after"))
    assert bench.last(StartPolicy)


@pytest.mark.parametrize("choice", ["hold", "cancel", "safe_action"])
def test_a_dead_monitor_closes_the_gate_within_two_periods(choice: str) -> None:
    bench = Bench(on_monitor_death=choice, freshness={"period": PERIOD / 1000})
    run = bench.running()
    died = bench.now
    bench.wait(2 * PERIOD - 1)
    assert bench.state is State.RUNNING
    bench.wait(1)
    assert bench.now - died == 2 * PERIOD
    assert bench.last(StopPolicy).run == run
    assert not bench.gate.snapshot().open
    bench.wait(100)
    assert bench.state is State.STOPPING
    bench.give(PolicyStopConfirmed(run))
    if choice == "safe_action":
        bench.give(SafeActionFinished(bench.last(StartSafeAction).run, True))
    if choice == "hold":
        bench.wait(1000)
        assert bench.state is State.VERIFYING
        bench.wait(1000, score=0.1)
        assert bench.last(StartPolicy).attempt == 2
    else:
        assert bench.last(Finish).reason is TerminationReason.MONITOR_DEAD


@pytest.mark.parametrize(
    "spoiled",
    [
        {"validity": 0},
        {"validity": 1 | 64},
        {"score": float("nan")},
        {"score": 1.5},
        {"value": float("inf")},
        {"threshold": float("nan")},
        {"sequence": 10, "stamp_ns": 10},
        {"stamp_ns": 10},
        {"latency": 0.2},
        {"model_id": "another"},
    ],
    ids=str,
)
def test_what_does_not_count_closes_the_gate_within_two_periods(spoiled: dict[str, Any]) -> None:
    bench = Bench(freshness={"model_id": ""})
    bench.running()
    assert bench.sequence == 10
    bench.wait(199, **spoiled)
    assert bench.state is State.RUNNING
    bench.wait(1, **spoiled)
    assert bench.state is State.STOPPING
    assert bench.gate.snapshot().reason is TerminationReason.MONITOR_DEAD


def test_a_monitor_that_was_restarted_closes_the_gate_at_once_and_must_prove_itself() -> None:
    bench = Bench(freshness={"needed": 3})
    bench.running()
    bench.sequence = 0
    bench.assess()
    assert bench.state is State.STOPPING
    for state in (Monitor.RETURNING, Monitor.RETURNING, Monitor.FRESH):
        bench.wait(PERIOD // 2)
        bench.assess()
        assert bench.gate.snapshot().monitor is state


def test_the_last_word_of_a_monitor_that_died_before_opens_nothing() -> None:
    bench = Bench()
    for _ in range(20):
        bench.sequence = 0
        bench.assess()
        assert not bench.gate.snapshot().open


def test_an_unproven_gate_does_not_begin_and_gives_up() -> None:
    bench = Bench(verification={"timeout": 2})
    bench.give(GoalAccepted("goal"))
    bench.wait(2000)
    done = bench.last(Finish)
    assert (done.reason, done.outcome) == (
        TerminationReason.MONITOR_DEAD, Outcome.NOT_ATTEMPTED,
    )  # fmt: skip
    bench.give(GoalAccepted("again"))
    bench.wait(2000, score=0.9)
    assert bench.last(Finish).reason is TerminationReason.NOT_VERIFIED


def test_an_unconfirmed_stop_is_followed_by_nothing() -> None:
    bench = Bench(on_monitor_death="safe_action", safe_action_after_stop=True)
    run = bench.running()
    bench.wait(1300)
    done, latch = bench.out[-2:]
    assert isinstance(done, Finish)
    assert isinstance(latch, Latch)
    assert (done.status, done.reason, done.stopped) == (
        "aborted", TerminationReason.MONITOR_DEAD, False,
    )  # fmt: skip
    assert latch.reason is TerminationReason.STOP_NOT_CONFIRMED
    assert done.attempts[0].stop_latency is None
    assert "StartSafeAction" not in bench.kinds()
    bench.give(Rearm())
    assert bench.last(RearmRefused).run == run
    bench.give(PolicyStopConfirmed(run))
    bench.give(Rearm())
    assert bench.state is State.IDLE


def test_a_person_may_vouch_for_a_stop() -> None:
    bench = Bench()
    bench.running()
    bench.give(PolicyLost(bench.out[-1].run))
    bench.wait(1000, score=0.1)
    done = bench.out[-2]
    assert isinstance(done, Finish)
    assert done.reason is TerminationReason.POLICY_LOST
    bench.give(Rearm(robot_stopped=True))
    assert bench.state is State.IDLE


def test_a_stop_is_repeated_for_a_policy_that_accepts_after_it() -> None:
    bench = Bench()
    bench.ready()
    bench.give(GoalAccepted("goal"))
    run = bench.last(StartPolicy).run
    bench.give(CancelRequested("goal"))
    bench.give(PolicyAccepted(run))
    assert [type(o) for o in bench.out[-2:]] == [StopPolicy, StopPolicy]
    bench.give(PolicyStopConfirmed(run))
    assert bench.last(Finish).status == "canceled"


def test_the_first_cause_wins_and_canceled_needs_a_cancel() -> None:
    wanted = {
        Superseded: TerminationReason.SUPERSEDED,
        ClientLost: TerminationReason.CLIENT_LOST,
        CancelRequested: TerminationReason.CANCELLED,
    }
    for first, reason in wanted.items():
        bench = Bench()
        run = bench.running()
        bench.give(first("goal"))
        for later in wanted:
            bench.give(later("goal"))
        bench.give(PolicyStopConfirmed(run))
        done = bench.last(Finish)
        assert done.reason is reason
        assert done.status == ("canceled" if first is CancelRequested else "aborted")
        assert done.outcome is Outcome.INTERRUPTED


def test_a_task_that_was_done_while_it_was_stopped_is_not_done_again() -> None:
    bench = Bench()
    run = bench.running()
    bench.assess(score=0.9, mode="grip_lost")
    bench.give(PolicyFinished(run, True))
    done = bench.last(Finish)
    assert (done.status, done.reason) == ("succeeded", TerminationReason.SUCCESS)
    assert done.attempts[0].cause is TerminationReason.RISK_ALARM


def test_a_policy_that_does_not_judge_itself_is_judged_by_the_monitor() -> None:
    for success, reason in (
        (0.9, TerminationReason.SUCCESS),
        (0.3, TerminationReason.POLICY_UNDECIDED),
    ):
        bench = Bench()
        run = bench.running()
        bench.assess(success=success)
        bench.give(PolicyFinished(run, None))
        assert bench.last(Finish).reason is reason


def test_late_words_change_nothing() -> None:
    bench = Bench()
    old = bench.running()
    bench.give(PolicyFinished(old, False))
    run = bench.accept()
    before = bench.gate.snapshot()
    for word in (
        PolicyFinished(old, True), PolicyStopConfirmed(old), PolicyLost(old), PolicyRejected(old),
        PolicyAccepted(old), RecoveryFinished(run, True), SafeActionFinished(run, False),
    ):  # fmt: skip
        assert bench.give(word) == []
        assert bench.gate.snapshot() == before


def test_time_ends_what_takes_too_long() -> None:
    limits = {"max_duration": 5, "attempt_timeout": 2, "policy_silence": 1}
    bench = Bench(limits=limits, causes={"attempt_timeout": "retry"})
    run = bench.running()
    for _ in range(4):
        bench.wait(500, score=0.1)
        bench.give(PolicyFeedback(run))
    assert bench.gate.snapshot().reason is TerminationReason.ATTEMPT_TIMEOUT
    bench.give(PolicyStopConfirmed(run))
    run = bench.accept()
    bench.wait(1000, score=0.1)
    assert bench.gate.snapshot().reason is TerminationReason.POLICY_LOST
    bench = Bench(limits={"max_duration": 5}, verification={"timeout": 60, "return_timeout": 60})
    bench.give(GoalAccepted("goal"))
    bench.wait(5000, score=0.9)
    assert bench.last(Finish).reason is TerminationReason.TIME_EXHAUSTED


def test_a_recovery_that_hangs_is_stopped_and_ends_the_goal() -> None:
    bench = Bench(limits={"recovery_timeout": 2})
    run = bench.running()
    bench.assess(score=0.9, mode="jam")
    bench.give(PolicyStopConfirmed(run))
    bench.wait(2000, score=0.9)
    stop = bench.last(StopRecovery)
    bench.give(RecoveryFinished(stop.run, False))
    assert [type(o) for o in bench.out[-2:]] == [Finish, Latch]
    assert bench.out[-2].reason is TerminationReason.RECOVERY_FAILED


def test_a_recovery_is_not_begun_and_not_continued_unseen() -> None:
    bench = Bench()
    run = bench.running()
    bench.assess(score=0.9, mode="jam")
    bench.wait(300)
    bench.give(PolicyStopConfirmed(run))
    assert bench.last(Finish).reason is TerminationReason.MONITOR_DEAD
    bench = Bench(on_monitor_death="hold")
    run = bench.running()
    bench.assess(score=0.9, mode="jam")
    bench.give(PolicyStopConfirmed(run))
    assert bench.state is State.RECOVERING
    bench.wait(200)
    bench.give(RecoveryFinished(bench.last(StopRecovery).run, True))
    assert bench.last(Finish).reason is TerminationReason.MONITOR_DEAD


def test_a_safe_action_that_hangs_is_stopped_and_latches() -> None:
    bench = Bench(safe_action_after_stop=True, limits={"safe_action_timeout": 1})
    run = bench.running()
    bench.give(CancelRequested("goal"))
    bench.give(PolicyStopConfirmed(run))
    assert bench.last(StartSafeAction)
    bench.wait(1000)
    bench.give(SafeActionFinished(bench.last(StopSafeAction).run, False))
    assert bench.out[-2].reason is TerminationReason.CANCELLED
    assert bench.last(Latch).reason is TerminationReason.SAFE_ACTION_FAILED


def test_a_goal_beside_another_is_turned_away_and_the_same_one_is_not_taken_twice() -> None:
    bench = Bench()
    bench.running()
    bench.give(GoalAccepted("other"))
    assert bench.last(Finish).reason is TerminationReason.BUSY
    assert bench.give(GoalAccepted("goal")) == []
    assert not bench.gate.accepting


def test_an_internal_error_stops_and_latches() -> None:
    bench = Bench()
    run = bench.running()
    bench.give(InternalError())
    assert bench.last(StopPolicy).run == run
    bench.give(PolicyStopConfirmed(run))
    assert bench.last(Latch).reason is TerminationReason.INTERNAL_ERROR


def test_a_confirmation_after_its_time_is_late_even_where_no_tick_came_between() -> None:
    bench = Bench()
    run = bench.running()
    bench.give(CancelRequested("goal"))
    bench.now += 1000
    bench.give(PolicyStopConfirmed(run))
    assert bench.state is State.LATCHED


def test_the_state_is_published_when_it_changes_and_not_with_every_assessment() -> None:
    bench = Bench()
    bench.running()
    bench.assess(score=0.2)
    assert bench.give(Tick()) == []
    told = bench.give(CancelRequested("goal"))
    assert isinstance(told[-1], PublishState)
    assert told[-1].snapshot.state is State.STOPPING


def test_the_last_barrier_keeps_a_second_thing_from_moving() -> None:
    body = Body()
    run = body.start("policy")
    with pytest.raises(RuntimeError, match="has not ended"):
        body.start("safe_action")
    body.over()
    assert body.start("recovery") == run + 1


def test_assessments_that_come_all_at_once_do_not_open_the_gate() -> None:
    bench = Bench(freshness={"needed": 3})
    for _ in range(10):
        bench.assess()
    assert bench.gate.snapshot().monitor is Monitor.RETURNING
    bench.wait(PERIOD)
    bench.assess()
    assert bench.gate.snapshot().monitor is Monitor.FRESH


def test_a_run_that_somebody_else_stopped_is_undecided_whatever_the_monitor_says() -> None:
    bench = Bench()
    run = bench.running()
    bench.assess(success=0.9)
    bench.give(PolicyStopConfirmed(run))
    assert bench.last(Finish).reason is TerminationReason.POLICY_UNDECIDED
    assert bench.last(Finish).outcome is Outcome.INTERRUPTED


def test_the_period_of_the_heartbeat_counts_where_the_gate_file_states_none():
    def closes_after(config: GateConfig) -> float:
        gate = Gate(config)
        gate.handle(MonitorPeriod(0.02), 0)
        now = 0
        for sequence in range(1, 8):
            now = sequence * 20_000_000
            seen = AssessmentSeen(sequence, now, 1, 0.0, 0.5, success=0.9)
            gate.handle(seen, now)
        assert gate.snapshot().monitor is Monitor.FRESH
        due = gate.next_deadline()
        assert due is not None
        return (due - now) / 1e9

    assert closes_after(GateConfig()) == pytest.approx(0.04)
    stated = GateConfig.model_validate({"freshness": {"period": 0.1}})
    assert closes_after(stated) == pytest.approx(0.2)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), 0.0, -1.0])
def test_a_period_that_is_none_changes_nothing(seconds):
    gate = Gate()
    gate.handle(MonitorPeriod(seconds), 0)
    assert gate._watch.fresh.period == 0.1
