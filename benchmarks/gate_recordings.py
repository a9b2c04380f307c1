"""The retry gate over recordings: how many failures it stops, how many good attempts.

    python benchmarks/gate_recordings.py                  # UR3 example and apple picks
    python benchmarks/gate_recordings.py --data FOLDER    # where the apple picks lie

The gate itself runs over held-out attempts (pro_ros/gate/rehearsal.py). Its threshold is chosen on
the training side alone: each block of it is judged by an operator that saw neither it nor the
tested block, and the gate is run over those judgements until it interrupts no more good attempts
than asked for. Rivals go the same way.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Seq
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt
import torch
from gate_trials import Folds, Rule, Signal, Stretch, risk_levels, success_levels
from pickapp import HERE, Picks, operator
from ur3_cobotops import BLOCKS, HORIZON, blocks, train_assess

from pro_ros.config import load_model
from pro_ros.episodes.manifest import Episode
from pro_ros.episodes.sequence import Sequence
from pro_ros.evaluation.rivals import BOOSTING, CLOCK, LOGISTIC, fit_rivals
from pro_ros.evaluation.table import OPERATOR, Judgement
from pro_ros.files import atomic_file
from pro_ros.gate.config import AlarmConfig, EndingConfig, FreshnessConfig, GateConfig
from pro_ros.gate.rehearsal import RecordedAttempt
from pro_ros.paths import share_file
from pro_ros.streams.spec import load_spec
from pro_ros.training.config import TrainingConfig
from pro_ros.training.train import labels_of

UR3_PERIOD = 1.25
"""Period of assessments that the UR3's gate expects [s]: a lost row is no dead monitor."""

LEAD_IN = 10
"""Assessments before an apple pick that show the gate that the monitor is alive."""

RIVALS = (CLOCK, LOGISTIC, BOOSTING)
EVERYWHERE = slice(None)


def risk_gate(threshold: float) -> GateConfig:
    """Stop where the risk of any failure reaches the threshold."""
    return GateConfig(
        freshness=FreshnessConfig(period=UR3_PERIOD, needed=2),
        alarm=AlarmConfig(threshold=threshold),
        ending=EndingConfig(enabled=False),
    )


def success_gate(success: float) -> GateConfig:
    """Stop where success is less likely, twice in three assessments."""
    return GateConfig(
        freshness=FreshnessConfig(period=0.1, needed=2),
        alarm=AlarmConfig(threshold=1.0),
        ending=EndingConfig(termination=0.0, success=success),
    )


def default_ending_gate() -> GateConfig:
    """The rule for a predicted end as it is by default, and no risk alarm."""
    return GateConfig(
        freshness=FreshnessConfig(period=UR3_PERIOD, needed=2),
        alarm=AlarmConfig(threshold=1.0),
    )


RISK = Rule(risk_gate, risk_levels)
SUCCESS = Rule(success_gate, success_levels)


def recorded(episode: Episode, sequence: Sequence, modes: Iterable[str]) -> RecordedAttempt:
    """An episode with its first failure event."""
    events = [
        (max(e.start_ns, episode.start_ns), e.name)
        for e in sequence.events
        if e.name in modes and e.start_ns < episode.end_ns and e.end_ns >= episode.start_ns
    ]
    failed = episode.outcome == "failure"
    event_ns, mode = min(events) if failed and events else (None, "")
    return RecordedAttempt(
        episode.id, episode.start_ns, episode.end_ns, not failed, event_ns, mode
    )


def heard(sequence: Sequence) -> npt.NDArray[np.bool_]:
    """Steps at which there was anything to judge."""
    return np.any(np.concatenate(list(sequence.mask.values()), axis=1), axis=1)


def signal(
    judged: Judgement, horizon: int, modes: tuple[str, ...], steps: slice = EVERYWHERE
) -> Signal:
    """What the gate reads of a judgement; a mode is the likelier one."""
    by_mode = np.asarray(judged.mode_risk)[steps, :, horizon]
    likelier = by_mode.argmax(axis=1) if modes else np.zeros(len(by_mode), dtype=int)
    return Signal(
        score=np.asarray(judged.risk)[steps, horizon],
        termination=np.asarray(judged.termination)[steps],
        success=np.asarray(judged.success)[steps],
        mode=tuple(modes[m] if modes else "" for m in likelier),
    )


def ur3(work: Path, quick: bool) -> dict[str, Any]:
    """Cycles of the shipped example, in five contiguous blocks."""
    example = share_file("examples/ur3_cobotops/streams.yaml").parent
    spec = load_spec(example / "streams.yaml")
    config = _config(example / "training.yaml", quick)
    parts = blocks(spec, work)
    horizon = config.model.horizons.index(HORIZON)
    # Rivals learn the horizon that the alarm is for, and no other.
    alone = config.model_copy(
        update={"model": config.model.model_copy(update={"horizons": (HORIZON,)})}
    )
    left_out = 0
    stretches: list[list[Stretch]] = []
    for part in parts:
        stretches.append([])
        for sequence in part:
            whole = [e for e in sequence.episodes if e.end_seen]
            left_out += len(sequence.episodes) - len(whole)
            attempts = tuple(recorded(e, sequence, spec.failure_modes) for e in whole)
            stretches[-1].append(
                Stretch(sequence.t_ns, heard(sequence), attempts, tuple(a.id for a in attempts))
            )

    def judge(learn: Seq[int], on: Seq[int]) -> dict[int, list[Stretch]]:
        train = [s for b in learn for s in parts[b]]
        sequences = [s for b in on for s in parts[b]]
        said = iter(train_assess(spec, train, sequences, config))
        pairs = list(zip(train, labels_of(train, spec, alone), strict=True))
        rivals = fit_rivals(
            pairs,
            spec.failure_modes,
            (HORIZON,),
            config.model.temporal.window,
            0,
            rivals_of(quick),
        )
        found: dict[int, list[Stretch]] = {}
        for b in on:
            found[b] = []
            for sequence, stretch in zip(parts[b], stretches[b], strict=True):
                by_model = {
                    OPERATOR: signal(next(said), horizon, spec.failure_modes),
                    **{
                        name: signal(rival.judge(sequence), 0, spec.failure_modes)
                        for name, rival in rivals.items()
                    },
                }
                found[b].append(replace(stretch, said=by_model))
        return found

    tested = (1,) if quick else range(BLOCKS)
    folds = Folds(stretches, judge, tested, RISK, 50 if quick else 1000)
    result = folds.run({"default ending": default_ending_gate()})
    result["protocol"]["left_out"] = left_out
    return result


def rivals_of(quick: bool) -> tuple[str, ...]:
    """The rivals; with ``quick`` only the one that learns at once."""
    return (CLOCK,) if quick else RIVALS


def apples(data: Path, work: Path, quick: bool) -> dict[str, Any]:
    """Apple picks, in five folds of whole poses."""
    spec = load_spec(HERE / "pickapp" / "streams.yaml")
    config = _config(HERE / "pickapp" / "pick.yaml", quick)
    picks = Picks(data, spec, work)
    parts = [test.tolist() for _, test in picks.folds(0)]
    stretches = [[_pick(picks, i) for i in part] for part in parts]

    def judge(learn: Seq[int], on: Seq[int]) -> dict[int, list[Stretch]]:
        train = [picks.over_pick[i] for b in learn for i in parts[b]]
        assessor = operator(spec, train, config)
        pairs = list(zip(train, labels_of(train, spec, config), strict=True))
        rivals = fit_rivals(pairs, (), config.model.horizons, 1, 0, rivals_of(quick))
        judges: dict[str, Callable[[Sequence], Judgement]] = {OPERATOR: assessor.run}
        judges |= {name: rival.judge for name, rival in rivals.items()}
        return {
            b: [
                replace(
                    stretch,
                    said={
                        name: signal(says(picks.sequences[i]), 0, (), _steps(picks, i))
                        for name, says in judges.items()
                    },
                )
                for i, stretch in zip(parts[b], stretches[b], strict=True)
            ]
            for b in on
        }

    tested = (0,) if quick else range(len(parts))
    result = Folds(stretches, judge, tested, SUCCESS, 50 if quick else 1000).run({})
    result["protocol"]["units"] = len(set(picks.group))
    return result


def _steps(picks: Picks, i: int) -> slice:
    """The pick and what comes just before it."""
    return slice(picks.pick_step[i] - LEAD_IN, None)


def _pick(picks: Picks, i: int) -> Stretch:
    sequence, first = picks.sequences[i], picks.pick_step[i]
    episode = sequence.episodes[0]
    begins = episode.model_copy(update={"start_ns": int(sequence.t_ns[first])})
    steps = _steps(picks, i)
    return Stretch(
        sequence.t_ns[steps],
        heard(sequence)[steps],
        (recorded(begins, sequence, ()),),
        (f"pose {picks.group[i]}",),
    )


def _config(path: Path, quick: bool) -> TrainingConfig:
    config = load_model(path, TrainingConfig)
    if not quick:
        return config
    short = config.optimiser.model_copy(update={"epochs": 1})
    return config.model_copy(update={"optimiser": short})


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    default = os.environ.get("PRO_ROS_DATA", str(HERE.parent.parent / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=Path(default) / "pickapp_apple_ur5e")
    parser.add_argument(
        "--quick", action="store_true", help="one block, 1 epoch: shows that it runs, no more"
    )
    parser.add_argument("--out", type=Path, default=HERE / "results" / "gate_recordings.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as work:
        result["ur3"] = ur3(Path(work), args.quick)
    if (args.data / "picks_float32.npz").is_file():
        with tempfile.TemporaryDirectory() as work:
            result["pickapp"] = apples(args.data, Path(work), args.quick)
    else:
        print(f"apple picks skipped: no picks_float32.npz in {args.data}")
    with atomic_file(args.out) as staged:
        staged.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for dataset in ("ur3", "pickapp"):
        for setting, models in result.get(dataset, {}).get("settings", {}).items():
            for model, found in models.items():
                stopped, wrong = found["failures_in_time"], found["good_interrupted"]
                print(
                    f"{dataset} {setting} {model}: stopped {stopped['count']}/{stopped['of']}, "
                    f"interrupted {wrong['count']}/{wrong['of']}"
                )


if __name__ == "__main__":
    main()
