"""The retry gate as a state machine: what is seen, said and asked goes in, orders come out.

One thing moves at a time. The policy, the recovery and the safe action are started only where
nothing else was started that has not confirmed its end, so that the order of the house holds by
construction: stop, confirm, safe action, recover, verify, retry. What does not confirm its stop
is never followed by anything: the gate latches.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from pro_ros.gate.body import Body
from pro_ros.gate.config import GateConfig, nanoseconds
from pro_ros.gate.goal import AlarmHistory, Attempt, Goal, action_for
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
    PolicyWord,
    Rearm,
    RecoveryFinished,
    SafeActionFinished,
    Superseded,
)
from pro_ros.gate.outputs import (
    AttemptRecord,
    Finish,
    GoalStatus,
    Latch,
    Output,
    PublishState,
    RearmRefused,
    Snapshot,
    StartPolicy,
    StartRecovery,
    StartSafeAction,
    StopPolicy,
)
from pro_ros.gate.reasons import Outcome, State, TerminationReason
from pro_ros.gate.watch import Verdict, Watch

LIVE = (State.STARTING, State.RUNNING)
"""The policy may move the robot."""

WANTED = {
    CancelRequested: TerminationReason.CANCELLED,
    Superseded: TerminationReason.SUPERSEDED,
    ClientLost: TerminationReason.CLIENT_LOST,
}
"""Why a goal ends that nobody wants any longer."""


class Gate:
    """Decides what a robot's policy may do. Not thread-safe: call it from one thread at a time.

    Deterministic: the same inputs at the same times give the same outputs. Carry the outputs out
    in their order.

    Parameters
    ----------
    config
        Everything it may be told; by default the defaults.
    """

    def __init__(self, config: GateConfig | None = None) -> None:
        self.config = config or GateConfig()
        self._watch = Watch(self.config)
        self._body = Body()
        self._history = AlarmHistory(self.config)
        self._now_ns = 0
        self._state = State.IDLE
        self._deadline_ns: int | None = None
        self._silent_ns: int | None = None
        self._goal: Goal | None = None
        self._latch = TerminationReason.NONE
        self._out: list[Output] = []
        self._told: Snapshot | None = None

    # What a caller uses

    @property
    def accepting(self) -> bool:
        """Whether a goal that comes now is taken up, rather than ended at once."""
        return self._state is State.IDLE

    def handle(self, given: Input, now_ns: int) -> list[Output]:
        """Take an input received at ``now_ns`` on the steady clock, and say what to do.

        What became due before comes first, in the order in which it became due: a confirmation
        that comes after its time is late, whether or not a tick came in between.
        """
        self._now_ns = max(self._now_ns, now_ns)
        self._out = []
        self._pass_time()
        self._take(given)
        self._watch.alarm.settle(self._now_ns)
        self._begin_if_verified()
        self._tell()
        return self._out

    def next_deadline(self) -> int | None:
        """When to call with a :class:`Tick` if nothing else comes before; None: never."""
        times = [t for t, _ in self._due()]
        low_ns = self._watch.alarm.low_ns
        if low_ns is not None and low_ns > self._now_ns:
            times.append(low_ns)
        return min(times, default=None)

    def snapshot(self) -> Snapshot:
        """The gate as of the latest input."""
        goal, live, fresh, alarm = (
            self._goal,
            self._body.live,
            self._watch.fresh,
            self._watch.alarm,
        )
        seen = self._watch.seen if fresh.open else None
        attempt = goal.attempt if goal else None
        reason, mode = TerminationReason.NONE, ""
        if goal is not None and goal.ends:
            reason, mode = goal.end, goal.mode
        elif attempt is not None:
            reason, mode = attempt.cause, attempt.mode
        elif goal is not None and goal.records:
            reason, mode = goal.records[-1].cause, goal.records[-1].mode
        awaited = live is not None and self._state in (State.STOPPING, State.LATCHED)
        return Snapshot(
            state=self._state,
            open=fresh.open and not alarm.on and self._state is not State.LATCHED,
            goal_id=goal.goal_id if goal else "",
            attempt=attempt.number if attempt else len(goal.records) if goal else 0,
            max_attempts=goal.max_attempts if goal else 0,
            reason=reason,
            mode=mode,
            latch=self._latch,
            unconfirmed=live.run if live and awaited else None,
            monitor=fresh.monitor,
            fault=fresh.fault,
            alarm=alarm.on,
            score=seen.score if seen else math.nan,
            threshold=self._watch.threshold if seen else math.nan,
            value=seen.value if seen else math.nan,
            progress=seen.progress if seen else math.nan,
            termination=seen.termination if seen else math.nan,
            success=seen.success if seen else math.nan,
        )

    # Time

    def _due(self) -> list[tuple[int, Callable[[], None]]]:
        """What becomes due when, and what then happens; on a tie the first one counts."""
        due: list[tuple[int, Callable[[], None]]] = []
        if self._watch.fresh.expires_ns is not None:
            due.append((self._watch.fresh.expires_ns, self._on_silence))
        if self._goal is not None and not self._goal.ends:
            due.append(
                (self._goal.deadline_ns, lambda: self._end(TerminationReason.TIME_EXHAUSTED))
            )
        if self._silent_ns is not None:
            due.append((self._silent_ns, lambda: self._stop(TerminationReason.POLICY_LOST)))
        if self._deadline_ns is not None:
            due.append((self._deadline_ns, self._on_deadline))
        return due

    def _pass_time(self) -> None:
        while True:
            due = [item for item in self._due() if item[0] <= self._now_ns]
            if not due:
                return
            min(due, key=lambda item: item[0])[1]()

    def _on_deadline(self) -> None:
        """The time of the present state is over."""
        goal = self._goal
        if goal is None:
            return
        if self._state is State.WAITING:
            self._verify(goal)
        elif self._state is State.VERIFYING:
            alive = self._watch.fresh.open
            self._end(TerminationReason.NOT_VERIFIED if alive else TerminationReason.MONITOR_DEAD)
        elif self._state is State.STARTING:
            self._stop(TerminationReason.POLICY_LOST)
        elif self._state is State.RUNNING:
            self._stop(TerminationReason.ATTEMPT_TIMEOUT)
        elif self._state is State.RECOVERING:
            self._end(TerminationReason.RECOVERY_FAILED)
        elif self._state is State.SAFING:
            goal.finish_with(TerminationReason.SAFE_ACTION_FAILED)
            goal.latch_with(TerminationReason.SAFE_ACTION_FAILED)
            self._order_stop(goal)
        elif self._state is State.STOPPING:
            self._on_not_stopped(goal)

    # The monitor

    def _on_silence(self) -> None:
        self._on_verdict(self._watch.expire())

    def _on_assessment(self, seen: AssessmentSeen) -> None:
        verdict = self._watch.see(seen, self._now_ns)
        if self._watch.seen is seen and self._goal is not None and self._goal.attempt is not None:
            self._goal.attempt.see(seen.score, seen.mode)
        self._on_verdict(verdict, seen.mode)

    def _on_verdict(self, verdict: Verdict, mode: str = "") -> None:
        """What the monitor says, or that it says nothing, about what moves."""
        if verdict is Verdict.CLOSED:
            if self._state in (*LIVE, State.RECOVERING):
                self._on_monitor_death()
        elif self._state in LIVE:
            if verdict is Verdict.RISK:
                self._stop(TerminationReason.RISK_ALARM, mode)
            elif verdict is Verdict.ENDING:
                self._stop(TerminationReason.PREDICTED_FAILURE, mode)

    def _on_monitor_death(self) -> None:
        """The policy or the recovery moves, and nobody sees it."""
        goal, choice = self._goal, self.config.on_monitor_death
        if goal is None:
            return
        goal.safe_action = goal.safe_action or choice == "safe_action"
        if choice == "hold" and self._state in LIVE:
            self._stop(TerminationReason.MONITOR_DEAD)
        else:
            # Nobody can say what an interrupted recovery left behind: hold is for attempts.
            self._end(TerminationReason.MONITOR_DEAD)

    # Other inputs

    def _take(self, given: Input) -> None:
        if isinstance(given, AssessmentSeen):
            self._on_assessment(given)
        elif isinstance(given, MonitorPeriod):
            self._watch.fresh.hear_period(given.seconds)
        elif isinstance(given, GoalAccepted):
            self._on_goal(given)
        elif isinstance(given, CancelRequested | Superseded | ClientLost):
            if self._goal is not None and self._goal.goal_id == given.goal_id:
                self._end(WANTED[type(given)])
        elif isinstance(given, Rearm):
            self._on_rearm(given)
        elif isinstance(given, InternalError):
            self._on_internal_error()
        elif isinstance(given, RecoveryFinished):
            if self._body.is_live("recovery", given.run):
                self._on_recovery_over(given.success)
        elif isinstance(given, SafeActionFinished):
            if self._body.is_live("safe_action", given.run):
                self._on_safe_action_over(given.success)
        elif isinstance(given, PolicyWord) and self._body.is_live("policy", given.run):
            self._on_policy(given)

    def _on_goal(self, order: GoalAccepted) -> None:
        if self._goal is not None and self._goal.goal_id == order.goal_id:
            return
        if self.accepting:
            self._goal = Goal.accepted(order, self.config, self._now_ns)
            self._verify(self._goal)
            return
        latched = self._state is State.LATCHED
        self._out.append(
            Finish(
                goal_id=order.goal_id,
                status="aborted",
                outcome=Outcome.NOT_ATTEMPTED,
                reason=TerminationReason.LATCHED if latched else TerminationReason.BUSY,
                mode="",
                attempts=(),
                stopped=True,
            )
        )

    def _on_internal_error(self) -> None:
        if self._goal is None:
            self._close(TerminationReason.INTERNAL_ERROR)
        else:
            self._goal.latch_with(TerminationReason.INTERNAL_ERROR)
            self._end(TerminationReason.INTERNAL_ERROR)

    def _on_rearm(self, given: Rearm) -> None:
        if self._state is not State.LATCHED:
            return
        if self._body.live is not None and not given.robot_stopped:
            self._out.append(RearmRefused(self._body.live.run))
            return
        self._body.over()
        self._latch = TerminationReason.NONE
        self._history.clear()
        self._enter(State.IDLE, None)

    def _on_policy(self, given: PolicyWord) -> None:
        """A word of the policy about the run that is live."""
        if isinstance(given, PolicyAccepted):
            self._body.accepted = True
            if self._state is State.STARTING and self._goal is not None:
                self._enter(State.RUNNING, self._goal.attempt_timeout_ns)
                self._hear()
            elif self._state is not State.RUNNING:
                # The stop was ordered before there was anything to stop.
                self._out.append(StopPolicy(given.run))
        elif isinstance(given, PolicyFeedback):
            if self._state is State.RUNNING:
                self._hear()
        elif isinstance(given, PolicyLost):
            if self._state in LIVE:
                self._stop(TerminationReason.POLICY_LOST)
        elif isinstance(given, PolicyRejected):
            # What was accepted moves, whatever is said of it later.
            if not self._body.accepted:
                self._on_policy_over(TerminationReason.POLICY_REJECTED, Outcome.NOT_ATTEMPTED)
        elif isinstance(given, PolicyStopConfirmed):
            if self._state in LIVE:
                # Somebody else stopped it, and knows why.
                self._on_policy_over(TerminationReason.POLICY_UNDECIDED, Outcome.INTERRUPTED)
            else:
                self._on_policy_finished(None, "")
        elif isinstance(given, PolicyFinished):
            self._on_policy_finished(given.success, given.mode)

    def _on_policy_finished(self, success: bool | None, mode: str) -> None:
        """It ended, by itself or because it was told to."""
        live = self._state in LIVE
        if success or (success is None and live and self._watch.says_success()):
            self._on_policy_over(TerminationReason.SUCCESS, Outcome.SUCCESS)
        elif not live:
            self._on_policy_over(TerminationReason.NONE, Outcome.INTERRUPTED)
        elif success is None:
            self._on_policy_over(TerminationReason.POLICY_UNDECIDED, Outcome.UNKNOWN)
        else:
            goal = self._goal
            if not mode and self.config.causes.suspect and goal is not None and goal.attempt:
                mode = goal.attempt.suspected
            self._on_policy_over(TerminationReason.POLICY_FAILURE, Outcome.FAILURE, mode)

    def _hear(self) -> None:
        """The policy gave a sign of life."""
        if self.config.limits.policy_silence is not None:
            self._silent_ns = self._now_ns + nanoseconds(self.config.limits.policy_silence)

    # Stopping

    def _stop(self, cause: TerminationReason, mode: str = "") -> None:
        """Stop the policy because of its attempt; what follows is decided once it has stopped."""
        goal = self._goal
        if goal is None or goal.attempt is None:
            return
        goal.attempt.blame(cause, mode, self._now_ns)
        goal.attempt.stop_ns = self._now_ns
        self._order_stop(goal)

    def _end(self, reason: TerminationReason) -> None:
        """End the goal: at once where nothing moves, else after the stop."""
        goal = self._goal
        if goal is None or goal.ends:
            return
        goal.finish_with(reason)
        if self._state in LIVE:
            self._stop(reason)
        elif self._state is State.RECOVERING:
            self._order_stop(goal)
        elif self._state in (State.VERIFYING, State.WAITING):
            self._finish(goal)

    def _order_stop(self, goal: Goal) -> None:
        """Order what moves to stop."""
        order = self._body.stop_order()
        if order is None:
            return
        self._out.append(order)
        if self._state is not State.SAFING and self.config.safe_action_after_stop:
            goal.safe_action = True
        self._enter(State.STOPPING, nanoseconds(self.config.limits.stop_timeout))

    def _on_not_stopped(self, goal: Goal) -> None:
        """No confirmation in time: nothing may follow, and a person is needed."""
        if goal.attempt is not None:
            cause = goal.attempt.cause
            goal.records.append(goal.attempt.record(Outcome.UNKNOWN, self._now_ns, False))
            self._history.add(cause)
            goal.attempt = None
            if cause is TerminationReason.POLICY_LOST:
                # That is why nobody confirmed.
                goal.finish_with(cause)
        goal.finish_with(TerminationReason.STOP_NOT_CONFIRMED)
        goal.latch = TerminationReason.STOP_NOT_CONFIRMED
        self._finish(goal)

    # What is over

    def _on_policy_over(self, cause: TerminationReason, outcome: Outcome, mode: str = "") -> None:
        """The policy no longer moves the robot; ``cause`` NONE where it was told to stop."""
        self._body.over()
        goal = self._goal
        if goal is None or goal.attempt is None:
            # Latched without its confirmation, which now came.
            return
        if cause is not TerminationReason.NONE:
            goal.attempt.blame(cause, mode, self._now_ns)
        record = goal.attempt.record(outcome, self._now_ns, True)
        goal.records.append(record)
        goal.attempt = None
        too_many = outcome is not Outcome.NOT_ATTEMPTED and self._history.add(record.cause)
        if too_many:
            goal.latch_with(TerminationReason.TOO_MANY_ALARMS)
        if outcome is Outcome.SUCCESS:
            # Also where it was being stopped for a retry: what is done is not done again.
            goal.finish_with(TerminationReason.SUCCESS)
        if not goal.ends:
            self._plan(goal, record, too_many)
        self._proceed(goal)

    def _plan(self, goal: Goal, record: AttemptRecord, too_many: bool) -> None:
        """What follows an attempt that failed."""
        action = action_for(record, self.config.causes)
        if action in ("escalate", "abort"):
            if action == "escalate":
                goal.latch_with(record.cause)
            goal.finish_with(record.cause, record.mode)
        elif too_many:
            goal.finish_with(TerminationReason.TOO_MANY_ALARMS, record.mode)
        elif len(goal.records) >= goal.max_attempts:
            goal.finish_with(TerminationReason.ATTEMPTS_EXHAUSTED, record.mode)
        goal.recovery = action == "recover"
        goal.waits_for_monitor = record.cause is TerminationReason.MONITOR_DEAD

    def _on_recovery_over(self, success: bool) -> None:
        self._body.over()
        if self._goal is not None:
            if not success:
                self._goal.finish_with(TerminationReason.RECOVERY_FAILED)
            self._proceed(self._goal)

    def _on_safe_action_over(self, success: bool) -> None:
        self._body.over()
        if self._goal is not None:
            if not success:
                self._goal.finish_with(TerminationReason.SAFE_ACTION_FAILED)
                self._goal.latch_with(TerminationReason.SAFE_ACTION_FAILED)
            self._proceed(self._goal)

    def _proceed(self, goal: Goal) -> None:
        """Nothing moves: do what is due next."""
        limits = self.config.limits
        if goal.safe_action:
            goal.safe_action = False
            run = self._body.start("safe_action")
            self._enter(State.SAFING, nanoseconds(limits.safe_action_timeout))
            self._out.append(StartSafeAction(run))
        elif goal.ends:
            self._finish(goal)
        elif goal.recovery and not self._watch.fresh.is_open(self._now_ns):
            # A recovery moves the robot: not unseen.
            goal.safe_action = self.config.on_monitor_death == "safe_action"
            goal.finish_with(TerminationReason.MONITOR_DEAD)
            self._proceed(goal)
        elif goal.recovery:
            goal.recovery = False
            run = self._body.start("recovery")
            self._enter(State.RECOVERING, nanoseconds(limits.recovery_timeout))
            self._out.append(StartRecovery(run, goal.records[-1].mode))
        elif limits.retry_pause:
            self._enter(State.WAITING, nanoseconds(limits.retry_pause))
        else:
            self._verify(goal)

    def _finish(self, goal: Goal) -> None:
        stopped = self._body.live is None
        status: GoalStatus = "aborted"
        if stopped and goal.end is TerminationReason.SUCCESS:
            status = "succeeded"
        elif stopped and goal.end is TerminationReason.CANCELLED:
            status = "canceled"
        self._goal = None
        self._out.append(
            Finish(
                goal_id=goal.goal_id,
                status=status,
                outcome=goal.outcome(),
                reason=goal.end,
                mode=goal.mode,
                attempts=tuple(goal.records),
                stopped=stopped,
            )
        )
        if goal.end.name.lower() in self.config.latch_on:
            goal.latch_with(goal.end)
        if goal.latch is TerminationReason.NONE:
            self._enter(State.IDLE, None)
        else:
            self._close(goal.latch)

    def _close(self, reason: TerminationReason) -> None:
        """Latch; the first reason stays."""
        if self._state is not State.LATCHED:
            self._latch = reason
            self._out.append(Latch(reason))
            self._enter(State.LATCHED, None)

    # What begins

    def _verify(self, goal: Goal) -> None:
        verification = self.config.verification
        waits = goal.waits_for_monitor
        timeout = verification.return_timeout if waits else verification.timeout
        self._enter(State.VERIFYING, nanoseconds(timeout))

    def _begin_if_verified(self) -> None:
        goal = self._goal
        if (
            goal is None
            or self._state is not State.VERIFYING
            or not self._watch.verified(self._now_ns)
        ):
            return
        run = self._body.start("policy")
        self._enter(State.STARTING, nanoseconds(self.config.limits.start_timeout))
        goal.waits_for_monitor = False
        goal.attempt = Attempt(len(goal.records) + 1, run, self._now_ns)
        self._watch.begin_attempt()
        self._out.append(StartPolicy(run, goal.goal_id, goal.attempt.number))

    def _enter(self, state: State, timeout_ns: int | None) -> None:
        self._state = state
        self._deadline_ns = None if timeout_ns is None else self._now_ns + timeout_ns
        self._silent_ns = None

    def _tell(self) -> None:
        """Publish the state where something discrete changed."""
        snapshot = self.snapshot()
        fixed = replace(
            snapshot,
            score=0.0,
            threshold=0.0,
            value=0.0,
            progress=0.0,
            termination=0.0,
            success=0.0,
        )
        if fixed != self._told:
            self._told = fixed
            self._out.append(PublishState(snapshot))
