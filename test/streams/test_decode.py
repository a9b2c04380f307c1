"""Messages become samples in SI units, by name, and what does not fit is said."""

from __future__ import annotations

import math
from types import SimpleNamespace as Message
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pro_ros.errors import DataError, SpecError
from pro_ros.streams.decode import Decoder
from pro_ros.streams.spec import StreamSpec

RECEIPT = 1_700_000_000_000_000_000


def header(sec: int = 100, nanosec: int = 5) -> Message:
    return Message(stamp=Message(sec=sec, nanosec=nanosec), frame_id="base")


def joints(names: list[str], **arrays: Any) -> Message:
    full = {k: np.array(arrays.get(k, [])) for k in ("position", "velocity", "effort")}
    return Message(header=header(), name=names, **full)


def decoder(*features: dict[str, Any], **keys: Any) -> Decoder:
    keys = {"modality": "telemetry", "rate": 10.0, "clock": "receipt", **keys}
    return Decoder("s", StreamSpec.model_validate({**keys, "features": features}))


@given(order=st.permutations(["elbow", "wrist", "shoulder", "gripper"]))
def test_joints_are_found_by_name_in_any_order(order: list[str]) -> None:
    values = {"elbow": 1.0, "wrist": 2.0, "shoulder": 3.0, "gripper": 4.0}
    message = joints(order, position=[values[n] for n in order])
    feature = {"name": "p", "field": "position", "names": ["wrist", "elbow"]}
    assert decoder(feature).decode(message, RECEIPT).values.tolist() == [2.0, 1.0]


def test_the_order_of_joints_may_change_between_messages() -> None:
    one = decoder({"name": "p", "field": "position", "names": ["a", "b"], "unit": "deg"})
    first = one.decode(joints(["a", "b"], position=[180.0, 90.0]), RECEIPT).values
    second = one.decode(joints(["b", "a"], position=[90.0, 180.0]), RECEIPT).values
    assert first.tolist() == second.tolist() == pytest.approx([math.pi, math.pi / 2])


def test_a_missing_joint_is_named_with_what_the_message_has() -> None:
    one = decoder({"name": "p", "field": "position", "names": ["elbow_jiont"]})
    with pytest.raises(DataError) as caught:
        one.decode(joints(["elbow_joint", "wrist"], position=[1.0, 2.0]), RECEIPT)
    assert str(caught.value) == (
        "stream 's', feature 'p': the message has no joint 'elbow_jiont', did you mean"
        " 'elbow_joint'? (it has: elbow_joint, wrist)"
    )


def test_an_empty_joint_array_has_no_values() -> None:
    one = decoder(
        {"name": "p", "field": "position", "names": ["a"]},
        {"name": "e", "field": "effort", "names": ["a", "b"]},
    )
    values = one.decode(joints(["a", "b"], position=[1.0, 2.0]), RECEIPT).values
    np.testing.assert_array_equal(values, [1.0, np.nan, np.nan])


def test_a_joint_array_of_another_length_is_refused() -> None:
    one = decoder({"name": "p", "field": "position", "names": ["a"]})
    with pytest.raises(DataError, match="'position' has 1 values for 2 joint names"):
        one.decode(joints(["a", "b"], position=[1.0]), RECEIPT)


def test_names_are_sub_fields_of_other_messages() -> None:
    wrench = Message(force=Message(x=1.0, y=2.0, z=3.0), torque=Message(x=4.0, y=5.0, z=6.0))
    one = decoder({"name": "f", "field": "wrench.force", "names": ["z", "x"]})
    assert one.decode(Message(wrench=wrench), RECEIPT).values.tolist() == [3.0, 1.0]
    assert one.spec.raw_channels == ("f.z", "f.x")


def test_elements_are_taken_by_index_and_through_arrays_of_messages() -> None:
    message = Message(data=[1, 2, 3], sensors=[Message(value=7.0), Message(value=8.0)])
    one = decoder(
        {"name": "d", "field": "data", "index": [2, 0]},
        {"name": "v", "field": "sensors.1.value"},
    )
    assert one.decode(message, RECEIPT).values.tolist() == [3.0, 1.0, 8.0]


def test_an_index_beyond_the_array_is_named_and_an_empty_array_has_no_value() -> None:
    one = decoder({"name": "d", "field": "data", "index": [2]})
    with pytest.raises(DataError, match="'data' has 2 elements, none at index 2"):
        one.decode(Message(data=[1.0, 2.0]), RECEIPT)
    assert np.isnan(one.decode(Message(data=[]), RECEIPT).values).all()


@pytest.mark.parametrize("value", [True, 1, np.float32(1.0), np.uint8(1), np.bool_(True)])
def test_a_scalar_of_any_number_type_is_read(value: Any) -> None:
    one = decoder({"name": "d", "field": "data"})
    values = one.decode(Message(data=value), RECEIPT).values
    assert values.dtype == np.float64
    assert values.tolist() == [1.0]


def test_levels_become_zeros_and_a_one() -> None:
    one = decoder(
        {"name": "state", "field": "state", "levels": [0, 1, 4]},
        {"name": "mode", "field": "mode", "levels": ["idle", "run"]},
        {"name": "x", "field": "x", "unit": "hPa"},
    )
    values = one.decode(Message(state=4, mode="idle", x=2.0), RECEIPT).values
    assert values.tolist() == [0.0, 0.0, 1.0, 1.0, 0.0, 200.0]
    missing = one.decode(Message(state=math.nan, mode="run", x=2.0), RECEIPT).values
    np.testing.assert_array_equal(missing, [np.nan] * 3 + [0.0, 1.0, 200.0])


def test_an_unknown_level_is_named_with_the_known_ones() -> None:
    one = decoder({"name": "mode", "field": "mode", "levels": ["idle", "running"]})
    with pytest.raises(DataError) as caught:
        one.decode(Message(mode="runing"), RECEIPT)
    assert str(caught.value) == (
        "stream 's', feature 'mode': unknown level 'runing', did you mean 'running'?"
        " (known: idle, running)"
    )


def test_infinity_is_missing_and_counted_and_nan_is_only_missing() -> None:
    one = decoder({"name": "d", "field": "data", "index": [0, 1, 2, 3], "unit": "hPa"})
    values = one.decode(Message(data=[1.0, math.inf, -math.inf, math.nan]), RECEIPT).values
    np.testing.assert_array_equal(values, [100.0, np.nan, np.nan, np.nan])
    assert one.infinite == 2


def test_the_declared_clock_gives_the_stamp() -> None:
    message = Message(header=header(12, 34), data=1.0)
    feature = {"name": "d", "field": "data"}
    sample = decoder(feature, clock="header").decode(message, RECEIPT)
    assert (sample.receipt_ns, sample.stamp_ns) == (RECEIPT, 12_000_000_034)
    sample = decoder(feature, clock="receipt").decode(message, RECEIPT)
    assert (sample.receipt_ns, sample.stamp_ns) == (RECEIPT, RECEIPT)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (Message(header=header(0, 0), data=1.0), "stamp is unset"),
        (Message(data=1.0), "has no header"),
    ],
)
def test_an_unset_stamp_is_said_and_not_guessed(message: Message, words: str) -> None:
    one = decoder({"name": "d", "field": "data"}, clock="header")
    with pytest.raises(DataError) as caught:
        one.decode(message, RECEIPT)
    assert "stream 's'" in str(caught.value)
    assert words in str(caught.value)
    assert "'clock: receipt'" in str(caught.value)


@pytest.mark.parametrize(
    ("feature", "words"),
    [
        ({"field": "wrench.forse", "names": ["x"]}, "no 'forse' (field 'wrench.forse.x'), did"),
        ({"field": "dat"}, "no 'dat' (field 'dat'), did you mean 'data'?"),
        ({"field": "zzz"}, "it has: data, text, array, wrench"),
        ({"field": "text"}, "'text' is 'abc', expected a number"),
        ({"field": "array"}, "'array' is an array of 3, expected a number: give 'index'"),
        ({"field": "wrench"}, "expected a number (it has: force)"),
        ({"field": "data", "index": [0]}, "expected an array"),
    ],
)
def test_a_field_that_does_not_fit_is_named(feature: dict[str, Any], words: str) -> None:
    force = Message(x=1.0, y=2.0, z=3.0)
    message = Message(data=1.0, text="abc", array=[1, 2, 3], wrench=Message(force=force))
    with pytest.raises(DataError) as caught:
        decoder({"name": "f", **feature}).decode(message, RECEIPT)
    assert str(caught.value).startswith("stream 's', feature 'f': ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_unit_that_does_not_exist_is_said_when_the_decoder_is_made() -> None:
    with pytest.raises(SpecError, match="stream 's', feature 'f': unknown unit 'hpaa'"):
        decoder({"name": "f", "field": "data", "unit": "hpaa"})


def test_features_without_a_field_cannot_be_read_from_messages() -> None:
    one = decoder({"name": "f", "columns": ["c"]})
    with pytest.raises(SpecError, match=r"feature 'f' has 'columns' only"):
        one.decode(Message(data=1.0), RECEIPT)


def table_decoder() -> Decoder:
    return decoder(
        {"name": "t", "columns": ["T0", "T1"], "unit": "degC"},
        {"name": "mode", "columns": ["Mode"], "levels": ["idle", "run"]},
        {"name": "stop", "columns": ["Stop"]},
    )


def test_columns_are_converted_like_messages() -> None:
    columns = {
        "T0": np.array([0.0, np.nan, 10.0]),
        "T1": np.array(["1.5", None, "2"], dtype=object),
        "Mode": np.array(["run", None, "idle"], dtype=object),
        "Stop": np.array([True, False, True]),
        "unused": np.array(["a", "b", "c"]),
    }
    values = table_decoder().decode_columns(columns)
    np.testing.assert_allclose(
        values,
        [
            [273.15, 274.65, 0.0, 1.0, 1.0],
            [np.nan, np.nan, np.nan, np.nan, 0.0],
            [283.15, 275.15, 1.0, 0.0, 1.0],
        ],
    )


def test_converted_source_columns_take_level_positions() -> None:
    source = np.array([[0.0, 1.0, 1.0, 0.0], [np.inf, 1.0, np.nan, 1.0]])
    one = table_decoder()
    values = one.convert_columns(source)
    assert values[0].tolist() == [273.15, 274.15, 0.0, 1.0, 0.0]
    np.testing.assert_array_equal(np.isnan(values[1]), [True, False, True, True, False])
    assert one.infinite == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"T0": None}, "feature 't': the table has no column 'T0', did you mean 'T00'?"),
        ({"T1": np.array([1.0, "warm"], dtype=object)}, "column 'T1', row 1: expected a number,"),
        ({"Mode": np.array(["run", "rum"])}, "column 'Mode', row 1: unknown level 'rum'"),
        ({"Mode": np.array([1.0, 2.0])}, "column 'Mode': unknown level 1.0"),
    ],
)
def test_a_bad_column_is_named_with_its_first_bad_value(
    change: dict[str, Any], words: str
) -> None:
    good = {
        "T00": np.zeros(2), "T0": np.zeros(2), "T1": np.zeros(2),
        "Mode": np.array(["run", "idle"]), "Stop": np.zeros(2),
    }  # fmt: skip
    columns = {k: v for k, v in {**good, **change}.items() if v is not None}
    with pytest.raises(DataError) as caught:
        table_decoder().decode_columns(columns)
    assert words in str(caught.value)
