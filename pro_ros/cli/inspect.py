"""``pro-ros inspect``: what is in a recording or a data set."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from pro_ros.cli.console import JsonOption, note, out, print_json, progress, say

if TYPE_CHECKING:
    from pro_ros.episodes.dataset import Dataset
    from pro_ros.episodes.inspect import Report, Timing


def command(
    path: Annotated[Path, typer.Argument(help="A recording or a data set folder.")],
    streams: Annotated[
        Path | None, typer.Option("--streams", "-s", help="Stream file to read it with.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show streams, rates, gaps and clocks of a recording, episodes and events of a data set."""
    from pro_ros.episodes.dataset import MANIFEST, Dataset
    from pro_ros.episodes.inspect import inspect_recording
    from pro_ros.streams.spec import load_spec

    if (path / MANIFEST).is_file():
        _dataset(Dataset.load(path), as_json)
        return
    spec = load_spec(streams) if streams is not None else None
    with progress(f"reading {path.name}") as advance:
        report = inspect_recording(path, spec, progress=advance)
    if as_json:
        print_json(report.model_dump(mode="json"))
        return
    _recording(report)


def _recording(report: Report) -> None:
    say(f"{report.path}: {report.kind}, {report.messages} messages or rows")
    if report.start_ns is not None and report.duration is not None:
        say(f"{_date(report.start_ns)}, {report.duration:.1f} s")
    if report.topics:
        table = _table("topic", "type", "messages", "rate [Hz]", "p99 [s]", "gaps", "clock")
        for topic in report.topics:
            clock = topic.clock
            said = "receipt only"
            if clock is not None and clock.offset_median is not None:
                said = f"header, {clock.offset_median * 1e3:+.1f} ms"
            elif clock is not None:
                said = "header unset"
            table.add_row(topic.name, topic.type, *_timing(topic.receipt), said)
        out.print(table)
    if report.columns and len(report.columns) <= 60:
        table = _table("column", "kind", "rows", "missing", "least", "most")
        for column in report.columns:
            table.add_row(
                column.name,
                column.kind,
                str(column.rows),
                _share(column.missing),
                _number(column.minimum),
                _number(column.maximum),
            )
        out.print(table)
    elif report.columns:
        say(f"{len(report.columns)} columns, {report.columns[0].name} the first")
    for stream in report.streams:
        count, rate, _, gaps = _timing(stream.receipt)
        table = _table("feature", "unit", "missing", "least", "mean", "most")
        table.title = (
            f"{stream.name} ({stream.modality}, {stream.clock} clock): {count} samples, "
            f"{rate} Hz of {stream.declared_rate:g} declared, {gaps} gaps"
        )
        table.title_justify = "left"
        for feature in stream.features:
            table.add_row(
                feature.name,
                feature.unit,
                _share(feature.missing),
                _number(feature.minimum),
                _number(feature.mean),
                _number(feature.maximum),
            )
        out.print(table)
    for problem in report.problems:
        note(problem)


def _dataset(dataset: Dataset, as_json: bool) -> None:
    manifest = dataset.manifest
    outcomes: dict[str, int] = {}
    for episode in manifest.episodes:
        outcomes[episode.outcome] = outcomes.get(episode.outcome, 0) + 1
    events: dict[str, int] = {}
    for event in manifest.events:
        events[event.name] = events.get(event.name, 0) + 1
    hours = sum(e.end_ns - e.start_ns for e in manifest.episodes) / 3.6e12
    summary: dict[str, Any] = {
        "dataset": str(dataset.path),
        "name": manifest.name,
        "robot": dataset.spec.robot,
        "attribution": manifest.attribution,
        "recordings": len(manifest.recordings),
        "episodes": len(manifest.episodes),
        "hours": hours,
        "outcomes": outcomes,
        "retries": sum(e.retry_of is not None for e in manifest.episodes),
        "groups": len({e.group for e in manifest.episodes if e.group}),
        "events": events,
        "failure_modes": list(dataset.spec.failure_modes),
        "features": {m: list(names) for m, names in dataset.spec.layout.items()},
        "cameras": list(dataset.spec.cameras),
    }
    if as_json:
        print_json(summary)
        return
    say(f"{summary['dataset']}: {manifest.name}, robot {summary['robot']}")
    if manifest.attribution:
        say(manifest.attribution, style="dim")
    table = _table("what", "count")
    table.add_row("recordings", str(summary["recordings"]))
    table.add_row("episodes", f"{summary['episodes']} ({hours:.2f} h)")
    for outcome, number in sorted(outcomes.items()):
        table.add_row(f"  {outcome}", str(number))
    table.add_row("  retries of another", str(summary["retries"]))
    for name, number in sorted(events.items()):
        mode = " (failure mode)" if name in dataset.spec.failure_modes else ""
        table.add_row(f"events '{name}'{mode}", str(number))
    for modality, names in dataset.spec.layout.items():
        table.add_row(f"features of {modality}", str(len(names)))
    for camera in dataset.spec.cameras:
        table.add_row("camera", camera)
    out.print(table)


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for n, column in enumerate(columns):
        table.add_column(column, justify="left" if n < 2 else "right", overflow="fold")
    return table


def _timing(timing: Timing) -> tuple[str, str, str, str]:
    """Count, rate, 99th percentile of the intervals, and gaps."""
    return str(timing.count), _number(timing.rate), _number(timing.p99), str(timing.gaps)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _date(t_ns: int) -> str:
    return datetime.fromtimestamp(t_ns / 1e9, tz=timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
