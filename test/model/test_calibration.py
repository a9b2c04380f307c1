from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pro_ros.config import parse_model
from pro_ros.errors import SpecError
from pro_ros.model.calibration import Affine, AlarmThreshold, Calibration, assess, mean_logit
from pro_ros.model.outputs import Outputs

MODES = ("a", "b")


def outputs(seed: int, members=3, steps=6, modes=2, bins=3, scale=3.0) -> Outputs:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return scale * torch.randn(members, 1, steps, *shape, generator=generator)

    return Outputs(draw(), draw(), draw(), draw(modes, bins))


affines = st.builds(Affine, slope=st.floats(0.05, 20), intercept=st.floats(-5, 5))
calibrations = st.builds(
    Calibration,
    hazard=st.dictionaries(st.sampled_from(MODES), affines),
    termination=affines,
    success=affines,
)


def times(steps: int) -> np.ndarray:
    return np.arange(steps, dtype=np.int64) * 10_000_000


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 999), calibrations, st.floats(0.1, 20))
def test_calibrated_risks_stay_coherent(seed, calibration, scale):
    said = assess(outputs(seed, scale=scale), calibration, MODES, times(6))
    for risk in (said.risk, said.mode_risk):
        assert (np.diff(risk, axis=-1) >= -1e-12).all()
        assert ((risk >= 0) & (risk <= 1)).all()
    assert (said.risk[:, None] >= said.mode_risk - 1e-12).all()
    assert (said.risk <= said.mode_risk.sum(axis=1) + 1e-12).all()
    np.testing.assert_allclose(said.mode_distribution.sum(axis=-1), 1.0, atol=1e-9)
    np.testing.assert_allclose(said.mode_distribution[:, -1], 1 - said.risk[:, -1], atol=1e-9)
    assert (said.spread >= 0).all()


def test_identity_calibration_is_the_mean_over_members():
    raw = outputs(0)
    said = assess(raw, Calibration(), MODES, times(6))
    np.testing.assert_allclose(said.termination, raw.termination.sigmoid().mean(0)[0], atol=1e-6)
    np.testing.assert_allclose(said.success, raw.success.sigmoid().mean(0)[0], atol=1e-6)
    np.testing.assert_allclose(said.value, raw.value.mean(0)[0], atol=1e-6)
    hazard = raw.hazard.sigmoid().mean(0)[0].double()
    expected = 1 - torch.cumprod(1 - hazard, dim=-1)
    np.testing.assert_allclose(said.mode_risk, expected, atol=1e-6)
    np.testing.assert_allclose(said.risk, 1 - (1 - expected).prod(dim=1), atol=1e-6)
    members = 1 - (1 - raw.hazard.sigmoid()).flatten(-2).prod(-1)[:, 0]
    np.testing.assert_allclose(said.spread, members.std(0, correction=0), atol=1e-6)


def test_each_head_and_mode_has_its_own_calibration():
    raw = outputs(1)
    plain = assess(raw, Calibration(), MODES, times(6))
    shifted = assess(raw, Calibration(hazard={"b": Affine(intercept=2.0)}), MODES, times(6))
    np.testing.assert_array_equal(plain.mode_risk[:, 0], shifted.mode_risk[:, 0])
    assert (shifted.mode_risk[:, 1] > plain.mode_risk[:, 1]).all()
    said = assess(raw, Calibration(success=Affine(slope=2.0, intercept=1.0)), MODES, times(6))
    logit = mean_logit(raw.success.double().numpy())[0]
    np.testing.assert_allclose(said.success, 1 / (1 + np.exp(-2 * logit - 1)), atol=1e-12)
    np.testing.assert_array_equal(said.termination, plain.termination)


def test_progress_is_the_change_of_value_and_zero_after_a_restart():
    restart = np.array([True, False, False, True, False, False])
    said = assess(outputs(2), Calibration(), MODES, times(6), restart)
    expected = np.diff(said.value, prepend=said.value[:1])
    expected[3] = 0.0
    np.testing.assert_array_equal(said.progress, expected)
    on = assess(outputs(2), Calibration(), MODES, times(6), previous=0.25)
    assert on.progress[0] == on.value[0] - 0.25


def test_without_failure_modes_there_is_no_risk():
    said = assess(outputs(0, modes=0), Calibration(), (), times(6))
    assert said.risk.shape == (6, 3)
    assert not said.risk.any()
    assert said.mode_distribution.tolist() == [[1.0]] * 6
    assert not said.spread.any()


def test_one_member_has_no_spread():
    assert not assess(outputs(0, members=1), Calibration(), MODES, times(6)).spread.any()


@pytest.mark.parametrize("logit", [-40.0, 40.0])
def test_mean_logit_keeps_extreme_probabilities(logit):
    x = np.array([logit, logit])
    assert float(mean_logit(x)) == pytest.approx(logit)


def test_one_step_is_a_row_of_the_arrays():
    said = assess(outputs(3), Calibration(), MODES, times(6))
    one = said.at(4)
    assert one.t_ns == 40_000_000
    for name in ("value", "progress", "termination", "success", "spread"):
        assert getattr(one, name) == getattr(said, name)[4]
    for name in ("risk", "mode_risk", "mode_distribution"):
        np.testing.assert_array_equal(getattr(one, name), getattr(said, name)[4])


def test_a_slope_that_would_turn_the_order_is_refused():
    with pytest.raises(SpecError, match=r"c: termination.slope: .*greater than 0"):
        parse_model({"termination": {"slope": -1.0}}, Calibration, "c")


def test_calibration_survives_json():
    alarm = AlarmThreshold(
        target="any", horizon=5.0, criterion="miss_rate", requested=0.1, threshold=0.2,
        episodes=50, events=12, hours=3.5, confidence=0.9, refractory_s=5.0, method="conformal",
    )  # fmt: skip
    given = Calibration(hazard={"a": Affine(slope=0.7)}, alarms=(alarm,), events={"a": 12})
    assert Calibration.model_validate_json(given.model_dump_json()) == given
