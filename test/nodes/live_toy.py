"""A small robot with a camera, and a thread that publishes what it would."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pro_ros.msg import Assessment
from rig import Ear, Rig, running
from runtime_toy import random_checkpoint
from sensor_msgs.msg import FluidPressure, Image, JointState
from waiting import SOON, wait_for

from pro_ros.model.checkpoint import Checkpoint
from pro_ros.streams.spec import RobotSpec, parse_spec

NS = 1_000_000_000
HOUR_NS = 3600 * NS

STREAMS: dict[str, Any] = {
    "joints": {
        "modality": "state", "rate": 50, "hold": 0.5, "stale": 0.5,
        "topic": "/joint_states", "type": "sensor_msgs/msg/JointState",
        "features": [{"name": "q", "field": "position", "names": ["a", "b"], "unit": "rad"}],
    },
    "vacuum": {
        "modality": "telemetry", "rate": 20, "hold": 0.6, "stale": 0.6, "frozen": 0.6,
        "topic": "/vacuum", "type": "sensor_msgs/msg/FluidPressure",
        "features": [{"name": "p", "field": "fluid_pressure", "unit": "Pa"}],
        "summaries": [{"over": 0.5, "stats": ["mean"]}],
    },
    "camera": {
        "modality": "visual", "rate": 10, "hold": 0.8, "stale": 0.8,
        "topic": "/camera", "type": "sensor_msgs/msg/Image",
        "image": {"height": 16, "width": 16},
    },
}  # fmt: skip
"""Times are short, but long enough for a machine that is busy with other things."""

TOPICS = {name: (s["topic"], s["type"]) for name, s in STREAMS.items()}

GENTLE = {"max_lateness": 5.0}
"""Parameters for tests that are not about lateness: the machine may be busy."""


def robot(**top: Any) -> RobotSpec:
    """The stream file; ``top``: other keys of it."""
    raw = {
        "format": "pro_ros/streams/1", "robot": "toy", "step": {"rate": 20}, "gap": 2.0,
        "streams": STREAMS,
        "events": {"leak": {"signal": "vacuum.p", "kind": "grip_lost", "above": 9e4}},
        "failure_modes": ["leak"], "episodes": {"task": "pick"},
    }  # fmt: skip
    return parse_spec({**raw, **top}, "toy")


def small(**changes: dict[str, Any]) -> RobotSpec:
    """The same without a camera; ``changes``: other keys of a stream."""
    streams = {n: {**s, **changes.get(n, {})} for n, s in STREAMS.items() if n != "camera"}
    return robot(streams=streams)


def checkpoint(folder: Path, spec: RobotSpec) -> Checkpoint:
    """An operator with random weights that reads these streams."""
    return random_checkpoint(folder, spec)


def stamped(kind: type, stamp_ns: int) -> Any:
    """An empty message with this stamp [ns]."""
    message = kind()
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, NS)
    return message


def joints(now_ns: int, names: tuple[str, ...] = ("b", "a")) -> JointState:
    """What the arm reports at a time."""
    t = now_ns % HOUR_NS / NS
    message = stamped(JointState, now_ns)
    message.name = list(names)
    message.position = [math.sin(3 * t), math.cos(2 * t)]
    return message


def vacuum(now_ns: int, pressure: float | None = None) -> FluidPressure:
    """What the gripper reports at a time [Pa]."""
    t = now_ns % HOUR_NS / NS
    message = stamped(FluidPressure, now_ns)
    message.fluid_pressure = 5e4 + 2e4 * math.sin(t) if pressure is None else pressure
    return message


def camera(now_ns: int, size: int = 32, encoding: str = "rgb8") -> Image:
    """A square frame."""
    message = stamped(Image, now_ns)
    message.height = message.width = size
    message.encoding, message.step = encoding, 3 * size
    message.data = bytes([now_ns // 10_000_000 % 256]) * (3 * size * size)
    return message


MAKERS: dict[str, Callable[[int], Any]] = {"joints": joints, "vacuum": vacuum, "camera": camera}


class Feed:
    """Publishes the streams at their rates until it is stopped.

    ``make``: what each publishes, given the time [ns]; one that is not in it is silent.
    """

    def __init__(
        self,
        rig: Ear,
        make: dict[str, Callable[[int], Any]],
        qos: Any = 50,
        topics: Mapping[str, str] | None = None,
    ) -> None:
        self.make = make
        self._rates = {name: STREAMS[name]["rate"] for name in make}
        where = {name: topic for name, (topic, _) in TOPICS.items()} | dict(topics or {})
        self._out = {n: rig.publisher(where[n], TOPICS[n][1], qos) for n in make}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        due = dict.fromkeys(self._rates, time.monotonic())
        while not self._done.wait(0.002):
            now = time.monotonic()
            for name, at in due.items():
                make = self.make.get(name)
                if now >= at and make is not None:
                    self._out[name].publish(make(time.time_ns()))
                if now >= at:
                    due[name] = max(at + 1.0 / self._rates[name], now - 0.1)


@contextmanager
def fed(
    rig: Ear, *names: str, qos: Any = 50, topics: Mapping[str, str] | None = None
) -> Iterator[Feed]:
    """A feed of these streams; without names of all that the monitor subscribes to.

    ``topics``: where a stream has another topic than in its stream file.
    """
    topics_read = rig.monitor._topics if isinstance(rig, Rig) else []
    wanted = names or tuple(n for topic in topics_read for n in topic.streams)
    feed = Feed(rig, {name: MAKERS[name] for name in wanted}, qos, topics)
    try:
        yield feed
    finally:
        feed.stop()


@contextmanager
def working(folder: Path, spec: RobotSpec, **parameters: Any) -> Iterator[tuple[Rig, Feed]]:
    """A monitor that is fed by all streams and says so."""
    checkpoint(folder / "model", spec)
    with running(folder / "model", **{**GENTLE, **parameters}) as rig, fed(rig) as feed:
        well(rig)
        yield rig, feed


def well(rig: Ear, seconds: float = SOON) -> Assessment:
    """Wait until assessments are valid, without any input that is at fault."""
    bad = (
        Assessment.VALIDITY_STALE_INPUT | Assessment.VALIDITY_NO_INPUT
        | Assessment.VALIDITY_CLOCK_FAULT | Assessment.VALIDITY_INTERNAL_ERROR
        | Assessment.VALIDITY_FROZEN_INPUT | Assessment.VALIDITY_INCOMPLETE_INPUT
        | Assessment.VALIDITY_OVERLOAD
    )  # fmt: skip

    def newest() -> Assessment | None:
        said = rig.last() if rig.heard["assessment"] else None
        ok = said is not None and said.validity & Assessment.VALIDITY_VALID
        return said if ok and not said.validity & bad else None

    return wait_for(newest, f"valid assessments; lines: {rig.lines}", seconds)


def invalid(rig: Rig, bit: int) -> Assessment:
    """Wait until the newest assessment is not valid and says why; its numbers must be NaN."""

    def newest() -> Assessment | None:
        said = rig.last() if rig.heard["assessment"] else None
        down = said is not None and not said.validity & Assessment.VALIDITY_VALID
        return said if down and said.validity & bit else None

    said = wait_for(newest, f"an assessment that is not valid, bit {bit}")
    assert math.isnan(said.value)
    assert all(map(math.isnan, said.risk.risk))
    return said


def line_with(rig: Rig, *parts: str) -> str:
    """Wait for a line of the log that holds all these texts."""
    return wait_for(
        lambda: next((x for x in list(rig.lines) if all(p in x for p in parts)), ""),
        f"a line with {parts}; lines: {rig.lines}",
    )


def stands_still(rig: Rig, beats: int = 3) -> None:
    """The heart beats on, and its sequence stands still, while nothing is valid."""
    count = len(rig.beats)
    wait_for(lambda: len(rig.beats) >= count + 2, "heartbeats")
    first = rig.beats[-1]
    assert not first.validity & Assessment.VALIDITY_VALID
    wait_for(lambda: len(rig.beats) >= count + 2 + beats, "heartbeats")
    last = rig.beats[-1]
    assert last.sequence == first.sequence
    assert last.age >= first.age


def goes_on(rig: Rig) -> None:
    """Valid assessments come, and the heartbeat's sequence advances."""
    well(rig)
    before = rig.beats[-1].sequence if rig.beats else 0
    wait_for(lambda: rig.beats and rig.beats[-1].sequence > before, "the sequence advances")
