"""Parameters of the retry gate's node."""

from __future__ import annotations

from pro_ros.nodes.parameters import Parameter

SOURCES: dict[str, str | int] = {
    **dict.fromkeys(("prompt", "task_id", "sku", "site", "robot", "episode_id"), "text"),
    "attempt": 1,
    "mode": "text",
}
"""What a goal of the policy, the recovery or the safe action may be filled with, by example."""

GATE_NODE_PARAMETERS = (
    Parameter("gate_file", "", "Gate file (docs/gate.md). Empty: the defaults"),
    Parameter("monitor", "/pro", "Name of the monitor node, below which its topics are"),
    Parameter("policy.name", "run_policy", "Action of the policy"),
    Parameter("policy.type", "pro_ros/action/RunPolicy", "Its type, package/action/Name"),
    Parameter(
        "policy.goal",
        ["prompt=prompt"],
        "What goes into its goal: 'field=source' or 'field:=constant'. Sources: "
        + ", ".join(SOURCES),
    ),
    Parameter(
        "policy.success_field",
        "success",
        "Boolean field of its result that says whether the task was done. Empty: an attempt that "
        "ends as SUCCEEDED is judged by the monitor",
    ),
    Parameter(
        "policy.mode_field",
        "",
        "Text field of its result that names the failure mode. Empty: none",
    ),
    Parameter("recovery.name", "", "Action of the recovery. Empty: there is none"),
    Parameter("recovery.type", "pro_ros/action/RunPolicy", "Its type"),
    Parameter("recovery.goal", ["prompt=mode"], "What goes into its goal"),
    Parameter("recovery.success_field", "success", "As policy.success_field; empty: SUCCEEDED"),
    Parameter("safe_action.name", "", "Action of the safe action. Empty: there is none"),
    Parameter("safe_action.type", "pro_ros/action/RunPolicy", "Its type"),
    Parameter("safe_action.goal", [""], "What goes into its goal"),
    Parameter("safe_action.success_field", "success", "As policy.success_field; empty: SUCCEEDED"),
    Parameter(
        "on_new_goal",
        "reject",
        "What a goal meets while another one is active",
        choices=("reject", "supersede"),
    ),
    Parameter(
        "client_timeout",
        2.0,
        "A goal whose client is gone for so long ends; 0: never",
        unit="s",
        low=0.0,
        high=3600.0,
    ),
    Parameter(
        "look_period",
        0.1,
        "Time between two looks at whether servers and clients are there",
        unit="s",
        low=0.01,
        high=10.0,
    ),
    Parameter(
        "publish_episodes",
        True,
        "Publish TaskContext and EpisodeEvents of the attempts, for the monitor and the recorder",
    ),
)
