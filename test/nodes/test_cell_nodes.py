"""The demonstration cell as nodes: real topics, the real gate, a monitor at the test's hand."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mujoco", reason="mujoco is not installed: the cell is not tested")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from gate_rig import Client, FakeMonitor, Order, Spinning, write_gate_file
from pro_ros.action import ExecuteTask, RunPolicy
from pro_ros.msg import EpisodeEvent, TaskContext
from pro_ros.srv import NextTask, ScoreActions
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.serialization import serialize_message
from rosgraph_msgs.msg import Clock
from rosidl_runtime_py.utilities import get_message
from std_msgs.msg import Int8
from std_srvs.srv import Trigger
from waiting import wait_for, within

from pro_ros.cell.catalogue import load_catalogue
from pro_ros.cell.cell import Cell, DivergedError
from pro_ros.cell.decoding import ReadingDecoder
from pro_ros.cell.loop import KINDS as LOOP_KINDS
from pro_ros.cell.messages import TOPICS
from pro_ros.cell.sensors import (
    ACTION,
    ACTION_VALVE,
    CAMERA,
    ITEM_POSE,
    JOINTS,
    SCALE_TARGET,
    Reading,
)
from pro_ros.errors import SpecError
from pro_ros.gate.reasons import Outcome, TerminationReason
from pro_ros.nodes.action_driver import GoalFields
from pro_ros.nodes.cell_node import CellNode
from pro_ros.nodes.cell_policy import KINDS, CellPolicy
from pro_ros.nodes.gate_node import GateNode
from pro_ros.nodes.qos import ASSESSMENTS, sensor
from pro_ros.paths import share_file

SITE, SKU = "cedar", "tea_box"
"""A site with slow sensors: the machine may be busy."""

ELSEWHERE = next(i for i in load_catalogue().items if i not in load_catalogue().site(SITE).items)
"""An item that the site does not have."""

REST = (0.0, 0.0, 0.0, 0.0)

A_TASK = 60.0
"""For a task to end [s]."""

GENTLE: dict[str, dict[str, Any]] = {
    "limits": {
        "max_attempts": 2, "attempt_timeout": 30.0, "max_duration": 60.0, "stop_timeout": 4.0,
        "start_timeout": 6.0, "recovery_timeout": 20.0,
    },
    "freshness": {"period": 0.5, "needed": 2},
    "ending": {"enabled": False},
    "causes": {
        "modes": {"drop": "recover"}, "policy_failure": "recover", "policy_rejected": "abort",
    },
}  # fmt: skip


def parameters(**given: Any) -> dict[str, Any]:
    return {"parameter_overrides": [Parameter(k, value=v) for k, v in given.items()]}


class Ear(Node):
    """Hears everything that the cell says, and asks it for things."""

    def __init__(self) -> None:
        super().__init__("ear")
        kinds = [kind for kind in TOPICS if kind != CAMERA]
        decoder = ReadingDecoder(kinds)
        self.readings: dict[str, list[Reading]] = {kind: [] for kind in kinds}
        self.clocks: list[int] = []
        self.health: list[DiagnosticStatus] = []
        for kind in kinds:
            topic, msgtype = TOPICS[kind]
            self.create_subscription(
                get_message(msgtype), topic, self._hearer(decoder, kind), sensor(200), raw=True
            )
        self.create_subscription(Clock, "/clock", self._on_clock, ASSESSMENTS)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_health, 10)
        self.next = self.create_client(NextTask, "/cell/next_task")
        self.look = self.create_client(Trigger, "/vision/look")
        self.release = self.create_client(Trigger, "/robot/release_stop")

    def _hearer(self, decoder: ReadingDecoder, kind: str) -> Callable[[bytes], None]:
        heard = self.readings[kind]
        return lambda data: heard.append(decoder.decode(kind, data, time.time_ns()))

    def _on_clock(self, clock: Clock) -> None:
        self.clocks.append(clock.clock.sec * 1_000_000_000 + clock.clock.nanosec)

    def _on_health(self, array: DiagnosticArray) -> None:
        self.health += [s for s in array.status if s.name.startswith("cell")]

    def ask(self, client: Any, request: Any) -> Any:
        wait_for(client.service_is_ready, f"{client.srv_name} is found")
        answer = within(self, lambda: client.call_async(request))
        wait_for(answer.done, f"{client.srv_name} answers")
        return answer.result()

    def next_task(self, **given: Any) -> NextTask.Response:
        return self.ask(self.next, NextTask.Request(**given))

    def commands(self) -> list[tuple[float, ...]]:
        return [tuple(r.values) for r in list(self.readings[ACTION])]  # type: ignore[arg-type]

    def last_command(self) -> tuple[float, ...]:
        """The newest command, once none has come for half a second of the cell's time."""
        heard = (len(self.readings[ACTION]), len(self.clocks))

        def quiet() -> bool:
            nonlocal heard
            count, ticks = len(self.readings[ACTION]), len(self.clocks)
            if count != heard[0]:
                heard = (count, ticks)
            return ticks - heard[1] >= 50

        wait_for(quiet, "the commands end")
        return self.commands()[-1]

    def weight(self, after_ns: int = 0) -> float:
        """What the scale under the target tote says after a time of the cell's [kg]."""
        said = self.readings[SCALE_TARGET]
        wait_for(lambda: said and said[-1].stamp_ns > after_ns, "the scale speaks")
        return float(said[-1].values[0])


@pytest.fixture
def nodes(ros: None) -> Iterator[Spinning]:
    made = Spinning()
    yield made
    made.end()


@pytest.fixture
def cell(nodes: Spinning) -> CellNode:
    return nodes.add(CellNode(**parameters(site=SITE)))


@pytest.fixture
def ear(nodes: Spinning) -> Ear:
    return nodes.add(Ear())


def make_policy(nodes: Spinning, **given: Any) -> CellPolicy:
    return nodes.add(CellPolicy(**parameters(use_sim_time=True, **given)))


class Whole:
    """Cell, policy, gate, a monitor that is well, and a client."""

    def __init__(self, nodes: Spinning, ear: Ear, folder: Path, **given: Any) -> None:
        self.nodes, self.ear = nodes, ear
        self.policy = make_policy(nodes, **given)
        gate_file = write_gate_file(folder / "gate.yaml", **GENTLE)
        files = ["--ros-args", "--params-file", str(share_file("config/cell/gate_node.yaml"))]
        options = parameters(gate_file=str(gate_file), **{"recovery.name": "run_recovery"})
        self.gate = nodes.add(GateNode(cli_args=files, **options))
        self.client: Client = nodes.add(Client())
        self.other = nodes.add(Node("other"))
        self.monitor = FakeMonitor(self.other)

    def order(self, **given: Any) -> Order:
        laid_out = self.ear.next_task(**{"site": SITE, "sku": SKU, "seed": 1, **given})
        assert laid_out.success, laid_out.message
        wait_for(lambda: self.client.states and self.client.state().open, "the gate opens")
        wait_for(self.client.action.server_is_ready, "the gate is found")
        for driver in self.gate._drivers.values():
            wait_for(driver.client.server_is_ready, "the gate finds the policy")
        wait_for(self.policy._vision.service_is_ready, "the policy finds the vision system")
        return Order(self.client, ExecuteTask.Goal(task=laid_out.task))

    def moving(self) -> bool:
        said = self.ear.commands()
        return bool(said) and max(map(abs, said[-1])) > 0.1


@pytest.fixture
def whole(nodes: Spinning, cell: CellNode, ear: Ear, tmp_path: Path) -> Iterator[Whole]:
    made = Whole(nodes, ear, tmp_path)
    yield made
    made.monitor.stop()


# --- the cell -----------------------------------------------------------------------------


def test_topics_and_types_are_those_of_the_table_and_no_others(cell: CellNode, ear: Ear) -> None:
    found = dict(ear.get_publisher_names_and_types_by_node("cell", "/"))
    wait_for(lambda: ear.clocks, "the cell speaks")
    found = dict(ear.get_publisher_names_and_types_by_node("cell", "/"))
    table = {
        topic: [msgtype]
        for kind, (topic, msgtype) in TOPICS.items()
        if kind not in (ACTION, ACTION_VALVE, CAMERA)
    }
    own = {"/clock", "/diagnostics", "/rosout", "/parameter_events"}
    assert {topic: types for topic, types in found.items() if topic not in own} == table
    assert set(found) == set(table) | own


def test_sensors_speak_at_the_rates_of_the_site(cell: CellNode, ear: Ear) -> None:
    wait_for(lambda: len(ear.readings[JOINTS]) > 400, "three seconds")
    site = load_catalogue().site(SITE)
    rates = {
        JOINTS: site.joint_rate, "wrench": site.wrench_rate, "vacuum": site.vacuum_rate,
        "part_present": 50, "valve": 50, "protective_stop": 50, "scale_source": 10,
    }  # fmt: skip
    span = (ear.clocks[-1] - ear.clocks[0]) / 1e9
    for kind, rate in rates.items():
        # Best effort, on a machine that may be busy: some may be lost, none are too many.
        assert 0.8 * rate * span - 3 < len(ear.readings[kind]) <= 1.05 * rate * span + 8, kind
    assert ear.readings[ITEM_POSE] == []
    steps = {b - a for a, b in zip(ear.clocks, ear.clocks[1:], strict=False)}
    assert min(steps) == 10_000_000
    assert sum(step > 10_000_000 for step in steps) < 0.1 * len(ear.clocks)


def test_vision_says_where_the_item_lies_only_when_it_is_asked(cell: CellNode, ear: Ear) -> None:
    assert ear.next_task(site=SITE, sku=SKU, seed=3).success
    assert ear.ask(ear.look, Trigger.Request()).success
    pose = wait_for(lambda: ear.readings[ITEM_POSE], "an estimate")[0]
    assert 0.3 < pose.values[0] < 0.7
    assert pose.stamp_ns <= cell.live.now_ns
    assert ear.ask(ear.release, Trigger.Request()).success
    assert len(ear.readings[ITEM_POSE]) == 1


def test_the_next_task_is_said_and_time_goes_on(cell: CellNode, ear: Ear) -> None:
    first = ear.next_task(seed=5)
    second = ear.next_task(site="ash", sku="book", seed=6)
    assert first.task.site == SITE
    assert second.success
    assert second.task.task_id == "ash-000006"
    assert second.task.sku == "book"
    assert second.task.prompt == "pick the paperback book and place it in the other tote"
    # A site that was named stays the present one.
    assert ear.next_task(seed=7).task.site == "ash"
    assert ear.clocks == sorted(ear.clocks)
    stamps = [r.stamp_ns for r in ear.readings[JOINTS]]
    assert stamps == sorted(stamps)


@pytest.mark.parametrize(
    ("request_", "line"),
    [
        ({"site": "ceder"}, "unknown site 'ceder', did you mean 'cedar'?"),
        ({"site": SITE, "sku": "tea_boxx"}, "unknown item 'tea_boxx', did you mean 'tea_box'?"),
        ({"site": SITE, "sku": ELSEWHERE}, f"site '{SITE}' has no item '{ELSEWHERE}'"),
        ({"seed": -1}, "seed -1 is below 0"),
    ],
)
def test_a_task_that_cannot_be_is_one_line_and_the_cell_goes_on(
    cell: CellNode, ear: Ear, request_: dict[str, Any], line: str
) -> None:
    said = ear.next_task(**request_)
    assert not said.success
    assert said.message.startswith(line)
    assert "\n" not in said.message
    assert said.task == TaskContext()
    before = len(ear.clocks)
    wait_for(lambda: len(ear.clocks) > before + 10, "the cell goes on")


def test_what_cannot_be_obeyed_is_not(cell: CellNode, ear: Ear, nodes: Spinning) -> None:
    hand = nodes.add(Node("hand"))
    valve = hand.create_publisher(Int8, "/policy/valve", ASSESSMENTS)
    wait_for(valve.get_subscription_count, "the cell listens")
    wait_for(lambda: ear.readings["valve"], "the valve is heard")
    valve.publish(Int8(data=7))
    valve.publish(Int8(data=1))
    wait_for(
        lambda: ear.readings["valve"] and ear.readings["valve"][-1].values == (1.0,), "it sucks"
    )
    assert {r.values for r in ear.readings["valve"]} == {(0.0,), (1.0,)}


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"site": "ceder"}, "unknown site 'ceder', did you mean 'cedar'?"),
        ({"cell_file": "missing.yaml"}, "missing.yaml"),
    ],
)
def test_a_cell_that_cannot_be_made_says_so(ros: None, given: dict[str, str], line: str) -> None:
    with pytest.raises(SpecError, match=line):
        CellNode(**parameters(**given))


def test_without_mujoco_the_node_ends_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "mujoco.py").write_text("raise ImportError('not here')\n", encoding="utf-8")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); "
        "from pro_ros.nodes.cell_node import main; main()"
    )
    # Not in the repository, whose folder would hide the package that was built.
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == SpecError.exit_code
    said = [line for line in ran.stderr.splitlines() if line.strip()]
    assert len(said) == 1
    assert "the cell needs the package 'mujoco'" in said[0]


# --- the policy ---------------------------------------------------------------------------


def test_kinds_of_failures_are_those_of_the_loop_without_ros() -> None:
    assert KINDS == LOOP_KINDS


def test_a_task_runs_to_its_end_through_the_real_gate(whole: Whole, cell: CellNode) -> None:
    order = whole.order()
    empty = whole.ear.weight()
    result = order.result(A_TASK)
    assert result.stopped
    ends = [e for e in whole.client.events if e.kind == EpisodeEvent.KIND_EPISODE_END]
    begins = [e for e in whole.client.events if e.kind == EpisodeEvent.KIND_EPISODE_BEGIN]
    assert len(begins) == len(ends) == len(result.attempts)
    success = result.outcome == Outcome.SUCCESS
    assert success == (result.termination_reason == TerminationReason.SUCCESS)
    assert success == (ends[-1].outcome == EpisodeEvent.OUTCOME_SUCCESS)
    # The scale under the target tote tells the same.
    placed = whole.ear.weight(cell.live.now_ns) - empty
    assert success == (0.6 < placed / load_catalogue().item(SKU).mass < 1.6)
    context = whole.client.contexts[-1]
    assert (context.sku, context.site) == (SKU, SITE)
    assert context.task_id == f"{SITE}-000001"
    # An attempt without success logged why, in its own name.
    named = {e.name for e in whole.client.events if e.source == "cell_policy"}
    assert named <= set(KINDS)
    assert success or named
    assert whole.ear.last_command() == REST


def test_a_dead_monitor_stops_the_policy(whole: Whole) -> None:
    order = whole.order()
    wait_for(whole.moving, "the arm moves", A_TASK)
    whole.monitor.fault = "dead"
    result = order.result(A_TASK)
    assert result.termination_reason == TerminationReason.MONITOR_DEAD
    assert result.stopped
    assert whole.ear.last_command() == REST


def test_an_alarm_brakes_recovers_and_tries_again(whole: Whole) -> None:
    order = whole.order()
    wait_for(whole.moving, "the arm moves", A_TASK)
    whole.monitor.raise_risk("drop")
    wait_for(lambda: whole.policy._runner._lesson == "drop", "a recovery", A_TASK)
    whole.monitor.lower_risk()
    result = order.result(A_TASK)
    assert len(result.attempts) == 2
    first = result.attempts[0]
    assert first.cause == TerminationReason.RISK_ALARM
    assert first.mode == "drop"
    # It braked for a moment, and said so: nothing was given up waiting for it.
    assert 0.0 < first.stop_latency < 4.0
    assert [c.attempt for c in whole.client.contexts][-1] == 2
    assert whole.client.contexts[-1].retry_of


def test_a_cancel_brakes_and_is_confirmed(whole: Whole) -> None:
    order = whole.order()
    wait_for(whole.moving, "the arm moves", A_TASK)
    order.cancel()
    result = order.result(A_TASK)
    assert order.status() == "canceled"
    assert result.stopped
    assert result.termination_reason == TerminationReason.CANCELLED
    assert whole.ear.last_command() == REST


def test_a_diverging_simulation_ends_the_task_and_the_next_one_runs(
    whole: Whole, cell: CellNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = whole.order()
    wait_for(whole.moving, "the arm moves", A_TASK)

    def diverge(_: Cell) -> list[Reading]:
        raise DivergedError("the simulation of seed 1 at site 'cedar' diverged after 3.00 s")

    with monkeypatch.context() as patch:
        patch.setattr(Cell, "advance", diverge)
        wait_for(lambda: cell.live.fault, "the fault")
        ticks = len(whole.ear.clocks)
        result = order.result(A_TASK)
        assert result.outcome != Outcome.SUCCESS
        assert len(whole.ear.clocks) > ticks
        wait_for(
            lambda: any("diverged" in status.message for status in whole.ear.health),
            "diagnostics say it",
        )
    laid_out = whole.ear.next_task(site=SITE, sku=SKU, seed=2)
    assert laid_out.success
    assert cell.live.fault == ""


class Asker(Node):
    """Sends goals to the policy's own actions, without a gate."""

    def __init__(self, name: str = "run_policy") -> None:
        super().__init__("asker")
        self._action, self._client = name, ActionClient(self, RunPolicy, name)

    def destroy_node(self) -> None:
        self._client.destroy()
        super().destroy_node()

    def send(self, **given: Any) -> Any:
        goal = RunPolicy.Goal(
            prompt=given.pop("prompt", "pick"), keys=list(given), values=list(given.values())
        )
        wait_for(self._client.server_is_ready, self._action)
        sent = within(self, lambda: self._client.send_goal_async(goal))
        wait_for(sent.done, "an answer")
        return sent.result()

    def cancel(self, handle: Any) -> None:
        answer = within(self, handle.cancel_goal_async)
        wait_for(answer.done, "a cancel is answered")

    def result(self, handle: Any) -> RunPolicy.Result:
        ended = within(self, handle.get_result_async)
        wait_for(ended.done, "it ends", A_TASK)
        return ended.result().result


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({}, "the goal has no key 'task_id'"),
        ({"task_id": "1", "site": SITE}, "the goal has no key 'sku'"),
        ({"task_id": "1", "site": SITE, "sku": "tea_boxx"}, "unknown item 'tea_boxx'"),
    ],
)
def test_a_goal_that_cannot_be_is_rejected_with_one_line(
    nodes: Spinning,
    cell: CellNode,
    ear: Ear,
    given: dict[str, str],
    line: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(
        "pro_ros.nodes.cell_policy.say", lambda node, severity, text: lines.append(text)
    )
    policy = make_policy(nodes)
    wait_for(lambda: not policy._silent, "the policy hears the cell")
    assert not nodes.add(Asker()).send(**given).accepted
    assert any(line in text for text in lines), lines


def test_without_a_cell_nothing_is_attempted(
    nodes: Spinning, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(
        "pro_ros.nodes.cell_policy.say", lambda node, severity, text: lines.append(text)
    )
    make_policy(nodes)
    assert not nodes.add(Asker()).send(task_id="1", site=SITE, sku=SKU).accepted
    assert lines == ["run_policy: goal rejected: the cell is silent"]


def test_one_goal_at_a_time(nodes: Spinning, cell: CellNode, ear: Ear) -> None:
    policy = make_policy(nodes)
    assert ear.next_task(site=SITE, sku=SKU, seed=1).success
    wait_for(lambda: not policy._silent, "the policy hears the cell")
    first, second = nodes.add(Asker()), nodes.add(Asker("run_recovery"))
    handle = first.send(task_id="1", site=SITE, sku=SKU)
    assert handle.accepted
    assert not second.send(prompt="drop").accepted
    first.cancel(handle)
    first.result(handle)
    recovery = second.send(prompt="drop")
    assert recovery.accepted
    assert second.result(recovery).success


def test_a_run_ends_when_who_ordered_it_is_gone(
    nodes: Spinning, cell: CellNode, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(
        "pro_ros.nodes.cell_policy.say", lambda node, severity, text: lines.append(text)
    )
    policy = make_policy(nodes, silence=0.5)
    assert ear.next_task(site=SITE, sku=SKU, seed=1).success
    wait_for(lambda: not policy._silent, "the policy hears the cell")
    client = nodes.add(Asker())
    assert client.send(task_id="1", site=SITE, sku=SKU).accepted
    wait_for(lambda: len(ear.commands()) > 20, "it moves", A_TASK)
    nodes.remove(client)
    wait_for(lambda: lines == ["aborted: who ordered it is gone"], "it ends", A_TASK)
    assert ear.last_command() == REST
    assert not policy._reserved


def test_the_policy_wants_simulated_time(ros: None) -> None:
    with pytest.raises(SpecError, match="set 'use_sim_time'"):
        CellPolicy()


class Scorer(Node):
    """Answers with the last candidate, or not before the test is over."""

    def __init__(self, answers: bool) -> None:
        super().__init__("scorer")
        self.asked: list[ScoreActions.Request] = []
        self.may_answer = threading.Event()
        if answers:
            self.may_answer.set()
        self.create_service(ScoreActions, "/pro/score_actions", self._score)

    def _score(
        self, request: ScoreActions.Request, response: ScoreActions.Response
    ) -> ScoreActions.Response:
        self.asked.append(request)
        self.may_answer.wait(A_TASK)
        response.ok = True
        response.supported = [True] * request.candidates
        response.best = request.candidates - 1
        return response


@pytest.mark.parametrize("answers", [True, False])
def test_the_best_scored_candidate_is_carried_out_and_late_scores_hold_nobody_up(
    nodes: Spinning, cell: CellNode, ear: Ear, answers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[int] = []
    choose = CellPolicy._choose

    def listen(policy: CellPolicy, chunks: Any) -> int:
        begun = time.monotonic()
        chosen.append(choose(policy, chunks))
        took.append(time.monotonic() - begun)
        return chosen[-1]

    took: list[float] = []
    monkeypatch.setattr(CellPolicy, "_choose", listen)
    scorer = nodes.add(Scorer(answers))
    policy = make_policy(nodes, candidates=3, score_timeout=1.0 if answers else 0.05)
    assert ear.next_task(site=SITE, sku=SKU, seed=1).success
    wait_for(lambda: not policy._silent, "the policy hears the cell")
    wait_for(policy._scores.service_is_ready, "the scores are found")
    asker = nodes.add(Asker())
    handle = asker.send(task_id="1", site=SITE, sku=SKU)
    assert handle.accepted
    wait_for(lambda: len(chosen) >= 3, "three choices", A_TASK)
    asker.cancel(handle)
    asker.result(handle)
    scorer.may_answer.set()
    request = scorer.asked[0]
    assert (request.candidates, request.rows, request.action_dim) == (3, 25, 5)
    assert request.dt == pytest.approx(0.04)
    assert len(request.actions) == 3 * 25 * 5
    assert set(chosen) == ({2} if answers else {0})
    # No answer came at all: it was waited for as long as was asked for, but for a busy machine.
    assert answers or min(took) < 0.25


def test_what_is_published_is_what_an_ordinary_subscriber_hears(
    cell: CellNode, ear: Ear, nodes: Spinning
) -> None:
    """Bytes are made without rclpy; rclpy reads and writes them the same."""
    got: list[Any] = []
    raw: list[bytes] = []
    topic, msgtype = TOPICS["wrench"]
    kind = get_message(msgtype)
    other = nodes.add(Node("ordinary"))
    other.create_subscription(kind, topic, got.append, sensor(50))
    other.create_subscription(kind, topic, raw.append, sensor(50), raw=True)
    wait_for(lambda: len(got) > 5 and len(raw) > 5, "messages")
    assert got[0].header.frame_id == "wrist"
    assert {serialize_message(m) for m in got} & set(raw)


def test_several_sources_fill_one_list_of_a_goal_in_their_order() -> None:
    entries = ["keys:=[a, b]", "values=sku", "values=site", "prompt=prompt"]
    sources = {"sku": "text", "site": "text", "prompt": "text"}
    fill = GoalFields("policy", RunPolicy.Goal, entries, sources)
    for number in (1, 2):
        goal = fill({"sku": f"jar {number}", "site": "ash", "prompt": "pick"})
        assert goal.values == [f"jar {number}", "ash"]
        assert goal.keys == ["a", "b"]
