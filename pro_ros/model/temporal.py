"""Causal temporal models over the last K fused tokens (operator.md, "How it computes", 3).

All of them give the same numbers whether a sequence runs through ``forward`` at once or through
``step`` one by one, and all see exactly K tokens: an output depends on the current token and the
K - 1 before it, as far back as the last restart.

E is the number of ensemble members, B the batch, T the steps, D the size of a token and W the
width of the latent.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn

from pro_ros.model.config import OperatorConfig
from pro_ros.model.members import (
    ACTIVATIONS,
    MemberLinear,
    MemberPlain,
    MemberResidual,
    MemberSplit,
    dropped,
)

State = tuple[Tensor, ...]
"""Memory between steps; each tensor has the batch as its first dimension."""

BLOCK = 256
"""Queries that attention handles at once: bounds its memory on long sequences."""


class Temporal(nn.Module, ABC):
    """What every temporal model offers."""

    @abstractmethod
    def forward(self, tokens: Tensor, restart: Tensor) -> Tensor:
        """Run whole sequences: ``[B, T, D]``, bool ``[B, T]`` -> latent ``[E, B, T, W]``.

        Where ``restart`` is true, memory is empty before that step; the first step is one.
        """

    @abstractmethod
    def init_state(self, batch: int) -> State:
        """Empty memory."""

    @abstractmethod
    def reset(self, state: State, restart: Tensor) -> State:
        """Empty the memory of those sequences whose ``restart`` (bool ``[B]``) is true."""

    @abstractmethod
    def step(self, token: Tensor, state: State) -> tuple[Tensor, State]:
        """One step: ``[B, D]``, memory -> latent ``[E, B, W]``, memory after the step."""


def steps_since_restart(restart: Tensor) -> Tensor:
    """Steps since the last restart, 0 at a restart and at the first step: bool -> int64."""
    index = torch.arange(restart.shape[1], device=restart.device).expand(restart.shape)
    last = torch.where(restart, index, torch.zeros_like(index)).cummax(dim=1).values
    return index - last


class TapsTemporal(Temporal):
    """Tapped delay line: one weight matrix per lag, then layers.

    Taps from before the start read a learned token. In training, whole taps are dropped, older
    ones more often, so that the operator leans on what is recent.
    """

    lag_dropout: Tensor

    def __init__(self, inputs: int, config: OperatorConfig) -> None:
        super().__init__()
        members, width, temporal = config.members, config.latent_width, config.temporal
        self.window = temporal.window
        self.before = nn.Parameter(torch.zeros(inputs))
        together = temporal.members_from == "layers"
        taps = inputs * self.window
        self.taps = (
            nn.Linear(taps, width)
            if together
            else MemberLinear(members, taps, width, diverse=True)
        )
        self.split = MemberSplit(members, width) if together else nn.Identity()
        self.activation = ACTIVATIONS[config.activation]
        self.dropout = config.dropout
        far = torch.arange(self.window - 1, -1, -1) / max(1, self.window - 1)
        chance = (temporal.lag_dropout + temporal.far_dropout * far).clamp(max=0.9)
        self.register_buffer("lag_dropout", chance, persistent=False)
        block = MemberResidual if temporal.block == "residual" else MemberPlain
        self.layers = nn.Sequential(*(block(config) for _ in range(temporal.layers - 1)))

    def forward(self, tokens: Tensor, restart: Tensor) -> Tensor:
        """See :class:`Temporal`."""
        batch, steps, size = tokens.shape
        lags = self.window - 1
        padded = torch.cat([self.before.expand(batch, lags, size), tokens], dim=1)
        windows = padded.unfold(1, self.window, 1)
        lag = torch.arange(lags, -1, -1, device=tokens.device)
        inside = lag <= steps_since_restart(restart).unsqueeze(-1)
        windows = torch.where(inside.unsqueeze(2), windows, self.before.unsqueeze(-1))
        if self.training:
            drawn = torch.rand(batch, steps, 1, self.window, device=tokens.device)
            windows = windows * (drawn >= self.lag_dropout) / (1.0 - self.lag_dropout)
        latent = self._latent(windows.reshape(1, batch * steps, -1))
        return latent.unflatten(1, (batch, steps))

    def init_state(self, batch: int) -> State:
        """The K - 1 tokens before, ``[B, D, K - 1]``: the learned ones."""
        return (self.before.unsqueeze(-1).repeat(batch, 1, self.window - 1),)

    def reset(self, state: State, restart: Tensor) -> State:
        """See :class:`Temporal`."""
        return (torch.where(restart[:, None, None], self.before.unsqueeze(-1), state[0]),)

    def step(self, token: Tensor, state: State) -> tuple[Tensor, State]:
        """See :class:`Temporal`."""
        window = torch.cat([state[0], token.unsqueeze(-1)], dim=-1)
        return self._latent(window.flatten(1).unsqueeze(0)), (window[..., 1:],)

    def _latent(self, windows: Tensor) -> Tensor:
        first = self.activation(self.split(self.taps(windows)))
        latent: Tensor = self.layers(dropped(first, self.dropout, self.training))
        return latent


class AttentionTemporal(Temporal):
    """Causal self-attention within a window; each layer keeps its last keys and values.

    A stack of layers sees further back than each of them: the K - 1 lags are shared out over
    the layers, so that the stack sees exactly K tokens. Position enters as a learned bias per
    lag and head (Raffel et al. 2020). Members differ in how they read the token and share the
    layers (TabM-mini, Gorishniy et al. 2024).
    """

    def __init__(self, inputs: int, config: OperatorConfig) -> None:
        super().__init__()
        self.members = config.members
        self.width = config.latent_width
        self.enter = MemberLinear(self.members, inputs, self.width, diverse=True)
        share, more = divmod(config.temporal.window - 1, config.temporal.layers)
        self.layers = nn.ModuleList(
            AttentionLayer(config, window=1 + share + (n < more))
            for n in range(config.temporal.layers)
        )

    def forward(self, tokens: Tensor, restart: Tensor) -> Tensor:
        """See :class:`Temporal`."""
        batch, steps, _ = tokens.shape
        x = self.enter(tokens.reshape(1, batch * steps, -1))
        x = x.reshape(self.members * batch, steps, self.width)
        since = steps_since_restart(restart).repeat(self.members, 1)
        for layer in self._layers():
            x = layer(x, since)
        return x.unflatten(0, (self.members, batch))

    def init_state(self, batch: int) -> State:
        """Steps since the start ``[B]``; keys, values ``[B, E, w - 1, W]`` for each layer."""
        like = self.enter.weight
        state = [torch.zeros(batch, dtype=torch.int64, device=like.device)]
        for layer in self._layers():
            shape = (batch, self.members, layer.window - 1, self.width)
            state += [torch.zeros(shape, dtype=like.dtype, device=like.device)] * 2
        return tuple(state)

    def reset(self, state: State, restart: Tensor) -> State:
        """See :class:`Temporal`. What lies before the start is masked by the count alone."""
        return state[0].masked_fill(restart, 0), *state[1:]

    def step(self, token: Tensor, state: State) -> tuple[Tensor, State]:
        """See :class:`Temporal`."""
        since, *rings = state
        x = self.enter(token.unsqueeze(0)).transpose(0, 1)
        after = []
        for n, layer in enumerate(self._layers()):
            x, keys, values = layer.step(x, rings[2 * n], rings[2 * n + 1], since)
            after += [keys, values]
        return x.transpose(0, 1), (since + 1, *after)

    def _layers(self) -> Iterator[AttentionLayer]:
        return cast("Iterator[AttentionLayer]", iter(self.layers))


class AttentionLayer(nn.Module):
    """Self-attention over the last ``window`` positions, then a residual layer."""

    def __init__(self, config: OperatorConfig, window: int) -> None:
        super().__init__()
        width = config.latent_width
        self.heads = config.temporal.heads
        self.window = window
        self.scale = (width / self.heads) ** -0.5
        self.norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.lag_bias = nn.Parameter(torch.zeros(self.heads, window))
        self.leave = nn.Linear(width, width)
        self.dropout = config.dropout
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp_enter = nn.Linear(width, 2 * width)
        self.mlp_leave = nn.Linear(2 * width, width)
        self.activation = ACTIVATIONS[config.activation]

    def forward(self, x: Tensor, since: Tensor) -> Tensor:
        """``[N, T, W]``, steps since the restart ``[N, T]`` -> ``[N, T, W]``."""
        query, key, value = self._project(x)
        mixed = []
        for start in range(0, x.shape[1], BLOCK):
            stop = min(start + BLOCK, x.shape[1])
            first = max(0, start - self.window + 1)
            at = torch.arange(start, stop, device=x.device)
            lag = at[:, None] - torch.arange(first, stop, device=x.device)
            bias = self.lag_bias[:, lag.clamp(0, self.window - 1)]
            seen = (lag >= 0) & (lag < self.window) & (lag <= since[:, start:stop, None])
            scores = query[:, :, start:stop] @ key[:, :, first:stop].transpose(-1, -2) + bias
            scores = scores.masked_fill(~seen.unsqueeze(1), -math.inf)
            mixed.append(scores.softmax(dim=-1) @ value[:, :, first:stop])
        return self._finish(x, torch.cat(mixed, dim=2).transpose(1, 2).flatten(2))

    def step(
        self, x: Tensor, keys: Tensor, values: Tensor, since: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """``[B, E, W]``, ring of keys and of values, steps since the restart ``[B]``."""
        query, key, value = self.query_key_value(self.norm(x)).chunk(3, dim=-1)
        keys = torch.cat([keys, key.unsqueeze(2)], dim=2)
        values = torch.cat([values, value.unsqueeze(2)], dim=2)
        lag = torch.arange(self.window - 1, -1, -1, device=x.device)
        query = self._split(query * self.scale).unsqueeze(3)
        scores = query @ self._split(keys).permute(0, 1, 3, 4, 2)
        scores = scores + self.lag_bias[:, lag].unsqueeze(1)
        unseen = lag > since[:, None]
        scores = scores.masked_fill(unseen[:, None, None, None], -math.inf)
        mixed = scores.softmax(dim=-1) @ self._split(values).transpose(2, 3)
        return self._finish(x, mixed.flatten(2)), keys[:, :, 1:], values[:, :, 1:]

    def _split(self, x: Tensor) -> Tensor:
        """``[..., W] -> [..., heads, W / heads]``."""
        return x.unflatten(-1, (self.heads, -1))

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``[N, T, W]`` -> query, key, value ``[N, heads, T, W / heads]``."""
        query, key, value = self.query_key_value(self.norm(x)).chunk(3, dim=-1)
        split = (self._split(part).transpose(1, 2) for part in (query * self.scale, key, value))
        return tuple(split)  # type: ignore[return-value]

    def _finish(self, x: Tensor, mixed: Tensor) -> Tensor:
        x = x + dropped(self.leave(mixed), self.dropout, self.training)
        inner = self.activation(self.mlp_enter(self.mlp_norm(x)))
        y: Tensor = x + self.mlp_leave(dropped(inner, self.dropout, self.training))
        return y


def build_temporal(inputs: int, config: OperatorConfig) -> Temporal:
    """Build the temporal model that the configuration names, for tokens of size ``inputs``."""
    kind = TapsTemporal if config.temporal.kind == "taps" else AttentionTemporal
    return kind(inputs, config)
