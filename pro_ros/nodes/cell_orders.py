"""Orders tasks from the retry gate at the demonstration cell, and says what becomes of them."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from typing import Any

from rclpy.action import ActionClient
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.node import Node

from pro_ros.action import ExecuteTask
from pro_ros.errors import SpecError
from pro_ros.gate.reasons import Outcome, TerminationReason
from pro_ros.msg import AttemptRecord, GateState
from pro_ros.nodes.cell_orders_parameters import CELL_ORDERS_PARAMETERS
from pro_ros.nodes.parameters import declare, values
from pro_ros.nodes.qos import LATCHED
from pro_ros.nodes.spinning import FAULTY_PARAMETER, begin, end
from pro_ros.srv import NextTask

STOPS = (TerminationReason.RISK_ALARM, TerminationReason.PREDICTED_FAILURE)
"""Causes of an attempt's end that the monitor is behind."""

POLICY_STATUS = "run_policy/_action/status"


class CellOrders(Node):
    """A client of the cell and of the gate. See docs/nodes/cell_orders.md."""

    def __init__(self, **options: Any) -> None:
        super().__init__("cell_orders", **options)
        declare(self, CELL_ORDERS_PARAMETERS)
        self._settings = values(self, CELL_ORDERS_PARAMETERS)
        self._next_task = self.create_client(NextTask, "/cell/next_task")
        self._gate = ActionClient(self, ExecuteTask, "execute_task")
        self._state = GateState()
        self.create_subscription(
            GateState, f"{self._settings['gate']}/state", self._on_state, LATCHED
        )
        self._spinner = SingleThreadedExecutor()
        self._spinner.add_node(self)
        self.results: list[ExecuteTask.Result] = []
        self.seconds = 0.0

    def run(self, say: Callable[[str], None]) -> int:
        """Order all tasks; the exit code: 0 when all ran to an end, whatever that was."""
        patience = self._settings["patience"]
        say("waiting for the cell, its policy, the monitor and the gate ...")
        if not self._wait(lambda: not self._missing() or self._latched) or self._latched:
            say(f"not ready within {patience:g} s: {self._missing()}")
            return 1
        for number in range(self._settings["tasks"]):
            why = self._order(number, say)
            if why:
                say(f"task {number + 1}: {why}")
                return 1
        say(summary(self.results, self.seconds))
        return 0

    def _order(self, number: int, say: Callable[[str], None]) -> str:
        """One task from its order to its end; why it could not be run, or empty."""
        settings = self._settings
        request = NextTask.Request(
            site=settings["site"], seed=settings["seed"] + number, sku=settings["sku"]
        )
        asked = self._next_task.call_async(request)
        if not self._wait(asked.done):
            return f"'{self._next_task.srv_name}' does not answer"
        laid_out = asked.result()
        if not laid_out.success:
            return str(laid_out.message)
        if not self._wait(lambda: self._state.open or self._latched) or self._latched:
            return f"the gate stays closed: {self._missing()}"
        began = time.monotonic()
        sent = self._gate.send_goal_async(ExecuteTask.Goal(task=laid_out.task))
        if not self._wait(sent.done):
            return "the gate does not answer"
        if not sent.result().accepted:
            return "the gate did not accept the task"
        ended = sent.result().get_result_async()
        # The gate bounds a goal's time by itself.
        if not self._wait(ended.done, math.inf):
            return "interrupted"
        result = ended.result().result
        self.results.append(result)
        seconds = time.monotonic() - began
        self.seconds += seconds
        say(sentence(laid_out.task.task_id, laid_out.task.sku, result, seconds))
        return ""

    def _missing(self) -> str:
        """What is not there yet; empty: all is."""
        if not self._next_task.service_is_ready():
            return "there is no cell"
        if not self.count_publishers(POLICY_STATUS):
            return "there is no policy"
        if not self._gate.server_is_ready():
            return "there is no gate"
        if self._latched:
            reason = TerminationReason(self._state.latch_reason).name.lower()
            return f"it is latched ({reason}) until '{self._settings['gate']}/rearm' is called"
        return "" if self._state.open else "the gate hears no monitor that counts"

    @property
    def _latched(self) -> bool:
        return bool(self._state.state == GateState.STATE_LATCHED)

    def _wait(self, done: Callable[[], bool], seconds: float | None = None) -> bool:
        until = time.monotonic() + (self._settings["patience"] if seconds is None else seconds)
        while not done():
            if time.monotonic() > until or not self.context.ok():
                return False
            self._spinner.spin_once(timeout_sec=0.1)
        return True

    def _on_state(self, state: GateState) -> None:
        self._state = state


def sentence(task_id: str, sku: str, result: ExecuteTask.Result, seconds: float) -> str:
    """What became of a task, in a line."""
    done = result.outcome == Outcome.SUCCESS
    count = len(result.attempts)
    line = f"{task_id} {sku}: {'done' if done else 'NOT done'} in {seconds:.1f} s"
    line += f", {count} attempt{'s' if count != 1 else ''}"
    if not done:
        line += f" ({TerminationReason(result.termination_reason).name.lower()})"
    told = [_attempt(attempt) for attempt in result.attempts]
    return f"{line}: {'; '.join(told)}" if told else line


def _attempt(attempt: AttemptRecord) -> str:
    cause = TerminationReason(attempt.cause)
    mode = f" {attempt.mode}" if attempt.mode else ""
    if cause in STOPS:
        line = f"{attempt.number} stopped by {cause.name.lower()}{mode}"
        if not math.isnan(attempt.alarm_after):
            line += f" after {attempt.alarm_after:.1f} s"
        return f"{line}, risk {attempt.peak_risk:.2f}"
    return f"{attempt.number} {cause.name.lower()}{mode}"


def summary(results: list[ExecuteTask.Result], seconds: float) -> str:
    """What became of all of them."""
    done = sum(result.outcome == Outcome.SUCCESS for result in results)
    attempts = [attempt for result in results for attempt in result.attempts]
    stopped = sum(attempt.cause in STOPS for attempt in attempts)
    retries = len(attempts) - sum(bool(result.attempts) for result in results)
    return (
        f"{done} of {len(results)} tasks done, {len(attempts)} attempts, {retries} retries, "
        f"{stopped} attempts stopped by the monitor, {seconds:.0f} s"
    )


def main(args: list[str] | None = None) -> None:
    """Order the tasks, then end."""
    begin(args)
    node: CellOrders | None = None
    code = 1
    try:
        node = CellOrders()
        code = node.run(lambda line: print(line, flush=True))
    except ExternalShutdownException:
        code = 130
    except FAULTY_PARAMETER as exc:
        get_logger("cell_orders").fatal(" ".join(str(exc).split()))
        code = SpecError.exit_code
    finally:
        end(node)
    sys.exit(code)
