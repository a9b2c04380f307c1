"""The dense reward of a transition (operator.md, "What is done with it")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pro_ros.episodes.labels import RewardConfig
from pro_ros.model.outputs import Assessment


@dataclass(frozen=True)
class RewardTerms:
    """r_t = kappa * (gamma * V(h_{t+1}) - V(h_t)) - risk_weight * rho_t, and its parts.

    ``t_ns``, ``next_ns``: time of step t and of the next one [ns]; ``sequence``: number of the
    assessment at step t. The sparse reward is the outcome's and is not known while the attempt
    runs; who knows it adds it.
    """

    t_ns: int
    next_ns: int
    sequence: int
    value: float
    next_value: float
    risk: float
    gamma: float
    kappa: float
    risk_weight: float

    @property
    def shaping(self) -> float:
        """The potential-based term; it does not change what is optimal (Ng et al. 1999)."""
        return self.kappa * (self.gamma * self.next_value - self.value)

    @property
    def risk_penalty(self) -> float:
        """Subtracted from the reward."""
        return self.risk_weight * self.risk

    @property
    def reward(self) -> float:
        """The sum."""
        return self.shaping - self.risk_penalty


class TransitionReward:
    """Turns consecutive assessments into rewards of the transitions between them.

    ``discount_per_s`` must be that of the value's training, or shaping is not potential-based.
    ``kappa`` and ``risk_weight`` weigh the terms. The risk is that at the longest horizon.
    """

    def __init__(
        self, discount_per_s: float, kappa: float = 1.0, risk_weight: float = 0.1
    ) -> None:
        self.discount_per_s = discount_per_s
        self.kappa = kappa
        self.risk_weight = risk_weight
        self._before: tuple[Assessment, int] | None = None

    @classmethod
    def from_training(cls, training: Mapping[str, Any]) -> TransitionReward:
        """With the discount that a checkpoint was trained with."""
        reward = training.get("config", {}).get("reward", {})
        return cls(RewardConfig.model_validate(reward).discount_per_s)

    def reset(self) -> None:
        """Forget the step before: the next one begins a new stretch."""
        self._before = None

    def update(self, assessment: Assessment, sequence: int) -> RewardTerms | None:
        """Reward of the transition that ends with this assessment; None for the first."""
        before, self._before = self._before, (assessment, sequence)
        if before is None:
            return None
        last, number = before
        seconds = (assessment.t_ns - last.t_ns) / 1e9
        return RewardTerms(
            t_ns=last.t_ns,
            next_ns=assessment.t_ns,
            sequence=number,
            value=last.value,
            next_value=assessment.value,
            risk=float(last.risk[-1]) if len(last.risk) else 0.0,
            gamma=self.discount_per_s**seconds,
            kappa=self.kappa,
            risk_weight=self.risk_weight,
        )
