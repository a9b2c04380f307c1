"""The live operator says what replay says, in time, and lives through whatever comes."""

from __future__ import annotations

import itertools
import math
import random
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from live_by_hand import NS, Robot, valid
from runtime_toy import MS, T0, Message, changed, event, robot, robot_messages, task

from pro_ros.episodes.marks import event_mark, task_mark
from pro_ros.errors import DataError
from pro_ros.interfaces import EPISODE_EVENT, TASK_CONTEXT, header_message, typestore
from pro_ros.model.checkpoint import Checkpoint
from pro_ros.runtime.encoder import Encoder
from pro_ros.runtime.pipeline import Pipeline
from pro_ros.runtime.readers import live_reader
from pro_ros.streams.decode import Decoder
from pro_ros.streams.spec import parse_spec


@pytest.fixture(scope="module")
def trained(made: Callable) -> Checkpoint:
    return made(robot({"rate": 20}))


@pytest.fixture
def toy(trained: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> Robot:
    return Robot(trained).by_hand(monkeypatch)


def messages(seconds: float, start_ms: int = 0) -> list[Message]:
    return [m for m in robot_messages(seconds, T0 + start_ms * MS) if m[1] != "/notes"]


def without_latency(published: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """Latency is the last field of an assessment."""
    return [(n, data[:-4] if n == "assessment" else data) for n, data in published]


def offline(checkpoint: Checkpoint, received: list[Message], end_ns: int) -> list:
    """What a pipeline says that is fed without looking at a clock."""
    pipeline, store = Pipeline(checkpoint), typestore()
    encoder = Encoder(pipeline.monitor.source)
    readers = {
        stream.topic: live_reader(stream.type, store, Decoder(name, stream))
        for name, stream in checkpoint.spec.streams.items()
    }
    found = []
    for t_ns, topic, msgtype, body in received:
        steps = []
        if msgtype == TASK_CONTEXT:
            pipeline.mark(task_mark(body, t_ns, t_ns))
        elif msgtype == EPISODE_EVENT:
            pipeline.mark(event_mark(body, t_ns, t_ns))
        else:
            steps = pipeline.feed(readers[topic](store.serialize_cdr(body, msgtype), t_ns))
        for step in steps:
            found += encoder.messages(pipeline.judge(step))
    for step in pipeline.stepper.advance(end_ns):
        found += encoder.messages(pipeline.judge(step))
    return found


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("step", [{"rate": 20}, {"rate": 47}, {"on": "vacuum"}])
def test_live_says_what_a_pipeline_says_that_is_fed_offline(
    made: Callable, monkeypatch: pytest.MonkeyPatch, step: dict, seed: int
) -> None:
    checkpoint = made(robot(step, by="events", reset=bool(seed % 2)))
    received = [
        *messages(1.5), *messages(1.0, 4000),
        task(T0 + 317 * MS, "fold", sku="A7"), event(T0 + 433 * MS, "episode_begin", "e1"),
        event(T0 + 4_211 * MS, "episode_end", "e1"),
        event(T0 + 4_411 * MS, "episode_begin", "e2"),
    ]  # fmt: skip
    received.sort(key=lambda m: m[0])
    toy = Robot(checkpoint, max_lateness=60.0).by_hand(monkeypatch)
    toy.live._silence_s = math.inf
    chance = random.Random(seed)
    for before, after in itertools.pairwise([*received, (T0 + 9 * NS, "", "", None)]):
        toy.receive(before)
        while chance.random() < 0.3:
            toy.now += chance.randrange(max(1, after[0] - toy.now))
            toy.turn()
    toy.now = T0 + 9 * NS
    toy.turn()
    expected = offline(checkpoint, received, toy.now)
    assert without_latency(toy.published) == without_latency(expected)
    assert len(toy.assessments) > 20
    latencies = [m.latency for m in toy.assessments]
    assert min(latencies) >= 0.0
    assert max(latencies) > 0.0


def test_a_step_that_would_be_late_is_dropped_and_counted_and_never_queued(toy: Robot) -> None:
    toy.play(messages(0.5))
    before = len(toy.assessments)
    assert before == toy.live.counts.assessed > 5
    for message in messages(0.6, 500):
        toy.receive(message)  # the thread is busy elsewhere
    toy.turn()
    new = toy.assessments[before:]
    late = toy.live.counts.late
    times = [m.header.stamp.sec * NS + m.header.stamp.nanosec for m in new]
    assert times
    assert all(toy.now - t <= 100 * MS for t in times)
    assert late == new[0].sequence - toy.assessments[before - 1].sequence - 1 >= 8
    assert toy.live.counts.steps == toy.live.counts.assessed + late
    assert valid(new[0])
    toy.turn()
    assert len(toy.assessments) == before + len(new)


def test_a_restart_among_the_late_steps_is_not_lost(toy: Robot) -> None:
    toy.play(messages(0.5))
    toy.now = T0 + 3 * NS
    for message in messages(0.5, 3000):
        toy.receive(message)
    toy.turn()
    after = [m for m in toy.assessments if m.header.stamp.sec * NS > T0 + 2 * NS]
    assert [bool(m.validity & m.VALIDITY_RESTARTED) for m in after] == [True] + [False] * (
        len(after) - 1
    )
    assert toy.live.counts.restarts == 2


def test_where_the_clock_is_not_the_machines_two_periods_are_not_late(
    made: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = Robot(made(robot({"rate": 2})), real_time=False).by_hand(monkeypatch)
    for message in messages(2.0):
        toy.receive(message)
    toy.turn()
    assert (toy.now - T0) / MS == 1980
    assert [m.sequence for m in toy.assessments] == [2, 3]
    assert toy.live.counts.late == 2


def test_latency_is_counted_from_the_newest_sample_that_the_step_knows(toy: Robot) -> None:
    for message in messages(0.1):
        toy.receive(message)
    toy.turn(0.0)
    assert (toy.now - T0) / MS == 80
    # The step at 50 ms rests on the sample of 40 ms; the later ones came in the same turn.
    assert toy.assessments[-1].latency == pytest.approx(0.040)
    assert toy.live.health().latency_p99 == pytest.approx(0.080, abs=0.001)
    toy.now += 30 * MS
    toy.turn()
    assert toy.assessments[-1].latency == pytest.approx(0.030), "of the step at 100 ms"


def corrupt(raw: bytes) -> bytes:
    return raw[: len(raw) // 2]


def pressure(ms: int) -> Message:
    message = typestore().types["sensor_msgs/msg/FluidPressure"](
        header=header_message(typestore(), T0 + ms * MS), fluid_pressure=5e4, variance=0.0
    )
    return T0 + ms * MS, "/vacuum", "sensor_msgs/msg/FluidPressure", message


def test_a_message_that_cannot_be_read_is_named_once_and_the_others_go_on(toy: Robot) -> None:
    toy.play(messages(1.0))
    assert all(valid(m) for m in toy.assessments[1:])
    before = len(toy.assessments)
    for message in messages(2.0, 1000):
        if message[1] == "/vacuum":
            t_ns, topic, msgtype, body = message
            toy.now = t_ns
            toy.push(topic, corrupt(bytes(typestore().serialize_cdr(body, msgtype))))
            toy.turn(0.001)
        else:
            toy.play([message])
    errors = [line for severity, line in toy.lines if severity == "error"]
    assert len(errors) == 1
    assert "stream 'vacuum': damaged sensor_msgs/msg/FluidPressure message" in errors[0]
    health = toy.live.health()
    assert health.streams["vacuum"].errors == 20
    assert health.streams["vacuum"].received == 10
    assert health.streams["vacuum"].last_error == errors[0]
    assert health.streams["vacuum"].faults == {"unreadable", "stale"}
    assert (health.streams["joints"].errors, health.streams["joints"].received) == (0, 150)
    after = toy.assessments[before:]
    assert len(after) == 40
    assert valid(after[0])
    assert not valid(after[-1])
    assert after[-1].stale_streams == ["vacuum"]
    toy.play(messages(3.0, 3000))
    assert valid(toy.assessments[-1])
    assert toy.lines[-1] == ("info", "stream 'vacuum' (topic /vacuum): well again")
    assert toy.live.health().streams["vacuum"].last_error == ""


def fail(*_: object) -> None:
    raise RuntimeError("out of memory")


def test_steps_after_a_failure_are_counted_and_memory_begins_anew(
    toy: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.play(messages(0.5))
    before = toy.assessments[-1].sequence
    for message in messages(0.1, 500):
        toy.receive(message)
    toy.now += 30 * MS
    with monkeypatch.context() as broken:
        broken.setattr(toy.pipeline.monitor.assessor, "assess", fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            toy.turn()
    assert toy.assessments[-1].sequence == before
    toy.play(messages(0.3, 600))
    new = [m for m in toy.assessments if m.sequence > before]
    assert new[0].sequence > before + 1
    assert new[0].validity & new[0].VALIDITY_RESTARTED
    assert valid(new[0])


def test_an_arrival_that_fails_does_not_take_the_others_with_it(
    toy: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.play(messages(0.5))
    joints = toy.sources["/joint_states"]
    toy.readers[joints].insert(0, ("joints", fail))
    for message in messages(0.1, 500):
        toy.receive(message)
    toy.receive(task(toy.now, "fold"))
    before = len(toy.assessments)
    toy.turn(0.03)
    assert toy.live.counts.failures == 1
    assert any("out of memory" in line for severity, line in toy.lines if severity == "error")
    failed, *others = toy.assessments[before:]
    assert failed.validity & failed.VALIDITY_INTERNAL_ERROR
    assert not valid(failed)
    assert others
    assert toy.pipeline.monitor.assessor._goal.startswith("fold")


@pytest.fixture
def running(trained: Checkpoint) -> Iterator[Robot]:
    """Threads and clocks are real; the robot's clock begins at T0."""
    toy = Robot(trained)
    begun = time.monotonic_ns()
    toy.intake._clock = lambda: T0 + time.monotonic_ns() - begun
    toy.live.start()
    yield toy
    toy.live.stop()


def wait_for(holds: Callable[[], object], seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.005)


def feed(toy: Robot, until: Callable[[], object]) -> None:
    """Publish joints and pressure in real time until something holds."""
    store = typestore()

    def step() -> object:
        now = toy.intake.now()
        for _, topic, msgtype, body in messages(0.02):
            body.header = header_message(store, now)
            toy.push(topic, bytes(store.serialize_cdr(body, msgtype)))
        return until()

    wait_for(step)


def test_a_failure_is_published_and_the_thread_lives(
    running: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed(running, lambda: any(map(valid, running.assessments)))
    with monkeypatch.context() as broken:
        broken.setattr(running.pipeline.monitor.assessor, "assess", fail)
        feed(running, lambda: running.live.counts.failures >= 3)
    last = running.assessments[-1]
    assert last.validity & last.VALIDITY_INTERNAL_ERROR
    assert not valid(last)
    said = [line for _, line in running.lines if line == "RuntimeError: out of memory"]
    assert len(said) == 1, "the same failure is said once"
    count = len(running.assessments)
    feed(running, lambda: any(map(valid, running.assessments[count:])))
    assert running.live.counts.validity[0] == "VALID"


def test_a_publisher_that_fails_does_not_end_the_thread(running: Robot) -> None:
    publish, running.live._publish = running.live._publish, fail
    feed(running, lambda: running.live.counts.failures >= 3)
    assert running.published == []
    running.live._publish = publish
    feed(running, lambda: any(map(valid, running.assessments)))


def test_the_thread_starts_and_stops(running: Robot) -> None:
    names = [t.name for t in threading.enumerate()]
    assert names.count("pro_ros operator") == 1
    assert running.live.valid_age == math.inf
    feed(running, lambda: running.live.counts.valid > 2)
    assert running.live.valid_age < 5.0
    running.live.stop()
    assert "pro_ros operator" not in [t.name for t in threading.enumerate()]
    count = len(running.published)
    running.push("/vacuum", b"")
    time.sleep(0.1)
    assert len(running.published) == count


def test_an_operator_that_was_never_started_can_be_stopped(trained: Checkpoint) -> None:
    Robot(trained).live.stop()


def test_the_thread_sleeps_through_a_silence(running: Robot) -> None:
    """After a gap no step is due: the thread must not look for one all the time."""
    feed(running, lambda: running.assessments)
    looks = itertools.count()
    begun = time.monotonic_ns()

    def clock() -> int:
        next(looks)
        return T0 + 3600 * NS + time.monotonic_ns() - begun

    time.sleep(0.1)
    running.intake._clock = clock
    time.sleep(0.5)
    assert next(looks) < 500


def test_a_change_of_the_monitor_waits_for_the_next_turn(toy: Robot) -> None:
    toy.play(messages(0.5))
    toy.live.tune(lambda monitor: monitor.set_alarm(0.0))
    before = toy.assessments[-1].risk
    assert before.alarm_basis == before.ALARM_MISS_RATE
    toy.play(messages(0.1, 500))
    after = toy.assessments[-1].risk
    assert (after.alarm, after.alarm_basis) == (True, after.ALARM_MANUAL)


def test_the_thread_sleeps_while_a_clock_stands_still_at_the_time_of_a_step(
    trained: Checkpoint,
) -> None:
    toy = Robot(trained, real_time=False)
    looks = itertools.count()

    def clock() -> int:
        next(looks)
        return T0 + 100 * MS

    toy.live.start()
    toy.play_raw(messages(0.1))
    toy.intake._clock = clock
    try:
        wait_for(lambda: len(toy.assessments) >= 2)
        begun = next(looks)
        time.sleep(0.3)
        assert next(looks) - begun < 2500
    finally:
        toy.live.stop()


def test_failures_that_are_ever_new_are_not_all_said(
    toy: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(100):
        toy.steady += 0.05
        toy.live._fail(f"Traceback\nValueError: {n}")
    assert toy.live.counts.failures == 100
    assert len(toy.lines) == pytest.approx(2 * 5, abs=2)


def test_silence_is_said_again_and_again_and_is_never_valid(toy: Robot) -> None:
    for _ in range(10):
        toy.turn(0.2)
    assert 2 <= len(toy.assessments) <= 5
    first = toy.assessments[0]
    assert not valid(first)
    assert first.validity & first.VALIDITY_NO_INPUT
    assert first.stale_streams == ["joints", "vacuum"]
    assert len([line for _, line in toy.lines if "no sample yet" in line]) == 2, "once per stream"
    toy.play(messages(0.5))
    assert valid(toy.assessments[-1])
    last = toy.assessments[-1].sequence
    count = len(toy.assessments)
    for _ in range(40):
        toy.turn(0.1)
    silent = toy.assessments[count:]
    assert not valid(silent[-1])
    assert silent[-1].sequence == silent[-2].sequence > last, "steps go on for the gap alone"
    assert toy.live.counts.validity == ("STALE_INPUT",)
    assert toy.live.health().streams["joints"].age == pytest.approx(4.0, abs=0.6)


def test_a_stream_that_stops_is_said_and_the_others_go_on(toy: Robot) -> None:
    toy.play(messages(1.0))
    toy.play([m for m in messages(2.0, 1000) if m[1] == "/vacuum"])
    assert toy.assessments[-1].stale_streams == ["joints"]
    assert not valid(toy.assessments[-1])
    warned = [line for severity, line in toy.lines if severity == "warn"]
    assert len(warned) == 2, "vacuum before its first sample, joints now"
    assert "stream 'joints' (topic /joint_states): no sample for" in warned[1]


def test_a_flood_is_limited_said_and_over_when_it_ends(
    trained: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = Robot(trained, limit=100.0).by_hand(monkeypatch)
    toy.play(messages(1.0))
    count = len(toy.assessments)
    body = bytes(typestore().serialize_cdr(pressure(1010)[3], pressure(0)[2]))
    toy.now = T0 + 1_000 * MS
    for message in messages(0.5, 1000):
        toy.receive(message)
        for _ in range(100):
            toy.push("/vacuum", body)
        toy.turn(0.001)
    flooded = toy.assessments[count:]
    assert all(m.validity & m.VALIDITY_OVERLOAD for m in flooded)
    assert not any(map(valid, flooded))
    assert flooded[-1].faulty_streams == ["vacuum"]
    health = toy.live.health().streams["vacuum"]
    assert health.received <= 10 + 60
    assert health.dropped > 2500
    assert "dropped" in health.faults
    assert [line for _, line in toy.lines if "too fast" in line] == [
        "stream 'vacuum' (topic /vacuum): samples come too fast, some are dropped"
    ]
    toy.play(messages(1.0, 1600))
    assert valid(toy.assessments[-1])
    assert toy.live.health().streams["joints"].dropped == 0


def test_stamps_that_jump_are_said_and_not_valid(toy: Robot) -> None:
    toy.play(messages(1.0))
    count = len(toy.assessments)
    late = pressure(0)[3]
    late.header.stamp.sec += 3600
    toy.play([(T0 + 1_001 * MS, "/vacuum", "sensor_msgs/msg/FluidPressure", late)])
    toy.play(messages(0.3, 1010))
    said = toy.assessments[count:]
    faults = [bool(m.validity & m.VALIDITY_CLOCK_FAULT) for m in said]
    assert sum(faults) == 1
    assert [valid(m) for m in said] == [not fault for fault in faults]
    assert toy.live.health().streams["vacuum"].jumps == 1
    assert len([line for _, line in toy.lines if "stamps jumped" in line]) == 1


def test_a_clock_that_goes_back_is_said_and_everything_begins_anew(toy: Robot) -> None:
    toy.play(messages(1.0, 5000))
    before = toy.assessments[-1].sequence
    toy.play(messages(1.0))
    first, *others = [m for m in toy.assessments if m.sequence > before]
    assert first.validity & first.VALIDITY_CLOCK_FAULT
    assert first.validity & first.VALIDITY_RESTARTED
    assert not valid(first)
    assert valid(others[-1])
    warned = [line for _, line in toy.lines if line.startswith("the clock went back")]
    assert len(warned) == 1


def test_a_stream_that_freezes_is_said(made: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = changed(robot({"rate": 20}), vacuum={"frozen": 0.5})
    toy = Robot(made(spec)).by_hand(monkeypatch)
    steady = [pressure(ms) for ms in range(0, 1000, 100)]
    toy.play(sorted([*(m for m in messages(1.0) if m[1] != "/vacuum"), *steady],
                    key=lambda m: m[0]))  # fmt: skip
    last = toy.assessments[-1]
    assert last.validity & last.VALIDITY_FROZEN_INPUT
    assert last.faulty_streams == ["vacuum"]
    assert not valid(last)
    assert "frozen" in toy.live.health().streams["vacuum"].faults


CAMERA = {
    "modality": "visual", "rate": 30, "topic": "/camera", "type": "sensor_msgs/msg/Image",
    "image": {"height": 8, "width": 8},
}  # fmt: skip


def image(height: int, width: int, ms: int, encoding: str = "rgb8") -> bytes:
    store = typestore()
    message = store.types["sensor_msgs/msg/Image"](
        header=header_message(store, T0 + ms * MS), height=height, width=width,
        encoding=encoding, is_bigendian=0, step=3 * width,
        data=np.full(height * width * 3, ms % 251, dtype=np.uint8),
    )  # fmt: skip
    return bytes(store.serialize_cdr(message, "sensor_msgs/msg/Image"))


def test_frames_must_keep_the_size_of_the_first_one() -> None:
    raw_spec = robot({"rate": 20}).model_dump()
    raw_spec["streams"]["camera"] = CAMERA
    stream = parse_spec(raw_spec, "toy").streams["camera"]
    read = live_reader(str(stream.type), typestore(), Decoder("camera", stream))
    with pytest.raises(DataError, match="stream 'camera'"):
        read(image(9, 9, 0, "16UC1"), T0)
    assert read(image(16, 12, 1), T0).values.shape == (8, 8, 3)
    with pytest.raises(DataError) as wrong:
        read(image(12, 16, 2), T0)
    assert str(wrong.value) == (
        "stream 'camera': a frame of 16x12, expected 12x16 as the first one"
    )
    with pytest.raises(DataError, match="stream 'camera': damaged"):
        read(image(16, 12, 3)[:200], T0)
    assert read(image(16, 12, 3), T0).values.max() == 3
