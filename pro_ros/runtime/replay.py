"""Replay: a recording and a checkpoint -> a new bag with the assessments beside the inputs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rosbags.interfaces import Connection
from threadpoolctl import threadpool_limits

from pro_ros.episodes.bags import BagRecording
from pro_ros.episodes.bagwriter import BagWriter
from pro_ros.episodes.mark_reader import read_marks
from pro_ros.episodes.remarks import remarks
from pro_ros.errors import StorageError
from pro_ros.model.checkpoint import Checkpoint
from pro_ros.runtime.encoder import TOPICS, Encoder
from pro_ros.runtime.pipeline import Pipeline
from pro_ros.streams.sample import Step

NAMESPACE = "/pro"
"""Topics are those of the live node under its default name."""


@dataclass(frozen=True)
class Replayed:
    """What a replay did.

    ``alarms``: how often the alarm went on; ``highest_risk`` in [0, 1]. ``remarks``: lines about
    gaps, odd stamps and values of the recording.
    """

    path: Path
    messages: int
    steps: int
    restarts: int
    alarms: int
    highest_risk: float
    not_copied: tuple[str, ...]
    remarks: tuple[str, ...] = ()


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
        The goal. Where both are empty, it is what the recording's TaskContexts say, each from its
        receipt on, and before the first one that of the stream file.
    progress
        Called with the share of the recording that is done, in [0, 1].

    Raises
    ------
    DataError
        The recording is damaged or not what the checkpoint's streams say.
    StorageError
        ``out`` exists already, is or overlaps the recording, or cannot be written.
    """
    out = Path(out)
    _refuse_overlap(out, recording.path)
    absent = [name for name in recording.absent if name in checkpoint.spec.input_streams]
    pipeline = Pipeline(checkpoint, device, task, context, absent)
    stepper = pipeline.stepper
    marks = deque(sorted(read_marks(recording)[0], key=lambda mark: mark.receipt_ns))
    span = max(1, recording.end_ns - recording.start_ns)
    report_at = recording.start_ns
    messages = 0
    with (
        # More threads only wait for each other on so few numbers.
        threadpool_limits(1, "blas"),
        BagWriter(out, overwrite=overwrite) as writer,
    ):
        writer.annotate("pro_ros_model_id", checkpoint.model_id)
        if checkpoint.spec.attribution:
            writer.annotate("attribution", checkpoint.spec.attribution)
        sink = _Sink(writer, pipeline, namespace)
        handles: dict[int, Connection] = {}
        for topic, receipt_ns, raw, samples in recording.items():
            messages += 1
            while marks and marks[0].receipt_ns <= receipt_ns:
                pipeline.mark(marks.popleft())
            later = []
            for sample in samples:
                for step in pipeline.feed(sample):
                    # Steps of the grid are due before the message that shows it.
                    if step.t_ns < receipt_ns:
                        sink.take(step)
                    else:
                        later.append(step)
            if topic is not None:
                handle = handles.get(id(topic))
                if handle is None:
                    handle = handles[id(topic)] = writer.copy_topic(topic)
                writer.raw(handle, receipt_ns, raw)
            for step in later:
                sink.take(step)
            if progress is not None and receipt_ns >= report_at:
                progress((receipt_ns - recording.start_ns) / span)
                report_at = receipt_ns + span // 200
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
        tuple(
            remarks(
                recording.path.name,
                recording,
                stepper.gaps,
                stepper.builder.refused,
                stepper.builder.duplicates,
                stepper.builder.ahead,
                stepper.builder.jumps,
            )
        ),
    )


def _refuse_overlap(out: Path, recording: Path) -> None:
    """Writing must not touch what is read: with ``overwrite`` it would be removed."""
    new, old = out.resolve(), recording.resolve()
    if new == old:
        raise StorageError(f"{out}: is the recording itself: give another folder")
    if old in new.parents:
        raise StorageError(f"{out}: lies in the recording: give another folder")
    if new in old.parents:
        raise StorageError(f"{out}: holds the recording: give another folder")


class _Sink:
    """Judges steps and writes what is said, counting on the way."""

    def __init__(self, writer: BagWriter, pipeline: Pipeline, namespace: str) -> None:
        self._writer = writer
        self._pipeline = pipeline
        self._encoder = Encoder(pipeline.monitor.source)
        root = "/" + namespace.strip("/")
        # Declared at once: the topics are there even where no step is made.
        self._topics = {
            name: writer.add_topic(f"{root}/{name}", msgtype) for name, msgtype in TOPICS.items()
        }
        self.steps = self.restarts = self.alarms = 0
        self.highest_risk = 0.0

    def take(self, step: Step) -> None:
        """Judge one step and write it down at the step's own time."""
        said = self._pipeline.judge(step)
        for name, data in self._encoder.messages(said):
            self._writer.raw(self._topics[name], step.t_ns, data)
        self.steps += 1
        self.restarts += step.restart
        self.alarms += said.alarm_begins
        if "VALID" in said.info.validity:
            self.highest_risk = max(self.highest_risk, float(said.assessment.risk[-1]))
