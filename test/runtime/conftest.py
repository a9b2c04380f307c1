"""Recordings of the small robot and operators for it, made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from runtime_toy import MS, T0, random_checkpoint, robot, robot_messages, write_bag

from pro_ros.model.checkpoint import Checkpoint
from pro_ros.streams.spec import RobotSpec


@pytest.fixture(scope="session")
def grid() -> RobotSpec:
    """Steps at 20 Hz."""
    return robot({"rate": 20})


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds, a silence of two, and two seconds more."""
    messages = [*robot_messages(3.0), *robot_messages(2.0, T0 + 5_000 * MS)]
    return write_bag(tmp_path_factory.mktemp("recorded") / "bag", messages)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[RobotSpec], Checkpoint]:
    """Makes a checkpoint for a stream file."""

    def make(spec: RobotSpec) -> Checkpoint:
        return random_checkpoint(tmp_path_factory.mktemp("checkpoint") / "m", spec)

    return make
