"""``pro-ros inspect``: what is in a recording or a data set."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pro_ros.cli.console import Column, JsonOption, notes, print_json, progress, say, table

if TYPE_CHECKING:
    from pro_ros.episodes.dataset import Dataset
    from pro_ros.episodes.inspect_report import Report, TopicReport

MOST_COLUMNS = 60
"""Columns of a table that are listed one by one."""


def command(
    path: Annotated[
        Path,
        typer.Argument(help="A recording (FILE.npz#RUN: one of many runs) or a data set folder."),
    ],
    streams: Annotated[
        Path | None, typer.Option("--streams", "-s", help="Stream file to read it with.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show streams, rates, gaps and clocks of a recording, episodes and events of a data set.

    What is wrong with a recording that can be opened is printed as notes.
    """
    from pro_ros.episodes.dataset import MANIFEST, Dataset
    from pro_ros.episodes.inspect import inspect_recording
    from pro_ros.episodes.lerobot_folder import is_lerobot
    from pro_ros.episodes.runs import split_run
    from pro_ros.streams.spec import load_spec

    if (path / MANIFEST).is_file():
        _dataset(Dataset.load(path), as_json)
        return
    place, run = split_run(path)
    if is_lerobot(place):
        _lerobot(place, as_json)
        return
    spec = load_spec(streams) if streams is not None else None
    prefix = f"{run}/" if run else ""
    with progress(f"reading {path.name}", None) as bar:
        report = inspect_recording(place, spec, table_prefix=prefix, progress=bar)
    if as_json:
        print_json(report.model_dump(mode="json"))
        return
    _recording(report)


def _recording(report: Report) -> None:
    say(f"{report.path}: {report.kind}, {report.messages} {_unit(report.kind)}")
    if report.start_ns is not None and report.duration is not None:
        say(f"{_date(report.start_ns)}, {report.duration:.1f} s")
    if report.topics:
        _topics(report)
    if report.columns:
        _columns(report)
    for stream in report.streams:
        say("")
        say(
            f"{stream.name} ({stream.modality}, {stream.clock} clock): "
            f"{stream.receipt.count} samples, {_number(stream.receipt.rate)} Hz of "
            f"{stream.declared_rate:g} declared, {stream.receipt.gaps} gaps",
            style="bold",
        )
        table(
            [
                Column("feature"),
                Column("unit"),
                *(Column(name, right=True) for name in ("missing", "least", "mean", "most")),
            ],
            [
                [
                    feature.name,
                    feature.unit,
                    _share(feature.missing),
                    _number(feature.minimum),
                    _number(feature.mean),
                    _number(feature.maximum),
                ]
                for feature in stream.features
            ],
            indent=2,
        )
    notes(report.problems)


def _unit(kind: str) -> str:
    return "rows" if kind == "table" else "messages"


def _topics(report: Report) -> None:
    say("")
    table(
        [
            Column("topic"),
            Column("type"),
            Column("messages", right=True),
            Column("Hz", right=True),
            Column("p99 [s]", right=True, optional=True),
            Column("gaps", right=True, optional=True),
            Column("header clock", right=True, optional=True),
        ],
        [
            [
                topic.name,
                topic.type.replace("/msg/", "/"),
                str(topic.receipt.count),
                _number(topic.receipt.rate),
                _number(topic.receipt.p99),
                str(topic.receipt.gaps),
                _clock(topic),
            ]
            for topic in report.topics
        ],
    )


def _clock(topic: TopicReport) -> str:
    """How long after its stamp a message was received."""
    if topic.clock is None:
        return "none"
    if topic.clock.offset_median is None:
        return "unset"
    return f"{topic.clock.offset_median * 1e3:+.1f} ms"


def _columns(report: Report) -> None:
    say("")
    if len(report.columns) > MOST_COLUMNS:
        shown = ", ".join(column.name for column in report.columns[:6])
        say(f"{len(report.columns)} columns: {shown}, ... (all of them with --json)")
        return
    table(
        [
            Column("column"),
            Column("kind"),
            *(Column(name, right=True) for name in ("rows", "missing", "least", "most")),
        ],
        [
            [
                column.name,
                column.kind,
                str(column.rows),
                _share(column.missing),
                _number(column.minimum),
                _number(column.maximum),
            ]
            for column in report.columns
        ],
    )


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
    rows = [
        ["recordings", str(summary["recordings"])],
        ["episodes", str(summary["episodes"]), f"{hours:.2f} h"],
        *(["  " + outcome, str(number)] for outcome, number in sorted(outcomes.items())),
    ]
    if summary["retries"]:
        rows.append(["  retries", str(summary["retries"])])
    if summary["groups"]:
        rows.append(["groups", str(summary["groups"])])
    for name, number in sorted(events.items()):
        failure = "failure mode" if name in dataset.spec.failure_modes else ""
        rows.append([f"events {name}", str(number), failure])
    for modality, names in dataset.spec.layout.items():
        rows.append([f"features of {modality}", str(len(names))])
    if dataset.spec.cameras:
        cameras = ", ".join(dataset.spec.cameras)
        rows.append(["cameras", str(len(dataset.spec.cameras)), cameras])
    table(
        [Column("what"), Column("count", right=True), Column("")],
        [[*row, *[""] * (3 - len(row))] for row in rows],
    )


def _lerobot(path: Path, as_json: bool) -> None:
    """What a LeRobot data set says of itself: episodes, and the columns of its features."""
    from pro_ros.episodes.lerobot_folder import load_lerobot

    folder = load_lerobot(path)
    columns: dict[str, list[str]] = {}
    for column, (feature, _) in folder.columns().items():
        columns.setdefault(feature, []).append(column)
    frames = sum(int(row["length"]) for row in folder.episodes.values())
    summary = {
        "path": str(path),
        "kind": "lerobot",
        "fps": folder.fps,
        "episodes": len(folder.episodes),
        "frames": frames,
        "features": {name: str(about.get("dtype")) for name, about in folder.features.items()},
        "columns": columns,
    }
    if as_json:
        print_json(summary)
        return
    say(
        f"{path}: LeRobot data set, {len(folder.episodes)} episodes, {frames} frames at "
        f"{folder.fps:g} Hz"
    )
    say("")
    rows = [
        [name, str(about.get("dtype")), ", ".join(columns.get(name, ["-"]))]
        for name, about in folder.features.items()
    ]
    table([Column("feature"), Column("type"), Column("columns")], rows)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _date(t_ns: int) -> str:
    return datetime.fromtimestamp(t_ns / 1e9, tz=timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
