"""Data sets on disk: made in one go, read back, and what is said about bad ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer

from pro_ros.episodes import arrays, dataset
from pro_ros.episodes.arrays import sequences
from pro_ros.episodes.dataset import Dataset, Source, create_dataset
from pro_ros.episodes.outcome_table import apply_outcomes
from pro_ros.episodes.runs import open_run
from pro_ros.errors import DataError, ProError, SpecError, StorageError
from pro_ros.interfaces import (
    EPISODE_EVENT,
    TASK_CONTEXT,
    context_message,
    definition,
    event_message,
    typestore,
)
from pro_ros.streams.spec import parse_spec

S = 1_000_000_000
T0 = 1_700_000_000 * S


def make_spec(**episodes):
    return parse_spec(
        {
            "format": "pro_ros/streams/1",
            "robot": "test",
            "attribution": "made up, no licence",
            "step": {"on": "force"},
            "gap": 5.0,
            "table": {"time": "t"},
            "streams": {
                "force": {
                    "modality": "telemetry",
                    "rate": 1.0,
                    "topic": "/force",
                    "type": "std_msgs/msg/Float64",
                    "clock": "receipt",
                    "features": [{"name": "f", "field": "data", "columns": ["f"]}],
                },
            },
            "events": {"slip": {"signal": "force.f", "kind": "drop", "above": 90.0}},
            "failure_modes": ["slip"],
            "episodes": {"outcome": {"failure_events": ["slip"]}, **episodes},
        },
        "test",
    )


def write_csv(path: Path, values, start=0):
    lines = ["t,f", *(f"{start + i},{v}" for i, v in enumerate(values))]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_bag(path: Path, messages):
    """``messages``: (second, topic, type, message), stamped T0 + second."""
    store = typestore()
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        known = {}
        for second, topic, msgtype, message in messages:
            if topic not in known:
                text, digest = definition(msgtype)
                known[topic] = writer.add_connection(topic, msgtype, msgdef=text, rihs01=digest)
            writer.write(known[topic], T0 + round(second * S),
                         bytes(store.serialize_cdr(message, msgtype)))  # fmt: skip
    return path


def force(second, value=1.0):
    message = typestore().types["std_msgs/msg/Float64"](data=value)
    return (second, "/force", "std_msgs/msg/Float64", message)


def event(second, kind, stamp=None, **fields):
    at = T0 + round(second * S) if stamp is None else stamp
    message = event_message(typestore(), at, kind, **fields)
    return (second, "/pro/episode_event", EPISODE_EVENT, message)


@pytest.fixture
def runs(tmp_path):
    write_csv(tmp_path / "a.csv", [1, 2, 3])
    write_csv(tmp_path / "b.csv", [1, 99, 3], start=4)
    return [Source("a", tmp_path / "a.csv"), Source("b", tmp_path / "b.csv")]


def test_a_data_set_is_read_back_as_it_was_made(tmp_path, runs):
    spec = make_spec()
    heard = []
    made = create_dataset(tmp_path / "ds", "two runs", spec, runs, progress=heard.append)
    again = Dataset.load(tmp_path / "ds")
    assert again.spec == spec
    assert again.manifest == made.dataset.manifest
    assert again.manifest.name == "two runs"
    assert again.manifest.attribution == spec.attribution
    assert [e.outcome for e in again.manifest.episodes] == ["success", "failure"]
    assert [r.source for r in again.manifest.recordings] == ["a.csv", "b.csv"]
    assert heard == [0.5, 1.0]
    assert made.warnings == ()
    found = sequences(again)
    assert [len(s) for s in found] == [3, 3]


def test_processes_side_by_side_read_the_same_in_the_same_order(tmp_path, runs, monkeypatch):
    monkeypatch.setattr(arrays, "WORTH_IT", 0.0)
    made = create_dataset(tmp_path / "ds", "two runs", make_spec(), runs).dataset
    monkeypatch.setattr(dataset, "MANY", 0)
    other = create_dataset(tmp_path / "other", "two runs", make_spec(), runs, processes=2).dataset
    assert other.manifest == made.manifest
    alone, heard = sequences(made), []
    together = sequences(made, heard.append, processes=2)
    assert [s.id for s in together] == [s.id for s in alone] == ["a#0", "b#0"]
    for one, other in zip(together, alone, strict=True):
        assert one.episodes == other.episodes
        assert one.events == other.events
        for modality, values in other.values.items():
            np.testing.assert_array_equal(one.values[modality], values)
            np.testing.assert_array_equal(one.mask[modality], other.mask[modality])
    assert heard == [0.5, 1.0]
    runs[1].path.unlink()
    with pytest.raises(DataError, match=r"recording 'b' is missing"):
        sequences(made, processes=2)


def test_a_copied_recording_moves_with_the_data_set(tmp_path, runs):
    runs = [Source(r.id, r.path, copy=True) for r in runs]
    made = create_dataset(tmp_path / "ds", "n", make_spec(), runs)
    print_before = made.dataset.fingerprint()
    (tmp_path / "ds").rename(tmp_path / "moved")
    for run in runs:
        run.path.unlink()
    moved = Dataset.load(tmp_path / "moved")
    assert len(sequences(moved)) == 2
    assert moved.fingerprint() == print_before


def test_the_fingerprint_changes_with_content_only(tmp_path, runs):
    linked = create_dataset(tmp_path / "x", "n", make_spec(), runs).dataset.fingerprint()
    same = create_dataset(tmp_path / "y", "n", make_spec(), runs).dataset.fingerprint()
    named = create_dataset(tmp_path / "z", "other", make_spec(), runs).dataset.fingerprint()
    write_csv(runs[0].path, [1, 2, 4])
    changed = Dataset.load(tmp_path / "x").fingerprint()
    assert linked == same
    assert len({linked, named, changed}) == 3


def test_an_outcome_table_fills_in_what_the_streams_do_not_say(tmp_path, runs):
    table = tmp_path / "outcomes.csv"
    table.write_text(
        "key,outcome,pose,task,sku,context.shift,slipped\nb,success,7,pick,X,late,y\n"
    )
    made = create_dataset(
        tmp_path / "ds", "n", make_spec(), runs, outcomes=table,
        outcome_columns={"key": "file", "pose": "group"},
    )  # fmt: skip
    first, second = made.dataset.manifest.episodes
    assert (first.outcome, first.group) == ("success", "")
    assert (second.outcome, second.group, second.task) == ("success", "7", "pick")
    assert second.context == {"sku": "X", "shift": "late"}
    assert second.attributes == {"slipped": "y"}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "empty: expected a header line"),
        ("name,outcome\n", "expected a column 'episode' or 'file', and not both"),
        ("episode,file\n", "expected a column 'episode' or 'file', and not both"),
        (
            "file,outcome\nb,won\n",
            "row 2, column 'outcome': expected success, failure, unknown, got 'won'",
        ),
        ("file,outcome\na,success\n\nc,success\n", "row 4: no file 'c'"),
        ("file,outcome\na,success\na,failure\n", "row 3: file 'a' stands in row 2 too"),
        ("episode,outcome\na/00\n", "row 2: 1 cells, the header has 2"),
        ("episode,outcome\na/000,success\n", "no episode 'a/000', did you mean 'a/0000'?"),
        ("file,attempt\na,0\n", "row 2, column 'attempt': expected a number from 1, got '0'"),
        ("file,outcome,outcome\n", "two columns mean 'outcome'"),
    ],
)  # fmt: skip
def test_a_bad_outcome_table_is_refused_in_one_line(tmp_path, runs, text, line):
    table = tmp_path / "outcomes.csv"
    table.write_text(text)
    with pytest.raises(DataError) as caught:
        create_dataset(tmp_path / "ds", "n", make_spec(), runs, outcomes=table)
    assert str(caught.value).startswith(f"{table}: ")
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ds").exists()


def test_an_outcome_table_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.csv: cannot be read"):
        apply_outcomes(tmp_path / "none.csv", [])
    (tmp_path / "bad.csv").write_bytes(b"file,outcome\n\xff\xfe\x00\n")
    with pytest.raises(DataError, match="not a CSV file"):
        apply_outcomes(tmp_path / "bad.csv", [])
    (tmp_path / "keys.csv").write_text("keys,outcome\n")
    with pytest.raises(DataError, match=r"no column 'key', did you mean 'keys'\?"):
        apply_outcomes(tmp_path / "keys.csv", [], {"key": "file"})


def test_what_is_there_is_left_alone(tmp_path, runs):
    create_dataset(tmp_path / "ds", "n", make_spec(), runs)
    with pytest.raises(StorageError, match="exists already"):
        create_dataset(tmp_path / "ds", "m", make_spec(), runs)
    broken = [*runs, Source("c", tmp_path / "none.csv")]
    with pytest.raises(DataError, match=r"none\.csv"):
        create_dataset(tmp_path / "ds", "m", make_spec(), broken, overwrite=True)
    assert Dataset.load(tmp_path / "ds").manifest.name == "n"
    create_dataset(tmp_path / "ds", "m", make_spec(), runs[:1], overwrite=True)
    assert Dataset.load(tmp_path / "ds").manifest.name == "m"


def test_bad_sources_are_refused_in_one_line(tmp_path, runs):
    def create(sources):
        create_dataset(tmp_path / "ds", "n", make_spec(), sources)

    with pytest.raises(DataError, match="at least one recording"):
        create([])
    with pytest.raises(DataError, match="two recordings have the id 'a'"):
        create([runs[0], Source("a", runs[1].path)])
    with pytest.raises(DataError, match="cannot be a recording's id"):
        create([Source("a/b", runs[0].path)])
    assert not (tmp_path / "ds").exists()


def test_a_missing_or_damaged_data_set_is_named_in_one_line(tmp_path, runs):
    with pytest.raises(DataError, match="no such folder"):
        Dataset.load(tmp_path / "none")
    with pytest.raises(DataError, match=r"it has no manifest\.json"):
        Dataset.load(tmp_path)
    made = create_dataset(tmp_path / "ds", "n", make_spec(), runs).dataset
    with pytest.raises(DataError, match="no recording 'aa', did you mean 'a'"):
        made.recording("aa")
    runs[1].path.unlink()
    with pytest.raises(DataError, match=r"manifest\.json: recording 'b' is missing: .*b\.csv"):
        sequences(made)
    manifest = tmp_path / "ds" / "manifest.json"
    whole = manifest.read_text()
    for damaged, line in (
        (whole[:50], "not valid json"),
        (whole.replace('"episodes"', '"epsodes"'), "did you mean 'episodes'"),
        (whole.replace("dataset/1", "dataset/9"), "pro_ros/dataset/1"),
        (json.dumps(json.loads(whole) | {"recordings": []}), "unknown recording 'a'"),
    ):
        manifest.write_text(damaged)
        with pytest.raises(DataError) as caught:
            Dataset.load(tmp_path / "ds")
        assert line in str(caught.value)
        assert "\n" not in str(caught.value)
    manifest.write_text(whole)
    (tmp_path / "ds" / "streams.yaml").unlink()
    with pytest.raises(SpecError, match=r"streams\.yaml: cannot be read"):
        Dataset.load(tmp_path / "ds")


def test_retries_that_are_files_of_their_own_are_linked(tmp_path):
    write_csv(tmp_path / "a.csv", [1, 99, 1])
    write_csv(tmp_path / "b.csv", [1, 1, 1], start=4)
    write_csv(tmp_path / "c.csv", [1, 1, 1], start=400)
    sources = [Source(x, tmp_path / f"{x}.csv") for x in "cba"]
    made = create_dataset(tmp_path / "ds", "n", make_spec(retry_within=10.0), sources)
    found = {e.recording: (e.attempt, e.retry_of) for e in made.dataset.manifest.episodes}
    assert found == {"a": (1, None), "b": (2, "a/0000"), "c": (1, None)}


def test_a_lacking_stream_is_noted_and_stays_allowed(tmp_path, runs):
    raw = make_spec().model_dump(mode="json", exclude_defaults=True)
    raw["streams"]["extra"] = {
        "modality": "state", "rate": 1.0, "features": [{"name": "g", "columns": ["g"]}],
    }  # fmt: skip
    spec = parse_spec(raw, "test")
    with pytest.raises(DataError, match="'g'"):
        create_dataset(tmp_path / "ds", "n", spec, runs)
    made = create_dataset(tmp_path / "ds", "n", spec, runs, allow_missing=True).dataset
    assert [r.absent for r in made.manifest.recordings] == [("extra",)] * 2
    assert not sequences(made)[0].mask["state"].any()


def test_many_runs_of_one_npz_file(tmp_path):
    path = tmp_path / "runs.npz"
    np.savez(path, **{"r1/t": np.arange(3.0), "r1/f": np.ones(3), "r2/t": np.arange(4.0) + 9,
                      "r2/f": np.array([1.0, 99, 1, 1])})  # fmt: skip
    sources = [Source(run, Path(f"{path}#{run}")) for run in ("r1", "r2")]
    for copy in (False, True):
        given = [Source(s.id, s.path, copy) for s in sources]
        made = create_dataset(tmp_path / f"ds{copy}", "n", make_spec(), given).dataset
        assert [e.outcome for e in made.manifest.episodes] == ["success", "failure"]
        assert [len(s) for s in sequences(made)] == [3, 4]
    assert len(list((tmp_path / "dsTrue").rglob("*.npz"))) == 1


def test_a_bag_with_its_own_episode_events(tmp_path):
    store = typestore()
    told = context_message(store, T0, prompt="pick it", context={"sku": "A", "tote": "3"},
                           task_id="t7", episode_id="one")  # fmt: skip
    bag = write_bag(
        tmp_path / "bag",
        [
            (0.5, "/pro/task_context", TASK_CONTEXT, told),
            event(1, "episode_begin", episode_id="one"),
            force(1.2),
            event(2.1, "grip_lost", stamp=T0 + 2 * S, episode_id="one", name="lost"),
            force(2.2),
            event(3, "episode_end", episode_id="one", outcome="failure"),
            force(3.5),
            event(4, "episode_begin", stamp=0, episode_id="two"),
            force(4.5),
            force(5.5),
            event(6, "episode_end", episode_id="two", outcome="success"),
            force(7.0),
        ],
    )
    spec = make_spec(by="events", retry_within=5.0)
    made = create_dataset(tmp_path / "ds", "n", spec, [Source("bag", bag)])
    first, second = made.dataset.manifest.episodes
    assert ((first.start_ns - T0) / S, (first.end_ns - T0) / S) == (1, 3)
    assert (first.outcome, second.outcome) == ("failure", "success")
    assert (first.task, first.context) == ("pick it", {"sku": "A", "tote": "3"})
    assert first.attributes == {"episode_id": "one", "task_id": "t7"}
    assert second.retry_of == first.id
    (lost,) = made.dataset.manifest.events
    assert (lost.name, lost.kind, lost.start_ns - T0) == ("lost", "grip_lost", 2 * S)
    assert lost.episode == first.id
    assert any("1 of 6 EpisodeEvents and TaskContexts have no stamp" in w for w in made.warnings)
    (seq,) = sequences(made.dataset)
    assert seq.episode.tolist() == [0, 0, -1, 1, 1, -1]


def test_cutting_by_events_needs_the_topic_and_a_bag(tmp_path, runs):
    bag = write_bag(tmp_path / "bag", [force(1), force(2)])
    spec = make_spec(by="events")
    with pytest.raises(DataError, match="no topic '/pro/episode_event'"):
        create_dataset(tmp_path / "ds", "n", spec, [Source("bag", bag)])
    with pytest.raises(SpecError, match=r"a\.csv: 'episodes.by: events' needs a bag"):
        create_dataset(tmp_path / "ds", "n", spec, runs)


def test_a_topic_of_another_type_is_refused(tmp_path):
    bag = write_bag(tmp_path / "bag", [force(1), force(2)])
    spec = make_spec(by="events", topic="/force")
    with pytest.raises(DataError, match=r"'/force' is of type std_msgs/msg/Float64, expected pro"):
        create_dataset(tmp_path / "ds", "n", spec, [Source("bag", bag)])


def test_a_path_with_a_number_sign_in_its_name_is_itself(tmp_path):
    path = write_csv(tmp_path / "run#1.csv", [1, 2])
    with open_run(path, make_spec()) as recording:
        assert len(list(recording.samples())) == 2


def test_real_suction_bags_become_a_data_set_and_empty_ones_are_named(tmp_path, shared_data):
    folder = shared_data / "suction_vacuum_bags"
    spec = parse_spec(
        {
            "format": "pro_ros/streams/1",
            "robot": "arm",
            "step": {"rate": 20.0},
            "gap": 1.0,
            "streams": {
                "wrench": {
                    "modality": "telemetry", "rate": 500.0, "clock": "receipt",
                    "topic": "wrench", "type": "geometry_msgs/msg/WrenchStamped",
                    "features": [{"name": "force", "field": "wrench.force",
                                  "names": ["x", "y", "z"], "unit": "N"}],
                },
                "vacuum": {
                    "modality": "telemetry", "rate": 38.0, "clock": "receipt",
                    "topic": "/gripper/pressure", "type": "std_msgs/msg/Float32",
                    "features": [{"name": "pressure", "field": "data", "unit": "hPa"}],
                },
            },
            "episodes": {"by": "file"},
        },
        "test",
    )  # fmt: skip
    bags = [Source(f"trial_{n}", folder / f"trial_{n}.bag") for n in (5, 8)]
    made = create_dataset(tmp_path / "ds", "suction", spec, bags, allow_missing=True).dataset
    assert [e.outcome for e in made.manifest.episodes] == ["unknown", "unknown"]
    assert made.manifest.recordings[1].absent == ("vacuum",)
    found = sequences(made)
    assert {s.id.split("#")[0] for s in found} == {"trial_5", "trial_8"}
    assert sum(len(s) for s in found) > 20
    empty = [Source("trial_3", folder / "trial_3.bag")]
    with pytest.raises(ProError) as caught:
        create_dataset(tmp_path / "empty", "n", spec, empty, allow_missing=True)
    assert "trial_3.bag" in str(caught.value)
    assert "\n" not in str(caught.value)
