"""Units that a standard message fixes by its definition, and which an import must keep to."""

from __future__ import annotations

from pro_ros.errors import SpecError
from pro_ros.streams.spec import FeatureSpec
from pro_ros.streams.units import affine

FIXED_UNITS: dict[str, dict[str, tuple[str, ...]]] = {
    "sensor_msgs/msg/JointState": {
        "position": ("rad", "m"),
        "velocity": ("rad/s", "m/s"),
        # Many arms report motor current as effort (operator.md, "What it reads").
        "effort": ("N*m", "N", "A"),
    },
    "sensor_msgs/msg/FluidPressure": {"fluid_pressure": ("Pa",)},
    "sensor_msgs/msg/Temperature": {"temperature": ("degC",)},
    "sensor_msgs/msg/RelativeHumidity": {"relative_humidity": ("1",)},
    "sensor_msgs/msg/Range": {"range": ("m",)},
    "sensor_msgs/msg/MagneticField": {"magnetic_field": ("T",)},
    "sensor_msgs/msg/Illuminance": {"illuminance": ("lx",)},
    "sensor_msgs/msg/BatteryState": {
        "voltage": ("V",), "current": ("A",), "temperature": ("degC",), "percentage": ("1",),
    },
    "sensor_msgs/msg/Imu": {
        "orientation": ("1",), "angular_velocity": ("rad/s",), "linear_acceleration": ("m/s**2",),
    },
    "geometry_msgs/msg/Wrench": {"force": ("N",), "torque": ("N*m",)},
    "geometry_msgs/msg/Twist": {"linear": ("m/s",), "angular": ("rad/s",)},
    "geometry_msgs/msg/Accel": {"linear": ("m/s**2",), "angular": ("rad/s**2",)},
    "geometry_msgs/msg/Pose": {"position": ("m",), "orientation": ("1",)},
    "geometry_msgs/msg/Transform": {"translation": ("m",), "rotation": ("1",)},
}  # fmt: skip
"""Allowed units per field, from the comments in the message definitions and REP 103."""


def check_unit(msgtype: str, path: str, feature: FeatureSpec, where: str) -> None:
    """Refuse a unit other than the one that ``msgtype`` fixes for the field at ``path``.

    Values are imported as they are, so that one stream file reads the table and the bag; they
    would stand in the bag in a unit that no other reader of this message expects.

    Raises
    ------
    SpecError
        The unit differs, or a gauge or analog vacuum reading would go into FluidPressure, which
        is absolute.
    """
    allowed = FIXED_UNITS.get(msgtype, {}).get(path.split(".")[0])
    if allowed is None:
        return
    unit = affine(feature.unit, where)
    analog = feature.vacuum is not None and feature.vacuum.kind != "absolute"
    if analog or unit not in [affine(u, where) for u in allowed]:
        given = f"a {feature.vacuum.kind} reading" if feature.vacuum and analog else feature.unit
        raise SpecError(
            f"{where}: {msgtype}.{path} is in {' or '.join(allowed)} by definition, the feature in"
            f" {given}: import it as std_msgs/msg/Float64, or convert the table"
        )
