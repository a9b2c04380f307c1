"""How long it takes to score action chunks, on two CPU cores.

    python benchmarks/scoring.py

The default operator on the made-up robot of ``latency.py``, with a stream of commands for six
joints and a gripper beside it, and a scorer of the default size. Weights are random: timing does
not depend on them. Candidates are chunks of 16 steps at 30 Hz. Scoring begins with the array of
candidates and ends with the chosen index: everything that ``ActionScorer.score`` does.

In a *new situation* the operator has judged a step since the last scoring, so that what all
candidates share is computed anew; a step itself is measured beside it. Scoring one and scoring
many alternate, so that a busy machine slows down both.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from latency import NS, START_NS, STREAMS, machine, random_checkpoint
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from pro_ros.files import atomic_file
from pro_ros.model.calibration import Affine
from pro_ros.model.checkpoint import Checkpoint
from pro_ros.model.chunks import action_features
from pro_ros.model.scorer import OUTPUTS, Evidence, Scorer, ScorerDocument, SupportFacts
from pro_ros.model.scorer_config import ScoringConfig
from pro_ros.model.scorer_file import UNNAMED, shapes
from pro_ros.model.support import Support
from pro_ros.runtime.monitor import Monitor
from pro_ros.runtime.scoring import ActionScorer, Scores
from pro_ros.streams.sample import Step
from pro_ros.streams.spec import parse_spec

CANDIDATES = (1, 8, 64, 256)
ROWS = 16
DT = 1 / 30
SETTLED = 50
TARGETS = {"many": 64, "many_over_one": 3.0, "many_p99_ms": 10.0}

COMMANDS: dict[str, Any] = {
    "modality": "action",
    "topic": "/command",
    "type": "std_msgs/msg/Float64MultiArray",
    "clock": "receipt",
    "rate": 30,
    "features": [{"name": "u", "field": "data", "index": list(range(7))}],
}


def main() -> None:
    """Measure, print a table, write the JSON file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    default = Path(__file__).parent / "results" / "scoring.json"
    parser.add_argument("--out", type=Path, default=default, help="JSON file to be written")
    parser.add_argument("--repeats", type=int, default=600, help="scorings of each size")
    options = parser.parse_args()
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    two_cores()
    with tempfile.TemporaryDirectory() as folder:
        results = measure(Path(folder), options.repeats)
    results = {"machine": {**machine(load), "cores_used": 2}, "targets": TARGETS, **results}
    results["machine"]["load_after"] = round(os.getloadavg()[0], 2)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(options.out) as path:
        path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    show(results)


def two_cores() -> None:
    """Keep this process on two cores, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:2]))


def measure(work: Path, repeats: int) -> dict[str, Any]:
    """All numbers; times in milliseconds."""
    streams = copy.deepcopy(STREAMS)
    streams["streams"]["command"] = COMMANDS
    checkpoint = random_checkpoint(work / "picker", parse_spec(streams, "scoring"))
    checkpoint = replace(checkpoint, scorer=random_scorer(checkpoint))
    monitor = Monitor(checkpoint)
    scorer = ActionScorer(checkpoint, monitor)
    rng = np.random.default_rng(0)
    batches = {
        n: rng.normal(size=(n, ROWS, len(scorer.features))).astype(np.float32) for n in CANDIDATES
    }
    step = made_up_step(checkpoint, rng)
    monitor.state(step)
    same: dict[int, list[float]] = {n: [] for n in CANDIDATES}
    new: dict[int, list[float]] = {n: [] for n in CANDIDATES}
    steps: list[float] = []
    # As in a monitor: on so few numbers more threads only wait for each other.
    with threadpool_limits(1, "blas"):
        for turn in range(repeats + SETTLED):
            for n, chunks in batches.items():
                begun = replace(step, t_ns=START_NS + (len(CANDIDATES) * turn + n) * NS // 30)
                steps.append(clocked(lambda s=begun: monitor.state(s)))
                new[n].append(clocked(lambda c=chunks: scorer.score(c, DT)))
                same[n].append(clocked(lambda c=chunks: scorer.score(c, DT)))
    document = scorer.scorer.document
    return {
        "scorer": {
            "action_features": len(scorer.features),
            "rows": ROWS,
            "dt_s": round(DT, 4),
            "instants": document.config.points,
            "members": document.config.members,
            "kept_chunks": document.support.kept,
            "parameters": sum(
                a.size for k, a in scorer.scorer.arrays.items() if k.startswith(("base", "effect"))
            ),
        },
        "repeats": repeats,
        "step_ms": percentiles(steps),
        "same_situation_ms": {str(n): percentiles(times) for n, times in same.items()},
        "new_situation_ms": {str(n): percentiles(times) for n, times in new.items()},
        "many_over_one": {
            "same_situation": ratio(same[TARGETS["many"]], same[1]),
            "new_situation": ratio(new[TARGETS["many"]], new[1]),
        },
    }


def made_up_step(checkpoint: Checkpoint, rng: np.random.Generator) -> Step:
    """A step at which everything is present."""
    layout = checkpoint.spec.layout
    values = {m: rng.normal(size=len(f)).astype(np.float32) for m, f in layout.items()}
    mask = {m: np.ones(len(f), dtype=np.bool_) for m, f in layout.items()}
    ages = dict.fromkeys(checkpoint.spec.input_streams, 0.0)
    return Step(START_NS, False, values, mask, {}, ages, ())


def random_scorer(checkpoint: Checkpoint) -> Scorer:
    """A scorer of the default size whose chunks all count."""
    config = ScoringConfig()
    features = action_features(checkpoint.spec)[0]
    modes, horizons = checkpoint.spec.failure_modes, checkpoint.operator.config.horizons
    scales = {name: Affine(slope=0.9) for name in ("success", *modes)}
    document = ScorerDocument(
        scorer_id=UNNAMED, model_id=checkpoint.model_id, weights_sha256=UNNAMED, config=config,
        features=features, modes=modes, horizons=horizons,
        effect=dict.fromkeys(OUTPUTS, 1.0), evidence={name: Evidence() for name in OUTPUTS},
        support=SupportFacts(
            threshold=1.0, share=0.99, chunks=0, episodes=0, part="", kept=config.support_chunks
        ),
        calibration={"scorer": scales, "base": scales}, chunks={},
    )  # fmt: skip
    rng = np.random.default_rng(0)
    wanted = shapes(document, checkpoint.operator.config)
    compared = wanted["support.mean"][0] or 0
    support = Support.fit(
        rng.normal(size=(4000, compared)), config.support_chunks, config.support, rng
    )
    arrays = {
        name: (0.05 * rng.normal(size=[n or 1 for n in shape])).astype(np.float32)
        for name, shape in wanted.items()
    }
    for name in ("inputs.deviation", "command.deviation", "change.deviation", "progress"):
        arrays[name] = np.ones_like(arrays[name])
    for name, array in support.arrays.items():
        arrays[f"support.{name}"] = array.astype(np.float32)
    return Scorer(document, arrays)


def clocked(work: Callable[[], Scores | object]) -> float:
    """Wall-clock time of a call [ms]."""
    begun = time.perf_counter_ns()
    work()
    return (time.perf_counter_ns() - begun) / 1e6


def percentiles(times: list[float]) -> dict[str, float]:
    """Median and 99th percentile, the first ones left out."""
    settled = times[SETTLED:]
    return {f"p{q}": round(float(np.percentile(settled, q)), 4) for q in (50, 99)}


def ratio(many: list[float], one: list[float]) -> float:
    """Median of the ratios of neighbouring calls."""
    return round(float(np.median(np.array(many[SETTLED:]) / np.array(one[SETTLED:]))), 2)


def show(results: dict[str, Any]) -> None:
    """Print the numbers beside what they should be."""
    table = Table("measured", "p50", "p99", "target")
    for kind in ("same_situation", "new_situation"):
        for n, times in results[f"{kind}_ms"].items():
            target = f"<= {TARGETS['many_p99_ms']:g} ms" if n == str(TARGETS["many"]) else ""
            table.add_row(
                f"scoring {n}, {kind.replace('_', ' ')}",
                f"{times['p50']:.3f} ms",
                f"{times['p99']:.3f} ms",
                target,
            )
        found = results["many_over_one"][kind]
        name = f"{TARGETS['many']} over 1, {kind.replace('_', ' ')}"
        table.add_row(name, f"{found:.2f}", "", f"<= {TARGETS['many_over_one']:g}")
    step = results["step_ms"]
    table.add_row("a step, judged", f"{step['p50']:.3f} ms", f"{step['p99']:.3f} ms", "")
    Console().print(table, f"load of the machine before: {results['machine']['load_before']}")


if __name__ == "__main__":
    main()
