"""Decoders: a message or table columns of one stream into a :class:`Sample` in SI units.

Works on any object that has the message's attributes: what ``rosbags`` deserialises and what
rclpy delivers look the same here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from pro_ros.errors import DataError, SpecError, suggest
from pro_ros.streams.columns import read_columns
from pro_ros.streams.convert import Converter, LevelCodes
from pro_ros.streams.images import decode_image
from pro_ros.streams.sample import Sample
from pro_ros.streams.spec import FeatureSpec, StreamSpec

NAME_LISTS = ("name", "names", "joint_names", "dof_names")
"""Attributes of a message that say which element of its arrays belongs to which joint."""

Reader = Callable[[Any], Sequence[float]]


class Decoder:
    """Turns messages or table columns of one stream into samples.

    Parameters
    ----------
    name
        Name of the stream, carried by its samples and named in errors.
    spec
        Its entry in the stream file.

    Attributes
    ----------
    infinite
        How many values were infinite; they are treated as missing (NaN).

    Raises
    ------
    SpecError
        A unit is unknown or does not fit (:func:`pro_ros.streams.units.affine`).
    """

    def __init__(self, name: str, spec: StreamSpec) -> None:
        self.name = name
        self.spec = spec
        self.converter = Converter(name, spec)
        self._readers = [_feature_reader(self, feature) for feature in spec.features]
        self._index: dict[tuple[str, ...], dict[str, int]] = {}

    @property
    def infinite(self) -> int:
        """How many infinite values were treated as missing."""
        return self.converter.infinite

    def decode(self, message: object, receipt_ns: int) -> Sample:
        """Decode one message.

        Parameters
        ----------
        message
            Any object with the attributes of the stream's message type.
        receipt_ns
            When it was received [ns since the epoch].

        Returns
        -------
        Sample
            Values float64 ``[F]`` in SI units, NaN where the message has none; or the frame
            uint8 ``[H, W, 3]`` of a visual stream.

        Raises
        ------
        DataError
            A field, a joint or a level is not what the stream file says; the header's stamp is
            unset or there is no header while the stream's clock is ``header``.
        """
        stamp_ns = receipt_ns if self.spec.clock == "receipt" else self.stamp_ns(message)
        if self.spec.image is not None:
            return Sample(
                self.name, receipt_ns, stamp_ns, decode_image(message, self.spec.image, self.name)
            )
        raw: list[float] = []
        for reader in self._readers:
            raw.extend(reader(message))
        values = self.converter.convert(np.array(raw, dtype=np.float64))
        return Sample(self.name, receipt_ns, stamp_ns, values)

    def stamp_ns(self, message: object) -> int:
        """The header's stamp [ns]; an absent or unset one is said, not guessed."""
        stamp = getattr(getattr(message, "header", None), "stamp", None)
        if stamp is None:
            raise DataError(
                f"stream '{self.name}': {_type_name(message)} has no header: set 'clock: receipt'"
            )
        stamp_ns = int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
        if stamp_ns == 0:
            raise DataError(
                f"stream '{self.name}': the header's stamp is unset (0): set 'clock: receipt'"
            )
        return stamp_ns

    def convert_columns(self, array: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Source values ``[N, F_source]`` to features ``[N, F]`` in SI units.

        One source column per value that is read; that of a feature with ``levels`` holds the
        position of its level in the list, or NaN.
        """
        return self.converter.convert(np.asarray(array, dtype=np.float64))

    def decode_columns(self, columns: Mapping[str, Any]) -> npt.NDArray[np.float64]:
        """Table columns to features float64 ``[N, F]`` in SI units.

        Parameters
        ----------
        columns
            Array of ``N`` values per column name, as the table has them: numbers, booleans, or
            objects (numbers, texts, None).

        Raises
        ------
        DataError
            A column is missing, or a value is not a number or not a known level; names the
            column and the first such value.
        """
        return self.converter.convert(read_columns(self.name, self.spec, columns))

    def joints(self, names: Sequence[str]) -> dict[str, int]:
        """Position of each joint in the arrays of a message with this list of names."""
        key = tuple(names)
        index = self._index.get(key)
        if index is None:
            index = {name: i for i, name in enumerate(key)}
            # A robot has one or two orders of joints; a source with ever new ones is not cached.
            if len(self._index) < 64:
                self._index[key] = index
        return index


def _feature_reader(decoder: Decoder, feature: FeatureSpec) -> Reader:
    """A function that reads the source values of one feature from a message."""
    where = f"stream '{decoder.name}', feature '{feature.name}'"
    path = feature.field
    if path is None:

        def no_field(message: Any) -> Sequence[float]:
            raise SpecError(f"{where} has 'columns' only: add 'field' to read it from messages")

        return no_field
    if feature.levels:
        return _level_reader(decoder.converter.level_codes(feature), path, where)
    if feature.names:
        return _names_reader(decoder, feature.names, path, where)
    if feature.index or feature.count > 1:
        index = feature.index or tuple(range(feature.count))
        parts = path.split(".")

        def read_elements(message: Any) -> Sequence[float]:
            return _by_index(_resolve(message, parts, where), index, path, where)

        return read_elements
    return _number_reader((path,), where)


def _level_reader(codes: LevelCodes, path: str, where: str) -> Reader:
    parts = path.split(".")

    def read_level(message: Any) -> Sequence[float]:
        return (codes.code(_resolve(message, parts, where), where),)

    return read_level


def _names_reader(decoder: Decoder, names: tuple[str, ...], path: str, where: str) -> Reader:
    parts = path.split(".")
    read_fields = _number_reader(tuple(f"{path}.{name}" for name in names), where)

    def read_names(message: Any) -> Sequence[float]:
        listed = _name_list(message)
        if listed is not None:
            value = _resolve(message, parts, where)
            if _is_array(value):
                return _by_name(value, decoder.joints(listed), len(listed), names, path, where)
        return read_fields(message)

    return read_names


def _number_reader(paths: tuple[str, ...], where: str) -> Reader:
    """Reads numbers by path: at once, or one by one where that fails, to say which."""
    parts = [path.split(".") for path in paths]

    def read_each(message: Any) -> Sequence[float]:
        return [
            _number(_resolve(message, part, where), path, where)
            for part, path in zip(parts, paths, strict=True)
        ]

    if any(part.isdigit() for path in parts for part in path):
        return read_each
    # With one path attrgetter returns the value itself, with several a tuple.
    getter = attrgetter(*paths, *paths[:1])

    def read_numbers(message: Any) -> Sequence[float]:
        try:
            values: tuple[Any, ...] = getter(message)[: len(paths)]
        except AttributeError:
            return read_each(message)
        if all(type(value) is float for value in values):
            return values
        return read_each(message)

    return read_numbers


def _resolve(message: Any, parts: Sequence[str], where: str) -> Any:
    """Follow a field path; a numeric part is the position in an array of messages."""
    value = message
    for part in parts:
        try:
            value = value[int(part)] if part.isdigit() else getattr(value, part)
        except (AttributeError, IndexError, TypeError):
            shown = ".".join(parts)
            raise DataError(
                f"{where}: {_type_name(value)} has no '{part}' (field '{shown}')"
                f"{_near_field(value, part)}"
            ) from None
    return value


def _near_field(value: Any, part: str) -> str:
    known = _fields(value)
    near = suggest(part, known)
    return near or (f" (it has: {', '.join(known)})" if known else "")


def _fields(value: Any) -> list[str]:
    """Field names of a message object, of rosbags (dataclass) or rclpy."""
    getter = getattr(value, "get_fields_and_field_types", None)
    if getter is not None:
        return list(getter())
    if hasattr(value, "__dataclass_fields__"):
        return [n for n in value.__dataclass_fields__ if not n.startswith("_")]
    return [n for n in getattr(value, "__dict__", {}) if not n.startswith("_")]


def _type_name(value: Any) -> str:
    name = getattr(value, "__msgtype__", None) or type(value).__name__
    return "an array" if _is_array(value) else str(name)


def _is_array(value: Any) -> bool:
    return not isinstance(value, str | bytes) and hasattr(value, "__len__")


def _name_list(message: Any) -> Sequence[str] | None:
    """The message's list of joint names, if it has one."""
    for attribute in NAME_LISTS:
        listed = getattr(message, attribute, None)
        if listed is not None and _is_array(listed):
            return tuple(listed)
    return None


def _by_name(
    value: Any, index: dict[str, int], count: int, names: Sequence[str], path: str, where: str
) -> Sequence[float]:
    """Elements of a joint array by joint name; an empty array has no value for any joint."""
    try:
        positions = [index[name] for name in names]
    except KeyError as exc:
        joint = exc.args[0]
        raise DataError(
            f"{where}: the message has no joint '{joint}'{suggest(joint, index)}"
            f" (it has: {', '.join(index) or 'none'})"
        ) from None
    if len(value) == 0:
        return [np.nan] * len(names)
    if len(value) != count:
        raise DataError(f"{where}: '{path}' has {len(value)} values for {count} joint names")
    return [_number(value[i], path, where) for i in positions]


def _by_index(value: Any, index: Sequence[int], path: str, where: str) -> Sequence[float]:
    """Elements of an array by position; an empty array has no value."""
    if not _is_array(value):
        raise DataError(f"{where}: '{path}' is {_type_name(value)}, expected an array")
    if len(value) == 0:
        return [np.nan] * len(index)
    for i in index:
        if not -len(value) <= i < len(value):
            raise DataError(f"{where}: '{path}' has {len(value)} elements, none at index {i}")
    return [_number(value[i], path, where) for i in index]


def _number(value: Any, path: str, where: str) -> float:
    if isinstance(value, float | int | np.number | np.bool_):
        return float(value)
    if _is_array(value):
        raise DataError(
            f"{where}: '{path}' is an array of {len(value)}, expected a number:"
            " give 'index' or 'names'"
        )
    shown = repr(value) if isinstance(value, str) else _type_name(value)
    more = _near_field(value, "") if not isinstance(value, str) else ""
    raise DataError(f"{where}: '{path}' is {shown}, expected a number{more}")
