"""Recordings as arrays over steps, made by the same stepper that replay and the node use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pro_ros.episodes.dataset import Dataset
from pro_ros.episodes.manifest import Episode, Event
from pro_ros.episodes.mark_reader import read_marks
from pro_ros.episodes.marks import episode_begins
from pro_ros.episodes.segment import timing_streams
from pro_ros.episodes.sequence import Sequence, events_of
from pro_ros.episodes.stacks import Stack
from pro_ros.errors import DataError
from pro_ros.files import atomic_file
from pro_ros.streams.sample import Sample, Step
from pro_ros.streams.spec import RobotSpec
from pro_ros.streams.stepper import Stepper
from pro_ros.workers import work_on

Progress = Callable[[float], None]
"""Called with the share of the work that is done, rising from 0 to 1."""

WORTH_IT: Final = 600.0
"""Recorded time from which processes side by side make up for what they take to start [s]."""


def sequences(
    dataset: Dataset,
    progress: Progress | None = None,
    cache: Path | None = None,
    processes: int = 1,
) -> list[Sequence]:
    """All sequences of a data set, recording by recording.

    Parameters
    ----------
    cache
        Folder for camera frames, which are then memory-mapped instead of held in memory. The
        caller removes it when the sequences are no longer used.
    processes
        That read side by side where it is worth while; the result is the same. More than one
        only below ``if __name__ == "__main__"``, as with :mod:`multiprocessing`.

    Raises
    ------
    DataError
        A recording is missing or damaged, or the data set gives no step at all.
    """
    recordings = dataset.manifest.recordings
    spans = {r.id: max(1, r.end_ns - r.start_ns) for r in recordings}
    total, done = sum(spans.values()), 0
    if total < WORTH_IT * 1e9 or dataset.spec.cameras:
        processes = 1
    told = 0.0

    def report(span: float) -> None:
        nonlocal told
        told = max(told, (done + span) / total)
        if progress is not None:
            progress(told)

    read = _Reader(dataset, cache, report if processes == 1 else None)
    found: dict[str, list[Sequence]] = {}
    for name, those in work_on([r.id for r in recordings], read, processes):
        found[name] = those
        done += spans[name]
        report(0.0)
    in_order = [sequence for r in recordings for sequence in found[r.id]]
    if not in_order:
        raise DataError(f"{dataset.path}: no recording gives a step: look at step and gap")
    return in_order


@dataclass(frozen=True)
class _Reader:
    """Reads one recording; goes to the processes as it is.

    ``report`` is told how much of it has been read [ns].
    """

    dataset: Dataset
    cache: Path | None
    report: Progress | None

    def __call__(self, name: str) -> list[Sequence]:
        """The sequences of a recording."""
        dataset, report = self.dataset, self.report
        entry = dataset.entry(name)
        span = max(1, entry.end_ns - entry.start_ns)
        with dataset.recording(name) as recording:
            by_events = dataset.spec.episodes.by == "events"
            begins = episode_begins(read_marks(recording)[0]) if by_events else []
            return recording_sequences(
                name,
                recording.samples(),
                dataset.spec,
                [e for e in dataset.manifest.episodes if e.recording == name],
                [e for e in dataset.manifest.events if e.recording == name],
                entry.end_ns - 1,
                None if report is None else lambda share: report(share * span),
                self.cache,
                begins,
            )


def recording_sequences(
    recording_id: str,
    samples: Iterable[Sample],
    spec: RobotSpec,
    episodes: Seq[Episode],
    events: Seq[Event],
    known_until_ns: int,
    progress: Progress | None = None,
    cache: Path | None = None,
    begins: Seq[int] = (),
) -> list[Sequence]:
    """Step through one recording and stack the steps, a new sequence at every restart.

    A sequence knows the future until the next gap or ``known_until_ns`` (the last sample),
    whichever comes first; a restart that is not a gap (``episodes.reset``) does not end it. Its
    events are those that overlap what it knows, before its first step included where they still
    last. An intervention does not cut a sequence, since the operator's memory goes on; that
    nothing is known after it is said by :func:`pro_ros.episodes.labels.knowledge`.

    Parameters
    ----------
    samples
        In order of receipt.
    episodes, events
        Of this recording, in order of time.
    begins
        When EpisodeEvents begin an episode, with ``by: events`` [ns].
    """
    stepper = Stepper(spec, into_silence=False)
    stacks: list[Stack] = []
    gaps: list[int] = []

    def take(steps: list[Step]) -> None:
        for step in steps:
            if step.restart or not stacks:
                if stacks:
                    stacks[-1].close()
                stacks.append(Stack(spec, cache))
            stacks[-1].add(step)

    next_begin = 0
    for sample in _watched(samples, spec, gaps, known_until_ns, progress):
        while next_begin < len(begins) and begins[next_begin] <= sample.receipt_ns:
            stepper.begin_episode(begins[next_begin])
            next_begin += 1
        take(stepper.feed(sample))
    take(stepper.flush())
    if stacks:
        stacks[-1].close()
    return [
        _sequence(f"{recording_id}#{number}", stack, episodes, events, gaps, known_until_ns)
        for number, stack in enumerate(stacks)
    ]


def _watched(
    samples: Iterable[Sample],
    spec: RobotSpec,
    gaps: list[int],
    end_ns: int,
    progress: Progress | None,
) -> Iterator[Sample]:
    """Pass samples on, noting the last one before each gap and how far the reading is."""
    timing = timing_streams(spec)
    gap_ns = round(spec.gap * 1e9)
    heard: int | None = None
    first: int | None = None
    last = 0
    silent = False
    for count, sample in enumerate(samples):
        now = sample.receipt_ns
        first = now if first is None else first
        if heard is not None and not silent and now - heard > gap_ns:
            gaps.append(last)
            silent = True
        if sample.stream in timing:
            heard, silent = now, False
        last = now
        if progress is not None and count % 1000 == 0 and end_ns > first:
            progress(min(1.0, (now - first) / (end_ns - first)))
        yield sample


def _sequence(
    name: str,
    stack: Stack,
    episodes: Seq[Episode],
    events: Seq[Event],
    gaps: list[int],
    known_until_ns: int,
) -> Sequence:
    t_ns = stack.t_ns()
    first, last = int(t_ns[0]), int(t_ns[-1])
    known = next((g for g in gaps if g >= last), known_until_ns)
    here = [e for e in episodes if e.start_ns <= last and e.end_ns > first]
    index = np.full(len(t_ns), -1, dtype=np.int32)
    present: list[Episode] = []
    for episode in here:
        a, b = np.searchsorted(t_ns, [episode.start_ns, episode.end_ns])
        if b > a:
            index[a:b] = len(present)
            present.append(episode)
    return Sequence(
        id=name,
        t_ns=t_ns,
        values=stack.values(),
        mask=stack.masks(),
        episode=index,
        episodes=tuple(present),
        events=events_of(events, episodes, first, known),
        known_until_ns=known,
        frames={name: f.array() for name, f in stack.frames.items()},
        frame_mask=stack.frame_masks(),
    )


def save_steps_parquet(seq: Sequence, spec: RobotSpec, path: Path | str) -> None:
    """Write what the operator sees as one Parquet table, a row per step.

    Columns ``t_ns``, ``episode`` (id, null outside any), and every feature of
    ``RobotSpec.layout``, null where absent. Frames are left out.
    """
    names = np.array([*(e.id for e in seq.episodes), None], dtype=object)
    columns: dict[str, Any] = {
        "t_ns": pa.array(seq.t_ns),
        "episode": pa.array(names[seq.episode].tolist(), type=pa.string()),
    }
    for modality, features in spec.layout.items():
        for i, feature in enumerate(features):
            absent = ~seq.mask[modality][:, i]
            columns[feature] = pa.array(seq.values[modality][:, i], mask=absent)
    with atomic_file(path) as temporary:
        pq.write_table(pa.table(columns), temporary)
