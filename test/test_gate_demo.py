"""The demo of the gate: its made-up cell, and the checkpoint that its commands make."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from pro_ros.cli.main import app
from pro_ros.model.checkpoint import load_checkpoint

DEMO = Path(__file__).resolve().parents[1] / "examples" / "gate_demo"


@pytest.fixture(scope="module")
def cell() -> Any:
    sys.path.insert(0, str(DEMO))
    try:
        import cell
    finally:
        sys.path.remove(str(DEMO))
    return cell


def test_the_made_up_cell_is_the_same_each_time_and_loses_what_slips(cell: Any) -> None:
    rows = cell.attempts(20, seed=3)
    assert rows == cell.attempts(20, seed=3)
    lost = [row for row in rows if row[4]]
    assert lost
    assert all(row[1] > cell.LOST - 3000 for row in lost)
    held = cell.Cell(seed=1)
    for _ in range(60):
        held.step("holding")
    assert abs(held.read()[0] - cell.HELD) < 3000
    assert not held.lost


def test_the_checkpoint_promises_an_alarm_for_this_stream_file() -> None:
    from pro_ros.streams.spec import load_spec

    checkpoint = load_checkpoint(DEMO / "checkpoint")
    spec = load_spec(DEMO / "streams.yaml")
    assert checkpoint.spec.streams == spec.streams
    alarms = checkpoint.calibration.alarms
    assert [a.target for a in alarms] == ["any"]
    assert alarms[0].threshold is not None


@pytest.mark.slow
def test_the_commands_of_the_readme_make_the_checkpoint_that_ships(
    cell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["cell.py", "recording.csv"])
    cell.main()
    commands = [
        line.split()[1:]
        for line in (DEMO / "README.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("    pro-ros ")
    ]
    for words in commands:
        words = [str(DEMO.parents[1] / w) if w.startswith("examples/") else w for w in words]
        name = " ".join(words)
        if '"made-up' in name:
            at = words.index('"made-up')
            words[at : at + 2] = ["made-up cell"]
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
    made, shipped = load_checkpoint(tmp_path / "checkpoint"), load_checkpoint(DEMO / "checkpoint")
    assert made.calibration.alarms[0].threshold == pytest.approx(
        shipped.calibration.alarms[0].threshold, abs=0.02
    )
