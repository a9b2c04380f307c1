from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scoring_toy import Fitted, steps_of, toy_sequence

from pro_ros.errors import CheckpointError, DataError
from pro_ros.model.calibration import AlarmThreshold
from pro_ros.model.checkpoint import Checkpoint, load_checkpoint
from pro_ros.runtime.monitor import Monitor
from pro_ros.runtime.scoring import ActionScorer, ScoringSettings

DT = 0.1
ALARM = AlarmThreshold(
    target="any", horizon=1.0, criterion="miss_rate", requested=0.2, threshold=0.3,
    episodes=9, events=9, hours=1.0, refractory_s=0.2, method="by hand",
)  # fmt: skip


def at_work(
    checkpoint: Checkpoint,
    settings: ScoringSettings | None = None,
    number: int = 0,
    steps: int = 8,
) -> tuple[ActionScorer, Monitor, float]:
    """A scorer in the middle of an episode, and the side that the robot is on."""
    monitor = Monitor(checkpoint)
    sequence = toy_sequence(number)
    for step in steps_of(sequence)[:steps]:
        monitor.state(step)
    side = float(np.sign(sequence.values["telemetry"][0, 0]))
    return ActionScorer(checkpoint, monitor, settings), monitor, side


def alarmed(checkpoint: Checkpoint, threshold: float = 0.3) -> Checkpoint:
    alarm = ALARM.model_copy(update={"threshold": threshold})
    return replace(
        checkpoint, calibration=checkpoint.calibration.model_copy(update={"alarms": (alarm,)})
    )


def levels(values: list[float]) -> np.ndarray:
    """A candidate per level of the first command."""
    chunks = np.zeros((len(values), 5, 2), dtype=np.float32)
    chunks[:, :, 0] = np.array(values)[:, None]
    return chunks


@pytest.mark.parametrize("number", range(6))
def test_the_command_that_makes_it_slip_is_ranked_last(
    checkpoint: Checkpoint, number: int
) -> None:
    scorer, _, side = at_work(checkpoint, number=number, steps=5)
    scores = scorer.score(levels([1.2 * side, 0.4 * side, -1.6 * side]), DT)
    within_a_second = scores.risks[:, 1]
    assert np.argmax(scores.risk) == 2
    assert within_a_second[2] > 1.5 * within_a_second[0]
    assert scores.best != 2
    assert "risk" in scores.tells


def test_a_batch_scores_as_each_candidate_alone(checkpoint: Checkpoint) -> None:
    scorer, _, _ = at_work(checkpoint)
    chunks = np.random.default_rng(0).normal(size=(64, 16, 2)).astype(np.float32)
    together = scorer.score(chunks, 1 / 30)
    for n, chunk in enumerate(chunks):
        alone = scorer.score(chunk[None], 1 / 30)
        for name in ("progress", "risk", "success", "score", "risks", "mode_risk", "novelty"):
            ours, theirs = getattr(together, name)[n], getattr(alone, name)[0]
            np.testing.assert_allclose(ours, theirs, atol=1e-6, err_msg=name)
        assert together.supported[n] == alone.supported[0]


def test_the_score_is_the_weighed_sum(checkpoint: Checkpoint) -> None:
    scorer, _, _ = at_work(checkpoint, ScoringSettings(risk_weight=0.5, success_weight=0.25))
    s = scorer.score(levels([1.0, -1.0]), DT)
    np.testing.assert_allclose(s.score, s.progress - 0.5 * s.risk + 0.25 * s.success)
    other = scorer.score(levels([1.0, -1.0]), DT, risk_weight=2.0, success_weight=0.0)
    np.testing.assert_allclose(other.score, s.progress - 2.0 * s.risk)


def test_risk_never_falls_with_the_horizon(checkpoint: Checkpoint) -> None:
    scorer, _, _ = at_work(checkpoint)
    s = scorer.score(levels([-2.0, 0.0, 2.0]), DT)
    assert (np.diff(s.risks, axis=1) >= 0).all()
    assert ((s.risks >= 0) & (s.risks <= 1)).all()
    np.testing.assert_allclose(s.mode_risk[:, 0], s.risks)


def test_a_chunk_unlike_any_is_flagged_and_never_the_best(checkpoint: Checkpoint) -> None:
    scorer, _, side = at_work(checkpoint, ScoringSettings(max_risk=1.0))
    chunks = levels([50.0 * side, -0.2 * side])
    scores = scorer.score(chunks, DT)
    assert scores.supported.tolist() == [False, True]
    assert scores.best == 1
    assert scores.accepted
    # Weighed so that the far one would win by far.
    wins = scorer.score(chunks, DT, risk_weight=0.0)
    assert wins.best == 1


def test_where_all_are_far_the_best_of_them_is_named_and_refused(checkpoint: Checkpoint) -> None:
    scorer, _, side = at_work(checkpoint, ScoringSettings(max_risk=1.0))
    scores = scorer.score(levels([-40.0 * side, 40.0 * side]), DT)
    assert not scores.supported.any()
    assert scores.best == int(np.argmax(scores.score))
    assert not scores.accepted
    assert scores.reason == "no candidate is like a chunk of the training"


def test_motion_of_a_kind_that_never_happened_is_flagged(checkpoint: Checkpoint) -> None:
    scorer, _, _ = at_work(checkpoint)
    calm = levels([0.5])
    jerky = calm.copy()
    jerky[0, ::2, 1] = 3.0
    assert scorer.score(calm, DT).supported[0]
    assert not scorer.score(jerky, DT).supported[0]


def test_the_alarm_decides_which_risk_counts_and_what_is_accepted(checkpoint: Checkpoint) -> None:
    low, _, side = at_work(alarmed(checkpoint, 1e-6))
    scores = low.score(levels([0.4 * side]), DT)
    # The alarm watches any failure within 1 s, the second horizon.
    assert scores.risk[0] == scores.risks[0, 1]
    assert not scores.accepted
    assert "is not below 1e-06" in scores.reason
    high, _, _ = at_work(alarmed(checkpoint, 1.0))
    assert high.score(levels([0.4 * side]), DT).accepted


def test_what_is_accepted_can_be_set(checkpoint: Checkpoint) -> None:
    settings = ScoringSettings(max_risk=1.0, min_success=1.0)
    scorer, _, side = at_work(alarmed(checkpoint, 1e-6), settings)
    scores = scorer.score(levels([0.4 * side]), DT)
    assert scores.reason.startswith("P(success)")
    assert not scores.accepted


def test_without_any_threshold_nothing_is_accepted(checkpoint: Checkpoint) -> None:
    scorer, _, side = at_work(checkpoint)
    assert checkpoint.calibration.alarms == ()
    scores = scorer.score(levels([0.4 * side]), DT)
    assert not scores.accepted
    assert "no alarm threshold" in scores.reason


def test_where_commands_do_nothing_all_candidates_score_the_same(
    idle: Fitted, tmp_path: Path
) -> None:
    scorer, _, _ = at_work(load_checkpoint(idle.save(tmp_path / "m")))
    scores = scorer.score(levels([-1.5, 0.0, 1.5]), DT)
    assert np.ptp(scores.score) == 0.0
    assert scores.best == 0
    assert scores.tells == ()


def test_scores_say_what_they_rest_on(checkpoint: Checkpoint) -> None:
    scorer, monitor, _ = at_work(checkpoint)
    scores = scorer.score(levels([0.0]), DT)
    assert monitor.latest is not None
    assert scores.t_ns == monitor.latest.step.t_ns
    assert scores.sequence == 7
    assert "VALID" in scores.validity


def test_scores_follow_the_situation(checkpoint: Checkpoint) -> None:
    scorer, monitor, _ = at_work(checkpoint, steps=6)
    first = scorer.score(levels([1.0]), DT)
    again = scorer.score(levels([1.0]), DT)
    assert first.score[0] == again.score[0]
    monitor.state(steps_of(toy_sequence(0))[6])
    later = scorer.score(levels([1.0]), DT)
    assert later.sequence == first.sequence + 1
    assert later.score[0] != first.score[0]


def test_before_the_first_command_chunks_can_be_scored(checkpoint: Checkpoint) -> None:
    monitor = Monitor(checkpoint)
    step = steps_of(toy_sequence(0))[0]
    step.mask["action"][:] = False
    step.values["action"][:] = 0.0
    monitor.state(step)
    scores = ActionScorer(checkpoint, monitor).score(levels([0.5, -0.5]), DT)
    assert np.isfinite(scores.score).all()


def test_before_the_first_assessment_nothing_is_scored(checkpoint: Checkpoint) -> None:
    scorer = ActionScorer(checkpoint, Monitor(checkpoint))
    with pytest.raises(DataError, match="there is no assessment yet"):
        scorer.score(levels([0.0]), DT)


def test_nothing_is_scored_after_a_silence_or_on_an_invalid_step(checkpoint: Checkpoint) -> None:
    scorer, monitor, _ = at_work(checkpoint)
    late = replace(steps_of(toy_sequence(0))[8], stale=("command",))
    monitor.state(late)
    with pytest.raises(DataError, match=r"not valid \(STALE_INPUT"):
        scorer.score(levels([0.0]), DT)
    monitor.state(steps_of(toy_sequence(0))[9])
    scorer.score(levels([0.0]), DT)
    monitor.silence(0, {"side": 9.0, "command": 9.0})
    with pytest.raises(DataError, match="no assessment yet, or no more"):
        scorer.score(levels([0.0]), DT)


def test_wrong_candidates_are_refused_with_the_features_in_order(checkpoint: Checkpoint) -> None:
    scorer, _, _ = at_work(checkpoint)
    with pytest.raises(DataError, match=r"expected 2: command\.u\.0, command\.u\.1"):
        scorer.score(np.zeros((1, 5, 3)), DT)
    with pytest.raises(DataError, match="give at least 5 rows"):
        scorer.score(np.zeros((1, 4, 2)), DT)


def test_a_checkpoint_without_a_scorer_is_refused(checkpoint: Checkpoint) -> None:
    with pytest.raises(CheckpointError, match="has no scorer of actions"):
        ActionScorer(replace(checkpoint, scorer=None), Monitor(checkpoint))
