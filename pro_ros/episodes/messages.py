"""Standard messages from table values: the reverse of what the decoder does."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from rosbags.interfaces import Nodetype
from rosbags.typesys.store import Typestore

from pro_ros.episodes.fixed_units import check_unit
from pro_ros.errors import DataError, SpecError, suggest
from pro_ros.streams.decode import NAME_LISTS
from pro_ros.streams.spec import FeatureSpec, StreamSpec

_INTEGERS = {
    name: (int(np.iinfo(name).min), int(np.iinfo(name).max))
    for name in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
} | {"byte": (0, 255), "char": (0, 255), "octet": (0, 255)}
_HEADER = "std_msgs/msg/Header"

Put = Callable[[Sequence[float]], None]


class MessageBuilder:
    """Messages of one topic from the source values of the streams that read it.

    Values are written unchanged, in the unit that the stream file declares, so that reading the
    bag through the same file gives what reading the table gives. A missing value becomes NaN; a
    field that cannot hold NaN refuses it. Fields that no feature names hold NaN, their zero where
    they are no floats, and for covariances what means "unknown" (-1 first, sensor_msgs/Imu).

    Parameters
    ----------
    msgtype
        Type known to ``store``.
    streams
        The streams of the topic by name; their source values follow each other in this order.

    Raises
    ------
    SpecError
        The type is unknown, has no such field, or fixes another unit; two features write the
        same field; a stream's clock is ``header`` but the type has none.
    """

    def __init__(self, store: Typestore, msgtype: str, streams: Mapping[str, StreamSpec]) -> None:
        self._store = store
        self.msgtype = msgtype
        first = next(iter(streams))
        if msgtype not in store.fielddefs:
            raise SpecError(
                f"stream '{first}': message type {msgtype} is unknown"
                f"{suggest(msgtype, store.fielddefs)}"
            )
        self._fields = dict(store.fielddefs[msgtype][1])
        self._has_header = self._fields.get("header", (0, ""))[1] == _HEADER
        self._message = blank(store, msgtype)
        self._used: set[str] = set()
        self._names = self._joint_names(streams)
        self._puts: list[Put] = []
        at = 0
        for name, stream in streams.items():
            if stream.clock == "header" and not self._has_header:
                raise SpecError(f"stream '{name}': {msgtype} has no header: set 'clock: receipt'")
            for feature in stream.features:
                where = f"stream '{name}', feature '{feature.name}'"
                self._puts.extend(self._put(feature, at, where))
                at += feature.count
        self._finish(first)

    def serialise(self, t_ns: int, source: Sequence[float], place: str) -> memoryview:
        """The message's bytes in CDR.

        Parameters
        ----------
        t_ns
            Time of the row, written to the header's stamp if there is one [ns].
        source
            Source values of all streams; positions for features with levels.
        place
            File and row, for the error message.

        Raises
        ------
        DataError
            A value does not fit its field, or the time does not fit a stamp.
        """
        try:
            for put in self._puts:
                put(source)
        except ValueError as exc:
            raise DataError(f"{place}: {exc}") from None
        if self._has_header:
            sec, nanosec = divmod(t_ns, 1_000_000_000)
            if t_ns <= 0 or sec >= 2**31:
                raise DataError(
                    f"{place}: time {sec} s does not fit a header's stamp (after 1970, before"
                    " 2038): set table.start"
                )
            stamp = self._message.header.stamp
            stamp.sec, stamp.nanosec = sec, nanosec
        return self._store.serialize_cdr(self._message, self.msgtype)

    def _joint_names(self, streams: Mapping[str, StreamSpec]) -> list[str]:
        """All names in order of appearance, where the type lists the names of its elements."""
        self._name_field = next((n for n in NAME_LISTS if n in self._fields), None)
        if self._name_field is None:
            return []
        names: dict[str, None] = {}
        for stream in streams.values():
            for feature in stream.features:
                field = self._fields.get(feature.field or "")
                if field is not None and field[0] in (Nodetype.SEQUENCE, Nodetype.ARRAY):
                    names.update(dict.fromkeys(feature.names))
        setattr(self._message, self._name_field, list(names))
        return list(names)

    def _put(self, feature: FeatureSpec, at: int, where: str) -> Iterator[Put]:
        """What writes a feature's source values, which begin at position ``at``."""
        if feature.field is None:
            raise SpecError(f"{where} has 'columns' only: add the 'field' that a bag has it in")
        if feature.levels:
            yield self._put_level(feature, at, where)
            return
        holder, last, kind = self._resolve(feature.field, feature, where)
        if kind[0] in (Nodetype.SEQUENCE, Nodetype.ARRAY):
            yield self._put_array(feature, at, holder, last, kind, where)
            return
        if feature.names:
            if kind[0] != Nodetype.NAME:
                raise SpecError(f"{where}: '{feature.field}' has no sub-fields for 'names'")
            for i, name in enumerate(feature.names):
                yield self._put_scalar(f"{feature.field}.{name}", feature, at + i, where)
            return
        yield self._put_scalar(feature.field, feature, at, where)

    def _put_scalar(self, path: str, feature: FeatureSpec, at: int, where: str) -> Put:
        holder, last, kind = self._resolve(path, feature, where)
        self._claim(path, where)
        convert = _converter(kind, f"{where}: '{path}'")

        def put(source: Sequence[float]) -> None:
            setattr(holder, last, convert(source[at]))

        return put

    def _put_level(self, feature: FeatureSpec, at: int, where: str) -> Put:
        assert feature.field is not None
        holder, last, kind = self._resolve(feature.field, feature, where)
        self._claim(feature.field, where)
        text = kind[0] == Nodetype.BASE and kind[1][0] == "string"
        values: list[Any] = []
        for level in feature.levels:
            if text != isinstance(level, str):
                held = "text" if text else "numbers"
                raise SpecError(f"{where}: '{feature.field}' holds {held}, not {level!r}")
            check = str if text else _converter(kind, f"{where}: '{feature.field}'")
            try:
                values.append(check(level))
            except ValueError as exc:
                raise SpecError(str(exc)) from None

        def put(source: Sequence[float]) -> None:
            if math.isnan(source[at]):
                raise ValueError(f"{where}: no level, and '{feature.field}' cannot say so")
            setattr(holder, last, values[int(source[at])])

        return put

    def _put_array(
        self, feature: FeatureSpec, at: int, holder: Any, last: str, kind: Any, where: str
    ) -> Put:
        """Elements of an array of numbers, by joint name or by position."""
        element, size = kind[1]
        if element[0] != Nodetype.BASE or element[1][0] == "string":
            raise SpecError(f"{where}: '{feature.field}' is no array of numbers")
        if feature.names and self._name_field is not None:
            positions = [self._names.index(n) for n in feature.names]
            length = len(self._names)
        else:
            positions = list(feature.index or range(feature.count))
            length = max(positions) + 1
        if min(positions) < 0 or (kind[0] == Nodetype.ARRAY and max(positions) >= size):
            raise SpecError(f"{where}: '{feature.field}' has no index {min(positions)}")
        dtype = _dtype(element[1][0])
        have = getattr(holder, last)
        if kind[0] == Nodetype.SEQUENCE and len(have) < length:
            grown = np.full(length, np.nan if dtype.kind == "f" else 0, dtype=dtype)
            grown[: len(have)] = have
            setattr(holder, last, grown)
        for position in positions:
            self._claim(f"{feature.field}[{position}]", where)
        convert = _converter(element, f"{where}: '{feature.field}'")

        def put(source: Sequence[float]) -> None:
            array = getattr(holder, last)
            for i, position in enumerate(positions):
                array[position] = convert(source[at + i])

        return put

    def _claim(self, path: str, where: str) -> None:
        if path in self._used:
            raise SpecError(f"{where}: another feature of the topic already writes '{path}'")
        self._used.add(path)

    def _resolve(self, path: str, feature: FeatureSpec, where: str) -> tuple[Any, str, Any]:
        """The object that holds the field at ``path``, the field's name there, and its type."""
        message, msgtype = self._message, self.msgtype
        *parents, last = path.split(".")
        rest = [*parents, last]
        for depth, part in enumerate(rest):
            fields = dict(self._store.fielddefs[msgtype][1])
            if part not in fields:
                near = suggest(part, fields) or f" (it has: {', '.join(fields)})"
                raise SpecError(f"{where}: {msgtype} has no field '{part}'{near}")
            check_unit(msgtype, ".".join(rest[depth:]), feature, where)
            kind = fields[part]
            if depth == len(parents):
                return message, part, kind
            if kind[0] != Nodetype.NAME:
                raise SpecError(f"{where}: '{part}' in '{path}' is no message that can be filled")
            message, msgtype = getattr(message, part), kind[1]
        raise AssertionError("unreachable: the last part returns")

    def _finish(self, stream: str) -> None:
        """What a message needs beside its values, once it is known which fields are used."""
        roots = {path.partition(".")[0].partition("[")[0] for path in self._used}
        for name in self._fields:
            measured = name.removesuffix("_covariance")
            if measured != name and measured in self._fields and measured not in roots:
                getattr(self._message, name)[0] = -1.0
        layout = getattr(self._message, "layout", None)
        if self.msgtype.endswith("MultiArray") and layout is not None:
            size = len(self._message.data)
            dimension = self._store.types["std_msgs/msg/MultiArrayDimension"]
            layout.dim = [dimension(label=stream, size=size, stride=size)]


def _converter(kind: Any, where: str) -> Callable[[Any], Any]:
    """What turns a number into the value of a field; ``ValueError`` where it does not fit."""
    name = kind[1][0] if kind[0] == Nodetype.BASE else None
    if name in ("float64", "float32"):
        limit = float(np.finfo(name).max)

        def to_float(value: Any) -> float:
            if math.isfinite(value) and abs(value) > limit:
                raise ValueError(f"{where}: {value!r} does not fit {name}")
            return float(value)

        return to_float
    if name == "bool":
        low, high = 0, 1
    elif name in _INTEGERS:
        low, high = _INTEGERS[name]
    else:
        raise SpecError(f"{where} is no number" + (": give 'levels'" if name == "string" else ""))

    def to_integer(value: Any) -> Any:
        if math.isnan(value):
            raise ValueError(
                f"{where}: no value, and {name} cannot say so: give the feature its own stream"
            )
        if value != value // 1 or not low <= value <= high:
            raise ValueError(f"{where}: {value!r} does not fit {name}")
        return bool(value) if name == "bool" else int(value)

    return to_integer


def _dtype(base: str) -> np.dtype[Any]:
    """NumPy's type of a ROS number type."""
    return np.dtype("uint8" if base in ("char", "byte", "octet") else base)


def blank(store: Typestore, msgtype: str) -> Any:
    """A message in which nothing is said: NaN, empty text, empty and zero arrays."""
    values = {name: _blank_field(store, name, kind) for name, kind in store.fielddefs[msgtype][1]}
    return store.types[msgtype](**values)


def _blank_field(store: Typestore, name: str, kind: Any) -> Any:
    if kind[0] == Nodetype.NAME:
        return blank(store, kind[1])
    # By convention zero means "not known" for variances and covariances.
    nothing = 0.0 if "variance" in name else math.nan
    if kind[0] == Nodetype.BASE:
        base = kind[1][0]
        if base == "string":
            return ""
        return nothing if base.startswith("float") else (False if base == "bool" else 0)
    element, size = kind[1]
    size = size if kind[0] == Nodetype.ARRAY else 0
    if element[0] == Nodetype.NAME:
        return [blank(store, element[1]) for _ in range(size)]
    base = element[1][0]
    if base == "string":
        return [""] * size
    dtype = _dtype(base)
    return np.full(size, nothing if dtype.kind == "f" else 0, dtype=dtype)
