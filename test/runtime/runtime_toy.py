"""A small robot, recordings of it, and operators with random weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pro_ros.episodes.bagwriter import BagWriter
from pro_ros.interfaces import (
    EPISODE_EVENT,
    TASK_CONTEXT,
    context_message,
    event_message,
    header_message,
    typestore,
)
from pro_ros.model.calibration import Affine, AlarmThreshold, Calibration
from pro_ros.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from pro_ros.model.config import OperatorConfig, TemporalConfig
from pro_ros.model.factory import build_operator
from pro_ros.streams.spec import RobotSpec, parse_spec

T0 = 1_700_000_000_000_000_000
MS = 1_000_000

STREAMS: dict[str, Any] = {
    "joints": {
        "modality": "state", "rate": 50,
        "topic": "/joint_states", "type": "sensor_msgs/msg/JointState",
        "features": [{"name": "q", "field": "position", "names": ["a", "b"], "unit": "rad"}],
    },
    "vacuum": {
        "modality": "telemetry", "rate": 10,
        "topic": "/vacuum", "type": "sensor_msgs/msg/FluidPressure",
        "features": [{"name": "p", "field": "fluid_pressure", "unit": "Pa"}],
        "summaries": [{"over": 0.5, "stats": ["mean", "max"]}],
    },
}  # fmt: skip


def robot(step: dict[str, Any], **episodes: Any) -> RobotSpec:
    raw = {
        "format": "pro_ros/streams/1", "robot": "toy", "step": step, "gap": 1.0,
        "streams": STREAMS,
        "events": {"leak": {"signal": "vacuum.p", "kind": "grip_lost", "above": 9e4}},
        "failure_modes": ["leak"],
        "episodes": {"task": "pick", "context": {"robot": "toy"}, **episodes},
    }  # fmt: skip
    return parse_spec(raw, "toy")


def changed(spec: RobotSpec, **streams: dict[str, Any]) -> RobotSpec:
    """The same with other keys of some streams."""
    raw = spec.model_dump()
    for name, keys in streams.items():
        raw["streams"][name] |= keys
    return parse_spec(raw, "toy")


def alarm(threshold: float, **changes: Any) -> AlarmThreshold:
    given = {
        "target": "any", "horizon": 2.0, "criterion": "miss_rate", "requested": 0.2,
        "threshold": threshold, "episodes": 9, "events": 9, "hours": 1.0, "refractory_s": 0.2,
        "method": "by hand",
    }  # fmt: skip
    return AlarmThreshold.model_validate({**given, **changes})


def random_checkpoint(
    folder: Path, spec: RobotSpec, calibration: Calibration | None = None, window: int = 4
) -> Checkpoint:
    """An operator that follows its input, so that two steps give two numbers."""
    torch.manual_seed(0)
    config = OperatorConfig(width=8, members=2, temporal=TemporalConfig(window=window))
    operator = build_operator(config, spec)
    with torch.no_grad():
        operator.text.weight.normal_()
    rng = np.random.default_rng(0)
    operator.fit_normalisation(
        {
            modality: (
                rng.normal(5e4 if modality == "telemetry" else 0, 4e4, (500, len(names))),
                np.ones((500, len(names)), dtype=bool),
            )
            for modality, names in spec.layout.items()
        }
    )
    if calibration is None:
        scale = {mode: Affine(slope=1.1, intercept=0.2) for mode in spec.failure_modes}
        calibration = Calibration(hazard=scale, alarms=(alarm(0.5),) if scale else ())
    save_checkpoint(folder, operator, spec, calibration)
    return load_checkpoint(folder)


Message = tuple[int, str, str, Any]


def robot_messages(seconds: float, start_ns: int = T0) -> Iterator[Message]:
    """Receipt time [ns], topic, type and message, in order of receipt."""
    store = typestore()
    types = store.types
    for n in range(int(seconds * 50)):
        t_ns = start_ns + n * 20 * MS
        joints = types["sensor_msgs/msg/JointState"](
            header=header_message(store, t_ns - 2 * MS), name=["b", "a"],
            position=np.array([np.sin(n / 9), np.cos(n / 7)]), velocity=np.empty(0),
            effort=np.empty(0),
        )  # fmt: skip
        yield t_ns, "/joint_states", "sensor_msgs/msg/JointState", joints
        if n % 5 == 0:
            pressure = types["sensor_msgs/msg/FluidPressure"](
                header=header_message(store, t_ns + 3 * MS),
                fluid_pressure=5e4 + 4.5e4 * np.sin(n / 20), variance=0.0,
            )  # fmt: skip
            yield t_ns + 5 * MS, "/vacuum", "sensor_msgs/msg/FluidPressure", pressure
        if n % 25 == 0:
            note = types["std_msgs/msg/String"](data=f"note {n}")
            yield t_ns + 6 * MS, "/notes", "std_msgs/msg/String", note


def task(t_ns: int, prompt: str, **context: str) -> Message:
    message = context_message(typestore(), t_ns, prompt=prompt, context=context)
    return t_ns, "/pro/task_context", TASK_CONTEXT, message


def event(t_ns: int, kind: str, episode: str) -> Message:
    message = event_message(typestore(), t_ns, kind, episode_id=episode)
    return t_ns, "/pro/episode_event", EPISODE_EVENT, message


def write_bag(path: Path, messages: list[Message]) -> Path:
    with BagWriter(path) as writer:
        for t_ns, topic, msgtype, message in sorted(messages, key=lambda m: m[0]):
            writer.write(topic, msgtype, t_ns, message)
    return path
