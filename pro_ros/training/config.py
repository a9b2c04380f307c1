"""The training file: everything that ``pro-ros train`` may be told (docs/training.md)."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from pro_ros.config import StrictModel
from pro_ros.episodes.labels import RewardConfig
from pro_ros.model.config import OperatorConfig
from pro_ros.model.scorer_config import ScoringConfig

FORMAT: Final = "pro_ros/training/1"

Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


class SplitConfig(StrictModel):
    """Which episodes train, stop training early, calibrate, and test.

    ``by``: ``time`` (contiguous blocks in the order of recording), ``group`` (an episode's
    ``group``), ``site``, ``day`` or ``episode``. What remains beside the three shares trains.
    """

    by: Literal["episode", "group", "site", "day", "time"] = "episode"
    validation: Share = Field(0.15, description="Share of episodes for early stopping")
    calibration: Share = Field(0.15, description="Share of episodes for calibration")
    test: Share = Field(0.0, description="Share of episodes never touched by training")

    @model_validator(mode="after")
    def _something_trains(self) -> SplitConfig:
        if self.validation + self.calibration + self.test >= 1:
            raise ValueError("validation, calibration and test leave nothing to train on")
        return self


class LossConfig(StrictModel):
    """Weights of the objectives, and how the value target is formed.

    The value target is the Monte-Carlo return of the implicit reward, or a TD(lambda) return
    bootstrapped from a slow copy of the weights (Sutton and Barto 2018, ch. 12).
    """

    hazard: Weight = 1.0
    value: Weight = 0.1
    termination: Weight = 0.1
    success: Weight = 0.1
    comparison: Weight = 0.02
    value_target: Literal["monte_carlo", "td_lambda"] = "monte_carlo"
    td_lambda: float = Field(0.95, ge=0, le=1)
    success_before_end: float = Field(
        0.3, ge=0, le=1,
        description="Weight of the success loss at steps before the end, relative to the end",
    )  # fmt: skip
    positive_weight: float = Field(
        1.0, gt=0, description="Weight of hazard positives; 1 keeps the likelihood"
    )


class ComparisonConfig(StrictModel):
    """Comparisons between runs of the same task (Bradley-Terry on V over segments)."""

    pairs: int = Field(16, ge=0, description="Pairs per optimiser step; 0: none")
    segment: float = Field(1.0, gt=0, description="Length of the compared segments [s]")
    faster_by: float = Field(
        0.1, ge=0, description="Relative difference in duration that counts as faster"
    )


class OptimiserConfig(StrictModel):
    """AdamW with warm-up, a schedule of the rate, averaged weights, early stopping."""

    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    schedule: Literal["cosine", "constant"] = Field(
        "cosine", description="Rate after warm-up: falling to 0 at the last epoch, or constant"
    )
    warmup_steps: int = Field(20, ge=0)
    batch: int = Field(16, ge=1, description="Chunks per optimiser step")
    chunk: int = Field(64, ge=1, description="Labelled steps per chunk")
    epochs: int = Field(60, ge=1)
    patience: int = Field(15, ge=1, description="Epochs without a better validation loss")
    clip: float = Field(1.0, gt=0, description="Largest gradient norm")
    average: float = Field(0.99, ge=0, lt=1, description="Decay of averaged weights; 0: none")
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"


class AlarmRequest(StrictModel):
    """An alarm threshold to be promised by calibration: exactly one criterion."""

    target: str = Field("any", description="'any' or a failure mode")
    horizon: float = Field(..., gt=0, description="One of model.horizons [s]")
    miss_rate: float | None = Field(None, gt=0, lt=1)
    false_alarms_per_hour: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _one_criterion(self) -> AlarmRequest:
        if (self.miss_rate is None) == (self.false_alarms_per_hour is None):
            raise ValueError("give either 'miss_rate' or 'false_alarms_per_hour'")
        return self


class CalibrationConfig(StrictModel):
    """Which alarm thresholds calibration tries to promise."""

    alarms: tuple[AlarmRequest, ...] = ()
    refractory: float = Field(
        5.0, gt=0, description="Time below the threshold that ends an alarm [s]"
    )
    most_false_alarms: int = Field(
        3, ge=1,
        description="False alarms of one episode that count at most in a promised rate; the "
        "fewer, the less data a promise needs",
    )  # fmt: skip


class TrainingConfig(StrictModel):
    """Contents of a training file."""

    format: Literal["pro_ros/training/1"] = FORMAT
    seed: int = Field(0, ge=0)
    model: OperatorConfig = OperatorConfig()
    reward: RewardConfig = RewardConfig()
    split: SplitConfig = SplitConfig()
    loss: LossConfig = LossConfig()
    comparison: ComparisonConfig = ComparisonConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    calibration: CalibrationConfig = CalibrationConfig()
    scoring: ScoringConfig | None = Field(
        None, description="Fit a scorer of actions behind the operator; absent: none"
    )

    @model_validator(mode="after")
    def _horizons_exist(self) -> TrainingConfig:
        for alarm in self.calibration.alarms:
            if alarm.horizon not in self.model.horizons:
                raise ValueError(
                    f"calibration asks for horizon {alarm.horizon:g} s; model.horizons has "
                    + ", ".join(f"{h:g}" for h in self.model.horizons)
                )
        return self
