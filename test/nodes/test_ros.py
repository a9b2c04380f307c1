"""The nodes are tested where a ROS 2 with a built pro_ros is sourced."""

import pytest


def test_the_messages_that_are_sourced_are_those_of_this_source():
    pytest.importorskip("rclpy", reason="no ROS 2 is sourced: the nodes are not tested")
    messages = pytest.importorskip("pro_ros.msg", reason="pro_ros is not built and sourced")
    from pro_ros.interfaces import NAMES, PACKAGE, typestore

    store = typestore()
    for name in NAMES:
        sourced = getattr(messages, name)
        fields = [field for field, _ in store.fielddefs[f"{PACKAGE}/{name}"][1]]
        assert list(sourced.get_fields_and_field_types()) == fields, f"build pro_ros again: {name}"
