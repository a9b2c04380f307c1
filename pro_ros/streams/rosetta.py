"""Turn a rosetta contract into a stream file.

rosetta (https://github.com/iblnkn/rosetta) bridges ROS 2 topics and policies; its contract names
topics, message types, clocks and the fields that a policy reads. It says nothing of rates, gaps,
units, events or outcomes: the notes say what was assumed and what is left to add.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from pro_ros.config import load_model
from pro_ros.errors import SpecError
from pro_ros.streams.rosetta_contract import (
    NOT_NEEDED,
    SECTIONS,
    ContractReader,
    Entry,
    full_type,
    mapping,
)
from pro_ros.streams.rosetta_select import IMAGES, CannotSelectError, features
from pro_ros.streams.spec import FORMAT, ImageSpec, parse_spec

GAP_S = 2.0
"""Silence that ends what is remembered, where a contract says nothing of it [s]."""

_TOP = frozenset({
    *SECTIONS, "robot_type", "robot_interface", "name", "version", "fps", "rate_hz", "teleop",
    "tasks", "adjunct", "metadata", "timestamp_source",
})  # fmt: skip
_STATE_TYPES = ("JointState", "Odometry", "Pose", "Twist", "Transform", "JointTrajectory")


class _Document(BaseModel):
    """Any mapping."""

    model_config = ConfigDict(extra="allow")


def convert(path: Path | str) -> tuple[dict[str, Any], list[str]]:
    """Read a contract and return a stream file's document, with notes.

    Parameters
    ----------
    path
        The contract (YAML).

    Returns
    -------
    document
        Valid as :class:`~pro_ros.streams.spec.RobotSpec`; plain types, ready to be written.
    notes
        One line per thing that was assumed, or that could not be carried over.

    Raises
    ------
    SpecError
        The file cannot be read, is not a contract, or names nothing that can be read.
    """
    raw = dict(load_model(path, _Document).model_extra or {})
    if not isinstance(raw.get("observations"), dict | list):
        raise SpecError(f"{path}: not a rosetta contract: it has no 'observations'")
    conversion = _Conversion(raw, str(path))
    document = conversion.document()
    if not document["streams"]:
        raise SpecError(f"{path}: no entry of this contract can be read as a stream")
    parse_spec(document, str(path))
    return document, conversion.notes


class _Conversion:
    """One contract on its way to a stream file."""

    def __init__(self, raw: dict[str, Any], where: str) -> None:
        self.raw = raw
        self.where = where
        self.reader = ContractReader(raw, where)
        self.notes = self.reader.notes
        self.streams: dict[str, dict[str, Any]] = {}
        self.events: dict[str, dict[str, Any]] = {}
        self.fps = self._fps()

    def document(self) -> dict[str, Any]:
        for entry in self.reader.entries():
            self._stream(entry)
        self._teleop(mapping(self.raw.get("teleop")))
        self._top_level()
        self._assumptions()
        document: dict[str, Any] = {
            "format": FORMAT,
            "robot": str(self.raw.get("robot_type") or self.raw.get("name") or "robot"),
            "description": f"Converted from the rosetta contract {Path(self.where).name}",
            "step": {"rate": self.fps},
            "gap": GAP_S,
            "streams": self.streams,
        }
        if self.events:
            document["events"] = self.events
        # Without it every episode without a failure event would count as a success.
        episodes: dict[str, Any] = {"outcome": {"unknown": True}}
        task = mapping(mapping(self.raw.get("metadata")).get("task"))
        if task.get("type") == "constant" and task.get("value"):
            episodes["task"] = str(task["value"])
        document["episodes"] = episodes
        return document

    def _fps(self) -> float:
        value = self.raw.get("fps", self.raw.get("rate_hz"))
        if value is None:
            self.notes.append("fps: not given, 30 Hz assumed")
            return 30.0
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise SpecError(f"{self.where}: fps: expected a number above 0, got {value!r}")
        return float(value)

    def _stream(self, entry: Entry) -> None:
        stream: dict[str, Any] = {
            "modality": _modality(entry),
            "topic": entry.topic,
            "type": entry.msgtype,
            "clock": self._clock(entry),
            "rate": self.fps,
            **self._hold(entry),
        }
        try:
            if entry.msgtype in IMAGES:
                if entry.section != "observations":
                    raise CannotSelectError("images are read as observations only")
                stream["image"] = self._image(entry)
            elif entry.decoder:
                raise CannotSelectError("it has a decoder of its own")
            else:
                stream["features"] = features(entry.msgtype, entry.select)
        except CannotSelectError as exc:
            self.notes.append(f"{entry.place}: {entry.topic} ({entry.msgtype}) left out: {exc}")
            return
        for operator, _ in entry.operators:
            if operator == "rad2deg":
                self.notes.append(f"{entry.place}: rad2deg left out: features are in SI units")
            elif operator != "resize" or entry.msgtype not in IMAGES:
                self.notes.append(f"{entry.place}: operator '{operator}' was not carried over")
        name = _identifier(entry.key.removeprefix("observation.").removeprefix("images."))
        self._add(f"{name}_{_identifier(entry.topic)}" if entry.shared else name, stream)

    def _clock(self, entry: Entry) -> str:
        timeline = entry.timeline or str(self.raw.get("timestamp_source", "receive"))
        if timeline not in ("header", "receive"):
            self.notes.append(f"{entry.place}: timeline '{timeline}' is not known: receipt used")
        return "header" if timeline == "header" else "receipt"

    def _hold(self, entry: Entry) -> dict[str, float]:
        """How long a value counts as present, where the contract limits it."""
        if entry.strategy == "asof" and entry.tolerance_ms > 0:
            hold = entry.tolerance_ms / 1000.0
            return {"hold": hold, "stale": max(hold, 10.0 / self.fps)}
        if entry.strategy == "drop":
            return {"hold": 1.0 / self.fps}
        if entry.strategy != "hold":
            self.notes.append(
                f"{entry.place}: align strategy '{entry.strategy}' became a hold of 3 periods"
            )
        return {}

    def _image(self, entry: Entry) -> dict[str, int]:
        """Height and width [pixel] of the resize operator, within what a stream file allows."""
        sizes = [value for name, value in entry.operators if name == "resize"]
        size = sizes[-1] if sizes else entry.resize
        if (
            isinstance(size, list)
            and len(size) == 2
            and all(isinstance(n, int) and 8 <= n <= 1024 for n in size)
        ):
            return {"height": size[0], "width": size[1]}
        usual = ImageSpec()
        self.notes.append(
            f"{entry.place}: no usable resize, {usual.height}x{usual.width} pixels assumed"
        )
        return {"height": usual.height, "width": usual.width}

    def _teleop(self, teleop: dict[str, Any]) -> None:
        """Buttons become a label stream, and taking over becomes an intervention."""
        events = mapping(teleop.get("events"))
        channel = mapping(events.get("channel")) or events
        buttons: list[dict[str, Any]] = []
        for event, selector in mapping(events.get("select", events.get("mappings"))).items():
            field, _, index = str(selector).rpartition(".")
            if field and index.isdigit():
                buttons.append({"name": str(event), "field": field, "index": [int(index)]})
            else:
                self.notes.append(f"teleop.events: '{event}' ({selector}) left out")
        if buttons and channel.get("topic"):
            stream = {
                "modality": "label",
                "topic": str(channel["topic"]),
                "type": full_type(str(channel.get("type", "sensor_msgs/msg/Joy"))),
                "clock": "receipt",
                "rate": self.fps,
                "features": buttons,
            }
            name = self._add("teleop_events", stream)
            names = [button["name"] for button in buttons]
            if "is_intervention" in names:
                names.remove("is_intervention")
                self.events["intervention"] = {
                    "signal": f"{name}.is_intervention",
                    "kind": "intervention",
                    "above": 0.5,
                }
            if names:
                self.notes.append(
                    f"teleop.events: {', '.join(names)} became features of stream '{name}':"
                    " name them under 'events' or 'episodes.outcome' to use them"
                )
        for key, value in teleop.items():
            if key != "events" and value:
                self.notes.append(f"teleop.{key}: the person's input device is not read")

    def _top_level(self) -> None:
        for key in self.raw:
            if key in NOT_NEEDED:
                self.reader.set_aside(key)
            elif key not in _TOP and not str(key).startswith("x-"):
                self.notes.append(f"key '{key}' was not carried over")
        interface = self.raw.get("robot_interface", "ros2")
        if interface != "ros2":
            self.notes.append(
                f"robot_interface: '{interface}' is not ros2: check topics and types"
            )
        if self.raw.get("tasks"):
            self.notes.append("tasks: the goal text is read from a TaskContext topic: publish one")
        if self.raw.get("adjunct"):
            self.notes.append("adjunct: topics that are only recorded need no entry")
        for key, count in self.reader.unneeded.items():
            self.notes.append(f"{key} (times {count}) not carried over: {NOT_NEEDED[key]}")

    def _assumptions(self) -> None:
        self.notes += [
            f"rate: a contract has none, so every stream has {self.fps:g} Hz (fps): put each"
            " topic's own rate",
            "hold: a value counts as present for 3 periods of its rate where the contract holds"
            " it without limit",
            f"gap: {GAP_S:g} s of silence assumed to end what is remembered",
            "unit: as the message definitions have them, joints taken as revolute",
            "episodes: one per recording, with outcome unknown: a contract does not name one",
        ]

    def _add(self, name: str, stream: dict[str, Any]) -> str:
        unique, n = name, 2
        while unique in self.streams:
            unique, n = f"{name}_{n}", n + 1
        self.streams[unique] = stream
        return unique


def _modality(entry: Entry) -> str:
    if entry.section == "actions":
        return "action"
    if entry.section != "observations":
        return "label"
    if entry.msgtype in IMAGES:
        return "visual"
    kind = entry.msgtype.rpartition("/")[2]
    is_state = entry.key.startswith("observation.state") or kind.startswith(_STATE_TYPES)
    return "state" if is_state else "telemetry"


def _identifier(text: str) -> str:
    """A stream name: no dots, since signals are written ``<stream>.<feature>``."""
    return re.sub(r"[^0-9A-Za-z]+", "_", text).strip("_") or "stream"
