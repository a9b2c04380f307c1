"""The window builder gives the same as a naive look at all samples ever pushed."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pro_ros.errors import SpecError
from pro_ros.streams.sample import Sample
from pro_ros.streams.spec import RobotSpec, parse_spec
from pro_ros.streams.window import StepBuilder

NS = 1_000_000_000


def robot(**streams: dict[str, Any]) -> RobotSpec:
    for name, stream in streams.items():
        stream.setdefault("rate", 10.0)
        stream.setdefault("modality", "telemetry")
        if stream["modality"] == "visual":
            stream["image"] = {"height": 8, "width": 8}
        else:
            stream.setdefault("features", [{"name": "x", "field": "x"}])
        streams[name] = stream
    return parse_spec(
        {
            "format": "pro_ros/streams/1", "robot": "r", "step": {"rate": 10}, "gap": 5.0,
            "streams": streams,
        },
        "test",
    )  # fmt: skip


def sample(stream: str, seconds: float, *values: float, receipt: float | None = None) -> Sample:
    stamp = round(seconds * NS)
    received = stamp if receipt is None else round(receipt * NS)
    return Sample(stream, received, stamp, np.array(values, dtype=np.float64))


def named(builder: StepBuilder, seconds: float) -> dict[str, float | None]:
    """Values of a step by name, None where absent."""
    step = builder.build(round(seconds * NS))
    result: dict[str, float | None] = {}
    for modality, names in builder.spec.layout.items():
        assert step.values[modality].dtype == np.float32
        assert step.mask[modality].dtype == np.bool_
        assert (step.values[modality][~step.mask[modality]] == 0).all()
        row = zip(names, step.values[modality].tolist(), step.mask[modality], strict=True)
        result |= {name: value if present else None for name, value, present in row}
    return result


def test_nothing_is_there_before_the_first_sample() -> None:
    builder = StepBuilder(robot(a={}, cam={"modality": "visual"}))
    step = builder.build(NS)
    assert named(builder, 1.0) == {"a.x": None, "a.age": None}
    assert step.ages == {"a": math.inf, "cam": math.inf}
    assert step.stale == ("a", "cam")
    assert step.frames == {"cam": None}


def test_a_value_is_held_for_its_hold_time_and_then_absent() -> None:
    builder = StepBuilder(robot(a={"hold": 0.3, "stale": 1.0}))
    builder.push(sample("a", 10.0, 5.0))
    assert named(builder, 10.3) == {"a.x": 5.0, "a.age": pytest.approx(0.3)}
    assert named(builder, 10.31) == {"a.x": None, "a.age": pytest.approx(0.31)}
    assert builder.build(round(10.31 * NS)).stale == ()


def test_age_is_clipped_to_stale_and_the_stream_is_then_reported() -> None:
    builder = StepBuilder(robot(a={"hold": 0.3, "stale": 1.0}))
    builder.push(sample("a", 10.0, 5.0))
    step = builder.build(13 * NS)
    assert named(builder, 13.0)["a.age"] == 1.0
    assert step.ages == {"a": 3.0}
    assert step.stale == ("a",)


def test_a_missing_value_is_absent_and_its_neighbours_are_not() -> None:
    features = [{"name": "x", "field": "x"}, {"name": "y", "field": "y"}]
    builder = StepBuilder(robot(a={"features": features, "norms": {"n": ["x", "y"]}}))
    builder.push(sample("a", 1.0, 3.0, 4.0))
    assert named(builder, 1.0) == {"a.x": 3.0, "a.y": 4.0, "a.n": 5.0, "a.age": 0.0}
    builder.push(sample("a", 1.1, math.nan, 4.0))
    assert named(builder, 1.1) == {"a.x": None, "a.y": 4.0, "a.n": None, "a.age": 0.0}


def test_outputs_follow_the_layout_across_streams_of_a_modality() -> None:
    two = [{"name": "x", "field": "x"}, {"name": "y", "field": "y"}]
    builder = StepBuilder(robot(
        a={"features": two}, b={"modality": "state"}, c={"last": False, "summaries": [
            {"over": 1.0, "stats": ["max", "min"]}]},
    ))  # fmt: skip
    builder.push(sample("a", 1.0, 1.0, 2.0))
    builder.push(sample("b", 1.0, 3.0))
    builder.push(sample("c", 0.9, 4.0))
    builder.push(sample("c", 1.0, 6.0))
    assert builder.spec.layout["telemetry"] == (
        "a.x", "a.y", "a.age", "c.x:max@1s", "c.x:min@1s", "c.age",
    )  # fmt: skip
    step = builder.build(NS)
    assert step.values["telemetry"].tolist() == [1.0, 2.0, 0.0, 6.0, 4.0, 0.0]
    assert step.values["state"].tolist() == [3.0, 0.0]


def test_a_window_is_open_at_its_start_and_closed_at_its_end() -> None:
    spec = robot(a={"last": False, "summaries": [{"over": 1.0, "stats": ["min", "max"]}]})
    builder = StepBuilder(spec)
    for second in (1.0, 1.5, 2.0, 2.5):
        builder.push(sample("a", second, second))
    assert named(builder, 2.0) == {"a.x:min@1s": 1.5, "a.x:max@1s": 2.0, "a.age": 0.0}


def test_a_duplicate_is_counted_and_the_first_stays() -> None:
    builder = StepBuilder(robot(a={}, cam={"modality": "visual"}))
    assert builder.push(sample("a", 1.0, 1.0))
    assert not builder.push(sample("a", 1.0, 2.0))
    assert not builder.push(sample("a", 0.5, 3.0))
    assert named(builder, 1.0)["a.x"] == 1.0
    assert builder.duplicates == {"a": 1, "cam": 0}
    assert builder.refused == {"a": 1, "cam": 0}


def test_a_stamp_ahead_of_its_receipt_is_counted_and_has_age_zero() -> None:
    builder = StepBuilder(robot(a={}))
    builder.push(sample("a", 1.05, 1.0, receipt=1.0))
    assert builder.ahead == {"a": 0}
    builder.push(sample("a", 1.25, 2.0, receipt=1.1))
    assert builder.ahead == {"a": 1}
    assert named(builder, 1.1) == {"a.x": 2.0, "a.age": 0.0}


def said(builder: StepBuilder, seconds: float) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
    """What a step says to be frozen and incomplete, and whether a clock jumped."""
    step = builder.build(round(seconds * NS))
    return step.frozen, step.incomplete, step.clock_fault


def test_values_that_stand_still_for_too_long_are_frozen_until_one_changes() -> None:
    two = [{"name": "x", "field": "x"}, {"name": "y", "field": "y"}]
    builder = StepBuilder(robot(a={"features": two, "frozen": 0.5}, still={}))
    for n in range(9):
        builder.push(sample("a", 1.0 + n / 10, 5.0, 6.0))
        builder.push(sample("still", 1.0 + n / 10, 5.0))
        assert said(builder, 1.0 + n / 10)[0] == (("a",) if n > 5 else ())
    builder.push(sample("a", 1.9, 5.0, 6.5))
    assert said(builder, 1.9)[0] == ()
    assert said(builder, 2.4)[0] == ()
    assert said(builder, 2.5)[0] == ("a",)
    builder.reset()
    assert said(builder, 2.5)[0] == ()
    builder.push(sample("a", 2.6, 5.0, 6.5))
    assert said(builder, 2.6)[0] == (), "how long it stood still before is not known"


def test_a_stream_that_is_stale_is_not_frozen_as_well() -> None:
    builder = StepBuilder(robot(a={"frozen": 0.5, "hold": 0.2, "stale": 1.0}))
    builder.push(sample("a", 1.0, 5.0))
    for second, stale, frozen in ((1.4, (), ()), (1.9, (), ("a",)), (2.1, ("a",), ())):
        step = builder.build(round(second * NS))
        assert (step.stale, step.frozen) == (stale, frozen)


def test_a_camera_freezes_too() -> None:
    builder = StepBuilder(robot(cam={"modality": "visual", "frozen": 0.5}))
    for n in range(8):
        builder.push(Sample("cam", n * NS // 10, n * NS // 10, np.zeros((8, 8, 3), np.uint8)))
    assert said(builder, 0.7)[0] == ("cam",)
    builder.push(Sample("cam", NS, NS, np.ones((8, 8, 3), np.uint8)))
    assert said(builder, 1.0)[0] == ()


@pytest.mark.parametrize("last", [True, False])
def test_a_newest_sample_with_a_missing_value_is_incomplete(last: bool) -> None:
    two = [{"name": "x", "field": "x"}, {"name": "y", "field": "y"}]
    summaries = [{"over": 9.0, "stats": ["mean"]}]
    builder = StepBuilder(
        robot(a={"features": two, "last": last, "summaries": summaries}, b={"modality": "state"})
    )
    builder.push(sample("b", 1.0, 1.0))
    builder.push(sample("a", 1.0, 1.0, 1.0))
    assert said(builder, 1.0)[1] == ()
    builder.push(sample("a", 1.1, 1.0, math.nan))
    assert said(builder, 1.1)[1] == ("a",)
    builder.push(sample("a", 1.2, 1.0, 2.0))
    assert said(builder, 1.2)[1] == ()
    builder.push(sample("b", 1.3, math.nan))
    assert said(builder, 1.3)[1] == ("b",)
    builder.reset()
    assert said(builder, 1.3)[1] == ()


def test_a_stamp_far_ahead_is_not_taken_and_those_that_are_right_go_on() -> None:
    builder = StepBuilder(robot(a={}, b={}))
    builder.push(sample("a", 10.0, 1.0))
    assert not builder.push(sample("a", 15.2, 2.0, receipt=10.1))
    assert builder.jumps == {"a": 1, "b": 0}
    assert builder.ahead == {"a": 0, "b": 0}
    assert said(builder, 10.1)[2]
    assert not said(builder, 10.1)[2], "a clock fault is said once"
    assert named(builder, 10.1)["a.x"] == 1.0
    assert builder.push(sample("a", 10.2, 3.0))
    assert named(builder, 10.2)["a.x"] == 3.0
    assert builder.push(sample("a", 15.3, 4.0, receipt=10.3)), "no further than the gap"
    assert builder.jumps == {"a": 1, "b": 0}
    assert builder.ahead == {"a": 1, "b": 0}


@pytest.mark.parametrize("modality", ["telemetry", "visual"])
def test_a_clock_that_is_set_back_begins_its_stream_anew(modality: str) -> None:
    spec = robot(a={"modality": modality}, b={"modality": "state"})
    if modality == "telemetry":
        spec = robot(
            a={"summaries": [{"over": 4.0, "stats": ["max"]}, {"over": "episode"}]},
            b={"modality": "state"},
        )
    builder, fresh = StepBuilder(spec), StepBuilder(spec)

    def push(to: StepBuilder, second: float, value: int, receipt: float) -> bool:
        if modality == "telemetry":
            return to.push(sample("a", second, value, receipt=receipt))
        pixels = np.full((8, 8, 3), value, np.uint8)
        return to.push(Sample("a", round(receipt * NS), round(second * NS), pixels))

    builder.push(sample("b", 20.0, 7.0))
    assert push(builder, 20.0, 9, 20.0)
    assert not push(builder, 15.0, 8, 20.1), "as far back as the gap: a late sample"
    assert builder.refused["a"] == 1
    for to in (builder, fresh):
        assert push(to, 14.9, 3, 20.2)
        assert push(to, 15.0, 4, 20.3)
    fresh.push(sample("b", 20.0, 7.0))
    assert builder.jumps == {"a": 1, "b": 0}
    step, expected = builder.build(round(20.3 * NS)), fresh.build(round(20.3 * NS))
    assert (step.clock_fault, expected.clock_fault) == (True, False)
    assert step.ages == expected.ages
    for name in step.values:
        np.testing.assert_array_equal(step.values[name], expected.values[name])
        np.testing.assert_array_equal(step.mask[name], expected.mask[name])
    if modality == "visual":
        frame = builder.build(15 * NS).frames["a"]
        assert frame is not None
        assert frame.max() == 4
    assert not said(builder, 20.4)[2]


def test_a_clock_fault_that_was_told_is_said_at_the_next_step_alone() -> None:
    builder = StepBuilder(robot(a={}))
    builder.clock_fault()
    assert [said(builder, 1.0)[2] for _ in range(2)] == [True, False]


def test_frames_are_handed_on_while_fresh() -> None:
    builder = StepBuilder(robot(cam={"modality": "visual", "hold": 0.2}, a={}))
    pixels = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    builder.push(Sample("cam", NS, NS, pixels))
    frame = builder.build(NS).frames["cam"]
    assert frame is not None
    assert frame.dtype == np.uint8
    np.testing.assert_array_equal(frame, pixels.transpose(2, 0, 1))
    assert builder.build(round(1.21 * NS)).frames == {"cam": None}
    builder.reset()
    assert builder.build(NS).frames == {"cam": None}


def test_a_step_does_not_change_when_more_samples_come() -> None:
    builder = StepBuilder(robot(a={"summaries": [{"over": 1.0}]}))
    builder.push(sample("a", 1.0, 1.0))
    step = builder.build(NS)
    before = step.values["telemetry"].copy()
    for i in range(100):
        builder.push(sample("a", 1.0 + 0.1 * (i + 1), 50.0))
        builder.build(round((1.0 + 0.1 * (i + 1)) * NS))
    np.testing.assert_array_equal(step.values["telemetry"], before)


def test_since_change_is_the_time_a_value_was_seen_unchanged() -> None:
    stats = {"over": 2.0, "stats": ["since_change"]}
    builder = StepBuilder(robot(a={"last": False, "summaries": [stats], "hold": 9, "stale": 9}))
    key = "a.x:since_change@2s"
    for second, value in ((1.0, 5.0), (1.5, 5.0), (2.0, math.nan), (2.5, 5.0)):
        builder.push(sample("a", second, value))
    assert named(builder, 2.5)[key] == pytest.approx(1.5)
    builder.push(sample("a", 3.0, 6.0))
    assert named(builder, 3.0)[key] == 0.0
    builder.push(sample("a", 4.9, 6.0))
    builder.push(sample("a", 5.5, 6.0))
    assert named(builder, 5.5)[key] == 2.0  # never more than the window
    assert named(builder, 8.0)[key] is None


def test_episode_statistics_begin_anew_and_windows_go_on() -> None:
    summaries = [
        {"over": "episode", "stats": ["mean", "min", "max", "delta", "since_change"]},
        {"over": 10.0, "stats": ["max"]},
    ]
    builder = StepBuilder(robot(a={"last": False, "summaries": summaries}))
    for second, value in ((1.0, 9.0), (1.1, 7.0)):
        builder.push(sample("a", second, value))
    builder.begin_episode(round(1.15 * NS))
    assert builder.episode_start_ns == round(1.15 * NS)
    empty = named(builder, 1.15)
    assert [empty[f"a.x:{s}@episode"] for s in ("mean", "min", "max", "delta")] == [None] * 4
    assert empty["a.x:since_change@episode"] is None
    assert empty["a.x:max@10s"] == 9.0
    for second, value in ((1.2, 7.0), (1.3, math.nan), (1.4, 3.0)):
        builder.push(sample("a", second, value))
    assert named(builder, 1.5) == {
        "a.x:mean@episode": 5.0, "a.x:min@episode": 3.0, "a.x:max@episode": 7.0,
        "a.x:delta@episode": -4.0, "a.x:since_change@episode": pytest.approx(0.1),
        "a.x:max@10s": 9.0, "a.age": pytest.approx(0.1),
    }  # fmt: skip


def test_an_episode_that_forgets_leaves_nothing_to_windows_but_what_holds() -> None:
    summaries = [{"over": 10.0, "stats": ["max", "since_change"]}]
    builder = StepBuilder(robot(a={"summaries": summaries}))
    builder.push(sample("a", 1.0, 9.0))
    builder.begin_episode(round(1.1 * NS), forget=True)
    assert named(builder, 1.1) == {
        "a.x": 9.0, "a.x:max@10s": None, "a.x:since_change@10s": None,
        "a.age": pytest.approx(0.1),
    }  # fmt: skip
    builder.push(sample("a", 1.2, 4.0))
    assert named(builder, 1.2)["a.x:max@10s"] == 4.0


def test_labels_are_taken_and_are_no_input() -> None:
    builder = StepBuilder(robot(a={}, flag={"modality": "label"}))
    assert builder.push(sample("flag", 1.0, 1.0))
    assert set(named(builder, 1.0)) == {"a.x", "a.age"}


def test_a_sample_of_an_unknown_stream_is_named() -> None:
    with pytest.raises(SpecError, match="unknown stream 'wrnch', did you mean 'wrench'"):
        StepBuilder(robot(wrench={})).push(sample("wrnch", 1.0, 1.0))


def test_reset_forgets_everything_but_the_counters() -> None:
    summaries = [{"over": 9.0, "stats": ["max", "since_change"]}, {"over": "episode"}]
    builder = StepBuilder(robot(a={"summaries": summaries}))
    empty = named(builder, 1.0)
    builder.push(sample("a", 99.0, 1.0, receipt=1.0))
    builder.begin_episode(NS)
    for stamp in (1.0, 1.1, 1.1, math.nextafter(1.1, 0) - 0.01):
        builder.push(sample("a", stamp, 1.0))
    builder.reset()
    assert named(builder, 1.2) == empty
    assert builder.episode_start_ns is None
    assert builder.duplicates == {"a": 1}
    assert builder.refused == {"a": 1}
    assert builder.jumps == {"a": 1}


STATS = (
    "last", "mean", "std", "min", "max", "delta", "above_min", "below_max", "since_change",
)  # fmt: skip
VALUES = st.one_of(st.just(math.nan), st.integers(-3, 3).map(float))


def naive(rows: list[tuple[float, float]]) -> dict[str, float | None]:
    """Statistics of (second, value) pairs, over their finite values."""
    finite = np.array([v for _, v in rows if not math.isnan(v)])
    if not len(finite):
        return dict.fromkeys(STATS[:-1])
    return {
        "last": finite[-1], "mean": finite.mean(), "std": finite.std(), "min": finite.min(),
        "max": finite.max(), "delta": finite[-1] - finite[0],
        "above_min": finite[-1] - finite.min(), "below_max": finite.max() - finite[-1],
    }  # fmt: skip


@given(
    steps=st.lists(st.tuples(st.integers(1, 30), VALUES), min_size=1, max_size=40),
    late=st.integers(0, 25),
    begin=st.integers(0, 40),
)
def test_every_statistic_equals_a_naive_look_at_all_samples(
    steps: list[tuple[int, float]], late: int, begin: int
) -> None:
    over = 1.5
    summaries = [{"over": over, "stats": STATS}, {"over": "episode", "stats": STATS}]
    builder = StepBuilder(robot(a={"summaries": summaries, "hold": 1.0, "stale": 1.0}))
    rows: list[tuple[float, float]] = []
    begun, now = 0, 0
    for i, (step, value) in enumerate(steps):
        if i == begin:
            builder.begin_episode(now * NS // 10)
            begun = len(rows)
        now += step
        builder.push(sample("a", now / 10, value))
        rows.append((now / 10, value))
    t = (now + late) / 10
    got = named(builder, t)
    for name, part in (
        ("1.5s", [r for r in rows if round(r[0] * 10) > now + late - 15]),
        ("episode", rows[begun:]),
    ):
        for stat, expected in naive(part).items():
            found = got[f"a.x:{stat}@{name}"]
            assert found == (None if expected is None else pytest.approx(expected, abs=1e-6))
    newest = rows[-1][1]
    held = late <= 10 and not math.isnan(newest)
    assert got["a.x"] == (newest if held else None)
    finite = [(s, v) for s, v in rows if not math.isnan(v)]
    unchanged = None
    if finite and round(finite[-1][0] * 10) > now + late - 15:
        same = list(itertools.takewhile(lambda r: r[1] == finite[-1][1], reversed(finite)))
        unchanged = pytest.approx(min(t - same[-1][0], over), abs=1e-5)
    assert got["a.x:since_change@1.5s"] == unchanged


@given(
    pushes=st.lists(
        st.tuples(st.integers(1, 9), st.floats(-9, 9) | st.just(math.nan), st.integers(0, 9)),
        max_size=40,
    )
)
def test_samples_that_wait_to_be_taken_in_make_no_difference(pushes) -> None:
    summaries = [
        {"over": 0.5, "stats": ["mean", "std", "min", "since_change"]},
        {"over": "episode", "stats": ["mean", "max", "delta", "above_min", "below_max"]},
    ]
    spec = robot(a={"summaries": summaries, "norms": {"n": ["x"]}})
    one_by_one, waiting = StepBuilder(spec), StepBuilder(spec)
    stamp = 0.0
    for gap, value, choice in pushes:
        stamp += gap / 50
        for builder in (one_by_one, waiting):
            builder.push(sample("a", stamp, value))
            if choice == 9:
                builder.begin_episode(round(stamp * NS), forget=gap > 5)
        taken = one_by_one.build(round(stamp * NS))
        if choice < 3:
            step = waiting.build(round(stamp * NS))
            np.testing.assert_array_equal(step.values["telemetry"], taken.values["telemetry"])
            np.testing.assert_array_equal(step.mask["telemetry"], taken.mask["telemetry"])
