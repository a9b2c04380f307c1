from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from pro_ros.errors import SpecError
from pro_ros.model import huggingface
from pro_ros.model.config import OperatorConfig, VisualEncoderConfig
from pro_ros.model.operator import Inputs, Operator
from pro_ros.model.visual import HuggingFaceBackbone, VisualEncoder
from pro_ros.streams.spec import ImageSpec

COMPACT = VisualEncoderConfig(channels=(4, 8))


@pytest.fixture(scope="module")
def vit(tmp_path_factory) -> Path:
    """A tiny vision transformer with random weights, as a local folder."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    folder = tmp_path_factory.mktemp("vit")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        image_size=16, patch_size=8,
    )  # fmt: skip
    transformers.ViTModel(config).save_pretrained(folder)
    statistics = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": "ViTImageProcessor", **statistics})
    )
    return folder


def frames(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, (*shape, 3, 20, 12), dtype=torch.uint8)


def test_cameras_share_the_backbone_and_have_their_own_adapter():
    torch.manual_seed(0)
    encoder = VisualEncoder(("left", "right"), 6, COMPACT)
    there = torch.ones(2, 3, dtype=torch.bool)
    features = encoder.features(frames(2, 3), there)
    assert features.shape == (2, 3, encoder.backbone.size)
    left, right = encoder("left", features, there), encoder("right", features, there)
    assert left.shape == (2, 3, 6)
    assert not torch.allclose(left, right)
    assert sum(n.startswith("backbone") for n, _ in encoder.named_parameters()) == 8


def test_an_absent_frame_gives_the_learned_embedding_of_absence():
    encoder = VisualEncoder(("left",), 6, COMPACT)
    with torch.no_grad():
        encoder.absent.normal_()
    mask = torch.tensor([[True, False]])
    said = encoder("left", encoder.features(frames(1, 2), mask), mask)
    assert torch.equal(said[0, 1], encoder.absent[0])
    assert not torch.equal(said[0, 0], encoder.absent[0])


def test_without_any_frame_nothing_is_computed():
    encoder = VisualEncoder(("left",), 6, COMPACT)
    assert not encoder.features(frames(2, 2), torch.zeros(2, 2, dtype=torch.bool)).any()


def test_the_compact_network_sees_where_something_is():
    torch.manual_seed(0)
    encoder = VisualEncoder(("left",), 6, COMPACT)
    picture = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
    picture[0, :, :4, :4] = 255
    picture[1, :, 12:, 12:] = 255
    a, b = encoder.features(picture, torch.ones(2, dtype=torch.bool))
    assert (a - b).abs().max() > 1e-3


def test_frames_in_parts_equal_frames_at_once(monkeypatch):
    encoder = VisualEncoder(("left",), 6, COMPACT)
    given, mask = frames(3, 5), torch.rand(3, 5) < 0.8
    whole = encoder.features(given, mask)
    monkeypatch.setattr("pro_ros.model.visual.FRAMES_AT_ONCE", 4)
    with torch.no_grad():
        torch.testing.assert_close(encoder.features(given, mask), whole)


def test_a_local_vision_model_is_frozen_and_normalised_with_its_statistics(vit):
    backbone = HuggingFaceBackbone(str(vit), trained=False).train()
    assert backbone.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert backbone.deviation.flatten().tolist() == pytest.approx([0.4, 0.5, 0.6])
    assert backbone.size == 16
    assert not backbone.training
    said = backbone(frames(3))
    assert said.shape == (3, 16)
    assert not said.requires_grad
    pixels = torch.nn.functional.interpolate(
        torch.full((1, 3, 20, 12), 51 / 255), (16, 16), mode="bilinear"
    )
    direct = backbone.model(pixel_values=(pixels - backbone.mean) / backbone.deviation)
    grey = backbone(torch.full((1, 3, 20, 12), 51, dtype=torch.uint8))
    torch.testing.assert_close(grey, direct.pooler_output)


def test_a_model_without_processor_file_gets_plain_statistics(vit, tmp_path):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((vit / name).read_bytes())
    assert HuggingFaceBackbone(str(tmp_path), trained=False).mean.flatten().tolist() == [0.5] * 3


def test_only_the_adapter_learns_unless_the_backbone_is_trained(vit):
    for trained in (False, True):
        config = OperatorConfig(
            width=8,
            visual=VisualEncoderConfig(kind="huggingface", model=str(vit), train_backbone=trained),
        )
        operator = Operator(config, {}, {"wrist": ImageSpec(height=20, width=12)}, ("jam",))
        inputs = Inputs(
            {}, {}, torch.zeros(1, 3, dtype=torch.bool), None,
            {"wrist": frames(1, 3)}, {"wrist": torch.ones(1, 3, dtype=torch.bool)},
        )  # fmt: skip
        operator(inputs).hazard.sum().backward()
        assert operator.visual.adapters[0].weight.grad.abs().sum() > 0
        learned = any(p.grad is not None for p in operator.visual.backbone.parameters())
        assert learned is trained


@pytest.mark.parametrize("content", [None, "", "{}", '{"model_type": "nothing_known"}'])
def test_a_model_that_cannot_be_loaded_is_named_in_one_line(content, tmp_path):
    pytest.importorskip("transformers", reason="transformers is not installed")
    folder = tmp_path / "model"
    if content is not None:
        folder.mkdir()
        (folder / "config.json").write_text(content)
    with pytest.raises(SpecError) as caught:
        HuggingFaceBackbone(str(folder), trained=False)
    text = str(caught.value)
    assert text.startswith(f"visual.model: model '{folder}' cannot be loaded: ")
    assert "\n" not in text


def test_pickled_weights_are_refused(vit, tmp_path):
    (tmp_path / "config.json").write_bytes((vit / "config.json").read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(SpecError, match="cannot be loaded"):
        HuggingFaceBackbone(str(tmp_path), trained=False)


def test_without_the_library_the_extra_is_named(monkeypatch):
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(huggingface, "import_module", missing)
    with pytest.raises(SpecError, match=r"visual.model: .*pip install 'pro_ros\[huggingface\]'"):
        HuggingFaceBackbone("any", trained=False)
