"""A robot whose commands decide whether it slips, and one whose commands decide nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pro_ros.episodes.labels import Labels
from pro_ros.episodes.manifest import Episode, Event
from pro_ros.episodes.sequence import Sequence
from pro_ros.model.calibration import Calibration
from pro_ros.model.checkpoint import save_checkpoint
from pro_ros.model.scorer import Scorer
from pro_ros.streams.sample import Step
from pro_ros.streams.spec import RobotSpec, parse_spec
from pro_ros.training.calibrate import Trained, calibrate
from pro_ros.training.config import TrainingConfig
from pro_ros.training.fabric import launch
from pro_ros.training.scoring import fit_scorer
from pro_ros.training.train import fit, labels_of

NS = 1_000_000_000
PERIOD = NS // 10
STEPS = 50
SEGMENT = 5
"""Steps for which one command is held: the length of a chunk."""

STREAMS: dict[str, Any] = {
    "format": "pro_ros/streams/1",
    "robot": "toy",
    "step": {"rate": 10},
    "gap": 5.0,
    "streams": {
        "side": {
            "modality": "telemetry", "topic": "/side", "type": "std_msgs/msg/Float64",
            "clock": "receipt", "rate": 10, "features": [{"name": "s", "field": "data"}],
        },
        "command": {
            "modality": "action", "topic": "/command", "type": "std_msgs/msg/Float64MultiArray",
            "clock": "receipt", "rate": 10,
            "features": [{"name": "u", "field": "data", "index": [0, 1]}],
            "norms": {"length": ["u.0", "u.1"]},
        },
    },
    "events": {"slip": {"signal": "side.s", "kind": "drop", "above": 99}},
    "failure_modes": ["slip"],
    "episodes": {"task": "pick", "outcome": {"failure_events": ["slip"]}},
}  # fmt: skip

TRAINING: dict[str, Any] = {
    "format": "pro_ros/training/1",
    "model": {
        "width": 16, "members": 2, "horizons": [0.5, 1.0, 2.0],
        "temporal": {"window": 6},
    },
    "optimiser": {"epochs": 8, "batch": 16, "chunk": 32},
    "scoring": {"chunk": 0.5, "points": 5, "hidden": 24, "members": 2, "epochs": 30},
}  # fmt: skip


def toy_spec(**streams: Any) -> RobotSpec:
    return parse_spec({**STREAMS, "streams": {**STREAMS["streams"], **streams}}, "toy")


def toy_config(**scoring: Any) -> TrainingConfig:
    raw = {**TRAINING, "scoring": {**TRAINING["scoring"], **scoring}}
    return TrainingConfig.model_validate(raw)


def toy_sequence(number: int, decides: bool = True, reacts: bool = True) -> Sequence:
    """One episode of 5 s. The first command number is held for 0.5 s at a time.

    A command against the side that the robot is on makes it slip 0.3 to 0.7 s later, with 70 %;
    where commands do not ``decide``, it slips at random. After a slip the commands fall to 0 if
    the robot ``reacts``, and the episode ends 0.5 s later.
    """
    rng = np.random.default_rng([number, 7])
    start = number * 100 * NS
    side = 1.0 if rng.random() < 0.5 else -1.0
    u = np.repeat(rng.normal(size=STEPS // SEGMENT), SEGMENT)
    slip = None
    for first in range(SEGMENT, STEPS - SEGMENT, SEGMENT):
        wrong = u[first] * side < -0.7 if decides else rng.random() < 0.25
        if wrong and rng.random() < 0.7:
            slip = first + SEGMENT + int(rng.integers(3, 8)) - 2
            break
    length = STEPS if slip is None else min(STEPS, slip + 6)
    if slip is not None and slip >= STEPS:
        slip, length = None, STEPS
    if slip is not None and reacts:
        u[slip:] = 0.0
    t_ns = start + np.arange(length, dtype=np.int64) * PERIOD
    values = {
        "telemetry": np.stack([side + 0.1 * rng.normal(size=length), np.zeros(length)], axis=1),
        "action": np.stack(
            [u[:length], 0.1 * rng.normal(size=length), np.abs(u[:length]), np.zeros(length)],
            axis=1,
        ),
    }
    name = f"run{number}"
    events: tuple[Event, ...] = ()
    if slip is not None:
        begin = int(t_ns[slip])
        events = (
            Event(recording=name, name="slip", kind="drop", start_ns=begin,
                  end_ns=begin + NS // 5, episode=f"{name}/0"),
        )  # fmt: skip
    end = int(t_ns[-1]) + PERIOD
    episode = Episode(
        id=f"{name}/0", recording=name, start_ns=start, end_ns=end,
        outcome="success" if slip is None else "failure", task="pick",
    )  # fmt: skip
    return Sequence(
        id=f"{name}#0",
        t_ns=t_ns,
        values={m: v.astype(np.float32) for m, v in values.items()},
        mask={m: np.ones(v.shape, dtype=bool) for m, v in values.items()},
        episode=np.zeros(length, dtype=np.int32),
        episodes=(episode,),
        events=events,
        known_until_ns=end,
    )


def toy_sequences(count: int, first: int = 0, **options: Any) -> list[Sequence]:
    return [toy_sequence(first + n, **options) for n in range(count)]


@dataclass(frozen=True)
class Fitted:
    """An operator with its scorer, and what they were fitted on."""

    trained: Trained
    scorer: Scorer
    parts: dict[str, tuple[list[Sequence], list[Labels]]]
    config: TrainingConfig

    def save(self, path: Path) -> Path:
        save_checkpoint(
            path, self.trained.operator, self.trained.spec, self.trained.calibration,
            scorer=self.scorer,
        )  # fmt: skip
        return path


def labelled(spec: RobotSpec, config: TrainingConfig, count: int, first: int, **options: Any):
    sequences = toy_sequences(count, first, **options)
    return sequences, labels_of(sequences, spec, config)


def fitted(**options: Any) -> Fitted:
    """Fit everything to a hundred-odd episodes."""
    spec, config = toy_spec(), toy_config()
    parts = {
        "train": labelled(spec, config, 100, 0, **options),
        "validation": labelled(spec, config, 30, 1000, **options),
        "calibration": labelled(spec, config, 40, 2000, **options),
    }
    fabric = launch("cpu", 1, "32-true")
    operator, _ = fit(spec, parts["train"][0], parts["validation"][0], config, fabric)
    calibration, _ = calibrate(
        Trained(operator, spec, Calibration()), parts["validation"], parts["calibration"],
        config.calibration,
    )  # fmt: skip
    trained = Trained(operator, spec, calibration)
    assert config.scoring is not None
    scorer = fit_scorer(trained, parts, config.scoring, config.reward)
    return Fitted(trained, scorer, parts, config)


def steps_of(sequence: Sequence) -> list[Step]:
    """The sequence as a monitor meets it."""
    return [
        Step(
            int(t), i == 0, {m: v[i].copy() for m, v in sequence.values.items()},
            {m: v[i].copy() for m, v in sequence.mask.items()}, {},
            {"side": 0.0, "command": 0.0}, (),
        )
        for i, t in enumerate(sequence.t_ns)
    ]  # fmt: skip
