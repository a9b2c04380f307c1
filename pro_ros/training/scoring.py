"""Fitting the action scorer on executed chunks, behind a trained and calibrated operator.

The base is fitted first, without any chunk, and then stands still; the effect learns what a chunk
adds to it. How much of the effect is used is chosen on the validation episodes, and whether any of
it is, on the calibration episodes, which nothing of it was fitted on (docs/scoring.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Seq
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pro_ros.episodes.labels import Labels, RewardConfig
from pro_ros.episodes.sequence import Sequence
from pro_ros.errors import TooFewEpisodesError
from pro_ros.model.calibration import Affine
from pro_ros.model.chunks import action_features
from pro_ros.model.scorer import (
    OUTPUTS,
    Evidence,
    Output,
    Scorer,
    ScorerDocument,
    SupportFacts,
    chunk_inputs,
    support_inputs,
)
from pro_ros.model.scorer_config import ScoringConfig
from pro_ros.model.scorer_file import UNNAMED
from pro_ros.model.support import Support
from pro_ros.runtime.assessor import Assessable, Assessor
from pro_ros.streams.sample import FloatArray
from pro_ros.streams.spec import RobotSpec
from pro_ros.training.chunks import Executed, completed, executed_chunks, whole_chunks
from pro_ros.training.platt import fit_platt
from pro_ros.training.scoring_data import ChunkTensors, objective, statistics_of, tensors_of
from pro_ros.training.scoring_evidence import evidence, losses_of
from pro_ros.training.scoring_net import Branch

Part = tuple[Seq[Sequence], Seq[Labels]]

LEAST_CHUNKS = 100
"""Fewer executed chunks than this, and nothing is fitted."""

WEIGHTS = np.linspace(0.0, 1.0, 21)
"""Weights of the effect that are tried."""


def fit_scorer(
    trained: Assessable,
    parts: Mapping[str, Part],
    config: ScoringConfig,
    reward: RewardConfig,
    seed: int = 0,
) -> Scorer:
    """Fit a scorer to a frozen operator.

    Parameters
    ----------
    trained
        The calibrated operator.
    parts
        Sequences and labels of ``train``, ``validation`` and ``calibration``. Without validation
        all epochs are run; without calibration episodes the evidence comes from the validation
        part, which flatters it, and a note says so.

    Raises
    ------
    SpecError
        The operator reads no action.
    TooFewEpisodesError
        There are too few executed chunks.
    """
    features, _ = action_features(trained.spec)
    check_scorable(trained.spec, parts["train"][0], config)
    assessor = Assessor(trained)
    found = {
        name: executed_chunks(
            assessor, *parts[name], config.chunk, config.points, reward, config.most_chunks, seed
        )
        for name in ("train", "validation", "calibration")
        if parts[name][0]
    }
    train = found["train"]
    counts = {name: len(chunks) for name, chunks in found.items()}
    counts["cut"] = sum(int((~c.full).sum()) for c in found.values())
    whole = {name: completed(chunks, train, seed) for name, chunks in found.items()}
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _Fit(trained, assessor, config, features, found, whole, counts, rng).scorer()


def check_scorable(spec: RobotSpec, sequences: Seq[Sequence], config: ScoringConfig) -> None:
    """Refuse training sequences that hold too few chunks, before hours go into training.

    Raises
    ------
    SpecError, TooFewEpisodesError
        As :func:`fit_scorer`.
    """
    count = whole_chunks(spec, sequences, config.chunk, config.points)
    if count < LEAST_CHUNKS:
        raise TooFewEpisodesError(
            f"scoring: the training episodes hold {count} whole chunks of {config.chunk:g} s in "
            f"which every number of the command is known, at least {LEAST_CHUNKS} are needed: "
            "shorten scoring.chunk, or look at hold and rate of the action streams"
        )


class _Fit:
    """One fit, step by step; ``found`` holds the chunks as executed, ``whole`` completed ones."""

    def __init__(
        self,
        trained: Assessable,
        assessor: Assessor,
        config: ScoringConfig,
        features: tuple[str, ...],
        found: Mapping[str, Executed],
        whole: Mapping[str, Executed],
        counts: dict[str, int],
        rng: np.random.Generator,
    ) -> None:
        self.config, self.features, self.counts, self.rng = config, features, counts, rng
        self.judge = assessor.judge
        self.modes, self.horizons = assessor.modes, assessor.horizons
        self.found, self.whole = found, whole
        self.notes: list[str] = []
        self.arrays: dict[str, FloatArray] = statistics_of(whole["train"], self.judge)
        self.calibration: dict[Any, dict[str, Affine]] = {"scorer": {}, "base": {}}
        self.evidence = {name: Evidence() for name in OUTPUTS}
        self.effect: dict[Output, float] = dict.fromkeys(OUTPUTS, 1.0)
        train = whole["train"]
        size = len(features)
        hazards = len(self.modes) * len(self.horizons)
        situation = len(self.arrays["inputs.mean"]) + size + 1
        self.base = Branch(situation, 0, 2 + hazards, config)
        self.act = Branch(situation, 2 * config.points * size, 2 + hazards, config)
        self.skip = torch.nn.Parameter(torch.ones(1 + hazards))
        rows = train.full
        support_rows = self._rows(train.take(np.flatnonzero(rows)))
        self.support = Support.fit(support_rows, config.support_chunks, config.support, rng)
        self.facts = SupportFacts(
            threshold=1.0, share=config.support, chunks=0, episodes=0, part="",
            kept=len(self.support.arrays["kept"]),
        )  # fmt: skip

    def scorer(self) -> Scorer:
        """Do it all."""
        data = {
            name: tensors_of(chunks, self.arrays, self.judge)
            for name, chunks in self.whole.items()
        }
        self._train(self.base, data, None)
        offset = {name: self._offsets(d) for name, d in data.items()}
        self._train(self.act, data, offset)
        self._weigh()
        self._calibrate()
        self._prove()
        self._bound()
        return self._built()

    def _built(self) -> Scorer:
        document = ScorerDocument(
            scorer_id=UNNAMED, model_id=UNNAMED, weights_sha256=UNNAMED,
            config=self.config, features=self.features, modes=self.modes, horizons=self.horizons,
            effect=self.effect, evidence=self.evidence, support=self.facts,
            calibration=self.calibration, chunks=self.counts, notes=tuple(self.notes),
        )  # fmt: skip
        arrays = dict(self.arrays)
        arrays["skip"] = self.skip.detach().numpy().copy()
        for name, branch in (("base", self.base), ("effect", self.act)):
            arrays |= {f"{name}.{k}": v.numpy().copy() for k, v in branch.state_dict().items()}
        for name, array in self.support.arrays.items():
            arrays[f"support.{name}"] = array.astype(np.float32)
        return Scorer(document, arrays)

    def _rows(self, chunks: Executed) -> FloatArray:
        rows = chunk_inputs(chunks.path, chunks.newest, chunks.known, self.arrays)
        return support_inputs(rows, self.config.points, len(self.features))

    def _train(
        self,
        branch: Branch,
        data: Mapping[str, ChunkTensors],
        offset: Mapping[str, Tensor] | None,
    ) -> None:
        """Fit one branch; with ``offset``, what it adds to that."""
        config = self.config
        skip = [] if offset is not None else [{"params": [self.skip], "weight_decay": 0.0}]
        optimiser = torch.optim.AdamW(
            [*branch.parameter_groups(config.weight_decay), *skip], lr=config.learning_rate
        )
        held_out = data.get("validation")
        train = data["train"]

        def outputs(part: str, rows: Tensor) -> Tensor:
            d = data[part]
            chunk = None if offset is None else d.chunk[rows]
            raw = branch(d.situation[rows], chunk)
            return raw + (self._skipped(d)[rows] if offset is None else offset[part][rows])

        def judged() -> float:
            assert held_out is not None
            branch.eval()
            with torch.no_grad():
                every = torch.arange(len(held_out.situation))
                raw = outputs("validation", every).mean(dim=0, keepdim=True)
                return float(objective(raw, held_out, every))

        best, since = _state(branch, self.skip), 0
        best_loss = judged() if held_out is not None else np.inf
        for _ in range(config.epochs):
            branch.train()
            order = torch.from_numpy(self.rng.permutation(len(train.situation)))
            for rows in order.split(config.batch):
                loss = objective(outputs("train", rows), train, rows)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(branch.parameters(), 1.0)
                optimiser.step()
            if held_out is None:
                continue
            now = judged()
            since += 1
            if now < best_loss:
                best, best_loss, since = _state(branch, self.skip), now, 0
            if since >= config.patience:
                break
        if held_out is not None:
            branch.load_state_dict(best[0])
            self.skip.data.copy_(best[1])
        branch.eval().requires_grad_(False)
        self.skip.requires_grad_(False)

    def _skipped(self, data: ChunkTensors) -> Tensor:
        """The operator's own logits, which the base corrects; progress begins at its mean."""
        own = data.operator * self.skip
        return torch.cat([torch.zeros_like(own[:, :1]), own], dim=1)

    @torch.no_grad()
    def _offsets(self, data: ChunkTensors) -> Tensor:
        return self.base(data.situation).mean(dim=0) + self._skipped(data)

    def _outputs(self, scorer: Scorer, chunks: Executed) -> tuple[FloatArray, FloatArray]:
        """Raw base and effect of chunks, ``[N, P]`` each."""
        here = scorer.situation(
            chunks.latent, chunks.packed, chunks.newest, chunks.known, self.judge
        )
        rows = scorer.chunk_inputs(here, chunks.path)
        return scorer.base(here), scorer.effect(here, rows)

    def _weigh(self) -> None:
        """Choose per output how much of the effect is used, by loss on the validation part."""
        chunks = self.whole.get("validation")
        if chunks is None:
            self.notes.append("no validation episodes: the effect of actions is not weighed down")
            return
        scorer = self._built()
        base, effect = self._outputs(scorer, chunks)
        losses = {name: [] for name in OUTPUTS}  # type: dict[Output, list[float]]
        for weight in WEIGHTS:
            said = scorer.finished(base + np.float32(weight) * effect, "scorer")
            for name, (loss, known) in losses_of(said, chunks).items():
                losses[name].append(float(loss[known].mean()) if known.any() else 0.0)
        self.effect = {name: float(WEIGHTS[int(np.argmin(losses[name]))]) for name in OUTPUTS}

    def _calibrate(self) -> None:
        """Affine maps of the logits, of both the scorer and its base (Platt 1999)."""
        chunks = self.whole.get("validation")
        if chunks is None:
            self.notes.append("no validation episodes: the scorer's probabilities are as fitted")
            return
        scorer = self._built()
        base, effect = self._outputs(scorer, chunks)
        bins = len(self.horizons)
        which: tuple[tuple[str, FloatArray], ...] = (
            ("base", base), ("scorer", base + scorer.weight * effect),
        )  # fmt: skip
        for name, raw in which:
            scales: dict[str, Affine] = {}
            fit = fit_platt(raw[:, 1], chunks.success.astype(float), chunks.success_known)
            scales["success"] = _affine(fit)
            logits = raw[:, 2:].reshape(len(raw), -1, bins)
            for m, mode in enumerate(self.modes):
                fit = fit_platt(
                    logits[:, m], chunks.hazard[:, m].astype(float), chunks.hazard_known[:, m]
                )
                scales[mode] = _affine(fit)
            self.calibration[name] = scales

    def _prove(self) -> None:
        """Keep the effect only where it lowers the loss on episodes that it was not fitted on."""
        part = "calibration" if "calibration" in self.found else "validation"
        if part not in self.found:
            self.notes.append("no held-out episodes: nothing shows that the chunk tells anything")
            if self.config.only_proven:
                self.effect = dict.fromkeys(OUTPUTS, 0.0)
            return
        if part == "validation":
            self.notes.append(
                "no calibration episodes: the evidence rests on those that stopped the training"
            )
        chunks = self.found[part]
        self.evidence = evidence(
            self._built(), chunks.take(np.flatnonzero(chunks.full)), self.judge
        )
        for name in OUTPUTS:
            if self.evidence[name].proven:
                continue
            used = "not used" if self.config.only_proven else "used nonetheless"
            self.notes.append(f"{name}: held-out episodes do not show that actions tell; {used}")
            if self.config.only_proven:
                self.effect[name] = 0.0
        base, scorer = self.calibration["base"], self.calibration["scorer"]
        if not self.effect["success"] and base:
            scorer["success"] = base["success"]
        if not self.effect["risk"] and base:
            scorer.update({mode: base[mode] for mode in self.modes})

    def _bound(self) -> None:
        """Set the support's threshold on held-out executed chunks."""
        part = next((p for p in ("calibration", "validation") if p in self.found), "train")
        if part == "train":
            self.notes.append("no held-out episodes: what counts as known rests on the training")
        chunks = self.found[part]
        chunks = chunks.take(np.flatnonzero(chunks.full))
        distance = np.sort(self.support.distance(self._rows(chunks)))
        # The rank of a conformal quantile: too few chunks give the largest of them.
        rank = int(np.ceil((len(distance) + 1) * self.config.support)) - 1
        threshold = float(distance[min(rank, len(distance) - 1)]) if len(distance) else 1.0
        if rank >= len(distance):
            self.notes.append(
                f"only {len(distance)} held-out chunks: fewer than {self.config.support:.0%} of "
                "those like them may count as known"
            )
        self.support = self.support.with_threshold(max(threshold, 1e-6))
        self.facts = SupportFacts(
            threshold=self.support.threshold, share=self.config.support, chunks=len(distance),
            episodes=len(np.unique(chunks.episode)), part=part, kept=self.facts.kept,
        )  # fmt: skip


def _state(branch: Branch, skip: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    copied = {k: v.detach().clone() for k, v in branch.state_dict().items()}
    return copied, skip.detach().clone()


def _affine(fit: tuple[float, float] | None) -> Affine:
    return Affine() if fit is None else Affine(slope=fit[0], intercept=fit[1])
