"""From a data set and a training file to a checkpoint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric

from pro_ros.episodes.arrays import sequences as read_sequences
from pro_ros.episodes.dataset import Dataset
from pro_ros.episodes.labels import Labels, label
from pro_ros.episodes.sequence import Sequence
from pro_ros.episodes.splits import select
from pro_ros.errors import DataError, SpecError, suggest
from pro_ros.model.calibration import Calibration
from pro_ros.model.checkpoint import CheckpointDocument, save_checkpoint
from pro_ros.model.chunks import action_features
from pro_ros.model.factory import build_operator
from pro_ros.model.operator import Operator
from pro_ros.model.scorer import Scorer
from pro_ros.streams.spec import RobotSpec
from pro_ros.training.batches import BatchMaker
from pro_ros.training.calibrate import Trained, calibrate
from pro_ros.training.config import TrainingConfig
from pro_ros.training.loop import History, Report, Trainer
from pro_ros.training.parts import PARTS, assign, members
from pro_ros.training.scoring import check_scorable, fit_scorer

Stage = Callable[[str, float], None]
"""Called with what is being done and which share of it is done, from 0 to 1."""


@dataclass(frozen=True)
class Training:
    """What a training run gives: all that :func:`save` puts into a checkpoint.

    ``assignment``: part of each episode, by id. ``notes``: what calibration could not give, and
    what the scorer of actions could not. ``scorer``: None where none was asked for.
    """

    dataset: Dataset
    config: TrainingConfig
    operator: Operator
    calibration: Calibration
    history: History
    assignment: dict[str, str]
    notes: list[str]
    scorer: Scorer | None = None


def train(
    dataset: Dataset,
    config: TrainingConfig,
    fabric: Fabric,
    state_path: Path | None = None,
    report: Report | None = None,
    cache: Path | None = None,
    stage: Stage | None = None,
    processes: int = 1,
) -> Training:
    """Train and calibrate an operator on a data set.

    Parameters
    ----------
    state_path
        Where the run's state is kept, so that it resumes after a kill.
    report
        Called after each epoch.
    cache
        Folder for frames of cameras, which may not fit into memory.
    stage
        Called before and after training with what is being done.
    processes
        That read the data set (:func:`pro_ros.episodes.arrays.sequences`).

    Raises
    ------
    DataError, TooFewEpisodesError
        The data set cannot be trained on: nothing labelled, one class only, too few episodes.
    SpecError
        An alarm is asked for on something that is no failure mode, or a scorer where there are no
        actions.
    """
    spec = dataset.spec
    check_alarms(config, spec)
    if config.scoring is not None:
        action_features(spec)
    assignment = assign(dataset.manifest.episodes, config.split, config.seed)
    say = stage or (lambda what, share: None)
    sequences = read_sequences(
        dataset, lambda share: say("reading the data set", share), cache, processes
    )
    say("preparing", 0.0)
    parts = {part: select(sequences, members(assignment, part)) for part in PARTS}
    if config.scoring is not None:
        check_scorable(spec, parts["train"], config.scoring)
    operator, history = fit(
        spec, parts["train"], parts["validation"], config, fabric,
        state_path=state_path, report=report,
        fingerprint=_run_fingerprint(dataset.fingerprint(), config),
    )  # fmt: skip
    say("calibrating", 0.0)
    labelled = {
        part: (parts[part], labels_of(parts[part], spec, config))
        for part in ("train", "validation", "calibration")
    }
    calibration, notes = calibrate(
        Trained(operator, spec, Calibration()),
        labelled["validation"],
        labelled["calibration"],
        config.calibration,
    )
    scorer = None
    if config.scoring is not None:
        say("fitting the scorer of actions", 0.0)
        trained = Trained(operator, spec, calibration)
        scorer = fit_scorer(trained, labelled, config.scoring, config.reward, config.seed)
        notes += [f"scoring: {note}" for note in scorer.document.notes]
    return Training(dataset, config, operator, calibration, history, assignment, notes, scorer)


def save(training: Training, path: Path | str, overwrite: bool = False) -> CheckpointDocument:
    """Write a checkpoint that says what it was trained on and how.

    Raises
    ------
    StorageError
        ``path`` exists and ``overwrite`` is false, or it cannot be written.
    """
    dataset, history = training.dataset, training.history
    best = history.epochs[history.best_epoch - 1] if history.epochs else {}
    return save_checkpoint(
        path,
        training.operator,
        dataset.spec,
        training.calibration,
        data={
            "name": dataset.manifest.name,
            "fingerprint": dataset.fingerprint(),
            "attribution": dataset.manifest.attribution,
            "parts": {part: members(training.assignment, part) for part in PARTS},
        },
        training={"config": training.config.model_dump(mode="json"), "notes": training.notes},
        metrics={"best_epoch": history.best_epoch, "epochs": len(history.epochs), **best},
        scorer=training.scorer,
        overwrite=overwrite,
    )


def fit(
    spec: RobotSpec,
    train: Seq[Sequence],
    validation: Seq[Sequence],
    config: TrainingConfig,
    fabric: Fabric,
    state_path: Path | None = None,
    report: Report | None = None,
    fingerprint: str = "",
) -> tuple[Operator, History]:
    """Train an operator on sequences; without ``validation`` all epochs are run.

    The model's initial weights and everything drawn in training follow from ``config.seed``.
    """
    torch.manual_seed(config.seed)
    operator = build_operator(config.model, spec)
    labels = labels_of(train, spec, config)
    check_trainable(labels, spec)
    operator.fit_normalisation(
        {
            m: (
                np.concatenate([s.values[m] for s in train]),
                np.concatenate([s.mask[m] for s in train]),
            )
            for m in spec.layout
        }
    )
    operator.set_prior(*_base_rates(labels))
    maker = _maker(operator, spec, train, labels, config)
    held_out = None
    if validation:
        held_out = _maker(operator, spec, validation, labels_of(validation, spec, config), config)
    trainer = Trainer(operator, maker, held_out, config, fabric, state_path, fingerprint)
    history = trainer.run(report)
    return operator.to("cpu"), history


def labels_of(sequences: Seq[Sequence], spec: RobotSpec, config: TrainingConfig) -> list[Labels]:
    """Labels of each sequence, for the modes and horizons of a configuration."""
    return [
        label(
            s,
            spec.failure_modes,
            config.model.horizons,
            config.model.termination_within,
            config.reward,
        )
        for s in sequences
    ]


def check_alarms(config: TrainingConfig, spec: RobotSpec) -> None:
    """Refuse an alarm on an unknown failure mode before hours go into training."""
    known = ("any", *spec.failure_modes) if spec.failure_modes else ()
    for number, alarm in enumerate(config.calibration.alarms):
        if alarm.target not in known:
            raise SpecError(
                f"calibration.alarms[{number}].target: no failure mode '{alarm.target}'"
                f"{suggest(alarm.target, known)} (known: {', '.join(known) or 'none'})"
            )


def check_trainable(labels: Seq[Labels], spec: RobotSpec) -> None:
    """Refuse data from which nothing can be learned, naming what is missing."""
    if not labels or not sum(len(item.value) for item in labels):
        raise DataError("no steps to train on: the training part of the data set is empty")
    if spec.failure_modes:
        events = sum(item.hazard.sum(axis=(0, 2)) for item in labels)
        for mode, count in zip(spec.failure_modes, np.atleast_1d(events), strict=True):
            if not count:
                raise DataError(
                    f"failure mode '{mode}' never happens in the training episodes: remove it "
                    "from failure_modes, or record and split so that it does"
                )
        return
    outcomes = {float(v) for item in labels for v in np.unique(item.success[item.success_known])}
    if len(outcomes) == 1:
        name = "success" if outcomes == {1.0} else "failure"
        raise DataError(f"one class only: every training episode with an outcome is a {name}")
    if not outcomes:
        raise DataError("no training episode has a known outcome and no failure mode is named")


def _base_rates(labels: Seq[Labels]) -> tuple[torch.Tensor, float, float, float]:
    """Base rates of hazards [M, K], termination, success, and the mean return."""

    def mean(name: str, axis: int | None = None) -> np.ndarray:
        values = np.concatenate([getattr(item, name) for item in labels])
        known = np.concatenate([getattr(item, f"{name}_known") for item in labels])
        total = np.sum(values * known, axis=axis, dtype=np.float64)
        return total / np.maximum(np.sum(known, axis=axis), 1)

    return (
        torch.from_numpy(mean("hazard", axis=0)),
        float(mean("termination")),
        float(mean("success")),
        float(mean("value")),
    )


def _maker(
    operator: Operator,
    spec: RobotSpec,
    sequences: Seq[Sequence],
    labels: Seq[Labels],
    config: TrainingConfig,
) -> BatchMaker:
    encoder = operator.text_encoder
    default = encoder.describe(spec.episodes.task, spec.episodes.context)
    text = [encoder.track(s, default) for s in sequences]
    return BatchMaker(sequences, labels, text, operator.context, config.loss)


def _run_fingerprint(dataset: str, config: TrainingConfig) -> str:
    # The scorer comes after the operator: another one does not stop a run from going on.
    document = json.dumps(config.model_dump(mode="json", exclude={"scoring"}), sort_keys=True)
    return hashlib.sha256(f"{dataset}\n{document}".encode()).hexdigest()
