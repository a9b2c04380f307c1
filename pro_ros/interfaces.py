"""The public messages without ROS: definitions, and builders for what PRO says.

The definitions are read from the shipped ``msg/`` files, so that bags written here and nodes
built from the same files agree to the byte. Serialise with ``store.serialize_cdr(message, type)``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from pro_ros.paths import share_file

if TYPE_CHECKING:
    # Only named in annotations: the module behind it imports torch, which readers of bags skip.
    from pro_ros.model.outputs import Assessment
    from pro_ros.runtime.reward import RewardTerms

PACKAGE = "pro_ros/msg"
ASSESSMENT = f"{PACKAGE}/Assessment"
RISK = f"{PACKAGE}/Risk"
REWARD = f"{PACKAGE}/Reward"
TASK_CONTEXT = f"{PACKAGE}/TaskContext"
EPISODE_EVENT = f"{PACKAGE}/EpisodeEvent"

NAMES = (
    "Assessment", "AttemptRecord", "EpisodeEvent", "GateState", "Heartbeat", "Reward", "Risk",
    "TaskContext",
)  # fmt: skip

_SEPARATOR = "=" * 80 + "\nMSG: "


@lru_cache(maxsize=1)
def typestore() -> Typestore:
    """Types of ROS 2 Jazzy and the messages of this package; made once.

    Raises
    ------
    DataError
        the installation lacks the message files.
    """
    store = get_typestore(Stores.ROS2_JAZZY)
    types: dict[str, Any] = {}
    for name in NAMES:
        types.update(get_types_from_msg(message_text(name), f"{PACKAGE}/{name}"))
    store.register(types)
    return store


def message_text(name: str) -> str:
    """The message file itself, with the comments that say units and ranges."""
    return share_file(f"msg/{name}.msg").read_text(encoding="utf-8")


@lru_cache(maxsize=64)
def definition(msgtype: str) -> tuple[str, str]:
    """Text of a type with all that it uses, as bags embed it, and its RIHS01 hash.

    Messages of this package keep their comments: whoever opens the bag sees units and ranges.
    """
    store = typestore()
    plain, _ = store.generate_msgdef(msgtype, ros_version=2)
    first, *others = plain.split(_SEPARATOR)
    texts = [_commented(msgtype, first)]
    for other in others:
        name, _, body = other.partition("\n")
        texts.append(f"{name}\n{_commented(name.replace('/', '/msg/', 1), body)}")
    return _SEPARATOR.join(texts), store.hash_rihs01(msgtype)


def _commented(msgtype: str, plain: str) -> str:
    package, _, name = msgtype.rpartition("/")
    return message_text(name) if package == PACKAGE else plain


@lru_cache(maxsize=64)
def constants(name: str) -> Mapping[str, int]:
    """Constants of a message of this package: ``constants("EpisodeEvent")["KIND_DROP"]``."""
    fields: Any = typestore().fielddefs[f"{PACKAGE}/{name}"][0]
    return {constant: int(value) for constant, _, value in fields}


@dataclass(frozen=True)
class Alarm:
    """State of the alarm and what its threshold rests on (``Risk.msg``).

    ``basis``: suffix of an ``ALARM_*`` constant. ``score``: the risk that is compared, of
    ``mode`` (empty: any failure) within ``horizon`` [s]. ``level``: what was asked for.
    """

    on: bool = False
    basis: str = "NOT_SET"
    level: float = math.nan
    threshold: float = math.nan
    score: float = math.nan
    horizon: float = math.nan
    mode: str = ""


@dataclass(frozen=True)
class StepInfo:
    """What a message says beside the numbers of the assessment.

    ``validity``: names of the ``VALIDITY_*`` bits without the prefix; without ``VALID`` every
    number is written as NaN. ``ages``: per input stream [s], in the stream file's order.
    ``window_start_ns``: oldest remembered step [ns]. ``latency``: [s], 0 when offline.
    ``faulty``: streams that are frozen, incomplete or too fast.
    """

    sequence: int
    validity: tuple[str, ...]
    ages: Mapping[str, float]
    stale: tuple[str, ...]
    window_start_ns: int
    latency: float = 0.0
    episode_id: str = ""
    faulty: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """What stays the same for all messages of one checkpoint."""

    model_id: str
    horizons: tuple[float, ...]
    modes: tuple[str, ...]
    calibrated: bool


def time_message(store: Typestore, t_ns: int) -> Any:
    """``builtin_interfaces/Time`` of nanoseconds since the epoch."""
    sec, nanosec = divmod(int(t_ns), 1_000_000_000)
    return store.types["builtin_interfaces/msg/Time"](sec=sec, nanosec=nanosec)


def header_message(store: Typestore, t_ns: int) -> Any:
    """``std_msgs/Header`` with an empty frame: nothing PRO says has a frame."""
    return store.types["std_msgs/msg/Header"](stamp=time_message(store, t_ns), frame_id="")


def validity_bits(names: Sequence[str]) -> int:
    """Sum of the named ``VALIDITY_*`` bits (the same in all messages)."""
    known = constants("Assessment")
    return sum(known[f"VALIDITY_{name}"] for name in set(names))


def assessment_message(
    store: Typestore, assessment: Assessment, source: Source, info: StepInfo, alarm: Alarm
) -> Any:
    """``pro_ros/Assessment`` for one step, with its ``Risk``."""
    valid = "VALID" in info.validity
    names = tuple(info.ages)
    return store.types[ASSESSMENT](
        header=header_message(store, assessment.t_ns),
        sequence=info.sequence,
        model_id=source.model_id,
        episode_id=info.episode_id,
        validity=validity_bits(info.validity),
        value=assessment.value if valid else math.nan,
        progress=assessment.progress if valid else math.nan,
        termination=assessment.termination if valid else math.nan,
        success=assessment.success if valid else math.nan,
        calibrated=source.calibrated,
        risk=risk_message(store, assessment, source, info, alarm),
        window_start=time_message(store, info.window_start_ns),
        window_end=time_message(store, assessment.t_ns),
        stream_names=list(names),
        ages=np.array([info.ages[n] for n in names], dtype=np.float32),
        stale_streams=list(info.stale),
        faulty_streams=list(info.faulty),
        latency=info.latency,
    )


def risk_message(
    store: Typestore, assessment: Assessment, source: Source, info: StepInfo, alarm: Alarm
) -> Any:
    """``pro_ros/Risk`` for one step."""
    valid = "VALID" in info.validity

    def numbers(values: npt.ArrayLike) -> npt.NDArray[np.float32]:
        flat = np.asarray(values, dtype=np.float32).ravel()
        return flat if valid else np.full_like(flat, np.nan)

    return store.types[RISK](
        header=header_message(store, assessment.t_ns),
        sequence=info.sequence,
        model_id=source.model_id,
        validity=validity_bits(info.validity),
        horizons=np.array(source.horizons, dtype=np.float32),
        risk=numbers(assessment.risk),
        modes=list(source.modes),
        mode_risk=numbers(assessment.mode_risk),
        mode_distribution=numbers(assessment.mode_distribution),
        spread=assessment.spread if valid else math.nan,
        calibrated=source.calibrated,
        alarm=alarm.on,
        alarm_basis=constants("Risk")[f"ALARM_{alarm.basis}"],
        alarm_level=alarm.level,
        alarm_threshold=alarm.threshold,
        alarm_score=alarm.score if valid else math.nan,
        alarm_horizon=alarm.horizon,
        alarm_mode=alarm.mode,
    )


def reward_message(store: Typestore, terms: RewardTerms, source: Source, info: StepInfo) -> Any:
    """``pro_ros/Reward`` of the transition that ends at a step; the sparse part is not known."""
    horizons = source.horizons
    return store.types[REWARD](
        header=header_message(store, terms.t_ns),
        next_stamp=time_message(store, terms.next_ns),
        sequence=terms.sequence,
        model_id=source.model_id,
        episode_id=info.episode_id,
        validity=validity_bits(info.validity),
        reward=terms.reward,
        sparse=0.0,
        shaping=terms.shaping,
        risk_penalty=terms.risk_penalty,
        value=terms.value,
        next_value=terms.next_value,
        risk=terms.risk,
        risk_horizon=horizons[-1],
        gamma=terms.gamma,
        kappa=terms.kappa,
        risk_weight=terms.risk_weight,
        terminal=False,
        truncated=False,
    )


def event_message(
    store: Typestore,
    t_ns: int,
    kind: str,
    *,
    name: str = "",
    episode_id: str = "",
    phase: str = "MOMENT",
    outcome: str = "unknown",
    source: str = "",
    detail: str = "",
) -> Any:
    """``pro_ros/EpisodeEvent``; ``kind`` as in the stream file, or ``episode_begin``/``_end``."""
    known = constants("EpisodeEvent")
    return store.types[EPISODE_EVENT](
        header=header_message(store, t_ns),
        kind=known[f"KIND_{kind.upper()}"],
        phase=known[f"PHASE_{phase}"],
        outcome=known[f"OUTCOME_{outcome.upper()}"],
        episode_id=episode_id,
        name=name,
        source=source,
        detail=detail,
    )


def context_message(
    store: Typestore,
    t_ns: int,
    *,
    prompt: str,
    context: Mapping[str, str],
    task_id: str = "",
    episode_id: str = "",
    attempt: int = 0,
    retry_of: str = "",
) -> Any:
    """``pro_ros/TaskContext``; keys of ``context`` other than sku, site, robot become pairs."""
    pairs = {k: v for k, v in context.items() if k not in ("sku", "site", "robot")}
    return store.types[TASK_CONTEXT](
        header=header_message(store, t_ns),
        task_id=task_id,
        prompt=prompt,
        sku=context.get("sku", ""),
        site=context.get("site", ""),
        robot=context.get("robot", ""),
        episode_id=episode_id,
        attempt=attempt,
        retry_of=retry_of,
        keys=list(pairs),
        values=list(pairs.values()),
    )
