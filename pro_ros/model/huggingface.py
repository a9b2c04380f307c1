"""Loading models of the transformers library (extra ``huggingface``), with errors of one line."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any, TypeVar

from torch import nn

from pro_ros.errors import SpecError

LoadedT = TypeVar("LoadedT")


def transformers(key: str) -> ModuleType:
    """Import the library; ``key`` is the configuration key that asks for it."""
    try:
        return import_module("transformers")
    except ImportError as exc:
        raise SpecError(
            f"{key}: kind huggingface needs the extra: pip install 'pro_ros[huggingface]'"
        ) from exc


def load(key: str, name: str, loader: Callable[..., LoadedT], **options: Any) -> LoadedT:
    """Call a ``from_pretrained`` function.

    Raises
    ------
    SpecError
        there is no such model, it cannot be reached, or it is damaged.
    """
    log = logging.getLogger("transformers.modeling_utils")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        return loader(name, **options)
    except Exception as exc:
        # The library has no common base of its errors, and lets those of others through.
        reason = next((line.strip() for line in str(exc).splitlines() if line.strip()), "")
        raise SpecError(
            f"{key}: model '{name}' cannot be loaded: {reason or type(exc).__name__}"
        ) from exc
    finally:
        log.setLevel(level)


def load_model(key: str, name: str, part: str) -> nn.Module:
    """Load a model, or its ``part`` (``vision_model``, ``text_model``) where it has several.

    Weights are read from safetensors only: nothing is unpickled.
    """
    library = transformers(key)
    model = load(key, name, library.AutoModel.from_pretrained, use_safetensors=True)
    found: nn.Module = getattr(model, part, model)
    return found.float().eval()


def fingerprint(model: nn.Module) -> str:
    """SHA-256 over names, shapes and values of all weights, in hexadecimal."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
