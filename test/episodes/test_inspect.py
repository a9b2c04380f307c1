"""What is in a recording, without changing or trusting it."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pro_ros.episodes.bagwriter import BagWriter
from pro_ros.episodes.inspect import Report, inspect_recording
from pro_ros.episodes.inspect_report import timing
from pro_ros.errors import DataError
from pro_ros.interfaces import header_message, typestore
from pro_ros.streams.spec import RobotSpec, parse_spec

S = 1_000_000_000
START = 1_700_000_000 * S
TEMPERATURE = "sensor_msgs/msg/Temperature"


def spec(**table: Any) -> RobotSpec:
    feature = {"name": "t", "field": "temperature", "unit": "degC", "columns": ["temp"]}
    streams = {
        "heat": {
            "modality": "telemetry", "topic": "/temp", "type": TEMPERATURE, "rate": 10,
            "features": [feature],
        },
    }  # fmt: skip
    document = {
        "format": "pro_ros/streams/1", "robot": "test", "gap": 2.0, "step": {"on": "heat"},
        "streams": streams, "table": {"time": "t", **table},
    }  # fmt: skip
    return parse_spec(document, "test")


def plain(report: Report) -> str:
    """Every report must be strict JSON."""
    return json.dumps(report.model_dump(mode="json"), allow_nan=False)


def write(path: Path, readings: list[tuple[int, int, float]]) -> Path:
    store = typestore()
    with BagWriter(path) as writer:
        writer.add_topic("/silent", "std_msgs/msg/Bool")
        for receipt_ns, stamp_ns, value in readings:
            message = store.types[TEMPERATURE](
                header=header_message(store, stamp_ns), temperature=value, variance=0.0
            )
            writer.write("/temp", TEMPERATURE, receipt_ns, message)
    return path


def test_bag_report_counts_rates_gaps_and_clock(tmp_path: Path) -> None:
    times = [0.0, 0.1, 0.2, 0.3, 0.3, 10.3, 10.4]
    readings = [(START + round(t * S), START + round(t * S) - S // 100, 20.0) for t in times]
    readings[1] = (readings[1][0], 0, float("nan"))
    readings[3] = (readings[3][0], readings[3][1] - S // 2, float("inf"))
    path = write(tmp_path / "bag", readings)
    report = inspect_recording(path)
    plain(report)
    assert (report.kind, report.messages, report.start_ns) == ("rosbag2", 7, START)
    assert report.duration == pytest.approx(10.4, abs=1e-8)
    silent, topic = report.topics
    assert (silent.name, silent.receipt.count, silent.receipt.rate) == ("/silent", 0, None)
    assert (topic.receipt.count, topic.receipt.gaps, topic.receipt.duplicates) == (7, 1, 1)
    assert topic.receipt.longest == pytest.approx(10.0)
    assert topic.receipt.rate == pytest.approx(12.5)
    assert topic.clock is not None
    assert topic.clock.unset == 1
    assert topic.clock.offset_median == pytest.approx(0.01)
    assert topic.clock.offset_max == pytest.approx(0.51)
    assert topic.clock.stamps.backwards == 1
    assert report.problems == (
        f"{path}: topic '/temp': 1 of 7 header stamps are unset",
        f"{path}: topic '/temp': 1 of 7 header stamps are earlier than the one before",
    )


def test_streams_are_reported_in_si_with_their_holes(tmp_path: Path) -> None:
    values = [20.0, float("nan"), 30.0, float("inf")]
    readings = [(START + i * S, START + i * S, v) for i, v in enumerate(values)]
    path = write(tmp_path / "bag", readings)
    report = inspect_recording(path, spec())
    plain(report)
    (stream,) = report.streams
    assert (stream.source, stream.infinite, stream.receipt.count) == ("/temp", 1, 4)
    (feature,) = stream.features
    assert (feature.unit, feature.missing) == ("K", 0.5)
    assert feature.minimum == pytest.approx(293.15)
    assert feature.mean == pytest.approx(298.15)
    assert feature.maximum == pytest.approx(303.15)
    assert report.problems == (f"{path}: stream 'heat': 1 infinite values, taken as missing",)


def test_what_keeps_a_stream_from_reading_is_reported_not_raised(tmp_path: Path) -> None:
    path = write(tmp_path / "bag", [(START, START, 1.0), (START + S, 0, 2.0)])
    report = inspect_recording(path, spec())
    assert report.streams[0].receipt.count == 1
    assert any("the header's stamp is unset" in p for p in report.problems)
    other = spec().model_copy(update={"streams": {}})
    heat = spec().streams["heat"]
    other = other.model_copy(
        update={"streams": {"heat": heat, "more": heat.model_copy(update={"topic": "/no"})}}
    )
    problems = inspect_recording(path, other).problems
    assert f"{path}: stream 'more' is not in the recording" in problems


@pytest.mark.parametrize("number", range(20))
def test_suction_bags(shared_data: Path, number: int) -> None:
    path = shared_data / "suction_vacuum_bags" / f"trial_{number}.bag"
    report = inspect_recording(path)
    plain(report)
    if number in (3, 4):
        assert report.problems == (f"{path}: the recording holds no messages",)
        assert (report.messages, report.start_ns, report.topics) == (0, None, ())
        return
    assert report.problems == ()
    topics = {t.name: t for t in report.topics}
    if "wrench" in topics:
        wrench = topics["wrench"]
        assert wrench.receipt.rate == pytest.approx(500, rel=0.02)
        assert wrench.clock is not None
        assert wrench.clock.unset == 0
        assert wrench.clock.offset_median == pytest.approx(0.0005, abs=0.0005)
    if "/gripper/pressure" in topics:
        assert topics["/gripper/pressure"].receipt.rate == pytest.approx(38, rel=0.03)
        assert topics["/gripper/pressure"].clock is None


def test_ur3_sheet_columns(shared_data: Path) -> None:
    report = inspect_recording(shared_data / "ur3_cobotops" / "dataset_02052023.xlsx")
    plain(report)
    columns = {c.name: c for c in report.columns}
    assert (report.kind, report.messages, len(columns)) == ("table", 7409, 24)
    assert columns["cycle"].kind == "number"
    assert columns["Timestamp"].kind == "text"
    assert columns["Robot_ProtectiveStop"].missing == 54 / 7409
    assert (columns["grip_lost"].minimum, columns["grip_lost"].maximum) == (0.0, 1.0)


def test_archive_of_many_runs_is_listed_without_reading_it(shared_data: Path) -> None:
    report = inspect_recording(shared_data / "pickapp_apple_ur5e" / "picks_float32.npz")
    columns = {c.name: c for c in report.columns}
    assert len(columns) == 2400 * 7
    assert columns["proxy_1-10/grasp/wrench[0]"].rows == 1000
    assert columns["proxy_1-10/grasp/wrench[0]"].kind == "unread"


def test_table_with_streams(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("t,temp,note\n0,20,a\n1,,b\n2,x,\n3,30,c\n")
    report = inspect_recording(path, spec(missing=["x"]))
    plain(report)
    kinds = {c.name: (c.kind, c.missing) for c in report.columns}
    assert kinds == {"t": ("number", 0.0), "temp": ("number", 0.5), "note": ("text", 0.25)}
    assert report.streams[0].receipt.count == 2
    assert (report.start_ns, report.end_ns, report.problems) == (0, 3 * S + 1, ())
    faulty = inspect_recording(path, spec())
    assert faulty.problems == (
        f"{path}: column 'temp', row 4: expected a number, got 'x'"
        " (texts that mean 'no value' belong under table.missing)",
    )
    assert {c.name: c.kind for c in faulty.columns}["temp"] == "mixed"


def test_columns_of_the_same_name_are_said_to_be(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("t,a,a\n0,1,2\n")
    report = inspect_recording(path)
    assert [(c.name, c.kind) for c in report.columns] == [("a", "ambiguous"), ("t", "number")]


def test_what_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        inspect_recording(tmp_path / "no")
    (tmp_path / "a.mcap").write_bytes(b"x")
    with pytest.raises(DataError, match="damaged or truncated"):
        inspect_recording(tmp_path / "a.mcap")


@given(st.lists(st.integers(0, 100), max_size=30))
def test_timing_agrees_with_a_plain_count(times: list[int]) -> None:
    report = timing(np.array(times, dtype=np.int64) * S, gap=5.0)
    steps = [b - a for a, b in pairwise(times)]
    assert report.count == len(times)
    assert report.backwards == sum(s < 0 for s in steps)
    assert report.duplicates == sum(s == 0 for s in steps)
    assert report.gaps == sum(s > 5 for s in steps)
    assert report.longest == (max(steps) if steps else None)
