"""The monitor's life cycle, parameters, topics and diagnostics on a real rclpy."""

from __future__ import annotations

import json
import math
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import live_toy as toy
import pytest
import yaml
from lifecycle_msgs.srv import ChangeState, GetState
from live_toy import NS, goes_on, invalid, line_with, well
from pro_ros.msg import Assessment, EpisodeEvent, Reward, Risk, TaskContext
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import DescribeParameters
from rclpy.parameter import Parameter
from rclpy.qos import QoSReliabilityPolicy, qos_profile_sensor_data
from rclpy.serialization import deserialize_message
from rig import Rig, running, wait_for
from std_msgs.msg import Float32

from pro_ros.nodes.parameters import values
from pro_ros.nodes.pro_node_parameters import PRO_NODE_PARAMETERS
from pro_ros.nodes.qos import EVENTS, LATCHED

CONFIGURE, CLEANUP, ACTIVATE, DEACTIVATE = 1, 2, 3, 4
SHUTDOWN = {"unconfigured": 5, "inactive": 6, "active": 7}


def call(rig: Rig, kind: type, service: str, request: Any) -> Any:
    """The answer of one of the monitor's services."""
    client = rig.other.create_client(kind, f"/pro/{service}")
    wait_for(client.service_is_ready, f"there is a {service}")
    future = client.call_async(request)
    wait_for(future.done, f"an answer of {service}")
    rig.other.destroy_client(client)
    return future.result()


def change(rig: Rig, transition: int) -> bool:
    request = ChangeState.Request()
    request.transition.id = transition
    return call(rig, ChangeState, "change_state", request).success


def state(rig: Rig) -> str:
    return call(rig, GetState, "get_state", GetState.Request()).current_state.label


def set_one(rig: Rig, name: str, value: Any) -> Any:
    """Set a parameter as another node does; the result."""
    from rcl_interfaces.srv import SetParameters

    request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
    return call(rig, SetParameters, "set_parameters", request).results[0]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    toy.checkpoint(folder / "model", toy.small())
    return folder / "model"


def test_the_life_cycle_goes_round_by_its_services(ros, model):
    with running(model, active=False, **toy.GENTLE) as rig:
        assert state(rig) == "unconfigured"
        for n in range(2):
            assert change(rig, CONFIGURE)
            assert state(rig) == "inactive"
            count = len(rig.heard["assessment"])
            assert change(rig, ACTIVATE)
            with toy.fed(rig):
                goes_on(rig)
                first = rig.assessments()[count:]
                assert first[0].sequence == 0, f"round {n} counts from 0"
                judged = next(m for m in first if m.validity & m.VALIDITY_RESTARTED)
                assert judged.sequence <= 1
                assert change(rig, DEACTIVATE)
                assert state(rig) == "inactive"
                quiet(rig)
            assert change(rig, CLEANUP)
            assert state(rig) == "unconfigured"
        assert change(rig, SHUTDOWN["unconfigured"])
        assert state(rig) == "finalized"


def quiet(rig: Rig) -> None:
    """Nothing more is published, whatever comes in."""
    time.sleep(0.2)
    counts = {name: len(raw) for name, raw in rig.heard.items()}
    beats = len(rig.beats)
    time.sleep(0.7)
    assert {name: len(raw) for name, raw in rig.heard.items()} == counts
    assert len(rig.beats) == beats


@pytest.mark.parametrize("from_state", ["inactive", "active"])
def test_it_shuts_down_from_any_state(ros, from_state, model):
    with running(model, active=False, **toy.GENTLE) as rig:
        assert change(rig, CONFIGURE)
        if from_state == "active":
            assert change(rig, ACTIVATE)
        assert change(rig, SHUTDOWN[from_state])
        assert state(rig) == "finalized"
        count = len(rig.diagnostics)
        wait_for(lambda: len(rig.diagnostics) > count, "diagnostics go on")


def test_nothing_is_published_and_nothing_heard_while_inactive(ros, model):
    with running(model, active=False, **toy.GENTLE) as rig:
        assert change(rig, CONFIGURE)
        feed = toy.Feed(rig, {"joints": toy.joints, "vacuum": toy.vacuum}, 50)
        quiet(rig)
        assert rig.publisher("/joint_states", "").get_subscription_count() == 0
        assert change(rig, ACTIVATE)
        said = well(rig)
        oldest = said.window_start.sec + said.window_start.nanosec / NS
        assert time.time() - oldest < 5.0
        feed.stop()


def test_activated_again_it_remembers_nothing(ros, model):
    with running(model, **toy.GENTLE) as rig, toy.fed(rig):
        well(rig)
        wait_for(lambda: not rig.last().validity & Assessment.VALIDITY_WARMING_UP, "a full memory")
        assert change(rig, DEACTIVATE)
        time.sleep(0.2)
        count = len(rig.heard["assessment"])
        again = time.time()
        assert change(rig, ACTIVATE)
        goes_on(rig)
        said = [m for m in rig.assessments()[count:] if not math.isnan(m.value)]
        assert said[0].validity & said[0].VALIDITY_WARMING_UP
        begun = said[0].window_start.sec + said[0].window_start.nanosec / NS
        assert begun >= again - 0.01
        restarted = [m for m in rig.assessments()[count:] if m.validity & m.VALIDITY_RESTARTED]
        assert len(restarted) == 1
        first_beat = next(b for b in rig.beats if b.age < 1.0)
        assert first_beat.sequence > 0


def test_a_configuration_that_failed_can_be_mended(ros, model, tmp_path):
    with running(tmp_path / "nothing", active=False, **toy.GENTLE) as rig:
        assert not change(rig, CONFIGURE)
        assert state(rig) == "unconfigured"
        wait_for(lambda: rig.diagnostics and rig.status("model").level == b"\x02", "an error")
        assert "nothing: not a checkpoint" in rig.status("model").message
        assert set_one(rig, "checkpoint", str(model)).successful
        assert change(rig, CONFIGURE)
        assert change(rig, ACTIVATE)
        with toy.fed(rig):
            goes_on(rig)
        wait_for(lambda: rig.status("model").message == "ok", "the model is ok")


@pytest.mark.parametrize(
    ("wrong", "parts"),
    [
        ({"device": "tpu"}, ("parameter 'device' is 'tpu'", "expected cpu, cuda")),
        ({"device": "cuda:99"}, ("parameter 'device' is 'cuda:99'", "no such GPU")),
        ({"device": "mps"}, ("parameter 'device' is 'mps'", "expected cpu, cuda")),
        ({"optional_streams": ["vacum"]}, ("unknown optional stream 'vacum'", "'vacuum'")),
        ({"streams": "/nowhere/robot.yaml"}, ("/nowhere/robot.yaml",)),
    ],
)
def test_a_wrong_parameter_is_named_and_leaves_it_unconfigured(ros, wrong, parts, model):
    with running(model, active=False, **wrong) as rig:
        assert not change(rig, CONFIGURE)
        assert state(rig) == "unconfigured"
        said = rig.monitor._problem
        assert all(part in said for part in ("cannot configure: ", *parts)), said
        assert "\n" not in said


@pytest.mark.parametrize(
    ("stream", "parts"),
    [
        ({"topic": None, "type": None}, ("stream 'vacuum' has no 'topic'",)),
        ({"type": "no_such_msgs/msg/Thing"}, ("stream 'vacuum'", "'no_such_msgs'", "install")),
        ({"type": "sensor_msgs/msg/Nothing"}, ("'sensor_msgs'", "'Nothing'")),
        ({"topic": "/joint_states"}, ("topic '/joint_states'", "stream 'joints'")),
    ],
)
def test_streams_that_cannot_be_subscribed_to_are_named(ros, stream, parts, tmp_path):
    keys = {**stream}
    spec = toy.small()
    random = toy.checkpoint(tmp_path / "model", spec)
    raw = random.spec.model_dump(mode="json", exclude_none=True)
    raw["streams"]["vacuum"] |= keys
    raw["streams"]["vacuum"] = {k: v for k, v in raw["streams"]["vacuum"].items() if v is not None}
    if keys.get("topic", "") is None:
        raw["streams"]["vacuum"]["features"][0]["columns"] = ["p"]
    (tmp_path / "robot.yaml").write_text(json.dumps(raw))
    with running(tmp_path / "model", active=False, streams=str(tmp_path / "robot.yaml")) as rig:
        assert not change(rig, CONFIGURE)
        said = rig.monitor._problem
        assert all(part in said for part in parts), said


def test_without_a_checkpoint_it_says_which_parameter_to_set(ros):
    with running("", active=False) as rig:
        assert rig.monitor.trigger_configure().name == "FAILURE"
        assert "parameter 'checkpoint' is empty: give" in rig.monitor._problem


def test_a_transition_that_is_not_possible_is_refused(ros, model):
    with running(model, active=False, **toy.GENTLE) as rig:
        request = ChangeState.Request()
        request.transition.label = "activate"
        assert not call(rig, ChangeState, "change_state", request).success
        assert state(rig) == "unconfigured"


# --- parameters ---------------------------------------------------------------------------


def test_every_parameter_tells_what_it_is(ros, model):
    with running(model, active=False) as rig:
        names = [p.name for p in PRO_NODE_PARAMETERS]
        found = call(
            rig, DescribeParameters, "describe_parameters", DescribeParameters.Request(names=names)
        ).descriptors
        assert [d.name for d in found] == names
        for parameter, shown in zip(PRO_NODE_PARAMETERS, found, strict=True):
            assert parameter.description in shown.description
            assert f"[{parameter.unit}]" in shown.description or not parameter.unit
            assert shown.read_only == (parameter.changes == "never")
            when = {"never": "Read-only", "unconfigured": "unconfigured", "always": "any time"}
            assert when[parameter.changes] in shown.description
            ranges = [*shown.floating_point_range, *shown.integer_range]
            limits = [(r.from_value, r.to_value) for r in ranges]
            assert limits == ([] if parameter.low is None else [(parameter.low, parameter.high)])
            if shown.type != ParameterType.PARAMETER_NOT_SET:
                kind = {
                    bool: ParameterType.PARAMETER_BOOL, int: ParameterType.PARAMETER_INTEGER,
                    float: ParameterType.PARAMETER_DOUBLE, str: ParameterType.PARAMETER_STRING,
                    list: ParameterType.PARAMETER_STRING_ARRAY,
                }  # fmt: skip
                assert shown.type == kind[type(parameter.default)]


def another(parameter: Any) -> Any:
    """An allowed value that is not the default."""
    default = parameter.default
    if isinstance(default, bool):
        return not default
    if isinstance(default, str):
        return "something"
    if isinstance(default, list):
        return ["vacuum"]
    return type(default)((default + parameter.low) / 2) if default > parameter.low else default + 1


@pytest.mark.parametrize("wanted", ["never", "unconfigured"])
def test_parameters_that_may_not_change_now_are_refused_with_the_reason(ros, wanted, model):
    with running(model, **toy.GENTLE) as rig:
        before = values(rig.monitor, PRO_NODE_PARAMETERS)
        for parameter in PRO_NODE_PARAMETERS:
            if parameter.changes != wanted:
                continue
            result = set_one(rig, parameter.name, another(parameter))
            assert not result.successful, parameter.name
            if wanted == "unconfigured":
                assert f"'{parameter.name}' may change only while" in result.reason
                assert "ros2 lifecycle set /pro cleanup" in result.reason
            else:
                assert "read-only" in result.reason.lower()
        assert before == values(rig.monitor, PRO_NODE_PARAMETERS)
        # The clock must not change under the operator either.
        result = set_one(rig, "use_sim_time", True)
        assert not result.successful
        assert "unconfigured" in result.reason


def test_parameters_change_while_it_is_unconfigured(ros, model):
    with running(model, active=False) as rig:
        for parameter in PRO_NODE_PARAMETERS:
            if parameter.changes == "unconfigured" and parameter.name != "checkpoint":
                result = set_one(rig, parameter.name, another(parameter))
                assert result.successful, (parameter.name, result.reason)


@pytest.mark.parametrize(
    ("name", "value"),
    [("alarm_threshold", 1.5), ("alarm_threshold", -0.1), ("alarm_threshold", math.nan),
     ("reward_kappa", math.inf)],
)  # fmt: skip
def test_values_out_of_range_are_refused(ros, name, value, model):
    with running(model, active=False) as rig:
        result = set_one(rig, name, value)
        assert not result.successful
        assert name in result.reason


def newest(rig: Rig, name: str, kind: type) -> Any:
    return deserialize_message(wait_for(lambda: rig.heard[name], f"~/{name}")[-1], kind)


def test_the_alarm_threshold_takes_effect_at_once_and_back(ros, model):
    with running(model, **toy.GENTLE) as rig, toy.fed(rig):
        well(rig)
        assert newest(rig, "risk", Risk).alarm_basis == Risk.ALARM_MISS_RATE
        assert newest(rig, "risk", Risk).alarm_threshold == 0.5
        assert set_one(rig, "alarm_threshold", 0.001).successful
        wait_for(lambda: newest(rig, "risk", Risk).alarm_basis == Risk.ALARM_MANUAL, "set by hand")
        said = newest(rig, "risk", Risk)
        assert said.alarm
        assert math.isclose(said.alarm_threshold, 0.001, rel_tol=1e-5)
        assert math.isnan(said.alarm_level)
        # Another parameter does not begin the alarm anew.
        begins = rig.monitor._operator.pipeline.monitor._alarm
        assert set_one(rig, "reward_kappa", 2.0).successful
        wait_for(lambda: newest(rig, "reward", Reward).kappa == 2.0, "kappa")
        assert rig.monitor._operator.pipeline.monitor._alarm is begins
        assert set_one(rig, "alarm_threshold", 0.0).successful
        wait_for(
            lambda: newest(rig, "risk", Risk).alarm_basis == Risk.ALARM_MISS_RATE, "calibrated"
        )


def test_reward_weights_take_effect_at_once_and_stay_after_activation(ros, model):
    with running(model, **toy.GENTLE) as rig, toy.fed(rig):
        well(rig)
        assert set_one(rig, "reward_kappa", 0.25).successful
        assert set_one(rig, "reward_risk_weight", 3.0).successful
        wait_for(lambda: newest(rig, "reward", Reward).risk_weight == 3.0, "the weight")
        said = newest(rig, "reward", Reward)
        assert said.kappa == 0.25
        assert math.isclose(said.risk_penalty, 3.0 * said.risk, rel_tol=1e-4)
        assert change(rig, DEACTIVATE)
        count = len(rig.heard["reward"])
        assert set_one(rig, "reward_kappa", 0.5).successful
        assert change(rig, ACTIVATE)
        wait_for(lambda: len(rig.heard["reward"]) > count, "rewards")
        said = [deserialize_message(raw, Reward) for raw in rig.heard["reward"][count:]]
        assert {(m.kappa, m.risk_weight) for m in said} == {(0.5, 3.0)}


# --- topics -------------------------------------------------------------------------------


def test_task_and_episode_come_from_their_topics(ros, tmp_path):
    toy.checkpoint(tmp_path / "model", toy.small())
    with running(tmp_path / "model", **toy.GENTLE) as rig:
        # Published before the monitor has found it: it is latched.
        monitor = rig.monitor._operator.pipeline.monitor
        told: list[str] = []
        follow = monitor.follow
        monitor.follow = lambda task, context: (told.append(task), follow(task, context))
        task = rig.publisher("/pro/task_context", "pro_ros/msg/TaskContext", LATCHED)
        task.publish(TaskContext(prompt="stack the boxes", episode_id="one", sku="red"))
        event = rig.heard_by_monitor("/pro/episode_event", "pro_ros/msg/EpisodeEvent", EVENTS)
        with toy.fed(rig):
            wait_for(lambda: well(rig).episode_id == "one", "the episode")
            assert told == ["stack the boxes"]
            event.publish(EpisodeEvent(kind=EpisodeEvent.KIND_EPISODE_BEGIN, episode_id="two"))
            wait_for(lambda: rig.last().episode_id == "two", "the next episode")
            wait_for(lambda: newest(rig, "reward", Reward).episode_id == "two", "of the reward")
            event.publish(EpisodeEvent(kind=EpisodeEvent.KIND_EPISODE_END, episode_id="two"))
            wait_for(lambda: rig.last().episode_id == "", "no episode")


def test_all_topics_carry_the_numbers_of_the_same_assessment(ros, model):
    with running(model, **toy.GENTLE) as rig:
        heard: dict[str, list[float]] = {"progress": [], "value": [], "risk_any": []}
        for name, numbers in heard.items():
            rig.other.create_subscription(
                Float32, f"/pro/{name}", lambda m, n=numbers: n.append(m.data), 10
            )
        with toy.fed(rig):
            goes_on(rig)
            for name in heard:
                wait_for(lambda n=name: any(map(math.isfinite, heard[n])), f"~/{name}")
        said = rig.assessments()
        assert set(filter(math.isfinite, heard["value"])) <= {m.value for m in said}
        assert set(filter(math.isfinite, heard["progress"])) <= {m.progress for m in said}
        assert set(filter(math.isfinite, heard["risk_any"])) <= {m.risk.risk[-1] for m in said}


def test_two_streams_read_one_topic(ros, tmp_path):
    streams = dict(toy.small().model_dump(mode="json", exclude_none=True)["streams"])
    streams["effort"] = {
        **streams["joints"], "modality": "telemetry",
        "features": [{"name": "q", "field": "position", "names": ["b"], "unit": "rad"}],
    }  # fmt: skip
    spec = toy.robot(streams=streams)
    toy.checkpoint(tmp_path / "model", spec)
    with running(tmp_path / "model", **toy.GENTLE) as rig:
        assert [t.name for t in rig.monitor._topics].count("/joint_states") == 1
        with toy.fed(rig, "joints", "vacuum"):
            said = well(rig)
            assert set(said.stream_names) == {"joints", "effort", "vacuum"}
            status = wait_for(
                lambda: (s := rig.status("stream effort")).message == "ok" and s, "it is ok"
            )
            shown = {pair.key: pair.value for pair in status.values}
            assert int(shown["received"]) > 0


def test_an_override_of_qos_is_used_and_a_wrong_one_named(ros, tmp_path, model):
    name = "qos_overrides./joint_states.subscription."
    given = {f"{name}reliability": "reliable", f"{name}depth": 7}
    with running(model, **toy.GENTLE, **given) as rig:
        infos = wait_for(
            lambda: rig.other.get_subscriptions_info_by_topic("/joint_states"), "a subscription"
        )
        assert infos[0].qos_profile.reliability == QoSReliabilityPolicy.RELIABLE
        other = wait_for(
            lambda: rig.other.get_subscriptions_info_by_topic("/vacuum"), "a subscription"
        )
        assert other[0].qos_profile.reliability == QoSReliabilityPolicy.BEST_EFFORT
        with toy.fed(rig):
            goes_on(rig)
        # It holds for the next activation, too.
        assert change(rig, DEACTIVATE)
        assert change(rig, ACTIVATE)
        assert rig.monitor._topics[0].qos.reliability == QoSReliabilityPolicy.RELIABLE
    given = {f"{name}reliability": "sometimes"}
    with running(model, active=False, **toy.GENTLE, **given) as rig:
        assert change(rig, CONFIGURE)
        assert not change(rig, ACTIVATE)
        assert state(rig) == "inactive"
        said = rig.monitor._problem
        assert "\n" not in said
        for part in ("cannot activate", "'/joint_states'", "reliability", "sometimes"):
            assert part in said
        assert change(rig, CLEANUP)


def test_best_effort_publishers_are_heard_without_an_override(ros, model):
    with running(model, **toy.GENTLE) as rig, toy.fed(rig, qos=qos_profile_sensor_data):
        goes_on(rig)


def test_names_are_remapped_and_live_in_a_namespace(ros, tmp_path):
    raw = toy.small().model_dump(mode="json", exclude_none=True)
    raw["streams"]["vacuum"]["topic"] = "gripper/vacuum"
    spec = toy.robot(streams=raw["streams"])
    toy.checkpoint(tmp_path / "model", spec)
    arguments = [
        "--ros-args", "-r", "__ns:=/cell1", "-r", "__node:=critic",
        "-r", "/joint_states:=/arm/joint_states",
    ]  # fmt: skip
    with running(tmp_path / "model", options={"cli_args": arguments}, **toy.GENTLE) as rig:
        assert rig.monitor.get_fully_qualified_name() == "/cell1/critic"
        heard: list[Assessment] = []
        rig.other.create_subscription(Assessment, "/cell1/critic/assessment", heard.append, 10)
        task = rig.heard_by_monitor(
            "/cell1/critic/task_context", "pro_ros/msg/TaskContext", LATCHED
        )
        task.publish(TaskContext(episode_id="here"))
        topics = {"joints": "/arm/joint_states", "vacuum": "/cell1/gripper/vacuum"}
        with toy.fed(rig, "joints", topics=topics):
            line_with(rig, "stream 'vacuum'", "no sample yet")
            rig.other.create_publisher(Float32, "/cell1/gripper/vacuum", 10)
            line_with(rig, "stream 'vacuum'", "'/cell1/gripper/vacuum'", "std_msgs/msg/Float32")
        with toy.fed(rig, "joints", "vacuum", topics=topics):
            good = wait_for(
                lambda: [m for m in heard if m.validity & m.VALIDITY_VALID], "assessments"
            )
            assert good[-1].episode_id == "here"
        names = {s.name for s in rig.diagnostics[-1].status}
        assert "/cell1/critic: operator" in names


# --- health -------------------------------------------------------------------------------


def test_diagnostics_tell_rates_ages_latency_model_and_calibration(ros, tmp_path, model):
    with running(model, **toy.GENTLE) as rig, toy.fed(rig):
        goes_on(rig)
        wait_for(lambda: rig.status("operator").message == "ok", "the operator is ok")
        wait_for(lambda: rig.status("stream joints").message == "ok", "the stream is ok")
        shown = {
            s.name: {pair.key: pair.value for pair in s.values} for s in rig.diagnostics[-1].status
        }
        assert list(shown) == [
            "/pro: model", "/pro: operator", "/pro: stream joints", "/pro: stream vacuum",
        ]  # fmt: skip
        facts = shown["/pro: model"]
        assert facts["model"] == rig.monitor._checkpoint.model_id
        assert facts["checkpoint"] == str(model)
        assert facts["calibrated"] == "True"
        assert facts["device"] == "cpu"
        assert facts["alarm threshold"] == "0.5"
        operator = shown["/pro: operator"]
        assert float(operator["expected [Hz]"]) == 20.0
        assert 0.0 < float(operator["latency p50 [ms]"]) <= float(operator["latency p99 [ms]"])
        assert int(operator["valid"]) <= int(operator["assessed"])
        assert "VALID" in operator["validity"].split()
        stream = shown["/pro: stream joints"]
        assert stream["topic"] == "/joint_states"
        assert 0.0 <= float(stream["age [s]"]) < 0.5
        assert int(stream["received"]) > 0

        def rate() -> bool:
            values = {p.key: p.value for p in rig.status("stream joints").values}
            return 25.0 < float(values["rate [Hz]"]) < 75.0

        wait_for(rate, "about 50 Hz")


def test_a_checkpoint_without_calibration_is_said(ros, tmp_path):
    from runtime_toy import random_checkpoint

    from pro_ros.model.calibration import Calibration

    random_checkpoint(tmp_path / "model", toy.small(), Calibration())
    with running(tmp_path / "model", **toy.GENTLE) as rig, toy.fed(rig):
        said = well(rig)
        assert said.validity & said.VALIDITY_NOT_CALIBRATED
        assert not said.calibrated
        wait_for(lambda: "not calibrated" in rig.status("model").message, "it is said")
        assert newest(rig, "risk", Risk).alarm_basis == Risk.ALARM_NOT_SET


def test_an_optional_stream_may_be_missing(ros, model):
    with (
        running(model, **toy.GENTLE, optional_streams=["vacuum"]) as rig,
        toy.fed(rig, "joints"),
    ):
        said = wait_for(
            lambda: (
                rig.heard["assessment"] and (m := rig.last()).validity & m.VALIDITY_VALID and m
            ),
            "a valid assessment",
        )
        assert said.validity & said.VALIDITY_NO_INPUT
        assert list(said.stale_streams) == ["vacuum"]
        line_with(rig, "stream 'vacuum'", "no sample yet")


def slow_down(rig: Rig, seconds: float) -> Any:
    """Let the operator take so long for a step; returns what undoes it."""
    assessor = rig.monitor._operator.pipeline.monitor.assessor
    quick = assessor.assess

    def slow(step: Any) -> Any:
        time.sleep(seconds)
        return quick(step)

    assessor.assess = slow

    def undo() -> None:
        assessor.assess = quick

    return undo


def test_late_assessments_are_dropped_and_counted_and_never_queued(ros, model):
    with running(model, max_lateness=0.2) as rig, toy.fed(rig):
        well(rig)
        count, late = len(rig.heard["assessment"]), rig.monitor._operator.counts.late
        undo = slow_down(rig, 0.4)
        wait_for(lambda: rig.monitor._operator.counts.late >= late + 20, "late ones")
        wait_for(lambda: "were late" in rig.status("operator").message, "the diagnostics say so")
        said = rig.assessments()[count:]
        gaps = [b.sequence - a.sequence for a, b in pairwise(said)]
        assert max(gaps) > 3, "a gap in the sequence shows what was dropped"
        for message in said:
            # Published when it was judged, which took 0.4 s, and not after others.
            assert message.latency < 1.5
        undo()
        goes_on(rig)
        settled = rig.monitor._operator.counts.late
        goes_on(rig)
        assert rig.monitor._operator.counts.late - settled < 20


def test_a_failure_of_the_operator_is_said_and_passes(ros, model):
    with running(model, **toy.GENTLE) as rig, toy.fed(rig):
        well(rig)
        assessor = rig.monitor._operator.pipeline.monitor.assessor
        good = assessor.assess
        count = len(rig.heard["assessment"])

        def broken(step: Any) -> Any:
            raise RuntimeError("the weights have melted")

        assessor.assess = broken
        invalid(rig, Assessment.VALIDITY_INTERNAL_ERROR)
        line_with(rig, "the weights have melted")
        toy.stands_still(rig)
        wait_for(lambda: rig.status("operator").level == b"\x02", "an error")
        assert rig.lines.count("RuntimeError: the weights have melted") == 1, (
            "said once, not at every step"
        )
        assessor.assess = good
        goes_on(rig)
        said = rig.assessments()[count:]
        assert any(m.validity & m.VALIDITY_RESTARTED for m in said), "its memory is new"


def test_a_failure_in_a_timer_does_not_end_the_node(ros, model):
    """As 'ros2 run' spins it."""
    import threading

    import rclpy
    from rclpy.executors import SingleThreadedExecutor

    from pro_ros.nodes.pro_node import ProNode
    from pro_ros.nodes.spinning import spin

    given = {"checkpoint": str(model), "diagnostics_period": 0.1, "autostart": False}
    node = ProNode(parameter_overrides=[Parameter(k, value=v) for k, v in given.items()])
    calls: list[int] = []

    def broken() -> None:
        calls.append(1)
        raise RuntimeError("a timer")

    node.create_timer(0.05, broken)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=spin, args=(node, executor), daemon=True)
    thread.start()
    other = rclpy.create_node("asker")
    answers = SingleThreadedExecutor()
    answers.add_node(other)
    client = other.create_client(ChangeState, "/pro/change_state")
    wait_for(client.service_is_ready, "there is a change_state")
    # By its number, as launch asks: rclpy raises where it is not possible now.
    request = ChangeState.Request()
    request.transition.id = ACTIVATE
    client.call_async(request)
    wait_for(lambda: len(calls) > 5, "the timer goes on")
    request = ChangeState.Request()
    request.transition.id = CONFIGURE
    future = client.call_async(request)
    answers.spin_until_future_complete(future, 10.0)
    assert future.result().success
    rclpy.try_shutdown()
    thread.join(10.0)
    assert not thread.is_alive()


def test_it_is_torn_down_at_any_moment(ros, model):
    for n in range(4):
        with running(model, **toy.GENTLE, heartbeat_rate=1000.0) as rig:
            feed = toy.Feed(rig, {"joints": toy.joints, "vacuum": toy.vacuum}, 50)
            time.sleep(0.15 * n)
            assert change(rig, DEACTIVATE)
            assert change(rig, ACTIVATE)
            feed.stop()
            assert not [x for x in rig.lines if "Traceback" in x]


def test_a_parameter_file_reads_as_documented(ros, model, tmp_path):
    file = tmp_path / "pro.yaml"
    parameters = {"alarm_threshold": 0.25, "optional_streams": ["vacuum"], "heartbeat_rate": 20.0}
    file.write_text(yaml.safe_dump({"/**": {"ros__parameters": parameters}}))
    options = {"cli_args": ["--ros-args", "--params-file", str(file)]}
    with running(model, options=options, **toy.GENTLE) as rig, toy.fed(rig):
        well(rig)
        assert math.isclose(newest(rig, "risk", Risk).alarm_threshold, 0.25)
        wait_for(lambda: rig.beats, "heartbeats")
        assert rig.beats[-1].period == pytest.approx(0.05)
