"""The monitor: a lifecycle node that runs the operator on live topics.

Wiring only: what is received goes to the :class:`~pro_ros.runtime.intake.Intake`, what the
:class:`~pro_ros.runtime.live.LiveOperator` says is published from its own thread.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import rclpy
import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.logging import get_logger
from rclpy.qos import QoSProfile
from std_msgs.msg import Float32

from pro_ros.episodes.marks import (
    EVENT_TYPE,
    TASK_TYPE,
    EventMark,
    Mark,
    TaskMark,
    event_mark,
    mark_time,
    task_mark,
)
from pro_ros.errors import CheckpointError, ProError, SpecError
from pro_ros.interfaces import typestore, validity_bits
from pro_ros.model.checkpoint import Checkpoint, load_checkpoint
from pro_ros.msg import Assessment, EpisodeEvent, Heartbeat, Reward, Risk, TaskContext
from pro_ros.nodes.diagnostics import model_status, operator_status, stream_status
from pro_ros.nodes.message_types import installed_typestore
from pro_ros.nodes.parameters import Parameter, declare, guard, values
from pro_ros.nodes.pro_node_parameters import PRO_NODE_PARAMETERS
from pro_ros.nodes.qos import ASSESSMENTS, EVENTS, LATCHED
from pro_ros.nodes.score_service import ScoreService
from pro_ros.nodes.spinning import FAULTY_PARAMETER, begin, end, say, spin
from pro_ros.nodes.wiring import Topic, needed_streams, publisher_faults, subscribe, topics_of
from pro_ros.runtime.health import Health
from pro_ros.runtime.intake import Intake, Source
from pro_ros.runtime.live import LiveOperator
from pro_ros.runtime.monitor import required_streams
from pro_ros.runtime.pipeline import Pipeline
from pro_ros.runtime.readers import live_reader
from pro_ros.srv import ScoreActions
from pro_ros.streams.decode import Decoder
from pro_ros.streams.spec import load_spec

SIM_TIME = Parameter("use_sim_time", False, "Of rclpy", changes="unconfigured")
"""Declared by rclpy itself; the clock must not change under the operator."""

NO_CLOCK = (
    "'use_sim_time' is set, but no time comes on /clock: play the bag with '--clock', "
    "or start the node without"
)

DONE, REFUSED = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE

OUTPUTS: dict[str, type] = {
    "assessment": Assessment, "risk": Risk, "reward": Reward,
    "progress": Float32, "value": Float32, "risk_any": Float32,
}  # fmt: skip


class ProNode(LifecycleNode):
    """See docs/nodes/pro_node.md for topics, parameters and QoS."""

    def __init__(self, **options: Any) -> None:
        super().__init__("pro", **options)
        declare(self, PRO_NODE_PARAMETERS)
        self._settings = values(self, PRO_NODE_PARAMETERS)
        self._checkpoint: Checkpoint | None = None
        self._topics: list[Topic] = []
        self._operator: LiveOperator | None = None
        self._scores: ScoreService | None = None
        self._problem = ""
        self._timeless = False
        self._outputs: dict[str, Any] = {}
        self._heartbeat: Any = None
        self._marks: list[tuple[Any, QoSProfile]] = []
        self._unheard: dict[Any, list[str]] = {}
        self._before = (time.monotonic(), Health())
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._beat_timer: Any = None
        self.create_service(ScoreActions, "~/score_actions", self._score_actions)
        self._report_timer = self.create_timer(
            self._settings["diagnostics_period"], self._report, clock=self._steady
        )
        guard(
            self,
            (*PRO_NODE_PARAMETERS, SIM_TIME),
            lambda: self._checkpoint is None,
            self._change,
        )

    @property
    def autostart(self) -> bool:
        """Whether to configure and activate at the start."""
        return bool(self._settings["autostart"])

    # --- life cycle -----------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load and check the checkpoint and the streams, and warm the operator up."""
        return self._guarded("configure", self._configure, state, super().on_configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and begin to assess."""
        result = self._guarded("activate", self._activate, state, super().on_activate)
        if result == DONE and self._operator is not None:
            # Only now are the publishers active: the first word must not be lost.
            self._operator.start()
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop; what was remembered is forgotten."""
        self.halt()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Drop the checkpoint; parameters may change again."""
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and drop everything."""
        self.halt()
        self._release()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Back to unconfigured: the node stays alive."""
        self.halt()
        self._release()
        return DONE

    def _guarded(
        self,
        what: str,
        act: Callable[[], None],
        state: LifecycleState,
        parent: Callable[[LifecycleState], TransitionCallbackReturn],
    ) -> TransitionCallbackReturn:
        """Run a transition; a fault is one line, a defect a traceback; the node stays alive."""
        try:
            act()
        except Exception as exc:
            if not self.context.ok():
                # An interrupt took rclpy down meanwhile: nothing is wrong.
                return REFUSED
            if not isinstance(exc, ProError):
                self.get_logger().error(traceback.format_exc())
            self._problem = f"cannot {what}: {exc}"
            self.get_logger().error(self._problem)
            self.halt()
            if what == "configure":
                self._release()
            return REFUSED
        self._problem = ""
        return parent(state)

    def _configure(self) -> None:
        settings = self._settings = values(self, PRO_NODE_PARAMETERS)
        if not settings["checkpoint"]:
            raise CheckpointError("parameter 'checkpoint' is empty: give a checkpoint's folder")
        device = _device(settings["device"])
        torch.set_num_threads(settings["threads"])
        checkpoint = load_checkpoint(settings["checkpoint"], device)
        given = settings["streams"]
        if given:
            checkpoint = checkpoint.for_streams(load_spec(given), given)
        spec = checkpoint.spec
        required_streams(spec, self._optional)
        names = [
            name
            for name in needed_streams(spec)
            if spec.streams[name].topic is not None or name not in self._optional
        ]
        self._topics = topics_of(spec, names)
        self._store = installed_typestore(topic.msgtype for topic in self._topics)
        for name, kind in OUTPUTS.items():
            self._outputs[name] = self.create_lifecycle_publisher(kind, f"~/{name}", ASSESSMENTS)
        self._heartbeat = self.create_lifecycle_publisher(Heartbeat, "~/heartbeat", ASSESSMENTS)
        self._checkpoint = checkpoint
        calibrated = "calibrated" if checkpoint.calibration.fitted else "NOT calibrated"
        self.get_logger().info(
            f"model {checkpoint.model_id} ({calibrated}) on {device}, robot '{spec.robot}', "
            f"streams {', '.join(names)}"
        )

    @property
    def _optional(self) -> list[str]:
        # A parameter file cannot hold an empty list: an empty name stands for none.
        return [name for name in self._settings["optional_streams"] if name]

    @property
    def _simulated(self) -> bool:
        return bool(self.get_parameter("use_sim_time").value)

    def _activate(self) -> None:
        assert self._checkpoint is not None
        spec, settings = self._checkpoint.spec, self._settings
        pipeline = Pipeline(
            self._checkpoint, settings["device"], settings["task"], optional=self._optional
        )
        simulated = self._simulated
        clock = self.get_clock()
        intake = Intake((lambda: int(clock.now().nanoseconds)) if simulated else time.time_ns)
        readers = {}
        for topic in self._topics:
            source = Source(topic.streams, settings["max_rate_factor"] * topic.rate)
            readers[source] = [
                (name, live_reader(topic.msgtype, self._store, Decoder(name, spec.streams[name])))
                for name in topic.streams
            ]
            subscribe(self, topic, _pusher(intake, source, spec.step.on in topic.streams))
        self._hear_marks(intake)
        self._operator = LiveOperator(
            pipeline,
            intake,
            readers,
            self._publish,
            self._say,
            settings["max_lateness"],
            real_time=not simulated,
        )
        if self._checkpoint.scorer is not None:
            self._scores = ScoreService(self._checkpoint, self._operator, settings)
        self._tune(settings)
        self._before = (time.monotonic(), Health())
        self._beat_timer = self.create_timer(
            1.0 / settings["heartbeat_rate"], self._beat, clock=self._steady
        )

    def halt(self) -> None:
        """End the thread and the subscriptions."""
        if self._operator is not None:
            self._operator.stop()
            self._operator = self._scores = None
        for topic in self._topics:
            if topic.subscription is not None:
                self.destroy_subscription(topic.subscription)
                topic.subscription = None
        for subscription, _ in self._marks:
            self.destroy_subscription(subscription)
        self._marks = []
        if self._beat_timer is not None:
            self.destroy_timer(self._beat_timer)
            self._beat_timer = None
        self._unheard = {}

    def destroy_node(self) -> None:
        """End the thread before what it uses is gone."""
        self.halt()
        super().destroy_node()

    def _release(self) -> None:
        for publisher in self._outputs.values():
            self.destroy_lifecycle_publisher(publisher)
        if self._heartbeat is not None:
            self.destroy_lifecycle_publisher(self._heartbeat)
        self._outputs, self._heartbeat = {}, None
        self._topics = []
        self._checkpoint = None

    # --- what is received -----------------------------------------------------------------

    def _hear_marks(self, intake: Intake) -> None:
        """Subscribe to TaskContexts and EpisodeEvents.

        Raw, because rclpy ends its executor where a text in a message is no UTF-8.
        """
        assert self._checkpoint is not None
        spec = self._checkpoint.spec
        tolerance = round(spec.gap * 1e9)

        def task(message: Any, now: int) -> TaskMark:
            return task_mark(message, mark_time(message, now, tolerance)[0], now)

        def event(message: Any, now: int) -> EventMark:
            return event_mark(message, mark_time(message, now, tolerance)[0], now)

        events = spec.episodes.topic if spec.episodes.by == "events" else "~/episode_event"
        self._marks = [
            self._hear_mark(intake, TaskContext, TASK_TYPE, "~/task_context", LATCHED, task),
            self._hear_mark(intake, EpisodeEvent, EVENT_TYPE, events, EVENTS, event),
        ]

    def _hear_mark(
        self,
        intake: Intake,
        kind: type,
        msgtype: str,
        topic: str,
        qos: QoSProfile,
        make: Callable[[Any, int], Mark],
    ) -> tuple[Any, QoSProfile]:
        store = typestore()

        def heard(raw: bytes) -> None:
            try:
                message = store.deserialize_cdr(raw, msgtype)
                intake.mark(lambda now: make(message, now))
            except Exception as exc:
                # Generated code meets damaged bytes in any way.
                name = subscription.topic_name
                self._say("error", f"{kind.__name__}: a message on {name} cannot be read: {exc}")

        subscription = self.create_subscription(kind, topic, heard, qos, raw=True)
        return subscription, qos

    # --- what is said ---------------------------------------------------------------------

    def _publish(self, name: str, data: bytes) -> None:
        """Called from the operator's thread; rclpy's publishers may be."""
        try:
            self._outputs[name].publish(data)
        except Exception:
            # An interrupt takes rclpy down before it ends this thread.
            if self.context.ok():
                raise

    def _say(self, severity: str, line: str) -> None:
        say(self, severity, line)

    def _beat(self) -> None:
        operator = self._operator
        if operator is None or self._checkpoint is None:
            return
        health = operator.counts
        beat = Heartbeat()
        beat.header.stamp = self.get_clock().now().to_msg()
        beat.sequence = health.valid
        beat.period = operator.period
        beat.age = operator.valid_age
        beat.validity = validity_bits(health.validity)
        beat.model_id = self._checkpoint.model_id
        self._heartbeat.publish(beat)

    def _report(self) -> None:
        """Publish the diagnostics, and look at who publishes the inputs."""
        array = DiagnosticArray()
        now = self.get_clock().now()
        array.header.stamp = now.to_msg()
        timeless = self._simulated and now.nanoseconds == 0
        if timeless and not self._timeless:
            self._say("warn", NO_CLOCK)
        self._timeless = timeless
        name = self.get_fully_qualified_name()
        array.status.append(
            model_status(
                f"{name}: model", self._facts(), self._problem or (NO_CLOCK if timeless else "")
            )
        )
        if self._operator is not None:
            array.status += self._live_status(name, self._operator)
        self._diagnostics.publish(array)

    def _live_status(self, name: str, operator: LiveOperator) -> list[DiagnosticStatus]:
        self._look_at_publishers()
        health, now = operator.health(), time.monotonic()
        then, before = self._before
        self._before = (now, health)
        found = [operator_status(f"{name}: operator", health, before, now - then, operator.period)]
        spec = operator.pipeline.stepper.spec
        for topic in self._topics:
            for stream in topic.streams:
                counted = health.streams[stream]
                past = before.streams.get(stream)
                rate = (counted.received - (past.received if past else 0)) / (now - then)
                found.append(
                    stream_status(
                        f"{name}: stream {stream}",
                        spec.streams[stream],
                        counted,
                        rate,
                        self._unheard.get(topic.subscription, []),
                    )
                )
        return found

    def _look_at_publishers(self) -> None:
        """Who publishes what this node cannot hear: said once, and in the diagnostics."""
        looks = [
            (t.subscription, t.msgtype, t.qos, f"stream '{t.streams[0]}'", "")
            for t in self._topics
        ]
        kinds = (TASK_TYPE, EVENT_TYPE)
        for (subscription, qos), msgtype in zip(self._marks, kinds, strict=True):
            policies = f"{qos.reliability.name}, {qos.durability.name}".lower()
            remedy = f"publish it {policies}"
            looks.append((subscription, msgtype, qos, msgtype.rpartition("/")[2], remedy))
        for subscription, msgtype, qos, where, remedy in looks:
            lines = publisher_faults(self, subscription, msgtype, qos, where, remedy)
            before = self._unheard.get(subscription, [])
            for line in lines:
                if line not in before:
                    self._say("error", line)
            self._unheard[subscription] = lines

    def _facts(self) -> dict[str, Any]:
        checkpoint = self._checkpoint
        if checkpoint is None:
            return {}
        calibration = checkpoint.calibration
        alarm = calibration.alarms[0] if calibration.alarms else None
        return {
            "checkpoint": self._settings["checkpoint"],
            "model": checkpoint.model_id,
            "device": self._settings["device"],
            "robot": checkpoint.spec.robot,
            "calibrated": calibration.fitted,
            "calibration episodes": calibration.episodes,
            "alarm threshold": alarm.threshold if alarm else "none",
        }

    def _score_actions(
        self, request: ScoreActions.Request, response: ScoreActions.Response
    ) -> ScoreActions.Response:
        if self._scores is not None:
            return self._scores.answer(request, response)
        response.best = -1
        response.reason = (
            "the node is not active"
            if self._operator is None
            else "the checkpoint has no scorer: train it with a 'scoring' section"
        )
        return response

    # --- parameters -----------------------------------------------------------------------

    def _change(self, changed: Mapping[str, Any]) -> str:
        self._settings = {**self._settings, **changed}
        self._tune(changed)
        return ""

    def _tune(self, changed: Mapping[str, Any]) -> None:
        """Hand over what may change at any time, of that what has changed."""
        operator, settings = self._operator, self._settings
        if operator is None:
            return
        if self._scores is not None:
            self._scores.tune(settings)
        if "alarm_threshold" in changed:
            threshold = settings["alarm_threshold"] or None
            operator.tune(lambda monitor: monitor.set_alarm(threshold))
        if "reward_kappa" in changed or "reward_risk_weight" in changed:
            kappa, weight = settings["reward_kappa"], settings["reward_risk_weight"]
            operator.tune(lambda monitor: monitor.set_reward(kappa, weight))


def _pusher(intake: Intake, source: Source, wake: bool) -> Callable[[bytes], None]:
    def heard(raw: bytes) -> None:
        intake.push(source, raw, wake)

    return heard


def _device(name: str) -> torch.device:
    """Check a device's name, and that the device is there.

    Raises
    ------
    SpecError
        It is not known or not there.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        raise SpecError(
            f"parameter 'device' is '{name}', expected cpu, cuda or cuda:<n>"
        ) from None
    if device.type not in ("cpu", "cuda"):
        raise SpecError(f"parameter 'device' is '{name}', expected cpu, cuda or cuda:<n>")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SpecError(
            f"parameter 'device' is '{name}', but there is no such GPU: set 'device: cpu'"
        )
    return device


def main(args: list[str] | None = None) -> None:
    """Run the node until it is interrupted."""
    begin(args)
    node: ProNode | None = None
    try:
        node = ProNode()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        if node.autostart and node.trigger_configure() == DONE:
            node.trigger_activate()
        spin(node, executor)
    except FAULTY_PARAMETER as exc:
        get_logger("pro").fatal(str(exc))
        sys.exit(SpecError.exit_code)
    except Exception:
        # An interrupt takes rclpy down, wherever it comes.
        if rclpy.ok():
            raise
    finally:
        end(node)
