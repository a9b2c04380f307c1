"""A live operator whose topics, clocks and turns are driven by hand."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from runtime_toy import T0, Message

from pro_ros.episodes.marks import TASK_TYPE, event_mark, mark_time, task_mark
from pro_ros.interfaces import ASSESSMENT, EPISODE_EVENT, TASK_CONTEXT, typestore
from pro_ros.model.checkpoint import Checkpoint
from pro_ros.runtime.intake import Intake, Source
from pro_ros.runtime.live import LiveOperator
from pro_ros.runtime.pipeline import Pipeline
from pro_ros.runtime.readers import live_reader
from pro_ros.streams.decode import Decoder

NS = 1_000_000_000


class Robot:
    """Receives messages at the time that a test sets.

    ``now``: of the robot's clock [ns]. ``steady``: of the steady one [s]. ``published``: topics
    and bytes. ``lines``: what was said to the log.
    """

    def __init__(self, checkpoint: Checkpoint, limit: float = 1000.0, **options: Any) -> None:
        self.now = T0
        self.steady = 100.0
        self.published: list[tuple[str, bytes]] = []
        self.lines: list[tuple[str, str]] = []
        self.intake = Intake(lambda: self.now)
        self.pipeline = Pipeline(checkpoint)
        self.sources: dict[str, Source] = {}
        self.readers: dict[Source, list[Any]] = {}
        for name, stream in checkpoint.spec.streams.items():
            assert stream.topic is not None
            source = self.sources[stream.topic] = Source((name,), limit)
            reader = live_reader(str(stream.type), typestore(), Decoder(name, stream))
            self.readers[source] = [(name, reader)]
        self.live = LiveOperator(
            self.pipeline, self.intake, self.readers,
            lambda topic, data: self.published.append((topic, data)),
            lambda severity, line: self.lines.append((severity, line)),
            **options,
        )  # fmt: skip

    def by_hand(self, monkeypatch: pytest.MonkeyPatch) -> Robot:
        """Have the steady clock stand still unless it is moved."""
        clock = SimpleNamespace(monotonic=lambda: self.steady)
        monkeypatch.setattr("pro_ros.runtime.live.time", clock)
        monkeypatch.setattr("pro_ros.runtime.health.time", clock)
        self.live._spoke = self.steady
        return self

    def receive(self, message: Message) -> None:
        """Push one message at its own time; other topics are not subscribed."""
        t_ns, topic, msgtype, body = message
        self.steady += max(0, t_ns - self.now) / NS
        self.now = t_ns
        if msgtype in (EPISODE_EVENT, TASK_CONTEXT):
            make = task_mark if msgtype == TASK_TYPE else event_mark
            self.intake.mark(lambda at: make(body, mark_time(body, at, NS)[0], at))
        elif topic in self.sources:
            self.push(topic, bytes(typestore().serialize_cdr(body, msgtype)))

    def play_raw(self, messages: Iterable[Message]) -> None:
        """Receive messages; the turns are those of the thread."""
        for message in messages:
            self.receive(message)

    def push(self, topic: str, raw: bytes) -> None:
        """Push bytes on a topic, now."""
        self.intake.push(self.sources[topic], raw)

    def play(self, messages: Iterable[Message]) -> None:
        """Receive messages, with a turn after each."""
        for message in messages:
            self.receive(message)
            self.turn(0.001)

    def turn(self, seconds: float = 0.0) -> None:
        """Let time pass on both clocks, then do one turn."""
        self.now += round(seconds * NS)
        self.steady += seconds
        self.live.turn()

    @property
    def assessments(self) -> list[Any]:
        """Those published, as messages."""
        store = typestore()
        return [store.deserialize_cdr(d, ASSESSMENT) for n, d in self.published
                if n == "assessment"]  # fmt: skip


def valid(message: Any) -> bool:
    """Whether the numbers of an assessment may be used."""
    return bool(message.validity & message.VALIDITY_VALID)
