"""What passes between the cell and who watches it, as rows of numbers to be drawn."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from pro_ros.cell.cell import EPOCH_NS
from pro_ros.cell.loop import SPACING_NS, WARM_UP_NS
from pro_ros.cell.policy import Chunks
from pro_ros.cell.sensors import NS, VACUUM, WRENCH, Reading
from pro_ros.cell.tasks import Task
from pro_ros.cell.watchers import Pro, Watcher
from pro_ros.episodes.marks import Mark
from pro_ros.gate.config import GateConfig
from pro_ros.gate.inputs import AssessmentSeen

BEGINS_NS: Final = -400_000_000
"""The rows begin so long before the order [ns]."""

ROW_NS: Final = round(NS / 30)
"""From one row of the traces to the next [ns]."""

HOLD_NS: Final = NS // 5
"""What was said longer ago is no longer shown [ns]."""


def order_ns(task: Task) -> int:
    """When a task is ordered, in the simulated time of its run."""
    return EPOCH_NS + task.seed * SPACING_NS + WARM_UP_NS


class Tape:
    """Keeps what passes between the cell and who watches it. It is a Watcher itself.

    Parameters
    ----------
    watcher
        Who watches.
    task
        What is run.
    gate
        The gate file: where it has a threshold of its own, that one stops the arm.

    Attributes
    ----------
    rows
        By name, as in :class:`~pro_ros.cell.rows.Film`; None where nothing is known.
    modes
        Risk of each failure mode within ``horizon`` seconds, if PRO watches.
    marks
        All that the loop told.
    threshold
        Of the score; None where the watcher has none or has not said it yet.
    """

    def __init__(self, watcher: Watcher, task: Task, gate: GateConfig) -> None:
        self._watcher = watcher
        self._next_ns = order_ns(task) + BEGINS_NS
        self._begins_ns = self._next_ns
        names = ("vacuum", "force", "torque", "score", "value", "success", "termination")
        self.rows: dict[str, list[float | None]] = {name: [] for name in names}
        self.modes: dict[str, list[float | None]] = {}
        self.threshold: float | None = None
        asked = gate.alarm.threshold
        self._asked = None if asked == "calibrated" else float(asked)
        if isinstance(watcher, Pro):
            self.modes = {name: [] for name in watcher.pipeline.monitor.source.modes}
            self.threshold = self._asked
        self.marks: list[Mark] = []
        self.horizon: float | None = None
        self._ambient: list[float] = []
        self._newest: dict[str, tuple[int, float]] = {}

    # What the loop asks of a watcher

    def take(self, reading: Reading) -> Iterable[AssessmentSeen]:
        """See :class:`~pro_ros.cell.watchers.Watcher`."""
        said = list(self._watcher.take(reading))
        if said:
            self._hear(said[-1], reading.receipt_ns)
        return said

    def mark(self, mark: Mark) -> None:
        """See :class:`~pro_ros.cell.watchers.Watcher`."""
        self._watcher.mark(mark)

    def choose(self, chunks: Chunks) -> int:
        """See :class:`~pro_ros.cell.watchers.Watcher`."""
        return self._watcher.choose(chunks)

    # What is kept

    def listen(self, told: Reading | Mark) -> None:
        """Take what is published."""
        if not isinstance(told, Reading):
            self.marks.append(told)
            return
        while told.receipt_ns > self._next_ns:
            self._write_row()
        values = told.values
        if isinstance(values, bytes):
            return
        if told.kind == VACUUM:
            self._see_vacuum(values[0], told.receipt_ns)
        elif told.kind == WRENCH:
            self._see("force", values[2], told.receipt_ns)
            self._see("torque", math.hypot(*values[3:6]), told.receipt_ns)

    def _see_vacuum(self, pressure: float, now_ns: int) -> None:
        if now_ns < self._begins_ns or not self._ambient:
            # Nothing is sucked at yet: this is what the sensor says of the air.
            self._ambient.append(pressure)
        ambient = sum(self._ambient) / len(self._ambient)
        self._see("vacuum", (ambient - pressure) / 1000.0, now_ns)

    def _hear(self, seen: AssessmentSeen, now_ns: int) -> None:
        self._see("score", seen.score, now_ns)
        if not isinstance(self._watcher, Pro):
            return
        if self._asked is None and math.isfinite(seen.threshold):
            self.threshold = seen.threshold
        for name in ("value", "success", "termination"):
            self._see(name, getattr(seen, name), now_ns)
        statement = self._watcher.statements[-1]
        source = self._watcher.pipeline.monitor.source
        self.horizon = statement.alarm.horizon
        at = source.horizons.index(statement.alarm.horizon)
        for name, risks in zip(source.modes, statement.assessment.mode_risk, strict=True):
            self._see(f"mode {name}", float(risks[at]), now_ns)

    def _see(self, name: str, value: float, now_ns: int) -> None:
        if math.isfinite(value):
            self._newest[name] = (now_ns, value)

    def _write_row(self) -> None:
        for name, values in self.rows.items():
            values.append(self._at(name))
        for name, values in self.modes.items():
            values.append(self._at(f"mode {name}"))
        self._next_ns += ROW_NS

    def _at(self, name: str) -> float | None:
        """What was known at the time of the row; three decimals are more than can be drawn."""
        at_ns, value = self._newest.get(name, (0, math.nan))
        return None if self._next_ns - at_ns > HOLD_NS else round(value, 3)
