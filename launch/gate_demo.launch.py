"""See the retry gate catch a slip without a robot: made-up cell, scripted policy, real nodes.

    ros2 launch pro_ros gate_demo.launch.py

Ends by itself. The arguments are in docs/nodes/gate.md, the files in examples/gate_demo.
"""

from __future__ import annotations

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
    Shutdown,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SHARE = Path(get_package_share_directory("pro_ros"))

DEMO = SHARE / "examples" / "gate_demo"

# Nothing of it may meet a real policy on the same network.
NAMESPACE = "gate_demo"

ARGUMENTS = (
    ("script", "slip,succeed", "What the policy does in each attempt: words with commas"),
    ("duration", "4.0", "Of an attempt that nobody stops [s]"),
    ("log_level", "warn", "Least severity that is logged"),
    ("python", "", "Interpreter of the nodes; empty: the first python3 on PATH"),
)  # fmt: skip
"""Name, default, description."""


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Monitor, gate, policy, cell, and who orders the task."""
    given = {name: LaunchConfiguration(name).perform(context).strip() for name, *_ in ARGUMENTS}
    common = {
        "namespace": NAMESPACE, "log_level": given["log_level"], "python": given["python"],
        "respawn": "false",
    }  # fmt: skip
    python = given["python"] or "python3"

    def include(name: str, **arguments: str) -> GroupAction:
        # In a scope of its own: both files have an argument 'name'.
        description = IncludeLaunchDescription(
            PythonLaunchDescriptionSource(str(SHARE / "launch" / name)),
            launch_arguments={**common, **arguments}.items(),
        )
        return GroupAction([description])

    def program(name: str, **more: object) -> ExecuteProcess:
        return ExecuteProcess(
            cmd=[python, str(DEMO / f"{name}.py"), "--ros-args", "-r", f"__ns:=/{NAMESPACE}"],
            name=name,
            output="screen",
            **more,
        )

    policy = Node(
        package="pro_ros",
        executable="scripted_policy",
        namespace=NAMESPACE,
        exec_name="scripted_policy",
        prefix=given["python"] or None,
        parameters=[
            {
                "script": [word.strip() for word in given["script"].split(",")],
                "duration": float(given["duration"]),
            }
        ],
        output="screen",
    )
    return [
        include("pro.launch.py", checkpoint=str(DEMO / "checkpoint")),
        include("gate.launch.py", gate_file=str(DEMO / "gate.yaml")),
        policy,
        program("cell_node"),
        program("order", on_exit=[Shutdown(reason="the task has ended")]),
    ]


def generate_launch_description() -> LaunchDescription:
    """The arguments, then the nodes."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, default, text in ARGUMENTS
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])
