"""A stretch of a recording as the operator sees it: arrays over steps, without a gap."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pro_ros.episodes.manifest import ENDS_KNOWLEDGE, Episode, Event
from pro_ros.streams.sample import BoolArray, ByteArray, FloatArray


@dataclass(frozen=True)
class Sequence:
    """Consecutive steps from one reset of the operator's memory to the next.

    Attributes
    ----------
    id
        Unique in the data set, ``<recording>#<n>``.
    t_ns
        int64 ``[T]``, increasing: time of each step [ns].
    values, mask
        Per numeric modality float32 and bool ``[T, F]``, in ``RobotSpec.layout`` order.
    frames, frame_mask
        Per camera uint8 ``[T, 3, H, W]`` (may be a memory map) and bool ``[T]``.
    episode
        int32 ``[T]``: index into ``episodes``, -1 where a step lies in none.
    episodes
        The episodes that have steps here, in order.
    events
        Events on this stretch, in order of their start.
    known_until_ns
        Nothing is known after this time (end of the log, gap): windows that reach past it have
        no label [ns]. An intervention among ``events`` ends what is known earlier, see
        :func:`pro_ros.episodes.labels.knowledge`.
    """

    id: str
    t_ns: npt.NDArray[np.int64]
    values: dict[str, FloatArray]
    mask: dict[str, BoolArray]
    episode: npt.NDArray[np.int32]
    episodes: tuple[Episode, ...]
    events: tuple[Event, ...]
    known_until_ns: int
    frames: dict[str, npt.NDArray[np.uint8]] = field(default_factory=dict)
    frame_mask: dict[str, BoolArray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.t_ns)


def events_of(
    events: Iterable[Event], episodes: Iterable[Episode], first_ns: int, known_until_ns: int
) -> tuple[Event, ...]:
    """The events that matter for steps from ``first_ns`` on, in the given order.

    Those that last or begin between ``first_ns`` and ``known_until_ns``, and earlier
    interventions after which no episode has begun yet.
    """
    begins = [e.start_ns for e in episodes if e.start_ns <= first_ns]

    def matters(event: Event) -> bool:
        if event.start_ns > known_until_ns:
            return False
        if event.end_ns >= first_ns:
            return True
        return event.kind in ENDS_KNOWLEDGE and not any(b > event.end_ns for b in begins)

    return tuple(e for e in events if matters(e))


__all__ = ["BoolArray", "ByteArray", "FloatArray", "Sequence", "events_of"]
