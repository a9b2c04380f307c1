"""A gate between a client, a policy and a monitor that the test controls, on a real rclpy."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from waiting import SOON, START_S, answered, wait_for, within

# The middleware's default needs ten seconds to notice that a process is gone.
os.environ.setdefault(
    "CYCLONEDDS_URI",
    "<CycloneDDS><Domain><Discovery><LeaseDuration>2s</LeaseDuration></Discovery></Domain>"
    "</CycloneDDS>",
)

import rclpy
from action_msgs.msg import GoalStatus
from pro_ros.action import ExecuteTask, RunPolicy
from pro_ros.msg import Assessment, EpisodeEvent, GateState, Risk, TaskContext
from pro_ros.srv import RearmGate
from rclpy.action import ActionClient, ActionServer, CancelResponse, GoalResponse
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.task import Future

from pro_ros.gate.reasons import Outcome, State, TerminationReason
from pro_ros.nodes.gate_node import GateNode
from pro_ros.nodes.qos import ASSESSMENTS, EVENTS, LATCHED
from pro_ros.nodes.scripted_policy import ScriptedPolicy

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
PERIOD = 0.1
"""What the gate is told of the monitor's period [s]; it publishes three times as often, so that a
busy machine does not close the gate."""

THRESHOLD = 0.5

SHORT: dict[str, dict[str, Any]] = {
    "limits": {
        "attempt_timeout": 5.0, "max_duration": 30.0, "stop_timeout": 0.6, "start_timeout": 1.5,
    },
    "freshness": {"period": PERIOD, "needed": 2},
    "verification": {"hold": 0.05, "timeout": 3.0, "return_timeout": 5.0},
    "causes": {"modes": {"slip": "retry", "jam": "recover", "crash": "escalate"}},
}  # fmt: skip


class FakeMonitor:
    """Publishes assessments 30 times a second, as sound or as broken as the test wants."""

    RATE = 30.0

    def __init__(self, node: Node, topic: str = "/pro/assessment") -> None:
        self._publisher = node.create_publisher(Assessment, topic, ASSESSMENTS)
        self.risk = 0.1
        self.mode = "slip"
        self.success = 0.5
        self.termination = 0.1
        self.fault = ""
        """Empty: sound. ``dead``, ``frozen`` (the last message again and again), ``nan``,
        ``invalid``, ``restarted`` (sequence begins anew)."""
        self.last_good = 0.0
        self.alarm_ns = 0
        self.sequence = 0
        self._last = Assessment()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(1.0 / self.RATE):
            self.publish()

    def publish(self) -> None:
        """The next message."""
        fault = self.fault
        if fault == "dead":
            return
        if fault == "frozen":
            self._publisher.publish(self._last)
            return
        self.sequence += 1
        message = self._message(self.sequence)
        if fault == "nan":
            message.risk.alarm_score = math.nan
            message.success = message.termination = math.nan
        elif fault == "invalid":
            message.validity = Assessment.VALIDITY_NO_INPUT
        self._last = message
        if not fault and self.risk >= THRESHOLD and not self.alarm_ns:
            self.alarm_ns = time.monotonic_ns()
        if not fault:
            self.last_good = time.monotonic()
        self._publisher.publish(message)

    def raise_risk(self, mode: str = "slip") -> None:
        """The risk of a mode is high from now on."""
        self.mode, self.alarm_ns, self.risk = mode, 0, 0.9

    def lower_risk(self) -> None:
        self.risk = 0.1

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _message(self, sequence: int) -> Assessment:
        message = Assessment()
        now = time.time_ns()
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(now, 1_000_000_000)
        message.sequence = sequence
        message.model_id = "made up"
        message.validity = Assessment.VALIDITY_VALID
        message.termination, message.success = self.termination, self.success
        message.value = message.progress = 0.0
        message.calibrated = True
        risk = message.risk
        risk.alarm_score, risk.alarm_threshold = self.risk, THRESHOLD
        risk.alarm_basis = Risk.ALARM_FALSE_ALARM_RATE
        risk.alarm_mode = self.mode
        return message


class HandPolicy(Node):
    """An action server whose every word is given by the test; it does nothing by itself."""

    def __init__(self, kind: Any = RunPolicy, name: str = "run_policy") -> None:
        super().__init__("hand_policy")
        self.kind = kind
        self.accept = True
        self.hold_answer: threading.Event | None = None
        self.accept_cancel = True
        self.goals: list[Any] = []
        self.handles: list[Any] = []
        self.told: list[float] = []
        self._ends: list[Future] = []
        self._server = ActionServer(
            self, kind, name, self._run,
            goal_callback=self._on_goal, cancel_callback=self._on_cancel,
        )  # fmt: skip

    def _on_goal(self, goal: Any) -> GoalResponse:
        if self.hold_answer is not None:
            self.hold_answer.wait(SOON)
        self.goals.append(goal)
        return GoalResponse.ACCEPT if self.accept else GoalResponse.REJECT

    def _on_cancel(self, _: Any) -> CancelResponse:
        self.told.append(time.monotonic())
        return CancelResponse.ACCEPT if self.accept_cancel else CancelResponse.REJECT

    async def _run(self, handle: Any) -> Any:
        end = Future()
        self.handles.append(handle)
        self._ends.append(end)
        how, result = await end
        getattr(handle, how)()
        return result

    def destroy_node(self) -> None:
        self._server.destroy()
        super().destroy_node()

    def feedback(self, run: int = -1) -> None:
        self.handles[run].publish_feedback(self.kind.Feedback())

    def end(self, how: str = "succeed", run: int = -1, **fields: Any) -> None:
        """End a run: ``succeed``, ``abort`` or ``canceled``."""
        self._ends[run].set_result((how, self.kind.Result(**fields)))
        self.executor.wake()


class Order:
    """A goal that the client sent."""

    def __init__(self, client: Client, goal: ExecuteTask.Goal) -> None:
        self.feedback: list[ExecuteTask.Feedback] = []
        self._client = client
        self._result: Any = None
        self.sent = time.monotonic()
        self.ended = 0.0
        self._sending = within(
            client,
            lambda: client.action.send_goal_async(
                goal, feedback_callback=lambda message: self.feedback.append(message.feedback)
            ),
        )

    @property
    def handle(self) -> Any:
        wait_for(self._sending.done, "the gate answers a goal")
        return self._sending.result()

    def cancel(self) -> None:
        answer = within(self._client, self.handle.cancel_goal_async)
        wait_for(answer.done, "the gate answers a cancel")

    def result(self, seconds: float = SOON) -> ExecuteTask.Result:
        """Waits for the result."""
        return self.response(seconds).result

    def response(self, seconds: float = SOON) -> Any:
        """The result with the goal's status."""
        if self._result is None:
            assert self.handle.accepted
            self._result = within(self._client, self.handle.get_result_async)
        wait_for(self._result.done, "the goal ends", seconds)
        self.ended = self.ended or time.monotonic()
        return self._result.result()

    def status(self) -> str:
        """How the goal ended, as the action says."""
        names = {
            GoalStatus.STATUS_SUCCEEDED: "succeeded",
            GoalStatus.STATUS_ABORTED: "aborted",
            GoalStatus.STATUS_CANCELED: "canceled",
        }
        return names[self.response().status]


class Client(Node):
    """Orders tasks, and hears everything that the gate says."""

    def __init__(self, name: str = "client") -> None:
        super().__init__(name)
        self.action = ActionClient(self, ExecuteTask, "execute_task")
        self.states: list[tuple[float, GateState]] = []
        self.contexts: list[TaskContext] = []
        self.events: list[EpisodeEvent] = []
        self._rearm = self.create_client(RearmGate, "/pro_gate/rearm")
        self.create_subscription(
            GateState,
            "/pro_gate/state",
            lambda m: self.states.append((time.monotonic(), m)),
            LATCHED,
        )
        self.create_subscription(TaskContext, "/pro/task_context", self.contexts.append, LATCHED)
        self.create_subscription(EpisodeEvent, "/pro/episode_event", self.events.append, EVENTS)

    def destroy_node(self) -> None:
        if self.action is not None:
            self.action.destroy()
        super().destroy_node()

    def order(self, prompt: str = "pick the box", **limits: Any) -> Order:
        goal = ExecuteTask.Goal(**limits)
        goal.task.prompt = prompt
        return Order(self, goal)

    def rearm(self, robot_stopped: bool = False) -> RearmGate.Response:
        wait_for(self._rearm.service_is_ready, "the service to rearm")
        answer = self._rearm.call_async(RearmGate.Request(robot_stopped=robot_stopped))
        wait_for(answer.done, "an answer to the rearming")
        return answer.result()

    def state(self) -> GateState:
        """The newest."""
        return self.states[-1][1]

    def await_state(self, state: State) -> None:
        wait_for(lambda: self.states and self.state().state == state, f"state {state.name}")


class Rig:
    """Everything that a test has at hand."""

    def __init__(self, monitor: FakeMonitor, gate: GateNode, client: Client, policy: Any) -> None:
        self.monitor, self.gate, self.client, self.policy = monitor, gate, client, policy

    def order(self, prompt: str = "pick the box", **limits: Any) -> Order:
        return self.client.order(prompt, **limits)

    def await_state(self, state: State) -> None:
        self.client.await_state(state)

    def predict(self, success: float) -> None:
        """The monitor predicts this from now on, and the gate has heard it."""
        self.monitor.success = success
        wait_for(
            lambda: math.isclose(self.gate.gate.snapshot().success, success, rel_tol=1e-6),
            "the gate hears the prediction",
        )

    def find_policy(self, alone: bool = True) -> None:
        """Wait until gate and policy have found each other; ``alone``: and no other policy."""
        driver = self.gate._drivers["policy"]
        wait_for(driver.client.server_is_ready, "the gate finds the policy", START_S)
        if alone:
            wait_for(
                lambda: not within(self.gate, driver._obstacle), "the gate may start it", START_S
            )
        # A question about no goal at all.
        kind = driver.action.Impl.GetResultService
        answered(self.gate, kind, f"{driver._name}/_action/get_result", kind.Request())


class Spinning:
    """Nodes with an executor thread each, taken down in the end."""

    def __init__(self) -> None:
        self._nodes: list[tuple[Node, SingleThreadedExecutor, threading.Thread]] = []

    def add(self, node: Any) -> Any:
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        thread = threading.Thread(target=_spin, args=(executor,), daemon=True)
        self._nodes.append((node, executor, thread))
        thread.start()
        return node

    def remove(self, node: Node) -> None:
        """Take one node down."""
        for entry in [entry for entry in self._nodes if entry[0] is node]:
            self._nodes.remove(entry)
            entry[1].shutdown()
            entry[2].join(5)
            node.destroy_node()

    def end(self) -> None:
        for _, executor, _ in self._nodes:
            executor.shutdown()
        for node, _, thread in self._nodes:
            thread.join(5)
            node.destroy_node()


def _spin(executor: SingleThreadedExecutor) -> None:
    try:
        executor.spin()
    except Exception:
        # Taking nodes down under a spinning executor ends it this way.
        if rclpy.ok() and executor.get_nodes():
            raise


def write_gate_file(path: Path, **sections: Any) -> str:
    """A gate file with short times; ``sections`` change it."""
    document: dict[str, Any] = {"format": "pro_ros/gate/1"}
    for name in {**SHORT, **sections}:
        given = sections.get(name)
        if name in SHORT and isinstance(given, Mapping):
            given = {**SHORT[name], **given}
        document[name] = SHORT[name] if given is None and name in SHORT else given
    path.write_text(json.dumps(document), encoding="utf-8")
    return str(path)


def overrides(parameters: Mapping[str, Any]) -> list[Parameter]:
    return [Parameter(name.replace("__", "."), value=v) for name, v in parameters.items()]


@contextmanager
def running(
    folder: Path,
    script: list[str] | None = None,
    *,
    policy: Any = None,
    parameters: Mapping[str, Any] | None = None,
    policy_parameters: Mapping[str, Any] | None = None,
    others: Callable[[], list[Node]] = list,
    await_policy: bool = True,
    alone: bool = True,
    **sections: Any,
) -> Iterator[Rig]:
    """A rig, taken down afterwards.

    ``script``: a scripted policy that plays it; ``policy``: makes another node; without both
    there is none in this process. ``others``: makes further nodes. ``alone``: no other policy is
    wanted. ``sections``: of the gate file.
    """
    spinning = Spinning()
    client = Client()
    monitor = FakeMonitor(client)
    made = None
    try:
        if script is not None:
            given = {"script": script, "duration": 0.6, **(policy_parameters or {})}
            made = spinning.add(ScriptedPolicy(parameter_overrides=overrides(given)))
        elif policy is not None:
            made = spinning.add(policy())
        for node in others():
            spinning.add(node)
        given = {
            "gate_file": write_gate_file(folder / "gate.yaml", **sections),
            "look_period": 0.05,
            **(parameters or {}),
        }
        gate = spinning.add(GateNode(parameter_overrides=overrides(given)))
        spinning.add(client)
        rig = Rig(monitor, gate, client, made)
        wait_for(client.action.server_is_ready, "the gate serves its action")
        if await_policy:
            rig.find_policy(alone)
        wait_for(lambda: client.states, "the gate tells its state")
        yield rig
    finally:
        monitor.stop()
        spinning.end()


@contextmanager
def process(name: str, /, *arguments: str, **parameters: Any) -> Iterator[subprocess.Popen[str]]:
    """A node as a process of its own."""
    given = [a for k, v in parameters.items() for a in ("-p", f"{k.replace('__', '.')}:={v}")]
    started = subprocess.Popen(
        [sys.executable, str(SCRIPTS / name), *arguments, "--ros-args", *given],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield started
    finally:
        if started.poll() is None:
            started.send_signal(signal.SIGKILL)
        started.wait(10)
        if started.stdout:
            started.stdout.close()


def causes(result: ExecuteTask.Result) -> list[str]:
    """Causes of a result's attempts, by name."""
    return [TerminationReason(a.cause).name for a in result.attempts]


def reason(result: ExecuteTask.Result) -> str:
    return TerminationReason(result.termination_reason).name


def outcome(result: ExecuteTask.Result) -> str:
    return Outcome(result.outcome).name
