"""The gate's launch files, as a user starts them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from gate_rig import write_gate_file


def launch(folder: Path, file: str, seconds: float = 150.0, **arguments: str) -> tuple[int, str]:
    """``ros2 launch`` until it ends by itself; its exit code and what it said."""
    given = {"python": sys.executable, **arguments}
    started = subprocess.Popen(
        ["ros2", "launch", "pro_ros", file, *(f"{k}:={v}" for k, v in given.items())],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "ROS_LOG_DIR": str(folder / "log")},
    )
    try:
        said, _ = started.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(started.pid, signal.SIGKILL)
        said, _ = started.communicate()
        raise AssertionError(said) from None
    return started.returncode, said


def test_the_demo_shows_a_slip_being_caught_retried_and_completed(tmp_path: Path) -> None:
    _, said = launch(tmp_path, "gate_demo.launch.py")
    lines = [line.partition("] ")[2] for line in said.splitlines() if line.startswith("[order")]
    text = "\n".join(lines)
    assert re.search(r"attempt 1: stopping because of risk alarm, grip_lost", text), said
    assert re.search(r"attempt 1: risk alarm \(grip_lost\), .* stop confirmed \d+ ms", text), said
    assert re.search(r"attempt 2: success", text), said
    assert re.search(r"task done after 2 attempts", text), said
    assert "Traceback" not in said


def test_the_demo_gives_up_after_three_slips(tmp_path: Path) -> None:
    _, said = launch(tmp_path, "gate_demo.launch.py", script="slip", duration="3.0")
    assert re.search(r"task NOT done after 3 attempts .* attempts_exhausted", said), said


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"gate_file": "missing.yaml"}, "gate_file:=missing.yaml: no such file or folder"),
        ({"policy_type": "pro_ros/action/Nothing"}, "no such action"),
        ({"safe_action_name": "x", "policy_name": "/a-b"}, "no name of an action"),
    ],
)
def test_a_wrong_argument_is_one_line(
    arguments: dict[str, str], line: str, tmp_path: Path
) -> None:
    _, said = launch(tmp_path, "gate.launch.py", **arguments)
    assert line in said
    assert "Traceback" not in said


def test_arguments_and_parameter_file_reach_the_gate(tmp_path: Path) -> None:
    gate_file = write_gate_file(tmp_path / "gate.yaml", on_monitor_death="safe_action")
    parameters = tmp_path / "parameters.yaml"
    # The parameter file is applied last, and its fault names what the arguments gave.
    parameters.write_text(
        "/**:\n  ros__parameters:\n    safe_action.type: pro_ros/action/Missing\n", "utf-8"
    )
    _, said = launch(
        tmp_path,
        "gate.launch.py",
        gate_file=gate_file,
        safe_action_name="make_safe",
        params_file=str(parameters),
        namespace="cell",
    )
    assert "parameter 'safe_action.type' is 'pro_ros/action/Missing': no such action" in said
