"""From sequences and labels to batches: chunks of steps, each with the context that it needs.

A chunk is a stretch of labelled steps. The steps before it, as many as the operator remembers,
come along without labels, so that the operator sees in training what it sees at run time.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as Seq
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pro_ros.episodes.labels import Labels
from pro_ros.episodes.sequence import Sequence
from pro_ros.model.operator import Inputs
from pro_ros.training.config import LossConfig
from pro_ros.training.objectives import Targets


@dataclass(frozen=True)
class Chunk:
    """Steps ``[first, last]`` of a sequence that carry labels."""

    sequence: int
    first: int
    last: int


def chunks(
    sequences: Seq[Sequence], length: int, rng: np.random.Generator | None = None
) -> list[Chunk]:
    """Cut sequences into chunks of ``length`` steps; with ``rng``, at random borders, shuffled.

    Every step belongs to exactly one chunk.
    """
    found = []
    for index, sequence in enumerate(sequences):
        first = -int(rng.integers(length)) if rng is not None else 0
        for start in range(first, len(sequence), length):
            last = min(start + length, len(sequence)) - 1
            if last >= 0:
                found.append(Chunk(index, max(start, 0), last))
    if rng is not None:
        found = [found[i] for i in rng.permutation(len(found))]
    return found


class BatchMaker:
    """Gathers chunks of sequences into padded tensors.

    Parameters
    ----------
    sequences, labels
        One label object per sequence.
    text
        Per sequence the goal vector of each step, float32 ``[T, D]``.
    context
        Steps that the operator remembers before the current one.
    """

    def __init__(
        self,
        sequences: Seq[Sequence],
        labels: Seq[Labels],
        text: Seq[npt.NDArray[np.float32]],
        context: int,
        loss: LossConfig,
    ) -> None:
        self.sequences = sequences
        self.context = context
        self._offsets = np.cumsum([0, *(len(s) for s in sequences)])
        modalities = sequences[0].values
        self._values = {
            m: torch.from_numpy(np.concatenate([s.values[m] for s in sequences]))
            for m in modalities
        }
        self._mask = {
            m: torch.from_numpy(np.concatenate([s.mask[m] for s in sequences])) for m in modalities
        }
        self._text = torch.from_numpy(np.concatenate(text))
        self._targets = _stack_targets(sequences, labels, loss)

    def batch(self, group: Seq[Chunk]) -> tuple[Inputs, Targets]:
        """Inputs and targets of some chunks, padded at the end to the longest."""
        starts, width = self._extent(group)
        position = np.arange(width)
        rows = [
            self._offsets[chunk.sequence] + np.minimum(start + position, chunk.last)
            for chunk, start in zip(group, starts, strict=True)
        ]
        index = torch.from_numpy(np.stack(rows))
        counted = self.labelled(group)
        restart = torch.zeros(index.shape, dtype=torch.bool)
        restart[:, 0] = True
        frames, frame_mask = self._frames(group, starts, width)
        inputs = Inputs(
            values={m: v[index] for m, v in self._values.items()},
            mask={m: v[index] for m, v in self._mask.items()},
            frames=frames,
            frame_mask=frame_mask,
            text=self._text[index],
            restart=restart,
        )
        return inputs, self._gather_targets(index, counted)

    def batches(self, group: Seq[Chunk], size: int) -> Iterator[tuple[Inputs, Targets]]:
        """Batches of at most ``size`` chunks."""
        for first in range(0, len(group), size):
            yield self.batch(group[first : first + size])

    def labelled(self, group: Seq[Chunk]) -> Tensor:
        """1 at the chunks' own steps, 0 at context and padding: float32 ``[B, T]``."""
        starts, width = self._extent(group)
        step = np.asarray(starts)[:, None] + np.arange(width)
        first = np.asarray([c.first for c in group])[:, None]
        last = np.asarray([c.last for c in group])[:, None]
        return torch.from_numpy(((step >= first) & (step <= last)).astype(np.float32))

    def _extent(self, group: Seq[Chunk]) -> tuple[list[int], int]:
        """First step of each chunk with its context, and the length of the longest."""
        starts = [max(0, c.first - self.context) for c in group]
        return starts, max(c.last - s + 1 for c, s in zip(group, starts, strict=True))

    def _gather_targets(self, index: Tensor, counted: Tensor) -> Targets:
        gathered = {}
        for name, stacked in vars(self._targets).items():
            picked = stacked[index]
            if name.endswith("_weight"):
                picked = picked * counted.reshape(counted.shape + (1,) * (picked.ndim - 2))
            gathered[name] = picked
        return Targets(**gathered)

    def _frames(
        self, group: Seq[Chunk], starts: list[int], width: int
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Frames are read from their (possibly memory-mapped) arrays only here."""
        frames: dict[str, Tensor] = {}
        masks: dict[str, Tensor] = {}
        for camera in self.sequences[0].frames:
            pixels, present = [], []
            for chunk, start in zip(group, starts, strict=True):
                sequence = self.sequences[chunk.sequence]
                local = np.minimum(start + np.arange(width), chunk.last)
                pixels.append(np.asarray(sequence.frames[camera][local]))
                present.append(sequence.frame_mask[camera][local])
            frames[camera] = torch.from_numpy(np.stack(pixels))
            masks[camera] = torch.from_numpy(np.stack(present))
        return frames, masks


def _stack_targets(sequences: Seq[Sequence], labels: Seq[Labels], loss: LossConfig) -> Targets:
    """Labels of all sequences as one long tensor each."""

    def joined(name: str) -> Tensor:
        stacked = np.concatenate([getattr(label, name) for label in labels])
        return torch.from_numpy(stacked.astype(np.float32))

    final = joined("final")
    success_weight = joined("success_known") * (final + (1.0 - final) * loss.success_before_end)
    return Targets(
        hazard=joined("hazard"),
        hazard_weight=joined("hazard_known"),
        termination=joined("termination"),
        termination_weight=joined("termination_known"),
        success=joined("success"),
        success_weight=success_weight,
        value=joined("value"),
        value_weight=joined("value_known"),
        reward=joined("reward"),
        dt=torch.from_numpy(np.concatenate([_seconds_to_next(s) for s in sequences])),
        ends=torch.from_numpy(np.concatenate([_episode_ends(s) for s in sequences])),
    )


def _seconds_to_next(sequence: Sequence) -> npt.NDArray[np.float32]:
    """Time from each step to the next [s]; the last step gets 0."""
    gaps = np.diff(sequence.t_ns, append=sequence.t_ns[-1:]) / 1e9
    return gaps.astype(np.float32)


def _episode_ends(sequence: Sequence) -> npt.NDArray[np.float32]:
    """1 at the last step of each episode."""
    following = np.append(sequence.episode[1:], -1)
    return ((sequence.episode >= 0) & (following != sequence.episode)).astype(np.float32)
