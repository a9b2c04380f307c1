"""What a recorder is asked to do, and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pro_ros.episodes.bags import full_type
from pro_ros.errors import SpecError
from pro_ros.streams.spec import RobotSpec


@dataclass(frozen=True)
class RecorderSettings:
    """How much is recorded, and how much of it is kept.

    ``lead_in``, ``lead_out``: before and after an episode [s]. ``lead_in_bytes``: memory for the
    former. ``max_episode_seconds``, ``max_episode_bytes``: the rest of a longer episode is not
    recorded; with ``continuous`` a new part begins. ``max_total_bytes``: of all recordings and
    journals; 0 is no limit. ``when_full``: what happens then. ``continuous``: record everything,
    in parts.
    """

    lead_in: float = 2.0
    lead_out: float = 5.0
    lead_in_bytes: int = 64_000_000
    max_episode_seconds: float = 600.0
    max_episode_bytes: int = 4_000_000_000
    max_total_bytes: int = 20_000_000_000
    when_full: Literal["rotate", "stop"] = "rotate"
    continuous: bool = False
    compress: bool = True


@dataclass(frozen=True)
class RecorderStatus:
    """State of a recorder.

    ``recording``: a journal is being written for a running episode, or for a part. ``key``: its
    ``episode_id``. ``episode_bytes``: received so far. ``total_bytes``: on disk, journals
    included. ``kept``: recordings in the data set. ``waiting``: journals that are not yet bags.
    ``fault``: why something is not being recorded, or empty. ``last_fault``: the latest one, also
    when it is over.
    """

    recording: bool
    key: str
    episode_bytes: int
    total_bytes: int
    messages: int
    kept: int
    bound: int
    removed: int
    waiting: int
    fault: str
    last_fault: str


def by_events(spec: RobotSpec) -> RobotSpec:
    """The same streams with episodes cut by EpisodeEvents."""
    if spec.episodes.by == "events":
        return spec
    episodes = spec.episodes.model_copy(update={"by": "events", "signal": None})
    return spec.model_copy(update={"episodes": episodes})


def event_topic(spec: RobotSpec) -> str:
    """Topic of the EpisodeEvents in a bag; there a name below a namespace has a slash, too."""
    return "/" + spec.episodes.topic.strip("/")


def stream_topics(spec: RobotSpec) -> dict[str, str]:
    """Message type per topic of the streams.

    Raises
    ------
    SpecError
        A stream has no topic, or two streams give one topic different types.
    """
    found: dict[str, str] = {}
    for name, stream in spec.streams.items():
        if stream.topic is None or stream.type is None:
            raise SpecError(f"stream '{name}' has no 'topic': add 'topic' and 'type' to record it")
        topic, msgtype = "/" + stream.topic.strip("/"), full_type(stream.type)
        if found.setdefault(topic, msgtype) != msgtype:
            raise SpecError(f"topic '{topic}' has two types: {found[topic]}, {msgtype}")
    return found
