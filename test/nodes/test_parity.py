"""The same recording, played live and replayed offline, gives the same numbers to the digit."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from pro_ros.msg import Assessment, Reward, Risk
from rclpy.serialization import deserialize_message
from rig import Rig, SimClock, running, wait_for
from rosbags.rosbag2 import Reader
from runtime_toy import MS, T0, event, random_checkpoint, robot, robot_messages, task, write_bag

from pro_ros.episodes.bags import BagRecording
from pro_ros.episodes.bagwriter import BagWriter
from pro_ros.interfaces import typestore
from pro_ros.model.checkpoint import load_checkpoint
from pro_ros.nodes.qos import LATCHED
from pro_ros.runtime.replay import replay

Raw = tuple[str, str, int, bytes]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here a recording takes as long as the machine wants, by the steady clock.

    That no step came for half a second of it is said live, and is in no replay.
    """
    monkeypatch.setattr("pro_ros.runtime.live.LEAST_SILENCE_S", math.inf)


def messages_of(bag: Path) -> list[Raw]:
    with Reader(bag) as reader:
        return [(c.topic, c.msgtype, t_ns, bytes(raw)) for c, t_ns, raw in reader.messages()]


def play(rig: Rig, recording: list[Raw], made: Callable[[], int]) -> None:
    """Play message by message: set the clock, publish, wait until it was taken.

    Played so, a message is received at the time of the recording, to the nanosecond.
    """
    clock = SimClock(rig)
    for topic, msgtype, _, _ in recording:
        rig.heard_by_monitor(topic, msgtype, LATCHED if topic.endswith("task_context") else 50)
    now = recording[0][2]
    for count, (topic, msgtype, t_ns, raw) in enumerate(recording, 1):
        # A silence passes in small steps: what falls due in it is judged in time.
        while now + 20 * MS < t_ns:
            now += 20 * MS
            clock.set(now)
            settle(rig)
        now = t_ns
        clock.set(now)
        settle(rig)
        rig.publisher(topic, msgtype).publish(raw)
        wait_for(lambda count=count: made() >= count, f"message {count} on {topic} was not taken")
    settle(rig)


def settle(rig: Rig) -> None:
    """Wait until the operator has made every step that is due."""
    stepper = rig.monitor._operator.pipeline.stepper

    def done() -> bool:
        due = stepper.due_ns
        now = rig.monitor.get_clock().now().nanoseconds
        return due is None or due >= now or stepper.silent(now)

    wait_for(done, "a step that is due is not made")


def text(raw: bytes, kind: type) -> str:
    """Every number of a message but the latency, which replay does not have."""
    message = deserialize_message(raw, kind)
    if isinstance(message, Assessment):
        assert message.latency >= 0.0
        message.latency = 0.0
    return str(message)


def compare(rig: Rig, bag: Path) -> list[Assessment]:
    replayed = messages_of(bag)
    for name, kind in (("assessment", Assessment), ("risk", Risk), ("reward", Reward)):
        offline = [text(raw, kind) for topic, _, _, raw in replayed if topic == f"/pro/{name}"]
        wait_for(
            lambda name=name, offline=offline: len(rig.heard[name]) >= len(offline),
            f"not all of {len(offline)} on {name} were heard",
        )
        live = [text(raw, kind) for raw in rig.heard[name][: len(offline)]]
        for number, (said, expected) in enumerate(zip(live, offline, strict=True)):
            assert said == expected, f"{name} {number}"
    return [
        deserialize_message(raw, Assessment)
        for topic, _, _, raw in replayed
        if topic == "/pro/assessment"
    ]


def taken(rig: Rig) -> Callable[[], int]:
    """Counts what the operator has taken: messages and marks."""
    operator = rig.monitor._operator

    def count() -> int:
        return operator.taken

    return count


@pytest.mark.parametrize("step", [{"rate": 20}, {"on": "vacuum"}])
def test_a_played_recording_says_live_what_replay_says(ros, step, tmp_path):
    spec = robot(step, by="events", reset=True)
    random_checkpoint(tmp_path / "model", spec)
    bag = write_bag(
        tmp_path / "bag",
        [
            *robot_messages(2.0),
            task(T0 + 333 * MS, "pick the red box", sku="red"),
            event(T0 + 334 * MS, "episode_begin", "first"),
            event(T0 + 1_234 * MS, "episode_end", "first"),
            event(T0 + 1_501 * MS, "episode_begin", "second"),
            *robot_messages(1.0, T0 + 4_000 * MS),
        ],
    )
    checkpoint = load_checkpoint(tmp_path / "model")
    with BagRecording(bag, spec) as recording:
        replay(recording, checkpoint, tmp_path / "out")
    recorded = [m for m in messages_of(bag) if m[0] != "/notes"]
    with running(tmp_path / "model", use_sim_time=True, max_rate_factor=100.0) as rig:
        play(rig, recorded, taken(rig))
        said = compare(rig, tmp_path / "out")
    assert {m.episode_id for m in said} == {"", "first", "second"}
    assert sum(bool(m.validity & m.VALIDITY_RESTARTED) for m in said) >= 3
    assert len({m.value for m in said}) > 10, "the operator sees no difference"


def test_the_shipped_recording_says_live_what_replay_says(ros, example, tmp_path):
    checkpoint = load_checkpoint(example / "checkpoint")
    rows = 60
    needed = {s.topic for s in checkpoint.spec.streams.values()}
    everything = messages_of(example / "recording")
    cycles = [t_ns for topic, _, t_ns, _ in everything if topic == "/cycle"]
    start, end = cycles[2000], cycles[2000 + rows]
    part = [m for m in everything if start < m[2] <= end and m[0] in needed]
    with BagWriter(tmp_path / "part") as writer:
        for topic, msgtype, t_ns, raw in part:
            writer.write(topic, msgtype, t_ns, typestore().deserialize_cdr(raw, msgtype))
    with BagRecording(tmp_path / "part", checkpoint.spec, allow_missing=True) as recording:
        replay(recording, checkpoint, tmp_path / "out")
    subscribed = [m for m in part if m[0] != "/joint_temperatures"]
    with running(example / "checkpoint", use_sim_time=True) as rig:
        play(rig, subscribed, taken(rig))
        said = compare(rig, tmp_path / "out")
    assert len(said) == rows
    assert any(m.validity & m.VALIDITY_VALID for m in said)
