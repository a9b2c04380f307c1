"""Sequences: the steps that replay sees, stacked, cut at restarts, with what is known."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from pro_ros.episodes import stacks
from pro_ros.episodes.arrays import recording_sequences, save_steps_parquet
from pro_ros.episodes.labels import RewardConfig, label
from pro_ros.episodes.marks import BEGIN, END, EventMark, episode_begins
from pro_ros.episodes.segment import segment
from pro_ros.errors import StorageError
from pro_ros.streams.sample import Sample
from pro_ros.streams.spec import parse_spec
from pro_ros.streams.stepper import Stepper

S = 1_000_000_000


def make_spec(camera=False, events=None, **episodes):
    raw = {
        "format": "pro_ros/streams/1",
        "robot": "test",
        "step": {"on": "force"},
        "gap": 5.0,
        "streams": {
            "joints": {
                "modality": "state",
                "rate": 2.0,
                "features": [{"name": "q", "columns": ["q"]}],
            },
            "log": {
                "modality": "label",
                "rate": 1.0,
                "features": [
                    {"name": "cycle", "columns": ["cycle"]},
                    {"name": "lost", "columns": ["lost"]},
                ],
            },
            "force": {
                "modality": "telemetry",
                "rate": 1.0,
                "features": [{"name": "f", "columns": ["f"]}],
                "summaries": [{"over": "episode", "stats": ["mean"]}],
            },
        },
        "events": {"lost": {"signal": "log.lost", "kind": "grip_lost", "above": 0.5}}
        | (events or {}),
        "failure_modes": ["lost"],
        "episodes": {"outcome": {"failure_events": ["lost"]}, **episodes},
    }
    if camera:
        raw["streams"]["cam"] = {
            "modality": "visual", "rate": 1.0, "topic": "/cam", "type": "sensor_msgs/msg/Image",
            "image": {"height": 8, "width": 8},
        }  # fmt: skip
    return parse_spec(raw, "test")


def row(second, cycle=1.0, lost=0.0, f=None, q=None, frame=None):
    t = round(second * S)
    samples = [Sample("log", t, t, np.array([cycle, lost], dtype=float))]
    if q is not None:
        samples.append(Sample("joints", t, t, np.array([q], dtype=float)))
    if frame is not None:
        samples.append(Sample("cam", t, t, np.full((8, 8, 3), frame, np.uint8)))
    samples.append(Sample("force", t, t, np.array([second if f is None else f], dtype=float)))
    return samples


def build(samples, spec, marks=(), **kwargs):
    found = segment("r", samples, spec, marks)
    return recording_sequences(
        "r", samples, spec, found.episodes, found.events, found.end_ns - 1,
        begins=episode_begins(marks), **kwargs,
    )  # fmt: skip


def rows(*given):
    return [sample for r in given for sample in r]


SIGNAL = {"by": "signal", "signal": "log.cycle"}


def test_sequences_hold_what_the_stepper_gives():
    spec = make_spec(**SIGNAL)
    rng = np.random.default_rng(0)
    samples = rows(
        *(row(s, s // 7, f=rng.normal(), q=rng.normal() if s % 3 else None) for s in range(30)),
        *(row(s, s // 7, f=np.nan if s % 4 else 1.0) for s in range(50, 70)),
    )
    stepper = Stepper(spec)
    steps = [step for sample in samples for step in stepper.feed(sample)] + stepper.flush()
    first, second = build(samples, spec)
    assert (len(first), len(second)) == (30, 20)
    assert [s.restart for s in steps].index(True, 1) == 30
    stacked = [*zip([first] * 30, range(30), strict=True), *zip([second] * 20, range(20),
               strict=True)]  # fmt: skip
    for step, (seq, i) in zip(steps, stacked, strict=True):
        assert step.t_ns == seq.t_ns[i]
        for modality in spec.layout:
            np.testing.assert_array_equal(step.values[modality], seq.values[modality][i])
            np.testing.assert_array_equal(step.mask[modality], seq.mask[modality][i])


def test_a_gap_cuts_and_ends_what_is_known():
    first, second = build(rows(row(0), row(1), row(20), row(21, lost=1)), make_spec(by="gap"))
    assert (first.id, second.id) == ("r#0", "r#1")
    assert first.known_until_ns == 1 * S
    assert second.known_until_ns == 21 * S
    assert first.events == ()
    assert [e.start_ns for e in second.events] == [21 * S]
    assert [len(s.episodes) for s in (first, second)] == [1, 1]


def test_a_reset_cuts_but_does_not_end_what_is_known():
    samples = rows(row(0, 1), row(1, 1), row(2, 2), row(3, 2, lost=1), row(4, 3))
    parts = build(samples, make_spec(**SIGNAL, reset=True))
    assert [s.t_ns.tolist() for s in parts] == [[0, S], [2 * S, 3 * S], [4 * S]]
    assert [s.known_until_ns for s in parts] == [4 * S] * 3
    # The first stretch is told of what happened just after it.
    found = label(parts[0], ("lost",), (2.0,), 1.0, RewardConfig())
    assert found.within[:, 0, 0].tolist() == [0, 1]
    assert found.within_known.all()


def test_steps_know_their_episode():
    samples = rows(row(0, np.nan), row(1, 1), row(2, 2), row(3, 2))
    (seq,) = build(samples, make_spec(**SIGNAL))
    assert seq.episode.tolist() == [-1, 0, 1, 1]
    assert [e.id for e in seq.episodes] == ["r/0000", "r/0001"]


def test_begin_marks_reach_the_stepper_even_of_episodes_left_out():
    marks = [
        EventMark(1 * S, BEGIN, episode_id="a"),
        EventMark(3 * S, END, episode_id="a", outcome=1),
        EventMark(4 * S, BEGIN, episode_id="short"),
    ]
    spec = make_spec(by="events", min_duration=1.9)
    (seq,) = build(rows(*(row(s) for s in range(6))), spec, marks)
    assert seq.episode.tolist() == [-1, 0, 0, -1, -1, -1]
    column = spec.layout["telemetry"].index("force.f:mean@episode")
    assert seq.values["telemetry"][:, column].tolist() == [0, 1, 1.5, 2, 4, 4.5]


def test_an_intervention_does_not_cut_the_memory_but_what_follows_is_unlabelled():
    events = {"help": {"signal": "log.lost", "kind": "intervention", "above": 0.5}}
    spec = make_spec(events=events, **SIGNAL)
    samples = rows(row(0, 1), row(1, 1, lost=1), row(2, 1), row(3, 2), row(4, 2), row(5, 2))
    (seq,) = build(samples, spec)
    found = label(seq, ("help",), (1.0,), 1.0, RewardConfig())
    assert found.within_known[:, 0, 0].tolist() == [True, False, False, True, True, False]


def test_arrays_grow_past_a_block(monkeypatch):
    monkeypatch.setattr(stacks, "CHUNK", 4)
    (seq,) = build(rows(*(row(s) for s in range(11))), make_spec())
    assert seq.t_ns.tolist() == [s * S for s in range(11)]
    column = make_spec().layout["telemetry"].index("force.f")
    assert seq.values["telemetry"][:, column].tolist() == list(range(11))


@pytest.mark.parametrize("in_memory", [True, False])
def test_frames_are_kept_with_a_mask_where_there_is_none(tmp_path, in_memory):
    samples = rows(row(0), row(1, frame=7), row(2, frame=9), row(11), row(12, frame=3))
    cache = None if in_memory else tmp_path / "cache"
    first, second = build(samples, make_spec(camera=True, by="gap"), cache=cache)
    assert first.frames["cam"].shape == (3, 3, 8, 8)
    assert first.frames["cam"][:, 0, 0, 0].tolist() == [0, 7, 9]
    assert first.frame_mask["cam"].tolist() == [False, True, True]
    assert second.frames["cam"][:, 2, 7, 7].tolist() == [0, 3]
    assert isinstance(first.frames["cam"], np.memmap) != in_memory


def test_progress_rises_to_the_end():
    heard = []
    samples = rows(*(row(s) for s in range(1500)))
    build(samples, make_spec(), progress=heard.append)
    assert heard == sorted(heard)
    assert 0 <= heard[0] <= heard[-1] <= 1
    assert len(heard) > 2


def test_steps_can_be_saved_as_a_table_that_other_tools_open(tmp_path):
    spec = make_spec(**SIGNAL)
    (seq,) = build(rows(row(0, np.nan), row(1, 1, f=np.nan), row(2, 1)), spec)
    save_steps_parquet(seq, spec, tmp_path / "steps.parquet")
    table = pq.read_table(tmp_path / "steps.parquet")
    assert table.column("t_ns").to_pylist() == [0, S, 2 * S]
    assert table.column("episode").to_pylist() == [None, "r/0000", "r/0000"]
    assert table.column("force.f").to_pylist() == [0.0, None, 2.0]
    assert table.column("joints.q").to_pylist() == [None, None, None]


def test_frames_that_find_no_room_are_one_line(tmp_path):
    (tmp_path / "cache").write_text("a file is in the way")
    samples = rows(row(0), row(1, frame=7))
    with pytest.raises(StorageError, match="cache: cannot be written"):
        build(samples, make_spec(camera=True, by="gap"), cache=tmp_path / "cache")
