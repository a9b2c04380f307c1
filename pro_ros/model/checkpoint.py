"""Checkpoints: a folder with ``weights.safetensors`` and ``checkpoint.json``.

Where actions can be scored, a scorer's two files stand beside them (:mod:`.scorer_file`). All are
plain data: nothing is ever unpickled. A frozen Hugging Face model is not stored; its
name and a digest of its weights are, and loading refuses another one of the same name.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Literal

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from pro_ros.config import StrictModel, load_model
from pro_ros.errors import CheckpointError, SpecError
from pro_ros.files import atomic_dir
from pro_ros.model import huggingface
from pro_ros.model.calibration import Calibration
from pro_ros.model.chunks import action_features
from pro_ros.model.config import OperatorConfig
from pro_ros.model.factory import build_operator, layout_mismatch
from pro_ros.model.operator import Operator
from pro_ros.model.scorer import Scorer
from pro_ros.model.scorer_file import read_scorer, write_scorer
from pro_ros.model.visual import HuggingFaceBackbone
from pro_ros.streams.spec import ImageSpec, RobotSpec

FORMAT: Final = "pro_ros/checkpoint/1"
DOCUMENT = "checkpoint.json"
WEIGHTS = "weights.safetensors"

FROZEN_BACKBONE = "visual.backbone.model."
"""Prefix of the weights that are left out where the visual backbone is frozen."""


class ExternalModel(StrictModel):
    """A frozen model that the checkpoint needs and does not hold."""

    model: str = Field(..., description="Name or path")
    sha256: str = Field(..., description="Digest of its weights")


class CheckpointDocument(StrictModel):
    """Contents of ``checkpoint.json``."""

    format: Literal["pro_ros/checkpoint/1"] = FORMAT
    model_id: str = Field(..., description="Short digest of weights and configuration")
    pro_ros_version: str
    weights_sha256: str
    model: OperatorConfig
    streams: RobotSpec
    layout: dict[str, tuple[str, ...]] = Field(..., description="Features that the model reads")
    cameras: dict[str, ImageSpec]
    modes: tuple[str, ...] = Field(..., description="Failure modes, in the order of the outputs")
    external: dict[Literal["visual", "text"], ExternalModel] = Field(default_factory=dict)
    calibration: Calibration = Calibration()
    data: dict[str, Any] = Field(
        default_factory=dict, description="Fingerprint of the training data"
    )
    training: dict[str, Any] = Field(
        default_factory=dict, description="Training configuration and history"
    )
    metrics: dict[str, Any] = Field(default_factory=dict, description="Metrics at training time")


@dataclass(frozen=True)
class Checkpoint:
    """An operator with all that is needed to use it."""

    operator: Operator
    spec: RobotSpec
    calibration: Calibration
    meta: CheckpointDocument
    scorer: Scorer | None = None

    @property
    def model_id(self) -> str:
        """Short digest of weights and configuration."""
        return self.meta.model_id

    def for_streams(self, given: RobotSpec, where: str) -> Checkpoint:
        """The same operator on the streams of another robot or recording.

        Raises
        ------
        CheckpointError
            as :meth:`check_spec`.
        """
        self.check_spec(given, where)
        return replace(self, spec=given)

    def check_spec(self, given: RobotSpec, where: str) -> None:
        """Refuse streams that the operator was not made for.

        Raises
        ------
        CheckpointError
            names the first difference; ``where`` names the stream file.
        """
        reason = layout_mismatch(self.spec, given)
        if reason:
            raise CheckpointError(
                f"{where}: does not fit the checkpoint (model {self.model_id}): {reason}"
            )


def save_checkpoint(
    path: Path | str,
    operator: Operator,
    spec: RobotSpec,
    calibration: Calibration | None = None,
    *,
    data: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    scorer: Scorer | None = None,
    overwrite: bool = False,
) -> CheckpointDocument:
    """Write a checkpoint folder, whole or not at all.

    Parameters
    ----------
    scorer
        Of actions, fitted to this operator; it leaves the operator's files as they are.
    data, training, metrics
        Anything that JSON can hold; numbers that are not finite become null.

    Raises
    ------
    StorageError
        ``path`` exists and ``overwrite`` is false, or it cannot be written.
    """
    weights = save_tensors(_stored(operator))
    digest = hashlib.sha256(weights).hexdigest()
    document = CheckpointDocument(
        model_id=_model_id(digest, operator.config),
        pro_ros_version=_version(),
        weights_sha256=digest,
        model=operator.config,
        streams=spec,
        layout=operator.layout,
        cameras=operator.cameras,
        modes=operator.modes,
        external=_external(operator),
        calibration=calibration or Calibration(),
        data=_plain(data or {}),
        training=_plain(training or {}),
        metrics=_plain(metrics or {}),
    )
    text = json.dumps(document.model_dump(mode="json"), indent=1, allow_nan=False)
    with atomic_dir(path, overwrite=overwrite) as folder:
        (folder / WEIGHTS).write_bytes(weights)
        (folder / DOCUMENT).write_text(text + "\n", encoding="utf-8")
        if scorer is not None:
            write_scorer(folder, scorer, document.model_id)
    return document


def load_checkpoint(path: Path | str, device: str | torch.device = "cpu") -> Checkpoint:
    """Read a checkpoint folder and check all of it.

    The operator is in evaluation mode and its parameters want no gradient.

    Raises
    ------
    CheckpointError
        it is missing, of another version, damaged, contradicts itself, or needs a Hugging Face
        model that is missing or is not the one it was trained with.
    """
    folder = Path(path)
    document = _read_document(folder)
    operator = _build(folder, document)
    tensors = _read_weights(folder, document)
    _check_tensors(folder, _stored(operator), tensors)
    # Only a frozen backbone may be missing: the names were compared above.
    operator.load_state_dict(tensors, strict=False)
    operator.eval().requires_grad_(False)
    _check_external(folder, operator, document)
    scorer = _read_scorer(folder, document)
    return Checkpoint(
        operator.to(device), document.streams, document.calibration, document, scorer
    )


def _read_scorer(folder: Path, document: CheckpointDocument) -> Scorer | None:
    try:
        features = action_features(document.streams)[0]
    except SpecError:
        features = ()
    return read_scorer(folder, document.model_id, features, document.modes, document.model)


def _read_document(folder: Path) -> CheckpointDocument:
    path = folder / DOCUMENT
    if not path.is_file():
        raise CheckpointError(f"{folder}: not a checkpoint: it has no {DOCUMENT}")
    _check_format(path)
    document = load_model(path, CheckpointDocument, CheckpointError)
    spec = document.streams
    for key, stated, derived in (
        ("layout", document.layout, spec.layout),
        ("cameras", document.cameras, spec.cameras),
        ("modes", document.modes, spec.failure_modes),
    ):
        if stated != derived:
            raise CheckpointError(f"{path}: '{key}' does not agree with 'streams'")
    # Keys that a later version added stand at their defaults, and are no change.
    if document.model_id != _model_id(document.weights_sha256, document.model, stated=True):
        raise CheckpointError(f"{path}: 'model' was changed after training; train again instead")
    return document


def _check_format(path: Path) -> None:
    """Name another version as such, before its keys are found unknown."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return  # load_model says what is wrong
    version = found.get("format") if isinstance(found, dict) else None
    if isinstance(version, str) and version != FORMAT:
        raise CheckpointError(
            f"{path}: format is '{version}', this version of pro_ros reads '{FORMAT}': use the "
            f"version that wrote it ({found.get('pro_ros_version', 'unknown')}) or train again"
        )


def _build(folder: Path, document: CheckpointDocument) -> Operator:
    # Initial weights are overwritten: the caller's random numbers must not depend on them.
    with torch.random.fork_rng(devices=[]):
        try:
            return build_operator(document.model, document.streams)
        except SpecError as exc:
            raise CheckpointError(f"{folder / DOCUMENT}: {exc}") from exc


def _read_weights(folder: Path, document: CheckpointDocument) -> dict[str, Tensor]:
    path = folder / WEIGHTS
    try:
        raw = path.read_bytes()
    except OSError as exc:
        raise CheckpointError(f"{path}: cannot be read: {exc.strerror}") from exc
    if hashlib.sha256(raw).hexdigest() != document.weights_sha256:
        raise CheckpointError(
            f"{path}: damaged: its SHA-256 is not the one in {DOCUMENT}; copy the checkpoint again"
        )
    try:
        tensors: dict[str, Tensor] = load_tensors(raw)
    except SafetensorError as exc:
        raise CheckpointError(f"{path}: not a safetensors file: {exc}") from exc
    return tensors


def _check_tensors(
    folder: Path, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]
) -> None:
    path = folder / WEIGHTS
    for name in expected.keys() | found.keys():
        if name not in found:
            raise CheckpointError(f"{path}: tensor '{name}' is missing")
        if name not in expected:
            raise CheckpointError(f"{path}: tensor '{name}' is not part of the model")
        wanted, given = expected[name], found[name]
        if wanted.shape != given.shape or wanted.dtype != given.dtype:
            raise CheckpointError(
                f"{path}: tensor '{name}' is {given.dtype} {tuple(given.shape)}, expected "
                f"{wanted.dtype} {tuple(wanted.shape)}"
            )


def _check_external(folder: Path, operator: Operator, document: CheckpointDocument) -> None:
    for part, found in _external(operator).items():
        stated = document.external.get(part)
        if stated is None or stated.sha256 != found.sha256:
            raise CheckpointError(
                f"{folder / DOCUMENT}: the {part} model '{found.model}' is not the one that this "
                "checkpoint was trained with (its weights differ)"
            )


def _stored(operator: Operator) -> dict[str, Tensor]:
    """Weights that belong into the checkpoint, on the CPU, in order of their names."""
    frozen = operator.config.visual.kind == "huggingface" and (
        not operator.config.visual.train_backbone
    )
    return {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in sorted(operator.state_dict().items())
        if not (frozen and name.startswith(FROZEN_BACKBONE))
    }


def _external(operator: Operator) -> dict[Literal["visual", "text"], ExternalModel]:
    """The frozen models that an operator uses."""
    found: dict[Literal["visual", "text"], ExternalModel] = {}
    config = operator.config
    if operator.visual is not None and not config.visual.train_backbone:
        backbone = operator.visual.backbone
        if isinstance(backbone, HuggingFaceBackbone):
            digest = huggingface.fingerprint(backbone.model)
            found["visual"] = ExternalModel(model=config.visual.model, sha256=digest)
    text = operator.text_encoder.fingerprint()
    if text is not None:
        found["text"] = ExternalModel(model=config.text.model, sha256=text)
    return found


def _model_id(weights_sha256: str, config: OperatorConfig, stated: bool = False) -> str:
    """Of weights and configuration; ``stated``: of those keys that a file gives."""
    content = json.dumps(config.model_dump(mode="json", exclude_unset=stated), sort_keys=True)
    return hashlib.sha256(f"{weights_sha256} {content}".encode()).hexdigest()[:12]


def _version() -> str:
    try:
        return metadata.version("pro_ros")
    except metadata.PackageNotFoundError:
        return "unknown (not installed)"


def _plain(value: Any) -> Any:
    """JSON's own types; numbers that are not finite, which it cannot hold, become None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
