"""What flows through the operator before the model: samples in, steps out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
ByteArray = npt.NDArray[np.uint8]


class Sample(NamedTuple):
    """One decoded message or table row of one stream, in SI units.

    ``values``: float64 ``[F]`` in the order of ``StreamSpec.raw_channels``, NaN where the source
    had no value; for a visual stream uint8 ``[H, W, 3]`` RGB, already of the spec's size.
    ``receipt_ns``: when it was received (a bag's log time) [ns since the epoch].
    ``stamp_ns``: its time on the stream's declared clock [ns since the epoch].
    """

    stream: str
    receipt_ns: int
    stamp_ns: int
    values: npt.NDArray[np.float64] | ByteArray


@dataclass(frozen=True, slots=True)
class Step:
    """Everything that the operator reads at one step.

    ``t_ns``: time of the step [ns]. ``restart``: memory must be reset before this step.
    ``values``: per numeric modality float32 ``[F]`` in ``RobotSpec.layout`` order, 0 where absent.
    ``mask``: per numeric modality bool ``[F]``, true where the value is present.
    ``frames``: per camera uint8 ``[3, H, W]``, or None where there is no fresh frame.
    ``ages``: per input stream its age [s]; ``inf`` before the first sample.
    ``stale``: input streams whose age exceeds their ``stale`` time.
    ``frozen``: those that are not stale and whose values stand still for longer than ``frozen``.
    ``incomplete``: those whose newest sample has a value that is not finite.
    ``clock_fault``: since the step before, a receipt or stamp jumped by more than ``gap``.
    """

    t_ns: int
    restart: bool
    values: dict[str, FloatArray]
    mask: dict[str, BoolArray]
    frames: dict[str, ByteArray | None]
    ages: dict[str, float]
    stale: tuple[str, ...]
    frozen: tuple[str, ...] = ()
    incomplete: tuple[str, ...] = ()
    clock_fault: bool = False
