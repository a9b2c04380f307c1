"""What may import what: the core knows no ROS, and the command line starts light."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "pro_ros"

ROS = frozenset(
    {
        "rclpy", "rosidl_runtime_py", "rosbag2_py", "ament_index_python", "launch", "launch_ros",
        "tf2_ros", "cv_bridge", "std_msgs", "sensor_msgs", "geometry_msgs", "builtin_interfaces",
        "diagnostic_msgs", "lifecycle_msgs", "action_msgs", "rcl_interfaces",
    }
)  # fmt: skip
"""Modules of a ROS installation. Generated messages of this package: :data:`GENERATED`."""

GENERATED = ("pro_ros.msg", "pro_ros.srv", "pro_ros.action")

HEAVY = frozenset(
    {
        "torch", "lightning_fabric", "safetensors", "sklearn", "scipy", "pandas", "pyarrow",
        "plotly", "openpyxl", "rosbags", "pint", "numpy", "jinja2",
    }
)  # fmt: skip
"""What the command line does not import before a command runs."""

EXTRAS = frozenset(
    {"transformers", "av", "mujoco", "gymnasium", "lerobot", "stable_baselines3", "cv2"}
)
"""Optional packages: imported inside functions only, where they are needed."""


def modules() -> list[Path]:
    found = sorted(PACKAGE.rglob("*.py"))
    assert len(found) > 50
    return found


def names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Everything that is imported below a node, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            # ``from pro_ros import msg`` imports pro_ros.msg as well.
            yield node.module, node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def at_import(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """What is imported when the module is: neither in functions nor for type checking."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting.extend(node.orelse)
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from names(node)
        waiting.extend(ast.iter_child_nodes(node))


def is_ros(name: str) -> bool:
    return name.split(".")[0] in ROS or name.startswith(GENERATED)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import rclpy.node", True),
        ("from pro_ros.msg import Risk", True),
        ("from pro_ros import msg", True),
        ("def f():\n    import sensor_msgs.msg", True),
        ("from pro_ros.episodes import messages", False),
        ("import rosbags", False),
    ],
)
def test_imports_of_ros_are_seen(source: str, found: bool) -> None:
    assert any(is_ros(name) for name, _ in names(ast.parse(source))) == found


def test_only_nodes_import_ros_or_generated_messages() -> None:
    nodes = PACKAGE / "nodes"
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line}: {name}"
        for path in modules()
        if nodes not in path.parents
        for name, line in names(ast.parse(path.read_text(encoding="utf-8")))
        if is_ros(name)
    ]
    assert wrong == []


def test_the_core_does_not_import_nodes_or_the_command_line() -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line}: {name}"
        for path in modules()
        if not {PACKAGE / "nodes", PACKAGE / "cli"} & set(path.parents)
        for name, line in names(ast.parse(path.read_text(encoding="utf-8")))
        if name.startswith(("pro_ros.nodes", "pro_ros.cli"))
    ]
    assert wrong == []


def test_the_package_itself_is_inert() -> None:
    # An __init__.py that the message generator makes may stand in its place.
    assert ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8")).body == []


def test_optional_packages_are_imported_only_where_they_are_needed() -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line}: {name}"
        for path in modules()
        for name, line in at_import(ast.parse(path.read_text(encoding="utf-8")))
        if name.split(".")[0] in EXTRAS
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import av", True),
        ("try:\n    import av\nexcept ImportError:\n    av = None", True),
        ("class A:\n    import av", True),
        ("def f():\n    import av", False),
        ("if TYPE_CHECKING:\n    import av", False),
    ],
)
def test_imports_of_a_module_are_told_from_those_of_its_functions(
    source: str, found: bool
) -> None:
    assert ("av" in {name for name, _ in at_import(ast.parse(source))}) == found


def loaded(code: str) -> set[str]:
    """Top-level modules that are loaded after some code ran in a fresh interpreter."""
    report = "import sys; print(' '.join({m.partition('.')[0] for m in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("words", [["--help"], ["evaluate", "--help"]])
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    code = (
        "from pro_ros.cli.main import app\n"
        f"try:\n    app({words!r})\nexcept SystemExit as end:\n    assert not end.code"
    )
    assert loaded(code) & (HEAVY | EXTRAS) == set()


def test_inspecting_and_importing_load_no_torch(tmp_path: Path) -> None:
    code = (
        "import pro_ros.episodes.dataset, pro_ros.episodes.importer, pro_ros.episodes.inspect\n"
        "import pro_ros.streams.rosetta"
    )
    assert loaded(code) & {"torch", "lightning_fabric", "sklearn", "plotly"} == set()


def test_the_gate_loads_nothing_that_a_small_computer_lacks() -> None:
    assert loaded("import pro_ros.gate.machine") & (HEAVY | EXTRAS | ROS) == set()


def test_the_command_line_starts_within_a_second_and_a_half() -> None:
    taken = []
    for _ in range(3):
        begun = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "pro_ros.cli.main", "--help"], capture_output=True, check=True
        )
        taken.append(time.perf_counter() - begun)
    assert min(taken) < 1.5
