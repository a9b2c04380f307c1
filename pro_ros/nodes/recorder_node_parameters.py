"""Parameters of the recorder node."""

from __future__ import annotations

from pro_ros.nodes.parameters import Parameter

RECORDER_PARAMETERS = (
    Parameter(
        "streams",
        "",
        "Stream file with the topics to be recorded; required",
    ),
    Parameter(
        "output",
        "",
        "Folder of the data set: a new one, or one that was made with the same stream file; "
        "required if 'record' is true",
    ),
    Parameter(
        "record",
        True,
        "Whether anything is written; if false, only episodes are begun and ended",
    ),
    Parameter(
        "continuous",
        False,
        "Record everything, in parts, and not only episodes",
    ),
    Parameter(
        "lead_in",
        2.0,
        "What is recorded before an episode begins",
        unit="s",
        low=0.0,
        high=60.0,
    ),
    Parameter(
        "lead_in_bytes",
        64_000_000,
        "Memory for the lead-in; the oldest messages go where it does not suffice",
        unit="byte",
        low=0,
        high=4_000_000_000,
    ),
    Parameter(
        "lead_out",
        5.0,
        "What is recorded after an episode has ended, unless the next one begins",
        unit="s",
        low=0.0,
        high=60.0,
        changes="always",
    ),
    Parameter(
        "max_episode_seconds",
        600.0,
        "The rest of a longer episode is not recorded; with 'continuous', the length of a part",
        unit="s",
        low=1.0,
        high=86400.0,
        changes="always",
    ),
    Parameter(
        "max_episode_bytes",
        4_000_000_000,
        "The rest of a larger episode is not recorded; with 'continuous', the size of a part",
        unit="byte",
        low=100_000,
        high=1_000_000_000_000,
        changes="always",
    ),
    Parameter(
        "max_total_bytes",
        20_000_000_000,
        "What all recordings together may take on the disk; 0: no limit",
        unit="byte",
        low=0,
        high=1_000_000_000_000_000,
        changes="always",
    ),
    Parameter(
        "when_full",
        "rotate",
        "What happens at 'max_total_bytes': the oldest recordings are removed, or recording stops",
        choices=("rotate", "stop"),
        changes="always",
    ),
    Parameter(
        "compress",
        True,
        "Compress the bags with zstd",
    ),
    Parameter(
        "extra_topics",
        [],
        "Topics to be recorded beside the streams; their types are looked up once they are "
        "published",
    ),
    Parameter(
        "record_outputs",
        False,
        "Record what the monitor says, too",
    ),
    Parameter(
        "monitor",
        "/pro",
        "Full name of the monitor node: its task_context is published, its outputs are recorded",
    ),
    Parameter(
        "source",
        "",
        "Who the EpisodeEvents of the services come from; those with this source are taken for "
        "one's own. Empty: the full name of this node",
    ),
    Parameter(
        "diagnostics_period",
        1.0,
        "Time between two messages on /diagnostics",
        unit="s",
        low=0.1,
        high=60.0,
    ),
)
