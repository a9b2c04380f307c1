"""Calibration as a checkpoint keeps it, and what it does to the raw outputs.

Fitting is in :mod:`pro_ros.training`. Here is only what run time needs: probabilities are
averaged over ensemble members, and the logit of that average is shifted and scaled (Platt 1999).
Hazards are scaled per mode and not per horizon, so that risk stays monotone in the horizon and
the distribution over modes stays coherent with it.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from scipy.special import expit

from pro_ros.config import StrictModel
from pro_ros.model.outputs import (
    Assessment,
    Assessments,
    FloatArray,
    Outputs,
    log_survival,
    risks,
)


class Affine(StrictModel):
    """``slope * logit + intercept``; a positive slope keeps the order."""

    slope: float = Field(1.0, gt=0)
    intercept: float = 0.0


class AlarmThreshold(StrictModel):
    """A threshold on a risk, what was asked of it, and the counts that the promise rests on."""

    target: str = Field(..., description="'any' or a failure mode")
    horizon: float = Field(..., gt=0, description="The risk's horizon H [s]")
    criterion: Literal["miss_rate", "false_alarms_per_hour"]
    requested: float = Field(..., gt=0, description="What was asked for")
    threshold: float = Field(..., ge=0, description="An alarm begins where the risk reaches it")
    episodes: int = Field(..., ge=0, description="Held-out episodes it rests on")
    events: int = Field(..., ge=0, description="Events in them")
    hours: float = Field(..., ge=0, description="Time in them [h]")
    confidence: float | None = Field(
        None, gt=0, lt=1, description="Probability that the promise holds; None: on average"
    )
    refractory_s: float = Field(..., ge=0, description="Time below that ends an alarm [s]")
    method: str = Field(..., description="How the threshold was found, for the report")


class Calibration(StrictModel):
    """Calibration of one checkpoint. A mode that is not listed is left as it is."""

    hazard: dict[str, Affine] = Field(default_factory=dict, description="Per failure mode")
    termination: Affine = Affine()
    success: Affine = Affine()
    alarms: tuple[AlarmThreshold, ...] = ()
    episodes: int = Field(0, ge=0, description="Held-out episodes that it rests on")
    failures: int = Field(0, ge=0, description="Those of them that failed")
    events: dict[str, int] = Field(default_factory=dict, description="Events per failure mode")
    hours: float = Field(0.0, ge=0, description="Time in the held-out episodes [h]")

    @property
    def fitted(self) -> bool:
        """Whether any probability was calibrated."""
        scaled = [*self.hazard.values(), self.termination, self.success]
        return any(scale != Affine() for scale in scaled)


def mean_logit(logits: FloatArray) -> FloatArray:
    """Logit of the probability averaged over members: ``[E, ...] -> [...]``.

    Both tails are averaged, so that it is exact for very small and very large probabilities.
    """
    ratio: FloatArray = np.add.reduce(expit(logits)) / np.add.reduce(expit(-logits))
    return np.log(ratio)


class Assess:
    """Turns raw outputs into calibrated numbers (:class:`Assessments`).

    In numpy and double precision: the numbers are few, and on so few numpy is the faster.

    Parameters
    ----------
    calibration
        How far the logits are shifted and scaled.
    modes
        Failure modes, in the order of the outputs.
    bins
        Number of horizons.
    """

    def __init__(self, calibration: Calibration, modes: tuple[str, ...], bins: int) -> None:
        self.shape = (len(modes), bins)
        scales = [calibration.termination, calibration.success]
        for mode in modes:
            scales += [calibration.hazard.get(mode, Affine())] * bins
        self.slope = np.array([s.slope for s in scales])
        self.intercept = np.array([s.intercept for s in scales])

    def packed(
        self,
        packed: FloatArray,
        t_ns: npt.NDArray[np.int64],
        restart: npt.NDArray[np.bool_] | None = None,
        previous: float | None = None,
    ) -> Assessments:
        """Assess what the heads gave side by side, float64 ``[E, T, 3 + M K]``.

        Parameters
        ----------
        t_ns
            int64 ``[T]``: time of each step [ns].
        restart
            bool ``[T]``: memory was empty before the step; None: nowhere but at the first step.
        previous
            Value at the step before the first one; None: there is none.
        """
        value, *others = self._judge(packed)
        progress = np.empty_like(value)
        progress[1:] = value[1:] - value[:-1]
        progress[:1] = 0.0 if previous is None else value[:1] - previous
        if restart is not None:
            progress[restart] = 0.0
        return Assessments(t_ns, value, progress, *others)

    def step(self, packed: FloatArray, t_ns: int, previous: float | None) -> Assessment:
        """The same for one step, float64 ``[E, 3 + M K]``."""
        value, termination, success, risk, mode_risk, distribution, spread = self._judge(
            packed[:, None]
        )
        now = float(value[0])
        return Assessment(
            t_ns=t_ns,
            value=now,
            progress=0.0 if previous is None else now - previous,
            termination=float(termination[0]),
            success=float(success[0]),
            risk=risk[0],
            mode_risk=mode_risk[0],
            mode_distribution=distribution[0],
            spread=float(spread[0]),
        )

    def logits(self, packed: FloatArray) -> FloatArray:
        """Calibrated logits of termination, success and hazards: ``[E, T, P] -> [T, P - 1]``."""
        scaled: FloatArray = mean_logit(packed[..., 1:]) * self.slope + self.intercept
        return scaled

    def _judge(self, packed: FloatArray) -> tuple[FloatArray, ...]:
        """The fields of :class:`Assessments` in their order, without time and progress."""
        # reduce: the methods mean and std cost several times as much on so few numbers.
        members = len(packed)
        value = np.add.reduce(packed[..., 0]) / members
        logits = self.logits(packed)
        ends = expit(logits[:, :2])
        hazard = packed[..., 3:] * self.slope[2:] + self.intercept[2:]
        # No event of any mode in any bin: what the risk at the longest horizon comes down to.
        survival = np.exp(np.add.reduce(log_survival(hazard), axis=-1))
        off = survival - np.add.reduce(survival) / members
        return (
            value,
            ends[:, 0],
            ends[:, 1],
            *risks(logits[:, 2:].reshape(len(value), *self.shape)),
            np.sqrt(np.add.reduce(off * off) / members),
        )


def assess(
    outputs: Outputs,
    calibration: Calibration,
    modes: tuple[str, ...],
    t_ns: npt.NDArray[np.int64],
    restart: npt.NDArray[np.bool_] | None = None,
    previous: float | None = None,
) -> Assessments:
    """Turn raw outputs of one sequence into calibrated numbers.

    ``outputs`` are of a batch of one, ``[E, 1, T, ...]``; ``modes`` are the failure modes in
    their order. The other parameters are those of :meth:`Assess.packed`.
    """
    raw = [outputs.value, outputs.termination, outputs.success]
    packed = torch.cat([torch.stack(raw, dim=-1), outputs.hazard.flatten(-2)], dim=-1)
    judge = Assess(calibration, modes, outputs.hazard.shape[-1])
    return judge.packed(packed[:, 0].detach().cpu().double().numpy(), t_ns, restart, previous)
