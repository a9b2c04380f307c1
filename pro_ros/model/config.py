"""Configuration of the operator, stored in every checkpoint (``model:`` in a training file)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pro_ros.config import StrictModel

Probability = Annotated[float, Field(ge=0, lt=1)]
Activation = Literal["none", "relu", "gelu", "silu"]


class NumericEncoderConfig(StrictModel):
    """Encoder of state, telemetry and action vectors.

    ``piecewise``: each number becomes its position among quantile bins of the training data
    (piecewise-linear encoding, Gorishniy et al. 2022), which resists outliers and long tails.
    ``rank``: its place among the training data as one number, 0 at the median, for few episodes:
    what is learned from ranks is smoother than from bins.
    ``standard``: (x - mean) / deviation.
    """

    embedding: Literal["piecewise", "rank", "standard"] = "piecewise"
    bins: int = Field(
        16, ge=2, le=128,
        description="Quantile bins of the piecewise embedding, or that ranks are read from",
    )  # fmt: skip
    spread: float = Field(
        1.0, gt=0, le=1000,
        description="Ranks run from minus to plus this; the larger, the less smooth at the start",
    )  # fmt: skip
    encoder: Literal["linear", "none"] = Field(
        "linear", description="none: tokens are the columns themselves, side by side"
    )
    hidden: int = Field(0, ge=0, le=4096, description="Hidden width; 0: one linear layer")
    feature_dropout: Probability = Field(
        0.2, description="Chance that a feature is masked in a training sequence"
    )
    column_dropout: Probability = Field(
        0.2, description="Chance that one column of the embedding is dropped at a training step"
    )

    @model_validator(mode="after")
    def _hidden_in_an_encoder(self) -> NumericEncoderConfig:
        if self.encoder == "none" and self.hidden:
            raise ValueError("'hidden' is the width of an encoder, and encoder is none")
        return self


class VisualEncoderConfig(StrictModel):
    """Encoder of camera frames.

    ``compact``: a small convolutional network trained from scratch. ``huggingface``: any vision
    model of the transformers library by name or local path, frozen unless ``train_backbone``,
    with a trained adapter on its pooled features (extra ``huggingface``).
    """

    kind: Literal["compact", "huggingface"] = "compact"
    model: str = Field("", description="Name or path for kind huggingface")
    train_backbone: bool = False
    channels: tuple[int, ...] = Field((16, 32, 64), min_length=1, max_length=6)

    @model_validator(mode="after")
    def _model_named(self) -> VisualEncoderConfig:
        if (self.kind == "huggingface") != bool(self.model):
            raise ValueError("'model' is needed for kind huggingface and for no other")
        return self


class TextEncoderConfig(StrictModel):
    """Frozen encoder of goal and context text.

    ``hashing``: built in, no download: signed hashing of words and character n-grams.
    ``huggingface``: mean-pooled states of any language model by name or path.

    A text that no training had, as a new site's name is, points where others' names happen to lie:
    ``task`` and ``context`` leave out what deployments do not share with the training data.
    """

    kind: Literal["hashing", "huggingface"] = "hashing"
    model: str = ""
    size: int = Field(64, ge=8, le=4096, description="Vector size of kind hashing")
    task: bool = Field(True, description="Whether the task's text is read")
    context: tuple[str, ...] | None = Field(
        None, description="Keys of the context that are read; left out: all"
    )

    @model_validator(mode="after")
    def _model_named(self) -> TextEncoderConfig:
        if (self.kind == "huggingface") != bool(self.model):
            raise ValueError("'model' is needed for kind huggingface and for no other")
        return self


class TemporalConfig(StrictModel):
    """Causal model over the last ``window`` fused tokens.

    ``taps``: a tapped delay line, one weight matrix per lag, then layers.
    ``attention``: causal self-attention over the window with a ring of keys and values.
    """

    kind: Literal["taps", "attention"] = "taps"
    window: int = Field(16, ge=1, le=4096, description="K, steps that the operator remembers")
    layers: int = Field(2, ge=1, le=16, description="Layers, the taps counted as one")
    hidden: int = Field(0, ge=0, le=4096, description="Width behind the tokens; 0: 'width'")
    heads: int = Field(4, ge=1, le=32, description="Attention heads")
    lag_dropout: Probability = Field(
        0.1, description="Chance that a tap is dropped at a training step (kind taps)"
    )
    far_dropout: Probability = Field(
        0.3, description="How much larger that chance is at the oldest tap, growing linearly"
    )
    members_from: Literal["taps", "layers"] = Field(
        "layers", description="Where ensemble members part: at the taps or behind (kind taps)"
    )
    block: Literal["plain", "residual"] = Field(
        "residual", description="Layers behind the taps: plain, or normed with a bypass"
    )


class OperatorConfig(StrictModel):
    """Size and shape of the operator. Capacity is kept small on purpose: it is a critic."""

    width: int = Field(64, ge=8, le=2048, description="Width of tokens and latent")
    members: int = Field(8, ge=1, le=64, description="Ensemble members that share weights")
    dropout: Probability = Field(0.1, description="Between layers")
    token_dropout: Probability = Field(0.0, description="Of the fused token")
    head_norm: bool = Field(True, description="Layer norm of the latent before the heads")
    activation: Activation = Field("silu", description="Between layers")
    token_activation: Activation = Field("none", description="Of the fused token")
    modality_dropout: Probability = Field(
        0.1, description="Chance that a whole modality is masked in a training sequence"
    )
    horizons: tuple[float, ...] = Field(
        (1.0, 2.0, 5.0), min_length=1, description="Risk horizons H [s], increasing"
    )
    termination_within: float = Field(
        1.0, gt=0, description="'About to end' means within so many seconds [s]"
    )
    numeric: NumericEncoderConfig = NumericEncoderConfig()
    visual: VisualEncoderConfig = VisualEncoderConfig()
    text: TextEncoderConfig = TextEncoderConfig()
    temporal: TemporalConfig = TemporalConfig()

    @model_validator(mode="after")
    def _sensible(self) -> OperatorConfig:
        if list(self.horizons) != sorted(set(self.horizons)) or self.horizons[0] <= 0:
            raise ValueError("'horizons' must be positive and increasing")
        if self.temporal.kind == "attention" and self.latent_width % self.temporal.heads:
            raise ValueError("the width of the attention must be divisible by 'temporal.heads'")
        return self

    @property
    def latent_width(self) -> int:
        """Width of the temporal latent h_t."""
        return self.temporal.hidden or self.width
