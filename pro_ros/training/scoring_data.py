"""Executed chunks as the scorer's networks take them, and the loss that they are fitted with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pro_ros.model.calibration import Assess
from pro_ros.model.scorer import chunk_inputs, situation_inputs, standard_situation
from pro_ros.streams.sample import FloatArray
from pro_ros.training.chunks import Executed


@dataclass(frozen=True)
class ChunkTensors:
    """What the networks are fitted on, one row per chunk."""

    situation: Tensor
    operator: Tensor
    chunk: Tensor
    progress: Tensor
    progress_weight: Tensor
    target: Tensor
    weight: Tensor


def tensors_of(chunks: Executed, arrays: Mapping[str, FloatArray], judge: Assess) -> ChunkTensors:
    """Inputs, as the scorer will make them, and labels."""
    inputs, logits = situation_inputs(chunks.latent, chunks.packed, judge)
    situation = standard_situation(inputs, chunks.newest, chunks.known, arrays)
    rows = chunk_inputs(chunks.path, chunks.newest, chunks.known, arrays)
    centre, spread = arrays["progress"]
    labels = [chunks.success[:, None], chunks.hazard.reshape(len(chunks), -1)]
    known = [chunks.success_known[:, None], chunks.hazard_known.reshape(len(chunks), -1)]
    return ChunkTensors(
        situation=torch.from_numpy(situation),
        operator=torch.from_numpy(logits),
        chunk=torch.from_numpy(rows),
        progress=torch.from_numpy(((chunks.progress - centre) / spread).astype(np.float32)),
        progress_weight=torch.from_numpy(chunks.progress_known.astype(np.float32)),
        target=torch.from_numpy(np.concatenate(labels, axis=1).astype(np.float32)),
        weight=torch.from_numpy(np.concatenate(known, axis=1).astype(np.float32)),
    )


def statistics_of(chunks: Executed, judge: Assess) -> dict[str, FloatArray]:
    """Means and deviations of the training chunks."""
    inputs, _ = situation_inputs(chunks.latent, chunks.packed, judge)
    path = chunks.path.astype(np.float64)
    mean = path.mean(axis=(0, 1))
    # What never moved: any move is far, and rounding is none.
    floor = 1e-3 * np.maximum(np.abs(mean), 1.0)
    start = np.where(chunks.known[:, None, None], chunks.newest[:, None], path[:, :1])
    known = chunks.progress[chunks.progress_known]
    progress = [known.mean(), max(float(known.std()), 1e-6)] if len(known) else [0.0, 1.0]
    found = {
        "inputs.mean": inputs.mean(axis=0, dtype=np.float64),
        "inputs.deviation": np.maximum(inputs.std(axis=0, dtype=np.float64), 1e-3),
        "command.mean": mean,
        "command.deviation": np.maximum(path.std(axis=(0, 1)), floor),
        "change.deviation": np.maximum((path - start).std(axis=0), floor),
        "progress": np.array(progress),
    }
    return {name: array.astype(np.float32) for name, array in found.items()}


def objective(raw: Tensor, data: ChunkTensors, rows: Tensor) -> Tensor:
    """Sum of the objectives, each the mean over what is labelled, and over members."""
    progress_weight = data.progress_weight[rows]
    error = (raw[..., 0] - data.progress[rows]).square() * progress_weight
    total = error.sum() / (progress_weight.sum() * len(raw)).clamp_min(1.0)
    target, weight = data.target[rows], data.weight[rows]
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(
        raw[..., 1:], target.expand_as(raw[..., 1:]), reduction="none"
    )
    entropy = entropy * weight
    success = entropy[..., 0].sum() / (weight[:, 0].sum() * len(raw)).clamp_min(1.0)
    at_risk = (weight[:, 1:] > 0).any(dim=-1).sum() * len(raw)
    return total + success + entropy[..., 1:].sum() / at_risk.clamp_min(1.0)
