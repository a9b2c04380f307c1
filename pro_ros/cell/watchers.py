"""Who watches the robot for the gate: nobody, a threshold on the vacuum, or PRO.

All of them say it in the gate's own terms, so that the same gate stops, recovers and retries
whoever watches.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, Protocol

import numpy as np

from pro_ros.cell.judge import DROP
from pro_ros.cell.observer import Observation
from pro_ros.cell.policy import PERIOD, Chunks
from pro_ros.cell.samples import Sampler
from pro_ros.cell.sensors import NS, PART, SEA_LEVEL, VACUUM, Reading
from pro_ros.cell.vacuum import SUCK
from pro_ros.episodes.marks import Mark
from pro_ros.errors import DataError
from pro_ros.gate.inputs import AssessmentSeen, likeliest_mode
from pro_ros.interfaces import validity_bits
from pro_ros.model.checkpoint import Checkpoint
from pro_ros.runtime.monitor import Statement
from pro_ros.runtime.pipeline import Pipeline
from pro_ros.runtime.scoring import ActionScorer, ScoringSettings

RATE: Final = 30.0
"""At which watchers without a checkpoint say something [Hz]."""

VALID: Final = validity_bits(("VALID",))


class Watcher(Protocol):
    """What the loop needs of who watches."""

    def take(self, reading: Reading) -> Iterable[AssessmentSeen]:
        """Take a reading; what is said of the steps that it completes."""

    def mark(self, mark: Mark) -> None:
        """Take an EpisodeEvent or a TaskContext."""

    def choose(self, chunks: Chunks) -> int:
        """Which of the candidates ``[N, T, D]`` to carry out."""


class Nobody:
    """Says at each step that all is well: failures are noticed at the end of an attempt."""

    def __init__(self) -> None:
        self._sequence = 0
        self._due_ns = 0

    def take(self, reading: Reading) -> Iterable[AssessmentSeen]:
        """See :class:`Watcher`."""
        now_ns = reading.receipt_ns
        if now_ns < self._due_ns:
            return ()
        self._due_ns = now_ns + round(NS / RATE)
        self._sequence += 1
        return (self._say(now_ns),)

    def mark(self, mark: Mark) -> None:
        """See :class:`Watcher`."""

    def choose(self, chunks: Chunks) -> int:
        """The policy's own."""
        return 0

    def _say(self, now_ns: int) -> AssessmentSeen:
        return AssessmentSeen(
            self._sequence, now_ns, VALID, self._score(now_ns), 0.5, success=1.0, mode=self._mode
        )

    _mode = ""

    def _score(self, now_ns: int) -> float:
        return 0.0


class Threshold(Nobody):
    """What integrators build by hand: the vacuum is too low while something is held.

    Parameters
    ----------
    depth
        Vacuum below which it alarms [Pa below the standard atmosphere].
    hold
        For so long [s].
    settle
        How long after the switch closed it begins to watch [s].
    """

    _mode = DROP

    def __init__(self, depth: float, hold: float = 0.06, settle: float = 0.5) -> None:
        super().__init__()
        self._depth = depth
        self._hold_ns, self._settle_ns = round(hold * NS), round(settle * NS)
        self._seen = Observation()
        self._gripped_ns: int | None = None
        self._low_ns: int | None = None
        self.margin = math.nan

    def take(self, reading: Reading) -> Iterable[AssessmentSeen]:
        """See :class:`Watcher`."""
        self._seen.take(reading)
        if reading.kind == PART and not self._seen.part:
            self._gripped_ns = None
        elif reading.kind == PART and self._gripped_ns is None:
            self._gripped_ns = reading.receipt_ns
        elif reading.kind == VACUUM and not isinstance(reading.values, bytes):
            self._judge(SEA_LEVEL - reading.values[0], reading.receipt_ns)
        return super().take(reading)

    def _judge(self, depth: float, now_ns: int) -> None:
        gripped = self._gripped_ns
        watched = (
            gripped is not None and now_ns - gripped > self._settle_ns and self._seen.valve == SUCK
        )
        self.margin = depth if watched else math.nan
        if not watched or depth >= self._depth:
            self._low_ns = None
        elif self._low_ns is None:
            self._low_ns = now_ns

    def _score(self, now_ns: int) -> float:
        return float(self._low_ns is not None and now_ns - self._low_ns >= self._hold_ns)


class Pro:
    """PRO itself, in this process.

    Parameters
    ----------
    checkpoint
        What it runs.
    scoring
        How candidate chunks are scored; None: the policy's own is taken.
    """

    def __init__(self, checkpoint: Checkpoint, scoring: ScoringSettings | None = None) -> None:
        self.pipeline = Pipeline(checkpoint)
        self._sampler = Sampler(checkpoint.spec)
        source = self.pipeline.monitor.source
        self._modes, self._model_id = source.modes, source.model_id
        self._scorer = (
            None if scoring is None
            else ActionScorer(checkpoint, self.pipeline.monitor, scoring)
        )  # fmt: skip
        self.statements: list[Statement] = []

    def take(self, reading: Reading) -> Iterable[AssessmentSeen]:
        """See :class:`Watcher`."""
        sample = self._sampler.sample(reading)
        if sample is None:
            return ()
        said = [self.pipeline.judge(step) for step in self.pipeline.feed(sample)]
        self.statements.extend(said)
        return [self._seen(one) for one in said]

    def mark(self, mark: Mark) -> None:
        """See :class:`Watcher`."""
        self.pipeline.mark(mark)

    def choose(self, chunks: Chunks) -> int:
        """The best-scored candidate; the policy's own where nothing can be scored."""
        if self._scorer is None:
            return 0
        try:
            scores = self._scorer.score(np.asarray(chunks, dtype=np.float32), PERIOD)
        except DataError:
            return 0
        return scores.best if scores.supported.any() else 0

    def _seen(self, said: Statement) -> AssessmentSeen:
        a, info, alarm = said.assessment, said.info, said.alarm
        return AssessmentSeen(
            sequence=info.sequence,
            stamp_ns=a.t_ns,
            validity=validity_bits(info.validity),
            score=alarm.score,
            threshold=alarm.threshold if alarm.basis != "MANUAL" else math.nan,
            termination=a.termination,
            success=a.success,
            value=a.value,
            progress=a.progress,
            mode=likeliest_mode(alarm.mode, self._modes, a.mode_distribution.tolist()),
            model_id=self._model_id,
        )
