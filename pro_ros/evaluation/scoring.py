"""Does the scorer use the chunk: its predictions on executed chunks, with and without them.

Judged are chunks of held-out episodes that were executed in full, against what followed. Beside
the scorer stands the same one that never saw a chunk ("no action"), and the scorer itself given
the chunks of other steps ("permuted chunk").
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as Seq
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from pro_ros.episodes.labels import Labels, RewardConfig
from pro_ros.episodes.sequence import Sequence
from pro_ros.evaluation import metrics
from pro_ros.evaluation.intervals import Bootstrap, Replicates
from pro_ros.evaluation.measure import Drawn, metric
from pro_ros.evaluation.metrics import Measured
from pro_ros.evaluation.results import Metric, ScoringResults, Settings
from pro_ros.evaluation.table import ANY, OPERATOR
from pro_ros.model.scorer import Predicted, Scorer, chunk_inputs
from pro_ros.runtime.assessor import Assessor
from pro_ros.training.chunks import Executed, executed_chunks

NO_ACTION = "no action"
PERMUTED = "permuted chunk"

Wide = npt.NDArray[np.float64]
Units = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def evaluate_scoring(
    assessor: Assessor,
    scorer: Scorer,
    sequences: Seq[Sequence],
    labels: Seq[Labels],
    reward: RewardConfig,
    settings: Settings,
) -> ScoringResults:
    """Measure a scorer on labelled sequences that it was not fitted on."""
    config = scorer.config
    found = executed_chunks(assessor, sequences, labels, config.chunk, config.points, reward)
    chunks = found.take(np.flatnonzero(found.full))
    document = scorer.document
    measured: tuple[Metric, ...] = ()
    if len(chunks):
        measured = tuple(_measured(assessor, scorer, chunks, settings))
    return ScoringResults(
        scorer_id=document.scorer_id,
        chunk_s=config.chunk,
        chunks=len(chunks),
        cut=len(found) - len(chunks),
        episodes=len(np.unique(chunks.episode)),
        effect=dict(document.effect),
        notes=document.notes,
        models=(OPERATOR, NO_ACTION, PERMUTED),
        metrics=measured,
    )


def predictions(
    assessor: Assessor, scorer: Scorer, chunks: Executed, seed: int = 0
) -> dict[str, Predicted]:
    """What is said of executed chunks, by model."""
    here = scorer.situation(
        chunks.latent, chunks.packed, chunks.newest, chunks.known, assessor.judge
    )
    rows = scorer.chunk_inputs(here, chunks.path)
    order = np.random.default_rng(seed).permutation(len(chunks))
    other = chunk_inputs(
        chunks.path[order], chunks.newest[order], chunks.known[order], scorer.arrays
    )
    return {
        OPERATOR: scorer.predict(here, rows),
        NO_ACTION: scorer.predict_base(here),
        PERMUTED: scorer.predict(here, other),
    }


def _measured(
    assessor: Assessor, scorer: Scorer, chunks: Executed, settings: Settings
) -> Iterator[Metric]:
    said = predictions(assessor, scorer, chunks, settings.seed)
    names, unit = np.unique(chunks.episode, return_inverse=True)
    boot = Bootstrap(len(names), settings.resamples, settings.seed, settings.level)
    yield from _progress(boot, said, chunks, unit)
    for target, horizon, label, known in _risks(scorer, chunks):
        h = scorer.document.horizons.index(horizon)
        modes = scorer.document.modes
        risk = {
            name: p.risk[:, h] if target == ANY else p.mode_risk[:, modes.index(target), h]
            for name, p in said.items()
        }
        yield from _probability(
            boot, "risk", risk, label, known, unit, target=target, horizon=horizon
        )
    success = {name: p.success for name, p in said.items()}
    yield from _probability(boot, "success", success, chunks.success, chunks.success_known, unit)
    here = scorer.situation(
        chunks.latent, chunks.packed, chunks.newest, chunks.known, assessor.judge
    )
    compared = scorer.support_inputs(scorer.chunk_inputs(here, chunks.path))
    inside = (scorer.support.distance(compared) <= scorer.support.threshold).astype(np.float64)
    drawn = Drawn(Measured(float(inside.mean())), boot.mean(inside, unit))
    yield metric(boot, "scoring_supported", {OPERATOR: drawn}, counted="steps", count=len(chunks))


def _risks(scorer: Scorer, chunks: Executed) -> Iterator[tuple[str, float, Bools, Bools]]:
    """Target, horizon, label and where it is known: an event within the horizon."""
    modes, horizons = scorer.document.modes, scorer.document.horizons
    happened = np.logical_or.accumulate(chunks.hazard & chunks.hazard_known, axis=2)
    # Known to come, or all bins up to the horizon were seen to be without.
    known = happened | np.logical_and.accumulate(chunks.hazard_known, axis=2)
    for h, horizon in enumerate(horizons):
        if len(modes) > 1:
            happens: Bools = np.logical_or.reduce(happened[:, :, h], axis=1)
            every: Bools = np.logical_and.reduce(known[:, :, h], axis=1)
            yield ANY, horizon, happens, every
        for m, mode in enumerate(modes):
            yield mode, horizon, happened[:, m, h], known[:, m, h]


def _progress(
    boot: Bootstrap, said: dict[str, Predicted], chunks: Executed, unit: Units
) -> Iterator[Metric]:
    known = chunks.progress_known
    y, unit = chunks.progress[known], unit[known]
    explained: dict[str, Drawn] = {}
    ranked: dict[str, Drawn] = {}
    for name, predicted in said.items():
        p = predicted.progress[known]
        explained[name] = _explained(boot, y, p, unit)
        ranked[name] = _rank_correlation(boot, y, p, unit)
    for key, drawn in (
        ("scoring_progress_r2", explained),
        ("scoring_progress_spearman", ranked),
    ):
        yield metric(boot, key, drawn, counted="steps", count=int(known.sum()))


def _probability(
    boot: Bootstrap,
    family: str,
    said: dict[str, Wide],
    label: Bools,
    known: Bools,
    unit: Units,
    **about: Any,
) -> Iterator[Metric]:
    y, of = label[known], unit[known]
    areas: dict[str, Drawn] = {}
    errors: dict[str, Drawn] = {}
    for name, everywhere in said.items():
        p = everywhere[known]
        both = not metrics.missing_class(y)
        area = boot.ranking(p, y, of)[0] if both else None
        areas[name] = Drawn(metrics.auroc(p, y), area)
        errors[name] = Drawn(metrics.brier(p, y), boot.mean(metrics.brier_loss(p, y), of))
    for key, drawn in ((f"scoring_{family}_auroc", areas), (f"scoring_{family}_brier", errors)):
        yield metric(
            boot, key, drawn, counted="steps", count=len(y), positives=int(y.sum()), **about
        )


def _explained(boot: Bootstrap, y: Wide, p: Wide, unit: Units) -> Drawn:
    """R2: share of the variance that is explained."""
    if len(y) < 2 or np.ptp(y) == 0:
        return Drawn(Measured(None, "no rows" if len(y) < 2 else "no variance"))
    value = 1.0 - float(((y - p) ** 2).sum() / ((y - y.mean()) ** 2).sum())
    lost, n, first, second = (_sums(boot, v, unit) for v in ((y - p) ** 2, y * 0 + 1, y, y * y))
    with np.errstate(invalid="ignore", divide="ignore"):
        return Drawn(Measured(value), 1.0 - lost / (second - first**2 / n))


def _rank_correlation(boot: Bootstrap, y: Wide, p: Wide, unit: Units) -> Drawn:
    """Spearman's rho; draws keep the ranks of the whole sample."""
    if len(y) < 2 or np.ptp(y) == 0 or np.ptp(p) == 0:
        return Drawn(Measured(None, "no rows" if len(y) < 2 else "one value only"))
    a, b = rankdata(y) / len(y), rankdata(p) / len(p)
    value = float(np.corrcoef(a, b)[0, 1])
    n, sa, sb, saa, sbb, sab = (
        _sums(boot, v, unit) for v in (a * 0 + 1, a, b, a * a, b * b, a * b)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.sqrt((saa - sa**2 / n) * (sbb - sb**2 / n))
        return Drawn(Measured(value), (sab - sa * sb / n) / spread)


def _sums(boot: Bootstrap, value: Wide, unit: Units) -> Replicates:
    sums: Replicates = boot.weights @ np.bincount(unit, value, minlength=boot.units)
    return sums
