"""The service that scores candidate actions: a request in, numbers out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pro_ros.errors import ProError
from pro_ros.interfaces import validity_bits
from pro_ros.model.checkpoint import Checkpoint
from pro_ros.runtime.live import LiveOperator
from pro_ros.runtime.scoring import ActionScorer, ScoringSettings
from pro_ros.srv import ScoreActions

PERIODS = 2.0
"""Age of the newest valid assessment up to which candidates are scored on it [periods]."""


class ScoreService:
    """Answers ``ScoreActions`` requests from the operator's newest assessment.

    Parameters
    ----------
    checkpoint
        What the operator runs.
    operator
        The running operator.
    settings
        The node's parameters.

    Raises
    ------
    CheckpointError
        The checkpoint has no scorer.
    """

    def __init__(
        self, checkpoint: Checkpoint, operator: LiveOperator, settings: Mapping[str, Any]
    ) -> None:
        self._operator = operator
        self._model_id = checkpoint.model_id
        self._scorer = ActionScorer(checkpoint, operator.pipeline.monitor)
        self.tune(settings)

    def tune(self, settings: Mapping[str, Any]) -> None:
        """Take what may change at any time."""
        self._scorer.settings = ScoringSettings(
            risk_weight=settings["score_risk_weight"],
            success_weight=settings["score_success_weight"],
            max_risk=settings["score_max_risk"] or None,
            min_success=settings["score_min_success"],
        )

    def answer(
        self, request: ScoreActions.Request, response: ScoreActions.Response
    ) -> ScoreActions.Response:
        """Score the candidates; what is wrong with a request is its answer's reason."""
        response.best = -1
        response.model_id = self._model_id
        response.scorer_id = self._scorer.scorer.document.scorer_id
        response.validity = validity_bits(self._operator.counts.validity)
        try:
            self._score(request, response)
        except ProError as exc:
            response.reason = str(exc)
        return response

    def _score(self, request: ScoreActions.Request, response: ScoreActions.Response) -> None:
        shape = (request.candidates, request.rows, request.action_dim)
        actions = np.asarray(request.actions, dtype=np.float32)
        if actions.size != shape[0] * shape[1] * shape[2]:
            response.reason = (
                f"{actions.size} numbers do not make {shape[0]} candidates of {shape[1]} rows of "
                f"{shape[2]} numbers"
            )
            return
        age, limit = self._operator.valid_age, PERIODS * self._operator.period
        if age > limit:
            response.reason = (
                f"the newest valid assessment is {age:.3g} s old, more than {limit:.3g} s"
            )
            return
        found = self._scorer.score(
            actions.reshape(shape),
            request.dt,
            _weight(request.risk_weight),
            _weight(request.success_weight),
        )
        response.ok = True
        response.reason = found.reason
        for name in ("progress", "risk", "success", "score"):
            setattr(response, name, getattr(found, name).astype(np.float32))
        response.supported = found.supported.tolist()
        response.best, response.accepted = found.best, found.accepted
        response.tells = list(found.tells)
        response.sequence = found.sequence
        response.validity = validity_bits(found.validity)


def _weight(given: float) -> float | None:
    """A weight of a request: 0 is the node's own (None here), a negative one means none."""
    return None if given == 0.0 else max(0.0, float(given))
