"""A small robot as tables and bags, and the command line to use on them."""

from __future__ import annotations

import copy
import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rosbags import rosbag1
from rosbags.typesys import Stores, get_typestore
from typer.testing import CliRunner

from pro_ros.cli import main
from pro_ros.episodes.bagwriter import BagWriter
from pro_ros.errors import ProError
from pro_ros.interfaces import EPISODE_EVENT, typestore

CYCLES, ROWS = 48, 20
"""Episodes of the robot's table, and rows of each (10 Hz)."""

STREAMS: dict[str, Any] = {
    "format": "pro_ros/streams/1",
    "robot": "toy",
    "step": {"on": "cycle"},
    "gap": 1.0,
    "table": {"time": "t", "time_unit": "s", "start": "2024-01-01T00:00:00Z"},
    "streams": {
        "joints": {
            "modality": "state",
            "topic": "/joint_states",
            "type": "sensor_msgs/msg/JointState",
            "rate": 10.0,
            "features": [
                {
                    "name": "position", "field": "position", "names": ["elbow", "wrist"],
                    "unit": "rad", "columns": ["elbow", "wrist"],
                }
            ],
        },
        "vacuum": {
            "modality": "telemetry",
            "topic": "/vacuum",
            "type": "std_msgs/msg/Float64",
            "clock": "receipt",
            "rate": 10.0,
            "features": [{"name": "level", "field": "data", "unit": "kPa", "columns": ["vacuum"]}],
        },
        "cycle": {
            "modality": "telemetry",
            "topic": "/cycle",
            "type": "std_msgs/msg/Int64",
            "clock": "receipt",
            "rate": 10.0,
            "last": False,
            "features": [{"name": "number", "field": "data", "columns": ["cycle"]}],
            "summaries": [{"over": 5, "stats": ["since_change"]}],
        },
    },
    "events": {"slip": {"signal": "vacuum.level", "kind": "grip_lost", "below": 10000}},
    "failure_modes": ["slip"],
    "episodes": {
        "by": "signal",
        "signal": "cycle.number",
        "task": "pick",
        "outcome": {"failure_events": ["slip"]},
    },
}  # fmt: skip

TRAINING: dict[str, Any] = {
    "format": "pro_ros/training/1",
    "model": {"width": 8, "members": 1, "horizons": [1.0], "termination_within": 0.5},
    "split": {"by": "time", "validation": 0.2, "calibration": 0.2, "test": 0.2},
    "optimiser": {"epochs": 2, "batch": 8, "chunk": 16},
    "calibration": {"alarms": [{"target": "any", "horizon": 1.0, "miss_rate": 0.4}]},
}

Rows = dict[str, list[Any]]


def toy_rows(cycles: int = CYCLES, seed: int = 0) -> Rows:
    """Columns of the robot's table; about a third of the cycles lose the grip."""
    rng = np.random.default_rng(seed)
    count = cycles * ROWS
    t = np.arange(count) / 10
    cycle = np.arange(count) // ROWS
    phase = np.arange(count) % ROWS
    lost = (rng.random(cycles) < 0.4)[cycle]
    vacuum = 60 - 4 * lost * np.maximum(0, phase - 6) + rng.normal(0, 1, count)
    vacuum = np.where(lost & (phase >= 16), 5.0, vacuum)
    return {
        "t": [f"{x:.1f}" for x in t],
        "elbow": [f"{x:.4f}" for x in 1.5 * np.sin(phase / 6)],
        "wrist": [f"{x:.4f}" for x in rng.normal(0, 0.1, count)],
        "vacuum": [f"{x:.3f}" for x in vacuum],
        "cycle": [str(c) for c in cycle],
    }


def write_csv(path: Path, rows: Rows) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(rows)
        writer.writerows(zip(*rows.values(), strict=True))
    return path


def write_yaml(path: Path, document: Any) -> Path:
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return path


@dataclass
class Ran:
    """What a command did: exit code, both outputs, and the errors that it reported."""

    code: int
    stdout: str
    stderr: str
    errors: list[ProError] = field(default_factory=list)

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)

    @property
    def notes(self) -> list[str]:
        return [line for line in self.stderr.splitlines() if line.startswith("note: ")]


Run = Callable[..., Ran]


def call(words: Sequence[object], errors: list[ProError] | None = None) -> Ran:
    result = CliRunner().invoke(main.app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ran(result.exit_code, result.stdout, result.stderr, list(errors or ()))


def start(words: Sequence[object], cwd: Path, **options: Any) -> subprocess.Popen[str]:
    """The command line as a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **options.pop("env", {})}
    return subprocess.Popen(
        [sys.executable, "-m", "pro_ros.cli.main", *map(str, words)],
        cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        **options,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> Ran:
    stdout, stderr = process.communicate(timeout=120)
    return Ran(process.returncode, stdout, stderr)


@dataclass(frozen=True)
class Toy:
    """Files of the small robot; ``bag`` is the recording inside the data set."""

    table: Path
    streams: Path
    training: Path
    dataset: Path
    checkpoint: Path

    @property
    def bag(self) -> Path:
        return self.dataset / "recordings" / self.table.stem


def with_streams(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    document = copy.deepcopy(STREAMS)
    change(document)
    return write_yaml(path, document)


def toy_bag(
    path: Path,
    storage: Any = "mcap",
    stamps: Sequence[int] | None = None,
    cycles: int = 4,
    marks: Mapping[int, tuple[int, str]] | None = None,
) -> Path:
    """The robot as a bag, ten rows per second.

    ``stamps``: header stamps of the joints in tenths of a second. ``marks``: kind and episode of
    the EpisodeEvent before a row.
    """
    rows = toy_rows(cycles)
    types = typestore().types
    start = 1_700_000_000_000_000_000

    def header(tenths: int) -> Any:
        sec, nanosec = divmod(start + tenths * 100_000_000, 1_000_000_000)
        stamp = types["builtin_interfaces/msg/Time"](sec=sec, nanosec=nanosec)
        return types["std_msgs/msg/Header"](stamp=stamp, frame_id="")

    with BagWriter(path, storage) as writer:
        for i in range(len(rows["t"])):
            t_ns = start + i * 100_000_000
            if marks is not None and i in marks:
                kind, episode = marks[i]
                mark = types[EPISODE_EVENT](
                    header=header(i), kind=kind, phase=0, outcome=int(kind == 2),
                    episode_id=episode, name="", source="", detail="",
                )  # fmt: skip
                writer.write("/pro/episode_event", EPISODE_EVENT, t_ns, mark)
            joints = types["sensor_msgs/msg/JointState"](
                header=header(i if stamps is None else stamps[i]),
                name=["wrist", "elbow"],
                position=np.array([float(rows["wrist"][i]), float(rows["elbow"][i])]),
                velocity=np.zeros(0), effort=np.zeros(0),
            )  # fmt: skip
            vacuum = types["std_msgs/msg/Float64"](data=float(rows["vacuum"][i]))
            cycle = types["std_msgs/msg/Int64"](data=int(rows["cycle"][i]))
            writer.write("/joint_states", "sensor_msgs/msg/JointState", t_ns, joints)
            writer.write("/vacuum", "std_msgs/msg/Float64", t_ns, vacuum)
            writer.write("/cycle", "std_msgs/msg/Int64", t_ns, cycle)
    return path


def toy_bag1(path: Path) -> Path:
    """A part of the robot as a ROS 1 bag."""
    store = get_typestore(Stores.ROS1_NOETIC)
    with rosbag1.Writer(path) as writer:
        for topic, msgtype in (("/vacuum", "Float64"), ("/cycle", "Int64")):
            full = f"std_msgs/msg/{msgtype}"
            connection = writer.add_connection(topic, full, typestore=store)
            for i in range(200):
                message = store.types[full](data=float(i) if msgtype == "Float64" else i // 20)
                raw = store.serialize_ros1(message, full)
                writer.write(connection, (1_700_000_000 + i) * 1_000_000_000, raw)
    return path
