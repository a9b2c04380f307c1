"""``pro-ros evaluate``: checkpoint + data set -> metrics and one report."""

from __future__ import annotations

import shlex
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from pro_ros.cli.console import (
    Column,
    JsonOption,
    notes,
    print_json,
    progress,
    say,
    table,
    terminal_width,
)
from pro_ros.cli.output import RESULTS, check_output

if TYPE_CHECKING:
    from pro_ros.evaluation.results import Evaluation, Metric, Number, ScoringResults

RISK = {
    "risk_auroc": "AUROC",
    "risk_auprc": "AUPRC",
    "event_recall_1": "recall@1/h",
    "event_recall_6": "recall@6/h",
    "lead_median_6": "median lead [s]",
}
"""Columns of the tables of risk, by metric."""

EPISODES = {
    "success_auroc": "success AUROC",
    "termination_auroc": "termination AUROC",
    "value_voc": "value VOC",
}
"""Columns of the table of the other outputs."""

SCORING = {
    "scoring_progress_r2": "progress R²",
    "scoring_risk_auroc": "risk AUROC",
    "scoring_success_auroc": "success AUROC",
}
"""Columns of the table of the scorer of actions."""

WIDE = 118
"""Terminal width from which intervals are shown [characters]."""


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
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace existing results.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure PRO and its rivals on held-out episodes: metrics.json and report.html."""
    with progress("starting", None):
        from pro_ros.episodes.dataset import Dataset
        from pro_ros.evaluation.held_out import Request, evaluate_checkpoint
        from pro_ros.evaluation.report import write_report
        from pro_ros.evaluation.results import write_json
        from pro_ros.evaluation.timelines import timelines
        from pro_ros.files import atomic_dir
        from pro_ros.model.checkpoint import load_checkpoint
        from pro_ros.training.fabric import check_device
        from pro_ros.workers import cores

    check_device(device)
    check_output(output, overwrite, RESULTS, [checkpoint, dataset])
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
        progress("evaluating") as bar,
    ):
        evaluation, items = evaluate_checkpoint(
            trained, data, request, source, device, Path(cache), bar, cores()
        )
        bar(1.0, "report")
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
    wide = terminal_width() >= WIDE
    say(
        f"{evaluation.dataset}: {counts.episodes} episodes, {counts.hours:.2f} h"
        + (f"; [{100 * evaluation.settings.level:g} % intervals by episode]" if wide else "")
    )
    modes = evaluation.modes
    for target in modes if len(modes) < 2 else ("any", *modes):
        found = {
            title: evaluation.find(key, target, evaluation.headline_horizon)
            for key, title in RISK.items()
        }
        name = "any failure" if target == "any" else target
        title = f"{name} within {evaluation.headline_horizon:g} s"
        recall = found[RISK["event_recall_1"]]
        auprc = found[RISK["risk_auprc"]]
        if recall is not None:
            title += f": {recall.count} events"
        if auprc is not None and auprc.prevalence is not None:
            title += f", {100 * auprc.prevalence:.1f} % of the steps lead up to one"
        _metrics(evaluation, title, found, wide)
    _metrics(evaluation, "episodes", {t: evaluation.find(k) for k, t in EPISODES.items()}, wide)
    if evaluation.scoring is not None:
        _scoring(evaluation.scoring, wide)
    say("")
    if modes:
        say(
            "recall@N/h: share of events with an alarm before them, at N false alarms per hour; "
            "lead: at 6/h",
            style="dim",
        )
    notes(evaluation.caveats)


def _scoring(scoring: ScoringResults, wide: bool) -> None:
    """A table of the scorer of actions; a row per model."""
    longest = max((m.horizon for m in scoring.metrics if m.horizon), default=None)
    there = {
        f"{title} of {metric.target}" if metric.target not in ("", "any") else title: metric
        for key, title in SCORING.items()
        for metric in scoring.metrics
        if metric.key == key and metric.horizon in (None, longest)
    }
    rows = [
        [model, *(_number(_of(metric, model), name, wide) for name, metric in there.items())]
        for model in scoring.models
    ]
    say("")
    say(f"action scoring: {scoring.chunks} executed chunks of {scoring.chunk_s:g} s", style="bold")
    table([Column(""), *(Column(name, right=True) for name in there)], rows, indent=2)


def _metrics(
    evaluation: Evaluation, title: str, found: dict[str, Metric | None], wide: bool
) -> None:
    """A table with a row per model; metrics that were not measured are left out."""
    there = {name: metric for name, metric in found.items() if metric is not None}
    if not there:
        return
    rows = []
    for model in evaluation.models:
        cells = [_number(_of(metric, model), name, wide) for name, metric in there.items()]
        if any(cells):
            rows.append([model, *cells])
    say("")
    say(title, style="bold")
    table([Column(""), *(Column(name, right=True) for name in there)], rows, indent=2)


def _of(metric: Metric, model: str) -> Number | None:
    return next((s.number for s in metric.scores if s.model == model), None)


def _number(number: Number | None, name: str, wide: bool) -> str:
    """A number with its interval if there is room; empty where it does not apply."""
    if number is None:
        return ""
    digits = 1 if name.endswith("[s]") else 3
    if number.value is None:
        return "-"
    text = f"{number.value:.{digits}f}"
    if not wide:
        return text
    if number.low is None or number.high is None:
        return f"{text} {'':{2 * max(1, digits - 1) + 8}}"
    shown = max(1, digits - 1)
    return f"{text} [{number.low:.{shown}f}, {number.high:.{shown}f}]"
