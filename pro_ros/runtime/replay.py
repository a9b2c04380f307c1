"""Replay: a recording and a checkpoint -> a new bag with the assessments beside the inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rosbags.interfaces import Connection

from pro_ros.episodes.bags import BagRecording
from pro_ros.episodes.bagwriter import BagWriter
from pro_ros.episodes.mark_reader import read_marks
from pro_ros.episodes.marks import BEGIN, EventMark
from pro_ros.errors import StorageError
from pro_ros.interfaces import (
    ASSESSMENT,
    REWARD,
    RISK,
    assessment_message,
    reward_message,
    typestore,
)
from pro_ros.model.checkpoint import Checkpoint
from pro_ros.runtime.monitor import Monitor, Statement
from pro_ros.streams.sample import Step
from pro_ros.streams.stepper import Stepper

NAMESPACE = "/pro"
"""Topics are those of the live node under its default name."""

FLOAT = "std_msgs/msg/Float32"


@dataclass(frozen=True)
class Replayed:
    """What a replay did. ``alarms``: how often the alarm went on; ``highest_risk`` in [0, 1]."""

    path: Path
    messages: int
    steps: int
    restarts: int
    alarms: int
    highest_risk: float
    not_copied: tuple[str, ...]


def replay(
    recording: BagRecording,
    checkpoint: Checkpoint,
    out: Path | str,
    *,
    device: str = "cpu",
    task: str = "",
    context: Mapping[str, str] | None = None,
    namespace: str = NAMESPACE,
    overwrite: bool = False,
    progress: Callable[[float], None] | None = None,
) -> Replayed:
    """Assess a recorded bag step by step, with its own clock, and write a new bag.

    The new bag holds every message of the old one unchanged, and ``assessment``, ``risk``,
    ``reward`` and, as plain numbers for plotting, ``progress``, ``value`` and ``risk_any`` under
    ``namespace``. Same input, same bytes. Memory does not grow with the recording's length.

    Parameters
    ----------
    task, context
        The goal; where both are empty, that of the stream file.
    progress
        Called with the share of the recording that is done, in [0, 1].

    Raises
    ------
    DataError
        The recording is damaged or not what the checkpoint's streams say.
    StorageError
        ``out`` exists already, lies in the recording, or cannot be written.
    """
    out = Path(out)
    if out.absolute() == recording.path.absolute():
        raise StorageError(f"{out}: is the recording itself: give another folder")
    spec = checkpoint.spec
    monitor = Monitor(checkpoint, device, task, context)
    monitor.assessor.warm_up()
    stepper = Stepper(spec)
    if spec.episodes.by == "events":
        marks, _ = read_marks(recording)
        for mark in marks:
            if isinstance(mark, EventMark) and mark.kind == BEGIN:
                stepper.begin_episode(mark.t_ns)
    span = max(1, recording.end_ns - recording.start_ns)
    report_at = recording.start_ns
    with BagWriter(out, overwrite=overwrite) as writer:
        writer.annotate("pro_ros_model_id", checkpoint.model_id)
        if spec.attribution:
            writer.annotate("attribution", spec.attribution)
        sink = _Sink(writer, monitor, namespace)
        handles: dict[int, Connection] = {}
        messages = 0
        for item in recording.items():
            messages += 1
            steps = [s for sample in item.samples for s in stepper.feed(sample)]
            for step in steps:
                # Steps of the grid are due before the message that shows it.
                if step.t_ns < item.receipt_ns:
                    sink.take(step)
            if item.topic is not None:
                handle = handles.get(id(item.topic))
                if handle is None:
                    handle = handles[id(item.topic)] = writer.copy_topic(item.topic)
                writer.raw(handle, item.receipt_ns, item.raw)
            for step in steps:
                if step.t_ns >= item.receipt_ns:
                    sink.take(step)
            if progress is not None and item.receipt_ns >= report_at:
                progress((item.receipt_ns - recording.start_ns) / span)
                report_at = item.receipt_ns + span // 200
        for step in stepper.flush():
            sink.take(step)
    return Replayed(
        out,
        messages,
        sink.steps,
        sink.restarts,
        sink.alarms,
        sink.highest_risk,
        recording.not_copied,
    )


class _Sink:
    """Judges steps and writes what is said, counting on the way."""

    def __init__(self, writer: BagWriter, monitor: Monitor, namespace: str) -> None:
        self._writer = writer
        self._monitor = monitor
        self._store = typestore()
        self._float = self._store.types[FLOAT]
        root = "/" + namespace.strip("/")
        # Declared at once: the topics are there even where no step is made.
        self._topics = {
            name: writer.add_topic(f"{root}/{name}", msgtype)
            for name, msgtype in {
                "assessment": ASSESSMENT,
                "risk": RISK,
                "reward": REWARD,
                "progress": FLOAT,
                "value": FLOAT,
                "risk_any": FLOAT,
            }.items()
        }
        self.steps = self.restarts = self.alarms = 0
        self.highest_risk = 0.0
        self._on = False

    def take(self, step: Step) -> None:
        """Judge one step and write it down at the step's own time."""
        said = self._monitor.state(step)
        message = assessment_message(
            self._store, said.assessment, self._monitor.source, said.info, said.alarm
        )
        self._put("assessment", ASSESSMENT, step.t_ns, message)
        self._put("risk", RISK, step.t_ns, message.risk)
        if said.reward is not None:
            reward = reward_message(self._store, said.reward, self._monitor.source, said.info)
            self._put("reward", REWARD, step.t_ns, reward)
        self._plot(step.t_ns, said, message)
        self._count(step, said)

    def _plot(self, t_ns: int, said: Statement, message: object) -> None:
        """Plain numbers, which every plotting tool reads without the message definitions."""
        numbers = {
            "progress": message.progress,  # type: ignore[attr-defined]
            "value": message.value,  # type: ignore[attr-defined]
            "risk_any": message.risk.risk[-1] if len(message.risk.risk) else np.nan,  # type: ignore[attr-defined]
        }
        for name, number in numbers.items():
            self._put(name, FLOAT, t_ns, self._float(data=float(number)))

    def _put(self, name: str, msgtype: str, t_ns: int, message: object) -> None:
        self._writer.raw(self._topics[name], t_ns, self._store.serialize_cdr(message, msgtype))

    def _count(self, step: Step, said: Statement) -> None:
        self.steps += 1
        self.restarts += step.restart
        self.alarms += said.alarm.on and not self._on
        self._on = said.alarm.on
        if "VALID" in said.info.validity and len(said.assessment.risk):
            self.highest_risk = max(self.highest_risk, float(said.assessment.risk[-1]))
