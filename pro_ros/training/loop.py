"""The training loop: optimise, validate, stop early, resume.

Lightning Fabric owns device, precision and processes, so that the same loop runs on one CPU
core, one GPU or several.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pro_ros.errors import ProError
from pro_ros.model.operator import Inputs, Operator
from pro_ros.training.batches import BatchMaker, Chunk, chunks
from pro_ros.training.comparisons import PairSampler, aligned_segments, runs
from pro_ros.training.config import TrainingConfig
from pro_ros.training.objectives import (
    Targets,
    comparison_loss,
    labelled_steps,
    td_lambda_targets,
    total_loss,
)
from pro_ros.training.state import load_state, save_state

TARGET_DECAY = 0.995
"""Decay of the slow copy that TD(lambda) bootstraps from, where no average is configured."""

Report = Callable[[int, dict[str, float]], None]
"""Called after each epoch with its number (from 1) and its losses."""


@dataclass
class History:
    """What a run went through; ``epochs`` holds one dictionary of losses per epoch."""

    epochs: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_loss: float = math.inf


class Trainer:
    """One training run of an operator.

    Parameters
    ----------
    operator
        With normalisation and priors already fitted; trained in place.
    train, validation
        ``validation`` may be None: then all epochs are run and the last weights kept.
    fabric
        Launched; decides device, precision and processes.
    state_path
        Where the run's state is saved after each epoch, for resuming; None: nowhere.
    fingerprint
        Identifies data and configuration; a state of another one is refused.
    """

    def __init__(
        self,
        operator: Operator,
        train: BatchMaker,
        validation: BatchMaker | None,
        config: TrainingConfig,
        fabric: Fabric,
        state_path: Path | None = None,
        fingerprint: str = "",
    ) -> None:
        self.operator = operator
        self.train = train
        self.validation = validation
        self.config = config
        self.fabric = fabric
        self.state_path = state_path
        self.fingerprint = fingerprint
        self.history = History()
        self.rng = np.random.default_rng()
        self.pairs = PairSampler(runs(train.sequences), config.comparison.faster_by)
        self.segment_steps = _segment_steps(train, config.comparison.segment)
        optimiser = torch.optim.AdamW(
            operator.parameter_groups(config.optimiser.weight_decay),
            lr=config.optimiser.learning_rate,
        )
        self.model, self.optimiser = fabric.setup(operator, optimiser)
        self.slow = self._slow_copy()
        self.best = _copy(self._judged().state_dict())
        self.step = 0
        self.done = 0.0

    def run(self, report: Report | None = None) -> History:
        """Train until the epochs are used up or validation no longer improves.

        Afterwards ``operator`` holds the best weights. Starts from ``state_path`` if it exists.
        """
        first = self._resume()
        limit = self.config.optimiser
        for epoch in range(first, limit.epochs + 1):
            if epoch - 1 - self.history.best_epoch >= limit.patience:
                break
            losses = self._train_epoch(epoch)
            if self.validation is not None:
                losses |= {f"validation_{k}": v for k, v in self._validate().items()}
            judged = losses.get("validation_total", -float(epoch))
            if not math.isfinite(losses["total"]) or math.isnan(judged):
                raise ProError(
                    f"training diverged in epoch {epoch}: the loss is not finite; "
                    "lower optimiser.learning_rate"
                )
            self.history.epochs.append(losses)
            if judged < self.history.best_loss:
                self.history.best_loss = judged
                self.history.best_epoch = epoch
                self.best = _copy(self._judged().state_dict())
            self._save(epoch)
            if report is not None:
                report(epoch, losses)
        self.operator.load_state_dict(self.best)
        self.operator.eval()
        return self.history

    def _train_epoch(self, epoch: int) -> dict[str, float]:
        # Each process draws its own chunks; gradients are averaged over processes. Drawing anew
        # from seed and epoch makes a resumed run the same as one that was never interrupted.
        source = np.random.SeedSequence([self.config.seed, self.fabric.global_rank, epoch])
        self.rng = np.random.default_rng(source)
        torch.manual_seed(int(source.generate_state(1)[0]))
        self.model.train()
        sums: dict[str, float] = {}
        count = 0
        drawn = chunks(self.train.sequences, self.config.optimiser.chunk, self.rng)
        # Equally many steps in all processes, or the others would wait for ever.
        share = max(1, len(drawn) // self.fabric.world_size)
        drawn = drawn[:share]
        size = self.config.optimiser.batch
        for inputs, targets in self.train.batches(drawn, size):
            # How many batches an epoch has is drawn anew each time: count in epochs.
            self.done = (epoch - 1 + count * size / len(drawn)) / self.config.optimiser.epochs
            losses = self._step(inputs.to(self.fabric.device), targets.to(self.fabric.device))
            for key, value in losses.items():
                sums[key] = sums.get(key, 0.0) + float(value)
            count += 1
        return {key: value / count for key, value in sums.items()}

    def _step(self, inputs: Inputs, targets: Targets) -> dict[str, Tensor]:
        self.step += 1
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.optimiser.learning_rate * self._rate()
        outputs = self.model(inputs)
        losses = total_loss(outputs, targets, self.config.loss, self._bootstrap(inputs, targets))
        loss = losses["total"]
        if self.config.loss.comparison and self.config.comparison.pairs:
            comparison = self._compare()
            if comparison is not None:
                losses["comparison"] = comparison
                loss = loss + self.config.loss.comparison * comparison
        self.optimiser.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        self.fabric.clip_gradients(self.model, self.optimiser, max_norm=self.config.optimiser.clip)
        self.optimiser.step()
        if self.slow is not None:
            self.slow.update_parameters(self.operator)
        return {k: v.detach() for k, v in losses.items()}

    def _rate(self) -> float:
        """Share of the learning rate at this step."""
        optimiser = self.config.optimiser
        warm = min(1.0, self.step / max(1, optimiser.warmup_steps))
        if optimiser.schedule == "constant":
            return warm
        return warm * 0.5 * (1.0 + math.cos(math.pi * self.done))

    def _compare(self) -> Tensor | None:
        """Bradley-Terry loss of this step's pairs, scored by the mean value of a segment."""
        drawn = self.pairs.draw(self.rng, self.config.comparison.pairs)
        if not drawn:
            return None
        better, worse = [], []
        for a, b in drawn:
            (a0, a1), (b0, b1) = aligned_segments(a, b, self.rng, self.segment_steps)
            better.append(Chunk(a.sequence, a0, a1))
            worse.append(Chunk(b.sequence, b0, b1))
        inputs = self.train.batch(better + worse)[0].to(self.fabric.device)
        inside = self.train.labelled(better + worse).to(self.fabric.device)
        value = self.model(inputs).value
        score = (value * inside).sum(-1) / inside.sum(-1)
        return comparison_loss(score[:, : len(drawn)], score[:, len(drawn) :])

    @torch.no_grad()
    def _bootstrap(self, inputs: Inputs, targets: Targets) -> Tensor | None:
        """TD(lambda) returns from the slow copy, or None for Monte-Carlo returns."""
        if self.config.loss.value_target != "td_lambda":
            return None
        assert self.slow is not None
        value = self.slow.module(inputs).value.mean(dim=0)
        return td_lambda_targets(
            value, targets.reward, targets.dt, targets.ends, (targets.value_weight > 0).float(),
            self.config.reward.discount_per_s, self.config.loss.td_lambda,
        )  # fmt: skip

    @torch.no_grad()
    def _validate(self) -> dict[str, float]:
        """Loss over the whole validation part, each entry weighted by what is labelled."""
        assert self.validation is not None
        model = self._judged()
        model.eval()
        size = self.config.optimiser
        sums: dict[str, float] = {}
        weights: dict[str, float] = {}
        drawn = chunks(self.validation.sequences, size.chunk)
        for inputs, targets in self.validation.batches(drawn, size.batch):
            inputs, targets = inputs.to(self.fabric.device), targets.to(self.fabric.device)
            losses = total_loss(model(inputs), targets, self.config.loss)
            for key, value in losses.items():
                if key == "total":
                    continue
                counted = getattr(targets, f"{key}_weight")
                weight = float(labelled_steps(counted) if key == "hazard" else counted.sum())
                sums[key] = sums.get(key, 0.0) + float(value) * weight
                weights[key] = weights.get(key, 0.0) + weight
        means = {key: sums[key] / max(weights[key], 1e-8) for key in sums}
        objective = self.config.loss.model_dump()
        means["total"] = sum(objective[key] * mean for key, mean in means.items())
        return means

    def _slow_copy(self) -> AveragedModel | None:
        decay = self.config.optimiser.average
        if not decay and self.config.loss.value_target == "td_lambda":
            decay = TARGET_DECAY
        if not decay:
            return None
        slow = AveragedModel(self.operator, multi_avg_fn=get_ema_multi_avg_fn(decay))
        slow.module.eval()
        return slow

    def _judged(self) -> Operator:
        """The weights that are validated and kept: the averaged ones if configured."""
        if self.slow is not None and self.config.optimiser.average:
            return cast("Operator", self.slow.module)
        return self.operator

    def _resume(self) -> int:
        if self.state_path is None or not self.state_path.exists():
            return 1
        modules, progress = load_state(self.state_path, self.optimiser.optimizer, self.fingerprint)
        self.operator.load_state_dict(modules["operator"])
        self.best = modules["best"]
        if self.slow is not None:
            self.slow.load_state_dict(modules["slow"])
        self.history = History(**progress["history"])
        self.step = progress["step"]
        return int(progress["epoch"]) + 1

    def _save(self, epoch: int) -> None:
        if self.state_path is None or not self.fabric.is_global_zero:
            return
        modules = {"operator": self.operator.state_dict(), "best": self.best}
        if self.slow is not None:
            modules["slow"] = self.slow.state_dict()
        progress = {"epoch": epoch, "step": self.step, "history": vars(self.history)}
        save_state(self.state_path, modules, self.optimiser.optimizer, progress, self.fingerprint)


def _segment_steps(train: BatchMaker, seconds: float) -> int:
    """Length of a compared segment in steps, from the median step period."""
    periods = [np.diff(s.t_ns) for s in train.sequences if len(s) > 1]
    if not periods:
        return 1
    return max(1, round(seconds * 1e9 / float(np.median(np.concatenate(periods)))))


def _copy(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: tensor.detach().cpu().clone() for key, tensor in state.items()}
