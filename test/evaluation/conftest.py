"""A small robot whose failures can be foreseen: load rises for a few seconds before each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from pro_ros.episodes.labels import Labels, RewardConfig, label
from pro_ros.episodes.manifest import Episode, Event
from pro_ros.episodes.sequence import Sequence
from pro_ros.evaluation.table import EvaluationItem
from pro_ros.model.outputs import Assessments

MODES = ("drop", "jam")
HORIZONS = (1.0, 3.0)
EPISODE_S = 20


@dataclass(frozen=True)
class Case:
    """A sequence with its labels."""

    sequence: Sequence
    labels: Labels


def build_case(
    seed: int = 0,
    episodes: int = 12,
    name: str = "run#0",
    modes: tuple[str, ...] = MODES,
    fail_every: int = 3,
    site: str = "north",
) -> Case:
    """Episodes of 20 s at 2 Hz; every third fails with an event after 12 s, modes in turn."""
    rng = np.random.default_rng(seed)
    steps = episodes * EPISODE_S * 2
    second = 1_000_000_000
    start = 1_700_000_000 * second
    t_ns = start + np.arange(steps, dtype=np.int64) * (second // 2)
    of = np.repeat(np.arange(episodes, dtype=np.int32), EPISODE_S * 2)
    load = rng.normal(0.0, 0.3, steps)
    listed, events = [], []
    for k in range(episodes):
        begin = start + k * EPISODE_S * second
        fails = bool(fail_every) and k % fail_every == 0
        listed.append(
            Episode(
                id=f"{name}-e{k}", recording="run", start_ns=begin,
                end_ns=begin + EPISODE_S * second, outcome="failure" if fails else "success",
                task="pick", context={"site": site}, group=f"{name}-g{k // 2}",
            )
        )  # fmt: skip
        if fails and modes:
            onset = begin + 12 * second + second // 4
            mode = modes[(k // fail_every) % len(modes)]
            events.append(
                Event(
                    recording="run", name=mode, kind="failure", start_ns=onset,
                    end_ns=onset + second, episode=f"{name}-e{k}",
                )
            )  # fmt: skip
            ahead = (onset - t_ns) / second
            load += np.where((ahead > 0) & (ahead <= 3), 2.0, 0.0)
    noise = rng.normal(size=steps)
    values = np.stack([noise, load], axis=1).astype(np.float32)
    sequence = Sequence(
        id=name, t_ns=t_ns, values={"telemetry": values},
        mask={"telemetry": np.ones_like(values, dtype=bool)}, episode=of,
        episodes=tuple(listed), events=tuple(events),
        known_until_ns=int(t_ns[-1]) + second,
    )  # fmt: skip
    return Case(sequence, label(sequence, modes, HORIZONS, 1.0, RewardConfig()))


def judge(case: Case, modes: tuple[str, ...] = MODES, skill: float = 1.0) -> Assessments:
    """Assessments that see the load, as far as ``skill`` goes."""
    sequence = case.sequence
    load = sequence.values["telemetry"][:, 1].astype(np.float64) * skill
    rng = np.random.default_rng(7)
    wobble = rng.normal(0.0, 0.2, len(load))
    chance = 1.0 / (1.0 + np.exp(-2.0 * (load - 1.5 + wobble)))
    mode_risk = np.stack(
        [np.stack([0.4 * chance, 0.8 * chance], axis=-1) for _ in modes] or [], axis=1
    ) if modes else np.zeros((len(load), 0, len(HORIZONS)))  # fmt: skip
    t = (sequence.t_ns - sequence.t_ns[0]) / 1e9 % EPISODE_S
    value = 0.4 + 0.02 * t - 0.3 * chance
    return Assessments(
        t_ns=sequence.t_ns,
        value=value,
        progress=np.diff(value, prepend=value[0]),
        termination=np.clip((t - 10) / 10, 0.01, 0.99),
        success=np.clip(0.7 - 0.5 * np.maximum.accumulate(chance), 0.01, 0.99),
        risk=1.0 - np.prod(1.0 - mode_risk, axis=1),
        mode_risk=mode_risk,
        mode_distribution=np.zeros((len(load), len(modes) + 1)),
        spread=np.zeros(len(load)),
    )


@pytest.fixture(scope="session")
def make_case() -> Callable[..., Case]:
    return build_case


@pytest.fixture(scope="session")
def make_judgement() -> Callable[..., Assessments]:
    return judge


@pytest.fixture(scope="session")
def items() -> list[EvaluationItem]:
    """Two sites; the rival 'guess' sees nothing, 'twin' says what the operator says."""
    found = []
    for seed, site in enumerate(("north", "south")):
        case = build_case(seed, 24, f"run#{seed}", site=site)
        said = judge(case)
        found.append(
            EvaluationItem(
                case.sequence, case.labels, said, {"guess": judge(case, skill=0.0), "twin": said}
            )
        )
    return found
