from __future__ import annotations

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from pro_ros.errors import CheckpointError, DataError, SpecError
from pro_ros.evaluation.metrics import auroc
from pro_ros.model.config import OperatorConfig
from pro_ros.model.operator import Inputs
from pro_ros.model.outputs import cumulative_risk
from pro_ros.training.config import (
    AlarmRequest,
    CalibrationConfig,
    LossConfig,
    OptimiserConfig,
    TrainingConfig,
)
from pro_ros.training.loop import Trainer
from pro_ros.training.train import check_alarms, fit, labels_of


def config(epochs: int = 4, **changes) -> TrainingConfig:
    model = OperatorConfig(
        width=16, members=2, horizons=(0.5, 1.0), temporal={"window": 4, "layers": 1}
    )
    optimiser = OptimiserConfig(
        epochs=epochs, chunk=20, batch=8, warmup_steps=2, learning_rate=5e-3, average=0.0
    )
    return TrainingConfig(model=model, optimiser=optimiser, **changes)


def fabric() -> Fabric:
    return Fabric(accelerator="cpu", devices=1)


def train(spec, sequences, settings, **options):
    return fit(spec, sequences[:16], sequences[16:20], settings, fabric(), **options)


def test_a_slip_that_announces_itself_is_learned(spec, sequences):
    operator, history = train(spec, sequences, config(epochs=12))
    held_out = sequences[20:]
    labels = labels_of(held_out, spec, config())
    score, truth = [], []
    for sequence, label in zip(held_out, labels, strict=True):
        text = np.zeros((len(sequence), operator.text_encoder.size), dtype=np.float32)
        with torch.no_grad():
            outputs = operator(Inputs.from_sequence(sequence, text))
        risk = cumulative_risk(outputs.hazard.numpy()).mean(0)[0, :, 0, -1]
        known = label.within_known[:, 0, -1]
        score.append(risk[known])
        truth.append(label.within[known, 0, -1] > 0)
    assert auroc(np.concatenate(score), np.concatenate(truth)).value > 0.9
    assert history.epochs[-1]["hazard"] < history.epochs[0]["hazard"]


@pytest.mark.parametrize("chunk", [4, 20, 400], ids=["shorter", "about", "longer"])
def test_the_learning_rate_falls_to_zero_at_the_end_and_not_before(
    spec, sequences, monkeypatch, chunk
):
    rates = []
    step = Trainer._step

    def watched(self, inputs, targets):
        found = step(self, inputs, targets)
        rates.append(self.optimiser.param_groups[0]["lr"])
        return found

    monkeypatch.setattr(Trainer, "_step", watched)
    settings = config(epochs=6)
    settings = settings.model_copy(
        update={"optimiser": settings.optimiser.model_copy(update={"chunk": chunk})}
    )
    train(spec, sequences, settings)
    peak = settings.optimiser.learning_rate
    assert rates[len(rates) // 2] == pytest.approx(peak / 2, rel=0.35)
    assert 0 < rates[-1] < 0.1 * peak
    assert rates[2:] == sorted(rates[2:], reverse=True)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(spec, sequences):
    first, _ = train(spec, sequences, config(epochs=2))
    again, _ = train(spec, sequences, config(epochs=2))
    other, _ = train(spec, sequences, config(epochs=2, seed=1))
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert any(not torch.equal(t, other.state_dict()[n]) for n, t in first.state_dict().items())


@pytest.mark.parametrize(
    "loss",
    [LossConfig(), LossConfig(value_target="td_lambda")],
    ids=["monte_carlo", "td_lambda"],
)
def test_a_killed_run_goes_on_as_if_nothing_had_happened(spec, sequences, tmp_path, loss):
    settings = config(epochs=5, loss=loss)
    whole, history = train(spec, sequences, settings)
    state = tmp_path / "state.safetensors"

    def kill(epoch, losses):
        if epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(spec, sequences, settings, state_path=state, report=kill, fingerprint="a")
    resumed, again = train(spec, sequences, settings, state_path=state, fingerprint="a")
    assert [e["total"] for e in again.epochs] == [e["total"] for e in history.epochs]
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_a_state_of_other_data_is_refused(spec, sequences, tmp_path):
    state = tmp_path / "state.safetensors"
    train(spec, sequences, config(epochs=1), state_path=state, fingerprint="a")
    with pytest.raises(CheckpointError, match="other data or another configuration"):
        train(spec, sequences, config(epochs=1), state_path=state, fingerprint="b")


def test_a_damaged_state_is_refused(spec, sequences, tmp_path):
    state = tmp_path / "state.safetensors"
    train(spec, sequences, config(epochs=1), state_path=state, fingerprint="a")
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="not a readable training state"):
        train(spec, sequences, config(epochs=1), state_path=state, fingerprint="a")


def test_training_stops_when_validation_no_longer_improves(spec, sequences):
    settings = config(epochs=200)
    settings = settings.model_copy(
        update={
            "optimiser": settings.optimiser.model_copy(
                update={"patience": 2, "learning_rate": 5e-2}
            )
        }
    )
    _, history = train(spec, sequences, settings)
    assert len(history.epochs) < 200
    assert len(history.epochs) == history.best_epoch + 2


def test_a_failure_mode_that_never_happens_is_named(spec, sequences):
    without = [s for s in sequences if not s.events]
    with pytest.raises(DataError, match="failure mode 'slip' never happens"):
        train(spec, without, config())


def test_an_alarm_on_an_unknown_failure_mode_is_refused(spec):
    def asked(target):
        alarm = AlarmRequest(target=target, horizon=1.0, miss_rate=0.2)
        return TrainingConfig(calibration=CalibrationConfig(alarms=(alarm,)))

    check_alarms(asked("any"), spec)
    check_alarms(asked("slip"), spec)
    with pytest.raises(SpecError, match=r"alarms\[0\]\.target: no failure mode 'slipp', did you"):
        check_alarms(asked("slipp"), spec)


def test_value_ranks_success_over_failure_after_training(spec, sequences):
    operator, _ = train(spec, sequences, config(epochs=12))
    last = {"success": [], "failure": []}
    for sequence in sequences[20:]:
        text = np.zeros((len(sequence), operator.text_encoder.size), dtype=np.float32)
        with torch.no_grad():
            value = operator(Inputs.from_sequence(sequence, text)).value.mean(0)[0]
        slipped = len(sequence) - 9
        last[sequence.episodes[0].outcome].append(float(value[slipped]))
    assert np.mean(last["success"]) > np.mean(last["failure"])
