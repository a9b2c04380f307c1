"""Contracts of every layout become stream files, and what is lost is noted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pro_ros.errors import SpecError
from pro_ros.streams.rosetta import convert
from pro_ros.streams.spec import RobotSpec, load_spec

CURRENT = """
robot_type: picker
robot_interface: ros2
fps: 20
x-qos: {fast: &fast {reliability: best_effort, depth: 5}}
observations:
  observation.images.wrist.left:
    channel: {topic: /wrist/image, type: sensor_msgs/msg/Image, qos: *fast}
    align: {strategy: hold, timeline: header}
    apply: [resize: [48, 64]]
  observation.state:
    - channel: {topic: /arm/joints, type: sensor_msgs/msg/JointState}
      align: {strategy: asof, timeline: header, tolerance_ms: 80}
      select: [position.j1, velocity.j1, position.j2, j3]
      apply: [rad2deg]
    - channel: {topic: /odom, type: nav_msgs/msg/Odometry, dtype: float64}
      align: {strategy: hold, timeline: receive}
      select: [pose.pose.position.x, pose.pose.position.z, twist.twist.angular.z]
  observation.wrench:
    channel: {topic: /ft, type: geometry_msgs/msg/WrenchStamped}
    align: {strategy: drop, timeline: header}
    select: [wrench.force.z, wrench.torque.x]
    calibrate: yes
  observation.cells:
    channel: {topic: /cells, type: std_msgs/msg/Float64MultiArray}
    align: {strategy: hold, timeline: receive}
    select: [left, right]
  observation.battery:
    channel: {topic: /battery, type: my_msgs/msg/Battery, decoder: "my.codecs:battery"}
    align: {strategy: hold, timeline: receive}
    select: [level]
actions:
  action:
    channel: {topic: /trajectory, type: trajectory_msgs/msg/JointTrajectory, safety: hold}
    align: {strategy: hold, timeline: header}
    select: [positions.j1, velocities.j2]
    apply: [clamp: {min: -1, max: 1}]
rewards:
  next.reward:
    channel: {topic: /reward, type: std_msgs/msg/Float64, dtype: float64}
    align: {strategy: hold, timeline: receive}
complementary_data:
  note:
    channel: {topic: /note, type: std_msgs/msg/String, dtype: string}
    align: {strategy: hold, timeline: receive}
tasks:
  task: {channel: {topic: /prompt, type: std_msgs/msg/String}}
teleop:
  events:
    channel: {topic: /joy, type: sensor_msgs/msg/Joy}
    select: {is_intervention: buttons.5, failure: buttons.1}
  input:
    - {target: /trajectory, channel: {topic: /leader, type: sensor_msgs/msg/JointState}}
adjunct:
  - channel: {topic: /tf, type: tf2_msgs/msg/TFMessage}
speed: 3
"""

SELECTOR = """
name: rover
version: 1
robot_type: rover
rate_hz: 10.0
max_duration_s: 90.0
metadata: {task: {type: constant, value: drive home}}
observations:
  - key: observation.image.main
    topic: /camera/compressed
    type: sensor_msgs/msg/CompressedImage
    image: {resize: [36, 64]}
    align: {strategy: closest, stamp: foxglove, tol_ms: 0}
    qos: {depth: 10}
  - key: observation.state
    topic: /imu
    type: sensor_msgs/msg/Imu
    selector: {names: [orientation.x, angular_velocity.z, linear_acceleration.x]}
    align: {strategy: hold, stamp: header}
actions:
  - key: action
    publish: {topic: /cmd, type: geometry_msgs/TwistStamped, layout: flat, strategy: {mode: fifo}}
    selector: {names: [linear.x, angular.z]}
    from_tensor: {clamp: [-2.0, 2.0]}
    safety_behavior: zeros
recording: {storage: mcap}
"""

FLAT = """
robot_type: so
observations:
  - key: observation.joy
    topic: /joy
    type: sensor_msgs/msg/Joy
    select: [axes.1, "2", buttons.0]
    align: {strategy: hold, stamp: receive}
actions:
  - key: action
    topic: /joint_commands
    type: sensor_msgs/msg/JointState
    select: [position.j1]
    serve: {safety: hold}
teleop:
  events: {topic: /joy, type: sensor_msgs/msg/Joy, mappings: {success: buttons.0, bad: left}}
"""


def converted(tmp_path: Path, text: str) -> tuple[RobotSpec, dict[str, Any], list[str]]:
    (tmp_path / "contract.yaml").write_text(text)
    document, notes = convert(tmp_path / "contract.yaml")
    written = tmp_path / "streams.yaml"
    written.write_text(yaml.safe_dump(document, sort_keys=False))
    return load_spec(written), document, notes


def test_the_current_layout_becomes_streams(tmp_path: Path) -> None:
    spec, _, notes = converted(tmp_path, CURRENT)
    assert spec.robot == "picker"
    assert spec.step.rate == 20.0
    assert {n: (s.modality, s.topic, s.clock) for n, s in spec.streams.items()} == {
        "wrist_left": ("visual", "/wrist/image", "header"),
        "state_arm_joints": ("state", "/arm/joints", "header"),
        "state_odom": ("state", "/odom", "receipt"),
        "wrench": ("telemetry", "/ft", "header"),
        "cells": ("telemetry", "/cells", "receipt"),
        "action": ("action", "/trajectory", "header"),
        "next_reward": ("label", "/reward", "receipt"),
        "teleop_events": ("label", "/joy", "receipt"),
    }
    assert {n: s.raw_channels for n, s in spec.streams.items() if s.features} == {
        "state_arm_joints": ("position.j1", "position.j2", "position.j3", "velocity.j1"),
        "state_odom": (
            "pose.pose.position.x", "pose.pose.position.z", "twist.twist.angular.z",
        ),
        "wrench": ("wrench.force.z", "wrench.torque.x"),
        "cells": ("left", "right"),
        "action": ("positions.j1", "velocities.j2"),
        "next_reward": ("data",),
        "teleop_events": ("is_intervention", "failure"),
    }  # fmt: skip
    assert (spec.cameras["wrist_left"].height, spec.cameras["wrist_left"].width) == (48, 64)
    assert spec.streams["state_arm_joints"].hold_s == 0.08
    assert spec.streams["wrench"].hold_s == 0.05
    assert spec.events["intervention"].signal == "teleop_events.is_intervention"
    assert spec.episodes.outcome.unknown
    units = {f.name: f.unit for s in spec.streams.values() for f in s.features}
    assert units["position"] == "rad"
    assert units["pose.pose.position"] == "m"
    assert units["wrench.torque"] == "N*m"
    text = "\n".join(notes)
    for lost in (
        "observations.observation.wrench: key 'calibrate' was not carried over",
        "observations.observation.state: rad2deg left out",
        "actions.action: operator 'clamp' was not carried over",
        "/battery (my_msgs/msg/Battery) left out: it has a decoder of its own",
        "/note (std_msgs/msg/String) left out: a text is not a number",
        "teleop.events: failure became features of stream 'teleop_events'",
        "teleop.input: ",
        "tasks: ",
        "adjunct: ",
        "key 'speed' was not carried over",
        "qos (times 1) not carried over",
        "dtype (times 3) not carried over",
        "safety (times 1) not carried over",
        "rate: a contract has none, so every stream has 20 Hz",
    ):
        assert lost in text, lost
    assert "x-qos" not in text


def test_the_layout_with_selector_and_publish_becomes_streams(tmp_path: Path) -> None:
    spec, _, notes = converted(tmp_path, SELECTOR)
    assert spec.robot == "rover"
    assert spec.step.rate == 10.0
    assert spec.episodes.task == "drive home"
    assert spec.streams["action"].type == "geometry_msgs/msg/TwistStamped"
    assert spec.streams["action"].raw_channels == ("twist.linear.x", "twist.angular.z")
    assert spec.streams["action"].modality == "action"
    assert spec.streams["state"].raw_channels == (
        "orientation.x", "angular_velocity.z", "linear_acceleration.x",
    )  # fmt: skip
    assert spec.cameras["image_main"].width == 64
    text = "\n".join(notes)
    assert "timeline 'foxglove' is not known" in text
    assert "align strategy 'closest'" in text
    assert "from_tensor" in text
    assert "recording" in text


def test_the_flat_layout_with_select_becomes_streams(tmp_path: Path) -> None:
    spec, _, notes = converted(tmp_path, FLAT)
    assert spec.streams["joy"].raw_channels == ("axes.1", "axes.2", "buttons.0")
    assert spec.streams["joy"].modality == "telemetry"
    assert spec.streams["action"].raw_channels == ("position.j1",)
    text = "\n".join(notes)
    assert "fps: not given, 30 Hz assumed" in text
    assert "'bad' (left) left out" in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("format: pro_ros/streams/1\nrobot: r\n", "not a rosetta contract: it has no 'observ"),
        ("- a\n- b\n", "expected a mapping"),
        ("observations: [", "not valid yaml"),
        ("fps: fast\nobservations: {}\n", "fps: expected a number above 0, got 'fast'"),
        ("fps: 30\nobservations: {}\n", "no entry of this contract can be read"),
        ("observations: [{topic: /a}]\n", "observations[0]: missing key 'key'"),
        ("observations: {a: {channel: {topic: /a}}}\n", "observations.a: missing key 'type'"),
        ("observations: {a: 3}\n", "observations.a: expected a mapping"),
        ("observations: {a: {topic: /a, type: t/T, select: x}}\n", "a.select: expected a list"),
    ],
)
def test_what_is_no_contract_is_said_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "contract.yaml"
    path.write_text(text)
    with pytest.raises(SpecError) as caught:
        convert(path)
    assert str(caught.value).startswith(str(path))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"none\.yaml: cannot be read"):
        convert(tmp_path / "none.yaml")
