"""The monitor as a process: started, interrupted, killed, started again."""

from __future__ import annotations

import gc
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import live_toy as toy
import pytest
import rclpy
from ament_index_python.packages import get_package_prefix
from live_toy import well
from pro_ros.msg import Assessment
from rclpy.executors import SingleThreadedExecutor
from rig import Ear, wait_for
from waiting import START_S

from pro_ros.nodes.pro_node import main

BAD = ("Traceback", "terminate called", "core dumped", "Segmentation")
"""What a clean end does not print."""


class Process:
    """A child process; what it prints is collected."""

    def __init__(self, *command: str) -> None:
        self.child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True, cwd="/",
        )  # fmt: skip
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.child.stdout is not None
        for line in self.child.stdout:
            self.lines.append(line.rstrip())

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def says(self, text: str) -> None:
        wait_for(lambda: text in self.output, f"'{text}' in {self.lines}", START_S)

    def ends(self, seconds: float = 15.0) -> int:
        """The exit code."""
        code = self.child.wait(seconds)
        self._reader.join(5.0)
        return code

    def kill(self) -> None:
        """End it and all that it started."""
        if self.child.poll() is None:
            os.killpg(self.child.pid, signal.SIGKILL)
            self.child.wait()


def executable() -> str:
    return str(Path(get_package_prefix("pro_ros")) / "lib" / "pro_ros" / "pro_node")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("toy") / "model"
    toy.checkpoint(folder, toy.small())
    return folder


@pytest.fixture
def started() -> Iterator[Any]:
    """Starts processes, and ends them all."""
    processes: list[Process] = []

    def start(*arguments: str) -> Process:
        command = [executable()] if not arguments or arguments[0] == "--ros-args" else []
        processes.append(Process(sys.executable, *command, *arguments))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()


@pytest.fixture
def ear(ros) -> Iterator[Ear]:
    """Hears the monitor, and speaks to it, without having one in this process."""
    other = rclpy.create_node("other")
    rig = Ear(other)
    executor = SingleThreadedExecutor()
    executor.add_node(other)
    threading.Thread(target=spin, args=(executor,), daemon=True).start()
    yield rig
    executor.shutdown()
    other.destroy_node()


def spin(executor: SingleThreadedExecutor) -> None:
    try:
        executor.spin()
    except Exception:
        if rclpy.ok() and executor.get_nodes():
            raise


def parameters(model: Path, **more: Any) -> list[str]:
    given = {"checkpoint": model, **toy.GENTLE, **more}
    return ["--ros-args", *(a for k, v in given.items() for a in ("-p", f"{k}:={v}"))]


@pytest.mark.parametrize("interrupts", [[signal.SIGTERM], [signal.SIGINT] * 3])
def test_it_activates_itself_publishes_and_ends_cleanly(started, ear, interrupts, model):
    process = started(*parameters(model))
    with toy.fed(ear, "joints", "vacuum"):
        wait_for(lambda: ear.heard["assessment"], f"assessments; {process.lines}", START_S)
        well(ear)
        for interrupt in interrupts:
            process.child.send_signal(interrupt)
            time.sleep(0.02)
        assert process.ends() == 0, process.output
    assert f"[pro]: model {ear.last().model_id} (calibrated) on cpu" in process.output
    for text in BAD:
        assert text not in process.output, process.output


@pytest.mark.parametrize("interrupt", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_it_starts_it_ends_cleanly(started, interrupt, model):
    """While rclpy is up and the checkpoint is being loaded."""
    code = (
        "import os, signal\n"
        "import pro_ros.nodes.pro_node as node\n"
        "load = node.load_checkpoint\n"
        "def interrupted(*args):\n"
        f"    os.kill(os.getpid(), {int(interrupt)})\n"
        "    import time; time.sleep(0.3)\n"
        "    return load(*args)\n"
        "node.load_checkpoint = interrupted\n"
        "node.main()\n"
    )
    process = started("-c", code, *parameters(model))
    assert process.ends(START_S) == 0, process.output
    for text in (*BAD, "ERROR"):
        assert text not in process.output, process.output


def test_without_autostart_it_waits_and_without_a_checkpoint_it_lives(
    started, ear, model, tmp_path
):
    waiting = started(*parameters(model, autostart="false"), "-r", "__node:=waiting")
    failing = started(*parameters(tmp_path / "none"), "-r", "__node:=failing")
    failing.says("[failing]: cannot configure:")
    failing.says("not a checkpoint")

    def found(name: str) -> bool:
        return any(s.name == f"/{name}: model" for a in list(ear.diagnostics) for s in a.status)

    for name in ("waiting", "failing"):
        wait_for(lambda name=name: found(name), f"diagnostics of {name}", START_S)
    for process in (waiting, failing):
        process.child.send_signal(signal.SIGINT)
    for process in (waiting, failing):
        assert process.ends() == 0, process.output
        assert "Traceback" not in process.output
    assert not waiting.lines


@pytest.mark.parametrize(
    ("wrong", "parts"),
    [
        ({"max_lateness": 1}, ("max_lateness", "DOUBLE")),
        ({"max_lateness": 1e9}, ("max_lateness", "range")),
        ({"checkpoint": 5}, ("checkpoint", "STRING")),
    ],
)
def test_a_parameter_of_a_wrong_kind_ends_it_with_one_line(capfd, wrong, parts, model):
    before = signal.getsignal(signal.SIGINT)
    # A node that was never finished goes with the exception that says why: now, and not below.
    gc.collect()
    capfd.readouterr()
    try:
        with pytest.raises(SystemExit) as end:
            main(["pro_node", *parameters(model, **wrong)])
    finally:
        signal.signal(signal.SIGINT, before)
    assert end.value.code == 2
    printed = capfd.readouterr()
    lines = (printed.out + printed.err).strip().splitlines()
    assert len(lines) == 1, lines
    assert all(part in lines[0] for part in parts), lines


def test_interrupted_while_it_is_imported_it_ends_without_a_traceback(started):
    process = started(*parameters(Path("none")))
    wait_for(lambda: b"torch" in mapped(process), "torch is being loaded", START_S)
    process.child.send_signal(signal.SIGINT)
    assert process.ends() in (0, 130), process.output
    assert "Traceback" not in process.output


def mapped(process: Process) -> bytes:
    """The files that a process has loaded."""
    return Path(f"/proc/{process.child.pid}/maps").read_bytes()


def test_killed_it_is_started_again_by_launch_and_works(started, ear, model, tmp_path):
    file = tmp_path / "launch.py"
    given = {"checkpoint": str(model), **toy.GENTLE}
    file.write_text(
        "from launch import LaunchDescription\n"
        "from launch_ros.actions import Node\n"
        "def generate_launch_description():\n"
        "    return LaunchDescription([Node(package='pro_ros', executable='pro_node',\n"
        f"        prefix={sys.executable!r}, parameters=[{given!r}], output='screen',\n"
        "        respawn=True, respawn_delay=0.2)])\n"
    )
    code = (
        "import sys; from launch import LaunchService\n"
        "from launch.launch_description_sources import (\n"
        "    get_launch_description_from_python_launch_file as read)\n"
        "service = LaunchService()\n"
        f"service.include_launch_description(read({str(file)!r}))\n"
        "sys.exit(service.run())\n"
    )
    launch = started("-c", code)
    with toy.fed(ear, "joints", "vacuum"):
        wait_for(lambda: ear.heard["assessment"], f"assessments; {launch.lines}", START_S)
        well(ear)
        wait_for(lambda: ear.beats and ear.beats[-1].sequence > 10, "beats")
        pid = re.search(r"process started with pid \[(\d+)\]", launch.output)
        assert pid, launch.output
        os.kill(int(pid[1]), signal.SIGKILL)
        wait_for(lambda: "process has died" in launch.output, f"its end; {launch.lines}")
        time.sleep(0.2)
        beats, count = len(ear.beats), len(ear.heard["assessment"])
        wait_for(lambda: len(ear.heard["assessment"]) > count, f"{launch.lines}", START_S)
        well(ear)
        said = ear.assessments()[count:]
        assert said[0].sequence == 0, "it counts anew"
        wait_for(lambda: len(ear.beats) > beats, "heartbeats")
        assert ear.beats[beats].sequence < 10, "and so does the heartbeat"
        assert any(m.validity & Assessment.VALIDITY_RESTARTED for m in said)
    launch.child.send_signal(signal.SIGINT)
    assert launch.ends() == 0, launch.output
    assert "Traceback" not in launch.output
    assert "process has finished cleanly" in launch.output, launch.output
