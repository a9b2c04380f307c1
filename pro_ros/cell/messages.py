"""From a reading to the bytes of its ROS 2 message: what a driver of the device would publish.

A message is serialised once per kind by ``rosbags``; from then on only its stamp and its numbers
are filled in (:mod:`pro_ros.runtime.template`), because a cell says over a thousand a second.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from rosbags.interfaces import Nodetype

from pro_ros.cell import arm
from pro_ros.cell.sensors import (
    ACTION,
    ACTION_VALVE,
    CAMERA,
    ITEM_POSE,
    JOINTS,
    NS,
    PART,
    SCALE_SOURCE,
    SCALE_TARGET,
    STOP,
    VACUUM,
    VALVE,
    WRENCH,
    Reading,
)
from pro_ros.interfaces import header_message, typestore
from pro_ros.runtime.template import Template

_Fill = Callable[[int, Any], bytes]
"""Stamp [ns] and values to the bytes of a message."""


@dataclass(frozen=True)
class Form:
    """How the readings of one kind are published.

    ``topic``, ``msgtype``: where and as what. ``paths``: the field of each value, in order; an
    element that belongs to a joint is named by it. Empty where a field is made of values, or the
    values are no numbers. ``frame``: ``frame_id`` of the header; None: the message has none and
    is stamped by its receipt.
    """

    topic: str
    msgtype: str
    paths: tuple[str, ...] = ()
    frame: str | None = None


_DATA = ("data",)

FORMS: Final = {
    JOINTS: Form(
        "/joint_states", "sensor_msgs/msg/JointState",
        tuple(f"{part}.{name}" for part in ("position", "velocity", "effort")
              for name in arm.JOINTS),
        frame="",
    ),
    WRENCH: Form(
        "/wrench", "geometry_msgs/msg/WrenchStamped",
        tuple(f"wrench.{part}.{axis}" for part in ("force", "torque") for axis in "xyz"),
        frame="wrist",
    ),
    VACUUM: Form(
        "/vacuum/pressure", "sensor_msgs/msg/FluidPressure", ("fluid_pressure",), frame=""
    ),
    PART: Form("/gripper/part_present", "std_msgs/msg/Bool", _DATA),
    VALVE: Form("/gripper/valve", "std_msgs/msg/Int8", _DATA),
    ACTION: Form(
        "/policy/action", "geometry_msgs/msg/TwistStamped",
        ("twist.linear.x", "twist.linear.y", "twist.linear.z", "twist.angular.z"),
        frame="base",
    ),
    ACTION_VALVE: Form("/policy/valve", "std_msgs/msg/Int8", _DATA),
    STOP: Form("/robot/protective_stop", "std_msgs/msg/Bool", _DATA),
    SCALE_SOURCE: Form("/scale/source", "std_msgs/msg/Float32", _DATA),
    SCALE_TARGET: Form("/scale/target", "std_msgs/msg/Float32", _DATA),
    ITEM_POSE: Form("/vision/item_pose", "geometry_msgs/msg/PoseStamped", frame="base"),
    CAMERA: Form(
        "/camera/image/compressed", "sensor_msgs/msg/CompressedImage", frame="camera"
    ),
}  # fmt: skip
"""Everything that a cell publishes, by kind."""

TOPICS: Final = {kind: (form.topic, form.msgtype) for kind, form in FORMS.items()}
"""Topic and message type per kind."""


class Encoder:
    """Turns readings of every kind into CDR bytes, the same as ``rosbags`` would make."""

    def __init__(self) -> None:
        self._fill = {kind: _filler(kind, form) for kind, form in FORMS.items()}

    def encode(self, reading: Reading) -> bytes:
        """The message of a reading.

        Bytes of a camera are one JPEG frame. The pressure's variance is 0, which is "not known".
        """
        return self._fill[reading.kind](reading.stamp_ns, reading.values)


def _filler(kind: str, form: Form) -> _Fill:
    if kind == CAMERA:
        return _image(form)
    if kind == ITEM_POSE:
        return _pose(form)
    if form.frame is not None:
        return _stamped(form)
    if form.msgtype == "std_msgs/msg/Int8":
        return _whole(form)
    return _bare(form)


def _stamped(form: Form) -> _Fill:
    fill = _template(form, form.paths).fill

    def stamped(stamp_ns: int, values: Any) -> bytes:
        return fill((*divmod(stamp_ns, NS), *values))

    return stamped


def _bare(form: Form) -> _Fill:
    fill = _template(form, form.paths).fill

    def bare(stamp_ns: int, values: Any) -> bytes:
        return fill(values)

    return bare


def _whole(form: Form) -> _Fill:
    fill = _template(form, form.paths).fill

    def whole(stamp_ns: int, values: Any) -> bytes:
        return fill(map(int, values))

    return whole


def _pose(form: Form) -> _Fill:
    fill = _template(form, ("pose.position", "pose.orientation.z", "pose.orientation.w")).fill

    def pose(stamp_ns: int, values: Any) -> bytes:
        x, y, z, yaw = values
        turn = math.sin(yaw / 2.0), math.cos(yaw / 2.0)
        return fill((*divmod(stamp_ns, NS), x, y, z, *turn))

    return pose


def _image(form: Form) -> _Fill:
    fill = _template(form, ()).fill
    size = struct.Struct("<I")

    def image(stamp_ns: int, values: Any) -> bytes:
        # The frame is the last field: its length of 0 in the template makes room for it.
        return fill(divmod(stamp_ns, NS))[: -size.size] + size.pack(len(values)) + values

    return image


def _template(form: Form, fields: tuple[str, ...]) -> Template:
    """The message of a kind with the stamp and these fields left open."""
    # Elements of a joint's arrays are named by the joint, which is no field.
    opened = {path.rpartition(".")[0] if path.endswith(arm.JOINTS) else path for path in fields}
    if form.frame is not None:
        opened.add("header.stamp")
    return Template(typestore(), form.msgtype, _zeros(form), opened)


def _zeros(form: Form) -> Any:
    """The message of a kind with all numbers 0, as ``rosbags`` knows it."""
    store = typestore()
    fields: dict[str, Any] = {}
    if form.frame is not None:
        fields["header"] = header_message(store, 0)
        fields["header"].frame_id = form.frame
    if form.msgtype == "sensor_msgs/msg/JointState":
        fields["name"] = list(arm.JOINTS)
        for part in ("position", "velocity", "effort"):
            fields[part] = np.zeros(len(arm.JOINTS))
    elif form.msgtype == "sensor_msgs/msg/CompressedImage":
        fields |= {"format": "jpeg", "data": np.zeros(0, dtype=np.uint8)}
    for name, (kind, inner) in store.get_msgdef(form.msgtype).fields:
        if name not in fields:
            fields[name] = _zero(kind, inner)
    return store.types[form.msgtype](**fields)


def _zero(kind: Any, inner: Any) -> Any:
    """A number 0, or a message that holds nothing but numbers."""
    if kind != Nodetype.NAME:
        return 0
    store = typestore()
    fields = store.get_msgdef(inner).fields
    return store.types[inner](**{name: _zero(*field) for name, field in fields})
