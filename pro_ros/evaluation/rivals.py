"""The honest rivals: what simple models make of the same split and the same windows.

Always reported beside the operator (operator.md, "The metrics"). All read the numeric features
that the operator reads, at the same steps; none reads frames or text.

* ``clock``: time since the episode and since the sequence began, nothing else.
* ``last value``: the one feature, and its sign, that ranks best on the training data.
* ``logistic regression`` and ``gradient boosting``: the last K steps, flattened. Missing values
  are NaN for boosting; for the regression they are the training median plus a flag.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Sequence_
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from pro_ros.episodes.labels import Labels
from pro_ros.episodes.sequence import Sequence

FloatArray = npt.NDArray[np.floating]
BoolVector = npt.NDArray[np.bool_]

CLOCK = "clock"
LAST_VALUE = "last value"
LOGISTIC = "logistic regression"
BOOSTING = "gradient boosting"
NAMES = (CLOCK, LAST_VALUE, LOGISTIC, BOOSTING)

MOST_LAGS = 16
"""Windows longer than this are thinned to so many lags, the first and the last included."""

MOST_NUMBERS = 60_000_000
"""Largest training matrix; beyond it, rows of the commoner class are drawn and weighted."""

PREDICT_ROWS = 20_000
"""Rows of a flattened window that are held at once while predicting."""


@dataclass(frozen=True)
class Judged:
    """A rival's judgement of a sequence: see :class:`pro_ros.evaluation.table.Judgement`."""

    value: FloatArray
    termination: FloatArray
    success: FloatArray
    risk: FloatArray
    mode_risk: FloatArray


class Classifier(Protocol):
    """What is needed of a classifier: P(label = 1) for rows."""

    def __call__(self, rows: FloatArray, /) -> FloatArray:
        """Probability per row; NaN where it cannot say."""
        ...


Fit = Callable[[FloatArray, BoolVector, FloatArray, int], Classifier]
"""(rows ``[N, D]``, labels, row weights, seed) -> classifier. Both classes are present."""

Inputs = Callable[[Sequence], "Windows"]


@dataclass(frozen=True)
class Windows:
    """Rows of flattened windows, built when asked for: ``columns`` ``[T, F]``, ``lags``."""

    columns: FloatArray
    lags: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def width(self) -> int:
        """Numbers per row."""
        return self.columns.shape[1] * len(self.lags)

    def rows(self, index: npt.NDArray[np.integer]) -> FloatArray:
        """``[len(index), width]``; NaN before the start of the sequence."""
        source = index[:, None] - np.asarray(self.lags)
        found = self.columns[np.maximum(source, 0)]
        found[source < 0] = np.nan
        return found.reshape(len(index), self.width)


class Rival:
    """A fitted rival: one classifier per target."""

    def __init__(
        self,
        name: str,
        inputs: Inputs,
        mode_risk: list[list[Classifier]],
        termination: Classifier,
        success: Classifier,
        horizons: int,
    ) -> None:
        self.name = name
        self._horizons = horizons
        self._inputs = inputs
        self._mode_risk = mode_risk
        self._termination = termination
        self._success = success

    def predict(self, sequence: Sequence) -> FloatArray:
        """Risk per mode and horizon ``[T, M, H]``, monotone in the horizon."""
        return self.judge(sequence).mode_risk

    def judge(self, sequence: Sequence) -> Judged:
        """Everything that the operator says, as far as a rival can say it.

        Risk of any mode combines the modes as if they were independent. For a value a rival
        gives its probability of success, and the clock the time that has passed [s].
        """
        windows = self._inputs(sequence)
        flat = [self._termination, self._success, *(c for m in self._mode_risk for c in m)]
        out = np.full((len(windows), len(flat)), np.nan)
        for start in range(0, len(windows), PREDICT_ROWS):
            index = np.arange(start, min(start + PREDICT_ROWS, len(windows)))
            rows = windows.rows(index)
            for k, classify in enumerate(flat):
                out[index, k] = classify(rows)
        shape = (len(windows), len(self._mode_risk), self._horizons)
        mode_risk = np.maximum.accumulate(out[:, 2:].reshape(shape), axis=2)
        success = out[:, 1]
        return Judged(
            value=windows.columns[:, 0] if self.name == CLOCK else success,
            termination=out[:, 0],
            success=success,
            risk=1.0 - np.prod(1.0 - mode_risk, axis=1),
            mode_risk=mode_risk,
        )


def fit_rivals(
    train: list[tuple[Sequence, Labels]],
    modes: tuple[str, ...],
    horizons: tuple[float, ...],
    window: int,
    seed: int,
    names: tuple[str, ...] = NAMES,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Rival]:
    """Fit the rivals on training sequences.

    Parameters
    ----------
    window
        K, the steps that the operator remembers.
    seed
        Seed of boosting and of the draw of rows, where there are too many.
    names
        Which rivals, of :data:`NAMES`.
    progress
        Called with (done, all) after each classifier.
    """
    lags = _lags(window)
    inputs: dict[str, Inputs] = {
        CLOCK: lambda s: Windows(_clock(s), (0,)),
        LAST_VALUE: lambda s: Windows(features(s), (0,)),
        LOGISTIC: lambda s: Windows(features(s), lags),
        BOOSTING: lambda s: Windows(features(s), lags),
    }
    fits: dict[str, Fit] = {
        CLOCK: _fit_clock,
        LAST_VALUE: _fit_last_value,
        LOGISTIC: _fit_logistic,
        BOOSTING: _fit_boosting,
    }
    total = len(names) * (2 + len(modes) * len(horizons))
    done = 0
    rivals = {}
    for name in names:
        windows = [inputs[name](sequence) for sequence, _ in train]

        def fit(
            labels: list[npt.NDArray[np.floating]],
            known: list[BoolVector],
            name: str = name,
            windows: list[Windows] = windows,
        ) -> Classifier:
            nonlocal done
            classifier = _fit(fits[name], windows, labels, known, seed)
            done += 1
            if progress is not None:
                progress(done, total)
            return classifier

        rivals[name] = Rival(
            name,
            inputs[name],
            [
                [
                    fit(
                        [x.within[:, m, h] for _, x in train],
                        [x.within_known[:, m, h] for _, x in train],
                    )
                    for h in range(len(horizons))
                ]
                for m in range(len(modes))
            ],
            fit([x.termination for _, x in train], [x.termination_known for _, x in train]),
            fit([x.success for _, x in train], [x.success_known for _, x in train]),
            len(horizons),
        )
    return rivals


def features(sequence: Sequence) -> FloatArray:
    """All numeric features of a sequence as float32 ``[T, F]``, NaN where missing."""
    parts = [
        np.where(sequence.mask[m], sequence.values[m], np.nan) for m in sorted(sequence.values)
    ]
    empty = np.zeros((len(sequence), 0))
    return np.concatenate([empty, *parts], axis=1).astype(np.float32)


def _clock(sequence: Sequence) -> FloatArray:
    """Time since the episode began and since the sequence began, ``[T, 2]`` [s].

    A step outside any episode has only the second; its first is counted from there.
    """
    t = sequence.t_ns
    since_start = (t - t[:1]) / 1e9
    begins = np.asarray([e.start_ns for e in sequence.episodes] + [0], dtype=np.int64)
    inside = sequence.episode >= 0
    since_episode = np.where(inside, (t - begins[sequence.episode]) / 1e9, since_start)
    return np.stack([since_episode, since_start], axis=1).astype(np.float32)


def _lags(window: int) -> tuple[int, ...]:
    thinned = np.linspace(0, window - 1, min(window, MOST_LAGS)).round().astype(int)
    return tuple(int(k) for k in np.unique(thinned))


def _fit(
    fit: Fit,
    windows: Sequence_[Windows],
    labels: Sequence_[npt.NDArray[np.floating]],
    known: Sequence_[BoolVector],
    seed: int,
) -> Classifier:
    """Fit on the rows with a label; a constant where there is one class or no row."""
    index = [np.flatnonzero(k) for k in known]
    label = np.concatenate(
        [np.zeros(0, dtype=bool), *(x[i] > 0.5 for x, i in zip(labels, index, strict=True))]
    )
    width = windows[0].width if windows else 0
    if not len(label) or label.all() or not label.any() or not width:
        share = float(label.mean()) if len(label) else float("nan")
        return lambda rows: np.full(len(rows), share)
    keep, weight = _draw(label, max(1000, MOST_NUMBERS // width), seed)
    rows, first = [], 0
    for window, i in zip(windows, index, strict=True):
        rows.append(window.rows(i[keep[first : first + len(i)]]))
        first += len(i)
    return fit(np.concatenate(rows), label[keep], weight[keep], seed)


def _draw(label: BoolVector, most: int, seed: int) -> tuple[BoolVector, FloatArray]:
    """Which rows to train on, and the weight of each, so that class shares stay as they are.

    All rows of the rarer class are kept, up to half of ``most``.
    """
    weight = np.ones(len(label))
    keep = np.ones(len(label), dtype=bool)
    if len(label) <= most:
        return keep, weight
    rng = np.random.default_rng(seed)
    rare = label if label.mean() < 0.5 else ~label
    rare_kept = min(int(rare.sum()), most // 2)
    for rows, kept in ((rare, rare_kept), (~rare, most - rare_kept)):
        index = np.flatnonzero(rows)
        kept = min(kept, len(index))
        keep[index] = False
        keep[rng.choice(index, kept, replace=False)] = True
        weight[index] = len(index) / kept
    return keep, weight


def _fit_clock(rows: FloatArray, label: BoolVector, weight: FloatArray, seed: int) -> Classifier:
    """Small trees on two times: a hazard that may rise and fall with the clock."""
    model = HistGradientBoostingClassifier(
        max_iter=60, max_leaf_nodes=6, learning_rate=0.1, min_samples_leaf=50,
        early_stopping=False, random_state=seed,
    )  # fmt: skip
    # Its threads spin while they wait: on a busy machine two are a hundred times slower than one.
    with threadpool_limits(limits=1, user_api="openmp"):
        # Weighted quantiles are the slow part: no weights where all are the same.
        uniform = bool((weight == weight[0]).all())
        model.fit(rows, label, sample_weight=None if uniform else weight)
    return lambda x: model.predict_proba(x)[:, 1]


def _fit_last_value(
    rows: FloatArray, label: BoolVector, weight: FloatArray, seed: int
) -> Classifier:
    """The feature that ranks best, turned into a probability by a one-dimensional regression.

    How far a feature's AUROC is from ½ counts in proportion to how often it is present. Where
    it is missing the answer is the share of positives among the rows that miss it.
    """
    best, column = -1.0, 0
    for k in range(rows.shape[1]):
        present = np.isfinite(rows[:, k])
        if label[present].all() or not label[present].any():
            continue
        area = roc_auc_score(label[present], rows[present, k], sample_weight=weight[present])
        gain = abs(area - 0.5) * present.mean()
        if gain > best:
            best, column = gain, k
    share = float(np.average(label, weights=weight))
    present = np.isfinite(rows[:, column])
    if best < 0:
        return lambda x: np.full(len(x), share)
    absent = share
    if (~present).any():
        absent = float(np.average(label[~present], weights=weight[~present]))
    scale = StandardScaler().fit(rows[present][:, [column]].astype(np.float64))
    model = LogisticRegression(C=1e3, max_iter=1000)
    model.fit(
        scale.transform(rows[present][:, [column]].astype(np.float64)),
        label[present],
        sample_weight=weight[present],
    )

    def classify(x: FloatArray) -> FloatArray:
        value = x[:, [column]].astype(np.float64)
        out = np.full(len(x), absent)
        here = np.isfinite(value[:, 0])
        if here.any():
            out[here] = model.predict_proba(scale.transform(value[here]))[:, 1]
        return out

    return classify


def _fit_logistic(
    rows: FloatArray, label: BoolVector, weight: FloatArray, seed: int
) -> Classifier:
    model = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        StandardScaler(),
        LogisticRegression(C=0.01, max_iter=500),
    )
    model.fit(rows, label, logisticregression__sample_weight=weight)
    return lambda x: model.predict_proba(x)[:, 1]


def _fit_boosting(
    rows: FloatArray, label: BoolVector, weight: FloatArray, seed: int
) -> Classifier:
    model = HistGradientBoostingClassifier(
        max_iter=150, learning_rate=0.06, max_leaf_nodes=15, min_samples_leaf=20,
        l2_regularization=1.0, early_stopping=False, random_state=seed,
    )  # fmt: skip
    # Its threads spin while they wait: on a busy machine two are a hundred times slower than one.
    with threadpool_limits(limits=1, user_api="openmp"):
        # Weighted quantiles are the slow part: no weights where all are the same.
        uniform = bool((weight == weight[0]).all())
        model.fit(rows, label, sample_weight=None if uniform else weight)
    return lambda x: model.predict_proba(x)[:, 1]
