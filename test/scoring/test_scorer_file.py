from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from scoring_toy import Fitted

from pro_ros.errors import CheckpointError
from pro_ros.model.checkpoint import load_checkpoint, save_checkpoint
from pro_ros.model.scorer_file import SCORER_DOCUMENT, SCORER_WEIGHTS
from pro_ros.paths import share_file


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "m"))


def test_a_scorer_comes_back_as_it_was_saved(decided: Fitted, saved: Path) -> None:
    loaded = load_checkpoint(saved).scorer
    assert loaded is not None
    assert loaded.arrays.keys() == decided.scorer.arrays.keys()
    for name, array in decided.scorer.arrays.items():
        assert np.array_equal(loaded.arrays[name], array), name
    named = {"scorer_id", "model_id", "weights_sha256"}
    assert loaded.document.model_dump(exclude=named) == decided.scorer.document.model_dump(
        exclude=named
    )


def test_the_operator_is_the_same_with_and_without(
    decided: Fitted, saved: Path, tmp_path: Path
) -> None:
    plain = tmp_path / "plain"
    trained = decided.trained
    save_checkpoint(plain, trained.operator, trained.spec, trained.calibration)
    for name in ("weights.safetensors", "checkpoint.json"):
        assert (plain / name).read_bytes() == (saved / name).read_bytes()
    without = load_checkpoint(plain)
    assert without.scorer is None
    assert without.model_id == load_checkpoint(saved).model_id


def test_the_same_scorer_gives_the_same_files(
    decided: Fitted, saved: Path, tmp_path: Path
) -> None:
    again = decided.save(tmp_path / "again")
    for name in (SCORER_DOCUMENT, SCORER_WEIGHTS):
        assert (again / name).read_bytes() == (saved / name).read_bytes()


def test_the_shipped_checkpoint_has_none_and_keeps_its_name() -> None:
    shipped = load_checkpoint(share_file("examples/ur3_cobotops") / "checkpoint")
    assert shipped.model_id == "26c07032d37e"
    assert shipped.scorer is None


def edit(folder: Path, **changes: object) -> None:
    path = folder / SCORER_DOCUMENT
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_scorer_of_another_operator_is_refused(folder: Path) -> None:
    edit(folder, model_id="0123456789ab")
    with pytest.raises(CheckpointError, match="belongs to another checkpoint"):
        load_checkpoint(folder)


def test_a_scorer_that_was_edited_is_refused(folder: Path) -> None:
    edit(folder, effect={"progress": 1.0, "success": 1.0, "risk": 0.123})
    with pytest.raises(CheckpointError, match="changed after training"):
        load_checkpoint(folder)


def test_damaged_weights_are_refused(folder: Path) -> None:
    path = folder / SCORER_WEIGHTS
    arrays = load_file(path)
    arrays["skip"] = arrays["skip"] + 1
    save_file(arrays, path)
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(folder)
    path.unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(folder)


def test_weights_without_a_document_are_refused(folder: Path) -> None:
    (folder / SCORER_DOCUMENT).unlink()
    with pytest.raises(CheckpointError, match=f"but no {SCORER_DOCUMENT}"):
        load_checkpoint(folder)
