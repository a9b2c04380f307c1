"""Implicit ensemble members: layers that share their weights, each with its own scaling.

BatchEnsemble (Wen, Tran, Ba 2020) as used by TabM (Gorishniy et al. 2024): member e has the
weights ``r_e[:, None] * W * s_e[None, :]`` and a bias of its own. The spread over members tells
how sure the operator is, at almost the cost of one model.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from pro_ros.model.config import Activation, OperatorConfig

ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "relu": torch.relu,
    "gelu": functional.gelu,
    "silu": functional.silu,
}


def dropped(x: Tensor, chance: float, training: bool) -> Tensor:
    """Dropout that costs nothing at run time, where a step is bound by the number of calls."""
    return functional.dropout(x, chance) if training and chance else x


def uniform(*shape: int, fan_in: int) -> nn.Parameter:
    """Parameter with torch's usual initialisation of a linear layer of ``fan_in`` inputs."""
    bound = 1.0 / math.sqrt(fan_in)
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))


def random_signs(members: int, size: int) -> nn.Parameter:
    """Scaling ``[E, 1, size]`` that makes members different; ones where there is only one."""
    signs = torch.randint(0, 2, (members, 1, size)) * 2.0 - 1.0
    return nn.Parameter(signs if members > 1 else signs.abs())


class MemberLinear(nn.Module):
    """Linear layer of E members.

    Parameters
    ----------
    members, inputs, outputs
        E and the sizes.
    diverse
        Start ``r`` from random signs (in a first layer, where members must become different)
        instead of ones.
    """

    def __init__(self, members: int, inputs: int, outputs: int, diverse: bool = False) -> None:
        super().__init__()
        self.weight = uniform(inputs, outputs, fan_in=inputs)
        ones = nn.Parameter(torch.ones(members, 1, inputs))
        self.r = random_signs(members, inputs) if diverse else ones
        self.s = nn.Parameter(torch.ones(members, 1, outputs))
        self.bias = uniform(members, 1, outputs, fan_in=inputs)

    def forward(self, x: Tensor) -> Tensor:
        """Each member's own rows, or rows that all share: ``[E or 1, N, in] -> [E, N, out]``."""
        if x.shape[1] == 1:
            # A single step is bound by reading weights: read the shared ones only once.
            return torch.addcmul(self.bias, (x * self.r) @ self.weight, self.s)
        members, _, inputs = self.r.shape
        weight = self.r.transpose(1, 2) * self.weight * self.s
        if x.shape[0] == 1 and members > 1:
            # One large product instead of E copies of the input.
            flat = weight.transpose(0, 1).reshape(inputs, -1)
            return (x[0] @ flat).unflatten(-1, (members, -1)).transpose(0, 1) + self.bias
        return torch.baddbmm(self.bias, x, weight)


class MemberSplit(nn.Module):
    """What all members share -> each member's own scaled copy, ``[1, N, D] -> [E, N, D]``."""

    def __init__(self, members: int, width: int) -> None:
        super().__init__()
        self.r = random_signs(members, width)
        self.bias = nn.Parameter(torch.zeros(members, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        """``[1, N, D] -> [E, N, D]``."""
        return torch.addcmul(self.bias, x, self.r)


class MemberResidual(nn.Module):
    """Residual layer ``x + W2 dropout(f(W1 norm(x)))`` of E members, ``[E, N, D]``."""

    def __init__(self, config: OperatorConfig) -> None:
        super().__init__()
        members, width = config.members, config.latent_width
        self.norm = nn.LayerNorm(width)
        self.enter = MemberLinear(members, width, width)
        self.leave = MemberLinear(members, width, width)
        self.activation = ACTIVATIONS[config.activation]
        self.dropout = config.dropout

    def forward(self, x: Tensor) -> Tensor:
        """``[E, N, D] -> [E, N, D]``."""
        inner = self.activation(self.enter(self.norm(x)))
        y: Tensor = x + self.leave(dropped(inner, self.dropout, self.training))
        return y


class MemberPlain(nn.Module):
    """Plain layer ``dropout(f(W x))`` of E members, ``[E, N, D]``."""

    def __init__(self, config: OperatorConfig) -> None:
        super().__init__()
        self.linear = MemberLinear(config.members, config.latent_width, config.latent_width)
        self.activation = ACTIVATIONS[config.activation]
        self.dropout = config.dropout

    def forward(self, x: Tensor) -> Tensor:
        """``[E, N, D] -> [E, N, D]``."""
        return dropped(self.activation(self.linear(x)), self.dropout, self.training)
