"""What a rosetta contract selects of a message, as features of a stream.

Facts from rosetta's contract reference: a selector is ``<field>.<joint>`` for messages with
parallel arrays, ``axes.<n>`` or ``buttons.<n>`` for Joy, and a dotted path for all others.
"""

from __future__ import annotations

from typing import Any

IMAGES = frozenset({"sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"})

_BY_NAME = {
    "sensor_msgs/msg/JointState": (
        "position",
        {"position": "position", "velocity": "velocity", "effort": "effort"},
    ),
    "control_msgs/msg/MultiDOFCommand": (
        "values",
        {"values": "values", "values_dot": "values_dot"},
    ),
    "trajectory_msgs/msg/JointTrajectory": (
        "position",
        {
            "position": "points.0.positions",
            "positions": "points.0.positions",
            "velocity": "points.0.velocities",
            "velocities": "points.0.velocities",
            "acceleration": "points.0.accelerations",
            "accelerations": "points.0.accelerations",
            "effort": "points.0.effort",
        },
    ),
}
"""Messages with parallel arrays: the field that a bare name means, and where each field is."""

_ARRAYS = frozenset({
    "std_msgs/msg/Float32MultiArray", "std_msgs/msg/Float64MultiArray",
    "std_msgs/msg/Int32MultiArray",
})  # fmt: skip

_SCALARS = frozenset(
    f"std_msgs/msg/{kind}"
    for kind in ("Bool", "Float32", "Float64", "Int8", "Int16", "Int32", "Int64", "UInt8",
                 "UInt16", "UInt32", "UInt64")
)  # fmt: skip

_UNITS = {
    "position": "rad", "velocity": "rad/s", "effort": "N*m",
    "orientation": "1", "angular_velocity": "rad/s", "linear_acceleration": "m/s**2",
    "linear": "m/s", "angular": "rad/s", "force": "N", "torque": "N*m",
    "fluid_pressure": "Pa", "temperature": "degC",
}  # fmt: skip
"""SI or the message definition's own unit, by the name of the field."""

_ROOT = {"geometry_msgs/msg/TwistStamped": "twist", "geometry_msgs/msg/WrenchStamped": "wrench"}
"""Messages whose only content earlier contracts selected without naming it."""


class CannotSelectError(ValueError):
    """The selection has no counterpart in a stream file; the text says why."""


def features(msgtype: str, select: list[str]) -> list[dict[str, Any]]:
    """Entries for ``features`` of a stream that reads what ``select`` names."""
    if msgtype in _BY_NAME:
        return _by_name(msgtype, select)
    if msgtype == "sensor_msgs/msg/Joy":
        return _joy(select)
    if msgtype in _SCALARS:
        return [{"name": "data", "field": "data"}]
    if msgtype in _ARRAYS:
        if not select:
            raise CannotSelectError("an array of unknown length: add 'index' to its feature")
        return [{"name": n, "field": "data", "index": [i]} for i, n in enumerate(select)]
    if msgtype == "geometry_msgs/msg/Twist" and not select:
        select = [f"{part}.{axis}" for part in ("linear", "angular") for axis in "xyz"]
    if msgtype == "std_msgs/msg/String":
        raise CannotSelectError("a text is not a number: 'levels' can list its values")
    if not select:
        raise CannotSelectError("nothing is selected of it")
    return _by_path(msgtype, select)


def _by_name(msgtype: str, select: list[str]) -> list[dict[str, Any]]:
    default, fields = _BY_NAME[msgtype]
    if not select:
        raise CannotSelectError("no joint is selected, and joints are read by name")
    groups: dict[str, list[str]] = {}
    for selector in select:
        field, _, joint = selector.partition(".") if "." in selector else (default, "", selector)
        if field not in fields:
            raise CannotSelectError(f"its selector '{selector}' names no field that is known")
        groups.setdefault(field, []).append(joint)
    found = []
    for field, joints in groups.items():
        entry: dict[str, Any] = {"name": field, "field": fields[field], "names": joints}
        singular = {"positions": "position", "velocities": "velocity"}.get(field, field)
        if _UNITS.get(singular):
            entry["unit"] = _UNITS[singular]
        found.append(entry)
    return found


def _joy(select: list[str]) -> list[dict[str, Any]]:
    groups: dict[str, list[int]] = {}
    for selector in select:
        field, _, index = selector.partition(".") if "." in selector else ("axes", "", selector)
        if field not in ("axes", "buttons") or not index.isdigit():
            raise CannotSelectError(f"its selector '{selector}' is not axes.<n> or buttons.<n>")
        groups.setdefault(field, []).append(int(index))
    if not groups:
        raise CannotSelectError("nothing is selected of it")
    return [
        {"name": f"{field}.{i}", "field": field, "index": [i]}
        for field, indices in groups.items()
        for i in indices
    ]


def _by_path(msgtype: str, select: list[str]) -> list[dict[str, Any]]:
    """Group dotted paths by their parent: ``linear.x, linear.y`` is one entry."""
    root = _ROOT.get(msgtype)
    groups: dict[str, list[str]] = {}
    for selector in select:
        path = (
            selector if root is None or selector.startswith(f"{root}.") else f"{root}.{selector}"
        )
        parent, _, leaf = path.rpartition(".")
        groups.setdefault(parent, []).append(leaf)
    found: list[dict[str, Any]] = []
    for parent, leaves in groups.items():
        if not parent:
            found.extend(_with_unit({"name": n, "field": n}, n, msgtype) for n in leaves)
        else:
            entry = {"name": parent, "field": parent, "names": leaves}
            found.append(_with_unit(entry, parent.rpartition(".")[2], msgtype))
    return found


def _with_unit(entry: dict[str, Any], field: str, msgtype: str) -> dict[str, Any]:
    unit = _UNITS.get(field)
    if field == "position":
        unit = "m"  # of a pose; joints are not read by path
    if "Accel" in msgtype and field in ("linear", "angular"):
        unit = f"{unit}/s" if field == "angular" else "m/s**2"
    if unit == "rad/s/s":
        unit = "rad/s**2"
    return {**entry, "unit": unit} if unit and unit != "1" else entry
