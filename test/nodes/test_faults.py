"""Bad input and faults: each is named, takes the validity, leaves the node alive, and passes."""

from __future__ import annotations

import json
import math
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import live_toy as toy
import pytest
from live_toy import goes_on, invalid, line_with, stands_still, well, working
from pro_ros.msg import Assessment
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from rclpy.serialization import serialize_message
from rig import SimClock, running, wait_for
from runtime_toy import random_checkpoint

STALE, NO_INPUT = Assessment.VALIDITY_STALE_INPUT, Assessment.VALIDITY_NO_INPUT
CLOCK, FROZEN = Assessment.VALIDITY_CLOCK_FAULT, Assessment.VALIDITY_FROZEN_INPUT
INCOMPLETE, OVERLOAD = Assessment.VALIDITY_INCOMPLETE_INPUT, Assessment.VALIDITY_OVERLOAD


def others_are_fresh(said: Assessment, but: str) -> None:
    """The other streams go on."""
    ages = dict(zip(said.stream_names, said.ages, strict=True))
    assert [name for name in ages if name in said.stale_streams] == [
        name for name in (but,) if name in said.stale_streams
    ]
    assert all(math.isfinite(age) for name, age in ages.items() if name != but)


def test_a_wrong_message_type_is_named_with_its_publisher(ros, tmp_path):
    toy.checkpoint(tmp_path / "model", toy.small())
    with running(tmp_path / "model", **toy.GENTLE) as rig:
        wrong = rig.other.create_publisher(toy.Image, "/joint_states", 10)
        with toy.fed(rig, "vacuum"):
            line_with(
                rig, "stream 'joints'", "topic '/joint_states'", "published by /other",
                "sensor_msgs/msg/Image", "expected sensor_msgs/msg/JointState",
            )  # fmt: skip
            said = invalid(rig, NO_INPUT)
            others_are_fresh(said, "joints")
            assert list(said.stale_streams) == ["joints"]
            status = wait_for(lambda: rig.status("stream joints"), "a status")
            assert "sensor_msgs/msg/Image" in status.message
            stands_still(rig)
            rig.other.destroy_publisher(wrong)
            with toy.fed(rig, "joints"):
                goes_on(rig)
                wait_for(lambda: rig.status("stream joints").message == "ok", "the status is ok")


def test_a_qos_that_does_not_match_is_named_with_the_policy(ros, tmp_path):
    toy.checkpoint(tmp_path / "model", toy.small())
    override = {"qos_overrides./joint_states.subscription.reliability": "reliable"}
    with (
        running(tmp_path / "model", **toy.GENTLE, **override) as rig,
        toy.fed(rig, "vacuum"),
    ):
        deaf = toy.Feed(rig, {"joints": toy.joints}, qos_profile_sensor_data)
        line_with(
            rig, "stream 'joints'", "topic '/joint_states'", "published by /other",
            "QoS", "eliab",
        )  # fmt: skip
        said = invalid(rig, NO_INPUT)
        others_are_fresh(said, "joints")
        stands_still(rig)
        deaf.stop()
        rig.other.destroy_publisher(rig._publishers.pop("/joint_states"))
        with toy.fed(rig, "joints"):
            goes_on(rig)


def test_a_task_that_is_not_latched_is_named(ros, tmp_path):
    with working(tmp_path, toy.small()) as (rig, _):
        rig.publisher("/pro/task_context", "pro_ros/msg/TaskContext", 10)
        line_with(
            rig,
            "TaskContext: topic '/pro/task_context'",
            "/other",
            "QoS",
            "olatile",
            "transient_local",
        )
        goes_on(rig)


def test_a_stream_that_never_starts_is_named(ros, tmp_path):
    toy.checkpoint(tmp_path / "model", toy.small())
    with running(tmp_path / "model", **toy.GENTLE) as rig, toy.fed(rig, "joints"):
        line_with(rig, "stream 'vacuum' (topic /vacuum)", "no sample yet", "is it published")
        said = invalid(rig, NO_INPUT | STALE)
        others_are_fresh(said, "vacuum")
        assert math.isinf(dict(zip(said.stream_names, said.ages, strict=True))["vacuum"])
        stands_still(rig)
        with toy.fed(rig, "vacuum"):
            goes_on(rig)
            line_with(rig, "stream 'vacuum'", "well again")


def test_where_nothing_starts_it_says_so_of_every_stream(ros, tmp_path):
    toy.checkpoint(tmp_path / "model", toy.small())
    with running(tmp_path / "model", **toy.GENTLE) as rig:
        for name, (topic, _) in toy.TOPICS.items():
            if name != "camera":
                line_with(rig, f"stream '{name}' (topic {topic})", "no sample yet")
        said = invalid(rig, NO_INPUT | STALE)
        assert said.sequence == 0
        stands_still(rig)
        with toy.fed(rig):
            goes_on(rig)


def test_a_stream_that_stops_is_named_with_the_time(ros, tmp_path):
    with working(tmp_path, toy.small()) as (rig, feed):
        make = feed.make.pop("vacuum")
        said = invalid(rig, STALE)
        assert list(said.stale_streams) == ["vacuum"]
        others_are_fresh(said, "vacuum")
        line_with(rig, "stream 'vacuum' (topic /vacuum)", "no sample for", "stale after 0.6 s")
        stands_still(rig)
        status = wait_for(
            lambda: (s := rig.status("stream vacuum")).level == b"\x03" and s, "it is stale"
        )
        assert status.message == "no fresh sample"
        feed.make["vacuum"] = make
        goes_on(rig)
        line_with(rig, "stream 'vacuum'", "well again")


def test_where_all_stop_the_last_word_is_not_valid(ros, tmp_path):
    with working(tmp_path, toy.small()) as (rig, feed):
        made = dict(feed.make)
        feed.make.clear()
        time.sleep(2.3)  # longer than 'gap': no step is made any more
        said = invalid(rig, STALE)
        assert set(said.stale_streams) == {"joints", "vacuum"}
        stands_still(rig)
        count = len(rig.heard["assessment"])
        wait_for(lambda: len(rig.heard["assessment"]) > count, "it keeps saying so")
        feed.make.update(made)
        goes_on(rig)
        assert any(m.validity & m.VALIDITY_RESTARTED for m in rig.assessments()[count:])


def test_a_stream_that_freezes_is_named(ros, tmp_path):
    with working(tmp_path, toy.small()) as (rig, feed):
        feed.make["vacuum"] = lambda now: toy.vacuum(now, 4.2e4)
        said = invalid(rig, FROZEN)
        assert list(said.faulty_streams) == ["vacuum"]
        others_are_fresh(said, "vacuum")
        line_with(rig, "stream 'vacuum' (topic /vacuum)", "stand still", "'frozen'")
        stands_still(rig)
        feed.make["vacuum"] = toy.vacuum
        goes_on(rig)


def test_a_flood_is_named_and_what_is_too_much_is_dropped(ros, tmp_path):
    with working(tmp_path, toy.small()) as (rig, _):
        done = threading.Event()
        out = rig.other.create_publisher(toy.JointState, "/joint_states", 50)

        def flood() -> None:
            while not done.is_set():
                # Many at a time: a busy machine may be slow to wake a thread.
                for _ in range(20):
                    out.publish(serialize_message(toy.joints(time.time_ns())))
                time.sleep(0.002)

        thread = threading.Thread(target=flood, daemon=True)
        thread.start()
        try:
            said = invalid(rig, OVERLOAD)
            assert list(said.faulty_streams) == ["joints"]
            line_with(rig, "stream 'joints' (topic /joint_states)", "too fast", "dropped")
            stands_still(rig)
            health = rig.monitor._operator.health()
            assert health.streams["joints"].dropped > 100
            assert len(rig.monitor._operator.intake._arrivals) < 500, "a flood is not queued"
        finally:
            done.set()
            thread.join()
        rig.other.destroy_publisher(out)
        goes_on(rig)


@pytest.mark.parametrize("offset", [toy.HOUR_NS, -toy.HOUR_NS])
def test_stamps_that_jump_by_an_hour_are_named(ros, offset, tmp_path):
    with working(tmp_path, toy.small()) as (rig, feed):
        count = len(rig.assessments())
        feed.make["joints"] = lambda now: toy.joints(now + offset)
        said = invalid(rig, CLOCK if offset > 0 else STALE)
        line_with(rig, "stream 'joints' (topic /joint_states)", "jumped", "synchronise the clocks")
        assert any(m.validity & CLOCK for m in rig.assessments()[count:])
        others_are_fresh(said, "joints")
        invalid(rig, STALE)
        stands_still(rig)
        status = wait_for(lambda: rig.status("stream joints"), "a status")
        shown = {pair.key: pair.value for pair in status.values}
        assert int(shown["stamps off by more than the gap"]) > 0
        feed.make["joints"] = toy.joints
        goes_on(rig)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_not_finite_are_named(ros, value, tmp_path):
    with working(tmp_path, toy.small()) as (rig, feed):
        feed.make["vacuum"] = lambda now: toy.vacuum(now, value)
        said = invalid(rig, INCOMPLETE)
        assert list(said.faulty_streams) == ["vacuum"]
        others_are_fresh(said, "vacuum")
        line_with(rig, "stream 'vacuum' (topic /vacuum)", "not finite")
        stands_still(rig)
        feed.make["vacuum"] = toy.vacuum
        goes_on(rig)


@pytest.mark.parametrize(
    ("frame", "parts"),
    [
        ({"size": 48}, ("a frame of 48x48", "expected 32x32")),
        ({"encoding": "16UC1"}, ("image encoding '16UC1' is not supported", "rgb8")),
    ],
)
def test_an_image_that_is_not_as_expected_is_named(ros, frame, parts, tmp_path):
    with working(tmp_path, toy.robot()) as (rig, feed):
        feed.make["camera"] = lambda now: toy.camera(now, **frame)
        line_with(rig, "stream 'camera'", *parts)
        said = invalid(rig, STALE)
        assert list(said.stale_streams) == ["camera"]
        others_are_fresh(said, "camera")
        stands_still(rig)
        status = wait_for(lambda: rig.status("stream camera"), "a status")
        assert all(part in status.message for part in parts)
        feed.make["camera"] = toy.camera
        goes_on(rig)


def test_joint_names_that_differ_are_named_with_the_near_one(ros, tmp_path):
    with working(tmp_path, toy.small()) as (rig, feed):
        feed.make["joints"] = lambda now: toy.joints(now, ("a", "b1"))
        line_with(rig, "stream 'joints', feature 'q'", "no joint 'b'", "it has: a, b1")
        said = invalid(rig, STALE)
        others_are_fresh(said, "joints")
        stands_still(rig)
        feed.make["joints"] = toy.joints
        goes_on(rig)


def test_bytes_that_are_no_message_are_named(ros, tmp_path):
    with working(tmp_path, toy.small()) as (rig, feed):
        good = serialize_message(toy.joints(time.time_ns()))
        bad_name = good.replace(b"\x02\x00\x00\x00a\x00", b"\x02\x00\x00\x00\xff\x00")
        for raw in (good[:30], good[:4] + b"\xff" * 60, bad_name):
            rig.lines.clear()
            rig.monitor._operator._log._errors.clear()
            feed.make["joints"] = lambda now, raw=raw: raw
            line_with(rig, "stream 'joints'")
            invalid(rig, STALE)
            assert not [x for x in rig.lines if "Traceback" in x]
            feed.make["joints"] = toy.joints
            goes_on(rig)


def test_marks_that_cannot_be_read_leave_the_node_alive(ros, tmp_path):
    from pro_ros.msg import EpisodeEvent, TaskContext

    from pro_ros.nodes.qos import EVENTS, LATCHED

    with working(tmp_path, toy.small()) as (rig, _):
        task = rig.heard_by_monitor("/pro/task_context", "pro_ros/msg/TaskContext", LATCHED)
        event = rig.heard_by_monitor("/pro/episode_event", "pro_ros/msg/EpisodeEvent", EVENTS)
        good = TaskContext(prompt="XXXX", episode_id="seven")
        task.publish(serialize_message(good).replace(b"XXXX", b"\xff\xfe\xff\xfe"))
        line_with(rig, "TaskContext", "/pro/task_context", "cannot be read")
        event.publish(serialize_message(EpisodeEvent(name="YYYY")).replace(b"YYYY", b"\xff" * 4))
        line_with(rig, "EpisodeEvent", "/pro/episode_event", "cannot be read")
        event.publish(serialize_message(EpisodeEvent())[:9])
        goes_on(rig)
        task.publish(good)
        wait_for(lambda: rig.last().episode_id == "seven", "a good one is heard")


def test_a_clock_that_is_reset_restarts_and_recovers(ros, tmp_path):
    toy.checkpoint(tmp_path / "model", toy.small())
    start = 1_700_000_000 * toy.NS
    with running(tmp_path / "model", use_sim_time=True) as rig:
        clock = SimClock(rig)
        outs = {n: rig.heard_by_monitor(*toy.TOPICS[n]) for n in ("joints", "vacuum")}

        def play(begin: int, ticks: int) -> None:
            for now in range(begin, begin + ticks * 20_000_000, 20_000_000):
                clock.set(now)
                outs["joints"].publish(toy.joints(now))
                outs["vacuum"].publish(toy.vacuum(now))
                time.sleep(0.01)

        play(start, 60)
        well(rig)
        count = len(rig.assessments())
        play(start - 1000 * toy.NS, 60)
        line_with(rig, "the clock went back")
        said = rig.assessments()[count:]
        reset = [m for m in said if m.validity & CLOCK]
        assert reset
        assert not any(m.validity & m.VALIDITY_VALID for m in reset)
        assert any(m.validity & m.VALIDITY_RESTARTED for m in said)
        assert well(rig).header.stamp.sec < 1_700_000_000 - 900
        # Played to its end: the clock stands still, and what was said no longer holds.
        wait_for(lambda: not rig.last().validity & Assessment.VALIDITY_VALID, "it falls silent")
        stands_still(rig)


def test_without_a_clock_under_use_sim_time_it_says_what_is_missing(ros, tmp_path):
    toy.checkpoint(tmp_path / "model", toy.small())
    with running(tmp_path / "model", use_sim_time=True) as rig:
        for name in ("joints", "vacuum"):
            rig.heard_by_monitor(*toy.TOPICS[name])
        with toy.fed(rig):
            line_with(rig, "use_sim_time", "/clock")
            said = invalid(rig, NO_INPUT)
            assert said.sequence == 0
            stands_still(rig)
        assert not any("stamps" in line for line in rig.lines), "one cause, one line"
        clock = SimClock(rig)
        for now in range(toy.HOUR_NS, toy.HOUR_NS + 2 * toy.NS, 20_000_000):
            clock.set(now)
            for name in ("joints", "vacuum"):
                rig.publisher(*toy.TOPICS[name]).publish(toy.MAKERS[name](now))
            time.sleep(0.01)
        well(rig)
        assert rig.monitor._operator.counts.late == 0


def missing(model: Path) -> str:
    shutil.rmtree(model)
    return "not a checkpoint: it has no checkpoint.json"


def truncated(model: Path) -> str:
    weights = model / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    return "damaged"


def no_json(model: Path) -> str:
    (model / "checkpoint.json").write_text('{"format": ')
    return "checkpoint.json"


def another_version(model: Path) -> str:
    path = model / "checkpoint.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "format": "pro_ros/checkpoint/9"}))
    return "reads 'pro_ros/checkpoint/1'"


def of_other_streams(model: Path) -> dict[str, Any]:
    """A stream file with another joint."""
    raw = toy.small().model_dump(mode="json", exclude_none=True)
    raw["streams"]["joints"]["features"][0]["names"] = ["a", "c"]
    path = model.parent / "other.yaml"
    path.write_text(json.dumps(raw))
    return {"streams": str(path)}


@pytest.mark.parametrize("spoil", [missing, truncated, no_json, another_version, of_other_streams])
def test_a_checkpoint_that_cannot_be_used_is_named_and_the_node_lives(ros, spoil, tmp_path):
    model = tmp_path / "model"
    random_checkpoint(model, toy.small())
    random_checkpoint(tmp_path / "good", toy.small())
    found = spoil(model)
    given = found if isinstance(found, dict) else {}
    parts = (
        (str(given["streams"]), "does not fit", "'joints.q.c'") if given else (str(model), found)
    )
    with running(model, active=False, **toy.GENTLE, **given) as rig:
        assert rig.monitor.trigger_configure().name == "FAILURE"
        status = wait_for(lambda: (s := rig.status("model")).level == b"\x02" and s, "an error")
        wait_for(lambda: rig.status("model").level == b"\x02", "an error in the diagnostics")
        status = rig.status("model")
        assert all(part in status.message for part in parts), status.message
        assert "\n" not in status.message
        assert rig.monitor._state_machine.current_state[1] == "unconfigured"
        assert not rig.heard["assessment"]
        assert not rig.beats
        changed = rig.monitor.set_parameters(
            [
                Parameter("checkpoint", value=str(tmp_path / "good")),
                Parameter("streams", value=""),
            ]
        )
        assert all(result.successful for result in changed)
        assert rig.monitor.trigger_configure().name == "SUCCESS"
        assert rig.monitor.trigger_activate().name == "SUCCESS"
        with toy.fed(rig):
            goes_on(rig)
