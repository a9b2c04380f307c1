"""The monitor: steps in, complete statements out. Replay and the live node both use it.

It adds to the numbers of the operator what a reader needs in order to trust them: a sequence
number, validity, the window they rest on, the alarm, and the dense reward of each transition.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np

from pro_ros.errors import SpecError, suggest
from pro_ros.interfaces import Alarm as AlarmState
from pro_ros.interfaces import Source, StepInfo
from pro_ros.model.calibration import AlarmThreshold
from pro_ros.model.checkpoint import Checkpoint
from pro_ros.model.outputs import Assessment
from pro_ros.runtime.alarms import Alarm
from pro_ros.runtime.assessor import Assessor, Memory
from pro_ros.runtime.reward import RewardTerms, TransitionReward
from pro_ros.streams.sample import Step
from pro_ros.streams.spec import RobotSpec

BASIS = {"miss_rate": "MISS_RATE", "false_alarms_per_hour": "FALSE_ALARM_RATE"}
"""Suffix of the ``ALARM_*`` constant for each criterion of a calibrated threshold."""

REFRACTORY_S = 1.0
"""Of an alarm whose threshold was set by hand where none is calibrated [s]."""


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


@dataclass(frozen=True)
class Latest:
    """The newest judged step, what was said of it, and what the operator knows there."""

    step: Step
    statement: Statement
    memory: Memory


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
    optional
        Streams without which a statement may be valid, beside those that are not ``required``.

    Attributes
    ----------
    episode_id
        The episode that is running, for the messages; empty where it is not known.
    latest
        The newest judged step; None before the first, and where there is nothing to judge. It is
        replaced as a whole, so that another thread may read it.

    Raises
    ------
    SpecError
        ``optional`` names a stream that the checkpoint does not read.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str = "cpu",
        task: str = "",
        context: Mapping[str, str] | None = None,
        optional: Collection[str] = (),
    ) -> None:
        self._required = required_streams(checkpoint.spec, optional)
        self.episode_id = ""
        self.latest: Latest | None = None
        self.assessor = Assessor(checkpoint, device, task, context)
        calibration = checkpoint.calibration
        self.source = Source(
            model_id=checkpoint.model_id,
            horizons=self.assessor.horizons,
            modes=self.assessor.modes,
            calibrated=calibration.fitted,
        )
        self.set_alarm(None)
        self._reward = TransitionReward.from_training(checkpoint.meta.training)
        self._window = checkpoint.operator.config.temporal.window
        self._remembered: deque[int] = deque(maxlen=self._window)
        self._sequence = 0
        self._skipped_restart = self._skipped_fault = False

    def follow(self, task: str, context: Mapping[str, str]) -> None:
        """Set the goal that a TaskContext tells, from the next step on.

        What it leaves open is as in the stream file, as it is in training.
        """
        default = self.assessor.checkpoint.spec.episodes
        self.assessor.set_task(task or default.task, {**default.context, **context})

    def set_alarm(self, threshold: float | None) -> None:
        """Use another alarm threshold from the next step on; None: the calibrated one.

        It is compared with the risk that the calibrated one is for; where there is none, with
        that of any failure within the longest horizon.
        """
        alarms = self.assessor.checkpoint.calibration.alarms
        limit = _Limit.calibrated(alarms[0]) if alarms else None
        if threshold is not None:
            if limit is None:
                limit = _Limit("MANUAL", math.nan, 0.0, self.source.horizons[-1], "", REFRACTORY_S)
            limit = replace(limit, basis="MANUAL", level=math.nan, threshold=threshold)
        self._limit = limit
        self._alarm = None if limit is None else Alarm(limit.threshold, limit.refractory_s)

    def set_reward(self, kappa: float, risk_weight: float) -> None:
        """Weigh the terms of the reward anew, from the next step on."""
        self._reward.kappa = kappa
        self._reward.risk_weight = risk_weight

    def skip(self, step: Step) -> None:
        """Count a step that is not judged, because it would be late.

        A restart and a clock fault that it shows hold for the next one that is.
        """
        self._skipped_restart |= step.restart
        self._skipped_fault |= step.clock_fault
        self._sequence += 1

    def forget(self) -> None:
        """Empty the memory before the next step: what it holds may be damaged."""
        self.latest = None
        self._skipped_restart = True

    def silence(self, t_ns: int, ages: Mapping[str, float], failed: bool = False) -> Statement:
        """Say that there is nothing to judge: not valid, with the number of the step before.

        ``failed``: the operator itself failed.
        """
        self.latest = None
        modes, horizons = len(self.source.modes), len(self.source.horizons)
        nothing = Assessment(
            t_ns=t_ns,
            value=math.nan,
            progress=math.nan,
            termination=math.nan,
            success=math.nan,
            risk=np.full(horizons, math.nan),
            mode_risk=np.full((modes, horizons), math.nan),
            mode_distribution=np.full(modes + 1, math.nan),
            spread=math.nan,
        )
        streams = self.assessor.checkpoint.spec.input_streams
        stale = tuple(name for name, age in ages.items() if age > streams[name].stale_s)
        bits = (
            ("INTERNAL_ERROR", failed),
            ("STALE_INPUT", bool(stale)),
            ("NO_INPUT", math.inf in ages.values()),
            ("NOT_CALIBRATED", not self.source.calibrated),
        )
        info = StepInfo(
            sequence=max(0, self._sequence - 1),
            validity=tuple(name for name, holds in bits if holds),
            ages=ages,
            stale=stale,
            window_start_ns=self._remembered[0] if self._remembered else t_ns,
            episode_id=self.episode_id,
        )
        return Statement(nothing, info, self._alarm_state(t_ns, math.nan), None)

    def state(self, step: Step, dropped: Collection[str] = ()) -> Statement:
        """Judge one step; steps come in order of time, a restart among them at will.

        ``dropped``: streams of which samples were dropped since the step before.
        """
        if self._skipped_restart or self._skipped_fault:
            step = replace(
                step,
                restart=step.restart or self._skipped_restart,
                clock_fault=step.clock_fault or self._skipped_fault,
            )
            self._skipped_restart = self._skipped_fault = False
        if step.restart:
            self._remembered.clear()
            self._reward.reset()
            if self._alarm is not None:
                self._alarm.reset()
        assessment = self.assessor.assess(step)
        self._remembered.append(step.t_ns)
        faulty = (*step.frozen, *step.incomplete, *dropped)
        validity = self._validity(step, assessment, faulty, bool(dropped))
        info = StepInfo(
            sequence=self._sequence,
            validity=validity,
            ages=step.ages,
            stale=step.stale,
            window_start_ns=self._remembered[0],
            episode_id=self.episode_id,
            faulty=tuple(dict.fromkeys(faulty)),
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
        said = Statement(assessment, info, alarm, reward, begins)
        assert self.assessor.memory is not None
        self.latest = Latest(step, said, self.assessor.memory)
        return said

    def _validity(
        self, step: Step, assessment: Assessment, faulty: tuple[str, ...], overload: bool
    ) -> tuple[str, ...]:
        """Names of the ``VALIDITY_*`` bits that hold."""
        fed = not step.clock_fault and self._required.isdisjoint((*step.stale, *faulty))
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
            ("VALID", present and finite and fed),
            ("INTERNAL_ERROR", not finite),
            ("STALE_INPUT", bool(step.stale)),
            ("NO_INPUT", math.inf in step.ages.values()),
            ("WARMING_UP", len(self._remembered) < self._window),
            ("NOT_CALIBRATED", not self.source.calibrated),
            ("OUT_OF_RANGE", self.assessor.out_of_range(step) > 0.0),
            ("RESTARTED", step.restart),
            ("CLOCK_FAULT", step.clock_fault),
            ("FROZEN_INPUT", bool(step.frozen)),
            ("INCOMPLETE_INPUT", bool(step.incomplete)),
            ("OVERLOAD", overload),
        )
        return tuple([name for name, holds in bits if holds])

    def _score(self, assessment: Assessment) -> float:
        """The risk that the alarm compares."""
        limit = self._limit
        if limit is None:
            return float(assessment.risk[-1]) if len(assessment.risk) else math.nan
        k = self.source.horizons.index(limit.horizon)
        if not limit.mode:
            return float(assessment.risk[k])
        return float(assessment.mode_risk[self.source.modes.index(limit.mode), k])

    def _alarm_state(self, t_ns: int, score: float) -> AlarmState:
        limit = self._limit
        if limit is None or self._alarm is None:
            return AlarmState(score=score, horizon=self.source.horizons[-1])
        return AlarmState(
            on=self._alarm.update(t_ns, score),
            basis=limit.basis,
            level=limit.level,
            threshold=limit.threshold,
            score=score,
            horizon=limit.horizon,
            mode=limit.mode,
        )


def required_streams(spec: RobotSpec, optional: Collection[str] = ()) -> frozenset[str]:
    """Input streams without which no statement is valid.

    Raises
    ------
    SpecError
        ``optional`` names a stream that the operator does not read.
    """
    streams = spec.input_streams
    for name in optional:
        if name not in streams:
            raise SpecError(f"unknown optional stream '{name}'{suggest(name, streams)}")
    return frozenset(n for n, s in streams.items() if s.required and n not in optional)


@dataclass(frozen=True)
class _Limit:
    """The threshold that makes the alarm. ``mode`` is empty for any failure."""

    basis: str
    level: float
    threshold: float
    horizon: float
    mode: str
    refractory_s: float

    @classmethod
    def calibrated(cls, alarm: AlarmThreshold) -> _Limit:
        """As a checkpoint keeps it."""
        return cls(
            BASIS[alarm.criterion],
            alarm.requested,
            alarm.threshold,
            alarm.horizon,
            "" if alarm.target == "any" else alarm.target,
            alarm.refractory_s,
        )
