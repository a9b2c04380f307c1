"""Encoder of camera frames: a backbone that all cameras share, and an adapter for each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pro_ros.model import huggingface
from pro_ros.model.config import VisualEncoderConfig

FRAMES_AT_ONCE = 64
"""Frames that pass the backbone together where no gradient is needed: bounds its memory."""


class VisualEncoder(nn.Module):
    """Frames of one or more cameras -> one embedding per camera and step.

    Parameters
    ----------
    cameras
        Names, in the order of the stream file.
    width
        Size of the embedding.
    """

    def __init__(self, cameras: tuple[str, ...], width: int, config: VisualEncoderConfig) -> None:
        super().__init__()
        self.cameras = cameras
        self.backbone: CompactBackbone | HuggingFaceBackbone = (
            CompactBackbone(config.channels)
            if config.kind == "compact"
            else HuggingFaceBackbone(config.model, config.train_backbone)
        )
        self.adapters = nn.ModuleList(nn.Linear(self.backbone.size, width) for _ in cameras)
        self.absent = nn.Parameter(torch.zeros(len(cameras), width))

    def features(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Backbone features; absent frames are not looked at and give zeros.

        Parameters
        ----------
        frames
            uint8 ``[..., 3, H, W]`` RGB.
        mask
            bool ``[...]``, true where there is a frame.

        Returns
        -------
        Tensor
            float32 ``[..., C]``.
        """
        present = frames[mask]
        size = len(present) or 1 if torch.is_grad_enabled() else FRAMES_AT_ONCE
        parts = [self.backbone(part) for part in present.split(size) if len(part)]
        features = torch.zeros((*mask.shape, self.backbone.size), device=frames.device)
        if parts:
            features[mask] = torch.cat(parts).to(features.dtype)
        return features

    def forward(self, camera: str, features: Tensor, mask: Tensor) -> Tensor:
        """Features ``[..., C]`` of one camera and their mask ``[...]`` -> ``[..., width]``."""
        index = self.cameras.index(camera)
        adapted = self.adapters[index](features)
        return torch.where(mask.unsqueeze(-1), adapted, self.absent[index])


class CompactBackbone(nn.Module):
    """A small convolutional network for machines without a pretrained one.

    Each stage halves the image. Features are averaged over the four quarters of the image, so
    that it stays known roughly where something was seen.
    """

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for inputs, outputs in zip((3, *channels), channels, strict=False):
            stages += [
                nn.Conv2d(inputs, outputs, kernel_size=3, stride=2, padding=1),
                nn.GroupNorm(1, outputs),
                nn.ReLU(),
            ]
        self.stages = nn.Sequential(*stages)
        self.size = 4 * channels[-1]

    def forward(self, frames: Tensor) -> Tensor:
        """uint8 ``[N, 3, H, W]`` -> ``[N, C]``."""
        maps = self.stages(frames.float() / 127.5 - 1.0)
        return functional.adaptive_avg_pool2d(maps, 2).flatten(1)


class HuggingFaceBackbone(nn.Module):
    """Any vision model of the transformers library, by name or local path.

    Frozen unless ``trained``. Frames are resized to the model's input size where it has one and
    normalised with the statistics of its image processor.

    Raises
    ------
    SpecError
        the library is missing, or the model cannot be loaded.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, name: str, trained: bool) -> None:
        super().__init__()
        self.trained = trained
        self.model = huggingface.load_model("visual.model", name, "vision_model")
        self.model.requires_grad_(trained)
        processor = _processor(name)
        for key, default in (("mean", 0.5), ("std", 0.5)):
            statistic = torch.tensor(processor.get(f"image_{key}") or [default] * 3)
            target = "mean" if key == "mean" else "deviation"
            self.register_buffer(target, statistic.float().view(3, 1, 1), persistent=False)
        self.input_size = _input_size(self.model)
        self.size = 0
        side = self.input_size or (64, 64)
        with torch.no_grad():
            self.size = self.forward(torch.zeros(1, 3, *side, dtype=torch.uint8)).shape[-1]

    def train(self, mode: bool = True) -> HuggingFaceBackbone:
        """A frozen backbone stays in evaluation mode, so that its features do not change."""
        return super().train(mode and self.trained)

    def forward(self, frames: Tensor) -> Tensor:
        """uint8 ``[N, 3, H, W]`` -> ``[N, C]``."""
        pixels = frames.float() / 255.0
        if self.input_size and tuple(pixels.shape[-2:]) != self.input_size:
            pixels = functional.interpolate(
                pixels, self.input_size, mode="bilinear", antialias=True
            )
        with torch.set_grad_enabled(self.trained and torch.is_grad_enabled()):
            said = self.model(pixel_values=(pixels - self.mean) / self.deviation)
        pooled: Tensor | None = getattr(said, "pooler_output", None)
        if pooled is not None:
            return pooled.flatten(1)
        states: Tensor = said.last_hidden_state
        # Token models give [N, tokens, C], convolutional ones [N, C, H, W].
        return states.mean(dim=1) if states.ndim == 3 else states.mean(dim=(2, 3))


def _processor(name: str) -> dict[str, Any]:
    """The model's image processor file; empty where it has none."""
    library = huggingface.transformers("visual.model")
    try:
        found: dict[str, Any] = library.ImageProcessingMixin.get_image_processor_dict(name)[0]
    except OSError:
        return {}
    return found


def _input_size(model: nn.Module) -> tuple[int, int] | None:
    """Height and width that the model was made for, or None if it takes any."""
    side = getattr(model.config, "image_size", None)
    if isinstance(side, int):
        return (side, side)
    return (int(side[0]), int(side[1])) if side else None
