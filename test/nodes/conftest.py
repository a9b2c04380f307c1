"""Everything here runs on a real rclpy, with the package built by colcon and sourced."""

from __future__ import annotations

import itertools
import os
import random
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

try:
    import domain_coordinator
    import pro_ros.msg  # noqa: F401
    import rclpy
except ImportError:
    # test_ros.py says so, once.
    collect_ignore = [p.name for p in HERE.glob("test_*.py") if p.name != "test_ros.py"]

NO_ROS = "no ROS 2 is sourced: the nodes are not tested"
DOMAINS = itertools.cycle(random.sample(range(1, 101), 100))


@pytest.fixture(autouse=True)
def domain(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A domain that no other test has at this time, and that none had for long.

    Who is killed is still seen in a domain until the middleware has noticed, and counts as one
    more server, client or publisher.
    """
    pytest.importorskip("domain_coordinator", reason=NO_ROS)
    with domain_coordinator.domain_id(lambda: next(DOMAINS)) as number:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(number))
        yield


@pytest.fixture
def ros(domain: None) -> Iterator[None]:
    """rclpy, up and down."""
    rclpy.init()
    yield
    rclpy.try_shutdown()


@pytest.fixture(scope="session")
def example() -> Path:
    """The shipped recording, stream file and checkpoint."""
    from pro_ros.paths import share_file

    return share_file("examples/ur3_cobotops")
