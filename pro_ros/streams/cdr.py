"""Read only the needed numbers of a message, straight from its CDR bytes.

Deserialising a whole message costs several times what its few numbers do, and replay must keep
up with half the speed of deserialising alone (benchmarks/). For each stream a small function is
generated from the message definition, as ``rosbags`` does for whole messages: what comes before
a needed field is skipped by offset, what comes after the last one is not touched.

What is out of the ordinary (an array of another length, an unknown level, a message that is
big-endian or truncated) goes through the full deserialiser and
:class:`~pro_ros.streams.decode.Decoder`, so that values and errors are the same.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from operator import itemgetter
from typing import Any

import numpy as np
from rosbags.interfaces import Nodetype
from rosbags.serde import SerdeError

from pro_ros.errors import DataError
from pro_ros.streams.cdr_emit import Emitter, Path, UnsupportedError
from pro_ros.streams.decode import NAME_LISTS, Decoder
from pro_ros.streams.sample import Sample
from pro_ros.streams.spec import FeatureSpec

CdrReader = Callable[[bytes | memoryview, int], Sample]

_SEC: Path = ("header", "stamp", "sec")
_NANOSEC: Path = ("header", "stamp", "nanosec")


def compile_reader(msgtype: str, typestore: Any, decoder: Decoder) -> CdrReader | None:
    """Make a function that reads one stream's sample from the bytes of a message.

    Parameters
    ----------
    msgtype
        Name of the message type in the type store (``sensor_msgs/msg/JointState``).
    typestore
        A ``rosbags`` type store that knows it.
    decoder
        The stream's decoder; the result of the function equals that of ``decoder.decode``.

    Returns
    -------
    Callable[[bytes | memoryview, int], Sample] or None
        Takes the CDR bytes and the receipt time [ns]; raises what ``decoder.decode`` raises, and
        DataError for bytes that are no such message. None where the type or a field is not one
        that can be read this way (images, elements of arrays of messages): deserialise then.
    """
    if decoder.spec.image is not None or msgtype not in typestore.fielddefs:
        return None
    try:
        return _Compiler(msgtype, typestore, decoder).compile()
    except UnsupportedError:
        return None


class JointLayout:
    """The list of joint names at the start of a JointState, remembered by its bytes.

    Attributes
    ----------
    key, size
        Bytes of the last list (count and strings), and how many.
    count
        Joints in the list.
    getters
        Per feature read by name, what picks its values out of an array of ``count``.
    """

    def __init__(self, decoder: Decoder, wanted: list[tuple[str, ...]]) -> None:
        self.key = b""
        self.size = 1  # of no list: an empty slice must not equal the key
        self.count = 0
        self.getters: list[Callable[[Any], Any]] = [itemgetter(0)] * len(wanted)
        self._decoder = decoder
        self._wanted = wanted

    def learn(self, raw: bytes | memoryview, pos: int) -> bool:
        """Read the list at ``pos``; false if a wanted joint is not in it."""
        at = pos + 4
        names: list[str] = []
        for _ in range(struct.unpack_from("<I", raw, pos)[0]):
            at = pos + ((at - pos + 3) & -4)
            length = struct.unpack_from("<I", raw, at)[0]
            end = at + 4 + length
            if length < 1 or end > len(raw):
                return False
            names.append(bytes(raw[at + 4 : end - 1]).decode())
            at = end
        index = self._decoder.joints(names)
        if any(name not in index for wanted in self._wanted for name in wanted):
            return False
        self.getters = [itemgetter(*(index[n] for n in wanted)) for wanted in self._wanted]
        self.count = len(names)
        self.key = bytes(raw[pos:at])
        self.size = at - pos
        return True


class _Compiler:
    """Generates the reader of one stream."""

    def __init__(self, msgtype: str, typestore: Any, decoder: Decoder) -> None:
        self.msgtype = msgtype
        self.typestore = typestore
        self.decoder = decoder
        self.emit = Emitter(typestore, msgtype)
        self.after: list[str] = []
        self.sources: list[tuple[str, str]] = []
        self.constants: dict[str, Any] = {}
        self.by_name: list[tuple[str, ...]] = []

    def compile(self) -> CdrReader:
        spec, converter = self.decoder.spec, self.decoder.converter
        stamp = "receipt_ns"
        if spec.clock == "header":
            sec = self.emit.want_number(_SEC)
            nanosec = self.emit.want_number(_NANOSEC)
            stamp = f"{sec} * 1000000000 + {nanosec}"
        for feature in spec.features:
            self._feature(feature)
        body = [*self.emit.walk(), *self.after, f"stamp_ns = {stamp}"]
        if spec.clock == "header":
            body += ["if not stamp_ns:", "    return slow(raw, receipt_ns)"]
        numbers = [name for name, hot in self.sources if not hot]
        listed = "".join(f"{name}, " for name in numbers)
        raws = "".join(f"{name}, " for name, _ in self.sources)
        outs = ""
        for i, (name, hot) in enumerate(self.sources):
            scale, offset = float(converter.scale[i]), float(converter.offset[i])
            number = name if converter.identity else f"{name} * {scale!r} + {offset!r}"
            outs += f"*{hot}[{name}], " if hot else f"{number}, "
        body += [
            # A sum is finite only if all its terms are: the look for infinity is rarely needed.
            f"total = {' + '.join(numbers) or '0.0'}",
            f"if total - total != 0.0 and not infinite.isdisjoint(({listed})):",
            f"    values = convert(array(({raws}), float64))",
            "else:",
            f"    values = array(({outs}), float64)",
            "return Sample(stream, receipt_ns, stamp_ns, values)",
        ]
        lines = [
            "def read(raw, receipt_ns):",
            "    try:",
            "        if raw[0] or raw[1] != 1:",
            "            return slow(raw, receipt_ns)",
            *(f"        {line}" for line in body),
            "    except (StructError, IndexError, UnicodeDecodeError):",
            "        return slow(raw, receipt_ns)",
        ]
        names: dict[str, Any] = {
            **self.emit.constants,
            **self.constants,
            "layout": JointLayout(self.decoder, self.by_name),
            "slow": _slow_reader(self.msgtype, self.typestore, self.decoder),
            "convert": converter.convert,
            "stream": self.decoder.name,
            "array": np.array,
            "float64": np.float64,
            "nan": float("nan"),
            "infinite": frozenset((float("inf"), float("-inf"))),
            "StructError": struct.error,
            "Sample": Sample,
        }
        # Only numbers and names made here go into the text, nothing from a file.
        exec("\n".join(lines), names)
        reader: CdrReader = names["read"]
        return reader

    def _feature(self, feature: FeatureSpec) -> None:
        if feature.field is None:
            raise UnsupportedError
        path = tuple(feature.field.split("."))
        if feature.levels:
            self._level(feature, path)
        elif feature.names:
            listed = self._name_list()
            if listed is not None and self.emit.describe(path)[0] in (
                Nodetype.ARRAY,
                Nodetype.SEQUENCE,
            ):
                self._joints(feature, path, listed)
            else:
                for name in feature.names:
                    self.sources.append((self.emit.want_number((*path, name)), ""))
        elif feature.index or feature.count > 1:
            index = feature.index or tuple(range(feature.count))
            for name in self.emit.want_elements(path, index):
                self.sources.append((name, ""))
        else:
            self.sources.append((self.emit.want_number(path), ""))

    def _level(self, feature: FeatureSpec, path: Path) -> None:
        codes = self.decoder.converter.level_codes(feature)
        i = len(self.sources)
        count = len(feature.levels)
        kind, base = self.emit.describe(path)
        if kind == Nodetype.BASE and base[0] == "string":
            if codes.numbers:
                raise UnsupportedError  # a text may then spell a number: the decoder knows how
            name = self.emit.want_string(path)
            table: dict[Any, int] = {t.encode(): code for t, code in codes.texts.items()}
        else:
            name = self.emit.want_number(path)
            table = dict(codes.numbers)
        self.constants[f"table{i}"] = table
        self.constants[f"hot{i}"] = [
            tuple(float(code == level) for level in range(count)) for code in range(count)
        ]
        self.after += [
            f"level{i} = table{i}.get({name}, -1)",
            f"if level{i} < 0:",
            "    return slow(raw, receipt_ns)",
        ]
        self.sources.append((f"level{i}", f"hot{i}"))

    def _joints(self, feature: FeatureSpec, path: Path, listed: Path) -> None:
        values = self.emit.want_array(path)
        self.emit.want_name_list(listed)
        at = len(self.by_name)
        self.by_name.append(feature.names)
        joints = [f"joint{at}_{k}" for k in range(len(feature.names))]
        self.after += [
            f"if not {values}:",
            f"    {' = '.join(joints)} = nan",
            f"elif len({values}) != layout.count:",
            "    return slow(raw, receipt_ns)",
            "else:",
            f"    {', '.join(joints)} = layout.getters[{at}]({values})",
        ]
        self.sources += [(joint, "") for joint in joints]

    def _name_list(self) -> Path | None:
        """Path of the message's list of joint names, as the decoder looks for it."""
        for attribute in NAME_LISTS:
            try:
                kind, inner = self.emit.describe((attribute,))
            except UnsupportedError:
                continue
            if kind == Nodetype.SEQUENCE and inner[0][1][0] == "string":
                return (attribute,)
            if kind in (Nodetype.ARRAY, Nodetype.SEQUENCE):
                raise UnsupportedError
        return None


def _slow_reader(msgtype: str, typestore: Any, decoder: Decoder) -> CdrReader:
    def slow(raw: bytes | memoryview, receipt_ns: int) -> Sample:
        try:
            message = typestore.deserialize_cdr(raw, msgtype)
        except SerdeError as exc:
            raise DataError(f"stream '{decoder.name}': damaged {msgtype} message: {exc}") from exc
        return decoder.decode(message, receipt_ns)

    return slow
