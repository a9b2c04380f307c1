"""Start the retry gate beside a monitor and a policy: docs/nodes/gate.md has every argument.

    ros2 launch pro_ros gate.launch.py gate_file:=gate.yaml policy_name:=run_policy

Imports nothing of pro_ros: it runs in the Python of ROS, which may lack what the node needs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.logging import launch_config
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

YES, NO = "true", "false"

SWITCH = (YES, NO, "True", "False")

ARGUMENTS = (
    ("gate_file", "", "Gate file; empty: the parameter", ()),
    ("monitor_name", "", "Full name of the monitor; empty: 'pro' in the gate's namespace", ()),
    ("policy_name", "", "Action of the policy; empty: the parameter", ()),
    ("policy_type", "", "Its type, package/action/Name; empty: the parameter", ()),
    ("recovery_name", "", "Action of the recovery; empty: the parameter", ()),
    ("safe_action_name", "", "Action of the safe action; empty: the parameter", ()),
    ("namespace", "", "Namespace of the gate, and of actions without a leading slash", ()),
    ("name", "pro_gate", "Name of the gate, and so the first part of its topics", ()),
    ("params_file", "", "Parameter file, applied last", ()),
    ("use_sim_time", NO, "Take the time of stamps from /clock", SWITCH),
    ("respawn", NO, "Start the gate again when it ends; it then forgets that it was latched",
     SWITCH),
    ("respawn_delay", "2.0", "Time before that [s]", ()),
    ("log_level", "info", "Least severity that is logged", ("debug", "info", "warn", "error")),
    ("python", "", "Interpreter of the node; empty: the first python3 on PATH", ()),
)  # fmt: skip
"""Name, default, description, choices."""

PASSED_ON = {
    "policy_name": "policy.name",
    "policy_type": "policy.type",
    "recovery_name": "recovery.name",
    "safe_action_name": "safe_action.name",
}
"""Arguments that are parameters of the node, where they are given."""


def existing(argument: str, path: str) -> str:
    """An absolute path of what a launch argument names; empty where it names nothing."""
    if not path:
        return ""
    found = Path(path).expanduser().absolute()
    if not found.exists():
        raise RuntimeError(f"{argument}:={path}: no such file or folder")
    return str(found)


def start(context: LaunchContext) -> list[Node]:
    """The gate."""
    given = {name: LaunchConfiguration(name).perform(context).strip() for name, *_ in ARGUMENTS}
    place = [part for part in given["namespace"].split("/") if part]
    parameters: dict[str, Any] = {
        "use_sim_time": given["use_sim_time"].lower() == YES,
        "monitor": given["monitor_name"] or "/".join(("", *place, "pro")),
    }
    gate_file = existing("gate_file", given["gate_file"])
    if gate_file:
        parameters["gate_file"] = gate_file
    parameters |= {key: given[name] for name, key in PASSED_ON.items() if given[name]}
    # Launch would write a dictionary under the node's full name, and a '/**' of the user's file
    # would then lose against it. JSON is YAML.
    own = Path(launch_config.log_dir) / f"pro_ros_{given['name']}.yaml"
    document = {"/**": {"ros__parameters": parameters}}
    own.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    params_file = existing("params_file", given["params_file"])
    logger = ".".join((*place, given["name"]))
    return [
        Node(
            package="pro_ros",
            executable="gate",
            name=given["name"],
            namespace=given["namespace"],
            exec_name="gate",
            prefix=given["python"] or None,
            parameters=[str(own), *([params_file] if params_file else [])],
            ros_arguments=["--log-level", f"{logger}:={given['log_level']}"],
            output="screen",
            emulate_tty=True,
            respawn=given["respawn"].lower() == YES,
            respawn_delay=float(given["respawn_delay"]),
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """The arguments, then the node."""
    declared = [
        DeclareLaunchArgument(
            name, default_value=default, description=text, choices=list(choices) or None
        )
        for name, default, text, choices in ARGUMENTS
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])
