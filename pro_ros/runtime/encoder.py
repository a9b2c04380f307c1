"""What the monitor says, as the bytes of messages: for a bag, or for a publisher."""

from __future__ import annotations

import math
import struct
from typing import Any

from pro_ros.interfaces import (
    ASSESSMENT,
    REWARD,
    RISK,
    Source,
    StepInfo,
    assessment_message,
    reward_message,
    typestore,
    validity_bits,
)
from pro_ros.runtime.monitor import Statement
from pro_ros.runtime.reward import RewardTerms
from pro_ros.runtime.template import Template

NS = 1_000_000_000

FLOAT = "std_msgs/msg/Float32"

RISK_FIELDS = (
    "header.stamp", "sequence", "validity", "risk", "mode_risk", "mode_distribution", "spread",
    "alarm", "alarm_level", "alarm_threshold", "alarm_score", "alarm_horizon",
)  # fmt: skip
"""What changes from step to step in a ``Risk`` of one shape; the same for the others below."""

ASSESSMENT_FIELDS = (
    "header.stamp", "sequence", "validity", "value", "progress", "termination", "success",
    *(f"risk.{field}" for field in RISK_FIELDS), "window_start", "window_end", "ages", "latency",
)  # fmt: skip

REWARD_FIELDS = (
    "header.stamp", "next_stamp", "sequence", "validity", "reward", "shaping", "risk_penalty",
    "value", "next_value", "risk", "gamma", "kappa", "risk_weight",
)  # fmt: skip

TOPICS = {
    "assessment": ASSESSMENT, "risk": RISK, "reward": REWARD,
    "progress": FLOAT, "value": FLOAT, "risk_any": FLOAT,
}  # fmt: skip
"""What is said at a step, and its message type. The last three are plain numbers, which every
plotting tool reads without the message definitions."""

PLAIN = struct.Struct("<4sf")
"""A ``Float32`` message."""

CDR = b"\x00\x01\x00\x00"
"""What every message begins with: little-endian CDR."""

MOST_SHAPES = 64
"""Templates kept: names of episodes and of stale streams make a shape of their own."""


class Encoder:
    """Serialises statements, through a :class:`Template` per shape.

    The bytes are those of the messages that :mod:`pro_ros.interfaces` builds.

    Parameters
    ----------
    source
        The monitor's.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self._store = typestore()
        self._assessments: dict[Any, tuple[Template, Template]] = {}
        self._rewards: dict[Any, Template] = {}
        self._validity: dict[tuple[str, ...], int] = {}

    def messages(self, said: Statement) -> list[tuple[str, bytes]]:
        """All of :data:`TOPICS` that a statement gives, as CDR; no reward after a restart."""
        assessment, risk = self.assessment(said)
        numbers = said.assessment
        valid = "VALID" in said.info.validity
        plain = (numbers.progress, numbers.value, float(numbers.risk[-1]))
        found = [("assessment", assessment), ("risk", risk)]
        if said.reward is not None:
            found.append(("reward", self.reward(said.reward, said.info)))
        for name, number in zip(("progress", "value", "risk_any"), plain, strict=True):
            found.append((name, PLAIN.pack(CDR, number if valid else math.nan)))
        return found

    def assessment(self, said: Statement) -> tuple[bytes, bytes]:
        """``pro_ros/Assessment`` and its ``pro_ros/Risk``, each as CDR."""
        info, alarm, numbers = said.info, said.alarm, said.assessment
        shape = (
            info.episode_id, tuple(info.ages), info.stale, info.faulty, alarm.basis, alarm.mode,
        )  # fmt: skip
        templates = self._assessments.get(shape)
        if templates is None:
            templates = _kept(self._assessments, shape, self._assessment_templates(said))
        state = [numbers.value, numbers.progress, numbers.termination, numbers.success]
        risks = [
            *numbers.risk.tolist(),
            *numbers.mode_risk.ravel().tolist(),
            *numbers.mode_distribution.tolist(),
            numbers.spread,
        ]
        score = alarm.score
        if "VALID" not in info.validity:
            state, risks, score = [math.nan] * len(state), [math.nan] * len(risks), math.nan
        stamp = divmod(numbers.t_ns, NS)
        first = (*stamp, info.sequence, self._bits(info.validity))
        risk = [
            *first, *risks, alarm.on, alarm.level, alarm.threshold, score, alarm.horizon,
        ]  # fmt: skip
        assessment = [
            *first, *state, *risk,
            *divmod(info.window_start_ns, NS), *stamp, *info.ages.values(), info.latency,
        ]  # fmt: skip
        return templates[0].fill(assessment), templates[1].fill(risk)

    def reward(self, terms: RewardTerms, info: StepInfo) -> bytes:
        """``pro_ros/Reward`` as CDR."""
        template = self._rewards.get(info.episode_id)
        if template is None:
            message = reward_message(self._store, terms, self.source, info)
            template = Template(self._store, REWARD, message, REWARD_FIELDS)
            _kept(self._rewards, info.episode_id, template)
        return template.fill(
            [
                *divmod(terms.t_ns, NS), *divmod(terms.next_ns, NS), terms.sequence,
                self._bits(info.validity), terms.reward, terms.shaping, terms.risk_penalty,
                terms.value, terms.next_value, terms.risk, terms.gamma, terms.kappa,
                terms.risk_weight,
            ]
        )  # fmt: skip

    def _assessment_templates(self, said: Statement) -> tuple[Template, Template]:
        message = assessment_message(
            self._store, said.assessment, self.source, said.info, said.alarm
        )
        return (
            Template(self._store, ASSESSMENT, message, ASSESSMENT_FIELDS),
            Template(self._store, RISK, message.risk, RISK_FIELDS),
        )

    def _bits(self, names: tuple[str, ...]) -> int:
        bits = self._validity.get(names)
        if bits is None:
            bits = self._validity[names] = validity_bits(names)
        return bits


def _kept(templates: dict[Any, Any], shape: Any, made: Any) -> Any:
    if len(templates) >= MOST_SHAPES:
        templates.clear()
    templates[shape] = made
    return made
