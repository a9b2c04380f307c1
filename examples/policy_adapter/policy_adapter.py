"""Puts a policy that is a Python callable behind an action that the retry gate can drive.

Usage::

    python policy_adapter.py                      # with the made-up policy below
    python policy_adapter.py --policy mine:make   # make() of your module mine.py

Copy it and replace three things: how your policy is made (:func:`make_policy`), what it sees
(:meth:`Adapter.observe`), and where its actions go (:meth:`Adapter.act`). What the gate relies on
is the rest, and should stay as it is:

- A cancel is obeyed before the next action, and the goal ends only once the robot has been told to
  stay where it is: the end of the goal is what the gate takes for the stop.
- The policy's own judgement goes into ``success``; a failure of the code aborts the goal.
- One run at a time; a second goal is rejected.
- Nobody listens any more: the run ends by itself.
"""

from __future__ import annotations

import argparse
import importlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import rclpy
from pro_ros.action import RunPolicy
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

Policy = Callable[[dict[str, Any]], "Sequence[float] | None"]
"""Takes an observation and gives the next action; None: it considers the task done."""

RATE = 10.0
"""Actions per second [Hz]."""

STEPS = 100
"""A run is over after so many actions."""

ALONE_S = 1.0
"""A run to whose feedback nobody has listened for so long is ended [s]."""


def make_policy() -> Policy:
    """A made-up policy: ten actions of zeros, then it is done.

    With LeRobot, for example::

        policy = PreTrainedPolicy.from_pretrained(path)   # and its pre- and postprocessor
        policy.reset()
        return lambda seen: post(policy.select_action(pre(seen))).squeeze(0).tolist()
    """
    left = 10

    def select(_: dict[str, Any]) -> Sequence[float] | None:
        nonlocal left
        left -= 1
        return None if left < 0 else [0.0]

    return select


class Adapter(Node):
    """An action ``run_policy`` around a policy."""

    def __init__(self, make: Callable[[], Policy] = make_policy) -> None:
        super().__init__("policy_adapter")
        self._make = make
        self._lock = threading.Lock()
        self._busy = False
        self._joints = JointState()
        self.create_subscription(JointState, "/joint_states", self._on_joints, 10)
        self._command = self.create_publisher(
            Float64MultiArray, "/forward_position_controller/commands", 10
        )
        self._listeners = self.resolve_topic_name("run_policy/_action/feedback")
        self._server = ActionServer(
            self,
            RunPolicy,
            "run_policy",
            self._run,
            goal_callback=self._on_goal,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
            # The cancel must be heard while a run goes on in another thread.
            callback_group=ReentrantCallbackGroup(),
        )

    def destroy_node(self) -> None:
        """Take the node down, with its action."""
        self._server.destroy()
        super().destroy_node()

    # --- replace these --------------------------------------------------------------------

    def observe(self, prompt: str) -> dict[str, Any]:
        """What the policy sees."""
        return {"observation.state": list(self._joints.position), "task": prompt}

    def act(self, action: Sequence[float]) -> None:
        """Send an action to the robot's controller."""
        self._command.publish(Float64MultiArray(data=[float(a) for a in action]))

    def hold(self) -> None:
        """Have the robot stay where it is; returns once it does.

        A position controller stays at its last command by itself. Where yours does not (velocity,
        torque), command it here and wait until the joints stand still.
        """

    # --- keep these -----------------------------------------------------------------------

    def _on_joints(self, message: JointState) -> None:
        self._joints = message

    def _on_goal(self, _: RunPolicy.Goal) -> GoalResponse:
        with self._lock:
            if self._busy:
                return GoalResponse.REJECT
            self._busy = True
        return GoalResponse.ACCEPT

    def _run(self, handle: Any) -> RunPolicy.Result:
        try:
            how, result = self._steps(handle)
        except Exception as exc:
            self.get_logger().error(f"the policy failed: {exc!r}")
            how, result = "abort", RunPolicy.Result(message=repr(exc))
        try:
            self.hold()
        finally:
            with self._lock:
                self._busy = False
        if how == "abort" and handle.is_cancel_requested:
            # Told to stop, it stopped: whatever else went wrong.
            how = "canceled"
        getattr(handle, how)()
        return result

    def _steps(self, handle: Any) -> tuple[str, RunPolicy.Result]:
        """Act until done, told to stop, or at the end: how the goal ends, and its result."""
        select = self._make()
        began = heard = time.monotonic()
        for step in range(STEPS):
            now = time.monotonic()
            if handle.is_cancel_requested:
                return "canceled", RunPolicy.Result(message="cancelled")
            if self.count_subscribers(self._listeners):
                heard = now
            elif now - heard > ALONE_S:
                return "abort", RunPolicy.Result(message="nobody listens")
            action = select(self.observe(handle.request.prompt))
            if action is None:
                return "succeed", RunPolicy.Result(success=True, message="done")
            if handle.is_cancel_requested:
                # It came while the policy was computing: the action is not sent.
                return "canceled", RunPolicy.Result(message="cancelled")
            self.act(action)
            handle.publish_feedback(RunPolicy.Feedback(elapsed=now - began, steps=step + 1))
            time.sleep(max(0.0, began + (step + 1) / RATE - time.monotonic()))
        return "succeed", RunPolicy.Result(success=False, message=f"not done in {STEPS} steps")


def main() -> None:
    """Run until interrupted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--policy", default="", help="module:function that makes the policy")
    options, rest = parser.parse_known_args()
    make = make_policy
    if options.policy:
        module, _, function = options.policy.partition(":")
        make = getattr(importlib.import_module(module), function)
    rclpy.init(args=rest)
    try:
        executor = MultiThreadedExecutor(num_threads=3)
        executor.add_node(Adapter(make))
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
