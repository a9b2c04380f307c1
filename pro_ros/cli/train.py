"""``pro-ros train``: data set + training file -> checkpoint."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from pro_ros.cli.console import JsonOption, note, print_json, progress, say
from pro_ros.errors import StorageError


def command(
    dataset: Annotated[Path, typer.Argument(help="Data set folder made by 'pro-ros import'.")],
    output: Annotated[Path, typer.Option("--out", "-o", help="Checkpoint folder to be made.")],
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Training file; default: defaults.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    devices: Annotated[int, typer.Option(min=1, help="How many of them.")] = 1,
    resume: Annotated[
        bool, typer.Option(help="Go on with an interrupted run into the same folder.")
    ] = True,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing checkpoint.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train PRO on a data set and calibrate it.

    An interrupted run goes on where it stopped when the same command is given again.
    """
    from pro_ros.config import load_model
    from pro_ros.episodes.dataset import Dataset
    from pro_ros.training.config import TrainingConfig
    from pro_ros.training.fabric import launch
    from pro_ros.training.train import save, train

    settings = load_model(config, TrainingConfig) if config else TrainingConfig()
    data = Dataset.load(dataset)
    if output.exists() and not overwrite:
        raise StorageError(f"{output}: exists; give --overwrite to replace it")
    fabric = launch(device, devices, settings.optimiser.precision)
    state = output.with_name(f".{output.name}.state.safetensors")
    if not resume:
        state.unlink(missing_ok=True)
    with (
        TemporaryDirectory() as cache,
        progress("training", settings.optimiser.epochs) as advance,
    ):

        def report(epoch: int, losses: dict[str, float]) -> None:
            shown = losses.get("validation_total", losses["total"])
            advance(epoch, f"loss {shown:.4f}")

        training = train(data, settings, fabric, state, report, Path(cache))
    if not fabric.is_global_zero:
        return
    document = save(training, output, overwrite=overwrite)
    state.unlink(missing_ok=True)
    if as_json:
        print_json(
            {
                "checkpoint": str(output),
                "model_id": document.model_id,
                "metrics": document.metrics,
                "calibration": document.calibration.model_dump(mode="json"),
                "notes": training.notes,
            }
        )
        return
    for line in training.notes:
        note(line)
    history = training.history
    say(f"{output}: model {document.model_id}")
    say(
        f"  best of {len(history.epochs)} epochs: {history.best_epoch}, "
        f"loss {history.best_loss:.4f} on validation episodes"
    )
    for alarm in document.calibration.alarms:
        say(
            f"  alarm on {alarm.target} within {alarm.horizon:g} s: threshold "
            f"{alarm.threshold:.4f} promises {alarm.criterion.replace('_', ' ')} "
            f"{alarm.requested:g} ({alarm.events} events, {alarm.hours:.2f} h)"
        )
