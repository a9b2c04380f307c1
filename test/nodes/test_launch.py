"""The launch files on a real ROS 2, as a user starts them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
import rclpy
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from pro_ros.msg import Heartbeat, Risk
from rcl_interfaces.srv import GetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.task import Future
from waiting import ANSWER_S, START_S

from pro_ros.streams.spec import load_spec


class Launched:
    """``ros2 launch pro_ros …`` as a process of its own; its output goes to a file."""

    def __init__(self, file: str, log: Path, **arguments: str) -> None:
        arguments = {"python": sys.executable, **arguments}
        self.log = log
        with log.open("w", encoding="utf-8") as out:
            self.process = subprocess.Popen(
                ["ros2", "launch", "pro_ros", file, *(f"{k}:={v}" for k, v in arguments.items())],
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "ROS_LOG_DIR": str(log.parent / "log")},
            )

    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def pids(self, executable: str) -> list[int]:
        """Process ids with which an executable was started, oldest first."""
        pattern = rf"\[{executable}-\d+\]: process started with pid \[(\d+)\]"
        return [int(pid) for pid in re.findall(pattern, self.output())]

    def stop(self) -> int:
        """Ctrl-C, as in a terminal; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)

    def __enter__(self) -> Launched:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Listener:
    """A node of the test's own, and its executor."""

    def __init__(self) -> None:
        self.node = rclpy.create_node("listener")
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)

    def wait(self, launched: Launched, done: Callable[[], bool], seconds: float = START_S) -> None:
        end = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < end, launched.output()
            self.executor.spin_once(timeout_sec=0.05)

    def heard(self, kind: Any, topic: str) -> list[Any]:
        messages: list[Any] = []
        self.node.create_subscription(kind, topic, messages.append, 10)
        return messages

    def ask(self, launched: Launched, kind: Any, service: str, request: Any) -> Any:
        """The answer of a service that may be asked as often as one likes.

        Who has found a service is not yet found by it, and an answer to somebody unknown is lost:
        it is asked again.
        """
        client = self.node.create_client(kind, service)
        asked: list[Future] = []
        due = 0.0

        def answered() -> bool:
            nonlocal due
            if client.service_is_ready() and time.monotonic() >= due:
                due = time.monotonic() + ANSWER_S
                asked.append(client.call_async(request))
            return any(one.done() for one in asked)

        self.wait(launched, answered)
        return next(one.result() for one in asked if one.done())

    def parameters(self, launched: Launched, node: str, *names: str) -> list[Any]:
        request = GetParameters.Request(names=list(names))
        found = self.ask(launched, GetParameters, f"{node}/get_parameters", request).values
        kinds = ("", "bool_value", "integer_value", "double_value", "string_value")
        return [getattr(value, kinds[value.type]) for value in found]


@pytest.fixture
def listener(ros: None) -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.executor.shutdown()
    listener.node.destroy_node()


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_the_demo_shows_valid_risks_of_the_shipped_recording(
    listener: Listener, example: Path, tmp_path: Path
) -> None:
    checkpoint = json.loads((example / "checkpoint" / "checkpoint.json").read_text("utf-8"))
    risks = listener.heard(Risk, "/pro/risk")
    with Launched("demo.launch.py", tmp_path / "out", rate="50") as launched:
        listener.wait(launched, lambda: sum(r.validity & 1 for r in risks) >= 50)
        started = launched.pids("pro_node") + launched.pids("player")
        assert launched.stop() == 0, launched.output()
    assert {r.model_id for r in risks} == {checkpoint["model_id"]}
    # On the recording's clock, one step a second.
    valid = [r for r in risks if r.validity & Risk.VALIDITY_VALID]
    assert {r.header.stamp.sec // 100_000 for r in valid} == {16667}
    assert all(0.0 <= x <= 1.0 for r in valid for x in r.risk)
    assert len(started) == 2
    assert not any(alive(pid) for pid in started)
    assert "Traceback" not in launched.output()


def test_arguments_reach_the_monitor_and_a_killed_one_comes_back_active(
    listener: Listener, example: Path, tmp_path: Path
) -> None:
    streams = tmp_path / "streams.yaml"
    text = (example / "streams.yaml").read_text(encoding="utf-8")
    streams.write_text(text.replace("topic: /", "topic: "), encoding="utf-8")
    params = tmp_path / "params.yaml"
    params.write_text(
        "/**:\n  ros__parameters:\n    max_lateness: 3.0\n    device: cpu\n", encoding="utf-8"
    )
    beats = listener.heard(Heartbeat, "/cell/critic/heartbeat")
    with Launched(
        "pro.launch.py",
        tmp_path / "out",
        robot="ur3_cobotops",
        namespace="cell",
        name="critic",
        streams=str(streams),
        device="cuda:99",
        params_file=str(params),
        respawn_delay="0.2",
    ) as launched:
        listener.wait(launched, lambda: len(beats) >= 2)
        # Without a leading slash a topic is below the namespace.
        assert listener.node.count_subscribers("/cell/joint_states") == 1
        assert listener.node.count_subscribers("/joint_states") == 0
        names = ("max_lateness", "device", "max_rate_factor", "streams")
        found = listener.parameters(launched, "/cell/critic", *names)
        # The last file wins over the arguments and the preset, and these over the defaults.
        assert found == [3.0, "cpu", 1000.0, str(streams)]

        os.kill(launched.pids("pro_node")[0], signal.SIGKILL)
        listener.wait(launched, lambda: len(launched.pids("pro_node")) == 2)
        beats.clear()
        listener.wait(launched, lambda: len(beats) >= 2)
        state = listener.ask(
            launched, GetState, "/cell/critic/get_state", GetState.Request()
        ).current_state
        assert state.id == State.PRIMARY_STATE_ACTIVE
        assert launched.stop() == 0, launched.output()


def test_a_recorder_starts_alone_with_the_streams_of_the_preset(
    listener: Listener, example: Path, tmp_path: Path
) -> None:
    with Launched(
        "pro.launch.py",
        tmp_path / "out",
        robot="ur3_cobotops",
        namespace="/cell/",
        monitor="false",
        record="true",
        output=str(tmp_path / "dataset"),
    ) as launched:
        names = ("streams", "output", "monitor", "use_sim_time")
        found = listener.parameters(launched, "/cell/pro_recorder", *names)
        assert load_spec(found[0]) == load_spec(example / "streams.yaml")
        assert found[1:] == [str(tmp_path / "dataset"), "/cell/pro", False]
        assert launched.pids("pro_node") == []
        assert launched.stop() == 0, launched.output()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"robot": "ur5ee"}, "unknown robot 'ur5ee'; did you mean 'ur5e'?"),
        ({"robot": "ur5e"}, "robot 'ur5e' has no checkpoint of its own: give checkpoint:="),
    ],
)
def test_a_wrong_argument_ends_the_launch_with_one_line(
    arguments: dict[str, str], line: str, tmp_path: Path
) -> None:
    with Launched("pro.launch.py", tmp_path / "out", **arguments) as launched:
        assert launched.process.wait(30) != 0
    said = [text for text in launched.output().splitlines() if "[ERROR]" in text]
    assert len(said) == 1
    assert line in said[0]
    assert "Traceback" not in launched.output()


def test_a_faulty_checkpoint_is_said_in_one_line_and_the_monitor_stays_alive(
    listener: Listener, tmp_path: Path
) -> None:
    with Launched("pro.launch.py", tmp_path / "out", checkpoint=str(tmp_path)) as launched:
        state = listener.ask(launched, GetState, "/pro/get_state", GetState.Request())
        listener.wait(launched, lambda: "cannot configure" in launched.output())
        assert state.current_state.id == State.PRIMARY_STATE_UNCONFIGURED
        assert "Traceback" not in launched.output()
        assert len(launched.pids("pro_node")) == 1
