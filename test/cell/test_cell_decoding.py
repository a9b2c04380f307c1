"""What a subscriber makes of the cell's messages is what the devices said."""

from __future__ import annotations

import math

import numpy as np
import pytest
from made_up_readings import NS, T0, readings

from pro_ros.cell.decoding import ReadingDecoder
from pro_ros.cell.messages import FORMS, Encoder
from pro_ros.cell.runner import HEARD
from pro_ros.cell.sensors import CAMERA, ITEM_POSE, JOINTS, PART, VALVE, WRENCH, Reading
from pro_ros.errors import DataError


def test_every_reading_comes_back_as_it_was_published() -> None:
    kinds = [kind for kind in FORMS if kind != CAMERA]
    encode, decode = Encoder().encode, ReadingDecoder(kinds).decode
    seen = set()
    for reading in readings(1.5):
        found = decode(reading.kind, encode(reading), reading.receipt_ns)
        has_header = FORMS[reading.kind].frame is not None
        stamp_ns = reading.stamp_ns if has_header else reading.receipt_ns
        assert found[:3] == (reading.kind, stamp_ns, reading.receipt_ns)
        said = np.array(reading.values, dtype=float)
        if reading.kind == ITEM_POSE:
            # A quaternion does not count whole turns.
            said[3] = math.remainder(said[3], 2.0 * math.pi)
        exact = 0.0 if has_header and reading.kind != ITEM_POSE else 1e-6
        whole = FORMS[reading.kind].msgtype in ("std_msgs/msg/Int8", "std_msgs/msg/Bool")
        assert np.allclose(found.values, np.trunc(said) if whole else said, rtol=exact, atol=exact)
        seen.add(reading.kind)
    assert seen == set(kinds)


def test_joints_are_told_apart_by_their_names() -> None:
    """A driver may list them in another order."""
    from pro_ros.cell import arm
    from pro_ros.interfaces import header_message, typestore

    store = typestore()
    numbers = np.arange(5.0)
    message = store.types["sensor_msgs/msg/JointState"](
        header=header_message(store, T0), name=list(reversed(arm.JOINTS)),
        position=numbers, velocity=numbers + 10, effort=numbers + 20,
    )  # fmt: skip
    data = bytes(store.serialize_cdr(message, "sensor_msgs/msg/JointState"))
    values = ReadingDecoder(HEARD).decode(JOINTS, data, T0).values
    assert values == tuple(float(start + k) for start in (0, 10, 20) for k in reversed(range(5)))


def test_what_is_no_message_or_no_number_is_refused_in_one_line() -> None:
    decode, encode = ReadingDecoder([WRENCH, PART, VALVE]).decode, Encoder().encode
    whole = encode(Reading(WRENCH, T0, T0, (1.0,) * 6))
    with pytest.raises(DataError) as damaged:
        decode(WRENCH, whole[:40], T0)
    assert "\n" not in str(damaged.value)
    infinite = encode(Reading(WRENCH, T0, T0 + NS, (math.inf,) * 6))
    with pytest.raises(DataError, match="/wrench"):
        decode(WRENCH, infinite, T0)
