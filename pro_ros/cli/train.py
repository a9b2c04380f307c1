"""``pro-ros train``: data set + training file -> checkpoint."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pro_ros.cli.console import JsonOption, naming, note, notes, print_json, progress, say
from pro_ros.cli.output import CHECKPOINT, check_output

if TYPE_CHECKING:
    from pro_ros.model.checkpoint import CheckpointDocument
    from pro_ros.training.train import Training


def command(
    dataset: Annotated[Path, typer.Argument(help="Data set folder made by 'pro-ros import'.")],
    output: Annotated[Path, typer.Option("--out", "-o", help="Checkpoint folder to be made.")],
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Training file; default: defaults.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    devices: Annotated[int, typer.Option(min=1, help="How many of them.")] = 1,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume/--no-resume", help="Go on with an interrupted run, or forget its state."
        ),
    ] = True,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing checkpoint.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train PRO on a data set and calibrate it.

    An interrupted run goes on where it stopped when the same command is given again: its state
    is kept in a hidden file beside the checkpoint until the training is done.
    """
    with progress("starting", None):
        from pro_ros.config import load_model
        from pro_ros.episodes.dataset import Dataset
        from pro_ros.training.config import TrainingConfig
        from pro_ros.training.fabric import launch
        from pro_ros.training.train import save, train
        from pro_ros.workers import cores

    settings = load_model(config, TrainingConfig) if config else TrainingConfig()
    data = Dataset.load(dataset)
    check_output(output, overwrite, CHECKPOINT, [dataset])
    fabric = launch(device, devices, settings.optimiser.precision)
    state = output.with_name(f".{output.name}.state.safetensors")
    if not resume:
        state.unlink(missing_ok=True)
    elif state.exists() and fabric.is_global_zero:
        note(f"going on with an interrupted run: {state}")
    with (
        naming(config or dataset),
        TemporaryDirectory() as cache,
        progress("reading the data set", shown=fabric.is_global_zero) as bar,
    ):

        def stage(what: str, share: float) -> None:
            bar.stage(what)
            bar(share)

        def report(epoch: int, losses: dict[str, float]) -> None:
            bar.stage("training", settings.optimiser.epochs)
            bar(epoch, f"loss {losses.get('validation_total', losses['total']):.4f}")

        try:
            training = train(
                data, settings, fabric, state, report, Path(cache), stage,
                processes=max(1, cores() // devices),
            )  # fmt: skip
        except KeyboardInterrupt:
            if state.exists() and fabric.is_global_zero:
                note("the same command goes on after the last whole epoch")
            raise
    if not fabric.is_global_zero:
        return
    document = save(training, output, overwrite=overwrite)
    state.unlink(missing_ok=True)
    _show(output, training, document, as_json)


def _scoring(training: Training) -> dict[str, Any] | None:
    """What the scorer of actions may use of a chunk, and why; None without one."""
    if training.scorer is None:
        return None
    return training.scorer.document.model_dump(mode="json", include={"effect", "evidence"})


def _show(output: Path, training: Training, document: CheckpointDocument, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "checkpoint": str(output),
                "model_id": document.model_id,
                "metrics": document.metrics,
                "calibration": document.calibration.model_dump(mode="json"),
                "scoring": _scoring(training),
                "notes": training.notes,
            }
        )
        return
    notes(training.notes)
    history = training.history
    say(f"{output}: model {document.model_id}")
    if "validation_total" in history.epochs[-1]:
        say(
            f"  best of {len(history.epochs)} epochs: {history.best_epoch}, "
            f"loss {history.best_loss:.4f} on validation episodes"
        )
    else:
        say(f"  {len(history.epochs)} epochs, loss {history.epochs[-1]['total']:.4f} in training")
    if training.scorer is not None:
        found = training.scorer.document
        tells = ", ".join(name for name, weight in found.effect.items() if weight) or "nothing"
        say(f"  scorer of actions: chunks of {found.config.chunk:g} s tell of {tells}")
    for alarm in document.calibration.alarms:
        say(
            f"  alarm on {alarm.target} within {alarm.horizon:g} s: threshold "
            f"{alarm.threshold:.4f} promises {alarm.criterion.replace('_', ' ')} "
            f"{alarm.requested:g} ({alarm.events} events, {alarm.hours:.2f} h)"
        )
