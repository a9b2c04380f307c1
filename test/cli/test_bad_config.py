"""Stream files, training files and data sets that cannot be used."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_toy import TRAINING, Run, Toy, toy_rows, with_streams, write_csv, write_yaml

Refused = Callable[..., str]

CONFIGURATION, DATA, TOO_FEW = 2, 3, 5


def with_training(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    document = copy.deepcopy(TRAINING)
    change(document)
    return write_yaml(path, document)


# Stream files


def test_a_misspelt_key_of_a_stream_file_is_named_with_the_near_one(
    refused: Refused, toy: Toy, tmp_path: Path
) -> None:
    def misspelt(document: dict[str, Any]) -> None:
        document["streams"]["vacuum"]["modalty"] = document["streams"]["vacuum"].pop("modality")

    streams = with_streams(tmp_path / "s.yaml", misspelt)
    refused(
        CONFIGURATION, [streams, "streams.vacuum.modalty", "did you mean 'modality'?"],
        "import", toy.table, "-s", streams,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (lambda d: d["streams"]["vacuum"].update(rate="fast"), ["streams.vacuum.rate", "'fast'"]),
        (lambda d: d["streams"]["vacuum"].update(rate=-1), ["streams.vacuum.rate", "-1"]),
        (lambda d: d["streams"]["vacuum"].update(rate=float("nan")), ["streams.vacuum.rate"]),
        (lambda d: d.pop("gap"), ["missing key 'gap'"]),
        (lambda d: d.update(format="pro_ros/streams/2"), ["format", "pro_ros/streams/1"]),
        (lambda d: d["step"].update(on="cicle"), ["step.on", "'cicle'", "did you mean 'cycle'?"]),
        (
            lambda d: d["events"]["slip"].update(signal="vacuum.levl"),
            ["events.slip.signal", "'levl'", "did you mean 'level'?"],
        ),
        (lambda d: d.update(failure_modes=["slipp"]), ["'slipp'", "did you mean 'slip'?"]),
        (lambda d: d.pop("table"), ["'table'"]),
        (lambda d: d["table"].update(start="yesterday"), ["table.start", "yesterday"]),
        (lambda d: d["streams"]["vacuum"].pop("topic"), ["topic"]),
        (lambda d: d["streams"]["vacuum"].update(clock="header"), ["'vacuum'", "no header"]),
        (
            lambda d: d["streams"]["vacuum"]["features"][0].update(field="dta"),
            ["'vacuum'", "'dta'", "did you mean 'data'?"],
        ),
    ],
)  # fmt: skip
def test_a_wrong_stream_file_is_refused(
    refused: Refused,
    toy: Toy,
    tmp_path: Path,
    change: Callable[[dict[str, Any]], Any],
    names: list[str],
) -> None:
    streams = with_streams(tmp_path / "s.yaml", change)
    refused(CONFIGURATION, [streams, *names], "import", toy.table, "-s", streams)


@pytest.mark.parametrize(
    ("text", "said"),
    [("streams: [", "s.yaml:1"), ("- a\n- b\n", "mapping"), ("", "mapping"), ("\x00", "s.yaml")],
)
def test_a_stream_file_that_is_no_yaml_is_refused(
    refused: Refused, toy: Toy, tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "s.yaml").write_text(text)
    refused(CONFIGURATION, [said], "import", toy.table, "-s", tmp_path / "s.yaml")


def test_a_missing_stream_file_is_named(refused: Refused, toy: Toy, tmp_path: Path) -> None:
    missing = tmp_path / "none.yaml"
    refused(CONFIGURATION, [missing, "No such file"], "import", toy.table, "-s", missing)


# Training files


def test_a_misspelt_key_of_a_training_file_is_named_with_the_near_one(
    refused: Refused, toy: Toy, tmp_path: Path
) -> None:
    def misspelt(document: dict[str, Any]) -> None:
        document["optimiser"]["learning_rat"] = 1e-3

    config = with_training(tmp_path / "t.yaml", misspelt)
    refused(
        CONFIGURATION, [config, "optimiser.learning_rat", "did you mean 'learning_rate'?"],
        "train", toy.dataset, "-c", config,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (lambda d: d["model"].update(width="wide"), ["model.width", "'wide'"]),
        (lambda d: d["optimiser"].update(epochs=0), ["optimiser.epochs", "0"]),
        (lambda d: d["split"].update(test=0.7), ["split", "nothing to train on"]),
        (lambda d: d["calibration"]["alarms"][0].update(horizon=3.0), ["horizon 3 s"]),
        (lambda d: d["calibration"]["alarms"][0].pop("miss_rate"), ["'miss_rate'"]),
        (lambda d: d["calibration"]["alarms"][0].update(target="slipp"), ["'slipp'", "'slip'"]),
        (lambda d: d["split"].update(by="sight"), ["split.by", "'sight'"]),
    ],
)
def test_a_wrong_training_file_is_refused(
    refused: Refused,
    toy: Toy,
    tmp_path: Path,
    change: Callable[[dict[str, Any]], Any],
    names: list[str],
) -> None:
    config = with_training(tmp_path / "t.yaml", change)
    refused(CONFIGURATION, [config, *names], "train", toy.dataset, "-c", config)


def test_an_unknown_device_is_named(refused: Refused, toy: Toy) -> None:
    refused(CONFIGURATION, ["'gpu'", "cuda"], "train", toy.dataset, "--device", "gpu")
    refused(CONFIGURATION, ["'gpu'", "cuda"], "replay", toy.bag, toy.checkpoint, "--device", "gpu")


def test_a_context_that_is_no_pair_is_named(refused: Refused, toy: Toy) -> None:
    refused(
        CONFIGURATION, ["--context", "'sku'", "key=value"],
        "replay", toy.bag, toy.checkpoint, "--context", "sku",
    )  # fmt: skip


# Data sets


def test_a_folder_that_is_no_data_set_is_refused(
    refused: Refused, toy: Toy, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    refused(DATA, [tmp_path / "none", "no such folder"], "train", tmp_path / "none")
    refused(DATA, [tmp_path / "empty", "manifest.json"], "train", tmp_path / "empty")
    refused(
        DATA, [tmp_path / "empty", "manifest.json"],
        "evaluate", toy.checkpoint, tmp_path / "empty",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.update(format="pro_ros/dataset/9"), "format"),
        (lambda m: m["episodes"][0].update(recording="other"), "'other'"),
        (lambda m: m["episodes"][0].update(end_ns=0), "ends before it starts"),
        (lambda m: m["episodes"][0].update(outcom="success"), "did you mean 'outcome'?"),
    ],
)
def test_a_damaged_manifest_is_refused(
    refused: Refused, toy: Toy, tmp_path: Path, change: Callable[[Any], Any], said: str
) -> None:
    dataset = tmp_path / "dataset"
    shutil.copytree(toy.dataset, dataset)
    manifest = json.loads((dataset / "manifest.json").read_text())
    change(manifest)
    (dataset / "manifest.json").write_text(json.dumps(manifest))
    refused(DATA, [dataset / "manifest.json", said], "train", dataset, "-c", toy.training)


def imported(
    run: Run, toy: Toy, folder: Path, cycles: int, vacuum: str | None = None,
    change: Callable[[dict[str, Any]], Any] = lambda document: None,
) -> Path:  # fmt: skip
    """A data set of the robot, with the same vacuum throughout if it is given."""
    rows = toy_rows(cycles)
    if vacuum is not None:
        rows["vacuum"] = [vacuum] * len(rows["vacuum"])
    table = write_csv(folder / "t.csv", rows)
    streams = with_streams(folder / "s.yaml", change)
    done = run("import", table, "-s", streams, "-o", folder / "dataset")
    assert done.code == 0, done.stderr
    return folder / "dataset"


def test_a_failure_mode_that_never_happens_is_named(
    refused: Refused, run: Run, toy: Toy, tmp_path: Path
) -> None:
    dataset = imported(run, toy, tmp_path, 20, "60")
    refused(DATA, ["'slip'", "never happens"], "train", dataset, "-c", toy.training)


@pytest.mark.parametrize(("vacuum", "outcome"), [("60", "success"), ("1", "failure")])
def test_one_class_only_is_refused(
    refused: Refused, run: Run, toy: Toy, tmp_path: Path, vacuum: str, outcome: str
) -> None:
    dataset = imported(run, toy, tmp_path, 20, vacuum, lambda d: d.update(failure_modes=[]))

    def no_alarms(document: dict[str, Any]) -> None:
        document["calibration"] = {}

    config = with_training(tmp_path / "t.yaml", no_alarms)
    if vacuum == "1":
        # A grip that was never there is lost only once, in the first cycle.
        rule = json.loads((dataset / "manifest.json").read_text())
        for episode in rule["episodes"]:
            episode["outcome"] = "failure"
        (dataset / "manifest.json").write_text(json.dumps(rule))
    refused(DATA, ["one class only", outcome], "train", dataset, "-c", config)


def test_data_without_any_outcome_or_mode_are_refused(
    refused: Refused, run: Run, toy: Toy, tmp_path: Path
) -> None:
    def unknown(document: dict[str, Any]) -> None:
        document["failure_modes"] = []
        document["episodes"]["outcome"] = {"unknown": True}

    dataset = imported(run, toy, tmp_path, 20, change=unknown)
    config = with_training(tmp_path / "t.yaml", lambda d: d.pop("calibration"))
    refused(DATA, ["known outcome"], "train", dataset, "-c", config)


@pytest.mark.parametrize("cycles", [1, 3])
def test_fewer_episodes_than_parts_are_refused_with_the_number_needed(
    refused: Refused, run: Run, toy: Toy, tmp_path: Path, cycles: int
) -> None:
    dataset = imported(run, toy, tmp_path, cycles)
    refused(
        TOO_FEW, ["at least 4", f"there {'is' if cycles == 1 else 'are'} {cycles}"],
        "train", dataset, "-c", toy.training,
    )  # fmt: skip


def test_too_few_events_for_a_promise_are_noted_with_the_number_needed(
    run: Run, toy: Toy, tmp_path: Path
) -> None:
    config = with_training(
        tmp_path / "t.yaml", lambda d: d["calibration"]["alarms"][0].update(miss_rate=0.001)
    )
    done = run("train", toy.dataset, "-c", config, "-o", tmp_path / "c", "--json")
    assert done.code == 0
    assert done.json["calibration"]["alarms"] == []
    assert any("alarm on 'any' at 1 s" in n and "999" in n for n in done.json["notes"])


def test_a_part_without_episodes_is_refused(
    refused: Refused, run: Run, toy: Toy, tmp_path: Path
) -> None:
    config = with_training(tmp_path / "t.yaml", lambda d: d["split"].update(test=0.0))
    checkpoint = tmp_path / "c"
    assert run("train", toy.dataset, "-c", config, "-o", checkpoint).code == 0
    refused(TOO_FEW, ["no test episodes", "split.test"], "evaluate", checkpoint, toy.dataset)
    refused(DATA, ["'tset'", "test"], "evaluate", checkpoint, toy.dataset, "--part", "tset")


def test_a_data_set_that_was_not_trained_on_has_no_parts(
    refused: Refused, run: Run, toy: Toy, tmp_path: Path
) -> None:
    other = imported(run, toy, tmp_path, 6)
    refused(DATA, [other, "'test'"], "evaluate", toy.checkpoint, other, "--part", "test")
    refused(
        DATA, [other, "other data"],
        "evaluate", toy.checkpoint, other, "--rivals-from", other,
    )  # fmt: skip
