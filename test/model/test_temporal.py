from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pro_ros.model import temporal
from pro_ros.model.config import OperatorConfig, TemporalConfig
from pro_ros.model.temporal import Temporal, build_temporal, steps_since_restart

SIZE = 6

configs = st.builds(
    lambda kind, window, layers, heads, members, parting, block, activation: OperatorConfig(
        width=8,
        members=members,
        activation=activation,
        temporal=TemporalConfig(
            kind=kind,
            window=window,
            layers=layers,
            heads=heads,
            members_from=parting,
            block=block,
            hidden=12,
        ),
    ),
    st.sampled_from(["taps", "attention"]),
    st.integers(1, 9),
    st.integers(1, 3),
    st.sampled_from([1, 2, 4]),
    st.integers(1, 3),
    st.sampled_from(["taps", "layers"]),
    st.sampled_from(["plain", "residual"]),
    st.sampled_from(["relu", "gelu", "silu"]),
)


def built(config: OperatorConfig, seed: int = 0) -> Temporal:
    torch.manual_seed(seed)
    model = build_temporal(SIZE, config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.abs().max() == 0:
                parameter.normal_()
    return model


def stepped(model: Temporal, tokens: torch.Tensor, restart: torch.Tensor) -> torch.Tensor:
    state = model.init_state(len(tokens))
    said = []
    for t in range(tokens.shape[1]):
        state = model.reset(state, restart[:, t])
        latent, state = model.step(tokens[:, t], state)
        said.append(latent)
    return torch.stack(said, dim=2)


@settings(max_examples=60, deadline=None)
@given(configs, st.integers(0, 1000), st.integers(1, 24), st.integers(1, 3))
def test_stepping_equals_running_the_whole_sequence(config, seed, steps, batch):
    model = built(config, seed)
    tokens = torch.randn(batch, steps, SIZE)
    restart = torch.rand(batch, steps) < 0.2
    with torch.no_grad():
        whole, single = model(tokens, restart), stepped(model, tokens, restart)
    assert whole.shape == (config.members, batch, steps, 12)
    torch.testing.assert_close(single, whole, atol=1e-5, rtol=1e-5)


@settings(max_examples=40, deadline=None)
@given(configs, st.integers(0, 1000), st.data())
def test_an_output_depends_on_exactly_the_window_since_the_restart(config, seed, data):
    model = built(config, seed)
    steps = 20
    tokens = torch.randn(1, steps, SIZE)
    restart = torch.zeros(1, steps, dtype=torch.bool)
    restart[0, data.draw(st.integers(0, steps - 1))] = True
    at = data.draw(st.integers(0, steps - 1))
    changed = tokens.clone()
    changed[0, at] += 1.0
    with torch.no_grad():
        moved = (model(changed, restart) - model(tokens, restart)).abs().amax((0, 1, 3)) > 1e-7
    t = torch.arange(steps)
    since = steps_since_restart(restart)[0]
    reach = (t - at >= 0) & (t - at < config.temporal.window) & (t - at <= since)
    assert torch.equal(moved, reach)


@pytest.mark.parametrize("kind", ["taps", "attention"])
def test_members_part(kind):
    model = built(OperatorConfig(width=8, members=3, temporal=TemporalConfig(kind=kind)))
    said = model(torch.randn(2, 5, SIZE), torch.zeros(2, 5, dtype=torch.bool))
    assert (said[0] - said[1]).abs().max() > 1e-3


def test_attention_in_blocks_equals_attention_at_once(monkeypatch):
    config = OperatorConfig(width=8, temporal=TemporalConfig(kind="attention", window=6))
    model = built(config)
    tokens, restart = torch.randn(2, 23, SIZE), torch.rand(2, 23) < 0.1
    with torch.no_grad():
        whole = model(tokens, restart)
        monkeypatch.setattr(temporal, "BLOCK", 4)
        torch.testing.assert_close(model(tokens, restart), whole, atol=1e-6, rtol=1e-6)


def test_steps_since_restart_counts_from_the_first_step():
    restart = torch.tensor([[False, False, True, False, False], [True, False, False, True, True]])
    expected = [[0, 1, 0, 1, 2], [0, 1, 2, 0, 0]]
    assert steps_since_restart(restart).tolist() == expected


@pytest.mark.parametrize("kind", ["taps", "attention"])
@pytest.mark.parametrize("parting", ["taps", "layers"])
def test_all_parameters_learn(kind, parting):
    config = OperatorConfig(
        width=8, temporal=TemporalConfig(kind=kind, window=3, members_from=parting)
    )
    model = built(config)
    said = model(torch.randn(2, 9, SIZE), torch.rand(2, 9) < 0.2)
    (said * torch.randn_like(said)).sum().backward()
    idle = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert not idle
