"""The scorer in a checkpoint folder: ``scorer.safetensors`` and ``scorer.json``.

They stand beside the operator's two files and change nothing in them: the same operator has the
same model id with and without a scorer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from pro_ros.config import load_model
from pro_ros.errors import CheckpointError
from pro_ros.model.config import OperatorConfig
from pro_ros.model.scorer import Scorer, ScorerDocument
from pro_ros.model.scorer_config import ScoringConfig
from pro_ros.streams.sample import FloatArray

SCORER_DOCUMENT = "scorer.json"
SCORER_WEIGHTS = "scorer.safetensors"

UNNAMED = "unsaved"
"""Stands for the ids and the digest of a scorer that was not written yet."""


def write_scorer(folder: Path, scorer: Scorer, model_id: str) -> ScorerDocument:
    """Write a scorer into a checkpoint folder that is being made."""
    weights = save_arrays({k: np.ascontiguousarray(v) for k, v in sorted(scorer.arrays.items())})
    named = scorer.document.model_copy(
        update={"model_id": model_id, "weights_sha256": hashlib.sha256(weights).hexdigest()}
    )
    document = named.model_copy(update={"scorer_id": _scorer_id(named)})
    text = json.dumps(document.model_dump(mode="json"), indent=1, allow_nan=False)
    (folder / SCORER_WEIGHTS).write_bytes(weights)
    (folder / SCORER_DOCUMENT).write_text(text + "\n", encoding="utf-8")
    return document


def read_scorer(
    folder: Path,
    model_id: str,
    features: tuple[str, ...],
    modes: tuple[str, ...],
    operator: OperatorConfig,
) -> Scorer | None:
    """Read the scorer of a checkpoint folder; None where it has none.

    Parameters
    ----------
    model_id, features, modes, operator
        What the checkpoint says of itself.

    Raises
    ------
    CheckpointError
        It is damaged, contradicts itself, or was fitted to another operator.
    """
    path = folder / SCORER_DOCUMENT
    if not path.is_file():
        if (folder / SCORER_WEIGHTS).exists():
            raise CheckpointError(f"{folder}: has {SCORER_WEIGHTS} but no {SCORER_DOCUMENT}")
        return None
    document = load_model(path, ScorerDocument, CheckpointError)
    for key, stated, expected in (
        ("model_id", document.model_id, model_id),
        ("features", document.features, features),
        ("modes", document.modes, modes),
        ("horizons", document.horizons, operator.horizons),
    ):
        if stated != expected:
            raise CheckpointError(
                f"{path}: '{key}' is not that of the operator beside it: the scorer belongs to "
                "another checkpoint"
            )
    if document.scorer_id != _scorer_id(document):
        raise CheckpointError(f"{path}: was changed after training; train again instead")
    arrays = _read_weights(folder / SCORER_WEIGHTS, document)
    expected_shapes = shapes(document, operator)
    for name in sorted(expected_shapes.keys() | arrays.keys()):
        if name not in arrays:
            raise CheckpointError(f"{folder / SCORER_WEIGHTS}: tensor '{name}' is missing")
        wanted = expected_shapes.get(name)
        if wanted is None:
            raise CheckpointError(
                f"{folder / SCORER_WEIGHTS}: tensor '{name}' is not part of the scorer"
            )
        found = arrays[name].shape
        if len(found) != len(wanted) or any(
            w is not None and w != f for w, f in zip(wanted, found, strict=True)
        ):
            raise CheckpointError(
                f"{folder / SCORER_WEIGHTS}: tensor '{name}' is {found}, expected {wanted}"
            )
    return Scorer(document, arrays)


def shapes(
    document: ScorerDocument, operator: OperatorConfig
) -> dict[str, tuple[int | None, ...]]:
    """Shape of each tensor; None where the data decide."""
    config: ScoringConfig = document.config
    size, points = len(document.features), config.points
    hazards = len(document.modes) * len(document.horizons)
    known = operator.members * operator.latent_width + 3 + hazards
    outputs = 2 + hazards
    side = config.members * config.hidden
    compared = (points + 1) * size
    found: dict[str, tuple[int | None, ...]] = {
        "inputs.mean": (known,),
        "inputs.deviation": (known,),
        "command.mean": (size,),
        "command.deviation": (size,),
        "change.deviation": (points, size),
        "progress": (2,),
        "skip": (outputs - 1,),
        "support.mean": (compared,),
        "support.directions": (compared, compared),
        "support.kept": (document.support.kept, None),
        "support.typical": (2,),
        "effect.chunk": (2 * points * size, side),
    }
    for name in ("base", "effect"):
        found |= {
            f"{name}.situation": (known + size + 1, side),
            f"{name}.bias": (side,),
            f"{name}.inner": (config.members, config.hidden, config.hidden),
            f"{name}.inner_bias": (config.members, 1, config.hidden),
            f"{name}.leave": (config.members, config.hidden, outputs),
            f"{name}.leave_bias": (config.members, 1, outputs),
        }
    return found


def _read_weights(path: Path, document: ScorerDocument) -> Mapping[str, FloatArray]:
    try:
        raw = path.read_bytes()
    except OSError as exc:
        raise CheckpointError(f"{path}: cannot be read: {exc.strerror}") from exc
    if hashlib.sha256(raw).hexdigest() != document.weights_sha256:
        raise CheckpointError(
            f"{path}: damaged: its SHA-256 is not the one in {SCORER_DOCUMENT}; copy the "
            "checkpoint again"
        )
    try:
        arrays: dict[str, FloatArray] = load_arrays(raw)
    except SafetensorError as exc:
        raise CheckpointError(f"{path}: not a safetensors file: {exc}") from exc
    return arrays


def _scorer_id(document: ScorerDocument) -> str:
    content = document.model_dump(mode="json", exclude={"scorer_id"})
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
