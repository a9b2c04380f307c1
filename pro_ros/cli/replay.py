"""``pro-ros replay``: recording + checkpoint -> a new bag with the assessments in it."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from pro_ros.cli.console import JsonOption, note, pairs, print_json, progress, say


def command(
    recording: Annotated[Path, typer.Argument(help="A bag, or a table that becomes one.")],
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint folder.")],
    output: Annotated[Path, typer.Option("--out", "-o", help="Bag folder to be made.")],
    streams: Annotated[
        Path | None,
        typer.Option("--streams", "-s", help="Stream file, where topics differ from training."),
    ] = None,
    task: Annotated[str, typer.Option(help="Goal text; default: the stream file's.")] = "",
    context: Annotated[
        list[str] | None, typer.Option(help="key=value of the context, e.g. sku=A7.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    allow_missing: Annotated[
        bool, typer.Option(help="Accept a recording that lacks some of the streams.")
    ] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing bag.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Replay a recording through PRO, as fast as the machine allows and with its own clock."""
    import torch

    from pro_ros.episodes.bags import BagRecording
    from pro_ros.episodes.importer import import_table
    from pro_ros.episodes.recording import is_bag
    from pro_ros.model.checkpoint import load_checkpoint
    from pro_ros.runtime.replay import replay
    from pro_ros.streams.spec import load_spec
    from pro_ros.training.fabric import check_device

    check_device(device)
    # A small model is fastest on one thread, and the same on every machine.
    torch.set_num_threads(1)
    trained = load_checkpoint(checkpoint)
    if streams is not None:
        trained = trained.for_streams(load_spec(streams), str(streams))
    given = pairs(context or [], "--context")
    with TemporaryDirectory() as work:
        bag = recording
        if not is_bag(recording):
            bag = Path(work) / recording.stem
            with progress(f"converting {recording.name}") as advance:
                import_table(recording, trained.spec, bag, progress=advance)
        begun = time.perf_counter()
        with (
            BagRecording(bag, trained.spec, allow_missing=allow_missing) as opened,
            progress("replaying", 1.0) as advance,
        ):
            span = (opened.end_ns - opened.start_ns) / 1e9
            done = replay(
                opened, trained, output, device=device, task=task, context=given,
                overwrite=overwrite, progress=advance,
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
                "seconds": round(seconds, 3),
                "recording_seconds": round(span, 3),
            }
        )
        return
    for topic in done.not_copied:
        note(f"{topic} was not copied: its type is not known")
    say(
        f"{output}: {done.steps} assessments of {span:.1f} s in {seconds:.1f} s "
        f"({span / max(seconds, 1e-9):.0f} times real time), {done.alarms} alarms, "
        f"highest risk {done.highest_risk:.3f}"
    )
