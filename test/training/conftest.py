"""A small robot whose failures announce themselves in one channel."""

from __future__ import annotations

import numpy as np
import pytest

from pro_ros.episodes.manifest import Episode, Event
from pro_ros.episodes.sequence import Sequence
from pro_ros.streams.spec import RobotSpec, parse_spec

NS = 1_000_000_000


@pytest.fixture(scope="session")
def spec() -> RobotSpec:
    return parse_spec(
        {
            "format": "pro_ros/streams/1",
            "robot": "toy",
            "step": {"rate": 10},
            "gap": 5.0,
            "streams": {
                "force": {
                    "modality": "telemetry",
                    "topic": "/force",
                    "type": "std_msgs/msg/Float64MultiArray",
                    "clock": "receipt",
                    "rate": 10,
                    "features": [{"name": "f", "field": "data", "index": [0, 1, 2], "unit": "N"}],
                },
                "slip": {
                    "modality": "label",
                    "topic": "/slip",
                    "type": "std_msgs/msg/Bool",
                    "clock": "receipt",
                    "rate": 10,
                    "features": [{"name": "on", "field": "data"}],
                },
            },
            "events": {"slip": {"signal": "slip.on", "kind": "drop", "above": 0.5}},
            "failure_modes": ["slip"],
            "episodes": {"task": "pick", "outcome": {"failure_events": ["slip"]}},
        },
        "toy",
    )


def toy_sequence(number: int, fails: bool, steps: int = 40) -> Sequence:
    """One episode of ``steps`` steps at 10 Hz; force 0 rises for 1 s before a slip."""
    rng = np.random.default_rng(number)
    start = number * 100 * NS
    t_ns = start + np.arange(steps, dtype=np.int64) * (NS // 10)
    values = rng.normal(size=(steps, 4)).astype(np.float32)
    values[:, 3] = 0.0
    onset = steps - 8
    events: tuple[Event, ...] = ()
    name = f"run{number}"
    if fails:
        values[onset - 10 : onset, 0] += 6.0
        begin = int(t_ns[onset])
        events = (
            Event(
                recording=name, name="slip", kind="drop", start_ns=begin,
                end_ns=begin + NS // 5, episode=f"{name}/0",
            ),
        )  # fmt: skip
    episode = Episode(
        id=f"{name}/0", recording=name, start_ns=start, end_ns=int(t_ns[-1]) + NS // 10,
        outcome="failure" if fails else "success", task="pick",
    )  # fmt: skip
    return Sequence(
        id=f"{name}#0",
        t_ns=t_ns,
        values={"telemetry": values},
        mask={"telemetry": np.ones((steps, 4), dtype=bool)},
        episode=np.zeros(steps, dtype=np.int32),
        episodes=(episode,),
        events=events,
        known_until_ns=int(t_ns[-1]) + NS // 10,
    )


@pytest.fixture(scope="session")
def sequences() -> list[Sequence]:
    return [toy_sequence(n, fails=n % 2 == 1) for n in range(24)]
