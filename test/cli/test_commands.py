"""The commands one after the other, as a user meets them."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_toy import (
    TRAINING,
    Run,
    Toy,
    finish,
    start,
    toy_rows,
    with_streams,
    write_csv,
    write_yaml,
)
from rich.console import Console

from pro_ros.cli import console
from pro_ros.cli.import_ import recording_ids
from pro_ros.episodes.bags import BagRecording
from pro_ros.episodes.recording import open_recording
from pro_ros.errors import DataError
from pro_ros.paths import share_file
from pro_ros.streams.spec import load_spec

COMMANDS = ("import", "inspect", "train", "evaluate", "replay", "demo", "contract")

UR3_ROWS = 800


def ur3_table(path: Path) -> Path:
    """The first rows of the shipped recording as the table that it was made from."""
    example = share_file("examples/ur3_cobotops")
    spec = load_spec(example / "streams.yaml")
    rows: dict[int, dict[str, Any]] = {}
    with BagRecording(example / "recording", spec) as recording:
        for sample in recording.samples():
            if len(rows) > UR3_ROWS:
                break
            columns = [c for f in spec.streams[sample.stream].features for c in f.columns]
            values = sample.values - (273.15 if sample.stream == "temperatures" else 0.0)
            time = datetime.fromtimestamp(sample.receipt_ns / 1e9, tz=timezone.utc)
            row = rows.setdefault(sample.receipt_ns, {"Timestamp": time.isoformat()})
            row |= {
                c: "" if np.isnan(v) else f"{v:.9g}" for c, v in zip(columns, values, strict=True)
            }
    names = max(rows.values(), key=len)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(names), restval="")
        writer.writeheader()
        writer.writerows(list(rows.values())[:UR3_ROWS])
    return path


def test_the_shipped_recording_from_a_table_to_assessments(run: Run, tmp_path: Path) -> None:
    streams = share_file("examples/ur3_cobotops") / "streams.yaml"
    table = ur3_table(tmp_path / "ur3.csv")
    dataset, checkpoint = tmp_path / "dataset", tmp_path / "checkpoint"
    results, bag = tmp_path / "results", tmp_path / "replayed"

    done = run("import", table, "-s", streams, "-o", dataset, "--json")
    assert done.code == 0, done.stderr
    imported = done.json
    assert imported["recordings"] == 1
    assert imported["episodes"] == sum(imported["outcomes"].values())
    assert min(imported["outcomes"]["success"], imported["outcomes"]["failure"]) > 5
    assert imported["events"] > 10

    done = run("inspect", dataset, "--json")
    assert done.json["episodes"] == imported["episodes"]
    assert done.json["outcomes"] == {k: v for k, v in imported["outcomes"].items() if v}
    assert sum(done.json["events"].values()) == imported["events"]
    assert done.json["failure_modes"] == ["grip_lost", "protective_stop"]
    assert "CC BY 4.0" in done.json["attribution"]

    done = run("inspect", dataset / "recordings" / "ur3", "-s", streams, "--json")
    assert done.json["kind"] == "rosbag2"
    assert {t["name"] for t in done.json["topics"]} >= {"/joint_states", "/cycle"}
    assert {s["name"]: s["receipt"]["count"] for s in done.json["streams"]}["cycle"] == UR3_ROWS

    config = write_yaml(
        tmp_path / "training.yaml",
        {**TRAINING, "model": {"width": 8, "members": 1, "horizons": [5.0]}, "calibration": {}},
    )
    done = run("train", dataset, "-c", config, "-o", checkpoint, "--json")
    assert done.code == 0, done.stderr
    trained = done.json
    assert trained["metrics"]["epochs"] == 2
    document = json.loads((checkpoint / "checkpoint.json").read_text())
    assert document["model_id"] == trained["model_id"]
    assert sum(len(ids) for ids in document["data"]["parts"].values()) == imported["episodes"]

    done = run("evaluate", checkpoint, dataset, "-o", results, "--resamples", 20, "--json")
    assert done.code == 0, done.stderr
    assert done.json == json.loads((results / "metrics.json").read_text())
    assert done.json["models"][0] == "PRO"
    assert done.json["counts"]["episodes"] == len(document["data"]["parts"]["test"])
    assert "https://" not in (results / "report.html").read_text().partition("<body")[0]

    done = run("replay", table, checkpoint, "-o", bag, "--json")
    assert done.code == 0, done.stderr
    replayed = done.json
    assert replayed["assessments"] == UR3_ROWS
    assert replayed["model_id"] == trained["model_id"]
    spec = load_spec(streams)
    with BagRecording(bag, spec) as recording:
        assert recording.topics["/pro/assessment"] == UR3_ROWS
        assert (
            sum(recording.topics.values())
            > replayed["messages"]
            == sum(n for topic, n in recording.topics.items() if not topic.startswith("/pro/"))
        )
    # The bag that was made of the table gives the same bytes. Its name is among them.
    again = tmp_path / "again" / bag.name
    assert run("replay", dataset / "recordings" / "ur3", checkpoint, "-o", again).code == 0
    assert mcap(again) == mcap(bag)


def mcap(bag: Path) -> bytes:
    return next(bag.glob("*.mcap")).read_bytes()


# What is printed


@pytest.mark.parametrize("columns", [80, 120])
def test_the_tables_of_an_evaluation_fit_the_terminal(
    run: Run, toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    done = run("evaluate", toy.checkpoint, toy.dataset, "-o", tmp_path / "r", "--resamples", 5)
    assert done.code == 0, done.stderr
    table, _, _ = done.stdout.partition("recall@N/h: ")
    assert max(len(line) for line in table.splitlines()) <= columns
    assert "slip within 1 s: " in table
    lines = {line.split("  ")[1].strip(): line for line in table.splitlines() if line[:2] == "  "}
    metrics = json.loads((tmp_path / "r" / "metrics.json").read_text())
    assert set(metrics["models"]) < set(lines)
    auroc = next(m for m in metrics["metrics"] if m["key"] == "risk_auroc")
    risk = table[table.index("slip within") : table.index("episodes\n")]
    for score in auroc["scores"]:
        row = next(r for r in risk.splitlines() if r.startswith(f"  {score['model']}"))
        assert f"{score['number']['value']:.3f}" in row
        assert ("[" in row) == (columns == 120)
    assert str(tmp_path / "r" / "report.html") in done.stdout.splitlines()


def test_inspect_fits_80_columns_and_leaves_nothing_out_of_a_pipe(
    run: Run, toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    whole = run("inspect", toy.bag).stdout
    assert "header clock" in whole
    monkeypatch.setenv("COLUMNS", "60")
    narrow = run("inspect", toy.bag).stdout
    assert "header clock" not in narrow
    assert "/joint_states" in narrow
    monkeypatch.setenv("COLUMNS", "80")
    for words in (["inspect", toy.bag, "-s", toy.streams], ["inspect", toy.dataset]):
        lines = run(*words).stdout.splitlines()[1:]
        assert max(len(line) for line in lines) <= 80


def test_inspect_of_a_table_lists_its_columns(run: Run, toy: Toy) -> None:
    done = run("inspect", toy.table)
    rows = {line.split()[0]: line.split() for line in done.stdout.splitlines() if line.strip()}
    assert rows["vacuum"][1:3] == ["number", "960"]
    assert done.stdout.splitlines()[0] == f"{toy.table}: table, 960 rows"


def test_progress_is_shown_on_a_terminal_and_leaves_nothing(
    run: Run, toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=100)
    monkeypatch.setattr(console, "err", terminal)
    words = {
        "converting tables": ["import", toy.table, "-s", toy.streams, "-o", tmp_path / "d"],
        "reading the data set": ["train", toy.dataset, "-c", toy.training, "-o", tmp_path / "c"],
        "evaluating": [
            "evaluate", toy.checkpoint, toy.dataset, "--resamples", 2, "-o", tmp_path / "e",
        ],
        "replaying": ["replay", toy.bag, toy.checkpoint, "-o", tmp_path / "r"],
    }  # fmt: skip
    for title, given in words.items():
        screen.seek(0)
        screen.truncate()
        assert run(*given).code == 0
        assert title in screen.getvalue()
    assert "training" not in words


def test_nothing_of_a_progress_bar_is_in_a_log(toy: Toy, tmp_path: Path) -> None:
    done = finish(start(["import", toy.table, "-s", toy.streams, "-o", "d"], tmp_path))
    assert done.code == 0
    assert done.stderr == ""
    assert done.stdout.startswith("d: 1 recording, 48 episodes (")


# Help and completion


def test_help_names_every_command(run: Run) -> None:
    done = run("--help")
    assert done.code == 0
    for command in COMMANDS:
        assert f" {command} " in done.stdout
    assert "--install-completion" in done.stdout
    assert "--show-completion" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(run: Run, command: str) -> None:
    done = run(command, "--help")
    assert done.code == 0
    assert f"Usage: pro-ros {command}" in done.stdout or f"Usage: root {command}" in done.stdout
    assert "--overwrite" in done.stdout or command == "inspect"


@pytest.mark.parametrize("words", [[], ["nonsense"], ["import"], ["train", "--nonsense"]])
def test_wrong_usage_is_code_2(run: Run, words: list[str]) -> None:
    assert run(*words).code == 2


def test_the_shell_completes_commands_and_options(tmp_path: Path) -> None:
    def complete(line: str, word: int) -> list[str]:
        process = start(
            [], tmp_path,
            env={
                "_PRO_ROS_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(word),
            },
        )  # fmt: skip
        done = finish(process)
        assert done.stderr == ""
        return done.stdout.split()

    assert complete("pro-ros ", 1) == [*COMMANDS, "cell"]
    assert complete("pro-ros in", 1) == ["inspect"]
    assert "--resamples" in complete("pro-ros evaluate --re", 2)


def test_the_module_runs_like_the_command(tmp_path: Path) -> None:
    done = finish(start(["inspect", "nowhere"], tmp_path))
    assert done.code == 3
    assert done.stderr == "error: nowhere: no such file or folder\n"


def test_a_reader_that_stops_early_is_no_error(toy: Toy, tmp_path: Path) -> None:
    command = f"{sys.executable} -m pro_ros.cli.main inspect {toy.dataset} --json | head -c 1"
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, check=False)
    assert done.stdout == b"{"
    assert b"Traceback" not in done.stderr


# Import of many sources


def test_ids_are_names_with_as_many_folders_as_tell_them_apart(tmp_path: Path) -> None:
    def ids(*names: str) -> list[str]:
        return recording_ids([tmp_path / name for name in names])

    (tmp_path / "2024.01.02").mkdir()
    (tmp_path / "2024.01.03").mkdir()
    assert ids("a.csv", "b.bag") == ["a", "b"]
    assert ids("2024.01.02", "2024.01.03") == ["2024.01.02", "2024.01.03"]
    assert ids("x/log.csv", "y/log.csv", "z/other.csv") == ["x-log", "y-log", "other"]
    assert ids("a/x/log.csv", "b/x/log.csv") == ["a-x-log", "b-x-log"]
    assert ids("log.csv", "x/log.csv")[1] == "x-log"
    assert ids("runs.npz#a/1", "runs.npz#a/2") == ["runs-a-1", "runs-a-2"]
    assert ids("log.csv", "log.parquet") == ["log.csv", "log.parquet"]
    with pytest.raises(DataError, match="given twice"):
        ids("x/log.csv", "x/log.csv")


def test_runs_of_an_archive_are_imported_by_their_prefix(
    run: Run, toy: Toy, tmp_path: Path
) -> None:
    arrays = {}
    for number in range(3):
        for name, cells in toy_rows(6, seed=number).items():
            arrays[f"run_{number}/{name}"] = np.array(cells, dtype=float)
    archive = tmp_path / "runs.npz"
    np.savez(archive, **arrays)
    sources = [f"{archive}#run_{n}" for n in (0, 2)]
    for kind, extra in (("bags", []), ("tables", ["--keep-tables"])):
        dataset = tmp_path / kind
        done = run("import", *sources, "-s", toy.streams, "-o", dataset, *extra)
        assert done.code == 0, done.stderr
        manifest = json.loads((dataset / "manifest.json").read_text())
        assert [r["id"] for r in manifest["recordings"]] == ["runs-run_0", "runs-run_2"]
        assert len(manifest["episodes"]) == 12
    assert (tmp_path / "bags" / "recordings" / "runs-run_2" / "metadata.yaml").is_file()
    done = run("replay", sources[1], toy.checkpoint, "-o", tmp_path / "replayed", "--json")
    assert done.json["assessments"] == 120
    assert run("inspect", sources[0], "-s", toy.streams, "--json").json["streams"]
    done = run("import", f"{archive}#run_7", "-s", toy.streams, "-o", tmp_path / "none")
    assert done.code == 3
    assert "run_7/" in done.stderr


def test_a_recording_says_which_file_it_came_from(run: Run, toy: Toy, tmp_path: Path) -> None:
    manifest = json.loads((toy.dataset / "manifest.json").read_text())
    assert manifest["recordings"][0]["source"] == toy.table.name
    for name, extra in (("linked", []), ("copied", ["--copy"])):
        out = tmp_path / name
        assert run("import", toy.bag, "-s", toy.streams, "-o", out, *extra).code == 0
        entry = json.loads((out / "manifest.json").read_text())["recordings"][0]
        assert entry["source"] == "log"
        assert Path(entry["path"]).is_absolute() == (name == "linked")
        with open_recording(out / entry["path"], load_spec(toy.streams)) as recording:
            assert recording.message_count == 3 * 960


def test_many_small_recordings_by_one_glob(run: Run, toy: Toy, tmp_path: Path) -> None:
    for number in range(66):
        rows = toy_rows(2, seed=number)
        if number % 3 == 0:
            rows["vacuum"][5] = "inf"
        write_csv(tmp_path / "logs" / f"day_{number % 2}" / f"{number // 2:03d}.csv", rows)
    by_file = with_streams(
        tmp_path / "streams.yaml",
        lambda d: d["episodes"].update(by="file", signal=None),
    )
    sources = sorted((tmp_path / "logs").glob("*/*.csv"))
    done = run("import", *sources, "-s", by_file, "-o", tmp_path / "d")
    assert done.code == 0, done.stderr
    assert "66 recordings, 66 episodes" in done.stdout
    # One note per recording would bury the rest: the first are shown, and how many there are.
    assert len(done.notes) == console.MOST_NOTES + 1
    assert done.notes[-1].startswith("note: and 2 more")
    manifest = json.loads((tmp_path / "d" / "manifest.json").read_text())
    assert len({r["id"] for r in manifest["recordings"]}) == 66
    done = run("train", tmp_path / "d", "-c", toy.training, "-o", tmp_path / "c")
    assert done.code == 0, done.stderr


# Contract and demo


def test_a_contract_becomes_a_stream_file(run: Run, tmp_path: Path) -> None:
    contract = tmp_path / "contract.yaml"
    contract.write_text(
        "robot_type: arm\n"
        "fps: 20\n"
        "observations:\n"
        "  - {key: observation.state, topic: /joint_states, type: sensor_msgs/msg/JointState,\n"
        "     selector: {names: [position.a, position.b]}}\n"
        "actions:\n"
        "  - {key: action, publish: {topic: /cmd, type: std_msgs/msg/Float64MultiArray},\n"
        "     selector: {names: [a, b]}}\n"
    )
    out = tmp_path / "streams.yaml"
    done = run("contract", contract, "-o", out)
    assert done.code == 0, done.stderr
    assert done.stdout == f"{out}: {len(load_spec(out).streams)} streams\n"
    before = out.read_bytes()
    done = run("contract", contract, "-o", out)
    assert done.code == 6
    assert "--overwrite" in done.stderr
    assert run("contract", contract, "-o", out, "--overwrite").code == 0
    assert out.read_bytes() == before
    done = run("contract", tmp_path / "none.yaml", "-o", tmp_path / "other.yaml")
    assert done.code == 2
    assert str(tmp_path / "none.yaml") in done.stderr
    assert not (tmp_path / "other.yaml").exists()


def test_the_demo_runs_the_whole_chain(
    run: Run, toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = tmp_path / "example"
    example.mkdir()
    for name, path in (
        ("streams.yaml", toy.streams), ("training.yaml", toy.training),
        ("recording", toy.bag), ("checkpoint", toy.checkpoint),
    ):  # fmt: skip
        (example / name).symlink_to(path)
    monkeypatch.setattr("pro_ros.paths.share_file", lambda name: example)
    out = tmp_path / "demo"
    done = run("demo", "-o", out)
    assert done.code == 0, done.stderr
    steps = [line for line in done.stdout.splitlines() if line[:1].isdigit()]
    assert [line.split()[2] for line in steps] == [
        "import", "inspect", "train", "evaluate", "replay",
    ]  # fmt: skip
    made = {path.name for path in out.iterdir()}
    assert made == {"dataset", "checkpoint", "results", "replayed"}
    assert run("demo", "-o", out).code == 6
    done = run("demo", "-o", out, "--shipped", "--overwrite")
    assert done.code == 0, done.stderr
    assert str(example / "checkpoint") in done.stdout
    assert {path.name for path in out.iterdir()} == made
