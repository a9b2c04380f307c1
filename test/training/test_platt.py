from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from pro_ros.training.platt import MIN_POSITIVES, fit_platt


def test_a_known_distortion_is_undone():
    rng = np.random.default_rng(0)
    truth = rng.normal(-2, 1.5, 20000)
    target = (rng.random(20000) < expit(truth)).astype(float)
    slope, intercept = fit_platt((truth - 0.7) / 1.6, target, np.ones(20000, bool))
    assert slope == pytest.approx(1.6, abs=0.1)
    assert intercept == pytest.approx(0.7, abs=0.1)


def test_unknown_targets_do_not_count():
    logit = np.array([3.0] * 20 + [-3.0] * 20 + [9.0] * 500)
    target = np.array([1.0] * 20 + [0.0] * 20 + [0.0] * 500)
    known = np.arange(540) < 40
    slope, _ = fit_platt(logit, target, known)
    assert slope > 0.5


def test_too_few_positives_leave_the_logits_alone():
    target = np.zeros(1000)
    target[: MIN_POSITIVES - 1] = 1
    assert fit_platt(np.zeros(1000), target, np.ones(1000, bool)) is None
