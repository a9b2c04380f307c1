"""The visual path from a bag with images to a replayed bag: what only a camera sees is learned."""

from __future__ import annotations

import numpy as np
import pytest
from lightning_fabric import Fabric

from pro_ros.episodes.arrays import sequences
from pro_ros.episodes.bags import BagRecording
from pro_ros.episodes.bagwriter import BagWriter
from pro_ros.episodes.dataset import Source, create_dataset
from pro_ros.episodes.splits import select
from pro_ros.interfaces import header_message, typestore
from pro_ros.model.checkpoint import load_checkpoint
from pro_ros.runtime.assessor import Assessor
from pro_ros.runtime.replay import replay
from pro_ros.streams.spec import parse_spec
from pro_ros.training.config import TrainingConfig
from pro_ros.training.train import save, train

NS = 1_000_000_000
IMAGE = "sensor_msgs/msg/Image"
FLOAT = "std_msgs/msg/Float64"

SPEC = parse_spec(
    {
        "format": "pro_ros/streams/1",
        "robot": "toy",
        "step": {"rate": 5},
        "gap": 2.0,
        "streams": {
            "camera": {
                "modality": "visual",
                "topic": "/camera/image_raw",
                "type": IMAGE,
                "rate": 5,
                "image": {"height": 16, "width": 16},
            },
            "force": {
                "modality": "telemetry",
                "topic": "/force",
                "type": FLOAT,
                "clock": "receipt",
                "rate": 10,
                "features": [{"name": "f", "field": "data", "unit": "N"}],
            },
            "failed": {
                "modality": "label",
                "topic": "/failed",
                "type": FLOAT,
                "clock": "receipt",
                "rate": 10,
                "features": [{"name": "flag", "field": "data"}],
            },
        },
        "episodes": {
            "by": "file",
            "task": "pick the red item",
            "outcome": {"signal": "failed.flag", "success": 0, "failure": 1},
        },
    },
    "camera test",
)

CONFIG = TrainingConfig.model_validate(
    {
        "model": {
            "width": 16, "members": 2, "modality_dropout": 0.0, "dropout": 0.0,
            "visual": {"channels": [8, 16]}, "temporal": {"window": 2, "far_dropout": 0.0},
        },
        "split": {"validation": 0.2, "calibration": 0.0, "test": 0.25},
        "loss": {"success": 1.0, "success_before_end": 1.0},
        "optimiser": {"epochs": 25, "chunk": 10, "batch": 4, "average": 0.0,
                      "learning_rate": 0.01, "patience": 25},
    }
)  # fmt: skip


def record(path, number: int) -> None:
    """Two seconds: a failing run has a bright image, and a force that tells nothing."""
    store = typestore()
    rng = np.random.default_rng(number)
    fails = number % 2
    with BagWriter(path) as writer:
        for k in range(20):
            t = (1000 + number * 100) * NS + k * NS // 10
            value = store.types[FLOAT]
            writer.write("/force", FLOAT, t, value(data=float(rng.normal())))
            writer.write("/failed", FLOAT, t, value(data=float(fails)))
            if k % 2 == 0:
                pixels = rng.integers(0, 60, (20, 24, 3), dtype=np.uint8) + np.uint8(150 * fails)
                message = store.types[IMAGE](
                    header=header_message(store, t), height=20, width=24, encoding="rgb8",
                    is_bigendian=0, step=72, data=pixels.ravel(),
                )  # fmt: skip
                writer.write("/camera/image_raw", IMAGE, t, message)


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("camera")
    sources = []
    for number in range(16):
        record(folder / f"run{number}", number)
        sources.append(Source(f"run{number}", folder / f"run{number}"))
    dataset = create_dataset(folder / "dataset", "camera", SPEC, sources).dataset
    fabric = Fabric(accelerator="cpu", devices=1)
    training = train(dataset, CONFIG, fabric, cache=folder)
    save(training, folder / "checkpoint")
    return folder, dataset, training


def test_what_only_the_camera_sees_is_learned_and_told_on_held_out_runs(chain):
    folder, dataset, training = chain
    checkpoint = load_checkpoint(folder / "checkpoint")
    held_out = [e for e, part in training.assignment.items() if part == "test"]
    said = {}
    for sequence in select(sequences(dataset, cache=folder), held_out):
        success = Assessor(checkpoint).run(sequence).success[-1]
        said.setdefault(sequence.episodes[0].outcome, []).append(success)
    assert min(said["success"]) > 0.6
    assert max(said["failure"]) < 0.4


def test_replay_of_a_bag_with_images_keeps_them_and_tells_the_runs_apart(chain, tmp_path):
    folder, _, _ = chain
    checkpoint = load_checkpoint(folder / "checkpoint")
    last = {}
    for number in (0, 1):
        out = tmp_path / f"out{number}"
        with BagRecording(folder / f"run{number}", SPEC) as recording:
            done = replay(recording, checkpoint, out)
            images = recording.topics["/camera/image_raw"]
        assert done.steps > 5
        store = typestore()
        with BagRecording(out, SPEC) as replayed:
            assert replayed.topics["/camera/image_raw"] == images
            for connection, _, raw in replayed.messages():
                if connection.topic == "/pro/assessment":
                    last[number] = store.deserialize_cdr(raw, connection.msgtype).success
    assert last[0] > 0.6 > 0.4 > last[1]
