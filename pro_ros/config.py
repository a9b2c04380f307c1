"""Configuration files: one strict base model, one loader, one-line errors.

Every YAML or JSON file a user writes is read through :func:`load_model`, so that a misspelt key,
a wrong type or a value out of range is reported with its file, its place and, for keys, the
nearest known one.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from pro_ros.errors import ProError, SpecError, suggest


class _Loader(yaml.SafeLoader):
    """Safe YAML in which only true and false are booleans (YAML 1.2), so that ``on:`` is a key."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


class StrictModel(BaseModel):
    """A pydantic model that refuses keys it does not know and cannot be changed once built."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


ModelT = TypeVar("ModelT", bound=BaseModel)


def load_model(path: Path | str, model: type[ModelT], error: type[ProError] = SpecError) -> ModelT:
    """Read a YAML or JSON file into ``model``.

    Raises
    ------
    ProError
        of class ``error``: the file is missing, is not YAML, or does not fit the model. One line
        that names the file, the place in it and what was expected.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "not a text file"
        raise error(f"{path}: cannot be read: {reason}") from exc
    try:
        raw = json.loads(text) if path.suffix == ".json" else yaml.load(text, _Loader)
    except (yaml.YAMLError, json.JSONDecodeError) as exc:
        mark = getattr(exc, "problem_mark", None)
        line = mark.line + 1 if mark is not None else getattr(exc, "lineno", 1)
        problem = getattr(exc, "problem", None) or getattr(exc, "msg", "syntax error")
        raise error(f"{path}:{line}: not valid {path.suffix[1:] or 'YAML'}: {problem}") from exc
    return parse_model(raw, model, str(path), error)


def parse_model(
    raw: Any, model: type[ModelT], where: str, error: type[ProError] = SpecError
) -> ModelT:
    """Validate an already parsed document; ``where`` names its origin in error messages."""
    if not isinstance(raw, dict):
        raise error(f"{where}: expected a mapping of keys, got {type(raw).__name__}")
    try:
        return model.model_validate(raw)
    except ValidationError as exc:
        raise error(f"{where}: {_one_line(exc, model, raw)}") from exc


def _one_line(exc: ValidationError, model: type[BaseModel], raw: Any) -> str:
    """Say the first fault of a validation error in one line, and how many more there are."""
    faults = exc.errors(include_url=False)
    # A misspelt key is usually the cause of the others: name it first.
    fault = next((f for f in faults if f["type"] == "extra_forbidden"), faults[0])
    place = _place(fault["loc"])
    if fault["type"] == "extra_forbidden":
        key = str(fault["loc"][-1])
        known = _known_keys(model, fault["loc"][:-1])
        text = f"unknown key '{place}'{suggest(key, known)}"
        if known and "did you mean" not in text:
            text += f" (known: {', '.join(sorted(known))})"
    elif fault["type"] == "missing":
        text = f"missing key '{place}'"
    else:
        message = fault["msg"].removeprefix("Value error, ")
        given = fault.get("input")
        shown = f", got {given!r}" if isinstance(given, str | int | float | bool) else ""
        text = f"{place}: {message}{shown}" if place else message
    more = len(faults) - 1
    return text + (f" (and {more} more)" if more else "")


def _place(loc: tuple[int | str, ...]) -> str:
    """``("streams", "a", "features", 0)`` becomes ``streams.a.features[0]``."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else str(part))
    return text


def _known_keys(model: type[BaseModel], loc: tuple[int | str, ...]) -> set[str]:
    """The keys that the sub-model at ``loc`` knows, for the suggestion of the near one."""
    models: list[type[BaseModel]] = [model]
    for part in loc:
        found: list[type[BaseModel]] = []
        for candidate in models:
            info = candidate.model_fields.get(str(part))
            if info is not None:
                found.extend(_models_in(info.annotation))
        # A key of a dict or an index of a list: the model stays that of its values.
        models = found or models
    return {name for m in models for name in m.model_fields}


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """All pydantic models named in a type annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for arg in getattr(annotation, "__args__", ()) for m in _models_in(arg)]
