"""See the monitor at work without a robot: plays the recording that ships, with its checkpoint.

    ros2 launch pro_ros demo.launch.py
    ros2 topic echo /pro/risk

The arguments are in docs/nodes/launch.md.
"""

from __future__ import annotations

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

SHARE = Path(get_package_share_directory("pro_ros"))

# The file and not its folder: Humble does not read the metadata of newer releases, and needs none.
RECORDING = SHARE / "examples" / "ur3_cobotops" / "recording" / "recording.mcap"

FASTEST = 100.0
"""Highest rate: the clock is published ten times per second of the recording."""

ARGUMENTS = (
    ("rate", "20", "How many times faster than recorded, above 0 and at most 100"),
    ("start_offset", "0", "Where in the recording to begin [s]"),
    ("namespace", "", "Namespace of the monitor"),
    ("name", "pro", "Name of the monitor"),
    ("device", "", "Where the operator computes; empty: the parameter"),
    ("params_file", "", "Parameter file, applied last"),
    ("log_level", "info", "Least severity that is logged"),
    ("python", "", "Interpreter of the monitor; empty: the first python3 on PATH"),
)
"""Name, default, description."""

PASSED_ON = ("namespace", "name", "device", "params_file", "log_level", "python")


def number(name: str, text: str, low: float, high: float) -> float:
    """The value of a launch argument, within its range."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise RuntimeError(f"{name}:={text}: expected a number from {low:g} to {high:g}")
    return value


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The monitor; then, once it beats, the player."""
    given = {name: LaunchConfiguration(name).perform(context).strip() for name, *_ in ARGUMENTS}
    rate = number("rate", given["rate"], 0.01, FASTEST)
    offset = number("start_offset", given["start_offset"], 0.0, 26000.0)
    monitor = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SHARE / "launch" / "pro.launch.py")),
        launch_arguments={
            "robot": "ur3_cobotops",
            "use_sim_time": "true",
            **{name: given[name] for name in PASSED_ON},
        }.items(),
    )
    play = ExecuteProcess(
        cmd=[
            "ros2", "bag", "play", str(RECORDING), "--rate", str(rate),
            "--clock", str(max(100.0, 10.0 * rate)), "--start-offset", str(offset),
            "--disable-keyboard-controls",
        ],
        name="player",
        output="screen",
        on_exit=[Shutdown(reason="the recording has ended")],
    )  # fmt: skip
    # The first heartbeat comes when the monitor is active: nothing of the recording is missed.
    topic = "/".join(("", *given["namespace"].strip("/").split("/"), given["name"], "heartbeat"))
    wait = ExecuteProcess(
        cmd=[
            "ros2", "topic", "echo", "--no-daemon", "--once", topic.replace("//", "/"),
            "pro_ros/msg/Heartbeat",
        ],
        name="wait_for_monitor",
        output="log",
    )  # fmt: skip
    hint = LogInfo(
        msg=f"plays at {rate:g} times the recorded speed; see it with: "
        f"ros2 topic echo {topic.replace('//', '/').removesuffix('heartbeat')}risk"
    )
    return [
        monitor,
        wait,
        RegisterEventHandler(OnProcessExit(target_action=wait, on_exit=[hint, play])),
    ]


def generate_launch_description() -> LaunchDescription:
    """The arguments, then the nodes."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, default, text in ARGUMENTS
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])
