"""A policy for tests and examples: it moves nothing, and does what its script says.

``succeed`` ends with success, ``fail`` with a failure that it knows of, ``slip`` loses the item
half way and ends without success, ``stall`` never ends by itself, ``ignore_cancel`` does not stop
when it is told to, ``die`` kills its process half way, ``reject`` does not accept the goal,
``silent`` never ends and gives no feedback.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.task import Future
from std_msgs.msg import String

from pro_ros.action import RunPolicy
from pro_ros.errors import SpecError
from pro_ros.nodes.parameters import declare, guard, values
from pro_ros.nodes.qos import LATCHED
from pro_ros.nodes.scripted_policy_parameters import BEHAVIOURS, SCRIPTED_POLICY_PARAMETERS
from pro_ros.nodes.spinning import FAULTY_PARAMETER, begin, end, spin

TICK_S = 0.005


class ScriptedPolicy(Node):
    """See docs/nodes/scripted_policy.md.

    Attributes
    ----------
    runs
        Goals that were taken up or rejected.
    live, most_live
        Runs that go on now, and the most that ever did at once.
    told_ns
        When it was last told to stop, on the steady clock.

    Raises
    ------
    SpecError
        The script names what is not known.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("scripted_policy", **options)
        declare(self, SCRIPTED_POLICY_PARAMETERS)
        self._settings = values(self, SCRIPTED_POLICY_PARAMETERS)
        wrong = _wrong(self._settings["script"])
        if wrong:
            raise SpecError(f"parameter {wrong}")
        guard(self, SCRIPTED_POLICY_PARAMETERS, lambda: True, self._change)
        self.runs = 0
        self.live = 0
        self.most_live = 0
        self.told_ns = 0
        self._waiting: list[Future] = []
        self._said = ""
        self._up = True
        # What the item in the gripper does, for whoever makes up the robot's sensors.
        self._phase = self.create_publisher(String, "~/phase", LATCHED)
        self._server = ActionServer(
            self,
            RunPolicy,
            self._settings["action"],
            self._run,
            goal_callback=self._on_goal,
            cancel_callback=self._on_cancel,
        )
        self._ticks = self.create_timer(
            TICK_S, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def destroy_node(self) -> None:
        """Take the node down, with the action that it serves."""
        self._up = False
        self._server.destroy()
        super().destroy_node()

    def _change(self, changed: Any) -> str:
        wrong = _wrong(changed["script"]) if "script" in changed else ""
        if not wrong:
            self._settings = {**self._settings, **changed}
        return wrong

    def _behaviour(self, run: int) -> str:
        script = self._settings["script"]
        return str(script[min(run, len(script) - 1)])

    def _on_goal(self, goal: RunPolicy.Goal) -> GoalResponse:
        if self._behaviour(self.runs) == "reject":
            self.runs += 1
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _on_cancel(self, _: Any) -> CancelResponse:
        self.told_ns = time.monotonic_ns()
        return CancelResponse.ACCEPT

    async def _run(self, handle: Any) -> RunPolicy.Result:
        behaviour = self._behaviour(self.runs)
        self.runs += 1
        self.live += 1
        self.most_live = max(self.most_live, self.live)
        try:
            return await self._play(handle, behaviour)
        finally:
            self.live -= 1
            # Not where the node is taken down under a run.
            if not self.live and self._up:
                self._say("idle")

    async def _play(self, handle: Any, behaviour: str) -> RunPolicy.Result:
        settings = self._settings
        began = time.monotonic()
        told: float | None = None
        steps = 0
        next_feedback = 0.0
        self._say("holding")
        while True:
            elapsed = time.monotonic() - began
            half = elapsed >= settings["duration"] / 2
            if half and behaviour == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            if half and behaviour in ("slip", "fail"):
                # What slipped stays lost, however the run ends.
                self._say("slipping")
            if handle.is_cancel_requested and behaviour != "ignore_cancel":
                told = told or time.monotonic()
                if time.monotonic() - told >= settings["stop_time"]:
                    handle.canceled()
                    return RunPolicy.Result(message="cancelled")
            if elapsed >= settings["duration"] and behaviour in ("succeed", "slip", "fail"):
                success = behaviour == "succeed"
                handle.succeed() if behaviour != "fail" else handle.abort()
                return RunPolicy.Result(success=success, message=behaviour)
            if behaviour != "silent" and elapsed >= next_feedback:
                next_feedback = elapsed + 1.0 / settings["feedback_rate"]
                steps += 1
                handle.publish_feedback(RunPolicy.Feedback(elapsed=elapsed, steps=steps))
            await self._next_tick()

    async def _next_tick(self) -> None:
        future = Future()
        self._waiting.append(future)
        await future

    def _tick(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            future.set_result(None)

    def _say(self, phase: str) -> None:
        if phase != self._said:
            self._said = phase
            self._phase.publish(String(data=phase))


def _wrong(script: list[str]) -> str:
    """Why a script cannot be played; empty if it can."""
    wrong = [name for name in script if name not in BEHAVIOURS]
    if wrong or not script:
        return (
            f"'script' names '{wrong[0] if wrong else ''}', "
            f"expected some of {', '.join(BEHAVIOURS)}"
        )
    return ""


def main(args: list[str] | None = None) -> None:
    """Run the node until it is interrupted."""
    begin(args)
    node: ScriptedPolicy | None = None
    try:
        node = ScriptedPolicy()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        spin(node, executor)
    except (SpecError, *FAULTY_PARAMETER) as exc:
        get_logger("scripted_policy").fatal(" ".join(str(exc).split()))
        sys.exit(SpecError.exit_code)
    finally:
        end(node)
