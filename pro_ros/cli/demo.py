"""``pro-ros demo``: the whole chain, small, on the recording that ships with the project."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from pro_ros.cli import evaluate, import_, inspect, replay, train
from pro_ros.cli.console import say

EXAMPLE = "examples/ur3_cobotops"


def command(
    output: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for everything that the demo makes.")
    ] = Path("pro_ros_demo"),
    shipped: Annotated[
        bool, typer.Option("--shipped", help="Use the shipped checkpoint instead of training.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what an earlier demo made.")
    ] = False,
    open_report: Annotated[
        bool, typer.Option("--open", help="Open the report in a browser.")
    ] = False,
) -> None:
    """Import, inspect, train, evaluate and replay the UR3 recording; takes a few minutes."""
    from pro_ros.files import storage_error
    from pro_ros.paths import share_file

    example = share_file(EXAMPLE)
    streams, recording = example / "streams.yaml", example / "recording"
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise storage_error(output, exc) from exc
    dataset, results, bag = output / "dataset", output / "results", output / "replayed"

    _step(1, "import", f"{recording} --streams {streams} --out {dataset}")
    import_.command([recording], streams, dataset, "UR3 CobotOps", overwrite=overwrite)
    _step(2, "inspect", str(dataset))
    inspect.command(dataset)
    if shipped:
        checkpoint = example / "checkpoint"
    else:
        checkpoint = output / "checkpoint"
        config = example / "training.yaml"
        _step(3, "train", f"{dataset} --config {config} --out {checkpoint}")
        train.command(dataset, checkpoint, config, overwrite=overwrite)
    _step(4, "evaluate", f"{checkpoint} {dataset} --out {results}")
    evaluate.command(checkpoint, dataset, results, overwrite=overwrite)
    _step(5, "replay", f"{recording} {checkpoint} --out {bag}")
    replay.command(recording, checkpoint, bag, overwrite=overwrite)
    report = results / "report.html"
    say("")
    say(f"Open {report} in a browser, and {bag} in Foxglove or PlotJuggler.", style="bold")
    if open_report:
        webbrowser.open(report.absolute().as_uri())


def _step(number: int, command_name: str, arguments: str) -> None:
    say("")
    say(f"{number}. pro-ros {command_name} {arguments}", style="bold")
