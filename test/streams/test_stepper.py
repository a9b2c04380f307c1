"""Steps fire in order of receipt, see nothing later, and forget everything after a gap."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pro_ros.streams.sample import Sample, Step
from pro_ros.streams.spec import RobotSpec, parse_spec
from pro_ros.streams.stepper import Stepper

NS = 1_000_000_000
MS = 1_000_000
START = 1_700_000_000 * NS


def robot(step: dict[str, Any], **keys: Any) -> RobotSpec:
    feature = [{"name": "x", "field": "x"}]
    summaries = [{"over": 0.5}, {"over": "episode", "stats": ["mean", "delta", "since_change"]}]
    streams = {
        "a": {"rate": 20, "modality": "telemetry", "features": feature, "summaries": summaries},
        "b": {"rate": 10, "modality": "state", "features": feature},
        "flag": {"rate": 1, "modality": "label", "features": feature},
    }
    raw = {
        "format": "pro_ros/streams/1", "robot": "r", "step": step, "gap": 1.0,
        "streams": streams, **keys,
    }  # fmt: skip
    return parse_spec(raw, "test")


ON_A = robot({"on": "a"})
AT_10 = robot({"rate": 10})


def sample(stream: str, ms: int, value: float = 1.0, stamp_ms: int | None = None) -> Sample:
    receipt = START + ms * MS
    stamp = receipt if stamp_ms is None else START + stamp_ms * MS
    return Sample(stream, receipt, stamp, np.array([value]))


def run(
    spec: RobotSpec, samples: list[Sample], into_silence: bool = True
) -> tuple[Stepper, list[Step]]:
    stepper = Stepper(spec, into_silence)
    steps = [step for s in samples for step in stepper.feed(s)]
    return stepper, steps + stepper.flush()


def times(steps: list[Step]) -> list[int]:
    return [(step.t_ns - START) // MS for step in steps]


def content(step: Step) -> tuple[Any, ...]:
    return (
        step.clock_fault, step.t_ns, step.restart, step.stale, step.frozen, step.incomplete,
        tuple(step.ages.items()),
        *(v.tobytes() for v in step.values.values()), *(m.tobytes() for m in step.mask.values()),
    )  # fmt: skip


def value(spec: RobotSpec, step: Step, name: str) -> float | None:
    for modality, names in spec.layout.items():
        if name in names:
            i = names.index(name)
            return float(step.values[modality][i]) if step.mask[modality][i] else None
    raise KeyError(name)


def test_each_sample_of_the_step_stream_makes_a_step_with_itself_in_it() -> None:
    _, steps = run(ON_A, [sample("a", 0, 1.0), sample("b", 10, 7.0), sample("a", 50, 2.0)])
    assert times(steps) == [0, 50]
    assert [s.restart for s in steps] == [True, False]
    assert [value(ON_A, s, "a.x") for s in steps] == [1.0, 2.0]
    assert [value(ON_A, s, "b.x") for s in steps] == [None, 7.0]


def test_a_duplicate_or_late_stamp_makes_no_step() -> None:
    stepper, steps = run(
        ON_A, [sample("a", 0), sample("a", 10, stamp_ms=0), sample("a", 20, stamp_ms=-5)]
    )
    assert times(steps) == [0]
    assert stepper.builder.duplicates["a"] == 1
    assert stepper.builder.refused["a"] == 1


def test_two_samples_received_at_once_make_one_step() -> None:
    stepper, steps = run(ON_A, [sample("a", 0), sample("a", 10, stamp_ms=5), sample("a", 10)])
    assert times(steps) == [0, 10]
    assert stepper.coincident == 1


def test_ticks_lie_on_multiples_of_the_period_and_wait_for_a_later_sample() -> None:
    stepper = Stepper(AT_10)
    assert stepper.feed(sample("a", 30, 1.0)) == []
    assert stepper.feed(sample("a", 100, 2.0)) == []  # another sample at 100 ms may follow
    assert stepper.feed(sample("b", 100, 5.0)) == []
    steps = stepper.feed(sample("a", 310, 3.0))
    assert times(steps) == [100, 200, 300]
    assert [value(AT_10, s, "a.x") for s in steps] == [2.0, 2.0, None]  # held for 150 ms
    assert value(AT_10, steps[0], "b.x") == 5.0
    assert [s.restart for s in steps] == [True, False, False]
    assert stepper.flush() == []


def test_flush_makes_the_step_at_the_last_receipt() -> None:
    stepper = Stepper(AT_10)
    stepper.feed(sample("a", 100))
    assert times(stepper.flush()) == [100]
    assert stepper.flush() == []


def test_a_rate_that_is_no_whole_number_of_nanoseconds_does_not_drift() -> None:
    spec = robot({"rate": 30})
    _, steps = run(spec, [sample("a", 40 * i) for i in range(2500)])
    expected = [START + k * NS // 30 for k in range(30 * 100) if k * NS // 30 <= 99_960 * MS]
    assert [s.t_ns for s in steps] == expected


@pytest.mark.parametrize("spec", [ON_A, AT_10])
@pytest.mark.parametrize("into_silence", [True, False])
def test_a_gap_resets_and_steps_go_on_into_it_for_no_longer_than_its_limit(
    spec: RobotSpec, into_silence: bool
) -> None:
    before = [sample("a", 0, 5.0), sample("b", 95, 6.0), sample("a", 100, 7.0)]
    after = [sample("b", 5000, 1.0), sample("a", 5050, 2.0), sample("a", 5150, 4.0)]
    stepper, steps = run(spec, before + after, into_silence)
    assert stepper.gaps == 1
    within = list(range(200, 1101, 100)) if into_silence and spec is AT_10 else []
    assert [t for t in times(steps) if 100 < t < 5000] == within
    _, fresh = run(spec, after)
    assert [content(s) for s in steps[-len(fresh) :]] == [content(s) for s in fresh]
    assert [s.restart for s in steps].count(True) == 2
    assert fresh[0].restart


def test_silence_as_long_as_the_gap_is_none() -> None:
    stepper, steps = run(AT_10, [sample("a", 0), sample("a", 1000)])
    assert stepper.gaps == 0
    assert times(steps) == list(range(0, 1001, 100))


def test_labels_do_not_bridge_a_gap() -> None:
    stepper, steps = run(AT_10, [sample("a", 0), sample("flag", 900), sample("a", 1500)])
    assert stepper.gaps == 1
    assert times(steps) == [*range(0, 1001, 100), 1500]


def test_one_stream_alive_is_no_gap() -> None:
    stepper, _ = run(
        AT_10, [sample("a", 0), *(sample("b", 500 * i) for i in range(1, 9)), sample("a", 4400)]
    )
    assert stepper.gaps == 0


@pytest.mark.parametrize("stream", ["a", "flag"])
def test_time_going_back_resets_and_is_counted(stream: str) -> None:
    spec = ON_A
    back = [sample(stream, 400, 1.0), sample("a", 450, 2.0)]
    stepper, steps = run(spec, [sample("a", 500, 9.0), *back])
    assert stepper.backwards == 1
    assert stepper.gaps == 0
    _, fresh = run(spec, back)
    assert [content(s)[1:] for s in steps[1:]] == [content(s)[1:] for s in fresh]
    assert [s.clock_fault for s in steps[:3]] == [False, True, False][: len(steps)]


def test_a_step_time_before_time_went_back_does_not_count_after_it() -> None:
    stepper, steps = run(ON_A, [sample("a", 500), sample("b", 400), sample("a", 500)])
    assert times(steps) == [500, 500]
    assert steps[1].restart
    assert stepper.coincident == 0


def test_an_episode_that_was_to_begin_when_time_went_back_does_not() -> None:
    spec = episodes(SIGNAL, {"on": "a"})
    stepper, _ = run(
        spec, [sample("a", 0), sample("flag", 500, 1.0), sample("a", 400), sample("a", 600)]
    )
    assert stepper.backwards == 1
    assert stepper.episode_count == 0


def episodes(by: dict[str, Any], step: dict[str, Any]) -> RobotSpec:
    return robot(step, episodes=by)


SIGNAL = {"by": "signal", "signal": "flag.x"}


def test_a_change_of_the_signal_begins_an_episode_before_the_next_step() -> None:
    spec = episodes(SIGNAL, {"on": "a"})
    samples = [
        sample("flag", 0, 1.0), sample("a", 10, 2.0), sample("flag", 20, math.nan),
        sample("a", 30, 4.0), sample("flag", 40, 1.0), sample("flag", 50, 2.0),
        sample("a", 60, 10.0),
    ]  # fmt: skip
    stepper, steps = run(spec, samples)
    means = [value(spec, s, "a.x:mean@episode") for s in steps]
    assert means == [2.0, 3.0, 10.0]
    assert stepper.episode_count == 2
    assert stepper.episode_start_ns == START + 50 * MS
    assert [s.restart for s in steps] == [True, False, False]


def test_a_tick_before_the_change_still_belongs_to_the_episode_before() -> None:
    spec = episodes(SIGNAL, {"rate": 10})
    samples = [sample("flag", 0, 1.0), sample("a", 5, 2.0), sample("a", 90, 4.0)]
    for change in (100, 101):
        _, steps = run(spec, [*samples, sample("flag", change, 2.0), sample("a", 150, 8.0)])
        mean = value(spec, steps[0], "a.x:mean@episode")
        assert times(steps) == [100]
        assert mean == (None if change == 100 else 3.0)


def test_an_episode_with_reset_restarts_memory_and_windows() -> None:
    spec = episodes({**SIGNAL, "reset": True}, {"on": "a"})
    samples = [
        sample("flag", 0, 1.0), sample("a", 10, 2.0), sample("b", 15, 3.0), sample("a", 20, 4.0),
        sample("flag", 30, 2.0), sample("a", 40, 6.0), sample("a", 50, 8.0),
    ]  # fmt: skip
    _, steps = run(spec, samples)
    assert [s.restart for s in steps] == [True, False, True, False]
    assert [value(spec, s, "a.x:mean@0.5s") for s in steps] == [2.0, 3.0, 6.0, 7.0]
    assert value(spec, steps[2], "b.x") == 3.0  # it still holds


@pytest.mark.parametrize("by", ["gap", "file"])
def test_a_restart_begins_an_episode(by: str) -> None:
    stepper, _ = run(
        episodes({"by": by}, {"on": "a"}), [sample("a", 0), sample("a", 10), sample("b", 9000)]
    )
    assert stepper.episode_count == 2
    assert stepper.episode_start_ns == START + 9000 * MS


def test_the_caller_begins_episodes_by_events() -> None:
    spec = episodes({"by": "events", "reset": True}, {"rate": 10})
    stepper = Stepper(spec)
    steps = stepper.feed(sample("a", 50, 2.0))
    steps += stepper.feed(sample("a", 140, 4.0))
    stepper.begin_episode(START + 150 * MS)
    steps += stepper.feed(sample("a", 190, 6.0))
    steps += stepper.feed(sample("a", 290, 8.0))
    steps += stepper.feed(sample("a", 310, 8.0))
    assert times(steps) == [100, 200, 300]
    assert [s.restart for s in steps] == [True, True, False]
    assert [value(spec, s, "a.x:mean@episode") for s in steps] == [2.0, 6.0, 7.0]
    assert stepper.episode_count == 1


def test_an_episode_begun_in_silence_is_one_of_what_follows() -> None:
    spec = episodes(SIGNAL, {"on": "a"})
    stepper, steps = run(spec, [sample("a", 0), sample("flag", 3000, 1.0), sample("a", 5000)])
    assert stepper.gaps == 1
    assert stepper.episode_count == 1
    assert stepper.episode_start_ns == START + 3000 * MS
    assert [s.restart for s in steps] == [True, True]


def test_a_signal_may_be_a_norm_of_an_input_stream() -> None:
    raw = robot({"on": "a"}).model_dump()
    raw["streams"]["b"]["norms"] = {"n": ["x"]}
    raw["episodes"] = {"by": "signal", "signal": "b.n"}
    stepper, _ = run(
        parse_spec(raw, "test"), [sample("b", 0, -3.0), sample("b", 1, 3.0), sample("b", 2, 4.0)]
    )
    assert stepper.episode_count == 2


STREAM = st.sampled_from(["a", "a", "b", "flag"])
LOGS = st.lists(
    st.tuples(STREAM, st.sampled_from([0, 1, 40, 60, 130, 900, 1001, 2500, -70]),
              st.sampled_from([0.0, 1.0, 2.0, math.nan]), st.sampled_from([0, 0, 5, 30])),
    max_size=40,
)  # fmt: skip
SPECS = st.sampled_from([
    ON_A, AT_10, episodes(SIGNAL, {"on": "a"}), episodes({**SIGNAL, "reset": True}, {"rate": 13}),
    episodes({"by": "gap"}, {"rate": 10}),
])  # fmt: skip


def log(entries: list[tuple[str, int, float, int]]) -> list[Sample]:
    now = 100_000
    samples = []
    for stream, step, number, delay in entries:
        now += step
        samples.append(sample(stream, now, number, stamp_ms=now - delay))
    return samples


@given(spec=SPECS, entries=LOGS)
def test_the_same_samples_give_the_same_steps(spec: RobotSpec, entries: Any) -> None:
    samples = log(entries)
    once, again = run(spec, samples), run(spec, samples)
    assert [content(s) for s in once[1]] == [content(s) for s in again[1]]


@given(spec=SPECS, entries=LOGS, cut=st.integers(0, 40), other=LOGS)
def test_no_step_depends_on_a_sample_received_after_it(
    spec: RobotSpec, entries: Any, cut: int, other: Any
) -> None:
    """Steps up to the cut are the same whatever follows."""
    samples = log(entries)
    head, tail = samples[:cut], samples[cut:]
    stepper = Stepper(spec)
    # The ticks that the next sample sets off lie before it, and must not see it.
    seen = samples[: cut + 1] if spec.step.rate is not None else head
    done = [content(s) for one in seen for s in stepper.feed(one)]
    changed = [one._replace(values=one.values + 100.0) for one in tail] + log(other)
    _, whole = run(spec, samples)
    _, altered = run(spec, head + changed)
    assert [content(s) for s in whole[: len(done)]] == done
    assert [content(s) for s in altered[: len(done)]] == done


@given(spec=SPECS, entries=LOGS)
def test_times_increase_between_restarts_and_lie_near_samples(
    spec: RobotSpec, entries: Any
) -> None:
    samples = log(entries)
    stepper, steps = run(spec, samples)
    for before, after in itertools.pairwise(steps):
        assert after.restart or after.t_ns > before.t_ns
    if steps:
        assert steps[0].restart
    heard = [s.receipt_ns for s in samples if s.stream in spec.input_streams]
    for step in steps:
        assert any(0 <= step.t_ns - t <= spec.gap * NS for t in heard)
    assert sum(s.restart for s in steps) <= 1 + stepper.gaps + stepper.backwards + (
        stepper.episode_count if spec.episodes.reset else 0
    )


def test_an_episode_that_was_to_begin_later_than_where_time_went_back_is_forgotten() -> None:
    spec = episodes({"by": "events"}, {"on": "a"})
    stepper = Stepper(spec)
    stepper.feed(sample("a", 1000))
    stepper.begin_episode(START + 1100 * MS)
    stepper.begin_episode(START + 390 * MS)  # received after the clock went back
    stepper.feed(sample("a", 400))
    assert stepper.episode_count == 1
    assert stepper.episode_start_ns == START + 390 * MS


def test_the_next_step_is_due_until_silence_has_lasted_for_the_gap() -> None:
    stepper = Stepper(AT_10)
    assert stepper.due_ns is None
    assert stepper.advance(START) == []
    stepper.feed(sample("a", 40))
    assert stepper.due_ns == START + 100 * MS
    assert stepper.advance(START + 100 * MS) == []  # a sample at 100 ms may follow
    assert times(stepper.advance(START + 100 * MS + 1)) == [100]
    assert stepper.due_ns == START + 200 * MS
    assert times(stepper.advance(START + 9000 * MS)) == list(range(200, 1001, 100))
    assert stepper.due_ns is None, "nothing is due in a long silence: a node would not sleep"
    assert stepper.advance(START + 99_000 * MS) == []
    stepper.feed(sample("a", 20_030))
    assert stepper.due_ns == START + 20_100 * MS
    assert Stepper(ON_A).due_ns is None


Call = tuple[str, int]


@st.composite
def live_calls(draw: Any) -> tuple[RobotSpec, list[Sample], list[Call]]:
    """Samples, and between them begins of episodes and looks at the clock, in order of time."""
    by = draw(st.sampled_from([
        {"by": "file"}, {"by": "gap"}, {"by": "events"}, {"by": "events", "reset": True},
        SIGNAL, {**SIGNAL, "reset": True},
    ]))  # fmt: skip
    spec = episodes(by, draw(st.sampled_from([{"rate": 10}, {"rate": 13}, {"on": "a"}])))
    calls: list[Call] = []
    samples: list[Sample] = []
    now = 0
    for kind, wait in draw(st.lists(
        st.tuples(st.sampled_from(["a", "a", "b", "flag", "begin", "advance", "advance"]),
                  st.sampled_from([0, 1, 35, 100, 240, 999, 1000, 1001, 1300, 2500])),
        max_size=40,
    )):  # fmt: skip
        now += wait
        if kind == "begin" and by["by"] != "events":
            continue
        calls.append((kind, now))
        if kind in spec.streams:
            number = draw(st.sampled_from([0.0, 1.0, 2.0, math.nan]))
            samples.append(sample(kind, now, number, now - draw(st.sampled_from([0, 0, 5, 30]))))
    calls.append(("advance", now + draw(st.sampled_from([0, 50, 700, 3000]))))
    return spec, samples, calls


def live(spec: RobotSpec, samples: list[Sample], calls: list[Call], looks: bool) -> list[Step]:
    """What a live node does; without ``looks`` only its last look at the clock is taken."""
    stepper, waiting = Stepper(spec), iter(samples)
    steps: list[Step] = []
    for n, (kind, ms) in enumerate(calls):
        if kind == "begin":
            stepper.begin_episode(START + ms * MS)
        elif kind != "advance":
            steps += stepper.feed(next(waiting))
        elif looks or n == len(calls) - 1:
            steps += stepper.advance(START + ms * MS)
    return steps


@given(live_calls())
def test_looking_at_the_clock_between_samples_gives_the_same_steps_earlier(
    given_: tuple[RobotSpec, list[Sample], list[Call]],
) -> None:
    spec, samples, calls = given_
    expected = [content(s) for s in live(spec, samples, calls, looks=False)]
    assert [content(s) for s in live(spec, samples, calls, looks=True)] == expected


@given(live_calls())
def test_what_training_leaves_out_are_the_steps_in_silence_and_no_other(
    given_: tuple[RobotSpec, list[Sample], list[Call]],
) -> None:
    spec, samples, _ = given_
    _, whole = run(spec, samples)
    _, trained = run(spec, samples, into_silence=False)
    heard = [s.receipt_ns for s in samples if s.stream in spec.input_streams]
    silent = [(a, b) for a, b in itertools.pairwise(heard) if b - a > spec.gap * NS]
    kept = [s for s in whole if not any(a < s.t_ns < b for a, b in silent)]
    assert [s.t_ns for s in kept] == [s.t_ns for s in trained]
    for one, other in zip(kept, trained, strict=True):
        assert content(one) == content(other)


@given(spec=SPECS, before=LOGS, after=LOGS)
def test_after_a_gap_nothing_is_left(spec: RobotSpec, before: Any, after: Any) -> None:
    if spec.episodes.signal is not None:
        spec = AT_10  # whether the signal's value is new depends on what was before
    later = [
        s._replace(receipt_ns=s.receipt_ns + 1000 * NS, stamp_ns=s.stamp_ns + 1000 * NS)
        for s in log(after)
    ]
    if any(s.receipt_ns < START + 200_000 * MS for s in later):
        return
    _, fresh = run(spec, later)
    _, steps = run(spec, log(before) + later)
    left = steps[len(steps) - len(fresh) :]
    # A clock that went back before is still to be said.
    assert [content(s)[1:] for s in left] == [content(s)[1:] for s in fresh]
    assert [s.clock_fault for s in left[1:]] == [s.clock_fault for s in fresh[1:]]
