"""Every preset runs live: the node reads messages of the drivers' types, and judges."""

from __future__ import annotations

import array
from typing import Any

import pytest
from rig import running, wait_for
from rosidl_runtime_py.utilities import get_message
from runtime_toy import random_checkpoint

from pro_ros.errors import SpecError
from pro_ros.nodes.message_types import message_class
from pro_ros.paths import share_file
from pro_ros.streams.spec import FeatureSpec, StreamSpec, load_spec

PRESETS = ("ur", "ur_cb3", "franka", "vacuum_arm")


def message_of(stream: StreamSpec, value: float) -> Any:
    """A message of the stream's type with a number wherever a feature reads one."""
    message = get_message(stream.type)()
    for feature in stream.features:
        put(message, feature, value)
    return message


def put(message: Any, feature: FeatureSpec, value: float) -> None:
    *path, last = (feature.field or "").split(".")
    owner = message
    for part in path:
        if part.isdigit():
            while len(owner) <= int(part):
                owner.append(element(message, path))
            owner = owner[int(part)]
        else:
            owner = getattr(owner, part)
    if feature.levels:
        kind = type(getattr(owner, last))
        setattr(owner, last, kind(feature.levels[0]))
    elif feature.names and hasattr(message, "name"):
        message.name = list(feature.names)
        setattr(owner, last, array.array("d", [value] * len(feature.names)))
    elif feature.names:
        target = getattr(owner, last)
        for name in feature.names:
            setattr(target, name, value)
    elif feature.index:
        setattr(owner, last, [value] * (max(feature.index) + 1))
    else:
        kind = type(getattr(owner, last))
        setattr(owner, last, kind(value))


def element(message: Any, path: list[str]) -> Any:
    """A new element of the array of messages that a path goes through."""
    kind = message.get_fields_and_field_types()[path[0]]
    return get_message(kind.removeprefix("sequence<").removesuffix(">"))()


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_reads_what_its_drivers_publish(ros, preset, tmp_path):
    spec = load_spec(share_file(f"config/robots/{preset}/streams.yaml"))
    streams = {n: s for n, s in spec.input_streams.items() if s.image is None}
    try:
        for name, stream in streams.items():
            message_class(stream.type, name)
    except SpecError as exc:
        pytest.skip(str(exc))
    random_checkpoint(tmp_path / "model", spec)
    optional = [n for n, s in spec.input_streams.items() if s.image is not None]
    with running(tmp_path / "model", optional_streams=optional or [""]) as rig:
        publishers = {
            name: rig.heard_by_monitor(stream.topic, stream.type)
            for name, stream in streams.items()
        }
        count = 0

        def judged() -> bool:
            nonlocal count
            count += 1
            now = rig.other.get_clock().now().to_msg()
            for name, stream in streams.items():
                message = message_of(stream, 0.5 + 0.001 * count)
                if hasattr(message, "header"):
                    message.header.stamp = now
                publishers[name].publish(message)
            if not rig.heard["assessment"]:
                return False
            last = rig.last()
            return bool(last.validity & last.VALIDITY_VALID)

        wait_for(judged, f"no valid assessment: {rig.lines[-5:]}")
        assert not rig.monitor._operator.health().failures
        assert all(not s.errors for s in rig.monitor._operator.health().streams.values())
