"""The programs of docs/guides/read-risk.md, against a monitor that a test plays."""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rclpy
from pro_ros.msg import Risk

from pro_ros.paths import share_file

SOURCE = share_file("examples/read_risk/CMakeLists.txt").parent


def python_of_ros() -> str | None:
    """A ``python3`` that has what ament's CMake scripts import."""
    for folder in os.environ["PATH"].split(os.pathsep):
        found = shutil.which("python3", path=folder)
        if (
            found
            and not subprocess.run(
                [found, "-c", "import catkin_pkg"], capture_output=True, check=False
            ).returncode
        ):
            return found
    return None


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The C++ program, built as a user builds it, with warnings as errors."""
    python = python_of_ros()
    if python is None or shutil.which("cmake") is None:
        pytest.skip("no CMake, or no python3 with catkin_pkg on PATH")
    build = tmp_path_factory.mktemp("read_risk")
    commands = (
        [
            "cmake", "-S", str(SOURCE), "-B", str(build), f"-DPython3_EXECUTABLE={python}",
            "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Wpedantic -Werror",
        ],
        ["cmake", "--build", str(build)],
    )  # fmt: skip
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return [str(build / "read_risk")]


@pytest.fixture(params=["python", "cpp"])
def program(request: pytest.FixtureRequest) -> list[str]:
    if request.param == "python":
        return [sys.executable, str(SOURCE / "read_risk.py")]
    found: list[str] = request.getfixturevalue("compiled")
    return found


class Stage:
    """The program at work, and the publisher that it listens to."""

    def __init__(self, command: list[str], log: Path) -> None:
        self.node = rclpy.create_node("played_monitor")
        # A topic of its own: nobody else's monitor is heard.
        topic = f"/read_risk_{os.getpid()}/risk"
        self.publisher = self.node.create_publisher(Risk, topic, 10)
        self.log = log
        with log.open("w", encoding="utf-8") as out:
            self.process = subprocess.Popen(
                [*command, "--ros-args", "--remap", f"/pro/risk:={topic}"],
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def lines(self) -> list[str]:
        return self.log.read_text(encoding="utf-8").splitlines()

    def until(self, line: str, act: Callable[[], Any] = lambda: None) -> None:
        """Repeat an act until the program's newest line begins so."""
        end = time.monotonic() + 20
        while not (lines := self.lines()) or not lines[-1].startswith(line):
            assert time.monotonic() < end, lines[-5:]
            assert self.process.poll() is None, lines[-5:]
            act()
            time.sleep(0.05)

    def say(self, sequence: int, **fields: Any) -> None:
        values: dict[str, Any] = {"validity": Risk.VALIDITY_VALID, "risk": [0.1, 0.2], **fields}
        self.publisher.publish(Risk(sequence=sequence, **values))

    def close(self) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(10)
        finally:
            self.process.kill()
            self.node.destroy_node()


@pytest.fixture
def stage(program: list[str], ros: None, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(program, tmp_path / "out")
    yield stage
    stage.close()


def counter() -> Callable[[], int]:
    number = iter(range(1, 100_000))
    return lambda: next(number)


@pytest.mark.slow
def test_the_robot_goes_on_only_while_fresh_and_valid_risks_are_low(stage: Stage) -> None:
    count = counter()

    stage.until("stop: no valid risk")
    stage.until("go on: 0.20", lambda: stage.say(count()))
    # Silence.
    stage.until("stop: the risk is old")
    stage.until("go on", lambda: stage.say(count()))
    # A monitor that lives and has nothing to judge repeats its number.
    same = count()
    stage.say(same)
    stage.until("stop: no valid risk", lambda: stage.say(same))
    stage.until("go on", lambda: stage.say(count()))
    stage.until("stop: no valid risk", lambda: stage.say(count(), validity=0))
    stage.until("stop: the risk is high", lambda: stage.say(count(), risk=[0.1, 0.9]))
    stage.until("stop: the risk is high", lambda: stage.say(count(), risk=[0.1, math.nan]))
    stage.until("stop: the risk is high", lambda: stage.say(count(), risk=[]))
    stage.until("stop: alarm", lambda: stage.say(count(), alarm=True))
    stage.until("go on", lambda: stage.say(count()))


@pytest.mark.slow
def test_a_restarted_monitor_counts_again(stage: Stage) -> None:
    later, again = iter(range(5_000, 6_000)), counter()
    stage.until("go on", lambda: stage.say(next(later)))
    stage.until("stop: the risk is old")
    stage.until("go on", lambda: stage.say(again()))


@pytest.mark.slow
def test_ctrl_c_ends_it_without_a_trace(stage: Stage) -> None:
    stage.until("stop: no valid risk")
    stage.process.send_signal(signal.SIGINT)
    assert stage.process.wait(10) == 0, stage.lines()[-10:]
    assert "Traceback" not in "\n".join(stage.lines())
