"""Bags: real ones, damaged ones, and what is written reads back the same."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import tracemalloc
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rosbags import rosbag2
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2.storage_mcap import McapWriter

from pro_ros.episodes import mcap
from pro_ros.episodes.bags import BagRecording, BagTopic
from pro_ros.episodes.bagwriter import BagWriter
from pro_ros.episodes.recording import open_recording
from pro_ros.errors import DataError, ProError, SpecError, StorageError
from pro_ros.interfaces import definition, header_message, typestore
from pro_ros.streams.spec import RobotSpec, parse_spec

ROOT = Path(__file__).resolve().parents[2]
WRENCH = "geometry_msgs/msg/WrenchStamped"
FLOAT = "std_msgs/msg/Float32"
START = 1_700_000_000_000_000_000
XYZ = ["x", "y", "z"]


def suction_spec(**changes: Any) -> RobotSpec:
    streams: dict[str, Any] = {
        "wrench": {
            "modality": "telemetry", "topic": "/wrench", "type": WRENCH, "rate": 500,
            "features": [
                {"name": "force", "field": "wrench.force", "names": XYZ, "unit": "N"},
                {"name": "torque", "field": "wrench.torque", "names": XYZ, "unit": "N*m"},
            ],
        },
        "pressure": {
            "modality": "telemetry", "topic": "/gripper/pressure", "type": FLOAT, "rate": 38,
            "clock": "receipt",
            "features": [{"name": "p", "field": "data", "unit": "hPa",
                          "vacuum": {"kind": "absolute"}}],
        },
    }  # fmt: skip
    for stream, change in changes.items():
        streams[stream] = {**streams.get(stream, {}), **change}
    document = {
        "format": "pro_ros/streams/1", "robot": "arm", "gap": 1.0,
        "step": {"on": "wrench"}, "streams": streams,
    }  # fmt: skip
    return parse_spec(document, "test")


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def wrench(t_ns: int, x: float = 0.0) -> bytes:
    store = typestore()
    vector = store.types["geometry_msgs/msg/Vector3"]
    message = store.types[WRENCH](
        header=header_message(store, t_ns),
        wrench=store.types["geometry_msgs/msg/Wrench"](
            force=vector(x=x, y=1.0, z=2.0), torque=vector(x=3.0, y=4.0, z=5.0)
        ),
    )
    return bytes(store.serialize_cdr(message, WRENCH))


def pressure(value: float) -> bytes:
    store = typestore()
    return bytes(store.serialize_cdr(store.types[FLOAT](data=value), FLOAT))


def write_bag(path: Path, count: int = 50, **options: Any) -> Path:
    with BagWriter(path, **options) as writer:
        force = writer.add_topic("/wrench", WRENCH)
        vacuum = writer.add_topic("/gripper/pressure", FLOAT)
        for i in range(count):
            t_ns = START + i * 2_000_000
            if i % 10 == 0:
                writer.raw(vacuum, t_ns, pressure(1000.0 - i))
            writer.raw(force, t_ns, wrench(t_ns, float(i)))
    return path


# --- the real bags ------------------------------------------------------------------------------

BOTH = {5, 6, 7, *range(9, 20)}


@pytest.mark.parametrize("number", range(20))
def test_suction_bags_give_what_their_notes_say(shared_data: Path, number: int) -> None:
    path = shared_data / "suction_vacuum_bags" / f"trial_{number}.bag"
    if number in (3, 4):
        with pytest.raises(DataError) as caught:
            open_recording(path, suction_spec(), allow_missing=True)
        assert str(caught.value) == f"{path}: the recording holds no messages"
        return
    with open_recording(path, suction_spec(), allow_missing=True) as recording:
        samples = list(recording.samples())
        assert len(samples) == recording.message_count
        assert samples[0].receipt_ns == recording.start_ns
        assert samples[-1].receipt_ns == recording.end_ns - 1
        receipts = [s.receipt_ns for s in samples]
        assert receipts == sorted(receipts)
        streams = Counter(s.stream for s in samples)
        expected = {"wrench", "pressure"} if number in BOTH else (
            {"wrench"} if number == 8 else {"pressure"}
        )  # fmt: skip
        assert set(streams) == expected == set(recording.streams)
        assert set(recording.absent) == {"wrench", "pressure"} - expected
        readings = [s.values[0] for s in samples if s.stream == "pressure"]
        # Absolute pressure in Pa: between a good vacuum and a fair day.
        assert all(5_000 < p < 105_000 for p in readings)
    if number in (0, 1, 2, 8):
        with pytest.raises(DataError, match="no topic"):
            open_recording(path, suction_spec())


def test_ros1_bag_copied_to_ros2_gives_the_same_samples(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "suction_vacuum_bags" / "trial_10.bag"
    copy = tmp_path / "copy"
    with open_recording(source, suction_spec()) as recording:
        assert isinstance(recording, BagRecording)
        direct = list(recording.samples())
        with BagWriter(copy) as writer:
            for item in recording.items():
                assert item.topic is not None
                writer.raw(writer.copy_topic(item.topic), item.receipt_ns, item.raw)
        assert recording.not_copied == ()
    with open_recording(copy, suction_spec()) as recording:
        assert isinstance(recording, BagRecording)
        assert set(recording.topics) == {"/wrench", "/gripper/pressure"}
        assert same(direct, list(recording.samples()))
    # Any other reader agrees on the bytes.
    with rosbag2.Reader(copy) as reader:
        connection = next(c for c in reader.connections if c.msgtype == WRENCH)
        _, _, raw = next(iter(reader.messages([connection])))
        assert typestore().deserialize_cdr(raw, WRENCH).header.frame_id == "tool0_controller"


def same(a: list[Any], b: list[Any]) -> bool:
    return len(a) == len(b) and all(
        x[:3] == y[:3] and np.array_equal(x[3], y[3], equal_nan=True)
        for x, y in zip(a, b, strict=True)
    )


# --- reading ------------------------------------------------------------------------------------


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_folder_and_single_file_read_the_same(tmp_path: Path, storage: Any) -> None:
    folder = write_bag(tmp_path / "bag", storage=storage)
    with open_recording(folder, suction_spec()) as recording:
        samples = list(recording.samples())
        extent = recording.start_ns, recording.end_ns, recording.message_count
    assert extent == (START, START + 49 * 2_000_000 + 1, 55)
    single = next(p for p in folder.iterdir() if p.suffix in (".mcap", ".db3"))
    with open_recording(single, suction_spec()) as recording:
        assert same(samples, list(recording.samples()))
        assert extent == (recording.start_ns, recording.end_ns, recording.message_count)
    (folder / "metadata.yaml").unlink()
    with open_recording(folder, suction_spec()) as recording:
        assert same(samples, list(recording.samples()))


def test_items_carry_the_same_samples_and_every_message(tmp_path: Path) -> None:
    folder = write_bag(tmp_path / "bag")
    spec = suction_spec(pressure={"topic": "/not_there"})
    with open_recording(folder, spec, allow_missing=["pressure"]) as recording:
        assert isinstance(recording, BagRecording)
        items = list(recording.items())
        assert same(list(recording.samples()), [s for i in items for s in i.samples])
        recorded = [(c.topic, t, raw) for c, t, raw in recording.messages()]
    assert [(i.topic and i.topic.name, i.receipt_ns, i.raw) for i in items] == recorded
    assert len(items) == 55
    assert sum(not i.samples for i in items) == 5


def test_several_streams_of_one_topic_come_with_the_step_stream_last(tmp_path: Path) -> None:
    folder = write_bag(tmp_path / "bag", 3)
    torque = {
        "modality": "state", "topic": "wrench", "type": "geometry_msgs/WrenchStamped", "rate": 500,
        "features": [{"name": "t", "field": "wrench.torque", "names": XYZ, "unit": "N*m"}],
    }  # fmt: skip
    with open_recording(folder, suction_spec(torque=torque)) as recording:
        names = [s.stream for s in recording.samples()]
    assert names == ["pressure", "torque", "wrench", "torque", "wrench", "torque", "wrench"]


def test_types_that_are_not_needed_may_be_unknown(tmp_path: Path) -> None:
    folder = tmp_path / "bag"
    with BagWriter(folder) as writer:
        odd = BagTopic("/odd", "acme_msgs/msg/Odd", "no_such/Type x\n", "RIHS01_" + "0" * 64)
        writer.raw(writer.copy_topic(odd), START, b"\x00\x01\x00\x00")
        writer.raw(writer.add_topic("/wrench", WRENCH), START, wrench(START))
    with open_recording(folder, suction_spec(), allow_missing=["pressure"]) as recording:
        assert len(list(recording.samples())) == 1
    needs = suction_spec(pressure={"topic": "/odd", "type": "acme_msgs/msg/Odd"})
    with pytest.raises(DataError, match="message type acme_msgs/msg/Odd is unknown"):
        open_recording(folder, needs)


def test_type_of_another_package_is_read_by_its_embedded_definition(tmp_path: Path) -> None:
    folder = tmp_path / "bag"
    with BagWriter(folder) as writer:
        own = BagTopic("/grip", "acme_msgs/msg/Grip", "uint8 a\nfloat64 width\n", "RIHS01_1")
        raw = b"\x00\x01\x00\x00" + b"\x05" + bytes(7) + np.float64(0.25).tobytes()
        writer.raw(writer.copy_topic(own), START, raw)
    stream = {
        "modality": "telemetry", "topic": "/grip", "type": "acme_msgs/Grip", "rate": 10,
        "clock": "receipt", "features": [{"name": "w", "field": "width", "unit": "mm"}],
    }  # fmt: skip
    spec = suction_spec(grip=stream)
    with open_recording(folder, spec, allow_missing=["wrench", "pressure"]) as recording:
        assert [s.values.tolist() for s in recording.samples()] == [[0.00025]]


def test_old_sqlite_bag_without_definitions_uses_jazzy(tmp_path: Path) -> None:
    path = tmp_path / "old.db3"
    connection = sqlite3.connect(path)
    connection.executescript(
        "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT, type TEXT,"
        " serialization_format TEXT, offered_qos_profiles TEXT);"
        "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER,"
        " data BLOB);"
    )
    connection.execute("INSERT INTO topics VALUES(1, '/wrench', ?, 'cdr', '')", (WRENCH,))
    connection.execute("INSERT INTO topics VALUES(2, '/odd', 'acme_msgs/msg/Odd', 'cdr', '')")
    connection.execute("INSERT INTO messages VALUES(1, 1, ?, ?)", (START, wrench(START, 7.0)))
    connection.execute("INSERT INTO messages VALUES(2, 2, ?, ?)", (START, b"\x00\x01\x00\x00"))
    connection.commit()
    connection.close()
    with open_recording(path, suction_spec(), allow_missing=["pressure"]) as recording:
        assert isinstance(recording, BagRecording)
        assert [s.values[0] for s in recording.samples()] == [7.0]
        assert recording.not_copied == ("/odd",)
        assert [i.topic is None for i in recording.items()] == [False, True]


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    peaks = []
    for name, count in (("short", 20_000), ("long", 60_000)):
        folder = tmp_path / name
        with BagWriter(folder) as writer:
            topic = writer.add_topic("/wrench", WRENCH)
            for i in range(count):
                writer.raw(topic, START + i, WRENCH_BYTES)
        with open_recording(folder, suction_spec(), allow_missing=True) as recording:
            tracemalloc.start()
            for _ in recording.samples():
                pass
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


WRENCH_BYTES = wrench(START)


# --- what is wrong with a bag -------------------------------------------------------------------


def message_of(call: Callable[[], Any]) -> str:
    with pytest.raises(ProError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_missing_topic_names_stream_topic_file_and_the_near_one(tmp_path: Path) -> None:
    folder = write_bag(tmp_path / "bag")
    spec = suction_spec(pressure={"topic": "/gripper/presure"})
    assert message_of(lambda: open_recording(folder, spec)) == (
        f"{folder}: stream 'pressure': no topic '/gripper/presure', "
        "did you mean '/gripper/pressure'?"
    )
    with open_recording(folder, spec, allow_missing=["pressure"]) as recording:
        assert recording.absent == ("pressure",)
    nothing = suction_spec(pressure={"topic": "/a"}, wrench={"topic": "/b"})
    text = message_of(lambda: open_recording(folder, nothing, allow_missing=True))
    assert text == f"{folder}: has no topic of any stream (it has: /gripper/pressure, /wrench)"


def test_other_type_is_refused(tmp_path: Path) -> None:
    folder = write_bag(tmp_path / "bag")
    spec = suction_spec(pressure={"type": "std_msgs/msg/Float64"})
    text = message_of(lambda: open_recording(folder, spec, allow_missing=True))
    assert text.endswith(
        "stream 'pressure': topic '/gripper/pressure' is of type std_msgs/msg/Float32,"
        " expected std_msgs/msg/Float64"
    )


def test_stream_without_topic_is_refused(tmp_path: Path) -> None:
    folder = write_bag(tmp_path / "bag")
    only_table = {"modality": "state", "rate": 1, "features": [{"name": "a", "columns": ["a"]}]}
    with pytest.raises(SpecError, match="stream 'extra' has no 'topic'"):
        open_recording(folder, suction_spec(extra=only_table))


def test_bag_without_messages_says_so(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        writer.add_topic("/wrench", WRENCH)
    text = message_of(lambda: open_recording(tmp_path / "bag", suction_spec()))
    assert text == f"{tmp_path / 'bag'}: the recording holds no messages"


def test_missing_or_foreign_paths_are_one_line(tmp_path: Path) -> None:
    spec = suction_spec()
    assert "no such file or folder" in message_of(lambda: open_recording(tmp_path / "no", spec))
    (tmp_path / "notes.txt").write_text("hello")
    assert "not a recording" in message_of(lambda: open_recording(tmp_path / "notes.txt", spec))
    assert "folder holds no recording" in message_of(lambda: open_recording(tmp_path, spec))
    for name in ("a.mcap", "a.bag", "a.db3"):
        (tmp_path / name).write_text("hello")
        text = message_of(lambda name=name: open_recording(tmp_path / name, spec))
        assert text.startswith(f"{tmp_path / name}: damaged or truncated")
        (tmp_path / name).write_bytes(b"")
        text = message_of(lambda name=name: open_recording(tmp_path / name, spec))
        assert text.startswith(f"{tmp_path / name}: damaged or truncated")


def test_unset_stamp_is_said_with_file_and_stream(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        writer.raw(writer.add_topic("/wrench", WRENCH), START, wrench(0))
    with open_recording(tmp_path / "bag", suction_spec(), allow_missing=True) as recording:
        text = message_of(lambda: list(recording.samples()))
    assert text.startswith(f"{tmp_path / 'bag'}: stream 'wrench': the header's stamp is unset")


def test_announced_messages_that_are_not_there_are_missed(tmp_path: Path) -> None:
    folder = write_bag(tmp_path / "bag")
    metadata = folder / "metadata.yaml"
    metadata.write_text(metadata.read_text().replace("message_count: 50", "message_count: 51"))
    with open_recording(folder, suction_spec()) as recording:
        text = message_of(lambda: list(recording.samples()))
    assert "51 messages on '/wrench' are announced, 50 are there" in text


def read_all(path: Path) -> None:
    with open_recording(path, suction_spec(), allow_missing=True) as recording:
        assert isinstance(recording, BagRecording)
        for _ in recording.items():
            pass


@lru_cache
def whole_file(kind: str) -> bytes:
    storage: Any = "sqlite3" if kind == ".db3" else "mcap"
    with tempfile.TemporaryDirectory() as folder:
        bag = write_bag(Path(folder) / "bag", 30, storage=storage, compress=kind == "zstd.mcap")
        return next(p for p in bag.iterdir() if p.stem == "bag").read_bytes()


@pytest.mark.parametrize("kind", [".mcap", "zstd.mcap", ".db3"])
def test_truncated_file_is_one_line_wherever_it_is_cut(tmp_path: Path, kind: str) -> None:
    whole = whole_file(kind)
    path = tmp_path / f"cut{Path('x' + kind).suffix}"
    for keep in range(0, len(whole) - 1, len(whole) // 60):
        path.write_bytes(whole[:keep])
        text = message_of(lambda: read_all(path))
        assert text.startswith(f"{path}: ")


def test_truncated_ros1_bag_is_one_line(shared_data: Path, tmp_path: Path) -> None:
    whole = (shared_data / "suction_vacuum_bags" / "trial_17.bag").read_bytes()
    path = tmp_path / "cut.bag"
    for keep in range(0, len(whole) - 1, len(whole) // 40):
        path.write_bytes(whole[:keep])
        assert message_of(lambda: read_all(path)).startswith(f"{path}: ")


@settings(max_examples=100, deadline=None)
@given(kind=st.sampled_from([".mcap", "zstd.mcap", ".db3"]), seed=st.integers(0, 2**32))
def test_flipped_bytes_never_escape_as_another_error(kind: str, seed: int) -> None:
    data = bytearray(whole_file(kind))
    chance = random.Random(seed)
    for _ in range(chance.randrange(1, 8)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"flipped{Path('x' + kind).suffix}"
        path.write_bytes(data)
        said = f"{path}: nothing"
        try:
            read_all(path)
        except ProError as error:
            said = str(error)
        assert said.startswith(f"{path}: ")
        assert "\n" not in said


# --- writing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"compress": True}, {"storage": "sqlite3"}])
def test_same_messages_give_the_same_bytes(tmp_path: Path, options: dict[str, Any]) -> None:
    one = write_bag(tmp_path / "a" / "bag", **options)
    two = write_bag(tmp_path / "b" / "bag", **options)
    assert names(one) == names(two)
    for name in names(one):
        assert (one / name).read_bytes() == (two / name).read_bytes(), name


def test_faster_writer_gives_the_bytes_of_rosbags(tmp_path: Path) -> None:
    text, digest = definition(WRENCH)
    data = wrench(START)
    for folder, plugin in (("fast", mcap.ChunkWriter), ("plain", McapWriter)):
        (tmp_path / folder).mkdir()

        class Plain(rosbag2.Writer):
            STORAGE_PLUGINS = {StoragePlugin.MCAP: plugin}  # noqa: RUF012

        kind = mcap.Writer if plugin is mcap.ChunkWriter else Plain
        bag = kind(tmp_path / folder / "bag", version=9, storage_plugin=StoragePlugin.MCAP)
        with bag:
            topic = bag.add_connection("/w", WRENCH, msgdef=text, rihs01=digest)
            for i in range(12_000):
                bag.write(topic, START + (i * 7919) % 12_000, data)
    for name in ("bag.mcap", "metadata.yaml"):
        fast, plain = (tmp_path / f / "bag" / name for f in ("fast", "plain"))
        assert fast.read_bytes() == plain.read_bytes()


@settings(max_examples=60, deadline=None)
@given(
    times=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2)), min_size=1, max_size=60),
    chunk=st.integers(0, 400),
    wanted=st.sets(st.integers(0, 2), min_size=1),
)
def test_faster_reader_gives_the_messages_of_rosbags(
    times: list[tuple[int, int]], chunk: int, wanted: set[int]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bag"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(mcap, "_CHUNK_BYTES", chunk)
            text, digest = definition(FLOAT)
            with mcap.Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
                topics = [
                    writer.add_connection(f"/p{k}", FLOAT, msgdef=text, rihs01=digest)
                    for k in range(3)
                ]
                for i, (t, k) in enumerate(times):
                    writer.write(topics[k], t, pressure(float(i)))
        results = []
        for kind in (rosbag2.Reader, mcap.Reader):
            with kind(path) as reader:
                chosen = [c for c in reader.connections if int(c.topic[2:]) in wanted]
                results.append([(c.topic, t, bytes(d)) for c, t, d in reader.messages(chosen)])
        assert results[0] == results[1]


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_failure_while_writing_leaves_nothing(tmp_path: Path, storage: Any) -> None:
    def write() -> None:
        with BagWriter(tmp_path / "bag", storage) as writer:
            writer.raw(writer.add_topic("/wrench", WRENCH), START, wrench(START))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert names(tmp_path) == []


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_full_disk_while_writing_a_bag_is_one_line(tmp_path: Path, storage: str) -> None:
    code = """
import resource, sys
from pro_ros.episodes.bagwriter import BagWriter
from pro_ros.errors import StorageError
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
try:
    with BagWriter(sys.argv[1], sys.argv[2]) as writer:
        topic = writer.add_topic("/data", "std_msgs/msg/Float32")
        for i in range(100):
            writer.raw(topic, i, bytes(100_000))
except StorageError as error:
    print(error)
"""
    target = tmp_path / "bag"
    done = subprocess.run(
        [sys.executable, "-c", code, str(target), storage],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout.startswith(f"{target}: cannot be written: ")
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
    assert names(tmp_path) == []


def test_existing_bag_is_refused_and_kept_unless_overwritten(tmp_path: Path) -> None:
    folder = write_bag(tmp_path / "bag", 5)
    before = (folder / "metadata.yaml").read_bytes()
    with pytest.raises(StorageError, match="exists already"):
        write_bag(folder, 6)
    assert (folder / "metadata.yaml").read_bytes() == before
    write_bag(folder, 6, overwrite=True)
    with open_recording(folder, suction_spec()) as recording:
        assert recording.message_count == 7


def test_bag_can_be_moved_and_renamed(tmp_path: Path) -> None:
    folder = write_bag(tmp_path / "bag")
    moved = tmp_path / "elsewhere"
    shutil.move(folder, moved)
    with open_recording(moved, suction_spec()) as recording:
        assert len(list(recording.samples())) == 55
