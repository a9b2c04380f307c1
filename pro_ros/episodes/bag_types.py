"""Message definitions of a bag: from the bag itself, or from ROS 2 Jazzy where it has none."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from rosbags.convert.converter import is_same_wireformat, migrate_bytes
from rosbags.interfaces import Connection, MessageDefinitionFormat
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from pro_ros.errors import DataError
from pro_ros.interfaces import definition, typestore

Bytes = bytes | memoryview

_IDL_FILE = "=" * 80 + "\nIDL: "


class BagTypes:
    """Type stores for the connections of one bag.

    Every message type has a store of its own, because two types of one bag may embed different
    versions of a third.
    """

    def __init__(self, ros1: bool) -> None:
        self.ros1 = ros1
        self._stores: dict[str, Typestore | None] = {}

    def store(self, connection: Connection, where: str) -> Typestore:
        """The store that knows the connection's type.

        Raises
        ------
        DataError
            The type is not known, or the bag's definition of it cannot be parsed.
        """
        store = self._store(connection)
        if store is None:
            raise DataError(
                f"{where}: message type {connection.msgtype} is unknown: the bag holds no usable"
                " definition of it and ROS 2 Jazzy has none"
            )
        return store

    def _store(self, connection: Connection) -> Typestore | None:
        msgtype = connection.msgtype
        if msgtype not in self._stores:
            self._stores[msgtype] = _load(msgtype, *connection.msgdef)
        return self._stores[msgtype]

    def deserialiser(
        self, connection: Connection, store: Typestore
    ) -> Callable[[Bytes, str], Any]:
        """What turns bytes as recorded into a message object."""
        return store.deserialize_ros1 if self.ros1 else store.deserialize_cdr

    def declaration(self, connection: Connection) -> tuple[str, str] | None:
        """Definition and RIHS01 hash to declare the topic with in a ROS 2 bag; None if unknown."""
        msgtype = connection.msgtype
        if self.ros1:
            target = self._ros2_store(connection)
            if target is None:
                return None
            text, _ = target.generate_msgdef(msgtype, ros_version=2)
            return text, target.hash_rihs01(msgtype)
        if connection.msgdef.format is MessageDefinitionFormat.NONE:
            return definition(msgtype) if msgtype in typestore().fielddefs else None
        if connection.digest:
            return connection.msgdef.data, connection.digest
        store = self._store(connection)
        return None if store is None else (connection.msgdef.data, store.hash_rihs01(msgtype))

    def to_cdr(self, connection: Connection) -> Callable[[Bytes], Bytes] | None:
        """What turns bytes of a ROS 1 bag into CDR of the ROS 2 type; None where it is CDR."""
        if not self.ros1:
            return None
        target = self._ros2_store(connection)
        source = self._store(connection)
        assert target is not None
        assert source is not None
        msgtype = connection.msgtype
        if is_same_wireformat(source, target, msgtype, msgtype):
            convert: Callable[[Bytes], Bytes] = partial(target.ros1_to_cdr, typename=msgtype)
        else:
            # Fields that changed between ROS 1 and 2 are matched by name and type.
            convert = partial(_migrate, source, target, msgtype, {})

        def to_cdr(raw: Bytes) -> Bytes:
            try:
                return convert(raw)
            except Exception as exc:
                # Generated code meets damaged bytes in any way.
                raise DataError(
                    f"a message on '{connection.topic}' is no {msgtype}: {exc}"
                ) from exc

        return to_cdr

    def _ros2_store(self, connection: Connection) -> Typestore | None:
        """A store with the ROS 2 definition of a ROS 1 type.

        Types that ROS 2 Jazzy has are taken from it, as ROS 2 tools will read them; others keep
        the bag's definition.
        """
        source = self._store(connection)
        if source is None or connection.msgtype in typestore().fielddefs:
            return None if source is None else typestore()
        target = get_typestore(Stores.EMPTY)
        known = typestore().fielddefs
        target.register({n: known.get(n, d) for n, d in source.fielddefs.items()})
        return target


def _migrate(
    source: Typestore, target: Typestore, msgtype: str, cache: dict[str, object], raw: Bytes
) -> Bytes:
    return migrate_bytes(source, target, msgtype, msgtype, cache, raw, src_is2=False, dst_is2=True)


@lru_cache(maxsize=256)
def _load(msgtype: str, form: MessageDefinitionFormat, text: str) -> Typestore | None:
    """A store with one type; the same one for all bags that define the type alike."""
    if form is MessageDefinitionFormat.NONE:
        return typestore() if msgtype in typestore().fielddefs else None
    store = get_typestore(Stores.EMPTY)
    # A definition that cannot be parsed, or names types that it does not bring, shows in
    # many kinds of error; it only matters if the type is needed.
    try:
        store.register(_parse(msgtype, form, text))
        store.get_msgdef(msgtype)
    except Exception:
        return None
    return store


def _parse(msgtype: str, form: MessageDefinitionFormat, text: str) -> Any:
    """Parse the definition that a bag embeds for a type."""
    if form is MessageDefinitionFormat.MSG:
        return get_types_from_msg(text, msgtype)
    if not text.startswith(_IDL_FILE):
        return get_types_from_idl(text)
    types: Any = {}
    for part in text.split("=" * 80 + "\n")[1:]:
        types.update(get_types_from_idl(part.partition("\n")[2]))
    return types
