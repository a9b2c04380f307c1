"""A task in one process: the same every time, and what PRO says of it is what a replay says."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rosbags.highlevel import AnyReader

from pro_ros.cell.bags import EpisodeBag
from pro_ros.cell.catalogue import load_catalogue
from pro_ros.cell.judge import DROP, Failure, Judge
from pro_ros.cell.loop import TaskRun
from pro_ros.cell.messages import TOPICS
from pro_ros.cell.sensors import NS, Reading
from pro_ros.cell.tasks import draw_task
from pro_ros.cell.watchers import Nobody, Pro, Threshold
from pro_ros.episodes.bags import BagRecording
from pro_ros.episodes.marks import BEGIN, END, EventMark, Mark, TaskMark
from pro_ros.gate.config import load_gate_config
from pro_ros.model.checkpoint import load_checkpoint, save_checkpoint
from pro_ros.model.config import OperatorConfig
from pro_ros.model.factory import build_operator
from pro_ros.paths import share_file
from pro_ros.runtime.replay import replay
from pro_ros.streams.spec import load_spec

from pro_ros.interfaces import typestore  # isort: skip

pytest.importorskip("mujoco", reason="the cell needs mujoco")

CATALOGUE = load_catalogue()
ALWAYS = 80000.0
"""Deeper than any pump: it alarms half a second after each grip."""


def gate(attempts: int) -> Any:
    found = load_gate_config(share_file("config/cell/gate.yaml"))
    limits = found.limits.model_copy(update={"max_attempts": attempts})
    return found.model_copy(update={"limits": limits})


def run(seed: int, watcher: Any, attempts: int = 1, site: str = "ash", **more: Any) -> Any:
    said: list[Reading | Mark] = []
    task = draw_task(CATALOGUE, site, seed, ("tea_box",))
    result = TaskRun(CATALOGUE, task, gate(attempts), watcher, listener=said.append, **more).run()
    return result, said


def digest(said: list[Any]) -> str:
    return hashlib.sha256(repr(said).encode()).hexdigest()


@pytest.fixture(scope="module")
def left_alone() -> Any:
    return run(5, Nobody())


def test_a_seed_gives_the_same_task_again_and_another_seed_another(left_alone: Any) -> None:
    result, said = left_alone
    again, said_again = run(5, Nobody())
    assert again == result
    assert digest(said_again) == digest(said)
    assert digest(run(6, Nobody())[1]) != digest(said)


def test_a_task_is_done_and_the_scales_say_so(left_alone: Any) -> None:
    result, said = left_alone
    assert result.success
    assert [a.outcome for a in result.attempts] == ["success"]
    weights = [r.values[0] for r in said if isinstance(r, Reading) and r.kind == "scale_target"]
    mass = CATALOGUE.item("tea_box").mass
    assert weights[-1] - weights[0] == pytest.approx(mass, rel=0.2)


def test_nothing_but_what_devices_publish_leaves_the_cell(left_alone: Any) -> None:
    # PRO learns from bags, and bags hold what the listener hears: no state of the simulation.
    _, said = left_alone
    kinds = {r.kind for r in said if isinstance(r, Reading)}
    assert kinds <= set(TOPICS)
    assert all(isinstance(r, (Reading, EventMark, TaskMark)) for r in said)
    spec = load_spec(share_file("config/cell/streams.yaml"))
    read = {stream.topic for stream in spec.streams.values()}
    hidden = {TOPICS[kind][0] for kind in ("scale_source", "scale_target", "item_pose")}
    assert read <= {topic for topic, _ in TOPICS.values()}
    # The cell judges outcomes by its scales; PRO does not read them, nor where the item lies.
    assert read.isdisjoint(hidden)


def test_attempts_are_marked_from_their_begin_to_their_end(left_alone: Any) -> None:
    _, said = left_alone
    marks = [m for m in said if isinstance(m, (EventMark, TaskMark))]
    assert isinstance(marks[0], TaskMark)
    assert marks[0].context["sku"] == "tea_box"
    assert [(m.kind, m.outcome) for m in marks[1:]] == [(BEGIN, 0), (END, 1)]


def test_until_somebody_stops_it_an_attempt_is_the_one_that_nobody_watches(
    left_alone: Any,
) -> None:
    alone, said_alone = left_alone
    stopped, said = run(5, Threshold(ALWAYS))
    attempt = stopped.attempts[0]
    assert attempt.stopped
    assert attempt.alarm is not None
    assert attempt.begin == alone.attempts[0].begin
    ordered_ns = next(m.t_ns for m in said if isinstance(m, TaskMark))
    until = ordered_ns + round((attempt.alarm - attempt.begin - 0.05) * NS)

    def before(heard: list[Any]) -> list[Any]:
        return [r for r in heard if isinstance(r, Reading) and r.receipt_ns < until]

    assert before(said) == before(said_alone)


def test_what_is_held_at_a_stop_is_set_down_and_picked_again_or_lies_where_it_belongs() -> None:
    result, _ = run(5, Threshold(ALWAYS), attempts=2)
    assert result.attempts[0].stopped
    assert not result.dropped


def test_what_falls_in_a_recovery_counts_and_belongs_to_no_recorded_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[Any] = []
    task = draw_task(CATALOGUE, "ash", 5, ("tea_box",))
    running = TaskRun(CATALOGUE, task, gate(2), Threshold(ALWAYS), listener=said.append)
    take = Judge.take

    def falls_once(judge: Judge, reading: Reading) -> Failure | None:
        if running._recovery is None or judge.failures:
            return take(judge, reading)
        judge.failures.append(Failure(DROP, reading.stamp_ns))
        return judge.failures[-1]

    monkeypatch.setattr(Judge, "take", falls_once)
    result = running.run()
    assert result.dropped
    assert [mode for mode, _ in result.attempts[0].failures] == [DROP]
    assert DROP not in {m.name for m in said if isinstance(m, EventMark)}


def test_the_vacuum_shows_a_drop_before_the_switch_does() -> None:
    # The claim that the cell exists for: failures tell on themselves in time.
    for seed in range(40):
        task = draw_task(CATALOGUE, "birch", seed, ("rice_bag", "shirt_bag", "toner"))
        said: list[Any] = []
        result = TaskRun(CATALOGUE, task, gate(1), Nobody(), listener=said.append).run()
        drops = [t for a in result.attempts for mode, t in a.failures if mode == "drop"]
        if drops:
            break
    else:
        pytest.fail("nothing fell in forty tasks")
    ordered_ns = next(m.t_ns for m in said if isinstance(m, TaskMark))
    depth = [
        ((r.stamp_ns - ordered_ns) / NS, 101325.0 - r.values[0])
        for r in said
        if isinstance(r, Reading) and r.kind == "vacuum"
    ]
    held = [d for t, d in depth if t < drops[0]]
    best = max(held)
    weakening = [t for t, d in depth if t < drops[0] and d < 0.9 * best and d > 10000.0]
    assert weakening
    assert drops[0] - min(t for t in weakening if t > drops[0] - 2.0) > 0.04


def test_a_bag_of_a_task_replays_to_what_pro_said_while_it_ran(tmp_path: Path) -> None:
    spec = load_spec(share_file("config/cell/streams.yaml"))
    torch.manual_seed(0)
    operator = build_operator(OperatorConfig(width=8, members=2), spec)
    rng = np.random.default_rng(0)
    operator.fit_normalisation(
        {
            modality: (rng.normal(0.0, 1.0, (200, len(names))), np.ones((200, len(names)), bool))
            for modality, names in spec.layout.items()
        }
    )
    save_checkpoint(tmp_path / "checkpoint", operator, spec)
    checkpoint = load_checkpoint(tmp_path / "checkpoint")

    watcher = Pro(checkpoint)
    task = draw_task(CATALOGUE, "cedar", 5, ("tea_box",))
    with EpisodeBag(tmp_path / "bag") as bag:

        def listen(said: Reading | Mark) -> None:
            if isinstance(said, Reading):
                bag.reading(said)
            else:
                bag.mark(said)

        TaskRun(CATALOGUE, task, gate(1), watcher, listener=listen).run()
    with BagRecording(tmp_path / "bag", spec) as recording:
        replay(recording, checkpoint, tmp_path / "replayed")
    with AnyReader([tmp_path / "replayed"]) as reader:
        said = [
            typestore().deserialize_cdr(data, c.msgtype)
            for c, _, data in reader.messages()
            if c.topic == "/pro/assessment"
        ]
    live = {s.assessment.t_ns: s for s in watcher.statements}
    compared = 0
    for message in said:
        t_ns = message.header.stamp.sec * NS + message.header.stamp.nanosec
        if t_ns not in live or "VALID" not in live[t_ns].info.validity:
            continue
        a = live[t_ns].assessment
        assert message.episode_id == live[t_ns].info.episode_id
        numbers = (message.value, message.progress, message.termination, message.success)
        assert numbers == tuple(
            np.float32(x) for x in (a.value, a.progress, a.termination, a.success)
        )
        assert message.risk.risk.tolist() == a.risk.astype(np.float32).tolist()
        compared += 1
    assert compared > 0.9 * len(live)
