"""The retry gate: an action server around the policy's own.

Wiring only: what is asked, seen and said goes to :class:`~pro_ros.gate.machine.Gate`, what it
orders is carried out. Everything runs in the one thread of the executor.
"""

from __future__ import annotations

import math
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from rclpy.time import Time

from pro_ros.action import ExecuteTask
from pro_ros.errors import ProError, SpecError
from pro_ros.gate.config import GateConfig, load_gate_config
from pro_ros.gate.inputs import (
    CancelRequested,
    ClientLost,
    GoalAccepted,
    Input,
    InternalError,
    MonitorPeriod,
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
    Tick,
)
from pro_ros.gate.machine import Gate
from pro_ros.gate.outputs import (
    Finish,
    Latch,
    Output,
    PublishState,
    RearmRefused,
    Snapshot,
    StartPolicy,
    StartRecovery,
    StartSafeAction,
    StopPolicy,
    StopRecovery,
    StopSafeAction,
)
from pro_ros.gate.reasons import Outcome, TerminationReason
from pro_ros.msg import Assessment, GateState, Heartbeat, TaskContext
from pro_ros.nodes.action_driver import ActionDriver, Word, read_field
from pro_ros.nodes.gate_episode import AttemptEpisode
from pro_ros.nodes.gate_messages import (
    assessment_seen,
    feedback_message,
    result_message,
    sentence,
    state_message,
)
from pro_ros.nodes.gate_node_parameters import GATE_NODE_PARAMETERS, SOURCES
from pro_ros.nodes.parameters import declare, values
from pro_ros.nodes.qos import ASSESSMENTS, LATCHED
from pro_ros.nodes.spinning import FAULTY_PARAMETER, spin
from pro_ros.srv import RearmGate

STATUS_TOPIC, FEEDBACK_TOPIC = "_action/status", "_action/feedback"
"""Below the name of an action: published by its server, subscribed to by its clients."""

SLACK = 1.1
"""By how much the gate file's period may exceed the monitor's before it is said."""

GRACE_S = 1.0
"""Beyond the time to stop, for results to be sent before the node ends."""


class GateNode(Node):
    """See docs/nodes/gate.md for actions, topics, services, parameters and QoS.

    Raises
    ------
    ProError
        The gate file, an action's type or a field mapping is wrong.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("pro_gate", **options)
        declare(self, GATE_NODE_PARAMETERS)
        self._settings = values(self, GATE_NODE_PARAMETERS)
        for parameter in GATE_NODE_PARAMETERS:
            reason = parameter.fault(self._settings[parameter.name])
            if reason:
                raise SpecError(f"parameter {reason}")
        path = self._settings["gate_file"]
        self.gate = Gate(load_gate_config(path) if path else GateConfig())
        self._inputs: deque[Input] = deque()
        self._busy = False
        self._goals: dict[str, tuple[Any, Future]] = {}
        self._waiting: tuple[str, GoalAccepted] | None = None
        self._active: str | None = None
        # The robot's clock at times of the steady one, for the records of the active goal.
        self._clock_at: dict[int, int] = {}
        self._client_seen: float | None = None
        self._interrupted = False
        self._ends_at = math.inf
        self._period = float("nan")
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._drivers = self._make_drivers()
        self._state = self.create_publisher(GateState, "~/state", LATCHED)
        monitor = "/" + self._settings["monitor"].strip("/")
        self._episode = AttemptEpisode(self, monitor, self._settings["publish_episodes"])
        self.create_subscription(
            Assessment, f"{monitor}/assessment", self._safely(self._on_assessment), ASSESSMENTS
        )
        self.create_subscription(
            Heartbeat, f"{monitor}/heartbeat", self._safely(self._on_heartbeat), ASSESSMENTS
        )
        self.create_service(RearmGate, "~/rearm", self._on_rearm)
        action = self.resolve_topic_name("execute_task")
        self._feedback_topic = f"{action}/{FEEDBACK_TOPIC}"
        self._status_topic = f"{action}/{STATUS_TOPIC}"
        self._server = ActionServer(
            self,
            ExecuteTask,
            "execute_task",
            self._execute,
            goal_callback=self._on_goal,
            cancel_callback=self._on_cancel,
        )
        self._alarm_clock = self.create_timer(
            3600.0, self._safely(lambda: self._tell(Tick())), clock=self._steady
        )
        self._alarm_clock.cancel()
        self.create_timer(
            self._settings["look_period"], self._safely(self._look), clock=self._steady
        )
        self._publish_state(self.gate.snapshot())

    def _make_drivers(self) -> dict[str, ActionDriver]:
        config, drivers = self.gate.config, {}
        for role, needed in (
            ("policy", True),
            ("recovery", config.needs_recovery),
            ("safe_action", config.needs_safe_action),
        ):
            name = self._settings[f"{role}.name"]
            if not name:
                if role == "policy":
                    raise SpecError(f"parameter '{role}.name' is empty: name the policy's action")
                if role == "safe_action" and needed:
                    raise SpecError(
                        f"parameter '{role}.name' is empty, but the gate file needs a {role}"
                    )
                if needed:
                    self.get_logger().warning(
                        f"parameter '{role}.name' is empty: where the gate file says 'recover', "
                        "the goal ends with RECOVERY_FAILED"
                    )
                continue
            driver = drivers[role] = ActionDriver(
                self,
                role,
                name,
                self._settings[f"{role}.type"],
                self._settings[f"{role}.goal"],
                SOURCES,
                self._listener(role),
            )
            result = driver.action.Result()
            for key, kind in ((f"{role}.success_field", bool), (f"{role}.mode_field", str)):
                field = self._settings.get(key)
                if field and not isinstance(read_field(result, field, f"parameter '{key}'"), kind):
                    raise SpecError(f"parameter '{key}' is '{field}': no {kind.__name__}")
        return drivers

    # --- the gate -------------------------------------------------------------------------

    def _tell(self, given: Input) -> None:
        """Give the gate an input, carry out its orders, and set the alarm clock.

        What is said while orders are carried out waits until all of them are.
        """
        self._inputs.append(given)
        if self._busy:
            return
        self._busy = True
        try:
            while self._inputs:
                self._give(self._inputs.popleft())
        finally:
            self._busy = False
        if self._active is None:
            self._clock_at.clear()
        due = self.gate.next_deadline()
        if due is None:
            self._alarm_clock.cancel()
        else:
            self._alarm_clock.timer_period_ns = max(1, due - time.monotonic_ns())
            self._alarm_clock.reset()
        if self._active is None and self._waiting is not None:
            (_, goal), self._waiting = self._waiting, None
            self._begin(goal)

    def _give(self, given: Input) -> None:
        now_ns = time.monotonic_ns()
        orders = self.gate.handle(given, now_ns)
        if orders:
            self._clock_at[now_ns] = self.get_clock().now().nanoseconds
        for order in orders:
            self._attempt(order)

    def _attempt(self, order: Output) -> None:
        """Carry out an order; where that fails, the others are carried out all the same."""
        try:
            self._carry_out(order)
        except Exception:
            self._log_defect()
            self._inputs.append(InternalError())

    def _safely(self, act: Callable[..., None]) -> Callable[..., None]:
        """A callback whose defects close the gate instead of ending the node."""

        def guarded(*given: Any) -> None:
            try:
                act(*given)
            except Exception:
                self._log_defect()
                self._tell(InternalError())

        return guarded

    def _log_defect(self) -> None:
        for line in traceback.format_exc().splitlines():
            self.get_logger().error(line)

    def _carry_out(self, order: Output) -> None:
        if isinstance(order, StartPolicy):
            self._start_policy(order)
        elif isinstance(order, StopPolicy):
            self._drivers["policy"].stop(order.run)
            self._on_stop_of_policy(order.run)
        elif isinstance(order, StartRecovery):
            self._start("recovery", order.run, order.mode)
        elif isinstance(order, StartSafeAction):
            self._start("safe_action", order.run, "")
        elif isinstance(order, StopRecovery | StopSafeAction):
            role = "recovery" if isinstance(order, StopRecovery) else "safe_action"
            if role in self._drivers:
                self._drivers[role].stop(order.run)
        elif isinstance(order, Finish):
            self._finish(order)
        elif isinstance(order, Latch):
            self.get_logger().error(
                f"latched ({order.reason.name}): nothing is started until ~/rearm is called"
            )
        elif isinstance(order, RearmRefused):
            self.get_logger().error(
                "not rearmed: a stop was not confirmed; set 'robot_stopped' if nothing moves"
            )
        elif isinstance(order, PublishState):
            self._publish_state(order.snapshot)

    # --- the client -----------------------------------------------------------------------

    def _on_goal(self, goal: ExecuteTask.Goal) -> GoalResponse:
        reason = self._unfit(goal)
        if reason:
            self.get_logger().error(f"goal rejected: {reason}")
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _unfit(self, goal: ExecuteTask.Goal) -> str:
        """Why a goal cannot be taken; empty if it can."""
        limits = (goal.max_duration, goal.attempt_timeout)
        if not all(math.isfinite(limit) and limit >= 0 for limit in limits):
            return "max_duration and attempt_timeout must be 0 or more seconds"
        if len(goal.task.keys) != len(goal.task.values):
            return f"task has {len(goal.task.keys)} keys but {len(goal.task.values)} values"
        gates = self.count_publishers(self._status_topic)
        if gates > 1:
            return (
                f"{gates} nodes serve '{self._status_topic.rsplit('/', 2)[0]}', all of which "
                "would act (a killed one counts until the middleware has noticed)"
            )
        return "the gate is being ended" if self._interrupted else ""

    async def _execute(self, handle: Any) -> ExecuteTask.Result:
        """Runs until the gate has finished this goal."""
        goal_id = bytes(handle.goal_id.uuid).hex()
        done = Future()
        self._goals[goal_id] = (handle, done)
        self._safely(self._take_goal)(goal_id, handle.request)
        if handle.is_cancel_requested:
            # It came before there was anything to cancel.
            self._on_cancel(handle)
        status, result = await done
        if status == "succeeded":
            handle.succeed()
        elif status == "canceled":
            handle.canceled()
        else:
            handle.abort()
        del self._goals[goal_id]
        return result

    def _take_goal(self, goal_id: str, goal: ExecuteTask.Goal) -> None:
        order = GoalAccepted(
            goal_id, int(goal.max_attempts), goal.max_duration, goal.attempt_timeout
        )
        if self._active is not None and self._settings["on_new_goal"] == "supersede":
            if self._waiting is not None:
                self._end_waiting(TerminationReason.SUPERSEDED, "aborted")
            self._waiting = (goal_id, order)
            self._tell(Superseded(self._active))
            return
        self._begin(order)

    def _begin(self, order: GoalAccepted) -> None:
        if self.gate.accepting:
            self._active, self._client_seen = order.goal_id, None
        self._tell(order)

    def _end_waiting(self, reason: TerminationReason, status: Any) -> None:
        """A goal that waited for its turn ends without it."""
        if self._waiting is None:
            return
        goal_id, self._waiting = self._waiting[0], None
        self._finish(Finish(goal_id, status, Outcome.NOT_ATTEMPTED, reason, "", (), True))

    def _on_cancel(self, handle: Any) -> CancelResponse:
        goal_id = bytes(handle.goal_id.uuid).hex()
        if self._waiting is not None and self._waiting[0] == goal_id:
            self._end_waiting(TerminationReason.CANCELLED, "canceled")
        else:
            self._safely(lambda: self._tell(CancelRequested(goal_id)))()
        return CancelResponse.ACCEPT

    def _finish(self, finish: Finish) -> None:
        if finish.goal_id == self._active:
            self._active = None
            self._episode.close()
        self.get_logger().info(sentence(finish))
        _, done = self._goals.get(finish.goal_id, (None, None))
        if done is not None and not done.done():
            done.set_result((finish.status, result_message(finish, self._time_of)))

    def _time_of(self, steady_ns: int) -> Any:
        """The robot's clock at a time of the steady one."""
        known = self._clock_at.get(steady_ns)
        if known is None:
            ago = time.monotonic_ns() - steady_ns
            known = max(0, self.get_clock().now().nanoseconds - ago)
        return Time(nanoseconds=known).to_msg()

    # --- the monitor ----------------------------------------------------------------------

    def _on_heartbeat(self, beat: Heartbeat) -> None:
        if beat.period == self._period:
            return
        self._period = beat.period
        freshness = self.gate.config.freshness
        if "period" not in freshness.model_fields_set:
            self._tell(MonitorPeriod(beat.period))
        elif freshness.limit > 2.0 * beat.period * SLACK:
            self.get_logger().warning(
                f"the monitor assesses every {beat.period:.3g} s, and the gate file's "
                f"freshness.period is {freshness.period:.3g} s: the gate closes later than two "
                "periods after its death"
            )

    def _on_assessment(self, message: Assessment) -> None:
        self._tell(assessment_seen(message))
        self._give_feedback(self.gate.snapshot())

    def _publish_state(self, now: Snapshot) -> None:
        self._state.publish(state_message(now, self.get_clock().now().to_msg()))
        self._give_feedback(now)

    def _give_feedback(self, now: Snapshot) -> None:
        handle, _ = self._goals.get(now.goal_id, (None, None))
        if handle is not None and handle.is_active:
            handle.publish_feedback(feedback_message(now))

    # --- what moves -----------------------------------------------------------------------

    def _start_policy(self, order: StartPolicy) -> None:
        handle, _ = self._goals[order.goal_id]
        self._episode.begin(order.run, handle.request.task, order.goal_id, order.attempt)
        self.get_logger().info(
            f"attempt {order.attempt} of {self.gate.snapshot().max_attempts} begins"
        )
        self._drivers["policy"].start(order.run, self._values(""))

    def _on_stop_of_policy(self, run: int) -> None:
        now = self.gate.snapshot()
        why = now.reason.name.lower() + (f" ({now.mode})" if now.mode else "")
        self._episode.interrupt(run, why)
        self.get_logger().warning(f"attempt {now.attempt} is stopped: {why}")

    def _start(self, role: str, run: int, mode: str) -> None:
        if role not in self._drivers:
            # Nothing to run is not a failure of what moves: there is nothing that moves.
            self.get_logger().error(f"'{role}.name' is not set, and one was needed")
            self._said_over(role, run, success=False)
            return
        self._drivers[role].start(run, self._values(mode))

    def _values(self, mode: str) -> dict[str, Any]:
        context: TaskContext = self._episode.context
        known = {name: getattr(context, name) for name in SOURCES if name != "mode"}
        return {**known, "mode": mode}

    def _listener(self, role: str) -> Callable[[Word], None]:
        said = self._policy_said if role == "policy" else lambda word: self._other_said(role, word)
        return self._safely(said)

    def _policy_said(self, word: Word) -> None:
        run = word.run
        if word.what == "accepted":
            self._tell(PolicyAccepted(run))
        elif word.what == "feedback":
            self._tell(PolicyFeedback(run))
        elif word.what == "lost":
            self._tell(PolicyLost(run))
        elif word.what == "rejected":
            self._episode.end(run, None)
            self._tell(PolicyRejected(run))
        else:
            success, mode = self._opinion("policy", word), self._mode(word)
            self._episode.end(run, success)
            if word.how == "canceled":
                self._tell(PolicyStopConfirmed(run))
            else:
                self._tell(PolicyFinished(run, success, mode))

    def _other_said(self, role: str, word: Word) -> None:
        if word.what == "rejected":
            self._said_over(role, word.run, success=False)
        elif word.what == "ended":
            opinion = self._opinion(role, word)
            success = word.how == "succeeded" if opinion is None else opinion
            self._said_over(role, word.run, success)

    def _said_over(self, role: str, run: int, success: bool) -> None:
        over = RecoveryFinished if role == "recovery" else SafeActionFinished
        self._tell(over(run, success))

    def _opinion(self, role: str, word: Word) -> bool | None:
        """Whether the task was done, as the server says; None where it does not say."""
        if word.how != "succeeded":
            return False if word.how == "aborted" else None
        field = self._settings[f"{role}.success_field"]
        if not field:
            return None
        return bool(read_field(word.result, field, role))

    def _mode(self, word: Word) -> str:
        field = self._settings["policy.mode_field"]
        return str(read_field(word.result, field, "policy")) if field else ""

    # --- who is there ---------------------------------------------------------------------

    def _look(self) -> None:
        """Whether servers and clients are still there."""
        if self._interrupted:
            self._end()
            if not self.context.ok():
                return
        for driver in self._drivers.values():
            driver.look()
        timeout = self._settings["client_timeout"]
        if self._active is None or not timeout:
            return
        now = time.monotonic()
        # A client of an action listens to its feedback; nothing else says that it lives.
        if self.count_subscribers(self._feedback_topic):
            self._client_seen = now
        if self._client_seen is not None and now - self._client_seen > timeout:
            self.get_logger().error("the client is gone: its goal ends")
            self._tell(ClientLost(self._active))

    def _on_rearm(
        self, request: RearmGate.Request, response: RearmGate.Response
    ) -> RearmGate.Response:
        before = self.gate.snapshot()
        self._safely(lambda: self._tell(Rearm(request.robot_stopped)))()
        response.accepted = self.gate.accepting
        if not response.accepted:
            response.reason = (
                "a stop was not confirmed: set 'robot_stopped' if nothing moves"
                if before.unconfirmed is not None
                else f"the gate is not latched: it is {before.state.name}"
            )
        return response

    def destroy_node(self) -> None:
        """Take the node down, with the actions that it serves and uses."""
        for driver in self._drivers.values():
            driver.destroy()
        self._server.destroy()
        super().destroy_node()

    # --- the end --------------------------------------------------------------------------

    def interrupt(self, *_: Any) -> None:
        """End the node once what moves has stopped; at once when asked again.

        Raises
        ------
        KeyboardInterrupt
            It is asked again.
        """
        if self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = True

    def _end(self) -> None:
        now = time.monotonic()
        if math.isinf(self._ends_at):
            self._ends_at = now + self.gate.config.limits.stop_timeout + GRACE_S
            if self._waiting is not None:
                self._end_waiting(TerminationReason.INTERNAL_ERROR, "aborted")
            if self._active is not None:
                self.get_logger().error("told to end while a goal is active: it is stopped")
                self._tell(InternalError())
        if not self._goals or now > self._ends_at:
            self.context.try_shutdown()


def main(args: list[str] | None = None) -> None:
    """Run the node until it is interrupted."""
    # By rclpy's own handlers nothing could be said any more, and the policy would go on.
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    node: GateNode | None = None
    try:
        node = GateNode()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, node.interrupt)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        spin(node, executor)
    except (ProError, *FAULTY_PARAMETER) as exc:
        get_logger("pro_gate").fatal(" ".join(str(exc).split()))
        sys.exit(SpecError.exit_code)
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
