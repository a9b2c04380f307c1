from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from runtime_toy import (
    MS,
    T0,
    event,
    random_checkpoint,
    robot,
    robot_messages,
    task,
    write_bag,
)

from pro_ros.episodes.arrays import recording_sequences, sequences
from pro_ros.episodes.bags import BagRecording
from pro_ros.episodes.dataset import Source, create_dataset
from pro_ros.errors import StorageError
from pro_ros.interfaces import typestore
from pro_ros.model.checkpoint import Checkpoint
from pro_ros.runtime.assessor import Assessor
from pro_ros.runtime.replay import Replayed, replay
from pro_ros.streams.sample import Step
from pro_ros.streams.spec import parse_spec
from pro_ros.streams.stepper import Stepper

SUCTION = {
    "format": "pro_ros/streams/1", "robot": "suction gripper", "step": {"on": "vacuum"},
    "gap": 1.0,
    "streams": {
        "vacuum": {
            "modality": "telemetry", "rate": 38, "clock": "receipt",
            "topic": "/gripper/pressure", "type": "std_msgs/msg/Float32",
            "features": [{"name": "pressure", "field": "data", "unit": "hPa"}],
            "summaries": [{"over": 0.5, "stats": ["mean", "min"]}],
        },
        "wrench": {
            "modality": "telemetry", "rate": 500,
            "topic": "wrench", "type": "geometry_msgs/msg/WrenchStamped",
            "features": [{"name": "force", "field": "wrench.force", "names": ["x", "y", "z"]}],
            "norms": {"load": ["force.x", "force.y", "force.z"]},
        },
    },
    "events": {"leak": {"signal": "vacuum.pressure", "kind": "grip_lost", "above": 80000}},
    "failure_modes": ["leak"],
}  # fmt: skip

NUMBERS = ("value", "progress", "termination", "success")
PLAIN = ("progress", "value", "risk_any")


def replayed(bag: Path, checkpoint: Checkpoint, out: Path, **options) -> Replayed:
    with BagRecording(bag, checkpoint.spec) as recording:
        return replay(recording, checkpoint, out, **options)


def raw(bag: Path) -> list[tuple[str, str, int, bytes]]:
    with AnyReader([bag]) as reader:
        return [(c.topic, c.msgtype, t, bytes(data)) for c, t, data in reader.messages()]


def said(bag: Path, name: str, namespace: str = "/pro") -> list[tuple[int, object]]:
    """Time and message of a topic that replay wrote."""
    return [
        (t, typestore().deserialize_cdr(data, msgtype))
        for topic, msgtype, t, data in raw(bag)
        if topic == f"{namespace}/{name}"
    ]


def stepped(bag: Path, checkpoint: Checkpoint) -> list[Step]:
    stepper = Stepper(checkpoint.spec)
    with BagRecording(bag, checkpoint.spec) as recording:
        steps = [step for sample in recording.samples() for step in stepper.feed(sample)]
    return steps + stepper.flush()


@pytest.fixture(scope="module")
def trained(made, grid) -> Checkpoint:
    return made(grid)


@pytest.fixture(scope="module")
def bag(recorded, trained, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("replayed") / "bag"
    replayed(recorded, trained, out)
    return out


def test_two_replays_give_the_same_bytes(recorded, trained, bag, tmp_path):
    # The bag's name is part of its files: the second one has the same in another folder.
    again = tmp_path / bag.name
    replayed(recorded, trained, again)
    files = sorted(p.name for p in bag.iterdir())
    assert files == sorted(p.name for p in again.iterdir())
    for name in files:
        assert (bag / name).read_bytes() == (again / name).read_bytes(), name


def test_every_message_of_the_recording_is_there_unchanged_and_in_order(recorded, bag):
    before = raw(recorded)
    assert {topic for topic, *_ in before} == {"/joint_states", "/vacuum", "/notes"}
    assert [m for m in raw(bag) if not m[0].startswith("/pro/")] == before


def test_a_topic_keeps_its_quality_of_service_and_hash(recorded, bag):
    def declared(path: Path) -> dict:
        with AnyReader([path]) as reader:
            return {c.topic: (c.digest, c.ext, c.msgdef) for c in reader.connections}

    before, after = declared(recorded), declared(bag)
    for topic, stated in before.items():
        assert after[topic] == stated


@pytest.mark.parametrize("step", [{"rate": 20}, {"rate": 7.5}, {"on": "vacuum"}])
def test_the_numbers_are_those_of_stepping_and_of_whole_sequences(step, recorded, made, tmp_path):
    checkpoint = made(robot(step))
    replayed(recorded, checkpoint, tmp_path / "out")
    messages = said(tmp_path / "out", "assessment")
    assessor = Assessor(checkpoint)
    steps = stepped(recorded, checkpoint)
    assert [t for t, _ in messages] == [s.t_ns for s in steps]
    valid = {t for t, message in messages if message.validity & message.VALIDITY_VALID}
    assert len(valid) > 0.7 * len(steps)
    for (_, message), now in zip(messages, steps, strict=True):
        expected = assessor.assess(now)
        if now.t_ns not in valid:
            assert np.isnan([message.value, *message.risk.risk]).all()
            continue
        for name in NUMBERS:
            assert getattr(message, name) == np.float32(getattr(expected, name)), name
        np.testing.assert_array_equal(message.risk.risk, expected.risk.astype(np.float32))
        np.testing.assert_array_equal(
            message.risk.mode_risk, expected.mode_risk.ravel().astype(np.float32)
        )
    with BagRecording(recorded, checkpoint.spec) as recording:
        sequences = recording_sequences(
            "r", recording.samples(), checkpoint.spec, [], [], recording.end_ns
        )
    assert len(sequences) == 2
    trained = np.concatenate([sequence.t_ns for sequence in sequences])
    # Steps into the silence, which training leaves out: nobody knew that it would be long.
    others = {t for t, _ in messages} - set(trained.tolist())
    assert all(T0 + 2_980 * MS < t <= T0 + 3_980 * MS for t in others)
    assert bool(others) == ("rate" in step)
    wholes = [Assessor(checkpoint).run(sequence) for sequence in sequences]
    usable = np.isin(trained, list(valid))
    for name in NUMBERS:
        whole = np.concatenate([getattr(w, name) for w in wholes])[usable]
        given = [getattr(message, name) for t, message in messages if t in valid - others]
        np.testing.assert_allclose(given, whole, atol=1e-5, err_msg=name)
        assert np.ptp(whole) > 1e-3 or name == "termination", "the operator sees no difference"


def test_steps_lie_on_the_grid_of_the_recordings_own_clock(recorded, bag):
    messages = said(bag, "assessment")
    period = 50 * MS
    for t, message in messages:
        assert t % period == 0
        assert message.header.stamp.sec * 10**9 + message.header.stamp.nanosec == t
        assert message.window_end == message.header.stamp
    received = [t for topic, _, t, _ in raw(recorded) if topic != "/notes"]
    assert received[0] <= messages[0][0]
    assert messages[-1][0] <= received[-1], "a step after the last message"
    assert [m.sequence for _, m in messages] == list(range(len(messages)))
    for name in ("risk", *PLAIN):
        assert [t for t, _ in said(bag, name)] == [t for t, _ in messages]


def test_an_assessment_stands_before_the_first_message_it_does_not_know(bag):
    steps: list[int] = []
    heard = 0
    for topic, _, t, _ in raw(bag):
        if topic == "/pro/assessment":
            assert t >= heard, "a step saw a message of its future"
            steps.append(t)
        elif topic in ("/joint_states", "/vacuum"):
            heard = t
    assert steps == sorted(steps)


def test_a_gap_restarts_the_operator_and_steps_end_in_it(bag):
    messages = said(bag, "assessment")
    flagged = [t for t, m in messages if m.validity & m.VALIDITY_RESTARTED]
    assert flagged == [T0, T0 + 5_000 * MS]
    # Joints of 2.978 s came last: stale 0.25 s later. Steps end a gap (1 s) after their receipt.
    silent = [(t, m) for t, m in messages if T0 + 3_228 * MS < t < T0 + 5_000 * MS]
    assert [t for t, _ in silent] == [T0 + n * 50 * MS for n in range(65, 80)]
    for _, message in silent:
        assert not message.validity & message.VALIDITY_VALID
        assert message.validity & message.VALIDITY_STALE_INPUT
        assert "joints" in message.stale_streams
    rewards = said(bag, "reward")
    usable = [bool(m.validity & m.VALIDITY_VALID) for _, m in messages]
    assert len(rewards) == sum(a and b for a, b in itertools.pairwise(usable))
    values = {m.sequence: m.value for _, m in messages}
    for t, reward in rewards:
        assert reward.value == values[reward.sequence]
        assert reward.next_value == values[reward.sequence + 1]
        assert reward.next_stamp.sec * 10**9 + reward.next_stamp.nanosec == t


def test_plain_numbers_and_the_risk_topic_repeat_the_assessment(bag):
    for (_, a), (_, r), *plain in zip(
        said(bag, "assessment"), said(bag, "risk"), *(said(bag, n) for n in PLAIN), strict=True
    ):
        assert (r.sequence, r.header) == (a.sequence, a.header)
        np.testing.assert_array_equal(r.risk, a.risk.risk)
        shown = [m.data for _, m in plain]
        np.testing.assert_array_equal(shown, [a.progress, a.value, a.risk.risk[-1]])


def test_what_a_replay_did_is_what_stands_in_the_bag(recorded, trained, tmp_path):
    shares: list[float] = []
    done = replayed(
        recorded, trained, tmp_path / "out", namespace="critic", progress=shares.append
    )
    messages = said(tmp_path / "out", "assessment", "/critic")
    assert done.steps == len(messages)
    assert done.messages == len(raw(recorded))
    assert done.restarts == 2
    assert done.highest_risk == pytest.approx(np.nanmax([m.risk.risk[-1] for _, m in messages]))
    on = [bool(m.risk.alarm) for _, m in messages]
    assert any(on)
    assert done.alarms >= sum(b and not a for a, b in zip([False, *on], on, strict=False)) > 0
    assert shares == sorted(shares)
    assert 0.0 <= shares[0] < shares[-1] <= 1.0


def test_a_recorded_task_context_is_the_goal_from_its_receipt_on(made, tmp_path):
    checkpoint = made(robot({"rate": 20}))
    change = T0 + 1_010 * MS
    messages = [*robot_messages(2.0), task(change, "fold", sku="A7")]
    recorded = write_bag(tmp_path / "bag", messages)
    replayed(recorded, checkpoint, tmp_path / "out")
    assessor = Assessor(checkpoint)
    expected = []
    for step in stepped(recorded, checkpoint):
        if step.t_ns >= change:
            assessor.set_task("fold", {"robot": "toy", "sku": "A7"})
        expected.append(np.float32(assessor.assess(step).value))
    given = [m.value for _, m in said(tmp_path / "out", "assessment")]
    assert np.isnan(given[0]), "no pressure was received yet"
    assert given[1:] == expected[1:]
    replayed(recorded, checkpoint, tmp_path / "told", task="pick", context={"robot": "toy"})
    told = [m.value for _, m in said(tmp_path / "told", "assessment")]
    assert told[1:20] == given[1:20]
    assert told[30:] != given[30:]


def test_episode_events_reset_the_memory_as_they_do_in_training(made, tmp_path):
    spec = robot({"rate": 20}, by="events", reset=True)
    begins = [T0 + 405 * MS, T0 + 1_205 * MS]
    marks = [event(t, "episode_begin", f"e{n}") for n, t in enumerate(begins)]
    # The second one was received 60 ms after it was stamped: nobody knew of it earlier.
    marks[1] = (begins[1] + 60 * MS, *marks[1][1:])
    recorded = write_bag(tmp_path / "bag", [*robot_messages(2.0), *marks])
    done = replayed(recorded, made(spec), tmp_path / "out")
    messages = said(tmp_path / "out", "assessment")
    flagged = [t for t, m in messages if m.validity & m.VALIDITY_RESTARTED]
    assert flagged == [T0, T0 + 450 * MS, T0 + 1_300 * MS]
    assert done.restarts == 3
    created = create_dataset(tmp_path / "data", "d", spec, [Source("r", recorded)])
    assert [s.t_ns[0] for s in sequences(created.dataset)] == flagged
    episodes = [m.episode_id for _, m in messages]
    assert episodes == [""] * 9 + ["e0"] * 17 + ["e1"] * (len(messages) - 26)


@pytest.mark.parametrize("absent", ["/vacuum", "/flag"])
def test_a_recording_without_a_stream_is_judged_without_it(made, tmp_path, absent):
    flag = {
        "modality": "label", "rate": 1, "topic": "/flag", "type": "std_msgs/msg/Float64",
        "clock": "receipt", "features": [{"name": "f", "field": "data"}],
    }  # fmt: skip
    raw_spec = robot({"rate": 20}).model_dump()
    raw_spec["streams"]["flag"] = flag
    checkpoint = made(parse_spec(raw_spec, "toy"))
    number = typestore().types["std_msgs/msg/Float64"](data=1.0)
    messages = [*robot_messages(1.0), (T0, "/flag", "std_msgs/msg/Float64", number)]
    recorded = write_bag(tmp_path / "bag", [m for m in messages if m[1] != absent])
    with BagRecording(recorded, checkpoint.spec, allow_missing=True) as recording:
        replay(recording, checkpoint, tmp_path / "out")
    found = [m for _, m in said(tmp_path / "out", "assessment")]
    assert all(m.validity & m.VALIDITY_VALID for m in found[1:])
    lacks = bool(found[-1].validity & found[-1].VALIDITY_NO_INPUT)
    assert lacks == (absent == "/vacuum")


def test_stamps_that_jump_are_remarked_and_judged_as_a_clock_fault(made, tmp_path):
    messages = list(robot_messages(1.0))
    joints = [message for _, topic, _, message in messages if topic == "/joint_states"]
    for n in (20, 40):
        joints[n].header.stamp.sec += 3600
    recorded = write_bag(tmp_path / "bag", messages)
    done = replayed(recorded, made(robot({"rate": 20})), tmp_path / "out")
    (line,) = [r for r in done.remarks if "jumps by more than 1 s" in r]
    assert line == (
        "bag: stream 'joints': 2 samples whose stamp jumps by more than 1 s: synchronise the "
        "clocks, or set 'clock: receipt'"
    )
    faults = [m for _, m in said(tmp_path / "out", "assessment")
              if m.validity & m.VALIDITY_CLOCK_FAULT]  # fmt: skip
    assert len(faults) == 2
    assert not any(m.validity & m.VALIDITY_VALID for m in faults)


def test_an_output_that_overlaps_the_recording_is_refused(
    recorded, trained, tmp_path, monkeypatch
):
    before = {p: p.read_bytes() for p in recorded.iterdir()}
    monkeypatch.chdir(recorded.parent)
    for out in (recorded, recorded / "new", Path(recorded.name), recorded / ".." / recorded.name):
        with pytest.raises(StorageError, match="give another folder"):
            replayed(recorded, trained, out, overwrite=True)
    with pytest.raises(StorageError, match="holds the recording"):
        replayed(recorded, trained, recorded.parent, overwrite=True)
    link = tmp_path / "link"
    link.symlink_to(recorded)
    with pytest.raises(StorageError, match="is the recording itself"):
        replayed(recorded, trained, link, overwrite=True)
    assert {p: p.read_bytes() for p in recorded.iterdir()} == before


def test_an_existing_bag_is_kept_unless_it_shall_be_replaced(recorded, trained, bag, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("x")
    with pytest.raises(StorageError, match="exists already"):
        replayed(recorded, trained, out)
    assert [p.name for p in out.iterdir()] == ["mine"]
    replayed(recorded, trained, out, overwrite=True)
    assert raw(out) == raw(bag)


def test_a_failure_half_way_leaves_nothing(recorded, trained, tmp_path):
    def stop(share: float) -> None:
        if share > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replayed(recorded, trained, tmp_path / "out", progress=stop)
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from pro_ros.episodes.bags import BagRecording
from pro_ros.model.checkpoint import load_checkpoint
from pro_ros.runtime.replay import replay

def stop(share):
    if share > 0.5:
        os.kill(os.getpid(), signal.SIGKILL)

trained = load_checkpoint(sys.argv[2])
with BagRecording(Path(sys.argv[1]), trained.spec) as recording:
    replay(recording, trained, sys.argv[3], progress=stop)
"""


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL here")
def test_a_killed_replay_leaves_nothing_under_the_final_name(recorded, grid, tmp_path):
    random_checkpoint(tmp_path / "m", grid)
    out = tmp_path / "out"
    command = [sys.executable, "-c", KILLED, recorded, tmp_path / "m", out]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not out.exists()


def test_a_ros1_recording_of_a_real_suction_gripper(shared_data, made, tmp_path):
    recorded = shared_data / "suction_vacuum_bags" / "trial_5.bag"
    checkpoint = made(parse_spec(SUCTION, "suction"))
    done = replayed(recorded, checkpoint, tmp_path / "out")
    with AnyReader([recorded]) as reader:
        before = {c.topic: c.msgcount for c in reader.connections}
        pressure = [
            reader.deserialize(data, c.msgtype).data
            for c, _, data in reader.messages()
            if c.topic == "/gripper/pressure"
        ]
    after: dict[str, int] = {}
    for topic, *_ in raw(tmp_path / "out"):
        after[topic] = after.get(topic, 0) + 1
    assert done.not_copied == ()
    for topic, count in before.items():
        assert after["/" + topic.strip("/")] == count
    assert done.steps == after["/pro/assessment"] == len(pressure)
    copied = said(tmp_path / "out", "pressure", "/gripper")
    assert [m.data for _, m in copied] == pressure
    valid = [m.validity & m.VALIDITY_VALID for _, m in said(tmp_path / "out", "assessment")]
    assert all(valid)
