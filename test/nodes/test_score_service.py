"""Candidates are scored by a service of the running monitor, on its newest assessment."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rig import Rig, running, wait_for
from runtime_toy import random_checkpoint, robot

sys.path.insert(0, str(Path(__file__).parent.parent / "scoring"))

from pro_ros.srv import ScoreActions
from scoring_toy import fitted
from std_msgs.msg import Float64, Float64MultiArray

ROWS, DIM = 5, 2


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a robot whose commands decide whether it slips."""
    return fitted(decides=True).save(tmp_path_factory.mktemp("scored") / "m")


@pytest.fixture
def fed(ros: None, scored: Path) -> Iterator[tuple[Rig, Callable[..., Any]]]:
    """A monitor that is fed at 10 Hz until 'stop' is set, and a caller of its service."""
    with running(scored) as rig:
        side = rig.heard_by_monitor("/side", "std_msgs/msg/Float64")
        command = rig.heard_by_monitor("/command", "std_msgs/msg/Float64MultiArray")
        rig.stop = threading.Event()  # type: ignore[attr-defined]

        def feed() -> None:
            while not rig.stop.wait(0.05):  # type: ignore[attr-defined]
                side.publish(Float64(data=0.5))
                command.publish(Float64MultiArray(data=[0.1, 0.0]))

        feeder = threading.Thread(target=feed, daemon=True)
        feeder.start()
        client = rig.other.create_client(ScoreActions, "/pro/score_actions")
        wait_for(client.service_is_ready, "there is no service")

        def call(actions: np.ndarray, **changes: Any) -> ScoreActions.Response:
            request = ScoreActions.Request()
            request.candidates, request.rows, request.action_dim = actions.shape
            request.actions = actions.astype(np.float32).ravel().tolist()
            request.dt = 0.1
            for name, value in changes.items():
                setattr(request, name, value)
            future = client.call_async(request)
            wait_for(future.done, "the service does not answer")
            return future.result()

        wait_for(lambda: rig.monitor._operator.counts.valid > 6, "no valid assessment")
        yield rig, call
        rig.stop.set()  # type: ignore[attr-defined]
        feeder.join()


def candidates(*first: float) -> np.ndarray:
    actions = np.zeros((len(first), ROWS, DIM))
    actions[:, :, 0] = np.array(first)[:, None]
    return actions


def test_candidates_are_scored_on_the_newest_assessment(fed):
    rig, call = fed
    answer = call(candidates(-1.0, 0.0, 1.0))
    assert answer.ok, answer.reason
    assert answer.model_id == rig.monitor._checkpoint.model_id
    assert answer.scorer_id
    assert answer.validity & 1
    assert len(answer.progress) == len(answer.risk) == len(answer.success) == 3
    weighted = np.array(answer.progress) - np.array(answer.risk) + np.array(answer.success)
    np.testing.assert_allclose(answer.score, weighted, atol=1e-5)
    assert answer.best in (0, 1, 2)
    assert set(answer.tells) <= {"progress", "risk", "success"}
    assert answer.tells, "the toy's commands decide: the scorer must tell them apart"
    assert len(set(np.round(answer.score, 6))) == 3


def test_weights_of_the_request_replace_the_nodes_and_negative_ones_do_not_count(fed):
    rig, call = fed
    plain = call(candidates(-1.0, 1.0), risk_weight=-1.0, success_weight=-1.0)
    np.testing.assert_allclose(plain.score, plain.progress, atol=1e-6)
    from rclpy.parameter import Parameter

    done = rig.monitor.set_parameters([Parameter("score_risk_weight", value=5.0)])
    assert done[0].successful
    heavy = call(candidates(-1.0, 1.0), success_weight=-1.0)
    expected = np.array(heavy.progress) - 5.0 * np.array(heavy.risk)
    np.testing.assert_allclose(heavy.score, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("actions", "changes", "named"),
    [
        (candidates(0.0), {"action_dim": 3}, "10 numbers do not make"),
        (np.zeros((1, ROWS, 3)), {}, "u.0"),
        (np.full((1, ROWS, DIM), np.nan), {}, "is nan"),
        (np.zeros((0, ROWS, DIM)), {}, "candidate"),
        (np.zeros((1, 1, DIM)), {}, "0.5"),
        (candidates(0.0), {"dt": 0.0}, "dt"),
    ],
    ids=["count", "dimension", "nan", "none", "short", "dt"],
)
def test_a_wrong_request_is_answered_with_one_line(fed, actions, changes, named):
    _, call = fed
    answer = call(actions, **changes)
    assert not answer.ok
    assert answer.best == -1
    assert not answer.accepted
    assert named in answer.reason
    assert "\n" not in answer.reason


def test_a_chunk_unlike_anything_executed_is_flagged_and_not_accepted(fed):
    _, call = fed
    answer = call(candidates(1000.0))
    assert answer.ok
    assert list(answer.supported) == [False]
    assert not answer.accepted
    assert "like a chunk of the training" in answer.reason


def test_nothing_is_scored_on_an_old_assessment(fed):
    rig, call = fed
    rig.stop.set()
    wait_for(lambda: rig.monitor._operator.valid_age > 0.5, "the assessment does not get old")
    answer = call(candidates(0.0))
    assert not answer.ok
    assert answer.best == -1
    assert answer.reason


def test_a_checkpoint_without_a_scorer_says_so(ros, tmp_path):
    random_checkpoint(tmp_path / "m", robot({"rate": 20}))
    with running(tmp_path / "m") as rig:
        client = rig.other.create_client(ScoreActions, "/pro/score_actions")
        wait_for(client.service_is_ready, "there is no service")
        future = client.call_async(ScoreActions.Request())
        wait_for(future.done, "the service does not answer")
        assert "scoring" in future.result().reason
        assert future.result().best == -1
