"""Reads the three layouts of a rosetta contract into one list of entries.

Entries in lists with ``selector``, ``image`` and ``publish`` (until early 2026), entries in lists
with ``select`` and ``apply``, and the current layout: ``channel``, ``align``, ``select`` and
``apply`` under each key, a list where several sources feed one key.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pro_ros.errors import SpecError

SECTIONS = ("observations", "actions", "rewards", "signals", "info", "complementary_data")

NOT_NEEDED = {
    "qos": "quality of service is set on the node",
    "dtype": "every feature is a float",
    "kind": "a hint for policies",
    "safety": "nothing is published here",
    "safety_behavior": "nothing is published here",
    "serve": "nothing is published here",
    "encoder": "nothing is published here",
    "from_tensor": "nothing is published here",
    "strategy": "nothing is published here",
    "layout": "nothing is published here",
    "recording": "set on the recorder",
    "max_duration_s": "set on the recorder",
    "reset": "set on the recorder",
    "visualization": "it has no counterpart",
}
"""Keys without a counterpart in a stream file, and why."""

_USED = frozenset({
    "key", "channel", "publish", "topic", "type", "align", "select", "selector", "apply", "image",
    "decoder",
})  # fmt: skip
_ALIGN = frozenset({"strategy", "timeline", "stamp", "tolerance_ms", "tol_ms"})


@dataclass(frozen=True)
class Entry:
    """One source of a contract: a topic, its clock, and what is read of its messages.

    ``place`` names it in notes. ``shared``: several sources feed its key. ``timeline`` is empty
    where the entry has none. ``operators`` are names and arguments of the ``apply`` pipeline.
    """

    place: str
    section: str
    key: str
    shared: bool
    topic: str
    msgtype: str
    timeline: str
    strategy: str
    tolerance_ms: float
    select: list[str]
    operators: list[tuple[str, Any]]
    resize: Any
    decoder: bool


class ContractReader:
    """Walks a contract's sections.

    Attributes
    ----------
    notes
        One line per key that is not known.
    unneeded
        How often each key of :data:`NOT_NEEDED` was met.
    """

    def __init__(self, raw: dict[str, Any], where: str) -> None:
        self.notes: list[str] = []
        self.unneeded: dict[str, int] = {}
        self._raw = raw
        self._where = where

    def entries(self) -> Iterator[Entry]:
        """All sources of all sections, in order.

        Raises
        ------
        SpecError
            An entry is not a mapping, or has no topic or type; names its place.
        """
        for section in SECTIONS:
            for key, sources in self._keyed(section):
                for source in sources:
                    yield self._entry(section, key, source, len(sources) > 1)

    def set_aside(self, key: str) -> None:
        """Count a key that has no counterpart."""
        self.unneeded[key] = self.unneeded.get(key, 0) + 1

    def _keyed(self, section: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """Keys of a section with their sources."""
        entries = self._raw.get(section) or {}
        keyed: dict[str, Any] = {}
        if isinstance(entries, dict):
            keyed = {str(key): entry for key, entry in entries.items()}
        elif isinstance(entries, list):
            for i, entry in enumerate(entries):
                if not isinstance(entry, dict) or entry.get("key") is None:
                    raise SpecError(f"{self._where}: {section}[{i}]: missing key 'key'")
                keyed.setdefault(str(entry["key"]), []).append(entry)
        else:
            raise SpecError(f"{self._where}: {section}: expected a mapping or a list of entries")
        for key, entry in keyed.items():
            sources = entry if isinstance(entry, list) else [entry]
            if not all(isinstance(source, dict) for source in sources):
                raise SpecError(f"{self._where}: {section}.{key}: expected a mapping of keys")
            yield key, sources

    def _entry(self, section: str, key: str, source: dict[str, Any], shared: bool) -> Entry:
        place = f"{section}.{key}"
        channel = source.get("channel", source.get("publish", source))
        if not isinstance(channel, dict):
            raise SpecError(f"{self._where}: {place}.channel: expected a mapping of keys")
        both = {**source, **channel}
        for name in both:
            if name in NOT_NEEDED:
                self.set_aside(name)
            elif name not in _USED:
                self.notes.append(f"{place}: key '{name}' was not carried over")
        for name in ("topic", "type"):
            if not channel.get(name):
                raise SpecError(f"{self._where}: {place}: missing key '{name}'")
        align = mapping(source.get("align"))
        for name in align:
            if name not in _ALIGN:
                self.notes.append(f"{place}: align key '{name}' was not carried over")
        tolerance = align.get("tolerance_ms", align.get("tol_ms"))
        return Entry(
            place=place,
            section=section,
            key=key,
            shared=shared,
            topic=str(channel["topic"]),
            msgtype=full_type(str(channel["type"])),
            timeline=str(align.get("timeline", align.get("stamp", ""))),
            strategy=str(align.get("strategy", "hold")),
            tolerance_ms=float(tolerance) if isinstance(tolerance, int | float) else 0.0,
            select=self._select(source, place),
            operators=list(_operators(source)),
            resize=mapping(source.get("image")).get("resize"),
            decoder=bool(both.get("decoder")),
        )

    def _select(self, source: dict[str, Any], place: str) -> list[str]:
        select = source.get("select", mapping(source.get("selector")).get("names"))
        if select is None:
            return []
        if not isinstance(select, list):
            raise SpecError(f"{self._where}: {place}.select: expected a list of field paths")
        return [str(selector) for selector in select]


def full_type(msgtype: str) -> str:
    """A message type in three parts: ``sensor_msgs/Joy`` lacks the middle one."""
    package, _, name = msgtype.partition("/")
    return msgtype if "/" in name else f"{package}/msg/{name}"


def mapping(value: Any) -> dict[str, Any]:
    """The value if it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}


def _operators(source: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    apply = source.get("apply")
    for operator in apply if isinstance(apply, list) else []:
        if isinstance(operator, dict):
            yield from ((str(name), value) for name, value in operator.items())
        else:
            yield str(operator), None
