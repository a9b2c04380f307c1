"""Readings to bytes and to samples."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_readings import RATES, T0, readings, values

from pro_ros.cell import arm
from pro_ros.cell.messages import FORMS, TOPICS, Encoder
from pro_ros.cell.samples import Sampler
from pro_ros.cell.sensors import Reading
from pro_ros.errors import DataError, SpecError
from pro_ros.interfaces import typestore
from pro_ros.paths import share_file
from pro_ros.runtime.readers import live_reader
from pro_ros.streams.decode import Decoder
from pro_ros.streams.spec import RobotSpec, load_spec, parse_spec

STORE = typestore()
TYPES = STORE.types
ENCODER = Encoder()
STREAMS = share_file("config/cell/streams.yaml")


def built(reading: Reading) -> Any:
    """The message of a reading, field by field, as a driver would build it."""
    sec, nanosec = divmod(reading.stamp_ns, 1_000_000_000)
    stamp = TYPES["builtin_interfaces/msg/Time"](sec=sec, nanosec=nanosec)

    def header(frame: str) -> Any:
        return TYPES["std_msgs/msg/Header"](stamp=stamp, frame_id=frame)

    def vector(x: float, y: float, z: float) -> Any:
        return TYPES["geometry_msgs/msg/Vector3"](x=x, y=y, z=z)

    kind, v = reading.kind, reading.values
    make = TYPES[TOPICS[kind][1]]
    if kind == "camera":
        image = np.frombuffer(v, dtype=np.uint8)  # type: ignore[call-overload]
        return make(header=header("camera"), format="jpeg", data=image)
    assert isinstance(v, tuple)
    if kind == "joints":
        parts = dict(zip(("position", "velocity", "effort"), np.reshape(v, (3, 5)), strict=True))
        return make(header=header(""), name=list(arm.JOINTS), **parts)
    if kind == "wrench":
        wrench = TYPES["geometry_msgs/msg/Wrench"](force=vector(*v[:3]), torque=vector(*v[3:]))
        return make(header=header("wrist"), wrench=wrench)
    if kind == "vacuum":
        return make(header=header(""), fluid_pressure=v[0], variance=0.0)
    if kind == "action":
        angular = vector(0.0, 0.0, v[3])
        twist = TYPES["geometry_msgs/msg/Twist"](linear=vector(*v[:3]), angular=angular)
        return make(header=header("base"), twist=twist)
    if kind == "item_pose":
        point = TYPES["geometry_msgs/msg/Point"](x=v[0], y=v[1], z=v[2])
        turn = TYPES["geometry_msgs/msg/Quaternion"](
            x=0.0, y=0.0, z=math.sin(v[3] / 2), w=math.cos(v[3] / 2)
        )
        pose = TYPES["geometry_msgs/msg/Pose"](position=point, orientation=turn)
        return make(header=header("base"), pose=pose)
    if kind.startswith("scale"):
        return make(data=v[0])
    return make(data=int(v[0]) if "valve" in kind else bool(v[0]))


@pytest.mark.parametrize("kind", [k for k in FORMS if k != "camera"])
@given(seed=st.integers(0, 2**32 - 1), stamp=st.integers(0, 2**31 * 10**9 - 1))
def test_bytes_are_those_of_the_type_store(kind: str, seed: int, stamp: int) -> None:
    reading = Reading(kind, stamp, stamp, values(kind, np.random.default_rng(seed)))
    assert ENCODER.encode(reading) == bytes(STORE.serialize_cdr(built(reading), TOPICS[kind][1]))


@given(frame=st.binary(max_size=40), stamp=st.integers(0, 2**31 * 10**9 - 1))
def test_frames_are_wrapped_as_the_type_store_does(frame: bytes, stamp: int) -> None:
    reading = Reading("camera", stamp, stamp, frame)
    expected = bytes(STORE.serialize_cdr(built(reading), TOPICS["camera"][1]))
    assert ENCODER.encode(reading) == expected


def test_every_kind_of_the_cell_is_made_up_here() -> None:
    assert {*RATES, "camera"} == set(TOPICS)


def both_ways(spec: RobotSpec, reading: Reading) -> None:
    """Hold the sampler equal to reading the message's bytes, and to decoding the message."""
    topic, msgtype = TOPICS[reading.kind]
    name = next((n for n, s in spec.streams.items() if s.topic == topic), None)
    sampled = Sampler(spec).sample(reading)
    if name is None:
        assert sampled is None
        return
    decoder = Decoder(name, spec.streams[name])
    data = ENCODER.encode(reading)
    decoded = decoder.decode(STORE.deserialize_cdr(data, msgtype), reading.receipt_ns)
    read = live_reader(msgtype, STORE, decoder)(data, reading.receipt_ns)
    assert sampled is not None
    for other in (decoded, read):
        assert sampled[:3] == other[:3]
        assert sampled.values.dtype == other.values.dtype
        np.testing.assert_array_equal(sampled.values, other.values)


def wide_spec() -> RobotSpec:
    """Reads everything, out of order, in other units, by position and by level."""

    def stream(kind: str, *features: dict[str, object], **more: object) -> dict[str, object]:
        clock = "receipt" if FORMS[kind].frame is None else "header"
        topic, msgtype = TOPICS[kind]
        return {"modality": "telemetry", "topic": topic, "type": msgtype, "clock": clock,
                "rate": 10, "features": list(features), **more}  # fmt: skip

    names = ["tool_joint", "base_joint"]
    pose = {"name": "p", "field": "pose.orientation", "names": ["z", "w", "x"]}
    levels = {"name": "state", "field": "data", "levels": [-1, 0, 1]}
    return parse_spec(
        {
            "format": "pro_ros/streams/1", "robot": "r", "gap": 1,
            "streams": {
                "j": stream("joints", {"name": "e", "field": "effort", "names": names},
                            {"name": "p", "field": "position", "unit": "deg", "index": [3, 0]}),
                "w": stream("wrench", {"name": "z", "field": "wrench.torque.z", "unit": "N*m"},
                            clock="receipt"),
                "v": stream("vacuum", {"name": "p", "field": "fluid_pressure", "unit": "hPa",
                                       "vacuum": {"kind": "gauge"}}),
                "part": stream("part_present", {"name": "on", "field": "data"}),
                "valve": stream("valve", levels),
                "stop": stream("protective_stop", {"name": "on", "field": "data"}),
                "a": stream("action", {"name": "w", "field": "twist.angular",
                                       "names": ["z", "x"]}),
                "av": stream("action_valve", {"name": "v", "field": "data"}),
                "s": stream("scale_source", {"name": "m", "field": "data", "unit": "g"}),
                "t": stream("scale_target", {"name": "m", "field": "data"}),
                "pose": stream("item_pose", pose),
            },
        },
        "test",
    )  # fmt: skip


@pytest.mark.parametrize("kind", list(RATES))
@pytest.mark.parametrize("wide", [False, True])
def test_samples_are_those_of_the_decoded_message(kind: str, wide: bool) -> None:
    spec = wide_spec() if wide else load_spec(STREAMS)
    for reading in readings(3.0, {kind: 10}):
        both_ways(spec, reading)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("kind", ["joints", "wrench", "vacuum", "action"])
def test_what_is_not_finite_is_missing_in_both(kind: str, value: float) -> None:
    reading = readings(0.1, {kind: 10})[0]
    broken = reading._replace(values=(value, *reading.values[1:]))  # type: ignore[arg-type]
    both_ways(load_spec(STREAMS), broken)


def test_frames_are_sampled_as_they_are_decoded() -> None:
    image = pytest.importorskip("PIL.Image")
    from io import BytesIO

    raw = BytesIO()
    image.new("RGB", (64, 48), (200, 30, 90)).save(raw, "jpeg")
    spec = parse_spec(
        {
            "format": "pro_ros/streams/1", "robot": "r", "gap": 1,
            "streams": {"c": {"modality": "visual", "topic": TOPICS["camera"][0],
                              "type": TOPICS["camera"][1], "rate": 30,
                              "image": {"height": 24, "width": 32}}},
        },
        "test",
    )  # fmt: skip
    both_ways(spec, Reading("camera", T0, T0 + 5, raw.getvalue()))


def test_a_joint_that_the_arm_lacks_is_said() -> None:
    raw = load_spec(STREAMS).model_dump()
    raw["streams"]["joints"]["features"][0]["names"] = ["base_joint", "sixth_joint"]
    raw["streams"]["joints"]["summaries"] = []
    sampler = Sampler(parse_spec(raw, "test"))
    with pytest.raises(DataError, match="sixth_joint"):
        sampler.sample(readings(0.01, {"joints": 500})[0])


def test_a_stream_of_another_type_or_a_topic_read_twice_is_refused() -> None:
    raw = load_spec(STREAMS).model_dump()
    raw["streams"]["wrench"]["type"] = "geometry_msgs/msg/Wrench"
    with pytest.raises(SpecError, match=r"stream 'wrench'.*WrenchStamped"):
        Sampler(parse_spec(raw, "test"))
    raw = load_spec(STREAMS).model_dump()
    raw["streams"]["again"] = raw["streams"]["vacuum"]
    with pytest.raises(SpecError, match="'vacuum' and 'again' both read"):
        Sampler(parse_spec(raw, "test"))


def test_scales_vision_and_the_stop_are_not_read_by_the_cells_stream_file() -> None:
    read = {s.topic for s in load_spec(STREAMS).streams.values()}
    assert read == {
        "/joint_states", "/wrench", "/vacuum/pressure", "/gripper/part_present",
        "/gripper/valve", "/policy/action", "/policy/valve",
    }  # fmt: skip


def test_messages_samples_and_bags_need_no_simulator() -> None:
    code = (
        "import sys\nimport pro_ros.cell.bags, pro_ros.cell.samples\n"
        "pro_ros.cell.bags.Encoder()\nassert 'mujoco' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
