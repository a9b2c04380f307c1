"""The built messages are those that bags are written with; the package lies where it should.

    python3 test/ros/check_interfaces.py FOLDER

Run it with the built package sourced. FOLDER is made by ``make_samples.py``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pro_ros.msg
from ament_index_python.packages import get_package_prefix, get_package_share_directory
from rclpy.serialization import deserialize_message, serialize_message

import pro_ros.streams.spec
from pro_ros.paths import share_file


def main() -> None:
    """Check everything; the first difference ends with an AssertionError."""
    folder = Path(sys.argv[1])
    check_places()
    interfaces = json.loads((folder / "interfaces.json").read_text(encoding="utf-8"))
    for name, expected in interfaces.items():
        check_type(name, expected)
        for path in sorted(folder.glob(f"{name}.*.cdr")):
            check_bytes(getattr(pro_ros.msg, name), path)
    print(f"{len(interfaces)} messages agree: {', '.join(interfaces)}")


def check_places() -> None:
    """Generated messages and the Python package stand side by side, with the shared files."""
    prefix = Path(get_package_prefix("pro_ros"))
    for module in (pro_ros.msg, pro_ros.streams.spec):
        assert Path(module.__file__).is_relative_to(prefix), (
            f"{module.__file__} is not in {prefix}"
        )
    share = Path(get_package_share_directory("pro_ros"))
    for name in ("msg/Risk.msg", "examples/ur3_cobotops/streams.yaml"):
        assert share_file(name) == share / name, f"{share_file(name)} is not in {share}"
    pro_ros.streams.spec.load_spec(share_file("examples/ur3_cobotops/streams.yaml"))


def check_type(name: str, expected: dict[str, Any]) -> None:
    """Fields in their order, constants, and the hash that ROS compares publishers by."""
    built = getattr(pro_ros.msg, name)
    fields = built.get_fields_and_field_types()
    assert list(fields.items()) == list(expected["fields"].items()), f"{name}: {fields}"
    for constant, value in expected["constants"].items():
        assert getattr(built, constant) == value, f"{name}.{constant}"
    described = Path(get_package_share_directory("pro_ros"), "msg", f"{name}.json")
    hashes = json.loads(described.read_text(encoding="utf-8"))["type_hashes"]
    found = next(h["hash_string"] for h in hashes if h["type_name"] == f"pro_ros/msg/{name}")
    assert found == expected["hash"], f"{name}: built {found}, bags say {expected['hash']}"


def check_bytes(built: Any, path: Path) -> None:
    """The bytes read back to the values, and the values give the bytes."""
    raw = path.read_bytes()
    values = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    message = deserialize_message(raw, built)
    assert plain(message) == values, f"{path.name}: read {plain(message)}, written {values}"
    assert serialize_message(message) == raw, f"{path.name}: ROS serialises it to other bytes"


def plain(value: Any) -> Any:
    """A ROS message as dictionaries and lists."""
    if hasattr(value, "get_fields_and_field_types"):
        return {name: plain(getattr(value, name)) for name in value.get_fields_and_field_types()}
    if isinstance(value, str | bool | int | float):
        return value
    return [plain(item) for item in value]


if __name__ == "__main__":
    main()
