"""``pro-ros demo``: the whole chain, small, on the recording that ships with the project.

With ``--cell`` it is PRO at work on the simulated cell instead (cell_demo.py).
"""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from pro_ros.cli import evaluate, import_, inspect, replay, train
from pro_ros.cli.console import say
from pro_ros.errors import SpecError

EXAMPLE = "examples/ur3_cobotops"


def command(
    output: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder for everything that the demo makes; default: pro_ros_demo, with --cell "
            "pro_ros_demo_cell.",
        ),
    ] = None,
    shipped: Annotated[
        bool, typer.Option("--shipped", help="Use the shipped checkpoint instead of training.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what an earlier demo made.")
    ] = False,
    open_report: Annotated[
        bool, typer.Option("--open", help="Open the report in a browser.")
    ] = False,
    cell: Annotated[
        bool, typer.Option("--cell", help="Show PRO at work on the simulated picking cell.")
    ] = False,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="With --cell: another checkpoint than the one that ships."),
    ] = None,
    pace: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="With --cell: simulated seconds per second on the terminal, 0 for no wait; "
            "default: 1.",
        ),
    ] = None,
) -> None:
    """Import, inspect, train, evaluate and replay the UR3 recording; takes a few minutes.

    With --cell instead: a few picks of the simulated cell, live, with failures caught in time,
    and a report; takes less than two minutes.
    """
    if cell:
        if shipped and checkpoint is not None:
            raise SpecError("--shipped and --checkpoint: give one of them")
        from pro_ros.cli import cell_demo

        cell_demo.run(
            output or Path("pro_ros_demo_cell"), checkpoint, 1.0 if pace is None else pace,
            overwrite, open_report,
        )  # fmt: skip
        return
    for option, value in (("--checkpoint", checkpoint), ("--pace", pace)):
        if value is not None:
            raise SpecError(f"{option}: goes with --cell")
    _ur3(output or Path("pro_ros_demo"), shipped, overwrite, open_report)


def _ur3(output: Path, shipped: bool, overwrite: bool, open_report: bool) -> None:
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
