"""``pro-ros import``: tables, bags or LeRobot data sets -> a data set with episodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from pro_ros.cli.console import JsonOption, naming, notes, print_json, progress, say
from pro_ros.cli.output import DATASET, check_output
from pro_ros.errors import DataError, StorageError

if TYPE_CHECKING:
    from pro_ros.episodes.dataset import Created, Source
    from pro_ros.streams.spec import RobotSpec


def command(
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="Bags, tables, folders of tables or LeRobot data sets. FILE.npz#RUN is one of "
            "many runs in an archive."
        ),
    ],
    streams: Annotated[Path, typer.Option("--streams", "-s", help="Stream file (YAML).")],
    output: Annotated[Path, typer.Option("--out", "-o", help="Data set folder to be made.")],
    name: Annotated[str, typer.Option(help="Name of the data set; default: the folder's.")] = "",
    outcomes: Annotated[
        Path | None, typer.Option(help="CSV with outcome, group, task per episode or file.")
    ] = None,
    copy: Annotated[
        bool, typer.Option("--copy", help="Copy bags into the data set; default: refer to them.")
    ] = False,
    keep_tables: Annotated[
        bool, typer.Option("--keep-tables", help="Refer to tables; default: make bags of them.")
    ] = False,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Accept recordings that lack some streams.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing data set.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Turn recordings into a data set: bags with standard messages, episodes and outcomes.

    What is odd but can be read is printed as a note and does not end the import: gaps (the
    operator's memory begins anew after each), NaN and infinite values (taken as missing), rows
    that repeat the one before (left out), stamps that go back or repeat in a bag (not used),
    events outside any episode, and empty episodes. In a table, time that goes backwards, or
    stands still while values change, is an error.
    """
    from pro_ros.episodes.dataset import create_dataset
    from pro_ros.episodes.runs import split_run
    from pro_ros.streams.spec import load_spec
    from pro_ros.workers import cores

    places = [split_run(source)[0] for source in sources]
    check_output(output, overwrite, DATASET, [*places, streams])
    spec = load_spec(streams)
    ids = recording_ids(sources)
    with naming(streams), _workspace(output) as work:
        found, lines = _as_bags(sources, ids, spec, work, copy, keep_tables, allow_missing)
        with progress("finding episodes") as bar:
            created = create_dataset(
                output,
                name or output.resolve().name,
                spec,
                found,
                outcomes=outcomes,
                allow_missing=allow_missing,
                overwrite=overwrite,
                progress=bar,
                processes=cores(),
            )
    _show(output, created, (*lines, *created.warnings), as_json)


def recording_ids(sources: Sequence[Path]) -> list[str]:
    """An id for each source: its name, with as many folders before it as tell it apart.

    Raises
    ------
    DataError
        The same source is given twice.
    """
    from pro_ros.episodes.runs import split_run

    split = [split_run(source) for source in sources]
    places = {place.absolute() for place, _ in split}
    stems = Counter(place.with_suffix("") for place in places)
    parts: list[list[str]] = []
    depth: list[int] = []
    for given, run in split:
        place = given.absolute()
        # A folder may be named by a date with dots in it, and two formats may lie side by side.
        whole = place.is_dir() or stems[place.with_suffix("")] > 1
        inside = [p for p in run.split("/") if p]
        parts.append([*place.parts[1:-1], place.name if whole else place.stem, *inside])
        depth.append(1 + len(inside))
    while True:
        ids = ["-".join(p[-d:]).lstrip(".") for p, d in zip(parts, depth, strict=True)]
        twice = {i for i, number in Counter(ids).items() if number > 1}
        if not twice:
            return ids
        again = [k for k, i in enumerate(ids) if i in twice]
        if all(depth[k] >= len(parts[k]) for k in again):
            raise DataError(f"{sources[again[-1]]}: is given twice")
        for k in again:
            depth[k] += 1


def _as_bags(
    sources: Sequence[Path],
    ids: Sequence[str],
    spec: RobotSpec,
    work: Path,
    copy: bool,
    keep_tables: bool,
    allow_missing: bool,
) -> tuple[list[Source], list[str]]:
    """Bags as they are, tables as bags made of them, and notes."""
    from pro_ros.episodes.dataset import Source
    from pro_ros.episodes.importer import import_table
    from pro_ros.episodes.lerobot_folder import is_lerobot
    from pro_ros.episodes.recording import is_bag
    from pro_ros.episodes.runs import split_run

    found: list[Source] = []
    lines: list[str] = []
    with progress("converting tables", len(sources)) as bar:
        for number, (source, identity) in enumerate(zip(sources, ids, strict=True)):
            bar(number, source.name)
            place, run = split_run(source)
            if keep_tables or is_lerobot(place) or is_bag(place):
                found.append(Source(identity, source.absolute(), copy))
                continue

            def advance(written: int, number: int = number, name: str = source.name) -> None:
                bar(number, f"{name}: {written} messages")

            made = import_table(
                place,
                spec,
                work / identity,
                table_prefix=f"{run}/" if run else "",
                allow_missing=allow_missing,
                progress=advance,
            )
            if made.repeated:
                rows = "row repeats" if made.repeated == 1 else "rows repeat"
                lines.append(f"{identity}: {made.repeated} {rows} the one before: left out")
            found.append(Source(identity, made.path, move=True, origin=source.name))
    return found, lines


def _show(output: Path, created: Created, lines: Sequence[str], as_json: bool) -> None:
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
                "warnings": list(lines),
            }
        )
        return
    notes(lines)
    shown = ", ".join(f"{n} {outcome}" for outcome, n in counts.items() if n)
    say(
        f"{output}: {_count(len(manifest.recordings), 'recording')}, "
        f"{_count(len(manifest.episodes), 'episode')}{f' ({shown})' if shown else ''}, "
        f"{_count(len(manifest.events), 'event')}"
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


@contextmanager
def _workspace(output: Path) -> Iterator[Path]:
    """A hidden folder beside the data set, from which bags are moved into it."""
    from pro_ros.files import storage_error

    parent = output.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        work = TemporaryDirectory(dir=parent, prefix=".pro_ros.")
    except OSError as exc:
        raise storage_error(output, exc) from exc
    with work as folder:
        try:
            yield Path(folder)
        except StorageError as exc:
            raise StorageError(str(exc).replace(folder, str(output))) from exc
