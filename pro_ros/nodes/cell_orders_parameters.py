"""Parameters of who orders tasks at the demonstration cell."""

from __future__ import annotations

from pro_ros.nodes.parameters import Parameter

CELL_ORDERS_PARAMETERS = (
    Parameter("tasks", 5, "How many are ordered, one after the other", low=1, high=1000000),
    Parameter("site", "", "Where. Empty: the cell's own site"),
    Parameter(
        "seed", 0, "Of the first task; each further one has the next", low=0, high=2**31 - 1
    ),
    Parameter("sku", "", "The item. Empty: drawn among those of the site that are not held out"),
    Parameter("gate", "pro_gate", "Name of the gate node, below which its state is"),
    Parameter(
        "patience",
        60.0,
        "For all nodes to be there, for the gate to open before a task, and for each answer",
        unit="s",
        low=1.0,
        high=3600.0,
    ),
)
