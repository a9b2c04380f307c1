"""Training on several processes, which a launcher starts as the same command again."""

from __future__ import annotations

from pathlib import Path

from cli_toy import Toy, finish, start

from pro_ros.model.checkpoint import load_checkpoint


def test_two_processes_train_one_checkpoint(toy: Toy, tmp_path: Path) -> None:
    out = tmp_path / "checkpoint"
    words = ["train", toy.dataset, "-c", toy.training, "-o", out, "--device", "cpu"]
    done = finish(start([*words, "--devices", 2], tmp_path))
    assert done.code == 0, done.stderr
    assert load_checkpoint(out).calibration.episodes > 0
    # Whole and alone: no state, no temporary folder of either process.
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint"]
