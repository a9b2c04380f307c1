"""The operator at work on live topics, without ROS: a thread between an intake and publishers."""

from __future__ import annotations

import contextlib
import math
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from threadpoolctl import threadpool_limits

from pro_ros.errors import DataError
from pro_ros.runtime.encoder import Encoder
from pro_ros.runtime.health import FaultLog, Health, Latencies, Say, StreamHealth
from pro_ros.runtime.intake import Arrival, Intake, Source
from pro_ros.runtime.monitor import Monitor, Statement
from pro_ros.runtime.pipeline import Pipeline
from pro_ros.streams.cdr import CdrReader
from pro_ros.streams.sample import Step

NS = 1_000_000_000

POLL_S = 0.005
"""Longest sleep where the robot's clock is not the machine's: it may run at any speed [s]."""

LEAST_POLL_S = 0.0005
"""And the shortest [s]."""

SILENCE_PERIODS = 3.0
"""Expected periods without a step after which it is said that there is nothing to judge."""

FAILURE_S, OTHER_FAILURE_S = 10.0, 1.0
"""Time after which the same failure of the operator is said again, and after which another one
is: each is many lines [s]."""

LEAST_SILENCE_S = 0.5
"""And at least so many seconds [s]."""


class LiveOperator:
    """Runs a :class:`Pipeline` on its own thread.

    It sleeps until a step is due or a sample of ``step.on`` came, drains the intake, decodes,
    steps, judges and publishes. A step that would be judged later than ``max_lateness`` after its
    time is dropped and counted, never queued. What a message or a step does wrong is said and
    counted; the thread goes on.

    Parameters
    ----------
    pipeline
        The operator, warm.
    intake
        Where callbacks push.
    readers
        Per source, what turns its bytes into samples: one reader per stream.
    publish
        Takes a topic's name (:data:`pro_ros.runtime.encoder.TOPICS`) and a message in CDR.
    say
        Takes lines for the log.
    max_lateness
        [s].
    real_time
        Whether the intake's clock is the machine's; otherwise it is polled.

    Attributes
    ----------
    taken
        Messages and marks that were taken from the intake.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        intake: Intake,
        readers: Mapping[Source, Sequence[tuple[str, CdrReader]]],
        publish: Callable[[str, bytes], None],
        say: Say,
        max_lateness: float = 0.1,
        real_time: bool = True,
    ) -> None:
        self.pipeline = pipeline
        self.intake = intake
        spec = pipeline.stepper.spec
        self._readers = readers
        self._publish = publish
        self._say = say
        self._real_time = real_time
        self._encoder = Encoder(pipeline.monitor.source)
        self._latencies = Latencies()
        streams = spec.input_streams
        self._ages = dict.fromkeys(streams, float("inf"))
        self._health = {name: StreamHealth() for name in spec.streams}
        self._log = FaultLog(
            {name: stream.topic or "" for name, stream in spec.streams.items()},
            {name: stream.stale_s for name, stream in spec.streams.items()},
            say,
        )
        self._dropped = dict.fromkeys(readers, 0)
        self.taken = 0
        on = spec.step.on
        self.period = 1.0 / (spec.streams[on].rate if on else spec.step.rate or 30.0)
        # A clock that is not the machine's may run at any speed.
        least = 0.0 if real_time else 2.0 * self.period
        self._late_ns = round(max(max_lateness, least) * NS)
        self._silence_s = max(LEAST_SILENCE_S, SILENCE_PERIODS * self.period)
        self._spoke = time.monotonic()
        self._valid_at: float | None = None
        self._newest_ns = 0
        self._received_ns: dict[str, int] = {}
        self._judged_ns = 0
        self._jumps = dict.fromkeys(streams, 0)
        self._failure = ("", -math.inf)
        self._counts = Health()
        self._backwards = 0
        self._changes: deque[Callable[[Monitor], None]] = deque()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pro_ros operator", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._spoke = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """End the thread, if it was started; what is not judged yet is left."""
        self._stop.set()
        self.intake.wake.set()
        if self._thread.ident is not None:
            self._thread.join()

    def tune(self, change: Callable[[Monitor], None]) -> None:
        """Change the monitor on the operator's own thread, between two steps."""
        self._changes.append(change)

    @property
    def valid_age(self) -> float:
        """Time since the last valid assessment, by the steady clock [s]; inf before the first."""
        return float("inf") if self._valid_at is None else time.monotonic() - self._valid_at

    @property
    def counts(self) -> Health:
        """The counters alone."""
        return replace(self._counts)

    def health(self) -> Health:
        """A snapshot of counters, ages and latencies; may be called from any thread."""
        builder = self.pipeline.stepper.builder
        refused, duplicates, jumps = builder.refused, builder.duplicates, builder.jumps
        streams = {}
        for name, counted in self._health.items():
            streams[name] = replace(
                counted,
                refused=refused.get(name, 0),
                duplicates=duplicates.get(name, 0),
                jumps=jumps.get(name, 0),
                age=self._ages.get(name, float("inf")),
                faults=self._log.faults(name),
                last_error=self._log.last_error(name),
                dropped=sum(s.dropped for s in self._readers if name in s.streams),
            )
        p50, p99 = self._latencies.percentiles()
        return replace(self._counts, streams=streams, latency_p50=p50, latency_p99=p99)

    def _run(self) -> None:
        # More threads only wait for each other on so few numbers.
        with threadpool_limits(1, "blas"):
            self._loop()

    def _loop(self) -> None:
        while not self._stop.is_set():
            # A defect here must not end the monitor silently: it says so and goes on.
            try:
                self.intake.wake.wait(self._sleep_s())
                self.intake.wake.clear()
                if not self._stop.is_set():
                    self.turn()
            except Exception:
                self._fail(traceback.format_exc())
                self._stop.wait(self.period)

    def _fail(self, trace: str) -> None:
        """Count a failure of the operator itself, and say it now and then."""
        self._counts.failures += 1
        now = time.monotonic()
        before, said_at = self._failure
        if now - said_at > (FAILURE_S if trace == before else OTHER_FAILURE_S):
            self._failure = (trace, now)
            for line in trace.splitlines():
                self._say("error", line)
        # Publishing may be what failed: it was said above.
        with contextlib.suppress(Exception):
            self._send(self.pipeline.monitor.silence(*self._present(), failed=True))

    def _present(self) -> tuple[int, dict[str, float]]:
        now = self.intake.now()
        return now, self.pipeline.stepper.builder.ages(now)

    def _sleep_s(self) -> float:
        due = self.pipeline.stepper.due_ns
        longest = self._silence_s / 2 if self._real_time else POLL_S
        if due is None:
            # A grid begins with the first sample, which does not wake: look for it.
            return min(longest, 0.02) if self._on_grid else longest
        # One microsecond more: a step is due before the time that fires it. A clock that is not
        # the machine's may stand still at that very time.
        left = (due - self.intake.now()) / NS + 1e-6
        return min(max(left, 0.0 if self._real_time else LEAST_POLL_S), longest)

    @property
    def _on_grid(self) -> bool:
        return self.pipeline.stepper.spec.step.on is None

    def turn(self) -> None:
        """Do what is to be done now: everything received, then every step that is due."""
        while self._changes:
            self._changes.popleft()(self.pipeline.monitor)
        now, arrivals = self.intake.drain()
        steps: list[tuple[Step, int]] = []
        failure = ""
        for arrival in arrivals:
            try:
                steps += self._take(arrival)
            except Exception:
                # What was received after it must not be lost: a mark may be among it.
                failure = traceback.format_exc()
        steps += [(step, self._newest_ns) for step in self.pipeline.stepper.advance(now)]
        self._note_clock()
        if failure:
            self._fail(failure)
        self._counts.steps += len(steps)
        self._counts.restarts += sum(step.restart for step, _ in steps)
        for n, (step, newest_ns) in enumerate(steps):
            if self.intake.now() - step.t_ns > self._late_ns:
                self.pipeline.monitor.skip(step)
                self._counts.late += 1
                continue
            try:
                self._judge(step, newest_ns)
            except Exception:
                for left, _ in steps[n:]:
                    self.pipeline.monitor.skip(left)
                # What failed may have left its memory half changed.
                self.pipeline.monitor.forget()
                raise
        if time.monotonic() - self._spoke > self._silence_s:
            self._say_nothing()

    def _take(self, arrival: Arrival) -> list[tuple[Step, int]]:
        """The steps that an arrival makes, each with the receipt of its newest sample [ns]."""
        self.taken += 1
        if arrival.mark is not None:
            self.pipeline.mark(arrival.mark)
            return []
        steps: list[tuple[Step, int]] = []
        if arrival.source is None:
            return steps
        for name, read in self._readers[arrival.source]:
            try:
                sample = read(arrival.raw, arrival.receipt_ns)
            except DataError as exc:
                self._health[name].errors += 1
                self._log.error(name, str(exc))
                continue
            self._health[name].received += 1
            before_ns, now_ns = self._newest_ns, arrival.receipt_ns
            self._newest_ns = self._received_ns[name] = now_ns
            for step in self.pipeline.feed(sample):
                # One of the grid was due before this sample.
                steps.append((step, now_ns if step.t_ns == now_ns else before_ns))
        return steps

    def _judge(self, step: Step, newest_ns: int) -> None:
        dropped = self._newly_dropped()
        said = self.pipeline.judge(step, dropped)
        latency = max(0.0, (self.intake.now() - newest_ns) / NS)
        self._send(replace(said, info=replace(said.info, latency=latency)))
        if newest_ns != self._judged_ns:
            self._judged_ns = newest_ns
            self._latencies.push(max(0.0, (self.intake.now() - newest_ns) / NS))
        valid = "VALID" in said.info.validity
        if valid:
            self._valid_at = time.monotonic()
        counts = self._counts
        counts.assessed += 1
        counts.valid += valid
        self._note_streams(step, dropped)

    def _send(self, said: Statement) -> None:
        self._counts.validity = said.info.validity
        self._counts.sequence = said.info.sequence
        for topic, data in self._encoder.messages(said):
            self._publish(topic, data)
        self._spoke = time.monotonic()

    def _say_nothing(self) -> None:
        """No step was made for some time: say that what was said before no longer holds."""
        now, ages = self._present()
        said = self.pipeline.monitor.silence(now, ages)
        self._send(said)
        self._ages = ages
        for name, age in ages.items():
            stale = age > self.pipeline.stepper.spec.streams[name].stale_s
            self._log.update(name, ("stale",) if stale else (), age, self._heard(name, now))

    def _newly_dropped(self) -> tuple[str, ...]:
        """Streams of which messages were dropped since this was asked before."""
        streams: dict[str, None] = {}
        for source, before in self._dropped.items():
            if source.dropped > before:
                self._dropped[source] = source.dropped
                streams |= dict.fromkeys(source.streams)
        return tuple(name for name in streams if name in self._ages)

    def _note_streams(self, step: Step, dropped: tuple[str, ...]) -> None:
        self._ages = step.ages
        jumps = self.pipeline.stepper.builder.jumps
        jumped = [name for name, before in self._jumps.items() if jumps[name] > before]
        self._jumps = jumps
        for name in self._health:
            # A label stream has no age, and no fault but that it cannot be read.
            age = step.ages.get(name, math.inf)
            found = (
                ("clock", jumped),
                ("stale", step.stale),
                ("frozen", step.frozen),
                ("incomplete", step.incomplete),
                ("dropped", dropped),
            )
            faults = [fault for fault, names in found if name in names]
            self._log.update(name, faults, age, self._heard(name, step.t_ns))

    def _heard(self, name: str, now: int) -> bool:
        """Whether messages of the stream are being received, whatever their stamps say."""
        received = self._received_ns.get(name)
        stale_s = self.pipeline.stepper.spec.streams[name].stale_s
        return received is not None and now - received < stale_s / 2 * NS

    def _note_clock(self) -> None:
        stepper = self.pipeline.stepper
        if stepper.backwards > self._backwards:
            self._backwards = stepper.backwards
            self._say("warn", "the clock went back: memory was emptied and begins anew")
