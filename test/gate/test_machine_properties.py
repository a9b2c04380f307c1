"""Nobody, in whatever order and at whatever time they speak, gets the gate to do wrong."""

from __future__ import annotations

import math

import pytest
from gate_world import SECOND, World
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from pro_ros.gate.config import GateConfig
from pro_ros.gate.inputs import (
    AssessmentSeen,
    CancelRequested,
    ClientLost,
    GoalAccepted,
    InternalError,
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
)

MODES = st.sampled_from(["", "slip", "jam", "stop", "unlisted"])
MILLISECONDS = st.sampled_from([1, 50, 99, 100, 101, 199, 200, 201, 500, 1000, 2500, 7000])


def configs() -> st.SearchStrategy[GateConfig]:
    """Gates of all kinds."""
    return st.builds(
        lambda **chosen: GateConfig.model_validate(
            {
                "limits": {
                    "max_attempts": chosen["attempts"], "max_duration": 8, "attempt_timeout": 3,
                    "start_timeout": 0.5, "stop_timeout": 0.3, "recovery_timeout": 1,
                    "safe_action_timeout": 0.7, "retry_pause": chosen["pause"],
                    "policy_silence": chosen["silence"],
                },
                "freshness": {"period": 0.1, "needed": chosen["needed"]},
                "alarm": {
                    "threshold": chosen["threshold"], "count": chosen["count"], "of": 2,
                    "max_alarms": 2, "in_attempts": 3,
                },
                "verification": {
                    "low_risk": chosen["low_risk"], "hold": chosen["hold"], "timeout": 1.5,
                },
                "causes": {
                    "modes": {"slip": "retry", "jam": "recover", "stop": "escalate"},
                    "other": chosen["other"], "policy_failure": "recover",
                    "policy_undecided": "retry", "policy_rejected": "retry",
                    "policy_lost": chosen["other"],
                },
                "on_monitor_death": chosen["death"],
                "safe_action_after_stop": chosen["safe"],
                "latch_on": chosen["latch"],
            }
        ),
        attempts=st.integers(1, 4),
        pause=st.sampled_from([0.0, 0.4]),
        silence=st.sampled_from([None, 0.4]),
        needed=st.integers(2, 3),
        threshold=st.sampled_from(["calibrated", 0.5]),
        count=st.integers(1, 2),
        low_risk=st.booleans(),
        hold=st.sampled_from([0.0, 0.25]),
        other=st.sampled_from(["retry", "recover", "escalate", "abort"]),
        death=st.sampled_from(["hold", "cancel", "safe_action"]),
        safe=st.booleans(),
        latch=st.sampled_from([(), ("recovery_failed", "monitor_dead")]),
    )  # fmt: skip


class Adversary(RuleBasedStateMachine):
    """Says anything at any time; :class:`World` judges."""

    @initialize(config=configs(), obedient=st.sampled_from([True, True, False]))
    def begin(self, config: GateConfig, obedient: bool) -> None:
        self.world = World(config, obedient=obedient)

    def run_of(self, which: int) -> int:
        """The run that is live, one before it, or one that never was."""
        return self.world.runs + which

    runs = st.sampled_from([0, 0, 0, 0, -1, 1])

    @rule(ready=st.booleans())
    def goal_of_a_robot_that_is_watched(self, ready: bool) -> None:
        self.world.give(Rearm(robot_stopped=True))
        for _ in range(8):
            self.world.wait(SECOND // 10)
            self.world.assess()
        self.world.order()
        if ready:
            self.world.give(PolicyAccepted(self.world.runs))

    @rule(good=st.booleans(), mode=MODES)
    def what_is_awaited_comes(self, good: bool, mode: str) -> None:
        """An answer of the kind that fits what moves."""
        world, run = self.world, self.world.runs
        mover = world.mover
        if mover is None:
            world.wait(SECOND // 10)
            world.assess()
        elif mover.stop_ordered_ns is not None and mover.kind == "policy":
            world.give(PolicyStopConfirmed(run))
        elif mover.kind == "recovery":
            world.give(RecoveryFinished(run, good))
        elif mover.kind == "safe_action":
            world.give(SafeActionFinished(run, good))
        elif not mover.accepted:
            world.give(PolicyAccepted(run))
        else:
            world.give(PolicyFinished(run, False, mode))

    @rule(count=st.integers(1, 40), feedback=st.booleans())
    def all_is_well(self, count: int, feedback: bool) -> None:
        for _ in range(count):
            self.world.wait(SECOND // 10)
            self.world.assess()
            if feedback:
                self.world.give(PolicyFeedback(self.world.runs))

    @rule(count=st.integers(1, 4), score=st.sampled_from([0.1, 0.45, 0.9]), mode=MODES)
    def monitor_speaks(self, count: int, score: float, mode: str) -> None:
        for _ in range(count):
            self.world.wait(SECOND // 10)
            self.world.assess(score, mode)

    @rule(termination=st.sampled_from([0.1, 0.9]), success=st.sampled_from([0.1, 0.9]), mode=MODES)
    def monitor_sees_an_end(self, termination: float, success: float, mode: str) -> None:
        for _ in range(3):
            self.world.wait(SECOND // 10)
            self.world.assess(termination=termination, success=success, mode=mode)

    @rule(
        count=st.integers(1, 4),
        spoil=st.sampled_from(["nan", "invalid", "repeat", "frozen", "restart"]),
    )
    def monitor_is_broken(self, count: int, spoil: str) -> None:
        world = self.world
        if spoil == "restart":
            world.restart_monitor()
        for _ in range(count):
            world.wait(SECOND // 10)
            if spoil == "nan":
                world.assess(math.nan)
            elif spoil == "invalid":
                world.assess(validity=0)
            elif spoil == "repeat" and world.newest is not None:
                world.give(AssessmentSeen(*world.newest, validity=1, score=0.1, threshold=0.5))
            elif spoil == "frozen" and world.newest is not None:
                world.assess(stamp_ns=world.newest[1])

    @rule(attempts=st.sampled_from([0, 0, 1, 100]), duration=st.sampled_from([0.0, 0.0, 1.0, 1e6]))
    def goal(self, attempts: int, duration: float) -> None:
        self.world.order(max_attempts=attempts, max_duration=duration)

    @rule(
        goal=st.sampled_from([0, 0, -1, 1]),
        kind=st.sampled_from(["cancel", "newer", "lost", "again"]),
    )
    def client_speaks(self, goal: int, kind: str) -> None:
        kinds = {"cancel": CancelRequested, "newer": Superseded, "lost": ClientLost}
        self.world.wait(0)
        if kind != "again":
            self.world.give(kinds[kind](f"goal {self.world.goals + goal}"))
        elif self.world.task is not None:
            self.world.give(GoalAccepted(self.world.task.goal_id))

    @rule(
        which=runs,
        word=st.sampled_from(
            [PolicyAccepted, PolicyRejected, PolicyFeedback, PolicyLost, PolicyStopConfirmed]
        ),
    )
    def policy_says(self, which: int, word: type) -> None:
        self.world.give(word(self.run_of(which)))

    @rule(which=runs, success=st.sampled_from([True, False, False, None]), mode=MODES)
    def policy_finishes(self, which: int, success: bool | None, mode: str) -> None:
        self.world.give(PolicyFinished(self.run_of(which), success, mode))

    @rule(
        which=runs,
        word=st.sampled_from([RecoveryFinished, SafeActionFinished]),
        success=st.booleans(),
    )
    def another_action_finishes(self, which: int, word: type, success: bool) -> None:
        self.world.give(word(self.run_of(which), success))

    @rule(milliseconds=MILLISECONDS, called=st.sampled_from([True, True, False]))
    def time_goes_by(self, milliseconds: int, called: bool) -> None:
        """With a tick at every deadline, or with nobody who calls the gate."""
        (self.world.wait if called else self.world.freeze)(milliseconds * 1_000_000)

    @rule(stopped=st.booleans(), defect=st.integers(0, 9))
    def person_rearms(self, stopped: bool, defect: int) -> None:
        self.world.give(InternalError() if defect == 9 else Rearm(stopped))

    def teardown(self) -> None:
        # Whatever happened: left alone, the gate comes to an end and nothing moves unasked.
        if hasattr(self, "world"):
            self.world.wait(60 * SECOND)
            assert self.world.task is None, "a goal without end"
            if not self.world.latched:
                assert self.world.mover is None


TestAdversary = Adversary.TestCase
TestAdversary.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
TestAdversary.pytestmark = [pytest.mark.filterwarnings("error")]
