"""Start the monitor, the recorder, or both: docs/nodes/launch.md has every argument.

    ros2 launch pro_ros pro.launch.py robot:=ur5e checkpoint:=/path/to/checkpoint

Imports nothing of pro_ros: it runs in the Python of ROS, which may lack what the nodes need.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.logging import launch_config
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SHARE = Path(get_package_share_directory("pro_ros"))

ROBOTS = "config/robots/robots.json"
"""Below the share folder: names of robots, and the preset of each."""

PRESET = "preset"
"""Value of ``streams`` that stands for the stream file of the robot's preset."""

YES, NO = "true", "false"

SWITCH = (YES, NO, "True", "False")

ARGUMENTS = (
    ("robot", "", "Kind of robot: its preset gives parameters, and streams to record", ()),
    ("checkpoint", "", "Folder of the checkpoint that the monitor runs; empty: the preset's", ()),
    (
        "streams",
        "",
        "Stream file; empty: the checkpoint's own; 'preset': that of the robot's preset",
        (),
    ),
    ("monitor", YES, "Start the monitor", SWITCH),
    ("record", NO, "Start the recorder", SWITCH),
    ("output", "dataset", "Folder of the data set that the recorder writes", ()),
    ("namespace", "", "Namespace of the nodes, and of topics without a leading slash", ()),
    ("name", "pro", "Name of the monitor, and so the first part of its topics", ()),
    ("device", "", "Where the operator computes: cpu, cuda or cuda:<n>; empty: the parameter", ()),
    ("params_file", "", "Parameter file for all nodes, applied last", ()),
    ("use_sim_time", NO, "Take the time from /clock", SWITCH),
    ("autostart", YES, "The monitor configures and activates itself", SWITCH),
    ("respawn", YES, "Start a node again when it ends", SWITCH),
    ("respawn_delay", "2.0", "Time before that [s]", ()),
    ("log_level", "info", "Least severity that is logged", ("debug", "info", "warn", "error")),
    ("python", "", "Interpreter of the nodes; empty: the first python3 on PATH", ()),
)
"""Name, default, description, choices."""


def near(name: str, known: Iterable[str]) -> str:
    """Text that proposes the nearest known name; empty where none is near."""
    found = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean '{found[0]}'?" if found else ""


def preset_of(robot: str, share: Path) -> dict[str, str]:
    """Files of a robot's preset, as absolute paths; empty where it has none."""
    table = json.loads((share / ROBOTS).read_text(encoding="utf-8"))
    robots = table["robots"]
    if robot not in robots:
        raise RuntimeError(
            f"unknown robot '{robot}'{near(robot, robots)} (known: {', '.join(sorted(robots))})"
        )
    files = table["presets"][robots[robot]]
    return {key: str(share / file) if file else "" for key, file in files.items()}


def own_streams(checkpoint: str) -> str:
    """The stream file that a checkpoint carries, written beside the logs of this launch."""
    document = Path(checkpoint) / "checkpoint.json"
    try:
        streams = json.loads(document.read_text(encoding="utf-8"))["streams"]
    except (OSError, ValueError, KeyError, TypeError):
        raise RuntimeError(f"checkpoint:={checkpoint}: '{document}' cannot be read") from None
    return written("streams.yaml", streams)


def written(name: str, document: Any) -> str:
    """Write a document beside the logs of this launch; JSON is YAML. Returns the path."""
    path = Path(launch_config.log_dir) / f"pro_ros_{name}"
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return str(path)


def existing(argument: str, path: str) -> str:
    """An absolute path of what a launch argument names."""
    found = Path(path).expanduser().absolute()
    if not found.exists():
        raise RuntimeError(f"{argument}:={path}: no such file or folder")
    return str(found)


def choose(given: dict[str, str], share: Path) -> dict[str, str]:
    """Files that the nodes get: ``parameters``, ``checkpoint``, ``streams``, ``params_file``.

    Parameters
    ----------
    given
        The launch arguments.
    share
        Share folder of the package.
    """
    preset = {"parameters": "", "checkpoint": "", "streams": ""}
    if given["robot"]:
        preset = preset_of(given["robot"], share)
    files = dict(preset)
    if given["checkpoint"]:
        files["checkpoint"] = existing("checkpoint", given["checkpoint"])
    if given["streams"] == PRESET:
        if not preset["streams"]:
            raise RuntimeError("streams:=preset needs robot:=NAME")
    else:
        files["streams"] = existing("streams", given["streams"]) if given["streams"] else ""
    files["params_file"] = (
        existing("params_file", given["params_file"]) if given["params_file"] else ""
    )
    if given["monitor"] == YES and not (files["checkpoint"] or files["params_file"]):
        raise RuntimeError(
            f"robot '{given['robot']}' has no checkpoint of its own: give "
            "checkpoint:=/path/to/checkpoint, or monitor:=false to record without one"
            if given["robot"]
            else "give robot:=NAME and checkpoint:=/path/to/checkpoint"
        )
    files["record"] = files["streams"]
    if given["record"] == YES and not files["record"]:
        if files["checkpoint"]:
            files["record"] = own_streams(files["checkpoint"])
        elif preset["streams"]:
            files["record"] = preset["streams"]
        else:
            raise RuntimeError("record:=true needs streams:=FILE, robot:=NAME or checkpoint:=PATH")
    if YES not in (given["monitor"], given["record"]):
        raise RuntimeError("monitor:=false and record:=false leave nothing to start")
    return files


def place(given: dict[str, str]) -> list[str]:
    """The parts of the namespace."""
    return [part for part in given["namespace"].split("/") if part]


def node(
    given: dict[str, str], executable: str, name: str, parameters: dict[str, Any], *before: str
) -> Node:
    """One node. Of a parameter the last value counts: ``before``, ``parameters``, params_file."""
    logger = ".".join((*place(given), name))
    # Launch would write a dictionary under the node's full name, and a '/**' of the user's file
    # would then lose against it.
    own = written(f"{name}.yaml", {"/**": {"ros__parameters": parameters}})
    after = [given["params_file"]] if given["params_file"] else []
    return Node(
        package="pro_ros",
        executable=executable,
        name=name,
        namespace=given["namespace"],
        exec_name=executable,
        prefix=given["python"] or None,
        parameters=[*(file for file in before if file), own, *after],
        ros_arguments=["--log-level", f"{logger}:={given['log_level']}"],
        output="screen",
        emulate_tty=True,
        respawn=given["respawn"] == YES,
        respawn_delay=float(given["respawn_delay"]),
    )


def start(context: LaunchContext) -> list[Node]:
    """The nodes that the arguments ask for."""
    given = {name: LaunchConfiguration(name).perform(context).strip() for name, *_ in ARGUMENTS}
    given |= {name: given[name].lower() for name, _, _, choices in ARGUMENTS if choices == SWITCH}
    files = choose(given, SHARE)
    given["params_file"] = files["params_file"]
    sim = given["use_sim_time"] == YES
    nodes = []
    if given["monitor"] == YES:
        parameters: dict[str, Any] = {
            "use_sim_time": sim, "autostart": given["autostart"] == YES,
            "checkpoint": files["checkpoint"], "streams": files["streams"],
        }  # fmt: skip
        if given["device"]:
            parameters["device"] = given["device"]
        nodes.append(node(given, "pro_node", given["name"], parameters, files["parameters"]))
    if given["record"] == YES:
        parameters = {
            "use_sim_time": sim, "streams": files["record"],
            "output": str(Path(given["output"]).expanduser().absolute()),
            "monitor": "/".join(("", *place(given), given["name"])),
        }  # fmt: skip
        nodes.append(node(given, "recorder", "pro_recorder", parameters))
    return nodes


def generate_launch_description() -> LaunchDescription:
    """The arguments, then the nodes."""
    declared = [
        DeclareLaunchArgument(
            name, default_value=default, description=text, choices=list(choices) or None
        )
        for name, default, text, choices in ARGUMENTS
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])
