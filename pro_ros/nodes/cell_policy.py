"""The policy of the demonstration cell as action servers: attempts, and recoveries.

Callbacks stamp messages and push them; the policy decides on a thread of its own, once per
20 ms of simulated time, so that it may wait for scores without holding anybody up.
"""

from __future__ import annotations

import array
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import numpy as np
from geometry_msgs.msg import TwistStamped
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.task import Future
from rclpy.time import Time
from std_msgs.msg import Int8
from std_srvs.srv import Trigger

from pro_ros.action import RunPolicy
from pro_ros.cell.catalogue import load_catalogue
from pro_ros.cell.cell import Command
from pro_ros.cell.decoding import ReadingDecoder
from pro_ros.cell.judge import Failure
from pro_ros.cell.messages import FORMS, TOPICS
from pro_ros.cell.policy import PERIOD, Chunks
from pro_ros.cell.runner import HEARD, Ended, Runner
from pro_ros.cell.sensors import ACTION, ACTION_VALVE, ITEM_POSE, JOINTS, Reading
from pro_ros.errors import DataError, ProError, SpecError
from pro_ros.msg import EpisodeEvent
from pro_ros.nodes.cell_policy_parameters import CELL_POLICY_PARAMETERS
from pro_ros.nodes.message_types import message_class
from pro_ros.nodes.parameters import declare, values
from pro_ros.nodes.qos import ASSESSMENTS, EVENTS, sensor
from pro_ros.nodes.spinning import FAULTY_PARAMETER, begin, end, say, spin
from pro_ros.srv import ScoreActions

LOOK_S = 0.02
"""Between two looks at the policy's thread, at cancels and at whether the cell speaks."""

ANSWER_S = 1.0
"""For a service of the cell to answer."""

STEP_S = 0.02
"""Between two decisions, in simulated time: the cell's block."""

DEPTH = 20
"""Messages of a sensor that wait at most: 0.4 s of those at 50 Hz."""

FEEDBACK_TOPIC = "_action/feedback"
"""Below the name of an action: subscribed to by its clients."""

KINDS = {
    "drop": EpisodeEvent.KIND_DROP,
    "jam": EpisodeEvent.KIND_JAM,
    "miss": EpisodeEvent.KIND_FAILURE,
    "double_pick": EpisodeEvent.KIND_FAILURE,
}


class CellPolicy(Node):
    """See docs/nodes/cell_policy.md for actions, topics and parameters.

    Raises
    ------
    SpecError
        The cell file cannot be used, or simulated time is not.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("cell_policy", **options)
        declare(self, CELL_POLICY_PARAMETERS)
        self._settings = values(self, CELL_POLICY_PARAMETERS)
        if not self.get_parameter("use_sim_time").value:
            raise SpecError("set 'use_sim_time': the cell stamps what it says with its own time")
        catalogue = load_catalogue(self._settings["cell_file"] or None)
        monitor = "/" + self._settings["monitor"].strip("/")
        self._decoder = ReadingDecoder(HEARD)
        self._runner = Runner(
            catalogue,
            self,
            self._settings["seed"],
            self._settings["candidates"],
            self._choose,
            self._tell_failure,
        )
        # What was heard since the last decision, and what the policy's thread is to do.
        self._heard: deque[Reading] = deque()
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._heard_at = -float("inf")
        self._over: Future | None = None
        self._reserved = False
        self._plan: int | None = None
        self._episode_id = ""
        self._waiting: list[Future] = []
        self._faults: set[str] = set()
        self._velocity = self.create_publisher(TwistStamped, FORMS[ACTION].topic, ASSESSMENTS)
        self._valve = self.create_publisher(Int8, FORMS[ACTION_VALVE].topic, ASSESSMENTS)
        self._events = self.create_publisher(EpisodeEvent, f"{monitor}/episode_event", EVENTS)
        self._vision = self.create_client(Trigger, "/vision/look")
        self._release = self.create_client(Trigger, "/robot/release_stop")
        self._scores = self.create_client(ScoreActions, f"{monitor}/score_actions")
        for kind in HEARD:
            topic, msgtype = TOPICS[kind]
            self.create_subscription(
                message_class(msgtype, f"topic '{topic}'"),
                topic,
                self._hearer(kind),
                # Of the joints only the newest counts, of the others every one.
                EVENTS if kind == ITEM_POSE else sensor(1 if kind == JOINTS else DEPTH),
                raw=True,
            )
        # A goal waits for the vision system: meanwhile everything else goes on.
        group = ReentrantCallbackGroup()
        self._servers = [
            ActionServer(
                self, RunPolicy, name, execute, goal_callback=on_goal,
                cancel_callback=self._on_cancel, callback_group=group,
            )
            for name, execute, on_goal in (
                ("run_policy", self._run_policy, self._on_policy_goal),
                ("run_recovery", self._run_recovery, self._on_recovery_goal),
            )
        ]  # fmt: skip
        self.create_timer(STEP_S, self._decide)
        self.create_timer(LOOK_S, self._look_around, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._thread = threading.Thread(target=self._run, name="policy", daemon=True)
        self._thread.start()

    def destroy_node(self) -> None:
        """End the policy's thread, then take the node down."""
        self._work.put(None)
        self._thread.join()
        for server in self._servers:
            server.destroy()
        super().destroy_node()

    # --- what is heard --------------------------------------------------------------------

    def _hearer(self, kind: str) -> Callable[[bytes], None]:
        decode, clock, heard = self._decoder.decode, self.get_clock(), self._heard

        def hear(data: bytes) -> None:
            self._heard_at = time.monotonic()
            try:
                heard.append(decode(kind, data, int(clock.now().nanoseconds)))
            except DataError as exc:
                self._warn_once(kind, str(exc))

        return hear

    def _decide(self) -> None:
        # What is late is not made up for: the policy decides on what is known then.
        if self._work.empty():
            self._work.put(self._step)

    @property
    def _silent(self) -> bool:
        return time.monotonic() - self._heard_at > self._settings["silence"]

    # --- the policy's thread --------------------------------------------------------------

    def _run(self) -> None:
        while True:
            work = self._work.get()
            if work is None:
                return
            try:
                work()
            except Exception:
                if not self.context.ok():
                    return
                for line in traceback.format_exc().splitlines():
                    say(self, "error", line)
                # The cell stops an arm that is not commanded any more.
                self._runner.abandon()
                self._finish(None)

    def _step(self) -> None:
        heard, runner = self._heard, self._runner
        while heard:
            runner.take(heard.popleft())
        ended = runner.tick(int(self.get_clock().now().nanoseconds))
        if ended is not None:
            self._finish(ended)

    def _finish(self, ended: Ended | None) -> None:
        """A run is over; None: by a defect."""
        over, self._over = self._over, None
        if over is not None:
            over.set_result(ended)
            self._wake()

    def _stop(self) -> None:
        ended = self._runner.stop()
        if ended is not None:
            self._finish(ended)

    def _abandon(self) -> None:
        """The cell is silent: no time passes in which to brake, and nobody obeys."""
        self._runner.abandon()
        self._finish(Ended(True, False))

    def _on_thread(self, work: Callable[[], Any]) -> Future:
        """What the policy's thread makes of it, to be awaited."""
        future = Future()

        def act() -> None:
            try:
                future.set_result(work())
            except Exception as exc:
                future.set_exception(exc)
            self._wake()

        self._work.put(act)
        return future

    def _wake(self) -> None:
        if self.executor is not None:
            self.executor.wake()

    # What the runner moves and asks

    def command(self, velocity: Command, valve: int) -> None:
        """Publish a command."""
        message = TwistStamped()
        message.header.stamp = self.get_clock().now().to_msg()
        message.header.frame_id = FORMS[ACTION].frame or ""
        linear, angular = message.twist.linear, message.twist.angular
        linear.x, linear.y, linear.z, angular.z = map(float, velocity)
        # The cell obeys both together with the second.
        self._velocity.publish(message)
        self._valve.publish(Int8(data=valve))

    def look(self) -> bool:
        """An attempt begins only after the vision system was asked."""
        return False

    def release_stop(self) -> None:
        """Ask the robot to leave a protective stop."""
        if self._release.service_is_ready():
            self._release.call_async(Trigger.Request())
        else:
            self._warn_once("release", f"there is no service '{self._release.srv_name}'")

    def _choose(self, chunks: Chunks) -> int:
        """The best-scored candidate; the first where nothing can be scored in time."""
        if not self._scores.service_is_ready():
            self._warn_once("scores", f"there is no service '{self._scores.srv_name}'")
            return 0
        numbers = np.asarray(chunks, dtype=np.float32)
        count, rows, width = numbers.shape
        request = ScoreActions.Request(
            actions=array.array("f", numbers.tobytes()), candidates=count, rows=rows,
            action_dim=width, dt=PERIOD,
        )  # fmt: skip
        answered, answers = threading.Event(), []

        def ask() -> None:
            future = self._scores.call_async(request)
            answers.append(future)
            future.add_done_callback(lambda _: answered.set())

        # In the executor's thread: sent from another one, the answer may come before rclpy's
        # client has noted the question.
        if self.executor is None:
            return 0
        self.executor.create_task(ask)
        if not answered.wait(self._settings["score_timeout"]):
            for late in answers:
                self._scores.remove_pending_request(late)
            self._warn_once("late scores", "scores came too late, the first chunk is carried out")
            return 0
        scores = answers[0].result()
        if scores is None or not scores.ok:
            self._warn_once("no scores", f"not scored: {getattr(scores, 'reason', '')}")
            return 0
        return int(scores.best) if any(scores.supported) else 0

    def _tell_failure(self, failure: Failure) -> None:
        event = EpisodeEvent(
            kind=KINDS[failure.mode], phase=EpisodeEvent.PHASE_MOMENT, name=failure.mode,
            episode_id=self._episode_id, source=self.get_name(),
        )  # fmt: skip
        event.header.stamp = Time(nanoseconds=failure.stamp_ns).to_msg()
        self._events.publish(event)
        say(self, "warn", f"{failure.mode} in {self._episode_id or 'a run'}")

    # --- the actions ----------------------------------------------------------------------

    async def _on_policy_goal(self, goal: RunPolicy.Goal) -> GoalResponse:
        return await self._decide_on_goal("run_policy", lambda: self._prepare(goal))

    async def _on_recovery_goal(self, goal: RunPolicy.Goal) -> GoalResponse:
        return await self._decide_on_goal("run_recovery", None)

    async def _decide_on_goal(self, name: str, prepare: Any) -> GoalResponse:
        reason = ""
        if self._reserved:
            reason = "another goal is active"
        elif self._silent:
            reason = "the cell is silent"
        if not reason:
            self._reserved = True
            try:
                reason = await prepare() if prepare is not None else ""
            except ProError as exc:
                reason = str(exc)
            except Exception as exc:
                reason = f"a defect of the policy: {type(exc).__name__}: {exc}"
            if reason:
                self._reserved = False
        if reason:
            say(self, "error", f"{name}: goal rejected: {reason}")
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    async def _prepare(self, goal: RunPolicy.Goal) -> str:
        """See what a goal asks for and where the item lies; why it cannot be done, or empty."""
        if len(goal.keys) != len(goal.values):
            return f"{len(goal.keys)} keys but {len(goal.values)} values"
        given = dict(zip(goal.keys, goal.values, strict=True))
        missing = [key for key in ("task_id", "site", "sku") if not given.get(key)]
        if missing:
            return f"the goal has no key '{missing[0]}' (docs/nodes/cell_policy.md)"
        self._episode_id = given.get("episode_id", "")
        task_id, site, sku = given["task_id"], given["site"], given["sku"]
        done = await self._on_thread(lambda: self._runner.prepare(task_id, site, sku))
        if self._runner.damaged:
            return "the item fell from a height: a person has to see to it"
        self._plan = None if done else int(self.get_clock().now().nanoseconds)
        return "" if done else await self._look()

    async def _look(self) -> str:
        """Ask the vision system for an estimate; why there will be none, or empty."""
        if not self._vision.service_is_ready():
            return f"there is no service '{self._vision.srv_name}'"
        answer = self._vision.call_async(Trigger.Request())
        until = time.monotonic() + ANSWER_S
        while not answer.done():
            if time.monotonic() > until:
                self._vision.remove_pending_request(answer)
                return f"'{self._vision.srv_name}' does not answer"
            await self._next_look()
        said = answer.result()
        return "" if said.success else said.message or "the item is not seen"

    async def _run_policy(self, handle: Any) -> RunPolicy.Result:
        plan = self._plan
        return await self._execute(
            "run_policy",
            handle,
            lambda: self._runner.start(int(self.get_clock().now().nanoseconds), plan),
        )

    async def _run_recovery(self, handle: Any) -> RunPolicy.Result:
        mode = handle.request.prompt
        return await self._execute("run_recovery", handle, lambda: self._runner.recover(mode))

    async def _execute(
        self, name: str, handle: Any, start: Callable[[], None]
    ) -> RunPolicy.Result:
        began = heard = time.monotonic()
        over = self._over = Future()
        why, feedback_due = "", 0.0
        topic = self.resolve_topic_name(f"{name}/{FEEDBACK_TOPIC}")
        self._work.put(start)
        try:
            while not over.done():
                now = time.monotonic()
                if now - began >= feedback_due:
                    feedback_due = now - began + 1.0 / self._settings["feedback_rate"]
                    feedback = RunPolicy.Feedback(elapsed=now - began, steps=self._runner.steps)
                    handle.publish_feedback(feedback)
                    # Nothing else says that who ordered it is still there.
                    heard = now if self.count_subscribers(topic) else heard
                if self._silent:
                    why = "the cell is silent"
                    self._work.put(self._abandon)
                elif not why and handle.is_cancel_requested:
                    why = "stopped"
                    self._work.put(self._stop)
                elif not why and now - heard > self._settings["silence"]:
                    why = "who ordered it is gone"
                    self._work.put(self._stop)
                await self._next_look()
        finally:
            self._reserved = False
        return self._result(handle, over.result(), why)

    def _result(self, handle: Any, ended: Ended | None, why: str) -> RunPolicy.Result:
        if ended is None:
            handle.abort()
            return RunPolicy.Result(message="a defect of the policy: the log says which")
        if not ended.stopped:
            handle.succeed()
            return RunPolicy.Result(success=ended.success, mode=ended.mode)
        if why == "stopped":
            handle.canceled()
        else:
            handle.abort()
            say(self, "error", f"aborted: {why}")
        return RunPolicy.Result(mode=ended.mode, message=why)

    def _on_cancel(self, _: Any) -> CancelResponse:
        return CancelResponse.ACCEPT

    # --- now and then ---------------------------------------------------------------------

    async def _next_look(self) -> None:
        future = Future()
        self._waiting.append(future)
        await future

    def _look_around(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            future.set_result(None)

    def _warn_once(self, what: str, line: str) -> None:
        if what not in self._faults:
            self._faults.add(what)
            say(self, "warn", line)


def main(args: list[str] | None = None) -> None:
    """Run the node until it is interrupted."""
    begin(args)
    node: CellPolicy | None = None
    try:
        node = CellPolicy()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        spin(node, executor)
    except (ProError, *FAULTY_PARAMETER) as exc:
        get_logger("cell_policy").fatal(" ".join(str(exc).split()))
        sys.exit(SpecError.exit_code)
    finally:
        end(node)
