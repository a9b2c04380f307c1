"""Executed chunks of actions, and what followed them.

At each step of an episode the commands of the next seconds are a chunk that was executed. What
was commanded after an event or the end of the episode is a reaction to it: read as part of the
plan it would tell what it is to predict. Such a chunk is cut there and, for training alone,
completed by the rest of the most similar one that ran on (hot-deck imputation, Andridge and Little
2010); judged are only chunks that were executed in full.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from pro_ros.episodes.labels import Labels, RewardConfig
from pro_ros.episodes.sequence import Sequence
from pro_ros.model.chunks import action_features, instants
from pro_ros.runtime.assessor import Assessor
from pro_ros.streams.sample import BoolArray, FloatArray
from pro_ros.streams.spec import RobotSpec

NsArray = npt.NDArray[np.int64]
Wide = npt.NDArray[np.float64]

MATCHED = 1024
"""Chunks that ran on among which the most similar one is looked for."""


@dataclass(frozen=True)
class Executed:
    """Executed chunks, N of them; all arrays have N rows. C: instants, D: numbers of a command.

    ``latent``, ``packed``: what the operator knew (:class:`~pro_ros.runtime.assessor.Memory`).
    ``newest`` ``[N, D]``, ``known`` ``[N]``: the newest command. ``path`` ``[N, C, D]``: the
    commands that followed; ``read`` ``[N]``: how many of its instants come before an event or
    the end. ``progress``: the return from the chunk's end on, or, where the episode ends in it,
    the outcome's reward, less V at its beginning. ``success``: the episode's outcome. ``hazard``
    ``[N, M, K]``: as of :class:`~pro_ros.episodes.labels.Labels`. ``*_known``: where there is a
    label. ``episode`` int ``[N]``: number of the episode. ``t_ns``: time of the step.
    """

    latent: FloatArray
    packed: FloatArray
    newest: FloatArray
    known: BoolArray
    path: FloatArray
    read: npt.NDArray[np.int64]
    progress: Wide
    progress_known: BoolArray
    success: BoolArray
    success_known: BoolArray
    hazard: BoolArray
    hazard_known: BoolArray
    episode: npt.NDArray[np.int64]
    t_ns: NsArray

    def __len__(self) -> int:
        return len(self.t_ns)

    @property
    def full(self) -> BoolArray:
        """Chunks that neither an event nor the end cut short."""
        found: BoolArray = self.read == self.path.shape[1]
        return found

    def take(self, rows: npt.NDArray[np.generic]) -> Executed:
        """Some of them."""
        return Executed(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


def executed_chunks(
    assessor: Assessor,
    sequences: Seq[Sequence],
    labels: Seq[Labels],
    chunk: float,
    points: int,
    reward: RewardConfig,
    most: int | None = None,
    seed: int = 0,
) -> Executed:
    """Find the executed chunks of labelled sequences.

    A step counts if it lies in an episode and every command of its chunk was logged up to the
    first event or the end.

    Parameters
    ----------
    chunk, points
        Length of a chunk [s] and C.
    most
        Draw so many of them at most, at random; None: all.
    """
    columns = action_features(assessor.checkpoint.spec)[1]
    candidates = [_Paths(s, columns, chunk, points) for s in sequences]
    usable = [np.flatnonzero(c.usable) for c in candidates]
    total = sum(map(len, usable))
    chosen = np.arange(total)
    if most is not None and total > most:
        chosen = np.sort(np.random.default_rng(seed).permutation(total)[:most])
    parts = []
    first = episodes = 0
    for sequence, label, paths, rows in zip(sequences, labels, candidates, usable, strict=True):
        mine = rows[chosen[(chosen >= first) & (chosen < first + len(rows))] - first]
        parts.append(_executed(assessor, sequence, label, paths, mine, reward, episodes))
        first += len(rows)
        episodes += len(sequence.episodes)
    if not parts:
        raise ValueError("no sequences")
    return Executed(
        **{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Executed)}
    )


def whole_chunks(spec: RobotSpec, sequences: Seq[Sequence], chunk: float, points: int) -> int:
    """How many chunks were executed in full.

    Raises
    ------
    SpecError
        The streams have no action.
    """
    columns = action_features(spec)[1]
    found = (_Paths(s, columns, chunk, points) for s in sequences)
    return sum(int((p.usable & (p.read == points)).sum()) for p in found)


class _Paths:
    """The commands after each step of a sequence, and when its episode ends."""

    def __init__(
        self, sequence: Sequence, columns: npt.NDArray[np.int64], chunk: float, points: int
    ) -> None:
        t = sequence.t_ns
        steps = len(t)
        values = sequence.values["action"][:, columns].astype(np.float64)
        present: BoolArray = np.logical_and.reduce(sequence.mask["action"][:, columns], axis=1)
        self.length_ns = round(chunk * 1e9)
        ends = [e.end_ns for e in sequence.episodes]
        seen = [e.end_seen and e.end_ns - 1 <= sequence.known_until_ns for e in sequence.episodes]
        inside = sequence.episode >= 0
        self.end = np.array([*ends, 0], dtype=np.int64)[sequence.episode]
        self.end_seen = np.array([*seen, False])[sequence.episode]
        onsets = np.array(sorted(e.start_ns for e in sequence.events), dtype=np.int64)
        far = np.iinfo(np.int64).max
        onset = np.append(onsets, far)[np.searchsorted(onsets, t, side="right")]
        cut = np.minimum(onset, self.end)
        at = t[:, None] + np.round(instants(chunk, points) * 1e9).astype(np.int64)
        # Between two logged commands the later one counts, too: it must come before the cut.
        after = np.searchsorted(t, at, side="left")
        logged = after < steps
        after = np.minimum(after, steps - 1)
        before = np.maximum(after - 1, 0)
        # Behind the last step of the log nothing was commanded that is known.
        over = np.where(logged, t[after], at) >= cut[:, None]
        over |= ~logged & self.end_seen[:, None]
        exact = t[after] == at
        here = logged & present[after] & (present[before] | exact)
        read: BoolArray = np.logical_and.accumulate(~over, axis=1)
        self.read = read.sum(axis=1)
        # Missing commands before the cut make a chunk useless, behind it they do not matter.
        self.usable: BoolArray = inside & np.logical_and.reduce(here | ~read, axis=1)
        span = np.maximum(t[after] - t[before], 1)
        share = np.clip((at - t[before]) / span, 0.0, 1.0)[..., None]
        between = values[before] + share * (values[after] - values[before])
        path = np.where(exact[..., None], values[after], between)
        self.path: FloatArray = np.where(read[..., None], path, np.nan).astype(np.float32)
        self.newest = sequence.values["action"][:, columns]
        self.known = present


def _executed(
    assessor: Assessor,
    sequence: Sequence,
    label: Labels,
    paths: _Paths,
    rows: npt.NDArray[np.int64],
    reward: RewardConfig,
    first_episode: int,
) -> Executed:
    value = np.empty(len(sequence))
    latents, packs = [], []
    for start, memory in assessor.memories(sequence):
        stop = start + len(memory.latent)
        value[start:stop] = memory.packed[..., 0].astype(np.float64).mean(axis=1)
        mine = rows[(rows >= start) & (rows < stop)] - start
        latents.append(memory.latent[mine])
        packs.append(memory.packed[mine])
    progress, known = _progress(sequence, label, paths, value, reward)
    return Executed(
        latent=np.concatenate(latents),
        packed=np.concatenate(packs),
        newest=paths.newest[rows],
        known=paths.known[rows],
        path=paths.path[rows],
        read=paths.read[rows],
        progress=progress[rows],
        progress_known=known[rows],
        success=label.success[rows] > 0.5,
        success_known=label.success_known[rows],
        hazard=label.hazard[rows] > 0.5,
        hazard_known=label.hazard_known[rows],
        episode=sequence.episode[rows].astype(np.int64) + first_episode,
        t_ns=sequence.t_ns[rows],
    )


def _progress(
    sequence: Sequence, label: Labels, paths: _Paths, value: Wide, reward: RewardConfig
) -> tuple[Wide, BoolArray]:
    """Progress over each step's chunk, and where it is known.

    What was reached is the return that was then collected, not what the operator says of the
    chunk's end: the operator reads the very commands, so that it can be foretold from them even
    where they do nothing.
    """
    t = sequence.t_ns
    at = t + paths.length_ns
    step = np.searchsorted(t, at, side="right") - 1
    runs_on = at < paths.end
    outcome = np.where(label.success > 0.5, reward.success, reward.failure)
    reached = np.where(runs_on, label.value[step], outcome)
    known = label.value_known & (sequence.episode >= 0) & (label.value_known[step] | ~runs_on)
    return reached - value, known


def completed(chunks: Executed, donors: Executed, seed: int = 0) -> Executed:
    """Complete chunks that were cut by the rest of the most similar of ``donors``.

    Similar in the newest command and what was read, in deviations of the donors; of another
    episode where ``donors`` are the chunks themselves. Without donors cut chunks are left out.
    """
    cut = np.flatnonzero(~chunks.full)
    if not len(cut):
        return chunks
    pool = donors.take(np.flatnonzero(donors.full))
    if not len(pool):
        return chunks.take(np.flatnonzero(chunks.full))
    if len(pool) > MATCHED:
        pool = pool.take(np.sort(np.random.default_rng(seed).permutation(len(pool))[:MATCHED]))
    deviation = pool.path.std(axis=(0, 1), dtype=np.float64) + 1e-6
    path = chunks.path.copy()
    keep = np.ones(len(chunks), dtype=bool)
    for row in cut:
        read = int(chunks.read[row])
        apart = np.zeros(len(pool))
        if chunks.known[row]:
            start = np.where(pool.known[:, None], pool.newest - chunks.newest[row], np.inf)
            apart += np.add.reduce((start / deviation) ** 2, axis=1)
        if read:
            off = (pool.path[:, :read] - path[row, :read]) / deviation
            apart += np.add.reduce(off**2, axis=(1, 2))
        if donors is chunks:
            apart[pool.episode == chunks.episode[row]] = np.inf
        best = int(np.argmin(apart))
        keep[row] = np.isfinite(apart[best])
        path[row, read:] = pool.path[best, read:]
    return replace(chunks, path=path).take(np.flatnonzero(keep))
