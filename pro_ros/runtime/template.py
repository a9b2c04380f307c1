"""Messages of one shape, serialised by filling in their numbers.

Between two steps only numbers of a message change; its strings and the lengths of its arrays
stay. So one message is serialised by ``rosbags``, the places of the changing numbers in it are
worked out, and from then on a message is one call of ``struct``. That costs a twentieth of
building and serialising message objects, and gives the same bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from rosbags.interfaces import Nodetype
from rosbags.typesys.store import Typestore

from pro_ros.streams.cdr_emit import CODES, SIZES

Slot = tuple[int, str, str]
"""Position in the bytes, struct's letter, and the path of the field."""


class Template:
    """The CDR bytes of a message, with those of some fields left open.

    Parameters
    ----------
    store, msgtype, message
        A message of the shape that all will have, as ``rosbags`` knows it.
    open_fields
        Paths of numeric fields, and of arrays of numbers, that :meth:`fill` sets; the name of a
        nested message stands for all numbers in it.

    Attributes
    ----------
    paths
        The path of each number that :meth:`fill` takes, in the order of the message.
    """

    def __init__(
        self, store: Typestore, msgtype: str, message: Any, open_fields: Collection[str]
    ) -> None:
        raw = bytes(store.serialize_cdr(message, msgtype))
        slots = [s for s in _slots(store, msgtype, message) if _covered(s[2], open_fields)]
        self.paths = tuple(path for _, _, path in slots)
        layout, at = "<", 0
        self._parts: list[Any] = []
        self._open: list[int] = []
        for position, code, _ in slots:
            if position > at:
                layout += f"{position - at}s"
                self._parts.append(raw[at:position])
            self._open.append(len(self._parts))
            self._parts.append(0)
            layout += code
            at = position + struct.calcsize(f"<{code}")
        layout += f"{len(raw) - at}s"
        self._parts.append(raw[at:])
        self._pack = struct.Struct(layout).pack

    def fill(self, numbers: Iterable[float]) -> bytes:
        """The message with these numbers, one per path in :attr:`paths`."""
        parts = self._parts
        for at, number in zip(self._open, numbers, strict=True):
            parts[at] = number
        return self._pack(*parts)


def _covered(path: str, fields: Collection[str]) -> bool:
    return any(path == field or path.startswith(f"{field}.") for field in fields)


def _slots(store: Typestore, msgtype: str, message: Any) -> list[Slot]:
    """Where the numbers of a message stand in its CDR bytes (little-endian, XCDR1)."""
    walk = _Walk(store)
    return list(walk.message(msgtype, message, ""))


class _Walk:
    """Follows a message through its bytes; alignment counts from behind the encapsulation."""

    def __init__(self, store: Typestore) -> None:
        self._store = store
        self._at = 0

    def message(self, msgtype: str, message: Any, prefix: str) -> Iterator[Slot]:
        for name, (kind, inner) in self._store.get_msgdef(msgtype).fields:
            yield from self._field(kind, inner, getattr(message, name), prefix + name)

    def _field(self, kind: Any, inner: Any, value: Any, path: str) -> Iterator[Slot]:
        if kind == Nodetype.NAME:
            yield from self.message(inner, value, f"{path}.")
        elif kind == Nodetype.BASE:
            if inner[0] == "string":
                self._string(value)
            else:
                yield self._number(inner[0], path)
        else:
            if kind == Nodetype.SEQUENCE:
                self._number("uint32", path)
            element, detail = inner[0]
            for item in value:
                yield from self._field(element, detail, item, path)

    def _number(self, base: str, path: str) -> Slot:
        size = SIZES[base]
        self._at += -self._at % size
        position = self._at
        self._at += size
        return 4 + position, CODES[base], path

    def _string(self, text: str) -> None:
        self._number("uint32", "")
        self._at += len(text.encode()) + 1
