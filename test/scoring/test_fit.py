from __future__ import annotations

import numpy as np
import pytest
import torch
from scoring_toy import Fitted, steps_of, toy_config, toy_sequence, toy_sequences, toy_spec

from pro_ros.episodes.labels import RewardConfig
from pro_ros.errors import TooFewEpisodesError
from pro_ros.evaluation.results import Settings
from pro_ros.evaluation.scoring import NO_ACTION, PERMUTED, evaluate_scoring
from pro_ros.evaluation.table import OPERATOR
from pro_ros.model.calibration import Calibration
from pro_ros.model.config import OperatorConfig, TemporalConfig
from pro_ros.model.factory import build_operator
from pro_ros.model.folded import FoldedStep
from pro_ros.runtime.assessor import Assessor
from pro_ros.training.calibrate import Trained
from pro_ros.training.chunks import Executed, completed, executed_chunks
from pro_ros.training.scoring import fit_scorer
from pro_ros.training.scoring_net import Branch
from pro_ros.training.train import labels_of

FRESH = 5000


def chunks_of(robot: Fitted, count: int = 20, first: int = FRESH, **options: bool) -> Executed:
    sequences = toy_sequences(count, first, **options)
    labels = labels_of(sequences, robot.trained.spec, robot.config)
    assessor = Assessor(robot.trained)
    return executed_chunks(assessor, sequences, labels, 0.5, 5, robot.config.reward)


def evaluated(robot: Fitted, **options: bool):
    sequences = toy_sequences(60, FRESH, **options)
    labels = labels_of(sequences, robot.trained.spec, robot.config)
    assessor = Assessor(robot.trained)
    return evaluate_scoring(
        assessor, robot.scorer, sequences, labels, RewardConfig(), Settings(resamples=300)
    )


def attending() -> Trained:
    """An operator that runs in torch, one step at a time."""
    torch.manual_seed(0)
    config = OperatorConfig(
        width=8, members=2, temporal=TemporalConfig(kind="attention", window=5, heads=2)
    )
    spec = toy_spec()
    return Trained(build_operator(config, spec), spec, Calibration())


@pytest.mark.parametrize("folded", [True, False])
def test_latents_of_a_sequence_are_those_of_its_steps(decided: Fitted, folded: bool) -> None:
    sequence = toy_sequence(3)
    assessor = Assessor(decided.trained if folded else attending())
    assert FoldedStep.can_fold(assessor.operator) == folded
    stepped = []
    for step in steps_of(sequence):
        assessor.assess(step)
        assert assessor.memory is not None
        stepped.append(assessor.memory)
    whole = [memory for _, memory in assessor.memories(sequence)]
    for name in ("latent", "packed"):
        at_once = np.concatenate([getattr(memory, name) for memory in whole])
        one_by_one = np.stack([getattr(memory, name) for memory in stepped])
        np.testing.assert_allclose(at_once, one_by_one, atol=1e-5)


def test_where_commands_decide_the_chunk_is_shown_to_tell(decided: Fitted) -> None:
    found = decided.scorer.document
    assert found.evidence["risk"].proven
    assert found.effect["risk"] > 0.5
    for said in found.evidence.values():
        assert said.episodes <= 40
        assert said.chunks > 500


def test_where_commands_do_nothing_nothing_is_claimed(idle: Fitted) -> None:
    found = idle.scorer.document
    assert not any(said.proven for said in found.evidence.values())
    assert set(found.effect.values()) == {0.0}
    assert len(found.notes) == 3


def test_on_fresh_episodes_the_scorer_beats_itself_without_the_chunk(decided: Fitted) -> None:
    results = evaluated(decided, decides=True)
    assert results.models == (OPERATOR, NO_ACTION, PERMUTED)
    risk = results.find("scoring_risk_auroc", "slip", 2.0)
    assert risk is not None
    for score in risk.scores[1:]:
        assert score.difference is not None
        assert score.difference.low is not None
        assert score.difference.low > 0.0
    brier = results.find("scoring_risk_brier", "slip", 2.0)
    assert brier is not None
    assert brier.scores[1].difference is not None
    assert brier.scores[1].difference.high is not None
    assert brier.scores[1].difference.high < 0.0


def test_on_fresh_episodes_of_idle_commands_it_is_what_it_is_without(idle: Fitted) -> None:
    results = evaluated(idle, decides=False)
    for metric in results.metrics:
        if metric.key != "scoring_supported":
            mine, without = (s.number.value for s in metric.scores[:2])
            assert mine == without


def test_held_out_chunks_are_mostly_supported(decided: Fitted) -> None:
    supported = evaluated(decided, decides=True).find("scoring_supported")
    assert supported is not None
    value = supported.number(OPERATOR).value
    assert value is not None
    assert value > 0.95
    facts = decided.scorer.document.support
    assert (facts.part, facts.episodes) == ("calibration", 40)
    assert facts.chunks > 500


def test_what_was_gained_is_the_return_that_followed(decided: Fitted) -> None:
    sequence = toy_sequence(1)
    labels = labels_of([sequence], decided.trained.spec, decided.config)
    assessor = Assessor(decided.trained)
    found = executed_chunks(assessor, [sequence], labels, 0.5, 5, decided.config.reward)
    value = assessor.run(sequence).value
    step = int(np.searchsorted(sequence.t_ns, found.t_ns[4]))
    assert found.progress[4] == pytest.approx(labels[0].value[step + 5] - value[step], abs=1e-5)
    # In the last half second the episode ends: its outcome was reached.
    reached = decided.config.reward.success if labels[0].success[-1] else 0.0
    assert found.progress[-1] == pytest.approx(reached - value[-1], abs=1e-5)


def test_a_cut_chunk_is_completed_from_a_like_one_of_another_episode(decided: Fitted) -> None:
    found = chunks_of(decided, decides=True)
    whole = completed(found, found)
    assert np.isfinite(whole.path).all()
    cut = np.flatnonzero(~found.full)
    assert len(cut) > 20
    donors = found.path[found.full]
    for row in cut[:20]:
        read = int(found.read[row])
        assert np.array_equal(whole.path[row, :read], found.path[row, :read])
        same = (donors[:, read:] == whole.path[row, read:]).all(axis=(1, 2))
        owners = found.episode[found.full][same]
        assert len(owners)
        assert found.episode[row] not in owners


def test_chunks_are_drawn_evenly_where_there_are_too_many(decided: Fitted) -> None:
    sequences = toy_sequences(4, FRESH)
    labels = labels_of(sequences, decided.trained.spec, decided.config)
    assessor = Assessor(decided.trained)
    every = executed_chunks(assessor, sequences, labels, 0.5, 5, RewardConfig())
    some = executed_chunks(assessor, sequences, labels, 0.5, 5, RewardConfig(), 50, seed=1)
    assert len(some) == 50
    assert np.isin(some.t_ns, every.t_ns).all()
    assert len(np.unique(some.episode)) == 4


def test_the_same_seed_fits_the_same_scorer_and_draws_nothing_outside(decided: Fitted) -> None:
    config = toy_config(epochs=2).scoring
    assert config is not None
    torch.manual_seed(3)
    before = torch.get_rng_state()
    fits = [
        fit_scorer(decided.trained, decided.parts, config, RewardConfig(), seed)
        for seed in (1, 1, 2)
    ]
    assert torch.equal(before, torch.get_rng_state())
    for name, array in fits[0].arrays.items():
        assert np.array_equal(array, fits[1].arrays[name]), name
    assert fits[0].document == fits[1].document
    assert not np.array_equal(fits[0].arrays["base.inner"], fits[2].arrays["base.inner"])


def test_without_held_out_episodes_nothing_of_the_chunk_is_used(decided: Fitted) -> None:
    config = toy_config(epochs=1).scoring
    assert config is not None
    nothing: tuple[list, list] = ([], [])
    parts = {"train": decided.parts["train"], "validation": nothing, "calibration": nothing}
    found = fit_scorer(decided.trained, parts, config, RewardConfig()).document
    assert set(found.effect.values()) == {0.0}
    assert found.support.part == "train"
    assert any("no held-out episodes" in note for note in found.notes)


def test_without_failure_modes_risk_is_left_out(decided: Fitted) -> None:
    spec = toy_spec().model_copy(update={"failure_modes": ()})
    torch.manual_seed(0)
    operator = build_operator(OperatorConfig(width=8, members=2), spec).eval()
    config = toy_config(epochs=1)
    assert config.scoring is not None
    parts = {
        name: (sequences, labels_of(sequences, spec, config))
        for name, (sequences, _) in decided.parts.items()
    }
    trained = Trained(operator, spec, Calibration())
    scorer = fit_scorer(trained, parts, config.scoring, config.reward)
    assert scorer.document.evidence["risk"].gain is None
    assert scorer.document.effect["risk"] == 0.0
    settings = Settings(resamples=20)
    assessor = Assessor(trained)
    results = evaluate_scoring(assessor, scorer, *parts["calibration"], config.reward, settings)
    assert not any("risk" in m.key for m in results.metrics)


def test_too_few_chunks_are_refused_with_their_number(decided: Fitted) -> None:
    config = toy_config().scoring
    assert config is not None
    few = {name: (s[:1], labels[:1]) for name, (s, labels) in decided.parts.items()}
    with pytest.raises(TooFewEpisodesError, match="at least 100 are needed"):
        fit_scorer(decided.trained, few, config, RewardConfig())


def test_the_network_that_is_fitted_is_the_one_that_runs(decided: Fitted) -> None:
    scorer = decided.scorer
    chunks = chunks_of(decided, 2, decides=True)
    chunks = chunks.take(np.flatnonzero(chunks.full))
    judge = Assessor(decided.trained).judge
    here = scorer.situation(chunks.latent, chunks.packed, chunks.newest, chunks.known, judge)
    rows = scorer.chunk_inputs(here, chunks.path)
    for name, given in (("base", None), ("effect", rows)):
        state = {
            key.removeprefix(f"{name}."): torch.from_numpy(array)
            for key, array in scorer.arrays.items()
            if key.startswith(f"{name}.")
        }
        side = here.inputs.shape[1]
        branch = Branch(side, 0 if given is None else rows.shape[1], 5, scorer.config).eval()
        branch.load_state_dict(state)
        with torch.no_grad():
            chunk = None if given is None else torch.from_numpy(given)
            torched = branch(torch.from_numpy(here.inputs), chunk).mean(dim=0).numpy()
        ran = scorer._base(here.inputs) if given is None else scorer.effect(here, rows)
        np.testing.assert_allclose(torched, ran, atol=1e-5)
