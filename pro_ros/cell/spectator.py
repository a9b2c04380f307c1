"""Looks on while a task runs, and says in words what happens, as it happens."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal

from pro_ros.cell.captions import REASONS, clause, noun, ordinal
from pro_ros.cell.loop import INTERVENTION, TaskResult
from pro_ros.cell.policy import Chunks
from pro_ros.cell.rows import AttemptRow
from pro_ros.cell.sensors import NS, PART, VALVE, Reading
from pro_ros.cell.tape import Tape, order_ns
from pro_ros.cell.tasks import Task
from pro_ros.cell.vacuum import SUCK
from pro_ros.cell.watchers import Watcher
from pro_ros.episodes.marks import BEGIN, END, EventMark, Mark, TaskMark
from pro_ros.gate.config import GateConfig
from pro_ros.gate.inputs import AssessmentSeen

Doing = Literal["waits", "attempt", "stop", "recovery", "success", "failure"]
"""What the robot is at, or how the task ended."""

LineKind = Literal["begin", "grip", "alarm", "alone", "failure", "recovery", "success", "finish"]

SUCCESS: Final = 1


@dataclass(frozen=True)
class Line:
    """Something that happened, ``at`` seconds after the order."""

    at: float
    kind: LineKind
    text: str


class Spectator:
    """A Watcher in front of another one, which says all that there is to be seen.

    Parameters
    ----------
    watcher
        Who watches for the gate.
    task, gate
        As of the run.
    alone
        What the first attempt comes to when nobody stops it, from a run of the same task; None:
        not known.
    show
        Is called whenever time has passed, 30 times per simulated second.

    Attributes
    ----------
    tape
        All numbers so far, a row each 1/30 s from 0.4 s before the order on.
    at
        Now [s since the order].
    attempt
        Number of the attempt; 0 before the first.
    doing
        What the robot is at.
    lines
        What happened.
    phases
        When ``doing`` changed [s], and to what.
    """

    def __init__(
        self,
        watcher: Watcher,
        task: Task,
        gate: GateConfig,
        alone: AttemptRow | None = None,
        show: Callable[[], None] | None = None,
    ) -> None:
        self.task = task
        self.tape = Tape(watcher, task, gate)
        self.at = 0.0
        self.attempt = 0
        self.doing: Doing = "waits"
        self.lines: list[Line] = []
        self.phases: list[tuple[float, Doing]] = []
        self._ending = gate.ending
        self._alone, self._show = alone, show
        self._ordered_ns = order_ns(task)
        self._valve, self._part, self._gripped = 0, False, False
        self._seen: AssessmentSeen | None = None
        self._began = 0.0
        self._rows = 0

    # What the loop asks of a watcher

    def take(self, reading: Reading) -> Iterable[AssessmentSeen]:
        """See :class:`~pro_ros.cell.watchers.Watcher`."""
        said = list(self.tape.take(reading))
        if said:
            self._seen = said[-1]
        return said

    def mark(self, mark: Mark) -> None:
        """See :class:`~pro_ros.cell.watchers.Watcher`."""
        self.tape.mark(mark)

    def choose(self, chunks: Chunks) -> int:
        """See :class:`~pro_ros.cell.watchers.Watcher`."""
        return self.tape.choose(chunks)

    # What is seen

    def listen(self, told: Reading | Mark) -> None:
        """Take what is published."""
        self.tape.listen(told)
        if not isinstance(told, Reading):
            self._see_mark(told)
            return
        self.at = (told.receipt_ns - self._ordered_ns) / NS
        self._see_gripper(told)
        rows = len(self.tape.rows["vacuum"])
        if rows != self._rows:
            self._rows = rows
            if self._show is not None:
                self._show()

    def finish(self, result: TaskResult) -> None:
        """Say how the task ended."""
        count = len(result.attempts)
        after = f"after {result.duration:.1f} s and {count} attempt{'' if count == 1 else 's'}"
        self._turn("success" if result.success else "failure", result.duration)
        if not result.success:
            why = REASONS.get(result.reason, result.reason.replace("_", " "))
            self._say("finish", f"given up {after}: {why}", result.duration)
        elif not self.lines or self.lines[-1].kind != "success":
            # A recovery has set it down where it belongs.
            self._say("success", f"done {after}", result.duration)

    def _see_gripper(self, reading: Reading) -> None:
        if isinstance(reading.values, bytes):
            return
        if reading.kind == VALVE:
            self._valve = int(reading.values[0])
        elif reading.kind == PART:
            part = reading.values[0] > 0.5
            if part and not self._part and self.doing == "attempt" and self._valve == SUCK:
                self._say("grip", "gripped, says the switch")
            self._part = part

    def _see_mark(self, mark: Mark) -> None:
        if isinstance(mark, TaskMark):
            self.attempt = mark.attempt
            return
        at = (mark.t_ns - self._ordered_ns) / NS
        if mark.kind == BEGIN:
            self._began = at
            self._turn("attempt", at)
            self._say("begin", f"{ordinal(self.attempt).lower()} attempt", at)
        elif mark.kind == INTERVENTION:
            self._turn("stop", at)
            self._say("alarm", f"{self._cause()}: the gate stops the arm", at)
            if self.attempt == 1 and self._alone is not None:
                self._say("alone", left_alone(self._alone, at - self._began), at)
        elif mark.kind == END:
            self._see_end(mark, at)
        elif mark.name:
            self._say("failure", clause(mark.name), at)

    def _see_end(self, mark: EventMark, at: float) -> None:
        if mark.outcome == SUCCESS:
            self._turn("success", at)
            self._say("success", "success: by the scale, the item lies in the other tote", at)
            return
        stopped = self.doing == "stop"
        self._turn("recovery", at)
        begin = "the arm stands" if stopped else "the attempt ends without success"
        self._say("recovery", f"{begin}; recovery", at)

    def _cause(self) -> str:
        """Why the arm is stopped, as far as it was published."""
        seen, threshold = self._seen, self.tape.threshold
        if seen is None:
            return "something is wrong"
        if threshold is not None and seen.score >= threshold:
            what = f" of a {noun(seen.mode)}" if seen.mode else ""
            digits = 2 if round(seen.score, 2) > round(threshold, 2) else 3
            return f"risk{what} {seen.score:.{digits}f}, over {threshold:.{digits}f}"
        if self._ending.enabled and seen.termination >= self._ending.termination:
            return f"about to end, success {seen.success:.2f}"
        return "no more trust in this attempt"

    def _turn(self, doing: Doing, at: float) -> None:
        self.doing = doing
        self.phases.append((at, doing))

    def _say(self, kind: LineKind, text: str, at: float | None = None) -> None:
        if text:
            self.lines.append(Line(self.at if at is None else at, kind, text))


def left_alone(alone: AttemptRow, since_begin: float) -> str:
    """What becomes of an attempt that is not stopped, seen from so long after its begin [s].

    Empty where it had gone wrong before.
    """
    if not alone.failures:
        if alone.outcome == "success":
            return "a false stop: left alone, this attempt succeeds"
        return "left alone, this attempt fails"
    first = min(alone.failures, key=lambda f: f.at)
    lead = first.at - alone.begin - since_begin
    if lead <= 0.0:
        return ""
    text = f"left alone: {clause(first.mode)}, {lead:.1f} s from here"
    return text + (", yet counts as placed" if alone.outcome == "success" else "")
