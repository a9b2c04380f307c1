"""Parameters of the monitor node."""

from __future__ import annotations

from pro_ros.nodes.parameters import Parameter

PRO_NODE_PARAMETERS = (
    Parameter(
        "checkpoint",
        "",
        "Folder of the checkpoint that is run",
        changes="unconfigured",
    ),
    Parameter(
        "streams",
        "",
        "Stream file with this robot's topics, types and times; features as in the checkpoint. "
        "Empty: the checkpoint's own",
        changes="unconfigured",
    ),
    Parameter(
        "device",
        "cpu",
        "Where the operator computes: cpu, cuda, or cuda:<n>",
        changes="unconfigured",
    ),
    Parameter(
        "task",
        "",
        "The goal in words. Empty: what TaskContexts say, and before the first the stream file's",
        changes="unconfigured",
    ),
    Parameter(
        "optional_streams",
        [],
        "Streams without which an assessment may be valid, beside those that are not 'required'",
        changes="unconfigured",
    ),
    Parameter(
        "max_lateness",
        0.1,
        "A step that would be judged later than this after its time is dropped and counted",
        unit="s",
        low=0.001,
        high=60.0,
        changes="unconfigured",
    ),
    Parameter(
        "max_rate_factor",
        4.0,
        "Messages that come faster than this many times their declared rate are dropped",
        low=1.0,
        high=1000.0,
        changes="unconfigured",
    ),
    Parameter(
        "threads",
        1,
        "Threads that torch computes with on the CPU",
        low=1,
        high=256,
        changes="unconfigured",
    ),
    Parameter(
        "heartbeat_rate",
        10.0,
        "Rate of ~/heartbeat",
        unit="Hz",
        low=0.1,
        high=1000.0,
        changes="unconfigured",
    ),
    Parameter(
        "alarm_threshold",
        0.0,
        "Risk at which the alarm goes on; 0: the calibrated threshold",
        low=0.0,
        high=1.0,
        changes="always",
    ),
    Parameter(
        "reward_kappa",
        1.0,
        "Weight of the shaping term of ~/reward",
        low=0.0,
        high=1e6,
        changes="always",
    ),
    Parameter(
        "reward_risk_weight",
        0.1,
        "Cost of certain failure in ~/reward",
        unit="reward",
        low=0.0,
        high=1e6,
        changes="always",
    ),
    Parameter(
        "autostart",
        True,
        "Configure and activate at the start, also after a respawn",
    ),
    Parameter(
        "diagnostics_period",
        1.0,
        "Time between two messages on /diagnostics, and two looks at who publishes the inputs",
        unit="s",
        low=0.1,
        high=60.0,
    ),
)
