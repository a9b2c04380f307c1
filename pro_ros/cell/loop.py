"""One task in one process: the cell, the policy, the judge, the gate, and who watches.

Simulated time is the only clock, so that a run is the same every time and as fast as it goes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from pro_ros.cell.actor import Actor, Doing
from pro_ros.cell.camera import Camera
from pro_ros.cell.catalogue import Catalogue
from pro_ros.cell.cell import EPOCH_NS, Cell
from pro_ros.cell.judge import SETTLING_NS as SCALES_NS
from pro_ros.cell.judge import Failure, Judge
from pro_ros.cell.policy import Policy
from pro_ros.cell.sensors import NS, Reading
from pro_ros.cell.tasks import Task, site_number
from pro_ros.cell.watchers import Watcher
from pro_ros.episodes.marks import BEGIN, END, EVENT_KINDS, MOMENT, EventMark, Mark, TaskMark
from pro_ros.gate.config import GateConfig
from pro_ros.gate.inputs import (
    GoalAccepted,
    Input,
    PolicyAccepted,
    PolicyFinished,
    PolicyRejected,
    PolicyStopConfirmed,
    RecoveryFinished,
    Tick,
)
from pro_ros.gate.machine import Gate
from pro_ros.gate.outputs import (
    AttemptRecord,
    Finish,
    Output,
    StartPolicy,
    StartRecovery,
    StopPolicy,
    StopRecovery,
)
from pro_ros.gate.reasons import Outcome, TerminationReason

WARM_UP_NS: Final = round(0.6 * NS)
"""From the begin of simulated time to the order."""

SPACING_NS: Final = 120 * NS
"""Between the begins of two tasks' simulated times."""

_NUMBERS: Final = {name: number for number, name in EVENT_KINDS.items()}

KINDS: Final = {
    "drop": _NUMBERS["drop"], "jam": _NUMBERS["jam"], "miss": _NUMBERS["failure"],
    "double_pick": _NUMBERS["failure"],
}  # fmt: skip
"""``EpisodeEvent.kind`` of a failure mode."""

INTERVENTION: Final = _NUMBERS["intervention"]

FAILED: Final = (TerminationReason.RISK_ALARM, TerminationReason.PREDICTED_FAILURE)


@dataclass(frozen=True)
class Attempt:
    """What became of one attempt. Times from the order of the task [s].

    ``outcome``: as the gate knows it. ``stopped``: it was stopped by who watches, for ``mode``.
    ``failures``: what the judge logged, with times. ``peak``: highest score seen.
    """

    number: int
    begin: float
    end: float
    outcome: str
    cause: str
    stopped: bool
    mode: str
    alarm: float | None
    failures: tuple[tuple[str, float], ...]
    peak: float


@dataclass(frozen=True)
class TaskResult:
    """What became of a task.

    ``success``: the item lies in the target tote, alone, by the scale; if fragile, it did not
    fall, by the gripper's switch and the joints. ``attempts``: those in
    which the policy moved. ``duration``: from the order to the end [s].
    """

    site: str
    sku: str
    seed: int
    success: bool
    reason: str
    duration: float
    attempts: tuple[Attempt, ...]

    @property
    def retries(self) -> int:
        """Attempts beyond the first."""
        return max(0, len(self.attempts) - 1)

    @property
    def dropped(self) -> bool:
        """Whether an item fell in any attempt."""
        return any(mode == "drop" for a in self.attempts for mode, _ in a.failures)


Listener = Callable[[Reading | Mark], None]
"""Is given every reading and mark in the order in which they are received."""


@dataclass
class _Log:
    """What is kept of an attempt while it runs."""

    episode_id: str
    failures: list[Failure] = field(default_factory=list)


class TaskRun:
    """Runs one task to its end.

    Parameters
    ----------
    catalogue, task
        Where and what.
    gate
        The gate file.
    watcher
        Who watches for the gate.
    candidates
        Chunks that the policy is asked for each time.
    listener
        Is told everything that is published: a bag, a display.
    camera
        Renders frames; None: none.
    lesson
        The failure mode that the policy is told after a failure of which the mode is not known;
        empty: none, so that it tries again as before.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        task: Task,
        gate: GateConfig,
        watcher: Watcher,
        candidates: int = 1,
        listener: Listener | None = None,
        camera: Camera | None = None,
        lesson: str = "",
    ) -> None:
        self.task = task
        self._usual_lesson = lesson
        self._start_ns = EPOCH_NS + task.seed * SPACING_NS
        self._watcher, self._listener = watcher, listener
        self._cell = Cell(catalogue, task, self._start_ns, camera)
        site, item = catalogue.site(task.site), catalogue.item(task.sku)
        rng = np.random.default_rng((task.seed, site_number(task.site), 2))
        policy = Policy(site.speed, site.acceleration, rng)
        self._actor = Actor(self._cell, policy, candidates, watcher.choose)
        self._judge = Judge(item.mass, item.fragile)
        self._gate = Gate(gate)
        self.task_id = f"{task.site}-{task.seed:06d}"
        self._run: int | None = None
        self._recovery: int | None = None
        self._lesson = ""
        self._judging_ns: int | None = None
        self._log: _Log | None = None
        self._logs: list[_Log] = []
        self._finish: Finish | None = None

    def run(self) -> TaskResult:
        """Order the task and see it to its end.

        Raises
        ------
        DivergedError
            The simulation is worth nothing.
        """
        cell = self._cell
        while cell.now_ns < self._start_ns + WARM_UP_NS:
            self._pass_block()
        ordered_ns = cell.now_ns
        self._give(GoalAccepted(self.task_id))
        while self._finish is None:
            self._pass_block()
        for _ in range(10):
            # What the last moment said is recorded, too.
            self._pass_block()
        return self._result(self._finish, ordered_ns)

    def _pass_block(self) -> None:
        """20 ms: what is due is done, then the readings of the time that passes are taken."""
        now_ns = self._cell.now_ns
        self._judge_when_settled(now_ns)
        doing = self._actor.doing
        if self._actor.tick(now_ns):
            self._on_over(doing)
        for reading in self._cell.advance():
            self._actor.seen.take(reading)
            failure = self._judge.take(reading)
            if self._listener is not None:
                self._listener(reading)
            if failure is not None and self._log is not None:
                self._tell_failure(failure, reading.receipt_ns)
            for seen in self._watcher.take(reading):
                self._give(seen, reading.receipt_ns)
        deadline = self._gate.next_deadline()
        if deadline is not None and deadline <= self._cell.now_ns:
            self._give(Tick())

    # What the gate is told, and what it orders

    def _give(self, given: Input, now_ns: int | None = None) -> None:
        for order in self._gate.handle(given, self._cell.now_ns if now_ns is None else now_ns):
            self._obey(order)

    def _obey(self, order: Output) -> None:
        if isinstance(order, StartPolicy):
            self._start(order)
        elif isinstance(order, StopPolicy):
            self._judging_ns = None
            self._mark_event(INTERVENTION)
            self._actor.stop()
            if self._actor.doing is Doing.NOTHING:
                self._on_over(Doing.STOPPING)
        elif isinstance(order, StartRecovery):
            self._recovery = order.run
            # What it was stopped for once, it keeps in mind for the rest of the task.
            self._lesson = order.mode or self._lesson or self._usual_lesson
            self._actor.recover()
        elif isinstance(order, StopRecovery):
            self._actor.stop()
        elif isinstance(order, Finish):
            self._finish = order

    def _start(self, order: StartPolicy) -> None:
        self._judge.begin()
        if self._judge.done:
            # The recovery set it down where it belongs: nothing is left to do.
            self._give(PolicyAccepted(order.run))
            self._give(PolicyFinished(order.run, True))
        elif self._judge.damaged or not self._actor.start(self._lesson):
            self._give(PolicyRejected(order.run))
        else:
            self._run = order.run
            self._log_begin(order.attempt)
            self._give(PolicyAccepted(order.run))

    def _log_begin(self, attempt: int) -> None:
        now_ns = self._cell.now_ns
        before = self._log.episode_id if self._log is not None else ""
        self._log = _Log(f"{self.task_id}-{attempt}")
        self._logs.append(self._log)
        context = {"sku": self.task.sku, "site": self.task.site, "robot": f"{self.task.site}-1"}
        self._mark(
            TaskMark(
                now_ns, self.task.prompt, self.task_id, context,
                self._log.episode_id, attempt, before, now_ns,
            )
        )  # fmt: skip
        self._mark_event(BEGIN)

    def _on_over(self, doing: Doing) -> None:
        """What the actor was at is over: nothing moves."""
        if self._recovery is not None:
            run, self._recovery = self._recovery, None
            self._give(RecoveryFinished(run, True))
        elif self._run is None:
            return
        elif doing is Doing.STOPPING:
            run, self._run = self._run, None
            self._mark_event(END)
            self._give(PolicyStopConfirmed(run))
        else:
            self._judging_ns = self._cell.now_ns + SCALES_NS

    def _judge_when_settled(self, now_ns: int) -> None:
        if self._judging_ns is None or now_ns < self._judging_ns or self._run is None:
            return
        success, failure = self._judge.end(self._actor.missed)
        if failure is not None:
            self._tell_failure(failure, now_ns)
        run, self._run, self._judging_ns = self._run, None, None
        self._mark_event(END, 1 if success else 2)
        self._give(PolicyFinished(run, success))

    # What is logged

    def _tell_failure(self, failure: Failure, receipt_ns: int) -> None:
        if self._log is None:
            return
        # What falls in a recovery counts, but belongs to no attempt that is recorded.
        self._log.failures.append(failure)
        if self._run is None:
            return
        name = failure.mode
        self._mark(EventMark(failure.stamp_ns, KINDS[name], MOMENT, 0, self._log.episode_id,
                             name, receipt_ns))  # fmt: skip

    def _mark_event(self, kind: int, outcome: int = 0) -> None:
        now_ns = self._cell.now_ns
        episode = self._log.episode_id if self._log is not None else ""
        self._mark(EventMark(now_ns, kind, MOMENT, outcome, episode, "", now_ns))

    def _mark(self, mark: Mark) -> None:
        self._watcher.mark(mark)
        if self._listener is not None:
            self._listener(mark)

    def _result(self, finish: Finish, ordered_ns: int) -> TaskResult:
        attempts = [
            self._attempt(record, log, ordered_ns)
            for record, log in zip(finish.attempts, self._logs, strict=False)
        ]
        return TaskResult(
            site=self.task.site,
            sku=self.task.sku,
            seed=self.task.seed,
            success=finish.outcome is Outcome.SUCCESS,
            reason=finish.reason.name.lower(),
            duration=(finish_ns(finish, self._cell.now_ns) - ordered_ns) / NS,
            attempts=tuple(attempts),
        )

    @staticmethod
    def _attempt(record: AttemptRecord, log: _Log, ordered_ns: int) -> Attempt:
        def since(t_ns: int) -> float:
            return (t_ns - ordered_ns) / NS

        return Attempt(
            number=record.number,
            begin=since(record.begin_ns),
            end=since(record.end_ns),
            outcome=record.outcome.name.lower(),
            cause=record.cause.name.lower(),
            stopped=record.cause in FAILED,
            mode=record.mode,
            alarm=None if record.alarm_ns is None else since(record.alarm_ns),
            failures=tuple((f.mode, since(f.stamp_ns)) for f in log.failures),
            peak=record.peak_risk if math.isfinite(record.peak_risk) else 0.0,
        )


def finish_ns(finish: Finish, otherwise_ns: int) -> int:
    """When the last attempt was over [ns]."""
    return finish.attempts[-1].end_ns if finish.attempts else otherwise_ns
