"""Source values to features: units, vacuum and enumerations, for one sample or many rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pro_ros.errors import DataError, suggest
from pro_ros.streams.spec import FeatureSpec, StreamSpec
from pro_ros.streams.units import Affine, affine
from pro_ros.streams.vacuum import to_absolute


class LevelCodes:
    """Values of an enumeration and their positions in ``levels``."""

    def __init__(self, levels: tuple[str | int | float, ...]) -> None:
        self.levels = levels
        self.texts = {v: i for i, v in enumerate(levels) if isinstance(v, str)}
        self.numbers = {float(v): i for i, v in enumerate(levels) if not isinstance(v, str)}

    def code(self, value: Any, where: str) -> float:
        """Position of ``value`` in the levels; NaN for a missing value (None or NaN).

        Raises
        ------
        DataError
            The value is none of the levels; the message lists them.
        """
        if value is None:
            return np.nan
        if isinstance(value, str):
            position = self.texts.get(value)
            if position is None and self.numbers:
                try:
                    position = self.numbers.get(float(value))
                except ValueError:
                    position = None
        else:
            try:
                number = float(value)
            except (TypeError, ValueError):
                raise DataError(
                    f"{where}: expected one of its levels, got {type(value).__name__}"
                ) from None
            if number != number:
                return np.nan
            position = self.numbers.get(number)
        if position is None:
            known = [str(level) for level in self.levels]
            shown = value.item() if isinstance(value, np.generic) else value
            raise DataError(
                f"{where}: unknown level {shown!r}{suggest(str(shown), known)}"
                f" (known: {', '.join(known)})"
            )
        return float(position)


class Converter:
    """Source values of one stream to its features in SI units.

    Attributes
    ----------
    scale, offset
        float64 ``[F_source]``: ``si = scale * x + offset``, 1 and 0 for features with levels.
    units
        SI unit of every raw channel, in order.
    infinite
        How many values were infinite and became missing.
    """

    def __init__(self, name: str, spec: StreamSpec) -> None:
        self.name = name
        self.spec = spec
        self.infinite = 0
        scale: list[float] = []
        offset: list[float] = []
        units: list[str] = []
        self._levels: dict[int, int] = {}
        for feature in spec.features:
            where = f"stream '{name}', feature '{feature.name}'"
            unit = _feature_affine(feature, where)
            if feature.levels:
                self._levels[len(scale)] = len(feature.levels)
            scale.extend([unit.scale] * feature.count)
            offset.extend([unit.offset] * feature.count)
            units.extend([unit.si] * len(feature.channels))
        self.scale = np.array(scale)
        self.offset = np.array(offset)
        self.units = tuple(units)
        self.identity = bool(np.all(self.scale == 1.0) and np.all(self.offset == 0.0))

    @property
    def has_levels(self) -> bool:
        """Whether a source value becomes several features."""
        return bool(self._levels)

    def level_codes(self, feature: FeatureSpec) -> LevelCodes:
        """The table from values to positions of a feature with levels."""
        return LevelCodes(feature.levels)

    def convert(self, source: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Source values ``[..., F_source]`` to features ``[..., F]``; infinite becomes NaN."""
        # reduce costs half of what the method all does on the few values of a message.
        if not np.logical_and.reduce(np.isfinite(source), axis=None):
            infinite = np.isinf(source)
            count = int(infinite.sum())
            if count:
                self.infinite += count
                source = np.where(infinite, np.nan, source)
        if not self.identity:
            # A value near the largest double may overflow; a step then has it as absent.
            with np.errstate(over="ignore"):
                source = source * self.scale + self.offset
        return self._one_hot(source) if self._levels else source

    def _one_hot(self, source: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        parts: list[npt.NDArray[np.float64]] = []
        for i in range(source.shape[-1]):
            column = source[..., i : i + 1]
            count = self._levels.get(i)
            if count is None:
                parts.append(column)
            else:
                hot = (column == np.arange(count)).astype(np.float64)
                parts.append(np.where(np.isnan(column), np.nan, hot))
        return np.concatenate(parts, axis=-1)


def _feature_affine(feature: FeatureSpec, where: str) -> Affine:
    if feature.levels:
        return Affine(1.0, 0.0, "1")
    if feature.vacuum is not None:
        return to_absolute(feature.vacuum, feature.unit, where)
    return affine(feature.unit, where)
