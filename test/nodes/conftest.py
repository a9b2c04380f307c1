"""Everything here runs on a real rclpy, with the package built by colcon and sourced."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# The small robot of the runtime's tests.
sys.path.insert(0, str(HERE.parent / "runtime"))

# A shell lets what it starts in the background ignore interrupts, and processes hand that on:
# those that are tested must be interruptible.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests must neither hear nor move anybody's robot.
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))

try:
    import pro_ros.msg  # noqa: F401
    import rclpy
except ImportError:
    # test_ros.py says so, once.
    collect_ignore = [p.name for p in HERE.glob("test_*.py") if p.name != "test_ros.py"]


@pytest.fixture
def ros() -> Iterator[None]:
    """rclpy, up and down."""
    rclpy.init()
    yield
    rclpy.try_shutdown()


@pytest.fixture(scope="session")
def example() -> Path:
    """The shipped recording, stream file and checkpoint."""
    from pro_ros.paths import share_file

    return share_file("examples/ur3_cobotops")
