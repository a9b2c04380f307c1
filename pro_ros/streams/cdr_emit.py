"""Generates the lines that walk the CDR bytes of a message to the fields that are wanted.

CDR (OMG formal/02-06-51, XCDR1 as ROS 2 uses it) aligns every number to its size, counted from
the end of the four bytes of encapsulation. Where the bytes so far have a fixed layout, positions
are known when the code is generated; after a string or a sequence they are computed, and known
again relative to the next alignment.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from rosbags.interfaces import Nodetype

Path = tuple[str, ...]

CODES = {
    "bool": "?", "byte": "b", "char": "B", "int8": "b", "uint8": "B", "int16": "h",
    "uint16": "H", "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q", "float32": "f",
    "float64": "d",
}  # fmt: skip
"""struct's letter per primitive type, as rosbags reads them."""

SIZES = {name: struct.calcsize(f"<{code}") for name, code in CODES.items()}


class UnsupportedError(Exception):
    """The message cannot be read by offset; the caller deserialises it instead."""


class _Several(dict[int, Callable[..., tuple[Any, ...]]]):
    """What reads so many numbers of one kind, made when first needed."""

    def __init__(self, code: str) -> None:
        super().__init__()
        self._code = code

    def __missing__(self, count: int) -> Callable[..., tuple[Any, ...]]:
        read = struct.Struct(f"<{count}{self._code}").unpack_from
        # A source with ever new lengths, or a damaged one, is not kept.
        if len(self) < 64:
            self[count] = read
        return read


class Emitter:
    """Collects what is wanted of a message type, then writes the code that reads it.

    The code has ``raw`` (the bytes) and assigns the variables that the ``want_`` methods named.
    ``pos`` in it is a position in ``raw``, known to be aligned to ``modulus``; the current place
    is ``pos + offset``.
    """

    def __init__(self, typestore: Any, msgtype: str) -> None:
        self.constants: dict[str, Any] = {}
        self._store = typestore
        self._fields: list[tuple[str, Any]] = self._definition(msgtype)
        self._wanted: dict[Path, tuple[str, Any]] = {}
        self._lines: list[str] = []
        self._pending: list[tuple[str, str, int]] = []
        self._names = 0
        self._indent = 0
        self._offset, self._modulus = 0, 8

    def describe(self, path: Path) -> tuple[Any, Any]:
        """Definition of a field, or UnsupportedError where there is none."""
        fields = self._fields
        for depth, part in enumerate(path):
            found = dict(fields).get(part)
            if found is None:
                raise UnsupportedError
            if depth == len(path) - 1:
                kind, inner = found
                return kind, inner
            if found[0] != Nodetype.NAME:
                raise UnsupportedError
            fields = self._definition(found[1])
        raise UnsupportedError

    def want_number(self, path: Path) -> str:
        """Name of the variable that will hold a number."""
        kind, base = self.describe(path)
        if kind != Nodetype.BASE or base[0] not in CODES:
            raise UnsupportedError
        return self._want(path, "number", None)

    def want_string(self, path: Path) -> str:
        """Name of the variable that will hold a string's bytes."""
        return self._want(path, "string", None)

    def want_array(self, path: Path) -> str:
        """Name of the variable that will hold all numbers of an array as a tuple."""
        kind, inner = self.describe(path)
        self._check_numeric(kind, inner)
        return self._want(path, "array", None)

    def want_elements(self, path: Path, index: tuple[int, ...]) -> list[str]:
        """Names of the variables that will hold elements of an array; NaN of an empty one."""
        kind, inner = self.describe(path)
        self._check_numeric(kind, inner)
        if min(index) < 0 or (kind == Nodetype.ARRAY and max(index) >= inner[1]):
            raise UnsupportedError
        how, elements = self._wanted.setdefault(path, ("elements", {}))
        if how != "elements":
            raise UnsupportedError
        for i in index:
            if i not in elements:
                elements[i] = self._name()
        return [elements[i] for i in index]

    def want_name_list(self, path: Path) -> None:
        """Have ``layout`` follow the list of joint names."""
        self._wanted[path] = ("names", None)

    def walk(self) -> list[str]:
        """The lines, up to the last wanted field."""
        self._lines.append("pos = 4")
        self._message(self._fields, ())
        self._flush()
        return self._lines

    def _message(self, fields: list[tuple[str, Any]], path: Path) -> None:
        for name, (kind, inner) in fields:
            if not self._wanted:
                return
            self._field(kind, inner, (*path, name))

    def _field(self, kind: Any, inner: Any, path: Path) -> None:
        how, detail = self._wanted.pop(path, ("skip", None))
        if kind == Nodetype.NAME:
            self._message(self._definition(inner), path)
        elif kind == Nodetype.BASE:
            if inner[0] == "string":
                self._string(detail)
            elif inner[0] in CODES:
                self._number(inner[0], detail)
            else:
                raise UnsupportedError
        elif how == "names":
            self._joint_names()
        elif inner[0][0] == Nodetype.BASE and inner[0][1][0] in CODES:
            self._numbers(kind, inner, how, detail)
        else:
            self._skip_each(kind, inner, path)

    def _number(self, base: str, name: str | None) -> None:
        size = SIZES[base]
        self._align(size)
        if name is not None:
            self._pending.append((name, CODES[base], self._offset))
        self._offset += size

    def _string(self, name: str | None) -> None:
        length = self._name()
        self._number("uint32", length)
        self._flush()
        if name is not None:
            self._add(
                f"start = pos + {self._offset}",
                f"if {length} < 1 or start + {length} > len(raw):",
                "    return slow(raw, receipt_ns)",
                f"{name} = bytes(raw[start : start + {length} - 1])",
            )
        self._advance(length, 1)

    def _numbers(self, kind: Any, inner: Any, how: str, detail: Any) -> None:
        """An array or a sequence of numbers."""
        base = inner[0][1][0]
        size = SIZES[base]
        if kind == Nodetype.ARRAY:
            count = str(inner[1])
            self._align(size)
            self._flush()
        else:
            count = self._name()
            self._number("uint32", count)
            self._flush()
            if size > 4:
                # An empty sequence has no padding before elements that it does not have.
                self._move(f"pos + {self._offset}", 4)
                self._add(f"if {count}:", "    pos = ((pos + 3) & -8) + 4")
        if how == "array":
            several = f"several_{CODES[base]}"
            self.constants[several] = _Several(CODES[base])
            self._add(f"{detail} = {several}[{count}](raw, pos + {self._offset})")
        elif how == "elements":
            self._elements(count, base, detail)
        self._advance(f"{count} * {size}", size)

    def _elements(self, count: str, base: str, names: dict[int, str]) -> None:
        chosen = sorted(names.items())
        read = [(name, CODES[base], self._offset + i * SIZES[base]) for i, name in chosen]
        self._add(
            f"if {count} > {chosen[-1][0]}:",
            f"    {self._unpack(read)}",
            f"elif {count}:",
            "    return slow(raw, receipt_ns)",
            "else:",
            f"    {' = '.join(name for _, name in chosen)} = nan",
        )

    def _joint_names(self) -> None:
        self._align(4)
        self._flush()
        self._move(f"pos + {self._offset}", 4)
        self._add(
            "if raw[pos : pos + layout.size] != layout.key and not layout.learn(raw, pos):",
            "    return slow(raw, receipt_ns)",
        )
        self._advance("layout.size", 1)

    def _skip_each(self, kind: Any, inner: Any, path: Path) -> None:
        """Elements whose size is known only by reading them."""
        if kind == Nodetype.ARRAY:
            count = str(inner[1])
        else:
            count = self._name()
            self._number("uint32", count)
        self._flush()
        if kind == Nodetype.SEQUENCE:
            # Each element takes a byte or more: a damaged count must not keep the loop busy.
            self._add(f"if {count} > len(raw):", "    return slow(raw, receipt_ns)")
        self._move(f"pos + {self._offset}", 1)
        self._add(f"for _ in range({count}):")
        self._indent += 1
        before = len(self._lines)
        # No path that is wanted has an element in it (describe refuses it): nothing is read.
        element, detail = inner[0]
        self._field(element, detail, (*path, "[]"))
        self._flush()
        self._move(f"pos + {self._offset}", 1)
        if len(self._lines) == before:
            self._add("pass")
        self._indent -= 1

    def _align(self, size: int) -> None:
        if size <= self._modulus:
            self._offset += -self._offset % size
        else:
            self._flush()
            self._move(f"((pos + {self._offset + size - 5}) & -{size}) + 4", size)

    def _advance(self, count: str, multiple: int) -> None:
        """Go on by a number of bytes known only when reading, a multiple of ``multiple``.

        The current place is aligned to ``multiple``.
        """
        self._move(f"pos + {self._offset} + {count}", min(self._modulus, multiple))

    def _move(self, expression: str, modulus: int) -> None:
        """Assign ``pos``, which is then known to be aligned to ``modulus``."""
        if expression != "pos + 0":
            self._add(f"pos = {expression}")
        self._offset, self._modulus = 0, modulus

    def _flush(self) -> None:
        """Read what was collected since ``pos`` was assigned, in one call."""
        if self._pending:
            self._add(self._unpack(self._pending))
            self._pending = []

    def _unpack(self, reads: list[tuple[str, str, int]]) -> str:
        first = at = reads[0][2]
        layout = "<"
        for _, code, offset in reads:
            layout += f"{offset - at}x{code}" if offset > at else code
            at = offset + struct.calcsize(f"<{code}")
        name = f"unpack{len(self.constants)}"
        self.constants[name] = struct.Struct(layout).unpack_from
        targets = "".join(f"{target}, " for target, _, _ in reads)
        return f"{targets}= {name}(raw, pos + {first})"

    def _add(self, *lines: str) -> None:
        self._lines.extend("    " * self._indent + line for line in lines)

    def _definition(self, msgtype: str) -> list[tuple[str, Any]]:
        try:
            fields: list[tuple[str, Any]] = self._store.get_msgdef(msgtype).fields
        except Exception as exc:  # a type that rosbags cannot generate code for
            raise UnsupportedError from exc
        return fields

    def _check_numeric(self, kind: Any, inner: Any) -> None:
        if kind not in (Nodetype.ARRAY, Nodetype.SEQUENCE):
            raise UnsupportedError
        if inner[0][0] != Nodetype.BASE or inner[0][1][0] not in CODES:
            raise UnsupportedError

    def _want(self, path: Path, how: str, detail: Any) -> str:
        if path in self._wanted:
            if self._wanted[path][0] != how:
                raise UnsupportedError
            return str(self._wanted[path][1])
        name = self._name()
        self._wanted[path] = (how, name)
        return name

    def _name(self) -> str:
        self._names += 1
        return f"v{self._names}"
