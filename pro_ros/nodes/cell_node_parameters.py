"""Parameters of the node of the demonstration cell."""

from __future__ import annotations

from pro_ros.nodes.parameters import Parameter

CELL_NODE_PARAMETERS = (
    Parameter("cell_file", "", "Sites and items. Empty: those that ship"),
    Parameter("site", "ash", "Site of the first task, and of tasks that name none"),
    Parameter("seed", 0, "Draws the first task", low=0, high=2**31 - 1),
    Parameter(
        "real_time_factor",
        1.0,
        "Simulated seconds per second; 0: as many as there can be",
        low=0.0,
        high=100.0,
    ),
    Parameter("camera", False, "Render and publish the camera's frames"),
)
