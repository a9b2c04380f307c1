"""Write what the ROS side is checked against; needs pro_ros, and no ROS.

    python test/ros/make_samples.py FOLDER

``interfaces.json`` holds hash, fields and constants of every message of this package as
``rosbags`` knows them; ``<Message>.<n>.cdr`` and ``.json`` a serialised message and its values;
``replayed`` a bag made by ``replay``. The ROS side may be another Python, without torch and
rosbags.
"""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rosbags.interfaces import Nodetype

from pro_ros.episodes.bags import BagRecording
from pro_ros.episodes.bagwriter import BagWriter
from pro_ros.interfaces import NAMES, PACKAGE, constants, header_message, typestore
from pro_ros.model.checkpoint import load_checkpoint, save_checkpoint
from pro_ros.model.config import OperatorConfig
from pro_ros.model.factory import build_operator
from pro_ros.runtime.replay import replay
from pro_ros.streams.spec import parse_spec

START_NS = 1_700_000_000 * 10**9

ROS_NAMES = {"bool": "boolean", "float32": "float", "float64": "double", "byte": "octet"}
"""Names in rosidl's Python types, where they differ from those of message files."""

STREAMS: dict[str, Any] = {
    "format": "pro_ros/streams/1", "robot": "tester", "step": {"rate": 10}, "gap": 1.0,
    "streams": {
        "wrench": {
            "modality": "telemetry", "topic": "/wrench", "rate": 50,
            "type": "geometry_msgs/msg/WrenchStamped",
            "features": [{"name": "force", "field": "wrench.force", "names": ["x", "y", "z"]}],
        },
    },
    "events": {"hit": {"signal": "wrench.force.z", "kind": "failure", "above": 50}},
    "failure_modes": ["hit"],
}  # fmt: skip


def main() -> None:
    """Write everything into the folder that the command line names."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    store = typestore()
    interfaces = {}
    for name in NAMES:
        msgtype = f"{PACKAGE}/{name}"
        fields = store.get_msgdef(msgtype).fields
        interfaces[name] = {
            "hash": store.hash_rihs01(msgtype),
            "fields": {field: ros_name(*kind) for field, kind in fields},
            "constants": dict(constants(name)),
        }
        for length in (0, 3):
            message, values = filled(msgtype, length, itertools.count(1))
            stem = f"{name}.{length}"
            (folder / f"{stem}.cdr").write_bytes(store.serialize_cdr(message, msgtype))
            (folder / f"{stem}.json").write_text(json.dumps(values), encoding="utf-8")
    (folder / "interfaces.json").write_text(json.dumps(interfaces, indent=1), encoding="utf-8")
    make_bag(folder)


def ros_name(kind: Any, inner: Any) -> str:
    """A field's type as rosidl's Python types spell it."""
    if kind == Nodetype.BASE:
        return ROS_NAMES.get(inner[0], inner[0])
    if kind == Nodetype.NAME:
        return inner.replace("/msg/", "/")
    element = ros_name(*inner[0])
    return f"sequence<{element}>" if kind == Nodetype.SEQUENCE else f"{element}[{inner[1]}]"


def filled(msgtype: str, length: int, numbers: Any) -> tuple[Any, dict[str, Any]]:
    """A message in which every number is another, and its values; arrays have ``length``."""
    store = typestore()
    parts, values = {}, {}
    for name, (kind, inner) in store.get_msgdef(msgtype).fields:
        if kind == Nodetype.NAME:
            parts[name], values[name] = filled(inner, length, numbers)
        elif kind == Nodetype.BASE:
            parts[name] = values[name] = number(inner[0], next(numbers))
        else:
            base = inner[0][1][0]
            values[name] = [number(base, next(numbers)) for _ in range(length)]
            parts[name] = values[name] if base == "string" else np.array(values[name], dtype=base)
    return store.types[msgtype](**parts), values


def number(base: str, count: int) -> Any:
    """A value that survives the type."""
    if base == "string":
        return "é" * (count % 3) + "x" * (count % 5)
    if base == "bool":
        return bool(count % 2)
    return count + 0.5 if base.startswith("float") else count


def make_bag(folder: Path) -> None:
    """Two seconds of wrench, judged by an operator with random weights."""
    store = typestore()
    types = store.types
    with BagWriter(folder / "recording", overwrite=True) as writer:
        for n in range(100):
            t_ns = START_NS + n * 20_000_000
            force = types["geometry_msgs/msg/Vector3"](x=0.1 * n, y=1.0, z=float(n))
            nothing = types["geometry_msgs/msg/Vector3"](x=0.0, y=0.0, z=0.0)
            wrench = types["geometry_msgs/msg/Wrench"](force=force, torque=nothing)
            message = types["geometry_msgs/msg/WrenchStamped"](
                header=header_message(store, t_ns), wrench=wrench
            )
            writer.write("/wrench", "geometry_msgs/msg/WrenchStamped", t_ns, message)
    spec = parse_spec(STREAMS, "samples")
    torch.manual_seed(0)
    operator = build_operator(OperatorConfig(width=16, members=2), spec)
    save_checkpoint(folder / "checkpoint", operator, spec, overwrite=True)
    trained = load_checkpoint(folder / "checkpoint")
    with BagRecording(folder / "recording", spec) as recording:
        done = replay(recording, trained, folder / "replayed", overwrite=True)
    counts = {"messages": done.messages, "assessments": done.steps}
    (folder / "replayed.json").write_text(json.dumps(counts), encoding="utf-8")


if __name__ == "__main__":
    main()
