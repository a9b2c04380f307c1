"""``pro-ros evaluate``: checkpoint + data set -> metrics and one report."""

from __future__ import annotations

import shlex
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from pro_ros.cli.console import JsonOption, note, out, print_json, progress, say

if TYPE_CHECKING:
    from pro_ros.evaluation.results import Evaluation, Score

HEADLINE = ("risk_auroc", "risk_auprc", "event_recall_1", "event_recall_6", "lead_median_6")


def command(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint folder.")],
    dataset: Annotated[Path, typer.Argument(help="Data set folder.")],
    output: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")],
    part: Annotated[
        str,
        typer.Option(help="test, calibration, validation, train or all; default: held out."),
    ] = "",
    rivals_from: Annotated[
        Path | None, typer.Option(help="Training data set, where another one is evaluated.")
    ] = None,
    resamples: Annotated[int, typer.Option(min=0, help="Bootstrap draws.")] = 1000,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    overwrite: Annotated[bool, typer.Option(help="Replace existing results.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure PRO and its rivals on held-out episodes: metrics.json and report.html."""
    from pro_ros.episodes.dataset import Dataset
    from pro_ros.evaluation.held_out import Request, evaluate_checkpoint
    from pro_ros.evaluation.report import write_report
    from pro_ros.evaluation.results import write_json
    from pro_ros.evaluation.timelines import timelines
    from pro_ros.files import atomic_dir
    from pro_ros.model.checkpoint import load_checkpoint
    from pro_ros.training.fabric import check_device

    check_device(device)
    trained = load_checkpoint(checkpoint)
    data = Dataset.load(dataset)
    source = Dataset.load(rivals_from) if rivals_from is not None else None
    words = ["pro-ros", "evaluate", str(checkpoint), str(dataset), "--out", str(output)]
    request = Request(
        part=part,
        resamples=resamples,
        command=shlex.join(words + (["--part", part] if part else [])),
    )
    with (
        atomic_dir(output, overwrite=overwrite) as folder,
        TemporaryDirectory() as cache,
        progress("evaluating", 1.0) as advance,
    ):
        evaluation, items = evaluate_checkpoint(
            trained, data, request, source, device, Path(cache), advance
        )
        write_json(evaluation, folder / "metrics.json")
        write_report(evaluation, timelines(items, evaluation), folder / "report.html")
    if as_json:
        print_json(evaluation.model_dump(mode="json"))
        return
    show(evaluation)
    say(f"{output / 'report.html'}")


def show(evaluation: Evaluation) -> None:
    """Print the headline numbers of an evaluation, and what limits them."""
    counts = evaluation.counts
    say(
        f"{evaluation.dataset}: {counts.episodes} episodes, {counts.hours:.2f} h; "
        f"95 % intervals by episode; risk within {evaluation.headline_horizon:g} s"
    )
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("")
    for model in evaluation.models:
        table.add_column(model, justify="right")
    targets = evaluation.modes if len(evaluation.modes) == 1 else ("any", *evaluation.modes)
    for target in targets if evaluation.modes else ():
        for key in HEADLINE:
            metric = evaluation.find(key, target, evaluation.headline_horizon)
            if metric is not None:
                table.add_row(
                    f"{target} {key.removeprefix('risk_')}",
                    *(_shown(score) for score in metric.scores),
                )
    for key in ("success_auroc", "termination_auroc"):
        metric = evaluation.find(key)
        if metric is not None:
            table.add_row(key, *(_shown(score) for score in metric.scores))
    out.print(table)
    for caveat in evaluation.caveats:
        note(caveat)


def _shown(score: Score) -> str:
    number = score.number
    if number.value is None:
        return "-"
    if number.low is None or number.high is None:
        return f"{number.value:.3f}"
    return f"{number.value:.3f} [{number.low:.2f}, {number.high:.2f}]"
