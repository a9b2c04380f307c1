"""The pipeline: samples and marks in order of receipt in, statements out.

Replay and the live node run this one, which is why they say the same of the same receipts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import replace

from pro_ros.episodes.marks import BEGIN, END, EventMark, Mark, TaskMark
from pro_ros.model.checkpoint import Checkpoint
from pro_ros.runtime.monitor import Monitor, Statement
from pro_ros.streams.sample import Sample, Step
from pro_ros.streams.stepper import Stepper


class Pipeline:
    """A checkpoint at work on one robot.

    A mark takes effect when it is received, whatever its stamp: a live node knows it no earlier.

    Parameters
    ----------
    checkpoint, device
        As in :class:`Monitor`.
    task, context
        The goal. Where both are empty it is what TaskContexts say, each from its receipt on, and
        before the first one that of the stream file.
    optional
        Streams without which an assessment may be valid, beside those that are not ``required``.

    Attributes
    ----------
    stepper, monitor
        What it is made of.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str = "cpu",
        task: str = "",
        context: Mapping[str, str] | None = None,
        optional: Collection[str] = (),
    ) -> None:
        self.stepper = Stepper(checkpoint.spec)
        self.monitor = Monitor(checkpoint, device, task, context, optional)
        self.monitor.assessor.warm_up()
        self._told = bool(task or context)
        self._by_events = checkpoint.spec.episodes.by == "events"
        self._waiting: deque[Mark] = deque()

    def mark(self, mark: Mark) -> None:
        """Take an EpisodeEvent or a TaskContext, before the samples received after it."""
        if isinstance(mark, EventMark) and mark.kind == BEGIN and self._by_events:
            self.stepper.begin_episode(mark.receipt_ns)
        self._waiting.append(mark)

    def feed(self, sample: Sample) -> list[Step]:
        """Take a sample; the steps that this makes, to be judged in this order."""
        backwards = self.stepper.backwards
        steps = self.stepper.feed(sample)
        if self.stepper.backwards > backwards:
            # What was received before the clock went back has been received by now.
            now = sample.receipt_ns
            self._waiting = deque(
                replace(mark, receipt_ns=min(mark.receipt_ns, now)) for mark in self._waiting
            )
        return steps

    def judge(self, step: Step, dropped: Collection[str] = ()) -> Statement:
        """Say what holds at a step; see :meth:`Monitor.state`."""
        while self._waiting and self._waiting[0].receipt_ns <= step.t_ns:
            self._apply(self._waiting.popleft())
        return self.monitor.state(step, dropped)

    def _apply(self, mark: Mark) -> None:
        if isinstance(mark, TaskMark):
            if not self._told:
                self.monitor.follow(mark.task, mark.context)
            if mark.episode_id:
                self.monitor.episode_id = mark.episode_id
        elif mark.kind == BEGIN:
            self.monitor.episode_id = mark.episode_id
        elif mark.kind == END:
            self.monitor.episode_id = ""
