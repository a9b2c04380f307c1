"""A scorer of actions through the command line: train, evaluate, refuse."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_toy import TRAINING, Ran, Run, Toy, call, with_streams, write_yaml

from pro_ros.model.checkpoint import load_checkpoint

SCORING = {"chunk": 0.3, "points": 3, "hidden": 8, "members": 2, "epochs": 2}


def training(path: Path, **scoring: Any) -> Path:
    return write_yaml(path, {**copy.deepcopy(TRAINING), "scoring": {**SCORING, **scoring}})


def commanded(document: dict[str, Any]) -> None:
    document["streams"]["joints"]["modality"] = "action"


@pytest.fixture(scope="module")
def robot(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Ran]:
    """Data set and checkpoint of a robot whose joints are commands, and what training said."""
    folder = tmp_path_factory.mktemp("scored")
    streams = with_streams(folder / "streams.yaml", commanded)
    done = call(["import", toy.table, "-s", streams, "-o", folder / "dataset"])
    assert done.code == 0, done.stderr
    config = training(folder / "training.yaml")
    done = call(["train", folder / "dataset", "-c", config, "-o", folder / "checkpoint"])
    assert done.code == 0, done.stderr
    return folder / "dataset", folder / "checkpoint", done


def test_training_with_a_scoring_section_stores_a_scorer(robot: tuple[Path, Path, Ran]) -> None:
    _, folder, done = robot
    checkpoint = load_checkpoint(folder)
    assert checkpoint.scorer is not None
    document = checkpoint.scorer.document
    assert document.features == ("joints.position.elbow", "joints.position.wrist")
    assert document.model_id == checkpoint.model_id
    assert document.chunks["train"] > 100
    assert "scorer of actions" in done.stdout
    # What two epochs could not prove is said and not used.
    unproven = [name for name, said in document.evidence.items() if not said.proven]
    for name in unproven:
        assert document.effect[name] == 0.0
        assert any(f"scoring: {name}" in note for note in done.notes)


def test_the_evaluation_has_a_section_on_it(
    robot: tuple[Path, Path, Ran], run: Run, tmp_path: Path
) -> None:
    dataset, checkpoint, _ = robot
    done = run("evaluate", checkpoint, dataset, "-o", tmp_path / "results", "--resamples", 50)
    assert done.code == 0, done.stderr
    assert "action scoring" in done.stdout
    assert "permuted chunk" in done.stdout
    found = json.loads((tmp_path / "results" / "metrics.json").read_text())["scoring"]
    assert found["models"] == ["PRO", "no action", "permuted chunk"]
    keys = {m["key"] for m in found["metrics"]}
    assert {"scoring_progress_r2", "scoring_risk_auroc", "scoring_supported"} <= keys
    html = (tmp_path / "results" / "report.html").read_text()
    assert '<section id="scoring">' in html


def test_without_one_neither_checkpoint_nor_report_has_it(
    toy: Toy, run: Run, tmp_path: Path
) -> None:
    assert not (toy.checkpoint / "scorer.json").exists()
    done = run(
        "evaluate", toy.checkpoint, toy.dataset, "-o", tmp_path / "results", "--resamples", 0
    )
    assert done.code == 0, done.stderr
    assert json.loads((tmp_path / "results" / "metrics.json").read_text())["scoring"] is None
    assert 'id="scoring"' not in (tmp_path / "results" / "report.html").read_text()


def test_a_stream_file_without_actions_is_refused_before_training(
    toy: Toy, refused: Callable[..., str], tmp_path: Path
) -> None:
    config = training(tmp_path / "training.yaml")
    names = [config, "scoring", "no action", "modality 'action'"]
    refused(2, names, "train", toy.dataset, "-c", config)


def test_a_misspelt_key_is_named(toy: Toy, refused: Callable[..., str], tmp_path: Path) -> None:
    config = training(tmp_path / "training.yaml", chunks=1)
    refused(2, ["scoring.chunks", "did you mean 'chunk'"], "train", toy.dataset, "-c", config)


def test_chunks_longer_than_the_episodes_are_refused_with_what_helps(
    robot: tuple[Path, Path, Ran], refused: Callable[..., str], tmp_path: Path
) -> None:
    config = training(tmp_path / "training.yaml", chunk=30.0)
    line = refused(5, ["whole chunks of 30 s"], "train", robot[0], "-c", config, "--no-resume")
    assert "scoring.chunk" in line
