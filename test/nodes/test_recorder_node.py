"""The recorder on a real rclpy: services, reports of other nodes, kill and restart."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ament_index_python.packages import get_package_prefix
from diagnostic_msgs.msg import DiagnosticArray
from pro_ros.msg import EpisodeEvent, Risk, TaskContext
from pro_ros.srv import BeginEpisode, EndEpisode
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import Float32
from waiting import START_S, known_to

from pro_ros.episodes.arrays import sequences
from pro_ros.episodes.dataset import Dataset
from pro_ros.errors import ProError
from pro_ros.nodes.qos import EVENTS, LATCHED
from pro_ros.nodes.recorder_node import RecorderNode

STREAMS = {
    "format": "pro_ros/streams/1",
    "robot": "arm",
    "gap": 1.0,
    "step": {"rate": 20},
    "streams": {
        "force": {
            "modality": "telemetry", "topic": "/rec/force", "type": "std_msgs/msg/Float32",
            "rate": 100, "clock": "receipt",
            "features": [{"name": "z", "field": "data", "unit": "N"}],
        }
    },
    "episodes": {"by": "events", "context": {"site": "north"}},
}  # fmt: skip


class Cell(Node):
    """A robot program: publishes a force at 100 Hz, begins and ends episodes."""

    def __init__(self) -> None:
        super().__init__("cell")
        self.force = self.create_publisher(Float32, "/rec/force", 10)
        self.events = self.create_publisher(EpisodeEvent, "/pro/episode_event", EVENTS)
        self.contexts = self.create_publisher(TaskContext, "/pro/task_context", LATCHED)
        self.risk = self.create_publisher(Risk, "/pro/risk", 10)
        self.heard: list[EpisodeEvent] = []
        self.tasks: list[TaskContext] = []
        self.states: list[dict[str, str]] = []
        self.levels: list[tuple[bytes, str]] = []
        self.create_subscription(EpisodeEvent, "/pro/episode_event", self.heard.append, EVENTS)
        self.create_subscription(TaskContext, "/pro/task_context", self.tasks.append, LATCHED)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._state, 10)
        self.begin_client = self.create_client(BeginEpisode, "/pro_recorder/begin_episode")
        self.end_client = self.create_client(EndEpisode, "/pro_recorder/end_episode")
        self.sent = 0
        self.create_timer(0.01, self._send)

    def _send(self) -> None:
        self.sent += 1
        self.force.publish(Float32(data=float(self.sent)))
        self.risk.publish(Risk())

    def _state(self, array: DiagnosticArray) -> None:
        for status in array.status:
            if "recorder" in status.name:
                self.states.append({v.key: v.value for v in status.values})
                self.levels.append((status.level, status.message))

    def begin(self, supersede: bool = False, **context: Any) -> BeginEpisode.Response:
        request = BeginEpisode.Request(context=TaskContext(**context), supersede=supersede)
        return call(self.begin_client, request)

    def end(self, outcome: int = 0, episode_id: str = "") -> EndEpisode.Response:
        return call(self.end_client, EndEpisode.Request(outcome=outcome, episode_id=episode_id))

    def report(self, kind: int, **fields: Any) -> None:
        event = EpisodeEvent(kind=kind, source="cell", **fields)
        event.header.stamp = self.get_clock().now().to_msg()
        self.events.publish(event)


def call(client: Any, request: Any) -> Any:
    until(client.service_is_ready)
    future = client.call_async(request)
    until(future.done)
    return future.result()


def until(done: Callable[[], Any], seconds: float = START_S) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def streams(tmp_path: Path) -> Path:
    path = tmp_path / "streams.yaml"
    path.write_text(yaml.safe_dump(STREAMS))
    return path


@pytest.fixture
def spin(ros: None) -> Iterator[Callable[[Node], None]]:
    """Spins nodes in a thread."""
    executor = SingleThreadedExecutor()
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.05)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    nodes: list[Node] = []

    def add(node: Node) -> None:
        nodes.append(node)
        executor.add_node(node)

    yield add
    stop.set()
    thread.join()
    for node in nodes:
        if isinstance(node, RecorderNode):
            node.close()
        node.destroy_node()


@pytest.fixture
def cell(spin: Callable[[Node], None]) -> Cell:
    node = Cell()
    spin(node)
    return node


@pytest.fixture
def record(
    spin: Callable[[Node], None], streams: Path, tmp_path: Path
) -> Callable[..., RecorderNode]:
    """Starts a recorder into ``tmp_path / 'data'``."""

    def start(**parameters: Any) -> RecorderNode:
        given = {
            "streams": str(streams), "output": str(tmp_path / "data"), "lead_in": 0.5,
            "lead_out": 0.2, "diagnostics_period": 0.1, **parameters,
        }  # fmt: skip
        node = RecorderNode(
            parameter_overrides=[Parameter(name, value=value) for name, value in given.items()]
        )
        spin(node)
        return node

    return start


def hearing(cell: Cell, node: RecorderNode) -> None:
    """Wait until everything is connected."""
    until(lambda: cell.force.get_subscription_count() and cell.events.get_subscription_count() > 1)
    until(lambda: cell.contexts.get_subscription_count() > 1)
    until(lambda: cell.states and int(cell.states[-1].get("messages", 1)))


def recorded(cell: Cell, path: Path, count: int) -> Dataset:
    """The data set, once it holds ``count`` recordings."""
    until(lambda: len(Dataset.load(path).manifest.recordings) >= count)
    return Dataset.load(path)


def test_services_begin_and_end_an_episode_that_is_recorded(
    cell: Cell, record: Callable[..., RecorderNode], tmp_path: Path
) -> None:
    node = record()
    hearing(cell, node)
    time.sleep(0.6)
    begun = cell.begin(
        prompt="pick the box", sku="4711", episode_id="pick_1", keys=["shift"], values=["late"]
    )
    assert (begun.accepted, begun.episode_id, begun.reason) == (True, "pick_1", "")
    until(lambda: cell.states[-1]["episode"] == "pick_1")
    refused = cell.begin(episode_id="pick_2")
    assert (refused.accepted, refused.episode_id) == (False, "")
    assert "'pick_1' is running" in refused.reason
    cell.report(EpisodeEvent.KIND_DROP, detail="slipped")
    time.sleep(0.5)
    wrong = cell.end(1, "pick_7")
    assert not wrong.accepted
    assert "'pick_7' is not running" in wrong.reason
    assert "outcome 9" in cell.end(9).reason
    ended = cell.end(EndEpisode.Request.OUTCOME_FAILURE)
    assert (ended.accepted, ended.episode_id) == (True, "pick_1")
    assert ended.path == str(tmp_path / "data" / "recordings" / "pick_1")
    assert "no episode is running" in cell.end().reason

    dataset = recorded(cell, tmp_path / "data", 1)
    (episode,), (event,) = dataset.manifest.episodes, dataset.manifest.events
    assert (episode.outcome, episode.end_seen, episode.task) == ("failure", True, "pick the box")
    assert episode.context == {"site": "north", "sku": "4711", "shift": "late"}
    assert (event.kind, event.episode) == ("drop", episode.id)
    (entry,) = dataset.manifest.recordings
    assert Path(ended.path) == dataset.locate(entry.id)
    assert 0.3e9 < episode.start_ns - entry.start_ns <= 0.5e9
    (sequence,) = sequences(dataset)
    assert (sequence.episode == 0).sum() >= 8
    # Everybody heard the same, each once.
    kinds = [(e.kind, e.source) for e in cell.heard]
    assert kinds == [(1, "/pro_recorder"), (13, "cell"), (2, "/pro_recorder")]
    (task,) = cell.tasks
    assert (task.prompt, task.episode_id) == ("pick the box", "pick_1")
    assert task.header.stamp == cell.heard[0].header.stamp
    topics = {c.topic for c in recording_topics(dataset, entry.id)}
    assert topics == {"/rec/force", "/pro/task_context", "/pro/episode_event"}


def recording_topics(dataset: Dataset, recording: str) -> list[Any]:
    with dataset.recording(recording) as found:
        return list(found.connections)  # type: ignore[attr-defined]


def test_reports_of_other_nodes_are_obeyed(
    cell: Cell, record: Callable[..., RecorderNode], tmp_path: Path
) -> None:
    node = record()
    hearing(cell, node)
    cell.contexts.publish(TaskContext(prompt="place it", episode_id="a", attempt=1))
    until(lambda: cell.tasks)
    cell.report(EpisodeEvent.KIND_EPISODE_BEGIN, episode_id="a")
    until(lambda: cell.states[-1]["episode"] == "a")
    time.sleep(0.3)
    cell.report(EpisodeEvent.KIND_EPISODE_END, episode_id="other", outcome=2)
    cell.report(EpisodeEvent.KIND_EPISODE_END, outcome=EpisodeEvent.OUTCOME_SUCCESS)
    until(lambda: cell.states[-1]["episode"] == "")
    # A retry through the service counts on.
    assert cell.begin(episode_id="b", retry_of="a", prompt="place it").accepted
    until(lambda: any(t.episode_id == "b" for t in cell.tasks))
    assert cell.tasks[-1].attempt == 2
    time.sleep(0.3)
    cell.report(EpisodeEvent.KIND_EPISODE_END, episode_id="b", outcome=2)
    dataset = recorded(cell, tmp_path / "data", 2)
    first, second = dataset.manifest.episodes
    assert (first.outcome, first.task, first.attempt) == ("success", "place it", 1)
    assert (second.outcome, second.attempt, second.retry_of) == ("failure", 2, first.id)


def test_a_begin_may_supersede(
    cell: Cell, record: Callable[..., RecorderNode], tmp_path: Path
) -> None:
    node = record()
    hearing(cell, node)
    first = cell.begin()
    assert first.accepted
    time.sleep(0.3)
    second = cell.begin(supersede=True)
    assert second.accepted
    assert second.episode_id != first.episode_id
    time.sleep(0.3)
    assert cell.end(1).accepted
    dataset = recorded(cell, tmp_path / "data", 2)
    found = [(e.outcome, e.end_seen) for e in dataset.manifest.episodes]
    assert found == [("unknown", False), ("success", True)]


def test_outputs_and_extra_topics_are_recorded_once_they_are_published(
    cell: Cell, record: Callable[..., RecorderNode], tmp_path: Path
) -> None:
    node = record(record_outputs=True, extra_topics=["/rec/extra"])
    hearing(cell, node)
    extra = cell.create_publisher(Float32, "/rec/extra", LATCHED)
    extra.publish(Float32(data=1.5))
    until(lambda: cell.risk.get_subscription_count() and extra.get_subscription_count())
    time.sleep(0.1)
    cell.begin(episode_id="a")
    time.sleep(0.2)
    cell.end(1)
    dataset = recorded(cell, tmp_path / "data", 1)
    found = recording_topics(dataset, "a")
    assert {"/rec/extra", "/pro/risk", "/rec/force"} <= {c.topic for c in found}
    assert next(c for c in found if c.topic == "/pro/risk").msgcount > 5


def test_without_recording_only_the_services_work(
    cell: Cell, record: Callable[..., RecorderNode], tmp_path: Path
) -> None:
    record(record=False, output="")
    assert cell.begin(episode_id="a").accepted
    ended = cell.end(1)
    assert (ended.accepted, ended.path) == (True, "")
    until(lambda: len(cell.heard) == 2)
    assert not (tmp_path / "data").exists()


def test_limits_may_change_at_run_time_and_others_may_not(
    cell: Cell, record: Callable[..., RecorderNode]
) -> None:
    node = record()
    hearing(cell, node)
    client = cell.create_client(SetParametersAtomically, "/pro_recorder/set_parameters_atomically")

    def set_to(name: str, value: Any) -> Any:
        request = SetParametersAtomically.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()]
        )
        return call(client, request).result

    assert set_to("max_episode_seconds", 1.0).successful
    assert not set_to("max_episode_seconds", 0.0).successful
    assert "rotate" in set_to("when_full", "explode").reason
    assert not set_to("output", "/elsewhere").successful
    cell.begin(episode_id="long")
    until(lambda: cell.states[-1]["recording"] == "True")
    until(lambda: cell.states[-1]["recording"] == "False")
    assert cell.states[-1]["episode"] == "long"
    ended = cell.end(1)
    assert (ended.accepted, ended.path) == (True, "")


def test_a_stream_that_is_not_heard_is_reported(
    cell: Cell, record: Callable[..., RecorderNode], streams: Path
) -> None:
    document = yaml.safe_load(streams.read_text())
    document["streams"]["grip"] = {**document["streams"]["force"], "topic": "/rec/grip"}
    streams.write_text(yaml.safe_dump(document))
    record()
    until(lambda: cell.levels and cell.levels[-1] == (b"\x01", "nothing heard on /rec/grip"))


def test_a_context_that_cannot_be_heard_is_reported(
    cell: Cell, record: Callable[..., RecorderNode]
) -> None:
    record()
    cell.create_publisher(TaskContext, "/pro/task_context", 10)
    until(lambda: cell.levels and cell.levels[-1][0] == b"\x02")
    assert "publish it reliable, transient_local" in cell.levels[-1][1]


@pytest.mark.parametrize(
    ("parameters", "line"),
    [
        ({"streams": ""}, "parameter 'streams' is empty"),
        ({"output": ""}, "parameter 'output' is empty"),
        ({"when_full": "rotat"}, "did you mean 'rotate'"),
        ({"streams": "/nowhere.yaml"}, "nowhere.yaml: cannot be read"),
    ],
)
def test_bad_parameters_are_one_line(
    record: Callable[..., RecorderNode], parameters: dict[str, Any], line: str
) -> None:
    with pytest.raises(ProError, match=line) as caught:
        record(**parameters)
    assert "\n" not in str(caught.value)


def start_process(streams: Path, output: Path, lead_in: str = "0.2") -> subprocess.Popen[str]:
    arguments = [
        "--ros-args", "-p", f"streams:={streams}", "-p", f"output:={output}",
        "-p", "diagnostics_period:=0.1", "-p", f"lead_in:={lead_in}",
    ]  # fmt: skip
    script = Path(get_package_prefix("pro_ros"), "lib", "pro_ros", "recorder")
    return subprocess.Popen(
        [sys.executable, str(script), *arguments],
        stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_a_killed_node_loses_nothing_and_the_next_one_finishes(
    cell: Cell, streams: Path, tmp_path: Path
) -> None:
    output = tmp_path / "data"
    process = start_process(streams, output)
    try:
        known_to(cell, "/pro_recorder")
        begun = cell.begin(episode_id="a", prompt="pick")
        assert begun.accepted
        until(lambda: cell.states and cell.states[-1].get("recording") == "True")
        before = int(cell.states[-1]["messages"])
        until(lambda: int(cell.states[-1]["messages"]) > before + 50)
        taken = int(cell.states[-1]["messages"]) - before
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not Dataset.load(output).manifest.recordings
    cell.states.clear()
    process = start_process(streams, output)
    try:
        dataset = recorded(cell, output, 1)
        (episode,) = dataset.manifest.episodes
        assert (episode.id, episode.outcome, episode.end_seen) == ("a/0000", "unknown", False)
        assert episode.task == "pick"
        with dataset.recording("a") as recording:
            values = [s.values[0] for s in recording.samples()]
        # All that the process had reported since it recorded, and more, without a hole.
        assert len(values) >= taken
        assert values == [values[0] + i for i in range(len(values))]
        # And it records again; what is running when it is told to end is finished.
        known_to(cell, "/pro_recorder")
        until(lambda: cell.states and int(cell.states[-1]["messages"]) > 10)
        assert cell.begin(episode_id="b").accepted
        time.sleep(0.3)
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    assert "killed" in said
    assert "Traceback" not in said, said
    assert process.returncode == 0
    second = Dataset.load(output).manifest.episodes[1]
    assert (second.recording, second.outcome, second.end_seen) == ("b", "unknown", False)
    assert not list((output / ".recorder").glob("*.journal"))


@pytest.mark.parametrize("value", ["100.0", "many"])
def test_a_value_that_cannot_be_taken_ends_the_node_with_one_line(
    streams: Path, tmp_path: Path, value: str
) -> None:
    process = start_process(streams, tmp_path / "data", value)
    _, said = process.communicate(timeout=60)
    assert "lead_in" in said
    assert "Traceback" not in said, said
    assert process.returncode == 2


def test_a_second_recorder_on_the_folder_is_refused(
    cell: Cell, record: Callable[..., RecorderNode], streams: Path, tmp_path: Path
) -> None:
    record()
    process = start_process(streams, tmp_path / "data")
    _, said = process.communicate(timeout=60)
    assert f"process {os.getpid()} records here already" in said
    assert "Traceback" not in said, said
    assert process.returncode == 6


def test_a_simulated_clock_that_does_not_run_begins_nothing(
    cell: Cell, record: Callable[..., RecorderNode]
) -> None:
    record(use_sim_time=True)
    assert "/clock" in cell.begin(episode_id="a").reason
