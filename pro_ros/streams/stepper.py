"""The stepper: samples in order of receipt in, steps out; gaps, jumps and episodes on the way."""

from __future__ import annotations

from collections import deque
from fractions import Fraction

import numpy as np

from pro_ros.streams.history import Norms
from pro_ros.streams.sample import Sample, Step
from pro_ros.streams.spec import RobotSpec
from pro_ros.streams.window import StepBuilder

NS = 1_000_000_000


class Stepper:
    """Decides when a step is made, and when memory is reset. Deterministic.

    Samples are fed in order of receipt. With ``step.on`` each sample of that stream that is
    taken makes a step at its receipt time. With ``step.rate`` steps lie on the multiples of the
    period since the epoch; one fires as soon as a later sample shows that every sample received
    up to its time is in, and it reads exactly those. Times of steps increase strictly between
    two resets.

    Silence of all input streams for longer than ``gap``, and a receipt time that goes back, reset
    everything: the next step has ``restart`` set. Nobody knows beforehand how long a silence will
    last, so steps of the grid go on for ``gap`` seconds of it, and then stop. For training
    ``into_silence`` is false: a step in such a silence would only show that nothing was heard.

    An episode begins where ``episodes.signal`` changes (missing values are no change), at a
    restart (``by: gap`` and ``by: file``), or when :meth:`begin_episode` is called (``by:
    events``). It begins before the sample that shows it, and with ``episodes.reset`` the
    operator's memory and the trailing windows begin with it.

    Parameters
    ----------
    spec
        The stream file.
    into_silence
        Whether steps of the grid are made in a silence that turns out to be longer than ``gap``.

    Attributes
    ----------
    builder
        The :class:`StepBuilder`, with its counters.
    gaps, backwards
        How often silence, or a receipt time going back, has reset everything.
    coincident
        Samples of ``step.on`` that made no step because one was made at the same time already.
    episode_count, episode_start_ns
        Episodes begun so far, and when the running one began [ns] (None before the first).
    """

    def __init__(self, spec: RobotSpec, into_silence: bool = True) -> None:
        self.spec = spec
        self.builder = StepBuilder(spec)
        self.gaps = 0
        self.backwards = 0
        self.coincident = 0
        self.episode_count = 0
        self.episode_start_ns: int | None = None
        self._gap_ns = round(spec.gap * NS)
        self._silent_ns = self._gap_ns if into_silence else 0
        self._on = spec.step.on
        self._grid = _Grid(spec.step.rate) if spec.step.rate is not None else None
        # A label stream tells the time only where it makes the steps.
        self._timing = {*spec.input_streams, *([self._on] if self._on else ())}
        self._signal = _Signal(spec) if spec.episodes.signal is not None else None
        self._starts_at_restart = spec.episodes.by in ("gap", "file")
        self._received_ns: int | None = None
        self._heard_ns: int | None = None
        self._step_ns: int | None = None
        self._tick = 0
        self._due_ns = 0
        self._restart = True
        self._begins: deque[int] = deque()

    def feed(self, sample: Sample) -> list[Step]:
        """Take the next sample in order of receipt; return the steps that this makes.

        Those of the grid that were due before it, or the one of ``step.on`` at it.
        """
        steps: list[Step] = []
        now = sample.receipt_ns
        if self._received_ns is not None and now < self._received_ns:
            self.backwards += 1
            steps += self._close(0)
            self.builder.clock_fault()
            self._begins = deque(t_ns for t_ns in self._begins if t_ns <= now)
        self._received_ns = now
        timing = sample.stream in self._timing
        if timing and self._heard_ns is not None and now - self._heard_ns > self._gap_ns:
            self.gaps += 1
            steps += self._close(self._silent_ns)
        if self._signal is not None and self._signal.changes(sample):
            self._begins.append(now)
        if not timing:
            return steps
        if self._heard_ns is None:
            self._start(now)
        if self._grid is not None and self._due_ns < now:
            steps += self._fire(now - 1)
        if self._begins:
            self._apply_begins(now)
        self._heard_ns = now
        if self.builder.push(sample) and sample.stream == self._on:
            if self._step_ns == now:
                self.coincident += 1
            else:
                steps.append(self._step(now))
        return steps

    @property
    def due_ns(self) -> int | None:
        """When the next step of the grid is due [ns].

        None before the first sample, and where silence has ended the steps.
        """
        if self._grid is None or self._heard_ns is None:
            return None
        return self._due_ns if self._due_ns <= self._heard_ns + self._gap_ns else None

    def silent(self, now_ns: int) -> bool:
        """Whether all inputs have been silent for longer than ``gap``: no step is made then."""
        return self._heard_ns is None or now_ns - self._heard_ns > self._gap_ns

    def advance(self, now_ns: int) -> list[Step]:
        """The steps that were due before ``now_ns``, where all samples received by then are in.

        What a live node calls between samples. The same steps are made without it, later: by the
        next sample.
        """
        if self._heard_ns is None:
            return []
        return self._fire(min(now_ns - 1, self._heard_ns + self._gap_ns))

    def flush(self) -> list[Step]:
        """The steps still due when no sample follows: those up to the last receipt time."""
        return self._fire(self._heard_ns) if self._heard_ns is not None else []

    def begin_episode(self, t_ns: int) -> None:
        """An episode begins at ``t_ns``, on the receipt clock (an EpisodeEvent was received).

        Takes effect before the first step and the first sample at or after ``t_ns``.
        """
        self._begins.append(t_ns)

    def _close(self, silent_ns: int) -> list[Step]:
        """End the stretch: the steps still due, then as before the first sample.

        Due are those up to ``silent_ns`` after the last sample. The counters and the episode
        signal's value stay, and so does an episode that began in the silence.
        """
        steps = self._fire(self._heard_ns + silent_ns) if self._heard_ns is not None else []
        heard, begun = self._heard_ns, self.episode_start_ns
        self.builder.reset()
        if heard is not None and begun is not None and begun > heard:
            self.builder.begin_episode(begun)
        self._heard_ns = self._step_ns = None
        self._restart = True
        return steps

    def _start(self, now: int) -> None:
        """Begin a stretch with its first input sample."""
        if self._grid is not None:
            self._tick = self._grid.first(now)
            self._due_ns = self._grid.time(self._tick)
        if self._starts_at_restart:
            self._begin(now)

    def _fire(self, until_ns: int) -> list[Step]:
        """Make the steps of the grid up to ``until_ns``, inclusive."""
        steps: list[Step] = []
        if self._grid is None:
            return steps
        while self._due_ns <= until_ns:
            self._apply_begins(self._due_ns)
            steps.append(self._step(self._due_ns))
            self._tick += 1
            self._due_ns = self._grid.time(self._tick)
        return steps

    def _apply_begins(self, t_ns: int) -> None:
        while self._begins and self._begins[0] <= t_ns:
            self._begin(self._begins.popleft())

    def _begin(self, t_ns: int) -> None:
        self.episode_count += 1
        self.episode_start_ns = t_ns
        forget = self.spec.episodes.reset
        self.builder.begin_episode(t_ns, forget)
        self._restart = self._restart or forget

    def _step(self, t_ns: int) -> Step:
        step = self.builder.build(t_ns, self._restart)
        self._restart = False
        self._step_ns = t_ns
        return step


class _Grid:
    """Multiples of a period since the epoch, in whole nanoseconds and without drift."""

    def __init__(self, rate: float) -> None:
        exact = Fraction(rate).limit_denominator(1_000_000)
        self._hertz, self._per = exact.numerator, exact.denominator

    def time(self, tick: int) -> int:
        """Time of a tick [ns]."""
        return tick * NS * self._per // self._hertz

    def first(self, t_ns: int) -> int:
        """The first tick that is not before ``t_ns``."""
        tick = t_ns * self._hertz // (NS * self._per)
        while self.time(tick) < t_ns:
            tick += 1
        return tick


class _Signal:
    """Watches the feature whose changes begin episodes."""

    def __init__(self, spec: RobotSpec) -> None:
        self._stream, _, feature = (spec.episodes.signal or "").partition(".")
        stream = spec.streams[self._stream]
        self._norms = Norms(stream)
        self._row = np.empty(len(stream.channels))
        self._at = stream.channels.index(feature)
        self._value: float | None = None

    def changes(self, sample: Sample) -> bool:
        """Whether the sample gives the feature another value than it had."""
        if sample.stream != self._stream:
            return False
        self._norms.expand(sample.values, self._row)
        value = float(self._row[self._at])
        if value != value or value == self._value:
            return False
        self._value = value
        return True
