"""Saving a training run so that it goes on after a kill as if nothing had happened.

Tensors are in one safetensors file, everything else in its header as JSON: nothing is pickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor
from torch.optim import Optimizer

from pro_ros.errors import CheckpointError
from pro_ros.files import atomic_file

FORMAT = "pro_ros/training-state/1"

_HINT = "forget it with --no-resume, or train into another folder"


def save_state(
    path: Path,
    modules: Mapping[str, Mapping[str, Tensor]],
    optimiser: Optimizer,
    progress: Mapping[str, Any],
    fingerprint: str,
) -> None:
    """Write the state of a run atomically.

    ``modules`` are state dicts by name, ``progress`` is JSON-serialisable (epoch, best loss),
    ``fingerprint`` identifies data and configuration.
    """
    tensors: dict[str, Tensor] = {
        f"{name}/{key}": tensor.detach().cpu().contiguous().clone()
        for name, state in modules.items()
        for key, tensor in state.items()
    }
    optimiser_state = optimiser.state_dict()
    for number, state in optimiser_state["state"].items():
        for key, tensor in state.items():
            tensors[f"optimiser/{number}/{key}"] = tensor.detach().cpu().contiguous().clone()
    header = {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "progress": json.dumps(dict(progress)),
    }
    with atomic_file(path) as temporary:
        # Written by us: the library wraps a full disk in an error of its own.
        temporary.write_bytes(serialise(tensors, metadata=header))


def load_state(
    path: Path,
    optimiser: Optimizer,
    fingerprint: str,
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Read a state, restoring ``optimiser``.

    Returns the modules' state dicts and the progress.

    Raises
    ------
    CheckpointError
        The file is damaged, or belongs to other data or another configuration.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as exc:
        raise CheckpointError(f"{path}: not a readable training state: {exc}; {_HINT}") from exc
    if header.get("format") != FORMAT:
        found = header.get("format")
        raise CheckpointError(f"{path}: expected format {FORMAT}, got {found}; {_HINT}")
    if header.get("fingerprint") != fingerprint:
        raise CheckpointError(f"{path}: belongs to other data or another configuration; {_HINT}")
    modules: dict[str, dict[str, Tensor]] = {}
    moments: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, _, rest = key.partition("/")
        if name == "optimiser":
            number, _, moment = rest.partition("/")
            moments.setdefault(int(number), {})[moment] = tensor
        else:
            modules.setdefault(name, {})[rest] = tensor
    state = optimiser.state_dict()
    state["state"] = moments
    optimiser.load_state_dict(state)
    return modules, json.loads(header["progress"])
