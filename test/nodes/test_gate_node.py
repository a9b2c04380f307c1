"""The retry gate as a node, between real action servers and clients."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import rclpy
from action_msgs.msg import GoalStatus, GoalStatusArray
from gate_rig import (
    LATCHED,
    PERIOD,
    THRESHOLD,
    Client,
    FakeMonitor,
    HandPolicy,
    Rig,
    Spinning,
    causes,
    outcome,
    process,
    reason,
    running,
    write_gate_file,
)
from pro_ros.msg import EpisodeEvent, GateState
from waiting import START_S, known_to, wait_for, within

from pro_ros.gate.reasons import Monitor, State, TerminationReason
from pro_ros.nodes.scripted_policy import ScriptedPolicy

pytestmark = pytest.mark.usefixtures("ros")

SLACK_S = 0.15
"""What a busy machine may add to a time."""


def slipping(rig: Rig) -> None:
    """The risk is high while the run goes on, and low once it has stopped."""
    wait_for(lambda: rig.policy.live, "the policy runs")
    rig.await_state(State.RUNNING)
    rig.monitor.raise_risk("slip")
    wait_for(lambda: not rig.policy.live, "the policy stops")
    rig.monitor.lower_risk()


# --- attempts -------------------------------------------------------------------------------


def test_an_undisturbed_task_succeeds_with_one_attempt(tmp_path: Path) -> None:
    with running(tmp_path, ["succeed"]) as rig:
        order = rig.order()
        result = order.result()
        assert order.status() == "succeeded"
        assert (reason(result), outcome(result)) == ("SUCCESS", "SUCCESS")
        assert causes(result) == ["SUCCESS"]
        assert result.stopped
        assert math.isnan(result.attempts[0].alarm_after)
        assert math.isnan(result.attempts[0].stop_latency)
        assert result.attempts[0].peak_risk == pytest.approx(0.1)
        running_ = [f for f in order.feedback if f.state == State.RUNNING]
        assert len(running_) > 5
        assert {(f.attempt, f.max_attempts) for f in running_} == {(1, 3)}
        assert running_[-1].risk == pytest.approx(0.1)
        assert running_[-1].threshold == pytest.approx(THRESHOLD)
        assert rig.policy.runs == 1


def test_a_slip_is_stopped_confirmed_retried_and_completed(tmp_path: Path) -> None:
    with running(tmp_path, ["slip", "succeed"], policy_parameters={"duration": 3.0}) as rig:
        order = rig.order()
        slipping(rig)
        result = order.result()
        assert order.status() == "succeeded"
        assert causes(result) == ["RISK_ALARM", "SUCCESS"]
        first, second = result.attempts
        assert first.mode == "slip"
        assert first.peak_risk == pytest.approx(0.9)
        assert 0.0 <= first.alarm_after < 2.0
        assert 0.0 < first.stop_latency < 0.6
        # Not before the stop was confirmed.
        assert _seconds(second.begin) >= _seconds(first.end) >= _seconds(first.begin)
        assert rig.policy.most_live == 1
        states = [State(f.state) for f in order.feedback]
        assert states.index(State.RUNNING) < states.index(State.STOPPING)


def _seconds(stamp: Any) -> float:
    return stamp.sec + 1e-9 * stamp.nanosec


def test_a_mode_that_the_gate_file_does_not_list_ends_the_goal(tmp_path: Path) -> None:
    with running(tmp_path, ["stall"]) as rig:
        order = rig.order()
        wait_for(lambda: rig.policy.live, "the policy runs")
        rig.monitor.raise_risk("something else")
        result = order.result()
        assert order.status() == "aborted"
        assert (reason(result), result.mode) == ("RISK_ALARM", "something else")
        assert outcome(result) == "INTERRUPTED"
        assert rig.policy.live == 0


def test_a_mode_that_needs_a_person_latches_the_gate(tmp_path: Path) -> None:
    with running(tmp_path, ["stall"]) as rig:
        order = rig.order()
        wait_for(lambda: rig.policy.live, "the policy runs")
        rig.monitor.raise_risk("crash")
        assert reason(order.result()) == "RISK_ALARM"
        rig.monitor.lower_risk()
        rig.await_state(State.LATCHED)
        assert reason(rig.order().result()) == "LATCHED"
        assert rig.client.rearm().accepted
        rig.await_state(State.IDLE)


def test_a_recovery_runs_between_two_attempts(tmp_path: Path) -> None:
    recovery = {}

    def others() -> list[Any]:
        recovery["node"] = HandPolicy(name="recover")
        return [recovery["node"]]

    with running(
        tmp_path,
        ["stall", "succeed"],
        others=others,
        parameters={"recovery.name": "recover", "recovery.goal": ["prompt=mode", "keys=task_id"]},
    ) as rig:
        node = recovery["node"]
        order = rig.order()
        wait_for(lambda: rig.policy.live, "the policy runs")
        wait_for(rig.gate._drivers["recovery"].client.server_is_ready, "the recovery is found")
        rig.monitor.raise_risk("jam")
        wait_for(lambda: node.handles, "the recovery begins")
        assert rig.policy.live == 0
        rig.monitor.lower_risk()
        assert node.goals[0].prompt == "jam"
        assert len(node.goals[0].keys[0]) == 32
        rig.await_state(State.RECOVERING)
        assert rig.policy.runs == 1
        node.end(success=True)
        result = order.result()
        assert order.status() == "succeeded"
        assert causes(result) == ["RISK_ALARM", "SUCCESS"]


def test_a_recovery_that_is_not_there_ends_the_goal(tmp_path: Path) -> None:
    with running(tmp_path, ["stall"]) as rig:
        order = rig.order()
        wait_for(lambda: rig.policy.live, "the policy runs")
        rig.monitor.raise_risk("jam")
        assert reason(order.result()) == "RECOVERY_FAILED"
        rig.await_state(State.LATCHED)


def test_the_gate_gives_up_after_the_last_attempt(tmp_path: Path) -> None:
    with running(tmp_path, ["fail"], policy_parameters={"duration": 0.1}) as rig:
        order = rig.order(max_attempts=2)
        result = order.result()
        assert order.status() == "aborted"
        assert (reason(result), outcome(result)) == ("ATTEMPTS_EXHAUSTED", "FAILURE")
        assert causes(result) == ["POLICY_FAILURE", "POLICY_FAILURE"]
        assert rig.policy.runs == 2


def test_a_predicted_failure_stops_the_attempt(tmp_path: Path) -> None:
    with running(tmp_path, ["stall"]) as rig:
        order = rig.order()
        wait_for(lambda: rig.policy.live, "the policy runs")
        rig.monitor.mode = "unlisted"
        rig.monitor.success, rig.monitor.termination = 0.05, 0.95
        result = order.result()
        assert (reason(result), outcome(result)) == ("PREDICTED_FAILURE", "INTERRUPTED")
        assert rig.policy.live == 0


def test_a_policy_that_does_not_judge_itself_is_judged_by_the_monitor(tmp_path: Path) -> None:
    with running(tmp_path, policy=HandPolicy, parameters={"policy.success_field": ""}) as rig:
        rig.predict(success=0.9)
        order = rig.order()
        wait_for(lambda: rig.policy.handles, "the policy runs")
        rig.policy.end()
        assert reason(order.result()) == "SUCCESS"
        rig.predict(success=0.1)
        order = rig.order()
        wait_for(lambda: len(rig.policy.handles) == 2, "the policy runs again")
        rig.policy.end()
        assert reason(order.result()) == "POLICY_UNDECIDED"


def test_a_run_that_somebody_else_cancelled_is_no_success(tmp_path: Path) -> None:
    with running(tmp_path, policy=HandPolicy) as rig:
        rig.predict(success=0.9)
        order = rig.order()
        rig.await_state(State.RUNNING)
        goal = rig.gate._drivers["policy"]._runs[1]
        goal.cancel_goal_async()
        wait_for(lambda: rig.policy.told, "the policy is told")
        rig.policy.end("canceled")
        result = order.result()
        assert order.status() == "aborted"
        assert reason(result) == "POLICY_UNDECIDED"


def test_the_failure_mode_that_a_policy_names_decides_what_follows(tmp_path: Path) -> None:
    with running(tmp_path, policy=HandPolicy, parameters={"policy.mode_field": "mode"}) as rig:
        order = rig.order()
        wait_for(lambda: rig.policy.handles, "the policy runs")
        rig.policy.end("abort", mode="crash")
        result = order.result()
        assert (reason(result), result.mode) == ("POLICY_FAILURE", "crash")
        rig.await_state(State.LATCHED)


# --- the client -----------------------------------------------------------------------------


def test_a_cancel_of_the_client_and_nothing_else_makes_a_goal_canceled(tmp_path: Path) -> None:
    with running(tmp_path, ["stall"]) as rig:
        order = rig.order()
        wait_for(lambda: rig.policy.live, "the policy runs")
        order.cancel()
        result = order.result()
        assert order.status() == "canceled"
        assert (reason(result), outcome(result)) == ("CANCELLED", "INTERRUPTED")
        assert result.stopped
        assert rig.policy.live == 0


def test_a_goal_can_be_cancelled_before_its_attempt(tmp_path: Path) -> None:
    with running(tmp_path, ["succeed"]) as rig:
        rig.monitor.risk = 0.9
        wait_for(lambda: rig.gate.gate.snapshot().alarm, "the gate hears the risk")
        order = rig.order()
        rig.await_state(State.VERIFYING)
        order.cancel()
        result = order.result()
        assert order.status() == "canceled"
        assert (reason(result), outcome(result)) == ("CANCELLED", "NOT_ATTEMPTED")
        assert rig.policy.runs == 0


def test_a_cancel_right_after_the_goal_is_not_lost(tmp_path: Path) -> None:
    with running(tmp_path, ["stall"]) as rig:
        for _ in range(5):
            order = rig.order()
            wait_for(order._sending.done, "the gate answers")
            order.cancel()
            assert reason(order.result()) == "CANCELLED"
            assert order.status() == "canceled"
            rig.await_state(State.IDLE)
        assert rig.policy.live == 0
        assert rig.policy.most_live <= 1


def test_a_second_goal_is_told_that_the_gate_is_busy(tmp_path: Path) -> None:
    with running(tmp_path, ["succeed"]) as rig:
        first = rig.order()
        wait_for(lambda: rig.policy.live, "the policy runs")
        second = rig.order()
        assert reason(second.result()) == "BUSY"
        assert second.status() == "aborted"
        assert reason(first.result()) == "SUCCESS"
        assert rig.policy.runs == 1


def test_the_newest_of_several_goals_supersedes_the_others(tmp_path: Path) -> None:
    with running(
        tmp_path,
        ["stall", "succeed"],
        parameters={"on_new_goal": "supersede"},
        policy_parameters={"stop_time": 0.3},
    ) as rig:
        first = rig.order("first")
        wait_for(lambda: rig.policy.live, "the policy runs")
        second, third = rig.order("second"), rig.order("third")
        assert reason(first.result()) == reason(second.result()) == "SUPERSEDED"
        assert first.status() == second.status() == "aborted"
        assert outcome(second.result()) == "NOT_ATTEMPTED"
        assert reason(third.result()) == "SUCCESS"
        assert rig.policy.most_live == 1
        assert [c.prompt for c in rig.client.contexts] == ["first", "third"]


def test_a_goal_that_waits_for_its_turn_can_be_cancelled(tmp_path: Path) -> None:
    with running(
        tmp_path,
        ["stall"],
        parameters={"on_new_goal": "supersede"},
        policy_parameters={"stop_time": 0.4},
    ) as rig:
        first = rig.order()
        wait_for(lambda: rig.policy.live, "the policy runs")
        second = rig.order()
        wait_for(lambda: rig.gate._waiting, "the second one waits")
        second.cancel()
        result = second.result()
        assert second.status() == "canceled"
        assert (reason(result), outcome(result)) == ("CANCELLED", "NOT_ATTEMPTED")
        assert reason(first.result()) == "SUPERSEDED"
        assert rig.policy.runs == 1


def test_a_waiting_goal_meets_the_latch_of_the_one_before(tmp_path: Path) -> None:
    with running(tmp_path, ["ignore_cancel"], parameters={"on_new_goal": "supersede"}) as rig:
        first = rig.order()
        wait_for(lambda: rig.policy.live, "the policy runs")
        second = rig.order()
        assert reason(first.result()) == "SUPERSEDED"
        assert not first.result().stopped
        assert reason(second.result()) == "LATCHED"


def test_limits_of_zero_are_those_of_the_gate_and_nan_is_rejected(tmp_path: Path) -> None:
    with running(tmp_path, ["succeed"]) as rig:
        for wrong in (
            {"max_duration": math.nan},
            {"attempt_timeout": -1.0},
            {"max_duration": math.inf},
        ):
            assert not rig.order(**wrong).handle.accepted
        order = rig.order(max_attempts=0, max_duration=0.0, attempt_timeout=0.0)
        assert reason(order.result()) == "SUCCESS"
        assert {f.max_attempts for f in order.feedback} == {3}
        assert rig.policy.runs == 1


def test_a_goal_lowers_the_limits_of_the_gate(tmp_path: Path) -> None:
    with running(tmp_path, ["stall"]) as rig:
        order = rig.order(max_duration=0.5)
        assert reason(order.result()) == "TIME_EXHAUSTED"
        assert rig.policy.live == 0
        order = rig.order(attempt_timeout=0.2, max_attempts=1)
        result = order.result()
        assert causes(result) == ["ATTEMPT_TIMEOUT"]


def test_the_goal_of_a_client_that_was_killed_ends(tmp_path: Path) -> None:
    with running(tmp_path, ["stall"], parameters={"client_timeout": 0.3}) as rig:
        # This process listens, too: it must not count as the client.
        listener = rig.client.action
        rig.client.action = None
        rig.client.executor.remove_node(rig.client)
        listener.destroy()
        rig.client.executor.add_node(rig.client)
        code = (
            "import rclpy, sys\n"
            "from rclpy.action import ActionClient\n"
            "from pro_ros.action import ExecuteTask\n"
            "rclpy.init()\n"
            "node = rclpy.create_node('doomed')\n"
            "client = ActionClient(node, ExecuteTask, 'execute_task')\n"
            "client.wait_for_server()\n"
            "client.send_goal_async(ExecuteTask.Goal())\n"
            "rclpy.spin(node)\n"
        )
        path = tmp_path / "doomed.py"
        path.write_text(code, encoding="utf-8")
        doomed = subprocess.Popen([sys.executable, str(path)])
        try:
            wait_for(lambda: rig.policy.live, "the policy runs", 30)
            doomed.kill()
        finally:
            doomed.kill()
            doomed.wait()
        wait_for(lambda: not rig.policy.live, "the policy is stopped", 10)
        rig.await_state(State.IDLE)
        reasons = {m.reason for _, m in rig.client.states}
        assert TerminationReason.CLIENT_LOST in reasons


# --- the policy -----------------------------------------------------------------------------


def test_a_policy_that_does_not_accept_ends_the_goal(tmp_path: Path) -> None:
    with running(tmp_path, ["reject", "succeed"]) as rig:
        result = rig.order().result()
        assert (reason(result), outcome(result)) == ("POLICY_REJECTED", "NOT_ATTEMPTED")
        assert reason(rig.order().result()) == "SUCCESS"


def test_without_a_policy_the_goal_ends_with_its_cause(tmp_path: Path) -> None:
    with running(tmp_path, await_policy=False) as rig:
        result = rig.order().result()
        assert (reason(result), outcome(result)) == ("POLICY_REJECTED", "NOT_ATTEMPTED")
        assert result.stopped


def test_a_policy_that_ignores_its_cancel_latches_the_gate(tmp_path: Path) -> None:
    with running(tmp_path, ["ignore_cancel"]) as rig:
        order = rig.order()
        wait_for(lambda: rig.policy.live, "the policy runs")
        order.cancel()
        result = order.result()
        assert order.status() == "aborted"
        assert (reason(result), outcome(result)) == ("CANCELLED", "UNKNOWN")
        assert not result.stopped
        rig.await_state(State.LATCHED)
        state = rig.client.state()
        assert TerminationReason(state.latch_reason).name == "STOP_NOT_CONFIRMED"
        assert state.stop_awaited
        assert not state.open
        refused = rig.client.rearm()
        assert not refused.accepted
        assert "robot_stopped" in refused.reason
        assert rig.client.rearm(robot_stopped=True).accepted
        # The person erred: it still runs, by its own word, and nothing is started beside it.
        assert reason(rig.order().result()) == "POLICY_REJECTED"
        assert rig.policy.most_live == 1


def test_what_a_policy_says_of_an_old_run_changes_nothing(tmp_path: Path) -> None:
    with running(tmp_path, policy=HandPolicy) as rig:
        policy: HandPolicy = rig.policy
        first = rig.order()
        wait_for(lambda: policy.handles, "the policy runs")
        first.cancel()
        assert not first.result().stopped
        rig.await_state(State.LATCHED)
        # Its end comes late, and confirms what the latch waits for.
        policy.end("canceled", run=0)
        wait_for(lambda: not rig.client.state().stop_awaited, "the late confirmation")
        assert rig.client.state().state == State.LATCHED
        assert rig.client.rearm().accepted
        second = rig.order()
        wait_for(lambda: len(policy.handles) == 2, "the policy runs again")
        rig.await_state(State.RUNNING)
        policy.end(run=1, success=True)
        assert reason(second.result()) == "SUCCESS"


def test_a_run_that_is_accepted_after_it_was_given_up_is_cancelled(tmp_path: Path) -> None:
    answer = threading.Event()

    def late() -> HandPolicy:
        policy = HandPolicy()
        policy.hold_answer = answer
        return policy

    with running(tmp_path, policy=late, limits={"start_timeout": 0.3}) as rig:
        result = rig.order().result()
        assert (reason(result), result.stopped) == ("POLICY_LOST", False)
        rig.await_state(State.LATCHED)
        assert rig.client.rearm(robot_stopped=True).accepted
        answer.set()
        wait_for(lambda: rig.policy.told, "the late run is cancelled")
        rig.policy.end("canceled")


def test_a_killed_policy_latches_the_gate_until_a_person_rearms_it(tmp_path: Path) -> None:
    with (
        process("scripted_policy", script="[die, succeed]", duration=0.6) as policy,
        running(tmp_path, limits={"policy_silence": 0.3}) as rig,
    ):
        order = rig.order()
        result = order.result()
        assert policy.wait(10) == -signal.SIGKILL
        assert order.status() == "aborted"
        assert reason(result) == "POLICY_LOST"
        assert not result.stopped
        rig.await_state(State.LATCHED)
        assert TerminationReason(rig.client.state().latch_reason).name == "STOP_NOT_CONFIRMED"
        assert not rig.client.rearm().accepted
        assert rig.client.rearm(robot_stopped=True).accepted
        with process("scripted_policy", duration=0.3):
            rig.find_policy()
            assert reason(rig.order().result()) == "SUCCESS"


def test_a_killed_policy_is_missed_without_its_feedback(tmp_path: Path) -> None:
    with (
        process("scripted_policy", script="[silent]") as policy,
        running(tmp_path, limits={"attempt_timeout": 25.0}) as rig,
    ):
        order = rig.order()
        rig.await_state(State.RUNNING)
        policy.kill()
        # The middleware notices, by its lease.
        result = order.result(12.0)
        assert causes(result) == ["POLICY_LOST"]


def test_a_policy_that_falls_silent_is_stopped(tmp_path: Path) -> None:
    with running(tmp_path, ["silent"], limits={"policy_silence": 0.3}) as rig:
        order = rig.order()
        result = order.result()
        assert causes(result) == ["POLICY_LOST"]
        assert result.stopped
        assert rig.policy.live == 0


def test_two_policies_of_one_name_are_not_started(tmp_path: Path) -> None:
    twin: list[ScriptedPolicy] = []

    def others() -> list[Any]:
        twin.append(
            ScriptedPolicy(
                namespace="/twin",
                parameter_overrides=[rclpy.parameter.Parameter("action", value="/run_policy")],
            )
        )
        return list(twin)

    with running(tmp_path, ["succeed"], others=others, alone=False) as rig:
        count = rig.gate.count_publishers
        wait_for(lambda: count("/run_policy/_action/status") == 2, "both are seen")
        assert reason(rig.order().result()) == "POLICY_REJECTED"
        assert rig.policy.runs == twin[0].runs == 0


def test_a_policy_that_works_for_somebody_else_is_left_alone(tmp_path: Path) -> None:
    with running(tmp_path, policy=HandPolicy) as rig:
        other = rig.gate._drivers["policy"]
        from pro_ros.action import RunPolicy
        from rclpy.action import ActionClient

        client = ActionClient(rig.client, RunPolicy, "run_policy")
        wait_for(client.server_is_ready, "the policy")
        client.send_goal_async(RunPolicy.Goal())
        wait_for(lambda: other._executing, "the policy says that it is busy")
        assert reason(rig.order().result()) == "POLICY_REJECTED"
        rig.policy.end()
        wait_for(lambda: not other._executing, "the policy says that it is done")
        order = rig.order()
        wait_for(lambda: len(rig.policy.handles) == 2, "the policy runs")
        rig.policy.end(success=True)
        assert reason(order.result()) == "SUCCESS"


def test_the_last_word_of_a_policy_that_is_gone_does_not_block_the_next_one(
    tmp_path: Path,
) -> None:
    with running(tmp_path, policy=HandPolicy) as rig:
        driver = rig.gate._drivers["policy"]
        late = GoalStatus(status=GoalStatus.STATUS_CANCELING)
        late.goal_info.goal_id.uuid = [7] * 16

        def hear() -> str:
            driver._on_status(GoalStatusArray(status_list=[late]))
            return driver._obstacle()

        assert within(rig.gate, hear) == "'run_policy' still executes another goal"
        wait_for(lambda: not driver._executing, "the policy knows nothing of them")
        order = rig.order()
        wait_for(lambda: rig.policy.handles, "the policy runs")
        rig.policy.end(success=True)
        assert reason(order.result()) == "SUCCESS"


# --- the monitor ----------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["dead", "frozen", "nan", "invalid", "restarted"])
def test_a_monitor_that_cannot_be_believed_closes_the_gate_in_time(
    fault: str, tmp_path: Path
) -> None:
    with running(tmp_path, ["stall"]) as rig:
        order = rig.order()
        wait_for(lambda: rig.policy.live, "the policy runs")
        time.sleep(0.2)
        if fault == "restarted":
            rig.monitor.sequence = 0
        else:
            rig.monitor.fault = fault
        result = order.result()
        last = rig.monitor.last_good
        told = rig.policy.told_ns / 1e9
        assert (reason(result), outcome(result)) == ("MONITOR_DEAD", "INTERRUPTED")
        assert order.status() == "aborted"
        assert rig.policy.live == 0
        if fault != "restarted":
            assert told - last < 2 * PERIOD + SLACK_S
            assert not rig.client.state().open
            # Nothing begins on what it says.
            late = rig.order().result()
            assert (reason(late), outcome(late)) == ("MONITOR_DEAD", "NOT_ATTEMPTED")
        assert rig.policy.runs == 1


def test_without_a_monitor_nothing_begins(tmp_path: Path) -> None:
    with running(tmp_path, ["succeed"], verification={"timeout": 0.5}) as rig:
        rig.monitor.stop()
        wait_for(lambda: not rig.client.state().open, "the gate closes")
        result = rig.order().result()
        assert (reason(result), outcome(result)) == ("MONITOR_DEAD", "NOT_ATTEMPTED")
        assert rig.policy.runs == 0


def test_a_goal_that_holds_goes_on_when_the_monitor_comes_back(tmp_path: Path) -> None:
    with running(tmp_path, ["stall", "succeed"], on_monitor_death="hold") as rig:
        order = rig.order()
        wait_for(lambda: rig.policy.live, "the policy runs")
        rig.monitor.fault = "dead"
        wait_for(lambda: not rig.policy.live, "the policy stops")
        rig.await_state(State.VERIFYING)
        time.sleep(0.2)
        assert rig.policy.runs == 1
        rig.monitor.fault = ""
        result = order.result()
        assert causes(result) == ["MONITOR_DEAD", "SUCCESS"]


def test_the_safe_action_comes_after_the_confirmed_stop(tmp_path: Path) -> None:
    safe: list[HandPolicy] = []

    def others() -> list[Any]:
        safe.append(HandPolicy(name="make_safe"))
        return list(safe)

    with running(
        tmp_path,
        ["stall"],
        others=others,
        parameters={"safe_action.name": "make_safe", "safe_action.goal": ["prompt:=lower it"]},
        policy_parameters={"stop_time": 0.2},
        on_monitor_death="safe_action",
    ) as rig:
        wait_for(rig.gate._drivers["safe_action"].client.server_is_ready, "the safe action")
        order = rig.order()
        wait_for(lambda: rig.policy.live, "the policy runs")
        rig.monitor.fault = "dead"
        live_then: list[int] = []
        wait_for(lambda: safe[0].handles and (live_then.append(rig.policy.live) or True), "safe")
        assert live_then == [0]
        assert safe[0].goals[0].prompt == "lower it"
        rig.await_state(State.SAFING)
        safe[0].end(success=True)
        assert reason(order.result()) == "MONITOR_DEAD"
        rig.await_state(State.IDLE)


def test_a_burst_of_old_assessments_does_not_open_the_gate(tmp_path: Path) -> None:
    with running(
        tmp_path,
        ["succeed"],
        verification={"low_risk": False, "hold": 0.0, "timeout": 0.5},
        freshness={"period": 0.4, "needed": 5},
    ) as rig:
        wait_for(lambda: rig.client.state().open, "the gate opens")
        rig.monitor.fault = "dead"
        wait_for(lambda: not rig.client.state().open, "the gate closes")

        def burst() -> None:
            rig.monitor.fault = ""
            for _ in range(8):
                rig.monitor.publish()
            rig.monitor.fault = "dead"

        # In the gate's own thread, so that all of them wait for it: 0.4 s of a sound monitor.
        within(rig.gate, burst)
        assert reason(rig.order().result()) == "MONITOR_DEAD"
        assert rig.policy.runs == 0


# --- what others hear -----------------------------------------------------------------------


def test_a_late_subscriber_hears_the_state_at_once(tmp_path: Path) -> None:
    with running(tmp_path, ["ignore_cancel"]) as rig:
        order = rig.order()
        wait_for(lambda: rig.policy.live, "the policy runs")
        order.cancel()
        order.result()
        rig.await_state(State.LATCHED)
        states: list[GateState] = []
        late = rclpy.create_node("late")
        try:
            late.create_subscription(GateState, "/pro_gate/state", states.append, LATCHED)
            end = time.monotonic() + 10
            while not states and time.monotonic() < end:
                rclpy.spin_once(late, timeout_sec=0.1)
        finally:
            late.destroy_node()
        assert [s.state for s in states] == [State.LATCHED]
        assert states[0].monitor == Monitor.FRESH


def test_attempts_are_told_as_episodes(tmp_path: Path) -> None:
    with running(
        tmp_path, ["stall", "fail", "succeed"], policy_parameters={"duration": 0.4}
    ) as rig:
        order = rig.order("pick the red one")
        slipping(rig)
        assert causes(order.result()) == ["RISK_ALARM", "POLICY_FAILURE", "SUCCESS"]
        wait_for(lambda: len(rig.client.events) == 7, "all events")
        contexts = rig.client.contexts
        assert [c.attempt for c in contexts] == [1, 2, 3]
        assert [c.retry_of for c in contexts] == ["", *(c.episode_id for c in contexts[:2])]
        assert len({c.episode_id for c in contexts}) == 3
        assert len({c.task_id for c in contexts}) == 1
        assert {c.prompt for c in contexts} == {"pick the red one"}
        begin, end = EpisodeEvent.KIND_EPISODE_BEGIN, EpisodeEvent.KIND_EPISODE_END
        events = rig.client.events
        assert [e.kind for e in events] == [
            begin, EpisodeEvent.KIND_INTERVENTION, end, begin, end, begin, end
        ]  # fmt: skip
        assert [e.outcome for e in events if e.kind == end] == [
            EpisodeEvent.OUTCOME_UNKNOWN,
            EpisodeEvent.OUTCOME_FAILURE,
            EpisodeEvent.OUTCOME_SUCCESS,
        ]
        assert events[1].detail == "stopped by the gate: risk_alarm (slip)"
        assert [e.episode_id for e in events] == [
            contexts[i].episode_id for i in (0, 0, 0, 1, 1, 2, 2)
        ]


def test_an_attempt_whose_stop_nobody_confirmed_ends_as_an_episode(tmp_path: Path) -> None:
    with running(tmp_path, ["ignore_cancel"]) as rig:
        order = rig.order()
        wait_for(lambda: rig.policy.live, "the policy runs")
        order.cancel()
        order.result()
        wait_for(lambda: len(rig.client.events) == 3, "all events")
        assert rig.client.events[-1].kind == EpisodeEvent.KIND_EPISODE_END
        assert rig.client.events[-1].outcome == EpisodeEvent.OUTCOME_UNKNOWN


def test_episodes_are_left_to_others_on_request(tmp_path: Path) -> None:
    with running(tmp_path, ["succeed"], parameters={"publish_episodes": False}) as rig:
        assert reason(rig.order().result()) == "SUCCESS"
        time.sleep(0.1)
        assert rig.client.events == []
        assert rig.client.contexts == []


def test_the_gate_works_on_simulated_time(tmp_path: Path) -> None:
    with running(tmp_path, ["succeed"], parameters={"use_sim_time": True}) as rig:
        # Nobody publishes /clock: what the gate counts by is the steady clock.
        result = rig.order().result()
        assert reason(result) == "SUCCESS"
        assert result.attempts[0].begin.sec == 0


# --- other types of actions -----------------------------------------------------------------


def test_a_policy_of_another_type_is_driven_by_a_mapping(tmp_path: Path) -> None:
    kind = pytest.importorskip("example_interfaces.action").Fibonacci
    with running(
        tmp_path,
        policy=lambda: HandPolicy(kind, "compute"),
        parameters={
            "policy.name": "compute",
            "policy.type": "example_interfaces/action/Fibonacci",
            "policy.goal": ["order:=7"],
            "policy.success_field": "",
        },
    ) as rig:
        rig.predict(success=0.9)
        order = rig.order()
        wait_for(lambda: rig.policy.handles, "the policy runs")
        assert rig.policy.goals[0].order == 7
        rig.policy.end(sequence=[0, 1])
        assert reason(order.result()) == "SUCCESS"


def test_fields_within_fields_are_filled_and_read(tmp_path: Path) -> None:
    from pro_ros.action import ExecuteTask

    # A gate behind the gate: its goal nests the prompt, its result has no boolean 'success'.
    with running(
        tmp_path,
        policy=lambda: HandPolicy(ExecuteTask, "inner"),
        parameters={
            "policy.name": "inner",
            "policy.type": "pro_ros/action/ExecuteTask",
            "policy.goal": [
                "task.prompt=prompt", "task.attempt=attempt", "task.keys=site",
                "task.values:=[north]", "max_duration:=3.5",
            ],
            "policy.success_field": "stopped",
            "policy.mode_field": "mode",
        },
    ) as rig:  # fmt: skip
        order = rig.order("pick it")
        wait_for(lambda: rig.policy.handles, "the policy runs")
        goal = rig.policy.goals[0]
        assert (goal.task.prompt, goal.task.attempt, goal.max_duration) == ("pick it", 1, 3.5)
        assert (goal.task.keys, goal.task.values) == ([""], ["north"])
        rig.policy.end(stopped=True)
        assert reason(order.result()) == "SUCCESS"


# --- the process ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "line"),
    [
        ({"policy__type": "nowhere/action/Nothing"}, "package 'nowhere' is not installed"),
        ({"policy__type": "pro_ros/action/RunPolcy"}, "no such action"),
        ({"policy__goal": "[promt=prompt]"}, "no field 'promt', did you mean 'prompt'?"),
        ({"policy__goal": "[prompt=promt]"}, "unknown source 'promt', did you mean 'prompt'?"),
        ({"policy__goal": "[prompt]"}, "expected 'field=source' or 'field:=value'"),
        ({"policy__goal": "['prompt:=[']"}, "not a value in YAML"),
        ({"policy__success_field": "sucess"}, "no field 'sucess', did you mean 'success'?"),
        ({"policy__success_field": "message"}, "no bool"),
        ({"policy__name": "''"}, "'policy.name' is empty"),
        ({"policy__name": "/a-b"}, "'policy.name' is '/a-b': no name of an action"),
        ({"on_new_goal": "ask"}, "expected one of reject, supersede"),
        ({"gate_file": "missing.yaml"}, "missing.yaml"),
        ({"client_timeout": "-1.0"}, "client_timeout"),
        ({"policy__goal": "[keys.a=sku]"}, "list has no field 'a'"),
        (
            {
                "policy__type": "pro_ros/action/ExecuteTask",
                "policy__goal": "[max_attempts=sku]",
                "policy__success_field": "stopped",
            },
            "'max_attempts=sku': does not fit the field",
        ),
    ],
)
def test_a_wrong_parameter_ends_the_node_with_one_line(
    parameters: dict[str, str], line: str
) -> None:
    with process("gate", **parameters) as gate:
        said, _ = gate.communicate(timeout=60)
    assert gate.returncode == 2, said
    fatal = [text for text in said.splitlines() if "[FATAL]" in text]
    assert len(fatal) == 1
    assert line in fatal[0]
    assert "Traceback" not in said


def test_a_gate_file_that_needs_a_safe_action_needs_its_name(tmp_path: Path) -> None:
    path = write_gate_file(tmp_path / "gate.yaml", on_monitor_death="safe_action")
    with process("gate", gate_file=path) as gate:
        said, _ = gate.communicate(timeout=60)
    assert gate.returncode == 2
    assert "'safe_action.name' is empty, but the gate file needs a safe_action" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_gate_that_is_told_to_end_stops_the_policy_first(
    number: signal.Signals, tmp_path: Path
) -> None:
    path = write_gate_file(tmp_path / "gate.yaml")
    spinning, client = Spinning(), Client()
    monitor = FakeMonitor(client)
    policy = HandPolicy()
    try:
        spinning.add(client)
        spinning.add(policy)
        with process("gate", gate_file=path) as gate:
            wait_for(client.action.server_is_ready, "the gate", START_S)
            known_to(client, "/pro_gate")
            wait_for(lambda: client.states and client.state().open, "the gate opens")
            order = client.order()
            wait_for(lambda: policy.handles, "the policy runs")
            gate.send_signal(number)
            wait_for(lambda: policy.told, "the policy is told to stop")
            policy.end("canceled")
            result = order.result()
            assert reason(result) == "INTERNAL_ERROR"
            assert result.stopped
            said, _ = gate.communicate(timeout=20)
            assert gate.returncode == 0, said
            assert "told to end while a goal is active" in said
            assert "Traceback" not in said
    finally:
        monitor.stop()
        spinning.end()


def test_two_gates_of_one_name_take_no_goal(tmp_path: Path) -> None:
    with (
        running(tmp_path, ["succeed"]) as rig,
        process("gate", "--ros-args", "-r", "__node:=pro_gate_2"),
    ):
        count = rig.gate.count_publishers
        wait_for(lambda: count("/execute_task/_action/status") == 2, "both are seen", START_S)
        assert not rig.order().handle.accepted
        assert rig.policy.runs == 0


def test_a_gate_that_was_stopped_for_a_while_stops_the_policy_when_it_goes_on(
    tmp_path: Path,
) -> None:
    path = write_gate_file(tmp_path / "gate.yaml")
    spinning, client = Spinning(), Client()
    monitor = FakeMonitor(client)
    policy = spinning.add(ScriptedPolicy(parameter_overrides=[
        rclpy.parameter.Parameter("script", value=["stall"])
    ]))  # fmt: skip
    try:
        spinning.add(client)
        with process("gate", gate_file=path) as gate:
            wait_for(client.action.server_is_ready, "the gate", START_S)
            known_to(client, "/pro_gate")
            wait_for(lambda: client.states and client.state().open, "the gate opens")
            order = client.order()
            wait_for(lambda: policy.live, "the policy runs")
            os.kill(gate.pid, signal.SIGSTOP)
            time.sleep(1.0)
            os.kill(gate.pid, signal.SIGCONT)
            # A backlog of assessments waits for it, all of which look fresh.
            assert reason(order.result()) == "MONITOR_DEAD"
            assert policy.live == 0
            assert policy.runs == 1
    finally:
        monitor.stop()
        spinning.end()
