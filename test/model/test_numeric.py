from __future__ import annotations

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pro_ros.model.config import NumericEncoderConfig
from pro_ros.model.numeric import NumericColumns, NumericEncoder, quantile_edges, rank_steps

PIECEWISE = NumericEncoderConfig(bins=4)
STANDARD = NumericEncoderConfig(embedding="standard")
RANK = NumericEncoderConfig(embedding="rank", bins=4, spread=2.0)


def fitted(x: np.ndarray, config: NumericEncoderConfig, mask=None) -> NumericColumns:
    columns = NumericColumns(x.shape[1], config)
    columns.fit(x, np.ones(x.shape, bool) if mask is None else mask)
    return columns


def encode(columns: NumericColumns, values, mask=None) -> torch.Tensor:
    values = torch.tensor(values, dtype=torch.float32)
    mask = torch.ones_like(values, dtype=torch.bool) if mask is None else torch.tensor(mask)
    return columns(values, mask)


def test_piecewise_columns_are_positions_among_quantile_bins():
    x = np.linspace(0.0, 4.0, 401)[:, None]
    said = encode(fitted(x, PIECEWISE), [[0.0], [1.5], [4.0]])
    expected = [[0, 0, 0, 0, 0], [0, 1, 0.5, 0, 0], [0, 1, 1, 1, 1]]
    torch.testing.assert_close(said[:, 0], torch.tensor(expected, dtype=torch.float32))


def test_a_rank_is_the_place_among_the_training_data_and_its_spread_the_ends():
    x = np.geomspace(1.0, 1000.0, 401)[:, None]
    said = encode(fitted(x, RANK), x[[0, 100, 200, 400]])
    torch.testing.assert_close(said[:, 0, 0], torch.zeros(4))
    expected = torch.tensor([-2.0, -1.0, 0.0, 2.0])
    torch.testing.assert_close(said[:, 0, 1], expected, atol=1e-5, rtol=0)


def test_equal_values_share_the_mean_of_their_ranks():
    x = np.array([0.0] * 6 + [1.0, 2.0, 3.0, 4.0])
    # Of 0, 1 and 4 the ranks are 3, 6.5 and 9.5.
    steps = rank_steps(np.array([0.0, 1.0, 4.0]), x, 2.0)
    np.testing.assert_allclose(steps, np.array([3.5, 3.0]) * 4.0 / 6.5)


def test_the_rank_of_a_constant_says_nothing():
    said = encode(fitted(np.full((20, 1), 3.0), RANK), [[3.0], [8.0]])
    assert torch.equal(said, torch.zeros(2, 1, 2))


def test_an_encoder_of_kind_none_puts_columns_into_their_place_and_is_not_trained():
    encoder = NumericEncoder(2, 2, 7, NumericEncoderConfig(encoder="none"), begin=3).eval()
    columns = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    assert encoder(columns).tolist() == [[0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0]]
    assert not any(p.requires_grad for p in encoder.parameters())


def test_an_encoder_of_kind_none_has_no_hidden_layer():
    with pytest.raises(ValueError, match="encoder is none"):
        NumericEncoderConfig(encoder="none", hidden=5)


def test_standard_column_has_mean_zero_and_deviation_one():
    x = np.random.default_rng(0).normal(101325.0, 30.0, (500, 1)).astype(np.float32)
    said = encode(fitted(x, STANDARD), x)[:, 0, 1]
    assert abs(float(said.mean())) < 1e-3
    assert float(said.std()) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("config", [PIECEWISE, STANDARD, RANK])
@pytest.mark.parametrize("value", [0.0, 1e30, -1e30, np.nan, np.inf, -np.inf])
def test_what_stands_in_an_absent_place_is_never_looked_at(config, value):
    columns = fitted(np.random.default_rng(0).normal(size=(50, 2)), config)
    said = encode(columns, [[value, 0.3]], [[False, True]])
    reference = encode(columns, [[0.7, 0.3]], [[False, True]])
    assert torch.equal(said, reference)
    assert said[0, 0].tolist() == [1.0] + [0.0] * (said.shape[-1] - 1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_counts_as_absent(value):
    columns = fitted(np.random.default_rng(0).normal(size=(50, 1)), PIECEWISE)
    assert torch.equal(encode(columns, [[value]]), encode(columns, [[0.0]], [[False]]))


@pytest.mark.parametrize("config", [PIECEWISE, STANDARD, RANK])
def test_values_beyond_the_training_range_are_clamped_and_counted(config):
    columns = fitted(np.linspace(-1.0, 1.0, 50)[:, None].repeat(2, 1), config)
    values = torch.tensor([[5.0, 0.0], [1.0, -1.0], [-7.0, 9.0]])
    mask = torch.tensor([[True, True], [True, True], [True, False]])
    edge = torch.tensor([[1.0, 0.0], [1.0, -1.0], [-1.0, 0.0]])
    torch.testing.assert_close(columns(values, mask), columns(edge, mask))
    assert columns.out_of_range(values, mask).tolist() == [0.5, 0.0, 1.0]


def test_masked_training_values_do_not_move_the_statistics():
    x = np.linspace(0.0, 1.0, 100)[:, None]
    dirty = np.concatenate([x, np.full((100, 1), 1e6), np.full((5, 1), np.nan)])
    mask = np.concatenate(
        [np.ones((100, 1), bool), np.zeros((100, 1), bool), np.ones((5, 1), bool)]
    )
    clean, masked = fitted(x, PIECEWISE), fitted(dirty, PIECEWISE, mask)
    for name, buffer in clean.named_buffers():
        assert torch.equal(buffer, masked.get_buffer(name)), name


@pytest.mark.parametrize("config", [PIECEWISE, STANDARD, RANK])
def test_a_constant_feature_says_only_whether_it_is_there(config):
    columns = fitted(np.full((20, 1), 7.25), config)
    assert torch.equal(encode(columns, [[7.25]]), encode(columns, [[8.0]]))
    assert not torch.equal(encode(columns, [[7.25]]), encode(columns, [[7.25]], [[False]]))
    value, there = torch.tensor([[8.0]]), torch.tensor([[True]])
    assert float(columns.out_of_range(value, there)) == 1.0


@pytest.mark.parametrize("config", [PIECEWISE, STANDARD, RANK])
def test_a_feature_that_was_never_present_says_nothing(config):
    columns = fitted(np.zeros((20, 1)), config, np.zeros((20, 1), bool))
    said = encode(columns, [[3.0], [-1e20]])
    assert said.abs().sum() == 0
    assert float(columns.out_of_range(torch.tensor([[3.0]]), torch.tensor([[True]]))) == 1.0


def test_a_flag_takes_one_bin_and_keeps_both_levels_apart():
    x = np.array([0.0] * 90 + [1.0] * 10)
    assert quantile_edges(x, 16).tolist() == [0.0, 1.0]


def test_bins_saved_on_a_repeated_value_go_to_the_others():
    rng = np.random.default_rng(0)
    x = np.concatenate([np.zeros(900), rng.uniform(1.0, 2.0, 100)])
    assert len(quantile_edges(x, 8)) == 9


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        np.float32, st.integers(1, 60), elements=st.floats(-1e6, 1e6, width=32) | st.just(0.0)
    ),
    st.integers(2, 20),
)
def test_columns_are_finite_bounded_and_monotone_in_the_value(x, bins):
    columns = fitted(x[:, None], NumericEncoderConfig(bins=bins))
    said = encode(columns, np.sort(x)[:, None])[:, 0]
    assert torch.isfinite(said).all()
    assert said.min() >= 0
    assert said.max() <= 1
    assert (said.diff(dim=0) >= 0).all()


def test_statistics_are_part_of_the_state():
    fit = fitted(np.random.default_rng(1).normal(size=(30, 3)), PIECEWISE)
    other = NumericColumns(3, PIECEWISE)
    other.load_state_dict(fit.state_dict())
    values = [[0.1, -2.0, 30.0]]
    assert torch.equal(encode(other, values), encode(fit, values))


def test_a_hidden_width_makes_the_encoder_nonlinear():
    torch.manual_seed(0)
    x = torch.randn(3, 2, 5)
    for hidden, linear in ((0, True), (7, False)):
        encoder = NumericEncoder(2, 5, 4, NumericEncoderConfig(hidden=hidden)).eval()
        middle = encoder((x[0] + x[1]) / 2)
        same = torch.allclose(middle, (encoder(x[0]) + encoder(x[1])) / 2, atol=1e-6)
        assert same is linear
