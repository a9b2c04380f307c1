"""Tables as recordings: real ones, odd ones, and every fault with file, row and column."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pro_ros.episodes.cells import to_times
from pro_ros.episodes.recording import open_recording
from pro_ros.errors import DataError, ProError, SpecError
from pro_ros.streams.spec import RobotSpec, TableSpec, parse_spec

S = 1_000_000_000


def spec(
    table: dict[str, Any] | None = None, step: str = "a", **streams: dict[str, Any]
) -> RobotSpec:
    if not streams:
        streams = {"a": stream(["x", "y"]), "b": stream(["z"])}
    document = {
        "format": "pro_ros/streams/1", "robot": "test", "gap": 5.0, "step": {"on": step},
        "streams": streams, "table": {"time": "t", **(table or {})},
    }  # fmt: skip
    return parse_spec(document, "test")


def stream(columns: list[str], **more: Any) -> dict[str, Any]:
    features = [{"name": f"f{i}", "columns": [c], **more} for i, c in enumerate(columns)]
    return {"modality": "state", "rate": 10, "features": features}


def write_csv(path: Path, text: str) -> Path:
    path.write_text(text.replace(" | ", ","))
    return path


def rows(path: Path, robot: RobotSpec, **options: Any) -> list[tuple[str, int, list[float]]]:
    with open_recording(path, robot, **options) as recording:
        return [(s.stream, s.receipt_ns, s.values.tolist()) for s in recording.samples()]


def said(call: Callable[[], Any]) -> str:
    with pytest.raises(ProError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- the real tables ----------------------------------------------------------------------------

JOINTS = ["J0", "J1", "J2", "J3", "J4", "J5"]


def ur3_spec() -> RobotSpec:
    return spec(
        {"time": "Timestamp", "time_unit": "iso8601"},
        step="cycle",
        cycle=stream(["cycle"]),
        current=stream([f"Current_{j}" for j in JOINTS], unit="A"),
        temperature=stream([f"Temperature_{j}" for j in ["T0", *JOINTS[1:]]], unit="degC"),
        stop=stream(["Robot_ProtectiveStop"]),
        grip=stream(["grip_lost"]),
    )


def test_ur3_sheet_gives_what_its_notes_say(shared_data: Path) -> None:
    path = shared_data / "ur3_cobotops" / "dataset_02052023.xlsx"
    with open_recording(path, ur3_spec()) as recording:
        samples = list(recording.samples())
        assert recording.message_count == 7409
        start = datetime(2022, 10, 26, 8, 17, 21, 847000, tzinfo=timezone.utc)
        assert recording.start_ns == round(start.timestamp() * 1000) * 1_000_000
        assert recording.end_ns == samples[-1].receipt_ns + 1
    counts = Counter(s.stream for s in samples)
    # 54 rows are sensor drop-outs; 8 of them still have the current of joint 0.
    assert counts == {
        "cycle": 7409, "grip": 7409, "current": 7363, "temperature": 7355, "stop": 7355,
    }  # fmt: skip
    values = {n: np.array([s.values for s in samples if s.stream == n]) for n in counts}
    assert len(np.unique(values["cycle"])) == 240
    assert values["stop"].sum() == 278
    assert values["grip"].sum() == 243
    assert 295 < values["temperature"].min() < values["temperature"].max() < 330
    assert np.isnan(values["current"]).sum() == 8 * 5
    assert samples[4].stream == "cycle"
    times = [s.receipt_ns for s in samples if s.stream == "cycle"]
    assert 18_814 < max(np.diff(times)) / S < 18_815


def pick_spec(**table: Any) -> RobotSpec:
    wrench = stream([f"wrench[{i}]" for i in range(1, 7)])
    fingers = {f"finger{k}": stream([f"f{k}_imu[{i}]" for i in range(1, 7)]) for k in (1, 2, 3)}
    return spec({"time": "[0]", **table}, step="wrench", wrench=wrench, **fingers)


def test_apple_picks_are_runs_of_one_archive(shared_data: Path) -> None:
    path = shared_data / "pickapp_apple_ur5e" / "picks_float32.npz"
    start = "2021-10-01T00:00:00Z"
    with open_recording(path, pick_spec(start=start), table_prefix="proxy_1-10/grasp/") as pick:
        samples = list(pick.samples())
    with np.load(path) as archive:
        wrench = archive["proxy_1-10/grasp/wrench"].astype(np.float64)
        imu = archive["proxy_1-10/grasp/f2_imu"].astype(np.float64)
    got = [s for s in samples if s.stream == "wrench"]
    assert np.array_equal([s.values for s in got], wrench[:, 1:])
    origin = round(datetime(2021, 10, 1, tzinfo=timezone.utc).timestamp()) * S
    assert [s.receipt_ns - origin for s in got] == np.round(wrench[:, 0] * 1e9).tolist()
    assert np.array_equal([s.values for s in samples if s.stream == "finger2"], imu[:, 1:])
    times = [s.receipt_ns for s in samples]
    assert times == sorted(times)


# --- formats ------------------------------------------------------------------------------------

TABLE = {
    "t": [0.0, 0.1, 0.2, 5.0],
    "x": [1.0, None, 3.0, None],
    "y": [1.5, None, None, 4.5],
    "z": [True, False, None, True],
}
EXPECTED = [
    ("b", 0, [1.0]), ("a", 0, [1.0, 1.5]),
    ("b", 100_000_000, [0.0]),
    ("a", 200_000_000, [3.0, math.nan]),
    ("b", 5 * S, [1.0]), ("a", 5 * S, [math.nan, 4.5]),
]  # fmt: skip


def make(path: Path) -> Path:
    lines = list(zip(*TABLE.values(), strict=True))
    if path.suffix in (".csv", ".tsv"):
        with path.open("w", newline="") as file:
            delimiter = "\t" if path.suffix == ".tsv" else ";"
            csv.writer(file, delimiter=delimiter).writerows([list(TABLE), *lines])
    elif path.suffix == ".parquet":
        pq.write_table(pa.table(TABLE), path)
    elif path.suffix == ".xlsx":
        book = openpyxl.Workbook()
        sheet = book.active
        assert sheet is not None
        for line in [["t ", ' "x"', "y", "z"], *lines, [None] * 4]:
            sheet.append(list(line))
        book.save(path)
    else:
        columns = {k: np.array(v, dtype=float) for k, v in TABLE.items()}
        np.savez(path, **columns)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".xlsx", ".npz"])
def test_all_formats_give_the_same_samples(tmp_path: Path, suffix: str) -> None:
    path = make(tmp_path / f"table{suffix}")
    np.testing.assert_equal(rows(path, spec()), EXPECTED)
    with open_recording(path, spec()) as recording:
        extent = recording.start_ns, recording.end_ns, recording.message_count
    assert extent == (0, 5 * S + 1, 4)


def test_blocks_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pro_ros.episodes.table_files as table_files

    whole = {}
    for size in (4096, 2):
        monkeypatch.setattr(table_files, "BLOCK_ROWS", size)
        for suffix in (".csv", ".parquet", ".npz"):
            whole[size, suffix] = rows(make(tmp_path / f"table{suffix}"), spec())
    for got in whole.values():
        np.testing.assert_equal(got, EXPECTED)


def test_folder_of_tables_is_one_recording_in_order_of_time(tmp_path: Path) -> None:
    write_csv(tmp_path / "arm.csv", "t,x\n0,1\n2,2\n")
    write_csv(tmp_path / "hand.csv", "t,x\n1,10\n2,20\n")
    robot = spec(a=stream(["arm/x"]), b=stream(["hand/x"]))
    got = rows(tmp_path, robot)
    assert got == [("a", 0, [1.0]), ("b", S, [10.0]), ("b", 2 * S, [20.0]), ("a", 2 * S, [2.0])]
    two = spec(a=stream(["arm/x", "hand/x"]))
    assert "columns 'arm/x' and 'hand/x' are in two files" in said(lambda: rows(tmp_path, two))


def test_arrays_may_share_a_time_or_have_their_own(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    np.savez(path, t=[0.0, 1.0], joints=[[1, 2], [3, 4]], **{"hand/t": [0.5], "hand/w": [7]})
    robot = spec(a=stream(["joints[1]"]), b=stream(["hand/w"]))
    assert rows(path, robot) == [("a", 0, [2.0]), ("b", S // 2, [7.0]), ("a", S, [4.0])]
    np.savez(path, t=[0.0], joints=[[1, 2], [3, 4]])
    text = said(lambda: rows(path, spec(a=stream(["joints[1]"]))))
    assert text == f"{path}: 't' has 1 rows but 'joints[1]' has 2"


def test_levels_come_from_texts_and_numbers(tmp_path: Path) -> None:
    robot = spec(a=stream(["x"], levels=["open", "closed", 3]))
    path = write_csv(tmp_path / "t.csv", "t,x\n0,open\n1, closed\n2,\n3,3\n")
    assert rows(path, robot) == [
        ("a", 0, [1, 0, 0]), ("a", S, [0, 1, 0]), ("a", 3 * S, [0, 0, 1]),
    ]  # fmt: skip
    path.write_text("t,x\n0,open\n1,clsed\n")
    assert said(lambda: rows(path, robot)) == (
        f"{path}: column 'x', row 3: unknown level 'clsed', did you mean 'closed'?"
        " (known: open, closed, 3)"
    )


def test_missing_texts_and_infinite_values_are_no_values(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "t.csv", "t,x,y\n0,n/a,1\n1,inf,2\n2,n/a,\n")
    robot = spec({"missing": ["n/a"]}, a=stream(["x", "y"]))
    with open_recording(path, robot) as recording:
        got = [s.values.tolist() for s in recording.samples()]
        assert recording.infinite == {"a": 1}
    np.testing.assert_equal(got, [[math.nan, 1.0], [math.nan, 2.0]])
    assert "row 2: expected a number, got 'n/a'" in said(lambda: rows(path, spec(a=stream(["x"]))))


def test_row_that_repeats_the_one_before_is_left_out(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "t.csv", "t,x,y,z\n0,1,,1\n0,1,,1\n1,1,,1\n")
    assert len(rows(path, spec())) == 4


def test_streams_without_columns_may_be_allowed_to_miss(tmp_path: Path) -> None:
    path = make(tmp_path / "t.csv")
    camera = {
        "modality": "visual", "topic": "/c", "type": "sensor_msgs/msg/Image", "rate": 10,
        "image": {},
    }  # fmt: skip
    robot = spec(a=stream(["x"]), camera=camera)
    assert "stream 'camera': a camera is in no table" in said(lambda: open_recording(path, robot))
    with open_recording(path, robot, allow_missing=["camera"]) as recording:
        assert recording.absent == ("camera",)
        assert recording.streams == ("a",)


# --- time ---------------------------------------------------------------------------------------


def times(cells: list[Any], **table: Any) -> list[int]:
    array = np.empty(len(cells), dtype=object)
    array[:] = cells
    read = TableSpec(time="t", **table)
    numbers = np.arange(len(cells))
    return to_times(array, numbers, "f: column 't'", read).tolist()  # type: ignore[no-any-return]


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2261, 1, 1)),
    st.integers(0, 999),
    st.integers(-14 * 60, 14 * 60),
    st.sampled_from(["{}", '"{}"', " {} ", "'{}'"]),
)
def test_iso_times_are_exact_to_the_nanosecond(
    date: datetime, nanos: int, zone: int, around: str
) -> None:
    local = date.replace(tzinfo=timezone(timedelta(minutes=zone)))
    since = local - datetime(1970, 1, 1, tzinfo=timezone.utc)
    exact = (since.days * 86_400 + since.seconds) * S + since.microseconds * 1000 + nanos
    sign = "-" if zone < 0 else "+"
    offset = f"{sign}{abs(zone) // 60:02d}:{abs(zone) % 60:02d}"
    text = f"{date.strftime('%Y-%m-%dT%H:%M:%S')}.{date.microsecond:06d}{nanos:03d}{offset}"
    text = text.rjust(len(text), "0")
    if exact >= 0:
        assert times([around.format(text)], time_unit="iso8601") == [exact]


def test_dates_without_a_zone_are_utc() -> None:
    cells = ["1970-01-02T00:00:00Z", "1970-01-02 00:00:01", datetime(1970, 1, 2, 0, 0, 2)]
    assert times(cells, time_unit="iso8601") == [86_400 * S + k * S for k in range(3)]


@given(st.integers(0, 2**63 - 2))
def test_nanoseconds_pass_unrounded(t_ns: int) -> None:
    assert times([t_ns, str(t_ns)], time_unit="ns") == [t_ns, t_ns]


@pytest.mark.parametrize(("unit", "factor"), [("s", S), ("ms", 10**6), ("us", 1000), ("ns", 1)])
def test_units_and_start(unit: Any, factor: int) -> None:
    start = "1970-01-01T00:01:00Z"
    assert times([2, "3", 4.0], time_unit=unit, start=start) == [
        60 * S + k * factor for k in (2, 3, 4)
    ]


@pytest.mark.parametrize(
    ("cell", "table", "text"),
    [
        (None, {}, "the time is empty"),
        ("", {}, "the time is empty"),
        (math.nan, {}, "the time is empty"),
        ("noon", {}, "expected a time in s, got 'noon'"),
        (math.inf, {}, "expected a time in s, got inf"),
        (-1.0, {}, "the time lies outside of 1970 to 2262"),
        (1e12, {}, "the time lies outside of 1970 to 2262"),
        (datetime(2024, 1, 1), {}, "holds a date, but table.time_unit is 's'"),
        (12.5, {"time_unit": "iso8601"}, "expected a time like 2024-05-31"),
        ("2024-02-30T00:00:00Z", {"time_unit": "iso8601"}, "'2024-02-30T00:00:00Z' is no date"),
    ],
)
def test_what_is_no_time_is_named_with_its_row(cell: Any, table: Any, text: str) -> None:
    with pytest.raises(DataError) as caught:
        times([5.0 if not table else "2024-01-01T00:00:00Z", cell], **table)
    assert str(caught.value).startswith(f"f: column 't', row 1: {text}")


def test_start_that_is_no_date_is_refused() -> None:
    with pytest.raises(SpecError, match=r"table\.start"):
        times([1.0], start="yesterday")


# --- faults -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("t,x,y,z\n0,1,1,1\n2,1,1,1\n1,1,1,1\n", "column 't', row 4: time goes back by 1 s"),
        ("t,x,y,z\n0,1,1,1\n0,2,1,1\n", "column 't', row 3: same time as the row before but"),
        ("t,x,y,z\n0,1,1\n", "row 2 has 3 cells, the header has 4"),
        ("t,x,y,z\n0,1,1,1\n1,one,1,1\n", "column 'x', row 3: expected a number, got 'one'"),
        ("t,x,y,z\n,1,1,1\n", "column 't', row 2: the time is empty"),
        ("t,x,y,z\n", "the table has no rows"),
        ("", "the table is empty"),
        ("t,x,x,z,y\n0,1,1,1,1\n", "column 'x' is there twice"),
        ("t,xx,y,z\n0,1,1,1\n", "stream 'a': no column 'x', did you mean 'xx'?"),
        ("time,x,y,z\n0,1,1,1\n", "no time column 't' (it has: time, x, y, z)"),
        ("t,x,y,z\n0,1,1,\udc80\n", "damaged or truncated"),
    ],
)
def test_faults_of_a_table_are_one_line(tmp_path: Path, text: str, line: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    got = said(lambda: rows(path, spec()))
    assert got.startswith(str(path))
    assert line in got


def test_time_is_checked_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pro_ros.episodes.table_files as table_files

    monkeypatch.setattr(table_files, "BLOCK_ROWS", 2)
    path = write_csv(tmp_path / "t.csv", "t,x,y,z\n0,1,1,1\n5,1,1,1\n4,1,1,1\n")
    assert "row 4: time goes back by 1 s" in said(lambda: rows(path, spec()))


def test_table_without_table_section_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path / "t.csv")
    robot = spec().model_copy(update={"table": None})
    assert "no section 'table'" in said(lambda: open_recording(path, robot))


def test_missing_sheet_names_the_ones_there_are(tmp_path: Path) -> None:
    path = make(tmp_path / "t.xlsx")
    assert "no sheet 'Shet', did you mean 'Sheet'?" in said(
        lambda: open_recording(path, spec({"sheet": "Shet"}))
    )
    assert "no sheet 3: it has 1" in said(lambda: open_recording(path, spec({"sheet": 3})))


@pytest.mark.parametrize("suffix", [".parquet", ".xlsx", ".npz"])
def test_truncated_table_is_one_line(tmp_path: Path, suffix: str) -> None:
    whole = make(tmp_path / f"whole{suffix}").read_bytes()
    path = tmp_path / f"cut{suffix}"
    for keep in range(0, len(whole) - 1, len(whole) // 25):
        path.write_bytes(whole[:keep])
        assert said(lambda: rows(path, spec())).startswith(f"{path}: ")


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (pytest.fail, ("an array was unpickled",))

    path = tmp_path / "t.npz"
    np.savez(path, t=[0.0], x=np.array([Trap()], dtype=object), y=[1.0], z=[1.0])
    assert "no column 'x'" in said(lambda: rows(path, spec()))
