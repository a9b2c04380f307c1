"""Orders one task from the retry gate, and says in the terminal what becomes of it.

Usage::

    python order.py --ros-args -r __ns:=/gate_demo
"""

from __future__ import annotations

import math
import sys
import time
from typing import Any

import rclpy
from action_msgs.msg import GoalStatus
from pro_ros.action import ExecuteTask
from pro_ros.msg import AttemptRecord, GateState
from rclpy.action import ActionClient
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSProfile

PROMPT = "hold the item"
PATIENCE_S = 90.0
"""For all nodes to be there, and again for the task to end."""


def name_of(kind: Any, prefix: str, value: int) -> str:
    """A constant's name in words."""
    for name in dir(kind):
        if name.startswith(prefix) and getattr(kind, name) == value:
            return name.removeprefix(prefix).lower().replace("_", " ")
    return str(value)


class Order(Node):
    """A client of the gate that prints what it hears."""

    def __init__(self) -> None:
        super().__init__("order")
        self._action = ActionClient(self, ExecuteTask, "execute_task")
        latched = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(GateState, "pro_gate/state", self._on_state, latched)
        self._gate = GateState()
        self._began = time.monotonic()
        self._shown: tuple[Any, ...] = ()

    def run(self) -> int:
        """Order the task; the exit code of the program."""
        say("waiting for monitor, gate and policy ...")
        if not self._wait(self._ready):
            say(f"not ready within {PATIENCE_S:g} s: is the monitor running?")
            return 1
        self._began = time.monotonic()
        say(f"task: {PROMPT}")
        goal = ExecuteTask.Goal()
        goal.task.prompt = PROMPT
        sent = self._action.send_goal_async(
            goal, feedback_callback=lambda message: self._on_feedback(message.feedback)
        )
        if not self._wait(sent.done) or not sent.result().accepted:
            say("the gate did not accept the task")
            return 1
        answer = sent.result().get_result_async()
        if not self._wait(answer.done):
            say("no result")
            return 1
        return self._tell(answer.result())

    def _ready(self) -> bool:
        policy = self.count_publishers("run_policy/_action/status")
        return bool(self._gate.open and policy and self._action.server_is_ready())

    def _wait(self, done: Any) -> bool:
        end = time.monotonic() + PATIENCE_S
        while not done():
            if time.monotonic() > end:
                return False
            rclpy.spin_once(self, timeout_sec=0.1)
        return True

    def _on_state(self, state: GateState) -> None:
        self._gate = state

    def _on_feedback(self, now: ExecuteTask.Feedback) -> None:
        shown = (now.attempt, now.state)
        if shown == self._shown:
            return
        self._shown = shown
        line = f"{time.monotonic() - self._began:6.2f} s  attempt {now.attempt}: "
        line += name_of(GateState, "STATE_", now.state)
        if now.state == GateState.STATE_STOPPING:
            line += f" because of {name_of(AttemptRecord, 'REASON_', now.reason)}"
            line += f", {now.mode}" if now.mode else ""
        if not math.isnan(now.risk):
            line += f"  (risk {now.risk:.2f}, alarm at {now.threshold:.2f})"
        say(line)

    def _tell(self, response: Any) -> int:
        result: ExecuteTask.Result = response.result
        say("")
        for attempt in result.attempts:
            line = f"attempt {attempt.number}: {name_of(AttemptRecord, 'REASON_', attempt.cause)}"
            line += f" ({attempt.mode})" if attempt.mode else ""
            line += f", highest risk {attempt.peak_risk:.2f}"
            if not math.isnan(attempt.alarm_after):
                line += f", alarm after {attempt.alarm_after:.1f} s"
            if not math.isnan(attempt.stop_latency):
                line += f", stop confirmed {1000 * attempt.stop_latency:.0f} ms after the order"
            say(line)
        done = response.status == GoalStatus.STATUS_SUCCEEDED
        say(
            f"task {'done' if done else 'NOT done'} after {len(result.attempts)} attempts and "
            f"{time.monotonic() - self._began:.1f} s: {result.message}"
        )
        return 0 if done else 1


def say(line: str) -> None:
    """Print at once."""
    print(line, flush=True)


def main() -> None:
    """Run it."""
    rclpy.init()
    try:
        code = Order().run()
    except (KeyboardInterrupt, ExternalShutdownException):
        code = 130
    rclpy.try_shutdown()
    sys.exit(code)


if __name__ == "__main__":
    main()
