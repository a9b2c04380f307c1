"""From the bytes of a device's ROS 2 message back to its reading: what a subscriber hears."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any, Final

from pro_ros.cell.messages import FORMS, Form
from pro_ros.cell.sensors import CAMERA, ITEM_POSE, Reading
from pro_ros.errors import DataError
from pro_ros.interfaces import typestore
from pro_ros.runtime.readers import live_reader
from pro_ros.streams.decode import Decoder
from pro_ros.streams.spec import StreamSpec

_Read = Callable[[bytes, int], Reading]

_POSE: Final = (
    "pose.position.x", "pose.position.y", "pose.position.z",
    "pose.orientation.x", "pose.orientation.y", "pose.orientation.z", "pose.orientation.w",
)  # fmt: skip


class ReadingDecoder:
    """Turns messages of these kinds into readings; the inverse of ``messages.Encoder``.

    A message without a header is stamped by its receipt.

    Parameters
    ----------
    kinds
        Those that are heard; frames of the camera are none of them.
    """

    def __init__(self, kinds: Collection[str]) -> None:
        self._read = {kind: _reader(kind, FORMS[kind]) for kind in kinds if kind != CAMERA}

    def decode(self, kind: str, data: bytes, receipt_ns: int) -> Reading:
        """The reading of a message that was received at ``receipt_ns``.

        Raises
        ------
        DataError
            The bytes are no such message, or a number in it is not finite.
        """
        return self._read[kind](data, receipt_ns)


def _reader(kind: str, form: Form) -> _Read:
    paths = _POSE if kind == ITEM_POSE else form.paths
    spec = StreamSpec.model_validate(
        {
            "modality": "telemetry", "topic": form.topic, "type": form.msgtype,
            "rate": 1.0, "hold": 1.0, "stale": 1.0,
            "clock": "receipt" if form.frame is None else "header",
            "features": _features(paths),
        }
    )  # fmt: skip
    sample = live_reader(form.msgtype, typestore(), Decoder(kind, spec))

    def read(data: bytes, receipt_ns: int) -> Reading:
        said = sample(data, receipt_ns)
        numbers: list[float] = said.values.tolist()
        if not all(map(math.isfinite, numbers)):
            raise DataError(f"'{form.topic}': a number is missing or not finite")
        if kind == ITEM_POSE:
            x, y, z, qx, qy, qz, qw = numbers
            yaw = math.atan2(2.0 * (qw * qz + qx * qy), 1.0 - 2.0 * (qy * qy + qz * qz))
            numbers = [x, y, z, yaw]
        return Reading(kind, said.stamp_ns, receipt_ns, tuple(numbers))

    return read


def _features(paths: Collection[str]) -> list[dict[str, Any]]:
    """Features of a stream that reads these fields in this order."""
    fields: dict[str, list[str]] = {}
    for path in paths:
        field, _, name = path.rpartition(".")
        fields.setdefault(field or path, []).extend([name] if field else [])
    return [
        {"name": f"part{i}", "field": field, **({"names": names} if names else {})}
        for i, (field, names) in enumerate(fields.items())
    ]
