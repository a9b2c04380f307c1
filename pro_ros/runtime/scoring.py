"""Scoring of action chunks with a running operator (operator.md, "What is done with it").

S = progress - risk_weight * risk + success_weight * success, for a batch of candidates on one
situation, which is computed once. It ranks what a policy proposes; it commands nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pro_ros.config import StrictModel
from pro_ros.errors import CheckpointError, DataError
from pro_ros.model.calibration import Assess
from pro_ros.model.checkpoint import Checkpoint
from pro_ros.model.chunks import action_features, check_chunks, resample
from pro_ros.model.scorer import OUTPUTS, Output, Situation
from pro_ros.runtime.monitor import Latest

Wide = npt.NDArray[np.float64]


class ScoringSettings(StrictModel):
    """What a score weighs, and what a candidate must keep to be accepted."""

    risk_weight: float = Field(1.0, ge=0, description="Lambda: what a failure costs [successes]")
    success_weight: float = Field(1.0, ge=0, description="Beta: weight of P(success)")
    max_risk: float | None = Field(
        None, ge=0, le=1, description="Risk from which it is refused; None: the alarm's threshold"
    )
    min_success: float = Field(0.0, ge=0, le=1, description="P(success) below which it is refused")


class Watched(Protocol):
    """What the scorer needs of a running :class:`~pro_ros.runtime.monitor.Monitor`."""

    @property
    def latest(self) -> Latest | None:
        """The newest judged step."""


@dataclass(frozen=True)
class Scores:
    """What is expected of N candidates.

    ``progress`` ``[N]``: expected gain in completion potential over the chunk [reward].
    ``risk`` ``[N]``: of the failure and within the horizon that the alarm watches.
    ``risks`` ``[N, H]``, ``mode_risk`` ``[N, M, H]``: of any failure, and per mode, within each
    horizon. ``success`` ``[N]``: P(the episode succeeds). ``score`` ``[N]``: S.
    ``novelty`` ``[N]``: distance from the executed chunks of the training, 1 at the threshold.
    ``supported`` bool ``[N]``: it is at most 1. ``best``: index of the highest score among
    supported ones; among all where there is none. ``accepted``: the gate would accept ``best``;
    otherwise ``reason`` says why not. ``tells``: outputs in which candidates may differ: held-out
    episodes show that the chunk tells something of them. ``t_ns``, ``sequence``, ``validity``: of
    the assessment that they rest on.
    """

    progress: Wide
    risk: Wide
    risks: Wide
    mode_risk: Wide
    success: Wide
    score: Wide
    novelty: Wide
    supported: npt.NDArray[np.bool_]
    best: int
    accepted: bool
    reason: str
    tells: tuple[Output, ...]
    t_ns: int
    sequence: int
    validity: tuple[str, ...]


class ActionScorer:
    """Scores candidate chunks in the situation that a monitor judged last.

    It may be called from another thread than the monitor's.

    Parameters
    ----------
    checkpoint
        Of the monitor, with a scorer.
    monitor
        It gives the situation.
    settings
        Weights and limits.

    Raises
    ------
    CheckpointError
        The checkpoint has no scorer.
    """

    def __init__(
        self, checkpoint: Checkpoint, monitor: Watched, settings: ScoringSettings | None = None
    ) -> None:
        if checkpoint.scorer is None:
            raise CheckpointError(
                f"checkpoint {checkpoint.model_id} has no scorer of actions: train it with a "
                "'scoring' section in the training file"
            )
        self.scorer = checkpoint.scorer
        self.settings = settings or ScoringSettings()
        self.features, self._columns = action_features(checkpoint.spec)
        self._monitor = monitor
        modes, horizons = self.scorer.document.modes, self.scorer.document.horizons
        self._judge = Assess(checkpoint.calibration, modes, len(horizons))
        alarms = checkpoint.calibration.alarms
        alarm = alarms[0] if alarms else None
        self._horizon = horizons.index(alarm.horizon) if alarm else len(horizons) - 1
        self._mode = modes.index(alarm.target) if alarm and alarm.target in modes else None
        self._threshold = alarm.threshold if alarm else None
        self._known: tuple[Latest, Situation] | None = None

    @property
    def max_risk(self) -> float | None:
        """Risk from which a candidate is refused; None where no threshold is known."""
        given = self.settings.max_risk
        return self._threshold if given is None else given

    def score(
        self,
        chunks: npt.ArrayLike,
        dt: float,
        risk_weight: float | None = None,
        success_weight: float | None = None,
    ) -> Scores:
        """Score candidates.

        Parameters
        ----------
        chunks
            ``[N, T, D]``: row k is the command that holds (k + 1) dt from now; D in the order of
            :attr:`features`. Of longer ones the scorer's length is read.
        dt
            Time between rows [s].
        risk_weight, success_weight
            Instead of those of the settings.

        Raises
        ------
        DataError
            The candidates are no such array, or too short; or there is no valid assessment to
            score them on.
        """
        given = check_chunks(chunks, dt, self.features)
        latest = self._monitor.latest
        if latest is None:
            raise DataError("nothing to score on: there is no assessment yet, or no more")
        info = latest.statement.info
        if "VALID" not in info.validity:
            raise DataError(
                "nothing to score on: the newest assessment is not valid "
                f"({', '.join(info.validity) or 'no reason given'})"
            )
        situation = self._situation(latest)
        newest = situation.newest[0] if situation.known[0] else None
        config = self.scorer.config
        paths = resample(given, dt, newest, config.chunk, config.points)
        rows = self.scorer.chunk_inputs(situation, paths)
        said = self.scorer.predict(situation, rows)
        support = self.scorer.support
        compared = self.scorer.support_inputs(rows)
        novelty = support.distance(compared) / support.threshold
        risk = said.risk if self._mode is None else said.mode_risk[:, self._mode]
        watched = risk[:, self._horizon]
        weigh, reward = self.settings.risk_weight, self.settings.success_weight
        weigh = weigh if risk_weight is None else risk_weight
        reward = reward if success_weight is None else success_weight
        score = said.progress - weigh * watched + reward * said.success
        supported = novelty <= 1.0
        best = int(np.argmax(np.where(supported, score, -np.inf) if supported.any() else score))
        reason = self._refusal(bool(supported[best]), watched[best], said.success[best])
        effect = self.scorer.document.effect
        return Scores(
            progress=said.progress, risk=watched, risks=said.risk, mode_risk=said.mode_risk,
            success=said.success, score=score, novelty=novelty, supported=supported, best=best,
            accepted=not reason, reason=reason,
            tells=tuple(name for name in OUTPUTS if effect[name] > 0.0),
            t_ns=latest.step.t_ns, sequence=info.sequence, validity=info.validity,
        )  # fmt: skip

    def _situation(self, latest: Latest) -> Situation:
        """What all candidates share; computed once per judged step."""
        known = self._known
        if known is None or known[0] is not latest:
            values = latest.step.values["action"][self._columns]
            present = latest.step.mask["action"][self._columns].all()
            known = (
                latest,
                self.scorer.situation(
                    latest.memory.latent[None],
                    latest.memory.packed[None],
                    values[None],
                    np.array([present]),
                    self._judge,
                ),
            )
            self._known = known
        return known[1]

    def _refusal(self, supported: bool, risk: float, success: float) -> str:
        """Why the best candidate is not accepted; empty where it is."""
        limit = self.max_risk
        if not supported:
            return "no candidate is like a chunk of the training"
        if limit is None:
            return "no alarm threshold is calibrated, and no max_risk is set"
        if not risk < limit:
            return f"risk {risk:.3g} is not below {limit:.3g}"
        if not success >= self.settings.min_success:
            return f"P(success) {success:.3g} is below {self.settings.min_success:.3g}"
        return ""
