"""Configuration of the action scorer (``scoring:`` in a training file), stored with it."""

from __future__ import annotations

from pydantic import Field

from pro_ros.config import StrictModel
from pro_ros.model.config import Probability


class ScoringConfig(StrictModel):
    """Size of the scorer, how it is fitted, and when a chunk counts as known."""

    chunk: float = Field(0.5, gt=0, description="Length of the chunks that are scored [s]")
    points: int = Field(8, ge=1, le=64, description="Instants at which a chunk is read")
    hidden: int = Field(32, ge=4, le=512, description="Width of both hidden layers of a member")
    members: int = Field(4, ge=1, le=32, description="Independent members that are averaged")
    dropout: Probability = Field(0.1, description="Of the hidden layers")
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(3e-2, ge=0)
    batch: int = Field(512, ge=1, description="Chunks per optimiser step")
    epochs: int = Field(60, ge=1)
    patience: int = Field(8, ge=1, description="Epochs without a better validation loss")
    most_chunks: int = Field(
        20_000, ge=100, description="Chunks of each part that are used at most, drawn at random"
    )
    support: float = Field(
        0.99, gt=0, lt=1,
        description="Share of held-out executed chunks that count as like the training's",
    )  # fmt: skip
    support_chunks: int = Field(
        512, ge=8, le=8192, description="Training chunks that are kept to compare with"
    )
    only_proven: bool = Field(
        True, description="Use the chunk only for what it provably tells on held-out episodes"
    )
