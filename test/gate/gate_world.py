"""A gate between an adversary and a judge: both know what was said, and nothing of its insides."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, is_dataclass
from enum import Enum
from typing import Any

from pro_ros.gate.config import GateConfig
from pro_ros.gate.inputs import (
    AssessmentSeen,
    CancelRequested,
    GoalAccepted,
    Input,
    PolicyAccepted,
    PolicyFinished,
    PolicyRejected,
    PolicyStopConfirmed,
    Rearm,
    RecoveryFinished,
    SafeActionFinished,
    Tick,
)
from pro_ros.gate.machine import Gate
from pro_ros.gate.outputs import (
    AttemptRecord,
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

SECOND = 1_000_000_000
MOVING = (State.STARTING, State.RUNNING, State.RECOVERING)
STARTS = {StartPolicy: "policy", StartRecovery: "recovery", StartSafeAction: "safe_action"}
STOPS = {StopPolicy: "policy", StopRecovery: "recovery", StopSafeAction: "safe_action"}


@dataclass
class Mover:
    kind: str
    run: int
    accepted: bool = False
    stop_ordered_ns: int | None = None


@dataclass
class Task:
    """What the judge remembers of a goal that is not finished."""

    goal_id: str
    begin_ns: int
    cancelled: bool = False
    policies: int = 0
    recoveries: int = 0
    safe_actions: int = 0
    recovered: bool = False
    """A recovery succeeded since the latest attempt."""


@dataclass
class World:
    """Feeds a gate and checks, after every input, all that must never happen."""

    config: GateConfig
    gate: Gate = None  # type: ignore[assignment]
    now_ns: int = 0
    sequence: int = 10
    stamp_ns: int = 0
    newest: tuple[int, int] | None = None
    """Sequence and stamp of the newest assessment."""
    good_ns: int | None = None
    """Receipt of the newest assessment that counts, since something last went back."""
    row: int = 0
    row_ns: int = 0
    """When the row began that has not opened the gate yet."""
    opened: bool = False
    mover: Mover | None = None
    latched: bool = False
    task: Task | None = None
    goals: int = 0
    finished: int = 0
    runs: int = 0
    alarms: deque[bool] = field(default_factory=deque)
    reasons: set[TerminationReason] = field(default_factory=set)
    """Why goals ended; one set for all twins."""
    obedient: bool = False
    """What is told to stop confirms it at the next occasion."""

    def __post_init__(self) -> None:
        if self.gate is None:
            self.gate = Gate(self.config)

    # Inputs

    def give(self, given: Input) -> list[Output]:
        """An input at the present time."""
        self._before(given)
        outputs = self.gate.handle(given, self.now_ns)
        for output in outputs:
            self._judge_output(output, given)
        self._judge()
        return outputs

    def wait(self, duration_ns: int) -> None:
        """Time goes by with a tick at every deadline."""
        end_ns = self.now_ns + duration_ns
        ticks = 0
        self.obey()
        while (due := self.gate.next_deadline()) is not None and due <= end_ns:
            ticks += 1
            assert ticks < 1000, "the gate asks for ticks without end"
            self.now_ns = due
            self.give(Tick())
            self.obey()
        self.now_ns = end_ns
        self.give(Tick())

    def obey(self) -> None:
        while self.obedient and self.mover and self.mover.stop_ordered_ns is not None:
            words = {
                "policy": PolicyStopConfirmed(self.mover.run),
                "recovery": RecoveryFinished(self.mover.run, False),
                "safe_action": SafeActionFinished(self.mover.run, False),
            }
            self.give(words[self.mover.kind])

    def freeze(self, duration_ns: int) -> None:
        """Time goes by and nobody calls the gate; that is not held against it."""
        self.now_ns += duration_ns
        if self.task is not None:
            self.task.begin_ns += duration_ns

    def order(self, **limits: float) -> str:
        self.goals += 1
        goal_id = f"goal {self.goals}"
        self.give(GoalAccepted(goal_id, **limits))  # type: ignore[arg-type]
        return goal_id

    def assess(self, score: float = 0.1, mode: str = "", **more: Any) -> list[Output]:
        """The next assessment; ``more`` spoils it."""
        self.sequence += 1
        self.stamp_ns += 1000
        values: dict[str, Any] = {
            "sequence": self.sequence, "stamp_ns": self.stamp_ns, "validity": 1,
            "score": score, "threshold": 0.5, "termination": 0.1, "success": 0.5, "mode": mode,
        }  # fmt: skip
        return self.give(AssessmentSeen(**{**values, **more}))

    def restart_monitor(self) -> None:
        """A new monitor counts from the start, and time on the robot goes on."""
        self.sequence -= 1000
        self.assess()

    # The judge

    def _before(self, given: Input) -> None:
        """What the input means, told from the outside.

        The gate may refuse what comes too late, so what is confirmed here is only that the robot
        stands still; whether that was in time the gate decides.
        """
        mover = self.mover
        run = getattr(given, "run", None)
        if isinstance(given, AssessmentSeen):
            self._hear(given)
        elif isinstance(given, CancelRequested):
            if self.task is not None and self.task.goal_id == given.goal_id:
                self.task.cancelled = True
        elif isinstance(given, GoalAccepted):
            self._expire()
        elif mover is None or run != mover.run:
            pass
        elif mover.kind == "policy":
            if isinstance(given, PolicyAccepted):
                mover.accepted = True
            elif isinstance(given, PolicyFinished | PolicyStopConfirmed) or (
                isinstance(given, PolicyRejected) and not mover.accepted
            ):
                self.mover = None
        elif (mover.kind, type(given)) in (
            ("recovery", RecoveryFinished),
            ("safe_action", SafeActionFinished),
        ):
            if mover.kind == "recovery" and self.task is not None:
                self.task.recovered = given.success  # type: ignore[union-attr]
            self.mover = None

    def _hear(self, seen: AssessmentSeen) -> None:
        self._expire()
        freshness = self.config.freshness
        before, self.newest = self.newest, self.newest or (seen.sequence, seen.stamp_ns)
        if before is None:
            return
        if seen.sequence < before[0] or seen.stamp_ns < before[1]:
            self.newest = (seen.sequence, seen.stamp_ns)
            self.good_ns, self.row, self.row_ns, self.opened = None, 0, 0, False
        elif seen.sequence > before[0] and seen.stamp_ns > before[1]:
            self.newest = (seen.sequence, seen.stamp_ns)
            if seen.validity == 1 and not math.isnan(seen.score + seen.termination):
                self.good_ns = self.now_ns
                self.row += 1
                if self.row == 1:
                    self.row_ns = self.now_ns
                # A burst of old ones is no sign of life.
                span_ns = round(freshness.period * (freshness.needed - 1) / 4 * SECOND)
                if self.row >= freshness.needed and self.now_ns >= self.row_ns + span_ns:
                    self.opened, self.row_ns = True, 0

    def _expire(self) -> None:
        limit_ns = round(self.config.freshness.limit * SECOND)
        if self.good_ns is not None and self.now_ns - self.good_ns >= limit_ns:
            self.good_ns, self.row, self.row_ns, self.opened = None, 0, 0, False

    @property
    def fresh(self) -> bool:
        self._expire()
        return self.opened

    def _judge_output(self, output: Output, given: Input) -> None:
        if type(output) in STARTS:
            if self.task is None and isinstance(given, GoalAccepted):
                self.task = Task(given.goal_id, self.now_ns)
            self._judge_start(output, STARTS[type(output)])
        elif type(output) in STOPS:
            # What is told to stop may have ended by the same word that told it.
            if self.mover is not None:
                assert (self.mover.kind, self.mover.run) == (STOPS[type(output)], output.run)
                if self.mover.stop_ordered_ns is None:
                    self.mover.stop_ordered_ns = self.now_ns
        elif isinstance(output, Finish):
            self._judge_finish(output, given)
        elif isinstance(output, Latch):
            assert not self.latched
            self.latched = True
        elif isinstance(output, RearmRefused):
            assert self.latched
            assert self.mover is not None
            assert self.mover.run == output.run
        elif isinstance(output, PublishState) and self.latched:
            self.latched = output.snapshot.state is State.LATCHED
            if not self.latched:
                assert isinstance(given, Rearm), "the latch opened by itself"
                assert self.mover is None or given.robot_stopped
                self.mover = None
                self.alarms.clear()

    def _judge_start(self, output: Any, kind: str) -> None:
        task = self.task
        assert task is not None, "something starts without a goal"
        assert not self.latched, "something starts while the gate is latched"
        assert self.mover is None, f"{kind} starts while {self.mover} has not ended"
        assert output.run > self.runs, "a run is given out twice"
        self.runs = output.run
        self.mover = Mover(kind, output.run)
        if kind == "policy":
            assert self.fresh, "an attempt starts on stale data"
            assert output.goal_id == task.goal_id
            task.policies += 1
            assert output.attempt == task.policies
            assert task.policies <= self.config.limits.max_attempts
        elif kind == "recovery":
            assert self.fresh, "a recovery starts on stale data"
            task.recoveries += 1
            task.recovered = False
            assert task.recoveries < task.policies + 1 <= self.config.limits.max_attempts
        else:
            assert self.config.needs_safe_action
            task.safe_actions += 1
            assert task.safe_actions <= task.policies + task.recoveries

    def _judge_finish(self, done: Finish, given: Input) -> None:
        assert done.reason is not TerminationReason.NONE
        if isinstance(given, GoalAccepted) and done.goal_id == given.goal_id:
            reasons = (TerminationReason.BUSY, TerminationReason.LATCHED)
            if done.reason in reasons:
                assert not done.attempts
                self.finished += 1
                return
        task = self.task
        assert task is not None, "a goal is finished twice"
        assert done.goal_id == task.goal_id
        self.finished += 1
        self.reasons.add(done.reason)
        self.task = None
        succeeded = done.stopped and done.reason is TerminationReason.SUCCESS
        assert (done.status == "succeeded") == succeeded
        if done.status == "canceled":
            assert task.cancelled, "canceled without a client's cancel"
        if done.stopped:
            assert self.mover is None
        if done.status != "aborted":
            assert done.stopped
        if done.reason is TerminationReason.SUCCESS:
            assert done.outcome is Outcome.SUCCESS
        assert len(done.attempts) == task.policies
        assert [r.number for r in done.attempts] == list(range(1, task.policies + 1))
        self._judge_duration(task)
        for record in done.attempts:
            assert record.begin_ns <= record.end_ns
            assert record.cause is not TerminationReason.NONE
            self._judge_alarms(record)
        for record in done.attempts[:-1]:
            assert record.outcome is not Outcome.SUCCESS, "what is done is done again"
            assert self._may_repeat(record), f"{record.cause.name} is not mended by a retry"

    def _judge_duration(self, task: Task) -> None:
        """Nothing takes longer than the goal's time, the stops and a safe action."""
        limits = self.config.limits
        longest = limits.max_duration + 2 * limits.stop_timeout + limits.safe_action_timeout
        assert self.now_ns - task.begin_ns <= longest * SECOND, "a goal goes on for too long"

    def _judge_alarms(self, record: Any) -> None:
        if record.outcome is Outcome.NOT_ATTEMPTED:
            return
        alarm = self.config.alarm
        self.alarms.append(record.alarm_ns is not None)
        while len(self.alarms) > alarm.in_attempts:
            self.alarms.popleft()
        assert sum(self.alarms) <= alarm.max_alarms

    def _may_repeat(self, record: Any) -> bool:
        causes = self.config.causes
        reason = TerminationReason
        if record.cause is reason.MONITOR_DEAD:
            return self.config.on_monitor_death == "hold"
        if record.cause in (reason.RISK_ALARM, reason.PREDICTED_FAILURE):
            action = causes.modes.get(record.mode, causes.other)
        elif record.cause is reason.POLICY_FAILURE:
            action = causes.modes.get(record.mode, causes.policy_failure)
        else:
            action = getattr(causes, record.cause.name.lower(), "abort")
        return action in ("retry", "recover")

    def _judge(self) -> None:
        """What must hold after every input."""
        shown = self.gate.snapshot()
        if self.task is None and shown.goal_id:
            self.task = Task(shown.goal_id, self.now_ns)
        if self.task is not None:
            self._judge_duration(self.task)
        assert (self.task.goal_id if self.task else "") == shown.goal_id
        fresh = self.fresh
        assert (shown.monitor is Monitor.FRESH) == fresh
        if shown.open:
            assert fresh
            assert not self.latched
        if shown.state in MOVING:
            assert fresh, f"{shown.state.name} on stale data"
        if self.mover is None:
            assert shown.state not in (*MOVING, State.SAFING, State.STOPPING)
        elif self.mover.stop_ordered_ns is not None:
            assert shown.state in (State.STOPPING, State.LATCHED)
            assert (
                self.latched
                or self.now_ns - self.mover.stop_ordered_ns
                < self.config.limits.stop_timeout * SECOND
            )
        else:
            assert shown.state in (*MOVING, State.SAFING)
        assert (shown.state is State.LATCHED) == self.latched
        due = self.gate.next_deadline()
        assert due is None or due > self.now_ns, "a deadline has passed and nothing happened"
        if shown.goal_id:
            assert due is not None, "a goal waits for nothing"
        assert self.finished == self.goals - (1 if shown.goal_id else 0), "a goal is lost"

    # For exploration

    def twin(self) -> World:
        """The same world, to go another way from here."""
        return twin(self)

    def key(self) -> tuple[Any, ...]:
        """Equal for worlds that can only go on alike, whatever time it is."""
        found: tuple[Any, ...] = canonical(self, self)
        return found


class Remembered(dict[type, Any]):
    """What a function says of a class, worked out once."""

    def __init__(self, say: Callable[[type], Any]) -> None:
        super().__init__()
        self._say = say

    def __missing__(self, kind: type) -> Any:
        found = self[kind] = self._say(kind)
        return found


def changes(kind: type) -> bool:
    """Whether objects of a class change; all others are shared."""
    if is_dataclass(kind):
        return not kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    if kind in (list, deque):
        return True
    return kind.__module__.startswith("pro_ros.gate") and not issubclass(kind, Enum | GateConfig)


CHANGES = Remembered(changes)


def twin(value: Any) -> Any:
    """A deep copy that shares what cannot change."""
    kind = type(value)
    if kind is list:
        return [twin(v) if CHANGES[type(v)] else v for v in value]
    if kind is deque:
        return deque(value, value.maxlen)
    other = object.__new__(kind)
    parts = vars(other)
    parts.update(vars(value))
    for name, part in vars(value).items():
        if CHANGES[type(part)]:
            parts[name] = twin(part)
    return other


COUNTED = {"run", "runs", "_runs", "unconfirmed"}
LEFT_OUT = {
    "config", "_config", "_out", "_told", "goals", "finished", "goal_id", "peak_risk", "suspected",
    "alarm_ns", "stop_ns", "stopped_ns", "begin_ns", "end_ns", "newest", "sequence", "stamp_ns",
    "seen", "now_ns", "_now_ns", "obedient", "reasons", "_limit", "_limit_ns", "_needed",
    "_span_ns",
    "_model_id", "_refused", "_set_threshold", "_release", "_hold_ns", "_count", "_most",
    "attempt_timeout_ns", "fault",
}  # fmt: skip
"""What does not change what can follow."""

PLAIN = Remembered(
    lambda kind: kind in (int, float, str, bool, type(None)) or issubclass(kind, Enum)
)
"""Whether a value of a class stands for itself."""


def canonical(value: Any, world: World) -> Any:
    """What of a value decides what can follow."""
    kind = type(value)
    if PLAIN[kind]:
        return value
    if kind is AssessmentSeen:
        # The next one advances and a restart goes back, whatever the numbers are.
        return "seen"
    if kind is AttemptRecord:
        return (value.outcome, value.cause, value.mode)
    if kind in (list, tuple, deque):
        return tuple([canonical(v, world) for v in value])
    parts = vars(value)
    rules = RULES.get(kind)
    if rules is None:
        rules = RULES[kind] = tuple((n, rule_of(n)) for n in parts if kept(n, kind))
    found = []
    for name, rule in rules:
        part = parts[name]
        if rule is not None and part is not None:
            part = rule(part, world)
        elif not PLAIN[type(part)]:
            part = canonical(part, world)
        found.append(part)
    return tuple(found)


Rule = Callable[[Any, World], Any]
RULES: dict[type, tuple[tuple[str, Rule | None], ...]] = {}


def kept(name: str, kind: type) -> bool:
    return name not in LEFT_OUT or (name == "begin_ns" and kind is Task)


def rule_of(name: str) -> Rule | None:
    """What an attribute's numbers are reduced to; None: nothing."""
    if name in COUNTED:
        return lambda value, world: world.runs - value
    if name in ("row", "_row"):
        return lambda value, world: min(value, world.config.freshness.needed)
    if name in ("row_ns", "_row_ns"):
        return left_of_row
    if name == "low_ns":
        # How long ago it became low decides nothing.
        return lambda value, world: max(value - world.now_ns, 0)
    if name.endswith("_ns"):
        return lambda value, world: max(value - world.now_ns, -20 * SECOND)
    return None


def left_of_row(value: int, world: World) -> int | None:
    """Nothing but what is left of the time that a row must last."""
    period = world.config.freshness.period
    return max(value - world.now_ns + round(period * SECOND), 0) if value else None
