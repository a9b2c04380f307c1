"""Decoder and stepper on a real suction gripper: vacuum at 38 Hz, wrench at 500 Hz (ROS 1)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from pro_ros.errors import DataError
from pro_ros.streams.cdr import compile_reader
from pro_ros.streams.decode import Decoder
from pro_ros.streams.sample import Sample, Step
from pro_ros.streams.spec import RobotSpec, StreamSpec, parse_spec
from pro_ros.streams.stepper import Stepper

SUCTION = {
    "format": "pro_ros/streams/1",
    "robot": "suction gripper",
    "step": {"on": "vacuum"},
    "gap": 1.0,
    "streams": {
        "vacuum": {
            "modality": "telemetry", "rate": 38, "clock": "receipt",
            "topic": "/gripper/pressure", "type": "std_msgs/msg/Float32",
            "features": [{"name": "pressure", "field": "data", "unit": "hPa",
                          "vacuum": {"kind": "absolute"}}],
            "summaries": [{"over": 0.5, "stats": ["mean", "min"]}],
        },
        "wrench": {
            "modality": "telemetry", "rate": 500, "hold": 0.05, "stale": 0.2,
            "topic": "wrench", "type": "geometry_msgs/msg/WrenchStamped",
            "features": [
                {"name": "force", "field": "wrench.force", "names": ["x", "y", "z"]},
                {"name": "torque", "field": "wrench.torque", "names": ["x", "y", "z"],
                 "unit": "N*m"},
            ],
            "norms": {"force_norm": ["force.x", "force.y", "force.z"]},
            "summaries": [{"over": 0.2, "features": ["force_norm"], "stats": ["mean", "std"]}],
        },
    },
}  # fmt: skip


def read(bag: Path, spec: RobotSpec) -> tuple[list[Sample], list[Step], Stepper]:
    decoders = {name: Decoder(name, stream) for name, stream in spec.streams.items()}
    streams = {stream.topic: name for name, stream in spec.streams.items()}
    stepper = Stepper(spec)
    samples: list[Sample] = []
    steps: list[Step] = []
    with AnyReader([bag]) as reader:
        connections = [c for c in reader.connections if c.topic in streams]
        for connection, t_ns, raw in reader.messages(connections=connections):
            message = reader.deserialize(raw, connection.msgtype)
            samples.append(decoders[streams[connection.topic]].decode(message, t_ns))
            steps += stepper.feed(samples[-1])
    return samples, steps + stepper.flush(), stepper


@pytest.fixture(scope="module")
def bag(shared_data: Path) -> Path:
    return shared_data / "suction_vacuum_bags" / "trial_12.bag"


def test_real_vacuum_and_wrench_become_steps(bag: Path) -> None:
    spec = parse_spec(SUCTION, "suction")
    samples, steps, stepper = read(bag, spec)
    pressure = np.array([s.values[0] for s in samples if s.stream == "vacuum"])
    forces = np.array([s.values[:3] for s in samples if s.stream == "wrench"])
    assert len(pressure) > 50
    assert len(forces) > 10 * len(pressure)
    assert 1e4 < pressure.min() < pressure.max() < 1.1e5  # absolute Pa
    assert np.abs(forces).max() < 500.0
    assert len(steps) == len(pressure)
    assert [s.t_ns for s in steps] == [s.receipt_ns for s in samples if s.stream == "vacuum"]
    assert [s.restart for s in steps].count(True) == 1
    assert stepper.gaps == stepper.backwards == 0
    names = spec.layout["telemetry"]
    values = np.stack([s.values["telemetry"] for s in steps])
    mask = np.stack([s.mask["telemetry"] for s in steps])
    np.testing.assert_array_equal(
        values[:, names.index("vacuum.pressure")], pressure.astype(np.float32)
    )
    both = mask[:, names.index("wrench.force_norm")]
    assert both.mean() > 0.9
    norm = values[both, names.index("wrench.force_norm")]
    parts = values[both][:, [names.index(f"wrench.force.{a}") for a in "xyz"]]
    np.testing.assert_allclose(norm, np.linalg.norm(parts, axis=1), rtol=1e-5)
    assert (values[~mask] == 0).all()


def test_reading_a_recording_twice_gives_the_same_bytes(bag: Path) -> None:
    spec = parse_spec(SUCTION, "suction")
    first, second = read(bag, spec)[1], read(bag, spec)[1]
    for one, two in zip(first, second, strict=True):
        assert one.t_ns == two.t_ns
        assert one.values["telemetry"].tobytes() == two.values["telemetry"].tobytes()


def test_a_scalar_on_the_header_clock_says_that_it_has_none(bag: Path) -> None:
    vacuum = {**SUCTION["streams"]["vacuum"], "clock": "header"}  # type: ignore[index]
    spec = parse_spec({**SUCTION, "streams": {"vacuum": vacuum}}, "suction")
    with pytest.raises(DataError, match="has no header: set 'clock: receipt'"):
        read(bag, spec)


def test_the_same_messages_as_cdr_give_the_same_samples(bag: Path) -> None:
    spec = parse_spec(SUCTION, "suction")
    store = get_typestore(Stores.ROS2_JAZZY)
    wrench: StreamSpec = spec.streams["wrench"]
    decoder = Decoder("wrench", wrench)
    reader = compile_reader(str(wrench.type), store, decoder)
    assert reader is not None
    checked = 0
    with AnyReader([bag]) as recording:
        connections = [c for c in recording.connections if c.topic == "wrench"]
        for connection, t_ns, raw in recording.messages(connections=connections):
            expected = decoder.decode(recording.deserialize(raw, connection.msgtype), t_ns)
            cdr = store.ros1_to_cdr(raw, connection.msgtype)
            found = reader(cdr, t_ns)
            assert found[:3] == expected[:3]
            np.testing.assert_array_equal(found.values, expected.values)
            checked += 1
    assert checked > 500
