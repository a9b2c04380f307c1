"""The window builder: samples of all streams in, what the operator reads at a time out.

The same builder serves training, replay and the live node, so that a recording gives the same
numbers wherever it is read.
"""

from __future__ import annotations

import numpy as np

from pro_ros.errors import SpecError, suggest
from pro_ros.streams.history import CameraHistory, NumericHistory
from pro_ros.streams.sample import BoolArray, ByteArray, FloatArray, Sample, Step
from pro_ros.streams.spec import RobotSpec


class StepBuilder:
    """Holds the recent past of every stream and builds steps from it.

    Values are in ``RobotSpec.layout`` order. A value is absent (mask false, value 0) if its
    stream was never received, its newest sample has none (NaN), or that sample is older than the
    stream's ``hold``. A statistic is absent if no finite value lies in its window; it covers
    stamps in ``(t - over, t]``. ``since_change`` is the time for which the value has been seen
    unchanged, at most ``over`` [s]. ``age`` [s] is present from the first sample on and is
    clipped to the stream's ``stale`` time. Nothing is ever made up.

    Parameters
    ----------
    spec
        The stream file.

    Attributes
    ----------
    episode_start_ns
        When the running episode began, or None.
    """

    def __init__(self, spec: RobotSpec) -> None:
        self.spec = spec
        self.episode_start_ns: int | None = None
        gap_ns = round(spec.gap * 1e9)
        self._clock_fault = False
        self._widths = {modality: len(names) for modality, names in spec.layout.items()}
        self._numeric: dict[str, NumericHistory] = {}
        self._cameras: dict[str, CameraHistory] = {}
        used = dict.fromkeys(self._widths, 0)
        for name, stream in spec.input_streams.items():
            if stream.image is not None:
                self._cameras[name] = CameraHistory(stream, gap_ns)
            else:
                self._numeric[name] = NumericHistory(stream, gap_ns, used[stream.modality])
                used[stream.modality] += len(stream.outputs)
        self._inputs: dict[str, CameraHistory | NumericHistory] = {
            name: self._numeric[name] if name in self._numeric else self._cameras[name]
            for name in spec.input_streams
        }

    @property
    def refused(self) -> dict[str, int]:
        """Per input stream, samples not taken because an earlier one had a later stamp."""
        return {name: stream.refused for name, stream in self._inputs.items()}

    @property
    def duplicates(self) -> dict[str, int]:
        """Per input stream, samples not taken because an earlier one had the same stamp."""
        return {name: stream.duplicates for name, stream in self._inputs.items()}

    @property
    def ahead(self) -> dict[str, int]:
        """Per input stream, samples stamped more than one period after their receipt.

        Such clocks disagree. The age of such a sample counts as 0.
        """
        return {name: stream.ahead for name, stream in self._inputs.items()}

    @property
    def jumps(self) -> dict[str, int]:
        """Per input stream, how often a stamp was off by more than ``gap``.

        A sample stamped so far after its receipt is not taken; one stamped so far before the
        newest begins the stream anew.
        """
        return {name: stream.jumps for name, stream in self._inputs.items()}

    def clock_fault(self) -> None:
        """Let the next step say that a clock jumped."""
        self._clock_fault = True

    def push(self, sample: Sample) -> bool:
        """Take a sample; false if its stamp is not newer than the stream's newest.

        Samples of label streams are accepted and not kept: they are never model input.
        """
        stream = self._inputs.get(sample.stream)
        if stream is not None:
            return stream.push(sample)
        if sample.stream not in self.spec.streams:
            raise SpecError(
                f"unknown stream '{sample.stream}'{suggest(sample.stream, self.spec.streams)}"
            )
        return True

    def build(self, t_ns: int, restart: bool = False) -> Step:
        """What the operator reads at ``t_ns``, from all samples pushed so far."""
        values: dict[str, FloatArray] = {}
        mask: dict[str, BoolArray] = {}
        for modality, width in self._widths.items():
            values[modality] = np.full(width, np.nan, dtype=np.float32)
        ages: dict[str, float] = {}
        stale: list[str] = []
        frozen: list[str] = []
        clock_fault, self._clock_fault = self._clock_fault, False
        frames: dict[str, ByteArray | None] = {}
        for name, stream in self._inputs.items():
            age = ages[name] = stream.age(t_ns)
            if age > stream.stale_s:
                stale.append(name)
            elif stream.frozen(t_ns):
                frozen.append(name)
            clock_fault |= stream.jumped()
            if isinstance(stream, CameraHistory):
                frames[name] = stream.frame if age <= stream.hold_s else None
            else:
                stream.fill(values[stream.modality], t_ns, age)
        complete = True
        for modality, row in values.items():
            present = np.isfinite(row)
            mask[modality] = present
            if not present.all():
                complete = False
                row[~present] = 0.0
        incomplete = [
            name
            for name, numbers in self._numeric.items()
            if not (complete and numbers.shows_holes) and numbers.incomplete
        ]
        return Step(
            t_ns, restart, values, mask, frames, ages,
            tuple(stale), tuple(frozen), tuple(incomplete), clock_fault,
        )  # fmt: skip

    def ages(self, t_ns: int) -> dict[str, float]:
        """Age of each input stream at ``t_ns`` [s]; ``inf`` before its first sample."""
        return {name: stream.age(t_ns) for name, stream in self._inputs.items()}

    def reset(self) -> None:
        """Forget all samples and the episode; counters stay."""
        self.episode_start_ns = None
        for stream in self._inputs.values():
            stream.clear()

    def begin_episode(self, t_ns: int, forget: bool = False) -> None:
        """Start the statistics over 'episode' anew, from the samples pushed after this call.

        With ``forget``, trailing windows too cover only what was pushed since; the latest
        values stay, since they still hold.
        """
        self.episode_start_ns = t_ns
        for stream in self._numeric.values():
            stream.begin_episode(t_ns, forget)
