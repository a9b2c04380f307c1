"""The recorder: services to begin and end an episode, and a data set of what was received.

Wiring only: what episode is running says :class:`~pro_ros.recorder.running.RunningEpisode`, what
is received goes to the :class:`~pro_ros.recorder.recorder.Recorder`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import serialize_message

from pro_ros.episodes.marks import BEGIN, END, EVENT_TYPE, TASK_TYPE, event_mark, mark_time
from pro_ros.errors import ProError, SpecError
from pro_ros.msg import EpisodeEvent, TaskContext
from pro_ros.nodes.diagnostics import status
from pro_ros.nodes.message_types import installed_typestore, message_class
from pro_ros.nodes.parameters import declare, guard, values
from pro_ros.nodes.qos import EVENTS, LATCHED, overridable
from pro_ros.nodes.recorder_node_parameters import RECORDER_PARAMETERS
from pro_ros.nodes.recorder_topics import ExtraTopics, journal_topic
from pro_ros.nodes.spinning import FAULTY_PARAMETER, begin, end, say, spin
from pro_ros.nodes.wiring import Topic, publisher_faults, subscribe, topics_of
from pro_ros.recorder.journal import JournalTopic
from pro_ros.recorder.recorder import Recorder
from pro_ros.recorder.rules import RecorderSettings, RecorderStatus
from pro_ros.recorder.running import RunningEpisode, time_name
from pro_ros.srv import BeginEpisode, EndEpisode
from pro_ros.streams.spec import load_spec

OUTPUTS = ("assessment", "risk", "reward", "progress", "value", "risk_any")

SETTINGS = (
    "lead_in", "lead_out", "lead_in_bytes", "max_episode_seconds", "max_episode_bytes",
    "max_total_bytes", "when_full", "continuous", "compress",
)  # fmt: skip

SHUTDOWN_S = 4.0
"""How long finishing may take at the end [s]: a launch file kills what has not ended after 5 s."""


class RecorderNode(Node):
    """See docs/nodes/recorder.md for topics, services, parameters and QoS.

    Raises
    ------
    ProError
        The stream file is wrong, or the output cannot be used.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("pro_recorder", **options)
        declare(self, RECORDER_PARAMETERS)
        settings = values(self, RECORDER_PARAMETERS)
        for parameter in RECORDER_PARAMETERS:
            fault = parameter.fault(settings[parameter.name])
            if fault:
                raise SpecError(fault)
        if not settings["streams"]:
            raise SpecError("parameter 'streams' is empty: give a stream file")
        self._spec = load_spec(Path(settings["streams"]).expanduser())
        self._gap_ns = round(self._spec.gap * 1e9)
        self._simulated = bool(self.get_parameter("use_sim_time").value)
        self._source = settings["source"] or self.get_fully_qualified_name()
        self._running = RunningEpisode()
        self._own_context: tuple[Any, str] | None = None
        self._task: TaskContext | None = None
        self._topics: list[Topic] = []
        self._looks: list[tuple[Any, str, QoSProfile, str, str]] = []
        self._heard: dict[str, int] = {}
        self._unheard: dict[str, list[str]] = {}
        self._extra: ExtraTopics | None = None
        self._recorder: Recorder | None = None
        if settings["record"]:
            self._start_recording(settings)
        self._contexts = self.create_publisher(
            TaskContext, f"{settings['monitor'].rstrip('/')}/task_context", LATCHED
        )
        self._events = self.create_publisher(EpisodeEvent, self._spec.episodes.topic, EVENTS)
        context = self.create_subscription(
            TaskContext, self._contexts.topic_name, self._heard_context, LATCHED
        )
        event = self.create_subscription(
            EpisodeEvent, self._events.topic_name, self._heard_event, EVENTS
        )
        self._looks = [
            (t.subscription, t.msgtype, t.qos, f"stream '{t.streams[0]}'", "")
            for t in self._topics
        ]
        self._looks += [
            (context, TASK_TYPE, LATCHED, "TaskContext", "publish it reliable, transient_local"),
            (event, EVENT_TYPE, EVENTS, "EpisodeEvent", "publish it reliable"),
        ]
        self.create_service(BeginEpisode, "~/begin_episode", self._begin)
        self.create_service(EndEpisode, "~/end_episode", self._end)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0, self._tick, clock=steady)
        self.create_timer(settings["diagnostics_period"], self._report, clock=steady)
        guard(self, RECORDER_PARAMETERS, lambda: False, self._change)

    def close(self) -> None:
        """Finish the running episode, its end not seen, and what else is waiting."""
        if self._recorder is not None:
            self._recorder.close(SHUTDOWN_S)

    # --- what is recorded -----------------------------------------------------------------

    def _start_recording(self, settings: Mapping[str, Any]) -> None:
        if not settings["output"]:
            raise SpecError("parameter 'output' is empty: give a folder, or set 'record: false'")
        topics = topics_of(self._spec, tuple(self._spec.streams))
        store = installed_typestore(topic.msgtype for topic in topics)
        recorder = self._recorder = Recorder(
            Path(settings["output"]).expanduser(),
            self._spec,
            RecorderSettings(**{name: settings[name] for name in SETTINGS}),
            self._say,
        )
        inputs = self._spec.input_streams
        for topic in topics:
            handle = recorder.declare(
                journal_topic(store, "/" + topic.name.strip("/"), topic.msgtype),
                timing=any(stream in inputs for stream in topic.streams),
            )
            subscribe(self, topic, self._pusher(topic.name, handle))
        self._topics = topics
        extra = [name for name in settings["extra_topics"] if name]
        if settings["record_outputs"]:
            extra += [f"{settings['monitor'].rstrip('/')}/{name}" for name in OUTPUTS]
        own = {topic.subscription.topic_name for topic in topics}
        self._extra = ExtraTopics(self, [name for name in extra if name not in own])

    def _pusher(self, name: str, handle: int) -> Any:
        assert self._recorder is not None
        message, heard, now = self._recorder.message, self._heard, self._clock_ns
        heard[name] = 0

        def push(raw: bytes) -> None:
            heard[name] += 1
            message(handle, now(), raw)

        return push

    def _subscribe_extra(self, name: str, msgtype: str, qos: Any) -> None:
        """Begin to record a topic that was found to be published."""
        assert self._recorder is not None
        store = installed_typestore([msgtype])
        topic: JournalTopic = journal_topic(store, name, msgtype, qos)
        self.create_subscription(
            message_class(msgtype, f"topic '{name}'"),
            name,
            self._pusher(name, self._recorder.declare(topic)),
            qos,
            qos_overriding_options=overridable(),
            raw=True,
        )

    def _clock_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds) if self._simulated else time.time_ns()

    # --- episodes -------------------------------------------------------------------------

    def _begin(
        self, request: BeginEpisode.Request, response: BeginEpisode.Response
    ) -> BeginEpisode.Response:
        now, context = self._clock_ns(), request.context
        response.reason = (
            self._running.refuses_begin(request.supersede)
            or ("" if now > 0 else "the clock does not run: nobody publishes /clock")
            or _unfit(context)
        )
        if response.reason:
            return response
        stamp = _stamp(now)
        key = context.episode_id = context.episode_id or time_name(now)
        if not context.header.stamp.sec and not context.header.stamp.nanosec:
            context.header.stamp = stamp
        context.attempt = self._running.attempt(key, context.attempt, context.retry_of)
        event = EpisodeEvent(kind=BEGIN, episode_id=key, source=self._source)
        event.header.stamp = stamp
        self._running.begin(key, now)
        self._task, self._own_context = context, _identity(context)
        self._contexts.publish(context)
        self._events.publish(event)
        response.accepted, response.episode_id = True, key
        if self._recorder is not None:
            response.reason = self._recorder.begin(
                now, key, serialize_message(event), serialize_message(context)
            )
        return response

    def _end(
        self, request: EndEpisode.Request, response: EndEpisode.Response
    ) -> EndEpisode.Response:
        response.reason = self._running.refuses_end(request.episode_id, request.outcome)
        if response.reason:
            return response
        now = self._clock_ns()
        event = EpisodeEvent(
            kind=END,
            outcome=request.outcome,
            episode_id=self._running.episode_id or "",
            source=self._source,
            detail=request.detail,
        )
        event.header.stamp = _stamp(now)
        self._running.end()
        self._events.publish(event)
        response.accepted, response.episode_id = True, event.episode_id
        if self._recorder is not None:
            path = self._recorder.end(now, serialize_message(event))
            response.path = str(path.absolute()) if path is not None else ""
        return response

    def _heard_context(self, context: TaskContext) -> None:
        if _identity(context) == self._own_context:
            return
        self._task = context
        if self._recorder is not None:
            self._recorder.context(self._clock_ns(), serialize_message(context))

    def _heard_event(self, event: EpisodeEvent) -> None:
        """Obey what another node reports."""
        if event.source == self._source:
            return
        now = self._clock_ns()
        heard = self._running.hear(event_mark(event, mark_time(event, now, self._gap_ns)[0], now))
        if heard.line:
            self.get_logger().warning(heard.line)
        if heard.use == "begin":
            told = self._task
            if told is None or told.episode_id != event.episode_id:
                told = TaskContext()
            self._running.attempt(event.episode_id, told.attempt, told.retry_of)
        recorder = self._recorder
        if recorder is None or heard.use == "ignore":
            return
        raw = serialize_message(event)
        if heard.use == "begin":
            recorder.begin(now, event.episode_id, raw)
        elif heard.use == "end":
            recorder.end(now, raw)
        else:
            recorder.event(now, raw)

    # --- health ---------------------------------------------------------------------------

    def _tick(self) -> None:
        self._look_at_publishers()
        if self._recorder is None:
            return
        self._recorder.tick(self._clock_ns())
        if self._extra is not None:
            for found in self._extra.found():
                try:
                    self._subscribe_extra(*found)
                except SpecError as exc:
                    self.get_logger().error(f"'{found[0]}' is not recorded: {exc}")

    def _look_at_publishers(self) -> None:
        """Who publishes what this node cannot hear: said once, and in the diagnostics."""
        for subscription, msgtype, qos, where, remedy in self._looks:
            lines = publisher_faults(self, subscription, msgtype, qos, where, remedy)
            for line in lines:
                if line not in self._unheard.get(where, []):
                    self.get_logger().error(line)
            self._unheard[where] = lines

    def _report(self) -> None:
        array = DiagnosticArray()
        array.header.stamp = self.get_clock().now().to_msg()
        name = f"{self.get_fully_qualified_name()}: recorder"
        if self._recorder is None:
            array.status.append(
                status(
                    name,
                    DiagnosticStatus.OK,
                    "'record' is false: nothing is written",
                    {"episode": self._running.episode_id or ""},
                )
            )
        else:
            array.status.append(self._recorder_status(name, self._recorder.status()))
        self._diagnostics.publish(array)

    def _recorder_status(self, name: str, state: RecorderStatus) -> DiagnosticStatus:
        unmatched = [line for lines in self._unheard.values() for line in lines]
        silent = [topic for topic, count in self._heard.items() if not count]
        level = DiagnosticStatus.OK
        message = "recording" if state.recording else "waiting for an episode"
        if state.fault:
            level, message = DiagnosticStatus.ERROR, state.fault
        elif unmatched:
            level, message = DiagnosticStatus.ERROR, unmatched[0]
        elif silent:
            level, message = DiagnosticStatus.WARN, f"nothing heard on {', '.join(silent)}"
        return status(
            name,
            level,
            message,
            {
                "recording": state.recording,
                "episode": self._running.episode_id or "",
                "bytes of it": state.episode_bytes,
                "bytes on disk": state.total_bytes,
                "messages": state.messages,
                "recordings kept": state.kept,
                "added": state.bound,
                "removed": state.removed,
                "waiting to be added": state.waiting,
                "last fault": state.last_fault,
            },
        )

    def _say(self, severity: str, line: str) -> None:
        say(self, severity, line)

    def _change(self, changed: Mapping[str, Any]) -> str:
        if self._recorder is not None:
            self._recorder.settings = replace(self._recorder.settings, **changed)
        return ""


def _unfit(context: TaskContext) -> str:
    """Why a TaskContext cannot be taken; empty if it can."""
    if len(context.keys) != len(context.values):
        return f"the context has {len(context.keys)} keys but {len(context.values)} values"
    return ""


def _identity(context: TaskContext) -> tuple[Any, str]:
    """What tells one's own TaskContext from another's."""
    stamp = context.header.stamp
    return (stamp.sec, stamp.nanosec), context.episode_id


def _stamp(now_ns: int) -> Any:
    from builtin_interfaces.msg import Time

    sec, nanosec = divmod(now_ns, 1_000_000_000)
    return Time(sec=sec, nanosec=nanosec)


def main(args: list[str] | None = None) -> None:
    """Run the node until it is interrupted; the running episode is finished first."""
    begin(args)
    node: RecorderNode | None = None
    try:
        node = RecorderNode()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        spin(node, executor)
    except ProError as exc:
        get_logger("pro_recorder").fatal(str(exc))
        sys.exit(exc.exit_code)
    except FAULTY_PARAMETER as exc:
        # What rclpy says of a name in the stream file points at it in further lines.
        get_logger("pro_recorder").fatal(str(exc).partition("\n")[0])
        sys.exit(SpecError.exit_code)
    finally:
        if node is not None:
            node.close()
        end(node)
