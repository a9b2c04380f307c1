"""Parameters of the scripted policy."""

from __future__ import annotations

from pro_ros.nodes.parameters import Parameter

BEHAVIOURS = ("succeed", "slip", "fail", "stall", "ignore_cancel", "die", "reject", "silent")

SCRIPTED_POLICY_PARAMETERS = (
    Parameter(
        "script",
        ["succeed"],
        "What each run does, in turn; the last one repeats. One of: " + ", ".join(BEHAVIOURS),
        changes="always",
    ),
    Parameter(
        "duration", 2.0, "Of a run that ends by itself", unit="s", low=0.0, high=3600.0,
        changes="always",
    ),
    Parameter(
        "stop_time", 0.02, "From a cancel to its end", unit="s", low=0.0, high=60.0,
        changes="always",
    ),
    Parameter("feedback_rate", 20.0, "Of feedback", unit="Hz", low=0.1, high=1000.0),
    Parameter("action", "run_policy", "Name of the action that is served"),
)  # fmt: skip
