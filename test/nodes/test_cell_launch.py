"""The launch file of the demonstration cell, as a user starts it: real monitor, real gate."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("mujoco", reason="mujoco is not installed: the cell is not tested")

from gate_rig import write_gate_file
from runtime_toy import alarm, random_checkpoint
from test_cell_nodes import GENTLE

from pro_ros.episodes.dataset import Dataset
from pro_ros.model.calibration import Affine, Calibration
from pro_ros.paths import share_file
from pro_ros.streams.spec import load_spec

TASK_LINE = re.compile(
    r"cedar-00000(\d) tea_box: (?:done|NOT done) in [\d.]+ s, \d attempts?.*: 1 \w+"
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reads the cell's streams, and hardly ever raises an alarm: its weights are random."""
    spec = load_spec(share_file("config/cell/streams.yaml"))
    scale = {mode: Affine(slope=0.01, intercept=-6.0) for mode in spec.failure_modes}
    calibration = Calibration(hazard=scale, alarms=(alarm(0.999),))
    folder = tmp_path_factory.mktemp("cell") / "checkpoint"
    random_checkpoint(folder, spec, calibration)
    return folder


class Launched:
    """``ros2 launch pro_ros cell.launch.py`` and what it says."""

    def __init__(self, folder: Path, **arguments: str) -> None:
        gate_file = write_gate_file(folder / "gate.yaml", **GENTLE)
        given = {
            "python": sys.executable, "gate_file": gate_file, "site": "cedar", "sku": "tea_box",
            "log_level": "info", **arguments,
        }  # fmt: skip
        self._path = folder / "said.txt"
        with self._path.open("w", encoding="utf-8") as file:
            self.process = subprocess.Popen(
                ["ros2", "launch", "pro_ros", "cell.launch.py",
                 *(f"{k}:={v}" for k, v in given.items())],
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "ROS_LOG_DIR": str(folder / "log"), "OMP_NUM_THREADS": "1"},
            )  # fmt: skip

    @property
    def said(self) -> str:
        return self._path.read_text(encoding="utf-8")

    def wait_for(self, text: str, seconds: float = 90.0) -> re.Match[str]:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = re.search(text, self.said)
            if found:
                return found
            assert self.process.poll() is None, self.said
            time.sleep(0.1)
        raise AssertionError(f"never said '{text}': {self.said}")

    def ended(self, seconds: float = 150.0) -> str:
        """What was said until it ended by itself."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(self.said) from None
        return self.said

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


@pytest.fixture
def launched(tmp_path: Path) -> Iterator[list[Launched]]:
    made: list[Launched] = []
    yield made
    for one in made:
        one.kill()


def test_the_whole_loop_runs_tasks_ends_by_itself_and_is_recorded(
    tmp_path: Path, checkpoint: Path, launched: list[Launched]
) -> None:
    one = Launched(
        tmp_path, checkpoint=str(checkpoint), tasks="2", seed="1", record="true",
        output=str(tmp_path / "dataset"),
    )  # fmt: skip
    launched.append(one)
    said = one.ended()
    assert [found[1] for found in TASK_LINE.finditer(said)] == ["1", "2"], said
    assert re.search(r"\d of 2 tasks done, \d+ attempts, \d+ retries, \d+ attempts stopped", said)
    assert "Traceback" not in said
    assert not re.search(r"process has died", said), said
    dataset = Dataset.load(tmp_path / "dataset")
    episodes = dataset.manifest.episodes
    assert len(episodes) >= 2
    assert {e.context.get("site") for e in episodes} == {"cedar"}


def test_the_policy_is_stopped_when_the_monitor_is_killed(
    tmp_path: Path, checkpoint: Path, launched: list[Launched]
) -> None:
    one = Launched(tmp_path, checkpoint=str(checkpoint), tasks="1")
    launched.append(one)
    monitor = int(one.wait_for(r"\[pro_node-\d+\]: process started with pid \[(\d+)\]")[1])
    one.wait_for(r"attempt 1 of 2 begins")
    time.sleep(1.5)
    os.kill(monitor, signal.SIGKILL)
    one.wait_for(r"attempt 1 is stopped: monitor_dead", 20.0)
    said = one.ended(40.0)
    assert re.search(r"cedar-000000 tea_box: NOT done .*\(monitor_dead\): 1 monitor_dead", said)
    assert "NOT CONFIRMED" not in said


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"checkpoint": "missing"}, "checkpoint:=missing: no such file or folder"),
        ({"real_time_factor": "2"}, "real_time_factor:=2: expected a number from 0.8 to 1"),
        ({"tasks": "some"}, "tasks:=some: expected a whole number from 0 to 1e+06"),
        ({"site": "ceder"}, "unknown site 'ceder', did you mean 'cedar'?"),
    ],
)
def test_a_wrong_argument_is_one_line(
    tmp_path: Path,
    checkpoint: Path,
    launched: list[Launched],
    arguments: dict[str, str],
    line: str,
) -> None:
    one = Launched(tmp_path, **{"checkpoint": str(checkpoint), **arguments})
    launched.append(one)
    said = one.ended(60.0)
    assert line in said
    assert "Traceback" not in said
