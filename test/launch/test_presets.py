"""Presets: every file loads, every robot has one, and every parameter is the node's."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pro_ros.nodes.parameters import Parameter
from pro_ros.nodes.pro_node_parameters import PRO_NODE_PARAMETERS
from pro_ros.paths import share_file
from pro_ros.streams.decode import Decoder
from pro_ros.streams.spec import RobotSpec, load_spec, parse_spec

CONFIG = share_file("config/robots")
LAUNCH = share_file("launch/pro.launch.py").parent
TABLE: dict[str, Any] = json.loads((CONFIG / "robots.json").read_text(encoding="utf-8"))
STREAM_FILES = sorted(CONFIG.glob("*/streams.yaml"))
PARAMETERS = {parameter.name: parameter for parameter in PRO_NODE_PARAMETERS}


def alternatives(path: Path) -> list[Any]:
    """The entries that a stream file shows in lines that begin with ``#:``."""
    text = path.read_text(encoding="utf-8")
    blocks = re.findall(r"(?:^  #: .*\n)+", text, re.M)
    return [
        pytest.param(path, yaml.safe_load(re.sub(r"^  #: ", "", block, flags=re.M)),
                     id=f"{path.parent.name}-{number}")
        for number, block in enumerate(blocks)
    ]  # fmt: skip


ALTERNATIVES = [case for path in STREAM_FILES for case in alternatives(path)]


def check(spec: RobotSpec) -> None:
    """Units, levels and vacuum readings are those that a decoder can be made of."""
    for name, stream in spec.streams.items():
        Decoder(name, stream)


def test_every_preset_folder_is_in_the_table_and_every_preset_serves_a_robot() -> None:
    assert {path.name for path in CONFIG.iterdir() if path.is_dir()} == set(TABLE["presets"])
    assert set(TABLE["robots"].values()) == set(TABLE["presets"])


@pytest.mark.parametrize("robot", sorted(TABLE["robots"]))
def test_every_robot_resolves_to_files_that_exist(robot: str) -> None:
    preset = TABLE["presets"][TABLE["robots"][robot]]
    assert share_file(preset["parameters"]).is_file()
    load_spec(share_file(preset["streams"]))
    if preset["checkpoint"]:
        assert share_file(preset["checkpoint"]).is_dir()


@pytest.mark.parametrize("path", STREAM_FILES, ids=lambda p: p.parent.name)
def test_every_stream_file_loads_and_says_how_each_stream_is_judged(path: Path) -> None:
    spec = load_spec(path)
    check(spec)
    assert spec.robot == path.parent.name
    assert spec.failure_modes
    for stream in yaml.safe_load(path.read_text(encoding="utf-8"))["streams"].values():
        assert {"topic", "type", "rate", "hold", "stale"} <= set(stream)
        assert "required" in stream or stream["modality"] == "label"
        # Below the namespace of the node: a second arm is a second namespace.
        assert not stream["topic"].startswith("/")


@pytest.mark.parametrize(("path", "entry"), ALTERNATIVES)
def test_every_alternative_that_is_shown_loads_in_its_place(
    path: Path, entry: dict[str, Any]
) -> None:
    document = load_spec(path).model_dump(mode="json", exclude_defaults=True)
    document["format"] = "pro_ros/streams/1"
    document["streams"] |= entry
    check(parse_spec(document, str(path)))


def test_alternatives_are_found() -> None:
    assert len(ALTERNATIVES) >= 6


def test_the_cb3_arms_differ_from_the_others_in_rate_alone() -> None:
    # Same features: a checkpoint of one is not refused by the other for its names.
    spec, cb3 = (load_spec(CONFIG / name / "streams.yaml") for name in ("ur", "ur_cb3"))
    assert spec.layout == cb3.layout
    assert {s.rate for s in cb3.input_streams.values()} == {125.0}
    assert {s.rate for s in spec.input_streams.values()} == {500.0}


@pytest.mark.parametrize("name", sorted(TABLE["presets"]))
def test_parameter_files_set_parameters_of_the_monitor_to_what_it_takes(name: str) -> None:
    path = share_file(TABLE["presets"][name]["parameters"])
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    # Any name and namespace of the node.
    assert list(document) == ["/**"]
    given = document["/**"]["ros__parameters"]
    assert given
    for key, value in given.items():
        assert key in PARAMETERS, f"{path}: {key}"
        parameter: Parameter = PARAMETERS[key]
        assert type(value) is type(parameter.default), key
        assert parameter.fault(value) == ""
        if parameter.low is not None and parameter.high is not None:
            assert parameter.low <= value <= parameter.high


@pytest.mark.parametrize("path", sorted(LAUNCH.glob("*.py")), ids=lambda p: p.name)
def test_launch_files_import_nothing_that_the_python_of_ros_may_lack(path: Path) -> None:
    allowed = {
        "__future__", "ament_index_python", "collections", "difflib", "json", "launch",
        "launch_ros", "pathlib", "typing",
    }  # fmt: skip
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert found <= allowed
