"""The monitor: steps in, complete statements out. Replay and the live node both use it.

It adds to the numbers of the operator what a reader needs in order to trust them: a sequence
number, validity, the window they rest on, the alarm, and the dense reward of each transition.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pro_ros.interfaces import Alarm as AlarmState
from pro_ros.interfaces import Source, StepInfo
from pro_ros.model.calibration import AlarmThreshold
from pro_ros.model.checkpoint import Checkpoint
from pro_ros.model.outputs import Assessment
from pro_ros.runtime.alarms import Alarm
from pro_ros.runtime.assessor import Assessor
from pro_ros.runtime.reward import RewardTerms, TransitionReward
from pro_ros.streams.sample import Step

BASIS = {"miss_rate": "MISS_RATE", "false_alarms_per_hour": "FALSE_ALARM_RATE"}
"""Suffix of the ``ALARM_*`` constant for each criterion of a calibrated threshold."""


@dataclass(frozen=True)
class Statement:
    """What is said at one step.

    ``reward`` belongs to the transition that ends at this step; None after a restart.
    ``alarm_begins``: an alarm begins at this step.
    """

    assessment: Assessment
    info: StepInfo
    alarm: AlarmState
    reward: RewardTerms | None
    alarm_begins: bool = False


class Monitor:
    """Runs a checkpoint over consecutive steps of one robot.

    Parameters
    ----------
    checkpoint
        What it runs. The first calibrated alarm threshold makes the alarm.
    device
        ``cpu`` or ``cuda``.
    task, context
        The goal; where both are empty, that of the stream file.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str = "cpu",
        task: str = "",
        context: Mapping[str, str] | None = None,
    ) -> None:
        self.assessor = Assessor(checkpoint, device, task, context)
        calibration = checkpoint.calibration
        self.source = Source(
            model_id=checkpoint.model_id,
            horizons=self.assessor.horizons,
            modes=self.assessor.modes,
            calibrated=calibration.fitted,
        )
        self._threshold = calibration.alarms[0] if calibration.alarms else None
        self._alarm = _alarm(self._threshold)
        self._reward = TransitionReward.from_training(checkpoint.meta.training)
        self._window = checkpoint.operator.config.temporal.window
        self._remembered: deque[int] = deque(maxlen=self._window)
        self._sequence = 0

    def follow(self, task: str, context: Mapping[str, str]) -> None:
        """Set the goal that a TaskContext tells, from the next step on.

        What it leaves open is as in the stream file, as it is in training.
        """
        default = self.assessor.checkpoint.spec.episodes
        self.assessor.set_task(task or default.task, {**default.context, **context})

    def state(self, step: Step) -> Statement:
        """Judge one step; steps come in order of time, a restart among them at will."""
        if step.restart:
            self._remembered.clear()
            self._reward.reset()
            if self._alarm is not None:
                self._alarm.reset()
        assessment = self.assessor.assess(step)
        self._remembered.append(step.t_ns)
        validity = self._validity(step, assessment)
        info = StepInfo(
            sequence=self._sequence,
            validity=validity,
            ages=step.ages,
            stale=step.stale,
            window_start_ns=self._remembered[0],
        )
        self._sequence += 1
        score, reward = math.nan, None
        if "VALID" in validity:
            score = self._score(assessment)
            reward = self._reward.update(assessment, info.sequence)
        else:
            # Numbers that may not be used neither raise an alarm nor earn a reward.
            self._reward.reset()
        alarm = self._alarm_state(step.t_ns, score)
        begins = self._alarm is not None and self._alarm.begins
        return Statement(assessment, info, alarm, reward, begins)

    def _validity(self, step: Step, assessment: Assessment) -> tuple[str, ...]:
        """Names of the ``VALIDITY_*`` bits that hold."""
        present = any(mask.any() for mask in step.mask.values()) or any(
            frame is not None for frame in step.frames.values()
        )
        # A sum is finite only if all its terms are.
        finite = math.isfinite(
            assessment.value
            + assessment.progress
            + assessment.termination
            + assessment.success
            + assessment.spread
            + float(np.add.reduce(assessment.risk))
        )
        bits = (
            ("VALID", present and finite),
            ("INTERNAL_ERROR", not finite),
            ("STALE_INPUT", bool(step.stale)),
            ("NO_INPUT", math.inf in step.ages.values()),
            ("WARMING_UP", len(self._remembered) < self._window),
            ("NOT_CALIBRATED", not self.source.calibrated),
            ("OUT_OF_RANGE", self.assessor.out_of_range(step) > 0.0),
            ("RESTARTED", step.restart),
        )
        return tuple([name for name, holds in bits if holds])

    def _score(self, assessment: Assessment) -> float:
        """The risk that the alarm compares."""
        threshold = self._threshold
        if threshold is None:
            return float(assessment.risk[-1]) if len(assessment.risk) else math.nan
        k = self.source.horizons.index(threshold.horizon)
        if threshold.target == "any":
            return float(assessment.risk[k])
        return float(assessment.mode_risk[self.source.modes.index(threshold.target), k])

    def _alarm_state(self, t_ns: int, score: float) -> AlarmState:
        threshold = self._threshold
        if threshold is None or self._alarm is None:
            return AlarmState(score=score, horizon=self.source.horizons[-1])
        return AlarmState(
            on=self._alarm.update(t_ns, score),
            basis=BASIS[threshold.criterion],
            level=threshold.requested,
            threshold=threshold.threshold,
            score=score,
            horizon=threshold.horizon,
            mode="" if threshold.target == "any" else threshold.target,
        )


def _alarm(threshold: AlarmThreshold | None) -> Alarm | None:
    return None if threshold is None else Alarm(threshold.threshold, threshold.refractory_s)
