"""Checkpoints with a scorer: of a robot whose commands decide, and of one whose do nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from scoring_toy import Fitted, fitted

from pro_ros.model.checkpoint import Checkpoint, load_checkpoint


@pytest.fixture(scope="session")
def decided() -> Fitted:
    return fitted(decides=True)


@pytest.fixture(scope="session")
def idle() -> Fitted:
    """Commands do nothing, but stop after a slip."""
    return fitted(decides=False)


@pytest.fixture(scope="session")
def saved(decided: Fitted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return decided.save(tmp_path_factory.mktemp("scored") / "m")


@pytest.fixture
def checkpoint(saved: Path) -> Checkpoint:
    return load_checkpoint(saved)
