"""``pro-ros import``: tables, bags or a LeRobot data set -> a data set with episodes."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from pro_ros.cli.console import JsonOption, note, print_json, progress, say


def command(
    sources: Annotated[list[Path], typer.Argument(help="Tables, bags or LeRobot data sets.")],
    streams: Annotated[Path, typer.Option("--streams", "-s", help="Stream file (YAML).")],
    output: Annotated[Path, typer.Option("--out", "-o", help="Data set folder to be made.")],
    name: Annotated[str, typer.Option(help="Name of the data set; default: the folder's.")] = "",
    outcomes: Annotated[
        Path | None, typer.Option(help="CSV with outcome, group, task per episode or file.")
    ] = None,
    copy: Annotated[bool, typer.Option(help="Copy bags into the data set.")] = False,
    as_table: Annotated[
        bool, typer.Option("--keep-tables", help="Refer to tables instead of making bags.")
    ] = False,
    allow_missing: Annotated[
        bool, typer.Option(help="Accept recordings that lack some of the streams.")
    ] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing data set.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Turn recordings into a data set: bags with standard messages, episodes and outcomes."""
    from pro_ros.episodes.dataset import Source, create_dataset, is_lerobot
    from pro_ros.episodes.importer import import_table
    from pro_ros.episodes.recording import is_bag
    from pro_ros.streams.spec import load_spec

    spec = load_spec(streams)
    with TemporaryDirectory(dir=_parent(output), prefix=".pro_ros.") as work:
        found = []
        for source in sources:
            if as_table or is_lerobot(source) or is_bag(source):
                found.append(Source(source.stem, source.absolute(), copy))
                continue
            bag = Path(work) / source.stem
            with progress(f"converting {source.name}") as advance:
                import_table(source, spec, bag, progress=advance)
            found.append(Source(source.stem, bag, copy=True))
        with progress("finding episodes", 1.0) as advance:
            created = create_dataset(
                output,
                name or output.name,
                spec,
                found,
                outcomes=outcomes,
                allow_missing=allow_missing,
                overwrite=overwrite,
                progress=advance,
            )
    manifest = created.dataset.manifest
    counts: dict[str, int] = {"success": 0, "failure": 0, "unknown": 0}
    for episode in manifest.episodes:
        counts[episode.outcome] += 1
    if as_json:
        print_json(
            {
                "dataset": str(output),
                "recordings": len(manifest.recordings),
                "episodes": len(manifest.episodes),
                "outcomes": counts,
                "events": len(manifest.events),
                "warnings": list(created.warnings),
            }
        )
        return
    for line in created.warnings:
        note(line)
    shown = ", ".join(f"{n} {outcome}" for outcome, n in counts.items() if n)
    say(
        f"{output}: {len(manifest.recordings)} recordings, {len(manifest.episodes)} episodes "
        f"({shown}), {len(manifest.events)} events"
    )


def _parent(output: Path) -> Path:
    """Where the data set will be, so that moving a bag into it stays on one file system."""
    from pro_ros.files import storage_error

    parent = output.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise storage_error(parent, exc) from exc
    return parent
