from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pro_ros.model.config import (
    NumericEncoderConfig,
    OperatorConfig,
    TemporalConfig,
    VisualEncoderConfig,
)
from pro_ros.model.operator import Inputs, Operator
from pro_ros.streams.spec import ImageSpec

LAYOUT = {"state": ("q1", "q2", "q3"), "telemetry": ("fx", "fz"), "action": ("u",)}
CAMERAS = {"wrist": ImageSpec(height=16, width=16), "front": ImageSpec(height=8, width=24)}
MODES = ("grip_lost", "protective_stop")

STILL = NumericEncoderConfig(feature_dropout=0.0, column_dropout=0.0)
STEADY = TemporalConfig(lag_dropout=0.0, far_dropout=0.0)

configs = st.builds(
    lambda kind, window, members, parting, embedding, encoder: OperatorConfig(
        width=8,
        members=members,
        token_activation="relu" if encoder.get("hidden") else "none",
        temporal=TemporalConfig(kind=kind, window=window, heads=2, members_from=parting),
        numeric=NumericEncoderConfig(embedding=embedding, bins=4, **encoder),
        visual=VisualEncoderConfig(channels=(4, 8)),
    ),
    st.sampled_from(["taps", "attention"]),
    st.integers(1, 8),
    st.integers(1, 3),
    st.sampled_from(["taps", "layers"]),
    st.sampled_from(["piecewise", "rank", "standard"]),
    st.sampled_from([{}, {"hidden": 5}, {"encoder": "none"}]),
)


def built(config=None, layout=LAYOUT, cameras=None, modes=MODES, seed=0) -> Operator:
    torch.manual_seed(seed)
    operator = Operator(config or OperatorConfig(width=8, members=2), layout, cameras or {}, modes)
    with torch.no_grad():
        for parameter in operator.parameters():
            if parameter.numel() and parameter.abs().max() == 0:
                parameter.normal_()
    return operator.eval()


def drawn(operator: Operator, batch=2, steps=7, restarts=0.2) -> Inputs:
    cameras = operator.cameras
    text = torch.randn(batch, steps, operator.text_encoder.size)
    text[torch.rand(batch, steps) < 0.3] = 0
    return Inputs(
        values={m: 2 * torch.randn(batch, steps, len(f)) for m, f in operator.layout.items()},
        mask={m: torch.rand(batch, steps, len(f)) < 0.7 for m, f in operator.layout.items()},
        restart=torch.rand(batch, steps) < restarts,
        text=text,
        frames={
            c: torch.randint(0, 256, (batch, steps, 3, s.height, s.width), dtype=torch.uint8)
            for c, s in cameras.items()
        },
        frame_mask={c: torch.rand(batch, steps) < 0.6 for c in cameras},
    )


def at(inputs: Inputs, t: int) -> Inputs:
    def cut(tensors):
        return {name: tensor[:, t : t + 1] for name, tensor in tensors.items()}

    return Inputs(
        cut(inputs.values),
        cut(inputs.mask),
        inputs.restart[:, t : t + 1],
        None if inputs.text is None else inputs.text[:, t : t + 1],
        cut(inputs.frames),
        cut(inputs.frame_mask),
    )


@settings(max_examples=40, deadline=None)
@given(configs, st.booleans(), st.sampled_from(["all", "no action", "action"]), st.integers(0, 99))
def test_a_step_gives_what_the_whole_sequence_gives(config, seeing, modalities, seed):
    layout = {
        "all": LAYOUT,
        "no action": {"telemetry": LAYOUT["telemetry"]},
        "action": {"action": LAYOUT["action"]},
    }[modalities]
    operator = built(config, layout, CAMERAS if seeing else {}, seed=seed)
    inputs = drawn(operator)
    with torch.no_grad():
        whole = operator(inputs)
        state = operator.init_state(2)
        for t in range(7):
            said, state = operator.step(at(inputs, t), state)
            for name, expected in vars(whole).items():
                found = getattr(said, name)[:, :, 0]
                torch.testing.assert_close(found, expected[:, :, t], atol=1e-5, rtol=1e-5)


def test_outputs_have_the_shapes_that_they_promise():
    operator = built()
    said = operator(drawn(operator, batch=3, steps=5))
    assert said.value.shape == said.termination.shape == said.success.shape == (2, 3, 5)
    assert said.hazard.shape == (2, 3, 5, 2, 3)


def test_an_operator_without_failure_modes_has_no_hazards():
    operator = built(modes=())
    assert operator(drawn(operator)).hazard.shape == (2, 2, 7, 0, 3)


@pytest.mark.parametrize("members", [1, 4])
def test_absent_values_are_never_looked_at(members):
    operator = built(OperatorConfig(width=8, members=members), cameras=CAMERAS)
    inputs = drawn(operator)
    other = copy.deepcopy(inputs)
    for modality, mask in other.mask.items():
        other.values[modality][~mask] = torch.nan
    for camera, mask in other.frame_mask.items():
        other.frames[camera][~mask] = 255
    with torch.no_grad():
        a, b = operator(inputs), operator(other)
    for name in vars(a):
        assert torch.equal(getattr(a, name), getattr(b, name))


def test_every_modality_is_read():
    operator = built(cameras=CAMERAS)
    inputs = drawn(operator, batch=1, steps=1)
    for mask in [*inputs.mask.values(), *inputs.frame_mask.values()]:
        mask[:] = True
    inputs.text = torch.randn(1, operator.text_encoder.size)
    with torch.no_grad():
        reference = operator(inputs).value
        for part in ("state", "telemetry", "action", "wrist", "front", "text"):
            changed = copy.deepcopy(inputs)
            if part == "text":
                changed.text = torch.zeros_like(changed.text)
            else:
                (changed.mask if part in LAYOUT else changed.frame_mask)[part][:] = False
            assert (operator(changed).value - reference).abs().max() > 1e-6, part


def test_one_goal_for_a_sequence_equals_the_same_goal_at_each_step():
    operator = built()
    inputs = drawn(operator)
    goal = torch.randn(2, operator.text_encoder.size)
    inputs.text = goal
    with torch.no_grad():
        once = operator(inputs).value
        inputs.text = goal.unsqueeze(1).expand(-1, 7, -1)
        torch.testing.assert_close(operator(inputs).value, once)
        inputs.text = None
        absent = operator(inputs).value
        inputs.text = torch.zeros(2, operator.text_encoder.size)
        torch.testing.assert_close(operator(inputs).value, absent)


def test_precomputed_features_replace_frames():
    operator = built(cameras=CAMERAS)
    inputs = drawn(operator)
    with torch.no_grad():
        reference = operator(inputs).value
        inputs.features = {c: operator.frame_features(f) for c, f in inputs.frames.items()}
        inputs.frames = {}
        torch.testing.assert_close(operator(inputs).value, reference, atol=1e-5, rtol=1e-5)


def test_modality_dropout_is_drawn_per_sequence_and_repeats_with_the_seed():
    config = OperatorConfig(
        width=8, dropout=0.0, modality_dropout=0.5, numeric=STILL, temporal=STEADY
    )
    operator = built(config).train()
    inputs = drawn(operator, batch=1, steps=4)
    for mask in inputs.mask.values():
        mask[:] = True
    inputs.text = torch.randn_like(inputs.text)
    many = Inputs(
        {m: v.expand(64, -1, -1) for m, v in inputs.values.items()},
        {m: v.expand(64, -1, -1) for m, v in inputs.mask.items()},
        inputs.restart.expand(64, -1),
        inputs.text.expand(64, -1, -1),
    )
    torch.manual_seed(3)
    first = operator(many).value
    torch.manual_seed(3)
    assert torch.equal(operator(many).value, first)
    # Which of state, telemetry, action and text are kept, but never text alone or nothing.
    assert 4 < len(torch.unique(first[0, :, 0].detach().round(decimals=5))) <= 14
    operator.eval()
    assert len(torch.unique(operator(many).value[0, :, 0].round(decimals=5))) == 1


def test_a_dropped_modality_equals_an_absent_one():
    config = OperatorConfig(
        width=8, dropout=0.0, modality_dropout=0.99, numeric=STILL, temporal=STEADY
    )
    operator = built(config, layout={"state": LAYOUT["state"], "telemetry": LAYOUT["telemetry"]})
    inputs = drawn(operator, batch=200)
    kept = []
    operator.train()
    original = operator._kept
    operator._kept = lambda given: kept.append(original(given)) or kept[-1]
    torch.manual_seed(0)
    dropped = operator(inputs).value
    operator.eval()
    for modality in operator.layout:
        inputs.mask[modality] &= kept[0][modality].unsqueeze(-1)
    inputs.text = inputs.text * kept[0]["text"].unsqueeze(-1)
    assert not all(bool(k.all()) for k in kept[0].values())
    torch.testing.assert_close(operator(inputs).value, dropped)


def test_priors_set_the_rates_that_an_untrained_operator_says():
    operator = built()
    rates = torch.tensor([[0.01, 0.02, 0.0], [0.3, float("nan"), 1.0]])
    operator.set_prior(rates, termination=0.2, success=0.9, value=0.7)
    with torch.no_grad():
        operator.heads.weight.zero_()
        said = operator(drawn(operator))
    hazard = said.hazard.sigmoid()[0, 0, 0]
    expected = torch.tensor([[0.01, 0.02, 1e-5], [0.3, 0.5, 1 - 1e-5]])
    torch.testing.assert_close(hazard, expected)
    assert float(said.termination.sigmoid()[0, 0, 0]) == pytest.approx(0.2)
    assert float(said.success.sigmoid()[1, 1, 3]) == pytest.approx(0.9)
    assert float(said.value[0, 0, 0]) == pytest.approx(0.7)


def test_normalisation_is_fitted_per_modality_in_layout_order():
    operator = built()
    arrays = {
        m: (torch.full((10, len(f)), n).numpy(), torch.ones(10, len(f), dtype=torch.bool).numpy())
        for n, (m, f) in enumerate(LAYOUT.items())
    }
    operator.fit_normalisation(dict(reversed(arrays.items())))
    assert operator.columns.low.tolist() == [0, 0, 0, 1, 1, 2]


def test_an_operator_that_only_sees_has_nothing_to_fit():
    operator = built(OperatorConfig(width=8), layout={}, cameras=CAMERAS)
    operator.fit_normalisation({})
    assert operator(drawn(operator)).value.isfinite().all()


def test_only_matrices_decay():
    operator = built()
    decayed, free = (group["params"] for group in operator.parameter_groups(0.1))
    assert len(decayed) + len(free) == len(list(operator.parameters()))
    names = {id(p): n for n, p in operator.named_parameters()}
    assert {names[id(p)].rsplit(".", 1)[1] for p in decayed} == {"weight"}
    assert all(p.ndim > 1 for p in decayed)
    assert {
        "temporal.split.r",
        "temporal.layers.0.enter.s",
        "temporal.taps.bias",
        "temporal.before",
    } <= {names[id(p)] for p in free}


def test_copies_share_the_frozen_text_encoder():
    operator = built()
    assert copy.deepcopy(operator).text_encoder is operator.text_encoder


def test_features_and_taps_are_dropped_in_training_only():
    numeric = NumericEncoderConfig(feature_dropout=0.5, column_dropout=0.0)
    for config in (
        OperatorConfig(
            width=8, dropout=0.0, modality_dropout=0.0, numeric=numeric, temporal=STEADY
        ),
        OperatorConfig(
            width=8, dropout=0.0, modality_dropout=0.0, numeric=STILL,
            temporal=TemporalConfig(lag_dropout=0.0, far_dropout=0.5),
        ),
    ):  # fmt: skip
        operator = built(config)
        inputs = drawn(operator, restarts=0.0)
        assert torch.equal(operator(inputs).value, operator(inputs).value)
        operator.train()
        torch.manual_seed(0)
        first = operator(inputs).value
        assert not torch.equal(operator(inputs).value, first)
        torch.manual_seed(0)
        assert torch.equal(operator(inputs).value, first)


def test_older_taps_are_dropped_more_often():
    config = OperatorConfig(temporal=TemporalConfig(window=5, lag_dropout=0.1, far_dropout=0.4))
    chance = built(config).temporal.lag_dropout
    torch.testing.assert_close(chance, torch.tensor([0.5, 0.4, 0.3, 0.2, 0.1]))
