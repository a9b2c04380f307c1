"""The operator at work: one assessment per step, or of a whole sequence at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from pro_ros.episodes.sequence import Sequence
from pro_ros.model.calibration import Assess, Calibration
from pro_ros.model.folded import FoldedStep
from pro_ros.model.operator import Inputs, Operator
from pro_ros.model.outputs import Assessment, Assessments
from pro_ros.streams.sample import ByteArray, FloatArray, Step
from pro_ros.streams.spec import RobotSpec

CHUNK = 1024
"""Steps that :meth:`Assessor.run` handles at once: bounds its memory on long sequences."""

CHUNK_WITH_FRAMES = 64
"""The same where there are cameras."""


class Assessable(Protocol):
    """What an assessor needs of a checkpoint."""

    @property
    def operator(self) -> Operator:
        """The trained operator."""

    @property
    def spec(self) -> RobotSpec:
        """The streams that it reads."""

    @property
    def calibration(self) -> Calibration:
        """How its raw outputs are scaled."""


class Memory(NamedTuple):
    """What the operator knows at some steps; E: members, P: outputs of the heads.

    ``latent``: h_t as the heads read it, float32 ``[..., E, W]``. ``packed``: what the heads give,
    float32 ``[..., E, P]``.
    """

    latent: FloatArray
    packed: FloatArray


class Assessor:
    """Assesses steps with a checkpoint.

    :meth:`assess` keeps memory between calls and costs one step; :meth:`run` handles a whole
    sequence. Both give the same numbers within 1e-5. Small models are fastest on one thread:
    call ``torch.set_num_threads(1)`` in the process that owns the loop.

    Parameters
    ----------
    checkpoint
        A :class:`~pro_ros.model.checkpoint.Checkpoint`, or what has its parts.
    device
        Where the operator runs, ``cpu`` or ``cuda``. The checkpoint's operator is moved there.
    task, context
        The goal. Where both are empty, that of the stream file holds.

    Attributes
    ----------
    memory
        What is known at the step that was assessed last; None before the first and after a reset.
    """

    def __init__(
        self,
        checkpoint: Assessable,
        device: str | torch.device = "cpu",
        task: str = "",
        context: Mapping[str, str] | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.device = torch.device(device)
        self.operator = checkpoint.operator.to(self.device).eval()
        self.horizons = self.operator.config.horizons
        self.modes = self.operator.modes
        self.judge = Assess(checkpoint.calibration, self.modes, len(self.horizons))
        columns = self.operator.columns
        self._range = (columns.low.cpu().numpy(), columns.high.cpu().numpy())
        self._folded = FoldedStep(self.operator) if FoldedStep.can_fold(self.operator) else None
        self._host = _StepBuffer(self.operator.layout, self.device)
        self._never = torch.zeros(1, 1, dtype=torch.bool, device=self.device)
        self._always = ~self._never
        self._frames: dict[str, tuple[ByteArray, Tensor]] = {}
        self.set_task(task, context)
        self.reset()

    def set_task(self, task: str = "", context: Mapping[str, str] | None = None) -> None:
        """Set the goal from the next step on; memory is kept."""
        encoder = self.operator.text_encoder
        text = encoder.describe(task, context or {})
        self._told = bool(text)
        episodes = self.checkpoint.spec.episodes
        self._goal = text or encoder.describe(episodes.task, episodes.context)
        vector = encoder.encode([self._goal])
        self._text = torch.from_numpy(vector).to(self.device)
        if self._folded is not None:
            self._folded.set_text(vector[0])

    def reset(self) -> None:
        """Forget all steps, as if the next one were the first."""
        self._state = self.operator.init_state(1)
        if self._folded is not None:
            self._folded.reset()
        self.memory: Memory | None = None
        self._previous: float | None = None

    def warm_up(self, steps: int = 3) -> None:
        """Run some empty steps, so that the first real one is not the slow one; then reset."""
        values = {m: np.zeros(len(f), dtype=np.float32) for m, f in self.operator.layout.items()}
        frames: dict[str, ByteArray | None] = {
            camera: np.zeros((3, size.height, size.width), dtype=np.uint8)
            for camera, size in self.operator.cameras.items()
        }
        absent = {m: np.zeros(len(v), dtype=np.bool_) for m, v in values.items()}
        for _ in range(steps):
            self._frames.clear()
            self.assess(Step(0, False, values, absent, frames, {}, ()))
        self._frames.clear()
        self.reset()

    def assess(self, step: Step) -> Assessment:
        """Assess one step, with what is remembered of those before it."""
        if step.restart:
            self.reset()
        if self._folded is not None:
            packed = self._folded.step(step.values, step.mask)
            self.memory = Memory(self._folded.latent, packed)
        else:
            self.memory = self._step(step)
            packed = self.memory.packed
        judged = self.judge.step(packed.astype(np.float64), step.t_ns, self._previous)
        self._previous = judged.value
        return judged

    @torch.inference_mode()
    def _step(self, step: Step) -> Memory:
        """Run the operator itself."""
        values, mask = self._host.load(step)
        inputs = Inputs(values=values, mask=mask, restart=self._never, text=self._text)
        for camera in self.operator.cameras:
            self._look(inputs, camera, step.frames.get(camera))
        latent, self._state = self.operator.latent_step(inputs, self._state)
        # Together they leave a device in one copy.
        both = torch.cat([latent, self.operator.heads.read(latent)], dim=-1)[:, 0, 0].cpu().numpy()
        width = latent.shape[-1]
        return Memory(both[:, :width], both[:, width:])

    @torch.inference_mode()
    def run(self, sequence: Sequence) -> Assessments:
        """Assess a whole sequence from an empty memory; that of :meth:`assess` is not touched.

        Each step has the goal of its episode (:meth:`TextEncoder.track`), unless a task was set
        here: then that one holds throughout.
        """
        parts = []
        previous = None
        for start, latent in self._latents(sequence):
            packed = self.operator.heads.read(latent)[:, 0]
            t_ns = sequence.t_ns[start : start + packed.shape[1]]
            raw = packed.cpu().double().numpy()
            parts.append(self.judge.packed(raw, t_ns, previous=previous))
            previous = float(parts[-1].value[-1])
        if not parts:
            size = self.operator.heads.bias.shape
            return self.judge.packed(np.zeros((size[0], 0, size[-1])), sequence.t_ns)
        return Assessments(
            **{
                f.name: np.concatenate([getattr(part, f.name) for part in parts])
                for f in fields(Assessments)
            }
        )

    @torch.inference_mode()
    def memories(self, sequence: Sequence) -> Iterator[tuple[int, Memory]]:
        """What :attr:`memory` would hold at each step of a sequence, some thousand at a time.

        The first step of each part, and the part, ``[T, ...]``; otherwise as :meth:`run`.
        """
        for start, latent in self._latents(sequence):
            packed = self.operator.heads.read(latent)
            # Members last but one, as at a single step.
            yield start, Memory(*(x[:, 0].transpose(0, 1).cpu().numpy() for x in (latent, packed)))

    def _latents(self, sequence: Sequence) -> Iterator[tuple[int, Tensor]]:
        """Latents ``[E, 1, T, W]`` of a sequence in parts, each with its first step."""
        text = self._track(sequence)
        for start, stop, context in self._chunks(len(sequence)):
            inputs = Inputs.from_sequence(sequence, text, context, stop).to(self.device)
            yield start, self.operator.latents(inputs)[:, :, start - context :]

    def out_of_range(self, step: Step) -> float:
        """Share of the present values beyond the range of the training data, in [0, 1].

        What lies there is judged as if it were the nearest value seen in training.
        """
        if not self.operator.layout:
            return 0.0
        values = np.concatenate([step.values[m] for m in self.operator.layout])
        mask = np.concatenate([step.mask[m] for m in self.operator.layout])
        low, high = self._range
        outside = ((values < low) | (values > high)) & mask
        return float(outside.sum() / max(1, mask.sum()))

    def _look(self, inputs: Inputs, camera: str, frame: ByteArray | None) -> None:
        """Add one camera. A frame that is held over several steps passes the backbone once."""
        known = self._frames.get(camera)
        if frame is None:
            size = self.operator.frame_feature_size
            inputs.features[camera] = torch.zeros(1, 1, size, device=self.device)
            inputs.frame_mask[camera] = self._never
            return
        if known is None or not np.array_equal(known[0], frame):
            # A copy: the caller may use the frame's memory again.
            kept = frame.copy()
            pixels = torch.from_numpy(kept[None, None]).to(self.device)
            known = (kept, self.operator.frame_features(pixels))
            self._frames[camera] = known
        inputs.features[camera] = known[1]
        inputs.frame_mask[camera] = self._always

    def _track(self, sequence: Sequence) -> FloatArray:
        if self._told:
            goal = self.operator.text_encoder.encode([self._goal])
            return np.broadcast_to(goal, (len(sequence), goal.shape[1]))
        return self.operator.text_encoder.track(sequence, self._goal)

    def _chunks(self, steps: int) -> Iterator[tuple[int, int, int]]:
        """First and last step of each chunk, and the first of those that it remembers."""
        size = CHUNK_WITH_FRAMES if self.operator.cameras else CHUNK
        for start in range(0, steps, size):
            yield start, min(start + size, steps), max(0, start - self.operator.context)


class _StepBuffer:
    """One step's numbers as tensors on the device, through buffers that are made once.

    ``load`` reuses them: what it returned before is overwritten.
    """

    def __init__(self, layout: Mapping[str, tuple[str, ...]], device: torch.device) -> None:
        self.device = device
        # Only from pinned memory does a copy to a GPU run beside the host.
        pin = device.type == "cuda"
        sizes = {modality: (1, 1, len(names)) for modality, names in layout.items()}
        self.values = {m: torch.zeros(s, pin_memory=pin) for m, s in sizes.items()}
        self.mask = {m: torch.zeros(s, dtype=torch.bool, pin_memory=pin) for m, s in sizes.items()}
        self._views = [
            (m, self.values[m].numpy()[0, 0], self.mask[m].numpy()[0, 0]) for m in sizes
        ]

    def load(self, step: Step) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Values and masks ``[1, 1, F]`` per modality."""
        for modality, values, mask in self._views:
            values[:] = step.values[modality]
            mask[:] = step.mask[modality]
        if self.device.type == "cpu":
            return self.values, self.mask
        # The result's copy back ends after these have been read, so the buffers are free again.
        return self._moved(self.values), self._moved(self.mask)

    def _moved(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {m: t.to(self.device, non_blocking=True) for m, t in tensors.items()}
