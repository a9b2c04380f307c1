"""The scorer's networks while they are fitted; :class:`pro_ros.model.scorer.Scorer` runs them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from pro_ros.model.members import uniform
from pro_ros.model.scorer_config import ScoringConfig


class Branch(nn.Module):
    """Independent members with two hidden layers, ``[B, S]`` and ``[B, F]`` -> ``[E, B, P]``.

    Starts at zero: what is not learned changes nothing.

    Parameters
    ----------
    situation, chunk, outputs
        S, F (0: it reads no chunk) and P.
    """

    def __init__(self, situation: int, chunk: int, outputs: int, config: ScoringConfig) -> None:
        super().__init__()
        members, hidden = config.members, config.hidden
        side = members * hidden
        fan_in = situation + chunk
        self.situation = uniform(situation, side, fan_in=fan_in)
        self.bias = nn.Parameter(torch.zeros(side))
        self.chunk = uniform(chunk, side, fan_in=fan_in) if chunk else None
        self.inner = uniform(members, hidden, hidden, fan_in=hidden)
        self.inner_bias = nn.Parameter(torch.zeros(members, 1, hidden))
        self.leave = nn.Parameter(torch.zeros(members, hidden, outputs))
        self.leave_bias = nn.Parameter(torch.zeros(members, 1, outputs))
        self.members = members
        self.dropout = config.dropout

    def forward(self, situation: Tensor, chunk: Tensor | None = None) -> Tensor:
        """See the class."""
        first = situation @ self.situation + self.bias
        if self.chunk is not None and chunk is not None:
            first = first + chunk @ self.chunk
        x = torch.relu(first).unflatten(-1, (self.members, -1)).transpose(0, 1)
        x = functional.dropout(x, self.dropout, self.training)
        x = torch.relu(torch.baddbmm(self.inner_bias, x, self.inner))
        x = functional.dropout(x, self.dropout, self.training)
        return torch.baddbmm(self.leave_bias, x, self.leave)

    def parameter_groups(self, weight_decay: float) -> list[dict[str, object]]:
        """For an optimiser: biases do not decay."""
        named = list(self.named_parameters())
        return [
            {"params": [p for n, p in named if "bias" not in n], "weight_decay": weight_decay},
            {"params": [p for n, p in named if "bias" in n], "weight_decay": 0.0},
        ]
