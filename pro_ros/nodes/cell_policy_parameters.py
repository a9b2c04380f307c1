"""Parameters of the node of the cell's policy."""

from __future__ import annotations

from pro_ros.nodes.parameters import Parameter

CELL_POLICY_PARAMETERS = (
    Parameter("cell_file", "", "Sites and items. Empty: those that ship"),
    Parameter("monitor", "/pro", "Name of the monitor node, below which its topics are"),
    Parameter("seed", 0, "Of everything random of the policy", low=0, high=2**31 - 1),
    Parameter(
        "candidates",
        1,
        "Chunks of actions that the policy proposes each time; with more than one the monitor's "
        "scores choose",
        low=1,
        high=64,
    ),
    Parameter(
        "score_timeout",
        0.05,
        "Without scores for so long, the first chunk is carried out",
        unit="s",
        low=0.001,
        high=1.0,
    ),
    Parameter(
        "silence",
        2.0,
        "Without a message of the cell for so long, or without anybody who listens to its "
        "feedback, a run is aborted; on the steady clock",
        unit="s",
        low=0.1,
        high=60.0,
    ),
    Parameter("feedback_rate", 10.0, "Of feedback", unit="Hz", low=0.1, high=50.0),
)
