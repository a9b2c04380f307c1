"""Checkpoints that are missing, damaged, of another version, or made for other streams."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_toy import Run, Toy, toy_rows, with_streams, write_csv

Refused = Callable[..., str]

CHECKPOINT = 4


@pytest.fixture
def both(refused: Refused, toy: Toy) -> Callable[..., None]:
    """Refused by evaluate and by replay alike."""

    def check(checkpoint: Path, *names: object) -> None:
        refused(CHECKPOINT, names, "evaluate", checkpoint, toy.dataset)
        refused(CHECKPOINT, names, "replay", toy.bag, checkpoint)

    return check


@pytest.fixture
def copied(toy: Toy, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy.checkpoint, tmp_path / "checkpoint"))


def edit(checkpoint: Path, change: Callable[[Any], Any]) -> None:
    path = checkpoint / "checkpoint.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_a_missing_checkpoint_is_named(both: Callable[..., None], tmp_path: Path) -> None:
    both(tmp_path / "none", tmp_path / "none", "checkpoint.json")


def test_missing_weights_are_named(both: Callable[..., None], copied: Path) -> None:
    (copied / "weights.safetensors").unlink()
    both(copied, copied / "weights.safetensors", "No such file")


def test_another_version_is_named_with_the_one_that_is_read(
    both: Callable[..., None], copied: Path
) -> None:
    edit(copied, lambda d: d.update(format="pro_ros/checkpoint/9", unheard_of=1))
    both(copied, copied, "'pro_ros/checkpoint/9'", "'pro_ros/checkpoint/1'")


@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty"])
def test_damaged_weights_are_refused(both: Callable[..., None], copied: Path, damage: str) -> None:
    path = copied / "weights.safetensors"
    raw = bytearray(path.read_bytes())
    if damage == "flipped":
        raw[-7] ^= 0x10
    path.write_bytes({"flipped": raw, "truncated": raw[: len(raw) // 2], "empty": b""}[damage])
    both(copied, path, "damaged", "SHA-256")


@pytest.mark.parametrize(
    ("text", "said"), [("{", "not valid json"), ("[]", "mapping"), ("{}", "missing key")]
)
def test_a_damaged_document_is_refused(
    both: Callable[..., None], copied: Path, text: str, said: str
) -> None:
    (copied / "checkpoint.json").write_text(text)
    both(copied, copied / "checkpoint.json", said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.pop("weights_sha256"), "'weights_sha256'"),
        (lambda d: d.update(modes=["other"]), "'modes'"),
        (lambda d: d["model"].update(width=16), "'model' was changed"),
        (lambda d: d["model"].update(widht=8), "did you mean 'width'?"),
        (lambda d: d["calibration"].update(hazard={"slip": {"slope": "steep"}}), "slope"),
        (lambda d: d["streams"]["streams"]["joints"].update(rate=0), "rate"),
    ],
)
def test_a_document_that_was_edited_is_refused(
    both: Callable[..., None], copied: Path, change: Callable[[Any], Any], said: str
) -> None:
    edit(copied, change)
    both(copied, copied / "checkpoint.json", said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["training"].clear(), "training.config"),
        (lambda d: d["data"].clear(), "data.fingerprint"),
        (lambda d: d["training"]["config"].update(sed=1), "did you mean 'seed'?"),
        (lambda d: d["data"].update(parts={"test": ["nothing"]}), "data.parts"),
    ],
)
def test_a_checkpoint_that_does_not_say_what_it_learned_from_is_not_evaluated(
    refused: Refused, toy: Toy, copied: Path, change: Callable[[Any], Any], said: str
) -> None:
    edit(copied, change)
    refused(CHECKPOINT, [said], "evaluate", copied, toy.dataset)


def other_streams(document: dict[str, Any]) -> None:
    document["streams"]["joints"]["features"][0] |= {"names": ["elbow"], "columns": ["elbow"]}


def test_a_checkpoint_for_other_streams_is_refused(
    refused: Refused, run: Run, toy: Toy, tmp_path: Path
) -> None:
    streams = with_streams(tmp_path / "s.yaml", other_streams)
    table = write_csv(tmp_path / "t.csv", toy_rows(6))
    assert run("import", table, "-s", streams, "-o", tmp_path / "d").code == 0
    refused(
        CHECKPOINT, [tmp_path / "d", "does not fit", "wrist"],
        "evaluate", toy.checkpoint, tmp_path / "d",
    )  # fmt: skip
    refused(
        CHECKPOINT, [streams, "does not fit", "wrist"],
        "replay", toy.bag, toy.checkpoint, "-s", streams,
    )  # fmt: skip


def test_the_state_of_another_run_is_refused(run: Run, toy: Toy, tmp_path: Path) -> None:
    state = tmp_path / ".c.state.safetensors"
    words = ["train", toy.dataset, "-c", toy.training, "-o", tmp_path / "c"]
    state.write_bytes(b"not a state")
    done = run(*words)
    assert done.code == CHECKPOINT
    assert done.stderr.splitlines()[-1].startswith(f"error: {state}: not a readable")
    assert "--no-resume" in done.stderr
    assert state.read_bytes() == b"not a state"
    assert not (tmp_path / "c").exists()
    done = run(*words, "--no-resume")
    assert done.code == 0
    assert not state.exists()
