"""PickApp: failure of an apple pick, from the grasp alone and over the pick that follows.

    python benchmarks/pickapp.py              # the reported numbers, 3 fold seeds
    python benchmarks/pickapp.py --inner      # the splits that choices were made on
    python benchmarks/pickapp.py --part grasp # one part anew, the other as it was written

Five folds of whole pose groups. The recordings (PickApp, A. Velasquez et al., IROS 2022, MIT
licence) are not shipped: put ``picks_float32.npz`` and ``episodes.csv`` into a folder and name it
with ``--data``.

A pick has two recorded phases, GRASP (2 s) and PICK (about 2 s), with 2 to 51 s between them that
were not recorded. Both are one run here, at their own times: the operator judges the PICK with the
GRASP in memory.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import tempfile
import time
from collections.abc import Sequence as Seq
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from lightning_fabric import Fabric
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pro_ros.config import load_model
from pro_ros.episodes.arrays import sequences as read_sequences
from pro_ros.episodes.dataset import Source, create_dataset
from pro_ros.episodes.sequence import Sequence
from pro_ros.episodes.splits import cut
from pro_ros.evaluation.metrics import auprc, auroc
from pro_ros.files import atomic_file
from pro_ros.model.calibration import Calibration
from pro_ros.runtime.assessor import Assessor
from pro_ros.streams.spec import RobotSpec, load_spec
from pro_ros.training.calibrate import Trained
from pro_ros.training.config import TrainingConfig
from pro_ros.training.train import fit

HERE = Path(__file__).resolve().parent
STREAMS = ("wrench", "f1_imu", "f2_imu", "f3_imu")
FOLDS = 5
AFTER_S = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
"""Times after the pick began at which the failure is predicted [s]."""
PARTS = ("grasp", "pick")
"""Each has its training file, ``benchmarks/pickapp/PART.yaml``."""
EVERY = 5
"""Of the steps of a pick, every so many are trained on (10 Hz -> 2 Hz)."""

Array = np.ndarray


class Picks:
    """All picks as the operator sees them, and as tables of summary statistics."""

    def __init__(self, data: Path, spec: RobotSpec, work: Path) -> None:
        with (data / "episodes.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        archive = np.load(data / "picks_float32.npz")
        arrays = {key: archive[key] for key in archive.files}
        lines, sources, phases, self.summary = ["file,outcome,group"], [], [], []
        for row in rows:
            key = row["key"]
            outcome = "success" if row["outcome"] == "success" else "failure"
            lines.append(f"{key},{outcome},{row['pose_group']}")
            grasp = {s: arrays[f"{key}/grasp/{s}"].astype(np.float64) for s in STREAMS}
            pick = {s: arrays[f"{key}/pick/{s}"].astype(np.float64) for s in STREAMS}
            end = max(float(a[-1, 0]) for a in grasp.values())
            phases.append((end, min(float(a[0, 0]) for a in pick.values())))
            joined = {s: np.concatenate([grasp[s], pick[s]]) for s in STREAMS}
            np.savez(work / f"{key}.npz", **joined)
            sources.append(Source(key, work / f"{key}.npz"))
            self.summary.append(np.concatenate([_statistics(grasp[s][:, 1:]) for s in STREAMS]))
        outcomes = work / "outcomes.csv"
        outcomes.write_text("\n".join(lines) + "\n", encoding="utf-8")
        created = create_dataset(work / "dataset", "pickapp", spec, sources, outcomes=outcomes)
        by_key = {s.episodes[0].recording: s for s in read_sequences(created.dataset)}
        self.sequences = [by_key[r["key"]] for r in rows]
        self.failed = np.array([r["outcome"] != "success" for r in rows])
        self.group = np.array([r["pose_group"] for r in rows])
        self.summary = np.asarray(self.summary)
        assert spec.table is not None
        origin = int(np.datetime64(spec.table.start.rstrip("Z"), "ns").astype(np.int64))
        # Last step within the grasp, first step of the pick.
        self.grasp_step, self.pick_step = [], []
        for sequence, (end, begin) in zip(self.sequences, phases, strict=True):
            t = (sequence.t_ns - origin) / 1e9
            self.grasp_step.append(int(np.flatnonzero(t <= end)[-1]))
            self.pick_step.append(int(np.flatnonzero(t >= begin)[0]))
        self.at_grasp = [
            cut(s, i, i + 1) for s, i in zip(self.sequences, self.grasp_step, strict=True)
        ]
        self.over_pick = [
            _thinned(s, i) for s, i in zip(self.sequences, self.pick_step, strict=True)
        ]

    def folds(self, seed: int) -> list[tuple[Array, Array]]:
        """Train and test picks of each fold: whole pose groups."""
        splitter = GroupKFold(FOLDS, shuffle=True, random_state=seed)
        return list(splitter.split(self.failed, self.failed, self.group))


def _statistics(values: Array) -> Array:
    """Mean, deviation, minimum, maximum, end minus start of each channel."""
    return np.concatenate(
        [values.mean(0), values.std(0), values.min(0), values.max(0), values[-1] - values[0]]
    )


def _thinned(sequence: Sequence, first: int) -> Sequence:
    """Every so many steps of the pick, the last one included.

    With a window of one step the operator's memory is in the statistics, not in the steps.
    """
    index = np.arange(len(sequence) - 1, first - 1, -EVERY)[::-1]
    return replace(
        sequence,
        t_ns=sequence.t_ns[index],
        values={m: v[index] for m, v in sequence.values.items()},
        mask={m: v[index] for m, v in sequence.mask.items()},
        episode=sequence.episode[index],
    )


def operator(spec: RobotSpec, train: Seq[Sequence], config: TrainingConfig) -> Assessor:
    """Train on picks; all epochs, no early stopping."""
    trained, _ = fit(spec, train, [], config, Fabric(accelerator="cpu", devices=1))
    return Assessor(Trained(trained, spec, Calibration()))


def grasp_risk(
    spec: RobotSpec, picks: Picks, train: Array, test: Array, config: TrainingConfig
) -> Array:
    """P(failure) of the tested picks at the end of their grasp."""
    assessor = operator(spec, [picks.at_grasp[i] for i in train], config)
    return np.array([1.0 - assessor.run(picks.at_grasp[i]).success[-1] for i in test])


def pick_risk(
    spec: RobotSpec, picks: Picks, train: Array, test: Array, config: TrainingConfig
) -> Array:
    """P(failure) of the tested picks at each of AFTER_S, NaN where the pick was over: [N, A]."""
    assessor = operator(spec, [picks.over_pick[i] for i in train], config)
    found = np.full((len(test), len(AFTER_S)), np.nan)
    for row, i in enumerate(test):
        sequence, first = picks.sequences[i], picks.pick_step[i]
        risk = 1.0 - assessor.run(sequence).success
        since = (sequence.t_ns - sequence.t_ns[first]) / 1e9
        for column, after in enumerate(AFTER_S):
            reached = np.flatnonzero((since >= 0) & (since <= after + 1e-6))
            if since[-1] >= after - 1e-6 and len(reached):
                found[row, column] = risk[reached[-1]]
    return found


def rivals(seed: int) -> dict[str, object]:
    """Classifiers on tables; all but the last read summary statistics of the grasp."""
    return {
        "gradient boosting": GradientBoostingClassifier(random_state=seed),
        "random forest": RandomForestClassifier(500, random_state=seed),
        "logistic regression": make_pipeline(
            StandardScaler(), LogisticRegression(C=0.01, max_iter=2000)
        ),
    }


def both(risk: Array, failed: Array) -> list[float]:
    """AUROC and AUPRC."""
    found = [auroc(risk, failed).value, auprc(risk, failed).value]
    return [float("nan") if v is None else v for v in found]


def inner(spec: RobotSpec, picks: Picks, config: TrainingConfig) -> None:
    """Print what the training sides of the outer folds (seed 0) say, split by pose once more."""
    scores: dict[str, list[list[float]]] = {}
    for train, _ in picks.folds(0):
        splitter = GroupKFold(4, shuffle=True, random_state=7)
        pro, boosted = np.zeros(len(train)), np.zeros(len(train))
        for a, b in splitter.split(train, train, picks.group[train]):
            pro[b] = grasp_risk(spec, picks, train[a], train[b], config)
            model = GradientBoostingClassifier(random_state=0)
            model.fit(picks.summary[train[a]], picks.failed[train[a]])
            boosted[b] = model.predict_proba(picks.summary[train[b]])[:, 1]
        scores.setdefault("PRO", []).append(both(pro, picks.failed[train]))
        scores.setdefault("gradient boosting", []).append(both(boosted, picks.failed[train]))
    for name, found in scores.items():
        print(name, np.mean(found, axis=0).round(3))


def grasp_part(
    spec: RobotSpec, picks: Picks, config: TrainingConfig, seeds: int
) -> dict[str, object]:
    """The operator and its rivals from the grasp alone, on all folds and fold seeds."""
    per_seed: dict[str, list[list[float]]] = {}
    full = np.array([s.values["telemetry"][-1] for s in picks.at_grasp])
    for seed in range(seeds):
        seeded = config.model_copy(update={"seed": seed})
        folds: dict[str, list[list[float]]] = {}
        for train, test in picks.folds(seed):
            failed = picks.failed[test]
            risk = grasp_risk(spec, picks, train, test, seeded)
            folds.setdefault("PRO", []).append(both(risk, failed))
            for name, model in rivals(seed).items():
                model.fit(picks.summary[train], picks.failed[train])  # type: ignore[attr-defined]
                said = model.predict_proba(picks.summary[test])[:, 1]  # type: ignore[attr-defined]
                folds.setdefault(name, []).append(both(said, failed))
            same = GradientBoostingClassifier(random_state=seed)
            same.fit(full[train], picks.failed[train])
            folds.setdefault("gradient boosting, PRO's features", []).append(
                both(same.predict_proba(full[test])[:, 1], failed)
            )
        for name, found in folds.items():
            per_seed.setdefault(name, []).append(np.nanmean(found, axis=0).tolist())
        print(f"fold seed {seed}", {n: np.round(f[-1], 3).tolist() for n, f in per_seed.items()})
    return {
        name: {
            "mean": np.mean(found, axis=0).tolist(),
            "sd": np.std(found, axis=0, ddof=1).tolist() if seeds > 1 else None,
            "seeds": found,
        }
        for name, found in per_seed.items()
    }


def pick_part(
    spec: RobotSpec, picks: Picks, config: TrainingConfig, seeds: int
) -> dict[str, object]:
    """The operator at times within the pick, on all folds and fold seeds."""
    over_time: list[list[list[float]]] = []
    for seed in range(seeds):
        seeded = config.model_copy(update={"seed": seed})
        timed = []
        for train, test in picks.folds(seed):
            failed = picks.failed[test]
            during = pick_risk(spec, picks, train, test, seeded)
            timed.append(
                [
                    both(during[there, k], failed[there])
                    for k in range(len(AFTER_S))
                    for there in [np.isfinite(during[:, k])]
                ]
            )
        over_time.append(np.nanmean(timed, axis=0).tolist())
    length = [
        s.t_ns[-1] - s.t_ns[i] for s, i in zip(picks.sequences, picks.pick_step, strict=True)
    ]
    return {
        "after_s": list(AFTER_S),
        "picks_that_last": [int(np.sum(np.array(length) >= a * 1e9 - 1e3)) for a in AFTER_S],
        "mean": np.mean(over_time, axis=0).tolist(),
        "sd": np.std(over_time, axis=0, ddof=1).tolist() if seeds > 1 else None,
    }


def protocol(picks: Picks, seeds: int) -> dict[str, int]:
    """What the numbers rest on."""
    return {
        "picks": len(picks.failed),
        "failures": int(picks.failed.sum()),
        "groups": len(set(picks.group)),
        "folds": FOLDS,
        "fold_seeds": seeds,
    }


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    default = os.environ.get("PRO_ROS_DATA", str(HERE.parent.parent / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=Path(default) / "pickapp_apple_ur5e")
    parser.add_argument("--inner", action="store_true", help="inner splits only")
    parser.add_argument("--quick", action="store_true", help="1 seed, 1 epoch: that it runs")
    parser.add_argument("--seeds", type=int, default=3, help="fold seeds")
    parser.add_argument("--part", choices=PARTS, help="this part only; the other stays")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "pickapp.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    spec = load_spec(HERE / "pickapp" / "streams.yaml")
    configs = {p: load_model(HERE / "pickapp" / f"{p}.yaml", TrainingConfig) for p in PARTS}
    seeds = args.seeds
    if args.quick:
        seeds = 1
        for part, config in configs.items():
            short = config.optimiser.model_copy(update={"epochs": 1})
            configs[part] = config.model_copy(update={"optimiser": short})
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as work:
        picks = Picks(args.data, spec, Path(work))
        if args.inner:
            inner(spec, picks, configs["grasp"])
            return
        result = json.loads(args.out.read_text(encoding="utf-8")) if args.part else {}
        result["protocol"] = protocol(picks, seeds)
        if args.part != "pick":
            result["grasp"] = grasp_part(spec, picks, configs["grasp"], seeds)
        if args.part != "grasp":
            result["pick"] = pick_part(spec, picks, configs["pick"], seeds)
    result["seconds"] = time.perf_counter() - began
    with atomic_file(args.out) as staged:
        staged.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for name, found in result["grasp"].items():
        print(name, "AUROC / AUPRC", np.round(found["mean"], 3), "sd", found["sd"])


if __name__ == "__main__":
    main()
