from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pro_ros.model.outputs import Assessment
from pro_ros.runtime.reward import TransitionReward

SECOND = 1_000_000_000


def said(t_ns: int, value: float, risk: float = 0.0) -> Assessment:
    return Assessment(
        t_ns=t_ns, value=value, progress=0.0, termination=0.0, success=0.0,
        risk=np.array([risk / 2, risk]), mode_risk=np.zeros((1, 2)),
        mode_distribution=np.zeros(2), spread=0.0,
    )  # fmt: skip


@given(
    values=st.lists(st.floats(-10, 10), min_size=2, max_size=30),
    gaps=st.lists(st.integers(1, 5 * SECOND), min_size=30, max_size=30),
    discount=st.floats(0.5, 1.0),
    kappa=st.floats(0.0, 3.0),
)
def test_discounted_shaping_depends_on_the_ends_alone(values, gaps, discount, kappa):
    t_ns = np.concatenate([[0], np.cumsum(gaps)]).tolist()
    rewards = TransitionReward(discount, kappa, risk_weight=0.0)
    total, weight = 0.0, 1.0
    for n, value in enumerate(values):
        terms = rewards.update(said(t_ns[n], value), n)
        if terms is not None:
            assert terms.reward == terms.shaping
            total += weight * terms.shaping
            weight *= terms.gamma
    seconds = t_ns[len(values) - 1] / SECOND
    assert weight == pytest.approx(discount**seconds)
    assert total == pytest.approx(kappa * (weight * values[-1] - values[0]), abs=1e-9)


def test_a_reward_is_its_shaping_less_the_risk_of_the_step_it_leaves():
    rewards = TransitionReward(0.5, kappa=2.0, risk_weight=0.1)
    assert rewards.update(said(0, 1.0, risk=0.4), 7) is None
    terms = rewards.update(said(2 * SECOND, 8.0, risk=0.9), 8)
    assert terms is not None
    assert (terms.t_ns, terms.next_ns, terms.sequence) == (0, 2 * SECOND, 7)
    assert terms.gamma == 0.25
    assert terms.shaping == 2.0 * (0.25 * 8.0 - 1.0)
    assert terms.risk_penalty == pytest.approx(0.04)
    assert terms.reward == terms.shaping - terms.risk_penalty


def test_no_reward_reaches_over_a_reset():
    rewards = TransitionReward(1.0)
    rewards.update(said(0, 1.0), 0)
    rewards.reset()
    assert rewards.update(said(1, 2.0), 1) is None
    assert rewards.update(said(2, 3.0), 2) is not None


def test_the_discount_is_that_of_the_training():
    training = {"config": {"reward": {"discount_per_s": 0.9}}}
    assert TransitionReward.from_training(training).discount_per_s == 0.9
    assert 0.0 < TransitionReward.from_training({}).discount_per_s <= 1.0
