"""Message types by name, as the ROS installation has them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosidl_runtime_py.utilities import get_message

from pro_ros.errors import SpecError


def message_class(msgtype: str, where: str) -> Any:
    """The Python class of ``package/msg/Name``, for rclpy.

    Raises
    ------
    SpecError
        Its package is not installed, or has no such message; ``where`` begins the line.
    """
    package, _, name = msgtype.replace("/msg/", "/").partition("/")
    try:
        return get_message(f"{package}/msg/{name}")
    except (ModuleNotFoundError, PackageNotFoundError):
        raise SpecError(
            f"{where}: message package '{package}' is not installed: install it and source it"
        ) from None
    except (AttributeError, ValueError):
        raise SpecError(f"{where}: package '{package}' has no message '{name}'") from None


def installed_typestore(msgtypes: Iterable[str]) -> Any:
    """A ``rosbags`` type store with these types as the installed ``.msg`` files define them.

    Raises
    ------
    SpecError
        A definition is not installed.
    """
    store = get_typestore(Stores.EMPTY)
    types: dict[str, Any] = {}
    waiting = list(dict.fromkeys(msgtypes))
    while waiting:
        msgtype = waiting.pop()
        if msgtype in types:
            continue
        found = get_types_from_msg(_definition(msgtype), msgtype)
        types.update(found)
        for _, fields in found.values():
            for _, node in fields:
                waiting += [t for t in _names(node) if t not in types]
    store.register(types)
    return store


def _names(node: Any) -> list[str]:
    """Message types that a field is made of."""
    if isinstance(node, str):
        return [node] if "/" in node else []
    if isinstance(node, tuple):
        return [name for part in node for name in _names(part)]
    return []


def _definition(msgtype: str) -> str:
    package, _, name = msgtype.partition("/msg/")
    try:
        path = Path(get_package_share_directory(package)) / "msg" / f"{name}.msg"
        return path.read_text(encoding="utf-8")
    except (PackageNotFoundError, OSError):
        raise SpecError(f"message definition {msgtype} is not installed") from None
