"""What the operator says, as tensors (training) and as plain numbers (an assessment)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

FloatArray = npt.NDArray[np.float64]


@dataclass
class Outputs:
    """Raw outputs of the heads. E: ensemble members, B: batch, T: steps, M: modes, K: bins.

    ``value`` [E, B, T]: completion potential V(h_t), in units of reward.
    ``termination`` [E, B, T]: logit of P(d_t = 1 | h_t).
    ``success`` [E, B, T]: logit of P(success | d_t = 1, h_t).
    ``hazard`` [E, B, T, M, K]: logit of the discrete-time hazard of mode m in bin k.
    """

    value: Tensor
    termination: Tensor
    success: Tensor
    hazard: Tensor


@dataclass(frozen=True)
class Assessment:
    """What PRO says at one step (spec: operator.md, "Heads"). All probabilities in [0, 1].

    ``value``: V(h_t). ``progress``: V(h_t) - V(h_{t-1}), 0 at the first step after a reset.
    ``termination``: P(d_t = 1 | h_t). ``success``: P(success | d_t = 1, h_t).
    ``risk`` [H]: P(any failure within each horizon). ``mode_risk`` [M, H]: the same per mode.
    ``mode_distribution`` [M + 1]: which mode comes first within the longest horizon, and last
    the probability that none comes; sums to 1.
    ``spread``: standard deviation over ensemble members of the risk at the longest horizon.
    """

    t_ns: int
    value: float
    progress: float
    termination: float
    success: float
    risk: FloatArray
    mode_risk: FloatArray
    mode_distribution: FloatArray
    spread: float


@dataclass(frozen=True)
class Assessments:
    """Assessments of consecutive steps as arrays; meaning and units as in :class:`Assessment`.

    T: steps, H: horizons, M: modes. ``t_ns`` int64 ``[T]``; all others float64: ``value``,
    ``progress``, ``termination``, ``success``, ``spread`` ``[T]``, ``risk`` ``[T, H]``,
    ``mode_risk`` ``[T, M, H]``, ``mode_distribution`` ``[T, M + 1]``.
    """

    t_ns: npt.NDArray[np.int64]
    value: FloatArray
    progress: FloatArray
    termination: FloatArray
    success: FloatArray
    risk: FloatArray
    mode_risk: FloatArray
    mode_distribution: FloatArray
    spread: FloatArray

    def __len__(self) -> int:
        return len(self.t_ns)

    def at(self, index: int) -> Assessment:
        """The assessment of one step."""
        return Assessment(
            t_ns=int(self.t_ns[index]),
            value=float(self.value[index]),
            progress=float(self.progress[index]),
            termination=float(self.termination[index]),
            success=float(self.success[index]),
            risk=self.risk[index],
            mode_risk=self.mode_risk[index],
            mode_distribution=self.mode_distribution[index],
            spread=float(self.spread[index]),
        )


def cumulative_risk(hazard_logits: FloatArray) -> FloatArray:
    """P(event of mode m within horizon k) = 1 - prod_{j<=k} (1 - h_j): [..., M, K] -> same.

    Computed in log space, so that small risks keep their precision and the result is monotone
    in k (spec: operator.md, "risk").
    """
    return -np.expm1(np.cumsum(log_survival(hazard_logits), axis=-1))


def risks(hazard_logits: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """What hazards ``[..., M, K]`` come down to.

    Risk of any mode within each horizon ``[..., K]``, of each mode ``[..., M, K]`` as in
    :func:`cumulative_risk`, and which mode comes first within the last horizon, none last
    ``[..., M + 1]``. Modes compete within a bin in proportion to their hazards.
    """
    survival = log_survival(hazard_logits)
    in_bin = np.add.reduce(survival, axis=-2)
    by_end = np.add.accumulate(in_bin, axis=-1)
    by_mode = -np.expm1(np.add.accumulate(survival, axis=-1))
    # P(the first event of all is in bin k): none before it, and one in it.
    first = np.exp(by_end - in_bin) * -np.expm1(in_bin)
    hazard = -np.expm1(survival)
    share = hazard / np.maximum(np.add.reduce(hazard, axis=-2, keepdims=True), 1e-300)
    comes_first = np.add.reduce(share * first[..., None, :], axis=-1)
    distribution = np.concatenate([comes_first, np.exp(by_end[..., -1:])], axis=-1)
    return -np.expm1(by_end), by_mode, distribution


def log_survival(hazard_logits: FloatArray) -> FloatArray:
    """log(1 - h) of each bin, exact for small hazards."""
    return -np.logaddexp(0.0, hazard_logits)
