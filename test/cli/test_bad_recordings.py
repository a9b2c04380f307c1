"""Recordings that are missing, damaged, or not what the stream file says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_toy import Rows, Run, Toy, toy_bag, toy_bag1, toy_rows, with_streams, write_csv

from pro_ros.episodes.bags import BagTopic
from pro_ros.episodes.bagwriter import BagWriter

Refused = Callable[..., str]

DATA = 3
CONFIGURATION = 2


def changed(column: str, row: int, value: Any) -> Rows:
    rows = toy_rows(cycles=4)
    rows[column][row] = value
    return rows


# Missing and damaged files


@pytest.mark.parametrize("name", ["run.mcap", "run", "run.csv", "run.bag"])
def test_a_missing_recording_is_named(
    refused: Refused, toy: Toy, tmp_path: Path, name: str
) -> None:
    refused(DATA, [tmp_path / name, "no such file"], "import", tmp_path / name, "-s", toy.streams)
    refused(DATA, [tmp_path / name, "no such file"], "replay", tmp_path / name, toy.checkpoint)


def test_a_file_that_is_no_recording_is_refused(
    refused: Refused, toy: Toy, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    refused(
        DATA, [tmp_path / "notes.txt", ".mcap", ".csv"],
        "import", tmp_path / "notes.txt", "-s", toy.streams,
    )  # fmt: skip


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.97])
@pytest.mark.parametrize("kind", ["mcap", "db3", "bag"])
def test_a_truncated_bag_is_refused(
    refused: Refused, toy: Toy, tmp_path: Path, kind: str, share: float
) -> None:
    def lacks_joints(document: dict[str, Any]) -> None:
        del document["streams"]["joints"]

    streams = with_streams(tmp_path / "streams.yaml", lacks_joints)
    if kind == "bag":
        bag = file = toy_bag1(tmp_path / "run.bag")
    else:
        bag = toy_bag(tmp_path / "run", {"mcap": "mcap", "db3": "sqlite3"}[kind], cycles=20)
        file = next(bag.glob(f"*.{kind}"))
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    line = refused(DATA, [bag], "import", bag, "-s", streams)
    assert "truncated" in line or "empty" in line or "no messages" in line


def test_a_truncated_bag_is_refused_by_replay(refused: Refused, toy: Toy, tmp_path: Path) -> None:
    bag = toy_bag(tmp_path / "run")
    file = next(bag.glob("*.mcap"))
    file.write_bytes(file.read_bytes()[:-500])
    refused(DATA, [bag, "truncated"], "replay", bag, toy.checkpoint)


@pytest.mark.parametrize("name", ["t.csv", "t.xlsx", "t.parquet", "t.npz"])
def test_a_damaged_table_is_refused(refused: Refused, toy: Toy, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x00\xff\x01 not a table \x80" * 20)
    refused(DATA, [tmp_path / name], "import", tmp_path / name, "-s", toy.streams)


def test_an_empty_table_is_refused(refused: Refused, toy: Toy, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "t.csv", {name: [] for name in toy_rows(1)})
    refused(DATA, [path, "no row"], "import", path, "-s", toy.streams)


def test_a_recording_of_a_data_set_that_is_gone_is_named(
    refused: Refused, toy: Toy, tmp_path: Path
) -> None:
    dataset = tmp_path / "dataset"
    shutil.copytree(toy.dataset, dataset)
    shutil.rmtree(dataset / "recordings" / "log")
    refused(DATA, [dataset, "'log'", "missing"], "train", dataset, "-c", toy.training)
    refused(DATA, [dataset, "'log'", "missing"], "evaluate", toy.checkpoint, dataset)


# Topics, types and columns


def test_a_missing_topic_is_named_with_the_near_one(refused: Refused, tmp_path: Path) -> None:
    def other_topic(document: dict[str, Any]) -> None:
        document["streams"]["vacuum"]["topic"] = "/vacum"

    streams = with_streams(tmp_path / "streams.yaml", other_topic)
    bag = toy_bag(tmp_path / "run")
    refused(
        DATA, [bag, "'vacuum'", "'/vacum'", "did you mean '/vacuum'?"],
        "import", bag, "-s", streams,
    )  # fmt: skip


def test_a_missing_column_is_named_with_the_near_one(
    refused: Refused, toy: Toy, tmp_path: Path
) -> None:
    rows = toy_rows(cycles=4)
    rows["vaccum"] = rows.pop("vacuum")
    path = write_csv(tmp_path / "t.csv", rows)
    refused(
        DATA, [path, "stream 'vacuum'", "'vacuum'", "did you mean 'vaccum'?"],
        "import", path, "-s", toy.streams,
    )  # fmt: skip


def test_a_missing_time_column_is_named(refused: Refused, toy: Toy, tmp_path: Path) -> None:
    rows = toy_rows(cycles=4)
    rows["tt"] = rows.pop("t")
    path = write_csv(tmp_path / "t.csv", rows)
    refused(DATA, [path, "time column 't'"], "import", path, "-s", toy.streams)


def test_missing_streams_are_accepted_on_request_and_noted(
    run: Run, toy: Toy, tmp_path: Path
) -> None:
    rows = toy_rows(cycles=8)
    del rows["elbow"], rows["wrist"]
    path = write_csv(tmp_path / "t.csv", rows)
    words = ["import", path, "-s", toy.streams, "-o", tmp_path / "d"]
    assert run(*words).code == DATA
    done = run(*words, "--allow-missing")
    assert done.code == 0
    assert done.notes == ["note: t: stream 'joints' is not in the recording"]
    done = run("replay", path, toy.checkpoint, "-o", tmp_path / "r", "--allow-missing")
    assert done.code == 0
    assert "stream 'joints' is not in the recording" in done.stderr


def test_an_unknown_message_type_is_named(refused: Refused, toy: Toy, tmp_path: Path) -> None:
    def unknown(document: dict[str, Any]) -> None:
        document["streams"]["vacuum"]["type"] = "std_msgs/msg/Float46"

    streams = with_streams(tmp_path / "streams.yaml", unknown)
    refused(
        CONFIGURATION,
        [streams, "'vacuum'", "std_msgs/msg/Float46", "did you mean 'std_msgs/msg/Float64'?"],
        "import", toy.table, "-s", streams,
    )  # fmt: skip


def test_a_type_that_the_bag_does_not_define_is_named(refused: Refused, tmp_path: Path) -> None:
    kind = "toys_msgs/msg/Vacuum"
    bag = tmp_path / "run"
    with BagWriter(bag) as writer:
        topic = BagTopic("/vacuum", kind, "gibberish gibberish gibberish", "RIHS01_" + "0" * 64)
        writer.raw(writer.copy_topic(topic), 1, b"\0" * 12)

    def only_vacuum(document: dict[str, Any]) -> None:
        document["streams"] = {"vacuum": {**document["streams"]["vacuum"], "type": kind}}
        document |= {"step": {"on": "vacuum"}, "episodes": {"by": "file"}}

    streams = with_streams(tmp_path / "streams.yaml", only_vacuum)
    refused(DATA, [bag, "'vacuum'", kind, "unknown"], "import", bag, "-s", streams)


def test_a_topic_of_another_type_is_named(refused: Refused, tmp_path: Path) -> None:
    def other_type(document: dict[str, Any]) -> None:
        document["streams"]["vacuum"]["type"] = "std_msgs/msg/Float32"

    streams = with_streams(tmp_path / "streams.yaml", other_type)
    bag = toy_bag(tmp_path / "run")
    refused(
        DATA, [bag, "'/vacuum'", "std_msgs/msg/Float64", "expected std_msgs/msg/Float32"],
        "import", bag, "-s", streams,
    )  # fmt: skip


def test_a_text_where_a_number_belongs_is_named(
    refused: Refused, toy: Toy, tmp_path: Path
) -> None:
    path = write_csv(tmp_path / "t.csv", changed("wrist", 7, "broken"))
    refused(
        DATA, [path, "column 'wrist'", "row 9", "expected a number", "'broken'"],
        "import", path, "-s", toy.streams,
    )  # fmt: skip


@pytest.mark.parametrize(("unit", "said"), [("N", "N"), ("metre per", "metre per"), ("", "")])
def test_a_wrong_unit_is_named(
    refused: Refused, toy: Toy, tmp_path: Path, unit: str, said: str
) -> None:
    def other_unit(document: dict[str, Any]) -> None:
        document["streams"]["joints"]["features"][0]["unit"] = unit

    streams = with_streams(tmp_path / "streams.yaml", other_unit)
    refused(
        CONFIGURATION, [streams, "'joints'", "'position'", said],
        "import", toy.table, "-s", streams,
    )  # fmt: skip


# Values


def test_nan_and_infinity_are_missing_values_and_infinity_is_noted(
    run: Run, toy: Toy, tmp_path: Path
) -> None:
    rows = toy_rows(cycles=6)
    rows["wrist"][3] = "nan"
    rows["wrist"][4] = ""
    rows["vacuum"][5] = "inf"
    rows["vacuum"][6] = "-Infinity"
    path = write_csv(tmp_path / "t.csv", rows)
    done = run("import", path, "-s", toy.streams, "-o", tmp_path / "d")
    assert done.code == 0
    assert done.notes == ["note: t: stream 'vacuum': 2 infinite values taken as missing"]
    bag = tmp_path / "d" / "recordings" / "t"
    found = run("inspect", bag, "-s", toy.streams, "--json").json["streams"]
    streams = {s["name"]: s for s in found}
    missing = {f["name"]: f["missing"] for s in found for f in s["features"]}
    assert streams["vacuum"]["infinite"] == 2
    assert missing["position.wrist"] == pytest.approx(2 / 120)
    assert missing["position.elbow"] == 0
    assert missing["level"] == pytest.approx(2 / 120)
    done = run("replay", bag, toy.checkpoint, "-o", tmp_path / "r", "--json")
    assert done.code == 0
    assert done.json["notes"] == ["t: stream 'vacuum': 2 infinite values taken as missing"]
    assert 0 <= done.json["highest_risk"] <= 1


def test_a_column_without_any_value_is_noted(run: Run, toy: Toy, tmp_path: Path) -> None:
    rows = toy_rows(cycles=6)
    rows["vacuum"] = [""] * len(rows["vacuum"])
    path = write_csv(tmp_path / "t.csv", rows)
    done = run("import", path, "-s", toy.streams, "-o", tmp_path / "d")
    assert done.code == 0
    assert "note: t: stream 'vacuum' is there but has no value" in done.notes


# Time


def test_time_that_goes_backwards_is_refused(refused: Refused, toy: Toy, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "t.csv", changed("t", 10, "0.2"))
    refused(
        DATA, [path, "column 't'", "row 12", "back by 0.7 s"],
        "import", path, "-s", toy.streams,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("value", "said"),
    [("", "empty"), ("nan", "'nan'"), ("soon", "'soon'"), ("1e300", "time"), ("-9e9", "1970")],
)
def test_a_time_that_is_none_is_refused(
    refused: Refused, toy: Toy, tmp_path: Path, value: str, said: str
) -> None:
    path = write_csv(tmp_path / "t.csv", changed("t", 10, value))
    refused(DATA, [path, "column 't'", "row 12", said], "import", path, "-s", toy.streams)


def test_the_same_time_with_other_values_is_refused(
    refused: Refused, toy: Toy, tmp_path: Path
) -> None:
    path = write_csv(tmp_path / "t.csv", changed("t", 10, "0.9"))
    refused(DATA, [path, "column 't'", "row 12", "same time"], "import", path, "-s", toy.streams)


def test_repeated_rows_are_left_out_and_noted(run: Run, toy: Toy, tmp_path: Path) -> None:
    rows = toy_rows(cycles=6)
    twice = {name: [*cells[:5], cells[4], *cells[5:]] for name, cells in rows.items()}
    done = [
        run("import", write_csv(tmp_path / name / "t.csv", cells), "-s", toy.streams,
            "-o", tmp_path / name / "d")
        for name, cells in (("once", rows), ("twice", twice))
    ]  # fmt: skip
    assert [d.code for d in done] == [0, 0]
    assert [d.notes for d in done] == [[], ["note: t: 1 row repeats the one before: left out"]]
    assert done[0].stdout.partition(":")[2] == done[1].stdout.partition(":")[2]


def test_a_jump_forward_is_a_gap_that_is_noted(run: Run, toy: Toy, tmp_path: Path) -> None:
    rows = toy_rows(cycles=6)
    rows["t"] = [t if i < 50 else f"{float(t) + 3600:.1f}" for i, t in enumerate(rows["t"])]
    path = write_csv(tmp_path / "t.csv", rows)
    done = run("import", path, "-s", toy.streams, "-o", tmp_path / "d", "--json")
    assert done.code == 0
    assert done.stderr == ""
    assert done.json["warnings"] == ["t: 1 gap longer than 1 s: memory restarts"]
    # The cycle that the gap interrupts becomes two parts, of which neither can be a success.
    manifest = json.loads((tmp_path / "d" / "manifest.json").read_text())
    parts = [e for e in manifest["episodes"] if e["attributes"]["counter"] == "2"]
    assert len(parts) == 2
    assert all(e["outcome"] != "success" and not e["end_seen"] for e in parts[:1])
    bag = tmp_path / "d" / "recordings" / "t"
    done = run("replay", bag, toy.checkpoint, "-o", tmp_path / "r", "--json")
    assert done.json["restarts"] == 2
    assert done.json["notes"] == ["t: 1 gap longer than 1 s: memory restarts"]


def test_stamps_that_go_back_or_repeat_are_not_used_and_noted(
    run: Run, toy: Toy, tmp_path: Path
) -> None:
    stamps = list(range(80))
    stamps[30], stamps[40] = 20, 39
    bag = toy_bag(tmp_path / "run", stamps=stamps)
    said = [
        "run: stream 'joints': 1 sample stamped earlier than the one before: not used",
        "run: stream 'joints': 1 sample with the stamp of the one before: not used",
    ]
    done = run("import", bag, "-s", toy.streams, "-o", tmp_path / "d", "--json")
    assert done.json["warnings"] == said
    done = run("replay", bag, toy.checkpoint, "-o", tmp_path / "r", "--json")
    assert done.json["notes"] == said
    done = run("inspect", bag)
    assert any("/joint_states" in n and "earlier than the one before" in n for n in done.notes)
    assert any("/joint_states" in n and "that of the one before" in n for n in done.notes)


@pytest.mark.parametrize(
    ("shift", "said"),
    [
        (-600, "80 samples stale on arrival"),
        (8, "80 samples stamped after the receipt"),
        (600, "80 samples whose stamp jumps by more than 1 s: synchronise the clocks, or set"),
    ],
)
def test_a_header_clock_that_disagrees_with_receipt_is_noted(
    run: Run, toy: Toy, tmp_path: Path, shift: int, said: str
) -> None:
    bag = toy_bag(tmp_path / "run", stamps=range(shift, shift + 80))
    done = run("import", bag, "-s", toy.streams, "-o", tmp_path / "d")
    assert done.code == 0
    assert len(done.notes) == 1
    assert f"stream 'joints': {said}" in done.notes[0]


def test_an_unset_stamp_is_refused(refused: Refused, toy: Toy, tmp_path: Path) -> None:
    stamps = list(range(80))
    stamps[30] = -17_000_000_000
    bag = toy_bag(tmp_path / "run", stamps=stamps)
    refused(DATA, [bag, "'joints'", "unset", "clock: receipt"], "import", bag, "-s", toy.streams)


# Episodes and events


def test_episodes_that_are_too_short_are_left_out_and_noted(
    run: Run, toy: Toy, tmp_path: Path
) -> None:
    def at_least(document: dict[str, Any]) -> None:
        document["episodes"]["min_duration"] = 1.0

    rows = toy_rows(cycles=6)
    rows["cycle"][25] = "77"
    streams = with_streams(tmp_path / "streams.yaml", at_least)
    path = write_csv(tmp_path / "t.csv", rows)
    done = run("import", path, "-s", streams, "-o", tmp_path / "d")
    assert done.code == 0
    assert "note: t: 2 episodes shorter than 1 s left out" in done.notes


BEGIN, END, FAILURE = 1, 2, 10


def by_events(document: dict[str, Any]) -> None:
    document["episodes"] = {"by": "events", "outcome": {"failure_events": ["failure"]}}
    document["failure_modes"] = []


def test_an_event_outside_any_episode_is_kept_and_noted(run: Run, tmp_path: Path) -> None:
    marks = {5: (BEGIN, "a"), 25: (END, "a"), 30: (FAILURE, ""), 40: (BEGIN, "b"), 60: (END, "b")}
    bag = toy_bag(tmp_path / "run", marks=marks)
    streams = with_streams(tmp_path / "streams.yaml", by_events)
    done = run("import", bag, "-s", streams, "-o", tmp_path / "d", "--json")
    assert done.code == 0
    assert "run: 1 'failure' event outside any episode" in done.json["warnings"]
    assert done.json["episodes"] == 2
    assert done.json["outcomes"]["success"] == 2


def test_an_empty_episode_is_left_out_and_noted(run: Run, tmp_path: Path) -> None:
    marks = {5: (BEGIN, "a"), 25: (END, "a"), 79: (BEGIN, "b")}
    bag = toy_bag(tmp_path / "run", marks=marks)
    streams = with_streams(tmp_path / "streams.yaml", by_events)
    done = run("import", bag, "-s", streams, "-o", tmp_path / "d", "--json")
    assert done.json["episodes"] == 2
    # An episode that ends as soon as it begins holds no sample.
    marks = {5: (BEGIN, "a"), 25: (END, "a")}
    bag = toy_bag(tmp_path / "again", marks=marks)
    late = with_streams(tmp_path / "late.yaml", lambda d: (by_events(d), d.update(gap=100)))
    done = run("import", bag, "-s", late, "-o", tmp_path / "e", "--json")
    assert done.json["episodes"] == 1
