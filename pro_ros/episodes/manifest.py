"""The manifest of a data set: recordings, episodes with outcomes, timed events.

A data set is a folder::

    manifest.json        this file's model, readable by anything
    streams.yaml         the stream file it was made with
    recordings/<id>/     rosbag2 folders (MCAP), or tables (Parquet), that other tools open
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from pro_ros.config import StrictModel

FORMAT: Final = "pro_ros/dataset/1"

Outcome = Literal["success", "failure", "unknown"]

ENDS_KNOWLEDGE = ("intervention",)
"""Event kinds after which what would have happened is not known (operator.md, censoring)."""


class Event(StrictModel):
    """Something that happened, with its time.

    ``name``: the key under ``events`` of the stream file (a failure mode if listed there).
    ``kind``: one of :data:`pro_ros.streams.spec.EventKind`. ``end_ns`` equals ``start_ns`` for a
    momentary event. ``episode``: id, or None where it lies outside any episode.
    """

    recording: str
    name: str
    kind: str
    start_ns: int
    end_ns: int
    episode: str | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Event:
        if self.end_ns < self.start_ns:
            raise ValueError(f"event '{self.name}' ends before it starts")
        return self


class Episode(StrictModel):
    """One attempt at a task: a span of one recording, with its outcome.

    ``[start_ns, end_ns)`` on the recording's receipt clock. ``attempt`` counts from 1 and
    ``retry_of`` names the episode that this one repeats. ``group`` keeps episodes together when
    a data set is split (a pose, a day, a site). ``end_seen`` is false where a gap or the end of
    the log cut the episode short: how and when it ended is then not known.
    """

    id: str
    recording: str
    start_ns: int
    end_ns: int
    outcome: Outcome = "unknown"
    task: str = ""
    context: dict[str, str] = Field(default_factory=dict)
    group: str = ""
    attempt: Annotated[int, Field(ge=1)] = 1
    retry_of: str | None = None
    end_seen: bool = True
    attributes: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _not_empty(self) -> Episode:
        if self.end_ns <= self.start_ns:
            raise ValueError(f"episode '{self.id}' is empty or ends before it starts")
        return self


class RecordingEntry(StrictModel):
    """A recording of the data set: a path relative to the manifest, or absolute.

    After ``#`` the path may name one of many runs: the folder of an NPZ file's arrays, or the
    number of a LeRobot episode. ``[start_ns, end_ns)`` on the receipt clock. ``absent``: streams
    of the stream file that it lacks.
    """

    id: str
    path: str
    start_ns: int
    end_ns: int
    source: str = Field("", description="The file that it was imported from")
    absent: tuple[str, ...] = ()


class Manifest(StrictModel):
    """Contents of ``manifest.json``."""

    format: Literal["pro_ros/dataset/1"] = FORMAT
    name: str
    attribution: str = ""
    recordings: tuple[RecordingEntry, ...]
    episodes: tuple[Episode, ...]
    events: tuple[Event, ...] = ()

    @model_validator(mode="after")
    def _references_exist(self) -> Manifest:
        recordings = {r.id for r in self.recordings}
        if len(recordings) != len(self.recordings):
            raise ValueError("two recordings have the same id")
        episodes = {e.id: e for e in self.episodes}
        if len(episodes) != len(self.episodes):
            raise ValueError("two episodes have the same id")
        for episode in self.episodes:
            if episode.recording not in recordings:
                raise ValueError(
                    f"episode '{episode.id}' names unknown recording '{episode.recording}'"
                )
        for event in self.events:
            if event.recording not in recordings:
                raise ValueError(
                    f"event '{event.name}' names unknown recording '{event.recording}'"
                )
            if event.episode is not None and event.episode not in episodes:
                raise ValueError(f"event '{event.name}' names unknown episode '{event.episode}'")
        return self
