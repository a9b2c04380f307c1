"""The action scorer: what a chunk of actions will do, judged from the operator's latent.

It stands on the frozen operator. A *base* predicts from the temporal latent, what the operator
says and the newest command; an *effect* adds what the chunk changes. Both are small networks of
members that are averaged. The effect is weighed per output by what it proved on held-out
episodes, so that a scorer that learned nothing of actions gives every candidate the same numbers
(docs/scoring.md). Inference is in numpy, as on few numbers that is the faster.

B: situations, N: chunks, C: instants of a chunk, D: numbers of a command, M: failure modes, K:
horizons, P = 2 + M K outputs: progress, logit of success, logits of hazards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.special import expit

from pro_ros.config import StrictModel
from pro_ros.model.calibration import Affine, Assess
from pro_ros.model.outputs import risks
from pro_ros.model.scorer_config import ScoringConfig
from pro_ros.model.support import Support
from pro_ros.streams.sample import BoolArray, FloatArray

FORMAT: Final = "pro_ros/scorer/1"

Output = Literal["progress", "success", "risk"]
OUTPUTS: tuple[Output, ...] = ("progress", "success", "risk")

FARTHEST = 10.0
"""Standardised numbers of a command are clipped here; chunks that far are flagged anyway."""

SUREST = 12.0
"""Logits of the operator are clipped here before the scorer reads them."""

Wide = npt.NDArray[np.float64]


class Evidence(StrictModel):
    """What the chunk told about one output on held-out episodes, beyond the base.

    ``gain``: share of the base's loss that the chunk takes away (squared error for progress,
    negative log likelihood otherwise), with a 95 % bootstrap interval by episode.
    """

    gain: float | None = Field(None, description="None: nothing to measure it on")
    low: float | None = None
    high: float | None = None
    chunks: int = Field(0, ge=0, description="Held-out executed chunks with a label")
    episodes: int = Field(0, ge=0, description="Episodes that they come from")
    proven: bool = Field(False, description="The interval lies above 0")


class SupportFacts(StrictModel):
    """The threshold beyond which a chunk counts as unlike the training's, and its grounds."""

    threshold: float = Field(..., gt=0, description="Distance, relative to the training's own")
    share: float = Field(..., description="Share of the held-out chunks that it should keep")
    chunks: int = Field(..., ge=0, description="Held-out executed chunks that it rests on")
    episodes: int = Field(..., ge=0, description="Episodes that they come from")
    part: str = Field(..., description="Part of the data set that they come from")
    kept: int = Field(..., ge=1, description="Training chunks that are compared with")


class ScorerDocument(StrictModel):
    """Contents of ``scorer.json``."""

    format: Literal["pro_ros/scorer/1"] = FORMAT
    scorer_id: str = Field(..., description="Short digest of weights and what is below")
    model_id: str = Field(..., description="The operator that it stands on")
    weights_sha256: str
    config: ScoringConfig
    features: tuple[str, ...] = Field(..., description="Numbers of a command, in order")
    modes: tuple[str, ...]
    horizons: tuple[float, ...]
    effect: dict[Output, float] = Field(..., description="Weight of the chunk's effect, 0 to 1")
    evidence: dict[Output, Evidence]
    support: SupportFacts
    calibration: dict[Literal["scorer", "base"], dict[str, Affine]] = Field(
        ..., description="Affine maps of the logits of 'success' and of each mode's hazards"
    )
    chunks: dict[str, int] = Field(
        ..., description="Executed chunks per part, and how many an event or an end cut short"
    )
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Predicted:
    """What is expected of chunks. ``progress``, ``success`` ``[N]``; risks as in Assessment."""

    progress: Wide
    success: Wide
    risk: Wide
    mode_risk: Wide


@dataclass(frozen=True)
class Situation:
    """What the scorer knows beside the chunk, B rows; made by :meth:`Scorer.situation`.

    ``inputs`` float32 ``[B, S]``; ``operator`` float32 ``[B, P - 1]``: the operator's logits of
    success and hazards; ``newest`` float32 ``[B, D]`` and ``known`` bool ``[B]``.
    """

    inputs: FloatArray
    operator: FloatArray
    newest: FloatArray
    known: BoolArray


class Scorer:
    """A fitted scorer.

    Parameters
    ----------
    document
        As it is stored.
    arrays
        Its weights by name; those of the :class:`Support` begin with ``support.``.
    """

    def __init__(self, document: ScorerDocument, arrays: Mapping[str, FloatArray]) -> None:
        self.document = document
        self.arrays = dict(arrays)
        self.config = document.config
        self.shape = (len(document.modes), len(document.horizons))
        self.support = Support(
            {k.removeprefix("support."): v for k, v in arrays.items() if k.startswith("support.")},
            document.support.threshold,
        )
        self._base = _Branch(arrays, "base", self.config.members)
        self._effect = _Branch(arrays, "effect", self.config.members)
        weight = [document.effect[name] for name in ("progress", "success")]
        hazards = self.shape[0] * self.shape[1]
        self.weight = np.array(weight + [document.effect["risk"]] * hazards, dtype=np.float32)
        self._scales = {
            which: _scales(affine, document.modes, self.shape[1])
            for which, affine in document.calibration.items()
        }

    def situation(
        self,
        latent: FloatArray,
        packed: FloatArray,
        newest: FloatArray,
        known: BoolArray,
        judge: Assess,
    ) -> Situation:
        """Bring what the operator knows into the scorer's form.

        Parameters
        ----------
        latent, packed
            ``[B, E, W]`` and ``[B, E, ...]`` (:class:`pro_ros.runtime.assessor.Memory`).
        newest, known
            The newest command ``[B, D]``, and where there is one ``[B]``.
        judge
            The operator's calibration.
        """
        inputs, logits = situation_inputs(latent, packed, judge)
        rows = standard_situation(inputs, newest, known, self.arrays)
        return Situation(rows, logits, newest.astype(np.float32), known)

    def chunk_inputs(self, situation: Situation, paths: FloatArray) -> FloatArray:
        """Chunks ``[N, C, D]`` of one or of N situations as the scorer reads them, ``[N, F]``.

        Values, and their change since the newest command, or since the first row where none is
        known.
        """
        return chunk_inputs(paths, situation.newest, situation.known, self.arrays)

    def support_inputs(self, rows: FloatArray) -> FloatArray:
        """What the support compares, of chunks as :meth:`chunk_inputs` gave them."""
        return support_inputs(rows, self.config.points, len(self.document.features))

    def base(self, situation: Situation) -> FloatArray:
        """What is expected whatever the chunk is, not calibrated: ``[B, P]``."""
        skipped = situation.operator * self.arrays["skip"]
        raw = self._base(situation.inputs)
        raw[:, 1:] += skipped
        return raw

    def effect(self, situation: Situation, rows: FloatArray) -> FloatArray:
        """What the chunks change, not weighed: ``[N, P]``."""
        return self._effect(situation.inputs, rows)

    def predict(self, situation: Situation, rows: FloatArray) -> Predicted:
        """What is expected of chunks, given as :meth:`chunk_inputs` returned them."""
        raw = self.base(situation) + self.weight * self.effect(situation, rows)
        return self.finished(raw, "scorer")

    def predict_base(self, situation: Situation) -> Predicted:
        """The same without the chunk: of a scorer that never saw one."""
        return self.finished(self.base(situation), "base")

    def finished(self, raw: FloatArray, which: Literal["scorer", "base"]) -> Predicted:
        """Calibrated numbers from raw outputs ``[N, P]``."""
        slope, intercept = self._scales[which]
        scale = self.arrays["progress"]
        logits = raw[:, 1:].astype(np.float64) * slope + intercept
        risk, mode_risk, _ = risks(logits[:, 1:].reshape(len(raw), *self.shape))
        progress = raw[:, 0].astype(np.float64) * float(scale[1]) + float(scale[0])
        return Predicted(progress, expit(logits[:, 0]), risk, mode_risk)


class _Branch:
    """Averaged members, each with two hidden layers; the inputs of all stand side by side."""

    def __init__(self, arrays: Mapping[str, FloatArray], name: str, members: int) -> None:
        self._members = members
        self._situation = arrays[f"{name}.situation"]
        self._bias = arrays[f"{name}.bias"]
        self._chunk = arrays.get(f"{name}.chunk")
        self._inner = arrays[f"{name}.inner"]
        self._inner_bias = arrays[f"{name}.inner_bias"]
        leave = arrays[f"{name}.leave"]
        # The mean over members is one product.
        self._leave = np.ascontiguousarray(leave.reshape(-1, leave.shape[-1]) / members)
        self._leave_bias = arrays[f"{name}.leave_bias"].mean(axis=0)[0]

    def __call__(self, situation: FloatArray, chunk: FloatArray | None = None) -> FloatArray:
        """``[B, S]``, and where the branch reads chunks ``[N, F]`` -> ``[N, P]``."""
        first = situation @ self._situation + self._bias
        if chunk is not None:
            assert self._chunk is not None
            first = first + chunk @ self._chunk
        np.maximum(first, 0, out=first)
        x = first.reshape(len(first), self._members, -1).transpose(1, 0, 2)
        x = np.matmul(x, self._inner)
        x += self._inner_bias
        np.maximum(x, 0, out=x)
        flat = x.transpose(1, 0, 2).reshape(len(first), -1)
        result: FloatArray = flat @ self._leave + self._leave_bias
        return result


def situation_inputs(
    latent: FloatArray, packed: FloatArray, judge: Assess
) -> tuple[FloatArray, FloatArray]:
    """What the operator knows as rows, not standardised, and its logits that are corrected.

    ``[B, E W + P + 1]``: the members' latents, value, and the calibrated logits of termination,
    success and hazards; and ``[B, P - 1]``: success and hazards alone.
    """
    heads = packed.astype(np.float64).swapaxes(0, 1)
    logits = np.clip(judge.logits(heads), -SUREST, SUREST)
    value = heads[..., 0].mean(axis=0)
    rows = [latent.reshape(len(latent), -1), value[:, None], logits]
    return np.concatenate(rows, axis=1, dtype=np.float32), logits[:, 1:].astype(np.float32)


def standard_situation(
    inputs: FloatArray, newest: FloatArray, known: BoolArray, arrays: Mapping[str, FloatArray]
) -> FloatArray:
    """What :func:`situation_inputs` gave, standardised, and the newest command, ``[B, S]``."""
    scaled = (inputs - arrays["inputs.mean"]) / arrays["inputs.deviation"]
    command = np.where(known[:, None], standard(newest, arrays), 0.0)
    return np.concatenate([scaled, command, known[:, None]], axis=1, dtype=np.float32)


def standard(commands: FloatArray, arrays: Mapping[str, FloatArray]) -> FloatArray:
    """Commands ``[..., D]`` in deviations of the training's, clipped."""
    scaled = (commands - arrays["command.mean"]) / arrays["command.deviation"]
    clipped: FloatArray = np.clip(scaled, -FARTHEST, FARTHEST).astype(np.float32, copy=False)
    return clipped


def chunk_inputs(
    paths: FloatArray, newest: FloatArray, known: BoolArray, arrays: Mapping[str, FloatArray]
) -> FloatArray:
    """See :meth:`Scorer.chunk_inputs`: values and changes side by side, ``[N, 2 C D]``."""
    start = np.where(known[:, None, None], newest[:, None], paths[:, :1])
    change = np.clip((paths - start) / arrays["change.deviation"], -FARTHEST, FARTHEST)
    both = np.concatenate([standard(paths, arrays), change], axis=1, dtype=np.float32)
    return both.reshape(len(paths), -1)


def support_inputs(rows: FloatArray, points: int, size: int) -> FloatArray:
    """From what :func:`chunk_inputs` gave: the chunk's last command, and all changes."""
    return rows[:, (points - 1) * size :]


def _scales(affine: Mapping[str, Affine], modes: tuple[str, ...], bins: int) -> tuple[Wide, Wide]:
    each = [affine.get("success", Affine())]
    for mode in modes:
        each += [affine.get(mode, Affine())] * bins
    return np.array([a.slope for a in each]), np.array([a.intercept for a in each])
