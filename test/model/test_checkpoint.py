from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pro_ros.errors import CheckpointError, StorageError
from pro_ros.model import checkpoint as module
from pro_ros.model.calibration import Affine, Calibration
from pro_ros.model.checkpoint import DOCUMENT, WEIGHTS, load_checkpoint, save_checkpoint
from pro_ros.model.config import OperatorConfig, TextEncoderConfig, VisualEncoderConfig
from pro_ros.model.factory import build_operator
from pro_ros.model.operator import Inputs, Operator
from pro_ros.streams.spec import RobotSpec, parse_spec

JOINTS = {"name": "q", "columns": ["a", "b"], "unit": "rad"}
FORCE = {"name": "f", "columns": ["fx"], "unit": "N"}
SPEC = {
    "format": "pro_ros/streams/1",
    "robot": "arm",
    "step": {"on": "joints"},
    "gap": 1.0,
    "streams": {
        "joints": {"modality": "state", "rate": 100.0, "features": [JOINTS]},
        "wrench": {
            "modality": "telemetry", "rate": 100.0, "features": [FORCE],
            "summaries": [{"over": 1.0}, {"over": "episode", "stats": ["max"]}],
        },
    },
    "events": {"slip": {"signal": "wrench.f", "above": 5.0}},
    "failure_modes": ["slip"],
}  # fmt: skip
CAMERA = {"wrist": {"modality": "visual", "topic": "/c", "type": "sensor_msgs/msg/Image",
                    "rate": 10.0, "image": {"height": 16, "width": 16}}}  # fmt: skip


def spec(**changes: object) -> RobotSpec:
    return parse_spec({**SPEC, **changes}, "spec")


def operator(config: OperatorConfig | None = None, robot: RobotSpec | None = None) -> Operator:
    torch.manual_seed(0)
    built = build_operator(config or OperatorConfig(width=8, members=2), robot or spec())
    rng = np.random.default_rng(0)
    built.fit_normalisation(
        {
            m: (rng.normal(size=(50, len(f))), np.ones((50, len(f)), dtype=bool))
            for m, f in built.layout.items()
        }
    )
    return built.eval()


def said(built: Operator) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    inputs = Inputs(
        {m: torch.randn(1, 9, len(f), generator=generator) for m, f in built.layout.items()},
        {m: torch.ones(1, 9, len(f), dtype=torch.bool) for m, f in built.layout.items()},
        torch.zeros(1, 9, dtype=torch.bool),
        torch.ones(1, built.text_encoder.size),
        {c: torch.full((1, 9, 3, s.height, s.width), 7, dtype=torch.uint8)
         for c, s in built.cameras.items()},
        {c: torch.ones(1, 9, dtype=torch.bool) for c in built.cameras},
    )  # fmt: skip
    with torch.no_grad():
        return built(inputs).hazard


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "model", operator(), spec())
    return tmp_path / "model"


def edit(folder: Path, **changes: object) -> None:
    path = folder / DOCUMENT
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_checkpoint_brings_back_the_same_operator(tmp_path):
    original = operator()
    calibration = Calibration(hazard={"slip": Affine(slope=0.5)}, episodes=40)
    document = save_checkpoint(
        tmp_path / "model", original, spec(), calibration,
        data={"sha256": "abc"}, training={"seed": 3},
        metrics={"auroc": np.float64(0.8), "none": float("nan"), "curve": np.arange(3)},
    )  # fmt: skip
    loaded = load_checkpoint(tmp_path / "model")
    assert torch.equal(said(loaded.operator), said(original))
    assert loaded.spec == spec()
    assert loaded.calibration == calibration
    assert loaded.meta == document
    assert loaded.meta.metrics == {"auroc": 0.8, "none": None, "curve": [0, 1, 2]}
    assert not loaded.operator.training
    assert not any(p.requires_grad for p in loaded.operator.parameters())


def test_the_same_content_gives_the_same_bytes_and_id(tmp_path):
    first = save_checkpoint(tmp_path / "a", operator(), spec())
    second = save_checkpoint(tmp_path / "b", operator(), spec())
    assert first.model_id == second.model_id
    for name in (WEIGHTS, DOCUMENT):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    other = operator()
    other.set_prior(torch.full((1, 3), 0.1))
    assert save_checkpoint(tmp_path / "c", other, spec()).model_id != first.model_id


def test_loading_leaves_the_random_numbers_alone(saved):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_checkpoint(saved)
    assert torch.equal(torch.rand(3), expected)


def test_an_existing_checkpoint_is_only_replaced_on_request(saved):
    before = (saved / WEIGHTS).read_bytes()
    other = operator()
    other.set_prior(torch.full((1, 3), 0.1))
    with pytest.raises(StorageError):
        save_checkpoint(saved, other, spec())
    assert (saved / WEIGHTS).read_bytes() == before
    save_checkpoint(saved, other, spec(), overwrite=True)
    assert torch.equal(said(load_checkpoint(saved).operator), said(other))


def refused(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(folder)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(str(folder))
    return text


def test_a_missing_checkpoint_is_named(tmp_path):
    assert refused(tmp_path / "none").endswith("not a checkpoint: it has no checkpoint.json")


def test_another_format_version_says_which_and_what_to_do(saved):
    edit(saved, format="pro_ros/checkpoint/2", pro_ros_version="9.1.0", surprise=1)
    text = refused(saved)
    assert "'pro_ros/checkpoint/2'" in text
    assert "'pro_ros/checkpoint/1'" in text
    assert "9.1.0" in text


def test_a_document_that_is_cut_off_is_named(saved):
    path = saved / DOCUMENT
    path.write_text(path.read_text()[:300])
    assert "not valid json" in refused(saved)


def test_a_misspelt_key_is_named(saved):
    edit(saved, calibratoin={})
    assert "unknown key 'calibratoin', did you mean 'calibration'?" in refused(saved)


def test_missing_weights_are_named(saved):
    (saved / WEIGHTS).unlink()
    assert "weights.safetensors: cannot be read" in refused(saved)


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_damaged_weights_are_noticed(saved, damage):
    path = saved / WEIGHTS
    raw = bytearray(path.read_bytes())
    if damage == "cut":
        del raw[-10:]
    else:
        raw[-10] ^= 1
    path.write_bytes(raw)
    assert "weights.safetensors: damaged" in refused(saved)


def rewrite(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Other weights, with a document that agrees with them."""
    save_file(tensors, folder / WEIGHTS)
    digest = module.hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    config = OperatorConfig(width=8, members=2)
    edit(folder, weights_sha256=digest, model_id=module._model_id(digest, config))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda t: t.pop("heads.bias"), "tensor 'heads.bias' is missing"),
        (lambda t: t.update(extra=torch.zeros(1)), "tensor 'extra' is not part of the model"),
        (
            lambda t: t.update({"heads.bias": torch.zeros(2, 1)}),
            "tensor 'heads.bias' is torch.float32 (2, 1), expected torch.float32 (2, 1, 6)",
        ),
        (lambda t: t.update({"heads.bias": t["heads.bias"].half()}), "is torch.float16"),
    ],
)
def test_tensors_that_do_not_belong_are_named(saved, change, expected):
    tensors = load_file(saved / WEIGHTS)
    change(tensors)
    rewrite(saved, tensors)
    assert expected in refused(saved)


def test_a_file_that_only_pretends_to_be_safetensors_is_refused(saved):
    (saved / WEIGHTS).write_bytes(b"\x80\x04pickle?")
    digest = module.hashlib.sha256(b"\x80\x04pickle?").hexdigest()
    model_id = module._model_id(digest, OperatorConfig(width=8, members=2))
    edit(saved, weights_sha256=digest, model_id=model_id)
    assert "not a safetensors file" in refused(saved)


def test_a_layout_that_contradicts_the_streams_is_refused(saved):
    edit(saved, layout={"state": ["joints.q.0"]})
    assert "'layout' does not agree with 'streams'" in refused(saved)


def test_a_changed_model_configuration_is_refused(saved):
    edit(saved, model=OperatorConfig(width=8, members=2, dropout=0.3).model_dump(mode="json"))
    assert "'model' was changed" in refused(saved)


def renamed() -> dict[str, object]:
    streams = json.loads(json.dumps(SPEC["streams"]))
    streams["wrench"]["features"][0]["name"] = "force"
    return {**SPEC["streams"], "wrench": streams["wrench"]}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"robot": "another", "gap": 3.0}, None),
        (
            {"streams": renamed(), "events": {"slip": {"signal": "wrench.force", "above": 1}}},
            "feature 1 of telemetry is 'wrench.force', expected 'wrench.f'",
        ),
        ({"failure_modes": []}, "failure_modes are none, expected slip"),
        ({"streams": {**SPEC["streams"], **CAMERA}}, "cameras are wrist, expected none"),
    ],
)
def test_a_stream_file_that_does_not_fit_is_refused(saved, changes, expected):
    loaded = load_checkpoint(saved)
    if expected is None:
        loaded.check_spec(spec(**changes), "other.yaml")
        return
    with pytest.raises(CheckpointError) as caught:
        loaded.check_spec(spec(**changes), "other.yaml")
    assert str(caught.value).startswith("other.yaml: does not fit the checkpoint")
    assert expected in str(caught.value)


@pytest.fixture
def seeing(tmp_path) -> tuple[Path, OperatorConfig]:
    """A tiny local vision model, and a configuration that uses it."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    folder = tmp_path / "vit"
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        image_size=16, patch_size=8,
    )  # fmt: skip
    transformers.ViTModel(config).save_pretrained(folder)
    visual = VisualEncoderConfig(kind="huggingface", model=str(folder))
    return folder, OperatorConfig(width=8, members=2, visual=visual)


def test_a_frozen_vision_model_stays_outside_and_must_be_the_same_one(tmp_path, seeing):
    folder, config = seeing
    robot = spec(streams={**SPEC["streams"], **CAMERA})
    original = operator(config, robot)
    save_checkpoint(tmp_path / "model", original, robot)
    stored = load_file(tmp_path / "model" / WEIGHTS)
    assert not any(name.startswith("visual.backbone") for name in stored)
    assert any(name.startswith("visual.adapters") for name in stored)
    assert torch.equal(said(load_checkpoint(tmp_path / "model").operator), said(original))

    weights = load_file(folder / "model.safetensors")
    save_file(
        {n: t + 1 for n, t in weights.items()}, folder / "model.safetensors", {"format": "pt"}
    )
    assert "is not the one that this checkpoint was trained with" in refused(tmp_path / "model")
    (folder / "config.json").unlink()
    assert f"visual.model: model '{folder}' cannot be loaded" in refused(tmp_path / "model")


def test_a_trained_vision_model_is_stored(tmp_path, seeing):
    folder, config = seeing
    visual = VisualEncoderConfig(kind="huggingface", model=str(folder), train_backbone=True)
    robot = spec(streams={**SPEC["streams"], **CAMERA})
    original = operator(config.model_copy(update={"visual": visual}), robot)
    with torch.no_grad():
        for parameter in original.visual.backbone.parameters():
            parameter.add_(0.1)
    document = save_checkpoint(tmp_path / "model", original, robot)
    assert not document.external
    assert torch.equal(said(load_checkpoint(tmp_path / "model").operator), said(original))


def test_an_image_too_small_for_the_network_is_refused_before_training():
    config = OperatorConfig(visual=VisualEncoderConfig(channels=(4,) * 5))
    with pytest.raises(module.SpecError, match="images of at least 32 pixels"):
        build_operator(config, spec(streams={**SPEC["streams"], **CAMERA}))


def test_the_text_size_is_part_of_the_model(tmp_path):
    config = OperatorConfig(width=8, text=TextEncoderConfig(size=16))
    save_checkpoint(tmp_path / "model", operator(config), spec())
    assert load_checkpoint(tmp_path / "model").operator.text.weight.shape == (8, 16)
