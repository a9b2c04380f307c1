"""Samples and marks in order of receipt go in; the same statements come out, live or not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from runtime_toy import MS, T0, event, robot, robot_messages, task, write_bag

from pro_ros.episodes.bags import BagRecording
from pro_ros.episodes.mark_reader import read_marks
from pro_ros.episodes.marks import BEGIN, END, EventMark, TaskMark
from pro_ros.model.checkpoint import Checkpoint
from pro_ros.runtime.encoder import Encoder
from pro_ros.runtime.monitor import Statement
from pro_ros.runtime.pipeline import Pipeline
from pro_ros.runtime.replay import replay
from pro_ros.streams.sample import Sample


def joints(ms: int) -> Sample:
    values = np.array([np.sin(ms / 300), np.cos(ms / 200)])
    return Sample("joints", T0 + ms * MS, T0 + ms * MS, values)


def vacuum(ms: int) -> Sample:
    return Sample("vacuum", T0 + ms * MS, T0 + ms * MS, np.array([5e4 + ms]))


@pytest.fixture(scope="module")
def trained(made) -> Checkpoint:
    return made(robot({"rate": 20}))


def said(pipeline: Pipeline, *samples: Sample) -> list[Statement]:
    return [pipeline.judge(step) for sample in samples for step in pipeline.feed(sample)]


def both(ms: int) -> tuple[Sample, Sample]:
    return vacuum(ms), joints(ms)


def test_a_task_holds_from_its_receipt_on_whatever_its_stamp(trained: Checkpoint) -> None:
    told, untold = Pipeline(trained), Pipeline(trained)
    told.mark(TaskMark(T0, task="fold", episode_id="e1", receipt_ns=T0 + 120 * MS))
    samples = [s for ms in range(0, 301, 20) for s in both(ms)]
    with_task, without = said(told, *samples), said(untold, *samples)
    assert [s.assessment.t_ns for s in with_task] == [T0 + n * 50 * MS for n in range(6)]
    same = [a.assessment.value == b.assessment.value
            for a, b in zip(with_task, without, strict=True)]  # fmt: skip
    assert same == [True] * 3 + [False] * 3
    assert [s.info.episode_id for s in with_task] == [""] * 3 + ["e1"] * 3


def test_a_goal_that_was_given_is_not_changed_by_a_task(trained: Checkpoint) -> None:
    given, plain = Pipeline(trained, task="sort"), Pipeline(trained, task="sort")
    given.mark(TaskMark(T0, task="fold", episode_id="e1", receipt_ns=T0))
    samples = [s for ms in range(0, 201, 20) for s in both(ms)]
    first, second = said(given, *samples), said(plain, *samples)
    assert [s.assessment.value for s in first] == [s.assessment.value for s in second]
    assert first[0].info.episode_id == "e1"


def test_events_begin_and_end_the_episode_that_is_named(made: Callable) -> None:
    pipeline = Pipeline(made(robot({"rate": 20}, by="events", reset=True)))
    for kind, ms in ((BEGIN, 110), (END, 210)):
        pipeline.mark(EventMark(T0, kind, episode_id="e5", receipt_ns=T0 + ms * MS))
    statements = said(pipeline, *(s for ms in range(0, 321, 10) for s in both(ms)))
    ids = ["", "", "", "e5", "e5", "", ""]
    assert [s.info.episode_id for s in statements] == ids
    restarts = ["RESTARTED" in s.info.validity for s in statements]
    assert restarts == [True, False, False, True, False, False, False]


def test_events_name_the_episode_but_do_not_begin_it_where_another_rule_cuts(
    trained: Checkpoint,
) -> None:
    pipeline = Pipeline(trained)
    pipeline.mark(EventMark(T0, BEGIN, episode_id="e5", receipt_ns=T0 + 60 * MS))
    statements = said(pipeline, *(s for ms in range(0, 160, 10) for s in both(ms)))
    assert [s.info.episode_id for s in statements] == ["", "", "e5"]
    assert pipeline.stepper.episode_count == 1


def test_marks_of_before_the_clock_went_back_do_not_wait_for_it(trained: Checkpoint) -> None:
    pipeline = Pipeline(trained)
    said(pipeline, *both(5000))
    pipeline.mark(TaskMark(T0, episode_id="e1", receipt_ns=T0 + 5_020 * MS))
    pipeline.mark(TaskMark(T0, episode_id="e2", receipt_ns=T0 + 10 * MS))
    statements = said(pipeline, *(s for ms in (40, 60, 110) for s in both(ms)))
    assert [s.info.episode_id for s in statements[-2:]] == ["e2", "e2"]


@pytest.mark.parametrize("step", [{"rate": 20}, {"on": "vacuum"}])
def test_replay_writes_what_the_pipeline_says(made: Callable, tmp_path, step) -> None:
    checkpoint = made(robot(step, by="events"))
    messages = [
        *robot_messages(1.0), *robot_messages(1.0, T0 + 4_000 * MS),
        task(T0 + 310 * MS, "fold", sku="A7"), event(T0 + 420 * MS, "episode_begin", "e1"),
    ]  # fmt: skip
    recorded = write_bag(tmp_path / "bag", messages)
    pipeline = Pipeline(checkpoint)
    encoder = Encoder(pipeline.monitor.source)
    expected: list[tuple[str, bytes]] = []
    with BagRecording(recorded, checkpoint.spec) as recording:
        marks, _ = read_marks(recording)
        for sample in recording.samples():
            while marks and marks[0].receipt_ns <= sample.receipt_ns:
                pipeline.mark(marks.pop(0))
            for now in pipeline.feed(sample):
                expected += encoder.messages(pipeline.judge(now))
        for now in pipeline.stepper.flush():
            expected += encoder.messages(pipeline.judge(now))
    with BagRecording(recorded, checkpoint.spec) as recording:
        replay(recording, checkpoint, tmp_path / "out")
    with AnyReader([tmp_path / "out"]) as reader:
        written = [(c.topic.removeprefix("/pro/"), bytes(data)) for c, _, data in reader.messages()
                   if c.topic not in ("/pro/task_context", "/pro/episode_event")
                   and c.topic.startswith("/pro/")]  # fmt: skip
    for name in dict(expected):
        assert [d for n, d in written if n == name] == [d for n, d in expected if n == name], name
    assert len(written) == len(expected) > 100 if "rate" in step else len(expected) > 50
