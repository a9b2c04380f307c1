"""The example that ships: its parts belong together, and its checkpoint judges its recording."""

from __future__ import annotations

import pytest

from pro_ros.config import load_model
from pro_ros.episodes.bags import BagRecording
from pro_ros.episodes.dataset import Dataset, Source, create_dataset
from pro_ros.evaluation.held_out import Request, evaluate_checkpoint
from pro_ros.evaluation.rivals import CLOCK
from pro_ros.model.checkpoint import Checkpoint, load_checkpoint
from pro_ros.paths import share_file
from pro_ros.runtime.replay import replay
from pro_ros.streams.spec import load_spec
from pro_ros.training.config import TrainingConfig

EXAMPLE = share_file("examples/ur3_cobotops/streams.yaml").parent


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    out = tmp_path_factory.mktemp("example") / "dataset"
    source = Source("recording", EXAMPLE / "recording")
    return create_dataset(
        out, "UR3 CobotOps", load_spec(EXAMPLE / "streams.yaml"), [source]
    ).dataset


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return load_checkpoint(EXAMPLE / "checkpoint")


def test_the_counts_are_those_of_the_recordings_notes(dataset):
    names = [event.name for event in dataset.manifest.events]
    assert names.count("grip_lost") == 77
    assert names.count("protective_stop") == 108
    assert len({e.attributes["counter"] for e in dataset.manifest.episodes}) == 240


def test_the_checkpoint_was_made_from_these_streams_this_data_and_this_configuration(
    dataset, checkpoint
):
    assert checkpoint.spec == dataset.spec
    assert checkpoint.meta.data["fingerprint"] == dataset.fingerprint()
    config = load_model(EXAMPLE / "training.yaml", TrainingConfig)
    assert TrainingConfig.model_validate(checkpoint.meta.training["config"]) == config
    assert "CC BY 4.0" in checkpoint.meta.data["attribution"]


def test_on_the_cycles_that_training_never_saw_it_ranks_rows_before_a_failure_higher(
    dataset, checkpoint
):
    request = Request(resamples=0, rivals=(CLOCK,))
    evaluation, _ = evaluate_checkpoint(checkpoint, dataset, request)
    found = evaluation.find("risk_auroc", "any", 5.0)
    assert found is not None
    scores = {score.model: score.number.value for score in found.scores}
    assert scores["PRO"] > 0.75
    assert scores["PRO"] > scores[CLOCK]


def test_it_replays_its_recording_with_an_assessment_for_every_row(checkpoint, tmp_path):
    with BagRecording(EXAMPLE / "recording", checkpoint.spec) as recording:
        done = replay(recording, checkpoint, tmp_path / "out")
    assert done.steps == 7409
    assert done.alarms > 0
