from __future__ import annotations

import pytest
import torch

from pro_ros.training.objectives import (
    binary_loss,
    comparison_loss,
    hazard_loss,
    td_lambda_targets,
    weighted_mean,
)


def test_a_censored_bin_adds_nothing_to_the_loss():
    logit = torch.randn(2, 1, 4, 1, 3)
    target = torch.zeros(1, 4, 1, 3)
    weight = torch.ones(1, 4, 1, 3)
    weight[..., 2] = 0
    loss = hazard_loss(logit, target, weight, 1.0)
    changed = logit.clone()
    changed[..., 2] = 50.0
    assert hazard_loss(changed, target, weight, 1.0) == pytest.approx(float(loss))


def test_the_loss_is_the_mean_over_members_and_labels():
    logit = torch.tensor([[[0.0, 5.0]], [[2.0, 5.0]]])
    target = torch.tensor([[1.0, 1.0]])
    weight = torch.tensor([[1.0, 0.0]])
    expected = -(torch.sigmoid(torch.tensor([0.0, 2.0])).log()).mean()
    assert float(binary_loss(logit, target, weight)) == pytest.approx(float(expected))


def test_without_labels_the_loss_is_zero_and_has_a_gradient_path():
    logit = torch.randn(2, 1, 3, requires_grad=True)
    loss = weighted_mean(logit.square(), torch.zeros(1, 3))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert torch.isfinite(logit.grad).all()


def _naive_monte_carlo(reward, dt, ends, gamma):
    returns, following = [], 0.0
    for t in reversed(range(len(reward))):
        following = reward[t] + (0.0 if ends[t] else gamma ** dt[t] * following)
        returns.append(following)
    return returns[::-1]


def test_td_lambda_with_lambda_one_is_the_monte_carlo_return_of_finished_episodes():
    gen = torch.Generator().manual_seed(0)
    reward = torch.randn(1, 12, generator=gen)
    dt = torch.rand(1, 12, generator=gen)
    ends = torch.zeros(1, 12)
    ends[0, [4, 11]] = 1
    got = td_lambda_targets(
        torch.randn(1, 12, generator=gen), reward, dt, ends, torch.ones(1, 12), 0.9, 1.0
    )
    expected = _naive_monte_carlo(reward[0].tolist(), dt[0].tolist(), ends[0].tolist(), 0.9)
    assert got[0].tolist() == pytest.approx(expected, abs=1e-5)


def test_td_zero_bootstraps_from_the_next_value():
    value = torch.tensor([[1.0, 2.0, 3.0]])
    reward = torch.tensor([[0.5, 0.0, 0.25]])
    dt = torch.ones(1, 3)
    ends = torch.tensor([[0.0, 0.0, 1.0]])
    got = td_lambda_targets(value, reward, dt, ends, torch.ones(1, 3), 0.9, 0.0)
    assert got[0].tolist() == pytest.approx([0.5 + 0.9 * 2.0, 0.9 * 3.0, 0.25])


def test_a_comparison_is_lost_less_the_clearer_it_is_won():
    clear = comparison_loss(torch.tensor([[2.0]]), torch.tensor([[0.0]]))
    close = comparison_loss(torch.tensor([[0.1]]), torch.tensor([[0.0]]))
    wrong = comparison_loss(torch.tensor([[0.0]]), torch.tensor([[2.0]]))
    assert clear < close < wrong
