"""Heads on the shared latent: value, termination, success, hazards (operator.md, 4)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pro_ros.model.config import OperatorConfig
from pro_ros.model.members import uniform
from pro_ros.model.outputs import Outputs

RAREST = 1e-5
"""Base rates are kept this far from 0 and 1, so that a prior is never certain."""


class Heads(nn.Module):
    """Linear heads, one set per ensemble member, as a single product.

    Parameters
    ----------
    modes
        Number of failure modes M; each horizon is a bin of their discrete-time hazards.
    """

    def __init__(self, modes: int, config: OperatorConfig) -> None:
        super().__init__()
        members, width, bins = config.members, config.latent_width, len(config.horizons)
        self.modes = modes
        self.bins = bins
        self.norm = nn.LayerNorm(width) if config.head_norm else None
        self.weight = uniform(members, width, 3 + modes * bins, fan_in=width)
        self.bias = nn.Parameter(torch.zeros(members, 1, 3 + modes * bins))

    def forward(self, latent: Tensor) -> Tensor:
        """Latent ``[E, B, T, W]`` -> all heads side by side, ``[E, B, T, 3 + M K]``."""
        return self.read(self.normed(latent))

    def normed(self, latent: Tensor) -> Tensor:
        """The latent as the heads read it."""
        return latent if self.norm is None else self.norm(latent)

    def read(self, normed: Tensor) -> Tensor:
        """As :meth:`forward`, from a latent that is normed already."""
        packed = torch.baddbmm(self.bias, normed.flatten(1, -2), self.weight)
        return packed.unflatten(1, normed.shape[1:-1])

    def unpack(self, packed: Tensor) -> Outputs:
        """Name the parts of what :meth:`forward` gave."""
        return Outputs(
            value=packed[..., 0],
            termination=packed[..., 1],
            success=packed[..., 2],
            hazard=packed[..., 3:].unflatten(-1, (self.modes, self.bins)),
        )

    @torch.no_grad()
    def set_prior(
        self,
        hazard: Tensor,
        termination: float = 0.5,
        success: float = 0.5,
        value: float = 0.0,
    ) -> None:
        """Start the heads at the base rates of the training data.

        Rare events otherwise cost the first epochs just to learn that they are rare.

        Parameters
        ----------
        hazard
            ``[M, K]``: share of steps with an event of mode m in bin k, among those without one
            in an earlier bin.
        termination, success
            Base rates in [0, 1].
        value
            Mean of the value targets.
        """
        rates = torch.cat([torch.tensor([termination, success]), hazard.flatten().float().cpu()])
        rates = rates.nan_to_num(0.5).clamp(RAREST, 1.0 - RAREST)
        start = torch.cat([torch.tensor([value if math.isfinite(value) else 0.0]), rates.logit()])
        self.bias.copy_(start.to(self.bias.device))
