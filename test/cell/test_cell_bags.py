"""Bags of the cell, and what an import finds in them."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path

import pytest
from made_up_readings import NS, RATES, T0, readings
from rosbags.rosbag2 import Reader

from pro_ros.cell.bags import EpisodeBag
from pro_ros.cell.messages import TOPICS
from pro_ros.cell.samples import Sampler
from pro_ros.cell.sensors import Reading
from pro_ros.config import load_model
from pro_ros.episodes.bags import BagRecording
from pro_ros.episodes.dataset import Dataset, Source, create_dataset
from pro_ros.episodes.marks import BEGIN, END, EventMark, Mark, TaskMark
from pro_ros.episodes.mcap import Writer
from pro_ros.errors import StorageError
from pro_ros.paths import share_file
from pro_ros.streams.spec import load_spec
from pro_ros.streams.stepper import Stepper
from pro_ros.training.config import TrainingConfig

SPEC = load_spec(share_file("config/cell/streams.yaml"))

TABLE = {
    "/joint_states": "sensor_msgs/msg/JointState",
    "/wrench": "geometry_msgs/msg/WrenchStamped",
    "/vacuum/pressure": "sensor_msgs/msg/FluidPressure",
    "/gripper/part_present": "std_msgs/msg/Bool",
    "/gripper/valve": "std_msgs/msg/Int8",
    "/policy/action": "geometry_msgs/msg/TwistStamped",
    "/policy/valve": "std_msgs/msg/Int8",
    "/robot/protective_stop": "std_msgs/msg/Bool",
    "/scale/source": "std_msgs/msg/Float32",
    "/scale/target": "std_msgs/msg/Float32",
    "/vision/item_pose": "geometry_msgs/msg/PoseStamped",
    "/camera/image/compressed": "sensor_msgs/msg/CompressedImage",
    "/pro/episode_event": "pro_ros/msg/EpisodeEvent",
    "/pro/task_context": "pro_ros/msg/TaskContext",
}
"""All that a robot may say: nothing of the simulator's state is among it."""

RATES_SLOW = {**RATES, "joints": 125, "wrench": 125, "vacuum": 20}


def at(seconds: float) -> int:
    return T0 + round(seconds * NS)


def task(seconds: float, attempt: int, retry_of: str = "") -> TaskMark:
    return TaskMark(
        at(seconds), "pick the tea box", "t7", {"sku": "tea_box", "site": "ash", "robot": "cell"},
        f"t7#{attempt}", attempt, retry_of,
    )  # fmt: skip


def two_attempts() -> list[Mark]:
    """A drop and a miss, then a success; the drop lasts."""
    return [
        task(0.5, 1),
        EventMark(at(0.5), BEGIN, episode_id="t7#1"),
        EventMark(at(1.5), 13, phase=1, episode_id="t7#1"),
        EventMark(at(1.8), 13, phase=2, episode_id="t7#1"),
        EventMark(at(1.9), 10, name="miss", episode_id="t7#1", receipt_ns=at(1.95)),
        EventMark(at(2.0), END, outcome=2, episode_id="t7#1"),
        task(2.2, 2, "t7#1"),
        EventMark(at(2.2), BEGIN, episode_id="t7#2"),
        EventMark(at(3.5), END, outcome=1, episode_id="t7#2"),
    ]


def write(path: Path, said: list[Reading], marks: list[Mark], about: str = "") -> Path:
    with EpisodeBag(path, {"about": about} if about else None) as bag:
        for mark in marks:
            bag.mark(mark)
        for reading in said:
            bag.reading(reading)
    return path


@pytest.mark.parametrize("rates", [RATES, RATES_SLOW])
def test_an_import_finds_attempts_outcomes_events_and_context(
    tmp_path: Path, rates: dict[str, int]
) -> None:
    bag = write(tmp_path / "t7", readings(4.0, rates), two_attempts())
    created = create_dataset(tmp_path / "data", "d", SPEC, [Source("t7", bag)])
    manifest = Dataset.load(tmp_path / "data").manifest
    first, second = manifest.episodes
    assert (first.outcome, second.outcome) == ("failure", "success")
    assert (first.start_ns, first.end_ns) == (at(0.5), at(2.0))
    assert (first.attempt, second.attempt) == (1, 2)
    assert second.retry_of == first.id
    assert first.end_seen
    assert second.end_seen
    assert first.task == "pick the tea box"
    assert first.context == {"sku": "tea_box", "site": "ash", "robot": "cell"}
    found = [(e.name, e.kind, e.start_ns, e.end_ns, e.episode) for e in manifest.events]
    assert found == [
        ("drop", "drop", at(1.5), at(1.8), first.id),
        ("miss", "failure", at(1.9), at(1.9), first.id),
    ]
    assert created.warnings == ()


@pytest.mark.parametrize("rates", [RATES, RATES_SLOW])
def test_steps_of_every_site_are_whole(rates: dict[str, int]) -> None:
    stepper = Stepper(SPEC)
    sampler = Sampler(SPEC)
    samples = [s for r in readings(3.0, rates) if (s := sampler.sample(r)) is not None]
    steps = [step for sample in samples for step in stepper.feed(sample)]
    late = [s for s in steps if s.t_ns > at(0.5)]
    assert len(late) >= 2.4 * SPEC.step.rate
    for step in late:
        assert step.stale == step.frozen == step.incomplete == ()
        absent = [
            name
            for modality, names in SPEC.layout.items()
            for name, there in zip(names, step.mask[modality], strict=True)
            # No episode has begun.
            if not there and "@episode" not in name
        ]
        assert absent == []


def test_the_bag_says_what_the_devices_said(tmp_path: Path) -> None:
    said = readings(1.0)
    bag = write(tmp_path / "t7", said, two_attempts())
    sampler = Sampler(SPEC)
    expected = [s for r in said if (s := sampler.sample(r)) is not None]
    with BagRecording(bag, SPEC) as recording:
        found = list(recording.samples())

    def key(sample: object) -> tuple[object, ...]:
        name, receipt_ns, stamp_ns, numbers = sample  # type: ignore[misc]
        return receipt_ns, name, stamp_ns, numbers.tolist()

    assert sorted(map(key, found)) == sorted(map(key, expected))


def test_topics_are_those_of_the_table_and_no_others(tmp_path: Path) -> None:
    camera = Reading("camera", T0, T0 + 9, b"a frame")
    bag = write(tmp_path / "t7", [*readings(0.5), camera], two_attempts())
    with Reader(bag) as reader:
        assert {c.topic: c.msgtype for c in reader.connections} == TABLE
    assert set(TOPICS.values()) < set(TABLE.items())


def test_a_cell_without_a_camera_has_no_such_topic_but_all_others(tmp_path: Path) -> None:
    bag = write(tmp_path / "t7", readings(0.02, {"joints": 500}), [])
    with Reader(bag) as reader:
        assert {c.topic for c in reader.connections} == set(TABLE) - {"/camera/image/compressed"}


def test_task_contexts_are_latched_in_the_bag(tmp_path: Path) -> None:
    bag = write(tmp_path / "t7", readings(0.02, {"joints": 500}), [])
    with Reader(bag) as reader:
        durable = {
            c.topic
            for c in reader.connections
            if c.ext.offered_qos_profiles[0].durability.name == "TRANSIENT_LOCAL"  # type: ignore[union-attr]
        }
    assert durable == {"/pro/task_context"}


def test_the_same_readings_give_the_same_bytes(tmp_path: Path) -> None:
    digests = []
    for name in ("a", "b"):
        bag = write(tmp_path / name / "t7", readings(1.0), two_attempts(), about="seed 3")
        files = sorted(p for p in bag.rglob("*") if p.is_file())
        digests.append([(p.name, hashlib.sha256(p.read_bytes()).hexdigest()) for p in files])
    assert digests[0] == digests[1]


def test_a_bag_that_is_broken_off_leaves_nothing(tmp_path: Path) -> None:
    def break_off() -> None:
        with EpisodeBag(tmp_path / "t7") as bag:
            bag.reading(readings(0.1)[0])
            raise RuntimeError("diverged")

    with pytest.raises(RuntimeError, match="diverged"):
        break_off()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Writer, "write", full)
    with pytest.raises(StorageError) as caught, EpisodeBag(tmp_path / "t7") as bag:
        bag.reading(readings(0.1)[0])
    place = tmp_path / "t7"
    assert str(caught.value) == f"{place}: cannot be written: No space left on device"
    assert list(tmp_path.iterdir()) == []


def test_an_existing_bag_is_kept_unless_asked(tmp_path: Path) -> None:
    write(tmp_path / "t7", readings(0.1), [])
    with pytest.raises(StorageError, match="exists already"):
        write(tmp_path / "t7", readings(0.1), [])
    with EpisodeBag(tmp_path / "t7", overwrite=True) as bag:
        bag.reading(readings(0.1)[0])


def test_the_training_file_fits_the_streams() -> None:
    config = load_model(share_file("config/cell/training.yaml"), TrainingConfig)
    modes = {"any", *SPEC.failure_modes}
    assert config.scoring is not None
    assert {a.target for a in config.calibration.alarms} <= modes
