"""Comparisons between runs of the same task: which of two episodes went better, and why.

Success over failure, then no retry over retry, then stable over unstable, then faster over
slower (operator.md, "What it learns from"). The first criterion that tells two episodes apart
decides; where none does there is no comparison.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence as Seq
from dataclasses import dataclass

import numpy as np

from pro_ros.episodes.manifest import Episode, Event
from pro_ros.episodes.sequence import Sequence

RETRY_KINDS = ("retry", "recovery")


@dataclass(frozen=True)
class Run:
    """An episode as a contender: where its steps are and what it is judged by.

    ``sequence`` indexes the list it was built from; its steps are ``[first, last]``.
    """

    sequence: int
    first: int
    last: int
    task: str
    success: bool
    retries: int
    disturbances: int
    duration_s: float


def runs(sequences: Seq[Sequence]) -> list[Run]:
    """All episodes with a known outcome as contenders."""
    found = []
    for index, sequence in enumerate(sequences):
        for number, episode in enumerate(sequence.episodes):
            steps = np.flatnonzero(sequence.episode == number)
            if episode.outcome == "unknown" or len(steps) < 2:
                continue
            events = [e for e in sequence.events if e.episode == episode.id]
            found.append(_run(index, steps, episode, events))
    return found


def _run(index: int, steps: np.ndarray, episode: Episode, events: list[Event]) -> Run:
    retries = episode.attempt - 1 + sum(e.kind in RETRY_KINDS for e in events)
    return Run(
        sequence=index,
        first=int(steps[0]),
        last=int(steps[-1]),
        task=episode.task,
        success=episode.outcome == "success",
        retries=retries,
        disturbances=sum(e.kind not in RETRY_KINDS for e in events),
        duration_s=(episode.end_ns - episode.start_ns) / 1e9,
    )


def prefer(a: Run, b: Run, faster_by: float) -> int:
    """1 if ``a`` went better than ``b``, -1 if worse, 0 if nothing tells them apart."""
    if a.task != b.task:
        return 0
    if a.success != b.success:
        return 1 if a.success else -1
    if a.retries != b.retries:
        return 1 if a.retries < b.retries else -1
    if a.disturbances != b.disturbances:
        return 1 if a.disturbances < b.disturbances else -1
    # Faster is better only among successes: a quick failure is no merit.
    if a.success and abs(a.duration_s - b.duration_s) > faster_by * max(
        a.duration_s, b.duration_s
    ):
        return 1 if a.duration_s < b.duration_s else -1
    return 0


class PairSampler:
    """Draws pairs (better, worse) of runs of the same task.

    Half of the pairs, where both outcomes exist, are success against failure; the rest are any
    two runs that can be told apart. Deterministic for a generator's state.
    """

    def __init__(self, contenders: Seq[Run], faster_by: float) -> None:
        self.faster_by = faster_by
        tasks: dict[str, list[Run]] = defaultdict(list)
        for run in contenders:
            tasks[run.task].append(run)
        self._tasks = [group for group in tasks.values() if len(group) > 1]
        self._mixed = [
            (won, lost)
            for group in self._tasks
            if (won := [r for r in group if r.success])
            and (lost := [r for r in group if not r.success])
        ]

    def draw(self, rng: np.random.Generator, count: int) -> list[tuple[Run, Run]]:
        """At most ``count`` pairs; fewer where the runs cannot be told apart."""
        pairs: list[tuple[Run, Run]] = []
        if self._mixed:
            for _ in range((count + 1) // 2):
                won, lost = self._mixed[rng.integers(len(self._mixed))]
                pairs.append((won[rng.integers(len(won))], lost[rng.integers(len(lost))]))
        if self._tasks:
            for _ in range(count - len(pairs)):
                group = self._tasks[rng.integers(len(self._tasks))]
                a, b = (group[i] for i in rng.choice(len(group), size=2, replace=False))
                order = prefer(a, b, self.faster_by)
                if order:
                    pairs.append((a, b) if order > 0 else (b, a))
        return pairs


def aligned_segments(
    better: Run, worse: Run, rng: np.random.Generator, steps: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Step ranges [first, last] of both runs at the same share of their way, in the later half.

    Comparing at the same share keeps elapsed time from deciding the comparison.
    """
    share = rng.uniform(0.5, 1.0)

    def segment(run: Run) -> tuple[int, int]:
        last = run.first + round(share * (run.last - run.first))
        return max(run.first, last - steps + 1), last

    return segment(better), segment(worse)
