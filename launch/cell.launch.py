"""The demonstration cell with everything around it: policy, monitor, gate, and who orders tasks.

    ros2 launch pro_ros cell.launch.py site:=ash tasks:=5

Ends with the last task. The arguments are in docs/nodes/launch.md. Imports nothing of pro_ros: it
runs in the Python of ROS, which may lack what the nodes need.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
    Shutdown,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.logging import launch_config
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SHARE = Path(get_package_share_directory("pro_ros"))

CONFIG = SHARE / "config" / "cell"

SHIPPED = SHARE / "examples" / "cell" / "checkpoint"

YES, NO = "true", "false"

SWITCH = (YES, NO, "True", "False")

ARGUMENTS = (
    ("checkpoint", "", "Checkpoint that the monitor runs; empty: the one that ships", ()),
    ("site", "ash", "Site of the cell file", ()),
    ("seed", "0", "Of the first task; each further one has the next", ()),
    ("sku", "", "The item of all tasks; empty: drawn", ()),
    ("tasks", "5", "How many are ordered; 0: none, and nothing ends by itself", ()),
    ("candidates", "1", "Chunks that the policy proposes; the monitor scores more than one", ()),
    ("camera", NO, "Render and publish the camera's frames", SWITCH),
    ("record", NO, "Start the recorder", SWITCH),
    ("output", "cell_dataset", "Folder of the data set that the recorder writes", ()),
    ("real_time_factor", "1.0", "Simulated seconds per second, 0.8 to 1", ()),
    ("cell_file", "", "Sites and items; empty: those that ship", ()),
    ("gate_file", "", "Gate file; empty: the one that ships for the cell", ()),
    ("log_level", "error", "Least severity that is logged", ("debug", "info", "warn", "error")),
    ("python", "", "Interpreter of the nodes; empty: the first python3 on PATH", ()),
)  # fmt: skip
"""Name, default, description, choices."""

SLOWEST, FASTEST = 0.8, 1.0
"""Within which the gate, which judges by the steady clock, hears the monitor often enough, and
its limits in seconds mean what the gate file says."""


def number(given: dict[str, str], name: str, kind: type, low: float, high: float) -> Any:
    """A launch argument as a number."""
    try:
        value = kind(given[name])
    except ValueError:
        value = None
    if value is None or not low <= value <= high:
        raise RuntimeError(
            f"{name}:={given[name]}: expected {'a whole' if kind is int else 'a'} number from "
            f"{low:g} to {high:g}"
        )
    return value


def existing(argument: str, path: str) -> str:
    """An absolute path of what a launch argument names; empty where it names nothing."""
    if not path:
        return ""
    found = Path(path).expanduser().absolute()
    if not found.exists():
        raise RuntimeError(f"{argument}:={path}: no such file or folder")
    return str(found)


def checkpoint_of(given: dict[str, str]) -> str:
    """The checkpoint that the monitor runs."""
    if given["checkpoint"]:
        return existing("checkpoint", given["checkpoint"])
    if not SHIPPED.exists():
        raise RuntimeError(
            "no checkpoint ships with this build: give checkpoint:=/path/to/checkpoint, trained "
            "with 'pro-ros train' on bags of the cell (docs/nodes/cell.md)"
        )
    return str(SHIPPED)


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The nodes."""
    given = {name: LaunchConfiguration(name).perform(context).strip() for name, *_ in ARGUMENTS}
    factor = number(given, "real_time_factor", float, SLOWEST, FASTEST)
    tasks = number(given, "tasks", int, 0, 1e6)
    seed = number(given, "seed", int, 0, 2**31 - 1)
    candidates = number(given, "candidates", int, 1, 64)
    checkpoint = checkpoint_of(given)
    cell_file = existing("cell_file", given["cell_file"])
    gate_file = existing("gate_file", given["gate_file"]) or str(CONFIG / "gate.yaml")
    common = {
        "use_sim_time": YES, "log_level": given["log_level"], "python": given["python"],
        "respawn": NO,
    }  # fmt: skip

    def include(name: str, **arguments: str) -> GroupAction:
        # In a scope of its own: both files have an argument 'name'.
        description = IncludeLaunchDescription(
            PythonLaunchDescriptionSource(str(SHARE / "launch" / name)),
            launch_arguments={**common, **arguments}.items(),
        )
        return GroupAction([description])

    def node(
        executable: str, parameters: dict[str, Any], sim_time: bool = False, **more: Any
    ) -> Node:
        own = Path(launch_config.log_dir) / f"pro_ros_{executable}.yaml"
        document = {"/**": {"ros__parameters": {"use_sim_time": sim_time, **parameters}}}
        own.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        return Node(
            package="pro_ros",
            executable=executable,
            exec_name=executable,
            prefix=given["python"] or None,
            parameters=[str(own)],
            ros_arguments=["--log-level", f"{executable}:={given['log_level']}"],
            output="screen",
            emulate_tty=True,
            **more,
        )

    cell = {
        "cell_file": cell_file, "site": given["site"], "seed": seed, "real_time_factor": factor,
        "camera": given["camera"].lower() == YES,
    }  # fmt: skip
    policy = {"cell_file": cell_file, "candidates": candidates, "seed": seed}
    entities: list[LaunchDescriptionEntity] = [
        node("cell", cell, on_exit=[Shutdown(reason="the cell has ended")]),
        node("cell_policy", policy, sim_time=True),
        include(
            "pro.launch.py",
            checkpoint=checkpoint,
            record=given["record"].lower(),
            output=given["output"],
        ),
        include(
            "gate.launch.py",
            gate_file=gate_file,
            recovery_name="run_recovery",
            params_file=str(CONFIG / "gate_node.yaml"),
        ),
    ]
    if tasks:
        orders = {"tasks": tasks, "site": given["site"], "seed": seed, "sku": given["sku"]}
        entities.append(
            node("cell_orders", orders, on_exit=[Shutdown(reason="all tasks were ordered")])
        )
    return entities


def generate_launch_description() -> LaunchDescription:
    """The arguments, then the nodes."""
    declared = [
        DeclareLaunchArgument(
            name, default_value=default, description=text, choices=list(choices) or None
        )
        for name, default, text, choices in ARGUMENTS
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])
