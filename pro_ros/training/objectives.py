"""The losses that train the operator (operator.md, "What it learns from").

Every loss takes outputs with members first, ``[E, B, T, ...]``, targets ``[B, T, ...]`` and a
weight of the same shape that is 0 where there is no label. It is the mean over labelled entries
and members, so that each member is trained on its own and not only their average.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from pro_ros.model.outputs import Outputs
from pro_ros.training.config import LossConfig


@dataclass(frozen=True)
class Targets:
    """Labels of a batch as float tensors; each ``*_weight`` is 0 where nothing is known.

    ``hazard`` and its weight [B, T, M, K]; all others [B, T]. ``dt`` [B, T]: seconds from a step
    to the next, for discounting. ``ends`` [B, T]: 1 at the last step of an episode.
    """

    hazard: Tensor
    hazard_weight: Tensor
    termination: Tensor
    termination_weight: Tensor
    success: Tensor
    success_weight: Tensor
    value: Tensor
    value_weight: Tensor
    reward: Tensor
    dt: Tensor
    ends: Tensor

    def to(self, device: torch.device) -> Targets:
        """Move every tensor to ``device``."""
        return Targets(**{k: v.to(device) for k, v in vars(self).items()})


def weighted_mean(loss: Tensor, weight: Tensor) -> Tensor:
    """Mean of ``loss`` [E, ...] over the entries that ``weight`` [...] counts; 0 if none."""
    return (loss * weight).sum() / (weight.sum() * loss.shape[0]).clamp_min(1e-8)


def binary_loss(logit: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Weighted cross entropy of logits [E, ...] against 0/1 targets [...]."""
    loss = F.binary_cross_entropy_with_logits(logit, target.expand_as(logit), reduction="none")
    return weighted_mean(loss, weight)


def hazard_loss(logit: Tensor, target: Tensor, weight: Tensor, positive_weight: float) -> Tensor:
    """Negative log likelihood of discrete-time hazards under right censoring, per step.

    Summed over modes and bins: the likelihood of a step is that of all its bins. A bin that was
    not observed to its end has weight 0 and so adds nothing (Gensheimer and Narasimhan 2019,
    eq. 1). ``positive_weight`` over 1 trades calibration for recall.

    ``logit`` [E, B, T, M, K], ``target`` and ``weight`` [B, T, M, K].
    """
    if positive_weight != 1.0:
        weight = weight * (1.0 + (positive_weight - 1.0) * target)
    loss = F.binary_cross_entropy_with_logits(logit, target.expand_as(logit), reduction="none")
    return (loss * weight).sum() / (labelled_steps(weight) * logit.shape[0]).clamp_min(1e-8)


def labelled_steps(weight: Tensor) -> Tensor:
    """Number of steps with a label in any mode and bin: weight [B, T, M, K] -> scalar."""
    return (weight.flatten(2) > 0).any(dim=-1).sum()


def td_lambda_targets(
    value: Tensor, reward: Tensor, dt: Tensor, ends: Tensor, known: Tensor,
    discount_per_s: float, lam: float,
) -> Tensor:  # fmt: skip
    """TD(lambda) returns along a chunk, bootstrapped from ``value`` at its end.

    All [B, T]; ``value`` comes from a slow copy and carries no gradient. The recursion is
    G_t = r_t + gamma^dt * ((1 - lam) V_{t+1} + lam G_{t+1}), with G = r at an episode's end and
    G = V where a step's return is unknown (Sutton and Barto 2018, eq. 12.18).
    """
    steps = value.shape[1]
    discount = discount_per_s**dt
    following = value[:, -1]
    returns = torch.empty_like(value)
    for t in range(steps - 1, -1, -1):
        if t == steps - 1:
            # Nothing is seen beyond the chunk: keep what the slow copy says, except at an end.
            target = torch.where(ends[:, t] > 0, reward[:, t], value[:, t])
        else:
            mixed = (1.0 - lam) * value[:, t + 1] + lam * following
            target = reward[:, t] + discount[:, t] * mixed * (1.0 - ends[:, t])
        target = torch.where(known[:, t] > 0, target, value[:, t])
        returns[:, t] = target
        following = target
    return returns


def comparison_loss(better: Tensor, worse: Tensor) -> Tensor:
    """Bradley-Terry loss of scores [E, P]: -log sigmoid(V(better) - V(worse))."""
    return F.softplus(worse - better).mean()


def total_loss(
    outputs: Outputs, targets: Targets, config: LossConfig, value_target: Tensor | None = None
) -> dict[str, Tensor]:
    """All supervised objectives; key ``total`` is their weighted sum.

    ``value_target`` [B, T] replaces the Monte-Carlo return (TD(lambda)).
    """
    returns = targets.value if value_target is None else value_target
    losses = {
        "value": weighted_mean((outputs.value - returns).square(), targets.value_weight),
        "termination": binary_loss(
            outputs.termination, targets.termination, targets.termination_weight
        ),
        "success": binary_loss(outputs.success, targets.success, targets.success_weight),
    }
    if targets.hazard.shape[2]:
        losses["hazard"] = hazard_loss(
            outputs.hazard, targets.hazard, targets.hazard_weight, config.positive_weight
        )
    weights = config.model_dump()
    losses["total"] = torch.stack([weights[k] * v for k, v in losses.items()]).sum()
    return losses
