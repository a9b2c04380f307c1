from __future__ import annotations

import pytest
import torch

from pro_ros.model.config import OperatorConfig
from pro_ros.model.members import MemberLinear, MemberPlain, MemberResidual, MemberSplit


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("shared", [True, False])
def test_each_member_has_its_own_scaled_weights(rows, shared):
    torch.manual_seed(0)
    layer = MemberLinear(3, 4, 6, diverse=True)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
    x = torch.randn(1 if shared else 3, rows, 4)
    said = layer(x)
    for e in range(3):
        weight = layer.r[e, 0][:, None] * layer.weight * layer.s[e, 0][None, :]
        own = x[0] if shared else x[e]
        torch.testing.assert_close(said[e], own @ weight + layer.bias[e], atol=1e-5, rtol=1e-5)


def test_members_differ_from_the_start_only_where_asked():
    torch.manual_seed(0)
    x = torch.ones(1, 2, 16)
    layer = MemberLinear(2, 16, 8)
    free = layer(x) - layer.bias
    torch.testing.assert_close(free[0], free[1])
    diverse = MemberLinear(2, 16, 8, diverse=True)
    free = diverse(x) - diverse.bias
    assert not torch.allclose(free[0], free[1], atol=1e-3)
    split = MemberSplit(2, 16)(x)
    assert set(split.abs().flatten().tolist()) == {1.0}
    assert not torch.equal(split[0], split[1])


def test_one_member_is_an_ordinary_layer():
    layer = MemberLinear(1, 5, 3, diverse=True)
    x = torch.randn(1, 7, 5)
    torch.testing.assert_close(layer(x)[0], x[0] @ layer.weight + layer.bias[0, 0])


@pytest.mark.parametrize("kind", [MemberResidual, MemberPlain])
def test_members_do_not_see_each_other(kind):
    torch.manual_seed(0)
    block = kind(OperatorConfig(width=8, members=2)).eval()
    x = torch.randn(2, 4, 8)
    y = x.clone()
    y[1] += 1.0
    before, after = block(x), block(y)
    assert torch.equal(before[0], after[0])
    assert not torch.allclose(before[1], after[1])
