"""UR3 CobotOps: risk of grip loss and protective stop within 5 s, five blocks of cycles.

    python benchmarks/ur3_cobotops.py                  # the reported numbers, 3 seeds
    python benchmarks/ur3_cobotops.py --inner          # the splits that choices were made on

Every block of cycles is a recording of its own: the operator's memory starts empty in it, and
no label reaches past its end. Rows inside a fault carry no label for that fault.

``--inner`` never touches the tested block: for each outer fold it leaves out one more block, the
next one, and judges on that. All choices were made there, by the mean over the five.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence as Seq
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from lightning_fabric import Fabric

from pro_ros.config import load_model
from pro_ros.episodes.arrays import sequences as read_sequences
from pro_ros.episodes.dataset import Source, create_dataset
from pro_ros.episodes.labels import Labels
from pro_ros.episodes.sequence import Sequence
from pro_ros.episodes.splits import cut
from pro_ros.evaluation.evaluate import evaluate
from pro_ros.evaluation.metrics import auprc, auroc
from pro_ros.evaluation.results import Settings
from pro_ros.evaluation.rivals import BOOSTING, CLOCK, LAST_VALUE, NAMES, fit_rivals
from pro_ros.evaluation.table import OPERATOR, EvaluationItem
from pro_ros.files import atomic_file
from pro_ros.model.calibration import Calibration
from pro_ros.paths import share_file
from pro_ros.runtime.assessor import Assessor
from pro_ros.streams.spec import RobotSpec, load_spec, parse_spec
from pro_ros.training.calibrate import Trained
from pro_ros.training.config import TrainingConfig
from pro_ros.training.train import fit, labels_of

HERE = Path(__file__).parent
HORIZON = 5.0
BLOCKS = 5
EIGHT = "gradient boosting, 8 rows"
BOOSTED_EVERYTHING = "gradient boosting, 8 rows, all columns"

Scores = dict[str, tuple[float | None, float | None]]


def blocks(spec: RobotSpec, work: Path) -> list[list[Sequence]]:
    """Sequences of each block: cycle numbers in order, cut into five groups."""
    recording = share_file("examples/ur3_cobotops/recording")
    path = work / f"dataset_{len(list(work.iterdir()))}"
    dataset = create_dataset(path, "ur3", spec, [Source("day", recording)]).dataset
    whole = read_sequences(dataset)
    counters = sorted({int(e.attributes["counter"]) for e in dataset.manifest.episodes})
    block_of = {
        counter: number
        for number, group in enumerate(np.array_split(counters, BLOCKS))
        for counter in group.tolist()
    }
    found: list[list[Sequence]] = [[] for _ in range(BLOCKS)]
    for sequence in whole:
        numbers = np.array([block_of[int(e.attributes["counter"])] for e in sequence.episodes])
        # A step between two episodes goes with the one before.
        latest = np.maximum.accumulate(np.where(sequence.episode >= 0, sequence.episode, 0))
        block = numbers[latest]
        borders = np.flatnonzero(np.diff(block)) + 1
        for lo, hi in zip([0, *borders], [*borders, len(sequence)], strict=True):
            found[block[lo]].append(cut(sequence, int(lo), int(hi)))
    return found


def train_assess(
    spec: RobotSpec,
    train: Seq[Sequence],
    test: Seq[Sequence],
    config: TrainingConfig,
) -> list[object]:
    """Assessments of the test sequences by an operator trained on the others."""
    fabric = Fabric(accelerator="cpu", devices=1)
    operator, _ = fit(spec, train, [], config, fabric)
    assessor = Assessor(Trained(operator, spec, Calibration()))
    return [assessor.run(s) for s in test]


def scores(spec: RobotSpec, labels: Seq[Labels], risks: Seq[np.ndarray], horizon: int) -> Scores:
    """AUROC and AUPRC per mode, over the rows of one block that carry a label."""
    found = {}
    for m, mode in enumerate(spec.failure_modes):
        known = np.concatenate([i.within_known[:, m, horizon] for i in labels])
        truth = np.concatenate([i.within[:, m, horizon] for i in labels])[known] > 0
        risk = np.concatenate([r[:, m, horizon] for r in risks])[known]
        found[mode] = (auroc(risk, truth).value, auprc(risk, truth).value)
    return found


def mean_scores(folds: Seq[Scores]) -> dict[str, list[float]]:
    """Mean AUROC and AUPRC over folds, per mode."""
    return {
        mode: [float(np.mean([f[mode][k] for f in folds])) for k in range(2)] for mode in folds[0]
    }


def inner(spec: RobotSpec, parts: list[list[Sequence]], config: TrainingConfig) -> None:
    """Print the mean over the inner splits: the block after the tested one is judged."""
    horizon = config.model.horizons.index(HORIZON)
    folds = []
    for tested in range(BLOCKS):
        judged = (tested + 1) % BLOCKS
        train = [s for b in range(BLOCKS) if b not in (tested, judged) for s in parts[b]]
        said = train_assess(spec, train, parts[judged], config)
        labels = labels_of(parts[judged], spec, config)
        folds.append(scores(spec, labels, [a.mode_risk for a in said], horizon))
    print(json.dumps(mean_scores(folds)))


def outer(
    spec: RobotSpec,
    everything: RobotSpec,
    config: TrainingConfig,
    seeds: int,
    work: Path,
    quick: bool = False,
) -> dict[str, object]:
    """All five folds, all seeds, with the rivals; ``quick``: without the slow ones."""
    horizon = config.model.horizons.index(HORIZON)
    parts, wide = blocks(spec, work), blocks(everything, work)
    per_seed: list[list[Scores]] = [[] for _ in range(seeds)]
    rival_folds: dict[str, list[Scores]] = {}
    items: list[EvaluationItem] = []
    began = time.perf_counter()
    training_s = []
    for tested in range(BLOCKS):
        others = [b for b in range(BLOCKS) if b != tested]
        train = [s for b in others for s in parts[b]]
        labels = labels_of(parts[tested], spec, config)
        train_labels = labels_of(train, spec, config)
        judged = []
        for seed in range(seeds):
            start = time.perf_counter()
            seeded = config.model_copy(update={"seed": seed})
            said = train_assess(spec, train, parts[tested], seeded)
            training_s.append(time.perf_counter() - start)
            per_seed[seed].append(scores(spec, labels, [a.mode_risk for a in said], horizon))
            judged.append(said)
            print(f"fold {tested} seed {seed}", mean_scores([per_seed[seed][-1]]), flush=True)
        pairs = list(zip(train, train_labels, strict=True))
        modes, horizons = spec.failure_modes, config.model.horizons
        window = config.model.temporal.window
        names = (CLOCK, LAST_VALUE) if quick else NAMES
        rivals = fit_rivals(pairs, modes, horizons, window, 0, names)
        if not quick:
            rivals[EIGHT] = fit_rivals(pairs, modes, horizons, 8, 0, (BOOSTING,))[BOOSTING]
        judgements = {n: [r.judge(s) for s in parts[tested]] for n, r in rivals.items()}
        if not quick:
            wide_train = [s for b in others for s in wide[b]]
            wide_labels = labels_of(wide_train, everything, config)
            boosted = fit_rivals(
                list(zip(wide_train, wide_labels, strict=True)), modes, horizons, 8, 0, (BOOSTING,)
            )[BOOSTING]
            judgements[BOOSTED_EVERYTHING] = [boosted.judge(s) for s in wide[tested]]
        for name, judgement in judgements.items():
            rival_folds.setdefault(name, []).append(
                scores(spec, labels, [j.mode_risk for j in judgement], horizon)
            )
        # Event metrics and intervals are of the first seed, as a user would train once.
        for n, sequence in enumerate(parts[tested]):
            items.append(
                EvaluationItem(
                    sequence,
                    labels[n],
                    judged[0][n],
                    {name: judgement[n] for name, judgement in judgements.items()},
                )
            )
    pooled = evaluate(
        items,
        spec.failure_modes,
        config.model.horizons,
        settings=Settings(
            refractory_s=config.calibration.refractory, resamples=20 if quick else 1000
        ),
        headline_horizon=HORIZON,
    )
    table = [mean_scores(folds) for folds in per_seed]
    return {
        "protocol": {
            "horizon_s": HORIZON,
            "blocks": BLOCKS,
            "seeds": seeds,
            "labelled_rows": {
                m: int(sum(i.labels.within_known[:, k, horizon].sum() for i in items))
                for k, m in enumerate(spec.failure_modes)
            },
            "positive_rows": {
                m: int(sum(i.labels.within[:, k, horizon].sum() for i in items))
                for k, m in enumerate(spec.failure_modes)
            },
        },
        "operator": {
            mode: {
                "mean": np.mean([t[mode] for t in table], axis=0).tolist(),
                "sd": np.std([t[mode] for t in table], axis=0, ddof=1).tolist()
                if seeds > 1
                else None,
                "seeds": [t[mode] for t in table],
                "folds_of_seed_0": [fold[mode] for fold in per_seed[0]],
            }
            for mode in spec.failure_modes
        },
        "rivals": {name: mean_scores(folds) for name, folds in rival_folds.items()},
        "pooled": {
            mode: {
                key: {s.model: s.number.model_dump() for s in metric.scores}
                for key in (
                    "risk_auroc",
                    "risk_auprc",
                    "risk_brier",
                    "risk_ece",
                    "event_recall_1",
                    "event_recall_6",
                    "lead_median_1",
                    "lead_median_6",
                    "lead_p10_6",
                )
                if (metric := pooled.find(key, mode, HORIZON)) is not None
            }
            for mode in spec.failure_modes
        },
        "pooled_models": [OPERATOR, *rival_folds],
        "seconds": {
            "training_and_assessing_median": float(np.median(training_s)),
            "whole": time.perf_counter() - began,
        },
    }


def with_temperatures(spec: RobotSpec) -> RobotSpec:
    """The stream file with the temperatures read too, for a rival that sees every column."""
    document = spec.model_dump(mode="json", exclude_defaults=True)
    document["streams"]["temperatures"]["modality"] = "telemetry"
    return parse_spec(document, "with temperatures")


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--inner", action="store_true", help="inner splits only")
    parser.add_argument(
        "--quick", action="store_true", help="1 seed, 1 epoch: shows that it runs, no more"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--config", type=Path, help="training file; default: the example's")
    parser.add_argument("--streams", type=Path, help="stream file; default: the example's")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "ur3_cobotops.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    example = share_file("examples/ur3_cobotops/streams.yaml").parent
    spec = load_spec(args.streams or example / "streams.yaml")
    config = load_model(args.config or example / "training.yaml", TrainingConfig)
    with tempfile.TemporaryDirectory() as work:
        if args.inner:
            inner(spec, blocks(spec, Path(work)), config)
            return
        seeds = args.seeds
        if args.quick:
            short = config.optimiser.model_copy(update={"epochs": 1})
            config = config.model_copy(update={"optimiser": short})
            seeds = 1
        everything = with_temperatures(spec)
        result = outer(spec, everything, config, seeds, Path(work), args.quick)
    with atomic_file(args.out) as staged:
        staged.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for mode, numbers in result["operator"].items():  # type: ignore[attr-defined]
        print(mode, "PRO AUROC / AUPRC", numbers["mean"], "sd", numbers["sd"])
        for name, rival in result["rivals"].items():  # type: ignore[attr-defined]
            print(f"  {name}: {rival[mode]}")


if __name__ == "__main__":
    main()
