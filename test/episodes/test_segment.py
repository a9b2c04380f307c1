"""Cutting streams of samples into episodes and events."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pro_ros.episodes.attempts import PART, PART_OF, link_retries
from pro_ros.episodes.manifest import Episode
from pro_ros.episodes.marks import BEGIN, CLEARED, END, ONSET, EventMark, TaskMark
from pro_ros.episodes.segment import segment
from pro_ros.errors import DataError
from pro_ros.streams.sample import Sample
from pro_ros.streams.spec import parse_spec

S = 1_000_000_000
NAN = float("nan")


def make_spec(events=None, **episodes):
    return parse_spec(
        {
            "format": "pro_ros/streams/1",
            "robot": "test",
            "step": {"on": "force"},
            "gap": 5.0,
            "streams": {
                "force": {
                    "modality": "telemetry",
                    "rate": 1.0,
                    "features": [{"name": "f", "columns": ["x", "y"], "names": ["x", "y"]}],
                    "norms": {"size": ["f.x", "f.y"]},
                },
                "log": {
                    "modality": "label",
                    "rate": 1.0,
                    "features": [
                        {"name": "cycle", "columns": ["cycle"]},
                        {"name": "lost", "columns": ["lost"]},
                        {"name": "result", "columns": ["result"]},
                    ],
                },
            },
            "events": {"lost": {"signal": "log.lost", "kind": "grip_lost", "above": 0.5}}
            | (events or {}),
            "failure_modes": ["lost"],
            "episodes": episodes,
        },
        "test",
    )


def row(second, cycle=NAN, lost=NAN, result=NAN, force=(0.0, 0.0)):
    t = round(second * S)
    return [
        Sample("log", t, t, np.array([cycle, lost, result], dtype=float)),
        Sample("force", t, t, np.array(force, dtype=float)),
    ]


def rows(*given):
    return [sample for r in given for sample in r]


def cut(samples, spec, marks=()):
    return segment("r", samples, spec, marks)


def spans(found):
    return [(e.start_ns / S, round(e.end_ns / S, 6), e.end_seen) for e in found.episodes]


BY_SIGNAL = {"by": "signal", "signal": "log.cycle"}
FAILURES = {"outcome": {"failure_events": ["lost"]}}


def test_a_file_is_one_episode_that_includes_its_last_sample():
    found = cut(rows(row(0), row(1), row(2)), make_spec(by="file"))
    assert [(e.start_ns, e.end_ns) for e in found.episodes] == [(0, 2 * S + 1)]
    assert (found.start_ns, found.end_ns) == (0, 2 * S + 1)
    assert found.episodes[0].id == "r/0000"


def test_a_change_of_the_counter_ends_one_episode_and_begins_the_next():
    samples = rows(row(0, 7), row(1, NAN), row(2, 8), row(3, 8), row(4, 7), row(5, 7))
    found = cut(samples, make_spec(**BY_SIGNAL))
    assert spans(found) == [(0, 2, True), (2, 4, True), (4, 5, False)]
    assert [e.attributes["counter"] for e in found.episodes] == ["7", "8", "7"]


def test_samples_before_the_first_counter_value_lie_in_no_episode():
    found = cut(rows(row(0), row(1, 3), row(2, 4)), make_spec(**BY_SIGNAL))
    assert found.episodes[0].start_ns == 1 * S


def test_silence_cuts_by_gap():
    samples = rows(row(0), row(4), row(10), row(11))
    found = cut(samples, make_spec(by="gap", **FAILURES))
    assert spans(found) == [(0, 4, True), (10, 11, True)]
    assert [e.outcome for e in found.episodes] == ["success", "success"]


def test_a_silence_of_exactly_the_gap_is_none():
    assert len(cut(rows(row(0), row(5)), make_spec(by="gap")).episodes) == 1
    later = rows(row(0), row(5 + 1e-9))
    assert len(cut(later, make_spec(by="gap")).episodes) == 2


def test_label_samples_do_not_fill_a_silence_of_the_inputs():
    samples = rows(row(0, 1), [row(3, 1)[0], row(6, 1)[0]], row(8, 1), row(9, 2))
    found = cut(samples, make_spec(**BY_SIGNAL))
    assert spans(found)[:2] == [(0, 3, False), (6, 9, True)]
    assert found.episodes[1].attributes[PART_OF] == found.episodes[0].id


def test_a_gap_splits_an_attempt_into_parts_with_one_outcome():
    samples = rows(row(0, 1, 0), row(1, 1, 0), row(20, 1, 0), row(21, 1, 1), row(22, 2, 0))
    found = cut(samples, make_spec(**BY_SIGNAL, **FAILURES))
    first, second, _ = found.episodes
    assert spans(found)[:2] == [(0, 1, False), (20, 22, True)]
    assert second.attributes[PART] == "2"
    assert second.attributes[PART_OF] == first.id
    assert (first.outcome, second.outcome) == ("failure", "failure")


def test_success_by_absence_of_failure_needs_the_whole_attempt():
    spec = make_spec(**BY_SIGNAL, **FAILURES)
    samples = rows(
        row(0, 1, 0), row(1, 1, 0),  # whole, no failure
        row(2, 2, 0), row(20, 2, 0),  # a gap may hide one
        row(21, 3, 1),  # failed
        row(22, 4, 0),  # its end was not seen
    )  # fmt: skip
    outcomes = [e.outcome for e in cut(samples, spec).episodes]
    assert outcomes == ["success", "unknown", "unknown", "failure", "unknown"]


def test_without_a_rule_the_outcome_is_unknown():
    found = cut(rows(row(0), row(1)), make_spec(by="file"))
    assert found.episodes[0].outcome == "unknown"


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"success": 1, "failure": 2}, ["success", "failure", "unknown"]),
        ({"success": 1}, ["success", "failure", "failure"]),
        ({"failure": 2}, ["success", "failure", "success"]),
        ({"success": 1, "unknown": True}, ["unknown", "unknown", "unknown"]),
    ],
)
def test_the_last_value_of_the_outcome_signal_decides(rule, expected):
    samples = rows(
        row(0, 1, result=3), row(1, 1, result=1), row(2, 1, result=NAN),
        row(3, 2, result=2), row(4, 3, result=0), row(5, 4),
    )  # fmt: skip
    spec = make_spec(**BY_SIGNAL, outcome={"signal": "log.result", **rule})
    found = cut(samples, spec)
    assert [e.outcome for e in found.episodes[:3]] == expected
    assert found.episodes[3].outcome == "unknown"


def test_an_outcome_in_the_row_that_begins_the_next_episode_belongs_to_the_next():
    t = S
    result = parse_spec(
        make_spec().model_dump(mode="json", exclude_defaults=True)
        | {
            "streams": {
                "a": {
                    "modality": "label", "rate": 1.0,
                    "features": [{"name": "result", "columns": ["r"]}],
                },
                "b": {
                    "modality": "telemetry", "rate": 1.0,
                    "features": [{"name": "cycle", "columns": ["c"]}],
                },
            },
            "step": {"on": "b"}, "events": {}, "failure_modes": [],
            "episodes": {
                "by": "signal", "signal": "b.cycle",
                "outcome": {"signal": "a.result", "success": 1, "failure": 2},
            },
        },
        "test",
    )  # fmt: skip

    def two(second, value, cycle):
        at = second * t
        return [
            Sample("a", at, at, np.array([float(value)])),
            Sample("b", at, at, np.array([float(cycle)])),
        ]

    found = cut([*two(0, 2, 1), *two(1, 1, 1), *two(2, 2, 2), *two(3, 2, 3)], result)
    assert [e.outcome for e in found.episodes] == ["success", "failure", "unknown"]


def test_an_event_lasts_from_the_rise_to_just_before_the_fall():
    samples = rows(row(0, lost=0), row(1, lost=1), row(2, lost=1), row(3, lost=0))
    (event,) = cut(samples, make_spec()).events
    assert (event.start_ns, event.end_ns) == (1 * S, 3 * S - 1)
    assert (event.name, event.kind, event.episode) == ("lost", "grip_lost", "r/0000")


def test_a_missing_value_keeps_the_state_of_an_event():
    samples = rows(row(0, lost=1), row(1, lost=NAN), row(2, lost=1), row(3, lost=0), row(4))
    found = cut(samples, make_spec()).events
    assert [(e.start_ns, e.end_ns) for e in found] == [(0, 3 * S - 1)]


def test_a_silence_of_its_stream_ends_an_event_where_it_was_last_seen():
    samples = rows(row(0, lost=1), row(1, lost=1), row(20, lost=1), row(21, lost=1))
    found = cut(samples, make_spec()).events
    assert [(e.start_ns, e.end_ns) for e in found] == [(0, S), (20 * S, 21 * S)]


def test_short_events_do_not_count():
    spec = make_spec(
        {"lost": {"signal": "log.lost", "kind": "grip_lost", "above": 0.5, "min_duration": 2.0}}
    )
    samples = rows(row(0, lost=1), row(1, lost=0), row(2, lost=1), row(3, lost=1), row(4, lost=0))
    assert [e.start_ns for e in cut(samples, spec).events] == [2 * S]


def test_events_are_found_on_inputs_norms_and_below_a_bound():
    spec = make_spec(
        {
            "hit": {"signal": "force.size", "kind": "jam", "above": 4.9},
            "slack": {"signal": "force.f.x", "kind": "drop", "below": -1.0},
        }
    )
    samples = rows(row(0, force=(3, 4)), row(1, force=(-2, 0)), row(2, force=(3, NAN)))
    found = cut(samples, spec).events
    assert [(e.name, e.start_ns, e.end_ns) for e in found] == [
        ("hit", 0, S - 1),
        ("slack", S, 2 * S - 1),
    ]


def test_events_outside_any_episode_are_kept_and_said():
    samples = rows(row(0, lost=1), row(1, lost=0), row(2, lost=1), row(3, 1, lost=0), row(4, 2))
    found = cut(samples, make_spec(**BY_SIGNAL))
    assert [e.episode for e in found.events] == [None, None]
    assert found.outside == ("r: 2 'lost' events outside any episode",)


def test_short_episodes_are_left_out_and_said():
    samples = rows(row(0, 1), row(1, 2), row(4, 3), row(5, 3))
    found = cut(samples, make_spec(**BY_SIGNAL, min_duration=2.0))
    assert spans(found) == [(1, 4, True)]
    assert found.skipped == ("r: 2 episodes shorter than 2 s left out",)


def test_an_empty_recording_is_refused_in_one_line():
    with pytest.raises(DataError, match=r"^r: empty: no sample"):
        cut([], make_spec())


def test_time_that_goes_backwards_is_refused_in_one_line():
    with pytest.raises(DataError, match=r"^r: time goes backwards by 1 s at 1000000000 ns"):
        cut(rows(row(2), row(1)), make_spec())


def test_an_episode_after_a_failed_one_of_the_same_task_is_its_retry():
    samples = rows(
        row(0, 1, 1), row(0.5, 1, 0), row(1, 2, 1), row(1.5, 2, 0), row(2, 3, 0), row(3, 4, 0),
        row(4, 5, 0),
    )  # fmt: skip
    found = cut(samples, make_spec(**BY_SIGNAL, **FAILURES, retry_within=1.0)).episodes
    assert [e.attempt for e in found] == [1, 2, 3, 1, 1]
    assert [e.retry_of for e in found] == [None, "r/0000", "r/0001", None, None]


def test_a_late_attempt_is_no_retry():
    def episode(start, end, outcome="failure", task="pick"):
        return Episode(
            id=str(start), recording="r", start_ns=start, end_ns=end, outcome=outcome, task=task
        )

    linked = link_retries(
        [episode(0, S), episode(2 * S + 1, 3 * S), episode(3 * S, 4 * S, task="place")], 1.0
    )
    assert [e.retry_of for e in linked] == [None, None, None]


# Episodes that the robot marks itself.

BY_EVENTS = {"by": "events"}


def marked(*pairs, outcome=1):
    found = []
    for number, (begin, end) in enumerate(pairs):
        name = f"e{number}"
        found.append(EventMark(round(begin * S), BEGIN, episode_id=name))
        found.append(EventMark(round(end * S), END, episode_id=name, outcome=outcome))
    return found


def test_marks_begin_and_end_episodes():
    samples = rows(*(row(s) for s in range(8)))
    found = cut(samples, make_spec(**BY_EVENTS), marked((0.5, 2.5), (4, 6)))
    assert spans(found) == [(0.5, 2.5, True), (4, 6, True)]
    assert [e.outcome for e in found.episodes] == ["success", "success"]
    assert [e.attributes["episode_id"] for e in found.episodes] == ["e0", "e1"]


def test_a_reported_unknown_outcome_is_not_made_a_success():
    samples = rows(*(row(s, lost=0) for s in range(4)))
    spec = make_spec(**BY_EVENTS, outcome={"failure_events": ["lost"]})
    found = cut(samples, spec, marked((0, 3), outcome=0))
    assert found.episodes[0].outcome == "unknown"


def test_an_episode_that_never_ended_is_cut_by_the_log():
    samples = rows(row(0), row(1), row(2))
    found = cut(samples, make_spec(**BY_EVENTS), [EventMark(S, BEGIN, episode_id="a")])
    assert spans(found) == [(1, 2, False)]
    assert found.episodes[0].outcome == "unknown"


def test_marks_that_fit_no_episode_are_said_and_not_used():
    samples = rows(*(row(s) for s in range(6)))
    marks = [
        EventMark(0, END, episode_id="x", outcome=1),
        EventMark(1 * S, BEGIN, episode_id="a"),
        EventMark(2 * S, END, episode_id="b", outcome=1),
        EventMark(3 * S, BEGIN, episode_id="c"),
        EventMark(4 * S, END, episode_id="c", outcome=1),
        EventMark(4 * S, 77),
    ]
    found = cut(samples, make_spec(**BY_EVENTS), marks)
    assert spans(found) == [(1, 3, False), (3, 4, True)]
    assert len(found.skipped) == 4
    assert any("'x' ends" in line and "never began" in line for line in found.skipped)
    assert any("unknown kind 77" in line for line in found.skipped)


def test_a_marked_episode_without_samples_is_left_out_and_said():
    samples = rows(row(0), row(1), row(2))
    found = cut(samples, make_spec(**BY_EVENTS), marked((0.2, 0.8), (1, 2)))
    assert spans(found) == [(1, 2, True)]
    assert found.skipped == ("r: episode 'e0' at 200000000 ns is empty: left out",)


def test_reported_events_have_their_phases():
    samples = rows(*(row(s) for s in range(6)))
    marks = [
        EventMark(1 * S, 13, name="dropped_box"),
        EventMark(2 * S, 17, ONSET),
        EventMark(4 * S, 17, CLEARED),
        EventMark(4 * S, 16, CLEARED),
        EventMark(5 * S, 14, ONSET),
    ]
    found = cut(samples, make_spec(**BY_EVENTS), marks)
    assert [(e.name, e.kind, e.start_ns // S, e.end_ns // S) for e in found.events] == [
        ("dropped_box", "drop", 1, 1),
        ("intervention", "intervention", 2, 4),
        ("jam", "jam", 5, 5),
    ]
    assert any("cleared" in line and "never began" in line for line in found.skipped)


def test_a_task_context_gives_task_context_attempt_and_what_is_repeated():
    samples = rows(*(row(s) for s in range(8)))
    marks = [
        *marked((0, 2), (3, 5), outcome=2),
        TaskMark(0, task="pick A", task_id="t1", context={"sku": "A"}, episode_id="e0"),
        TaskMark(3 * S + 5, task="pick A", task_id="t1", episode_id="e1", attempt=2,
                 retry_of="e0"),
    ]  # fmt: skip
    first, second = cut(samples, make_spec(**BY_EVENTS, task="pick"), marks).episodes
    assert (first.task, first.context, first.attempt) == ("pick A", {"sku": "A"}, 1)
    assert (second.task, second.attempt, second.retry_of) == ("pick A", 2, first.id)
    assert second.attributes["task_id"] == "t1"


def test_a_gap_in_a_marked_episode_makes_parts_and_the_outcome_holds_for_both():
    samples = rows(row(0), row(1), row(20), row(21))
    found = cut(samples, make_spec(**BY_EVENTS), marked((0, 21)))
    assert spans(found) == [(0, 1, False), (20, 21, True)]
    assert [e.outcome for e in found.episodes] == ["success", "success"]


# What must hold whatever comes.


@st.composite
def recordings(draw):
    steps = draw(st.lists(st.sampled_from([1, 1, 2, 5, 6, 30]), min_size=1, max_size=25))
    second, given = 0, []
    for step in steps:
        cycle = draw(st.sampled_from([1.0, 1.0, 2.0, NAN]))
        lost = draw(st.sampled_from([0.0, 0.0, 1.0, NAN]))
        result = draw(st.sampled_from([1.0, 2.0, NAN]))
        samples = row(second, cycle, lost, result)
        given.append([samples[0]] if draw(st.integers(0, 5)) == 0 else samples)
        second += step
    return rows(*given)


@given(recordings(), st.sampled_from(["file", "signal", "gap", "events"]), st.data())
@settings(max_examples=200, deadline=None)
def test_episodes_never_overlap_nor_span_a_gap_and_events_find_theirs(samples, by, data):
    marks = []
    if by == "events":
        times = data.draw(st.lists(st.integers(0, 60), max_size=6))
        marks = [
            EventMark(t * S, data.draw(st.sampled_from([BEGIN, END, 13])), episode_id="e")
            for t in times
        ]
    signal = {"signal": "log.cycle"} if by == "signal" else {}
    spec = make_spec(by=by, **signal, **FAILURES)
    if not any(s.stream == "force" for s in samples):
        with pytest.raises(DataError):
            cut(samples, spec, marks)
        return
    found = cut(samples, spec, marks)
    inputs = [s.receipt_ns for s in samples if s.stream == "force"]
    gaps = [(a, b) for a, b in itertools.pairwise(inputs) if b - a > 5 * S]
    for episode in found.episodes:
        assert any(episode.start_ns <= t < episode.end_ns for t in inputs)
        for a, b in gaps:
            assert not (episode.start_ns <= a and episode.end_ns > b)
            assert episode.end_seen or episode.end_ns <= b or episode.start_ns > a
    for before, after in itertools.pairwise(found.episodes):
        assert before.end_ns <= after.start_ns
    byid = {e.id: e for e in found.episodes}
    for event in found.events:
        holders = [e for e in found.episodes if e.start_ns <= event.start_ns < e.end_ns]
        assert event.episode == (holders[0].id if holders else None)
        assert event.episode is None or event.episode in byid


def test_memory_does_not_grow_with_the_recording():
    def stream(count):
        for second in range(count):
            yield from row(second, 1, 0)

    spec = make_spec(**BY_SIGNAL)

    def peak(count):
        tracemalloc.start()
        cut(stream(count), spec)
        _, top = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return top

    peak(100)
    assert peak(8000) < peak(1000) + 50_000


def test_the_ur3_day_has_its_cycles_and_events(shared_data):
    from pro_ros.episodes.recording import open_recording

    spec = parse_spec(
        {
            "format": "pro_ros/streams/1",
            "robot": "ur3",
            "step": {"on": "joints"},
            "gap": 60.0,
            "table": {"time": "Timestamp", "time_unit": "iso8601"},
            "streams": {
                "joints": {
                    "modality": "state",
                    "rate": 1.0,
                    "features": [{"name": "current", "columns": ["Current_J0"], "unit": "A"}],
                },
                "log": {
                    "modality": "label",
                    "rate": 1.0,
                    "features": [
                        {"name": "cycle", "columns": ["cycle "]},
                        {"name": "stop", "columns": ["Robot_ProtectiveStop"]},
                        {"name": "lost", "columns": ["grip_lost"]},
                    ],
                },
            },
            "events": {
                "lost": {"signal": "log.lost", "kind": "grip_lost", "above": 0.5},
                "stop": {"signal": "log.stop", "kind": "protective_stop", "above": 0.5},
            },
            "failure_modes": ["lost", "stop"],
            "episodes": {
                "by": "signal",
                "signal": "log.cycle",
                "outcome": {"failure_events": ["lost", "stop"]},
            },
        },
        "test",
    )
    path = shared_data / "ur3_cobotops" / "dataset_02052023.xlsx"
    with open_recording(path, spec) as recording:
        found = cut(recording.samples(), spec)
    names = [e.name for e in found.events]
    assert (names.count("lost"), names.count("stop")) == (77, 108)
    assert len({e.attributes["counter"] for e in found.episodes}) == 240
    # Nine counter values come back later in the day, and the long pause cuts one cycle in two.
    assert len(found.episodes) == 250
    assert sum(PART in e.attributes for e in found.episodes) == 1
    assert [e.outcome for e in found.episodes].count("unknown") <= 3
    assert found.outside == ()
