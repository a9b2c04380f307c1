"""The gate file: everything the retry gate may be told (docs/gate.md has a section per key)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from pro_ros.config import StrictModel, load_model

FORMAT: Final = "pro_ros/gate/1"

Seconds = Annotated[float, Field(ge=0.001, le=1e6)]
Probability = Annotated[float, Field(ge=0, le=1)]
Action = Literal["retry", "recover", "escalate", "abort"]
Caveat = Literal[
    "stale_input", "no_input", "warming_up", "not_calibrated", "out_of_range", "clock_fault",
    "restarted", "internal_error", "frozen_input", "incomplete_input", "overload",
]  # fmt: skip
Latching = Literal[
    "policy_failure", "policy_undecided", "risk_alarm", "predicted_failure", "attempt_timeout",
    "attempts_exhausted", "time_exhausted", "not_verified", "monitor_dead", "client_lost",
    "policy_rejected", "policy_lost", "recovery_failed",
]  # fmt: skip
"""Reasons that may be asked to latch; a few always do (docs/gate.md)."""


class LimitsConfig(StrictModel):
    """Bounds on attempts and time. A goal may lower the first three and never raise them."""

    max_attempts: int = Field(3, ge=1, description="Attempts per goal")
    max_duration: Seconds = Field(120.0, description="Time of a goal, pauses included [s]")
    attempt_timeout: Seconds = Field(30.0, description="Time of one attempt [s]")
    start_timeout: Seconds = Field(2.0, description="For the policy to accept or reject [s]")
    stop_timeout: Seconds = Field(1.0, description="From a stop to its confirmation [s]")
    recovery_timeout: Seconds = Field(20.0, description="For the recovery [s]")
    safe_action_timeout: Seconds = Field(10.0, description="For the safe action [s]")
    policy_silence: Seconds | None = Field(
        None, description="Without feedback for so long the policy is lost [s]"
    )
    retry_pause: float = Field(0.0, ge=0, le=1e6, description="Pause before a further attempt [s]")


class FreshnessConfig(StrictModel):
    """When an assessment counts, judged by the steady clock of the gate."""

    period: Seconds = Field(
        0.1,
        description="Period of assessments [s]; left out: what the monitor's heartbeat says",
    )
    periods: float = Field(
        2.0, gt=1, le=2, description="The gate closes at this age of the newest one [periods]"
    )
    needed: int = Field(
        3, ge=2, description="In a row before the gate opens, at first and after each silence"
    )
    model_id: str | None = Field(None, description="Only this checkpoint counts")
    refuse: tuple[Caveat, ...] = Field(
        ("clock_fault", "internal_error"),
        description="Caveats with which an assessment does not count, beside those that make it "
        "invalid",
    )

    @property
    def limit(self) -> float:
        """Age at which the gate closes [s]."""
        return self.period * self.periods


class AlarmConfig(StrictModel):
    """When a risk stops an attempt.

    What the calibration promises holds for ``count`` 1: with more, an alarm comes later and may
    be missed.
    """

    threshold: Literal["calibrated"] | Probability = Field(
        "calibrated", description="That of the checkpoint, or a number"
    )
    release: float = Field(
        0.8, gt=0, le=1, description="The risk is low again below this share of the threshold"
    )
    count: int = Field(1, ge=1, description="Assessments at or above the threshold ...")
    of: int = Field(1, ge=1, description="... among so many consecutive ones")
    max_alarms: int = Field(5, ge=1, description="Alarms at which the gate latches ...")
    in_attempts: int = Field(10, ge=1, description="... among so many latest attempts")

    @model_validator(mode="after")
    def _reachable(self) -> AlarmConfig:
        if self.count > self.of:
            raise ValueError("'count' is larger than 'of': no alarm could begin")
        if self.max_alarms > self.in_attempts:
            raise ValueError("'max_alarms' is larger than 'in_attempts': it could not be reached")
        return self


class EndingConfig(StrictModel):
    """When a predicted end without success stops an attempt, and when an end was a success."""

    enabled: bool = True
    termination: Probability = Field(0.8, description="P(about to end) at or above this, and ...")
    success: Probability = Field(0.2, description="... P(success) below this stop the attempt")
    count: int = Field(2, ge=1, description="Assessments that say so ...")
    of: int = Field(3, ge=1, description="... among so many consecutive ones")
    confirmed: Probability = Field(
        0.5, description="P(success) from which an end counts that the policy does not judge"
    )

    @model_validator(mode="after")
    def _reachable(self) -> EndingConfig:
        if self.count > self.of:
            raise ValueError("'count' is larger than 'of': nothing could be predicted")
        return self


class VerificationConfig(StrictModel):
    """What must hold before an attempt begins."""

    low_risk: bool = Field(True, description="The risk must be low, beside a fresh assessment")
    hold: float = Field(0.3, ge=0, description="... for so long [s]")
    timeout: Seconds = Field(10.0, description="The goal ends when it does not come true [s]")
    return_timeout: Seconds = Field(
        10.0, description="The same after a monitor's death with 'hold' [s]"
    )

    @model_validator(mode="after")
    def _in_time(self) -> VerificationConfig:
        if self.low_risk and self.hold >= min(self.timeout, self.return_timeout):
            raise ValueError("'hold' is not shorter than both timeouts: no attempt could begin")
        return self


MODES: dict[str, Action] = {
    "grip_lost": "retry",
    "drop": "recover",
    "jam": "recover",
    "timeout": "recover",
    "protective_stop": "escalate",
    "intervention": "escalate",
    "abort": "abort",
}
"""What follows the failures that robots log anyway (operator.md)."""


class CausesConfig(StrictModel):
    """What follows an attempt that failed, by its cause."""

    modes: dict[str, Action] = Field(
        default_factory=lambda: dict(MODES),
        description="By failure mode, as the stream file names them",
    )
    other: Action = Field("abort", description="Modes that are not listed, or not known")
    policy_failure: Action = Field("retry", description="The policy reported a failure")
    suspect: bool = Field(
        False,
        description="Where it reported no mode, it was the one behind the attempt's highest risk",
    )
    policy_undecided: Action = Field("abort", description="Nobody knows how it ended")
    attempt_timeout: Action = Field("recover", description="The attempt took too long")
    policy_rejected: Action = Field("abort", description="The policy did not accept")
    policy_lost: Action = Field("escalate", description="The policy is gone, but stopped")


class GateConfig(StrictModel):
    """The whole gate file. Read it with :func:`load_gate_config`."""

    format: Literal["pro_ros/gate/1"] = FORMAT
    limits: LimitsConfig = LimitsConfig()
    freshness: FreshnessConfig = FreshnessConfig()
    alarm: AlarmConfig = AlarmConfig()
    ending: EndingConfig = EndingConfig()
    verification: VerificationConfig = VerificationConfig()
    causes: CausesConfig = CausesConfig()
    on_monitor_death: Literal["hold", "cancel", "safe_action"] = Field(
        "cancel", description="What follows the stop when the monitor is dead"
    )
    safe_action_after_stop: bool = Field(
        False, description="The safe action follows every stop that the gate ordered"
    )
    latch_on: tuple[Latching, ...] = Field(
        ("recovery_failed",), description="Reasons that latch the gate beside those that always do"
    )

    @property
    def needs_safe_action(self) -> bool:
        """Whether the gate may order a safe action."""
        return self.safe_action_after_stop or self.on_monitor_death == "safe_action"

    @property
    def needs_recovery(self) -> bool:
        """Whether the gate may order a recovery."""
        causes = self.causes
        return "recover" in (
            *causes.modes.values(), causes.other, causes.policy_failure, causes.policy_undecided,
            causes.attempt_timeout, causes.policy_rejected, causes.policy_lost,
        )  # fmt: skip


def load_gate_config(path: Path | str) -> GateConfig:
    """Read a gate file.

    Raises
    ------
    SpecError
        one line that names the file, the key and what was expected.
    """
    return load_model(path, GateConfig)


def nanoseconds(seconds: float) -> int:
    """Seconds of a file as the nanoseconds that the gate counts in."""
    return round(seconds * 1e9)
