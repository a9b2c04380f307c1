"""The operator: streams in, completion potential, termination, success and hazards out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from pro_ros.episodes.sequence import Sequence
from pro_ros.model.config import OperatorConfig
from pro_ros.model.heads import Heads
from pro_ros.model.members import ACTIVATIONS, dropped
from pro_ros.model.numeric import NumericColumns, NumericEncoder
from pro_ros.model.outputs import Outputs
from pro_ros.model.temporal import State, build_temporal
from pro_ros.model.text import TextEncoder
from pro_ros.model.visual import VisualEncoder
from pro_ros.streams.sample import BoolArray, FloatArray
from pro_ros.streams.spec import ImageSpec


@dataclass
class Inputs:
    """What the operator reads, as tensors. B: batch, T: steps.

    ``values``, ``mask``: per numeric modality float32 and bool ``[B, T, F]``.
    ``frames``, ``frame_mask``: per camera uint8 ``[B, T, 3, H, W]`` and bool ``[B, T]``.
    ``features``: per camera float32 ``[B, T, C]``, features of frames that passed the backbone
    before (:meth:`Operator.frame_features`); they are used instead of ``frames``.
    ``text``: float32 ``[B, T, D]`` or ``[B, D]``, zeros where there is none; None for none at all.
    ``restart``: bool ``[B, T]``, memory is empty before this step.
    """

    values: dict[str, Tensor]
    mask: dict[str, Tensor]
    restart: Tensor
    text: Tensor | None = None
    frames: dict[str, Tensor] = field(default_factory=dict)
    frame_mask: dict[str, Tensor] = field(default_factory=dict)
    features: dict[str, Tensor] = field(default_factory=dict)

    def to(self, device: torch.device | str) -> Inputs:
        """The same on another device."""

        def each(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            return {name: tensor.to(device) for name, tensor in tensors.items()}

        return Inputs(
            values=each(self.values),
            mask=each(self.mask),
            restart=self.restart.to(device),
            text=None if self.text is None else self.text.to(device),
            frames=each(self.frames),
            frame_mask=each(self.frame_mask),
            features=each(self.features),
        )

    @classmethod
    def from_sequence(
        cls, sequence: Sequence, text: FloatArray, start: int = 0, stop: int | None = None
    ) -> Inputs:
        """Steps ``[start, stop)`` of a sequence as a batch of one.

        ``text``: float32 ``[T, D]`` for the whole sequence (:meth:`TextEncoder.track`).
        """
        part = slice(start, len(sequence) if stop is None else stop)
        restart = torch.zeros(1, len(sequence.t_ns[part]), dtype=torch.bool)
        restart[:, 0] = True
        return cls(
            values={m: _batched(v[part]) for m, v in sequence.values.items()},
            mask={m: _batched(v[part]) for m, v in sequence.mask.items()},
            restart=restart,
            text=_batched(text[part]),
            frames={c: _batched(v[part]) for c, v in sequence.frames.items()},
            frame_mask={c: _batched(v[part]) for c, v in sequence.frame_mask.items()},
        )


class Operator(nn.Module):
    """The Process-Reward Operator (operator.md, "How it computes").

    Parameters
    ----------
    layout
        Feature names per numeric modality (``RobotSpec.layout``).
    cameras
        Image size per camera (``RobotSpec.cameras``).
    modes
        Failure modes whose hazards are predicted.

    Raises
    ------
    SpecError
        a Hugging Face model that the configuration names cannot be loaded.
    """

    def __init__(
        self,
        config: OperatorConfig,
        layout: Mapping[str, tuple[str, ...]],
        cameras: Mapping[str, ImageSpec],
        modes: tuple[str, ...],
    ) -> None:
        super().__init__()
        self.config = config
        self.layout = dict(layout)
        self.cameras = dict(cameras)
        self.modes = tuple(modes)
        self._sizes = [len(names) for names in self.layout.values()]
        # One pass over the features of all modalities: a step is bound by the number of calls.
        self.columns = NumericColumns(sum(self._sizes), config.numeric)
        self.width, action_width = self._token_widths()
        width = self.width
        self.numeric = nn.ModuleDict()
        begin = 0
        for modality, names in self.layout.items():
            size, per_feature = len(names), self.columns.per_feature
            if modality == "action":
                encoder = NumericEncoder(size, per_feature, action_width, config.numeric)
            else:
                encoder = NumericEncoder(size, per_feature, width, config.numeric, begin)
                begin += size * per_feature
            self.numeric[modality] = encoder
        self.visual = VisualEncoder(tuple(cameras), width, config.visual) if cameras else None
        self.text_encoder = TextEncoder(config.text)
        # Starts at zero: directions that no training text had stay silent at run time.
        self.text = nn.Linear(self.text_encoder.size, width, bias=False)
        nn.init.zeros_(self.text.weight)
        self.text_absent = nn.Parameter(torch.zeros(width))
        self.activation = ACTIVATIONS[config.token_activation]
        self.temporal = build_temporal(width + action_width, config)
        self.heads = Heads(len(self.modes), config)

    @property
    def context(self) -> int:
        """Steps before the current one that an output depends on: K - 1."""
        return self.config.temporal.window - 1

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.text_absent.device

    def forward(self, inputs: Inputs) -> Outputs:
        """Run whole sequences at once; see :class:`Inputs` and :class:`Outputs` for shapes."""
        return self.heads.unpack(self.packed(inputs))

    def packed(self, inputs: Inputs) -> Tensor:
        """As :meth:`forward`, with all heads side by side: ``[E, B, T, 3 + M K]``."""
        return self.heads.read(self.latents(inputs))

    def latents(self, inputs: Inputs) -> Tensor:
        """The latents h_t of whole sequences as the heads read them, ``[E, B, T, W]``."""
        return self.heads.normed(self.temporal(self.tokens(inputs), inputs.restart))

    def init_state(self, batch: int) -> State:
        """Empty memory for :meth:`step`."""
        return self.temporal.init_state(batch)

    def step(self, inputs: Inputs, state: State) -> tuple[Outputs, State]:
        """Run one step (T = 1) from memory; gives what :meth:`forward` gives at that step."""
        packed, state = self.packed_step(inputs, state)
        return self.heads.unpack(packed), state

    def packed_step(self, inputs: Inputs, state: State) -> tuple[Tensor, State]:
        """As :meth:`step`, with all heads in one tensor, which leaves a device in one copy."""
        latent, state = self.latent_step(inputs, state)
        return self.heads.read(latent), state

    def latent_step(self, inputs: Inputs, state: State) -> tuple[Tensor, State]:
        """One step of :meth:`latents`, ``[E, B, 1, W]``, from memory."""
        state = self.temporal.reset(state, inputs.restart[:, 0])
        latent, state = self.temporal.step(self.tokens(inputs)[:, 0], state)
        return self.heads.normed(latent.unsqueeze(2)), state

    def tokens(self, inputs: Inputs) -> Tensor:
        """Fuse each step into one token ``[B, T, D]``: the world's latent, the action after it."""
        keep = self._kept(inputs) if self.training else {}
        parts = self._measured(inputs, keep)
        action = parts.pop("action", None)
        world = [*parts.values(), *self._seen(inputs, keep.get("visual"))]
        latent = self._goal(inputs, keep.get("text"))
        for part in world:
            latent = latent + part
        token = latent if world else latent.expand(*inputs.restart.shape, -1)
        if action is not None:
            token = torch.cat([token, action], dim=-1)
        return dropped(self.activation(token), self.config.token_dropout, self.training)

    @property
    def frame_feature_size(self) -> int:
        """C of :attr:`Inputs.features`; 0 without cameras."""
        return self.visual.backbone.size if self.visual is not None else 0

    def frame_features(self, frames: Tensor) -> Tensor:
        """Features for :attr:`Inputs.features`: uint8 ``[B, T, 3, H, W]`` -> ``[B, T, C]``."""
        assert self.visual is not None, "the operator has no cameras"
        features: Tensor = self.visual.backbone(frames.flatten(0, 1))
        return features.unflatten(0, frames.shape[:2])

    def fit_normalisation(self, arrays: Mapping[str, tuple[FloatArray, BoolArray]]) -> None:
        """Fit each numeric modality's statistics to training data: values and mask ``[N, F]``."""
        if not self.numeric:
            return
        values, mask = zip(*(arrays[modality] for modality in self.numeric), strict=True)
        self.columns.fit(np.concatenate(values, axis=1), np.concatenate(mask, axis=1))

    def set_prior(
        self,
        hazard: Tensor,
        termination: float = 0.5,
        success: float = 0.5,
        value: float = 0.0,
    ) -> None:
        """Start the heads at the base rates of the training data (:meth:`Heads.set_prior`)."""
        self.heads.set_prior(hazard, termination, success, value)

    def parameter_groups(self, weight_decay: float) -> list[dict[str, object]]:
        """Groups for an optimiser: only matrices decay.

        Members' scalings, learned "absent" embeddings, norms and biases do not: decay would pull
        members together and towards silence.
        """
        decayed: list[nn.Parameter] = []
        free: list[nn.Parameter] = []
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                matrix = name.endswith("weight") and parameter.ndim > 1
                (decayed if matrix else free).append(parameter)
        return [
            {"params": decayed, "weight_decay": weight_decay},
            {"params": free, "weight_decay": 0.0},
        ]

    def _token_widths(self) -> tuple[int, int]:
        """Width of what is seen of the world in a token, and of the action after it."""
        if self.config.numeric.encoder == "none":
            columns = {m: len(n) * self.columns.per_feature for m, n in self.layout.items()}
            action = columns.pop("action", 0)
            # Without numbers the token is what cameras and goal make it.
            return sum(columns.values()) or self.config.width, action
        width = self.config.width
        return width, max(8, width // 2) if "action" in self.layout else 0

    def _measured(self, inputs: Inputs, keep: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Embeddings of the numeric modalities, ``[B, T, width]`` each."""
        if not self.numeric:
            return {}
        masks = [inputs.mask[modality] for modality in self.numeric]
        if keep:
            masks = [m & keep[n].unsqueeze(-1) for n, m in zip(self.numeric, masks, strict=True)]
        mask = torch.cat(masks, dim=-1)
        if self.training and self.config.numeric.feature_dropout:
            drawn = torch.rand(len(mask), 1, mask.shape[-1], device=mask.device)
            mask = mask & (drawn >= self.config.numeric.feature_dropout)
        values = torch.cat([inputs.values[modality] for modality in self.numeric], dim=-1)
        columns = self.columns(values, mask).split(self._sizes, dim=-2)
        return {
            modality: encoder(part)
            for (modality, encoder), part in zip(self.numeric.items(), columns, strict=True)
        }

    def _goal(self, inputs: Inputs, keep: Tensor | None) -> Tensor:
        """Embedding of goal and context, ``[B, T or 1, W]``."""
        if inputs.text is None:
            return self.text_absent
        text = inputs.text if inputs.text.ndim == 3 else inputs.text.unsqueeze(1)
        present = text.any(dim=-1, keepdim=True)
        if keep is not None:
            present = present & keep.unsqueeze(-1)
        return torch.where(present, self.text(text), self.text_absent)

    def _seen(self, inputs: Inputs, keep: Tensor | None) -> list[Tensor]:
        """Embeddings of the cameras, ``[B, T, W]`` each."""
        if self.visual is None:
            return []
        parts = []
        for camera in self.cameras:
            mask = inputs.frame_mask[camera]
            if keep is not None:
                mask = mask & keep
            features = inputs.features.get(camera)
            if features is None:
                features = self.visual.features(inputs.frames[camera], mask)
            parts.append(self.visual(camera, features, mask))
        return parts

    def _kept(self, inputs: Inputs) -> dict[str, Tensor]:
        """Draw which modalities each training sequence keeps: bool ``[B, 1]`` per modality.

        At least one is kept: of nothing at all there is nothing to learn.
        """
        names = [*self.numeric, "text", *(["visual"] if self.visual else [])]
        shape = (len(inputs.restart), len(names))
        kept = torch.rand(shape, device=self.device) >= self.config.modality_dropout
        # Text alone tells nothing of a run.
        blind = ~(kept & torch.tensor([n != "text" for n in names], device=self.device)).any(1)
        kept |= blind.unsqueeze(1)
        return {name: kept[:, n : n + 1] for n, name in enumerate(names)}


def _batched(array: np.ndarray) -> Tensor:
    # A copy: tensors cannot share read-only memory, such as a memory map's.
    return torch.from_numpy(np.array(array, order="C")).unsqueeze(0)
