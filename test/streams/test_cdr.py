"""Reading numbers straight from CDR bytes equals deserialising and decoding, errors included."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from pro_ros.errors import DataError
from pro_ros.streams.cdr import compile_reader
from pro_ros.streams.decode import Decoder
from pro_ros.streams.sample import Sample
from pro_ros.streams.spec import StreamSpec

STORE = get_typestore(Stores.ROS2_JAZZY)
STORE.register({
    **get_types_from_msg("float32 gain\nstring label\nint64[] counts", "lab_msgs/msg/Inner"),
    **get_types_from_msg(
        "\n".join([
            "bool armed", "string[] tags", "lab_msgs/Inner[] history", "uint8 mode",
            "float64[3] fixed", "lab_msgs/Inner inner", "geometry_msgs/Vector3[2] corners",
            "string state", "float32[] readings", "uint64 big", "geometry_msgs/Point[] path",
            "int16 small", "string[2] pair", "float64[] doubles", "float64 tail", "byte flag",
            "bool[] bits",
        ]),
        "lab_msgs/msg/Nested",
    ),
})  # fmt: skip
RECEIPT = 1_700_000_000_000_000_000

FLOATS = st.floats(width=64) | st.floats(-1e3, 1e3)
FLOAT32S = st.floats(width=32)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=9)
INT64S = st.integers(-(2**63), 2**63 - 1)


def new(msgtype: str, *fields: Any) -> Any:
    return STORE.types[msgtype](*fields)


def array(values: list[Any], dtype: str = "float64") -> np.ndarray:
    return np.array(values, dtype=dtype)


def header(sec: int, nanosec: int, frame: str) -> Any:
    return new("std_msgs/msg/Header", new("builtin_interfaces/msg/Time", sec, nanosec), frame)


HEADERS = st.builds(header, st.integers(1, 2**31 - 1), st.integers(0, 10**9 - 1), TEXTS)
VECTORS = st.builds(lambda *v: new("geometry_msgs/msg/Vector3", *v), FLOATS, FLOATS, FLOATS)


@st.composite
def joint_states(draw: Any) -> Any:
    names = draw(st.permutations(["elbow", "wrist_1", "shoulder"])) + draw(
        st.lists(TEXTS.filter(lambda t: t not in ("elbow", "wrist_1", "shoulder")), max_size=2)
    )
    full = st.lists(FLOATS, min_size=len(names), max_size=len(names))
    arrays = [array(draw(full | st.just([]))) for _ in range(3)]
    return new("sensor_msgs/msg/JointState", draw(HEADERS), list(names), *arrays)


@st.composite
def nested(draw: Any) -> Any:
    inner = st.builds(
        lambda g, t, c: new("lab_msgs/msg/Inner", g, t, array(c, "int64")),
        FLOAT32S, TEXTS, st.lists(INT64S, max_size=3),
    )  # fmt: skip
    point = st.builds(lambda *v: new("geometry_msgs/msg/Point", *v), FLOATS, FLOATS, FLOATS)
    return new(
        "lab_msgs/msg/Nested",
        draw(st.booleans()),
        draw(st.lists(TEXTS, max_size=3)),
        draw(st.lists(inner, max_size=2)),
        draw(st.sampled_from([0, 3, 7])),
        array(draw(st.lists(FLOATS, min_size=3, max_size=3))),
        draw(inner),
        [draw(VECTORS), draw(VECTORS)],
        draw(st.sampled_from(["idle", "run"])),
        array(draw(st.lists(FLOAT32S, min_size=4, max_size=6) | st.just([])), "float32"),
        draw(st.integers(0, 2**64 - 1)),
        draw(st.lists(point, max_size=2)),
        draw(st.integers(-(2**15), 2**15 - 1)),
        [draw(TEXTS), draw(TEXTS)],
        array(draw(st.lists(FLOATS, max_size=2))),
        draw(FLOATS),
        draw(st.integers(-128, 127)),
        array(draw(st.lists(st.booleans(), min_size=2, max_size=3)), "bool"),
    )


JOINTS = [
    {"name": "p", "field": "position", "names": ["wrist_1", "elbow"], "unit": "deg"},
    {"name": "v", "field": "velocity", "names": ["shoulder"]},
    {"name": "q", "field": "position", "names": ["shoulder"]},
    {"name": "e", "field": "effort", "names": ["elbow", "shoulder", "wrist_1"], "unit": "mA"},
]
WRENCH = [
    {"name": "t", "field": "wrench.torque", "names": ["z", "x"]},
    {"name": "f", "field": "wrench.force", "names": ["x", "y", "z"], "unit": "kN"},
]
NESTED = [
    {"name": "tail", "field": "tail"},
    {"name": "armed", "field": "armed"},
    {"name": "mode", "field": "mode", "levels": [0, 3, 7]},
    {"name": "fixed", "field": "fixed", "index": [2, 0], "unit": "degC"},
    {"name": "gain", "field": "inner.gain", "unit": "percent"},
    {"name": "state", "field": "state", "levels": ["run", "idle"]},
    {"name": "r0", "field": "readings", "index": [3]},
    {"name": "r1", "field": "readings", "index": [0, 1], "unit": "hPa"},
    {"name": "big", "field": "big"},
    {"name": "small", "field": "small"},
    {"name": "flag", "field": "flag"},
    {"name": "bits", "field": "bits", "index": [1]},
]


def pair(msgtype: str, features: list[dict[str, Any]], clock: str) -> tuple[Any, Decoder]:
    spec = StreamSpec.model_validate(
        {"modality": "telemetry", "rate": 10, "clock": clock, "features": features}
    )
    reader = compile_reader(msgtype, STORE, Decoder("s", spec))
    assert reader is not None
    return reader, Decoder("s", spec)


def outcome(read: Any) -> Sample | str:
    try:
        sample: Sample = read()
    except DataError as exc:
        return str(exc)
    return sample


def check(reader: Any, decoder: Decoder, message: Any, little: bool = True) -> None:
    msgtype = message.__msgtype__
    raw = bytes(STORE.serialize_cdr(message, msgtype, little_endian=little))
    expected = outcome(lambda: decoder.decode(STORE.deserialize_cdr(raw, msgtype), RECEIPT))
    for form in (raw, memoryview(raw)):
        found = outcome(lambda form=form: reader(form, RECEIPT))
        if isinstance(expected, str):
            assert found == expected
        else:
            assert isinstance(found, Sample), found
            assert found[:3] == expected[:3]
            assert found.values.dtype == np.float64
            np.testing.assert_array_equal(found.values, expected.values)
            signs = np.signbit(found.values) == np.signbit(expected.values)
            assert (signs | np.isnan(expected.values)).all()


JOINT_PAIR = pair("sensor_msgs/msg/JointState", JOINTS, "header")
WRENCH_PAIR = pair("geometry_msgs/msg/WrenchStamped", WRENCH, "header")
NESTED_PAIR = pair("lab_msgs/msg/Nested", NESTED, "receipt")


@given(message=joint_states(), little=st.sampled_from([True, True, False]))
@settings(max_examples=60)
def test_joint_states_are_equal(message: Any, little: bool) -> None:
    check(*JOINT_PAIR, message, little)


@given(head=HEADERS, force=VECTORS, torque=VECTORS)
def test_wrenches_are_equal(head: Any, force: Any, torque: Any) -> None:
    wrench = new("geometry_msgs/msg/Wrench", force, torque)
    check(*WRENCH_PAIR, new("geometry_msgs/msg/WrenchStamped", head, wrench))


@given(message=nested(), little=st.sampled_from([True, True, True, False]))
@settings(max_examples=60)
def test_messages_with_arrays_of_messages_and_texts_are_equal(message: Any, little: bool) -> None:
    check(*NESTED_PAIR, message, little)


PRESSURE = pair(
    "sensor_msgs/msg/FluidPressure",
    [{"name": "p", "field": "fluid_pressure",
      "vacuum": {"kind": "gauge", "positive_is_vacuum": True}, "unit": "kPa"},
     {"name": "v", "field": "variance"}],
    "header",
)  # fmt: skip
TEMPERATURE = pair(
    "sensor_msgs/msg/Temperature",
    [{"name": "t", "field": "temperature", "unit": "degC"}],
    "header",
)
SCALARS = {
    kind: pair(f"std_msgs/msg/{kind}", [{"name": "d", "field": "data"}], "receipt")
    for kind in ("Float32", "Float64", "Bool", "Int64", "UInt8")
}
MULTI = pair(
    "std_msgs/msg/Float64MultiArray", [{"name": "d", "field": "data", "index": [1, 4]}], "receipt"
)


@given(head=HEADERS, value=FLOATS, variance=FLOATS)
def test_pressures_and_temperatures_are_equal(head: Any, value: float, variance: float) -> None:
    check(*PRESSURE, new("sensor_msgs/msg/FluidPressure", head, value, variance))
    check(*TEMPERATURE, new("sensor_msgs/msg/Temperature", head, value, variance))


@given(f32=FLOAT32S, f64=FLOATS, i64=INT64S, flag=st.booleans())
def test_scalars_are_equal(f32: float, f64: float, i64: int, flag: bool) -> None:
    values = {"Float32": f32, "Float64": f64, "Int64": i64, "Bool": flag, "UInt8": i64 % 256}
    for kind, value in values.items():
        check(*SCALARS[kind], new(f"std_msgs/msg/{kind}", value))


@given(data=st.lists(FLOATS, max_size=8), labels=st.lists(TEXTS, max_size=2))
def test_arrays_with_a_layout_are_equal_and_short_ones_give_the_same_error(
    data: list[float], labels: list[str]
) -> None:
    check(*MULTI, multi_array(data, labels))


def multi_array(data: list[float], labels: tuple[str, ...] | list[str] = ()) -> Any:
    dims = [new("std_msgs/msg/MultiArrayDimension", t, 3, 4) for t in labels]
    layout = new("std_msgs/msg/MultiArrayLayout", dims, 1)
    return new("std_msgs/msg/Float64MultiArray", layout, array(data))


def nested_message() -> Any:
    inner = new("lab_msgs/msg/Inner", 1.5, "ab", array([1, 2], "int64"))
    corner = new("geometry_msgs/msg/Vector3", 1.0, 2.0, 3.0)
    return new(
        "lab_msgs/msg/Nested", True, ["a", "bcd"], [inner, inner], 3, array([1.0, 2.0, 3.0]),
        inner, [corner, corner], "run", array([1, 2, 3, 4], "float32"), 5,
        [new("geometry_msgs/msg/Point", 1.0, 2.0, 3.0)], 6, ["x", "yz"], array([]), 7.0, 8,
        array([True, False], "bool"),
    )  # fmt: skip


def joint_message(names: list[str], **arrays: list[float]) -> Any:
    full = [array(arrays.get(k, [])) for k in ("position", "velocity", "effort")]
    return new("sensor_msgs/msg/JointState", header(1, 2, "f"), names, *full)


class Blind:
    """A type store that knows definitions and cannot deserialise."""

    fielddefs = STORE.fielddefs
    get_msgdef = STORE.get_msgdef


@pytest.mark.parametrize(
    ("pair_of_store", "message"),
    [
        (
            JOINT_PAIR,
            lambda: joint_message(["shoulder", "elbow", "wrist_1"], position=[1.0, 2.0, 3.0]),
        ),
        (MULTI, lambda: multi_array([1.0] * 5)),
        (NESTED_PAIR, lambda: nested_message()),
    ],
)
def test_a_regular_message_is_not_deserialised(pair_of_store: Any, message: Any) -> None:
    decoder = pair_of_store[1]
    msgtype = message().__msgtype__
    reader = compile_reader(msgtype, Blind(), decoder)
    assert reader is not None
    check(reader, decoder, message())


def test_errors_are_those_of_the_decoder() -> None:
    reader, decoder = JOINT_PAIR
    three = ["elbow", "wrist_1", "shoulder"]
    check(reader, decoder, joint_message(three[:2], position=[1.0, 2.0]))
    check(reader, decoder, joint_message(three, position=[1.0, 2.0]))
    unset = joint_message(three, position=[1.0, 2.0, 3.0])
    unset.header.stamp.sec = unset.header.stamp.nanosec = 0
    check(reader, decoder, unset)
    check(reader, decoder, joint_message(three, position=[1.0, 2.0, 3.0]))


def test_infinities_are_counted() -> None:
    spec = StreamSpec.model_validate({
        "modality": "telemetry", "rate": 10, "clock": "receipt",
        "features": [{"name": "d", "field": "data"}],
    })  # fmt: skip
    decoder = Decoder("s", spec)
    reader = compile_reader("std_msgs/msg/Float64", STORE, decoder)
    assert reader is not None
    for value in (math.inf, math.nan, -math.inf, 1.0):
        message = new("std_msgs/msg/Float64", value)
        reader(bytes(STORE.serialize_cdr(message, message.__msgtype__)), RECEIPT)
    assert decoder.infinite == 2


@given(cut=st.integers(0, 200), noise=st.binary(max_size=40), at=st.integers(0, 200))
@settings(max_examples=150)
def test_damaged_bytes_give_a_sample_or_one_line(cut: int, noise: bytes, at: int) -> None:
    message = joint_message(
        ["elbow", "wrist_1", "shoulder"], position=[1.0, 2.0, 3.0], effort=[4.0, 5.0, 6.0]
    )
    raw = bytes(STORE.serialize_cdr(message, message.__msgtype__))
    raw = (raw[:at] + noise + raw[at + len(noise) :])[: max(0, len(raw) - cut)]
    result = outcome(lambda: JOINT_PAIR[0](raw, RECEIPT))
    assert isinstance(result, Sample) or (result.startswith("stream 's'") and "\n" not in result)


def test_a_damaged_count_does_not_keep_the_reader_busy() -> None:
    message = multi_array([1.0])
    raw = bytearray(STORE.serialize_cdr(message, message.__msgtype__))
    raw[4:8] = b"\xff\xff\xff\xff"
    began = time.monotonic()
    with pytest.raises(DataError, match="damaged std_msgs/msg/Float64MultiArray"):
        MULTI[0](bytes(raw), RECEIPT)
    assert time.monotonic() - began < 1.0


@pytest.mark.parametrize(
    ("msgtype", "feature"),
    [
        ("std_msgs/msg/Float64", {"field": "dat"}),
        ("std_msgs/msg/String", {"field": "data"}),
        ("geometry_msgs/msg/WrenchStamped", {"field": "wrench"}),
        ("geometry_msgs/msg/PoseArray", {"field": "poses.0.position.x"}),
        ("lab_msgs/msg/Unheard", {"field": "data"}),
        ("std_msgs/msg/Float64", {"columns": ["c"]}),
    ],
)
def test_what_cannot_be_read_by_offset_is_left_to_the_decoder(
    msgtype: str, feature: dict[str, Any]
) -> None:
    spec = StreamSpec.model_validate({
        "modality": "telemetry", "rate": 10, "clock": "receipt",
        "features": [{"name": "f", **feature}],
    })  # fmt: skip
    assert compile_reader(msgtype, STORE, Decoder("s", spec)) is None


def test_images_and_messages_without_a_header_are_left_to_the_decoder() -> None:
    image = StreamSpec.model_validate({"modality": "visual", "rate": 10, "image": {}})
    assert compile_reader("sensor_msgs/msg/Image", STORE, Decoder("s", image)) is None
    scalar = StreamSpec.model_validate(
        {"modality": "telemetry", "rate": 10, "features": [{"name": "d", "field": "data"}]}
    )
    assert compile_reader("std_msgs/msg/Float64", STORE, Decoder("s", scalar)) is None
