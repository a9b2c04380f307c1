"""Shared fixtures."""

from __future__ import annotations

import os
from pathlib import Path

# Small models on shared cores: more threads only wait for each other. Processes hand it on.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)

# How long an example takes says nothing on a busy machine.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

ROOT = Path(__file__).resolve().parent.parent


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Under ``-n`` a process takes whole files, in their order: what they share is made once."""
    if config.getoption("numprocesses", None) and config.option.dist == "no":
        config.option.dist = "loadfile"
        config.option.loadscopereorder = False


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the real recordings; set PRO_ROS_DATA where it lies elsewhere."""
    path = Path(os.environ.get("PRO_ROS_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no recordings at {path}: set PRO_ROS_DATA")
    return path
