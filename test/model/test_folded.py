from __future__ import annotations

import numpy as np
import pytest
import torch

from pro_ros.model.config import NumericEncoderConfig, OperatorConfig, TemporalConfig
from pro_ros.model.folded import FoldedStep
from pro_ros.model.operator import Inputs, Operator
from pro_ros.streams.spec import ImageSpec

ALL = {"state": ("a", "b"), "action": ("u",), "telemetry": ("f", "g", "h")}


def operator(layout=ALL, cameras=None, **changes) -> Operator:
    torch.manual_seed(0)
    config = OperatorConfig.model_validate(
        {"width": 16, "members": 3, "temporal": TemporalConfig(window=4), **changes}
    )
    made = Operator(config, layout, cameras or {}, ("slip", "jam"))
    with torch.no_grad():
        # What starts at zero or one would hide a fold that leaves it out.
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made.eval()


def rows(layout, steps: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    rng = np.random.default_rng(1)
    values = {m: rng.normal(0, 2, (steps, len(f))).astype(np.float32) for m, f in layout.items()}
    mask = {m: rng.random(v.shape) < 0.8 for m, v in values.items()}
    return values, mask


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"layout": {"telemetry": ("f",)}},
        {"layout": {"action": ("u", "v")}},
        {"activation": "gelu", "token_activation": "gelu", "head_norm": False},
        {"activation": "relu", "token_activation": "silu"},
        {"numeric": NumericEncoderConfig(hidden=5)},
        {"numeric": NumericEncoderConfig(embedding="standard")},
        {"numeric": NumericEncoderConfig(embedding="rank", spread=3.0)},
        {
            "numeric": NumericEncoderConfig(embedding="rank", bins=5, encoder="none"),
            "temporal": TemporalConfig(window=2, members_from="taps"),
        },
        {
            "numeric": NumericEncoderConfig(encoder="none"),
            "layout": {"state": ("s",), "telemetry": ("f", "g"), "action": ("u",)},
        },
        {"temporal": TemporalConfig(window=3, layers=3, block="plain", hidden=10)},
        {"temporal": TemporalConfig(window=5, members_from="taps")},
        {"temporal": TemporalConfig(window=1, layers=1)},
        {"members": 1},
    ],
)
@pytest.mark.parametrize("goal", [False, True])
def test_a_folded_step_gives_what_the_operator_gives(changes, goal):
    made = operator(**changes)
    folded = FoldedStep(made)
    text = np.zeros(made.text_encoder.size, dtype=np.float32)
    if goal:
        text = made.text_encoder.encode(["pick the box"])[0]
    folded.set_text(text)
    values, mask = rows(made.layout, 9)
    state = made.init_state(1)
    for t in range(9):
        inputs = Inputs(
            values={m: torch.from_numpy(v[None, t : t + 1]) for m, v in values.items()},
            mask={m: torch.from_numpy(v[None, t : t + 1]) for m, v in mask.items()},
            restart=torch.tensor([[t == 6]]),
            text=torch.from_numpy(text[None]),
        )
        with torch.no_grad():
            expected, state = made.packed_step(inputs, state)
        if t == 6:
            folded.reset()
        given = folded.step(
            {m: v[t] for m, v in values.items()}, {m: v[t] for m, v in mask.items()}
        )
        assert given.dtype == np.float32
        np.testing.assert_allclose(given, expected[:, 0, 0].numpy(), atol=1e-5)


def test_what_is_no_measurement_counts_as_absent_and_warns_of_nothing(recwarn):
    made = operator()
    values, mask = rows(made.layout, 1)
    mask = {m: np.ones_like(v) for m, v in mask.items()}
    absent = {m: v.copy() for m, v in mask.items()}
    absent["telemetry"][0] = False
    expected = FoldedStep(made).step(
        {m: v[0] for m, v in values.items()}, {m: v[0] for m, v in absent.items()}
    )
    for marker in (np.nan, np.inf, 3e38):
        values["telemetry"][0] = marker
        given = FoldedStep(made).step(
            {m: v[0] for m, v in values.items()}, {m: v[0] for m, v in mask.items()}
        )
        np.testing.assert_array_equal(given, expected)
    assert not recwarn


def test_the_callers_arrays_are_left_alone():
    made = operator({"state": ("a", "b")})
    values = {"state": np.array([np.nan, 1.0], dtype=np.float32)}
    mask = {"state": np.array([True, True])}
    FoldedStep(made).step(values, mask)
    assert np.isnan(values["state"][0])
    assert mask["state"].all()


def test_only_what_it_covers_is_folded():
    assert FoldedStep.can_fold(operator())
    assert not FoldedStep.can_fold(operator(temporal=TemporalConfig(kind="attention")))
    assert not FoldedStep.can_fold(operator(cameras={"wrist": ImageSpec(height=16, width=16)}))
