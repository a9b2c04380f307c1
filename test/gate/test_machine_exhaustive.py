"""Every order of a small set of inputs, from every state that they lead to.

Time goes by in steps of one second, every time-out is one or two of them. States that can only go
on alike are visited once, so that the search comes to an end instead of to a depth. What must
never happen is judged after every input by :class:`gate_world.World`.
"""

from __future__ import annotations

import gc
import math
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gate_world import SECOND, World

from pro_ros.gate.config import GateConfig
from pro_ros.gate.inputs import (
    CancelRequested,
    PolicyAccepted,
    PolicyFinished,
    PolicyLost,
    PolicyRejected,
    PolicyStopConfirmed,
    Rearm,
    RecoveryFinished,
    SafeActionFinished,
)
from pro_ros.gate.reasons import State, TerminationReason

Move = Callable[[World], Any]


def frozen(world: World) -> None:
    world.freeze(3 * SECOND)
    world.wait(0)


MONITOR: dict[str, Move] = {
    "low": lambda w: w.assess(0.1),
    "slip": lambda w: w.assess(0.9, "slip"),
    "jam": lambda w: w.assess(0.9, "jam"),
    "nan": lambda w: w.assess(math.nan),
    "restart": lambda w: w.restart_monitor(),
}
POLICY: dict[str, Move] = {
    "accept": lambda w: w.give(PolicyAccepted(w.runs)),
    "reject": lambda w: w.give(PolicyRejected(w.runs)),
    "done": lambda w: w.give(PolicyFinished(w.runs, True)),
    "failed": lambda w: w.give(PolicyFinished(w.runs, False)),
    "stopped": lambda w: w.give(PolicyStopConfirmed(w.runs)),
    "lost": lambda w: w.give(PolicyLost(w.runs)),
}
RECOVERY: dict[str, Move] = {
    "recovered": lambda w: w.give(RecoveryFinished(w.runs, True)),
    "not recovered": lambda w: w.give(RecoveryFinished(w.runs, False)),
}
SAFE_ACTION: dict[str, Move] = {
    "safe": lambda w: w.give(SafeActionFinished(w.runs, True)),
    "not safe": lambda w: w.give(SafeActionFinished(w.runs, False)),
}
TIME: dict[str, Move] = {"second": lambda w: w.wait(SECOND), "frozen": frozen}


def moves_of(world: World) -> dict[str, Move]:
    """All inputs that can matter; late words are tested elsewhere."""
    moves = {**MONITOR, **TIME}
    if world.mover is not None:
        words = {"policy": POLICY, "recovery": RECOVERY, "safe_action": SAFE_ACTION}
        moves |= words[world.mover.kind]
    if world.task is not None:
        goal_id = world.task.goal_id
        moves["cancel"] = lambda w: w.give(CancelRequested(goal_id))
    else:
        moves["order"] = lambda w: w.order()
    if world.latched:
        moves["rearm"] = lambda w: w.give(Rearm())
        moves["rearm by hand"] = lambda w: w.give(Rearm(robot_stopped=True))
    return moves


def gate(**more: Any) -> GateConfig:
    values: dict[str, Any] = {
        "limits": {
            "max_attempts": 2, "max_duration": 4, "attempt_timeout": 2, "start_timeout": 1,
            "stop_timeout": 1, "recovery_timeout": 1, "safe_action_timeout": 1,
        },
        "freshness": {"period": 1, "needed": 2},
        "ending": {"count": 1, "of": 1},
        "alarm": {"max_alarms": 2, "in_attempts": 2},
        "verification": {"hold": 0, "timeout": 2, "return_timeout": 2},
        "causes": {"modes": {"slip": "retry", "jam": "recover"}, "policy_failure": "retry"},
    }  # fmt: skip
    return GateConfig.model_validate({**values, **more})


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    """Worlds hold no cycles: the collector would only look at all that is known, ever again."""
    gc.disable()
    yield
    gc.enable()


def explore(config: GateConfig, most: int) -> tuple[World, Counter[State], bool]:
    """Visit all worlds: the first one, how often each state was met, whether none was left out."""
    first = World(config)
    known = {first.key()}
    waiting: deque[tuple[World, tuple[str, ...]]] = deque([(first, ())])
    seen: Counter[State] = Counter()
    while waiting and len(known) < most:
        world, path = waiting.popleft()
        for name, move in moves_of(world).items():
            other = world.twin()
            try:
                move(other)
            except AssertionError as exc:
                raise AssertionError(f"{' > '.join((*path, name))}: {exc}") from exc
            key = other.key()
            if key not in known:
                known.add(key)
                waiting.append((other, (*path, name)))
                seen[other.gate.snapshot().state] += 1
    return first, seen, not waiting


@pytest.mark.parametrize(
    "more",
    [
        {"on_monitor_death": "hold"},
        {"on_monitor_death": "safe_action"},
        {"safe_action_after_stop": True},
        {"verification": {"low_risk": False, "hold": 0}},
    ],
    ids=["hold", "safe action on death", "safe action after stop", "any risk"],
)
def test_nothing_forbidden_within_a_few_inputs(more: dict[str, Any]) -> None:
    _, seen, _ = explore(gate(**more), 2500)
    assert seen[State.RUNNING]
    assert seen[State.LATCHED]


@pytest.mark.slow
def test_nothing_forbidden_in_any_order_of_inputs() -> None:
    first, seen, complete = explore(gate(), 100_000)
    assert complete
    assert set(seen) == set(State) - {State.UNKNOWN, State.SAFING, State.WAITING}
    reason = TerminationReason
    assert first.reasons == {
        reason.SUCCESS, reason.ATTEMPTS_EXHAUSTED, reason.TIME_EXHAUSTED, reason.TOO_MANY_ALARMS,
        reason.NOT_VERIFIED, reason.MONITOR_DEAD, reason.CANCELLED, reason.POLICY_REJECTED,
        reason.POLICY_LOST, reason.STOP_NOT_CONFIRMED, reason.RECOVERY_FAILED,
        reason.POLICY_UNDECIDED,
    }  # fmt: skip
