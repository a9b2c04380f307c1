"""From state, telemetry and action vectors to what a linear layer can read well."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pro_ros.model.config import NumericEncoderConfig
from pro_ros.model.members import dropped
from pro_ros.streams.sample import BoolArray

LARGEST = 1e30
"""No measurement in SI units is larger; what is, is a marker of a missing value or a fault."""

SMALLEST = 1e-30
"""Differences below this are none: their inverse would not be finite in single precision."""


class NumericColumns(nn.Module):
    """Vector of numbers with a validity mask -> a few columns per feature.

    The first column of a feature says "absent". The others are its position among quantile bins
    of the training data (piecewise-linear encoding, Gorishniy et al. 2022, "On Embeddings for
    Numerical Features in Tabular Deep Learning"), its rank among them (the sum of these
    positions, centred), or its standardised value. An absent feature
    sets only the first, whose weights are thus a learned embedding of "absent"; no number is made
    up. Values beyond the range of the training data count as the nearest value in it, and
    :meth:`out_of_range` says how many there are.

    The statistics are buffers: they are fitted once with :meth:`fit` and travel with the
    weights. Before that, features are taken to lie in [-3, 3].

    Parameters
    ----------
    features
        Number of features F.
    """

    lower: Tensor
    scale: Tensor
    floor: Tensor
    ceiling: Tensor
    low: Tensor
    high: Tensor
    absent: Tensor

    def __init__(self, features: int, config: NumericEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.per_feature = 1 + (config.bins if config.embedding == "piecewise" else 1)
        binned = config.bins if config.embedding != "standard" else 1
        # Column c of feature f is clamp((x - lower) * scale, floor, ceiling); a rank is their sum.
        for name in ("lower", "scale", "floor", "ceiling"):
            self.register_buffer(name, torch.zeros(features, 1 + binned))
        self.register_buffer("low", torch.zeros(features))
        self.register_buffer("high", torch.zeros(features))
        self.register_buffer("absent", torch.eye(1, self.per_feature)[0], persistent=False)
        span = np.repeat(np.linspace(-3.0, 3.0, 64)[:, None], features, axis=1)
        self.fit(span, np.ones_like(span, dtype=np.bool_))

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """Spread out each feature.

        Parameters
        ----------
        values
            float32 ``[..., F]``; what stands where ``mask`` is false is never looked at.
        mask
            bool ``[..., F]``, true where a value is present. NaN, infinity and what
            exceeds :data:`LARGEST` count as absent.

        Returns
        -------
        Tensor
            float32 ``[..., F, C]`` with C = :attr:`per_feature`.
        """
        # False for NaN, too.
        present = mask & (values.abs() < LARGEST)
        columns = (values.unsqueeze(-1) - self.lower) * self.scale
        columns = torch.clamp(columns, self.floor, self.ceiling)
        if self.config.embedding == "rank":
            rank = columns.sum(-1)
            columns = torch.stack([torch.zeros_like(rank), rank], dim=-1)
        return torch.where(present.unsqueeze(-1), columns, self.absent)

    def out_of_range(self, values: Tensor, mask: Tensor) -> Tensor:
        """Share of the present values beyond the range of the training data.

        ``[..., F]`` twice -> float32 ``[...]`` in [0, 1]; 0 where nothing is present.
        """
        outside = ((values < self.low) | (values > self.high)) & mask
        return outside.sum(-1) / mask.sum(-1).clamp_min(1)

    def fit(self, values: npt.NDArray[np.floating], mask: BoolArray) -> None:
        """Fit bins or mean and deviation to training data.

        Parameters
        ----------
        values, mask
            ``[N, F]``. What is masked, NaN, infinite or beyond :data:`LARGEST` is left out. A
            feature that is never present says nothing later, too, and always counts as out of
            range.
        """
        known = mask & (np.abs(values) < LARGEST)
        shape = self.lower.shape
        lower, scale, floor, ceiling = (np.zeros(shape, dtype=np.float64) for _ in range(4))
        low = np.full(shape[0], np.inf)
        high = np.full(shape[0], -np.inf)
        for f in range(shape[0]):
            x = values[known[:, f], f].astype(np.float64)
            if not len(x):
                continue
            low[f], high[f] = x.min(), x.max()
            if self.config.embedding != "standard":
                edges = quantile_edges(x, self.config.bins)
                used = slice(1, len(edges))
                lower[f, used] = edges[:-1]
                height = np.ones(len(edges) - 1)
                if self.config.embedding == "rank" and len(height):
                    height = rank_steps(edges, x, self.config.spread)
                    # The first column is where ranks begin.
                    floor[f, 0] = ceiling[f, 0] = -self.config.spread
                scale[f, used] = height / np.diff(edges)
                ceiling[f, used] = height
            else:
                lower[f, 1] = x.mean()
                deviation = x.std()
                # A constant feature has no scale of its own: it always encodes as 0.
                scale[f, 1] = (
                    1.0 / deviation if deviation > max(1e-6 * np.abs(x).max(), SMALLEST) else 0.0
                )
                floor[f, 1], ceiling[f, 1] = (np.array([low[f], high[f]]) - x.mean()) * scale[f, 1]
        for name, fitted in (
            ("lower", lower), ("scale", scale), ("floor", floor), ("ceiling", ceiling),
            ("low", low), ("high", high),
        ):  # fmt: skip
            getattr(self, name).copy_(torch.from_numpy(fitted))


class NumericEncoder(nn.Module):
    """Columns of one modality's features -> one embedding, ``[..., F, C] -> [..., width]``.

    Parameters
    ----------
    features, per_feature
        F and C.
    begin
        Of encoder ``none``: where in the token the columns stand as they are. Members of the
        ensemble that part at the taps then part before any layer that they share, as those of
        TabM (Gorishniy et al. 2024).
    """

    def __init__(
        self,
        features: int,
        per_feature: int,
        width: int,
        config: NumericEncoderConfig,
        begin: int = 0,
    ) -> None:
        super().__init__()
        inputs = features * per_feature
        self.dropout = config.column_dropout
        self.project: nn.Module = (
            nn.Sequential(
                nn.Linear(inputs, config.hidden), nn.ReLU(), nn.Linear(config.hidden, width)
            )
            if config.hidden
            else nn.Linear(inputs, width)
        )
        first = next(m for m in self.project.modules() if isinstance(m, nn.Linear))
        # Of a feature's columns some are 1 and most others 0: they count as one input, not as C.
        nn.init.normal_(first.weight, std=(2 * max(1, features)) ** -0.5)
        nn.init.zeros_(first.bias)
        if config.encoder == "none":
            nn.init.zeros_(first.weight)
            nn.init.eye_(first.weight[begin : begin + inputs])
            self.requires_grad_(False)

    def forward(self, columns: Tensor) -> Tensor:
        """``[..., F, C] -> [..., width]``."""
        inputs = dropped(columns.flatten(-2), self.dropout, self.training)
        encoded: Tensor = self.project(inputs)
        return encoded


def quantile_edges(x: npt.NDArray[np.float64], bins: int) -> npt.NDArray[np.float64]:
    """At most ``bins + 1`` increasing edges that split ``x`` into bins of about equal counts.

    Values that fill several bins by themselves (a 0/1 flag, an idle reading) would waste them;
    the bins saved this way are spread over the other values. A constant gives a single edge.
    """
    edges = np.unique(np.quantile(x, np.linspace(0.0, 1.0, bins + 1)).astype(np.float32))
    missing = bins + 1 - len(edges)
    rest = x[~np.isin(x.astype(np.float32), edges)]
    if missing and len(rest):
        more = np.quantile(rest, np.linspace(0.0, 1.0, missing + 2)[1:-1]).astype(np.float32)
        edges = np.unique(np.concatenate([edges, more]))
    # Neighbouring floats make a bin too narrow to be anything but a step: keep the scale finite.
    span = float(edges[-1] - edges[0]) or 1.0
    narrowest = max(1e-6 * span, SMALLEST)
    keep = np.diff(edges.astype(np.float64), prepend=-np.inf) > narrowest
    return edges[keep].astype(np.float64)


def rank_steps(
    edges: npt.NDArray[np.float64], x: npt.NDArray[np.float64], spread: float
) -> npt.NDArray[np.float64]:
    """How much the rank of a value grows over each bin, ``[bins]``; ``2 spread`` in all.

    The rank of an edge is the share of ``x`` below it; of what equals it, half counts.
    """
    ordered = np.sort(x.astype(np.float32)).astype(np.float64)
    below, up_to = (np.searchsorted(ordered, edges, side) for side in ("left", "right"))
    rank = (below + up_to) / 2.0
    return np.diff(rank) * (2.0 * spread / (rank[-1] - rank[0]))
