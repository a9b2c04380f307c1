"""Evaluate a checkpoint on a data set: which episodes count, and who the rivals learn from."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import dataclass, replace
from pathlib import Path

from pro_ros.config import parse_model
from pro_ros.episodes.arrays import sequences as read_sequences
from pro_ros.episodes.dataset import Dataset
from pro_ros.episodes.labels import Labels
from pro_ros.episodes.sequence import Sequence
from pro_ros.episodes.splits import select
from pro_ros.errors import CheckpointError, DataError, TooFewEpisodesError
from pro_ros.evaluation.evaluate import evaluate
from pro_ros.evaluation.results import Evaluation, Settings
from pro_ros.evaluation.rivals import NAMES, fit_rivals
from pro_ros.evaluation.scoring import evaluate_scoring
from pro_ros.evaluation.table import EvaluationItem
from pro_ros.model.checkpoint import Checkpoint
from pro_ros.runtime.assessor import Assessor
from pro_ros.streams.spec import RobotSpec
from pro_ros.training.config import TrainingConfig
from pro_ros.training.train import labels_of

HELD_OUT = "test"
LEARNED_FROM = ("train", "validation")
"""Parts that rivals may learn from: all that the operator learned from."""

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Request:
    """What is evaluated.

    ``part``: ``test``, ``calibration``, ``validation`` or ``train`` of the data that the
    checkpoint was trained on, or ``all`` episodes of a data set. Empty: ``test`` for the training
    data and ``all`` for any other. ``resamples``: bootstrap draws. ``rivals``: which, of
    :data:`~pro_ros.evaluation.rivals.NAMES`.
    """

    part: str = ""
    resamples: int = 1000
    seed: int = 0
    command: str = ""
    rivals: tuple[str, ...] = NAMES


def evaluate_checkpoint(
    checkpoint: Checkpoint,
    dataset: Dataset,
    request: Request,
    rivals_from: Dataset | None = None,
    device: str = "cpu",
    cache: Path | None = None,
    progress: Progress | None = None,
    processes: int = 1,
) -> tuple[Evaluation, list[EvaluationItem]]:
    """Assess held-out episodes and measure the assessments beside the rivals'.

    Parameters
    ----------
    rivals_from
        Data set that the checkpoint was trained on, for evaluation on another one; without it
        there are no rivals then.
    progress
        Called with the share of the work that is done and what comes next.
    processes
        That read the data sets (:func:`pro_ros.episodes.arrays.sequences`).

    Raises
    ------
    CheckpointError
        The checkpoint was made for other streams, or does not say what it was trained on.
    DataError, TooFewEpisodesError
        The part does not exist or is empty.
    """
    report = progress or (lambda share, what: None)
    checkpoint.check_spec(dataset.spec, str(dataset.path))
    config = _config(checkpoint)
    whole = read_sequences(dataset, lambda share: report(0.1 * share, "reading"), cache, processes)
    trained_here = dataset.fingerprint() == checkpoint.meta.data["fingerprint"]
    part = request.part or (HELD_OUT if trained_here else "all")
    chosen = _chosen(checkpoint, dataset, whole, part, trained_here)
    labels = labels_of(chosen, dataset.spec, config)
    assessor = Assessor(checkpoint, device)
    items = []
    for number, (sequence, item) in enumerate(zip(chosen, labels, strict=True)):
        report(0.1 + 0.1 * number / len(chosen), "assessing")
        items.append(EvaluationItem(sequence, item, assessor.run(sequence)))
    learned = _learned(checkpoint, dataset, whole, trained_here, rivals_from, cache, processes)
    if learned and part not in LEARNED_FROM:

        def fitted(done: int, total: int) -> None:
            report(0.2 + 0.2 * done / total, "rivals")

        fitted(0, 1)
        items = _with_rivals(items, learned, dataset.spec, config, request, fitted)
    evaluation = evaluate(
        items,
        dataset.spec.failure_modes,
        config.model.horizons,
        headline_horizon=_headline(config),
        thresholds=checkpoint.calibration.alarms,
        settings=Settings(
            resamples=request.resamples,
            seed=request.seed,
            refractory_s=config.calibration.refractory,
        ),
        model=checkpoint.model_id,
        dataset=f"{dataset.manifest.name} ({part})",
        attribution=dataset.manifest.attribution,
        command=request.command,
        progress=lambda done, total, what: report(0.4 + 0.6 * done / total, what),
    )
    if checkpoint.scorer is not None:
        scoring = evaluate_scoring(
            assessor, checkpoint.scorer, chosen, labels, config.reward, evaluation.settings
        )
        evaluation = evaluation.model_copy(update={"scoring": scoring})
    return evaluation, items


def _headline(config: TrainingConfig) -> float | None:
    """The horizon that alarms were asked for; None: the longest."""
    return config.calibration.alarms[0].horizon if config.calibration.alarms else None


def _config(checkpoint: Checkpoint) -> TrainingConfig:
    """What the checkpoint was trained with; an evaluation also needs the data and its parts."""
    meta, where = checkpoint.meta, f"checkpoint {checkpoint.model_id}"
    missing = [f"data.{key}" for key in ("fingerprint", "parts") if key not in meta.data]
    missing += [f"data.parts.{p}" for p in LEARNED_FROM if p not in meta.data.get("parts", {})]
    missing += ["training.config"] if "config" not in meta.training else []
    if missing:
        raise CheckpointError(f"{where}: has no '{missing[0]}': train it again to evaluate it")
    return parse_model(
        meta.training["config"], TrainingConfig, f"{where}: training.config", CheckpointError
    )


def _chosen(
    checkpoint: Checkpoint,
    dataset: Dataset,
    whole: Seq[Sequence],
    part: str,
    trained_here: bool,
) -> list[Sequence]:
    """The evaluated stretches."""
    if part == "all":
        return list(whole)
    if not trained_here:
        raise DataError(
            f"{dataset.path}: is not the data that the checkpoint was trained on, so it has no "
            f"part '{part}': evaluate all of it"
        )
    parts: dict[str, list[str]] = checkpoint.meta.data["parts"]
    if part not in parts:
        raise DataError(f"part '{part}' is not known: use one of {', '.join(parts)}, all")
    if not parts[part]:
        raise TooFewEpisodesError(
            f"the checkpoint's split has no {part} episodes: train with 'split.{part}' above 0, "
            "or evaluate another data set"
        )
    return select(whole, parts[part])


def _learned(
    checkpoint: Checkpoint,
    dataset: Dataset,
    whole: Seq[Sequence],
    trained_here: bool,
    rivals_from: Dataset | None,
    cache: Path | None,
    processes: int,
) -> list[Sequence]:
    """What the operator learned from, for the rivals to learn from too."""
    source = whole
    if not trained_here:
        if rivals_from is None:
            return []
        if rivals_from.fingerprint() != checkpoint.meta.data["fingerprint"]:
            raise DataError(f"{rivals_from.path}: the checkpoint was trained on other data")
        source = read_sequences(rivals_from, cache=cache, processes=processes)
    parts: dict[str, list[str]] = checkpoint.meta.data["parts"]
    return select(source, [e for part in LEARNED_FROM for e in parts[part]])


def _with_rivals(
    items: Seq[EvaluationItem],
    learned: Seq[Sequence],
    spec: RobotSpec,
    config: TrainingConfig,
    request: Request,
    progress: Callable[[int, int], None],
) -> list[EvaluationItem]:
    labels: list[Labels] = labels_of(learned, spec, config)
    rivals = fit_rivals(
        list(zip(learned, labels, strict=True)),
        spec.failure_modes,
        config.model.horizons,
        config.model.temporal.window,
        request.seed,
        request.rivals,
        progress,
    )
    return [
        replace(item, rivals={name: rival.judge(item.sequence) for name, rival in rivals.items()})
        for item in items
    ]
