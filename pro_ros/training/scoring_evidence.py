"""What a chunk of actions provably tells: losses with and without it, on held-out episodes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pro_ros.evaluation.intervals import Bootstrap
from pro_ros.evaluation.metrics import log_loss
from pro_ros.model.calibration import Assess
from pro_ros.model.scorer import OUTPUTS, Evidence, Output, Predicted, Scorer
from pro_ros.training.chunks import Executed

Wide = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

DRAWS = 1000
"""Bootstrap draws of the evidence."""


def losses_of(said: Predicted, chunks: Executed) -> dict[Output, tuple[Wide, Bools]]:
    """Loss of each chunk per output, and where it has one: squared error or log likelihood."""
    hazard = _hazards(said.mode_risk)
    each: Wide = np.asarray(log_loss(hazard, chunks.hazard) * chunks.hazard_known, np.float64)
    success: Wide = np.asarray(log_loss(said.success, chunks.success), np.float64)
    at_risk: Bools = np.logical_or.reduce(chunks.hazard_known, axis=(1, 2))
    return {
        "progress": ((said.progress - chunks.progress) ** 2, chunks.progress_known),
        "success": (success, chunks.success_known),
        "risk": (np.add.reduce(each, axis=(1, 2)), at_risk),
    }


def _hazards(mode_risk: Wide) -> Wide:
    """Hazards per bin from the risks up to each bin, ``[N, M, K]``."""
    before = np.concatenate([np.zeros_like(mode_risk[..., :1]), mode_risk[..., :-1]], axis=-1)
    found: Wide = (mode_risk - before) / np.maximum(1.0 - before, 1e-12)
    return found


def evidence(scorer: Scorer, chunks: Executed, judge: Assess) -> dict[Output, Evidence]:
    """How much of the base's loss the chunk takes away, with intervals by episode."""
    here = scorer.situation(chunks.latent, chunks.packed, chunks.newest, chunks.known, judge)
    rows = scorer.chunk_inputs(here, chunks.path)
    mine = losses_of(scorer.predict(here, rows), chunks)
    base = losses_of(scorer.predict_base(here), chunks)
    found: dict[Output, Evidence] = {}
    for name in OUTPUTS:
        known = base[name][1]
        names, unit = np.unique(chunks.episode[known], return_inverse=True)
        lost, kept = base[name][0][known], mine[name][0][known]
        if not len(lost) or not lost.sum():
            found[name] = Evidence()
            continue
        bootstrap = Bootstrap(len(names), DRAWS)
        total = np.bincount(unit, lost, minlength=len(names))
        gain = np.bincount(unit, lost - kept, minlength=len(names))
        interval = bootstrap.interval(bootstrap.ratio(gain, total))
        found[name] = Evidence(
            gain=float(gain.sum() / total.sum()), low=interval.low, high=interval.high,
            chunks=len(lost), episodes=len(names),
            proven=interval.low is not None and interval.low > 0.0,
        )  # fmt: skip
    return found
