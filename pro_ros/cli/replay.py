"""``pro-ros replay``: recording + checkpoint -> a new bag with the assessments in it."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from pro_ros.cli.console import JsonOption, naming, notes, pairs, print_json, progress, say
from pro_ros.cli.output import BAG, check_output

if TYPE_CHECKING:
    from pro_ros.streams.spec import RobotSpec


def command(
    recording: Annotated[
        Path,
        typer.Argument(
            help="A bag, or a table that becomes one. FILE.npz#RUN is one of many runs."
        ),
    ],
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint folder.")],
    output: Annotated[Path, typer.Option("--out", "-o", help="Bag folder to be made.")],
    streams: Annotated[
        Path | None,
        typer.Option("--streams", "-s", help="Stream file, where topics differ from training."),
    ] = None,
    task: Annotated[str, typer.Option(help="Goal text; default: as recorded.")] = "",
    context: Annotated[
        list[str] | None, typer.Option(help="key=value of the context, e.g. sku=A7.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Accept a recording that lacks some streams.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing bag.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Replay a recording through PRO, as fast as the machine allows and with its own clock.

    After a gap the operator's memory begins anew. NaN and infinite values are absent to it,
    samples whose stamp goes back or repeats are not used; all messages are copied as they are.
    What was odd is printed as a note.
    """
    with progress("starting", None):
        import torch

        from pro_ros.episodes.bags import BagRecording
        from pro_ros.episodes.runs import split_run
        from pro_ros.model.checkpoint import load_checkpoint
        from pro_ros.runtime.replay import replay
        from pro_ros.streams.spec import load_spec
        from pro_ros.training.fabric import check_device

    check_device(device)
    check_output(output, overwrite, BAG, [split_run(recording)[0], checkpoint])
    # A small model is fastest on one thread, and the same on every machine.
    torch.set_num_threads(1)
    given = pairs(context or [], "--context")
    trained = load_checkpoint(checkpoint)
    if streams is not None:
        trained = trained.for_streams(load_spec(streams), str(streams))
    with naming(streams or checkpoint), TemporaryDirectory() as work:
        bag = _as_bag(recording, trained.spec, Path(work), allow_missing)
        begun = time.perf_counter()
        with (
            BagRecording(bag, trained.spec, allow_missing=allow_missing) as opened,
            progress("replaying") as bar,
        ):
            span = (opened.end_ns - opened.start_ns) / 1e9
            done = replay(
                opened, trained, output, device=device, task=task, context=given,
                overwrite=overwrite, progress=bar,
            )  # fmt: skip
        seconds = time.perf_counter() - begun
    if as_json:
        print_json(
            {
                "bag": str(output),
                "model_id": trained.model_id,
                "messages": done.messages,
                "assessments": done.steps,
                "restarts": done.restarts,
                "alarms": done.alarms,
                "highest_risk": done.highest_risk,
                "not_copied": list(done.not_copied),
                "notes": list(done.remarks),
                "seconds": round(seconds, 3),
                "recording_seconds": round(span, 3),
            }
        )
        return
    notes(
        [
            *(f"{topic} was not copied: its type is not known" for topic in done.not_copied),
            *done.remarks,
        ]
    )
    say(
        f"{output}: {done.steps} assessments of {span:.1f} s in {seconds:.1f} s "
        f"({span / max(seconds, 1e-9):.0f} times real time)"
    )
    alarms = "1 alarm" if done.alarms == 1 else f"{done.alarms} alarms"
    say(f"  {alarms}, highest risk {done.highest_risk:.3f}")


def _as_bag(recording: Path, spec: RobotSpec, work: Path, allow_missing: bool) -> Path:
    """The recording, or the bag made of it if it is a table."""
    from pro_ros.episodes.importer import import_table
    from pro_ros.episodes.recording import is_bag
    from pro_ros.episodes.runs import split_run

    place, run = split_run(recording)
    if is_bag(place):
        return recording
    bag = work / (run.replace("/", "-") or place.stem)
    with progress(f"converting {recording.name}", None) as bar:
        import_table(
            place,
            spec,
            bag,
            table_prefix=f"{run}/" if run else "",
            allow_missing=allow_missing,
            progress=bar,
        )
    return bag
