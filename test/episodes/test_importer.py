"""Tables become bags that give exactly the same samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rosbags.highlevel import AnyReader

from pro_ros.episodes.importer import Imported, import_table
from pro_ros.episodes.messages import MessageBuilder
from pro_ros.episodes.recording import open_recording
from pro_ros.errors import ProError
from pro_ros.interfaces import typestore
from pro_ros.paths import share_file
from pro_ros.streams.decode import Decoder
from pro_ros.streams.spec import RobotSpec, StreamSpec, load_spec, parse_spec

START = "2024-01-01T00:00:00Z"
XYZ = ["x", "y", "z"]


def robot(streams: dict[str, Any], step: str | None = None, **table: Any) -> RobotSpec:
    document = {
        "format": "pro_ros/streams/1", "robot": "test", "gap": 5.0,
        "step": {"on": step or next(iter(streams))}, "streams": streams,
        "table": {"time": "t", "start": START, **table},
    }  # fmt: skip
    return parse_spec(document, "test")


def stream(topic: str, msgtype: str, *features: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "modality": "telemetry", "topic": topic, "type": msgtype, "rate": 10,
        "features": list(features), **more,
    }  # fmt: skip


def assert_parity(
    source: Path, bag: Path, spec: RobotSpec, prefix: str = "", blank_ends: bool = False
) -> int:
    """``blank_ends``: the first or the last row has no value, so that no message tells of it."""
    with open_recording(source, spec, table_prefix=prefix) as recording:
        direct = list(recording.samples())
        extent = recording.start_ns, recording.end_ns
    with open_recording(bag, spec) as recording:
        through = list(recording.samples())
        assert blank_ends or (recording.start_ns, recording.end_ns) == extent
    assert [s[:3] for s in direct] == [s[:3] for s in through]
    for a, b in zip(direct, through, strict=True):
        np.testing.assert_array_equal(a.values, b.values)
    return len(direct)


def said(call: Callable[[], Any]) -> str:
    with pytest.raises(ProError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def ur3_bag(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Imported:
    source = shared_data / "ur3_cobotops" / "dataset_02052023.xlsx"
    counts: list[int] = []
    out = tmp_path_factory.mktemp("ur3") / "bag"
    made = import_table(source, ur3_spec(), out, progress=counts.append)
    assert counts == sorted(counts)
    assert counts[-1] == made.messages
    return made


def ur3_spec() -> RobotSpec:
    return load_spec(share_file("examples/ur3_cobotops/streams.yaml"))


def test_whole_ur3_sheet_reads_the_same_from_table_and_bag(
    shared_data: Path, ur3_bag: Imported
) -> None:
    source = shared_data / "ur3_cobotops" / "dataset_02052023.xlsx"
    assert assert_parity(source, ur3_bag.path, ur3_spec()) == ur3_bag.messages
    assert ur3_bag.rows == 7409


def test_imported_bag_is_open_to_any_reader(ur3_bag: Imported) -> None:
    with AnyReader([ur3_bag.path]) as reader:
        connection = next(c for c in reader.connections if c.topic == "/joint_states")
        _, t_ns, raw = next(reader.messages([connection]))
        message: Any = reader.deserialize(raw, connection.msgtype)
        assert list(message.name) == [f"joint_{i}" for i in range(6)]
        assert len(message.position) == 0
        assert message.effort[0] == 0.109627604484558
        assert message.header.stamp.sec * 10**9 + message.header.stamp.nanosec == t_ns
        custom = reader.readers[0].storage.metadata.custom  # type: ignore[union-attr]
        assert "CC BY 4.0" in custom["attribution"]


def test_apple_pick_reads_the_same_from_archive_and_bag(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "pickapp_apple_ur5e" / "picks_float32.npz"
    wrench = stream(
        "/wrench", "geometry_msgs/msg/WrenchStamped",
        {"name": "force", "field": "wrench.force", "names": XYZ, "unit": "N",
         "columns": ["wrench[1]", "wrench[2]", "wrench[3]"]},
        {"name": "torque", "field": "wrench.torque", "names": XYZ, "unit": "N*m",
         "columns": ["wrench[4]", "wrench[5]", "wrench[6]"]},
    )  # fmt: skip
    imu = stream(
        "/finger", "sensor_msgs/msg/Imu",
        {"name": "acc", "field": "linear_acceleration", "names": XYZ, "unit": "m/s**2",
         "columns": ["f1_imu[1]", "f1_imu[2]", "f1_imu[3]"]},
    )  # fmt: skip
    spec = robot({"wrench": wrench, "imu": imu}, time="[0]")
    prefix = "proxy_1-10/grasp/"
    made = import_table(source, spec, tmp_path / "pick", table_prefix=prefix)
    assert assert_parity(source, made.path, spec, prefix) > 1000
    with AnyReader([made.path]) as reader:
        _, _, raw = next(m for m in reader.messages() if m[0].topic == "/finger")
        message: Any = reader.deserialize(raw, "sensor_msgs/msg/Imu")
        assert math.isnan(message.orientation.w)
        assert message.orientation_covariance[0] == -1
        assert message.angular_velocity_covariance[0] == -1
        assert message.linear_acceleration_covariance.tolist() == [0.0] * 9


MANY = {
    "joints": stream(
        "/joint_states", "sensor_msgs/msg/JointState",
        {"name": "p", "field": "position", "names": ["b", "a"], "unit": "rad",
         "columns": ["p1", "p0"]},
        {"name": "e", "field": "effort", "names": ["c"], "unit": "A", "columns": ["e2"]},
    ),
    "pressure": stream(
        "/vacuum", "sensor_msgs/msg/FluidPressure",
        {"name": "p", "field": "fluid_pressure", "unit": "Pa", "columns": ["p0"],
         "vacuum": {"kind": "absolute"}},
    ),
    "list": stream(
        "/list", "std_msgs/Float64MultiArray",
        {"name": "all", "field": "data", "index": [2, 0], "unit": "mm", "columns": ["p0", "e2"]},
        clock="receipt",
    ),
    "mode": stream(
        "/mode", "std_msgs/msg/String",
        {"name": "mode", "field": "data", "levels": ["idle", "run"], "columns": ["mode"]},
        clock="receipt", modality="label",
    ),
    "code": stream(
        "/code", "std_msgs/msg/UInt8",
        {"name": "code", "field": "data", "levels": [1, 7], "columns": ["code"]},
        clock="receipt",
    ),
    "count": stream(
        "/count", "std_msgs/msg/Int32",
        {"name": "n", "field": "data", "columns": ["n"]}, clock="receipt",
    ),
    "buttons": stream(
        "/joy", "sensor_msgs/msg/Joy",
        {"name": "b", "field": "buttons", "index": [0, 1], "columns": ["on", "on"]},
    ),
}  # fmt: skip

maybe_float = st.none() | st.floats(allow_nan=False, width=64)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            maybe_float, maybe_float, maybe_float, st.sampled_from([None, "idle", "run"]),
            st.sampled_from([None, 1, 7]), st.none() | st.integers(-(2**31), 2**31 - 1),
            st.none() | st.booleans(),
        ),
        min_size=1, max_size=12,
    )
)  # fmt: skip
def test_any_table_reads_the_same_from_table_and_bag(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[Any, ...]]
) -> None:
    folder = tmp_path_factory.mktemp("many")
    text = "t,p0,p1,e2,mode,code,n,on\n"
    for i, line in enumerate(lines):
        text += f"{i}," + ",".join("" if v is None else str(v) for v in line) + "\n"
    (folder / "table.csv").write_text(text)
    spec = robot(MANY, "joints")
    if all(value is None for line in lines for value in line):
        with pytest.raises(ProError, match="no row has a value"):
            import_table(folder / "table.csv", spec, folder / "bag")
        return
    made = import_table(folder / "table.csv", spec, folder / "bag")
    blank_ends = any(all(value is None for value in lines[end]) for end in (0, -1))
    assert_parity(folder / "table.csv", made.path, spec, blank_ends=blank_ends)


def test_same_table_gives_the_same_bytes(tmp_path: Path) -> None:
    source = tmp_path / "t.csv"
    source.write_text("t,p0,p1,e2,mode,code,n,on\n0,1,2,3,run,7,5,1\n1,1,2,3,run,7,5,0\n")
    for folder in ("a", "b"):
        import_table(source, robot(MANY, "joints"), tmp_path / folder / "bag")
    for name in ("bag.mcap", "metadata.yaml"):
        one, two = (tmp_path / f / "bag" / name for f in ("a", "b"))
        assert one.read_bytes() == two.read_bytes()


def test_streams_of_one_topic_become_one_message(tmp_path: Path) -> None:
    source = tmp_path / "t.csv"
    source.write_text("t,p,e\n0,1,2\n1,3,4\n")
    shared = {
        "joints": stream("/joint_states", "sensor_msgs/msg/JointState",
                         {"name": "p", "field": "position", "names": ["a"], "unit": "rad",
                          "columns": ["p"]}),
        "load": stream("joint_states", "sensor_msgs/JointState",
                       {"name": "e", "field": "effort", "names": ["a"], "unit": "A",
                        "columns": ["e"]}),
    }  # fmt: skip
    spec = robot(shared)
    made = import_table(source, spec, tmp_path / "bag")
    assert made.messages == 2
    assert assert_parity(source, made.path, spec) == 4
    source.write_text("t,p,e\n0,1,2\n1,3,\n")
    assert said(lambda: import_table(source, spec, tmp_path / "other")) == (
        f"{source}: row 3: stream 'load' has no value but 'joints' of the same topic"
        " '/joint_states' has: give them topics of their own"
    )
    assert not (tmp_path / "other").exists()


def one(msgtype: str, feature: dict[str, Any], **more: Any) -> RobotSpec:
    more.setdefault("clock", "receipt")
    return robot({"s": stream("/s", msgtype, {"name": "f", "columns": ["x"], **feature}, **more)})


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (one("sensor_msgs/msg/FluidPressure", {"field": "fluid_pressure", "unit": "hPa"}),
         "FluidPressure.fluid_pressure is in Pa by definition, the feature in hPa"),
        (one("sensor_msgs/msg/FluidPressure",
             {"field": "fluid_pressure", "unit": "Pa", "vacuum": {"kind": "gauge"}}),
         "is in Pa by definition, the feature in a gauge reading"),
        (one("sensor_msgs/msg/Temperature", {"field": "temperature", "unit": "K"}),
         "is in degC by definition"),
        (one("sensor_msgs/msg/JointState",
             {"field": "position", "names": ["a"], "unit": "deg"}), "is in rad or m by"),
        (one("geometry_msgs/msg/WrenchStamped",
             {"field": "wrench.force", "names": ["x"], "unit": "kN"}), "is in N by definition"),
        (one("std_msgs/msg/Flat64", {"field": "data"}),
         "message type std_msgs/msg/Flat64 is unknown, did you mean 'std_msgs/msg/Float64'?"),
        (one("std_msgs/msg/Float64", {"field": "dta"}), "no field 'dta', did you mean 'data'?"),
        (one("std_msgs/msg/String", {"field": "data"}), "is no number: give 'levels'"),
        (one("std_msgs/msg/Int32", {"field": "data", "levels": ["a"]}), "holds numbers, not 'a'"),
        (one("std_msgs/msg/UInt8", {"field": "data", "levels": [300]}), "300 does not fit uint8"),
        (one("geometry_msgs/msg/WrenchStamped", {"field": "wrench.force", "unit": "N"}),
         "'wrench.force' is no number"),
        (one("std_msgs/msg/Float64", {"field": "data"}, clock="header"),
         "std_msgs/msg/Float64 has no header: set 'clock: receipt'"),
        (one("std_msgs/msg/Float64", {}), "has 'columns' only: add the 'field'"),
        (robot({"s": stream("/s", "std_msgs/msg/Float64",
                            {"name": "f", "field": "data", "columns": ["x"]},
                            {"name": "g", "field": "data", "columns": ["x"]}, clock="receipt")}),
         "another feature of the topic already writes 'data'"),
        (robot({"a": stream("/s", "std_msgs/msg/Float64",
                            {"name": "f", "field": "data", "columns": ["x"]}, clock="receipt"),
                "b": stream("s", "std_msgs/msg/Float32",
                            {"name": "f", "field": "data", "columns": ["x"]}, clock="receipt")}),
         "topic '/s' has two types: std_msgs/msg/Float32, std_msgs/msg/Float64"),
    ],
)  # fmt: skip
def test_what_a_message_cannot_hold_is_refused_before_writing(
    tmp_path: Path, spec: RobotSpec, text: str
) -> None:
    source = tmp_path / "t.csv"
    source.write_text("t,x\n0,1\n")
    assert text in said(lambda: import_table(source, spec, tmp_path / "bag"))
    assert not (tmp_path / "bag").exists()


@pytest.mark.parametrize(
    ("msgtype", "cells", "text"),
    [
        ("std_msgs/msg/Int32", "0.5", "row 2: stream 's', feature 'f': 'data': 0.5 does not fit"),
        ("std_msgs/msg/UInt8", "256", "256.0 does not fit uint8"),
        ("std_msgs/msg/Bool", "2", "2.0 does not fit bool"),
        ("std_msgs/msg/Int8", "inf", "inf does not fit int8"),
        ("std_msgs/msg/Float32", "1e39", "1e+39 does not fit float32"),
    ],
)
def test_value_that_does_not_fit_is_named_with_its_row(
    tmp_path: Path, msgtype: str, cells: str, text: str
) -> None:
    source = tmp_path / "t.csv"
    source.write_text(f"t,x\n0,{cells}\n")
    spec = one(msgtype, {"field": "data"})
    assert text in said(lambda: import_table(source, spec, tmp_path / "bag"))
    assert not (tmp_path / "bag").exists()


def test_missing_value_beside_others_needs_a_field_that_can_say_so(tmp_path: Path) -> None:
    source = tmp_path / "t.csv"
    source.write_text("t,x,y\n0,1,2\n1,,2\n")
    features = [
        {"name": n, "field": "buttons", "index": [i], "columns": [n]} for i, n in enumerate("xy")
    ]
    spec = robot({"s": stream("/joy", "sensor_msgs/msg/Joy", *features)})
    text = said(lambda: import_table(source, spec, tmp_path / "bag"))
    assert f"{source}: row 3: stream 's', feature 'x': 'buttons': no value" in text


def test_time_zero_would_be_an_unset_stamp(tmp_path: Path) -> None:
    source = tmp_path / "t.csv"
    source.write_text("t,p0\n0,1\n")
    spec = robot({"pressure": MANY["pressure"]}, start="1970-01-01T00:00:00Z")
    assert "set table.start" in said(lambda: import_table(source, spec, tmp_path / "bag"))


def test_unnamed_fields_say_nothing() -> None:
    field = {"name": "f", "field": "wrench.force", "names": ["z"], "unit": "N"}
    spec = StreamSpec.model_validate(stream("/w", "geometry_msgs/msg/WrenchStamped", field))
    store = typestore()
    builder = MessageBuilder(store, "geometry_msgs/msg/WrenchStamped", {"w": spec})
    raw = builder.serialise(10**18, [5.0], "here")
    message: Any = store.deserialize_cdr(raw, builder.msgtype)
    assert message.wrench.force.z == 5.0
    assert math.isnan(message.wrench.force.x)
    assert math.isnan(message.wrench.torque.z)
    assert Decoder("w", spec).decode(message, 10**18).values.tolist() == [5.0]
