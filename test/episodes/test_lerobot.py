"""LeRobot v3 data sets, written here as LeRobot writes them, read in place."""

from __future__ import annotations

import builtins
import io
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pro_ros.episodes.arrays import sequences
from pro_ros.episodes.dataset import Dataset, Source, create_dataset
from pro_ros.episodes.lerobot import open_lerobot_episode
from pro_ros.episodes.lerobot_folder import is_lerobot
from pro_ros.episodes.runs import open_run
from pro_ros.errors import DataError, SpecError
from pro_ros.streams.spec import parse_spec

av = pytest.importorskip("av")

FPS = 10
LENGTHS = (12, 8, 15)
TASKS = ("pick the box", "place the box", "pick the box")
CAMERA = "observation.images.front"
WRIST = "observation.images.wrist"
S = 1_000_000_000


def brightness(index):
    """Grey value of a frame by its number in the data set."""
    return 20 + 6 * index


def write_video(path, indices):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.options = {"crf": "10", "g": "4"}
        for index in indices:
            pixels = np.full((48, 64, 3), brightness(index), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def png(index):
    out = io.BytesIO()
    Image.fromarray(np.full((16, 16, 3), brightness(index), np.uint8)).save(out, "PNG")
    return {"bytes": out.getvalue(), "path": f"frame-{index:06d}.png"}


def write_lerobot(root):
    """Three episodes: two in the first data file and video, one in the second of both."""
    starts = np.cumsum([0, *LENGTHS])
    features = {
        "observation.state": {
            "dtype": "float32", "shape": [2], "names": {"motors": ["shoulder", "elbow"]},
        },
        "action": {"dtype": "float32", "shape": [2], "names": ["shoulder", "elbow"]},
        CAMERA: {"dtype": "video", "shape": [48, 64, 3], "names": ["height", "width", "channels"]},
        WRIST: {"dtype": "image", "shape": [16, 16, 3], "names": ["height", "width", "channels"]},
        "next.success": {"dtype": "bool", "shape": [1], "names": None},
        "timestamp": {"dtype": "float32", "shape": [1], "names": None},
    }  # fmt: skip
    features |= {
        k: {"dtype": "int64", "shape": [1], "names": None}
        for k in ("frame_index", "episode_index", "index", "task_index")
    }
    (root / "meta" / "episodes" / "chunk-000").mkdir(parents=True)
    (root / "data" / "chunk-000").mkdir(parents=True)
    info = {
        "codebase_version": "v3.0", "robot_type": "so100", "total_episodes": len(LENGTHS),
        "total_frames": int(starts[-1]), "total_tasks": 2, "chunks_size": 1000, "fps": FPS,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": features, "splits": {"train": "0:3"},
    }  # fmt: skip
    (root / "meta" / "info.json").write_text(json.dumps(info, indent=4))
    tasks = pd.DataFrame({"task_index": [0, 1]}, index=sorted(set(TASKS)))
    tasks.to_parquet(root / "meta" / "tasks.parquet")
    rows, meta = [], []
    for episode, length in enumerate(LENGTHS):
        for frame in range(length):
            index = int(starts[episode]) + frame
            rows.append({
                "observation.state": np.array([index, -index], np.float32),
                "action": np.array([frame, 0.5], np.float32),
                WRIST: png(index),
                "next.success": episode != 1 and frame == length - 1,
                "timestamp": np.float32(frame / FPS),
                "frame_index": frame, "episode_index": episode, "index": index,
                "task_index": sorted(set(TASKS)).index(TASKS[episode]),
            })  # fmt: skip
        file = 0 if episode < 2 else 1
        begin = (starts[episode] - (0 if file == 0 else starts[2])) / FPS
        meta.append({
            "episode_index": episode, "tasks": [TASKS[episode]], "length": length,
            "data/chunk_index": 0, "data/file_index": file,
            "dataset_from_index": int(starts[episode]),
            "dataset_to_index": int(starts[episode + 1]),
            f"videos/{CAMERA}/chunk_index": 0, f"videos/{CAMERA}/file_index": file,
            f"videos/{CAMERA}/from_timestamp": float(begin),
            f"videos/{CAMERA}/to_timestamp": float(begin + length / FPS),
            "stats/action/min": [0.0, 0.5],
            "meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0,
        })  # fmt: skip
    pq.write_table(
        pa.Table.from_pylist(meta), root / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
    )
    for file in range(2):
        part = [r for r in rows if (r["episode_index"] < 2) == (file == 0)]
        part = [r | {k: r[k].tolist() for k in ("observation.state", "action")} for r in part]
        pq.write_table(
            pa.Table.from_pylist(part), root / "data" / "chunk-000" / f"file-{file:03d}.parquet"
        )
        write_video(
            root / "videos" / CAMERA / "chunk-000" / f"file-{file:03d}.mp4",
            [r["index"] for r in part],
        )
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_lerobot(tmp_path_factory.mktemp("lerobot") / "so100_pick")


@pytest.fixture
def writable(tmp_path):
    return write_lerobot(tmp_path / "so100_pick")


def make_spec(**streams):
    numbers = {
        "joints": {
            "modality": "state", "rate": FPS,
            "features": [{
                "name": "position", "names": ["shoulder", "elbow"], "unit": "deg",
                "columns": ["observation.state.shoulder", "observation.state[1]"],
            }],
        },
        "command": {
            "modality": "action", "rate": FPS,
            "features": [{"name": "a", "columns": ["action[0]"]}],
        },
        "result": {
            "modality": "label", "rate": FPS,
            "features": [{"name": "success", "columns": ["next.success"]}],
        },
    }  # fmt: skip
    return parse_spec(
        {
            "format": "pro_ros/streams/1",
            "robot": "so100",
            "step": {"on": "joints"},
            "gap": 1.0,
            "streams": numbers | streams,
            "episodes": {
                "by": "file",
                "outcome": {"signal": "result.success", "success": 1},
                "context": {"site": "lab"},
            },
        },
        "test",
    )


def camera(topic=CAMERA, kind="lerobot/video", size=16):
    return {
        "modality": "visual", "rate": FPS, "topic": topic, "type": kind,
        "image": {"height": size, "width": size},
    }  # fmt: skip


def read(folder, run, spec):
    with open_lerobot_episode(folder, run, spec) as recording:
        return list(recording.samples()), recording


def test_an_episode_is_read_out_of_a_file_that_holds_many(folder):
    samples, recording = read(folder, "1", make_spec())
    joints = [s for s in samples if s.stream == "joints"]
    assert len(joints) == LENGTHS[1]
    index = np.arange(12, 20)
    found = np.array([s.values for s in joints])
    np.testing.assert_allclose(found, np.radians(np.stack([index, -index], axis=1)), rtol=1e-6)
    assert [s.receipt_ns for s in joints] == [int(i) * S // FPS for i in index]
    assert (recording.start_ns, recording.end_ns) == (joints[0].receipt_ns, 19 * S // FPS + 1)
    assert recording.message_count == LENGTHS[1]


def test_the_stream_that_makes_the_steps_comes_last_in_a_frame(folder):
    samples, _ = read(folder, "0", make_spec(front=camera()))
    first = [s.stream for s in samples if s.receipt_ns == samples[0].receipt_ns]
    assert first == ["command", "result", "front", "joints"]
    assert [s.receipt_ns for s in samples] == sorted(s.receipt_ns for s in samples)


@pytest.mark.parametrize("run", ["0", "1", "2"])
def test_frames_of_a_video_are_those_of_the_episode(folder, run):
    samples, _ = read(folder, run, make_spec(front=camera()))
    frames = [s for s in samples if s.stream == "front"]
    assert len(frames) == LENGTHS[int(run)]
    for sample in frames:
        index = sample.receipt_ns * FPS // S
        assert sample.values.shape == (16, 16, 3)
        # Neighbouring frames differ by 6 in brightness: a shift by one would show.
        assert abs(float(sample.values.mean()) - brightness(index)) < 2.5


def test_frames_in_the_table_are_read(folder):
    spec = make_spec(wrist=camera(WRIST, "lerobot/image", size=8))
    samples, _ = read(folder, "2", spec)
    frames = [s for s in samples if s.stream == "wrist"]
    assert [int(s.values[0, 0, 0]) for s in frames] == [brightness(i) for i in range(20, 35)]


def test_a_lerobot_folder_becomes_a_data_set_without_copying(folder, tmp_path):
    spec = make_spec(front=camera())
    made = create_dataset(tmp_path / "ds", "so100", spec, [Source("so100", folder)])
    manifest = made.dataset.manifest
    assert made.warnings == ()
    assert [r.id for r in manifest.recordings] == [f"so100-{n:06d}" for n in range(3)]
    assert [e.outcome for e in manifest.episodes] == ["success", "failure", "success"]
    assert [e.task for e in manifest.episodes] == list(TASKS)
    assert [e.retry_of for e in manifest.episodes] == [None, None, None]
    assert manifest.episodes[0].context == {"site": "lab"}
    assert not (tmp_path / "ds" / "recordings").exists()
    found = sequences(Dataset.load(tmp_path / "ds"), cache=tmp_path / "cache")
    assert [len(s) for s in found] == list(LENGTHS)
    assert found[1].frames["front"].shape == (8, 3, 16, 16)
    assert found[1].frame_mask["front"].all()
    assert made.dataset.fingerprint() == Dataset.load(tmp_path / "ds").fingerprint()


def test_one_episode_can_be_opened_by_its_path(folder):
    with open_run(f"{folder}#2", make_spec()) as recording:
        assert sum(1 for s in recording.samples() if s.stream == "joints") == LENGTHS[2]


@pytest.mark.parametrize("version", ["v2.1", "v2.0", "v1.6", None])
def test_another_version_is_named(writable, version):
    path = writable / "meta" / "info.json"
    info = json.loads(path.read_text()) | {"codebase_version": version}
    path.write_text(json.dumps(info))
    assert is_lerobot(writable)
    with pytest.raises(DataError, match=rf"version {version}; version v3.0 is read") as caught:
        read(writable, "0", make_spec())
    assert "\n" not in str(caught.value)


def test_what_is_not_there_is_named_with_its_nearest_name(folder):
    def fails(run="0", allow=False, **streams):
        with pytest.raises((DataError, SpecError)) as caught:
            open_lerobot_episode(folder, run, make_spec(**streams), allow_missing=allow)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    wrong = {"modality": "telemetry", "rate": 1.0}
    assert "no episode '7' (the last is 2)" in fails("7")
    assert "no episode ''" in fails("")
    line = fails(x={**wrong, "features": [{"name": "a", "columns": ["action.sholder"]}]})
    assert "stream 'x': no column 'action.sholder', did you mean 'action.shoulder'?" in line
    assert "names no 'columns'" in fails(x={**wrong, "features": [{"name": "a", "field": "a"}]})
    line = fails(front=camera("observation.images.fornt"))
    assert f"no video 'observation.images.fornt', did you mean '{CAMERA}'?" in line
    assert "no image" in fails(front=camera(CAMERA, "lerobot/image"))
    assert "has type lerobot/video or lerobot/image" in fails(
        front=camera(CAMERA, "sensor_msgs/msg/Image")
    )


def test_a_lacking_stream_may_be_allowed(folder):
    spec = make_spec(front=camera("observation.images.top"))
    recording = open_lerobot_episode(folder, "0", spec, allow_missing=("front",))
    assert recording.absent == ("front",)
    assert {s.stream for s in recording.samples()} == {"joints", "command", "result"}


def test_damage_is_one_line_that_names_the_file(writable):
    def fails(run="0"):
        with pytest.raises(DataError) as caught:
            read(writable, run, make_spec(front=camera()))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    data = writable / "data" / "chunk-000" / "file-000.parquet"
    video = writable / "videos" / CAMERA / "chunk-000" / "file-000.mp4"
    whole = video.read_bytes()
    video.write_bytes(whole[:300])
    assert str(video) in fails()
    video.unlink()
    assert f"{video}: no such video" in fails()
    video.write_bytes(whole)
    table = pq.read_table(data)
    frames = table.column("frame_index").to_numpy().copy()
    pq.write_table(table.slice(0, 5), data)
    assert "episode 0 has 5 frames, the metadata says 12" in fails()
    frames[3] = 9
    at = table.schema.get_field_index("frame_index")
    pq.write_table(table.set_column(at, "frame_index", pa.array(frames)), data)
    assert "expected frame 3 at 0.3 s, found frame 9" in fails()
    data.write_bytes(b"PAR1 not really")
    assert str(data) in fails()
    data.unlink()
    assert f"{data}: missing: it holds episode 0" in fails()
    episodes = writable / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
    episodes.unlink()
    assert "no meta/episodes" in fails()
    (writable / "meta" / "info.json").write_text("{")
    assert "info.json: not valid JSON" in fails()


def test_a_video_that_ends_early_gives_fewer_frames_and_none_is_made_up(writable):
    video = writable / "videos" / CAMERA / "chunk-000" / "file-000.mp4"
    write_video(video, range(15))
    samples, _ = read(writable, "1", make_spec(front=camera()))
    assert sum(s.stream == "front" for s in samples) == 3
    assert sum(s.stream == "joints" for s in samples) == LENGTHS[1]


def test_without_the_video_package_one_line_says_what_to_install(folder, monkeypatch):
    real = builtins.__import__

    def without_av(name, *args, **kwargs):
        if name == "av":
            raise ImportError("No module named 'av'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_av)
    samples, _ = read(folder, "0", make_spec())
    assert samples
    with pytest.raises(
        DataError, match=r"needs the package 'av': pip install 'pro_ros\[lerobot\]'"
    ):
        read(folder, "0", make_spec(front=camera()))


def test_a_data_set_of_cameras_only_is_cut_too(folder, tmp_path):
    raw = make_spec(front=camera()).model_dump(mode="json", exclude_defaults=True)
    for name in ("joints", "command"):
        del raw["streams"][name]
    raw["step"] = {"on": "front"}
    made = create_dataset(tmp_path / "ds", "n", parse_spec(raw, "test"), [Source("x", folder)])
    assert [len(s) for s in sequences(made.dataset)] == list(LENGTHS)
