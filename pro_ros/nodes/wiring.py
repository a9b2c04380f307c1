"""Subscriptions to the streams, and a look at who publishes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rclpy.exceptions import InvalidTopicNameException, ParameterException
from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible

from pro_ros.episodes.bags import full_type
from pro_ros.episodes.reading import stream_order
from pro_ros.errors import SpecError
from pro_ros.nodes.message_types import message_class
from pro_ros.nodes.qos import overridable, sensor, sensor_depth
from pro_ros.streams.spec import RobotSpec


class Topic:
    """One topic that streams are read from.

    ``streams``: those that read it; ``rate``: the highest that they expect [Hz]. ``qos``: as
    subscribed, overrides included.
    """

    def __init__(self, name: str, msgtype: str, streams: tuple[str, ...], spec: RobotSpec) -> None:
        used = [spec.streams[stream] for stream in streams]
        self.name = name
        self.msgtype = msgtype
        self.streams = streams
        self.rate = max(stream.rate for stream in used)
        self.visual = any(stream.image is not None for stream in used)
        self.message_class = message_class(msgtype, f"stream '{streams[0]}'")
        self.qos: QoSProfile = sensor(sensor_depth(self.rate, self.visual))
        self.subscription: Any = None


def needed_streams(spec: RobotSpec) -> tuple[str, ...]:
    """Streams that the operator reads, or that make its steps or episodes; ``step.on`` last."""
    signal = (spec.episodes.signal or "").partition(".")[0]
    used = {*spec.input_streams, spec.step.on, signal}
    return tuple(name for name in stream_order(spec) if name in used)


def topics_of(spec: RobotSpec, names: Sequence[str]) -> list[Topic]:
    """The topics of the named streams, the one of ``step.on`` last.

    Messages that came between two turns of rclpy's executor are handed out in this order, so that
    a step sees what was received together with its sample.

    Raises
    ------
    SpecError
        A stream has no topic, two streams want different types of one topic, or a message
        package is not installed.
    """
    found: dict[str, tuple[str, list[str]]] = {}
    for name in names:
        stream = spec.streams[name]
        if stream.topic is None or stream.type is None:
            raise SpecError(f"stream '{name}' has no 'topic': add 'topic' and 'type'")
        msgtype = full_type(stream.type)
        known, readers = found.setdefault(stream.topic, (msgtype, []))
        if known != msgtype:
            raise SpecError(
                f"stream '{name}': topic '{stream.topic}' is {msgtype} here and {known} for "
                f"stream '{readers[0]}'"
            )
        readers.append(name)
        # The stream that makes the steps comes last, and with it its topic.
        found[stream.topic] = found.pop(stream.topic)
    return [Topic(topic, kind, tuple(names), spec) for topic, (kind, names) in found.items()]


def subscribe(node: Node, topic: Topic, heard: Callable[[bytes], None]) -> None:
    """Subscribe to a topic's raw messages; its QoS may be overridden by parameters.

    Raw, because turning 1000 messages a second into Python objects costs more than all the rest
    (docs/benchmarks/live.md).

    Raises
    ------
    SpecError
        The topic has no valid name, or an override no valid value.
    """
    topic.qos = sensor(sensor_depth(topic.rate, topic.visual))
    try:
        topic.subscription = node.create_subscription(
            topic.message_class,
            topic.name,
            heard,
            topic.qos,
            qos_overriding_options=overridable(),
            raw=True,
        )
    except (
        RuntimeError,
        ValueError,
        AssertionError,
        InvalidTopicNameException,
        ParameterException,
    ) as exc:
        reason = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
        raise SpecError(f"stream '{topic.streams[0]}': topic '{topic.name}': {reason}") from exc


def publisher_faults(
    node: Node, subscription: Any, msgtype: str, qos: QoSProfile, where: str, remedy: str = ""
) -> list[str]:
    """Lines about publishers that cannot be heard: another type, or QoS that do not match.

    ``where`` begins each line; ``remedy`` ends one about QoS; empty: the parameter that overrides
    them.
    """
    lines = []
    topic = subscription.topic_name
    remedy = remedy or f"set parameter 'qos_overrides.{topic}.subscription.<policy>'"
    for info in node.get_publishers_info_by_topic(topic):
        who = f"{info.node_namespace.rstrip('/')}/{info.node_name}"
        line = f"{where}: topic '{topic}' is published by {who}"
        if info.topic_type != msgtype:
            lines.append(f"{line} as {info.topic_type}, expected {msgtype}")
            continue
        compatible, reason = qos_check_compatible(info.qos_profile, qos)
        if compatible == QoSCompatibility.ERROR:
            # It reads "ERROR: one reason;ERROR: another;".
            why = ", ".join(
                r.strip() for r in reason.replace("ERROR:", "").split(";") if r.strip()
            )
            lines.append(f"{line} with QoS that do not match: {why}; {remedy}")
    return lines
